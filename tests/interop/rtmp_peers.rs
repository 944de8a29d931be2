//! RTMP servers, publishers and players of others: Node-Media-Server and `ffmpeg -listen` take the call; ffmpeg,
//! rtmpdump (librtmp) and GStreamer play it, from Node-Media-Server, nginx-rtmp and the embedded server; librtmp
//! publishes to the embedded server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::librtmp::LibrtmpPublisher;
use crate::support::live_call::LiveCall;
use crate::support::nginx::Nginx;
use crate::support::node_media_server::NodeMediaServer;
use crate::support::playback::{assert_plays, pictures};
use crate::support::process::{Process, directory};
use crate::support::sipcast::Sipcast;
use crate::support::wait_for;

/// Pictures that a peer must have taken: two seconds.
const PICTURES: usize = 60;

#[test]
fn node_media_server_takes_the_call_and_players_get_it_from_there() {
    let server = NodeMediaServer::start();
    let call = LiveCall::to(&server.url(), "node");
    wait_for("a recording of Node-Media-Server", Duration::from_secs(30), || {
        (pictures(server.recordings("rtmp_node").first()?) >= PICTURES).then_some(())
    });
    ffmpeg_plays(&format!("{}/rtmp_node", server.url()));
    rtmpdump_plays(&format!("{}/rtmp_node", server.url()));
    call.end();
    wait_for("notice of the end", Duration::from_secs(10), || {
        server.output().contains("done record").then_some(())
    });
    let recordings = server.recordings("rtmp_node");
    assert_eq!(recordings.len(), 1, "one publication: {}", server.output());
    assert_plays(&recordings[0], PICTURES);
    let output = server.output();
    // A player that has enough resets its connection when something is under way to it.
    let players: Vec<&str> =
        output.lines().filter(|line| line.contains("start play")).filter_map(session).collect();
    let is_of_player = |line: &str| session(line).is_some_and(|session| players.contains(&session));
    let faults = output.lines().filter(|line| line.to_lowercase().contains("error"));
    let faults: Vec<&str> = faults.filter(|line| !is_of_player(line)).collect();
    assert!(faults.is_empty(), "{faults:?} in {output}");
}

/// What Node-Media-Server calls the session of a line in its log.
fn session(line: &str) -> Option<&str> {
    line.split_once("RTMP session ")?.1.split(' ').next()
}

#[test]
fn ffmpeg_that_listens_takes_the_call() {
    let directory = directory("ffmpeg-listen");
    let recording = directory.join("taken.flv");
    let port = crate::support::ports::free(1);
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "warning", "-y", "-listen", "1", "-i"])
        .arg(format!("rtmp://127.0.0.1:{port}/live/rtmp_ffmpeg"))
        .args(["-t", "4", "-c", "copy"])
        .arg(&recording);
    let mut server = Process::start("ffmpeg", &directory, &mut command);
    let call = LiveCall::to(&format!("rtmp://127.0.0.1:{port}/live"), "ffmpeg");
    let status = server.wait_for_end(Duration::from_secs(60));
    assert!(status.success(), "{status}: {}", server.output());
    assert_plays(&recording, PICTURES);
    call.end();
}

#[test]
fn players_get_the_call_from_nginx_and_from_the_embedded_server() {
    let nginx = Nginx::start();
    let call = LiveCall::to(&nginx.url(), "players");
    let own = call.add(&json!({ "rtmpUrl": call.origin_url(), "rtmpStream": "rtmp_players" }));
    call.wait_for_pictures(&own, 30);
    for url in [nginx.url(), call.origin_url()] {
        let url = format!("{url}/rtmp_players");
        ffmpeg_plays(&url);
        rtmpdump_plays(&url);
        gstreamer_plays(&url);
    }
    call.end();
}

#[test]
fn librtmp_publishes_to_the_embedded_server() {
    let sipcast = Sipcast::start(&[]);
    let url = format!("rtmp://127.0.0.1:{}/live/encoder", sipcast.origin_port);
    let publisher = LibrtmpPublisher::start(&url, 10);
    ffmpeg_plays(&url);
    publisher.end();
    sipcast.stop();
}

fn ffmpeg_plays(url: &str) {
    let recording = file("ffmpeg");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "warning", "-y", "-rw_timeout", "20000000", "-rtmp_live", "live", "-i", url]);
    command.args(["-t", "4", "-c", "copy"]).arg(&recording);
    end_well("ffmpeg", &recording, &mut command);
    assert_plays(&recording, PICTURES);
}

/// Live it plays until it is told to end.
fn rtmpdump_plays(url: &str) {
    let recording = file("rtmpdump");
    let mut command = Command::new("rtmpdump");
    command.args(["--live", "--timeout", "20", "--rtmp", url, "--flv"]).arg(&recording);
    let mut player = Process::start("rtmpdump", recording.parent().expect("a directory"), &mut command);
    wait_for("pictures in rtmpdump's file", Duration::from_secs(40), || {
        assert!(player.is_running(), "{url}: {}", player.output());
        (pictures(&recording) >= PICTURES).then_some(())
    });
    let log = player.output();
    assert!(!log.contains("ERROR") && !log.contains("WARNING"), "{url}: {log}");
    player.signal("INT");
    player.wait_for_end(Duration::from_secs(20));
    assert_plays(&recording, PICTURES);
}

/// Ends by itself when enough went through the parsers and decoders of both streams.
fn gstreamer_plays(url: &str) {
    let place = file("gstreamer");
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "rtmp2src", &format!("location={url}"), "!", "flvdemux", "name=d"]);
    for (stream, elements) in
        [("d.video", ["h264parse", "avdec_h264"]), ("d.audio", ["aacparse", "avdec_aac"])]
    {
        command.args([
            stream,
            "!",
            "queue",
            "!",
            elements[0],
            "!",
            elements[1],
            "!",
            "fakesink",
            "sync=false",
        ]);
        command.arg(format!("num-buffers={PICTURES}"));
    }
    command.env("GST_DEBUG", "2").env("GST_DEBUG_NO_COLOR", "1");
    let log = end_well("gst-launch", &place, &mut command);
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{url}: {log}");
}

/// A file of a name in a directory of its own.
fn file(player: &str) -> PathBuf {
    directory(player).join("played.flv")
}

/// Waits until a player ends by itself; gives what it said.
fn end_well(name: &str, recording: &Path, command: &mut Command) -> String {
    let mut player = Process::start(name, recording.parent().expect("a directory"), command);
    let status = player.wait_for_end(Duration::from_secs(60));
    assert!(status.success(), "{name}: {status}: {}", player.output());
    player.output()
}
