//! Conference services and servers by their profiles: for each a room with that service's demands, which sends media
//! only when they are met, and what an order that names the profile puts on the wire.

use std::time::Duration;

use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::name_server::NameServer;
use crate::support::nginx::Nginx;
use crate::support::room::{Demands, Room, Seen, Srtp, Way, header};
use crate::support::sipcast::{Sipcast, order};
use crate::support::wait_for;

const SOON: Duration = Duration::from_secs(30);
const MEETING: &str = "987654321";
/// Long enough that no port, time or random number holds it by chance.
const PASSCODE: &str = "13572468";
/// What is keyed in for it.
const KEYED: &str = "13572468#";

/// A service's double and what its profile must make of an order.
struct Service {
    profile: &'static str,
    /// Over TLS; otherwise UDP.
    tls: bool,
    srtp: Srtp,
    /// Whether the profile knows whom to dial; otherwise the order names `callee`.
    knows_callee: bool,
    /// Expected Request-URI, `{peer}` for the room's address.
    uri: &'static str,
    /// Expected protocol of the first offer.
    protocol: &'static str,
    /// Expected digits; without any, the order has neither meeting nor passcode.
    digits: &'static str,
    /// It takes no INFO.
    no_info: bool,
    /// It takes no AVPF.
    no_avpf: bool,
    /// Takes digits by RFC 4733.
    events: bool,
}

/// A plain room for calls by `callee`, which is asked for by passcode.
const PLAIN: Service = Service {
    profile: "",
    tls: false,
    srtp: Srtp::Refused,
    knows_callee: false,
    uri: "sip:callee@{peer}",
    protocol: "RTP/AVP",
    digits: KEYED,
    no_info: false,
    no_avpf: true,
    events: true,
};

#[test]
fn zoom() {
    let seen = joins(&Service {
        profile: "zoom",
        tls: true,
        srtp: Srtp::Taken,
        knows_callee: true,
        uri: "sip:987654321@zoomcrc.com;transport=tls",
        ..PLAIN
    });
    assert!(!seen.invites[0].contains(PASSCODE), "{}", seen.invites[0]);
}

#[test]
fn zoom_with_the_passcode_in_the_address() {
    joins(&Service {
        profile: "zoom-uri",
        tls: true,
        srtp: Srtp::Taken,
        knows_callee: true,
        uri: "sip:987654321.13572468@zoomcrc.com;transport=tls",
        digits: "",
        ..PLAIN
    });
}

#[test]
fn twilio() {
    let seen = joins(&Service { profile: "twilio", digits: "987654321#13572468#", no_info: true, ..PLAIN });
    assert_eq!(sound_offered(&seen), ["PCMU/8000", "PCMA/8000"]);
}

#[test]
fn twilio_with_secure_media() {
    let seen = joins(&Service {
        profile: "twilio-secure",
        tls: true,
        srtp: Srtp::Demanded,
        uri: "sip:callee@{peer};secure=true;transport=tls",
        protocol: "RTP/SAVP",
        digits: "987654321#13572468#",
        no_info: true,
        ..PLAIN
    });
    assert_eq!(sound_offered(&seen), ["PCMU/8000", "PCMA/8000"]);
}

#[test]
fn vidyo() {
    let seen = joins(&Service { profile: "vidyo", srtp: Srtp::Taken, ..PLAIN });
    assert!(seen.invites[0].contains("ccm fir"), "{}", seen.invites[0]);
}

#[test]
fn a_service_without_rfc_4733_gets_info() {
    let seen = joins(&Service { profile: "vidyo", srtp: Srtp::Taken, events: false, ..PLAIN });
    assert_eq!((seen.infos.as_str(), seen.events.as_str()), (KEYED, ""));
}

#[test]
fn lifesize() {
    joins(&Service {
        profile: "lifesize",
        tls: true,
        srtp: Srtp::Taken,
        knows_callee: true,
        uri: "sip:987654321@lifesizecloud.com;transport=tls",
        ..PLAIN
    });
}

#[test]
fn blue_jeans() {
    joins(&Service {
        profile: "bluejeans",
        tls: true,
        srtp: Srtp::Taken,
        knows_callee: true,
        uri: "sip:987654321@bjn.vc;transport=tls",
        ..PLAIN
    });
}

#[test]
fn asterisk() {
    joins(&Service { profile: "asterisk", digits: "987654321#13572468#", ..PLAIN });
}

#[test]
fn freeswitch() {
    joins(&Service { profile: "freeswitch", ..PLAIN });
}

#[test]
fn opensips() {
    let seen = joins(&Service { profile: "opensips", digits: "", ..PLAIN });
    let interval = header(&seen.invites[0], "Session-Expires").expect("a session timer");
    assert!(interval.starts_with("1800"), "not the profile's: {interval}");
}

#[test]
fn any_room() {
    joins(&Service { profile: "room", srtp: Srtp::Taken, digits: "987654321#13572468#", ..PLAIN });
}

#[test]
fn a_room_that_demands_srtp_refuses_a_profile_without() {
    let room = Room::open(Demands { srtp: Srtp::Demanded, ..Demands::none() });
    let sipcast = Sipcast::start(&[]);
    let mut body = order("refused", room.port, "rtmp://127.0.0.1:9/live", "refused");
    body["sipProfile"] = "asterisk".into();
    assert_eq!(sipcast.post("call/startup", &body).status, 200);
    assert_eq!(sipcast.wait_for_status("refused", "FAILED", SOON)["sipStatus"], 488);
    sipcast.stop();
}

#[test]
fn a_wrong_passcode_gets_no_media() {
    let room = Room::open(Demands { passcode: "8642#", ..Demands::none() });
    let sipcast = Sipcast::start(&[]);
    let mut body = order("outside", room.port, "rtmp://127.0.0.1:9/live", "outside");
    body["sipProfile"] = "freeswitch".into();
    body["passcode"] = PASSCODE.into();
    assert_eq!(sipcast.post("call/startup", &body).status, 200);
    wait_for("digits", SOON, || (room.seen().events == KEYED).then_some(()));
    assert!(!room.seen().sending, "{:?}", room.seen().events);
    assert_eq!(sipcast.statistics()["totals"]["accessUnits"], 0);
    sipcast.stop();
}

/// Joins the service's room by its profile and gives what the room saw. The settings are what the profile must not take.
fn joins(service: &Service) -> Seen {
    let authority = Authority::new();
    let domain = service.uri.split('@').nth(1).and_then(|rest| rest.split(';').next()).expect("a host");
    let identity = authority.issue(&["127.0.0.1", if service.knows_callee { domain } else { "localhost" }]);
    let keyed = !service.digits.is_empty();
    let room = Room::open(Demands {
        way: if service.tls { Way::Tls(identity.server()) } else { Way::Udp },
        srtp: service.srtp,
        passcode: if keyed { KEYED } else { "" },
        no_info: service.no_info,
        no_avpf: service.no_avpf,
        events: service.events,
        ..Demands::none()
    });
    let nginx = Nginx::start();
    let roots = format!("sip.tls_roots={}", authority.roots().display());
    // A setting that a profile of a server without AVPF must win against.
    let avpf = ["twilio", "twilio-secure", "asterisk", "freeswitch", "opensips"].contains(&service.profile);
    let avpf = format!("media.avpf={avpf}");
    // A service that the profile knows by name is found by name.
    let names = service.knows_callee.then(|| {
        let port = room.port;
        NameServer::start_zone(domain, &format!("_sips._tcp SRV 10 0 {port} edge\nedge A 127.0.0.1\n"))
    });
    let servers =
        names.as_ref().map(|names| format!("sip.name_servers=[\"{}\"]", names.address)).unwrap_or_default();
    let mut settings = vec![&*roots, &avpf, "sip.session_expires_s=900"];
    settings.extend(names.as_ref().map(|_| &*servers));
    let sipcast = Sipcast::start(&settings);

    let mut body = order("meeting", room.port, &nginx.url(), "meeting");
    body["sipProfile"] = service.profile.into();
    let fields = body.as_object_mut().expect("an object");
    fields.remove("sipOutboundProxy");
    if service.knows_callee {
        fields.remove("callee");
        fields.remove("sipPort");
        body["sipDomain"] = domain.into();
    }
    if keyed || service.knows_callee {
        body["passcode"] = PASSCODE.into();
    }
    if service.digits.starts_with(MEETING) || service.knows_callee {
        body["meetingId"] = MEETING.into();
    }
    let answer = sipcast.post("call/startup", &body);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{}", service.profile);
    sipcast.wait_for_status("meeting", "ESTABLISHED", SOON);
    wait_for("pictures and sound of the room", SOON, || {
        let totals = sipcast.statistics()["totals"].clone();
        let count = |stream: &Value| stream["packets"].as_u64().unwrap_or(0);
        (totals["accessUnits"].as_u64()? > 30 && count(&totals["audio"]) > 50).then_some(())
    });
    let totals = sipcast.statistics()["totals"].clone();
    for stream in ["audio", "video"] {
        for counter in ["authenticationFailed", "malformed", "lost"] {
            assert_eq!(totals[stream][counter], 0, "{stream} {counter}: {totals}");
        }
    }
    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": "meeting" })).status, 200);
    wait_for("BYE", SOON, || room.seen().methods.contains(&"BYE".to_owned()).then_some(()));
    let log = sipcast.log();
    assert!(!log.contains(PASSCODE), "the passcode is in the log");
    sipcast.stop();

    let seen = room.seen();
    assert_eq!(seen.invites.len(), 1, "the first offer is what the service wants: {:?}", seen.invites);
    let invite = &seen.invites[0];
    let uri = invite.split(' ').nth(1).expect("a URI");

    assert_eq!(
        uri,
        service.uri.replace("{peer}", &format!("127.0.0.1:{}", room.port)),
        "{}",
        service.profile
    );
    let transport = if service.tls { "SIP/2.0/TLS" } else { "SIP/2.0/UDP" };
    assert!(header(invite, "Via").expect("Via").starts_with(transport), "{invite}");
    for line in invite.lines().filter(|line| line.starts_with("m=")) {
        assert_eq!(line.split(' ').nth(2), Some(service.protocol), "{line}");
    }
    assert_eq!(invite.contains("a=crypto:"), service.srtp != Srtp::Refused, "{invite}");
    assert_eq!(seen.protected, service.srtp != Srtp::Refused);
    let digits = if service.events { &seen.events } else { &seen.infos };
    assert_eq!(digits, service.digits);
    if service.events {
        assert_eq!(seen.infos, "", "digits by INFO as well");
    }
    if service.no_info {
        assert!(!seen.methods.contains(&"INFO".to_owned()), "{:?}", seen.methods);
    }
    seen
}

/// What the offer maps for sound, without events and noise.
fn sound_offered(seen: &Seen) -> Vec<String> {
    let sound = seen.invites[0].split("\r\nm=").find(|part| part.starts_with("audio")).expect("sound");
    sound
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split(' ').nth(1))
        .filter(|name| !name.starts_with("telephone-event") && !name.starts_with("CN"))
        .map(str::to_owned)
        .collect()
}
