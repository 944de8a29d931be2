//! H.264 access units to RTP payloads (RFC 6184 §5.6 single NAL unit packets, §5.7.1 STAP-A, §5.8 FU-A).
//! Takes: the NAL units of one access unit, the packetization mode. Gives: payloads one after another.
//! Leaves out: RTP headers, when each is sent, which units an access unit has.

use super::{NalUnitHeader, NalUnitType};

/// Bytes of one payload: with RTP, SRTP, UDP and IPv6 in front the packet stays below the 1280 bytes that every path
/// carries (RFC 8200 §5).
pub const PAYLOAD_LEN_MAX: usize = 1_180;

/// Where one access unit stands on its way out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packetizer {
    /// Mode 1, non-interleaved: STAP-A and FU-A may be used (§6.3).
    has_aggregates: bool,
    /// The NAL unit at hand.
    unit: usize,
    /// Bytes of it that are gone, the header byte among them; 0: not begun.
    sent: usize,
}

/// One payload in front of the buffer it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Its bytes.
    pub len: usize,
    /// It ends the access unit: the marker bit (§5.1).
    pub is_last: bool,
}

impl Packetizer {
    /// Begins an access unit in `packetization_mode` 0 or 1.
    pub const fn new(packetization_mode: u8) -> Self {
        Self { has_aggregates: packetization_mode == 1, unit: 0, sent: 0 }
    }

    /// Whether a NAL unit of `len` bytes can be sent: mode 0 has no fragments (§6.2).
    pub const fn takes(packetization_mode: u8, len: usize) -> bool {
        packetization_mode == 1 || len <= PAYLOAD_LEN_MAX
    }

    /// Writes the next payload to `out`; `None`: the access unit is out. `units` gives the NAL unit of a number, header
    /// byte in front, none empty, each one that [`Packetizer::takes`].
    pub fn poll<'a>(
        &mut self,
        units: impl Fn(usize) -> Option<&'a [u8]>,
        out: &mut [u8; PAYLOAD_LEN_MAX],
    ) -> Option<Payload> {
        let unit = units(self.unit)?;
        let len = if self.sent > 0 || unit.len() > PAYLOAD_LEN_MAX {
            self.write_fragment(unit, out)
        } else {
            self.write_whole(unit, &units, out)
        };
        Some(Payload { len, is_last: self.sent == 0 && units(self.unit).is_none() })
    }

    /// One fragment: FU indicator and FU header in place of the unit's header (§5.8).
    fn write_fragment(&mut self, unit: &[u8], out: &mut [u8; PAYLOAD_LEN_MAX]) -> usize {
        let begin = self.sent.max(1);
        let end = unit.len().min(begin + PAYLOAD_LEN_MAX - FRAGMENT_HEADER_LEN);
        let (is_first, is_last) = (self.sent == 0, end == unit.len());
        let header = unit[0];
        out[0] = header & 0xe0 | NalUnitType::FU_A.0;
        out[1] = u8::from(is_first) << 7 | u8::from(is_last) << 6 | header & 0x1f;
        let len = FRAGMENT_HEADER_LEN + end - begin;
        out[FRAGMENT_HEADER_LEN..len].copy_from_slice(&unit[begin..end]);
        self.sent = end;
        if is_last {
            self.unit += 1;
            self.sent = 0;
        }
        len
    }

    /// One unit as it is, or as many as fit in a STAP-A.
    fn write_whole<'a>(
        &mut self,
        first: &[u8],
        units: &impl Fn(usize) -> Option<&'a [u8]>,
        out: &mut [u8; PAYLOAD_LEN_MAX],
    ) -> usize {
        let mut len = AGGREGATE_HEADER_LEN + SIZE_LEN + first.len();
        let mut end = self.unit + 1;
        while let Some(unit) = units(end).filter(|unit| len + SIZE_LEN + unit.len() <= PAYLOAD_LEN_MAX) {
            len += SIZE_LEN + unit.len();
            end += 1;
        }
        if !self.has_aggregates || end == self.unit + 1 {
            self.unit += 1;
            out[..first.len()].copy_from_slice(first);
            return first.len();
        }
        // §5.7: the forbidden bit of any unit, and the highest nal_ref_idc.
        let (mut forbidden, mut ref_idc) = (0, 0);
        let mut at = AGGREGATE_HEADER_LEN;
        for unit in (self.unit..end).filter_map(units) {
            let header = NalUnitHeader(unit[0]);
            forbidden |= unit[0] & 0x80;
            ref_idc = header.ref_idc().max(ref_idc);
            // A payload is shorter than 2^16.
            out[at..at + SIZE_LEN].copy_from_slice(&(unit.len() as u16).to_be_bytes());
            at += SIZE_LEN;
            out[at..at + unit.len()].copy_from_slice(unit);
            at += unit.len();
        }
        out[0] = forbidden | ref_idc << 5 | NalUnitType::STAP_A.0;
        self.unit = end;
        at
    }
}

const FRAGMENT_HEADER_LEN: usize = 2;
const AGGREGATE_HEADER_LEN: usize = 1;
/// NAL unit size in a STAP-A.
const SIZE_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(mode: u8, units: &[Vec<u8>]) -> Vec<(Vec<u8>, bool)> {
        let mut packetizer = Packetizer::new(mode);
        let mut out = [0; PAYLOAD_LEN_MAX];
        std::iter::from_fn(|| {
            let payload = packetizer.poll(|n| units.get(n).map(Vec::as_slice), &mut out)?;
            Some((out[..payload.len].to_vec(), payload.is_last))
        })
        .collect()
    }

    fn unit(header: u8, len: usize) -> Vec<u8> {
        (0..len).map(|n| if n == 0 { header } else { n as u8 }).collect()
    }

    #[test]
    fn small_units_share_a_packet_and_the_header_is_their_strictest() {
        let units = [unit(0x67, 3), unit(0x28, 2), unit(0x06, 4)];
        let expected = [vec![0x78, 0, 3], units[0].clone(), vec![0, 2], units[1].clone(), vec![0, 4]];
        let expected = [&expected.concat()[..], &units[2]].concat();
        assert_eq!(payloads(1, &units), [(expected, true)]);
        let single: Vec<_> = units.iter().enumerate().map(|(n, unit)| (unit.clone(), n == 2)).collect();
        assert_eq!(payloads(0, &units), single, "mode 0 has no STAP-A");
        assert_eq!(payloads(1, &units[..1]), [(units[0].clone(), true)], "one alone is no aggregate");
    }

    #[test]
    fn a_unit_at_the_limit_goes_whole_and_one_byte_more_in_fragments() {
        let whole = unit(0x65, PAYLOAD_LEN_MAX);
        assert_eq!(payloads(1, std::slice::from_ref(&whole)), [(whole, true)]);
        let longer = unit(0x65, PAYLOAD_LEN_MAX + 1);
        let sent = payloads(1, std::slice::from_ref(&longer));
        assert_eq!(
            sent.iter().map(|(payload, last)| (payload.len(), *last)).collect::<Vec<_>>(),
            [(PAYLOAD_LEN_MAX, false), (4, true)]
        );
        assert_eq!((&sent[0].0[..3], &sent[1].0[..2]), (&[0x7c, 0x85, 1][..], &[0x7c, 0x45][..]));
        let joined: Vec<u8> = sent.iter().flat_map(|(payload, _)| &payload[2..]).copied().collect();
        assert_eq!(joined, longer[1..]);
        assert!(Packetizer::takes(0, PAYLOAD_LEN_MAX) && !Packetizer::takes(0, PAYLOAD_LEN_MAX + 1));
        assert!(Packetizer::takes(1, 1 << 20));
    }

    #[test]
    fn every_mixture_of_lengths_comes_out_as_it_went_in() {
        for seed in 0..200_usize {
            let units: Vec<Vec<u8>> = (0..1 + seed % 7)
                .map(|n| unit(0x41, 1 + (seed * 7919 + n * 613) % (1 + 40 * seed)))
                .collect();
            let sent = payloads(1, &units);
            assert!(sent.iter().all(|(payload, _)| payload.len() <= PAYLOAD_LEN_MAX));
            assert!(sent.iter().enumerate().all(|(n, (_, last))| *last == (n + 1 == sent.len())));
            let mut back: Vec<Vec<u8>> = Vec::new();
            for (payload, _) in &sent {
                match payload[0] & 0x1f {
                    24 => {
                        let mut rest = &payload[1..];
                        while let [a, b, after @ ..] = rest {
                            let len = usize::from(u16::from_be_bytes([*a, *b]));
                            back.push(after[..len].to_vec());
                            rest = &after[len..];
                        }
                    }
                    28 => {
                        if payload[1] & 0x80 != 0 {
                            back.push(vec![payload[0] & 0xe0 | payload[1] & 0x1f]);
                        }
                        back.last_mut().expect("a start").extend(&payload[2..]);
                    }
                    _ => back.push(payload.clone()),
                }
            }
            assert_eq!(back, units, "seed {seed}");
        }
    }
}
