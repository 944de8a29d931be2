//! Blocks of PCM to AAC frames in the arena.
//! Takes: blocks of 20 ms of any format. Gives: raw data blocks written straight into the arena, each with its position.
//! Leaves out: what fills a gap. Sample 0 of the input decodes at position 0.

use sipcast_codec::OpenError;
use sipcast_codec::aac::{self, AacConfig, AacEncoder, FRAME_BYTES_MAX, FRAME_SAMPLES};
use sipcast_contract::options::AacOptions;
use sipcast_pool::{Arena, Segment};

use super::format::Format;
use super::transcoder::TranscoderError;

/// Blocks after which blocks and frames of every rate start together: 10.24 s.
pub(super) const COMMON_PERIOD_BLOCKS: u64 = 512;

/// Encoder of one broadcast.
pub(super) struct FrameEncoder {
    encoder: Box<dyn AacEncoder>,
    channels: usize,
    sample_rate_hz: u32,
    /// Position of the next frame in output samples.
    position: u64,
    frames_lost: u64,
}

impl FrameEncoder {
    pub(super) fn new(options: &AacOptions) -> Result<Self, TranscoderError> {
        let &AacOptions { sample_rate_hz, channels, bit_rate_bps } = options;
        if !AacOptions::SAMPLE_RATES_HZ.contains(&sample_rate_hz) {
            return Err(OpenError::Unsupported { sample_rate_hz, channels, bit_rate_bps }.into());
        }
        let encoder = aac::open(&AacConfig { sample_rate_hz, channels, bit_rate_bps })?;
        Ok(Self { encoder, channels: channels.into(), sample_rate_hz, position: 0, frames_lost: 0 })
    }

    /// Whether [`FrameEncoder::push_block`] may be called.
    pub(super) fn wants_block(&self) -> bool {
        !self.encoder.is_ready()
    }

    /// Makes ready for blocks of a format.
    pub(super) fn prepare(&mut self, format: Format) {
        let is_offered = self.encoder.prepare(format.pcm());
        debug_assert!(is_offered, "every codec's rate");
    }

    /// Takes 20 ms of input, interleaved.
    pub(super) fn push_block(&mut self, format: Format, input: &[i16]) {
        debug_assert!(self.wants_block());
        let is_taken = self.encoder.push(format.pcm(), input);
        debug_assert!(is_taken, "a whole block of a codec's rate");
    }

    /// Encodes a frame once it is full: its data and position.
    pub(super) fn poll(&mut self, arena: &mut Arena) -> Option<(Segment, u64)> {
        if !self.encoder.is_ready() {
            return None;
        }
        let position = self.position;
        self.position += FRAME_SAMPLES as u64;
        let encoder = &mut self.encoder;
        let mut encode = |out: &mut [u8]| encoder.poll(out).and_then(Result::ok).unwrap_or(0);
        let data = arena.write_with(self.channels * aac::CHANNEL_BYTES_MAX, &mut encode);
        if data.is_err() {
            // The frame goes to nobody, and the next one keeps its place.
            encode(&mut [0; FRAME_BYTES_MAX]);
        }
        let data = data.ok().filter(|data| !data.is_empty());
        self.frames_lost += u64::from(data.is_none());
        Some((data?, position))
    }

    /// Moves on by whole [`COMMON_PERIOD_BLOCKS`] without producing anything.
    pub(super) fn skip(&mut self, periods: u64) {
        // 10.24 s hold `rate / 100` frames of 1024 samples at every rate offered.
        self.position += periods * u64::from(self.sample_rate_hz / 100) * FRAME_SAMPLES as u64;
    }

    pub(super) fn audio_specific_config(&self) -> &[u8] {
        self.encoder.audio_specific_config()
    }

    pub(super) fn silent_frame(&self) -> &[u8] {
        self.encoder.silent_frame()
    }

    /// Frames that could not be written or encoded.
    pub(super) fn frames_lost(&self) -> u64 {
        self.frames_lost
    }
}
