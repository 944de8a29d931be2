//! `/mixer/*`, `/pull/rtmp/*`, `/stream/*`, and the legacy `/RESTCall/*`: what the fourth, first and conference demo
//! pages send (wcs-api 1.9).

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sipcast_contract::{Command, Report, TargetState};
use sipcast_sip::event::CallStatus;

use super::bench::{Answer, Bench, capture, order, within};

async fn empty_200(bench: &Bench, path: &str, body: Value) {
    let answer = bench.post(path, body).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
}

async fn until(bench: &mut Bench, fits: impl Fn(&Command) -> bool) -> Command {
    loop {
        let command = bench.command().await;
        if fits(&command) {
            return command;
        }
    }
}

async fn legacy(bench: &Bench, path: &str, body: Value) -> Answer {
    let request = Request::post(format!("/RESTCall/{path}")).header("content-type", "application/json");
    bench.ask(request.body(Body::from(body.to_string())).expect("a request")).await
}

#[tokio::test]
async fn two_calls_meet_in_a_mixer_and_hear_each_other() {
    let mut bench = Bench::new();
    for (call_id, stream) in [("k3Qa-77Zp", "one"), ("x9-bb", "two")] {
        bench.place(capture(call_id, stream)).await.answer().await;
        until(&mut bench, |command| matches!(command, Command::SetMedia { .. })).await;
    }
    assert_eq!(bench.get("/rest-api/mixer/find_all").await.body, "[]");
    let mixer = json!({"uri": "mixer://room", "localStreamName": "mix"});
    empty_200(&bench, "mixer/startup", mixer.clone()).await;
    let Command::Mix { broadcast: room } = until(&mut bench, |c| matches!(c, Command::Mix { .. })).await
    else {
        unreachable!()
    };
    assert_eq!(bench.post("mixer/startup", mixer).await.status, 409);
    let mut lines = Vec::new();
    for stream in ["one", "rtmp_two"] {
        let input = json!({"uri": "mixer://room", "localStreamName": "mix", "remoteStreamName": stream});
        empty_200(&bench, "mixer/add", input.clone()).await;
        let Command::AddLine { mut sender, line, .. } = bench.command().await else { panic!("no line") };
        let Command::AddInput { broadcast, line: input_line, mut receiver } = bench.command().await else {
            panic!("no input");
        };
        assert!(
            broadcast == room && line == input_line && sender.push(&[1; 4]) && receiver.pull(&mut [0; 4])
        );
        if lines.is_empty() {
            // The first that has a picture is shown.
            assert!(matches!(bench.command().await, Command::AddPictures { line: of, .. } if of == line));
            assert!(matches!(bench.command().await, Command::ShowPictures { receiver: Some(_), .. }));
        }
        lines.push(line);
        assert_eq!(bench.post("mixer/add", input).await.status, 409);
    }
    let found = bench.get("/rest-api/mixer/find_all").await.json();
    assert_eq!(
        (&found[0]["uri"], &found[0]["localStreamName"], &found[0]["status"]),
        (&json!("mixer://room"), &json!("mix"), &json!("PROCESSED_LOCAL"))
    );
    let sessions: Vec<&str> =
        found[0]["mediaSessions"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(sessions.len() == 2 && sessions[0].contains("k3Qa-77Zp") && sessions[1].contains("x9-bb"));
    // The conference page: each hears the mix without itself, by either name of the mixer.
    for (stream, without) in [("room-one", lines[0]), ("mix-two", lines[1])] {
        let call_id = if without == lines[0] { "k3Qa-77Zp" } else { "x9-bb" };
        empty_200(&bench, "call/inject_stream", json!({"callId": call_id, "streamName": stream})).await;
        let Command::AddLine { broadcast, without: left_out, .. } = bench.command().await else {
            panic!("no line");
        };
        assert_eq!((broadcast, left_out), (room, Some(without)));
        assert!(matches!(bench.command().await, Command::PlayLine { line: Some(_), .. }));
        // Each sees the other.
        let Command::AddPictures { broadcast: seen, .. } = bench.command().await else {
            panic!("no pictures")
        };
        let Command::PlayPictures { broadcast: callee, pictures: Some(_) } = bench.command().await else {
            panic!("no pictures");
        };
        assert!(seen != callee && seen != room);
    }
    // The mix is a stream like any other.
    let push = json!({"streamName": "mix", "rtmpUrl": "rtmp://127.0.0.1/live", "options": {}});
    assert_eq!(bench.post("push/startup", push).await.json()["streamName"], "rtmp_mix");
    until(&mut bench, |c| matches!(c, Command::AddTarget { broadcast, .. } if *broadcast == room)).await;
    assert_eq!(bench.get("/rest-api/call/find_all").await.json().as_array().map(Vec::len), Some(2));
    assert_eq!(bench.post("call/find", json!({"callId": "mixer://room"})).await.status, 404);
    assert_eq!(bench.post("call/terminate", json!({"callId": "mixer://room"})).await.status, 404);

    let input = json!({"uri": "mixer://room", "localStreamName": "mix", "remoteStreamName": "one"});
    empty_200(&bench, "mixer/remove", input.clone()).await;
    assert!(matches!(bench.command().await, Command::RemoveInput { line, .. } if line == lines[0]));
    assert!(matches!(bench.command().await, Command::AddPictures { line, .. } if line == lines[1]));
    assert!(matches!(bench.command().await, Command::ShowPictures { receiver: Some(_), .. }));
    assert_eq!(bench.post("mixer/remove", input).await.status, 404);
    empty_200(&bench, "mixer/terminate", json!({"uri": "mixer://room"})).await;
    until(&mut bench, |c| matches!(c, Command::Close { broadcast } if *broadcast == room)).await;
    within(async {
        while bench.get("/rest-api/mixer/find_all").await.body != "[]" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(bench.post("mixer/terminate", json!({"uri": "mixer://room"})).await.status, 404);
}

#[tokio::test]
async fn a_call_that_ended_is_in_no_mixer() {
    let mut bench = Bench::new();
    let call = bench.place(capture("a", "one")).await;
    call.answer().await;
    empty_200(&bench, "mixer/startup", json!({"uri": "mixer://m"})).await;
    empty_200(&bench, "mixer/add", json!({"uri": "mixer://m", "remoteStreamName": "one"})).await;
    call.end(CallStatus::Finish, 200, "").await;
    bench.call_with_status("a", "FINISH").await;
    assert_eq!(bench.get("/rest-api/mixer/find_all").await.json()[0]["mediaSessions"], json!([]));
    assert_eq!(
        bench.post("mixer/add", json!({"uri": "mixer://m", "remoteStreamName": "one"})).await.status,
        404
    );
    for uri in ["", "room", "mixer://", "mixer://a b"] {
        let answer = bench.post("mixer/startup", json!({"uri": uri})).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("uri")), "{uri}");
    }
    let _ = &mut bench;
}

#[tokio::test]
async fn a_stream_is_pulled_pushed_and_ended() {
    let mut bench = Bench::new();
    assert_eq!(bench.get("/rest-api/pull/rtmp/find_all").await.body, "[]");
    let uri = "rtmp://127.0.0.1:1936/live/talk";
    empty_200(&bench, "pull/rtmp/pull", json!({"uri": uri})).await;
    let Command::Pull { broadcast, target, spec } = bench.command().await else { panic!("no pull") };
    assert!(spec.plays && spec.stream_name.reveal() == "talk" && spec.url.app() == "live");
    assert_eq!(bench.post("pull/rtmp/pull", json!({"uri": uri})).await.status, 409);
    let found = bench.get("/rest-api/pull/rtmp/find_all").await.json();
    let mut keys: Vec<&str> = found[0].as_object().expect("object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["hasAudio", "hasVideo", "localMediaSessionId", "localStreamName", "record", "status", "uri"]
    );
    assert_eq!((&found[0]["uri"], &found[0]["localStreamName"]), (&json!(uri), &json!("talk")));
    bench.reports.send(Report::Target { broadcast, target, state: TargetState::Publishing }).expect("heard");
    within(async {
        while bench.get("/rest-api/pull/rtmp/find_all").await.json()[0]["status"] != "PROCESSED_REMOTE" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let push = json!({"streamName": "talk", "rtmpUrl": "rtmp://127.0.0.1/more", "options": {}});
    assert_eq!(bench.post("push/startup", push).await.status, 200);
    until(&mut bench, |c| matches!(c, Command::AddTarget { .. })).await;
    let session = bench.get("/rest-api/push/find_all").await.json()[0]["mediaSessionId"].clone();
    let on = json!({"mediaSessionId": session, "soundFile": "sample.wav"});
    assert_eq!(bench.post("push/sound_on", on).await.status, 409, "its sound is not ours to code");
    empty_200(&bench, "pull/rtmp/terminate", json!({"uri": uri})).await;
    until(&mut bench, |c| matches!(c, Command::Close { .. })).await;
    within(async {
        while bench.get("/rest-api/pull/rtmp/find_all").await.body != "[]" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(bench.post("pull/rtmp/terminate", json!({"uri": uri})).await.status, 404);
    for (body, field) in [
        (json!({"uri": "http://x/y/z"}), "uri"),
        (json!({"uri": "rtmp://127.0.0.1/live"}), "uri"),
        (json!({"uri": uri, "record": true}), "record"),
    ] {
        let answer = bench.post("pull/rtmp/pull", body).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)));
    }
}

#[tokio::test]
async fn streams_are_found_and_ended() {
    let mut bench = Bench::new();
    assert_eq!(bench.get("/rest-api/stream/find_all").await.status, 404);
    bench.place(capture("a", "hall")).await.answer().await;
    bench.place(order("b")).await.answer().await;
    empty_200(&bench, "mixer/startup", json!({"uri": "mixer://m"})).await;
    let all = bench.get("/rest-api/stream/find_all").await.json();
    let names: Vec<&str> =
        all.as_array().expect("a list").iter().filter_map(|stream| stream["name"].as_str()).collect();
    assert_eq!(names, ["hall", "b", "m"]);
    let found = bench.post("stream/find", json!({"name": "rtmp_hall", "published": "true"})).await.json();
    assert_eq!((&found[0]["name"], &found[0]["mediaProvider"]), (&json!("hall"), &json!("SIP")));
    assert_eq!(bench.post("stream/find", json!({"published": false})).await.status, 404);
    let ids = json!({"mediaSessionIds": [all[2]["mediaSessionId"], "other"]});
    assert_eq!(bench.post("stream/find", ids.clone()).await.json()[0]["name"], "m");
    empty_200(&bench, "stream/terminate", ids.clone()).await;
    within(async {
        while bench.post("stream/find", ids.clone()).await.status != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Without a filter: everything.
    empty_200(&bench, "stream/terminate", json!({})).await;
    bench.call_with_status("a", "FINISH").await;
    bench.call_with_status("b", "FINISH").await;
    assert_eq!(bench.post("stream/terminate", json!({})).await.status, 404);
}

#[tokio::test]
async fn the_first_demo_page_is_served() {
    let mut bench = Bench::new();
    let mut fields = order("old-1");
    let connection: serde_json::Map<String, Value> = [
        "sipLogin",
        "sipAuthenticationName",
        "sipPassword",
        "sipDomain",
        "sipOutboundProxy",
        "sipPort",
        "sipRegisterRequired",
        "appKey",
    ]
    .into_iter()
    .filter_map(|name| Some((name.to_owned(), fields.as_object_mut()?.remove(name)?)))
    .collect();
    fields["connection"] = connection.into();
    assert_eq!(legacy(&bench, "getStatus", json!({"callId": "old-1"})).await.status, 404);
    assert_eq!(legacy(&bench, "getCalls", json!({})).await.body, "[]");
    let answer = legacy(&bench, "call", fields.clone()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let call = within(bench.calls.recv()).await.expect("placed");
    assert_eq!(call.order.account.login, "caster");
    assert_eq!(legacy(&bench, "call", fields).await.status, 409);
    call.answer().await;
    bench.call_with_status("old-1", "ESTABLISHED").await;
    let status = legacy(&bench, "getStatus", json!({"callId": "old-1"})).await;
    assert_eq!((status.status, status.body.as_str()), (200, "ESTABLISHED"));
    assert_eq!(status.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(status.headers["access-control-allow-origin"], "*");
    let dtmf = json!({"callId": "old-1", "dtmf": "1", "type": "RFC2833"});
    assert_eq!(legacy(&bench, "sendDTMF", dtmf).await.status, 200);
    assert_eq!(legacy(&bench, "getCalls", json!({})).await.json()[0]["callId"], "old-1");
    assert_eq!(legacy(&bench, "hangup", json!({"callId": "old-1"})).await.status, 200);
    bench.call_with_status("old-1", "FINISH").await;
    let bad = legacy(&bench, "call", json!({"callId": "x", "connection": 7})).await;
    assert_eq!((bad.status, &bad.json()["field"]), (400, &json!("connection")));
}
