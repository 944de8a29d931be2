//! Random and forged RTP and RTCP is counted and refused; it neither panics nor holds memory, and the call goes on.

mod sim;

use sim::{Random, World, address};
use sipcast_media::pipeline::Port;

const PORTS: [Port; 4] = [Port::AudioRtp, Port::AudioRtcp, Port::VideoRtp, Port::VideoRtcp];

#[test]
fn a_stranger_cannot_disturb_a_call() {
    let mut world = World::call(91);
    world.run(1000);
    let mut random = Random(91);
    for _ in 0..3000 {
        let mut bytes = vec![0; random.below(300) as usize];
        bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
        if bytes.len() > 2 && random.below(3) > 0 {
            bytes[0] = 0x80;
            bytes[1] = [96, 0, 224, 200, 201, 206][random.below(6) as usize];
        }
        let from = address(&format!("203.0.113.{}:{}", random.below(250), 1024 + random.below(60_000)));
        world.receive(PORTS[random.below(4) as usize], from, &bytes);
        if random.below(10) == 0 {
            world.run(1);
        }
    }
    world.run(2000);
    assert_eq!(world.sink(1).assert_exact(&world.callee.pictures), 0);
    let statistics = world.pipeline.statistics();
    assert!(statistics.video.foreign_source > 100 && statistics.video.malformed > 100);
    world.finish();
}

#[test]
fn a_peer_gone_mad_breaks_only_its_own_picture() {
    for seed in 100..110 {
        let mut world = World::call(seed);
        world.run(500);
        let mut random = Random(seed);
        let (video, audio) = (world.callee.video_from, world.callee.audio_from);
        for _ in 0..2000 {
            let mut bytes = vec![0; 12 + random.below(60) as usize];
            bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
            bytes[0] = 0x80;
            bytes[1] = [96, 224, 0, 200, 201, 203, 205, 206][random.below(8) as usize];
            let sequence_number = world.callee.sequence_number.wrapping_add(random.below(9) as u16);
            bytes[2..4].copy_from_slice(&sequence_number.to_be_bytes());
            bytes[8..12].copy_from_slice(&world.callee.video_ssrc.to_be_bytes());
            bytes[12..]
                .first_mut()
                .into_iter()
                .for_each(|b| *b = [0x65, 0x41, 0x7c, 24, 0x67][sequence_number as usize % 5]);
            let from = if random.below(2) == 0 { video } else { audio };
            world.receive(PORTS[random.below(4) as usize], from, &bytes);
            if random.below(5) == 0 {
                world.run(1);
            }
        }
        world.sink(1).assert_monotone();
        world.finish();
    }
}
