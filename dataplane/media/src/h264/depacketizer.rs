//! H.264 depacketizer (RFC 6184): single NAL unit packets, STAP-A and FU-A, as packetization modes 0 and 1
//! use them. Takes: RTP packets in sequence order and the news that packets were lost. Gives: access units,
//! each with a verdict. Leaves out: order and loss (`rtp::receiver`), whether parameter sets are there.
//!
//! A damaged access unit is given up whole, and all that follow up to the next IDR picture refer to it and
//! are given up too. Parameter sets of what was given up still come out: they hold for later pictures.

use sipcast_contract::limits::{ACCESS_UNIT_BYTES_MAX, ACCESS_UNIT_SLICES_MAX};
use sipcast_pool::Segment;

use super::access_unit::{AccessUnit, AccessUnits, LENGTH_FIELD_LEN, Verdict};
use super::nal_unit::{NalUnitHeader, NalUnitType};
use crate::rtp::RtpPacket;

/// Depacketizer of one RTP stream.
///
/// A stream of packetization mode 0 that uses STAP-A or FU-A nevertheless is taken: no payload means
/// something else in the other mode, and phones that mislabel their stream are not rare.
#[derive(Debug, Default)]
pub struct Depacketizer {
    /// The access unit being gathered. It may hold parameter sets and SEI of an earlier timestamp or marker
    /// as long as no slice has come.
    open: AccessUnit,
    /// The NAL unit being gathered from fragments.
    fragments: Option<Fragments>,
    /// What follows up to the boundary cannot be used. Invariant: `fragments` is `None`.
    is_spoiled: bool,
    trust: Trust,
    /// Slices without reference are useless until an IDR picture.
    is_waiting_for_idr: IdrWait,
    dropped: u64,
}

/// A NAL unit in fragments (RFC 6184 §5.8).
#[derive(Clone, Copy, Debug)]
struct Fragments {
    header: NalUnitHeader,
    slices_start: usize,
}

/// Whether the next packet may be taken for the start of an access unit, when what came before is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// The packet before it is known.
    Continuous,
    /// The first of the stream.
    #[default]
    First,
    /// Packets in front of it were lost.
    AfterLoss,
}

/// Newtype with the default that a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IdrWait(bool);

impl Default for IdrWait {
    fn default() -> Self {
        Self(true)
    }
}

/// Why a payload was not taken; the access unit it belongs to is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It breaks RFC 6184.
    #[error("malformed H.264 payload")]
    Malformed,
    /// It is of a type of the interleaved mode, or reserved.
    #[error("H.264 payload of a type that was not agreed on")]
    Unsupported,
    /// The access unit would have more slices or bytes than we take.
    #[error("access unit above the limits")]
    TooLarge,
}

impl Depacketizer {
    /// Takes one packet with its unwrapped timestamp; `out` is cleared and gets what the packet completed.
    ///
    /// # Errors
    /// The payload cannot be used; `out` is filled nevertheless.
    pub fn push(
        &mut self,
        packet: RtpPacket,
        timestamp: i64,
        out: &mut AccessUnits,
    ) -> Result<(), PayloadError> {
        out.clear();
        if packet.payload.is_empty() {
            // A keep-alive (RFC 6263 §4.1), or a marker that comes by itself.
            if packet.marker && timestamp == self.open.timestamp {
                self.end_access_unit(out);
            }
            return Ok(());
        }
        self.begin(&packet.payload, timestamp, out);
        self.open.arrival = packet.arrival;
        let marker = packet.marker;
        let result = if self.is_spoiled { Ok(()) } else { self.append(packet.payload) };
        if result.is_err() {
            self.spoil();
        }
        if marker {
            self.end_access_unit(out);
        }
        result
    }

    /// Packets in front of the next one will never come; `out` is cleared and gets what they spoiled.
    pub fn handle_loss(&mut self, out: &mut AccessUnits) {
        out.clear();
        self.give_up(out);
        self.trust = Trust::AfterLoss;
    }

    /// The stream begins anew: other source, after hold, or given up for silence.
    pub fn restart(&mut self, out: &mut AccessUnits) {
        out.clear();
        self.give_up(out);
        self.trust = Trust::First;
    }

    /// Takes back the trust in what was published: the next to be published is an IDR picture.
    pub fn wait_for_idr(&mut self) {
        self.is_waiting_for_idr = IdrWait(true);
    }

    /// Whether an IDR picture is needed before anything can be published.
    pub const fn is_waiting_for_idr(&self) -> bool {
        self.is_waiting_for_idr.0
    }

    /// Whether slots are held by an access unit that is not complete.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Access units given up so far.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn give_up(&mut self, out: &mut AccessUnits) {
        self.is_waiting_for_idr = IdrWait(true);
        if !self.open.is_empty() || self.is_spoiled {
            self.spoil();
            self.end_access_unit(out);
        }
    }

    /// Ends the access unit before when the timestamp says so, and judges the first packet of the next.
    fn begin(&mut self, payload: &Segment, timestamp: i64, out: &mut AccessUnits) {
        // RFC 6184 §5.1: all packets of an access unit share the timestamp. Needed beside the marker bit, which
        // some senders never set and which the network may lose.
        if timestamp != self.open.timestamp && (!self.open.is_empty() || self.is_spoiled) {
            self.end_access_unit(out);
        }
        self.open.timestamp = timestamp;
        let trust = std::mem::replace(&mut self.trust, Trust::Continuous);
        if trust != Trust::Continuous && !is_start(payload, trust) {
            self.is_spoiled = true;
        }
    }

    fn append(&mut self, payload: Segment) -> Result<(), PayloadError> {
        let header = NalUnitHeader(payload[0]);
        if header.is_forbidden() {
            return Err(PayloadError::Malformed);
        }
        let unit_type = header.unit_type();
        if self.fragments.is_some() && unit_type != NalUnitType::FU_A {
            // The NAL unit in fragments was not finished.
            return Err(PayloadError::Malformed);
        }
        match unit_type {
            NalUnitType::STAP_A => self.append_aggregate(&payload),
            NalUnitType::FU_A => self.append_fragment(payload),
            unit_type if unit_type.is_nal_unit() => self.append_nal_unit(payload),
            _ => Err(PayloadError::Unsupported),
        }
    }

    fn append_nal_unit(&mut self, nal_unit: Segment) -> Result<(), PayloadError> {
        self.check_room(nal_unit.len())?;
        let header = NalUnitHeader(nal_unit[0]);
        let slices_start = self.open.slice_count();
        self.open.push_slice(nal_unit);
        self.open.end_nal_unit(header, false, slices_start);
        Ok(())
    }

    /// ```text
    /// | STAP-A header | size (16 bits) | NAL unit | size | NAL unit | ...      (RFC 6184 §5.7.1)
    /// ```
    fn append_aggregate(&mut self, payload: &Segment) -> Result<(), PayloadError> {
        let mut at = 1;
        while at < payload.len() {
            let size = payload.get(at..at + 2).ok_or(PayloadError::Malformed)?;
            let start = at + 2;
            let end = start + usize::from(u16::from_be_bytes([size[0], size[1]]));
            if end == start || end > payload.len() {
                return Err(PayloadError::Malformed);
            }
            let header = NalUnitHeader(payload[start]);
            if header.is_forbidden() || !header.unit_type().is_nal_unit() {
                return Err(PayloadError::Malformed);
            }
            self.append_nal_unit(payload.slice(start..end))?;
            at = end;
        }
        // A STAP-A holds at least one NAL unit.
        if at == 1 { Err(PayloadError::Malformed) } else { Ok(()) }
    }

    /// ```text
    /// | F NRI 28 | S E R type | fragment ...                                   (RFC 6184 §5.8)
    /// ```
    fn append_fragment(&mut self, payload: Segment) -> Result<(), PayloadError> {
        let &[indicator, fu_header, ..] = &payload[..] else { return Err(PayloadError::Malformed) };
        let (is_start, is_end) = (fu_header & 0x80 != 0, fu_header & 0x40 != 0);
        let header = NalUnitHeader::from_fragment(indicator, fu_header);
        if !header.unit_type().is_nal_unit() || (is_start && is_end) {
            return Err(PayloadError::Malformed);
        }
        let fragments = match (self.fragments, is_start) {
            (None, true) => Fragments { header, slices_start: self.open.slice_count() },
            (Some(open), false) if open.header.unit_type() == header.unit_type() => open,
            // No start, or no end before the next start, or another NAL unit's fragment.
            _ => return Err(PayloadError::Malformed),
        };
        self.check_room(payload.len())?;
        let len = payload.len();
        if len > FRAGMENT_HEADERS_LEN {
            self.open.push_slice(payload.narrow(FRAGMENT_HEADERS_LEN..len));
        }
        self.fragments = if is_end { None } else { Some(fragments) };
        if is_end {
            self.open.end_nal_unit(fragments.header, true, fragments.slices_start);
        }
        Ok(())
    }

    fn check_room(&self, len: usize) -> Result<(), PayloadError> {
        // The fragments' length field and header are counted only at their end: leave room for them.
        let bytes = self.open.bytes() + len + 2 * LENGTH_FIELD_LEN;
        let count = self.open.slice_count().max(self.open.nal_unit_count());
        if count < ACCESS_UNIT_SLICES_MAX && bytes <= ACCESS_UNIT_BYTES_MAX {
            Ok(())
        } else {
            Err(PayloadError::TooLarge)
        }
    }

    fn spoil(&mut self) {
        if let Some(fragments) = self.fragments.take() {
            self.open.abandon_nal_unit(fragments.slices_start);
        }
        // Only parameter sets are of use now, and the end may be long in coming: the slots go home at once.
        self.open.keep_parameter_sets();
        self.is_spoiled = true;
        self.is_waiting_for_idr = IdrWait(true);
    }

    fn end_access_unit(&mut self, out: &mut AccessUnits) {
        if self.fragments.is_some() {
            // The last fragment is missing, and no gap in the sequence numbers said so.
            self.spoil();
        }
        if !self.is_spoiled && !self.open.has_slice() {
            // Senders that mark parameter sets, or give them a timestamp of their own: they belong to the
            // picture that follows (ITU-T H.264 §7.4.1.2.3). Also a marker that comes by itself.
            return;
        }
        let is_publishable = !self.is_spoiled && (!self.is_waiting_for_idr.0 || self.open.is_idr());
        if is_publishable {
            self.open.verdict = Verdict::Publish;
            self.is_waiting_for_idr = IdrWait(false);
        } else {
            self.open.verdict = Verdict::Drop;
            self.dropped += 1;
        }
        self.is_spoiled = false;
        let timestamp = self.open.timestamp;
        out.take(&mut self.open);
        self.open.clear();
        self.open.timestamp = timestamp;
    }
}

/// Whether `payload` certainly begins an access unit whose head is not missing. A delimiter or an SPS comes
/// first in its access unit (ITU-T H.264 §7.4.1.2.3). At the start of a stream also an IDR picture's first
/// slice will do; after a loss its parameter sets may be what was lost.
fn is_start(payload: &[u8], trust: Trust) -> bool {
    let aggregate = payload[0] & 0x1f == NalUnitType::STAP_A.0;
    let nal_unit = if aggregate { payload.get(3..).unwrap_or_default() } else { payload };
    let Some(&first) = nal_unit.first() else { return false };
    let (unit_type, slice) = match NalUnitHeader(first).unit_type() {
        NalUnitType::FU_A => match nal_unit {
            [indicator, fu_header, slice @ ..] if fu_header & 0x80 != 0 => {
                (NalUnitHeader::from_fragment(*indicator, *fu_header).unit_type(), slice)
            }
            _ => return false,
        },
        unit_type => (unit_type, &nal_unit[1..]),
    };
    match unit_type {
        NalUnitType::ACCESS_UNIT_DELIMITER | NalUnitType::SPS => true,
        // `first_mb_in_slice` is ue(v): 0 is a single 1 bit.
        NalUnitType::IDR_SLICE => trust == Trust::First && slice.first().is_some_and(|byte| byte & 0x80 != 0),
        _ => false,
    }
}

/// FU indicator and FU header.
const FRAGMENT_HEADERS_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use sipcast_contract::Timestamp;
    use sipcast_pool::Pool;

    use super::*;

    struct Bench {
        pool: Pool,
        depacketizer: Depacketizer,
        out: AccessUnits,
        sequence_number: u16,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                pool: Pool::new(2000, 2048),
                depacketizer: Depacketizer::default(),
                out: AccessUnits::default(),
                sequence_number: 65_533,
            }
        }

        fn push(&mut self, timestamp: i64, marker: bool, payload: &[u8]) -> Result<(), PayloadError> {
            let mut lease = self.pool.claim().expect("free");
            lease[..payload.len()].copy_from_slice(payload);
            self.sequence_number = self.sequence_number.wrapping_add(1);
            let packet = RtpPacket {
                payload_type: 96,
                marker,
                sequence_number: self.sequence_number,
                timestamp: timestamp as u32,
                ssrc: 1,
                payload: lease.freeze(0..payload.len()),
                arrival: Timestamp::from_millis(timestamp as u64),
            };
            self.depacketizer.push(packet, timestamp, &mut self.out)
        }

        /// NAL units of each unit that came out, and its verdict.
        fn units(&self) -> Vec<(Vec<Vec<u8>>, Verdict)> {
            self.out.iter().map(|unit| (nal_units(unit), unit.verdict)).collect()
        }

        fn published(&self) -> Vec<Vec<Vec<u8>>> {
            let units = self.units().into_iter();
            units.filter(|(_, verdict)| *verdict == Verdict::Publish).map(|(units, _)| units).collect()
        }
    }

    fn nal_units(unit: &AccessUnit) -> Vec<Vec<u8>> {
        let bytes = |nal_unit| {
            let header = Some(nal_unit).filter(|unit: &&crate::h264::NalUnit| unit.is_header_apart);
            let slices = unit.slices(nal_unit).iter().flat_map(|slice| slice.iter().copied());
            let bytes: Vec<u8> = header.map(|unit| unit.header.0).into_iter().chain(slices).collect();
            assert_eq!(bytes.len(), nal_unit.len as usize);
            bytes
        };
        unit.nal_units().iter().map(bytes).collect()
    }

    const SPS: &[u8] = &[0x67, 66, 0, 30];
    const PPS: &[u8] = &[0x68, 1];
    const IDR: &[u8] = &[0x65, 0x88, 1, 2, 3];
    const SLICE: &[u8] = &[0x41, 0x9a, 4, 5];

    /// A bench that has published an IDR picture at timestamp 0.
    fn warm() -> Bench {
        let mut bench = Bench::new();
        bench.push(0, true, IDR).expect("taken");
        assert_eq!(bench.published().len(), 1);
        bench
    }

    #[test]
    fn single_nal_units_make_an_access_unit_by_marker() {
        let mut bench = Bench::new();
        for nal_unit in [SPS, PPS] {
            bench.push(7, false, nal_unit).expect("taken");
            assert!(bench.units().is_empty());
        }
        bench.push(7, true, IDR).expect("taken");
        assert_eq!(bench.published(), [[SPS, PPS, IDR]]);
        let unit = bench.out.iter().next().expect("one");
        assert_eq!((unit.timestamp, unit.is_idr(), unit.arrival), (7, true, Timestamp::from_millis(7)));
    }

    #[test]
    fn a_timestamp_change_is_a_boundary_too() {
        let mut bench = warm();
        bench.push(1, false, SLICE).expect("taken");
        bench.push(1, false, SLICE).expect("taken");
        bench.push(2, false, SLICE).expect("taken");
        assert_eq!(bench.published(), [[SLICE, SLICE]]);
        bench.push(3, true, SLICE).expect("taken");
        assert_eq!(bench.published(), [[SLICE], [SLICE]], "the one before and its own");
    }

    #[test]
    fn a_marker_by_itself_ends_once_and_makes_no_empty_unit() {
        let mut bench = warm();
        bench.push(1, false, SLICE).expect("taken");
        bench.push(1, true, &[]).expect("taken");
        assert_eq!(bench.published(), [[SLICE]]);
        bench.push(1, true, &[]).expect("taken");
        bench.push(9, true, &[]).expect("taken");
        assert!(bench.units().is_empty());
    }

    #[test]
    fn marked_parameter_sets_wait_for_their_picture() {
        let mut bench = Bench::new();
        bench.push(1, true, SPS).expect("taken");
        bench.push(2, true, PPS).expect("taken");
        assert!(bench.units().is_empty());
        bench.push(3, true, IDR).expect("taken");
        assert_eq!(bench.published(), [[SPS, PPS, IDR]]);
        assert_eq!(bench.out.iter().next().expect("one").timestamp, 3);
    }

    #[test]
    fn an_aggregate_is_taken_apart() {
        let mut bench = Bench::new();
        let aggregate: Vec<u8> =
            [&[24, 0, 4], SPS, &[0, 2], PPS, &[0, 5], IDR].into_iter().flatten().copied().collect();
        bench.push(1, true, &aggregate).expect("taken");
        assert_eq!(bench.published(), [[SPS, PPS, IDR]]);
    }

    #[test]
    fn an_aggregate_cut_anywhere_is_malformed_and_never_published() {
        let aggregate: Vec<u8> = [&[24, 0, 4], SPS, &[0, 5], IDR].into_iter().flatten().copied().collect();
        for len in 1..aggregate.len() {
            let mut bench = Bench::new();
            let result = bench.push(1, true, &aggregate[..len]);
            // Cut between two NAL units it is valid, though without a picture. Cut in front of what shows
            // the start of an access unit, it is dropped unread.
            assert!(result == Err(PayloadError::Malformed) || len == 7 || len <= 3, "{len}");
            assert!(bench.published().is_empty(), "{len}");
        }
        let mut bench = warm();
        assert_eq!(bench.push(1, false, &[24]), Err(PayloadError::Malformed));
        assert_eq!(bench.push(2, false, &[24, 0, 0]), Err(PayloadError::Malformed));
        assert_eq!(bench.push(3, false, &[24, 0, 2, 24, 0]), Err(PayloadError::Malformed));
    }

    #[test]
    fn fragments_are_joined_and_their_header_rebuilt() {
        let mut bench = Bench::new();
        bench.push(1, false, &[0x7c, 0x85, 0x88, 1]).expect("taken");
        bench.push(1, false, &[0x7c, 0x05, 2]).expect("taken");
        bench.push(1, true, &[0x7c, 0x45, 3]).expect("taken");
        assert_eq!(bench.published(), [[IDR]]);
    }

    #[test]
    fn fragments_out_of_discipline_are_malformed() {
        let start: &[u8] = &[0x7c, 0x81, 1];
        let cases: [(&[&[u8]], usize); 6] = [
            (&[&[0x7c, 0x01, 2]], 0),        // no start
            (&[&[0x7c, 0xc1, 2]], 0),        // start and end at once
            (&[start, start], 1),            // no end
            (&[start, &[0x7c, 0x02, 2]], 1), // another type
            (&[start, SLICE], 1),            // another NAL unit in between
            (&[&[0x7c]], 0),                 // no FU header
        ];
        for (payloads, bad) in cases {
            let mut bench = warm();
            for (index, payload) in payloads.iter().enumerate() {
                let result = bench.push(1, false, payload);
                assert_eq!(result.is_err(), index == bad, "{payloads:?}");
            }
            bench.push(1, true, SLICE).expect("skipped to the boundary");
            assert_eq!(bench.units().len(), 1);
            assert!(bench.published().is_empty() && bench.depacketizer.is_waiting_for_idr());
        }
    }

    #[test]
    fn a_last_fragment_that_never_came_spoils_the_unit() {
        let mut bench = warm();
        bench.push(1, true, &[0x7c, 0x81, 1]).expect("taken");
        assert_eq!(bench.units(), [(vec![], Verdict::Drop)]);
        bench.push(2, true, SLICE).expect("taken");
        assert!(bench.published().is_empty());
        bench.push(3, true, IDR).expect("taken");
        assert_eq!(bench.published(), [[IDR]]);
        assert_eq!(bench.depacketizer.dropped(), 2);
    }

    #[test]
    fn a_loss_gives_up_all_to_the_next_idr_picture_whose_head_is_known() {
        let mut bench = warm();
        for payload in [SPS, SLICE, PPS, SLICE] {
            bench.push(1, false, payload).expect("taken");
        }
        bench.depacketizer.handle_loss(&mut bench.out);
        assert_eq!(bench.units(), [(vec![SPS.to_vec(), PPS.to_vec()], Verdict::Drop)]);
        // The tail of an IDR picture whose head was lost looks like an IDR picture.
        bench.push(2, true, IDR).expect("taken");
        assert!(bench.published().is_empty());
        bench.push(3, true, SLICE).expect("taken");
        assert!(bench.published().is_empty());
        bench.push(4, true, IDR).expect("taken");
        assert_eq!(bench.published(), [[IDR]]);
    }

    #[test]
    fn after_a_loss_a_unit_that_begins_with_an_sps_is_trusted() {
        let mut bench = warm();
        bench.depacketizer.handle_loss(&mut bench.out);
        bench.push(2, false, SPS).expect("taken");
        bench.push(2, true, IDR).expect("taken");
        assert_eq!(bench.published(), [[SPS, IDR]]);
    }

    #[test]
    fn parameter_sets_of_a_unit_given_up_still_come_out() {
        let mut bench = warm();
        bench.push(1, false, SPS).expect("taken");
        bench.push(1, false, &[0x7c, 0x85, 0x88, 1]).expect("taken");
        bench.depacketizer.handle_loss(&mut bench.out);
        assert_eq!(bench.units(), [(vec![SPS.to_vec()], Verdict::Drop)]);
    }

    #[test]
    fn forbidden_reserved_and_interleaved_types_are_refused() {
        for (header, error) in [
            (0x80 | 0x41, PayloadError::Malformed),
            (0, PayloadError::Unsupported),
            (25, PayloadError::Unsupported),
            (26, PayloadError::Unsupported),
            (27, PayloadError::Unsupported),
            (29, PayloadError::Unsupported),
            (30, PayloadError::Unsupported),
            (31, PayloadError::Unsupported),
        ] {
            let mut bench = warm();
            assert_eq!(bench.push(1, true, &[header, 1, 2, 3]), Err(error), "{header}");
            assert!(bench.published().is_empty());
        }
    }

    #[test]
    fn limits_hold_just_inside_and_just_outside() {
        let mut bench = warm();
        for _ in 0..ACCESS_UNIT_SLICES_MAX {
            bench.push(1, false, SLICE).expect("inside");
        }
        assert_eq!(bench.push(1, false, SLICE), Err(PayloadError::TooLarge));
        assert_eq!(
            bench.pool.held(),
            0,
            "what cannot be used holds no slots, however long its end is in coming"
        );
        bench.push(1, true, SLICE).expect("skipped");
        assert_eq!(bench.units().len(), 1);
        assert!(bench.published().is_empty());

        let mut bench = warm();
        for _ in 0..ACCESS_UNIT_SLICES_MAX {
            bench.push(1, false, &[0x7c, 0x81]).expect("inside");
            bench.push(1, false, &[0x7c, 0x41]).expect("inside");
        }
        let result = bench.push(1, false, &[0x7c, 0x81]);
        assert_eq!(result, Err(PayloadError::TooLarge), "NAL units without slices count too");

        let mut bench = warm();
        let mut big = [0x11; 1400];
        big[..2].copy_from_slice(SLICE.first_chunk::<2>().expect("long enough"));
        let fitting = ACCESS_UNIT_BYTES_MAX / (big.len() + LENGTH_FIELD_LEN);
        for _ in 0..fitting {
            bench.push(1, false, &big).expect("inside");
        }
        assert_eq!(bench.push(1, false, &big), Err(PayloadError::TooLarge));
        drop(bench.depacketizer);
        bench.out.clear();
        assert_eq!(bench.pool.held(), 0);
    }

    #[test]
    fn random_payloads_neither_panic_nor_leak() {
        for seed in 1..200_u64 {
            let mut bench = Bench::new();
            let mut random = seed;
            let mut next = || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random
            };
            for _ in 0..300 {
                let mut payload = vec![0; (next() % 40) as usize];
                payload.iter_mut().for_each(|byte| *byte = next() as u8);
                if let Some(first) = payload.first_mut() {
                    *first = [0x41, 0x65, 0x67, 24, 0x7c, *first][(next() % 6) as usize];
                }
                if next() % 20 == 0 {
                    bench.depacketizer.handle_loss(&mut bench.out);
                }
                let _ = bench.push((next() % 3) as i64, next() % 4 == 0, &payload);
            }
            drop((bench.depacketizer, bench.out));
            assert_eq!(bench.pool.held(), 0, "seed {seed}");
        }
    }
}
