//! A lost packet spoils its access unit and all up to the next IDR picture, which is asked for at once.

mod sim;

use sim::World;

#[test]
fn one_lost_packet_is_healed_by_one_request() {
    let mut world = World::call(11);
    world.run(1000);
    let (requests, dropped) = (world.keyframe_requests(), world.pipeline.statistics().access_units_dropped);
    assert_eq!(dropped, 0);
    world.link.lose_next_video = 1;
    world.run(700);
    assert!(world.keyframe_requests() > requests);
    let statistics = world.pipeline.statistics();
    assert_eq!(statistics.video.lost, 1);
    assert!((1..=8).contains(&statistics.access_units_dropped), "{}", statistics.access_units_dropped);
    world.run(300);
    let sink = world.sink(1);
    assert_eq!(sink.assert_exact(&world.callee.pictures), 1);
    sink.assert_monotone();
    world.finish();
}

#[test]
fn a_bad_network_never_lets_a_partial_picture_through() {
    for seed in 20..30 {
        let mut world = World::call(seed);
        world.link.loss_percent = 2;
        world.link.duplicate_percent = 3;
        world.link.detour_percent = 10;
        world.run(8000);
        let sink = world.sink(1);
        sink.assert_exact(&world.callee.pictures);
        sink.assert_monotone();
        assert!(sink.pictures.len() > 20, "seed {seed}: {}", sink.pictures.len());
        world.finish();
    }
}
