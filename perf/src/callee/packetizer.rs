//! H.264 to RTP payloads (RFC 6184): single NAL unit packets, STAP-A for the parameter sets, FU-A for what is long.
//! Takes: the NAL units of one access unit without start codes. Gives: payloads, the last of them to carry the marker.
//! Leaves out: RTP headers (`media`).

use std::ops::Range;

/// NAL unit type of a STAP-A (RFC 6184 §5.7.1).
const STAP_A: u8 = 24;
/// NAL unit type of an FU-A (RFC 6184 §5.8).
const FU_A: u8 = 28;
/// NAL unit types of ITU-T H.264 table 7-1.
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;

/// `packetization-mode` (RFC 6184 §8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PacketizationMode {
    /// Mode 0: every NAL unit in a packet of its own.
    SingleNalUnit,
    /// Mode 1: STAP-A and FU-A too.
    #[default]
    NonInterleaved,
}

/// The RTP payloads of one access unit in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct Payloads {
    octets: Vec<u8>,
    ranges: Vec<Range<usize>>,
    /// Whether the access unit holds an IDR picture.
    pub idr: bool,
}

impl Payloads {
    /// Cuts the access unit `nal_units` into payloads of at most `payload_len_max` octets (at least 64).
    ///
    /// In mode 0 a longer NAL unit goes as it is: that mode cannot cut it, the encoder was told to keep slices short.
    pub fn packetize<'a>(
        &mut self,
        nal_units: impl Iterator<Item = &'a [u8]>,
        mode: PacketizationMode,
        payload_len_max: usize,
    ) {
        self.octets.clear();
        self.ranges.clear();
        self.idr = false;
        let mut parameter_sets: Vec<&[u8]> = Vec::new();
        for nal_unit in nal_units.filter(|nal_unit| !nal_unit.is_empty()) {
            let kind = nal_unit[0] & 0x1f;
            self.idr |= kind == IDR;
            if mode == PacketizationMode::NonInterleaved && matches!(kind, SPS | PPS) {
                parameter_sets.push(nal_unit);
                continue;
            }
            self.aggregate(&parameter_sets, payload_len_max);
            parameter_sets.clear();
            if nal_unit.len() <= payload_len_max || mode == PacketizationMode::SingleNalUnit {
                self.single(nal_unit);
            } else {
                self.fragment(nal_unit, payload_len_max);
            }
        }
        self.aggregate(&parameter_sets, payload_len_max);
    }

    /// The payloads in sending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ranges.iter().map(|range| &self.octets[range.clone()])
    }

    /// What the payloads hold of NAL units, in order; the header octet that FU-A splits up is left out.
    pub fn nal_unit_parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.ranges.iter().map(|range| {
            let payload = &self.octets[range.clone()];
            if payload[0] & 0x1f == FU_A { &payload[2..] } else { payload }
        })
    }

    /// The payload at `place` in sending order.
    pub fn payload(&self, place: usize) -> &[u8] {
        &self.octets[self.ranges[place].clone()]
    }

    /// How many payloads there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none: the encoder skipped the picture.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn single(&mut self, nal_unit: &[u8]) {
        let start = self.octets.len();
        self.octets.extend_from_slice(nal_unit);
        self.ranges.push(start..self.octets.len());
    }

    // RFC 6184 §5.7: the NRI of the aggregate is the highest of its parts; each part has its length in front.
    fn aggregate(&mut self, nal_units: &[&[u8]], payload_len_max: usize) {
        let len = 1 + nal_units.iter().map(|nal_unit| nal_unit.len() + 2).sum::<usize>();
        if nal_units.len() < 2 || len > payload_len_max {
            nal_units.iter().for_each(|nal_unit| self.single(nal_unit));
            return;
        }
        let start = self.octets.len();
        let importance = nal_units.iter().map(|nal_unit| nal_unit[0] & 0x60).max().unwrap_or(0);
        self.octets.push(importance | STAP_A);
        for nal_unit in nal_units {
            self.octets.extend_from_slice(&(nal_unit.len() as u16).to_be_bytes());
            self.octets.extend_from_slice(nal_unit);
        }
        self.ranges.push(start..self.octets.len());
    }

    // RFC 6184 §5.8: the NAL unit's own header octet is split over FU indicator and FU header.
    fn fragment(&mut self, nal_unit: &[u8], payload_len_max: usize) {
        let header = nal_unit[0];
        let mut rest = &nal_unit[1..];
        let mut first = true;
        while !rest.is_empty() {
            let (fragment, after) = rest.split_at(rest.len().min(payload_len_max - 2));
            let start_bit = if first { 0x80 } else { 0 };
            let end_bit = if after.is_empty() { 0x40 } else { 0 };
            let start = self.octets.len();
            self.octets.extend_from_slice(&[(header & 0xe0) | FU_A, start_bit | end_bit | (header & 0x1f)]);
            self.octets.extend_from_slice(fragment);
            self.ranges.push(start..self.octets.len());
            rest = after;
            first = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(nal_units: &[&[u8]], mode: PacketizationMode) -> Vec<Vec<u8>> {
        let mut payloads = Payloads::default();
        payloads.packetize(nal_units.iter().copied(), mode, 64);
        payloads.iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn parameter_sets_travel_together_in_mode_1_and_apart_in_mode_0() {
        let units: [&[u8]; 3] = [&[0x67, 1, 2], &[0x68, 3], &[0x65, 9]];
        assert_eq!(
            payloads(&units, PacketizationMode::NonInterleaved),
            [vec![0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3], vec![0x65, 9]]
        );
        assert_eq!(
            payloads(&units, PacketizationMode::SingleNalUnit),
            [vec![0x67, 1, 2], vec![0x68, 3], vec![0x65, 9]]
        );
    }

    #[test]
    fn fragments_join_to_the_nal_unit_at_every_length_near_the_limit() {
        for len in 60..200 {
            let unit: Vec<u8> = std::iter::once(0x65).chain((1..len).map(|octet| octet as u8)).collect();
            let payloads = payloads(&[&unit], PacketizationMode::NonInterleaved);
            if len <= 64 {
                assert_eq!(payloads, [unit]);
                continue;
            }
            let mut joined = vec![(payloads[0][0] & 0xe0) | (payloads[0][1] & 0x1f)];
            for (place, payload) in payloads.iter().enumerate() {
                assert!(payload.len() <= 64);
                assert_eq!(payload[1] & 0x80 != 0, place == 0);
                assert_eq!(payload[1] & 0x40 != 0, place + 1 == payloads.len());
                joined.extend_from_slice(&payload[2..]);
            }
            assert_eq!(joined, unit);
        }
    }
}
