//! What HTTP itself refuses, cross-origin access, validation, the page and its files.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use serde_json::{Value, json};

use super::bench::{Answer, Bench, options, order};
use crate::{ControlOptions, CorsOptions, PageDefaults};

fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/json");
    let body = answer.json();
    for key in ["field", "problem", "expected"] {
        assert!(body.get(key).is_some(), "{key}: {body}");
    }
    assert!(body["problem"].is_string(), "{body}");
}

#[tokio::test]
async fn malformed_json_names_line_and_column() {
    let bench = Bench::new();
    let answer = bench.raw("call/startup", "{\"callId\": \"a\",\n \"callee\" 1}").await;
    assert_problem(&answer, 400);
    assert!(answer.body.contains("line 2, column 11"), "{}", answer.body);
    for body in ["[]", "1", "{\"a\":", "\u{0}"] {
        assert_problem(&bench.raw("call/find", body).await, 400);
    }
    assert_problem(&bench.raw("call/find", vec![b'{', 0xff, b'}']).await, 400);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let bench = Bench::new();
    for path in [
        "/nothing",
        "/rest-api",
        "/rest-api/",
        "/rest-api/call",
        "/rest-api/call/nothing",
        "/rest-api/push/sound",
    ] {
        assert_problem(&bench.get(path).await, 404);
    }
    assert_problem(&bench.post("call/nothing", json!({})).await, 404);
    let answer = bench.get("/rest-api/call/startup").await;
    assert_problem(&answer, 405);
    assert_eq!(answer.headers["allow"], "POST");
    let delete = Request::delete("/rest-api/call/find_all").body(Body::empty()).expect("a request");
    assert_problem(&bench.ask(delete).await, 405);
}

#[tokio::test]
async fn routes_that_begin_with_a_variable_can_be_merged_in() {
    let bench = Bench::new();
    let playback = axum::Router::new().route("/{app}/{file}", axum::routing::get(|| async { "FLV" }));
    let router = bench.control.router().merge(playback);
    for (path, status) in [
        ("/live/rtmp_a.flv", 200),
        ("/", 200),
        ("/page.css", 200),
        ("/statistics", 200),
        ("/rest-api/nothing", 404),
        ("/rest-api/call", 404),
        ("/rest-api/call/nothing", 404),
        ("/rest-api/call/startup", 405),
    ] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.expect("infallible");
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn bodies_are_limited_to_64_kib() {
    let bench = Bench::new();
    let body = |length: usize| format!("{{\"x\":\"{}\"}}", "a".repeat(length - 8));
    assert_eq!(body(64 * 1024).len(), 64 * 1024);
    assert_eq!(bench.raw("call/find", body(64 * 1024)).await.status, 404, "just inside");
    assert_problem(&bench.raw("call/find", body(64 * 1024 + 1)).await, 413);
    // Without an announced length.
    let chunks = (0..70).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024]));
    let streamed = Body::from_stream(futures_util::stream::iter(chunks));
    assert_problem(&bench.raw("call/find", streamed).await, 413);
}

#[tokio::test]
async fn json_is_taken_whatever_it_is_called() {
    let bench = Bench::new();
    let ask = |kind: Option<&str>, body: &str| {
        let mut request = Request::post("/rest-api/call/find");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        request.body(Body::from(body.to_owned())).expect("a request")
    };
    for kind in ["application/json; charset=UTF-8", "text/plain", "application/x-www-form-urlencoded", ""] {
        assert_eq!(bench.ask(ask(Some(kind), "{}")).await.status, 404, "{kind}: nothing matches");
        assert_problem(&bench.ask(ask(Some(kind), "a=b")).await, 400);
    }
    assert_eq!(bench.ask(ask(None, "{}")).await.status, 404);
    assert_problem(&bench.ask(ask(Some("multipart/form-data; boundary=x"), "{}")).await, 415);
    assert_eq!(bench.ask(ask(Some("text/plain"), "")).await.status, 404, "no body, no type");
}

#[tokio::test]
async fn pages_of_other_origins_order_only_where_they_may() {
    let ask = |origin: Option<&str>| {
        let mut request = Request::post("/rest-api/call/find").header("host", "127.0.0.1:8081");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.header("content-type", "text/plain").body(Body::from("{}")).expect("a request")
    };
    let open = Bench::new();
    assert_eq!(open.ask(ask(Some("http://evil.example"))).await.status, 404, "as in the original");
    let cors = CorsOptions {
        allow_origin: HeaderValue::from_static("https://ours.example"),
        ..CorsOptions::default()
    };
    let bench = Bench::with(ControlOptions { cors, ..options() }, None);
    for (origin, status) in [
        (None, 404),
        (Some("https://ours.example"), 404),
        (Some("http://127.0.0.1:8081"), 404),
        (Some("http://127.0.0.1:9000"), 403),
        (Some("http://evil.example"), 403),
        (Some("null"), 403),
    ] {
        assert_eq!(bench.ask(ask(origin)).await.status, status, "{origin:?}");
    }
    let refused = bench.ask(ask(Some("http://evil.example"))).await;
    assert_problem(&refused, 403);
    assert_eq!(refused.headers["access-control-allow-origin"], "https://ours.example");
}

#[tokio::test]
async fn other_origins_may_ask() {
    let bench = Bench::new();
    let preflight = Request::options("/rest-api/call/startup")
        .header("origin", "http://127.0.0.1:9000")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = bench.ask(preflight.body(Body::empty()).expect("a request")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    for answer in [answer, bench.get("/rest-api/call/find_all").await, bench.raw("call/startup", "x").await] {
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert_eq!(
            answer.headers["access-control-allow-headers"],
            "content-type,x-requested-with,authorization,x-api-key"
        );
        assert_eq!(answer.headers["access-control-allow-methods"], "POST");
    }
    assert!(!bench.get("/").await.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let bench = Bench::new();
    for (field, value) in [
        ("callId", json!(null)),
        ("callId", json!("")),
        ("callId", json!("x".repeat(129))),
        ("callId", json!("a\r\nb")),
        ("callId", json!({})),
        ("callee", json!("")),
        ("callee", json!("88 01")),
        ("callee", json!("sip:bob:hunter2@pbx.example")),
        ("callee", json!("sip:8801@pbx\r\nX: y")),
        ("sipLogin", json!("")),
        ("sipLogin", json!("<caster>")),
        ("sipDomain", json!("pbx example")),
        ("sipDomain", json!("pbx/example")),
        ("sipDomain", json!("[::g]")),
        ("sipPort", json!("0")),
        ("sipPort", json!(65536)),
        ("sipPort", json!("sixty")),
        ("sipPort", json!(true)),
        ("sipPassword", json!("a\nb")),
        ("sipPassword", json!("x".repeat(257))),
        ("sipRegisterRequired", json!("perhaps")),
        ("sipOutboundProxy", json!("pbx:port")),
        ("sipTransport", json!("carrier")),
        ("visibleName", json!("a\u{7}b")),
        ("hasAudio", json!("yes")),
        ("hasVideo", json!(1)),
        ("rtmpUrl", json!("http://127.0.0.1/live")),
        ("rtmpUrl", json!("rtmp://127.0.0.1:99999/live")),
        ("rtmpUrl", json!(null)),
        ("rtmpStream", json!("a b")),
        ("rtmpStream", json!(null)),
        ("appKey", json!([])),
    ] {
        let mut wrong = order("a");
        wrong[field] = value.clone();
        let answer = bench.post("call/startup", wrong).await;
        assert_problem(&answer, 400);
        assert_eq!(answer.json()["field"], field, "{value}");
        assert!(answer.json()["expected"].is_string());
    }
    let mut silent = order("a");
    (silent["hasAudio"], silent["hasVideo"]) = (json!("false"), json!("false"));
    assert_eq!(bench.post("call/startup", silent).await.json()["field"], "hasVideo");
    assert_eq!(bench.get("/rest-api/call/find_all").await.status, 404, "nothing was started");
}

#[tokio::test]
async fn no_problem_repeats_a_secret() {
    let bench = Bench::new();
    let mut wrong = order("a");
    wrong["sipPassword"] = json!("hunter2\n");
    assert!(!bench.post("call/startup", wrong.clone()).await.body.contains("hunter2"));
    wrong["callee"] = json!("bob:hunter2@pbx.example");
    assert!(!bench.post("call/startup", wrong).await.body.contains("hunter2"));
    let broken = r#"{"callId":"a","sipPassword":"hunter2" "x"}"#;
    assert!(!bench.raw("call/startup", broken).await.body.contains("hunter2"));
}

#[tokio::test]
async fn no_answer_gives_the_credentials_of_an_rtmp_url_back() {
    let mut bench = Bench::new();
    let mut secretive = order("a");
    secretive["rtmpUrl"] = json!("rtmp://bob:hunter2@127.0.0.1:1936/live");
    bench.place(secretive.clone()).await.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    let url = "rtmp://bob:hunter2@127.0.0.1/more";
    let pushed = bench.post("push/startup", json!({"streamName": "a", "rtmpUrl": url})).await;
    assert_eq!(pushed.json()["rtmpUrl"], "rtmp://127.0.0.1/more");
    // Found by the URL as it was ordered and as it is shown.
    for (path, url, shown) in [
        ("call/find", "rtmp://bob:hunter2@127.0.0.1:1936/live", "rtmp://127.0.0.1:1936/live"),
        ("call/find", "rtmp://127.0.0.1:1936/live", "rtmp://127.0.0.1:1936/live"),
        ("push/find", url, "rtmp://127.0.0.1/more"),
        ("push/find", "rtmp://127.0.0.1/more", "rtmp://127.0.0.1/more"),
    ] {
        assert_eq!(bench.post(path, json!({"rtmpUrl": url})).await.json()[0]["rtmpUrl"], shown);
    }
    secretive["callId"] = json!("b");
    let mut answers = vec![pushed, bench.post("call/startup", secretive).await];
    answers.push(bench.post("push/startup", json!({"streamName": "a", "rtmpUrl": url})).await);
    for path in ["/statistics", "/?action=stat", "/rest-api/call/find_all", "/rest-api/push/find_all"] {
        answers.push(bench.get(path).await);
    }
    for answer in answers {
        assert!(!answer.body.contains("hunter2") && !answer.body.contains("bob"), "{}", answer.body);
    }
}

#[tokio::test]
async fn the_page_and_its_files_are_served_with_types_policy_and_tags() {
    let bench = Bench::new();
    for (path, kind, within) in [
        ("/", "text/html; charset=utf-8", "id=\"callButton\""),
        ("/page.css", "text/css; charset=utf-8", ":root"),
        ("/page.js", "text/javascript; charset=utf-8", "call/startup"),
        ("/favicon.svg", "image/svg+xml", "<svg"),
        ("/vendor/mpegts.js/mpegts.js", "text/javascript; charset=utf-8", "mpegts"),
        ("/vendor/mpegts.js/LICENSE.txt", "text/plain; charset=utf-8", "Apache License"),
    ] {
        let answer = bench.get(path).await;
        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (200, &HeaderValue::from_static(kind)),
            "{path}"
        );
        assert!(answer.body.contains(within), "{path}");
        assert!(
            answer.headers["content-security-policy"]
                .to_str()
                .is_ok_and(|p| p.contains("default-src 'none'"))
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let again = Request::get(path).header("if-none-match", &answer.headers["etag"]);
        let again = bench.ask(again.body(Body::empty()).expect("a request")).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
}

#[tokio::test]
async fn the_page_has_its_stable_ids_and_loads_nothing_from_elsewhere() {
    let page = Bench::new().get("/").await.body;
    for id in [
        "sipLogin",
        "sipAuthenticationName",
        "sipPassword",
        "sipDomain",
        "sipPort",
        "sipOutboundProxy",
        "sipRegisterRequired",
        "hasAudio",
        "hasVideo",
        "rtmpUrl",
        "rtmpStream",
        "callee",
        "dtmf",
        "callButton",
        "hangupButton",
        "playButton",
        "stopButton",
        "dtmfButton",
        "callStatus",
        "streamStatus",
        "callId",
        "rtmpUrlShown",
        "video",
    ] {
        assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"));
}

#[tokio::test]
async fn the_page_gets_its_configuration() {
    let bare = Bench::new().get("/page-config.json").await.json();
    assert_eq!(bare, json!({"originRtmpUrl": null, "streamPrefix": "rtmp_", "defaults": null}));
    let page = PageDefaults {
        sip_login: "demo".to_owned(),
        sip_port: 5099,
        has_video: true,
        ..PageDefaults::default()
    };
    let origin_rtmp_url = Some("rtmp://127.0.0.1:1935/live".to_owned());
    let bench = Bench::with(ControlOptions { page: Some(page), origin_rtmp_url, ..options() }, None);
    let config: Value = bench.get("/page-config.json").await.json();
    assert_eq!(config["originRtmpUrl"], "rtmp://127.0.0.1:1935/live");
    assert_eq!(
        (&config["defaults"]["sipLogin"], &config["defaults"]["sipPort"]),
        (&json!("demo"), &json!(5099))
    );
}
