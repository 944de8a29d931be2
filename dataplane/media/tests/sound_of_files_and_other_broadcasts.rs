//! Files instead of the call's sound and for the callee; one broadcast's sound and pictures in another.

mod sim;

use std::sync::Arc;
use std::time::Duration;

use sim::callee::NalUnits;
use sim::sink::Sink;
use sim::{Sent, World, address};
use sipcast_contract::dtmf;
use sipcast_contract::picture::picture_line;
use sipcast_contract::sound::{AacClip, LineId, PcmClip, line};
use sipcast_contract::{
    Direction, MediaOptions, NegotiatedMedia, RtmpTarget, RtmpUrl, Secret, TargetId, TargetRules, TargetState,
};
use sipcast_media::pipeline::{Event, Port};

fn clip(frames: u8) -> Arc<AacClip> {
    let frames = (0..frames).map(|n| vec![n; 5].into_boxed_slice()).collect();
    Arc::new(AacClip { options: MediaOptions::default().aac, frames })
}

fn frame_of_clip(body: &[u8]) -> Option<u8> {
    (body.len() == 7 && body[..2] == [0xaf, 1] && body[2..].iter().all(|&byte| byte == body[2]))
        .then(|| body[2])
}

#[test]
fn a_target_has_a_file_frame_for_frame_and_the_call_again() {
    let mut world = World::call(501);
    for id in [2, 3] {
        world.add_target(id);
    }
    world.run(3_000);
    let before = world.sink(1).sounds.len();
    assert!(world.pipeline.set_sound(TargetId(1), Some(clip(50)), false));
    assert!(world.pipeline.set_sound(TargetId(3), Some(clip(10)), true));
    assert!(!world.pipeline.set_sound(TargetId(9), Some(clip(1)), false), "no such target");
    world.run(2_000);
    let heard: Vec<Option<u8>> =
        world.sink(1).sounds[before..].iter().map(|(_, body)| frame_of_clip(body)).collect();
    assert_eq!(heard[..50], (0..50).map(Some).collect::<Vec<_>>());
    assert!(heard.len() > 80 && heard[50..].iter().all(Option::is_none), "the call's own again");
    let times = |id: u64| world.sink(id).sounds.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    assert_eq!(times(1), times(2), "one timeline");
    assert!(world.sink(2).sounds.iter().all(|(_, body)| frame_of_clip(body).is_none()));
    let ended = |event: &&Event| **event == Event::SoundEnded(TargetId(1));
    assert_eq!(world.events.iter().filter(ended).count(), 1);
    // Mute wins, and the file moves on meanwhile.
    let playing = |world: &World| world.sink(3).sounds.last().and_then(|(_, body)| frame_of_clip(body));
    assert!(playing(&world).is_some(), "begun anew");
    world.pipeline.set_muted(TargetId(3), true);
    world.run(100);
    assert!(playing(&world).is_none());
    world.pipeline.set_muted(TargetId(3), false);
    world.run(100);
    assert!(playing(&world).is_some());
    world.pipeline.set_sound(TargetId(3), None, false);
    world.run(100);
    assert!(playing(&world).is_none());
    world.sink(1).assert_monotone();
    world.finish();
}

/// A call whose callee takes sound.
fn hearing_call(seed: u64) -> World {
    let mut world = World::call(seed);
    world.pipeline.set_media(&hearing(), world.now, &mut world.workspace);
    world
}

fn hearing() -> NegotiatedMedia {
    let mut media = sim::both();
    if let Some(audio) = &mut media.audio {
        audio.transport.direction = Direction::SendRecv;
    }
    media
}

/// Sound that went to the callee's audio port, silence left out.
fn heard(world: &World) -> Vec<&Sent> {
    let is_sound = |sent: &&Sent| {
        sent.port == Port::AudioRtp
            && sent.bytes[1] & 0x7f == 0
            && sent.bytes[12..].iter().any(|byte| byte | 0x80 != 0xff)
    };
    world.sent.iter().filter(is_sound).collect()
}

fn loud_clip(ms: usize) -> Arc<PcmClip> {
    let samples = (0..48 * ms).map(|n| if n / 48 % 2 == 0 { 8_000 } else { -8_000 }).collect();
    Arc::new(PcmClip { samples })
}

#[test]
fn a_callee_hears_a_file_in_one_rtp_stream_with_digits() {
    let mut world = hearing_call(502);
    world.run(2_000);
    world.pipeline.play_clip(loud_clip(1_000), world.now);
    world.run(1_500);
    let packets = heard(&world);
    assert_eq!(packets.len(), 50);
    let word = |sent: &Sent, at: usize| u16::from_be_bytes([sent.bytes[at], sent.bytes[at + 1]]);
    let rtp_time = |sent: &Sent| u32::from_be_bytes(sent.bytes[4..8].try_into().expect("4 bytes"));
    for (n, pair) in packets.windows(2).enumerate() {
        // The first one waited for the world's next millisecond.
        let pace = Duration::from_millis(if n == 0 { 19 } else { 20 });
        assert_eq!(pair[1].at - pair[0].at, pace, "packet {n}");
        assert_eq!(word(pair[1], 2), word(pair[0], 2).wrapping_add(1));
        assert_eq!(rtp_time(pair[1]).wrapping_sub(rtp_time(pair[0])), 160);
    }
    assert!(packets.iter().enumerate().all(|(n, sent)| (sent.bytes[1] & 0x80 != 0) == (n == 0)), "marker");
    assert_eq!(world.events.iter().filter(|event| **event == Event::PlayEnded).count(), 1);

    // Digits go before, in the same stream; the file moves on.
    let before = world.sent.len();
    world.pipeline.play_clip(loud_clip(1_000), world.now);
    world.run(200);
    assert!(world.send_dtmf(&dtmf::parse("5").expect("a digit")));
    world.run(1_500);
    let rtp = world.sent[before..].iter().filter(|sent| sent.port == Port::AudioRtp && sent.bytes[0] == 0x80);
    let rtp: Vec<&Sent> = rtp.filter(|sent| !(200..=206).contains(&sent.bytes[1])).collect();
    assert!(rtp.iter().any(|sent| sent.bytes[1] & 0x7f == 101), "digits went out");
    assert!(rtp.windows(2).all(|pair| word(pair[1], 2) == word(pair[0], 2).wrapping_add(1)));
    assert!(rtp.iter().all(|sent| sent.bytes[8..12] == rtp[0].bytes[8..12]), "one SSRC");
    let again = heard(&world).len() - 50;
    assert!((30..50).contains(&again), "{again}: some were passed over while the digit sounded");
    world.finish();
}

#[test]
fn on_hold_nothing_is_sent_and_a_line_is_heard_again_after_it() {
    let mut one = World::call(503);
    let mut other = hearing_call(504);
    let (sender, receiver) = line();
    assert!(one.pipeline.add_line(LineId(1), sender, None));
    other.pipeline.play_line(Some(receiver), other.now);
    both_run(&mut one, &mut other, 3_000);
    let first = heard(&other).len();
    assert!((120..150).contains(&first), "{first} packets of 20 ms in 3 s");
    let mut held = sim::audio();
    held.transport.direction = Direction::Inactive;
    other.pipeline.set_media(
        &NegotiatedMedia { audio: Some(held), video: None },
        other.now,
        &mut other.workspace,
    );
    both_run(&mut one, &mut other, 1_000);
    assert_eq!(heard(&other).len(), first);
    other.pipeline.set_media(&hearing(), other.now, &mut other.workspace);
    both_run(&mut one, &mut other, 1_000);
    assert!(heard(&other).len() > first + 40);
    one.finish();
    other.run(1_000);
    assert!(other.events.contains(&Event::PlayEnded), "the other end is gone");
    other.finish();
}

#[test]
fn a_mixer_publishes_sound_of_all_and_the_picture_of_one() {
    let mut one = World::call(505);
    let mut room = World::new(506);
    room.callee.is_sending = false;
    room.pipeline.mix(room.now);
    room.add_target(1);
    let (sender, receiver) = line();
    assert!(one.pipeline.add_line(LineId(1), sender, None) && room.pipeline.add_input(LineId(1), receiver));
    let (sender, receiver) = picture_line();
    one.pipeline.add_pictures(LineId(1), sender, one.now);
    room.pipeline.show_pictures(Some(receiver), room.now);
    both_run(&mut one, &mut room, 5_000);
    let sink = room.sink(1);
    assert!(sink.pictures.len() > 100 && sink.sounds.len() > 150, "{}", sink.pictures.len());
    assert_eq!(sink.assert_exact(&one.callee.pictures), 0, "no gap");
    sink.assert_monotone();
    assert!(sink.sounds.windows(2).any(|pair| pair[0].1 != pair[1].1), "not silence");
    // Without its inputs it goes on, silent and without picture.
    room.pipeline.remove_input(LineId(1));
    room.pipeline.show_pictures(None, room.now);
    let (pictures, sounds) = (room.sink(1).pictures.len(), room.sink(1).sounds.len());
    both_run(&mut one, &mut room, 1_000);
    assert_eq!(room.sink(1).pictures.len(), pictures);
    assert!(room.sink(1).sounds.len() > sounds + 40);
    room.finish();
}

#[test]
fn a_mixers_targets_have_its_input_asked_for_idr_pictures() {
    let mut one = World::call(508);
    let mut room = World::new(509);
    room.callee.is_sending = false;
    room.pipeline.mix(room.now);
    room.add_target(1);
    let (sender, receiver) = picture_line();
    one.pipeline.add_pictures(LineId(1), sender, one.now);
    room.pipeline.show_pictures(Some(receiver), room.now);
    both_run(&mut one, &mut room, 5_000);
    let keys = |world: &World, id| world.sink(id).pictures.iter().filter(|picture| picture.is_key).count();
    let (before, asked) = (keys(&room, 1), one.keyframe_requests());
    assert!(room.sink(1).pictures.len() > 100);
    // The input sends no IDR picture by itself.
    room.add_target(2);
    both_run(&mut one, &mut room, 400);
    assert!(one.keyframe_requests() > asked && keys(&room, 1) == before + 1);
    assert!(room.sink(2).pictures.first().is_some_and(|picture| picture.is_key));
    // A connection that was lost begins anew with one.
    room.sink_mut(2).disconnect();
    room.pipeline.target_mut(TargetId(2)).expect("a target").handle_disconnected(room.now);
    let pictures = room.sink(2).pictures.len();
    both_run(&mut one, &mut room, 4_000);
    assert!(room.sink(2).pictures.get(pictures).is_some_and(|picture| picture.is_key));
    // A service that wants one every second has one.
    let rules = TargetRules { keyframe_interval_max: Some(Duration::from_secs(1)), ..TargetRules::default() };
    room.add_target_with(3, rules);
    both_run(&mut one, &mut room, 10_000);
    let times =
        room.sink(3).pictures.iter().filter(|picture| picture.is_key).map(|picture| picture.timestamp_ms);
    let times: Vec<u32> = times.collect();
    assert!(times.len() >= 8, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] < 1_400), "{times:?}");
    // Nobody can make it ask more often than every 250 ms.
    let asked = one.keyframe_requests();
    for _ in 0..1_000 {
        room.pipeline.target_mut(TargetId(3)).expect("a target").shed();
        both_run(&mut one, &mut room, 1);
    }
    assert!(one.keyframe_requests() - asked <= 5, "{}", one.keyframe_requests() - asked);
    room.finish();
}

/// A call whose callee takes pictures.
fn seeing_call(seed: u64) -> World {
    let mut world = World::call(seed);
    world.pipeline.set_media(&seeing(Direction::SendRecv), world.now, &mut world.workspace);
    world
}

fn seeing(direction: Direction) -> NegotiatedMedia {
    let mut media = sim::both();
    if let Some(video) = &mut media.video {
        video.transport.direction = direction;
    }
    media
}

/// RTP that went to the callee's video port, keep-alives left out.
fn shown(world: &World) -> Vec<&Sent> {
    let is_picture = |sent: &&Sent| {
        sent.port == Port::VideoRtp && !(192..=223).contains(&sent.bytes[1]) && sent.bytes.len() > 12
    };
    world.sent.iter().filter(is_picture).collect()
}

/// The NAL units in RTP packets, by picture.
fn depacketized(packets: &[&Sent]) -> Vec<NalUnits> {
    let mut pictures = vec![NalUnits::new()];
    for packet in packets {
        let picture = pictures.last_mut().expect("one is open");
        let payload = &packet.bytes[12..];
        match payload[0] & 0x1f {
            24 => {
                let mut rest = &payload[1..];
                while let [a, b, after @ ..] = rest {
                    let (unit, after) = after.split_at(usize::from(u16::from_be_bytes([*a, *b])));
                    picture.push(unit.to_vec());
                    rest = after;
                }
            }
            28 => {
                if payload[1] & 0x80 != 0 {
                    picture.push(vec![payload[0] & 0xe0 | payload[1] & 0x1f]);
                }
                picture.last_mut().expect("a start").extend(&payload[2..]);
            }
            _ => picture.push(payload.to_vec()),
        }
        if packet.bytes[1] & 0x80 != 0 {
            pictures.push(NalUnits::new());
        }
    }
    pictures.retain(|picture| !picture.is_empty());
    pictures
}

#[test]
fn a_callee_sees_another_calls_picture_bit_for_bit_and_may_ask_for_idr_pictures() {
    let mut one = World::call(510);
    let mut other = seeing_call(511);
    let (sender, receiver) = picture_line();
    one.pipeline.add_pictures(LineId(1), sender, one.now);
    other.pipeline.play_pictures(Some(receiver), other.now);
    both_run(&mut one, &mut other, 4_000);
    let packets = shown(&other);
    let pictures = depacketized(&packets);
    assert!(pictures.len() > 100, "{}", pictures.len());
    assert!(pictures[0].iter().any(|unit| unit[0] & 0x1f == 7), "parameter sets come first");
    let first = one.callee.pictures.iter().position(|sent| *sent == pictures[0]).expect("one that was sent");
    assert!(one.callee.pictures[first..].starts_with(&pictures), "all of them from there");
    // One RTP stream: numbers without a gap, one time for a picture, the agreed payload type.
    let word =
        |sent: &Sent, at: usize| u32::from_be_bytes(sent.bytes[at..at + 4].try_into().expect("4 bytes"));
    for pair in packets.windows(2) {
        let number = |sent: &Sent| u16::from_be_bytes([sent.bytes[2], sent.bytes[3]]);
        assert_eq!(number(pair[1]), number(pair[0]).wrapping_add(1));
        assert_eq!((pair[1].bytes[1] & 0x7f, word(pair[1], 8)), (96, word(pair[0], 8)));
        let ahead = word(pair[1], 4).wrapping_sub(word(pair[0], 4));
        let is_next = pair[0].bytes[1] & 0x80 != 0;
        assert!(if is_next { (1..9_000).contains(&ahead) } else { ahead == 0 }, "{ahead}");
    }
    let ours = word(packets[0], 8);
    let is_report = |sent: &&Sent| sent.port == Port::VideoRtcp && sent.bytes[1] == 200;
    let reports: Vec<&Sent> = other.sent.iter().filter(is_report).collect();
    let report = reports.last().expect("sender reports");
    assert_eq!(word(report, 4), ours);
    // RFC 3550 §6.4.1: the time of the report on the scale of the packets.
    let near = packets.iter().rfind(|sent| sent.at <= report.at).expect("before it");
    assert!((word(report, 16).wrapping_sub(word(near, 4)) as i32).abs() < 90 * 200);

    // The callee loses a picture: it asks, and the other call's callee is asked.
    let keys = |world: &World| {
        let is_key = |picture: &&NalUnits| picture.iter().any(|unit| unit[0] & 0x1f == 5);
        depacketized(&shown(world)).iter().filter(is_key).count()
    };
    let before = keys(&other);
    let pli =
        [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], &[0x81, 206, 0, 2, 0, 0, 0, 9], &ours.to_be_bytes()].concat();
    let rtcp = address("192.0.2.1:40003");
    other.receive(Port::VideoRtcp, rtcp, &pli);
    both_run(&mut one, &mut other, 400);
    assert_eq!(keys(&other), before + 1);
    let others_pli = [&pli[..16], &[0, 0, 0, 7]].concat();
    other.receive(Port::VideoRtcp, rtcp, &others_pli);
    both_run(&mut one, &mut other, 1_000);
    assert_eq!(keys(&other), before + 1, "it was about another source");
    let fir = [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], &[0x84, 206, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0]].concat();
    let fir = [&fir[..], &ours.to_be_bytes(), &[1, 0, 0, 0]].concat();
    other.receive(Port::VideoRtcp, rtcp, &fir);
    both_run(&mut one, &mut other, 400);
    assert_eq!(keys(&other), before + 2);
    // Packets are not sent again; an IDR picture mends what a lost one spoilt. SIP INFO is one more way to ask.
    let nack =
        [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], &[0x81, 205, 0, 3, 0, 0, 0, 9], &ours.to_be_bytes(), &[0; 4]]
            .concat();
    both_run(&mut one, &mut other, 1_000);
    other.receive(Port::VideoRtcp, rtcp, &nack);
    both_run(&mut one, &mut other, 400);
    assert_eq!(keys(&other), before + 3);
    both_run(&mut one, &mut other, 1_000);
    other.pipeline.refresh_picture(other.now);
    both_run(&mut one, &mut other, 400);
    assert_eq!(keys(&other), before + 4);
    other.pipeline.play_pictures(None, other.now);
    let sent = shown(&other).len();
    both_run(&mut one, &mut other, 500);
    assert_eq!(shown(&other).len(), sent);
    other.finish();
}

#[test]
fn a_callee_sees_nothing_while_its_description_forbids_it() {
    let mut one = World::call(512);
    let mut other = World::call(513);
    let (sender, receiver) = picture_line();
    one.pipeline.add_pictures(LineId(1), sender, one.now);
    other.pipeline.play_pictures(Some(receiver), other.now);
    both_run(&mut one, &mut other, 2_000);
    assert!(shown(&other).is_empty(), "receive only");
    other.pipeline.set_media(&seeing(Direction::SendRecv), other.now, &mut other.workspace);
    both_run(&mut one, &mut other, 1_000);
    let pictures = depacketized(&shown(&other));
    assert!(pictures.len() > 15, "{}", pictures.len());
    assert!(pictures[0].iter().any(|unit| unit[0] & 0x1f == 5), "begins with an IDR picture");
    drop(one);
    other.run(1_000);
    other.finish();
}

#[test]
fn a_server_that_does_not_play_is_tried_again() {
    let mut world = World::new(507);
    world.callee.is_sending = false;
    let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let spec = RtmpTarget::new(url, Secret::new("talk".to_owned()), vec![address("127.0.0.1:1935")]);
    world.pipeline.pull(TargetId(7), RtmpTarget { plays: true, ..spec }, world.now);
    world.sinks.insert(TargetId(7), Sink::new(507));
    world.run(100);
    // This server takes publishers only: it never plays, and the pull gives up and tries again.
    assert_eq!(
        world.pipeline.target_mut(TargetId(7)).map(|pull| pull.state()),
        Some(TargetState::Connecting)
    );
    world.run(30_000);
    let tried = |event: &&Event| {
        matches!(event, Event::Target(TargetId(7), action)
        if format!("{action:?}").contains("Connect("))
    };
    assert!(world.events.iter().filter(tried).count() >= 2);
    world.finish();
}

fn both_run(one: &mut World, other: &mut World, ms: u64) {
    for _ in 0..ms {
        one.run(1);
        other.run(1);
    }
}
