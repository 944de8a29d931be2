//! Sequence and picture parameter sets (ITU-T H.264 §7.3.2.1, §7.3.2.2) of one video stream.
//! Takes: NAL units of `sprop-parameter-sets` (RFC 6184 §8.1) and of access units. Gives: the sets in force
//! for a decoder configuration, whether that changed, the picture's size and rate. Leaves out: the
//! AVCDecoderConfigurationRecord (`flv::video`).
//!
//! Only what parses is accepted; a broken set is an error and leaves the one before in force.

use bytes::Bytes;
use h264_reader::Context;
use h264_reader::nal::pps::PicParameterSet;
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::rbsp::{BitReader, ByteReader};

use super::nal_unit::{NalUnitHeader, NalUnitType};

/// The parameter sets in force, by their ids.
#[derive(Default)]
pub struct ParameterSets {
    /// Sorted by id; at most [`SPS_MAX`].
    sps: Vec<(u8, Bytes)>,
    /// Sorted by id; at most [`PPS_MAX`].
    pps: Vec<(u8, Bytes)>,
    /// The same, parsed: a PPS can only be read with its SPS.
    context: Context,
    picture: Option<PictureFormat>,
}

/// What an SPS says of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureFormat {
    /// Pixels shown, after cropping.
    pub width: u16,
    /// Pixels shown, after cropping.
    pub height: u16,
    /// Pictures per second by the VUI; `None` when it does not say, or says nonsense.
    pub frame_rate: Option<f64>,
}

/// Why a parameter set was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterSetError {
    /// It breaks the syntax, its picture has no size, or a PPS names an SPS that is not there.
    #[error("malformed parameter set")]
    Malformed,
    /// It is longer than [`PARAMETER_SET_LEN_MAX`], or there are too many.
    #[error("parameter set above the limits")]
    TooLarge,
}

impl ParameterSets {
    /// Takes a NAL unit and says whether it changed the sets in force; one that is no parameter set does not.
    ///
    /// # Errors
    /// It is a parameter set but cannot be accepted; the sets in force stay.
    pub fn collect(&mut self, nal_unit: &[u8]) -> Result<bool, ParameterSetError> {
        // ITU-T H.264 §7.4.1: a NAL unit does not end in zero bytes; some senders pad nevertheless.
        let end = nal_unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let nal_unit = &nal_unit[..end];
        let Some(&header) = nal_unit.first() else { return Ok(false) };
        match NalUnitHeader(header).unit_type() {
            NalUnitType::SPS if !holds(&self.sps, nal_unit) => self.collect_sps(nal_unit),
            NalUnitType::PPS if !holds(&self.pps, nal_unit) => self.collect_pps(nal_unit),
            _ => Ok(false),
        }
    }

    /// Takes the NAL units of `sprop-parameter-sets`, whatever their order, and says whether something
    /// changed. Broken ones are left out: a stream that brings its own in band must not fail for them.
    pub fn collect_all(&mut self, nal_units: &[Bytes]) -> bool {
        let mut changed = false;
        // Picture parameter sets can be read only after their sequence parameter sets.
        for wanted in [NalUnitType::SPS, NalUnitType::PPS] {
            for nal_unit in nal_units {
                if nal_unit.first().is_some_and(|&header| NalUnitHeader(header).unit_type() == wanted) {
                    changed |= self.collect(nal_unit).unwrap_or(false);
                }
            }
        }
        changed
    }

    /// Whether a decoder could be configured: there is at least one of each.
    pub fn is_complete(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }

    /// Sequence parameter sets as NAL units, by id.
    pub fn sps(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.sps.iter().map(|(_, nal_unit)| nal_unit)
    }

    /// Picture parameter sets as NAL units, by id.
    pub fn pps(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.pps.iter().map(|(_, nal_unit)| nal_unit)
    }

    /// The picture by the SPS that came last.
    pub const fn picture(&self) -> Option<PictureFormat> {
        self.picture
    }

    fn collect_sps(&mut self, nal_unit: &[u8]) -> Result<bool, ParameterSetError> {
        check_len(nal_unit)?;
        let sps = SeqParameterSet::from_bits(rbsp(nal_unit)).map_err(|_| ParameterSetError::Malformed)?;
        let picture = picture_format(&sps)?;
        insert(&mut self.sps, sps.id().id(), nal_unit, SPS_MAX)?;
        self.picture = Some(picture);
        self.context.put_seq_param_set(sps);
        Ok(true)
    }

    fn collect_pps(&mut self, nal_unit: &[u8]) -> Result<bool, ParameterSetError> {
        check_len(nal_unit)?;
        let pps = PicParameterSet::from_bits(&self.context, rbsp(nal_unit))
            .map_err(|_| ParameterSetError::Malformed)?;
        insert(&mut self.pps, pps.pic_parameter_set_id.id(), nal_unit, PPS_MAX)?;
        Ok(true)
    }
}

impl std::fmt::Debug for ParameterSets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParameterSets")
            .field("sps", &self.sps.len())
            .field("pps", &self.pps.len())
            .field("picture", &self.picture)
            .finish()
    }
}

fn rbsp(nal_unit: &[u8]) -> BitReader<ByteReader<&[u8]>> {
    BitReader::new(ByteReader::skipping_h264_header(nal_unit))
}

fn holds(sets: &[(u8, Bytes)], nal_unit: &[u8]) -> bool {
    sets.iter().any(|(_, held)| held == nal_unit)
}

fn check_len(nal_unit: &[u8]) -> Result<(), ParameterSetError> {
    if nal_unit.len() <= PARAMETER_SET_LEN_MAX { Ok(()) } else { Err(ParameterSetError::TooLarge) }
}

fn insert(sets: &mut Vec<(u8, Bytes)>, id: u8, nal_unit: &[u8], max: usize) -> Result<(), ParameterSetError> {
    match sets.binary_search_by_key(&id, |(id, _)| *id) {
        Ok(index) => sets[index].1 = Bytes::copy_from_slice(nal_unit),
        Err(_) if sets.len() >= max => return Err(ParameterSetError::TooLarge),
        Err(index) => sets.insert(index, (id, Bytes::copy_from_slice(nal_unit))),
    }
    Ok(())
}

fn picture_format(sps: &SeqParameterSet) -> Result<PictureFormat, ParameterSetError> {
    let (width, height) = sps.pixel_dimensions().map_err(|_| ParameterSetError::Malformed)?;
    let pixels = |value: u32| u16::try_from(value).ok().filter(|&value| value != 0);
    let (Some(width), Some(height)) = (pixels(width), pixels(height)) else {
        return Err(ParameterSetError::Malformed);
    };
    let frame_rate = sps.fps().filter(|rate| FRAME_RATES.contains(rate));
    Ok(PictureFormat { width, height, frame_rate })
}

/// AVCDecoderConfigurationRecord counts SPS in 5 bits (ISO/IEC 14496-15 §5.2.4.1.1).
pub const SPS_MAX: usize = 31;

/// Well above what encoders use; each goes to every target with every change.
pub const PPS_MAX: usize = 64;

/// An SPS with all scaling lists and HRD parameters stays below.
pub const PARAMETER_SET_LEN_MAX: usize = 1024;

/// Pictures per second that are believed.
const FRAME_RATES: std::ops::RangeInclusive<f64> = 1.0..=240.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// 640x360 by cropping 368 lines, VUI 30 pictures/s, made by x264's syntax for Constrained Baseline.
    pub(crate) const SPS_640X360: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
        0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
    ];
    pub(crate) const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];

    #[test]
    fn size_and_rate_are_read_with_cropping_and_vui() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.collect(SPS_640X360), Ok(true));
        let picture = sets.picture().expect("known");
        assert_eq!((picture.width, picture.height, picture.frame_rate), (640, 360, Some(30.0)));
        assert!(!sets.is_complete());
        assert_eq!(sets.collect(PPS), Ok(true));
        assert!(sets.is_complete());
    }

    #[test]
    fn the_same_set_again_is_no_change() {
        let mut sets = ParameterSets::default();
        assert!(sets.collect_all(&[Bytes::from_static(PPS), Bytes::from_static(SPS_640X360)]));
        assert!(sets.is_complete(), "the order does not matter");
        assert_eq!((sets.collect(SPS_640X360), sets.collect(PPS)), (Ok(false), Ok(false)));
        assert_eq!(sets.collect(&[0x65, 1, 2]), Ok(false));
        assert_eq!(sets.collect(&[]), Ok(false));
        let padded: Vec<u8> = SPS_640X360.iter().copied().chain([0, 0, 0]).collect();
        assert_eq!(sets.collect(&padded), Ok(false));
    }

    #[test]
    fn a_broken_set_leaves_the_one_before_in_force() {
        let mut sets = ParameterSets::default();
        assert!(sets.collect_all(&[Bytes::from_static(SPS_640X360), Bytes::from_static(PPS)]));
        let picture = sets.picture();
        for len in 1..SPS_640X360.len() - 1 {
            assert_eq!(sets.collect(&SPS_640X360[..len]), Err(ParameterSetError::Malformed), "{len}");
        }
        assert_eq!(sets.collect(&[0x68]), Err(ParameterSetError::Malformed));
        assert_eq!(sets.collect(&[0x67; 1025]), Err(ParameterSetError::TooLarge));
        assert_eq!(sets.sps().collect::<Vec<_>>(), [SPS_640X360]);
        assert_eq!(
            (sets.pps().collect::<Vec<_>>(), sets.picture()),
            (vec![&Bytes::from_static(PPS)], picture)
        );
    }

    #[test]
    fn a_pps_without_its_sps_is_refused() {
        assert_eq!(ParameterSets::default().collect(PPS), Err(ParameterSetError::Malformed));
    }

    #[test]
    fn mutated_sets_never_panic_and_stay_within_limits() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut sets = ParameterSets::default();
        for round in 0..20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let source = if round % 3 == 0 { PPS } else { SPS_640X360 };
            let mut bytes = source.to_vec();
            for flip in 0..=round % 3 {
                let at = 1 + (random >> (flip * 16)) as usize % (bytes.len() - 1);
                bytes[at] ^= 1 << (random >> 60 & 7);
            }
            let _ = sets.collect(&bytes);
        }
        assert!(sets.sps().len() <= SPS_MAX && sets.pps().len() <= PPS_MAX);
    }
}
