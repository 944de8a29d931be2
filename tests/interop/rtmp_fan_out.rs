//! One call to several servers at once: nginx-rtmp and a second one as its backup, Node-Media-Server, the embedded
//! server. All get the same; one that stops reading hurts no other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::flv::Body;
use crate::support::live_call::LiveCall;
use crate::support::nginx::Nginx;
use crate::support::node_media_server::NodeMediaServer;
use crate::support::playback::{assert_plays, pictures, tags};
use crate::support::process::{Process, directory};
use crate::support::wait_for;

/// Packets that a player takes from each server.
const PACKETS: usize = 700;

#[test]
fn all_servers_get_the_same_at_the_same_time_of_the_stream() {
    let (primary, backup, node) = (Nginx::start(), Nginx::start(), NodeMediaServer::start());
    let call = LiveCall::with_backup("same", &primary.url(), &backup.url());
    let targets = call.targets();
    assert_eq!(targets.len(), 2, "target and backup: {targets:?}");
    // These two come in mid-call.
    call.add(&json!({ "rtmpUrl": node.url(), "rtmpStream": "rtmp_same" }));
    call.add(&json!({ "rtmpUrl": call.origin_url(), "rtmpStream": "rtmp_same" }));
    let targets = call.targets();
    let ids: Vec<String> = targets.iter().map(id).collect();
    let removed = id(targets.iter().find(|target| target["url"] == node.url()).expect("its target"));
    for id in &ids {
        call.wait_for_pictures(id, 30);
    }

    let urls = [primary.url(), backup.url(), node.url(), call.origin_url()];
    let players: Vec<Player> = urls.iter().map(|url| Player::start(&format!("{url}/rtmp_same"))).collect();
    let played: Vec<_> = players.into_iter().map(Player::packets).collect();
    assert_same_times(&played[0], &played[1], &urls[1]);
    assert_same_times(&played[0], &played[2], &urls[2]);
    // Time of the embedded server begins at zero for each player: the first picture that both have says where.
    let [from_node, origin] = &played[2..] else { panic!("four players") };
    let time_of = |packets: &Packets, wanted: &str| {
        packets.iter().find(|(key, hash)| key.0 == "video" && *hash == wanted).map(|(key, _)| key.1)
    };
    let begin = origin
        .iter()
        .filter(|(key, _)| key.0 == "video")
        .find_map(|(key, hash)| Some(time_of(from_node, hash)? - key.1));
    let begin = begin.expect("a picture that both have");
    let moved: Packets =
        origin.iter().map(|((kind, time), hash)| ((kind.clone(), time + begin), hash.clone())).collect();
    assert_same_times(from_node, &moved, &urls[3]);

    // One goes in mid-call; nobody else notices.
    call.remove(&removed);
    wait_for("the end of the recording", Duration::from_secs(20), || {
        node.output().contains("done record").then_some(())
    });
    for id in ids.iter().filter(|id| **id != removed) {
        let target = call.wait_for_pictures(id, 60);
        assert_eq!(
            (&target["accessUnitsDropped"], &target["reconnects"]),
            (&json!(0), &json!(0)),
            "{target}"
        );
    }
    assert_eq!(call.target(&removed)["state"], "ENDED");
    call.end();

    let recordings =
        [&primary.recordings()[..], &backup.recordings(), &node.recordings("rtmp_same")].concat();
    assert_eq!(recordings.len(), 3, "one publication each: {recordings:?}");
    for recording in &recordings {
        assert_plays(recording, 90);
    }
    assert_one_distance(&recordings[0], &recordings[1]);
}

#[test]
fn a_server_that_stops_reading_hurts_no_other() {
    let (stalled, other) = (Nginx::start(), Nginx::start());
    let call = LiveCall::with_backup("stall", &other.url(), &stalled.url());
    let targets = call.targets();
    assert_eq!(targets.len(), 2, "target and backup: {targets:?}");
    let at =
        |server: &Nginx| id(targets.iter().find(|target| target["url"] == server.url()).expect("its target"));
    let (primary, backup) = (at(&other), at(&stalled));
    let own = call.add(&json!({ "rtmpUrl": call.origin_url(), "rtmpStream": "stall" }));
    for target in [&primary, &backup, &own] {
        call.wait_for_pictures(target, 30);
    }

    // The kernel takes some megabytes before anything shows.
    stalled.signal("STOP");
    call.wait_for_target(&backup, "trouble", |target| {
        target["accessUnitsDropped"].as_u64() > Some(0) || target["state"] == "RECONNECTING"
    });
    for target in [&primary, &own] {
        let target = call.wait_for_pictures(target, 90);
        assert_eq!(
            (&target["accessUnitsDropped"], &target["reconnects"]),
            (&json!(0), &json!(0)),
            "{target}"
        );
    }
    stalled.signal("CONT");
    call.wait_for_pictures(&backup, 90);
    let figures = call.sipcast.statistics();
    assert_eq!(figures["broadcasts"][0]["accessUnitsDropped"], 0, "{figures}");
    call.end();

    assert_eq!(other.recordings().len(), 1, "one publication");
    assert_plays(&other.recordings()[0], 200);
    let last = stalled.recordings().pop().expect("a recording");
    assert!(pictures(&last) > 0, "nothing arrived after the stall");
}

fn id(target: &Value) -> String {
    target["targetId"].as_str().expect("a name").to_owned()
}

/// ffprobe, which lists packets as a server hands them out.
struct Player {
    url: String,
    process: Process,
}

impl Player {
    fn start(url: &str) -> Self {
        let mut command = Command::new("ffprobe");
        command
            .args(["-v", "error", "-of", "csv=p=0", "-show_data_hash", "md5"])
            .args(["-show_entries", "packet=codec_type,pts_time,data_hash"])
            .args(["-rw_timeout", "20000000", "-rtmp_live", "live"])
            .args(["-read_intervals", &format!("%+#{PACKETS}"), url]);
        Self { url: url.to_owned(), process: Process::start("ffprobe", &directory("ffprobe"), &mut command) }
    }

    /// Kind and hash of what came at each time, in ms.
    fn packets(mut self) -> Packets {
        let status = self.process.wait_for_end(Duration::from_secs(60));
        let output = self.process.output();
        assert!(status.success(), "{}: {status}: {output}", self.url);
        let packet = |line: &str| {
            let [kind, time, hash] = line.split(',').collect::<Vec<_>>()[..] else {
                panic!("{}: {line}", self.url)
            };
            let seconds: f64 = time.parse().expect("a number");
            ((kind.to_owned(), (seconds * 1000.0).round() as i64), hash.to_owned())
        };
        output.lines().map(packet).collect()
    }
}

/// Hash of a packet by its kind and time in ms.
type Packets = BTreeMap<(String, i64), String>;

/// Fails unless both servers handed out the same at the same time wherever both were listened to.
fn assert_same_times(one: &Packets, other: &Packets, url: &str) {
    for kind in ["video", "audio"] {
        let of = |packets: &Packets| -> BTreeMap<i64, String> {
            packets.iter().filter(|(key, _)| key.0 == kind).map(|(key, hash)| (key.1, hash.clone())).collect()
        };
        let (one, other) = (of(one), of(other));
        let first = one.keys().min().max(other.keys().min()).expect("packets");
        let last = one.keys().max().min(other.keys().max()).expect("packets");
        assert!(first < last, "{url}: {kind}: listened to at other times");
        let (one, other): (Vec<_>, Vec<_>) =
            (one.range(first..=last).collect(), other.range(first..=last).collect());
        assert_eq!(one, other, "{url}: {kind}");
        assert!(one.len() > 60, "{url}: {} of {kind} in common", one.len());
    }
}

/// Fails unless each picture is in both recordings, which begin at zero, at the same distance from each other.
fn assert_one_distance(one: &Path, other: &Path) {
    let pictures_of = |file: &Path| -> Vec<(u32, Vec<Vec<u8>>)> {
        tags(file)
            .into_iter()
            .filter_map(|tag| match tag.body {
                Body::Picture { nal_units, .. } => Some((tag.timestamp, nal_units)),
                _ => None,
            })
            .collect()
    };
    let (one, other) = (pictures_of(one), pictures_of(other));
    let start = one.iter().position(|picture| picture.1 == other[0].1);
    let (one, other) = match start {
        Some(start) => (&one[start..], &other[..]),
        None => {
            let start = other.iter().position(|picture| picture.1 == one[0].1).expect("they overlap");
            (&one[..], &other[start..])
        }
    };
    let distance = i64::from(other[0].0) - i64::from(one[0].0);
    for (one, other) in one.iter().zip(other) {
        assert!(one.1 == other.1, "another picture at {} ms", one.0);
        assert_eq!(i64::from(other.0) - i64::from(one.0), distance, "at {} ms", one.0);
    }
    assert!(one.len().min(other.len()) > 200, "{} and {} pictures", one.len(), other.len());
}
