//! A whole session, from handshake to `deleteStream`, as Wireshark's dissector reads it: nothing malformed, and
//! every message that sipcast counts is there.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::live_call::LiveCall;
use crate::support::nginx::Nginx;
use crate::support::node_media_server::NodeMediaServer;
use crate::support::pcap::Capture;
use crate::support::process::run;
use crate::support::sipcast::scratch;

#[test]
fn a_session_with_nginx_has_no_malformed_mark() {
    let nginx = Nginx::start();
    has_no_malformed_mark(nginx.port, &nginx.url());
}

#[test]
fn a_session_with_node_media_server_has_no_malformed_mark() {
    let server = NodeMediaServer::start();
    has_no_malformed_mark(server.port, &server.url());
}

fn has_no_malformed_mark(port: u16, url: &str) {
    let capture = Capture::start_tcp(&scratch("capture"), port);
    let call = LiveCall::with_large_pictures("dissected", "rtmp://127.0.0.1:1/live");
    let target = call.add(&json!({ "rtmpUrl": url, "rtmpStream": "dissected" }));
    call.wait_for_pictures(&target, 120);
    call.remove(&target);
    let ended = call.wait_for_target(&target, "end", |target| target["state"] == "ENDED");
    call.end();
    let capture = capture.stop_file();

    let marks = dissect(&capture, port, "_ws.malformed || _ws.expert.severity == error", &["_ws.col.Info"]);
    assert!(marks.is_empty(), "{marks:#?}");
    let messages = dissect(
        &capture,
        port,
        &format!("rtmpt && tcp.dstport == {port}"),
        &["rtmpt.header.typeid", "rtmpt.header.bodysize", "_ws.col.Info"],
    );
    let session = messages.iter().map(|fields| fields[2].as_str()).collect::<Vec<_>>().join("|");
    let mut rest = &session[..];
    for step in [
        "Handshake C0+C1",
        "Handshake C2",
        "connect('live')",
        "createStream()",
        "publish('dissected')",
        "@setDataFrame()",
        "Video Data",
        "deleteStream()",
    ] {
        let at = rest.find(step).unwrap_or_else(|| panic!("no {step} in its place: {session}"));
        rest = &rest[at + step.len()..];
    }
    assert!(!session.contains("Unknown"), "{session}");
    let list =
        |at: usize| messages.iter().flat_map(move |fields| fields[at].split(',')).filter(|f| !f.is_empty());
    let numbers: Vec<(u32, u32)> = list(0)
        .zip(list(1))
        .map(|(kind, len)| {
            let kind =
                kind.strip_prefix("0x").map_or_else(|| kind.parse(), |hex| u32::from_str_radix(hex, 16));
            (kind.expect("a number"), len.parse().expect("a number"))
        })
        .collect();
    let of = |kind: u32| numbers.iter().filter(|message| message.0 == kind).count() as u64;
    // Besides pictures and sound: one configuration of each. What was on its way at the end is not counted.
    let (video, audio) = (of(9), of(8));
    let sent = ended["accessUnits"].as_u64().expect("a number");
    assert!(video > sent && video <= sent + 4, "{video} video messages for {sent} pictures");
    assert!(audio > video, "{audio} audio messages for {video} of video");
    let longest = numbers.iter().map(|message| message.1).max();
    assert!(longest > Some(CHUNK), "no message is longer than a chunk: {longest:?}");
}

/// Fields of the frames that a filter takes.
fn dissect(capture: &Path, port: u16, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-d", &format!("tcp.port=={port},rtmpt"), "-Y", filter]);
    // The dissector takes no notice of a Set Chunk Size that is beyond its own bound, 32768 unless it is told, and
    // loses its way at the first message that is longer than 128 bytes.
    command.args(["-o", "rtmpt.max_packet_size:1048576", "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = String::from_utf8(run(&mut command)).expect("text");
    output.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Chunk size that sipcast sets.
const CHUNK: u32 = 60_000;
