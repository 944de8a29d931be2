//! Softphones of others as callees, up to the recording in nginx-rtmp: Linphone (belle-sip, mediastreamer2) and Jami's
//! daemon (PJSIP).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::jami::Jami;
use crate::support::linphone::Linphone;
use crate::support::nginx::Nginx;
use crate::support::playback::{assert_decodes, assert_plays, pictures};
use crate::support::process::run;
use crate::support::sipcast::{Sipcast, order};
use crate::support::{sound, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Pictures of 640x360 that must arrive: four seconds.
const PICTURES: usize = 120;

/// What a piece of speech must still have in common with its source when two Opus encoders and one of AAC are behind it.
const CORRELATION_MIN: f64 = 0.8;

#[test]
fn linphone_is_published() {
    linphone_is_published_with("off", "none");
}

#[test]
fn linphone_with_srtp_is_published() {
    linphone_is_published_with("mandatory", "srtp");
}

/// Linphone first sends a still picture of another size, then a clip: the target sees new parameter sets in mid-call.
fn linphone_is_published_with(security: &str, encryption: &str) {
    let nginx = Nginx::start();
    let speech = sound::speech();
    let linphone = Linphone::start(&sound::wav(&speech, 48_000, 1), encryption);
    let sipcast = Sipcast::start(&["media.shards=1"]);
    call(&sipcast, &nginx, linphone.port, security);
    sipcast.wait_for_status("softphone", "ESTABLISHED", SOON);
    linphone.play();
    wait_for("recorded pictures of the clip", Duration::from_secs(60), || {
        (of_clip(nginx.recordings().first()?) >= PICTURES).then_some(())
    });
    hang_up(&sipcast, 0);
    let recordings = nginx.recordings();
    assert_eq!(recordings.len(), 1, "one publication");
    assert_decodes(&recordings[0]);
    let arrived = sound::decode(&recordings[0]);
    // The clip's sound was on when its pictures were; the last half second may end in the middle.
    let end = arrived.len() - sound::RATE as usize / 2;
    let found = sound::find(&arrived[end - 2 * sound::RATE as usize..end], &speech);
    println!("linphone, {encryption}: {found:?}");
    assert!(found.correlation >= CORRELATION_MIN, "{found:?}");
    sipcast.stop();
}

#[test]
fn jami_is_published() {
    assert!((0..Jami::CALLS_MAX).any(|_| is_jami_published()), "no pictures in {} calls", Jami::CALLS_MAX);
}

/// `false`: Jami sent no picture at all.
fn is_jami_published() -> bool {
    let nginx = Nginx::start();
    let jami = Jami::start();
    let sipcast = Sipcast::start(&["media.shards=1"]);
    call(&sipcast, &nginx, jami.port, "mandatory");
    jami.answer();
    sipcast.wait_for_status("softphone", "ESTABLISHED", SOON);
    let answered = Instant::now();
    let is_filming = wait_for("recorded pictures", Duration::from_secs(60), || {
        let received = sipcast.statistics()["totals"]["video"]["packets"].as_u64().expect("a number");
        if received == 0 && answered.elapsed() > Jami::FILMS_WITHIN {
            return Some(false);
        }
        (nginx.recordings().first().map_or(0, |recording| pictures(recording)) >= PICTURES).then_some(true)
    });
    if !is_filming {
        println!("jami gave up its clip");
        return false;
    }
    // Sender reports go out before Jami protects them: a few, beside hundreds of packets that are right.
    hang_up(&sipcast, 3);
    let recordings = nginx.recordings();
    assert_eq!(recordings.len(), 1, "one publication");
    assert_plays(&recordings[0], PICTURES);
    sipcast.stop();
    true
}

fn call(sipcast: &Sipcast, nginx: &Nginx, port: u16, security: &str) {
    let mut body = order("softphone", port, &nginx.url(), "softphone");
    body["mediaSecurity"] = security.into();
    let answer = sipcast.post("call/startup", &body);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

/// Ends the call and asserts that all came and, where it was protected, was genuine but for so many datagrams.
fn hang_up(sipcast: &Sipcast, forged_max: u64) {
    let totals = sipcast.statistics()["totals"].clone();
    for stream in ["audio", "video"] {
        let counter = |name: &str| totals[stream][name].as_u64().expect("a number");
        assert_eq!((counter("lost"), counter("replayed")), (0, 0), "{stream}: {totals}");
        // What is too short to hold a tag is malformed. Linphone's STUN pings are neither.
        let forged = counter("authenticationFailed") + counter("malformed");
        assert!(forged <= forged_max, "{stream}: {totals}");
    }
    assert_eq!(sipcast.post("call/terminate", &json!({ "callId": "softphone" })).status, 200);
    wait_for("end of the call", SOON, || sipcast.call("softphone").is_none().then_some(()));
}

/// Pictures of the clip's size, as a decoder finds them.
fn of_clip(recording: &Path) -> usize {
    if pictures(recording) < PICTURES {
        return 0;
    }
    let sizes = run(Command::new("ffprobe")
        .args([
            "-v",
            "quiet",
            "-select_streams",
            "v",
            "-show_entries",
            "frame=width,height",
            "-of",
            "csv=p=0",
        ])
        .arg(recording));
    String::from_utf8_lossy(&sizes).lines().filter(|size| size.starts_with("640,360")).count()
}
