//! Lost packets are asked for again where the call agreed on it (RFC 4585 §6.2.1): the picture is repaired, and no IDR
//! picture is needed. The bit rate is asked for, too (RFC 5104 §4.2.1).

mod sim;

use sim::callee::nacked;
use sim::{World, both};
use sipcast_contract::MediaOptions;
use sipcast_media::pipeline::Port;
use sipcast_media::rtp::rtcp::{self, RtcpPacket};

/// A call that agreed on NACK; the callee answers them if `retransmits`.
fn call(seed: u64, retransmits: bool) -> World {
    let mut world = World::new(seed);
    let mut media = both();
    if let Some(video) = &mut media.video {
        video.feedback.nack = true;
    }
    world.pipeline.set_media(&media, world.now, &mut world.workspace);
    world.add_target(1);
    world.callee.retransmits = retransmits;
    world
}

fn nacks(world: &World) -> usize {
    world.sent.iter().filter(|sent| !nacked(&sent.bytes).is_empty()).count()
}

#[test]
fn a_lost_packet_is_repaired_without_an_idr_picture() {
    for lost in [1, 2, 5] {
        let mut world = call(401, true);
        world.run(1000);
        let (idrs, asked) = (world.pipeline.statistics().idr_pictures, world.keyframe_requests());
        world.link.lose_next_video = lost;
        world.run(900);
        let statistics = world.pipeline.statistics();
        assert!(nacks(&world) > 0);
        assert_eq!((statistics.video.lost, statistics.access_units_dropped), (0, 0), "{lost} lost");
        assert_eq!(statistics.video.retransmitted, u64::from(lost));
        assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
        assert_eq!((statistics.idr_pictures, world.keyframe_requests()), (idrs, asked));
        world.finish();
    }
}

#[test]
fn a_network_that_loses_three_of_a_hundred_costs_hardly_a_picture() {
    for seed in 410..416 {
        let mut world = call(seed, true);
        world.link.loss_percent = 3;
        world.link.detour_percent = 5;
        world.run(10_000);
        let statistics = world.pipeline.statistics();
        let sink = world.sink(1);
        sink.assert_exact(&world.callee.pictures);
        sink.assert_monotone();
        assert!(statistics.video.retransmitted > 20, "seed {seed}: {}", statistics.video.retransmitted);
        // Nine in ten losses are repaired; without, each would cost the pictures up to the next IDR picture.
        assert!(statistics.video.lost * 10 < statistics.video.retransmitted, "seed {seed}: {statistics:?}");
        world.finish();
    }
}

#[test]
fn a_peer_that_never_answers_is_asked_a_bounded_number_of_times_and_an_idr_picture_heals() {
    let mut world = call(402, false);
    world.run(1000);
    world.link.lose_next_video = 1;
    world.run(1200);
    let statistics = world.pipeline.statistics();
    assert_eq!((statistics.video.lost, statistics.video.retransmitted), (1, 0));
    assert!((1..=5).contains(&nacks(&world)), "{}", nacks(&world));
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 1);
    // After some of that it is not waited for any longer than a packet out of order is.
    for _ in 0..10 {
        world.link.lose_next_video = 1;
        world.run(1200);
    }
    let dropped = world.pipeline.statistics().access_units_dropped;
    world.link.lose_next_video = 1;
    world.run(1200);
    assert!(world.pipeline.statistics().access_units_dropped - dropped < 8);
    world.finish();
}

#[test]
fn a_long_gap_is_not_asked_for() {
    let mut world = call(403, true);
    world.run(1000);
    world.link.lose_next_video = 80;
    world.run(2000);
    assert_eq!(nacks(&world), 0);
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 1);
    world.finish();
}

#[test]
fn without_agreement_nobody_is_asked() {
    let mut world = World::call(404);
    world.callee.retransmits = true;
    world.run(1000);
    world.link.lose_next_video = 1;
    world.run(900);
    assert_eq!(nacks(&world), 0);
    world.finish();
}

#[test]
fn the_bit_rate_is_asked_for_until_the_sender_says_what_it_keeps_to() {
    let options = MediaOptions { video_bit_rate_wanted: Some(800_000), ..MediaOptions::default() };
    let mut world = World::with_options(405, &options);
    let mut media = both();
    if let Some(video) = &mut media.video {
        video.feedback.tmmbr = true;
    }
    world.pipeline.set_media(&media, world.now, &mut world.workspace);
    world.add_target(1);
    world.run(1500);
    let asked = |world: &World| -> Vec<(u32, u64)> {
        let packets = world.sent.iter().filter(|sent| sent.port == Port::VideoRtcp);
        let packets = packets.flat_map(|sent| rtcp::parse(&sent.bytes).flatten());
        let feedback = packets.filter_map(|packet| match packet {
            RtcpPacket::Feedback(feedback) => Some(feedback),
            _ => None,
        });
        feedback
            .flat_map(|feedback| feedback.bit_rate_requests().map(|entry| (entry.ssrc, entry.bit_rate_bps)))
            .collect()
    };
    let ssrc = world.callee.video_ssrc;
    assert_eq!(asked(&world), [(ssrc, 800_000), (ssrc, 800_000)]);
    assert_eq!(world.pipeline.statistics().tmmbr_sent, 2);
    let from = world.callee.video_from;
    let mut notification = vec![0x84, 205, 0, 4];
    notification.extend(ssrc.to_be_bytes());
    notification.extend([0; 4]);
    notification.extend(1u32.to_be_bytes());
    // 100000 * 2^2 bit/s, 40 bytes of overhead.
    notification.extend((2u32 << 26 | 100_000 << 9 | 40).to_be_bytes());
    world.receive(Port::VideoRtcp, std::net::SocketAddr::new(from.ip(), from.port() + 1), &notification);
    world.run(3000);
    assert_eq!(asked(&world).len(), 2);
    assert_eq!(world.pipeline.statistics().bit_rate_bound_bps, 400_000);
    world.finish();
}
