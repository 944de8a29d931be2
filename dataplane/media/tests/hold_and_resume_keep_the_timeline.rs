//! Hold stops no timeline: silence goes on, nobody is asked for pictures, and the picture returns on resume.

mod sim;

use sim::{World, both};
use sipcast_contract::Direction;

#[test]
fn hold_and_resume() {
    let mut world = World::call(61);
    world.run(3000);
    let mut held = both();
    let resumed = both();
    for direction in [
        &mut held.audio.as_mut().expect("audio").transport.direction,
        &mut held.video.as_mut().expect("video").transport.direction,
    ] {
        *direction = Direction::Inactive;
    }
    world.callee.is_sending = false;
    world.run(50);
    world.pipeline.set_media(&held, world.now, &mut world.workspace);
    let (requests, sounds) = (world.keyframe_requests(), world.sink(1).sounds.len());
    world.run(5000);
    assert_eq!(world.keyframe_requests(), requests);
    assert!(world.sink(1).sounds.len() - sounds > 220, "silence goes on");

    // A peer that begins anew: other SSRC, other sequence numbers, other RTP time.
    world.callee.video_ssrc = 0x7777_8888;
    world.callee.sequence_number = 12_345;
    world.callee.rtp_base = 99;
    world.callee.is_sending = true;
    let pictures = world.sink(1).pictures.len();
    world.pipeline.set_media(&resumed, world.now, &mut world.workspace);
    world.run(3000);
    assert!(world.keyframe_requests() > requests);
    let sink = world.sink(1);
    assert!(sink.pictures[pictures].is_key);
    sink.assert_exact(&world.callee.pictures);
    sink.assert_monotone();
    let pause = sink.pictures[pictures].timestamp_ms - sink.pictures[pictures - 1].timestamp_ms;
    assert!((4900..=5600).contains(&pause), "{pause} ms");
    assert!(sink.pictures.len() - pictures > 70);
    world.finish();
}

#[test]
fn a_changed_address_is_learnt_anew() {
    let mut world = World::call(62);
    world.run(1000);
    let mut moved = both();
    let rtp = sim::address("198.51.100.7:5004");
    moved.video.as_mut().expect("video").transport = sim::transport("198.51.100.7:5004");
    world.callee.video_from = rtp;
    let moved_at = world.now;
    world.pipeline.set_media(&moved, world.now, &mut world.workspace);
    let pictures = world.sink(1).pictures.len();
    world.run(2000);
    assert!(world.sink(1).pictures.len() - pictures > 40);
    world.sink(1).assert_exact(&world.callee.pictures);
    let opened = world.sent.iter().find(|sent| sent.to == rtp).expect("the way was opened");
    assert!((opened.at - moved_at).as_millis() <= 1);
    assert!(world.sent.iter().any(|sent| sent.to == sim::address("198.51.100.7:5005")));
    world.finish();
}
