//! RTP packets of H.264 to RTMP messages, payload where it lies (RFC 6184 §5, FLV 10.1 §E.4.3).
//! Takes: single NAL unit packets, STAP-A with parameter sets, FU-A; in order. Gives: messages.
//! Leaves out: loss, reordering, changed parameter sets.

use anyhow::Context;
use sipcast_media::flv::video;
use sipcast_pool::{Arena, Segment};

use super::{CHUNK_HEADER_LEN, RTP_HEADER_LEN, chunk_header, parse_rtp};

const CHUNK_STREAM: u8 = 6;
const VIDEO: u8 = 9;
/// NAL unit types (ITU-T H.264 table 7-1, RFC 6184 §5.2).
const IDR: u8 = 5;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// RTP clock ticks in 1 ms (RFC 6184 §8.1).
const TICKS_PER_MS: u32 = 90;
/// Length in front of each NAL unit, and the NAL unit header that FU-A splits up.
const NAL_FRONT_LEN: usize = 5;

/// One call's pictures.
pub(super) struct Pictures {
    message_stream: u32,
    first_timestamp: Option<u32>,
    next_sequence_number: Option<u16>,
    /// The access unit so far.
    nal_units: Vec<NalUnit>,
    payload: Vec<Segment>,
    has_idr: bool,
}

/// One NAL unit of the open access unit.
struct NalUnit {
    /// Octets without the header that FU-A splits up.
    len: usize,
    /// That header, when it is no part of the payload.
    header: Option<u8>,
    segments: usize,
}

impl Pictures {
    pub const fn new(message_stream: u32) -> Self {
        Self {
            message_stream,
            first_timestamp: None,
            next_sequence_number: None,
            nal_units: Vec::new(),
            payload: Vec::new(),
            has_idr: false,
        }
    }

    /// Takes a packet; appends the message it completes.
    ///
    /// # Errors
    /// A packet is missing, or of a kind that the floor does not know.
    pub fn push(
        &mut self,
        datagram: Segment,
        arena: &mut Arena,
        out: &mut Vec<Segment>,
    ) -> anyhow::Result<()> {
        let (marker, sequence_number, timestamp) = parse_rtp(&datagram)?;
        let expected = self.next_sequence_number.replace(sequence_number.wrapping_add(1));
        anyhow::ensure!(
            expected.is_none_or(|expected| expected == sequence_number),
            "a video packet is missing"
        );
        let len = datagram.len();
        let payload = datagram.narrow(RTP_HEADER_LEN..len);
        match *payload.first().context("a video packet without payload")? & 0x1f {
            STAP_A => self.take_parameter_sets(&payload, arena, out)?,
            FU_A => self.take_fragment(payload)?,
            kind @ 1..STAP_A => {
                self.has_idr |= kind == IDR;
                self.nal_units.push(NalUnit { len: payload.len(), header: None, segments: 1 });
                self.payload.push(payload);
            }
            kind => anyhow::bail!("a video packet of type {kind}"),
        }
        if marker && !self.nal_units.is_empty() {
            self.finish(timestamp, arena, out)?;
        }
        Ok(())
    }

    /// Parameter sets become the sequence header once; the callee never changes them.
    fn take_parameter_sets(
        &mut self,
        aggregate: &[u8],
        arena: &mut Arena,
        out: &mut Vec<Segment>,
    ) -> anyhow::Result<()> {
        if self.first_timestamp.is_some() {
            return Ok(());
        }
        let (mut rest, mut sets) = (&aggregate[1..], Vec::new());
        while let Some((len, after)) = rest.split_first_chunk() {
            let (set, after) = after
                .split_at_checked(usize::from(u16::from_be_bytes(*len)))
                .context("an aggregation packet that ends early")?;
            sets.push(set);
            rest = after;
        }
        let [sps, pps] = sets[..] else { anyhow::bail!("not one SPS and one PPS") };
        let mut body = Vec::new();
        video::write_sequence_header(&mut body, &video::avc_decoder_configuration_record(&[sps], &[pps])?);
        let header = chunk_header(CHUNK_STREAM, 0, body.len(), VIDEO, self.message_stream);
        out.push(arena.write(&[&header[..], &body].concat())?);
        Ok(())
    }

    fn take_fragment(&mut self, payload: Segment) -> anyhow::Result<()> {
        let [indicator, fragment, ..] = payload[..] else { anyhow::bail!("an FU-A of one octet") };
        if fragment & 0x80 != 0 {
            self.has_idr |= fragment & 0x1f == IDR;
            let header = Some(indicator & 0xe0 | fragment & 0x1f);
            self.nal_units.push(NalUnit { len: 0, header, segments: 0 });
        }
        let nal_unit = self.nal_units.last_mut().context("an FU-A without its start")?;
        let len = payload.len();
        nal_unit.len += len - 2;
        nal_unit.segments += 1;
        self.payload.push(payload.narrow(2..len));
        Ok(())
    }

    /// Puts the headers between the payload. The message's own and those of its first NAL unit are one segment.
    fn finish(&mut self, timestamp: u32, arena: &mut Arena, out: &mut Vec<Segment>) -> anyhow::Result<()> {
        const FRONT_LEN: usize = CHUNK_HEADER_LEN + video::HEADER_LEN;
        let first = *self.first_timestamp.get_or_insert(timestamp);
        let timestamp_ms = timestamp.wrapping_sub(first) / TICKS_PER_MS;
        let body_len: usize = self.nal_units.iter().map(|unit| unit.front_len() + unit.len).sum();
        let header = chunk_header(
            CHUNK_STREAM,
            timestamp_ms,
            video::HEADER_LEN + body_len,
            VIDEO,
            self.message_stream,
        );
        let mut front = [0; FRONT_LEN + NAL_FRONT_LEN];
        front[..CHUNK_HEADER_LEN].copy_from_slice(&header);
        front[CHUNK_HEADER_LEN..FRONT_LEN].copy_from_slice(&video::nal_units_header(self.has_idr, 0));
        let mut begun = FRONT_LEN;
        let mut payload = self.payload.drain(..);
        for nal_unit in self.nal_units.drain(..) {
            let end = begun + nal_unit.front_len();
            let whole_len = nal_unit.len + usize::from(nal_unit.header.is_some());
            front[begun..begun + 4].copy_from_slice(&(whole_len as u32).to_be_bytes());
            if let Some(header) = nal_unit.header {
                front[begun + 4] = header;
            }
            out.push(arena.write(&front[..end])?);
            out.extend(payload.by_ref().take(nal_unit.segments));
            begun = 0;
        }
        self.has_idr = false;
        Ok(())
    }
}

impl NalUnit {
    const fn front_len(&self) -> usize {
        if self.header.is_some() { NAL_FRONT_LEN } else { NAL_FRONT_LEN - 1 }
    }
}
