//! Sender report (RFC 3550 §6.4.1): the sender's clock and counts.

use super::{RtcpError, word};

/// Wall time in NTP format: seconds since 1900 in the high 32 bits, their fraction in the low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// What a sender without a wall clock writes (RFC 3550 §6.4.1).
    pub const UNKNOWN: Self = Self(0);

    /// The middle 32 bits, by which a report block names a sender report.
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Time since some start, for who has no wall clock (RFC 3550 §6.4.1: the high bit stays 0 for 68 years).
    pub const fn from_elapsed(elapsed: std::time::Duration) -> Self {
        let fraction = ((elapsed.subsec_nanos() as u64) << 32) / 1_000_000_000;
        Self(elapsed.as_secs() << 32 | fraction)
    }

    /// Microseconds from `earlier` to `self`, negative if `self` is the earlier; right for up to 68 years,
    /// also across the wrap of 2036.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        let difference = self.0.wrapping_sub(earlier.0) as i64;
        ((difference as i128 * 1_000_000) >> 32) as i64
    }
}

/// The fixed part of a sender report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Who sends.
    pub ssrc: u32,
    /// Wall time of the report ...
    pub ntp: NtpTime,
    /// ... and the same instant in RTP time of its stream.
    pub rtp_timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, modulo 2^32.
    pub octets: u32,
}

impl SenderReport {
    pub(super) fn read(body: &[u8]) -> Result<(Self, &[u8]), RtcpError> {
        let (ssrc, rest) = word(body)?;
        let (ntp_high, rest) = word(rest)?;
        let (ntp_low, rest) = word(rest)?;
        let (rtp_timestamp, rest) = word(rest)?;
        let (packets, rest) = word(rest)?;
        let (octets, rest) = word(rest)?;
        let ntp = NtpTime(u64::from(ntp_high) << 32 | u64::from(ntp_low));
        Ok((Self { ssrc, ntp, rtp_timestamp, packets, octets }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_differences_both_ways_and_across_the_era() {
        let at = |seconds: u64, half: u64| NtpTime(seconds << 32 | half << 31);
        assert_eq!(at(10, 1).micros_since(at(9, 0)), 1_500_000);
        assert_eq!(at(9, 0).micros_since(at(10, 1)), -1_500_000);
        assert_eq!(at(1, 0).micros_since(at(u64::from(u32::MAX), 0)), 2_000_000);
        assert_eq!(NtpTime(0x1111_2222_3333_4444).middle(), 0x2222_3333);
    }
}
