//! What a service demands is kept while the call is on: time between IDR pictures, length of messages, settings.

mod sim;

use std::time::Duration;

use sim::callee::SPS_320X240;
use sim::{World, both};
use sipcast_contract::{MediaOptions, PictureChange, TargetRules};

#[test]
fn the_strictest_target_says_how_often_an_idr_picture_is_asked_for() {
    let options = MediaOptions { keyframe_interval_max: Duration::ZERO, ..MediaOptions::default() };
    let mut world = World::with_options(211, &options);
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.add_target(1);
    world.run(6000);
    assert_eq!(world.sink(1).pictures.iter().filter(|picture| picture.is_key).count(), 1, "nobody asks");
    let seconds =
        |s| TargetRules { keyframe_interval_max: Some(Duration::from_secs(s)), ..TargetRules::default() };
    world.add_target_with(2, seconds(4));
    world.add_target_with(3, seconds(2));
    world.run(9000);
    let keys: Vec<u32> = world
        .sink(3)
        .pictures
        .iter()
        .filter(|picture| picture.is_key)
        .map(|picture| picture.timestamp_ms)
        .collect();
    assert!(keys.len() >= 4 && keys.windows(2).all(|pair| pair[1] - pair[0] <= 2200), "{keys:?}");
    let published = world.pipeline.statistics().published;
    assert!((1900..=2200).contains(&published.gop_last_ms), "{published:?}");
    assert!(published.gop_max_ms >= 5000, "{published:?}");
    assert!((29_000..=31_000).contains(&published.frame_rate_millis), "{published:?}");
    assert_eq!((published.profile, published.audio_sample_rate_hz), ([0x42, 0xc0, 0x1e], 48_000));
    world.pipeline.remove_target(sipcast_contract::TargetId(3), world.now);
    world.run(9000);
    let keys =
        world.sink(2).pictures.iter().filter(|picture| picture.is_key).map(|picture| picture.timestamp_ms);
    let last: Vec<u32> = keys.collect::<Vec<_>>().into_iter().rev().take(2).collect();
    assert!((3900..=4300).contains(&(last[0] - last[1])), "{last:?}");
    world.finish();
}

#[test]
fn a_message_that_the_server_would_close_for_is_not_sent() {
    let mut world = World::call(212);
    let rules = TargetRules { message_bytes_max: 4000, ..TargetRules::default() };
    world.add_target_with(2, rules);
    world.run(8000);
    let figures = world.pipeline.statistics();
    let strict = figures.targets[1].1;
    assert!(strict.oversized > 0 && strict.reconnects == 0, "{strict:?}");
    assert_eq!(figures.targets[0].1.oversized, 0);
    let sink = world.sink(2);
    assert!(!sink.pictures.is_empty());
    for picture in &sink.pictures {
        let bytes: usize = picture.nal_units.iter().map(|unit| unit.len() + 4).sum();
        assert!(bytes + 5 <= 4000, "{bytes}");
    }
    sink.assert_exact(&world.callee.pictures);
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
    world.finish();
}

#[test]
fn a_picture_of_another_size_begins_a_new_publication_where_the_service_wants_it() {
    let mut world = World::call(213);
    let rules = TargetRules { on_picture_change: PictureChange::Republish, ..TargetRules::default() };
    world.add_target_with(2, rules);
    world.callee.idr_interval = 15;
    world.run(3000);
    world.callee.sps = SPS_320X240;
    world.run(3000);
    let (plain, strict) = (world.sink(1), world.sink(2));
    assert_eq!((plain.connections, plain.avc_configs.len()), (1, 2));
    assert_eq!((strict.connections, strict.unpublished, strict.avc_configs.len()), (2, 1, 2));
    strict.assert_monotone();
    strict.assert_exact(&world.callee.pictures);
    let figures = world.pipeline.statistics();
    assert_eq!((figures.published.picture_changes, figures.targets[1].1.republished), (1, 1));
    world.finish();
}
