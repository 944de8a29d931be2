//! FLV video tag bodies with AVC (Annex E.4.3), and AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.2.4.1).
//!
//! ```text
//! body: frame type (4 bits) codec 7 (4 bits) | AVC packet type (8) | composition time (24) | data
//! ```

use std::ops::Range;

/// Bytes before the NAL units.
pub const HEADER_LEN: usize = 5;

/// Header of a body that carries an access unit, each NAL unit behind its length in 4 bytes. `composition_time_ms`
/// is presentation minus decoding time, in -2^23..2^23; 0 without B pictures.
pub const fn nal_units_header(is_idr: bool, composition_time_ms: i32) -> [u8; HEADER_LEN] {
    let [_, c0, c1, c2] = composition_time_ms.to_be_bytes();
    [frame_type(is_idr) << 4 | CODEC_AVC, PACKET_NAL_UNITS, c0, c1, c2]
}

/// Appends the body that carries an AVCDecoderConfigurationRecord.
pub fn write_sequence_header(out: &mut Vec<u8>, record: &[u8]) {
    out.extend_from_slice(&[frame_type(true) << 4 | CODEC_AVC, PACKET_SEQUENCE_HEADER, 0, 0, 0]);
    out.extend_from_slice(record);
}

/// Whether a tag body carries an AVCDecoderConfigurationRecord.
pub fn is_sequence_header(body: &[u8]) -> bool {
    matches!(body, [first, PACKET_SEQUENCE_HEADER, ..] if first & 0x0f == CODEC_AVC)
}

/// Whether a tag body begins with a key frame (of any codec), sequence headers included.
pub fn is_key_frame(body: &[u8]) -> bool {
    body.first().is_some_and(|first| first >> 4 & 7 == 1)
}

/// Presentation minus decoding time of a body that carries an access unit, in ms; 0 for one that is cut off.
pub fn composition_time_ms(body: &[u8]) -> i32 {
    let Some(&[c0, c1, c2]) = body.get(2..HEADER_LEN) else { return 0 };
    // Three bytes with sign.
    i32::from_be_bytes([c0, c1, c2, 0]) >> 8
}

/// Where the NAL units lie in a body that carries an access unit, empty ones left out. `record` is the
/// AVCDecoderConfigurationRecord in force; what comes behind a broken length is passed over.
pub fn nal_units(record: &[u8], body: &[u8]) -> impl Iterator<Item = Range<usize>> {
    // §5.2.4.1: lengthSizeMinusOne.
    let size_len = record.get(4).map_or(4, |byte| usize::from(byte & 3) + 1);
    let mut at = HEADER_LEN;
    std::iter::from_fn(move || {
        let bytes = body.get(at..at.checked_add(size_len)?)?;
        let len = bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
        let begin = at + size_len;
        at = begin.checked_add(len).filter(|end| *end <= body.len())?;
        Some(begin..at)
    })
    .filter(|range| !range.is_empty())
}

/// Where the parameter sets lie in an AVCDecoderConfigurationRecord, SPS before PPS, empty ones left out; up to where it
/// is broken.
pub fn parameter_sets(record: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = RECORD_HEADER_LEN;
    // §5.2.4.1: numOfSequenceParameterSets has 5 bits, numOfPictureParameterSets 8.
    let mut masks = [0x1f, 0xff].into_iter();
    let mut left = 0;
    std::iter::from_fn(move || {
        while left == 0 {
            left = *record.get(at)? & masks.next()?;
            at += 1;
        }
        left -= 1;
        let len = usize::from(u16::from_be_bytes(record.get(at..at + 2)?.try_into().ok()?));
        let begin = at + 2;
        at = begin + len;
        (at <= record.len()).then_some(begin..at)
    })
    .fuse()
    .filter(|range| !range.is_empty())
}

/// Why no record can be made of parameter sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No SPS, no PPS, or more than 31 SPS or 255 PPS.
    #[error("none or too many parameter sets")]
    Count,
    /// A parameter set longer than 65535 bytes.
    #[error("a parameter set is too long")]
    Length,
    /// The first SPS ends before its bit depths, or holds absurd ones.
    #[error("a broken SPS")]
    Sps,
}

/// Makes an AVCDecoderConfigurationRecord with 4 bytes of NAL unit length. The sets are whole NAL units, header
/// byte included; profile and level are those of the first SPS.
///
/// # Errors
/// See [`RecordError`].
pub fn avc_decoder_configuration_record(sps: &[&[u8]], pps: &[&[u8]]) -> Result<Vec<u8>, RecordError> {
    if !(1..=31).contains(&sps.len()) || !(1..=255).contains(&pps.len()) {
        return Err(RecordError::Count);
    }
    let [_, profile, compatibility, level, ..] = *sps[0] else { return Err(RecordError::Sps) };
    let mut out = Vec::with_capacity(64 + sps.iter().chain(pps).map(|set| set.len() + 2).sum::<usize>());
    out.extend_from_slice(&[1, profile, compatibility, level, 0xfc | 3, 0xe0 | sps.len() as u8]);
    write_sets(&mut out, sps)?;
    out.push(pps.len() as u8);
    write_sets(&mut out, pps)?;
    // Extension fields of the high profiles; §5.2.4.1 names these four, decoders expect no others.
    if matches!(profile, 100 | 110 | 122 | 144) {
        let format = SampleFormat::parse(sps[0])?;
        out.extend_from_slice(&[
            0xfc | format.chroma_format_idc,
            0xf8 | format.bit_depth_luma_minus8,
            0xf8 | format.bit_depth_chroma_minus8,
            0,
        ]);
    }
    Ok(out)
}

fn write_sets(out: &mut Vec<u8>, sets: &[&[u8]]) -> Result<(), RecordError> {
    for set in sets {
        let len = u16::try_from(set.len()).map_err(|_| RecordError::Length)?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(set);
    }
    Ok(())
}

/// What a high profile's SPS says before anything else (ITU-T H.264 §7.3.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SampleFormat {
    chroma_format_idc: u8,
    bit_depth_luma_minus8: u8,
    bit_depth_chroma_minus8: u8,
}

impl SampleFormat {
    fn parse(sps: &[u8]) -> Result<Self, RecordError> {
        let mut bits = Bits { rbsp: rbsp(sps).skip(4), byte: 0, left: 0 };
        let _parameter_set_id = bits.ue()?;
        let chroma_format_idc = bits.ue().and_then(|value| at_most(value, 3))?;
        if chroma_format_idc == 3 {
            let _separate_colour_plane = bits.bit()?;
        }
        let bit_depth_luma_minus8 = bits.ue().and_then(|value| at_most(value, 6))?;
        let bit_depth_chroma_minus8 = bits.ue().and_then(|value| at_most(value, 6))?;
        Ok(Self { chroma_format_idc, bit_depth_luma_minus8, bit_depth_chroma_minus8 })
    }
}

fn at_most(value: u32, max: u8) -> Result<u8, RecordError> {
    u8::try_from(value).ok().filter(|&value| value <= max).ok_or(RecordError::Sps)
}

/// The NAL unit without emulation prevention bytes (§7.3.1).
fn rbsp(nal_unit: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    nal_unit.iter().copied().filter(move |&byte| {
        let is_emulation_prevention = zeros >= 2 && byte == 3;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        !is_emulation_prevention
    })
}

/// Reads bits, the most significant first.
struct Bits<I> {
    rbsp: I,
    byte: u8,
    left: u8,
}

impl<I: Iterator<Item = u8>> Bits<I> {
    fn bit(&mut self) -> Result<u32, RecordError> {
        if self.left == 0 {
            self.byte = self.rbsp.next().ok_or(RecordError::Sps)?;
            self.left = 8;
        }
        self.left -= 1;
        Ok(u32::from(self.byte >> self.left & 1))
    }

    /// Unsigned Exp-Golomb code (§9.1).
    fn ue(&mut self) -> Result<u32, RecordError> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 16 {
                return Err(RecordError::Sps);
            }
        }
        let mut value = 1;
        for _ in 0..zeros {
            value = value << 1 | self.bit()?;
        }
        Ok(value - 1)
    }
}

const fn frame_type(is_idr: bool) -> u8 {
    if is_idr { 1 } else { 2 }
}

const CODEC_AVC: u8 = 7;
/// Version, profile, compatibility, level, and the length of lengths, in front of the parameter sets.
const RECORD_HEADER_LEN: usize = 5;
const PACKET_SEQUENCE_HEADER: u8 = 0;
const PACKET_NAL_UNITS: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        assert_eq!(nal_units_header(true, 0), [0x17, 1, 0, 0, 0]);
        assert_eq!(nal_units_header(false, -1), [0x27, 1, 0xff, 0xff, 0xff]);
        let mut body = Vec::new();
        write_sequence_header(&mut body, &[1, 2]);
        assert_eq!(body, [0x17, 0, 0, 0, 0, 1, 2]);
        assert!(is_sequence_header(&body) && is_key_frame(&body));
        assert!(!is_sequence_header(&nal_units_header(true, 0)));
        assert!(!is_key_frame(&nal_units_header(false, 0)) && !is_key_frame(&[]));
    }

    #[test]
    fn bodies_and_records_are_read_back() {
        let mut body = nal_units_header(false, -40).to_vec();
        assert_eq!(composition_time_ms(&body), -40);
        assert_eq!(composition_time_ms(&body[..4]), 0);
        body.extend([0, 0, 0, 2, 0x41, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x06, 0, 0, 0, 9, 1]);
        assert_eq!(nal_units(&[], &body).collect::<Vec<_>>(), [9..11, 19..20]);
        let short = [&body[..HEADER_LEN], &[0, 2, 0x41, 1]].concat();
        assert!(nal_units(&[1, 66, 0, 31, 0xfd], &short).eq(std::iter::once(7..9)));
        let (sps, pps) = ([0x67, 66, 0xe0, 31, 0xaa], [0x68, 0xce]);
        let record = avc_decoder_configuration_record(&[&sps, &sps[..4]], &[&pps]).expect("valid");
        let sets =
            |len: usize| parameter_sets(&record[..len]).map(|set| record[set].to_vec()).collect::<Vec<_>>();
        assert_eq!(sets(record.len()), [&sps[..], &sps[..4], &pps[..]]);
        for len in 0..record.len() {
            assert!(sets(len).len() < 3, "{len}");
        }
    }

    #[test]
    fn a_baseline_record_has_no_extension() {
        let (sps, pps) = ([0x67, 66, 0xe0, 31, 0xaa], [0x68, 0xce]);
        let record = avc_decoder_configuration_record(&[&sps], &[&pps]).expect("valid");
        let expected = [1, 66, 0xe0, 31, 0xff, 0xe1, 0, 5, 0x67, 66, 0xe0, 31, 0xaa, 1, 0, 2, 0x68, 0xce];
        assert_eq!(record, expected);
    }

    #[test]
    fn a_high_record_names_chroma_and_depths() {
        // id 0: 1, chroma 1: 010, luma 2: 011, chroma 0: 1 -> 1010 0111.
        let (sps, pps) = ([0x67, 100, 0, 31, 0b1010_0111, 0x80], [0x68, 0xce]);
        let record = avc_decoder_configuration_record(&[&sps], &[&pps]).expect("valid");
        assert_eq!(record[record.len() - 4..], [0xfd, 0xfa, 0xf8, 0]);
        for len in 4..5 {
            let cut = avc_decoder_configuration_record(&[&sps[..len]], &[&pps]);
            assert_eq!(cut, Err(RecordError::Sps));
        }
    }

    #[test]
    fn emulation_prevention_is_passed_over() {
        let bytes: Vec<_> = rbsp(&[1, 0, 0, 3, 0, 0, 3, 1, 3]).collect();
        assert_eq!(bytes, [1, 0, 0, 0, 0, 1, 3]);
    }

    #[test]
    fn impossible_sets_are_errors() {
        let set: &[u8] = &[0x67, 66, 0, 31];
        assert_eq!(avc_decoder_configuration_record(&[], &[set]), Err(RecordError::Count));
        assert_eq!(avc_decoder_configuration_record(&[set; 32], &[set]), Err(RecordError::Count));
        assert!(avc_decoder_configuration_record(&[set; 31], &[set; 255]).is_ok());
        assert_eq!(avc_decoder_configuration_record(&[set], &[&[0; 65_536]]), Err(RecordError::Length));
        assert_eq!(avc_decoder_configuration_record(&[&set[..3]], &[set]), Err(RecordError::Sps));
        let endless = [0x67, 100, 0, 31, 0, 0, 0, 0, 0];
        assert_eq!(avc_decoder_configuration_record(&[&endless], &[set]), Err(RecordError::Sps));
    }
}
