//! What a callee sends: H.264 of a given bit rate at 30 pictures/s, and PCMU, as RTP datagrams in pool slots.
//! The same at every run.

use std::collections::VecDeque;
use std::time::Duration;

use sipcast_codec::g711;
use sipcast_contract::Timestamp;
use sipcast_contract::limits::SLOT_LEN;
use sipcast_media::h264::{AccessUnits, Depacketizer};
use sipcast_media::rtp::{Received, Receiver, RtpPacket};
use sipcast_pool::{Pool, Segment};

/// A datagram and when it came.
pub type Arrived = Option<(Segment, Timestamp)>;

/// Slots for what comes in; more than any turn of a bench holds.
pub fn pool() -> Pool {
    Pool::new(16_384, SLOT_LEN)
}

/// Pictures of 640x360: an IDR picture of eight times the size of the others every two seconds, each picture one
/// NAL unit in fragments of 1200 bytes, parameter sets in front of IDR pictures in a STAP-A.
pub struct Video {
    pool: Pool,
    picture_len: usize,
    index: u64,
    sequence_number: u16,
    filler: Box<[u8]>,
}

impl Video {
    pub fn new(pool: &Pool, bit_rate_bps: usize) -> Self {
        let period_len = bit_rate_bps / 8 * IDR_INTERVAL as usize / PICTURES_PER_SECOND as usize;
        let picture_len = period_len / (IDR_INTERVAL as usize - 1 + IDR_WEIGHT);
        let filler = (0..IDR_WEIGHT * picture_len).scan(Random(1), |random, _| Some(random.next() as u8));
        Self {
            pool: pool.clone(),
            picture_len,
            index: 0,
            // The wrap of sequence numbers comes early.
            sequence_number: 65_000,
            filler: filler.collect(),
        }
    }

    /// When the picture at hand comes.
    pub fn now(&self) -> Timestamp {
        START + Duration::from_micros(self.index * 1_000_000 / PICTURES_PER_SECOND)
    }

    /// Appends the datagrams of the next picture and says when they come.
    pub fn picture(&mut self, out: &mut Vec<Segment>) -> Timestamp {
        let now = self.now();
        let is_idr = self.index.is_multiple_of(IDR_INTERVAL);
        if is_idr {
            let mut aggregate = vec![24];
            for set in [SPS, PPS] {
                aggregate.extend_from_slice(&(set.len() as u16).to_be_bytes());
                aggregate.extend_from_slice(set);
            }
            out.push(self.datagram(false, &aggregate, &[]));
        }
        let (nal_header, len) = match is_idr {
            true => (0x65, IDR_WEIGHT * self.picture_len),
            false => (0x41, self.picture_len),
        };
        let filler = std::mem::take(&mut self.filler);
        let count = filler[..len].chunks(FRAGMENT_LEN).count();
        for (index, fragment) in filler[..len].chunks(FRAGMENT_LEN).enumerate() {
            let (is_first, is_last) = (index == 0, index + 1 == count);
            let flags = u8::from(is_first) << 7 | u8::from(is_last) << 6;
            let headers = [nal_header & 0xe0 | 28, flags | nal_header & 0x1f];
            out.push(self.datagram(is_last, &headers, fragment));
        }
        self.filler = filler;
        self.index += 1;
        now
    }

    fn datagram(&mut self, marker: bool, front: &[u8], rest: &[u8]) -> Segment {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let timestamp = (self.index * RTP_TICKS_PER_PICTURE) as u32;
        let header = rtp_header(VIDEO_PAYLOAD_TYPE, marker, self.sequence_number, timestamp, 0x1111_2222);
        datagram(&self.pool, &[&header, front, rest])
    }
}

/// The datagrams of a [`Video`] one by one.
pub struct Datagrams {
    video: Video,
    waiting: VecDeque<Segment>,
    picture: Vec<Segment>,
    now: Timestamp,
    /// Every eighth datagram changes places with the one behind it.
    swaps: bool,
    given: u64,
}

impl Datagrams {
    pub fn new(video: Video, swaps: bool) -> Self {
        let now = video.now();
        Self { video, waiting: VecDeque::new(), picture: Vec::new(), now, swaps, given: 0 }
    }

    pub fn next(&mut self) -> (Segment, Timestamp) {
        while self.waiting.len() < 2 {
            self.now = self.video.picture(&mut self.picture);
            self.waiting.extend(self.picture.drain(..));
        }
        self.given += 1;
        if self.swaps && self.given.is_multiple_of(8) {
            self.waiting.swap(0, 1);
        }
        (self.waiting.pop_front().expect("two at least"), self.now)
    }
}

/// A [`Video`] as packets in order, and as access units.
pub struct Pictures {
    video: Video,
    receiver: Receiver,
    depacketizer: Depacketizer,
    datagrams: Vec<Segment>,
    packets: Vec<(RtpPacket, i64)>,
}

impl Pictures {
    pub fn new(video: Video) -> Self {
        Self {
            video,
            receiver: Receiver::new(90_000, Duration::from_millis(60)),
            depacketizer: Depacketizer::default(),
            datagrams: Vec::new(),
            packets: Vec::new(),
        }
    }

    /// Appends the packets of the next picture, with their unwrapped RTP time.
    pub fn packets(&mut self, out: &mut Vec<(RtpPacket, i64)>) {
        let now = self.video.picture(&mut self.datagrams);
        for datagram in self.datagrams.drain(..) {
            let packet = RtpPacket::parse(datagram, now).expect("RTP");
            self.receiver.push(packet, now).expect("in order");
            while let Some(received) = self.receiver.poll(now) {
                let Received::Packet { packet, timestamp } = received else { panic!("{received:?}") };
                out.push((packet, timestamp));
            }
        }
    }

    /// Puts the next picture into `out`.
    pub fn access_unit(&mut self, out: &mut AccessUnits) {
        let mut packets = std::mem::take(&mut self.packets);
        self.packets(&mut packets);
        for (packet, timestamp) in packets.drain(..) {
            self.depacketizer.push(packet, timestamp, out).expect("H.264");
        }
        self.packets = packets;
    }
}

/// PCMU in packets of 20 ms: two tones with a swell and some noise, so that no encoder has it easy.
pub struct Audio {
    pool: Pool,
    octets: Box<[u8]>,
    index: u64,
}

impl Audio {
    pub fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone(), octets: sound().map(g711::encode_mu_law).collect(), index: 0 }
    }

    /// When the packet at hand comes.
    pub fn now(&self) -> Timestamp {
        START + Duration::from_millis(20 * self.index)
    }

    /// The payload of the next packet, its unwrapped RTP time and when it comes.
    pub fn payload(&mut self) -> (&[u8], i64, Timestamp) {
        let now = self.now();
        let at = self.index as usize * PACKET_SAMPLES % self.octets.len();
        let timestamp = (self.index * PACKET_SAMPLES as u64) as i64;
        self.index += 1;
        (&self.octets[at..at + PACKET_SAMPLES], timestamp, now)
    }

    /// The next datagram and when it comes.
    pub fn datagram(&mut self) -> (Segment, Timestamp) {
        let (pool, sequence_number) = (self.pool.clone(), self.index as u16);
        let (payload, timestamp, now) = self.payload();
        // RTP numbers wrap; truncation is wanted.
        let header = rtp_header(AUDIO_PAYLOAD_TYPE, false, sequence_number, timestamp as u32, 0x3333_4444);
        (datagram(&pool, &[&header, payload]), now)
    }
}

/// Four seconds of telephone sound, 8000 samples/s.
pub fn sound() -> impl Iterator<Item = i16> {
    let mut random = Random(2);
    (0..4 * 8000).map(move |n| {
        let turn = std::f64::consts::TAU * f64::from(n) / 8000.0;
        let swell = 0.55 + 0.45 * (1.5 * turn).sin();
        let noise = (random.next() % 1000) as f64 - 500.0;
        (swell * (6000.0 * (220.0 * turn).sin() + 3000.0 * (1310.0 * turn).sin()) + noise) as i16
    })
}

fn datagram(pool: &Pool, parts: &[&[u8]]) -> Segment {
    let mut lease = pool.claim().expect("more slots than a turn holds");
    let mut len = 0;
    for part in parts {
        lease[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    lease.freeze(0..len)
}

/// RFC 3550 §5.1.
fn rtp_header(payload_type: u8, marker: bool, sequence_number: u16, timestamp: u32, ssrc: u32) -> [u8; 12] {
    let mut header = [0x80, payload_type | u8::from(marker) << 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&sequence_number.to_be_bytes());
    header[4..8].copy_from_slice(&timestamp.to_be_bytes());
    header[8..].copy_from_slice(&ssrc.to_be_bytes());
    header
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// When the first datagram comes.
pub const START: Timestamp = Timestamp::from_millis(1000);
pub const PICTURES_PER_SECOND: u64 = 30;
/// Dynamic payload type of the H.264.
pub const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// RFC 3551 §6.
pub const AUDIO_PAYLOAD_TYPE: u8 = 0;
/// Samples in 20 ms.
pub const PACKET_SAMPLES: usize = 160;

const IDR_INTERVAL: u64 = 60;
/// How much longer an IDR picture is than others.
const IDR_WEIGHT: usize = 8;
const FRAGMENT_LEN: usize = 1200;
const RTP_TICKS_PER_PICTURE: u64 = 90_000 / PICTURES_PER_SECOND;
/// 640x360 at 30 pictures/s, baseline profile.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
    0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
