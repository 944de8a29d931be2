//! Calls without sound get silence, muted targets too; sound alone begins at once.

mod sim;

use sim::{World, audio, both, video};
use sipcast_contract::{MediaOptions, NegotiatedMedia, TargetId};

#[test]
fn a_call_without_audio_publishes_silence() {
    let mut world = World::new(81);
    world.pipeline.set_media(
        &NegotiatedMedia { audio: None, video: Some(video()) },
        world.now,
        &mut world.workspace,
    );
    world.add_target(1);
    world.callee.sends_audio = false;
    world.run(5000);
    let sink = world.sink(1);
    assert!(sink.sounds.len() > 180 && sink.audio_configs.len() == 1);
    assert!(world.pipeline.statistics().silence_samples > 180_000);
    world.finish();
}

#[test]
fn without_the_option_there_is_no_audio_track() {
    let options = MediaOptions { silent_audio: false, ..MediaOptions::default() };
    let mut world = World::with_options(82, &options);
    world.pipeline.set_media(
        &NegotiatedMedia { audio: None, video: Some(video()) },
        world.now,
        &mut world.workspace,
    );
    world.add_target(1);
    world.callee.sends_audio = false;
    world.run(3000);
    let sink = world.sink(1);
    assert!(sink.sounds.is_empty() && sink.audio_configs.is_empty() && !sink.pictures.is_empty());
    world.finish();
}

#[test]
fn a_muted_target_gets_silence_and_the_others_sound() {
    let mut world = World::call(83);
    world.add_target(2);
    world.pipeline.set_muted(TargetId(2), true);
    world.run(4000);
    let (loud, muted) = (world.sink(1), world.sink(2));
    assert!(muted.sounds.len() > 100);
    assert!(muted.sounds.windows(2).all(|pair| pair[0].1 == pair[1].1), "always the same silent frame");
    assert!(loud.sounds.windows(2).any(|pair| pair[0].1 != pair[1].1));
    world.finish();
}

#[test]
fn an_audio_only_call_begins_at_once() {
    let mut world = World::new(84);
    world.pipeline.set_media(
        &NegotiatedMedia { audio: Some(audio()), video: None },
        world.now,
        &mut world.workspace,
    );
    world.add_target(1);
    world.callee.sends_video = false;
    world.run(500);
    let sink = world.sink(1);
    assert!(!sink.sounds.is_empty() && sink.avc_configs.is_empty());
    world.finish();
}

#[test]
fn a_picture_that_does_not_come_holds_sound_for_two_seconds_only() {
    let mut world = World::new(85);
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.add_target(1);
    world.callee.sends_video = false;
    world.run(1950);
    assert!(world.sink(1).sounds.is_empty());
    world.run(300);
    assert!(!world.sink(1).sounds.is_empty());
    world.callee.sends_video = true;
    world.run(2000);
    let sink = world.sink(1);
    assert!(!sink.pictures.is_empty());
    assert_eq!(sink.metadata.len(), 2, "told again, now with the picture");
    world.finish();
}
