//! Once warm, a picture goes through pipeline, target queue and chunker without one allocation.

mod sim;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sim::{World, address, both};
use sipcast_contract::{MediaOptions, NegotiatedMedia, Secret, SrtpMaster, SrtpSession, SrtpSuite, TargetId};
use sipcast_media::pipeline::Port;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counter is plain thread-local data that
// needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_picture_allocates_nothing() {
    let suites =
        [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AesCm128HmacSha1_32, SrtpSuite::AeadAes128Gcm].map(Some);
    for suite in [None].into_iter().chain(suites) {
        warm_pictures(suite);
    }
}

fn warm_pictures(suite: Option<SrtpSuite>) {
    let options = MediaOptions { silent_audio: false, ..MediaOptions::default() };
    let mut world = World::with_options(141, &options);
    let mut media = NegotiatedMedia { audio: None, ..both() };
    if let Some((suite, video)) = suite.zip(media.video.as_mut()) {
        let master = |seed| Secret::new(SrtpMaster { key: [seed; 16], salt: [seed; 14] });
        let session = SrtpSession { suite, receive: master(1), send: master(2) };
        world.callee.begin_srtp(&session);
        video.transport.srtp = Some(Box::new(session));
        video.feedback.nack = true;
    }
    world.pipeline.set_media(&media, world.now, &mut world.workspace);
    world.add_target(1);
    world.callee.sends_audio = false;
    world.run(3000);
    assert!(!world.sink(1).pictures.is_empty());

    world.callee.is_sending = false;
    world.run(100);
    // From here on by hand, so that the test's own callee and server do not count.
    let from = address(sim::VIDEO);
    let step = std::time::Duration::from_micros(33_333);
    let mut pictures: Vec<Vec<sipcast_pool::Segment>> = (0..60_u32)
        .map(|index| {
            let picture = world.callee.picture();
            let rtp =
                ((world.now - sipcast_contract::Timestamp::from_millis(1000)).as_micros() * 9 / 100) as u32;
            let rtp = world.callee.rtp_base.wrapping_add(rtp).wrapping_add((index + 1) * 3000);
            let packets = world.callee.packets(&picture, rtp);
            let packets = packets.into_iter().map(|bytes| world.callee.protect(Port::VideoRtp, bytes));
            let packets: Vec<_> = packets.collect();
            packets.iter().map(|bytes| world.segment(bytes)).collect()
        })
        .collect();
    let mut allocations = Vec::with_capacity(64);
    let mut sent = 0;
    for picture in &mut pictures {
        world.now = world.now + step;
        let before = COUNT.get();
        for datagram in picture.drain(..) {
            world.pipeline.handle_datagram(Port::VideoRtp, from, datagram, world.now, &mut world.workspace);
        }
        if world.pipeline.next_timeout().is_some_and(|at| at <= world.now) {
            world.pipeline.handle_timeout(world.now, &mut world.workspace);
        }
        while world.pipeline.poll_event().is_some() {}
        while world.pipeline.poll_transmit(&mut world.workspace).is_some() {}
        let target = world.pipeline.target_mut(TargetId(1)).expect("a target");
        loop {
            let chunks = &mut world.workspace.chunks;
            target.fill_send(&mut world.workspace.arena, chunks, world.now);
            let bytes = chunks.bytes;
            chunks.clear();
            if bytes == 0 {
                break;
            }
            sent += bytes;
            target.handle_sent(bytes, world.now);
        }
        allocations.push(COUNT.get() - before);
    }
    assert!(sent > 100_000, "{sent} bytes went through");
    assert_eq!(allocations[20..].iter().sum::<u64>(), 0, "{suite:?}: {allocations:?}");
    drop(pictures);
    // The server saw only a part of the stream: end without a farewell.
    world.sink_mut(1).disconnect();
    world.pipeline.target_mut(TargetId(1)).expect("a target").handle_disconnected(world.now);
    world.sinks.clear();
    let World { pipeline, mut workspace, datagrams, headers, .. } = world;
    drop(pipeline);
    workspace.close();
    assert_eq!((datagrams.held(), headers.held()), (0, 0));
}
