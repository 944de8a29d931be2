//! Feedback messages (RFC 4585 §6.1): Picture Loss Indication (§6.3.1) and Full Intra Request (RFC 5104 §4.3.1).

use super::{PAYLOAD_FEEDBACK, RtcpError, word};

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
}

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
}
