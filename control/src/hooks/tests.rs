//! Tests of hooks against a real HTTP receiver.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::post;
use serde_json::{Value, json};
use sipcast_sip::event::CallStatus;
use tokio::net::TcpListener;

use super::policy::{HookPolicies, HookPolicyText};
use super::*;
use crate::ControlOptions;
use crate::delivery::tests::{hasty, receiver};
use crate::events::EventKind;
use crate::rest::tests::bench::{Bench, capture, options, order, within};

/// What an app answers to the hook of this name, in turn; 200 and nothing to all else.
type Script = Arc<Mutex<VecDeque<(&'static str, u16, Value)>>>;
type Heard = Arc<Mutex<Vec<(String, Value)>>>;

/// An app that answers by the script and notes what it heard.
async fn app(script: Vec<(&'static str, u16, Value)>) -> (String, Heard) {
    async fn answer(
        State((script, heard)): State<(Script, Heard)>,
        uri: Uri,
        body: String,
    ) -> (StatusCode, String) {
        let hook = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let body = serde_json::from_str(&body).expect("JSON");
        heard.lock().expect("sound").push((hook.clone(), body));
        let mut script = script.lock().expect("sound");
        let at = script.iter().position(|(name, ..)| *name == hook);
        match at.and_then(|at| script.remove(at)) {
            Some((_, status, Value::Null)) => {
                (StatusCode::from_u16(status).expect("a status"), String::new())
            }
            Some((_, status, body)) => (StatusCode::from_u16(status).expect("a status"), body.to_string()),
            None => (StatusCode::OK, String::new()),
        }
    }
    let heard = Heard::default();
    let state = (Script::new(Mutex::new(script.into())), Arc::clone(&heard));
    let router = Router::new().route("/app/{hook}", post(answer)).with_state(state);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}/app", listener.local_addr().expect("bound"));
    tokio::spawn(axum::serve(listener, router).into_future());
    (url, heard)
}

fn policies(config: Value) -> HookPolicies {
    let texts: std::collections::BTreeMap<String, HookPolicyText> =
        serde_json::from_value(config).expect("texts");
    HookPolicies::new(&texts).expect("valid")
}

fn bench(url: &str, config: Value) -> Bench {
    let hooks = vec![HookOptions {
        app_key: "defaultApp".to_owned(),
        delivery: hasty(url),
        answer_max: Duration::from_secs(5),
        policies: policies(config),
    }];
    Bench::with(ControlOptions { hooks, ..options() }, None)
}

fn heard_of(heard: &Heard, hook: &str) -> Vec<Value> {
    let heard = heard.lock().expect("sound");
    heard.iter().filter(|(name, _)| name == hook).map(|(_, body)| body.clone()).collect()
}

/// Asserts that each of these lines stands in the metrics.
fn assert_counted(bench: &Bench, lines: &[&str]) {
    let text = crate::metrics::text(&bench.control.broadcasts).expect("metrics");
    for line in lines {
        let line = format!("sipcast_{line}");
        assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn an_app_hears_of_its_calls_and_streams_in_order() {
    // The second status fails first, and holds up those behind it.
    let (url, mut got) = receiver([200, 200, 200, 200, 500]).await;
    let mut bench = bench(&url, json!({"CallStatusEvent": {"restExclude": "sdp,custom"}}));
    tokio::task::yield_now().await;
    let mut other = capture("other", "elsewhere");
    other["appKey"] = "otherApp".into();
    let other = bench.place(other).await;
    let call = bench.place(capture("a", "hall")).await;
    other.answer().await;
    call.progress(CallStatus::Ring, 180).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    let push = json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live", "options": {}});
    assert_eq!(bench.post("push/startup", push).await.status, 200);
    let mut heard: Vec<(String, Value)> = Vec::new();
    while heard.last().is_none_or(|(_, body)| body["status"] != "PUBLISHING") {
        let (path, headers, body) = within(got.recv()).await.expect("open");
        assert_eq!(headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["appKey"], "defaultApp");
        heard.push((path.path().rsplit('/').next().unwrap_or_default().to_owned(), body));
    }
    let names: Vec<&str> = heard.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..2], ["connect", "call"], "{names:?}");
    assert!(names.contains(&"publishStream"), "{names:?}");
    let calls: Vec<&Value> =
        heard.iter().filter(|(name, _)| name == "CallStatusEvent").map(|(_, body)| body).collect();
    let words: Vec<&str> = calls.iter().filter_map(|call| call["status"].as_str()).collect();
    assert!(words.starts_with(&["RING"]) && words.ends_with(&["ESTABLISHED"]), "{words:?}");
    assert_eq!(calls[0].as_object().map(serde_json::Map::len), Some(23), "the Call object but for two");
    let (name, stream) = heard.last().expect("some");
    assert_eq!(name, "StreamStatusEvent");
    assert_eq!((&stream["name"], &stream["published"]), (&json!("rtmp_hall"), &json!(true)));
    assert!(stream["mediaSessionId"].is_string());
    assert!(bench.control.hooks_settled(Duration::from_secs(10)).await);
    let all = heard.len() + std::iter::from_fn(|| got.try_recv().ok()).count();
    // One came twice.
    let delivered = format!("hook_delivered_total{{app=\"defaultApp\"}} {}", all - 1);
    let failed = r#"hook_failed_attempts_total{app="defaultApp"} 1"#;
    assert_counted(&bench, &[&delivered, failed, r#"hook_waiting{app="defaultApp"} 0.0"#]);
}

#[tokio::test]
async fn an_app_fills_in_account_and_callee_and_says_what_it_wants_to_be_asked() {
    let connect = json!({"sipLogin": "real", "sipPassword": "s3cret", "sipPort": 5070, "callee": "nobody",
        "restClientConfig": {"hangup": {"restOnError": "FAIL"}}});
    let call = json!({"callee": "9900", "hasVideo": "false"});
    let (url, heard) =
        app(vec![("connect", 200, connect), ("call", 200, call), ("hangup", 403, Value::Null)]).await;
    let mut bench = bench(
        &url,
        json!({
        "connect": {"restPolicy": "OVERWRITE", "restOverwrite": "sipLogin,sipPassword,sipPort"},
        "call": {"restPolicy": "OVERWRITE", "restOverwrite": "callee,hasVideo", "restOnError": "FAIL"}}),
    );
    let call = bench.place(capture("a", "hall")).await;
    assert_eq!((call.order.callee.as_str(), call.order.account.login.as_str()), ("9900", "real"));
    assert_eq!((call.order.account.password.reveal().as_str(), call.order.account.port), ("s3cret", 5070));
    assert!(call.order.media.video_port.is_none());
    let asked = heard_of(&heard, "call");
    assert_eq!(
        (&asked[0]["callee"], &asked[0]["status"], &asked[0]["toStream"]),
        (&json!("8801"), &json!("NEW"), &json!("hall"))
    );
    assert!(!heard.lock().expect("sound").iter().any(|(_, body)| body.to_string().contains("s3cret")));
    // What connect said is in force for this call.
    let refused = bench.post("call/terminate", json!({"callId": "a"})).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert_eq!(bench.post("call/terminate", json!({"callId": "a"})).await.status, 200, "agreed to");
    assert_counted(
        &bench,
        &[
            r#"hook_answers_total{app="defaultApp",hook="connect",outcome="overwritten"} 1"#,
            r#"hook_answers_total{app="defaultApp",hook="call",outcome="overwritten"} 1"#,
            r#"hook_answers_total{app="defaultApp",hook="hangup",outcome="refused"} 1"#,
            r#"hook_answers_total{app="defaultApp",hook="hangup",outcome="agreed"} 1"#,
        ],
    );
}

#[tokio::test]
async fn an_answer_of_another_type_than_the_field_is_none() {
    let overwrite = |on_error: &str| json!({"call": {"restPolicy": "OVERWRITE", "restOverwrite": "hasVideo", "restOnError": on_error}});
    for (on_error, status, outcome) in [("FAIL", 503, "unanswered"), ("LOG", 200, "passed_over")] {
        let (url, _) = app(vec![("call", 200, json!({"hasVideo": 1}))]).await;
        let bench = bench(&url, overwrite(on_error));
        assert_eq!(bench.post("call/startup", order("a")).await.status, status, "{on_error}");
        let counted = format!(r#"hook_answers_total{{app="defaultApp",hook="call",outcome="{outcome}"}} 1"#);
        assert_counted(&bench, &[&counted]);
    }
}

#[tokio::test]
async fn an_order_that_the_app_refuses_is_refused_and_nothing_begins() {
    let (url, heard) = app(vec![
        ("call", 403, Value::Null),
        ("call", 200, json!("no object")),
        ("sendDtmf", 500, Value::Null),
        ("publishStream", 404, Value::Null),
        ("unPublishStream", 401, Value::Null),
    ])
    .await;
    let fail = json!({"restOnError": "FAIL"});
    let mut bench =
        bench(&url, json!({"call": fail, "sendDtmf": fail, "publishStream": fail, "unPublishStream": fail}));
    let refused = bench.post("call/startup", capture("a", "hall")).await;
    assert_eq!((refused.status, refused.json()["problem"].is_string()), (403, true), "{}", refused.body);
    assert_eq!(
        bench.post("call/startup", capture("a", "hall")).await.status,
        503,
        "no answer that can be used"
    );
    assert_eq!(bench.post("call/find", json!({"callId": "a"})).await.status, 404);
    let call = bench.place(capture("a", "hall")).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    let dtmf = json!({"callId": "a", "dtmf": "1"});
    assert_eq!(bench.post("call/send_dtmf", dtmf.clone()).await.status, 403);
    assert_eq!(bench.post("call/send_dtmf", dtmf).await.status, 200);
    assert_eq!(heard_of(&heard, "sendDtmf")[0]["dtmf"], "1");
    let push = json!({"streamName": "hall", "rtmpUrl": "rtmp://user:s3cret@127.0.0.1/live?k=s3cret"});
    assert_eq!(bench.post("push/startup", push.clone()).await.status, 403);
    let added = bench.post("push/startup", push).await;
    assert_eq!(added.status, 200, "{}", added.body);
    let session = json!({"mediaSessionId": added.json()["mediaSessionId"]});
    assert_eq!(bench.post("push/terminate", session.clone()).await.status, 403);
    assert_eq!(bench.post("push/terminate", session).await.status, 200);
    assert!(!heard.lock().expect("sound").iter().any(|(_, body)| body.to_string().contains("s3cret")));
    let outcomes = ["refused", "unanswered", "agreed"];
    let of_call = outcomes.map(|outcome| {
        format!(r#"hook_answers_total{{app="defaultApp",hook="call",outcome="{outcome}"}} 1"#)
    });
    assert_counted(&bench, &of_call.each_ref().map(String::as_str));
    assert_counted(&bench, &[r#"refusals_total{cause="hook"} 5"#]);
}

#[tokio::test]
async fn an_app_that_is_silent_costs_an_order_no_more_than_its_time() {
    // Takes connections and never answers.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}/app", listener.local_addr().expect("bound"));
    let start = |config: Value| {
        let answer_max = Duration::from_millis(20);
        let hooks = vec![HookOptions {
            app_key: "defaultApp".to_owned(),
            delivery: hasty(&url),
            answer_max,
            policies: policies(config),
        }];
        Bench::with(ControlOptions { hooks, ..options() }, None)
    };
    let strict = start(json!({"call": {"restOnError": "FAIL"}}));
    let refused = within(strict.post("call/startup", order("a"))).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_counted(&strict, &[r#"hook_answers_total{app="defaultApp",hook="call",outcome="unanswered"} 1"#]);
    let lenient = start(json!({"call": {"restPolicy": "OVERWRITE", "restOverwrite": "callee"}}));
    assert_eq!(
        within(lenient.post("call/startup", order("a"))).await.status,
        200,
        "LOG: it goes on as ordered"
    );
    assert_counted(
        &lenient,
        &[r#"hook_answers_total{app="defaultApp",hook="call",outcome="passed_over"} 1"#],
    );
}

#[tokio::test]
async fn apps_hear_of_the_registrations_that_their_calls_use() {
    let (url, mut got) = receiver([]).await;
    let mut bench = bench(&url, json!({}));
    tokio::task::yield_now().await;
    bench.place(capture("a", "hall")).await;
    bench.place(capture("b", "other")).await;
    let account = {
        let registry = bench.control.broadcasts.shared.registry();
        registry.call("a").and_then(|b| b.account.clone()).expect("a call's")
    };
    let told = EventKind::Registration {
        account: account.clone(),
        state: "registered",
        sip_status: 200,
        expires_s: None,
    };
    bench.control.events().tell_of_account(told);
    let mut registered = Vec::new();
    while registered.is_empty() {
        let (path, _, body) = within(got.recv()).await.expect("open");
        if path.path().ends_with("/RegistrationStatusEvent") {
            registered.push(serde_json::from_slice::<Value>(&body).expect("JSON"));
        }
    }
    assert!(bench.control.hooks_settled(Duration::from_secs(10)).await);
    assert_eq!(
        (&registered[0]["status"], &registered[0]["appKey"]),
        (&json!("REGISTERED"), &json!("defaultApp"))
    );
    assert_eq!(
        format!(
            "{}@{}",
            registered[0]["sipLogin"].as_str().unwrap_or_default(),
            registered[0]["sipDomain"].as_str().unwrap_or_default()
        ),
        account
    );
    let more = std::iter::from_fn(|| got.try_recv().ok());
    assert_eq!(
        more.filter(|(path, ..)| path.path().ends_with("/RegistrationStatusEvent")).count(),
        0,
        "told once"
    );
}
