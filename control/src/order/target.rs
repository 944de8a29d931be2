//! The RTMP side of an order: where to publish, as whom, with what sound.
//! Takes: plain fields. Gives: a [`TargetOrder`] whose parts are valid, and what a shard is told of it.
//! Leaves out: look-ups and what the service demands (`target_contract::settle`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use sipcast_contract::{Credentials, RtmpParameters, RtmpTarget, RtmpUrl, Secret, TargetAudio, TlsTrust};
use utoipa::ToSchema;

use super::{
    CONNECT_URL, FLASH_VERSION, FieldFault, PUBLISHED_NAME, RTMP_AUDIO, RTMP_PASSWORD, RTMP_SERVICE,
    RTMP_URL, RTMP_USER,
};
use crate::ControlOptions;
use crate::ordered_url::OrderedUrl;
use crate::resolve::LookupError;
use crate::target_contract::{TargetContract, TargetContracts};

/// An RTMP target to publish to.
// No `Debug`: URL and stream name may be keys.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TargetOrder)]
pub(crate) struct TargetRequest {
    /// `rtmp://[user:password@]host[:port]/app`, and the stream name as last part of the path unless `rtmpStream`
    /// gives it; absent: the entry point of `rtmpService`, where its contract knows one.
    #[schema(max_length = 1024, example = "rtmp://ingest.example/live")]
    pub(crate) rtmp_url: Option<String>,
    /// Stream name or key, published exactly as it stands here; absent: the last part of the URL's path.
    #[schema(max_length = 1024, format = Password, write_only)]
    pub(crate) rtmp_stream: Option<String>,
    /// `flashVer` of the connect command; absent: the configured one.
    #[schema(max_length = 128)]
    pub(crate) rtmp_flash_version: Option<String>,
    /// User for servers that ask for one (`authmod=adobe`, `authmod=llnw`); absent: the URL's.
    #[schema(max_length = 128)]
    pub(crate) rtmp_user: Option<String>,
    /// Password that belongs to `rtmpUser`.
    #[schema(max_length = 256, format = Password, write_only)]
    pub(crate) rtmp_password: Option<String>,
    /// `tcUrl` of the connect command; absent: the URL.
    #[schema(max_length = 1024)]
    pub(crate) rtmp_tc_url: Option<String>,
    /// `pageUrl` of the connect command; absent: none.
    #[schema(max_length = 1024)]
    pub(crate) rtmp_page_url: Option<String>,
    /// `swfUrl` of the connect command; absent: `tcUrl`.
    #[schema(max_length = 1024)]
    pub(crate) rtmp_swf_url: Option<String>,
    /// Check the server's certificate (`rtmps://`); absent: as configured. Without it a self-signed one is taken.
    pub(crate) rtmp_tls_verify: Option<bool>,
    /// Begin with silence instead of sound; absent: no.
    #[schema(default = false)]
    pub(crate) muted: Option<bool>,
    /// Sound: `aac` (default), or `source`: as the call sends it where FLV has a format for that (G.711, Speex
    /// wideband), else AAC.
    #[schema(max_length = 8, example = "aac")]
    pub(crate) rtmp_audio: Option<String>,
    /// Service whose demands are kept: youtube, twitch, facebook, aws-ivs and others; `none`: none; absent: the one
    /// that the URL's host means.
    #[schema(max_length = 64, example = "youtube")]
    pub(crate) rtmp_service: Option<String>,
    /// Where the same is published a second time, with the same stream name and timestamps.
    #[schema(max_length = 1024, example = "rtmp://backup.ingest.example/live")]
    pub(crate) rtmp_backup_url: Option<String>,
}

/// A target to publish to. Its parts are valid and within their limits.
#[derive(Clone, Debug)]
pub(crate) struct TargetOrder {
    pub(crate) url: RtmpUrl,
    /// The URL as it was ordered, to show.
    pub(crate) url_as_ordered: OrderedUrl,
    /// The field that gave the URL, as errors name it: `targets[1].rtmpUrl`, `rtmpBackupUrl`.
    pub(crate) url_field: Cow<'static, str>,
    /// The name to publish; for a call's direct target without the prefix.
    pub(crate) stream: Secret<String>,
    pub(crate) flash_version: Option<String>,
    /// Credentials, overrides of `connect`, trust.
    pub(crate) parameters: RtmpParameters,
    /// Begin with silence.
    pub(crate) muted: bool,
    /// How its sound is coded.
    pub(crate) audio: TargetAudio,
    /// Of the URL's host; empty until it was looked up.
    pub(crate) addresses: Vec<SocketAddr>,
    /// As ordered.
    pub(crate) service: Option<String>,
    /// Becomes a target of its own when the order is settled.
    pub(crate) backup: Option<(RtmpUrl, OrderedUrl)>,
    /// What its service demands, once the order is settled.
    pub(crate) contract: Option<Arc<TargetContract>>,
}

impl TargetRequest {
    /// Checks every field. `at` is put before the fields' names in errors: `targets[1].`, or nothing.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub(crate) fn validate(self, at: &str, contracts: &TargetContracts) -> Result<TargetOrder, FieldFault> {
        let order = self.checked(contracts).map_err(|fault| fault.within(at))?;
        Ok(TargetOrder { url_field: format!("{at}{}", order.url_field).into(), ..order })
    }

    fn checked(self, contracts: &TargetContracts) -> Result<TargetOrder, FieldFault> {
        let bad_url = |error: sipcast_contract::target::RtmpUrlError| {
            FieldFault::new("rtmpUrl", error.to_string(), RTMP_URL.expected)
        };
        let service = RTMP_SERVICE.optional("rtmpService", self.rtmp_service)?;
        let stream = PUBLISHED_NAME.optional("rtmpStream", self.rtmp_stream)?;
        let (text, stream) = match (RTMP_URL.optional("rtmpUrl", self.rtmp_url)?, &service) {
            (Some(text), _) => (text, stream),
            // The last part of an entry point's path is no stream name.
            (None, Some(service)) => {
                let text = entry_point(contracts, service)?;
                let missing = || FieldFault::new("rtmpStream", "is missing", PUBLISHED_NAME.expected);
                (text, Some(stream.ok_or_else(missing)?))
            }
            (None, None) => return Err(FieldFault::new("rtmpUrl", "is missing", RTMP_URL.expected)),
        };
        let (url, url_as_ordered, stream) = match stream {
            Some(stream) => {
                (RtmpUrl::parse(&text).map_err(bad_url)?, OrderedUrl::new(text), Secret::new(stream))
            }
            None => {
                let (url, stream) = RtmpUrl::parse_with_stream(&text).map_err(bad_url)?;
                (url, OrderedUrl::with_stream(text), stream)
            }
        };
        let credentials = match RTMP_USER.optional("rtmpUser", self.rtmp_user)? {
            Some(user) => {
                let password =
                    RTMP_PASSWORD.optional("rtmpPassword", self.rtmp_password)?.unwrap_or_default();
                Some(Secret::new(Credentials { user, password }))
            }
            None if self.rtmp_password.is_some_and(|password| !password.is_empty()) => {
                let problem = "is missing although rtmpPassword is given";
                return Err(FieldFault::new("rtmpUser", problem, RTMP_USER.expected));
            }
            None => None,
        };
        if self.rtmp_tls_verify == Some(false) && !url.is_tls() {
            let problem = "is false although the URL has no TLS";
            return Err(FieldFault::new("rtmpTlsVerify", problem, "an rtmps:// URL, or no rtmpTlsVerify"));
        }
        let parameters = RtmpParameters {
            flash_version: None,
            tls: self
                .rtmp_tls_verify
                .map(|verify| if verify { TlsTrust::Verify } else { TlsTrust::AcceptAny }),
            credentials,
            tc_url: CONNECT_URL.optional("rtmpTcUrl", self.rtmp_tc_url)?.map(Secret::new),
            page_url: CONNECT_URL.optional("rtmpPageUrl", self.rtmp_page_url)?.map(Secret::new),
            swf_url: CONNECT_URL.optional("rtmpSwfUrl", self.rtmp_swf_url)?.map(Secret::new),
        };
        Ok(TargetOrder {
            url,
            url_as_ordered,
            url_field: "rtmpUrl".into(),
            stream,
            flash_version: FLASH_VERSION.optional("rtmpFlashVersion", self.rtmp_flash_version)?,
            parameters,
            muted: self.muted.unwrap_or(false),
            audio: target_audio("rtmpAudio", self.rtmp_audio)?.unwrap_or_default(),
            addresses: Vec::new(),
            service,
            backup: backup(self.rtmp_backup_url)?,
            contract: None,
        })
    }
}

impl TargetOrder {
    /// Its host has no address.
    pub(crate) fn unresolvable(&self, error: LookupError) -> FieldFault {
        let field = self.url_field.clone();
        match error {
            LookupError::Denied => FieldFault::forbidden(field),
            _ => FieldFault::new(field, error.to_string(), "an rtmp:// URL whose host resolves"),
        }
    }

    /// What a shard is told. `addresses` of this order must be known.
    pub(crate) fn into_spec(self, options: &ControlOptions) -> RtmpTarget {
        let flash_version = self.flash_version.unwrap_or_else(|| options.flash_version.clone());
        RtmpTarget {
            muted: self.muted,
            audio: self.audio,
            flash_version,
            tls: options.tls,
            rules: self.contract.as_ref().map(|contract| contract.rules()).unwrap_or_default(),
            ..RtmpTarget::new(self.url, self.stream, self.addresses)
        }
        .with_parameters(self.parameters)
    }
}

/// How a word says that sound is coded for a target.
///
/// # Errors
/// It says nothing that is known.
pub(crate) fn target_audio(
    field: &'static str,
    text: Option<String>,
) -> Result<Option<TargetAudio>, FieldFault> {
    match RTMP_AUDIO.optional(field, text)?.map(|word| word.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("aac") => Ok(Some(TargetAudio::Aac)),
        Some("source") => Ok(Some(TargetAudio::Source)),
        Some(_) => Err(FieldFault::new(field, "is no known sound", RTMP_AUDIO.expected)),
    }
}

/// Where a service takes publications of everybody.
fn entry_point(contracts: &TargetContracts, service: &str) -> Result<String, FieldFault> {
    let contract = contracts.of_service(service)?;
    contract.as_ref().and_then(|contract| contract.url.clone()).ok_or_else(|| {
        let problem = match contract {
            Some(contract) => {
                format!("is missing; {} has no entry point for everybody", contract.title).into()
            }
            None => Cow::Borrowed("is missing"),
        };
        FieldFault::new("rtmpUrl", problem, RTMP_URL.expected)
    })
}

fn backup(text: Option<String>) -> Result<Option<(RtmpUrl, OrderedUrl)>, FieldFault> {
    let Some(text) = RTMP_URL.optional("rtmpBackupUrl", text)? else { return Ok(None) };
    let url = RtmpUrl::parse(&text)
        .map_err(|error| FieldFault::new("rtmpBackupUrl", error.to_string(), RTMP_URL.expected))?;
    Ok(Some((url, OrderedUrl::new(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> TargetRequest {
        TargetRequest { rtmp_url: Some(url.to_owned()), ..TargetRequest::default() }
    }

    #[test]
    fn a_target_has_its_stream_name_beside_or_in_its_url() {
        let beside = TargetRequest { rtmp_stream: Some("key".to_owned()), ..target("rtmp://cdn/live") };
        for request in [beside, target("rtmp://cdn/live/key")] {
            let order = request.validate("", &TargetContracts::default()).expect("valid");
            assert_eq!(
                (order.url.tc_url().as_str(), order.stream.reveal().as_str()),
                ("rtmp://cdn/live", "key")
            );
            assert!(!order.url_as_ordered.shown().contains("key"));
        }
    }

    #[test]
    fn a_service_with_an_entry_point_needs_no_url() {
        let contracts = TargetContracts::default();
        let of = |service: &str, stream: Option<&str>| {
            let request = TargetRequest {
                rtmp_service: Some(service.to_owned()),
                rtmp_stream: stream.map(str::to_owned),
                ..TargetRequest::default()
            };
            request.validate("", &contracts)
        };
        let youtube = of("YouTube", Some("0123456789abcdef-key")).expect("has one");
        assert_eq!(youtube.url.tc_url(), "rtmps://a.rtmps.youtube.com/live2");
        let fault = |service, stream| of(service, stream).expect_err("wrong");
        assert_eq!(fault("youtube", None).field, "rtmpStream");
        let wowza = fault("wowza", Some("key"));
        assert!(wowza.field == "rtmpUrl" && wowza.problem.contains("Wowza"), "{wowza:?}");
        assert_eq!(fault("none", Some("key")).field, "rtmpUrl");
        assert_eq!(fault("myspace", Some("key")).field, "rtmpService");
    }

    #[test]
    fn sound_is_aac_unless_the_calls_own_is_ordered() {
        let with = |word: Option<&str>| {
            let request =
                TargetRequest { rtmp_audio: word.map(str::to_owned), ..target("rtmp://cdn/live/key") };
            request.validate("targets[0].", &TargetContracts::default())
        };
        assert_eq!(with(None).map(|order| order.audio), Ok(TargetAudio::Aac));
        assert_eq!(with(Some("AAC")).map(|order| order.audio), Ok(TargetAudio::Aac));
        assert_eq!(with(Some("source")).map(|order| order.audio), Ok(TargetAudio::Source));
        let fault = with(Some("opus")).expect_err("unknown");
        assert_eq!((&*fault.field, &*fault.expected), ("targets[0].rtmpAudio", "aac or source"));
    }
}
