//! What all faces share: keys, rates, hosts that must not be reached, events, metrics.

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::json;
use tower::ServiceExt;

use super::bench::{Answer, Bench, capture, options, order, within};
use crate::{AccessRules, ApiKeys, ControlOptions, FaceLimits};

const KEY: &str = "0123456789abcdef";

fn request(method: &str, path: &str, key: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.body(Body::from("{}")).expect("a request")
}

async fn ask(bench: &Bench, method: &str, path: &str, key: Option<&str>) -> Answer {
    bench.ask(request(method, path, key)).await
}

#[tokio::test]
async fn every_face_wants_a_key_once_one_is_set() {
    let api_keys = ApiKeys::new([KEY]).expect("a key");
    let bench = Bench::with(ControlOptions { api_keys, ..options() }, None);
    for (method, path) in [
        ("POST", "/rest-api/call/startup"),
        ("GET", "/rest-api/call/find_all"),
        ("POST", "/RESTCall/getCalls"),
        ("GET", "/v1/broadcasts"),
        ("GET", "/v1/events"),
        ("GET", "/metrics"),
        ("GET", "/statistics"),
        ("GET", "/?action=stat"),
        ("GET", "/page-config.json"),
        ("GET", "/calls/x/ladder"),
        ("GET", "/nonsense"),
    ] {
        for key in [None, Some("wrong")] {
            let answer = ask(&bench, method, path, key).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(answer.headers.contains_key("www-authenticate"));
            assert!(answer.body.contains("api_keys") && !answer.body.contains("wrong"), "{}", answer.body);
        }
        if path != "/v1/events" {
            assert_ne!(ask(&bench, method, path, Some(KEY)).await.status, 401, "{method} {path}");
        }
    }
    for path in ["/", "/page.js", "/v1/openapi.json", "/favicon.svg"] {
        assert_eq!(ask(&bench, "GET", path, None).await.status, 200, "{path}");
    }
    assert_eq!(ask(&bench, "OPTIONS", "/rest-api/call/startup", None).await.status, 200, "a preflight");
    let refused = ask(&bench, "GET", "/v1/broadcasts", None).await;
    assert_eq!(refused.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn requests_and_orders_that_come_too_often_are_told_when_to_come_again() {
    let limits = FaceLimits { requests_per_s_max: 2, ..FaceLimits::default() };
    let bench = Bench::with(ControlOptions { limits, ..options() }, None);
    for _ in 0..4 {
        assert_eq!(ask(&bench, "GET", "/statistics", None).await.status, 200);
    }
    let answer = ask(&bench, "GET", "/statistics", None).await;
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().ok()), (429, Some("1")));

    let limits = FaceLimits { orders_per_s_max: 1, ..FaceLimits::default() };
    let bench = Bench::with(ControlOptions { limits, ..options() }, None);
    let mut answers = Vec::new();
    for n in ["a", "b", "c"] {
        answers.push(bench.post("call/startup", capture(n, n)).await);
    }
    assert_eq!(answers.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200, 429]);
    assert_eq!(answers[2].headers["retry-after"], "1");
}

#[tokio::test]
async fn hosts_that_must_not_be_reached_are_refused_by_field() {
    let sip_access = AccessRules::new(&["pbx.example"], &["192.0.2.0/24"]).expect("rules");
    let rtmp_access = AccessRules::new(&[], &["169.254.0.0/16", "*.evil.example"]).expect("rules");
    let bench = Bench::with(ControlOptions { sip_access, rtmp_access, ..options() }, None);
    let with = |field: &str, value: &str| {
        let mut order = order("x");
        order[field] = json!(value);
        order
    };
    for (field, value) in [
        ("sipDomain", "other.example"),
        ("sipDomain", "192.0.2.7"),
        ("sipOutboundProxy", "edge.other.example:5061;transport=tls"),
        ("callee", "sip:8801@other.example"),
        ("callee", "8801@192.0.2.7"),
        ("rtmpUrl", "rtmp://169.254.169.254/latest"),
        ("rtmpUrl", "rtmp://in.evil.example/live"),
    ] {
        let answer = bench.post("call/startup", with(field, value)).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (403, Some(field)), "{value}");
        assert!(!answer.body.contains(value), "{}", answer.body);
    }
    assert_eq!(bench.post("call/startup", order("y")).await.status, 200);
    let body = json!({"callee": "1", "sipLogin": "a", "sipDomain": "pbx.example",
        "targets": [{"rtmpUrl": "rtmp://169.254.169.254/live/x"}]});
    let request = Request::post("/v1/broadcasts").header("content-type", "application/json");
    let answer = bench.ask(request.body(Body::from(body.to_string())).expect("a request")).await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (403, Some("targets[0].rtmpUrl")));
    let metrics = bench.get("/metrics").await.body;
    assert!(metrics.contains("sipcast_refusals_total{cause=\"sip_destination\"} 5"), "{metrics}");
    assert!(metrics.contains("sipcast_refusals_total{cause=\"rtmp_target\"} 3"), "{metrics}");
}

/// Opens the stream and gives its text until `enough` holds for it.
async fn listen(bench: &Bench, path: &str, last_id: Option<u64>, enough: impl Fn(&str) -> bool) -> String {
    let mut request = Request::get(path);
    if let Some(id) = last_id {
        request = request.header("last-event-id", id.to_string());
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = bench.control.router().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut frames = response.into_body().into_data_stream();
    let mut text = String::new();
    while !enough(&text) {
        let frame = within(frames.next()).await.expect("open").expect("sound");
        text.push_str(std::str::from_utf8(&frame).expect("text"));
    }
    text
}

#[tokio::test]
async fn events_are_streamed_and_resumed() {
    let mut bench = Bench::new();
    let before = bench.control.events().last_id();
    let call = bench.place(capture("a", "s")).await;
    call.end(sipcast_sip::event::CallStatus::Busy, 486, "Busy Here").await;
    let all = listen(&bench, "/v1/events?callId=a", Some(before), |t| t.contains("event: ended")).await;
    assert!(all.starts_with(&format!("id: {}\nevent: ordered\ndata: {{", before + 1)), "{all}");
    assert!(!all.contains("s3cret"), "{all}");
    let path = format!("/v1/events?types=ended&lastEventId={before}");
    let some = listen(&bench, &path, None, |t| t.contains("\n\n")).await;
    assert!(some.contains("event: ended") && some.contains("\"sipStatus\":486"), "{some}");
    let gap = listen(&bench, "/v1/events", Some(1), |t| t.contains("\n\n")).await;
    assert!(gap.contains("event: gap\ndata: {\"resumeAt\":"), "{gap}");
    assert_eq!(bench.get("/v1/events?types=nonsense").await.json()["field"], "types");
    assert_eq!(bench.get("/v1/events?nonsense=1").await.status, 400);
}

#[tokio::test]
async fn listeners_are_limited() {
    let limits = FaceLimits { event_streams_max: 1, ..FaceLimits::default() };
    let bench = Bench::with(ControlOptions { limits, ..options() }, None);
    let request = || Request::get("/v1/events").body(Body::empty()).expect("a request");
    let first = bench.control.router().oneshot(request()).await.expect("infallible");
    assert_eq!(bench.ask(request()).await.status, 503);
    drop(first);
    within(async {
        // The task notices that the client is gone.
        while bench.control.router().oneshot(request()).await.expect("infallible").status() != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn metrics_count_without_names() {
    let mut bench = Bench::new();
    let call = bench.place(order("secret-call")).await;
    call.answer().await;
    bench.call_with_status("secret-call", "ESTABLISHED").await;
    call.end(sipcast_sip::event::CallStatus::Finish, 200, "").await;
    bench.call_with_status("secret-call", "FINISH").await;
    bench.get("/rest-api/nonsense/secret-path").await;
    let answer = bench.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let text = answer.body;
    for line in [
        "sipcast_calls_ordered_total 1",
        "sipcast_calls_ended_total{outcome=\"finished\"} 1",
        "sipcast_http_requests_total{route=\"/rest-api/call/startup\",method=\"POST\",status=\"200\"} 1",
        "sipcast_events_total{type=\"ordered\"} 1",
        "sipcast_refusals_total{cause=\"key\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    for name in ["sipcast_process_cpu_seconds_total ", "sipcast_process_resident_memory_bytes "] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // Figures, such as octets of memory, may hold the digits of a name by chance: what is looked at is all but values.
    let without_value = |line: &str| match line.rsplit_once(' ') {
        Some((name, _)) if !line.starts_with('#') => name.to_owned(),
        _ => line.to_owned(),
    };
    let named: String = text.lines().map(|line| without_value(line) + "\n").collect();
    for secret in ["secret-call", "secret-path", "127.0.0.1", "8801", "caster"] {
        assert!(!named.contains(secret), "{secret} in\n{text}");
    }
    if let Some(path) = std::env::var_os("SIPCAST_TEST_METRICS") {
        std::fs::write(path, text).expect("writable");
    }
}
