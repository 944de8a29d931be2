//! Writes compound RTCP packets into a given space.
//! Takes: reports, names, requests. Gives: bytes of one datagram. RFC 3550 §6.1: a compound begins with SR or RR
//! and carries a CNAME, so [`CompoundWriter::begin`] writes both, and feedback and BYE ride behind them.

use super::feedback::{
    BIT_RATE_REQUEST, FULL_INTRA_REQUEST, GENERIC_NACK, NACK_ENTRY_LEN, PICTURE_LOSS_INDICATION,
};
use super::source_description::CNAME;
use super::{
    BYE, BitRateEntry, Cname, PAYLOAD_FEEDBACK, RECEIVER_REPORT, ReportBlock, SENDER_REPORT,
    SOURCE_DESCRIPTION, SenderReport, TRANSPORT_FEEDBACK,
};
use crate::rtp::NackEntry;

/// One compound packet in the making. After [`NoRoom`] what was written before is still a whole compound.
#[derive(Debug)]
pub struct CompoundWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

/// The space given is too short: our bug, since the longest compound is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for the RTCP packet")]
pub struct NoRoom;

impl<'a> CompoundWriter<'a> {
    /// Enough for a sender report of one block with the longest CNAME, the longest NACK of ours, PLI, FIR, TMMBR and
    /// BYE.
    pub const LEN_MAX: usize = 512;

    /// Begins with a receiver report of source `ssrc` (empty without `block`) and its CNAME.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn begin(
        out: &'a mut [u8],
        ssrc: u32,
        block: Option<&ReportBlock>,
        cname: &Cname,
    ) -> Result<Self, NoRoom> {
        let mut writer = Self { out, len: 0 };
        let body = writer.packet(u8::from(block.is_some()), RECEIVER_REPORT, 4 + block_len(block))?;
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        put_block(&mut body[4..], block);
        writer.source_description(ssrc, cname)?;
        Ok(writer)
    }

    /// Begins with a sender report and its source's CNAME, for who sends media.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn begin_as_sender(
        out: &'a mut [u8],
        report: &SenderReport,
        block: Option<&ReportBlock>,
        cname: &Cname,
    ) -> Result<Self, NoRoom> {
        let mut writer = Self { out, len: 0 };
        let body = writer.packet(u8::from(block.is_some()), SENDER_REPORT, 24 + block_len(block))?;
        body[..4].copy_from_slice(&report.ssrc.to_be_bytes());
        body[4..12].copy_from_slice(&report.ntp.0.to_be_bytes());
        body[12..16].copy_from_slice(&report.rtp_timestamp.to_be_bytes());
        body[16..20].copy_from_slice(&report.packets.to_be_bytes());
        body[20..24].copy_from_slice(&report.octets.to_be_bytes());
        put_block(&mut body[24..], block);
        writer.source_description(report.ssrc, cname)?;
        Ok(writer)
    }

    /// Adds a Picture Loss Indication about `media_ssrc` (RFC 4585 §6.3.1).
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn picture_loss_indication(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), NoRoom> {
        let body = self.packet(PICTURE_LOSS_INDICATION, PAYLOAD_FEEDBACK, 8)?;
        body[..4].copy_from_slice(&sender_ssrc.to_be_bytes());
        body[4..].copy_from_slice(&media_ssrc.to_be_bytes());
        Ok(())
    }

    /// Adds a Full Intra Request to `media_ssrc` (RFC 5104 §4.3.1).
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn full_intra_request(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        sequence_number: u8,
    ) -> Result<(), NoRoom> {
        let body = self.packet(FULL_INTRA_REQUEST, PAYLOAD_FEEDBACK, 16)?;
        body.fill(0);
        body[..4].copy_from_slice(&sender_ssrc.to_be_bytes());
        // RFC 5104 §4.3.1.2: the SSRC of the media source is 0; the entry names who is meant.
        body[8..12].copy_from_slice(&media_ssrc.to_be_bytes());
        body[12] = sequence_number;
        Ok(())
    }

    /// Adds a Generic NACK about packets of `media_ssrc` (RFC 4585 §6.2.1).
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn generic_nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        entries: &[NackEntry],
    ) -> Result<(), NoRoom> {
        let body = self.packet(GENERIC_NACK, TRANSPORT_FEEDBACK, 8 + NACK_ENTRY_LEN * entries.len())?;
        body[..4].copy_from_slice(&sender_ssrc.to_be_bytes());
        body[4..8].copy_from_slice(&media_ssrc.to_be_bytes());
        for (out, entry) in body[8..].chunks_exact_mut(NACK_ENTRY_LEN).zip(entries) {
            out[..2].copy_from_slice(&entry.first.to_be_bytes());
            out[2..].copy_from_slice(&entry.following.to_be_bytes());
        }
        Ok(())
    }

    /// Adds a Temporary Maximum Media Stream Bit Rate Request with one entry (RFC 5104 §4.2.1).
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn bit_rate_request(&mut self, sender_ssrc: u32, entry: BitRateEntry) -> Result<(), NoRoom> {
        let body = self.packet(BIT_RATE_REQUEST, TRANSPORT_FEEDBACK, 8 + BitRateEntry::LEN)?;
        body.fill(0);
        body[..4].copy_from_slice(&sender_ssrc.to_be_bytes());
        // RFC 5104 §4.2.1.2: the SSRC of the media source is 0; the entry names who is meant.
        body[8..].copy_from_slice(&entry.to_bytes());
        Ok(())
    }

    /// Adds a BYE of source `ssrc`; nothing goes behind it.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn bye(&mut self, ssrc: u32) -> Result<(), NoRoom> {
        self.packet(1, BYE, 4)?.copy_from_slice(&ssrc.to_be_bytes());
        Ok(())
    }

    /// Bytes written.
    pub fn finish(self) -> usize {
        self.len
    }

    fn source_description(&mut self, ssrc: u32, cname: &Cname) -> Result<(), NoRoom> {
        let text = cname.as_str().as_bytes();
        // SSRC, item type and length, text, then at least one null up to the next word.
        let body = self.packet(1, SOURCE_DESCRIPTION, 4 + (2 + text.len()) / 4 * 4 + 4)?;
        body.fill(0);
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        body[4] = CNAME;
        // A `Cname` has at most 255 bytes.
        body[5] = text.len() as u8;
        body[6..6 + text.len()].copy_from_slice(text);
        Ok(())
    }

    /// Writes a header and gives the body, whose length is a multiple of four.
    fn packet(&mut self, count: u8, packet_type: u8, body_len: usize) -> Result<&mut [u8], NoRoom> {
        let end = self.len + super::HEADER_LEN + body_len;
        let packet = self.out.get_mut(self.len..end).ok_or(NoRoom)?;
        self.len = end;
        let words = (body_len / 4) as u16;
        packet[0] = super::VERSION << 6 | count;
        packet[1] = packet_type;
        packet[2..4].copy_from_slice(&words.to_be_bytes());
        Ok(&mut packet[super::HEADER_LEN..])
    }
}

fn block_len(block: Option<&ReportBlock>) -> usize {
    block.map_or(0, |_| ReportBlock::LEN)
}

fn put_block(out: &mut [u8], block: Option<&ReportBlock>) {
    if let Some(block) = block {
        out.copy_from_slice(&block.to_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NtpTime, RtcpPacket, parse};
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 0x0506_0708,
        fraction_lost: 1,
        cumulative_lost: -3,
        highest_sequence: 0x0001_fffd,
        jitter: 7,
        last_sender_report: 8,
        delay_since_last_sender_report: 9,
    };

    fn cname(text: &str) -> Cname {
        Cname::new(text).expect("1 to 255 bytes")
    }

    #[test]
    fn golden_empty_report_with_pli_fir_and_bye() {
        let mut out = [0xee; CompoundWriter::LEN_MAX];
        let mut writer = CompoundWriter::begin(&mut out, 0x0102_0304, None, &cname("ab")).expect("room");
        writer.picture_loss_indication(0x0102_0304, 0x0a0b_0c0d).expect("room");
        writer.full_intra_request(0x0102_0304, 0x0a0b_0c0d, 255).expect("room");
        writer.bye(0x0102_0304).expect("room");
        let len = writer.finish();
        #[rustfmt::skip]
        let golden = [
            0x80, 201, 0, 1, 1, 2, 3, 4,
            0x81, 202, 0, 3, 1, 2, 3, 4, 1, 2, b'a', b'b', 0, 0, 0, 0,
            0x81, 206, 0, 2, 1, 2, 3, 4, 0xa, 0xb, 0xc, 0xd,
            0x84, 206, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0xa, 0xb, 0xc, 0xd, 255, 0, 0, 0,
            0x81, 203, 0, 1, 1, 2, 3, 4,
        ];
        assert_eq!(&out[..len], golden);
    }

    #[test]
    fn nack_and_tmmbr_golden_and_read_back() {
        let mut out = [0xee; CompoundWriter::LEN_MAX];
        let mut writer = CompoundWriter::begin(&mut out, 1, None, &cname("ab")).expect("room");
        let entries = [NackEntry { first: 65_533, following: 0x8001 }, NackEntry { first: 20, following: 0 }];
        writer.generic_nack(1, 2, &entries).expect("room");
        let entry = BitRateEntry { ssrc: 2, bit_rate_bps: 500_000, overhead: 40 };
        writer.bit_rate_request(1, entry).expect("room");
        let len = writer.finish();
        #[rustfmt::skip]
        let golden = [
            0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfd, 0x80, 0x01, 0, 20, 0, 0,
            0x83, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0x0b, 0xd0, 0x90, 0x28,
        ];
        assert_eq!(out[len - golden.len()..len], golden);
        let feedback: Vec<_> = parse(&out[..len])
            .filter_map(|packet| match packet.expect("valid") {
                RtcpPacket::Feedback(feedback) => Some(feedback),
                _ => None,
            })
            .collect();
        assert_eq!(feedback[0].nack_entries().collect::<Vec<_>>(), entries);
        assert_eq!(feedback[1].bit_rate_requests().collect::<Vec<_>>(), [entry]);
        assert_eq!(feedback[1].bit_rate_notifications().count() + feedback[1].nack_entries().count(), 0);
    }

    #[test]
    fn the_longest_compound_of_ours_has_room() {
        let mut out = [0; CompoundWriter::LEN_MAX];
        let report = SenderReport { ssrc: 1, ntp: NtpTime(1), rtp_timestamp: 1, packets: 1, octets: 1 };
        let name = cname(&"n".repeat(255));
        let mut writer =
            CompoundWriter::begin_as_sender(&mut out, &report, Some(&BLOCK), &name).expect("room");
        let entries = [NackEntry::default(); crate::rtp::retransmission::ENTRIES_MAX];
        writer.generic_nack(1, 2, &entries).expect("room");
        writer.picture_loss_indication(1, 2).expect("room");
        writer.full_intra_request(1, 2, 3).expect("room");
        let entry = BitRateEntry { ssrc: 2, bit_rate_bps: 1, overhead: 40 };
        writer.bit_rate_request(1, entry).expect("room");
        writer.bye(1).expect("room");
    }

    #[test]
    fn what_is_written_is_read_back_for_every_cname_length() {
        for len in 1..=255 {
            let name = cname(&"n".repeat(len));
            let mut out = [0; CompoundWriter::LEN_MAX];
            let mut writer = CompoundWriter::begin(&mut out, 1, Some(&BLOCK), &name).expect("room");
            writer.picture_loss_indication(1, 2).expect("room");
            writer.full_intra_request(1, 2, 3).expect("room");
            writer.bye(1).expect("room");
            let written = writer.finish();
            let packets: Vec<_> = parse(&out[..written]).map(|p| p.expect("valid")).collect();
            let [
                RtcpPacket::ReceiverReport { ssrc: 1, blocks },
                RtcpPacket::SourceDescription(sdes),
                pli,
                fir,
                _,
            ] = &packets[..]
            else {
                panic!("{packets:?}")
            };
            assert_eq!(blocks.clone().collect::<Vec<_>>(), [BLOCK]);
            assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(1, name.as_str().as_bytes())]);
            assert!(matches!(pli, RtcpPacket::Feedback(f) if f.is_picture_loss_indication()));
            let RtcpPacket::Feedback(fir) = fir else { panic!("{fir:?}") };
            assert_eq!(fir.full_intra_requests().map(|e| (e.ssrc, e.sequence_number)).next(), Some((2, 3)));
        }
    }

    #[test]
    fn a_sender_report_round_trip() {
        let report =
            SenderReport { ssrc: 1, ntp: NtpTime(u64::MAX), rtp_timestamp: u32::MAX, packets: 4, octets: 5 };
        let mut out = [0; 128];
        let len = CompoundWriter::begin_as_sender(&mut out, &report, Some(&BLOCK), &cname("x"))
            .expect("room")
            .finish();
        let first = parse(&out[..len]).next().expect("one").expect("valid");
        let RtcpPacket::SenderReport(read, mut blocks) = first else { panic!("{first:?}") };
        assert_eq!((read, blocks.next(), blocks.next()), (report, Some(BLOCK), None));
    }

    #[test]
    fn too_little_room_at_every_length_is_an_error_and_keeps_what_is_whole() {
        let name = cname("abc");
        for room in 0..60 {
            let mut out = [0; 60];
            let Ok(mut writer) = CompoundWriter::begin(&mut out[..room], 1, Some(&BLOCK), &name) else {
                assert!(room < 48, "{room}");
                continue;
            };
            assert_eq!(writer.picture_loss_indication(1, 2).is_ok(), room >= 60);
            let len = writer.finish();
            assert_eq!(parse(&out[..len]).filter(Result::is_ok).count(), 2, "{room}");
        }
    }
}
