//! PCMU to AAC in RTMP messages, by the product's encoder at the product's output rate.
//! Takes: RTP packets in order. Gives: messages. Leaves out: gaps, concealment, comfort noise.

use anyhow::Context;
use sipcast_codec::aac::{self, AacConfig, AacEncoder, FRAME_BYTES_MAX, FRAME_SAMPLES, PcmFormat};
use sipcast_codec::g711;
use sipcast_contract::options::AacOptions;
use sipcast_pool::{Arena, Segment};

use super::{CHUNK_HEADER_LEN, RTP_HEADER_LEN, chunk_header, parse_rtp};

const CHUNK_STREAM: u8 = 4;
const AUDIO: u8 = 8;
/// Samples of one packet: 20 ms.
const PACKET_SAMPLES: usize = 160;
/// Sound format 10, AAC; then a sequence header or a frame (FLV 10.1 §E.4.2).
const AAC_HEADER: u8 = 0xaf;
const SEQUENCE_HEADER: u8 = 0;
const RAW_FRAME: u8 = 1;
/// What PCMU decodes to.
const FORMAT: PcmFormat = PcmFormat { rate_hz: g711::SAMPLE_RATE_HZ, channels: 1 };

/// One call's sound.
pub(super) struct Sound {
    encoder: Box<dyn AacEncoder>,
    sample_rate_hz: u32,
    message_stream: u32,
    frames: u64,
    next_sequence_number: Option<u16>,
}

impl Sound {
    pub fn new(message_stream: u32) -> anyhow::Result<Self> {
        let AacOptions { sample_rate_hz, channels, bit_rate_bps } = AacOptions::default();
        anyhow::ensure!(channels == 1, "the floor knows mono only");
        Ok(Self {
            encoder: aac::open(&AacConfig { sample_rate_hz, channels, bit_rate_bps })?,
            sample_rate_hz,
            message_stream,
            frames: 0,
            next_sequence_number: None,
        })
    }

    /// Takes a packet; appends the messages it completes.
    ///
    /// # Errors
    /// A packet is missing or of another length, or the encoder failed.
    pub fn push(&mut self, datagram: &[u8], arena: &mut Arena, out: &mut Vec<Segment>) -> anyhow::Result<()> {
        let (_, sequence_number, _) = parse_rtp(datagram)?;
        let expected = self.next_sequence_number.replace(sequence_number.wrapping_add(1));
        anyhow::ensure!(
            expected.is_none_or(|expected| expected == sequence_number),
            "an audio packet is missing"
        );
        if expected.is_none() {
            let config = self.encoder.audio_specific_config();
            let body = [&[AAC_HEADER, SEQUENCE_HEADER], config].concat();
            let header = chunk_header(CHUNK_STREAM, 0, body.len(), AUDIO, self.message_stream);
            out.push(arena.write(&[&header[..], &body].concat())?);
        }
        let octets: &[u8; PACKET_SAMPLES] =
            datagram[RTP_HEADER_LEN..].try_into().context("an audio packet that is not 20 ms long")?;
        let samples = octets.map(g711::decode_mu_law);
        anyhow::ensure!(self.encoder.push(FORMAT, &samples), "the encoder refused a block");
        while self.encoder.is_ready() {
            out.push(self.encode(arena)?);
        }
        Ok(())
    }

    fn encode(&mut self, arena: &mut Arena) -> anyhow::Result<Segment> {
        // Header and frame lie side by side: one segment a message.
        const FRONT_LEN: usize = CHUNK_HEADER_LEN + 2;
        let timestamp_ms =
            (self.frames * FRAME_SAMPLES as u64 * 1_000 / u64::from(self.sample_rate_hz)) as u32;
        let Self { encoder, message_stream, .. } = self;
        let mut outcome = Ok(0);
        let message = arena.write_with(FRONT_LEN + FRAME_BYTES_MAX, |octets| {
            let (front, body) = octets.split_at_mut(FRONT_LEN);
            outcome = encoder.poll(body).unwrap_or(Ok(0));
            let len = *outcome.as_ref().unwrap_or(&0);
            let header = chunk_header(CHUNK_STREAM, timestamp_ms, 2 + len, AUDIO, *message_stream);
            front[..CHUNK_HEADER_LEN].copy_from_slice(&header);
            front[CHUNK_HEADER_LEN..].copy_from_slice(&[AAC_HEADER, RAW_FRAME]);
            FRONT_LEN + len
        })?;
        outcome?;
        self.frames += 1;
        Ok(message)
    }
}
