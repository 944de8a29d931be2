//! One call, many targets: the same message has the same timestamp and the same bytes on all of them, whenever they
//! began, and after a reconnect as well.

mod sim;

use std::collections::BTreeMap;

use sim::World;
use sipcast_contract::TargetId;

type ByTime<'a, T> = BTreeMap<u32, &'a T>;

/// Body and time of each picture and sound, by its first bytes: payloads are random.
fn by_time(world: &World, id: u64) -> (ByTime<'_, Vec<Vec<u8>>>, ByTime<'_, bytes::Bytes>) {
    let sink = world.sink(id);
    let pictures = sink.pictures.iter().map(|picture| (picture.timestamp_ms, &picture.nal_units)).collect();
    (pictures, sink.sounds.iter().map(|(at, body)| (*at, body)).collect())
}

#[test]
fn primary_backup_and_latecomers_get_the_same_times() {
    let mut world = World::call(201);
    world.add_target(2);
    world.run(3000);
    world.add_target(3);
    world.run(2000);
    world.sink_mut(2).disconnect();
    world.pipeline.target_mut(TargetId(2)).expect("a target").handle_disconnected(world.now);
    world.run(5000);
    let (pictures, sounds) = by_time(&world, 1);
    for id in [2, 3] {
        let (other_pictures, other_sounds) = by_time(&world, id);
        assert!(other_pictures.len() > 100 && other_sounds.len() > 100, "target {id}");
        assert!(other_pictures.iter().all(|(at, picture)| pictures.get(at) == Some(picture)), "target {id}");
        assert!(other_sounds.iter().all(|(at, sound)| sounds.get(at) == Some(sound)), "target {id}");
        world.sink(id).assert_monotone();
    }
    assert_eq!(world.sink(2).connections, 2);
    world.finish();
}

#[test]
fn as_many_targets_as_may_be_all_get_the_picture_and_one_more_is_refused() {
    let mut world = World::with_slots(202, &Default::default(), 60_000);
    world.pipeline.set_media(&sim::both(), world.now, &mut world.workspace);
    let count = sipcast_contract::limits::TARGETS_PER_BROADCAST_MAX as u64;
    for id in 1..=count {
        world.add_target(id);
    }
    let url = sipcast_contract::RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let spec =
        sipcast_contract::RtmpTarget::new(url, String::new().into(), vec![sim::address("127.0.0.1:1")]);
    assert!(world.pipeline.add_target(TargetId(count + 1), spec, world.now).is_err());
    world.run(500);
    for id in 1..=count {
        assert!(!world.sink(id).pictures.is_empty(), "target {id}");
    }
    // Targets leave in mid-call, and others take their places.
    world.pipeline.remove_target(TargetId(1), world.now);
    world.run(100);
    assert_eq!(world.sink(1).unpublished, 1);
    world.add_target(count + 2);
    world.run(300);
    assert!(!world.sink(count + 2).pictures.is_empty());
    world.finish();
}
