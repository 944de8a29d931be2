//! baresip as callee, nginx-rtmp as target: every NAL unit arrives as it left, sound and picture stay together.

use std::process::Command;
use std::time::Duration;

use crate::support::baresip::Baresip;
use crate::support::flv::{self, Body, Tag};
use crate::support::nginx::Nginx;
use crate::support::pcap::{Capture, Datagram};
use crate::support::process::run;
use crate::support::rtp::{self, SenderReport};
use crate::support::sipcast::{Sipcast, order, scratch};
use crate::support::{h264, wait_for};

/// Media that must have arrived, in ms.
const MEDIA_MS: u32 = 30_000;

/// Farthest that sound and picture may lie apart at the sink, in seconds (issue's limit: 40 ms).
const SKEW_MAX: f64 = 0.040;

#[test]
fn pcmu_and_h264_arrive_as_they_left() {
    arrives_as_it_left("PCMU", decode_mu_law);
}

#[test]
fn pcma_and_h264_arrive_as_they_left() {
    arrives_as_it_left("PCMA", decode_a_law);
}

fn arrives_as_it_left(codec: &str, decode: fn(u8) -> i32) {
    let nginx = Nginx::start();
    let baresip = Baresip::start(codec);
    let sipcast = Sipcast::start(&["media.shards=1"]);
    let capture = Capture::start(&scratch("capture"), sipcast.rtp_ports.0, sipcast.rtp_ports.1);

    let answer = sipcast.post("call/startup", &order("exact", baresip.port, &nginx.url(), "exact"));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    sipcast.wait_for_status("exact", "ESTABLISHED", Duration::from_secs(20));
    wait_for("30 s of recorded pictures", Duration::from_secs(120), || {
        let tags = flv::read(&std::fs::read(nginx.recordings().first()?).ok().filter(|f| f.len() > 13)?);
        (tags.iter().rev().find(|tag| is_picture(tag))?.timestamp > MEDIA_MS + 1000).then_some(())
    });
    let statistics = sipcast.statistics();
    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": "exact" })).status, 200);
    wait_for("end of the call", Duration::from_secs(20), || sipcast.call("exact").is_none().then_some(()));
    let sent = capture.stop();
    let recordings = nginx.recordings();
    assert_eq!(recordings.len(), 1, "one publication");
    let tags = flv::read(&std::fs::read(&recordings[0]).expect("nginx's file"));

    assert_timestamps_rise(&tags);
    let (audio_port, video_port) = media_ports(&sent);
    let pictures = assert_nal_units_are_exact(&sent, video_port, &tags);
    assert_decodes(&recordings[0]);
    assert_in_step(&sent, (audio_port, video_port), &tags, &pictures, &recordings[0], decode);
    let shards = statistics["shards"].as_array().expect("a list").clone();
    assert!(!shards.is_empty(), "{statistics}");
    for shard in &shards {
        assert_eq!(shard["payloadBytesCopied"], 0, "{shard}");
    }
    drop(nginx);
    sipcast.stop();
}

fn is_picture(tag: &Tag) -> bool {
    matches!(tag.body, Body::Picture { .. })
}

fn assert_timestamps_rise(tags: &[Tag]) {
    let times = |wanted: fn(&Tag) -> bool| -> Vec<u32> {
        tags.iter().filter(|tag| wanted(tag)).map(|tag| tag.timestamp).collect()
    };
    for (what, times) in
        [("video", times(is_picture)), ("audio", times(|tag| matches!(tag.body, Body::Aac(_))))]
    {
        assert!(times.len() > 500, "{} {what} tags", times.len());
        for pair in times.windows(2) {
            assert!(pair[0] < pair[1], "{what} time goes from {} to {}", pair[0], pair[1]);
        }
    }
}

/// RTP ports of sipcast that got audio and video: video is where most bytes went.
fn media_ports(sent: &[Datagram]) -> (u16, u16) {
    let mut bytes = std::collections::BTreeMap::new();
    for datagram in sent.iter().filter(|d| d.to % 2 == 0) {
        *bytes.entry(datagram.to).or_insert(0) += datagram.payload.len();
    }
    let mut ports: Vec<(usize, u16)> = bytes.into_iter().map(|(port, bytes)| (bytes, port)).collect();
    ports.sort_unstable();
    assert_eq!(ports.len(), 2, "{ports:?}");
    (ports[0].1, ports[1].1)
}

/// Compares what arrived with what left; gives RTP and FLV time of each picture that arrived.
fn assert_nal_units_are_exact(sent: &[Datagram], port: u16, tags: &[Tag]) -> Vec<(u32, u32)> {
    let left = h264::nal_units(&rtp::packets(sent, port));
    let arrived: Vec<(u32, &Vec<u8>)> = tags
        .iter()
        .filter_map(|tag| match &tag.body {
            Body::Picture { nal_units, .. } => Some(nal_units.iter().map(|unit| (tag.timestamp, unit))),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(arrived.len() <= left.len(), "{} NAL units arrived, {} left", arrived.len(), left.len());
    let start = (0..=left.len() - arrived.len())
        .find(|&start| left[start..].iter().zip(&arrived).all(|(left, arrived)| left.bytes == *arrived.1))
        .unwrap_or_else(|| {
            panic!("{} NAL units arrived, not as the {} that left", arrived.len(), left.len())
        });
    let missed = left.len() - start - arrived.len();
    assert!(
        missed < 40,
        "{missed} NAL units left after the last that arrived: more than hanging up explains"
    );
    left[start..].iter().zip(&arrived).map(|(left, arrived)| (left.timestamp, arrived.0)).collect()
}

fn assert_decodes(file: &std::path::Path) {
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-xerror", "-i"])
        .arg(file)
        // In ms, as the tags are: in thirtieths of a second two pictures that baresip sends close together coincide.
        .args(["-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-f", "null", "-"])
        .output()
        .expect("tests/run installs ffmpeg");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "the decoder complains");
}

/// Compares how far picture and sound lie apart at the callee, by its sender reports, and at the sink.
fn assert_in_step(
    sent: &[Datagram],
    (audio_port, video_port): (u16, u16),
    tags: &[Tag],
    pictures: &[(u32, u32)],
    recording: &std::path::Path,
    decode: fn(u8) -> i32,
) {
    let audio_clock = last_report(sent, audio_port + 1);
    let video_clock = last_report(sent, video_port + 1);
    let beeps_left: Vec<f64> = beeps_sent(sent, audio_port, decode)
        .into_iter()
        .map(|timestamp| audio_clock.seconds_of(timestamp, 8_000.0))
        .collect();
    let first_audio = tags.iter().find(|tag| matches!(tag.body, Body::Aac(_))).expect("audio").timestamp;
    let beeps_arrived: Vec<f64> =
        beeps_heard(recording).into_iter().map(|at| f64::from(first_audio) / 1000.0 + at).collect();
    assert!(beeps_arrived.len() >= 25, "{} beeps arrived", beeps_arrived.len());
    let video: Vec<f64> = pictures
        .iter()
        .map(|&(left, arrived)| f64::from(arrived) / 1000.0 - video_clock.seconds_of(left, 90_000.0))
        .collect();
    let video_delay = median(video[video.len() / 2..].to_vec());
    // Beeps are a second apart: the one that belongs to an arrived beep is the nearest by the video's delay.
    for at in &beeps_arrived[beeps_arrived.len() / 2..] {
        let skew = beeps_left
            .iter()
            .map(|left| at - left - video_delay)
            .min_by(|a, b| a.abs().total_cmp(&b.abs()))
            .expect("beeps left");
        assert!(skew.abs() <= SKEW_MAX, "sound lies {:.1} ms from the picture", skew * 1000.0);
    }
}

/// What the callee last said of its clock. Its first report tells of a picture that the start of its encoder delayed:
/// some 50 ms away from all that follow.
fn last_report(sent: &[Datagram], port: u16) -> SenderReport {
    let reports = rtp::sender_reports(sent, port);
    assert!(reports.len() > 3, "{} sender reports", reports.len());
    *reports.last().unwrap_or_else(|| panic!("no sender report to {port}"))
}

/// RTP times at which a beep begins in what the callee sent.
fn beeps_sent(sent: &[Datagram], port: u16, decode: fn(u8) -> i32) -> Vec<u32> {
    let mut beeps = Vec::new();
    let mut quiet = 0;
    for packet in rtp::packets(sent, port) {
        for (index, byte) in packet.payload.iter().enumerate() {
            if decode(*byte).abs() > LOUD {
                if quiet > 8_000 / 4 {
                    beeps.push(packet.timestamp.wrapping_add(index as u32));
                }
                quiet = 0;
            } else {
                quiet += 1;
            }
        }
    }
    beeps
}

/// Seconds since the first audio tag at which a beep begins in the recording.
fn beeps_heard(recording: &std::path::Path) -> Vec<f64> {
    let pcm = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(recording).args([
        "-vn",
        "-af",
        "aresample=48000",
        "-ac",
        "1",
        "-f",
        "s16le",
        "-",
    ]));
    let mut beeps = Vec::new();
    let mut quiet = 0;
    for (index, sample) in pcm.chunks_exact(2).enumerate() {
        if i32::from(i16::from_le_bytes([sample[0], sample[1]])).abs() > LOUD {
            if quiet > 48_000 / 4 {
                beeps.push(index as f64 / 48_000.0);
            }
            quiet = 0;
        } else {
            quiet += 1;
        }
    }
    beeps
}

/// A sample this far from zero is part of a beep (16 bit); ffmpeg's sine has an amplitude of 4096.
const LOUD: i32 = 1_000;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// ITU-T G.711 §3, mu-law, scaled to 16 bit.
fn decode_mu_law(byte: u8) -> i32 {
    let byte = !byte;
    let magnitude = ((i32::from(byte & 0x0f) << 3) + 0x84) << ((byte >> 4) & 7);
    if byte & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

/// ITU-T G.711 §3, A-law, scaled to 16 bit.
fn decode_a_law(byte: u8) -> i32 {
    let byte = byte ^ 0x55;
    let segment = i32::from(byte >> 4 & 7);
    let step = (i32::from(byte & 0x0f) << 4) + 8;
    let magnitude = if segment == 0 { step } else { (step + 0x100) << (segment - 1) };
    if byte & 0x80 != 0 { magnitude } else { -magnitude }
}
