//! Orders as clients of any face write them, and what becomes of them: one set of field names, rules and errors for
//! `/rest-api`, `/v1` and gRPC.
//! Takes: plain fields, typed but not yet checked. Gives: a [`StartOrder`] or [`TargetOrder`] whose parts are valid
//! and within their limits, or the [`FieldFault`] that names the field.
//! Leaves out: how a face spells and reads fields (`rest`, `grpc`), look-ups and placing the call (`broadcast`).

use serde::Deserialize;
use sipcast_contract::{MediaWanted, Secret, dtmf, limits};
use sipcast_sip::event::CallStatus;
use sipcast_sip::order::{Account, Transport};
use sipcast_sip::profile::Profiles;
use utoipa::ToSchema;

use crate::broadcast::{DtmfOrder, DtmfWay, StartOrder};
use crate::joining::{JoinRequest, Joined};
use crate::target_contract::TargetContracts;

mod field;
mod json;
mod sip_address;
mod target;

pub(crate) use field::*;
pub(crate) use json::Object;
pub(crate) use target::{TargetOrder, TargetRequest, target_audio};

use self::json::{integer, objects};
use self::sip_address::{callee, is_host, media_security, outbound_proxy, without_sips};

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
        let transport = transport(self.sip_transport)?.or(proxy_transport);
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
        Ok(StartOrder {
            call_id,
            callee,
            account,
            wanted,
            security: media_security(self.media_security)?.or(security),
            joining,
            hook_policies: None,
            app_key: APP_KEY.optional("appKey", self.app_key)?,
            direct: self.direct.map(|direct| direct.validate("", contracts)).transpose()?,
            targets: targets(self.targets.unwrap_or_default(), contracts)?,
            to_stream: STREAM_NAME.optional("toStream", self.to_stream)?,
            sound: None,
            video_bit_rate_wanted: None,
        })
    }
}

fn transport(word: Option<String>) -> Result<Option<Transport>, FieldFault> {
    let Some(word) = SIP_TRANSPORT.optional("sipTransport", word)? else { return Ok(None) };
    let unknown = || FieldFault::new("sipTransport", "is no known transport", SIP_TRANSPORT.expected);
    Transport::parse(&word).map(Some).ok_or_else(unknown)
}

fn targets(
    requests: Vec<TargetRequest>,
    contracts: &TargetContracts,
) -> Result<Vec<TargetOrder>, FieldFault> {
    if requests.len() > limits::TARGETS_PER_BROADCAST_MAX {
        let expected = format!("at most {} targets per call", limits::TARGETS_PER_BROADCAST_MAX);
        return Err(FieldFault::new("targets", "has too many items", expected));
    }
    let requests = requests.into_iter().enumerate();
    requests.map(|(n, request)| request.validate(&format!("targets[{n}]."), contracts)).collect()
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
}
