//! `/rest-api/call/*` (wcs-api 1.2): translates, then calls the use-cases.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use sipcast_contract::dtmf;
use sipcast_contract::{MediaWanted, Secret, limits};
use sipcast_sip::event::CallStatus;
use sipcast_sip::order::{Account, Transport};

use super::error::{self, Problem};
use super::value::{Fields, Text};
use super::{STREAM_NAME, rtmp_url};
use crate::broadcast::{Broadcasts, CallFilter, CallView, DirectOrder, DtmfOrder, DtmfWay, StartOrder};

/// `POST /call/startup`: 200 with an empty body as soon as the order is taken.
pub(crate) async fn startup(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    broadcasts.start(start_order(&fields)?)?;
    Ok(StatusCode::OK)
}

/// `POST /call/find`.
pub(crate) async fn find(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Vec<Call>>, Problem> {
    let filter = CallFilter {
        call_id: fields.text("callId", CALL_ID)?,
        callee: fields.text("callee", CALLEE)?,
        rtmp_url: fields.text("rtmpUrl", super::RTMP_URL)?,
        status: fields.text("status", STATUS)?.map(|word| status(&word)).transpose()?,
    };
    found(&broadcasts, &filter)
}

/// `GET` or `POST /call/find_all`.
pub(crate) async fn find_all(State(broadcasts): State<Broadcasts>) -> Result<Json<Vec<Call>>, Problem> {
    found(&broadcasts, &CallFilter::default())
}

/// `POST /call/terminate`.
pub(crate) async fn terminate(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let call_id = fields.required_text("callId", CALL_ID)?;
    if broadcasts.terminate(&call_id) { Ok(StatusCode::OK) } else { Err(error::no_such_call()) }
}

/// `POST /call/send_dtmf`; digits ordered before the answer wait for it.
pub(crate) async fn send_dtmf(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let call_id = fields.required_text("callId", CALL_ID)?;
    let digits = fields.required_text("dtmf", DTMF)?;
    let way = match fields.text("type", DTMF_TYPE)? {
        None => DtmfWay::Events,
        Some(word) if word.eq_ignore_ascii_case("RFC2833") => DtmfWay::Events,
        Some(word) if word.eq_ignore_ascii_case("INFO") => DtmfWay::Info,
        Some(word) if word.eq_ignore_ascii_case("INFO_RELAY") => DtmfWay::Info,
        Some(_) => return Err(Problem::invalid("type", "is no known way", DTMF_TYPE.expected)),
    };
    let steps = dtmf::parse(&digits)
        .map_err(|_| Problem::invalid("dtmf", "holds a character that is no digit", DTMF.expected))?;
    if steps.is_empty() {
        return Err(Problem::invalid("dtmf", "holds no digit", DTMF.expected));
    }
    if steps.len() > limits::DTMF_QUEUE_MAX {
        let problem = format!("holds more than {} digits and pauses", limits::DTMF_QUEUE_MAX);
        return Err(Problem::invalid("dtmf", problem, DTMF.expected));
    }
    broadcasts.send_dtmf(&call_id, DtmfOrder { steps, way })?;
    Ok(StatusCode::OK)
}

/// A call on the wire: 25 keys in this order, unset ones `null`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Call {
    custom: Map<String, Value>,
    node_id: Option<String>,
    app_key: Option<String>,
    session_id: Option<String>,
    call_id: String,
    parent_call_id: Option<String>,
    incoming: bool,
    status: &'static str,
    sip_status: u16,
    rtmp_url: Option<String>,
    rtmp_stream: Option<String>,
    stream_name: Option<String>,
    rtmp_stream_status: Option<&'static str>,
    caller: String,
    callee: String,
    has_audio: bool,
    has_video: bool,
    sdp: Option<String>,
    visible_name: String,
    invite_parameters: Option<Map<String, Value>>,
    media_provider: &'static str,
    sip_message_raw: Option<String>,
    is_msrp: bool,
    target: Option<String>,
    hold_for_transfer: bool,
}

impl From<CallView> for Call {
    fn from(view: CallView) -> Self {
        // The original has no key for why a call ended; `custom` is an object of free form and `{}` otherwise.
        let custom = view.reason.into_iter().map(|reason| ("reason".to_owned(), reason.into())).collect();
        Self {
            custom,
            node_id: None,
            app_key: view.app_key,
            session_id: None,
            call_id: view.call_id,
            parent_call_id: None,
            incoming: false,
            status: view.status.as_str(),
            sip_status: view.sip_status,
            rtmp_url: view.rtmp_url,
            rtmp_stream: view.rtmp_stream,
            stream_name: None,
            rtmp_stream_status: view.rtmp_stream_status,
            caller: view.caller,
            callee: view.callee,
            has_audio: view.has_audio,
            has_video: view.has_video,
            sdp: view.sdp,
            visible_name: view.visible_name,
            invite_parameters: None,
            media_provider: "Flash",
            sip_message_raw: None,
            is_msrp: false,
            target: None,
            hold_for_transfer: false,
        }
    }
}

fn found(broadcasts: &Broadcasts, filter: &CallFilter) -> Result<Json<Vec<Call>>, Problem> {
    let calls: Vec<Call> = broadcasts.find_calls(filter).into_iter().map(Call::from).collect();
    if calls.is_empty() { Err(Problem::not_found(None, "no call matches")) } else { Ok(Json(calls)) }
}

fn start_order(fields: &Fields) -> Result<StartOrder, Problem> {
    let call_id = fields.required_text("callId", CALL_ID)?;
    let callee = fields.required_text("callee", CALLEE)?;
    let (scheme, address) = match callee.split_once(':') {
        Some((scheme, address)) if ["sip", "sips", "tel"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => {
            (scheme, address)
        }
        _ => ("", callee.as_str()),
    };
    // RFC 3261 §26.2.2: a sips: URI must not be dialled over a transport that is not TLS.
    if scheme.eq_ignore_ascii_case("sips") {
        return Err(Problem::invalid("callee", "is a sips: URI, which needs TLS", "a sip: URI"));
    }
    // RFC 3261 §19.1.1 advises against passwords in URIs; this one would be shown and logged.
    if address.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err(Problem::invalid("callee", "holds a password", CALLEE.expected));
    }
    let wanted = MediaWanted {
        audio: fields.boolean("hasAudio")?.unwrap_or(true),
        video: fields.boolean("hasVideo")?.unwrap_or(true),
    };
    if !wanted.audio && !wanted.video {
        let problem = "is false, and so is hasAudio: the call would have no media";
        return Err(Problem::invalid("hasVideo", problem, "hasAudio or hasVideo true"));
    }
    let account = account(fields)?;
    let app_key = fields.text("appKey", APP_KEY)?;
    let to_stream = fields.text("toStream", STREAM_NAME)?;
    let direct = direct(fields, to_stream.as_deref())?;
    Ok(StartOrder { call_id, callee, account, wanted, app_key, direct, to_stream })
}

fn account(fields: &Fields) -> Result<Account, Problem> {
    let login = fields.required_text("sipLogin", SIP_LOGIN)?;
    let authentication_name = fields.text("sipAuthenticationName", SIP_NAME)?;
    let domain = fields.required_text("sipDomain", SIP_DOMAIN)?;
    if !is_host(&domain) {
        return Err(Problem::invalid("sipDomain", "is no host name or address", SIP_DOMAIN.expected));
    }
    let proxy = fields.text("sipOutboundProxy", SIP_PROXY)?.map(|text| outbound_proxy(&text)).transpose()?;
    let (outbound_proxy, proxy_transport) = proxy.map_or((None, None), |(proxy, t)| (Some(proxy), t));
    let transport = match fields.text("sipTransport", SIP_TRANSPORT)? {
        Some(word) => Some(transport(&word).ok_or_else(|| {
            Problem::invalid("sipTransport", "is no known transport", SIP_TRANSPORT.expected)
        })?),
        None => proxy_transport,
    };
    Ok(Account {
        authentication_name: authentication_name.unwrap_or_else(|| login.clone()),
        login,
        password: Secret::new(fields.text("sipPassword", SIP_PASSWORD)?.unwrap_or_default()),
        domain,
        port: fields.port("sipPort")?.unwrap_or(SIP_PORT_DEFAULT),
        outbound_proxy,
        transport: transport.unwrap_or_default(),
        register: fields.boolean("sipRegisterRequired")?.unwrap_or(false),
        visible_name: fields.text("visibleName", VISIBLE_NAME)?,
    })
}

/// `host[:port][;transport=udp|tcp]`, a leading `sip:` and a trailing `;lr` as SIP people write them.
fn outbound_proxy(text: &str) -> Result<(String, Option<Transport>), Problem> {
    let bad = |problem| Problem::invalid("sipOutboundProxy", problem, SIP_PROXY.expected);
    let text = text.get(..4).filter(|s| s.eq_ignore_ascii_case("sip:")).map_or(text, |_| &text[4..]);
    let mut parts = text.split(';');
    let host_port = parts.next().unwrap_or_default();
    let mut chosen = None;
    for parameter in parts {
        match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("transport") => {
                chosen = Some(transport(value).ok_or_else(|| bad("names an unknown transport"))?);
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
    Ok((host_port.to_owned(), chosen))
}

fn transport(word: &str) -> Option<Transport> {
    if word.eq_ignore_ascii_case("udp") {
        Some(Transport::Udp)
    } else if word.eq_ignore_ascii_case("tcp") {
        Some(Transport::Tcp)
    } else {
        None
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

fn direct(fields: &Fields, to_stream: Option<&str>) -> Result<Option<DirectOrder>, Problem> {
    let stream = fields.text("rtmpStream", STREAM_NAME)?;
    let Some((url, url_as_ordered)) = rtmp_url(fields)? else {
        return match stream {
            None => Ok(None),
            Some(_) => Err(Problem::invalid(
                "rtmpUrl",
                "is missing although rtmpStream is given",
                super::RTMP_URL.expected,
            )),
        };
    };
    // Clients that send toStream and rtmpUrl mean one name for both (wcs-api 1.9).
    let stream = stream.or_else(|| to_stream.map(str::to_owned)).ok_or_else(|| {
        Problem::invalid("rtmpStream", "is missing although rtmpUrl is given", STREAM_NAME.expected)
    })?;
    Ok(Some(DirectOrder { url, url_as_ordered, stream: Secret::new(stream) }))
}

fn status(word: &str) -> Result<CallStatus, Problem> {
    STATUSES
        .into_iter()
        .find(|status| status.as_str().eq_ignore_ascii_case(word))
        .ok_or_else(|| Problem::invalid("status", "is no call status", STATUS.expected))
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

const CALL_ID: Text = Text::free(128, "1 to 128 characters, unique among live calls");
const CALLEE: Text =
    Text::word(256, "a user part, user@host or sip: URI of 1 to 256 characters without spaces");
const STATUS: Text = Text::word(
    32,
    "NEW, PENDING, TRYING, RING, RING_MEDIA, SESSION_PROGRESS, ESTABLISHED, HOLD, FINISH, BUSY or FAILED",
);
const DTMF: Text = Text::free(256, "digits 0-9 * # A-D; a comma pauses one second; at most 64 of them");
const DTMF_TYPE: Text = Text::word(16, "RFC2833, INFO or INFO_RELAY");
const APP_KEY: Text = Text::free(128, "up to 128 characters");
const SIP_LOGIN: Text = Text::word(128, "a user part of 1 to 128 characters without spaces");
const SIP_NAME: Text = Text::free(128, "up to 128 printable characters");
const SIP_PASSWORD: Text = Text::free(256, "up to 256 printable characters");
const SIP_DOMAIN: Text = Text::word(253, "a host name, an IPv4 address or an IPv6 address in brackets");
const SIP_PROXY: Text = Text::word(300, "host[:port], optionally with ;transport=udp or ;transport=tcp");
const SIP_TRANSPORT: Text = Text::word(8, "udp or tcp");
const VISIBLE_NAME: Text = Text::free(128, "up to 128 printable characters");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbound_proxies_as_people_write_them() {
        let read = |text| outbound_proxy(text).map_err(|p| p.status().as_u16());
        assert_eq!(read("pbx.example"), Ok(("pbx.example".to_owned(), None)));
        assert_eq!(
            read("sip:10.0.0.1:5070;transport=TCP;lr"),
            Ok(("10.0.0.1:5070".to_owned(), Some(Transport::Tcp)))
        );
        assert_eq!(read("[::1]:5070"), Ok(("[::1]:5070".to_owned(), None)));
        assert_eq!(read("[::1]"), Ok(("[::1]".to_owned(), None)));
        for bad in ["", ":5060", "a:0", "a:b", "a;x=y", "a;transport=ws", "[::1", "a/b"] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
    }
}
