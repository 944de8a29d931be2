//! `/call/{startup,find,find_all,terminate}` and how a call goes.

use serde_json::{Value, json};
use sipcast_contract::report::Refusal;
use sipcast_contract::{Command, Report, TargetState};
use sipcast_sip::event::{CallEvent, CallStatus};
use sipcast_sip::order::Transport;

use super::bench::{Act, Bench, capture, options, order, within};

const KEYS: [&str; 25] = [
    "custom",
    "nodeId",
    "appKey",
    "sessionId",
    "callId",
    "parentCallId",
    "incoming",
    "status",
    "sipStatus",
    "rtmpUrl",
    "rtmpStream",
    "streamName",
    "rtmpStreamStatus",
    "caller",
    "callee",
    "hasAudio",
    "hasVideo",
    "sdp",
    "visibleName",
    "inviteParameters",
    "mediaProvider",
    "sipMessageRaw",
    "isMsrp",
    "target",
    "holdForTransfer",
];

#[tokio::test]
async fn a_call_is_findable_at_once_with_all_keys_in_order() {
    let bench = Bench::new();
    let started = bench.post("call/startup", order("k3Qa-77Zp")).await;
    assert_eq!((started.status, started.body.as_str()), (200, ""));
    let found = bench.post("call/find", json!({"callId": "k3Qa-77Zp"})).await;
    assert_eq!(found.status, 200);
    let mut at = 0;
    for key in KEYS {
        let quoted = format!("\"{key}\":");
        at += found.body[at..].find(&quoted).unwrap_or_else(|| panic!("{key} out of order: {}", found.body));
    }
    let call = &found.json()[0];
    assert_eq!(call.as_object().map(|keys| keys.len()), Some(25));
    assert_eq!(call["status"], "PENDING");
    assert_eq!(call["sipStatus"], 0);
    assert_eq!(
        (&call["caller"], &call["visibleName"], &call["callee"]),
        (&json!("caster"), &json!("caster"), &json!("8801"))
    );
    assert_eq!(
        (&call["hasAudio"], &call["hasVideo"], &call["isMsrp"]),
        (&json!(true), &json!(true), &json!(false))
    );
    assert_eq!(
        (&call["rtmpUrl"], &call["rtmpStream"]),
        (&json!("rtmp://127.0.0.1/live"), &json!("k3Qa-77Zp"))
    );
    assert_eq!((&call["mediaProvider"], &call["custom"]), (&json!("Flash"), &json!({})));
    for null in
        ["nodeId", "sessionId", "parentCallId", "streamName", "inviteParameters", "sipMessageRaw", "target"]
    {
        assert_eq!(call[null], Value::Null, "{null}");
    }
}

#[tokio::test]
async fn strings_and_native_types_mean_the_same() {
    let mut bench = Bench::new();
    let mut native = order("native");
    native["hasAudio"] = json!(true);
    native["hasVideo"] = json!(false);
    native["sipPort"] = json!(5070);
    native["sipRegisterRequired"] = json!(true);
    native["callee"] = json!(8801);
    native["visibleName"] = json!("Town \"Hall\"");
    native["sipOutboundProxy"] = json!("10.0.0.9:5080;transport=tcp");
    let a = bench.place(native).await.order;
    assert_eq!((a.account.port, a.account.register, a.callee.as_str()), (5070, true, "8801"));
    assert_eq!((a.media.audio_port, a.media.video_port), (Some(40_000), None));
    assert_eq!(a.account.visible_name.as_deref(), Some("Town \"Hall\""));
    assert_eq!(a.account.outbound_proxy.as_deref(), Some("10.0.0.9:5080"));
    assert_eq!(a.account.transport, Some(Transport::Tcp));
    let b = bench.place(order("strings")).await.order;
    assert_eq!((b.account.port, b.account.register), (5060, false));
    assert_eq!((b.media.audio_port, b.media.video_port), (Some(40_000), Some(40_002)));
    assert_eq!(b.account.password.reveal(), "s3cret");
    assert_eq!(b.account.transport, None);
}

#[tokio::test]
async fn find_takes_all_filters_together() {
    let mut bench = Bench::new();
    let first = bench.place(order("a")).await;
    bench.place(capture("b", "hall")).await;
    first.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    for (filter, expected) in [
        (json!({"callId": "a"}), vec!["a"]),
        (json!({"callee": "8801"}), vec!["a", "b"]),
        (json!({"status": "ESTABLISHED"}), vec!["a"]),
        (json!({"rtmpUrl": "rtmp://127.0.0.1/live"}), vec!["a"]),
        (json!({"callee": "8801", "status": "PENDING"}), vec!["b"]),
        (json!({}), vec!["a", "b"]),
        (json!({"callId": "a", "status": "PENDING"}), vec![]),
        (json!({"callId": "c"}), vec![]),
    ] {
        let answer = bench.post("call/find", filter.clone()).await;
        assert_eq!(answer.status, if expected.is_empty() { 404 } else { 200 }, "{filter}");
        if !expected.is_empty() {
            let found = answer.json();
            let ids: Vec<&str> =
                found.as_array().expect("array").iter().filter_map(|c| c["callId"].as_str()).collect();
            assert_eq!(ids, expected, "{filter}");
        }
    }
    assert_eq!(bench.post("call/find", json!({"status": "HAPPY"})).await.status, 400);
}

#[tokio::test]
async fn find_all_takes_get_without_body_and_post_with_or_without() {
    let mut bench = Bench::new();
    assert_eq!(bench.get("/rest-api/call/find_all").await.status, 404);
    assert_eq!(bench.get("/rest-api/push/find_all").await.status, 404);
    bench.place(order("a")).await;
    for answer in [
        bench.get("/rest-api/call/find_all").await,
        bench.post("call/find_all", json!({})).await,
        bench.raw("call/find_all", "").await,
    ] {
        assert_eq!((answer.status, answer.json().as_array().map(Vec::len)), (200, Some(1)));
    }
}

#[tokio::test]
async fn statuses_follow_the_call_and_the_target() {
    let mut bench = Bench::new();
    let call = bench.place(order("a")).await;
    for (status, code, word) in [
        (CallStatus::Trying, 100, "TRYING"),
        (CallStatus::Ring, 180, "RING"),
        (CallStatus::SessionProgress, 183, "SESSION_PROGRESS"),
    ] {
        call.progress(status, code).await;
        let shown = bench.call_with_status("a", word).await;
        assert_eq!((&shown["sipStatus"], &shown["rtmpStreamStatus"]), (&json!(code), &json!("PENDING")));
    }
    call.answer().await;
    let shown = bench.call_when("a", |c| c["rtmpStreamStatus"] == "PUBLISHING").await;
    assert_eq!(shown["sdp"], "v=0\r\n");
    assert_eq!(bench.call_with_status("a", "ESTABLISHED").await["sipStatus"], 200);
    call.tell(CallEvent::Hold(true)).await;
    bench.call_with_status("a", "HOLD").await;
    call.tell(CallEvent::Hold(false)).await;
    bench.call_with_status("a", "ESTABLISHED").await;

    assert!(matches!(bench.command().await, Command::SetMedia { .. }));
    let Command::AddTarget { broadcast, target, spec } = bench.command().await else {
        panic!("no AddTarget")
    };
    assert_eq!(spec.stream_name.reveal(), "rtmp_a");
    assert_eq!(spec.addresses, ["127.0.0.1:1935".parse().expect("valid")]);
    let fault = sipcast_contract::report::TargetFault::ClosedByServer;
    let lost = Report::Target { broadcast, target, state: TargetState::Reconnecting(fault) };
    bench.reports.send(lost).expect("heard");
    bench.call_when("a", |c| c["rtmpStreamStatus"] == "PENDING").await;

    call.end(CallStatus::Finish, 200, "").await;
    let shown = bench.call_with_status("a", "FINISH").await;
    assert_eq!((&shown["rtmpStreamStatus"], &shown["custom"]), (&json!("UNPUBLISHED"), &json!({})));
    assert!(matches!(bench.command().await, Command::Close { .. }));
}

#[tokio::test]
async fn a_prefixed_stream_name_is_not_prefixed_twice() {
    let mut bench = Bench::new();
    let mut prefixed = order("a");
    prefixed["rtmpStream"] = json!("rtmp_hall");
    bench.place(prefixed).await.answer().await;
    assert!(matches!(bench.command().await, Command::SetMedia { .. }));
    let Command::AddTarget { spec, .. } = bench.command().await else { panic!("no AddTarget") };
    assert_eq!(spec.stream_name.reveal(), "rtmp_hall");
    let same = bench
        .post("call/startup", {
            let mut o = order("b");
            o["rtmpStream"] = json!("hall");
            o
        })
        .await;
    assert_eq!(same.status, 409);
}

#[tokio::test]
async fn to_stream_and_rtmp_url_together_share_the_name() {
    let mut bench = Bench::new();
    let mut both = capture("a", "conference");
    both["rtmpUrl"] = json!("rtmp://127.0.0.1/live");
    bench.place(both).await;
    let call = bench.call_with_status("a", "PENDING").await;
    assert_eq!(call["rtmpStream"], "conference");
}

#[tokio::test]
async fn a_capture_shows_no_rtmp() {
    let mut bench = Bench::new();
    bench.place(capture("a", "hall")).await;
    let call = bench.call_with_status("a", "PENDING").await;
    for key in ["rtmpUrl", "rtmpStream", "streamName", "rtmpStreamStatus"] {
        assert_eq!(call[key], Value::Null, "{key}");
    }
}

#[tokio::test]
async fn final_statuses_are_shown_for_the_grace_time_and_then_gone() {
    let grace = std::time::Duration::from_millis(150);
    let mut bench = Bench::with(crate::ControlOptions { grace, ..options() }, None);
    for (id, status, code, word) in
        [("busy", CallStatus::Busy, 486, "BUSY"), ("failed", CallStatus::Failed, 503, "FAILED")]
    {
        bench.place(order(id)).await.end(status, code, "as the peer said").await;
        let shown = bench.call_with_status(id, word).await;
        assert_eq!((&shown["sipStatus"], &shown["rtmpStreamStatus"]), (&json!(code), &json!("FAILED")));
        assert_eq!(shown["custom"]["reason"], "as the peer said");
        assert_eq!(bench.post("call/terminate", json!({"callId": id})).await.status, 404, "it is over");
        bench.gone(id).await;
    }
    assert_eq!(bench.get("/rest-api/call/find_all").await.status, 404);
}

#[tokio::test]
async fn a_refusal_of_the_shard_fails_the_call_with_its_reason() {
    let bench = Bench::with(options(), Some(Refusal::NoPorts));
    bench.post("call/startup", order("a")).await;
    let shown = bench.call_with_status("a", "FAILED").await;
    assert_eq!(shown["custom"]["reason"], Refusal::NoPorts.to_string());
}

#[tokio::test]
async fn an_rtmp_host_without_address_fails_the_call() {
    let bench = Bench::new();
    let mut lost = order("a");
    lost["rtmpUrl"] = json!("rtmp://-none-.invalid/live");
    bench.post("call/startup", lost).await;
    let shown = bench.call_with_status("a", "FAILED").await;
    assert_eq!(shown["rtmpStreamStatus"], "FAILED");
    assert!(shown["custom"]["reason"].as_str().is_some_and(|r| r.starts_with("rtmpUrl:")), "{shown}");
}

#[tokio::test]
async fn duplicates_among_live_calls_are_refused_and_allowed_after_the_end() {
    let mut bench = Bench::new();
    let call = bench.place(order("a")).await;
    let same_id = bench
        .post("call/startup", {
            let mut o = order("a");
            o["rtmpStream"] = json!("other");
            o
        })
        .await;
    assert_eq!((same_id.status, &same_id.json()["field"]), (409, &json!("callId")));
    let same_pair = bench
        .post("call/startup", {
            let mut o = order("b");
            o["rtmpStream"] = json!("a");
            o
        })
        .await;
    assert_eq!((same_pair.status, &same_pair.json()["field"]), (409, &json!("rtmpStream")));
    assert_eq!(bench.post("call/find", json!({"callId": "b"})).await.status, 404);
    let mut elsewhere = order("c");
    elsewhere["rtmpStream"] = json!("a");
    elsewhere["rtmpUrl"] = json!("rtmp://127.0.0.1/other");
    bench.place(elsewhere).await;
    bench.place(capture("d", "hall")).await;
    let same_source = bench.post("call/startup", capture("e", "rtmp_hall")).await;
    assert_eq!((same_source.status, &same_source.json()["field"]), (409, &json!("toStream")));

    call.end(CallStatus::Finish, 200, "").await;
    bench.call_with_status("a", "FINISH").await;
    bench.place(order("a")).await;
    bench.call_with_status("a", "PENDING").await;
}

#[tokio::test]
async fn terminate_hangs_up_closes_and_finishes() {
    let mut bench = Bench::new();
    assert_eq!(bench.post("call/terminate", json!({"callId": "a"})).await.status, 404);
    let mut call = bench.place(order("a")).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    let answer = bench.post("call/terminate", json!({"callId": "a"})).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(call.act().await, Act::HangUp);
    bench.call_with_status("a", "FINISH").await;
    let last = within(async {
        loop {
            if let Command::Close { broadcast } = bench.command().await {
                return broadcast;
            }
        }
    })
    .await;
    assert_eq!(last.0, 1);
}

#[tokio::test]
async fn an_overdue_keyframe_is_asked_for_by_sip() {
    let mut bench = Bench::new();
    let mut call = bench.place(order("a")).await;
    bench
        .reports
        .send(Report::KeyframeOverdue { broadcast: sipcast_contract::BroadcastId(1) })
        .expect("heard");
    assert_eq!(call.act().await, Act::Keyframe);
}

#[tokio::test]
async fn a_reconnecting_target_gets_freshly_looked_up_addresses() {
    let mut bench = Bench::new();
    let mut named = order("a");
    named["rtmpUrl"] = json!("rtmp://localhost/live");
    bench.place(named).await.answer().await;
    let (broadcast, target) = loop {
        if let Command::AddTarget { broadcast, target, .. } = bench.command().await {
            break (broadcast, target);
        }
    };
    let moved = "192.0.2.1:1935".parse().expect("valid");
    {
        let mut registry = bench.control.broadcasts.shared.registry();
        let record = registry.get_mut(broadcast).and_then(|b| b.targets.get_mut(&target)).expect("live");
        record.spec.addresses = vec![moved];
    }
    let fault = sipcast_contract::report::TargetFault::Unreachable;
    let lost = Report::Target { broadcast, target, state: TargetState::Reconnecting(fault) };
    bench.reports.send(lost).expect("heard");
    let Command::SetAddresses { addresses, .. } = bench.command().await else { panic!("no SetAddresses") };
    assert!(!addresses.is_empty() && addresses.iter().all(|a| a.ip().is_loopback()), "{addresses:?}");
}

#[tokio::test]
async fn a_callee_holds_no_password_and_asks_for_no_tls() {
    let mut bench = Bench::new();
    for callee in ["sip:u:p@pbx", "SIP:u:p@pbx", "u:p@pbx", "sips:u:p@pbx", "SIPS:u:p@pbx"] {
        let mut order = order("a");
        order["callee"] = json!(callee);
        let answer = bench.post("call/startup", order).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("callee")), "{callee}");
        assert!(!answer.body.contains("u:p"), "{}", answer.body);
    }
    let mut order = order("a");
    order["callee"] = json!("SIP:u@pbx");
    bench.place(order).await;
}
