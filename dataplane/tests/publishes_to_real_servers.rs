//! One shard between real sockets: datagrams in, RTMP over TCP out.

mod support;

use std::time::Duration;

use sipcast_contract::cores::ShardCores;
use sipcast_contract::options::ShardOptions;
use sipcast_contract::report::Refusal;
use sipcast_contract::{Report, TargetState};
use sipcast_dataplane::{Dataplane, TlsRoots};

use support::callee::IDR_INTERVAL;
use support::deaf_server::{self, Mute};
use support::{LOCALHOST, Node, broadcast, origin, port_range, stream, target, until, wait_pictures};

/// Slots of the product's default pool.
const POOL_SLOTS: u32 = 32_768;

#[test]
fn pictures_and_sound_arrive_and_every_slot_comes_home() {
    let server = origin(0);
    let mut node = Node::start(POOL_SLOTS);
    let callee = node.open(1, 10);
    node.add_target(1, 1, server.rtmp_address(), "first");
    node.wait_publishing(1, 1);
    node.wait("media", |report| matches!(report, Report::MediaStarted { .. }).then_some(()));
    let size = node.wait("the size", |report| match report {
        Report::PictureSize { width, height, .. } => Some((*width, *height)),
        _ => None,
    });
    assert_eq!(size, (640, 360));
    let figures = wait_pictures(&server, "first", 45);
    assert!(figures.idr_pictures >= 2 && figures.audio_frames > 20, "{figures:?}");
    assert_eq!((figures.timestamps_back, figures.publishers), (0, 1));
    node.wait_statistics("pictures are counted", |s| target(s, 1, 1).access_units > 30);
    let statistics = node.statistics.clone().expect("a report");
    assert_eq!((statistics.payload_bytes_copied, statistics.truncated), (0, 0));
    let dropped = broadcast(&statistics, 1).access_units_dropped;
    assert!(dropped < IDR_INTERVAL, "{dropped} dropped; only those before the first IDR picture may be");
    assert!(statistics.added_latency.count() > 30);
    node.close(1);
    until("the server is told", || stream(&server, "first").is_none().then_some(()));
    drop(callee);
    node.finish();
}

#[test]
fn a_server_that_died_is_found_again_on_its_port() {
    let server = origin(0);
    let port = server.rtmp_address().port();
    let mut node = Node::start(POOL_SLOTS);
    let _callee = node.open(1, 4);
    node.add_target(1, 1, server.rtmp_address(), "again");
    node.wait_publishing(1, 1);
    wait_pictures(&server, "again", 10);
    drop(server);
    node.wait_state(1, 1, |state| matches!(state, TargetState::Reconnecting(_)));
    let server = origin(port);
    node.wait_publishing(1, 1);
    let figures = wait_pictures(&server, "again", 20);
    assert!(figures.idr_pictures > 0 && figures.audio_frames > 0 && figures.timestamps_back == 0);
    node.finish();
}

#[test]
fn servers_that_do_not_read_disturb_nobody() {
    let server = origin(0);
    let mute = Mute::start();
    let mut node = Node::start(POOL_SLOTS);
    let _callees = [node.open(1, 60), node.open(2, 10)];
    for (id, target, address, name) in [
        (1, 1, server.rtmp_address(), "same"),
        (2, 1, server.rtmp_address(), "other"),
        (1, 2, deaf_server::agreeing(), "deaf"),
        (1, 3, mute.address(), "mute"),
    ] {
        node.add_target(id, target, address, name);
    }
    for (id, target) in [(1, 1), (2, 1), (1, 2)] {
        node.wait_publishing(id, target);
    }
    node.wait_statistics("the deaf one's pictures are dropped", |s| {
        target(s, 1, 2).access_units_dropped > 10
    });
    let before = node.statistics.clone().expect("a report");
    wait_pictures(&server, "same", 60);
    wait_pictures(&server, "other", 30);
    node.wait_statistics("a further report", |s| s.turns > before.turns);
    let after = node.statistics.clone().expect("a report");
    for id in [1, 2] {
        assert_eq!(target(&after, id, 1).access_units_dropped, 0, "broadcast {id}");
        assert_eq!(target(&after, id, 1).reconnects, 0, "broadcast {id}");
        assert!(target(&after, id, 1).queue_ms < 2000, "broadcast {id}");
    }
    assert_eq!(after.no_buffers, 0);
    node.finish();
}

#[test]
fn a_deaf_server_does_not_take_a_small_pool() {
    let server = origin(0);
    // The deaf server's queue alone could hold all of it.
    let mut node = Node::start(2048);
    let _callees = [node.open(1, 60), node.open(2, 10)];
    node.add_target(1, 1, deaf_server::agreeing(), "deaf");
    node.add_target(2, 1, server.rtmp_address(), "other");
    node.wait_publishing(1, 1);
    node.wait_publishing(2, 1);
    node.wait_statistics("the deaf one's pictures are dropped", |s| {
        target(s, 1, 1).access_units_dropped > 30
    });
    let before = node.statistics.clone().expect("a report");
    wait_pictures(&server, "other", 60);
    node.wait_statistics("a further report", |s| s.datagrams > before.datagrams + 1000);
    let after = node.statistics.clone().expect("a report");
    assert_eq!(target(&after, 2, 1).access_units_dropped, 0);
    let figures = |statistics| broadcast(statistics, 2);
    // A machine that stutters may lose datagrams in the socket; nothing else may cost a picture.
    if figures(&after).video.lost == figures(&before).video.lost {
        assert_eq!(figures(&after).access_units_dropped, figures(&before).access_units_dropped);
    }
    let (turns, datagrams) = (after.turns - before.turns, after.datagrams - before.datagrams);
    assert!(turns < datagrams * 2, "{turns} turns for {datagrams} datagrams: the shard spins");
    node.finish();
}

#[test]
fn without_slots_the_shard_rests_and_then_goes_on() {
    let mut node = Node::start(64);
    // A picture is larger than the pool: its packets hold every slot until it is given up.
    let _callee = node.open(1, 120);
    node.wait_statistics("the kernel finds no slot", |s| s.no_buffers > 0);
    let before = node.statistics.clone().expect("a report");
    node.wait_statistics("datagrams come again", |s| s.datagrams > before.datagrams + 200);
    let after = node.statistics.clone().expect("a report");
    let turns = after.turns - before.turns;
    assert!(turns < 20_000, "{turns} turns: the shard spins");
    assert!(after.no_buffers - before.no_buffers < 5_000);
    node.finish();
}

#[test]
fn a_shard_without_traffic_sleeps() {
    let mut node = Node::start(2048);
    let turns = |node: &mut Node| {
        let mut turns = [0; 2];
        for turns in &mut turns {
            node.wait_statistics("a report", |_| true);
            *turns = node.statistics.as_ref().map_or(0, |s| s.turns);
        }
        turns[1] - turns[0]
    };
    let idle = turns(&mut node);
    assert!(idle <= 3, "{idle} turns a second with nothing to do");
    node.try_open(1).expect("room");
    // Nobody listens there: it is tried again and again.
    let refusing = std::net::TcpListener::bind((LOCALHOST, 0)).expect("a free port");
    let address = refusing.local_addr().expect("bound");
    drop(refusing);
    node.add_target(1, 1, address, "nobody");
    node.wait_state(1, 1, |state| matches!(state, TargetState::Reconnecting(_)));
    let waiting = turns(&mut node);
    assert!(waiting <= 30, "{waiting} turns a second before there is media");
    let callee = node.open(2, 1);
    node.wait_statistics("datagrams", |s| s.datagrams > 10);
    drop(callee);
    node.wait_statistics("a report", |_| true);
    let silent = turns(&mut node);
    assert!(silent <= 300, "{silent} turns a second for silence instead of sound");
    node.finish();
}

#[test]
fn a_core_that_cannot_be_had_is_named() {
    let (rtp_port_min, rtp_port_max) = port_range(4);
    let options = ShardOptions {
        rtp_port_min,
        rtp_port_max,
        gather: Duration::ZERO,
        broadcasts_max: 1,
        pool_slots: 1024,
        cores: ShardCores::These(vec![1023]),
    };
    let error = Dataplane::start(1, &options, &TlsRoots::none()).expect_err("no such core").to_string();
    assert!(error.starts_with("media.cores: shard 0 cannot run on core 1023"), "{error}");
    assert!(error.contains("this process may use 0"), "{error}");
}

#[test]
fn a_full_shard_and_an_empty_port_range_say_so() {
    let (rtp_port_min, _) = port_range(4);
    let options = |pairs: u16, broadcasts_max| ShardOptions {
        rtp_port_min,
        rtp_port_max: rtp_port_min + 2 * pairs - 1,
        gather: Duration::ZERO,
        broadcasts_max,
        pool_slots: 1024,
        cores: ShardCores::Any,
    };
    // Each broadcast takes two pairs.
    let mut node = Node::with(options(1, 8));
    assert_eq!(node.try_open(1), Err(Refusal::NoPorts));
    node.finish();
    let (rtp_port_min, rtp_port_max) = port_range(20);
    let mut node = Node::with(ShardOptions { rtp_port_min, rtp_port_max, ..options(2, 2) });
    node.try_open(1).expect("room");
    node.try_open(2).expect("room");
    assert_eq!(node.try_open(3), Err(Refusal::Full));
    node.close(1);
    // Ordered twice it is opened once, and nothing is left that a stop would wait for.
    node.order(2);
    node.try_open(3).expect("room again");
    node.finish();
}
