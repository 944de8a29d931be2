//! Blocks of telephone PCM to AAC frames, with the delays of resampler and encoder taken off.
//! Takes: blocks of 20 ms. Gives: raw data blocks written straight into the arena, each with its position.
//! Leaves out: what fills a gap.
//!
//! Sample 0 of the input decodes at position 0: the resampler's lead is cut off, the encoder's lead is filled up
//! to whole frames, and those frames are not handed out.

use sipcast_codec::aac::{self, AacConfig, AacEncoder, FRAME_BYTES_MAX, FRAME_SAMPLES};
use sipcast_codec::{OpenError, Resampler};
use sipcast_contract::options::AacOptions;
use sipcast_pool::{Arena, Segment};

use super::transcoder::{INPUT_RATE_HZ, TranscoderError};

/// Silent frames until the encoder's memory is silence and its frames no longer change: its delay and as much
/// again for block switching.
const SETTLED_FRAMES: u32 = 4;

/// Silent frames encoded before the first sound; the last of them is kept.
const WARM_UP_FRAMES: u32 = 8;

/// Input samples after which blocks and frames of every rate start together: 512 blocks of 20 ms.
pub(super) const COMMON_PERIOD: u64 = 512 * 160;

/// Resampler and encoder of one broadcast.
pub(super) struct FrameEncoder {
    encoder: Box<dyn AacEncoder>,
    resampler: Resampler,
    channels: usize,
    sample_rate_hz: u32,
    /// One resampled block, of which everything before `block_read` is used up.
    block: Box<[i16]>,
    block_read: usize,
    /// Resampled samples still to be cut off.
    cut: usize,
    /// One interleaved frame, of which `frame_len` samples a channel are filled.
    frame: Box<[i16]>,
    frame_len: usize,
    /// Frames of the encoder still to be held back.
    lead_frames: usize,
    /// Position of the next frame in output samples.
    position: u64,
    silent_frames: u32,
    silent_frame: Box<[u8]>,
    frames_lost: u64,
}

impl FrameEncoder {
    pub(super) fn new(options: &AacOptions) -> Result<Self, TranscoderError> {
        let &AacOptions { sample_rate_hz, channels, bit_rate_bps } = options;
        if !AacOptions::SAMPLE_RATES_HZ.contains(&sample_rate_hz) {
            return Err(OpenError::Unsupported { sample_rate_hz, channels, bit_rate_bps }.into());
        }
        let resampler = Resampler::new(INPUT_RATE_HZ, sample_rate_hz)?;
        let mut encoder = aac::open(&AacConfig { sample_rate_hz, channels, bit_rate_bps })?;
        let channels = usize::from(channels);
        let frame = vec![0; FRAME_SAMPLES * channels].into_boxed_slice();
        let mut out = [0; FRAME_BYTES_MAX];
        let mut silent_len = 0;
        for _ in 0..WARM_UP_FRAMES {
            silent_len = encoder.encode(&frame, &mut out)?;
        }
        // Silence in front moves the start of the sound to the start of a frame.
        let pad = encoder.delay().next_multiple_of(FRAME_SAMPLES) - encoder.delay();
        Ok(Self {
            lead_frames: (encoder.delay() + pad) / FRAME_SAMPLES,
            block: vec![0; resampler.output_len()].into(),
            block_read: resampler.output_len(),
            cut: resampler.delay(),
            resampler,
            encoder,
            channels,
            sample_rate_hz,
            frame,
            frame_len: pad,
            position: 0,
            silent_frames: WARM_UP_FRAMES,
            silent_frame: out[..silent_len].into(),
            frames_lost: 0,
        })
    }

    /// Whether [`FrameEncoder::push_block`] may be called.
    pub(super) fn wants_block(&self) -> bool {
        self.block_read == self.block.len()
    }

    /// Takes 20 ms of input.
    pub(super) fn push_block(&mut self, input: &[i16]) {
        debug_assert!(self.wants_block());
        self.resampler.process(input, &mut self.block);
        self.block_read = self.cut.min(self.block.len());
        self.cut -= self.block_read;
    }

    /// Encodes a frame once it is full: its data and position.
    pub(super) fn poll(&mut self, arena: &mut Arena) -> Option<(Segment, u64)> {
        self.fill_frame();
        if self.frame_len < FRAME_SAMPLES {
            return None;
        }
        self.frame_len = 0;
        if self.lead_frames > 0 {
            self.lead_frames -= 1;
            self.note_silence();
            let mut out = [0; FRAME_BYTES_MAX];
            if self.encoder.encode(&self.frame, &mut out).is_err() {
                self.frames_lost += 1;
            }
            return None;
        }
        let position = self.position;
        self.position += FRAME_SAMPLES as u64;
        match self.encode(arena) {
            Some(data) => Some((data, position)),
            None => {
                self.frames_lost += 1;
                None
            }
        }
    }

    /// Moves on by whole [`COMMON_PERIOD`]s without producing anything.
    pub(super) fn skip(&mut self, periods: u64) {
        // 10.24 s hold `rate / 100` frames of 1024 samples at every rate offered.
        self.position += periods * u64::from(self.sample_rate_hz / 100) * FRAME_SAMPLES as u64;
    }

    pub(super) fn audio_specific_config(&self) -> &[u8] {
        self.encoder.audio_specific_config()
    }

    pub(super) fn silent_frame(&self) -> &[u8] {
        &self.silent_frame
    }

    /// Frames that could not be written or encoded.
    pub(super) fn frames_lost(&self) -> u64 {
        self.frames_lost
    }

    fn fill_frame(&mut self) {
        let taken = (FRAME_SAMPLES - self.frame_len).min(self.block.len() - self.block_read);
        let source = &self.block[self.block_read..self.block_read + taken];
        let sink = &mut self.frame[self.frame_len * self.channels..];
        if self.channels == 1 {
            sink[..taken].copy_from_slice(source);
        } else {
            for (frame, &sample) in sink.chunks_exact_mut(self.channels).zip(source) {
                frame.fill(sample);
            }
        }
        self.block_read += taken;
        self.frame_len += taken;
    }

    fn encode(&mut self, arena: &mut Arena) -> Option<Segment> {
        self.note_silence();
        if self.silent_frames > SETTLED_FRAMES {
            // The encoder would repeat itself. It holds nothing but silence, so it may as well stand still until
            // there is sound again; its own frames then join on without a seam.
            return arena.write(&self.silent_frame).ok();
        }
        let Self { encoder, frame, channels, .. } = self;
        let data = arena
            .write_with(*channels * aac::CHANNEL_BYTES_MAX, |out| encoder.encode(frame, out).unwrap_or(0));
        data.ok().filter(|data| !data.is_empty())
    }

    fn note_silence(&mut self) {
        let silent = self.frame.iter().all(|&sample| sample == 0);
        self.silent_frames = if silent { self.silent_frames.saturating_add(1) } else { 0 };
    }
}
