//! fdk's encoder with resamplers in front: what sipcast's own is compared with.
//! Takes: blocks of any format. Gives: frames, with the delays of resampler and encoder taken off.

use crate::Resampler;
use crate::aac::{AacConfig, AacEncoder, EncodeError, FRAME_BYTES_MAX, FRAME_SAMPLES, OpenError, PcmFormat};
use crate::fdk::FdkEncoder;

/// Silent frames until the encoder's memory is silence and its frames no longer change: its delay and as much
/// again for block switching.
const SETTLED_FRAMES: u32 = 4;

/// Silent frames encoded before the first sound; the last of them is kept.
const WARM_UP_FRAMES: u32 = 8;

/// Samples a channel that wait at most: a frame, the end of one format and a block of the next.
const PENDING_MAX: usize = 4 * FRAME_SAMPLES;

/// The encoder and its resamplers.
pub(crate) struct ResampledEncoder {
    encoder: FdkEncoder,
    channels: usize,
    sample_rate_hz: u32,
    resamplers: Vec<Resamplers>,
    current: Option<usize>,
    /// Resampled samples, interleaved.
    pending: Vec<i16>,
    /// Samples a channel still to be cut off.
    cut: usize,
    /// Frames of the encoder still to be held back.
    lead_frames: usize,
    silent_frames: u32,
    silent_frame: Box<[u8]>,
}

/// One format's way to the output rate.
struct Resamplers {
    format: PcmFormat,
    channels: Vec<Resampler>,
    input: Box<[i16]>,
    blocks: [Box<[i16]>; 2],
}

impl ResampledEncoder {
    pub(crate) fn open(config: &AacConfig) -> Result<Self, OpenError> {
        let mut encoder = FdkEncoder::open(config)?;
        let channels = usize::from(config.channels);
        let silence = vec![0; FRAME_SAMPLES * channels];
        let mut out = [0; FRAME_BYTES_MAX];
        let mut silent_len = 0;
        for _ in 0..WARM_UP_FRAMES {
            silent_len = encoder.encode(&silence, &mut out).map_err(|_| OpenError::OutOfMemory)?;
        }
        // Silence in front moves the start of the sound to the start of a frame.
        let lead = encoder.delay().next_multiple_of(FRAME_SAMPLES);
        let mut pending = Vec::with_capacity(PENDING_MAX * channels);
        pending.resize((lead - encoder.delay()) * channels, 0);
        Ok(Self {
            lead_frames: lead / FRAME_SAMPLES,
            encoder,
            channels,
            sample_rate_hz: config.sample_rate_hz,
            resamplers: Vec::new(),
            current: None,
            pending,
            cut: 0,
            silent_frames: WARM_UP_FRAMES,
            silent_frame: out[..silent_len].into(),
        })
    }

    fn find(&mut self, format: PcmFormat) -> Option<usize> {
        let known = self.resamplers.iter().position(|held| held.format == format);
        if known.is_some() || !(1..=2).contains(&format.channels) {
            return known;
        }
        let resampler = || Resampler::new(format.rate_hz, self.sample_rate_hz);
        let channels: Vec<Resampler> =
            (0..format.channels).map(|_| resampler()).collect::<Result<_, _>>().ok()?;
        let blocks = [0, 1].map(|_| vec![0; channels[0].output_len()].into());
        let input = vec![0; channels[0].input_len()].into();
        self.resamplers.push(Resamplers { format, channels, input, blocks });
        Some(self.resamplers.len() - 1)
    }

    /// Lets the first `len` samples a channel of a resampled block wait for the encoder.
    fn append(&mut self, index: usize, len: usize) {
        let Resamplers { channels, blocks, .. } = &self.resamplers[index];
        let from = self.cut.min(len);
        self.cut -= from;
        let second = if channels.len() == 2 { &blocks[1] } else { &blocks[0] };
        for (&left, &right) in blocks[0][from..len].iter().zip(&second[from..len]) {
            match self.channels {
                1 => self.pending.push(((i32::from(left) + i32::from(right)) / 2) as i16),
                _ => self.pending.extend([left, right]),
            }
        }
    }

    /// The next block has another format. What the resampler still holds of the last one is let out first.
    fn change(&mut self, next: usize) {
        if let Some(current) = self.current {
            let Resamplers { channels, input, blocks, .. } = &mut self.resamplers[current];
            input.fill(0);
            let delay = channels[0].delay();
            for (resampler, block) in channels.iter_mut().zip(blocks) {
                resampler.process(input, block);
                resampler.reset();
            }
            self.append(current, delay);
        }
        self.cut = self.resamplers[next].channels[0].delay();
        self.current = Some(next);
    }

    /// Frames that hold what lies before the first sample are encoded and dropped.
    fn drop_lead(&mut self) {
        let len = FRAME_SAMPLES * self.channels;
        while self.lead_frames > 0 && self.pending.len() >= len {
            self.lead_frames -= 1;
            self.note_silence();
            let mut out = [0; FRAME_BYTES_MAX];
            // A frame that nobody hears may fail.
            let _ = self.encoder.encode(&self.pending[..len], &mut out);
            self.pending.drain(..len);
        }
    }

    fn note_silence(&mut self) {
        let silent = self.pending[..FRAME_SAMPLES * self.channels].iter().all(|&sample| sample == 0);
        self.silent_frames = if silent { self.silent_frames.saturating_add(1) } else { 0 };
    }
}

impl AacEncoder for ResampledEncoder {
    fn prepare(&mut self, format: PcmFormat) -> bool {
        self.find(format).is_some()
    }

    fn push(&mut self, format: PcmFormat, block: &[i16]) -> bool {
        let Some(index) = self.find(format) else { return false };
        if block.len() != format.block_samples() * format.channels {
            return false;
        }
        if self.current != Some(index) {
            self.change(index);
        }
        let Resamplers { channels, input, blocks, .. } = &mut self.resamplers[index];
        for (channel, (resampler, out)) in channels.iter_mut().zip(blocks).enumerate() {
            for (sample, frame) in input.iter_mut().zip(block.chunks_exact(format.channels)) {
                *sample = frame[channel];
            }
            resampler.process(input, out);
        }
        let len = self.resamplers[index].blocks[0].len();
        self.append(index, len);
        self.drop_lead();
        true
    }

    fn is_ready(&self) -> bool {
        self.lead_frames == 0 && self.pending.len() >= FRAME_SAMPLES * self.channels
    }

    fn poll(&mut self, out: &mut [u8]) -> Option<Result<usize, EncodeError>> {
        if !self.is_ready() {
            return None;
        }
        self.note_silence();
        let len = FRAME_SAMPLES * self.channels;
        let encoded = if self.silent_frames > SETTLED_FRAMES {
            // The encoder would repeat itself. It holds nothing but silence, so it may as well stand still.
            let frame = &self.silent_frame;
            out.get_mut(..frame.len()).ok_or(EncodeError::NoRoom).map(|out| {
                out.copy_from_slice(frame);
                frame.len()
            })
        } else {
            self.encoder.encode(&self.pending[..len], out)
        };
        self.pending.drain(..len);
        Some(encoded)
    }

    fn audio_specific_config(&self) -> &[u8] {
        self.encoder.audio_specific_config()
    }

    fn silent_frame(&self) -> &[u8] {
        &self.silent_frame
    }
}
