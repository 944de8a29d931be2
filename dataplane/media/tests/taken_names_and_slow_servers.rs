//! Servers that hold the name of a lost publisher, take nothing, or take too little.

mod sim;

use sim::World;
use sipcast_contract::{TargetId, TargetState};

#[test]
fn a_name_that_our_lost_connection_holds_is_free_after_the_publish_timeout() {
    let mut world = World::call(221);
    world.run(3000);
    world.sink_mut(1).disconnect();
    world.sink_mut(1).names_taken = 2;
    world.pipeline.target_mut(TargetId(1)).expect("a target").handle_disconnected(world.now);
    let before = world.sink(1).pictures.len();
    world.run(5500);
    assert_eq!((world.state(1), world.sink(1).names_taken), (TargetState::Publishing, 0));
    let sink = world.sink(1);
    assert!(sink.pictures[before].is_key);
    sink.assert_monotone();
    world.finish();
}

#[test]
fn a_server_that_takes_half_loses_whole_pictures_and_hardly_any_sound() {
    let mut world = World::call(227);
    world.add_target(2);
    world.run(1000);
    // The call sends about 160 bytes in a millisecond.
    world.sink_mut(2).bytes_per_ms = Some(80);
    world.run(30_000);
    let (fast, slow) = (world.sink(1), world.sink(2));
    assert_eq!(fast.assert_exact(&world.callee.pictures), 0);
    slow.assert_exact(&world.callee.pictures);
    slow.assert_monotone();
    assert!(slow.pictures.len() < fast.pictures.len());
    let figures = world.pipeline.statistics().targets[1].1;
    assert!(figures.access_units_dropped * 3 > figures.access_units, "{figures:?}");
    // The bound of the queue holds for sound as well: what waited behind a long send for 5 s goes.
    assert!(figures.audio_frames_dropped * 20 < figures.audio_frames, "{figures:?}");
    assert_eq!(figures.reconnects, 0, "{figures:?}");
    // The rest of the sound arrived, but for what still waits.
    assert!(slow.sounds.len() + 300 > fast.sounds.len(), "{} of {}", slow.sounds.len(), fast.sounds.len());
    world.finish();
}

#[test]
fn a_server_that_cannot_even_take_the_sound_is_left_and_found_again_without_old_media() {
    let mut world = World::call(223);
    world.add_target(2);
    world.run(1000);
    world.sink_mut(2).bytes_per_ms = Some(2);
    let mut waited = 0;
    while world.sink(2).connections < 2 {
        world.run(1000);
        waited += 1;
        assert!(waited < 90, "{:?}", world.pipeline.statistics().targets[1]);
    }
    let (pictures, sounds) = (world.sink(2).pictures.len(), world.sink(2).sounds.len());
    let newest = world.sink(1).pictures.last().expect("published").timestamp_ms;
    world.sink_mut(2).bytes_per_ms = None;
    world.run(3000);
    let slow = world.sink(2);
    slow.assert_monotone();
    assert!(slow.pictures[pictures].is_key);
    assert!(slow.pictures[pictures].timestamp_ms + 1500 > newest, "nothing old is sent again");
    assert!(slow.sounds[sounds].0 + 1500 > newest);
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
    world.finish();
}
