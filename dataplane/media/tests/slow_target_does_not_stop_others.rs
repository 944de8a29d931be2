//! A target that takes no bytes drops whole pictures; the others get everything.

mod sim;

use sim::World;

#[test]
fn the_other_target_gets_everything() {
    let mut world = World::call(51);
    world.add_target(2);
    world.run(1000);
    world.sink_mut(2).is_stalled = true;
    world.run(9000);
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
    world.sink_mut(2).is_stalled = false;
    world.run(3000);
    let (fast, slow) = (world.sink(1), world.sink(2));
    assert_eq!(fast.assert_exact(&world.callee.pictures), 0);
    slow.assert_exact(&world.callee.pictures);
    slow.assert_monotone();
    assert!(slow.pictures.len() < fast.pictures.len());
    world.finish();
}

#[test]
fn a_target_added_later_begins_with_an_idr_picture_it_asked_for() {
    let mut world = World::call(52);
    world.run(2500);
    let requests = world.keyframe_requests();
    world.add_target(2);
    world.run(400);
    assert!(world.keyframe_requests() > requests);
    assert!(world.sink(2).pictures.first().is_some_and(|picture| picture.is_key));
    world.finish();
}
