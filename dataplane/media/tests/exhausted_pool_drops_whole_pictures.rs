//! When no slot is left for headers, whole pictures are dropped, and the call recovers by itself.

mod sim;

use sim::World;

#[test]
fn the_call_recovers() {
    let mut world = World::call(151);
    world.run(1500);
    // Whatever comes free is taken again at once, and the arena's own slot cannot come free.
    let (mut leases, mut segments) = (Vec::new(), Vec::new());
    for _ in 0..1500 {
        leases.extend(std::iter::from_fn(|| world.headers.claim().ok()));
        segments.extend(world.workspace.arena.write(&[0]));
        world.run(1);
    }
    assert!(world.pipeline.statistics().access_units_dropped > 10);
    let before = world.sink(1).pictures.len();
    drop((leases, segments));
    world.run(2000);
    let sink = world.sink(1);
    assert!(sink.pictures.len() > before + 30, "{} after {before}", sink.pictures.len());
    sink.assert_exact(&world.callee.pictures);
    sink.assert_monotone();
    world.finish();
}
