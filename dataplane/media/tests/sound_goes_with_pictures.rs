//! Sound waits for the next picture and shares its send; without pictures, or where it shall not wait, it goes at once.

mod sim;

use std::time::Duration;

use sim::{World, both};
use sipcast_contract::MediaOptions;

/// Sends a second, pictures a second, AAC frames a second, in a call that is under way.
fn sends(options: &MediaOptions, sends_video: bool) -> (u64, u64, u64) {
    let mut world = World::with_options(85, options);
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.add_target(1);
    world.run(3_000);
    world.callee.sends_video = sends_video;
    world.run(1_000);
    let counts = |world: &World| {
        let sink = world.sink(1);
        (world.sends_due, sink.pictures.len() as u64, sink.sounds.len() as u64)
    };
    let before = counts(&world);
    world.run(10_000);
    let after = counts(&world);
    world.finish();
    ((after.0 - before.0) / 10, (after.1 - before.1) / 10, (after.2 - before.2) / 10)
}

#[test]
fn a_picture_takes_the_sound_before_it_along() {
    let (sends, pictures, sounds) = sends(&MediaOptions::default(), true);
    assert!(pictures >= 24 && sounds >= 46, "{pictures} pictures, {sounds} frames of sound");
    assert!((pictures..=pictures + 2).contains(&sends), "{sends} sends for {pictures} pictures");
}

#[test]
fn without_pictures_sound_does_not_wait() {
    let (sends, pictures, sounds) = sends(&MediaOptions::default(), false);
    assert_eq!(pictures, 0);
    assert!(sends.abs_diff(sounds) <= 2, "{sends} sends for {sounds} frames of sound");
}

#[test]
fn where_it_shall_not_wait_it_goes_at_once() {
    let options = MediaOptions { sound_wait: Duration::ZERO, ..MediaOptions::default() };
    let (sends, pictures, sounds) = sends(&options, true);
    assert!(sends > pictures + sounds / 2, "{sends} sends for {pictures} pictures and {sounds} of sound");
}
