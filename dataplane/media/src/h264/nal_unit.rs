//! The first byte of a NAL unit (ITU-T H.264 §7.3.1) and of an RTP payload (RFC 6184 §5.2), which share it.

/// `forbidden_zero_bit` (1 bit), `nal_ref_idc` (2 bits), `nal_unit_type` (5 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NalUnitHeader(pub u8);

impl NalUnitHeader {
    /// Whether `forbidden_zero_bit` is set: the sender or a gateway says that the unit is damaged.
    pub const fn is_forbidden(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// `nal_ref_idc`, 0..=3.
    pub const fn ref_idc(self) -> u8 {
        self.0 >> 5 & 3
    }

    /// What the unit is.
    pub const fn unit_type(self) -> NalUnitType {
        NalUnitType(self.0 & 0x1f)
    }

    /// The header that an FU indicator (for `forbidden_zero_bit` and `nal_ref_idc`) and an FU header (for the
    /// type) were made of (RFC 6184 §5.8).
    pub const fn from_fragment(indicator: u8, fu_header: u8) -> Self {
        Self(indicator & 0xe0 | fu_header & 0x1f)
    }
}

/// `nal_unit_type`, 0..=31 (ITU-T H.264 table 7-1; RFC 6184 table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NalUnitType(pub u8);

impl NalUnitType {
    /// Coded slice of an IDR picture.
    pub const IDR_SLICE: Self = Self(5);
    /// Sequence parameter set.
    pub const SPS: Self = Self(7);
    /// Picture parameter set.
    pub const PPS: Self = Self(8);
    /// Access unit delimiter.
    pub const ACCESS_UNIT_DELIMITER: Self = Self(9);
    /// Filler data.
    pub const FILLER: Self = Self(12);
    /// Single-time aggregation packet without decoding order numbers.
    pub const STAP_A: Self = Self(24);
    /// Fragmentation unit without decoding order number.
    pub const FU_A: Self = Self(28);

    /// Whether it carries (a part of) a slice of the primary coded picture: types 1 to 5.
    pub const fn is_slice(self) -> bool {
        matches!(self.0, 1..=5)
    }

    /// Whether it is a sequence or picture parameter set.
    pub const fn is_parameter_set(self) -> bool {
        matches!(self, Self::SPS | Self::PPS)
    }

    /// Whether it may stand alone in an RTP payload, in a STAP-A or in fragments: types 1 to 23.
    pub const fn is_nal_unit(self) -> bool {
        matches!(self.0, 1..=23)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_taken_apart() {
        let header = NalUnitHeader(0x65);
        assert_eq!(
            (header.is_forbidden(), header.ref_idc(), header.unit_type()),
            (false, 3, NalUnitType::IDR_SLICE)
        );
        assert!(NalUnitHeader(0x80).is_forbidden());
    }

    #[test]
    fn a_fragmented_header_is_rebuilt() {
        for header in 0..=0x7f_u8 {
            let (indicator, fu_header) = (header & 0xe0 | 28, 0x80 | header & 0x1f);
            assert_eq!(NalUnitHeader::from_fragment(indicator, fu_header), NalUnitHeader(header));
        }
    }
}
