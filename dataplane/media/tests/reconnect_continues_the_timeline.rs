//! An RTMP server that dies in mid-call gets the picture back, with time going on.

mod sim;

use sim::World;
use sipcast_contract::TargetId;

#[test]
fn the_server_returns() {
    let mut world = World::call(71);
    world.run(3000);
    world.sink_mut(1).disconnect();
    world.sink_mut(1).is_down = true;
    world.pipeline.target_mut(TargetId(1)).expect("a target").handle_disconnected(world.now);
    world.run(4000);
    world.sink_mut(1).is_down = false;
    let (pictures, connections) = (world.sink(1).pictures.len(), world.sink(1).connections);
    world.run(3000);
    let sink = world.sink(1);
    assert_eq!(sink.connections, connections + 1);
    assert!(sink.pictures.len() > pictures, "within 3 s of being up");
    assert!(sink.pictures[pictures].is_key);
    sink.assert_monotone();
    sink.assert_exact(&world.callee.pictures);
    world.finish();
}
