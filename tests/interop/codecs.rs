//! Each audio codec through the whole product: what nginx-rtmp recorded is decoded and compared with what the callee
//! was given to say. baresip speaks the codecs that Debian builds it with; FFmpeg sends the others, and those again.

use std::time::Duration;

use crate::support::baresip::Baresip;
use crate::support::flv::{self, Body, Tag};
use crate::support::nginx::Nginx;
use crate::support::pcap::{Capture, Datagram};
use crate::support::room::{Demands, Room, Sound};
use crate::support::rtp::{self, SenderReport};
use crate::support::sipcast::{Sipcast, order, scratch};
use crate::support::{h264, sound, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Media that must have arrived, in ms.
const MEDIA_MS: u32 = 14_000;

/// Farthest that sound and picture may lie apart at the sink, in seconds: the 40 ms, and what the sender's
/// own coder delays (Opus 6.5 ms, Speex at 32 kHz up to 15 ms).
const SKEW_MAX: f64 = 0.055;

/// What a codec must at least reach.
struct Quality {
    correlation: f64,
    pesq: f64,
}

/// A codec on the wire.
struct Codec {
    /// As in `a=rtpmap`, without channels.
    rtpmap: &'static str,
    /// RTP clock rate, in Hz.
    clock_hz: f64,
    quality: Quality,
}

const PCMU: Codec = codec("PCMU/8000", 8_000.0, 0.97, 3.8);
const PCMA: Codec = codec("PCMA/8000", 8_000.0, 0.97, 3.8);
/// Its RTP clock is 8000 Hz though it samples at 16 kHz (RFC 3551 §4.5.2).
const G722: Codec = codec("G722/8000", 8_000.0, 0.97, 3.8);
const OPUS: Codec = codec("opus/48000", 48_000.0, 0.9, 3.2);
const SPEEX_8: Codec = codec("speex/8000", 8_000.0, 0.8, 2.6);
const SPEEX_16: Codec = codec("speex/16000", 16_000.0, 0.8, 2.6);
const SPEEX_32: Codec = codec("speex/32000", 32_000.0, 0.8, 2.6);

const fn codec(rtpmap: &'static str, clock_hz: f64, correlation: f64, pesq: f64) -> Codec {
    Codec { rtpmap, clock_hz, quality: Quality { correlation, pesq } }
}

#[test]
fn baresip_speaks_pcmu() {
    baresip_speaks(PCMU, "PCMU", (8_000, 1));
}

#[test]
fn baresip_speaks_pcma() {
    baresip_speaks(PCMA, "PCMA", (8_000, 1));
}

#[test]
fn baresip_speaks_g722() {
    baresip_speaks(G722, "G722/16000/1", (16_000, 1));
}

#[test]
fn baresip_speaks_opus() {
    baresip_speaks(OPUS, "opus", (48_000, 2));
}

#[test]
fn ffmpeg_sends_opus() {
    ffmpeg_sends(OPUS, 48_000, &["-c:a", "libopus", "-b:a", "32k", "-application", "voip"]);
}

#[test]
fn ffmpeg_sends_g722() {
    ffmpeg_sends(G722, 16_000, &["-c:a", "g722", "-frame_size", "320"]);
}

#[test]
fn ffmpeg_sends_speex_at_8_khz() {
    ffmpeg_sends(SPEEX_8, 8_000, &["-c:a", "libspeex", "-cbr_quality", "8"]);
}

#[test]
fn ffmpeg_sends_speex_at_16_khz() {
    ffmpeg_sends(SPEEX_16, 16_000, &["-c:a", "libspeex", "-cbr_quality", "8"]);
}

#[test]
fn ffmpeg_sends_speex_at_32_khz() {
    ffmpeg_sends(SPEEX_32, 32_000, &["-c:a", "libspeex", "-cbr_quality", "8"]);
}

#[test]
fn ffmpeg_sends_speex_with_variable_bit_rate() {
    ffmpeg_sends(SPEEX_16, 16_000, &["-c:a", "libspeex", "-vbr", "on", "-q:a", "8"]);
}

fn baresip_speaks(codec: Codec, name: &str, (rate_hz, channels): (u32, u16)) {
    let speech = sound::speech();
    let file = sound::wav(&speech, rate_hz, channels);
    let callee = Baresip::start_saying(
        &format!("<sip:callee@127.0.0.1>;regint=0;answermode=auto;audio_codecs={name}"),
        &file,
    );
    arrives(&codec, &speech, callee.port);
}

fn ffmpeg_sends(codec: Codec, rate_hz: u32, encoder: &'static [&'static str]) {
    let speech = sound::speech();
    let room = Room::open(Demands {
        sound: Sound { rtpmap: codec.rtpmap, encoder, file: sound::wav(&speech, rate_hz, 1) },
        ..Demands::none()
    });
    arrives(&codec, &speech, room.port);
}

fn arrives(codec: &Codec, speech: &[i16], port: u16) {
    let nginx = Nginx::start();
    let sipcast = Sipcast::start(&["media.shards=1"]);
    let capture = Capture::start(&scratch("capture"), sipcast.rtp_ports.0, sipcast.rtp_ports.1);
    let answer = sipcast.post("call/startup", &order("sound", port, &nginx.url(), "sound"));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    sipcast.wait_for_status("sound", "ESTABLISHED", SOON);
    wait_for("14 s of recorded sound and pictures", 3 * SOON, || {
        let tags = flv::read(&std::fs::read(nginx.recordings().first()?).ok().filter(|f| f.len() > 13)?);
        let last =
            |wanted: fn(&Tag) -> bool| tags.iter().rev().find(|tag| wanted(tag)).map(|tag| tag.timestamp);
        (last(is_picture)?.min(last(is_sound)?) > MEDIA_MS).then_some(())
    });
    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": "sound" })).status, 200);
    wait_for("end of the call", SOON, || sipcast.call("sound").is_none().then_some(()));
    let sent = capture.stop();
    let recordings = nginx.recordings();
    assert_eq!(recordings.len(), 1, "one publication");
    let tags = flv::read(&std::fs::read(&recordings[0]).expect("nginx's file"));
    let arrived = sound::decode(&recordings[0]);
    let rate = sound::RATE as usize;

    // Four pieces of 2 s, the first after 3 s: by then the clocks of both streams are known by sender reports.
    let first_tag = tags.iter().find(|tag| is_sound(tag)).expect("sound").timestamp;
    let pieces: Vec<(f64, sound::Match)> = (0..4)
        .map(|piece| {
            let at = (3 + 2 * piece) * rate;
            let found = sound::find(&arrived[at..at + 2 * rate], speech);
            (f64::from(first_tag) / 1000.0 + at as f64 / f64::from(sound::RATE), found)
        })
        .collect();
    let worst = pieces.iter().map(|(_, found)| found.correlation).fold(1.0, f64::min);
    let starts: Vec<f64> =
        pieces.iter().map(|(at, found)| at - found.at as f64 / f64::from(sound::RATE)).collect();
    let score = {
        let (at, from) = (3 * rate, pieces[0].1.at);
        sound::pesq(&speech[from..from + 8 * rate], &arrived[at..at + 8 * rate])
    };
    let skew = skew(&sent, &tags, codec.clock_hz, &starts);
    println!(
        "{}: correlation {worst:.3}, PESQ {score:.2}, sound lies {:+.1} ms from the picture",
        codec.rtpmap,
        skew * 1e3
    );
    assert!(worst >= codec.quality.correlation, "{}: correlation {worst:.3}: {pieces:?}", codec.rtpmap);
    assert!(score >= codec.quality.pesq, "{}: PESQ {score:.2}", codec.rtpmap);
    for start in &starts {
        assert!((start - starts[0]).abs() < 0.005, "{}: the delay wanders: {starts:?}", codec.rtpmap);
    }
    assert!(skew.abs() <= SKEW_MAX, "{}: sound lies {:.1} ms from the picture", codec.rtpmap, skew * 1e3);
    sipcast.stop();
}

fn is_picture(tag: &Tag) -> bool {
    matches!(tag.body, Body::Picture { .. })
}

fn is_sound(tag: &Tag) -> bool {
    matches!(tag.body, Body::Aac(_))
}

/// How much later than the picture the sound lies at the sink, in seconds, by the sender's clocks. `starts`: seconds of
/// the sink at which the source would have begun.
fn skew(sent: &[Datagram], tags: &[Tag], clock_hz: f64, starts: &[f64]) -> f64 {
    let mut bytes = std::collections::BTreeMap::new();
    for datagram in sent.iter().filter(|datagram| datagram.to % 2 == 0) {
        *bytes.entry(datagram.to).or_insert(0) += datagram.payload.len();
    }
    let mut ports: Vec<(usize, u16)> = bytes.into_iter().map(|(port, bytes)| (bytes, port)).collect();
    ports.sort_unstable();
    assert_eq!(ports.len(), 2, "{ports:?}");
    let (audio, video) = (ports[0].1, ports[1].1);
    // The source's first sample is in the first packet.
    let first = rtp::packets(sent, audio)[0].timestamp;
    let began = last_report(sent, audio + 1).seconds_of(first, clock_hz);
    let audio_delay = median(starts.to_vec()) - began;
    let left = h264::nal_units(&rtp::packets(sent, video));
    let clock = last_report(sent, video + 1);
    let pictures = tags.iter().filter_map(|tag| match &tag.body {
        Body::Picture { nal_units, .. } => Some((tag.timestamp, nal_units.last()?)),
        _ => None,
    });
    let delays: Vec<f64> = pictures
        .filter_map(|(at, unit)| {
            let same = left.iter().find(|left| left.bytes == *unit)?;
            Some(f64::from(at) / 1000.0 - clock.seconds_of(same.timestamp, 90_000.0))
        })
        .collect();
    assert!(delays.len() > 300, "{} pictures are as they left", delays.len());
    audio_delay - median(delays[delays.len() / 2..].to_vec())
}

fn last_report(sent: &[Datagram], port: u16) -> SenderReport {
    *rtp::sender_reports(sent, port).last().unwrap_or_else(|| panic!("no sender report to {port}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
