//! Packets that overtake each other or come twice cost nothing but the wait.

mod sim;

use sim::World;

#[test]
fn nothing_is_lost() {
    let mut world = World::call(31);
    world.link.detour_percent = 20;
    world.link.duplicate_percent = 5;
    world.run(6000);
    let statistics = world.pipeline.statistics();
    assert!(statistics.video.reordered > 50 && statistics.video.duplicates > 10);
    assert_eq!((statistics.video.lost, statistics.access_units_dropped), (0, 0));
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
    world.sink(1).assert_monotone();
    world.finish();
}
