//! Files instead of the call's sound and for the callee; one broadcast's sound and pictures in another.

mod sim;

use std::sync::Arc;
use std::time::Duration;

use sim::sink::Sink;
use sim::{Sent, World, address};
use sipcast_contract::dtmf;
use sipcast_contract::picture::picture_line;
use sipcast_contract::sound::{AacClip, LineId, PcmClip, line};
use sipcast_contract::{
    Direction, MediaOptions, NegotiatedMedia, RtmpTarget, RtmpUrl, Secret, TargetId, TargetState,
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
    world.pipeline.set_media(&hearing(), world.now);
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
    other.pipeline.set_media(&NegotiatedMedia { audio: Some(held), video: None }, other.now);
    both_run(&mut one, &mut other, 1_000);
    assert_eq!(heard(&other).len(), first);
    other.pipeline.set_media(&hearing(), other.now);
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
