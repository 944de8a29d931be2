//! B pictures: they come in decoding order, their RTP times in that of display.

mod sim;

use sim::World;

#[test]
fn pictures_out_of_display_order_are_counted() {
    let mut world = World::call(411);
    world.run(2_000);
    assert_eq!(world.pipeline.statistics().reordered_pictures, 0);
    world.callee.reorders_pictures = true;
    world.run(3_000);
    let statistics = world.pipeline.statistics();
    // Every second one of 30 a second.
    assert!((40..=50).contains(&statistics.reordered_pictures), "{}", statistics.reordered_pictures);
    world.finish();
}
