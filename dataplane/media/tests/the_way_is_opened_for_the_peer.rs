//! Reports and keep-alives: the way through address translators is opened and kept, RTCP says what came.

mod sim;

use sim::{AUDIO, VIDEO, World, address, both};
use sipcast_media::pipeline::Port;
use sipcast_media::rtp::rtcp::{self, RtcpPacket};

#[test]
fn packets_go_out_until_the_peer_is_heard_then_rarely() {
    let mut world = World::new(131);
    world.callee.is_sending = false;
    world.pipeline.set_media(&both(), world.now, &mut world.workspace);
    world.run(1200);
    for (port, to) in [(Port::AudioRtp, AUDIO), (Port::VideoRtp, VIDEO)] {
        let sent = world.sent.iter().filter(|sent| sent.port == port && sent.to == address(to)).count();
        assert_eq!(sent, 3, "{port:?}: at 0, 500 and 1000 ms");
    }
    let reports = world.sent.iter().filter(|sent| sent.port == Port::AudioRtcp).count();
    assert!(reports >= 1);
    world.callee.is_sending = true;
    world.run(600);
    let before = world.sent.len();
    world.run(5000);
    let keep_alives = world.sent[before..]
        .iter()
        .filter(|sent| matches!(sent.port, Port::AudioRtp | Port::VideoRtp))
        .count();
    assert_eq!(keep_alives, 0);
    world.finish();
}

#[test]
fn receiver_reports_tell_what_came_and_bye_ends_it() {
    let mut world = World::call(132);
    world.run(12_000);
    let blocks = |world: &World, port| -> Vec<u32> {
        let sent = world.sent.iter().filter(|sent| sent.port == port);
        let packets = sent.flat_map(|sent| rtcp::parse(&sent.bytes).flatten());
        packets
            .filter_map(|packet| match packet {
                // Keep-alives make us a sender for a while (RFC 3550 §6.4).
                RtcpPacket::SenderReport(_, blocks) | RtcpPacket::ReceiverReport { blocks, .. } => {
                    blocks.clone().next().map(|block| block.ssrc)
                }
                _ => None,
            })
            .collect()
    };
    assert!(blocks(&world, Port::AudioRtcp).iter().all(|ssrc| *ssrc == sim::callee::AUDIO_SSRC));
    assert!(blocks(&world, Port::AudioRtcp).len() >= 2 && blocks(&world, Port::VideoRtcp).len() >= 2);
    world.pipeline.close(world.now, &mut world.workspace);
    world.run(10);
    let byes = world.sent.iter().flat_map(|sent| rtcp::parse(&sent.bytes).flatten());
    assert_eq!(byes.filter(|packet| matches!(packet, RtcpPacket::Bye(_))).count(), 2);
    world.finish();
}

#[test]
fn a_deaf_peer_makes_the_keyframe_overdue() {
    let mut world = World::call(133);
    world.run(1000);
    world.callee.honours_requests = false;
    world.link.lose_next_video = 1;
    world.run(4000);
    assert!(world.events.contains(&sipcast_media::pipeline::Event::KeyframeOverdue));
    assert!(world.pipeline.statistics().pli_sent > 3 && world.pipeline.statistics().fir_sent > 3);
    world.finish();
}
