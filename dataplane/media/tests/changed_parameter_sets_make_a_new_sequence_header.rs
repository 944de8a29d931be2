//! A real change of the parameter sets makes one new sequence header; repetition and rubbish make none.

mod sim;

use bytes::Bytes;
use sim::callee::{PPS, SPS_320X240, SPS_640X360};
use sim::{World, both};
use sipcast_media::pipeline::Event;

#[test]
fn the_picture_changes_its_size() {
    let mut world = World::call(41);
    world.callee.idr_interval = 15;
    world.run(3000);
    assert_eq!(world.sink(1).avc_configs.len(), 1, "the same sets again are no change");
    world.callee.sps = SPS_320X240;
    world.run(3000);
    let sink = world.sink(1);
    assert_eq!((sink.avc_configs.len(), sink.metadata.len()), (2, 2));
    assert_eq!(sink.assert_exact(&world.callee.pictures), 0);
    assert!(world.events.contains(&Event::PictureSize { width: 320, height: 240 }));
    assert_eq!(world.pipeline.statistics().width, 320);
    world.finish();
}

#[test]
fn a_broken_sps_is_counted_and_the_old_one_stays() {
    let mut world = World::call(42);
    world.callee.idr_interval = 15;
    world.run(2000);
    world.callee.sps = &[0x67, 0x42, 0xc0];
    world.run(2000);
    assert_eq!(world.sink(1).avc_configs.len(), 1);
    let statistics = world.pipeline.statistics();
    assert!(statistics.video.malformed > 0);
    assert_eq!(statistics.width, 640);
    world.finish();
}

#[test]
fn sets_of_the_description_will_do_and_those_of_a_new_one_count() {
    let mut world = World::new(43);
    let mut media = both();
    let sets = |sps| vec![Bytes::from_static(sps), Bytes::from_static(PPS)];
    media.video.as_mut().expect("video").formats[0].parameter_sets = sets(SPS_640X360);
    world.callee.sends_parameter_sets = false;
    world.callee.idr_interval = 30;
    world.pipeline.set_media(&media, world.now, &mut world.workspace);
    world.add_target(1);
    world.run(2000);
    world.pipeline.set_media(&media, world.now, &mut world.workspace);
    world.link.lose_next_video = 1;
    world.run(2000);
    let sink = world.sink(1);
    assert_eq!((sink.avc_configs.len(), sink.audio_configs.len()), (1, 1), "a refresh repeats nothing");
    assert!(sink.pictures.len() > 60);
    media.video.as_mut().expect("video").formats[0].parameter_sets = sets(SPS_320X240);
    world.pipeline.set_media(&media, world.now, &mut world.workspace);
    world.run(1000);
    assert_eq!(world.sink(1).avc_configs.len(), 2);
    assert_eq!(world.pipeline.statistics().width, 320);
    world.sink(1).assert_exact(&world.callee.pictures);
    world.finish();
}
