//! RTCP as the callee needs it (RFC 3550 §6, RFC 4585 §6, RFC 5104 §4.3.1).
//! Takes: compound packets from the network; counts for a sender report. Gives: feedback; sender reports with CNAME.
//! Leaves out: when reports are due (`media`).

use std::time::Duration;

/// Packet types of RFC 3550 §12.1 and RFC 4585 §6.1.
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const PAYLOAD_SPECIFIC_FEEDBACK: u8 = 206;
/// Seconds between the NTP era (1900) and the Unix epoch.
const NTP_UNIX_OFFSET_SECONDS: u64 = 2_208_988_800;

/// What a sender report says (RFC 3550 §6.4.1).
pub(super) struct SenderReport {
    pub ssrc: u32,
    /// Time since the Unix epoch.
    pub wall: Duration,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

impl SenderReport {
    /// A compound packet: the report, then the CNAME (RFC 3550 §6.1 asks for both).
    pub fn compound(&self, cname: &str) -> Vec<u8> {
        let mut out = vec![0x80, SENDER_REPORT, 0, 6];
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&ntp(self.wall).to_be_bytes());
        for word in [self.rtp_timestamp, self.packets, self.octets] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        source_description(self.ssrc, cname, &mut out);
        out
    }
}

/// A BYE behind an empty receiver report and the CNAME (RFC 3550 §6.6).
pub(super) fn bye(ssrc: u32, cname: &str) -> Vec<u8> {
    let mut out = vec![0x80, RECEIVER_REPORT, 0, 1];
    out.extend_from_slice(&ssrc.to_be_bytes());
    source_description(ssrc, cname, &mut out);
    out.extend_from_slice(&[0x81, BYE, 0, 1]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out
}

fn source_description(ssrc: u32, cname: &str, out: &mut Vec<u8>) {
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    let start = out.len();
    out.extend_from_slice(&[0x81, SOURCE_DESCRIPTION, 0, 0]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname);
    // RFC 3550 §6.5: the chunk ends with a null octet and is padded to a word with more.
    out.push(0);
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

/// 64-bit NTP time of a time since the Unix epoch; the era wraps as RFC 3550 §4 allows.
pub(super) fn ntp(wall: Duration) -> u64 {
    let seconds = (wall.as_secs() + NTP_UNIX_OFFSET_SECONDS) & 0xffff_ffff;
    let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds << 32) | fraction
}

/// What the receiver told us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feedback {
    /// Picture Loss Indication (RFC 4585 §6.3.1).
    PictureLoss,
    /// Full Intra Request with its command sequence number (RFC 5104 §4.3.1).
    FullIntraRequest(u8),
    /// A report block about one of our streams: cumulative packets lost.
    Reception {
        /// Our SSRC.
        ssrc: u32,
        /// Packets lost since the beginning, below zero when duplicates came.
        lost: i32,
    },
    /// The peer left.
    Bye,
}

/// Reads a compound packet; `None` when its lengths or versions do not hold.
pub(super) fn parse(mut compound: &[u8]) -> Option<Vec<Feedback>> {
    let mut feedback = Vec::new();
    while !compound.is_empty() {
        let header = compound.first_chunk::<4>()?;
        let len = 4 * (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1);
        if header[0] >> 6 != 2 || len > compound.len() {
            return None;
        }
        let (packet, rest) = compound.split_at(len);
        let count = header[0] & 0x1f;
        match header[1] {
            SENDER_REPORT => report_blocks(packet.get(28..)?, count, &mut feedback)?,
            RECEIVER_REPORT => report_blocks(packet.get(8..)?, count, &mut feedback)?,
            BYE => feedback.push(Feedback::Bye),
            PAYLOAD_SPECIFIC_FEEDBACK if count == 1 => feedback.push(Feedback::PictureLoss),
            PAYLOAD_SPECIFIC_FEEDBACK if count == 4 => {
                feedback.push(Feedback::FullIntraRequest(*packet.get(16)?));
            }
            _ => {}
        }
        compound = rest;
    }
    Some(feedback)
}

fn report_blocks(blocks: &[u8], count: u8, feedback: &mut Vec<Feedback>) -> Option<()> {
    for at in 0..usize::from(count) {
        let block = blocks.get(at * 24..at * 24 + 24)?;
        feedback.push(Feedback::Reception {
            ssrc: u32::from_be_bytes(*block.first_chunk()?),
            // 24 bits with a sign.
            lost: i32::from_be_bytes([block[5], block[6], block[7], 0]) >> 8,
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_feedback_behind_a_receiver_report() {
        let mut compound = vec![0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0xff, 0xff, 0xfe];
        compound.extend_from_slice(&[0; 16]);
        compound.extend_from_slice(&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9]);
        compound.extend_from_slice(&[0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 7, 0, 0, 0]);
        let expected =
            [Feedback::Reception { ssrc: 9, lost: -2 }, Feedback::PictureLoss, Feedback::FullIntraRequest(7)];
        assert_eq!(parse(&compound).unwrap(), expected);
        for len in 1..compound.len() {
            let _ = parse(&compound[..len]);
        }
        assert_eq!(parse(&[0x41; 8]), None);
    }

    #[test]
    fn a_sender_report_is_whole_words_and_parses() {
        for cname in ["a", "ab", "abc", "abcd"] {
            let report = SenderReport {
                ssrc: 5,
                wall: Duration::from_millis(1_500),
                rtp_timestamp: 1,
                packets: 2,
                octets: 3,
            };
            let compound = report.compound(cname);
            assert!(compound.len().is_multiple_of(4));
            assert_eq!(parse(&compound), Some(vec![]));
            assert_eq!(parse(&bye(5, cname)), Some(vec![Feedback::Bye]));
        }
        assert_eq!(ntp(Duration::from_millis(500)), (NTP_UNIX_OFFSET_SECONDS << 32) | 0x8000_0000);
    }
}
