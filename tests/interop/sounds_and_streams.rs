//! Sound that does not come from the call: files to targets and callees, pulled streams, mixers; with nginx-rtmp,
//! ffmpeg and baresip.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::baresip::Baresip;
use crate::support::callee::TestCallee;
use crate::support::flv::{self, Body};
use crate::support::nginx::Nginx;
use crate::support::pcap::{Capture, Datagram};
use crate::support::process::{Process, run};
use crate::support::sipcast::{Sipcast, order, scratch};
use crate::support::wait_for;

const ESTABLISHED_MAX: Duration = Duration::from_secs(20);
const RECORDED_MAX: Duration = Duration::from_secs(60);

/// Samples a second of everything that is compared here.
const RATE_HZ: usize = 8_000;

/// A target gets a file instead of the call's sound, and the call's sound again at its end.
#[test]
fn a_target_gets_a_file_instead_of_the_call() {
    let nginx = Nginx::start();
    let callee = TestCallee::start();
    let sounds = scratch("sounds");
    // Every moment is unlike all others, so that there is one place where it fits.
    tones(&sounds.join("tones.wav"), 6);
    let sipcast = Sipcast::start(&["media.shards=1", &format!("rest.sounds_dir={}", sounds.display())]);
    capture(&sipcast, "toned", callee.port);
    let push = json!({"streamName": "toned", "rtmpUrl": nginx.url(), "options": {}});
    let started = sipcast.post("push/startup", &push);
    assert_eq!(started.status, 200, "{}", started.body);
    let session = started.json()["mediaSessionId"].clone();
    wait_for_recorded_ms(&nginx, 2_000);
    let on = json!({"mediaSessionId": session, "soundFile": "tones.wav", "loop": false});
    let answer = sipcast.post("push/sound_on", &on);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{}", answer.body);
    let shown = || sipcast.post("push/find", &json!({"streamName": "rtmp_toned"})).json()[0].clone();
    assert_eq!(shown()["soundEnabled"], true);
    wait_for("end of the file", Duration::from_secs(30), || (shown()["soundEnabled"] == false).then_some(()));
    let at_end = recorded_ms(&nginx);
    wait_for_recorded_ms(&nginx, at_end + 4_000);
    assert_eq!(sipcast.post("call/terminate", &json!({"callId": "toned"})).status, 200);
    wait_for("end of the call", ESTABLISHED_MAX, || sipcast.call("toned").is_none().then_some(()));

    let heard = pcm(&nginx.recordings()[0]);
    let file = pcm(&sounds.join("tones.wav"));
    let places: Vec<i64> = [1, 3, 5]
        .map(|second| {
            let part = &file[second * RATE_HZ..second * RATE_HZ + RATE_HZ / 4];
            let (share, at) = best_fit(part, &heard);
            assert!(share > 0.9, "second {second} of the file fits with {share}");
            at as i64 - (second * RATE_HZ) as i64
        })
        .to_vec();
    assert!(places.windows(2).all(|pair| (pair[0] - pair[1]).abs() <= 2), "no gap, no overlap: {places:?}");
    // The callee's beep is there before and after it, and not in between.
    let start = usize::try_from(places[0]).expect("after the start");
    let beep = |range: &[i16]| range.chunks(RATE_HZ / 50).map(|part| tone(part, 1000.0)).fold(0.0, f64::max);
    let end = start + file.len();
    assert!(beep(&heard[start.saturating_sub(2 * RATE_HZ)..start]) > 1e5, "the call before");
    assert!(beep(&heard[end + RATE_HZ / 4..end + 2 * RATE_HZ]) > 1e5, "the call after");
    drop(nginx);
    sipcast.stop();
}

/// What is injected leaves as RTP that a callee can play: the built-in tune, in the codec that was agreed on.
#[test]
fn a_callee_hears_the_tune() {
    let baresip = Baresip::start("PCMU");
    let sipcast = Sipcast::start(&["media.shards=1"]);
    let captured = Capture::start(&scratch("capture"), baresip.rtp_ports.0, baresip.rtp_ports.1);
    capture(&sipcast, "tuned", baresip.port);
    let inject = json!({"callId": "tuned", "fileName": "sample.wav"});
    let answer = sipcast.post("call/inject_sound", &inject);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{}", answer.body);
    std::thread::sleep(Duration::from_secs(10)); // The tune takes 8.
    assert_eq!(sipcast.post("call/terminate", &json!({"callId": "tuned"})).status, 200);
    wait_for("end of the call", ESTABLISHED_MAX, || sipcast.call("tuned").is_none().then_some(()));
    let (heard, packets) = decoded(&captured.stop());
    assert!((395..=405).contains(&packets), "{packets} packets of 20 ms");
    // The notes of the music box, a quarter of a second each.
    for (n, note) in [523.25, 659.26, 783.99, 1046.5, 783.99].into_iter().enumerate() {
        let begin = n * RATE_HZ / 4 + 200;
        let part = &heard[begin..begin + 800];
        assert!(share(part, note) > 0.7, "note {n} is {note} Hz with {}", share(part, note));
    }
    sipcast.stop();
}

/// A callee decodes the picture of an injected stream: what it sends back is that picture. Its call is `recvonly` before.
#[test]
fn a_callee_sees_the_picture_of_an_injected_stream() {
    let (here, there) = (Nginx::start(), Nginx::start());
    let picture = ["-f", "lavfi", "-i", "color=c=0x2060c0:size=640x360:rate=25,format=yuv420p"];
    let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-bf", "0"];
    let _publisher = publish(&here, "blue", 700, &picture, &codec);
    let baresip = Baresip::start_mirror();
    let sipcast = Sipcast::start(&["media.shards=2"]);
    let uri = format!("{}/blue", here.url());
    assert_eq!(sipcast.post("pull/rtmp/pull", &json!({ "uri": uri })).status, 200);
    capture(&sipcast, "mirror", baresip.port);
    let push = json!({"streamName": "mirror", "rtmpUrl": there.url(), "options": {}});
    assert_eq!(sipcast.post("push/startup", &push).status, 200);
    let of_mirror = |key: &str| {
        let statistics = sipcast.statistics();
        let calls = statistics["broadcasts"].as_array().cloned().unwrap_or_default();
        let call = calls.into_iter().find(|call| call["callId"] == "mirror");
        call.and_then(|call| call[key].as_u64()).unwrap_or(0)
    };
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        (of_mirror("playedPictures"), of_mirror("accessUnits")),
        (0, 0),
        "nothing is sent to recvonly"
    );
    let inject = json!({"callId": "mirror", "streamName": "blue"});
    assert_eq!(sipcast.post("call/inject_stream", &inject).status, 200);
    wait_for("pictures from the mirror", RECORDED_MAX, || (of_mirror("accessUnits") > 60).then_some(()));
    let statistics = sipcast.statistics();
    assert!(of_mirror("playedPictures") > 60, "{statistics}");
    assert_eq!(of_mirror("playedPicturesDropped"), 0, "{statistics}");
    assert_eq!(sipcast.post("call/inject_stream/terminate", &inject).status, 200);
    wait_for("no more pictures", ESTABLISHED_MAX, || {
        let before = of_mirror("playedPictures");
        std::thread::sleep(Duration::from_millis(500));
        (of_mirror("playedPictures") == before).then_some(())
    });
    assert_eq!(sipcast.post("call/terminate", &json!({"callId": "mirror"})).status, 200);
    wait_for("end of the call", ESTABLISHED_MAX, || sipcast.call("mirror").is_none().then_some(()));
    // The colour of the last picture, as one pixel.
    let pixel = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&there.recordings()[0]).args([
        "-vf",
        "scale=1:1",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]));
    let last = &pixel[pixel.len() - 3..];
    let is_near = |(seen, wanted): (&u8, u8)| seen.abs_diff(wanted) < 24;
    assert!(last.iter().zip([0x20, 0x60, 0xc0]).all(is_near), "{last:x?}");
    sipcast.stop();
}

/// A stream is pulled from one server and pushed to another: its pictures and sound are the same bytes.
#[test]
fn a_pulled_stream_arrives_elsewhere_as_it_was() {
    let (here, there) = (Nginx::start(), Nginx::start());
    let _publisher = publish_clip(&here, "talk", 700);
    let sipcast = Sipcast::start(&["media.shards=1"]);
    let uri = format!("{}/talk", here.url());
    let answer = sipcast.post("pull/rtmp/pull", &json!({ "uri": uri }));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{}", answer.body);
    wait_for("the pulled stream", ESTABLISHED_MAX, || {
        let pulls = sipcast.post("pull/rtmp/find_all", &json!({})).json();
        (pulls[0]["status"] == "PROCESSED_REMOTE" && pulls[0]["hasVideo"] == true).then_some(())
    });
    let push = json!({"streamName": "talk", "rtmpUrl": there.url(), "options": {}});
    let started = sipcast.post("push/startup", &push);
    assert_eq!((started.status, &started.json()["width"]), (200, &json!(320)), "{}", started.body);
    wait_for_recorded_ms(&there, 8_000);
    assert_eq!(sipcast.post("pull/rtmp/terminate", &json!({ "uri": uri })).status, 200);
    wait_for("end of the pull", ESTABLISHED_MAX, || {
        (sipcast.post("pull/rtmp/find_all", &json!({})).body == "[]").then_some(())
    });
    let bodies = |nginx: &Nginx| -> Vec<Body> {
        let tags = flv::read(&std::fs::read(&nginx.recordings()[0]).expect("nginx's file"));
        let is_media = |body: &Body| matches!(body, Body::Picture { .. } | Body::Aac(_));
        tags.into_iter().map(|tag| tag.body).filter(is_media).collect()
    };
    let (left, arrived) = (bodies(&here), bodies(&there));
    for wanted in [|b: &Body| matches!(b, Body::Picture { .. }), |b: &Body| matches!(b, Body::Aac(_))] {
        let left: Vec<&Body> = left.iter().filter(|b| wanted(b)).collect();
        let arrived: Vec<&Body> = arrived.iter().filter(|b| wanted(b)).collect();
        assert!(arrived.len() > 100, "{}", arrived.len());
        assert!(left.windows(arrived.len()).any(|part| part == arrived), "the same bytes in the same order");
    }
    sipcast.stop();
}

/// Two sounds are mixed over two shards; a callee that is to hear all but one hears the other alone.
#[test]
fn a_mixer_has_both_sounds_and_a_callee_hears_only_the_other() {
    let (here, there) = (Nginx::start(), Nginx::start());
    let _low = publish_clip(&here, "low", 400);
    let _high = publish_tone(&here, "high", 900);
    let baresip = Baresip::start("PCMU");
    let sipcast = Sipcast::start(&["media.shards=2"]);
    let empty_200 = |path: &str, body: serde_json::Value| {
        let answer = sipcast.post(path, &body);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}: {}", answer.body);
    };
    empty_200("mixer/startup", json!({"uri": "mixer://room", "localStreamName": "mix"}));
    for (name, url) in [("low", here.url()), ("high", here.sound_url())] {
        empty_200("pull/rtmp/pull", json!({"uri": format!("{url}/{name}")}));
        let input = json!({"uri": "mixer://room", "localStreamName": "mix", "remoteStreamName": name});
        empty_200("mixer/add", input);
    }
    let push = json!({"streamName": "mix", "rtmpUrl": there.url(), "options": {}});
    assert_eq!(sipcast.post("push/startup", &push).status, 200);
    let captured = Capture::start(&scratch("capture"), baresip.rtp_ports.0, baresip.rtp_ports.1);
    capture(&sipcast, "listener", baresip.port);
    empty_200("call/inject_stream", json!({"callId": "listener", "streamName": "room-low"}));
    wait_for_recorded_ms(&there, 10_000);
    let statistics = sipcast.statistics();
    empty_200("call/terminate", json!({"callId": "listener"}));
    wait_for("end of the call", ESTABLISHED_MAX, || sipcast.call("listener").is_none().then_some(()));
    let (heard, packets) = decoded(&captured.stop());
    assert!(packets > 100, "{packets} packets; {statistics}");
    let part = &heard[heard.len() / 2..heard.len() / 2 + RATE_HZ / 2];
    assert!(share(part, 900.0) > 0.8, "the other one: {}", share(part, 900.0));
    assert!(share(part, 400.0) < 0.01, "not the one left out: {}", share(part, 400.0));
    let mixed = pcm(&there.recordings()[0]);
    let part = &mixed[mixed.len() - 3 * RATE_HZ..mixed.len() - RATE_HZ];
    for hz in [400.0, 900.0] {
        assert!((0.3..0.7).contains(&share(part, hz)), "{hz} Hz in the mix: {}", share(part, hz));
    }
    // The picture of the one that has one, as it is.
    let tags = flv::read(&std::fs::read(&there.recordings()[0]).expect("nginx's file"));
    let pictures: Vec<u32> =
        tags.iter().filter(|t| matches!(t.body, Body::Picture { .. })).map(|t| t.timestamp).collect();
    assert!(pictures.len() > 100 && pictures.windows(2).all(|pair| pair[0] < pair[1]), "{pictures:?}");
    run(Command::new("ffmpeg")
        .args(["-v", "warning", "-xerror", "-i"])
        .arg(&there.recordings()[0])
        .args(["-f", "null", "-"]));
    empty_200("mixer/terminate", json!({"uri": "mixer://room"}));
    sipcast.stop();
}

/// Calls and captures into a local stream of the same name; returns when the call is answered.
fn capture(sipcast: &Sipcast, name: &str, callee_port: u16) {
    let mut order = order(name, callee_port, "", "");
    let fields = order.as_object_mut().expect("an object");
    fields.remove("rtmpUrl");
    fields.remove("rtmpStream");
    fields.insert("toStream".to_owned(), name.into());
    let answer = sipcast.post("call/startup", &order);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{}", answer.body);
    sipcast.wait_for_status(name, "ESTABLISHED", ESTABLISHED_MAX);
}

fn publish_clip(nginx: &Nginx, name: &str, hz: u32) -> Process {
    publish(
        nginx,
        name,
        hz,
        &["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25,format=yuv420p"],
        &["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-bf", "0"],
    )
}

fn publish_tone(nginx: &Nginx, name: &str, hz: u32) -> Process {
    let source = format!("sine=frequency={hz}:sample_rate=44100");
    publish_from(&format!("{}/{name}", nginx.sound_url()), &["-re", "-f", "lavfi", "-i", &source], &[])
}

fn publish(nginx: &Nginx, name: &str, hz: u32, input: &[&str], codec: &[&str]) -> Process {
    let tone = format!("sine=frequency={hz}:sample_rate=44100");
    let sound = ["-re", "-f", "lavfi", "-i", &tone, "-re"];
    publish_from(&format!("{}/{name}", nginx.url()), &[&sound[..], input].concat(), codec)
}

fn publish_from(url: &str, input: &[&str], codec: &[&str]) -> Process {
    let directory = scratch("ffmpeg");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error"]).args(input).args(codec).args(["-c:a", "aac", "-b:a", "96k", "-f", "flv"]);
    command.arg(url);
    Process::start("ffmpeg", &directory, &mut command)
}

/// Writes 20 tones a second, in an order that does not repeat.
fn tones(file: &Path, seconds: u32) {
    let source = "aevalsrc=0.4*sin(2*PI*t*(400+8*mod(floor(20*t)*7919\\,257))):s=22050";
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", source, "-t"])
        .arg(seconds.to_string())
        .arg(file));
}

/// Time of the last tag of sound in the newest recording.
fn recorded_ms(nginx: &Nginx) -> u32 {
    let recording = nginx.recordings().pop().and_then(|file| std::fs::read(file).ok());
    let recording = recording.filter(|file| file.len() > 13);
    let tags = recording.map(|file| flv::read(&file)).unwrap_or_default();
    tags.iter().rev().find(|tag| matches!(tag.body, Body::Aac(_))).map_or(0, |tag| tag.timestamp)
}

fn wait_for_recorded_ms(nginx: &Nginx, ms: u32) {
    let begin = recorded_first_ms(nginx);
    wait_for(&format!("{ms} ms of recorded sound"), RECORDED_MAX, || {
        let begin = begin.or_else(|| recorded_first_ms(nginx))?;
        (recorded_ms(nginx).saturating_sub(begin) >= ms).then_some(())
    });
}

fn recorded_first_ms(nginx: &Nginx) -> Option<u32> {
    let file = std::fs::read(nginx.recordings().pop()?).ok().filter(|file| file.len() > 13)?;
    flv::read(&file).iter().find(|tag| matches!(tag.body, Body::Aac(_))).map(|tag| tag.timestamp)
}

/// The sound of a file at [`RATE_HZ`].
fn pcm(file: &Path) -> Vec<i16> {
    let bytes = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args([
        "-vn",
        "-ac",
        "1",
        "-ar",
        &RATE_HZ.to_string(),
        "-f",
        "s16le",
        "-",
    ]));
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// The mu-law sound in captured RTP of one call, without keep-alives before it, and how many packets it came in.
fn decoded(datagrams: &[Datagram]) -> (Vec<i16>, usize) {
    let is_sound = |d: &&Datagram| d.payload.len() == 172 && d.payload[0] == 0x80 && d.payload[1] & 0x7f == 0;
    let is_loud = |d: &&Datagram| d.payload[12..].iter().any(|byte| byte | 0x80 != 0xff);
    let sound: Vec<&Datagram> = datagrams.iter().filter(is_sound).filter(is_loud).collect();
    let samples = sound.iter().flat_map(|d| d.payload[12..].iter().map(|&byte| mu_law(byte))).collect();
    (samples, sound.len())
}

/// ITU-T G.711 §3.
fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = (((i32::from(byte) & 0x0f) << 3) + 0x84) << (byte >> 4 & 7);
    let sample = if byte & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 };
    sample as i16
}

/// Power of one frequency (Goertzel), mean square.
fn tone(samples: &[i16], hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let angle = std::f64::consts::TAU * hz * n as f64 / RATE_HZ as f64;
        re += f64::from(sample) * angle.cos();
        im += f64::from(sample) * angle.sin();
    }
    2.0 * (re * re + im * im) / (samples.len() as f64 * samples.len() as f64)
}

/// The same as a share of all power.
fn share(samples: &[i16], hz: f64) -> f64 {
    let all: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    tone(samples, hz) * samples.len() as f64 / all.max(1.0)
}

/// Where `part` fits best into `whole`, and how well (normalised correlation).
fn best_fit(part: &[i16], whole: &[i16]) -> (f64, usize) {
    let energy = |samples: &[i16]| samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>();
    let of_part = energy(part);
    let fits = whole.windows(part.len()).enumerate().map(|(at, window)| {
        let product: i64 = window.iter().zip(part).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
        (product as f64 / (of_part * energy(window)).sqrt().max(1.0), at)
    });
    fits.max_by(|a, b| a.0.total_cmp(&b.0)).expect("not shorter than the part")
}
