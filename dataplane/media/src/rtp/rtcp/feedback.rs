//! Feedback messages (RFC 4585 §6.1): Generic NACK (§6.2.1), Picture Loss Indication (§6.3.1), Full Intra Request
//! (RFC 5104 §4.3.1), TMMBR and TMMBN (RFC 5104 §4.2.1, §4.2.2).

use super::{PAYLOAD_FEEDBACK, RtcpError, TRANSPORT_FEEDBACK, word};
use crate::rtp::NackEntry;

/// One RTPFB or PSFB packet.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    packet_type: u8,
    format: u8,
    sender_ssrc: u32,
    media_ssrc: u32,
    /// Feedback control information.
    information: &'a [u8],
}

/// One entry of a Full Intra Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// The source that is to send an IDR picture.
    pub ssrc: u32,
    /// Command number; the same number again is a repetition.
    pub sequence_number: u8,
}

/// One entry of a Temporary Maximum Media Stream Bit Rate Request or Notification:
///
/// ```text
/// |                             SSRC                              |
/// | exponent  |           mantissa              |    overhead     |
/// |  6 bits   |           17 bits               |     9 bits      |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRateEntry {
    /// In a request the source that is to keep to it, in a notification who asked for it.
    pub ssrc: u32,
    /// Bit rate with packet overhead, in bits per second.
    pub bit_rate_bps: u64,
    /// Measured overhead of a packet in bytes, 0..=511.
    pub overhead: u16,
}

impl BitRateEntry {
    /// Bytes on the wire.
    pub const LEN: usize = 8;

    /// As on the wire; the bit rate is rounded down to 17 significant bits.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let significant = u64::BITS - self.bit_rate_bps.leading_zeros();
        let exponent = significant.saturating_sub(MANTISSA_BITS);
        let mantissa = (self.bit_rate_bps >> exponent) as u32;
        let word = exponent << 26 | mantissa << 9 | u32::from(self.overhead & 0x1ff);
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        out[4..].copy_from_slice(&word.to_be_bytes());
        out
    }

    fn from_bytes([s0, s1, s2, s3, w0, w1, w2, w3]: [u8; Self::LEN]) -> Self {
        let word = u32::from_be_bytes([w0, w1, w2, w3]);
        let (exponent, mantissa) = (word >> 26, u64::from(word >> 9 & 0x1_ffff));
        // More than 64 bits is as good as no bound.
        let bit_rate_bps = match mantissa.leading_zeros() >= exponent || mantissa == 0 {
            true => mantissa.checked_shl(exponent).unwrap_or(0),
            false => u64::MAX,
        };
        let ssrc = u32::from_be_bytes([s0, s1, s2, s3]);
        Self { ssrc, bit_rate_bps, overhead: (word & 0x1ff) as u16 }
    }
}

impl<'a> Feedback<'a> {
    pub(super) fn read(packet_type: u8, format: u8, body: &'a [u8]) -> Result<Self, RtcpError> {
        let (sender_ssrc, rest) = word(body)?;
        let (media_ssrc, information) = word(rest)?;
        Ok(Self { packet_type, format, sender_ssrc, media_ssrc, information })
    }

    /// Who sends the feedback.
    pub const fn sender_ssrc(&self) -> u32 {
        self.sender_ssrc
    }

    /// The source it is about; 0 in a Full Intra Request.
    pub const fn media_ssrc(&self) -> u32 {
        self.media_ssrc
    }

    /// Whether it is a Picture Loss Indication.
    pub const fn is_picture_loss_indication(&self) -> bool {
        self.packet_type == PAYLOAD_FEEDBACK && self.format == PICTURE_LOSS_INDICATION
    }

    /// The entries, none if it is no Full Intra Request.
    pub fn full_intra_requests(&self) -> impl Iterator<Item = FirEntry> + 'a {
        let is_fir = self.packet_type == PAYLOAD_FEEDBACK && self.format == FULL_INTRA_REQUEST;
        let (entries, _) = if is_fir { self.information } else { &[] }.as_chunks::<FIR_ENTRY_LEN>();
        entries.iter().map(|[s0, s1, s2, s3, sequence_number, ..]| FirEntry {
            ssrc: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            sequence_number: *sequence_number,
        })
    }

    /// The entries, none if it is no Generic NACK.
    pub fn nack_entries(&self) -> impl Iterator<Item = NackEntry> + use<'a> {
        let is_nack = self.packet_type == TRANSPORT_FEEDBACK && self.format == GENERIC_NACK;
        let (entries, _) = if is_nack { self.information } else { &[] }.as_chunks::<NACK_ENTRY_LEN>();
        entries.iter().map(|[p0, p1, b0, b1]| NackEntry {
            first: u16::from_be_bytes([*p0, *p1]),
            following: u16::from_be_bytes([*b0, *b1]),
        })
    }

    /// The entries of a TMMBR, none if it is none.
    pub fn bit_rate_requests(&self) -> impl Iterator<Item = BitRateEntry> + use<'a> {
        self.bit_rate_entries(BIT_RATE_REQUEST)
    }

    /// Whether it is a TMMBN; one without entries says that there is no bound.
    pub const fn is_bit_rate_notification(&self) -> bool {
        self.packet_type == TRANSPORT_FEEDBACK && self.format == BIT_RATE_NOTIFICATION
    }

    /// The entries of a TMMBN, none if it is none.
    pub fn bit_rate_notifications(&self) -> impl Iterator<Item = BitRateEntry> + use<'a> {
        self.bit_rate_entries(BIT_RATE_NOTIFICATION)
    }

    fn bit_rate_entries(&self, format: u8) -> impl Iterator<Item = BitRateEntry> + use<'a> {
        let is_meant = self.packet_type == TRANSPORT_FEEDBACK && self.format == format;
        let (entries, _) = if is_meant { self.information } else { &[] }.as_chunks::<{ BitRateEntry::LEN }>();
        entries.iter().map(|entry| BitRateEntry::from_bytes(*entry))
    }
}

/// RFC 4585 §6.2.
pub(super) const GENERIC_NACK: u8 = 1;
pub(super) const NACK_ENTRY_LEN: usize = 4;
/// RFC 5104 §4.2.
pub(super) const BIT_RATE_REQUEST: u8 = 3;
const BIT_RATE_NOTIFICATION: u8 = 4;
const MANTISSA_BITS: u32 = 17;
/// RFC 4585 §6.3.
pub(super) const PICTURE_LOSS_INDICATION: u8 = 1;
/// RFC 5104 §4.3.
pub(super) const FULL_INTRA_REQUEST: u8 = 4;
const FIR_ENTRY_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pli_and_fir_are_told_from_other_feedback() {
        let body = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 0, 0, 0, 0, 0, 0, 4, 10, 0, 0, 0, 1, 2, 3];
        let fir = Feedback::read(206, 4, &body).expect("valid");
        let entries: Vec<_> = fir.full_intra_requests().map(|e| (e.ssrc, e.sequence_number)).collect();
        assert_eq!(entries, [(3, 9), (4, 10)]);
        assert_eq!((fir.sender_ssrc(), fir.media_ssrc()), (1, 2));
        assert!(!fir.is_picture_loss_indication());
        let pli = Feedback::read(206, 1, &body[..8]).expect("valid");
        assert!(pli.is_picture_loss_indication() && pli.full_intra_requests().next().is_none());
        let nack = Feedback::read(205, 1, &body).expect("valid");
        assert!(!nack.is_picture_loss_indication() && nack.full_intra_requests().next().is_none());
    }

    #[test]
    fn bit_rates_keep_17_significant_bits_and_extremes_are_survived() {
        for (bit_rate_bps, read) in [
            (0, 0),
            (1, 1),
            (131_071, 131_071),
            (131_073, 131_072),
            (500_000, 500_000),
            (100_000_000, 99_999_744),
            (u64::MAX, 0x1_ffff << 47),
        ] {
            let entry = BitRateEntry { ssrc: 7, bit_rate_bps, overhead: 40 };
            let expected = BitRateEntry { bit_rate_bps: read, ..entry };
            assert_eq!(BitRateEntry::from_bytes(entry.to_bytes()), expected, "{bit_rate_bps}");
        }
        let of = |word: u32| {
            let [a, b, c, d] = word.to_be_bytes();
            BitRateEntry::from_bytes([0, 0, 0, 1, a, b, c, d]).bit_rate_bps
        };
        assert_eq!(of(u32::MAX), u64::MAX);
        assert_eq!(of(63 << 26), 0);
        assert_eq!(of(63 << 26 | 1 << 9), 1 << 63);
        assert_eq!(of(63 << 26 | 2 << 9), u64::MAX);
    }
}
