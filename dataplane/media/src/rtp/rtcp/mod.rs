//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): compound packets read without allocation, and written.
//! Takes: one datagram. Gives: its packets as borrowed views. Leaves out: what is done about them (`pipeline`),
//! and when reports are due (`schedule`).

pub mod bye;
pub mod feedback;
pub mod receiver_report;
pub mod schedule;
pub mod sender_report;
pub mod source_description;
pub mod writer;

pub use bye::Bye;
pub use feedback::{BitRateEntry, Feedback, FirEntry};
pub use receiver_report::{ReportBlock, ReportBlocks};
pub use schedule::ReportSchedule;
pub use sender_report::{NtpTime, SenderReport};
pub use source_description::{Cname, SourceDescription};
pub use writer::{CompoundWriter, NoRoom};

/// The packets of one datagram, in order. After an error there is nothing more: lengths can no longer be trusted.
///
/// Packets of an RFC 5506 reduced-size datagram are read too; nobody gains by refusing them.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// One RTCP packet.
#[derive(Clone, Debug)]
pub enum RtcpPacket<'a> {
    /// SR: the sender's clock and counts, and what it receives.
    SenderReport(SenderReport, ReportBlocks<'a>),
    /// RR: what the peer with this SSRC receives.
    ReceiverReport {
        /// Its SSRC.
        ssrc: u32,
        /// One block per source it hears.
        blocks: ReportBlocks<'a>,
    },
    /// SDES.
    SourceDescription(SourceDescription<'a>),
    /// BYE: sources that leave.
    Bye(Bye<'a>),
    /// APP: who sent it; its data means nothing to us.
    App {
        /// Its SSRC.
        ssrc: u32,
        /// Four ASCII characters.
        name: [u8; 4],
    },
    /// RTPFB or PSFB.
    Feedback(Feedback<'a>),
    /// A type that we do not know.
    Unknown {
        /// Packet type, 0..=255.
        packet_type: u8,
    },
}

/// Begins to read `datagram`.
pub fn parse(datagram: &[u8]) -> Compound<'_> {
    Compound { rest: datagram }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let result = split(self.rest).and_then(|(header, body, rest)| {
            self.rest = rest;
            read(header, body)
        });
        if result.is_err() {
            self.rest = &[];
        }
        Some(result)
    }
}

/// The first four bytes, taken apart:
///
/// ```text
/// |V=2|P| count |  packet type  |  length in words minus one    |
/// ```
#[derive(Clone, Copy, Debug)]
struct Header {
    /// Report count, source count, subtype or feedback message type.
    count: u8,
    packet_type: u8,
}

/// Header and body of the first packet, padding cut off, and what follows it.
fn split(bytes: &[u8]) -> Result<(Header, &[u8], &[u8]), RtcpError> {
    let (head, _) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(RtcpError::Length)?;
    if head[0] >> 6 != VERSION {
        return Err(RtcpError::Version);
    }
    let len = HEADER_LEN + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (packet, rest) = bytes.split_at_checked(len).ok_or(RtcpError::Length)?;
    let mut body = &packet[HEADER_LEN..];
    if head[0] & 0x20 != 0 {
        // RFC 3550 §6.4.1: only the last packet may be padded, by a multiple of four bytes.
        let padding = usize::from(*body.last().ok_or(RtcpError::Padding)?);
        if !rest.is_empty() || padding == 0 || padding % 4 != 0 || padding > body.len() {
            return Err(RtcpError::Padding);
        }
        body = &body[..body.len() - padding];
    }
    Ok((Header { count: head[0] & 0x1f, packet_type: head[1] }, body, rest))
}

fn read(header: Header, body: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    match header.packet_type {
        SENDER_REPORT => {
            let (report, rest) = SenderReport::read(body)?;
            Ok(RtcpPacket::SenderReport(report, ReportBlocks::read(header.count, rest)?))
        }
        RECEIVER_REPORT => {
            let (ssrc, rest) = word(body)?;
            Ok(RtcpPacket::ReceiverReport { ssrc, blocks: ReportBlocks::read(header.count, rest)? })
        }
        SOURCE_DESCRIPTION => Ok(RtcpPacket::SourceDescription(SourceDescription::read(header.count, body)?)),
        BYE => Ok(RtcpPacket::Bye(Bye::read(header.count, body)?)),
        APP => {
            let (ssrc, rest) = word(body)?;
            let (name, _) = rest.split_first_chunk::<4>().ok_or(RtcpError::Length)?;
            Ok(RtcpPacket::App { ssrc, name: *name })
        }
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => {
            Ok(RtcpPacket::Feedback(Feedback::read(header.packet_type, header.count, body)?))
        }
        packet_type => Ok(RtcpPacket::Unknown { packet_type }),
    }
}

/// A big-endian word and what follows it.
fn word(bytes: &[u8]) -> Result<(u32, &[u8]), RtcpError> {
    let (word, rest) = bytes.split_first_chunk::<4>().ok_or(RtcpError::Length)?;
    Ok((u32::from_be_bytes(*word), rest))
}

/// Why a datagram cannot be read as RTCP: the peer broke the protocol. Counted by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// Version is not 2.
    #[error("not RTCP version 2")]
    Version,
    /// A length does not fit what it counts.
    #[error("RTCP length does not fit")]
    Length,
    /// Padding does not fit, or is not in the last packet.
    #[error("RTCP padding does not fit")]
    Padding,
}

/// RFC 3550 §6.4.1.
const VERSION: u8 = 2;
const HEADER_LEN: usize = 4;
/// RFC 3550 §12.1, RFC 4585 §6.1.
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

#[cfg(test)]
mod tests {
    use super::super::random::SplitMix64;
    use super::*;

    /// SR with one block, SDES with CNAME "a@b", APP, an unknown type, BYE with reason and padding.
    const GOLDEN: [u8; 120] = [
        0x81, 200, 0, 12, 1, 2, 3, 4, 0xe0, 0, 0, 1, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 9, 0, 0,
        1, 0, // SR
        5, 6, 7, 8, 64, 0xff, 0xff, 0xfe, 0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, // its block
        0x81, 202, 0, 3, 1, 2, 3, 4, 1, 3, b'a', b'@', b'b', 0, 0, 0, // SDES
        0x80, 204, 0, 3, 1, 2, 3, 4, b'N', b'A', b'M', b'E', 1, 2, 3, 4, // APP
        0x80, 207, 0, 1, 1, 2, 3, 4, // XR: not known here
        0xa1, 203, 0, 4, 1, 2, 3, 4, 3, b'o', b'f', b'f', 0, 0, 0, 0, 0, 0, 0,
        8, // BYE, 8 bytes of padding
        0, 0, 0, 0, 0, 0, 0, 0,
    ];
    const GOLDEN_LEN: usize = 112;

    fn count(bytes: &[u8]) -> (usize, bool) {
        let (mut packets, mut failed) = (0, false);
        for packet in parse(bytes) {
            match packet {
                Ok(packet) => {
                    packets += 1;
                    exhaust(&packet);
                }
                Err(_) => failed = true,
            }
        }
        (packets, failed)
    }

    fn exhaust(packet: &RtcpPacket<'_>) {
        match packet {
            RtcpPacket::SenderReport(_, blocks) | RtcpPacket::ReceiverReport { blocks, .. } => {
                assert!(blocks.clone().count() <= 31);
            }
            RtcpPacket::SourceDescription(sdes) => assert!(sdes.cnames().count() <= 31),
            RtcpPacket::Bye(bye) => assert!(bye.ssrcs().count() <= 31),
            RtcpPacket::Feedback(feedback) => assert!(feedback.full_intra_requests().count() < 20_000),
            RtcpPacket::App { .. } | RtcpPacket::Unknown { .. } => {}
        }
    }

    #[test]
    fn golden_compound() {
        let packets: Vec<_> = parse(&GOLDEN[..GOLDEN_LEN]).map(|p| p.expect("valid")).collect();
        let [sr, sdes, app, unknown, bye] = &packets[..] else { panic!("{packets:?}") };
        let RtcpPacket::SenderReport(report, blocks) = sr else { panic!("{sr:?}") };
        assert_eq!((report.ssrc, report.ntp), (0x0102_0304, NtpTime(0xe000_0001_8000_0000)));
        assert_eq!((report.rtp_timestamp, report.packets, report.octets), (0xffff_fff0, 9, 256));
        let block = blocks.clone().next().expect("one");
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (0x0506_0708, 64, -2));
        assert_eq!((block.highest_sequence, block.jitter), (0x0001_0002, 3));
        assert_eq!((block.last_sender_report, block.delay_since_last_sender_report), (4, 5));
        let RtcpPacket::SourceDescription(sdes) = sdes else { panic!("{sdes:?}") };
        assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(0x0102_0304, &b"a@b"[..])]);
        assert!(matches!(app, RtcpPacket::App { ssrc: 0x0102_0304, name: [b'N', b'A', b'M', b'E'] }));
        assert!(matches!(unknown, RtcpPacket::Unknown { packet_type: 207 }));
        let RtcpPacket::Bye(bye) = bye else { panic!("{bye:?}") };
        assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [0x0102_0304]);
        assert_eq!(bye.reason(), Some(&b"off"[..]));
    }

    #[test]
    fn cut_at_every_length_gives_whole_packets_and_one_error() {
        let ends = [0, 52, 68, 84, 92, GOLDEN_LEN];
        for len in 0..=GOLDEN_LEN {
            let whole = ends.iter().filter(|end| **end <= len).count() - 1;
            assert_eq!(count(&GOLDEN[..len]), (whole, !ends.contains(&len)), "{len}");
        }
    }

    #[test]
    fn counts_that_do_not_fit_their_packet_are_errors() {
        let error = |bytes: &[u8]| parse(bytes).next().expect("something").err();
        assert_eq!(error(&[0x82, 201, 0, 7, 0, 0, 0, 1]), Some(RtcpError::Length));
        let mut two_blocks = GOLDEN[..52].to_vec();
        two_blocks[0] = 0x82;
        assert_eq!(error(&two_blocks), Some(RtcpError::Length));
        assert_eq!(error(&[0x80, 201, 0, 0]), Some(RtcpError::Length));
        assert_eq!(error(&[0x81, 203, 0, 0]), Some(RtcpError::Length));
        assert_eq!(error(&[0x81, 206, 0, 1, 0, 0, 0, 1]), Some(RtcpError::Length));
        assert_eq!(error(&[0x40, 201, 0, 1, 0, 0, 0, 1]), Some(RtcpError::Version));
        assert_eq!(error(&[0xa0, 201, 0, 0]), Some(RtcpError::Padding));
        assert_eq!(error(&[0xa0, 201, 0, 1, 0, 0, 0, 8]), Some(RtcpError::Padding));
        assert_eq!(error(&[0xa0, 201, 0, 1, 0, 0, 0, 3]), Some(RtcpError::Padding));
        // An item that runs past its SDES packet.
        assert_eq!(error(&[0x81, 202, 0, 2, 1, 2, 3, 4, 1, 200, b'a', b'b']), Some(RtcpError::Length));
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut random = SplitMix64::new(3);
        for _ in 0..20_000 {
            let mut bytes = GOLDEN;
            for _ in 0..=random.below(6) {
                bytes[random.below(GOLDEN.len() as u64) as usize] = random.next_u64() as u8;
            }
            let len = random.below(GOLDEN.len() as u64 + 1) as usize;
            assert!(count(&bytes[..len]).0 <= GOLDEN.len() / 4);
        }
    }
}
