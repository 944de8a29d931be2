//! An access unit as flat lists: NAL units over slices of the pool. The lists are reused, so that a warm
//! depacketizer allocates nothing. Every NAL unit is kept as it came, in order, delimiters and SEI included.

use sipcast_contract::Timestamp;
use sipcast_pool::Segment;

use super::nal_unit::{NalUnitHeader, NalUnitType};

/// One NAL unit of an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NalUnit {
    /// Its first byte.
    pub header: NalUnitHeader,
    /// The header byte is not in the slices: it came in fragments and must be written in front of them
    /// (RFC 6184 §5.8).
    pub is_header_apart: bool,
    /// Its slices are `slices_start..slices_end` of the access unit's.
    slices_start: u32,
    slices_end: u32,
    /// Length in bytes, header byte included.
    pub len: u32,
}

/// What may be done with an access unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It is whole, and so is everything it refers to.
    Publish,
    /// It is damaged or refers to what was lost. Only its parameter sets are of use.
    #[default]
    Drop,
}

/// One access unit (ITU-T H.264 clause 3.1).
#[derive(Debug, Default)]
pub struct AccessUnit {
    slices: Vec<Segment>,
    nal_units: Vec<NalUnit>,
    bytes: usize,
    /// RTP timestamp, unwrapped, in units of 1/90000 s.
    pub timestamp: i64,
    /// When its last datagram came.
    pub arrival: Timestamp,
    /// What may be done with it.
    pub verdict: Verdict,
}

impl AccessUnit {
    /// NAL units in order.
    pub fn nal_units(&self) -> &[NalUnit] {
        &self.nal_units
    }

    /// The slices of one of its NAL units, in order.
    pub fn slices(&self, nal_unit: &NalUnit) -> &[Segment] {
        &self.slices[nal_unit.slices_start as usize..nal_unit.slices_end as usize]
    }

    /// Slices of all NAL units.
    pub fn slice_count(&self) -> usize {
        self.slices.len()
    }

    /// How many NAL units it has; those in fragments may have no slice.
    pub fn nal_unit_count(&self) -> usize {
        self.nal_units.len()
    }

    /// Bytes of all NAL units, each with a length field of 4 bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nal_units.is_empty() && self.slices.is_empty()
    }

    /// Whether a slice of a picture is in it; without one it is not complete.
    pub fn has_slice(&self) -> bool {
        self.nal_units.iter().any(|unit| unit.header.unit_type().is_slice())
    }

    /// Whether its picture is an IDR picture.
    pub fn is_idr(&self) -> bool {
        self.nal_units.iter().any(|unit| unit.header.unit_type() == NalUnitType::IDR_SLICE)
    }

    /// Lets all segments go; the lists keep their memory.
    pub fn clear(&mut self) {
        self.slices.clear();
        self.nal_units.clear();
        self.bytes = 0;
        self.verdict = Verdict::Drop;
    }

    /// Adds a slice to the NAL unit that is being gathered.
    pub(super) fn push_slice(&mut self, slice: Segment) {
        self.bytes += slice.len();
        self.slices.push(slice);
    }

    /// Ends a NAL unit that began at slice `slices_start`.
    pub(super) fn end_nal_unit(&mut self, header: NalUnitHeader, is_header_apart: bool, slices_start: usize) {
        let in_slices: usize = self.slices[slices_start..].iter().map(Segment::len).sum();
        let header_len = usize::from(is_header_apart);
        self.bytes += LENGTH_FIELD_LEN + header_len;
        self.nal_units.push(NalUnit {
            header,
            is_header_apart,
            // The depacketizer's limits keep counts and bytes far below 2^32.
            slices_start: slices_start as u32,
            slices_end: self.slices.len() as u32,
            len: (in_slices + header_len) as u32,
        });
    }

    /// Lets all NAL units go but the parameter sets.
    pub(super) fn keep_parameter_sets(&mut self) {
        let Self { slices, nal_units, bytes, .. } = self;
        let mut end = 0;
        *bytes = 0;
        nal_units.retain_mut(|unit| {
            if !unit.header.unit_type().is_parameter_set() {
                return false;
            }
            let start = end;
            for slice in unit.slices_start..unit.slices_end {
                slices.swap(end as usize, slice as usize);
                end += 1;
            }
            (unit.slices_start, unit.slices_end) = (start, end);
            *bytes += unit.len as usize + LENGTH_FIELD_LEN;
            true
        });
        slices.truncate(end as usize);
    }

    /// Forgets the slices of a NAL unit that was not finished.
    pub(super) fn abandon_nal_unit(&mut self, slices_start: usize) {
        self.bytes -= self.slices[slices_start..].iter().map(Segment::len).sum::<usize>();
        self.slices.truncate(slices_start);
    }
}

/// The access units that one packet completed: at most the one before it and its own. Reused for all packets.
#[derive(Debug, Default)]
pub struct AccessUnits {
    units: [AccessUnit; UNITS_PER_PACKET_MAX],
    /// How many of `units` are filled.
    filled: usize,
}

impl AccessUnits {
    /// In decoding order.
    pub fn iter(&self) -> impl Iterator<Item = &AccessUnit> {
        self.units[..self.filled].iter()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Lets all go.
    pub fn clear(&mut self) {
        for unit in &mut self.units[..self.filled] {
            unit.clear();
        }
        self.filled = 0;
    }

    /// Takes `unit` and leaves an empty one with warm lists in its place.
    pub(super) fn take(&mut self, unit: &mut AccessUnit) {
        let place =
            self.units.get_mut(self.filled).expect("cleared before each packet, which ends at most two");
        std::mem::swap(place, unit);
        self.filled += 1;
    }
}

/// A timestamp change ends one access unit, the marker bit of the same packet the next.
const UNITS_PER_PACKET_MAX: usize = 2;

/// Bytes of the length in front of each NAL unit (ISO/IEC 14496-15 §5.2.3, `lengthSizeMinusOne` = 3).
pub const LENGTH_FIELD_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use sipcast_pool::Pool;

    use super::*;

    #[test]
    fn nal_units_are_counted_with_length_field_and_rebuilt_header() {
        let pool = Pool::new(1, 64);
        let segment = pool.claim().expect("free").freeze(0..30);
        let mut unit = AccessUnit::default();
        unit.push_slice(segment.slice(0..10));
        unit.end_nal_unit(NalUnitHeader(0x67), false, 0);
        unit.push_slice(segment.slice(10..20));
        unit.push_slice(segment.slice(20..30));
        unit.end_nal_unit(NalUnitHeader(0x65), true, 1);
        assert_eq!((unit.nal_units()[0].len, unit.nal_units()[1].len), (10, 21));
        assert_eq!(unit.slices(&unit.nal_units()[1]).len(), 2);
        assert_eq!(unit.bytes(), 4 + 10 + 4 + 21);
        assert!(unit.is_idr() && unit.has_slice());
        unit.push_slice(segment);
        unit.abandon_nal_unit(3);
        assert_eq!(unit.bytes(), 39);
        unit.clear();
        assert_eq!((unit.is_empty(), pool.held()), (true, 0));
    }
}
