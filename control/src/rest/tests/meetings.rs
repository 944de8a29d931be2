//! Joining meetings: each service profile against a double of the service, which lets in who keys in what it asks for.

use serde_json::{Value, json};
use sipcast_contract::dtmf::DtmfStep;
use sipcast_contract::{Command, Report};
use sipcast_sip::event::{CallEvent, CallStatus};
use sipcast_sip::order::MediaSecurity;

use super::bench::{Act, Bench, PlacedCall, order};

/// What the double of a service does and wants, by what the service publishes about itself.
struct Service {
    profile: &'static str,
    /// Whom callers dial, if the profile does not know.
    callee: Option<&'static str>,
    /// Whom the service hears that is dialled.
    dialled: &'static str,
    /// What it asks for by voice, digit by digit, before it sends video.
    asks: &'static str,
    /// It hears RFC 4733 events.
    events: bool,
    security: MediaSecurity,
}

const SERVICES: [Service; 11] = [
    Service {
        profile: "zoom",
        callee: None,
        dialled: "sip:4711@zoomcrc.com;transport=tls",
        asks: "2580#",
        events: true,
        security: MediaSecurity::Opportunistic,
    },
    Service {
        profile: "zoom-uri",
        callee: None,
        dialled: "sip:4711.2580@zoomcrc.com;transport=tls",
        asks: "",
        events: true,
        security: MediaSecurity::Opportunistic,
    },
    Service {
        profile: "twilio",
        callee: Some("room@acme.sip.twilio.com"),
        dialled: "room@acme.sip.twilio.com",
        asks: "4711#2580#",
        events: true,
        security: MediaSecurity::Off,
    },
    Service {
        profile: "twilio-secure",
        callee: Some("room@acme.sip.twilio.com"),
        dialled: "sip:room@acme.sip.twilio.com;transport=tls;secure=true",
        asks: "4711#2580#",
        events: true,
        security: MediaSecurity::Mandatory,
    },
    Service {
        profile: "vidyo",
        callee: Some("4711@gw.vidyo.com"),
        dialled: "4711@gw.vidyo.com",
        asks: "2580#",
        events: true,
        security: MediaSecurity::Opportunistic,
    },
    Service {
        profile: "lifesize",
        callee: None,
        dialled: "sip:4711@lifesizecloud.com;transport=tls",
        asks: "2580#",
        events: true,
        security: MediaSecurity::Opportunistic,
    },
    Service {
        profile: "bluejeans",
        callee: None,
        dialled: "sip:4711@bjn.vc;transport=tls",
        asks: "2580#",
        events: true,
        security: MediaSecurity::Opportunistic,
    },
    Service {
        profile: "asterisk",
        callee: Some("8000"),
        dialled: "8000",
        asks: "4711#2580#",
        // dtmf_mode=info on that endpoint.
        events: false,
        security: MediaSecurity::Off,
    },
    Service {
        profile: "freeswitch",
        callee: Some("3000"),
        dialled: "3000",
        asks: "2580#",
        events: true,
        security: MediaSecurity::Off,
    },
    Service {
        profile: "opensips",
        callee: Some("8801"),
        dialled: "8801",
        asks: "",
        events: true,
        security: MediaSecurity::Off,
    },
    Service {
        profile: "room",
        callee: Some("8801"),
        dialled: "8801",
        asks: "4711#2580#",
        events: false,
        security: MediaSecurity::Opportunistic,
    },
];

fn digits(steps: &[DtmfStep]) -> String {
    let digit = |step: &DtmfStep| match step {
        DtmfStep::Digit(digit) => Some(digit.as_char()),
        DtmfStep::Pause(_) => None,
    };
    steps.iter().filter_map(digit).collect()
}

/// What the service hears first, by either way.
async fn heard(bench: &mut Bench, call: &mut PlacedCall, events: bool) -> Vec<DtmfStep> {
    if !events {
        let Act::Info(steps) = call.act().await else { panic!("digits") };
        return steps;
    }
    loop {
        if let Command::SendDtmf { steps, .. } = bench.command().await {
            return steps;
        }
    }
}

fn meeting(service: &Service, call_id: &str) -> Value {
    let mut order = order(call_id);
    let fields = order.as_object_mut().expect("an object");
    match service.callee {
        Some(callee) => fields.insert("callee".to_owned(), callee.into()),
        None => fields.remove("callee"),
    };
    fields.remove("sipOutboundProxy");
    // Nothing to ask for: the passcode would be used by nothing.
    if service.asks.contains("2580") || service.dialled.contains("2580") {
        fields.insert("passcode".to_owned(), "2580".into());
    }
    fields.insert("meetingId".to_owned(), "47-11".into());
    fields.insert("sipProfile".to_owned(), service.profile.into());
    order
}

#[tokio::test]
async fn every_service_lets_us_in_by_its_profile() {
    for service in &SERVICES {
        let mut bench = Bench::new();
        let mut call = bench.place(meeting(service, "a")).await;
        assert_eq!(call.order.callee, service.dialled, "{}", service.profile);
        assert_eq!(call.order.security, service.security, "{}", service.profile);
        let shown = bench.post("call/find", json!({"callId": "a"})).await.body;
        assert!(!shown.contains("2580"), "{shown}");
        call.agree(service.events).await;
        call.progress(CallStatus::RingMedia, 183).await;
        call.tell(CallEvent::Established).await;
        bench.call_with_status("a", "ESTABLISHED").await;
        if service.asks.is_empty() {
            continue;
        }
        let steps = heard(&mut bench, &mut call, service.events).await;
        assert_eq!(digits(&steps), service.asks, "{}", service.profile);
        assert!(matches!(steps[0], DtmfStep::Pause(_)), "the announcement is waited for");
    }
}

#[tokio::test]
async fn a_script_of_the_order_goes_before_digits_of_the_api() {
    let mut bench = Bench::new();
    let mut order = order("a");
    order["dialScript"] = "wait 500ms; {meeting}#; 9".into();
    order["meetingId"] = "12".into();
    let mut call = bench.place(order).await;
    assert_eq!(
        bench.post("call/send_dtmf", json!({"callId": "a", "dtmf": "7", "type": "INFO"})).await.status,
        200
    );
    call.answer().await;
    let (broadcast, steps) = loop {
        if let Command::SendDtmf { broadcast, steps } = bench.command().await {
            break (broadcast, steps);
        }
    };
    assert_eq!(digits(&steps), "12#9");
    // The INFO waits until the shard has sent the events.
    assert!(call.acts.try_recv().is_err());
    bench.reports.send(Report::DtmfSent { broadcast }).expect("heard");
    let Act::Info(steps) = call.act().await else { panic!("digits") };
    assert_eq!(digits(&steps), "7");
}

#[tokio::test]
async fn a_script_on_early_media_does_not_wait_for_the_answer() {
    let mut bench = Bench::new();
    let mut order = order("a");
    order["dialScript"] = "12#".into();
    order["dialScriptOn"] = "early".into();
    order["dtmfType"] = "INFO".into();
    let mut call = bench.place(order).await;
    call.agree(true).await;
    let Act::Info(steps) = call.act().await else { panic!("digits") };
    assert_eq!(digits(&steps), "12#");
}

#[tokio::test]
async fn a_service_without_info_gets_events_or_nothing() {
    let mut bench = Bench::new();
    let call = bench.place(meeting(&SERVICES[2], "a")).await;
    call.agree(false).await;
    call.tell(CallEvent::Established).await;
    bench.call_with_status("a", "ESTABLISHED").await;
    let answer = bench.post("call/send_dtmf", json!({"callId": "a", "dtmf": "7", "type": "INFO"})).await;
    assert_eq!((answer.status, &answer.json()["field"]), (409, &json!("dtmf")));
}

#[tokio::test]
async fn wrong_fields_are_named_and_nothing_is_begun() {
    let bench = Bench::new();
    for (field, value, named) in [
        ("sipProfile", "nonesuch", "sipProfile"),
        ("dialScript", "wait 3", "dialScript"),
        ("dialScript", "12x", "dialScript"),
        ("dialScriptOn", "never", "dialScriptOn"),
        ("dtmfType", "MORSE", "dtmfType"),
        ("passcode", "2580", "passcode"),
        ("meetingId", "<1>", "meetingId"),
    ] {
        let mut order = order("a");
        order[field] = value.into();
        let answer = bench.post("call/startup", order).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(named)), "{}", answer.body);
        assert!(!answer.body.contains("2580") && !answer.body.contains("12x"), "{}", answer.body);
        assert_eq!(bench.post("call/find", json!({"callId": "a"})).await.status, 404);
    }
}

#[tokio::test]
async fn a_ladder_is_found_by_call_id() {
    let mut bench = Bench::new();
    let mut spaced = order("a");
    spaced["callId"] = "a b".into();
    bench.place(spaced).await;
    let answer = bench.get("/calls/a%20b/ladder").await;
    assert_eq!((answer.status, &answer.json()["callId"]), (200, &json!("a b")));
    assert_eq!(answer.json()["entries"], json!([]));
    assert_eq!(bench.get("/calls/none/ladder").await.status, 404);
}
