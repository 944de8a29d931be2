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
fn a_server_that_takes_half_loses_whole_pictures_and_no_sound() {
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
    assert_eq!((figures.audio_frames_dropped, figures.reconnects), (0, 0), "{figures:?}");
    // All of the sound arrived, but for what still waits.
    assert!(slow.sounds.len() + 300 > fast.sounds.len(), "{} of {}", slow.sounds.len(), fast.sounds.len());
    world.finish();
}

#[test]
fn a_server_that_takes_more_than_the_sound_gets_all_of_it() {
    // The sound is about 8.5 bytes in a millisecond; pictures of up to 5 kB and up to 240 kB, of which one takes longer
    // than sound may wait.
    for (seed, slice_len_max) in [(231, 5_000), (232, 80_000)] {
        for bytes_per_ms in [12, 16, 30, 60, 120] {
            let mut world = World::call(seed);
            world.callee.slice_len_max = slice_len_max;
            world.add_target(2);
            world.run(1000);
            world.sink_mut(2).bytes_per_ms = Some(bytes_per_ms);
            world.run(45_000);
            let figures = world.pipeline.statistics().targets[1].1;
            let what = format!("{bytes_per_ms} bytes/ms, slices of {slice_len_max}: {figures:?}");
            assert_eq!((figures.audio_frames_dropped, figures.reconnects), (0, 0), "{what}");
            assert!(figures.access_units_dropped > 0, "{what}");
            let (fast, slow) = (world.sink(1), world.sink(2));
            let waiting = fast.sounds.len() - slow.sounds.len();
            assert!(waiting < 10 * 47, "{what}: {waiting} frames wait");
            // One after another, none left out: an AAC frame is 21.3 ms.
            let steps = slow.sounds.windows(2).map(|pair| pair[1].0 - pair[0].0);
            assert!(steps.clone().all(|step| matches!(step, 21 | 22)), "{what}");
            slow.assert_monotone();
            slow.assert_exact(&world.callee.pictures);
            assert_eq!(fast.assert_exact(&world.callee.pictures), 0, "{what}");
            world.sink_mut(2).bytes_per_ms = None;
            world.run(1_000);
            world.finish();
        }
    }
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
