//! `/push/sound_on`, `/call/inject_sound`, `/call/inject_stream`.

use serde_json::json;
use sipcast_contract::options::AacOptions;
use sipcast_contract::sound::{AacClip, PcmClip};
use sipcast_contract::{BroadcastId, Command, Report, TargetId};

use super::bench::{Act, Bench, capture, options, order, within};
use crate::ControlOptions;
use crate::sounds::{SoundFault, SoundFiles, Sounds};

/// Knows one file.
struct Files;

impl SoundFiles for Files {
    fn aac(&self, name: &str, options: &AacOptions) -> Result<AacClip, SoundFault> {
        let frame = || vec![1; 10].into_boxed_slice();
        self.pcm(name).map(|_| AacClip { options: *options, frames: vec![frame(), frame()].into() })
    }

    fn pcm(&self, name: &str) -> Result<PcmClip, SoundFault> {
        match name {
            "sample.wav" => Ok(PcmClip { samples: vec![0; 960].into() }),
            "broken.wav" => Err(SoundFault::Unusable("it is no WAV file".to_owned())),
            name if name.contains('/') => Err(SoundFault::BadName),
            _ => Err(SoundFault::NotFound),
        }
    }
}

fn bench() -> Bench {
    Bench::with(ControlOptions { sounds: Sounds::new(Files), ..options() }, None)
}

/// The next command that is not about opening, media or targets.
async fn sounding(bench: &mut Bench) -> Command {
    loop {
        match bench.command().await {
            Command::SetMedia { .. } | Command::AddTarget { .. } => {}
            command => return command,
        }
    }
}

#[tokio::test]
async fn music_goes_on_and_off_as_the_second_demo_page_does_it() {
    let mut bench = bench();
    let call = bench.place(capture("a", "hall")).await;
    call.answer().await;
    let push = json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live", "options": {}});
    let started = bench.post("push/startup", push).await;
    assert_eq!(started.status, 200);
    let session = started.json()["mediaSessionId"].clone();
    let on = json!({"mediaSessionId": session, "soundFile": "sample.wav", "loop": false});
    let answer = bench.post("push/sound_on", on).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let Command::SetSound { broadcast, target, clip: Some(clip), looped: false } = sounding(&mut bench).await
    else {
        panic!("no sound");
    };
    assert_eq!(clip.frames.len(), 2);
    let find = json!({"streamName": "rtmp_hall", "rtmpUrl": "rtmp://127.0.0.1/live"});
    let shown = bench.post("push/find", find.clone()).await.json();
    assert_eq!((&shown[0]["soundEnabled"], &shown[0]["muted"]), (&json!(true), &json!(false)));
    // It ends by itself.
    bench.reports.send(Report::SoundEnded { broadcast, target }).expect("heard");
    within(async {
        while bench.post("push/find", find.clone()).await.json()[0]["soundEnabled"] != json!(false) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let off = bench.post("push/sound_off", json!({"mediaSessionId": session})).await;
    assert_eq!((off.status, off.body.as_str()), (200, ""));
    assert!(matches!(sounding(&mut bench).await, Command::SetSound { clip: None, .. }));
}

#[tokio::test]
async fn a_push_may_begin_with_music_before_there_is_media() {
    let mut bench = bench();
    let call = bench.place(capture("a", "hall")).await;
    let push = json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live",
        "options": {"action": "sound_on", "soundFile": "sample.wav", "loop": "true"}});
    let started = bench.post("push/startup", push).await;
    assert_eq!((started.status, &started.json()["soundEnabled"]), (200, &json!(true)), "{}", started.body);
    call.answer().await;
    assert!(matches!(sounding(&mut bench).await, Command::SetSound { clip: Some(_), looped: true, .. }));
}

#[tokio::test]
async fn wrong_files_are_named() {
    let mut bench = bench();
    bench.place(capture("a", "hall")).await.answer().await;
    let push =
        |options| json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live", "options": options});
    for (options, status, field) in [
        (json!({"action": "sound_on"}), 400, "options.soundFile"),
        (json!({"action": "sound_on", "soundFile": "none.wav"}), 404, "options.soundFile"),
        (json!({"action": "sound_on", "soundFile": 7}), 400, "options.soundFile"),
        (json!({"action": "dance"}), 400, "options.action"),
    ] {
        let answer = bench.post("push/startup", push(options)).await;
        assert_eq!((answer.status, &answer.json()["field"]), (status, &json!(field)), "{}", answer.body);
    }
    assert_eq!(bench.get("/rest-api/push/find_all").await.status, 404, "none was begun");
    let session = bench.post("push/startup", push(json!({}))).await.json()["mediaSessionId"].clone();
    for (file, status) in [("none.wav", 404), ("broken.wav", 400), ("../x.wav", 400), ("", 400)] {
        let on = json!({"mediaSessionId": session, "soundFile": file});
        let answer = bench.post("push/sound_on", on).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (status, &json!("soundFile")),
            "{}",
            answer.body
        );
        let injected = bench.post("call/inject_sound", json!({"callId": "a", "fileName": file})).await;
        assert_eq!((injected.status, &injected.json()["field"]), (status, &json!("fileName")));
    }
    for path in ["push/sound_on", "push/sound_off"] {
        let unknown = json!({"mediaSessionId": "x", "soundFile": "sample.wav"});
        assert_eq!(bench.post(path, unknown).await.status, 404, "{path}");
    }
    let unknown = json!({"callId": "x", "fileName": "sample.wav"});
    assert_eq!(bench.post("call/inject_sound", unknown).await.json()["field"], "callId");
}

#[tokio::test]
async fn a_callee_hears_a_file_once_media_is_agreed_on() {
    let mut bench = bench();
    let call = bench.place(order("a")).await;
    let inject = json!({"callId": "a", "fileName": "sample.wav"});
    let answer = bench.post("call/inject_sound", inject.clone()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    call.answer().await;
    assert!(matches!(sounding(&mut bench).await, Command::PlaySound { .. }));
    assert_eq!(bench.post("call/inject_sound", inject).await.status, 200);
    assert!(matches!(sounding(&mut bench).await, Command::PlaySound { .. }));
}

#[tokio::test]
async fn without_a_directory_there_are_no_files() {
    let mut bench = Bench::new();
    bench.place(order("a")).await.answer().await;
    let answer = bench.post("call/inject_sound", json!({"callId": "a", "fileName": "sample.wav"})).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_callee_hears_another_call() {
    let mut bench = bench();
    let first = bench.place(capture("a", "hall")).await;
    first.answer().await;
    let second = bench.place(capture("b", "stage")).await;
    let inject = |stream: &str| json!({"callId": "b", "streamName": stream});
    for (body, status, field) in [
        (inject("nowhere"), 404, "streamName"),
        (inject("stage"), 400, "streamName"),
        (json!({"callId": "c", "streamName": "hall"}), 404, "callId"),
    ] {
        let answer = bench.post("call/inject_stream", body).await;
        assert_eq!((answer.status, &answer.json()["field"]), (status, &json!(field)), "{}", answer.body);
    }
    assert_eq!(bench.post("call/inject_stream", inject("rtmp_hall")).await.status, 200);
    let Command::AddLine { mut sender, without: None, .. } = sounding(&mut bench).await else {
        panic!("no line");
    };
    assert!(matches!(sounding(&mut bench).await, Command::AddPictures { .. }));
    // The second call has no media yet.
    second.answer().await;
    let Command::PlayLine { line: Some(mut line), .. } = sounding(&mut bench).await else {
        panic!("no line")
    };
    assert!(sender.push(&[7; 10]) && line.pull(&mut [0; 10]), "both are ends of one line");
    assert!(matches!(sounding(&mut bench).await, Command::PlayPictures { pictures: Some(_), .. }));
    let end = |stream: &str| json!({"callId": "b", "streamName": stream});
    assert_eq!(bench.post("call/inject_stream/terminate", end("stage")).await.status, 404);
    assert_eq!(bench.post("call/inject_stream/terminate", end("hall")).await.status, 200);
    assert!(matches!(sounding(&mut bench).await, Command::PlayLine { line: None, .. }));
    assert!(matches!(sounding(&mut bench).await, Command::PlayPictures { pictures: None, .. }));
    assert_eq!(bench.post("call/inject_stream/terminate", end("hall")).await.status, 404);
    // The newer spelling; what is over is not ended.
    assert_eq!(bench.post("call/inject_stream/startup", inject("hall")).await.status, 200);
    bench.reports.send(Report::PlayEnded { broadcast: BroadcastId(2) }).expect("heard");
    within(async {
        while bench.post("call/inject_stream/terminate", end("hall")).await.status != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(matches!(
        bench.reports.send(Report::SoundEnded { broadcast: BroadcastId(9), target: TargetId(9) }),
        Ok(())
    ));
}

#[tokio::test]
async fn music_from_the_start_is_for_the_backup_too() {
    let mut bench = bench();
    let call = bench.place(capture("a", "hall")).await;
    call.answer().await;
    let push = json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live",
        "rtmpBackupUrl": "rtmp://127.0.0.2/live", "options": {"action": "sound_on", "soundFile": "sample.wav"}});
    assert_eq!(bench.post("push/startup", push).await.status, 200);
    let mut targets = Vec::new();
    while targets.len() < 2 {
        if let Command::SetSound { target, clip, .. } = sounding(&mut bench).await {
            assert!(clip.is_some());
            targets.push(target);
        }
    }
    assert_ne!(targets[0], targets[1]);
    let shown = bench.post("push/find", json!({"streamName": "hall"})).await.json();
    let sounds: Vec<_> = shown.as_array().expect("a list").iter().map(|push| &push["soundEnabled"]).collect();
    assert_eq!(sounds, [&json!(true), &json!(true)]);
}

#[tokio::test]
async fn pictures_of_an_injected_stream_are_offered_to_the_callee_and_withdrawn() {
    let mut bench = bench();
    bench.place(capture("source", "one")).await.answer().await;
    let mut call = bench.place(capture("callee", "two")).await;
    call.answer().await;
    for _ in 0..2 {
        until(&mut bench, |command| matches!(command, Command::SetMedia { .. })).await;
    }
    let inject = json!({"callId": "callee", "streamName": "one"});
    empty_200(&bench, "call/inject_stream", inject.clone()).await;
    until(&mut bench, |c| matches!(c, Command::AddPictures { .. })).await;
    until(&mut bench, |c| matches!(c, Command::PlayPictures { pictures: Some(_), .. })).await;
    assert_eq!(call.act().await, Act::Pictures(true));
    empty_200(&bench, "call/inject_stream/terminate", inject.clone()).await;
    until(&mut bench, |c| matches!(c, Command::PlayPictures { pictures: None, .. })).await;
    assert_eq!(call.act().await, Act::Pictures(false));
    // Its end by itself, and a file in its place.
    for ends_by_itself in [true, false] {
        empty_200(&bench, "call/inject_stream", inject.clone()).await;
        let play = until(&mut bench, |c| matches!(c, Command::PlayPictures { .. })).await;
        let Command::PlayPictures { broadcast, .. } = play else { unreachable!() };
        assert_eq!(call.act().await, Act::Pictures(true));
        if ends_by_itself {
            bench.reports.send(Report::PlayEnded { broadcast }).expect("heard");
        } else {
            let file = json!({"callId": "callee", "fileName": "sample.wav"});
            empty_200(&bench, "call/inject_sound", file).await;
            until(&mut bench, |c| matches!(c, Command::PlayPictures { pictures: None, .. })).await;
        }
        assert_eq!(call.act().await, Act::Pictures(false));
    }
}

async fn until(bench: &mut Bench, fits: impl Fn(&Command) -> bool) -> Command {
    loop {
        let command = bench.command().await;
        if fits(&command) {
            return command;
        }
    }
}

async fn empty_200(bench: &Bench, path: &str, body: serde_json::Value) {
    let answer = bench.post(path, body).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
}
