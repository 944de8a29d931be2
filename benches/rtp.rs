//! RTP: header parsing, and one stream in receive (`sipcast_media::rtp`). An iteration is a datagram of up to
//! 1200 bytes of payload.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::Throughput;
use sipcast_media::rtp::{Receiver, RtpPacket};
use support::traffic::{Arrived, Datagrams, Video, pool};
use support::{Stage, TURN};

fn main() {
    let mut stage = Stage::new("rtp");
    let pool = pool();
    let one = Throughput::Elements(1);
    let datagrams = |swaps| {
        let mut datagrams = Datagrams::new(Video::new(&pool, 1_000_000), swaps);
        move |arrived: &mut Arrived| *arrived = Some(datagrams.next())
    };
    stage.bench_prepared("parse", one.clone(), TURN, datagrams(false), |arrived| {
        let (datagram, at) = arrived.take().expect("prepared");
        drop(black_box(RtpPacket::parse(datagram, at)));
    });
    for (name, swaps) in [("parse and receive, in order", false), ("parse and receive, 1 of 8 swapped", true)]
    {
        let mut receiver = Receiver::new(90_000, Duration::from_millis(60));
        stage.bench_prepared(name, one.clone(), TURN, datagrams(swaps), |arrived| {
            let (datagram, at) = arrived.take().expect("prepared");
            let packet = RtpPacket::parse(datagram, at).expect("RTP");
            receiver.push(packet, at).expect("its place is free");
            while let Some(received) = receiver.poll(at) {
                drop(black_box(received));
            }
        });
        assert_eq!(receiver.statistics().lost, 0);
    }
    stage.finish();
}
