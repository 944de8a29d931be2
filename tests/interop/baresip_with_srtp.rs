//! Protected media of a real callee: baresip with SRTP by SDES, nginx-rtmp as target.

use std::process::Command;
use std::time::Duration;

use crate::support::baresip::Baresip;
use crate::support::flv::{self, Body};
use crate::support::nginx::Nginx;
use crate::support::pcap::Capture;
use crate::support::rtp;
use crate::support::sipcast::{Sipcast, order, scratch};
use crate::support::wait_for;

#[test]
fn mandatory_srtp_is_published() {
    is_published("mandatory", "srtp-mand");
}

#[test]
fn opportunistic_srtp_is_published() {
    is_published("opportunistic", "srtp");
}

/// `account`: baresip's own media encryption.
fn is_published(security: &str, account: &str) {
    let nginx = Nginx::start();
    let baresip = Baresip::start_with_srtp(account);
    let sipcast = Sipcast::start(&["media.shards=1"]);
    let capture = Capture::start(&scratch("capture"), sipcast.rtp_ports.0, sipcast.rtp_ports.1);
    let mut body = order("protected", baresip.port, &nginx.url(), "protected");
    body["mediaSecurity"] = security.into();
    let answer = sipcast.post("call/startup", &body);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    sipcast.wait_for_status("protected", "ESTABLISHED", Duration::from_secs(20));
    wait_for("10 s of recorded pictures", Duration::from_secs(60), || {
        let tags = flv::read(&std::fs::read(nginx.recordings().first()?).ok().filter(|f| f.len() > 13)?);
        let mut pictures = tags.iter().filter(|tag| matches!(tag.body, Body::Picture { .. }));
        (pictures.next_back()?.timestamp > 10_000).then_some(())
    });
    let statistics = sipcast.statistics();
    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": "protected" })).status, 200);
    wait_for("end of the call", Duration::from_secs(20), || {
        sipcast.call("protected").is_none().then_some(())
    });
    let sent = capture.stop();
    let streams = &statistics["totals"];
    for stream in ["audio", "video"] {
        let stream = &streams[stream];
        assert!(
            stream["packets"].as_u64() > Some(200) && stream["senderReports"].as_u64() > Some(0),
            "{stream}"
        );
        for counter in ["authenticationFailed", "replayed", "malformed", "lost"] {
            assert_eq!(stream[counter], 0, "{counter}: {stream}");
        }
    }
    for shard in statistics["shards"].as_array().expect("a list") {
        assert_eq!(shard["payloadBytesCopied"], 0, "{shard}");
    }
    // G.711 of 20 ms is 160 bytes; each packet bore a tag of 80 bits.
    let is_sound =
        |port: &u16| rtp::packets(&sent, *port).iter().filter(|p| p.payload.len() == 170).count() > 200;
    let ports: std::collections::BTreeSet<u16> = sent.iter().map(|datagram| datagram.to).collect();
    assert!(ports.iter().any(is_sound), "encrypted sound on the wire");
    let recordings = nginx.recordings();
    assert_eq!(recordings.len(), 1, "one publication");
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-xerror", "-i"])
        .arg(&recordings[0])
        .args(["-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-f", "null", "-"])
        .output()
        .expect("tests/run installs ffmpeg");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(nginx);
    sipcast.stop();
}
