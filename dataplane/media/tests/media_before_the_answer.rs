//! Media may overtake the answer that announces it (RFC 3264 §5.1): what came just before is published too, what came
//! long before is let go, and none of it stays in memory.

mod sim;

use sim::{World, both};
use sipcast_media::pipeline::Event;

#[test]
fn the_first_picture_may_come_before_the_answer() {
    let mut world = World::new(601);
    world.run(40);
    assert_eq!(world.pipeline.statistics().video.packets, 0, "nothing is agreed on");
    world.callee.is_sending = false;
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.run(2);
    assert!(world.events.contains(&Event::PictureSize { width: 640, height: 360 }), "{:?}", world.events);
    let statistics = world.pipeline.statistics();
    assert_eq!(statistics.video.unknown_payload_type + statistics.audio.unknown_payload_type, 0);
    assert!(statistics.video.packets >= 1 && statistics.audio.packets >= 1);
    // The call goes on from there, in one piece.
    world.callee.is_sending = true;
    world.add_target(1);
    world.run(1000);
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
    world.sink(1).assert_monotone();
    assert_eq!(world.pipeline.statistics().video.lost, 0);
    world.finish();
}

#[test]
fn what_came_long_before_is_let_go_and_counted() {
    let mut world = World::new(602);
    world.run(3000);
    assert!(world.datagrams.held() <= 64, "held: {}", world.datagrams.held());
    world.callee.is_sending = false;
    world.run(700);
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.run(2);
    assert_eq!(world.datagrams.held(), 0);
    let statistics = world.pipeline.statistics();
    assert_eq!(statistics.video.packets, 0);
    assert!(statistics.video.unknown_payload_type > 10);
    let foreign = statistics.video.foreign_source + statistics.audio.foreign_source;
    assert_eq!(foreign, 0, "reports that came before the answer are of nobody else");
    world.finish();
}

#[test]
fn a_call_that_is_never_answered_leaves_nothing_behind() {
    let mut world = World::new(603);
    world.run(200);
    assert!(world.datagrams.held() > 0);
    world.finish();
}
