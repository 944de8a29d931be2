//! Protected media is decrypted in the slot it came in: the same pictures, no byte copied, nothing learnt from what is
//! not authentic; keys may change in mid-call.

mod sim;

use std::time::Duration;

use sim::{AUDIO, Random, VIDEO, World, address, both};
use sipcast_contract::{
    Direction, MediaOptions, NegotiatedMedia, Secret, SrtpMaster, SrtpSession, SrtpSuite, dtmf,
};
use sipcast_media::pipeline::Port;
use sipcast_media::rtp::rtcp::{self, RtcpPacket};

const SUITES: [SrtpSuite; 3] =
    [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AesCm128HmacSha1_32, SrtpSuite::AeadAes128Gcm];

fn master(seed: u8) -> Secret<SrtpMaster> {
    Secret::new(SrtpMaster {
        key: std::array::from_fn(|at| seed.wrapping_mul(31) ^ at as u8),
        salt: [seed; SrtpSuite::SALT_LEN_MAX],
    })
}

fn session(suite: SrtpSuite, seed: u8) -> SrtpSession {
    SrtpSession { suite, receive: master(seed), send: master(seed + 100) }
}

fn protected(session: &SrtpSession) -> NegotiatedMedia {
    let mut media = both();
    if let Some(audio) = &mut media.audio {
        audio.transport.srtp = Some(Box::new(session.clone()));
    }
    if let Some(video) = &mut media.video {
        video.transport.srtp = Some(Box::new(session.clone()));
    }
    media
}

/// A call of one target, protected with `suite`.
fn call(seed: u64, suite: SrtpSuite) -> World {
    let mut world = World::new(seed);
    let session = session(suite, 1);
    world.callee.begin_srtp(&session);
    world.pipeline.set_media(&protected(&session), world.now, &mut world.workspace);
    world.add_target(1);
    world
}

#[test]
fn pictures_arrive_bit_exact_on_a_bad_network() {
    for suite in SUITES {
        let mut world = call(301, suite);
        world.link.loss_percent = 1;
        world.link.duplicate_percent = 3;
        world.link.detour_percent = 10;
        world.run(6000);
        let sink = world.sink(1);
        sink.assert_exact(&world.callee.pictures);
        sink.assert_monotone();
        assert!(sink.pictures.len() > 60, "{suite:?}: {}", sink.pictures.len());
        assert!(sink.sounds.len() > 200, "{suite:?}: {}", sink.sounds.len());
        let statistics = world.pipeline.statistics();
        assert!(statistics.video.replayed > 0, "duplicates of the network");
        assert_eq!((statistics.video.authentication_failed, statistics.video.malformed), (0, 0));
        assert!(statistics.audio.sender_reports > 3 && statistics.video.sender_reports > 3);
        world.finish();
    }
}

#[test]
fn plain_and_forged_packets_are_dropped_and_counted_and_move_no_address() {
    for suite in SUITES {
        let mut world = call(302, suite);
        world.run(1000);
        let mut random = Random(302);
        let (ssrc, stranger) = (world.callee.video_ssrc, address("203.0.113.66:6666"));
        for round in 0..600u16 {
            let sequence_number = world.callee.sequence_number.wrapping_add(round % 7);
            let payload: Vec<u8> = (0..40 + random.below(900)).map(|_| random.next() as u8).collect();
            // Of the peer itself in plain, of a stranger in sequence, as RTCP.
            let from = if round % 2 == 0 { address(VIDEO) } else { stranger };
            let mut forged =
                sim::callee::rtp_packet(96, false, sequence_number.wrapping_add(9), 7, ssrc, &payload);
            if round % 5 == 0 {
                forged[1] = 203;
            }
            world.receive(Port::VideoRtp, from, &forged);
        }
        world.run(2000);
        let statistics = world.pipeline.statistics();
        assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0, "{suite:?}");
        let refused = statistics.video.authentication_failed + statistics.video.malformed;
        assert_eq!((refused, statistics.video.foreign_source), (600, 0), "{suite:?}");
        assert!(statistics.video.authentication_failed > 400, "{suite:?}");
        assert!(world.sent.iter().all(|sent| sent.to.ip() == address(VIDEO).ip()));
        world.finish();
    }
}

#[test]
fn what_we_send_is_protected_with_one_ssrc_and_reported() {
    for suite in SUITES {
        // The simulated callee panics at what it cannot authenticate.
        let mut world = call(303, suite);
        world.run(500);
        assert!(world.send_dtmf(&dtmf::parse("12#").expect("digits")));
        world.run(9000);
        let audio = |sent: &&sim::Sent| matches!(sent.port, Port::AudioRtp | Port::AudioRtcp);
        let (mut ssrcs, mut packets, mut reported) = (Vec::new(), 0, None);
        for sent in world.sent.iter().filter(audio) {
            if sent.port == Port::AudioRtp {
                assert_eq!(sent.to, address(AUDIO));
                ssrcs.push(u32::from_be_bytes([
                    sent.bytes[8],
                    sent.bytes[9],
                    sent.bytes[10],
                    sent.bytes[11],
                ]));
                packets += 1;
                continue;
            }
            match rtcp::parse(&sent.bytes).flatten().next() {
                Some(RtcpPacket::SenderReport(report, _)) => {
                    ssrcs.push(report.ssrc);
                    assert_eq!(report.packets, packets);
                    reported = Some(report);
                }
                Some(RtcpPacket::ReceiverReport { ssrc, .. }) => ssrcs.push(ssrc),
                other => panic!("{other:?}"),
            }
        }
        assert!(packets > 30 && reported.is_some());
        assert!(ssrcs.iter().all(|ssrc| *ssrc == ssrcs[0]), "{ssrcs:x?}");
        world.finish();
    }
}

#[test]
fn keys_change_in_mid_call_without_a_picture_lost() {
    for suite in SUITES {
        let mut world = call(304, suite);
        world.run(1500);
        for (seed, pause) in [(2, 40), (3, 900), (1, 30)] {
            let next = session(suite, seed);
            // The answer takes its time: the peer still sends with the old keys, and then packets are under way.
            world.pipeline.set_media(&protected(&next), world.now, &mut world.workspace);
            let to = world.sent.len();
            world.callee.change_keys(&next, world.now);
            world.run(pause);
            assert!(world.sent.len() >= to);
            world.run(700);
        }
        assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0, "{suite:?}");
        let statistics = world.pipeline.statistics();
        assert_eq!((statistics.video.authentication_failed, statistics.video.lost), (0, 0), "{suite:?}");
        world.finish();
    }
}

#[test]
fn hold_and_unhold_with_the_same_keys_go_on_where_they_were() {
    for suite in SUITES {
        let mut world = call(305, suite);
        // The callee begins at 65 533: the rollover counter is 1 by now, and must stay so.
        world.run(1500);
        let mut held = protected(&session(suite, 1));
        if let (Some(audio), Some(video)) = (&mut held.audio, &mut held.video) {
            (audio.transport.direction, video.transport.direction) =
                (Direction::Inactive, Direction::Inactive);
        }
        world.pipeline.set_media(&held, world.now, &mut world.workspace);
        world.callee.is_sending = false;
        world.run(4000);
        world.pipeline.set_media(&NegotiatedMedia::default(), world.now, &mut world.workspace);
        world.run(1000);
        world.callee.is_sending = true;
        world.pipeline.set_media(&protected(&session(suite, 1)), world.now, &mut world.workspace);
        let before = world.sink(1).pictures.len();
        world.run(3000);
        let sink = world.sink(1);
        assert!(sink.pictures.len() > before + 60, "{suite:?}: {}", sink.pictures.len() - before);
        sink.assert_exact(&world.callee.pictures);
        sink.assert_monotone();
        assert_eq!(world.pipeline.statistics().video.authentication_failed, 0);
        world.finish();
    }
}

#[test]
fn a_datagram_that_something_else_holds_is_not_decrypted_under_it() {
    let mut world = call(306, SrtpSuite::AeadAes128Gcm);
    world.now = world.now + Duration::from_millis(1);
    let datagrams = world.callee.poll(world.now);
    let (port, from, bytes) = datagrams.into_iter().next().expect("a picture");
    let bytes = world.callee.protect(port, bytes);
    let datagram = world.segment(&bytes);
    let held = datagram.clone();
    world.pipeline.handle_datagram(port, from, datagram, world.now, &mut world.workspace);
    assert_eq!(held[..], bytes);
    assert_eq!(world.pipeline.statistics().video.malformed, 1);
    drop(held);
    world.finish();
}

#[test]
fn without_keys_nothing_changes() {
    let mut world = World::with_options(307, &MediaOptions::default());
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.add_target(1);
    world.run(1000);
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
    world.finish();
}
