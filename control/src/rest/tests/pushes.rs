//! `/push/*`.

use serde_json::{Value, json};
use sipcast_contract::{BroadcastId, Command, Report, RtmpTarget, TargetAudio};
use sipcast_sip::event::CallStatus;

use super::bench::{Bench, capture, order};

async fn added(bench: &mut Bench) -> Box<RtmpTarget> {
    loop {
        if let Command::AddTarget { spec, .. } = bench.command().await {
            return spec;
        }
    }
}

fn push(stream: &str, url: &str) -> Value {
    json!({"streamName": stream, "rtmpUrl": url, "rtmpTransponderFullUrl": "false", "options": {}})
}

#[tokio::test]
async fn one_call_fans_out_to_many_targets() {
    let mut bench = Bench::new();
    let call = bench.place(capture("a", "hall")).await;
    // Ordered before media is agreed on: waits.
    let early = bench.post("push/startup", push("hall", "rtmp://127.0.0.1/one")).await;
    assert_eq!(early.status, 200);
    let transponder = early.json();
    let keys: Vec<&str> = transponder.as_object().expect("object").keys().map(String::as_str).collect();
    let mut expected =
        ["mediaSessionId", "streamName", "rtmpUrl", "width", "height", "muted", "soundEnabled", "options"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(transponder["streamName"], "rtmp_hall");
    assert_eq!((&transponder["muted"], &transponder["soundEnabled"]), (&json!(false), &json!(false)));
    call.answer().await;
    assert_eq!(added(&mut bench).await.stream_name.reveal(), "rtmp_hall");
    for url in ["rtmp://127.0.0.1/two", "rtmp://user:pw@127.0.0.1:1936/one"] {
        assert_eq!(bench.post("push/startup", push("rtmp_hall", url)).await.status, 200);
        added(&mut bench).await;
    }
    assert_eq!(bench.get("/rest-api/push/find_all").await.json().as_array().map(Vec::len), Some(3));
    for (filter, count) in [
        (json!({"streamName": "hall"}), 3),
        (json!({"streamName": "rtmp_hall"}), 3),
        (json!({"rtmpUrl": "rtmp://127.0.0.1/two"}), 1),
        (json!({"streamName": "rtmp_hall", "rtmpUrl": "rtmp://127.0.0.1/one"}), 1),
    ] {
        let found = bench.post("push/find", filter.clone()).await.json();
        assert_eq!(found.as_array().map(Vec::len), Some(count), "{filter}");
    }
    assert_eq!(bench.post("push/find", json!({"streamName": "other"})).await.status, 404);

    call.end(CallStatus::Finish, 200, "").await;
    bench.call_with_status("a", "FINISH").await;
    assert_eq!(bench.post("push/find", json!({"streamName": "hall"})).await.status, 404);
}

#[tokio::test]
async fn a_direct_publication_can_be_pushed_further_but_not_twice_to_the_same_place() {
    let mut bench = Bench::new();
    bench.place(order("a")).await.answer().await;
    added(&mut bench).await;
    assert_eq!(bench.get("/rest-api/push/find_all").await.status, 404, "the direct one is no push");
    assert_eq!(bench.post("push/startup", push("a", "rtmp://127.0.0.1/live")).await.status, 409);
    assert_eq!(bench.post("push/startup", push("rtmp_a", "rtmp://127.0.0.1/more")).await.status, 200);
    assert_eq!(bench.post("push/startup", push("a", "rtmp://127.0.0.1/more")).await.status, 409);
}

#[tokio::test]
async fn a_complete_url_takes_no_name() {
    let mut bench = Bench::new();
    bench.place(capture("a", "hall")).await.answer().await;
    let order = json!({
        "streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live/key?x=y", "rtmpTransponderFullUrl": true,
        "rtmpFlashVersion": "LNX 9,0,124,2",
    });
    let answer = bench.post("push/startup", order).await;
    assert_eq!((answer.status, &answer.json()["streamName"]), (200, &json!("rtmp_hall")));
    assert!(!answer.body.contains("key"), "the stream's key is not given back: {}", answer.body);
    let spec = added(&mut bench).await;
    assert_eq!(
        (spec.stream_name.reveal().as_str(), spec.url.tc_url().as_str()),
        ("key?x=y", "rtmp://127.0.0.1/live")
    );
    assert_eq!(spec.flash_version, "LNX 9,0,124,2");
}

#[tokio::test]
async fn mute_unmute_and_terminate_by_media_session_id() {
    let mut bench = Bench::new();
    bench.place(capture("a", "hall")).await.answer().await;
    let mut order = push("hall", "rtmp://127.0.0.1/live");
    order["options"] = json!({"action": "mute"});
    let transponder = bench.post("push/startup", order).await.json();
    assert_eq!((&transponder["muted"], &transponder["options"]), (&json!(true), &json!({"action": "mute"})));
    assert!(added(&mut bench).await.muted);
    let session = json!({"mediaSessionId": transponder["mediaSessionId"]});
    for (path, wanted) in [("push/unmute", false), ("push/mute", true)] {
        let answer = bench.post(path, session.clone()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        assert!(matches!(bench.command().await, Command::SetMuted { muted, .. } if muted == wanted));
        assert_eq!(bench.get("/rest-api/push/find_all").await.json()[0]["muted"], json!(wanted));
    }
    assert_eq!(bench.post("push/terminate", session.clone()).await.status, 200);
    assert!(matches!(bench.command().await, Command::RemoveTarget { .. }));
    for path in ["push/terminate", "push/mute", "push/unmute"] {
        let answer = bench.post(path, session.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (404, &json!("mediaSessionId")));
        assert_eq!(bench.post(path, json!({})).await.status, 400);
    }
    assert_eq!(
        bench.post("push/startup", push("hall", "rtmp://127.0.0.1/live")).await.status,
        200,
        "free again"
    );
}

#[tokio::test]
async fn a_call_that_ends_takes_no_push() {
    let mut bench = Bench::new();
    let call = bench.place(capture("a", "hall")).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    assert_eq!(bench.post("call/terminate", json!({"callId": "a"})).await.status, 200);
    // Whether it is over yet or only about to be.
    let answer = bench.post("push/startup", push("hall", "rtmp://127.0.0.1/live")).await;
    assert_eq!((answer.status, &answer.json()["field"]), (404, &json!("streamName")));
}

#[tokio::test]
async fn the_picture_size_is_shown_once_known() {
    let mut bench = Bench::new();
    bench.place(capture("a", "hall")).await.answer().await;
    let size = Report::PictureSize { broadcast: BroadcastId(1), width: 1280, height: 720 };
    bench.reports.send(size).expect("heard");
    bench.reports.send(Report::KeyframeOverdue { broadcast: BroadcastId(1) }).expect("heard");
    bench.post("push/startup", push("hall", "rtmp://127.0.0.1/live")).await;
    super::bench::within(async {
        while bench.get("/rest-api/push/find_all").await.json()[0]["width"] != 1280 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_orders_are_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.post("push/startup", push("hall", "rtmp://127.0.0.1/live")).await.status, 404);
    bench.place(capture("a", "hall")).await;
    for (order, field) in [
        (json!({"streamName": "hall"}), "rtmpUrl"),
        (json!({"rtmpUrl": "rtmp://127.0.0.1/live"}), "streamName"),
        (push("hall", "http://127.0.0.1/live"), "rtmpUrl"),
        (push("hall", "rtmp://127.0.0.1"), "rtmpUrl"),
        (push("hall", "rtmp://-none-.invalid/live"), "rtmpUrl"),
        (json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live", "options": []}), "options"),
        (
            json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/a", "options": {"action": "x"}}),
            "options.action",
        ),
        (
            json!({"streamName": "hall", "rtmpUrl": "rtmp://h/a/b", "rtmpTransponderFullUrl": "maybe"}),
            "rtmpTransponderFullUrl",
        ),
    ] {
        let answer = bench.post("push/startup", order.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{order}");
    }
    for n in 0..sipcast_contract::limits::TARGETS_PER_BROADCAST_MAX {
        let answer = bench.post("push/startup", push("hall", &format!("rtmp://127.0.0.1/{n}"))).await;
        assert_eq!(answer.status, 200, "{n}");
    }
    assert_eq!(bench.post("push/startup", push("hall", "rtmp://127.0.0.1/more")).await.status, 409);
}

#[tokio::test]
async fn targets_get_the_calls_own_sound_where_that_is_ordered() {
    let mut bench = Bench::new();
    let mut direct = order("a");
    direct["rtmpAudio"] = json!("source");
    bench.place(direct).await.answer().await;
    assert_eq!(added(&mut bench).await.audio, TargetAudio::Source);
    for (n, (field, options, expected)) in [
        (Value::Null, json!({}), TargetAudio::Aac),
        (json!("source"), json!({}), TargetAudio::Source),
        (Value::Null, json!({"audio": "Source"}), TargetAudio::Source),
        (json!("aac"), json!({"audio": "source"}), TargetAudio::Aac),
    ]
    .into_iter()
    .enumerate()
    {
        let mut ordered = push("a", &format!("rtmp://127.0.0.1/{n}"));
        ordered["rtmpAudio"] = field;
        ordered["options"] = options;
        let answer = bench.post("push/startup", ordered).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(added(&mut bench).await.audio, expected);
    }
}

#[tokio::test]
async fn orders_of_sound_that_cannot_be_name_field_problem_and_remedy() {
    let mut bench = Bench::new();
    bench.place(capture("a", "hall")).await.answer().await;
    let mut unknown = push("hall", "rtmp://127.0.0.1/live");
    unknown["rtmpAudio"] = json!("opus");
    let mut no_text = push("hall", "rtmp://127.0.0.1/live");
    no_text["options"] = json!({"audio": true});
    let mut refused = push("hall", "rtmp://a.rtmp.youtube.com/live2/0123456789abcdef-key");
    refused["rtmpTransponderFullUrl"] = json!(true);
    refused["rtmpAudio"] = json!("source");
    for (ordered, field, expected) in [
        (unknown, "rtmpAudio", "aac or source"),
        (no_text, "options.audio", "aac or source"),
        (refused, "rtmpAudio", "aac, or no rtmpAudio"),
    ] {
        let answer = bench.post("push/startup", ordered).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["field"], &problem["expected"]),
            (400, &json!(field), &json!(expected))
        );
    }
    let mut direct = order("b");
    direct["rtmpService"] = json!("twitch");
    direct["rtmpUrl"] = json!("rtmp://live.twitch.tv/app");
    direct["rtmpStream"] = json!("live_0123456789abcdef");
    direct["rtmpAudio"] = json!("source");
    let answer = bench.post("call/startup", direct).await;
    assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("rtmpAudio")), "before dialling");
    assert!(answer.body.contains("Twitch"), "{}", answer.body);
    assert_eq!(bench.post("call/find", json!({"callId": "b"})).await.status, 404);
}

#[tokio::test]
async fn a_fault_of_the_backup_is_one_of_its_field() {
    let mut bench = Bench::new();
    let mut direct = order("a");
    direct["rtmpBackupUrl"] = json!("rtmp://127.0.0.1/backup");
    bench.place(direct.clone()).await.answer().await;
    let published = [added(&mut bench).await, added(&mut bench).await];
    assert_eq!(published[0].stream_name, published[1].stream_name, "the same name at both");
    direct["callId"] = json!("b");
    direct["rtmpUrl"] = json!("rtmp://127.0.0.1/elsewhere");
    let taken = bench.post("call/startup", direct).await;
    assert_eq!((taken.status, &taken.json()["field"]), (409, &json!("rtmpBackupUrl")), "{}", taken.body);
    let mut pushed = push("a", "rtmp://127.0.0.1/more");
    pushed["rtmpBackupUrl"] = json!("rtmp://no-such-host.invalid/live");
    let unknown = bench.post("push/startup", pushed.clone()).await;
    assert_eq!((unknown.status, &unknown.json()["field"]), (400, &json!("rtmpBackupUrl")));
    pushed["rtmpBackupUrl"] = json!("rtmp://127.0.0.1/backup");
    let taken = bench.post("push/startup", pushed).await;
    assert_eq!((taken.status, &taken.json()["field"]), (409, &json!("rtmpBackupUrl")));
}
