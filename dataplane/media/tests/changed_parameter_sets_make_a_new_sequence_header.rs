//! A real change of the parameter sets makes one new sequence header; repetition and rubbish make none.

mod sim;

use sim::World;
use sim::callee::SPS_320X240;
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
