//! `/v1`: resources, idempotency keys, problems, the document.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sipcast_contract::{Command, TargetAudio, limits};
use sipcast_sip::event::CallStatus;

use super::bench::{Answer, Bench, order as compatible_order};

fn order(call_id: &str) -> Value {
    json!({
        "callId": call_id, "callee": "8801", "sipLogin": "caster", "sipPassword": "s3cret",
        "sipDomain": "pbx.example", "appKey": "app",
        "targets": [{"rtmpUrl": "rtmp://127.0.0.1/live", "rtmpStream": format!("key-of-{}", call_id.replace(' ', "-"))}],
    })
}

async fn send(bench: &Bench, method: &str, path: &str, key: Option<&str>, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(format!("/v1/{path}"));
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    bench.ask(request.body(Body::from(body.to_owned())).expect("a request")).await
}

async fn post(bench: &Bench, path: &str, body: &Value) -> Answer {
    send(bench, "POST", path, None, &body.to_string()).await
}

async fn get(bench: &Bench, path: &str) -> Answer {
    send(bench, "GET", path, None, "").await
}

fn assert_problem(answer: &Answer, status: u16, field: Option<&str>) {
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (status, Some(u64::from(status))));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.json()["field"].as_str(), field, "{}", answer.body);
    assert!(!answer.body.contains("s3cret"), "{}", answer.body);
}

#[tokio::test]
async fn a_broadcast_with_targets_from_order_to_end() {
    let mut bench = Bench::new();
    let created = post(&bench, "broadcasts", &order("a b")).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.headers["location"], "/v1/broadcasts/a%20b");
    assert_eq!(created.json()["targets"][0]["state"], "CONNECTING");
    assert!(!created.body.contains("key-of") && !created.body.contains("s3cret"));
    let call = bench.calls.recv().await.expect("placed");
    call.progress(CallStatus::Ring, 180).await;
    call.answer().await;
    let published = loop {
        if let Command::AddTarget { spec, .. } = bench.command().await {
            break spec;
        }
    };
    assert_eq!(published.stream_name.reveal(), "key-of-a-b", "exactly as ordered");

    let url = json!({"rtmpUrl": "rtmp://127.0.0.1/other/key2", "muted": true});
    let added = post(&bench, "broadcasts/a%20b/targets", &url).await;
    assert_eq!((added.status, &added.json()["muted"]), (201, &json!(true)));
    let target = format!("broadcasts/a%20b/targets/{}", added.json()["targetId"].as_str().expect("a name"));
    assert_problem(&post(&bench, "broadcasts/a%20b/targets", &url).await, 409, Some("rtmpUrl"));
    let unmuted = send(&bench, "PATCH", &target, None, "{\"muted\":false}").await;
    assert_eq!((unmuted.status, &unmuted.json()["muted"]), (200, &json!(false)));
    assert_eq!(
        get(&bench, "broadcasts/a%20b/targets").await.json()["targets"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(send(&bench, "DELETE", &target, None, "").await.status, 204);
    assert_problem(&send(&bench, "DELETE", &target, None, "").await, 404, None);
    let ended = get(&bench, &target).await;
    assert_eq!((ended.status, &ended.json()["state"]), (200, &json!("ENDED")), "still shown");

    assert_eq!(post(&bench, "broadcasts/a%20b/dtmf", &json!({"dtmf": "12#"})).await.status, 204);
    assert_eq!(get(&bench, "broadcasts?status=ESTABLISHED").await.json()["broadcasts"][0]["callId"], "a b");
    assert_eq!(get(&bench, "broadcasts/a%20b/ladder").await.status, 200);
    assert_problem(&get(&bench, &format!("{target}/conformity")).await, 404, None);
    let first = created.json()["targets"][0]["targetId"].as_str().expect("a name").to_owned();
    let report = get(&bench, &format!("broadcasts/a%20b/targets/{first}/conformity")).await;
    assert_eq!((report.status, &report.json()["service"]), (200, &Value::Null));
    assert_eq!(send(&bench, "DELETE", "broadcasts/a%20b", None, "").await.status, 204);
    bench.call_with_status("a b", "FINISH").await;
    let over = get(&bench, "broadcasts/a%20b").await.json();
    assert_eq!((&over["status"], &over["targets"][0]["state"]), (&json!("FINISH"), &json!("ENDED")));
    assert_problem(&send(&bench, "DELETE", "broadcasts/a%20b", None, "").await, 404, None);
}

#[tokio::test]
async fn the_same_key_starts_one_broadcast() {
    let mut bench = Bench::new();
    let mut nameless = order("x");
    nameless.as_object_mut().expect("an object").remove("callId");
    let body = nameless.to_string();
    let first = send(&bench, "POST", "broadcasts", Some("k1"), &body).await;
    let again = send(&bench, "POST", "broadcasts", Some("k1"), &body).await;
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
    bench.calls.recv().await.expect("placed");
    assert!(bench.calls.try_recv().is_err(), "once");
    let other = send(&bench, "POST", "broadcasts", Some("k1"), &order("y").to_string()).await;
    assert_problem(&other, 422, Some("Idempotency-Key"));
    assert_problem(
        &send(&bench, "POST", "broadcasts", Some("a b"), &body).await,
        400,
        Some("Idempotency-Key"),
    );
    // A refusal is not kept: the order may be tried again.
    let taken = send(&bench, "POST", "broadcasts", Some("k2"), &body).await;
    assert_problem(&taken, 409, Some("targets[0].rtmpUrl"));
    assert_problem(
        &send(&bench, "POST", "broadcasts", Some("k2"), &body).await,
        409,
        Some("targets[0].rtmpUrl"),
    );
}

#[tokio::test]
async fn wrong_orders_are_problems_that_name_the_field() {
    let bench = Bench::new();
    let with = |field: &str, value: Value| {
        let mut order = order("a");
        order[field] = value;
        order
    };
    for (order, status, field) in [
        (with("sipPort", json!("5060")), 400, Some("sipPort")),
        (with("nonsense", json!(1)), 400, None),
        (with("sipPort", json!(0)), 422, Some("sipPort")),
        (with("callee", Value::Null), 422, Some("callee")),
        (with("targets", json!([{"rtmpUrl": "http://x/y/z"}])), 422, Some("targets[0].rtmpUrl")),
        (with("targets", json!([{"rtmpUrl": "rtmp://host.invalid/y/z"}])), 422, Some("targets[0].rtmpUrl")),
        (
            with(
                "targets",
                json!([{"rtmpUrl": "rtmp://127.0.0.1/y/z"}, {"rtmpUrl": "rtmp://127.0.0.1/y/z"}]),
            ),
            409,
            Some("targets[1].rtmpUrl"),
        ),
    ] {
        let answer = post(&bench, "broadcasts", &order).await;
        if field.is_some() {
            assert_problem(&answer, status, field);
        }
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert_eq!(
        get(&bench, "broadcasts").await.json(),
        json!({"broadcasts": [], "next": null}),
        "nothing half made"
    );
    let raw = Request::post("/v1/broadcasts").body(Body::from("{}")).expect("a request");
    assert_problem(&bench.ask(raw).await, 415, None);
    assert_problem(&get(&bench, "broadcasts?limit=0").await, 400, Some("limit"));
    assert_problem(&get(&bench, "broadcasts?nonsense=1").await, 400, None);
    assert_problem(&get(&bench, "broadcasts/%ff").await, 400, None);
    assert_problem(&get(&bench, "broadcasts/none").await, 404, None);
    assert_problem(&get(&bench, "broadcasts/none/targets").await, 404, None);
    assert_problem(&get(&bench, "nothing").await, 404, None);
    let wrong = send(&bench, "PUT", "broadcasts", None, "").await;
    assert_problem(&wrong, 405, None);
    assert!(wrong.headers.contains_key("allow"));
}

#[tokio::test]
async fn pages_follow_each_other() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        let _ = bench.place(compatible_order(name)).await;
    }
    let page = get(&bench, "broadcasts?limit=2").await.json();
    assert_eq!(page["broadcasts"].as_array().map(Vec::len), Some(2));
    let rest = get(&bench, &format!("broadcasts?limit=2&after={}", page["next"])).await.json();
    assert_eq!((&rest["broadcasts"][0]["callId"], &rest["next"]), (&json!("c"), &Value::Null));
    assert_eq!(get(&bench, "broadcasts?callee=nobody").await.json()["broadcasts"], json!([]));
}

#[tokio::test]
async fn the_document_and_its_page_are_served_from_here() {
    let bench = Bench::new();
    let document = get(&bench, "openapi.json").await;
    assert_eq!((document.status, document.json()["info"]["title"].as_str()), (200, Some("sipcast")));
    let page = bench.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-security-policy"].to_str().is_ok_and(|p| p.starts_with("default-src 'self'"))
    );
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "{}", page.body);
}

#[tokio::test]
async fn targets_say_how_their_sound_is_coded() {
    let mut bench = Bench::new();
    let mut source = order("a");
    source["targets"][0]["rtmpAudio"] = json!("source");
    let created = post(&bench, "broadcasts", &source).await;
    assert_eq!((created.status, &created.json()["targets"][0]["rtmpAudio"]), (201, &json!("source")));
    bench.calls.recv().await.expect("placed").answer().await;
    let published = loop {
        if let Command::AddTarget { spec, .. } = bench.command().await {
            break spec;
        }
    };
    assert_eq!(published.audio, TargetAudio::Source);
    let plain = post(&bench, "broadcasts/a/targets", &json!({"rtmpUrl": "rtmp://127.0.0.1/other/key"})).await;
    assert_eq!((plain.status, &plain.json()["rtmpAudio"]), (201, &json!("aac")));
    let target = json!({"rtmpUrl": "rtmp://127.0.0.1/other/key3", "rtmpAudio": "mp3"});
    assert_problem(&post(&bench, "broadcasts/a/targets", &target).await, 422, Some("rtmpAudio"));
    let mut refused = order("b");
    refused["targets"][0] = json!({
        "rtmpService": "youtube", "rtmpStream": "0123456789abcdef-key", "rtmpAudio": "source",
    });
    let refusal = post(&bench, "broadcasts", &refused).await;
    assert_problem(&refusal, 422, Some("targets[0].rtmpAudio"));
    assert_eq!(refusal.json()["expected"], "aac, or no rtmpAudio");
}

#[tokio::test]
async fn a_target_needs_a_url_or_a_service_that_has_one() {
    let bench = Bench::new();
    let with = |target: Value| {
        let mut order = order("a");
        order["targets"][0] = target;
        order
    };
    for (target, field) in [
        (json!({"rtmpStream": "key"}), "targets[0].rtmpUrl"),
        (json!({"rtmpStream": "key", "rtmpService": "wowza"}), "targets[0].rtmpUrl"),
        (json!({"rtmpStream": "key", "rtmpService": "myspace"}), "targets[0].rtmpService"),
        (json!({"rtmpStream": "key", "rtmpService": "youtube"}), "targets[0].rtmpStream"),
        (
            json!({"rtmpUrl": "rtmp://127.0.0.1/live/key", "rtmpBackupUrl": "rtmp://no-such-host.invalid/live"}),
            "targets[0].rtmpBackupUrl",
        ),
        (
            json!({"rtmpUrl": "rtmp://127.0.0.1/live/key", "rtmpBackupUrl": "rtmp://127.0.0.1/live"}),
            "targets[0].rtmpBackupUrl",
        ),
    ] {
        let refusal = post(&bench, "broadcasts", &with(target)).await;
        assert_problem(&refusal, if refusal.status == 409 { 409 } else { 422 }, Some(field));
    }
}

#[tokio::test]
async fn the_document_knows_the_limit_of_targets() {
    let document = get(&Bench::new(), "openapi.json").await.json();
    let targets = &document["components"]["schemas"]["BroadcastOrder"]["properties"]["targets"];
    assert_eq!(targets["maxItems"], json!(limits::TARGETS_PER_BROADCAST_MAX));
}
