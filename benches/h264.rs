//! The H.264 depacketizer (`sipcast_media::h264`). An iteration is a picture: its packets in, an access unit out
//! and dropped.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_media::h264::{AccessUnits, Depacketizer};
use sipcast_media::rtp::RtpPacket;
use support::traffic::{PICTURES_PER_SECOND, Pictures, Video, pool};
use support::{Stage, TURN};

fn main() {
    let mut stage = Stage::new("h264");
    let pool = pool();
    for (name, bit_rate_bps) in [("picture of 1 Mbit/s", 1_000_000), ("picture of 8 Mbit/s", 8_000_000)] {
        let mut pictures = Pictures::new(Video::new(&pool, bit_rate_bps));
        let mut depacketizer = Depacketizer::default();
        let mut units = AccessUnits::default();
        stage.bench_prepared(
            name,
            Throughput::Bytes(bit_rate_bps as u64 / 8 / PICTURES_PER_SECOND),
            TURN,
            |packets: &mut Vec<(RtpPacket, i64)>| pictures.packets(packets),
            |packets| {
                for (packet, timestamp) in packets.drain(..) {
                    depacketizer.push(packet, timestamp, &mut units).expect("H.264");
                }
                black_box(units.iter().map(|unit| unit.bytes()).sum::<usize>());
                units.clear();
            },
        );
        assert_eq!(depacketizer.dropped(), 0);
    }
    stage.finish();
}
