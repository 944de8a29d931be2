//! Report blocks (RFC 3550 §6.4.1): what a receiver says of one source, in SR and RR alike.

use super::RtcpError;

/// What was received of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Lost of those expected since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the start, at most 24 bits signed; negative when duplicates outnumber losses.
    pub cumulative_lost: i32,
    /// Highest sequence number, the count of wraps above it.
    pub highest_sequence: u32,
    /// Interarrival jitter in RTP clock units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0 before the first.
    pub last_sender_report: u32,
    /// Time since that report came, in 1/65536 s.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    /// Bytes on the wire.
    pub const LEN: usize = 24;

    /// As on the wire.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0..4].copy_from_slice(&self.ssrc.to_be_bytes());
        // 24 bits of two's complement: the top byte gives way to the fraction.
        out[4..8].copy_from_slice(&self.cumulative_lost.to_be_bytes());
        out[4] = self.fraction_lost;
        out[8..12].copy_from_slice(&self.highest_sequence.to_be_bytes());
        out[12..16].copy_from_slice(&self.jitter.to_be_bytes());
        out[16..20].copy_from_slice(&self.last_sender_report.to_be_bytes());
        out[20..24].copy_from_slice(&self.delay_since_last_sender_report.to_be_bytes());
        out
    }

    fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            cumulative_lost: ((word(4) << 8) as i32) >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sender_report: word(16),
            delay_since_last_sender_report: word(20),
        }
    }
}

/// The blocks of one report, at most 31.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    blocks: &'a [[u8; ReportBlock::LEN]],
}

impl<'a> ReportBlocks<'a> {
    /// What follows the blocks is a profile's extension (RFC 3550 §6.4.3) and is left alone.
    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, RtcpError> {
        let (blocks, _) = body.as_chunks::<{ ReportBlock::LEN }>();
        let blocks = blocks.get(..usize::from(count)).ok_or(RtcpError::Length)?;
        Ok(Self { blocks })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (first, rest) = self.blocks.split_first()?;
        self.blocks = rest;
        Some(ReportBlock::from_bytes(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_at_the_edges_of_24_bits() {
        for cumulative_lost in [-(1 << 23), -1, 0, 1, (1 << 23) - 1] {
            let block = ReportBlock {
                ssrc: 1,
                fraction_lost: 255,
                cumulative_lost,
                highest_sequence: u32::MAX,
                jitter: 2,
                last_sender_report: 3,
                delay_since_last_sender_report: 4,
            };
            assert_eq!(ReportBlock::from_bytes(&block.to_bytes()), block);
        }
    }
}
