//! RTP packets for the tests of this module.

use sipcast_contract::Timestamp;
use sipcast_pool::{Pool, Segment};

use super::RtpPacket;

/// SSRC of packets whose test does not care.
pub(crate) const SSRC: u32 = 0x1122_3344;

/// `bytes` in a slot of `pool`.
pub(crate) fn segment(pool: &Pool, bytes: &[u8]) -> Segment {
    let mut lease = pool.claim().expect("a free slot");
    lease[..bytes.len()].copy_from_slice(bytes);
    lease.freeze(0..bytes.len())
}

/// A packet of payload type 96 whose payload is its sequence number.
pub(crate) fn packet(pool: &Pool, ssrc: u32, sequence: u16, timestamp: u32, arrival: Timestamp) -> RtpPacket {
    let mut bytes = [0; 14];
    bytes[0] = 0x80;
    bytes[1] = 96;
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
    bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
    bytes[12..14].copy_from_slice(&sequence.to_be_bytes());
    RtpPacket::parse(segment(pool, &bytes), arrival).expect("a valid packet")
}
