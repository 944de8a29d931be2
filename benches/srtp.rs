//! SRTP in place (`sipcast_media::srtp`): what decryption of one packet costs, video of 1200 bytes and sound of 160,
//! beside the same packets in plain, and a second of 1 Mbit/s through all of receive. An iteration is a packet.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::Throughput;
use sipcast_contract::{Secret, SrtpMaster, SrtpSuite, Timestamp};
use sipcast_media::rtp::{Receiver, RtpPacket};
use sipcast_media::srtp::{SrtpReceiver, SrtpSender, TRAILER_LEN_MAX};
use sipcast_pool::{Pool, Segment};
use support::traffic::{START, pool};
use support::{Stage, TURN};

const SUITES: [SrtpSuite; 3] =
    [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AesCm128HmacSha1_32, SrtpSuite::AeadAes128Gcm];
/// Payload of a video packet and of 20 ms of G.711.
const PAYLOADS: [usize; 2] = [1200, 160];
/// Video packets in a second of 1 Mbit/s.
const PACKETS_PER_MEGABIT: f64 = 1_000_000.0 / 8.0 / 1200.0;

fn main() {
    let mut stage = Stage::new("srtp");
    let pool = pool();
    for payload_len in PAYLOADS {
        let bytes = Throughput::Bytes(payload_len as u64);
        let plain = format!("plain {payload_len}");
        let mut packets = Packets::new(&pool, payload_len, None);
        let mut receiver = receiver();
        let prepare = |packet: &mut Option<Segment>| *packet = Some(packets.next());
        stage.bench_prepared(&plain, bytes.clone(), TURN, prepare, |packet| {
            receive(packet.take().expect("prepared"), &mut receiver);
        });
        for suite in SUITES {
            let name = format!("{} {payload_len}", suite.name());
            let mut packets = Packets::new(&pool, payload_len, Some(suite));
            let mut receiver = self::receiver();
            let mut srtp = SrtpReceiver::new(suite, &master());
            let prepare = |packet: &mut Option<Segment>| *packet = Some(packets.next());
            stage.bench_prepared(&name, bytes.clone(), TURN, prepare, |packet| {
                let mut packet = packet.take().expect("prepared");
                let space = packet.get_mut().expect("the only claim");
                let len = srtp.unprotect_rtp(space, START).expect("authentic");
                receive(packet.narrow(0..len), &mut receiver);
            });
            if let (Some(of), Some(to)) = (stage.nanos(&name), stage.nanos(&plain)) {
                println!("{name}: {:.0} ns a packet above plain", of - to);
                if payload_len == PAYLOADS[0] {
                    let micros = (of - to) * PACKETS_PER_MEGABIT / 1000.0;
                    println!("{name}: {micros:.0} us of CPU for a second of a call of 1 Mbit/s");
                }
            }
        }
    }
    assert_eq!(pool.bytes_copied(), 0);
    stage.finish();
}

fn receiver() -> Receiver {
    Receiver::new(90_000, Duration::from_millis(60))
}

fn receive(datagram: Segment, receiver: &mut Receiver) {
    let packet = RtpPacket::parse(datagram, START).expect("RTP");
    receiver.push(packet, START).expect("its place is free");
    while let Some(received) = receiver.poll(Timestamp::ZERO) {
        drop(black_box(received));
    }
}

/// Packets of one size in sequence, as they come from the network.
struct Packets {
    pool: Pool,
    payload_len: usize,
    sender: Option<SrtpSender>,
    sequence_number: u16,
}

impl Packets {
    fn new(pool: &Pool, payload_len: usize, suite: Option<SrtpSuite>) -> Self {
        let sender = suite.map(|suite| SrtpSender::new(suite, &master()));
        Self { pool: pool.clone(), payload_len, sender, sequence_number: 65_000 }
    }

    fn next(&mut self) -> Segment {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let mut slot = self.pool.claim().expect("more slots than a turn holds");
        let mut len = 12 + self.payload_len;
        slot[..len].fill(0x55);
        slot[..2].copy_from_slice(&[0x80, 96]);
        slot[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        if let Some(sender) = &mut self.sender {
            len = sender.protect_rtp(&mut slot[..len + TRAILER_LEN_MAX], len).expect("room");
        }
        slot.freeze(0..len)
    }
}

fn master() -> Secret<SrtpMaster> {
    Secret::new(SrtpMaster { key: [7; SrtpSuite::KEY_LEN], salt: [9; SrtpSuite::SALT_LEN_MAX] })
}
