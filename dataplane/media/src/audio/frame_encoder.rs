//! Blocks of PCM to AAC frames, with the delays of resampler and encoder taken off.
//! Takes: blocks of 20 ms, changes of their format. Gives: raw data blocks written straight into the arena, each with its position.
//! Leaves out: what fills a gap.
//!
//! Sample 0 of the input decodes at position 0: the resampler's lead is cut off, the encoder's lead is filled up
//! to whole frames, and those frames are not handed out.

use sipcast_codec::aac::{self, AacConfig, AacEncoder, FRAME_BYTES_MAX, FRAME_SAMPLES};
use sipcast_codec::resampler::BLOCKS_PER_SECOND;
use sipcast_codec::{OpenError, Resampler};
use sipcast_contract::options::AacOptions;
use sipcast_pool::{Arena, Segment};

use super::format::Format;
use super::pcm_queue::BLOCK_SAMPLES_MAX;
use super::transcoder::TranscoderError;

/// Silent frames until the encoder's memory is silence and its frames no longer change: its delay and as much
/// again for block switching.
const SETTLED_FRAMES: u32 = 4;

/// Silent frames encoded before the first sound; the last of them is kept.
const WARM_UP_FRAMES: u32 = 8;

/// Blocks after which blocks and frames of every rate start together: 10.24 s.
pub(super) const COMMON_PERIOD_BLOCKS: u64 = 512;

/// Resamplers and encoder of one broadcast.
pub(super) struct FrameEncoder {
    encoder: Box<dyn AacEncoder>,
    /// Of every format that has come, made at its first block.
    resamplers: Vec<Resamplers>,
    /// The one in use.
    current: usize,
    channels: usize,
    sample_rate_hz: u32,
    /// One resampled block, one channel behind the other, in which `block_read..block_end` is not used up yet.
    block: [Box<[i16]>; 2],
    block_read: usize,
    block_end: usize,
    /// The block's channels; one of them serves all channels of the output.
    block_channels: usize,
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

/// One format's way to the output rate.
struct Resamplers {
    format: Format,
    channels: Vec<Resampler>,
    /// Something went through since it was last put to use: its tail is still inside.
    is_started: bool,
}

impl FrameEncoder {
    pub(super) fn new(options: &AacOptions) -> Result<Self, TranscoderError> {
        let &AacOptions { sample_rate_hz, channels, bit_rate_bps } = options;
        if !AacOptions::SAMPLE_RATES_HZ.contains(&sample_rate_hz) {
            return Err(OpenError::Unsupported { sample_rate_hz, channels, bit_rate_bps }.into());
        }
        let mut encoder = aac::open(&AacConfig { sample_rate_hz, channels, bit_rate_bps })?;
        let channels = usize::from(channels);
        let frame = vec![0; FRAME_SAMPLES * channels].into_boxed_slice();
        let block_len = (sample_rate_hz / BLOCKS_PER_SECOND) as usize;
        let mut out = [0; FRAME_BYTES_MAX];
        let mut silent_len = 0;
        for _ in 0..WARM_UP_FRAMES {
            silent_len = encoder.encode(&frame, &mut out)?;
        }
        // Silence in front moves the start of the sound to the start of a frame.
        let pad = encoder.delay().next_multiple_of(FRAME_SAMPLES) - encoder.delay();
        Ok(Self {
            lead_frames: (encoder.delay() + pad) / FRAME_SAMPLES,
            resamplers: Vec::new(),
            current: 0,
            block: [0, 1].map(|_| vec![0; block_len].into()),
            block_read: 0,
            block_end: 0,
            block_channels: 1,
            cut: 0,
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

    /// Whether [`FrameEncoder::push_block`] or [`FrameEncoder::change`] may be called.
    pub(super) fn wants_block(&self) -> bool {
        self.block_read == self.block_end
    }

    /// Makes ready for blocks of a format.
    pub(super) fn prepare(&mut self, format: Format) -> usize {
        let known = self.resamplers.iter().position(|held| held.format == format);
        known.unwrap_or_else(|| {
            let channels = (0..format.channels)
                .map(|_| {
                    Resampler::new(format.rate_hz, self.sample_rate_hz)
                        .expect("every codec's rate and every rate offered have whole blocks")
                })
                .collect();
            self.resamplers.push(Resamplers { format, channels, is_started: false });
            self.resamplers.len() - 1
        })
    }

    /// The next block has another format. What the resampler still holds of the last one is let out first.
    pub(super) fn change(&mut self, format: Format) {
        debug_assert!(self.wants_block());
        let next = self.prepare(format);
        // `prepare` has put one there at least.
        let current = &mut self.resamplers[self.current];
        if current.is_started {
            let silence = [0; BLOCK_SAMPLES_MAX];
            let block_samples = current.format.block_samples();
            for (resampler, block) in current.channels.iter_mut().zip(&mut self.block) {
                resampler.process(&silence[..block_samples], block);
                resampler.reset();
            }
            current.is_started = false;
            self.block_channels = current.channels.len();
            self.block_read = 0;
            self.block_end = current.channels[0].delay();
        }
        self.current = next;
        self.cut = self.resamplers[next].channels[0].delay();
    }

    /// Takes 20 ms of input of the format changed to last, interleaved.
    pub(super) fn push_block(&mut self, format: Format, input: &[i16]) {
        debug_assert!(self.wants_block());
        // Silence may come before anything of the format that was made ready first.
        let current = self.resamplers.get(self.current);
        if current.is_none_or(|current| !current.is_started && current.format != format) {
            self.change(format);
        }
        let current = &mut self.resamplers[self.current];
        debug_assert_eq!(current.format, format);
        match &mut current.channels[..] {
            [resampler] => resampler.process(input, &mut self.block[0]),
            resamplers => {
                let mut channel = [0; BLOCK_SAMPLES_MAX];
                let channel = &mut channel[..format.block_samples()];
                for (index, resampler) in resamplers.iter_mut().enumerate() {
                    for (sample, frame) in channel.iter_mut().zip(input.chunks_exact(format.channels)) {
                        *sample = frame[index];
                    }
                    resampler.process(channel, &mut self.block[index]);
                }
            }
        }
        current.is_started = true;
        self.block_channels = format.channels;
        self.block_end = self.block[0].len();
        self.block_read = self.cut.min(self.block_end);
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

    /// Moves on by whole [`COMMON_PERIOD_BLOCKS`] without producing anything.
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
        let taken = (FRAME_SAMPLES - self.frame_len).min(self.block_end - self.block_read);
        let source = self.block_read..self.block_read + taken;
        let sink = &mut self.frame[self.frame_len * self.channels..];
        if self.channels == 1 {
            sink[..taken].copy_from_slice(&self.block[0][source]);
        } else {
            let second = if self.block_channels == 2 { 1 } else { 0 };
            let channels = self.block[0][source.clone()].iter().zip(&self.block[second][source]);
            for (frame, (&left, &right)) in sink.chunks_exact_mut(self.channels).zip(channels) {
                frame[0] = left;
                frame[1] = right;
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
