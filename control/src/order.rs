//! Orders as clients of any face write them, and what becomes of them: one set of field names, rules and errors for
//! `/rest-api`, `/v1` and gRPC.
//! Takes: plain fields, typed but not yet checked. Gives: a [`StartOrder`] or [`TargetOrder`] whose parts are valid
//! and within their limits, or the [`FieldFault`] that names the field.
//! Leaves out: how a face spells and reads fields (`rest`, `grpc`), look-ups and placing the call (`broadcast`).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use sipcast_contract::{
    Credentials, MediaWanted, RtmpParameters, RtmpTarget, RtmpUrl, Secret, TargetAudio, TlsTrust, dtmf,
    limits,
};
use sipcast_sip::event::CallStatus;
use sipcast_sip::order::{Account, MediaSecurity, Transport};
use sipcast_sip::profile::Profiles;
use utoipa::ToSchema;

use crate::ControlOptions;
use crate::broadcast::{DtmfOrder, DtmfWay, StartOrder};
use crate::joining::{JoinRequest, Joined};
use crate::ordered_url::OrderedUrl;
use crate::resolve::LookupError;
use crate::target_contract::{TargetContract, TargetContracts};

/// A broadcast to start: one call in, any number of RTMP targets out.
// The field names are the vocabulary of all faces: camelCase in JSON, snake_case in Protocol Buffers. No `Debug`: it
// holds passwords.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BroadcastOrder)]
pub(crate) struct OrderRequest {
    /// Name of the broadcast, unique among live ones; absent: one is made up.
    #[schema(max_length = 128, example = "town-hall")]
    pub(crate) call_id: Option<String>,
    /// Whom to dial: a user part, `user@host` or a `sip:` URI; needless where `sipProfile` dials `meetingId`.
    #[schema(max_length = 256, example = "8801")]
    pub(crate) callee: Option<String>,
    /// Offer audio; absent: yes.
    #[schema(default = true)]
    pub(crate) has_audio: Option<bool>,
    /// Offer video; absent: yes.
    #[schema(default = true)]
    pub(crate) has_video: Option<bool>,
    /// User part of the account's address of record.
    #[schema(required, nullable = false, min_length = 1, max_length = 128, example = "caster")]
    pub(crate) sip_login: Option<String>,
    /// User name for digest authentication; absent: `sipLogin`.
    #[schema(max_length = 128)]
    pub(crate) sip_authentication_name: Option<String>,
    /// Password for digest authentication.
    #[schema(max_length = 256, format = Password, write_only)]
    pub(crate) sip_password: Option<String>,
    /// Host part of the address of record.
    #[schema(required, nullable = false, min_length = 1, max_length = 253, example = "pbx.example")]
    pub(crate) sip_domain: Option<String>,
    /// Where requests go first: `host[:port][;transport=udp|tcp|tls]`; absent: `sipDomain`.
    #[schema(max_length = 300, example = "edge.pbx.example;transport=tcp")]
    pub(crate) sip_outbound_proxy: Option<String>,
    /// Port of the domain or the proxy; absent: 5060.
    #[schema(minimum = 1, maximum = 65535, default = 5060)]
    #[serde(default, deserialize_with = "integer")]
    pub(crate) sip_port: Option<u16>,
    /// `udp`, `tcp` or `tls`; absent: what the proxy or the server's DNS records name, else `udp`, and `tcp` for
    /// requests too large for it.
    #[schema(max_length = 8, example = "udp")]
    pub(crate) sip_transport: Option<String>,
    /// REGISTER before the INVITE; absent: no.
    #[schema(default = false)]
    pub(crate) sip_register_required: Option<bool>,
    /// Display name of the From header; absent: `sipLogin`.
    #[schema(max_length = 128)]
    pub(crate) visible_name: Option<String>,
    /// SRTP: `off`, `opportunistic` or `mandatory`; absent: `off`.
    #[schema(max_length = 16, example = "off")]
    pub(crate) media_security: Option<String>,
    /// Service profile: zoom, twilio, vidyo, room and others; `none`: none; absent: by the domain that is dialled.
    #[schema(max_length = 64, example = "zoom")]
    pub(crate) sip_profile: Option<String>,
    /// Meeting to join; fills `{meeting}` of script and profile, and makes `callee` needless where the profile dials it.
    #[schema(max_length = 64, example = "123 456 7890")]
    pub(crate) meeting_id: Option<String>,
    /// Passcode of the meeting; fills `{passcode}`. It is never shown.
    #[schema(max_length = 64, format = Password, write_only)]
    pub(crate) passcode: Option<String>,
    /// What is keyed in: `wait 3s; {meeting}#; wait 2s; {passcode}#`; absent: what the profile says.
    #[schema(max_length = 512, format = Password, write_only)]
    pub(crate) dial_script: Option<String>,
    /// When the script begins: `answer` (default) or `early`, with early media.
    #[schema(max_length = 16, example = "answer")]
    pub(crate) dial_script_on: Option<String>,
    /// How digits of the call travel: `RFC2833`, `INFO` or `INFO_RELAY`; absent: as the profile says, else `RFC2833`.
    #[schema(max_length = 16, example = "RFC2833")]
    pub(crate) dtmf_type: Option<String>,
    /// Application that events of this broadcast belong to.
    #[schema(max_length = 128)]
    pub(crate) app_key: Option<String>,
    /// Where to publish from the start; more can be added at any time.
    #[schema(max_items = 256)]
    #[serde(default, deserialize_with = "objects")]
    pub(crate) targets: Option<Vec<TargetRequest>>,
    /// `/rest-api` only: name that `/push/startup` takes the call by.
    #[serde(skip)]
    pub(crate) to_stream: Option<String>,
    /// `/rest-api` only: the target that is part of the call, its stream name still without prefix.
    #[serde(skip)]
    pub(crate) direct: Option<TargetRequest>,
}

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

/// Digits to send.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DtmfOrder)]
pub(crate) struct DtmfRequest {
    /// `0-9 * # A-D`; a comma pauses one second.
    #[schema(required, nullable = false, min_length = 1, max_length = 256, example = "4711#")]
    pub(crate) dtmf: Option<String>,
    /// `RFC2833` (telephone-event, default), `INFO` or `INFO_RELAY` (both SIP INFO).
    #[serde(rename = "type")]
    #[schema(max_length = 16, example = "RFC2833")]
    pub(crate) kind: Option<String>,
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

/// What is wrong with an order: no value is repeated, it may be a password or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldFault {
    /// Path of the field in camelCase, such as `sipPort` or `targets[1].rtmpUrl`.
    pub(crate) field: Cow<'static, str>,
    /// For people: what is wrong with it.
    pub(crate) problem: Cow<'static, str>,
    /// For people: what would be right.
    pub(crate) expected: Cow<'static, str>,
    /// It could be done, yet must not (`access`).
    pub(crate) forbidden: bool,
}

impl FieldFault {
    /// A fault of `field`.
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        problem: impl Into<Cow<'static, str>>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), problem: problem.into(), expected: expected.into(), forbidden: false }
    }

    /// `field` names a host that the operator does not want reached.
    pub(crate) fn forbidden(field: impl Into<Cow<'static, str>>) -> Self {
        Self { forbidden: true, ..Self::new(field, DENIED, DENIED_EXPECTED) }
    }

    pub(crate) fn within(self, at: &str) -> Self {
        if at.is_empty() { self } else { Self { field: format!("{at}{}", self.field).into(), ..self } }
    }
}

/// Words of a host that must not be reached.
pub(crate) const DENIED: &str = "names a host that this server may not reach";
pub(crate) const DENIED_EXPECTED: &str = "a host that [access] of the configuration admits";

/// A JSON object. Derived readers also take an array of the fields' values in their order, which nobody means.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

/// A number without fraction: to JSON Schema `5060.0` is an integer (JSON Schema 2020-12 §6.1.1, validation).
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    struct Integer;

    impl Visitor<'_> for Integer {
        type Value = u16;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(PORT_EXPECTED)
        }

        fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<u16, E> {
            u16::try_from(n).map_err(|_| E::invalid_value(Unexpected::Unsigned(n), &self))
        }

        fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<u16, E> {
            let is_port = n.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(&n);
            // In range and without fraction: nothing is cut off.
            if is_port { Ok(n as u16) } else { Err(E::invalid_value(Unexpected::Float(n), &self)) }
        }
    }

    struct Port(u16);

    impl<'de> Deserialize<'de> for Port {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_u16(Integer).map(Port)
        }
    }

    let port: Option<Port> = Option::deserialize(deserializer)?;
    Ok(port.map(|Port(port)| port))
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let objects: Option<Vec<Object<T>>> = Option::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|Object(value)| value).collect()))
}

/// What a text field may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    /// Bytes at most.
    pub(crate) len_max: usize,
    /// Spaces, quotes and angle brackets are taken. Control characters never are: they would split header lines.
    pub(crate) free: bool,
    /// For people.
    pub(crate) expected: &'static str,
}

impl Text {
    /// A word: no spaces, quotes or angle brackets.
    pub(crate) const fn word(len_max: usize, expected: &'static str) -> Self {
        Self { len_max, free: false, expected }
    }

    /// Any printable text.
    pub(crate) const fn free(len_max: usize, expected: &'static str) -> Self {
        Self { len_max, free: true, expected }
    }

    /// A text that may be absent; an empty one is.
    pub(crate) fn optional(
        self,
        field: &'static str,
        text: Option<String>,
    ) -> Result<Option<String>, FieldFault> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        let fault = |problem: Cow<'static, str>| Err(FieldFault::new(field, problem, self.expected));
        if text.len() > self.len_max {
            return fault(format!("is longer than {} bytes", self.len_max).into());
        }
        if text.chars().any(char::is_control) {
            return fault("holds a control character".into());
        }
        let splits_a_word = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\\');
        if !self.free && text.chars().any(splits_a_word) {
            return fault("holds a space, quote, backslash or angle bracket".into());
        }
        Ok(Some(text))
    }

    /// A text that must be there.
    pub(crate) fn required(self, field: &'static str, text: Option<String>) -> Result<String, FieldFault> {
        self.optional(field, text)?.ok_or_else(|| FieldFault::new(field, "is missing", self.expected))
    }
}

impl OrderRequest {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub(crate) fn validate(
        self,
        profiles: &Profiles,
        contracts: &TargetContracts,
    ) -> Result<StartOrder, FieldFault> {
        let call_id = CALL_ID.required("callId", self.call_id)?;
        let callee = callee(self.callee)?;
        let wanted =
            MediaWanted { audio: self.has_audio.unwrap_or(true), video: self.has_video.unwrap_or(true) };
        if !wanted.audio && !wanted.video {
            let problem = "is false, and so is hasAudio: the call would have no media";
            return Err(FieldFault::new("hasVideo", problem, "hasAudio or hasVideo true"));
        }
        let login = SIP_LOGIN.required("sipLogin", self.sip_login)?;
        let authentication_name = SIP_NAME.optional("sipAuthenticationName", self.sip_authentication_name)?;
        let domain = SIP_DOMAIN.required("sipDomain", self.sip_domain)?;
        if !is_host(without_sips(&domain).1) {
            return Err(FieldFault::new("sipDomain", "is no host name or address", SIP_DOMAIN.expected));
        }
        let proxy = SIP_PROXY.optional("sipOutboundProxy", self.sip_outbound_proxy)?;
        let proxy = proxy.map(|text| outbound_proxy(&text)).transpose()?;
        let (outbound_proxy, proxy_transport) = proxy.map_or((None, None), |(proxy, t)| (Some(proxy), t));
        let transport = match SIP_TRANSPORT.optional("sipTransport", self.sip_transport)? {
            Some(word) => Some(Transport::parse(&word).ok_or_else(|| {
                FieldFault::new("sipTransport", "is no known transport", SIP_TRANSPORT.expected)
            })?),
            None => proxy_transport,
        };
        if self.sip_port == Some(0) {
            return Err(FieldFault::new("sipPort", "is not a port number", PORT_EXPECTED));
        }
        let mut account = Account {
            authentication_name: authentication_name.unwrap_or_else(|| login.clone()),
            login,
            password: Secret::new(
                SIP_PASSWORD.optional("sipPassword", self.sip_password)?.unwrap_or_default(),
            ),
            domain,
            port: self.sip_port.unwrap_or(SIP_PORT_DEFAULT),
            outbound_proxy,
            transport,
            register: self.sip_register_required.unwrap_or(false),
            visible_name: VISIBLE_NAME.optional("visibleName", self.visible_name)?,
        };
        let join = JoinRequest {
            sip_profile: self.sip_profile,
            meeting_id: self.meeting_id,
            passcode: self.passcode,
            dial_script: self.dial_script,
            dial_script_on: self.dial_script_on,
            dtmf_type: self.dtmf_type,
        };
        let Joined { callee, joining, security } = join.resolve(callee, &mut account, profiles)?;
        let targets = self.targets.unwrap_or_default();
        if targets.len() > limits::TARGETS_PER_BROADCAST_MAX {
            let expected = format!("at most {} targets per call", limits::TARGETS_PER_BROADCAST_MAX);
            return Err(FieldFault::new("targets", "has too many items", expected));
        }
        Ok(StartOrder {
            call_id,
            callee,
            account,
            wanted,
            security: media_security(self.media_security)?.or(security),
            joining,
            app_key: APP_KEY.optional("appKey", self.app_key)?,
            direct: self.direct.map(|direct| direct.validate("", contracts)).transpose()?,
            targets: targets
                .into_iter()
                .enumerate()
                .map(|(n, target)| target.validate(&format!("targets[{n}]."), contracts))
                .collect::<Result<_, _>>()?,
            to_stream: STREAM_NAME.optional("toStream", self.to_stream)?,
            sound: None,
            video_bit_rate_wanted: None,
        })
    }
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

impl DtmfRequest {
    /// Checks the digits.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub(crate) fn validate(self) -> Result<DtmfOrder, FieldFault> {
        let digits = DTMF.required("dtmf", self.dtmf)?;
        let way = match DTMF_TYPE.optional("type", self.kind)? {
            None => None,
            Some(word) if word.eq_ignore_ascii_case("RFC2833") => Some(DtmfWay::Events),
            Some(word) if word.eq_ignore_ascii_case("INFO") => Some(DtmfWay::Info),
            Some(word) if word.eq_ignore_ascii_case("INFO_RELAY") => Some(DtmfWay::Info),
            Some(_) => return Err(FieldFault::new("type", "is no known way", DTMF_TYPE.expected)),
        };
        let steps = dtmf::parse(&digits)
            .map_err(|_| FieldFault::new("dtmf", "holds a character that is no digit", DTMF.expected))?;
        if steps.is_empty() {
            return Err(FieldFault::new("dtmf", "holds no digit", DTMF.expected));
        }
        if steps.len() > limits::DTMF_QUEUE_MAX {
            let problem = format!("holds more than {} digits and pauses", limits::DTMF_QUEUE_MAX);
            return Err(FieldFault::new("dtmf", problem, DTMF.expected));
        }
        Ok(DtmfOrder { steps, way, early: false })
    }
}

/// The status that a word means.
///
/// # Errors
/// It means none.
pub(crate) fn status(word: &str) -> Result<CallStatus, FieldFault> {
    STATUSES
        .into_iter()
        .find(|status| status.as_str().eq_ignore_ascii_case(word))
        .ok_or_else(|| FieldFault::new("status", "is no call status", STATUS.expected))
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

/// `None`: a service profile may know whom to dial.
fn callee(text: Option<String>) -> Result<Option<String>, FieldFault> {
    let Some(callee) = CALLEE.optional("callee", text)? else { return Ok(None) };
    let address = match callee.split_once(':') {
        Some((scheme, address)) if ["sip", "sips", "tel"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => {
            address
        }
        _ => callee.as_str(),
    };
    // RFC 3261 §19.1.1 advises against passwords in URIs; this one would be shown and logged.
    if address.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err(FieldFault::new("callee", "holds a password", CALLEE.expected));
    }
    Ok(Some(callee))
}

/// `host[:port][;transport=udp|tcp|tls]`, a leading `sip:` or `sips:` and a trailing `;lr` as SIP people write them.
fn outbound_proxy(text: &str) -> Result<(String, Option<Transport>), FieldFault> {
    let bad = |problem| FieldFault::new("sipOutboundProxy", problem, SIP_PROXY.expected);
    let text = text.get(..4).filter(|s| s.eq_ignore_ascii_case("sip:")).map_or(text, |_| &text[4..]);
    // `sips:` stays: it says that nothing but TLS will do (RFC 3261 §26.2.2).
    let (scheme, text) = without_sips(text);
    let mut parts = text.split(';');
    let host_port = parts.next().unwrap_or_default();
    let mut chosen = None;
    for parameter in parts {
        match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("transport") => {
                chosen = Some(Transport::parse(value).ok_or_else(|| bad("names an unknown transport"))?);
            }
            None if parameter.eq_ignore_ascii_case("lr") => {}
            _ => return Err(bad("has an unknown parameter")),
        }
    }
    let (host, port) = match host_port.rsplit_once(':') {
        // An IPv6 address ends in `]` when no port follows.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_port, None),
    };
    if !is_host(host) {
        return Err(bad("is no host name or address"));
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|p| p != 0)) {
        return Err(bad("has a bad port"));
    }
    Ok((format!("{scheme}{host_port}"), chosen))
}

fn media_security(text: Option<String>) -> Result<Option<MediaSecurity>, FieldFault> {
    match MEDIA_SECURITY.optional("mediaSecurity", text)?.map(|word| word.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("off") => Ok(Some(MediaSecurity::Off)),
        Some("opportunistic") => Ok(Some(MediaSecurity::Opportunistic)),
        Some("mandatory") => Ok(Some(MediaSecurity::Mandatory)),
        Some(_) => {
            Err(FieldFault::new("mediaSecurity", "is no known media security", MEDIA_SECURITY.expected))
        }
    }
}

/// A leading `sips:`, and what follows it.
fn without_sips(text: &str) -> (&'static str, &str) {
    match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("sips:") => ("sips:", &text[5..]),
        _ => ("", text),
    }
}

/// A host name, an IPv4 address or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    // Underscores are no host characters, yet private networks have them.
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

const STATUSES: [CallStatus; 11] = [
    CallStatus::New,
    CallStatus::Pending,
    CallStatus::Trying,
    CallStatus::Ring,
    CallStatus::RingMedia,
    CallStatus::SessionProgress,
    CallStatus::Established,
    CallStatus::Hold,
    CallStatus::Finish,
    CallStatus::Busy,
    CallStatus::Failed,
];

/// RFC 3261 §19.1.2.
const SIP_PORT_DEFAULT: u16 = 5060;

/// For people.
pub(crate) const PORT_EXPECTED: &str = "a number from 1 to 65535";

pub(crate) const CALL_ID: Text = Text::free(128, "1 to 128 characters, unique among live calls");
pub(crate) const CALLEE: Text =
    Text::word(256, "a user part, user@host or sip: URI of 1 to 256 characters without spaces");
pub(crate) const STATUS: Text = Text::word(
    32,
    "NEW, PENDING, TRYING, RING, RING_MEDIA, SESSION_PROGRESS, ESTABLISHED, HOLD, FINISH, BUSY or FAILED",
);
pub(crate) const DTMF: Text =
    Text::free(256, "digits 0-9 * # A-D; a comma pauses one second; at most 64 of them");
pub(crate) const DTMF_TYPE: Text = Text::word(16, "RFC2833, INFO or INFO_RELAY");
pub(crate) const APP_KEY: Text = Text::free(128, "up to 128 characters");
pub(crate) const SIP_LOGIN: Text = Text::word(128, "a user part of 1 to 128 characters without spaces");
pub(crate) const SIP_NAME: Text = Text::free(128, "up to 128 printable characters");
pub(crate) const SIP_PASSWORD: Text = Text::free(256, "up to 256 printable characters");
pub(crate) const SIP_DOMAIN: Text =
    Text::word(253, "a host name, an IPv4 address or an IPv6 address in brackets");
pub(crate) const SIP_PROXY: Text = Text::word(300, "host[:port], optionally with ;transport=udp, tcp or tls");
pub(crate) const SIP_TRANSPORT: Text = Text::word(8, "udp, tcp or tls");
pub(crate) const VISIBLE_NAME: Text = Text::free(128, "up to 128 printable characters");
pub(crate) const MEDIA_SECURITY: Text = Text::word(16, "off, opportunistic or mandatory");
pub(crate) const RTMP_URL: Text = Text::free(RtmpUrl::LEN_MAX, "rtmp[s]://[user:password@]host[:port]/app");
pub(crate) const STREAM_NAME: Text = Text::word(512, "a stream name of 1 to 512 characters without spaces");
/// Longer than [`STREAM_NAME`]: a prefix may have been put before it, and keys are long.
const PUBLISHED_NAME: Text = Text::word(1024, "a stream name of 1 to 1024 characters without spaces");
pub(crate) const RTMP_SERVICE: Text = Text::free(64, "a service that contracts name, or none");
pub(crate) const RTMP_AUDIO: Text = Text::word(8, "aac or source");
pub(crate) const RTMP_USER: Text = Text::free(128, "up to 128 printable characters, with rtmpPassword");
pub(crate) const RTMP_PASSWORD: Text = Text::free(256, "up to 256 printable characters");
/// `tcUrl`, `pageUrl`, `swfUrl`: whatever the server wants to read there.
pub(crate) const CONNECT_URL: Text =
    Text::word(RtmpUrl::LEN_MAX, "a URL of up to 1024 characters without spaces");
pub(crate) const FLASH_VERSION: Text = Text::free(128, "up to 128 printable characters");

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> OrderRequest {
        OrderRequest {
            call_id: Some("a".to_owned()),
            callee: Some("8801".to_owned()),
            sip_login: Some("caster".to_owned()),
            sip_domain: Some("pbx.example".to_owned()),
            ..OrderRequest::default()
        }
    }

    fn target(url: &str) -> TargetRequest {
        TargetRequest { rtmp_url: Some(url.to_owned()), ..TargetRequest::default() }
    }

    #[test]
    fn an_order_of_the_least_fields_has_defaults() {
        let order = order().validate(&Profiles::default(), &TargetContracts::default()).expect("valid");
        assert!(
            order.wanted.audio && order.wanted.video && order.direct.is_none() && order.targets.is_empty()
        );
        assert_eq!((order.account.port, order.account.authentication_name.as_str()), (5060, "caster"));
        assert_eq!(order.security, None, "as configured");
    }

    #[test]
    fn faults_name_the_field_in_its_place() {
        let field = |order: OrderRequest| {
            let wrong = order.validate(&Profiles::default(), &TargetContracts::default()).err();
            wrong.expect("wrong").field.into_owned()
        };
        assert_eq!(field(OrderRequest { callee: None, ..order() }), "callee");
        assert_eq!(field(OrderRequest { sip_port: Some(0), ..order() }), "sipPort");
        assert_eq!(field(OrderRequest { media_security: Some("x".to_owned()), ..order() }), "mediaSecurity");
        let targets = vec![target("rtmp://cdn/live/key"), target("http://cdn/live/key")];
        assert_eq!(field(OrderRequest { targets: Some(targets), ..order() }), "targets[1].rtmpUrl");
        let targets = vec![target("rtmp://cdn/live/key"); limits::TARGETS_PER_BROADCAST_MAX + 1];
        assert_eq!(field(OrderRequest { targets: Some(targets), ..order() }), "targets");
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

    #[test]
    fn outbound_proxies_as_people_write_them() {
        let read = |text| outbound_proxy(text).map_err(|fault| fault.field.into_owned());
        assert_eq!(read("pbx.example"), Ok(("pbx.example".to_owned(), None)));
        assert_eq!(
            read("sip:10.0.0.1:5070;transport=TCP;lr"),
            Ok(("10.0.0.1:5070".to_owned(), Some(Transport::Tcp)))
        );
        assert_eq!(read("[::1]:5070"), Ok(("[::1]:5070".to_owned(), None)));
        assert_eq!(read("[::1]"), Ok(("[::1]".to_owned(), None)));
        for bad in ["", ":5060", "a:0", "a:b", "a;x=y", "a;transport=ws", "[::1", "a/b"] {
            assert_eq!(read(bad), Err("sipOutboundProxy".to_owned()), "{bad}");
        }
    }
}
