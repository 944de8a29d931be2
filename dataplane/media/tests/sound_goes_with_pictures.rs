//! Sound waits for the next picture and shares its send; without pictures, or where it shall not wait, it goes at once.

mod sim;

use std::time::Duration;

use sim::{World, both};
use sipcast_contract::{MediaOptions, NegotiatedMedia};
use sipcast_media::pipeline::Port;

/// Sends a second, pictures a second, AAC frames a second, in a call that is under way.
fn sends(options: &MediaOptions, sends_video: bool) -> (u64, u64, u64) {
    let mut world = World::with_options(85, options);
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.add_target(1);
    world.run(3_000);
    world.callee.sends_video = sends_video;
    world.run(1_000);
    let counts = |world: &World| {
        let sink = world.sink(1);
        (world.sends_due, sink.pictures.len() as u64, sink.sounds.len() as u64)
    };
    let before = counts(&world);
    world.run(10_000);
    let after = counts(&world);
    world.finish();
    ((after.0 - before.0) / 10, (after.1 - before.1) / 10, (after.2 - before.2) / 10)
}

#[test]
fn a_picture_takes_the_sound_before_it_along() {
    let (sends, pictures, sounds) = sends(&MediaOptions::default(), true);
    assert!(pictures >= 24 && sounds >= 46, "{pictures} pictures, {sounds} frames of sound");
    assert!((pictures..=pictures + 2).contains(&sends), "{sends} sends for {pictures} pictures");
}

#[test]
fn without_pictures_sound_does_not_wait() {
    let (sends, pictures, sounds) = sends(&MediaOptions::default(), false);
    assert_eq!(pictures, 0);
    assert!(sends.abs_diff(sounds) <= 2, "{sends} sends for {sounds} frames of sound");
}

#[test]
fn where_it_shall_not_wait_it_goes_at_once() {
    let options = MediaOptions { sound_wait: Duration::ZERO, ..MediaOptions::default() };
    let (sends, pictures, sounds) = sends(&options, true);
    assert!(sends > pictures + sounds / 2, "{sends} sends for {pictures} pictures and {sounds} of sound");
}

/// A call of three seconds, in which no sound waits.
fn call(seed: u64) -> World {
    let mut world = World::call(seed);
    world.run(3_000);
    world.pipeline.handle_timeout(world.now, &mut world.workspace);
    world.pipeline.take_send_due();
    world
}

/// Packets of sound that are not only there but taken.
fn taken(world: &World) -> u64 {
    world.pipeline.statistics().audio.packets
}

/// Hands in what the callee sends in the next millisecond. Gives how many packets of sound wait now, of `waiting` before.
fn hand_in(world: &mut World, mut waiting: u64) -> u64 {
    world.now = world.now + Duration::from_millis(1);
    for (port, from, bytes) in world.callee.poll(world.now) {
        world.link.send(world.now, port, from, bytes);
    }
    while let Some((port, from, bytes)) = world.link.poll(world.now) {
        let before = taken(world);
        let datagram = world.segment(&bytes);
        let until = world.pipeline.handle_datagram(port, from, datagram, world.now, &mut world.workspace);
        let is_sound = matches!(port, Port::AudioRtp | Port::AudioRtcp);
        match until {
            Some(until) => {
                assert!(is_sound && until > world.now);
                assert_eq!(world.pipeline.next_timeout().map(|at| at <= until), Some(true));
                assert!(!world.pipeline.take_send_due(), "nothing is to be done for it");
                assert_eq!(taken(world), before);
                waiting += u64::from(port == Port::AudioRtp);
            }
            None => {
                let itself = u64::from(port == Port::AudioRtp);
                assert_eq!(taken(world), before + waiting + itself, "all that waited goes along");
                waiting = 0;
                world.pipeline.take_send_due();
            }
        }
    }
    waiting
}

#[test]
fn datagrams_of_sound_wait_as_they_came_and_are_taken_before_the_picture() {
    let mut world = call(86);
    let (mut waiting, mut waited) = (hand_in(&mut world, 0), 0);
    for _ in 0..1_000 {
        let before = waiting;
        waiting = hand_in(&mut world, waiting);
        waited += waiting.saturating_sub(before);
    }
    assert!(waited > 30, "{waited} of 50 packets waited");
    world.finish();
}

/// Lets pictures stop and hands in sound until some of it waits. Gives how many packets do.
fn hand_in_until_some_wait(world: &mut World) -> u64 {
    world.callee.sends_video = false;
    (0..100).find_map(|_| Some(hand_in(world, 0)).filter(|waiting| *waiting > 0)).expect("sound that waits")
}

#[test]
fn datagrams_that_wait_are_few_and_taken_when_their_time_is_up() {
    let mut world = call(87);
    world.callee.sends_video = false;
    let (mut waiting, mut most) = (0, 0);
    for _ in 0..120 {
        waiting = hand_in(&mut world, waiting);
        most = most.max(waiting);
    }
    assert!((2..=4).contains(&most), "{most} packets of 20 ms waited together for 40 ms");
    world.finish();
}

#[test]
fn a_timer_takes_datagrams_that_nothing_follows() {
    let mut world = call(88);
    let waiting = hand_in_until_some_wait(&mut world);
    let (before, since) = (taken(&world), world.now);
    while taken(&world) == before {
        world.now = world.now + Duration::from_millis(1);
        assert!(world.now - since <= Duration::from_millis(200), "the timer did not come");
        if world.pipeline.next_timeout().is_some_and(|at| at <= world.now) {
            world.pipeline.handle_timeout(world.now, &mut world.workspace);
        }
    }
    assert_eq!(taken(&world), before + waiting);
    world.finish();
}

#[test]
fn datagrams_that_wait_belong_to_what_was_agreed_on_before() {
    let mut world = call(89);
    let waiting = hand_in_until_some_wait(&mut world);
    let before = taken(&world);
    world.pipeline.set_media(&NegotiatedMedia::default(), world.now, &mut world.workspace);
    assert_eq!(taken(&world), before + waiting);
    world.finish();
}

#[test]
fn nothing_waits_when_the_call_ends() {
    let mut world = call(90);
    let waiting = hand_in_until_some_wait(&mut world);
    let before = taken(&world);
    world.pipeline.close(world.now, &mut world.workspace);
    assert_eq!(taken(&world), before + waiting);
    for _ in 0..60 {
        assert_eq!(hand_in(&mut world, 0), 0);
    }
    assert!(taken(&world) > before + waiting, "more came, and did not wait");
    world.finish();
}

#[test]
fn what_is_out_of_order_and_in_time_is_in_time_though_all_of_it_waited() {
    let options = MediaOptions { reorder_wait: Duration::from_millis(20), ..MediaOptions::default() };
    let mut world = World::with_options(91, &options);
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.add_target(1);
    world.run(3_000);
    let (mut sound, mut pictures) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        world.now = world.now + Duration::from_millis(1);
        for (port, from, bytes) in world.callee.poll(world.now) {
            match port {
                Port::AudioRtp => sound.push((port, from, bytes)),
                Port::VideoRtp => pictures.push((port, from, bytes)),
                Port::AudioRtcp | Port::VideoRtcp => {}
            }
        }
    }
    while let Some((port, from, bytes)) = world.link.poll(world.now) {
        world.receive(port, from, &bytes);
    }
    world.pipeline.handle_timeout(world.now, &mut world.workspace);
    world.pipeline.take_send_due();
    let before = world.pipeline.statistics().audio;
    sound.swap(0, 1);
    for (port, from, bytes) in &sound[..2] {
        world.receive(*port, *from, bytes);
        world.now = world.now + Duration::from_millis(5);
    }
    assert_eq!(taken(&world), before.packets, "both wait");
    world.now = world.now + Duration::from_millis(25);
    let (port, from, bytes) = &pictures[0];
    world.receive(*port, *from, bytes);
    let after = world.pipeline.statistics().audio;
    assert_eq!((after.lost - before.lost, after.late - before.late), (0, 0));
    assert_eq!((after.packets - before.packets, after.reordered - before.reordered), (2, 1));
    world.finish();
}
