//! The RTP header (RFC 3550 §5.1) and what tells RTP from RTCP on one port (RFC 5761 §4).
//! Takes: one datagram in a pool slot. Gives: an [`RtpPacket`] whose payload is a range of that slot.
//! Leaves out: header extensions and contributing sources, which nothing here needs; they are stepped over.

use sipcast_contract::Timestamp;
use sipcast_pool::Segment;

/// One RTP packet; its payload stays where the kernel put it.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
/// |                           timestamp                           |
/// |                             SSRC                              |
/// |         CSRC (CC times), then the extension if X              |
/// ```
#[derive(Debug)]
pub struct RtpPacket {
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Marker bit: last packet of an access unit (H.264), first of a talk spurt (audio).
    pub marker: bool,
    /// Sequence number.
    pub sequence_number: u16,
    /// RTP timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// The payload without padding; may be empty.
    pub payload: Segment,
    /// When the datagram arrived.
    pub arrival: Timestamp,
}

impl RtpPacket {
    /// Reads the header of `datagram`. Contributing sources, extension and padding are cut off.
    ///
    /// # Errors
    /// [`RtpError`] when the datagram is no RTP of version 2 or its lengths do not fit.
    pub fn parse(datagram: Segment, arrival: Timestamp) -> Result<Self, RtpError> {
        let bytes: &[u8] = &datagram;
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(RtpError::TooShort);
        };
        if header[0] >> 6 != VERSION {
            return Err(RtpError::Version);
        }
        let start = payload_start(bytes)?;
        let end = payload_end(bytes, start)?;
        let [_, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *header;
        Ok(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence_number: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            payload: datagram.narrow(start..end),
            arrival,
        })
    }
}

/// What a datagram on a media port is, by its first two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demultiplexed {
    /// RTP.
    Rtp,
    /// RTCP.
    Rtcp,
    /// STUN (RFC 8489 §5): told by its first two bits and its magic cookie.
    Stun,
    /// DTLS, another keep-alive or junk: nothing that this product takes.
    Other,
}

/// Tells RTP from RTCP, without reading further than the second byte, and STUN from all else (RFC 7983 §7).
pub fn demultiplex(datagram: &[u8]) -> Demultiplexed {
    match *datagram {
        // RFC 5761 §4: RTCP packet types 192 to 223 are the RTP payload types 64 to 95 with marker, which RTP
        // sharing a port must not use.
        [first, second, ..] if first >> 6 == VERSION && datagram.len() >= RTCP_LEN_MIN => match second {
            192..=223 => Demultiplexed::Rtcp,
            _ if datagram.len() >= HEADER_LEN => Demultiplexed::Rtp,
            _ => Demultiplexed::Other,
        },
        [first, _, _, _, 0x21, 0x12, 0xa4, 0x42, ..] if first >> 6 == 0 && datagram.len() >= STUN_LEN_MIN => {
            Demultiplexed::Stun
        }
        _ => Demultiplexed::Other,
    }
}

fn payload_start(bytes: &[u8]) -> Result<usize, RtpError> {
    let after_csrc = HEADER_LEN + 4 * usize::from(bytes[0] & 0x0f);
    let has_extension = bytes[0] & 0x10 != 0;
    let start = if has_extension {
        // RFC 3550 §5.3.1: 16 bits defined by the profile, then the length in 32-bit words.
        let head = bytes.get(after_csrc..after_csrc + 4).ok_or(RtpError::Extension)?;
        after_csrc + 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]))
    } else {
        after_csrc
    };
    match start <= bytes.len() {
        true => Ok(start),
        false if has_extension => Err(RtpError::Extension),
        false => Err(RtpError::TooShort),
    }
}

fn payload_end(bytes: &[u8], start: usize) -> Result<usize, RtpError> {
    if bytes[0] & 0x20 == 0 {
        return Ok(bytes.len());
    }
    // RFC 3550 §5.1: the last byte counts the padding, itself included.
    let padding = usize::from(bytes[bytes.len() - 1]);
    match bytes.len().checked_sub(padding) {
        Some(end) if padding > 0 && end >= start => Ok(end),
        _ => Err(RtpError::Padding),
    }
}

/// Why a datagram is no RTP packet. The peer broke the protocol, or it is someone else's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than the header with its contributing sources.
    #[error("shorter than its RTP header")]
    TooShort,
    /// Version is not 2.
    #[error("not RTP version 2")]
    Version,
    /// The header extension reaches past the end.
    #[error("RTP header extension reaches past the end")]
    Extension,
    /// Padding of 0 bytes, or of more than the payload.
    #[error("RTP padding does not fit the payload")]
    Padding,
}

/// RFC 3550 §5.1.
const VERSION: u8 = 2;
/// RFC 3550 §5.1: the fixed header.
const HEADER_LEN: usize = 12;
/// RFC 3550 §6.4.2: an empty receiver report, the shortest RTCP packet that a compound can begin with.
const RTCP_LEN_MIN: usize = 8;
/// The header.
const STUN_LEN_MIN: usize = 20;

#[cfg(test)]
mod tests {
    use sipcast_pool::Pool;

    use super::super::fixture::segment;
    use super::*;

    /// P, X, one CSRC, marker, type 96, an extension of one word, payload "abc", 2 bytes of padding.
    const FULL: [u8; 29] = [
        0xb1, 0xe0, 0xff, 0xfd, 0xff, 0xff, 0xff, 0xf0, 0xde, 0xad, 0xbe, 0xef, 9, 9, 9, 9, 0xbe, 0xde, 0, 1,
        1, 2, 3, 4, b'a', b'b', b'c', 0, 2,
    ];

    fn parse(pool: &Pool, bytes: &[u8]) -> Result<RtpPacket, RtpError> {
        RtpPacket::parse(segment(pool, bytes), Timestamp::from_millis(7))
    }

    #[test]
    fn golden_bytes_with_every_part() {
        let pool = Pool::new(2, 64);
        let packet = parse(&pool, &FULL).expect("valid");
        assert_eq!((packet.payload_type, packet.marker), (96, true));
        assert_eq!((packet.sequence_number, packet.timestamp), (65_533, 0xffff_fff0));
        assert_eq!((packet.ssrc, packet.arrival), (0xdead_beef, Timestamp::from_millis(7)));
        assert_eq!(&packet.payload[..], b"abc");
        assert_eq!(pool.bytes_copied(), 0);
        drop(packet);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn a_plain_header_may_have_no_payload() {
        let pool = Pool::new(1, 64);
        let packet = parse(&pool, &[0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]).expect("valid");
        assert!(packet.payload.is_empty() && !packet.marker);
    }

    #[test]
    fn cut_at_every_length_never_panics_and_leaves_no_lease() {
        let pool = Pool::new(1, 64);
        for len in 0..FULL.len() {
            // A cut packet ends in what is no padding count, or its extension is cut.
            let result = parse(&pool, &FULL[..len]);
            assert!(result.is_err() || len > 24, "{len}");
            drop(result);
            assert_eq!(pool.held(), 0);
        }
        assert_eq!(parse(&pool, &FULL[..11]).err(), Some(RtpError::TooShort));
        assert_eq!(parse(&pool, &FULL[..18]).err(), Some(RtpError::Extension));
        assert_eq!(parse(&pool, &FULL[..23]).err(), Some(RtpError::Extension));
    }

    #[test]
    fn wrong_lengths_and_versions_are_refused() {
        let pool = Pool::new(1, 64);
        let mut bytes = FULL;
        bytes[28] = 0;
        assert_eq!(parse(&pool, &bytes).err(), Some(RtpError::Padding));
        bytes[28] = 5;
        assert!(parse(&pool, &bytes).expect("all padding").payload.is_empty());
        bytes[28] = 6;
        assert_eq!(parse(&pool, &bytes).err(), Some(RtpError::Padding));
        bytes[28] = 255;
        assert_eq!(parse(&pool, &bytes).err(), Some(RtpError::Padding));
        bytes[0] = 0x31;
        assert_eq!(parse(&pool, &bytes).err(), Some(RtpError::Version));
        let csrc_missing = [0x8f, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 1, 1, 1];
        assert_eq!(parse(&pool, &csrc_missing).err(), Some(RtpError::TooShort));
    }

    #[test]
    fn rtp_rtcp_and_the_rest_are_told_apart() {
        let rtp = [0x80, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for second in 0..=255u8 {
            let mut datagram = rtp;
            datagram[1] = second;
            let expected =
                if (192..=223).contains(&second) { Demultiplexed::Rtcp } else { Demultiplexed::Rtp };
            assert_eq!(demultiplex(&datagram), expected, "{second}");
        }
        assert_eq!(demultiplex(&[0x80, 201, 0, 1, 0, 0, 0, 1]), Demultiplexed::Rtcp);
        assert_eq!(demultiplex(&[0x80, 96, 0, 1, 0, 0, 0, 1]), Demultiplexed::Other);
        let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let dtls = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(demultiplex(&stun), Demultiplexed::Stun);
        let mut older = stun;
        // RFC 3489 had no cookie: it cannot be told from junk.
        older[4] = 0;
        for other in [&older[..], &stun[..19], &dtls[..], &[][..], &[0x80][..], b"\r\n\r\n"] {
            assert_eq!(demultiplex(other), Demultiplexed::Other);
        }
    }
}
