//! One AAC-LC stream from the blocks of one call (ISO/IEC 14496-3 §4.5).

use smallvec::SmallVec;

use crate::block_switching::{self, BlockSwitching};
use crate::frame::FrameCoder;
use crate::layout::WindowSequence;
use crate::mdct::LINES_MAX;
use crate::rates::OUTPUT_RATES_HZ;
use crate::source::Source;
use crate::window::SHORT_WINDOWS;
use crate::{FRAME_SAMPLES, Format};

/// What is to be produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sampling rate in Hz, one of [`OUTPUT_RATES_HZ`].
    pub sample_rate_hz: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Bit rate in bits per second. Above what the standard allows at this rate it is lowered to that.
    pub bit_rate_bps: u32,
}

/// The combination of rate, channels and bit rate is none that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no AAC-LC of {} Hz, {} channel(s), {} bit/s", .0.sample_rate_hz, .0.channels, .0.bit_rate_bps)]
pub struct Unsupported(pub Config);

/// A frame is longer than the room for it, and lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {needed} bytes has no room in {room}")]
pub struct EncodeError {
    /// Bytes of the frame.
    pub needed: usize,
    /// Bytes of the room.
    pub room: usize,
}

/// One encoder. Its frames begin with the first block: what is put in first is heard first, without delay.
///
/// Drain [`Encoder::poll`] after each [`Encoder::push`].
pub struct Encoder {
    channels: usize,
    sample_rate_hz: u32,
    /// Of every format that was made ready; the first one in place, see [`Source`].
    sources: SmallVec<[Source; 1]>,
    current: Option<usize>,
    /// Where the next block begins, and where the next frame's window does, in output samples.
    position: u64,
    window: u64,
    switching: BlockSwitching,
    coder: FrameCoder,
    silent_frame: Box<[u8]>,
    audio_specific_config: [u8; 2],
}

impl Encoder {
    /// An encoder.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn new(config: &Config) -> Result<Self, Unsupported> {
        let &Config { sample_rate_hz, channels, bit_rate_bps } = config;
        let index = SAMPLING_FREQUENCIES.iter().position(|&hz| hz == sample_rate_hz);
        let (Some(index), true, 1..=2, 1..) =
            (index, OUTPUT_RATES_HZ.contains(&sample_rate_hz), channels, bit_rate_bps)
        else {
            return Err(Unsupported(*config));
        };
        // §1.6.2.1: 5 bits object type, 4 sampling frequency, 4 channels, then three flags of 0.
        let audio_specific_config = [AAC_LC << 3 | (index as u8) >> 1, (index as u8) << 7 | channels << 3];
        let mut coder = FrameCoder::new(sample_rate_hz, channels, bit_rate_bps);
        let silent_frame = coder.silence();
        Ok(Self {
            channels: channels.into(),
            sample_rate_hz,
            sources: SmallVec::new(),
            current: None,
            position: 0,
            window: 0,
            switching: BlockSwitching::default(),
            coder,
            silent_frame,
            audio_specific_config,
        })
    }

    /// Makes ready for blocks of a format, so that they allocate nothing. `false`: it is not offered.
    pub fn prepare(&mut self, format: Format) -> bool {
        self.source(format).is_some()
    }

    /// Takes a block of 20 ms, interleaved. `false`: the format is not offered or the block has another length; it is
    /// dropped.
    pub fn push(&mut self, format: Format, block: &[i16]) -> bool {
        let Some(index) = self.source(format) else { return false };
        if block.len() != format.block_samples() * format.channels {
            return false;
        }
        if self.current != Some(index) {
            if let Some(current) = self.current {
                self.sources[current].end();
            }
            self.sources[index].start(self.position, self.window);
            self.current = Some(index);
        }
        self.sources[index].push(block);
        self.position += u64::from(self.sample_rate_hz / crate::BLOCKS_PER_SECOND);
        true
    }

    /// Whether there is a frame to take.
    pub fn is_ready(&self) -> bool {
        self.current.is_some_and(|current| self.sources[current].is_ready())
    }

    /// The length of the next frame, which it writes to the front of `out`; `None`: more blocks are needed.
    ///
    /// # Errors
    /// [`EncodeError`]: the frame is lost, the next one follows in its place.
    pub fn poll(&mut self, out: &mut [u8]) -> Option<Result<usize, EncodeError>> {
        if !self.is_ready() {
            return None;
        }
        self.sources.iter_mut().for_each(Source::extend);
        let switched = self.switching.next(self.energies());
        let is_silent = self.sources.iter().all(Source::is_window_silent);
        let is_plain = is_silent && switched.sequence == WindowSequence::OnlyLong;
        let len = if is_plain && self.coder.spend_silence(self.silent_frame.len()) {
            copy(&self.silent_frame, out)
        } else {
            self.coder.encode(switched, &self.sources, out)
        };
        self.sources.iter_mut().for_each(Source::advance);
        self.window += FRAME_SAMPLES as u64;
        Some(len)
    }

    /// The AudioSpecificConfig (§1.6.2.1) that a decoder needs.
    pub fn audio_specific_config(&self) -> &[u8] {
        &self.audio_specific_config
    }

    /// A frame of silence that may stand for any frame.
    pub fn silent_frame(&self) -> &[u8] {
        &self.silent_frame
    }

    fn source(&mut self, format: Format) -> Option<usize> {
        let known = self.sources.iter().position(|source| source.format() == format);
        if known.is_some() {
            return known;
        }
        if !(1..=2).contains(&format.channels) {
            return None;
        }
        self.sources.push(Source::new(format, self.sample_rate_hz, self.channels)?);
        Some(self.sources.len() - 1)
    }

    /// Energies of the parts in the middle of the frame after the one at hand; `None` while formats change.
    fn energies(&self) -> Option<[f32; SHORT_WINDOWS]> {
        let mut energies = [0.0; SHORT_WINDOWS];
        let current = &self.sources[self.current?];
        if self
            .sources
            .iter()
            .filter(|source| !source.is_silent())
            .any(|source| !std::ptr::eq(source, current))
        {
            return None;
        }
        if !current.is_silent() {
            let rates = current.rates();
            let (start, end) = (rates.working(3 * LINES_MAX / 2), rates.working(5 * LINES_MAX / 2));
            let weight = rates.divisor as f32 / current.channels().len() as f32;
            for samples in current.channels() {
                block_switching::add_energies(&samples[start - 1..end], weight, &mut energies);
            }
        }
        Some(energies)
    }
}

/// Copies a whole frame.
fn copy(frame: &[u8], out: &mut [u8]) -> Result<usize, EncodeError> {
    let room = out.len();
    let out = out.get_mut(..frame.len()).ok_or(EncodeError { needed: frame.len(), room })?;
    out.copy_from_slice(frame);
    Ok(frame.len())
}

/// The audio object type of AAC-LC (table 1.17).
const AAC_LC: u8 = 2;

/// Table 1.18.
const SAMPLING_FREQUENCIES: [u32; 12] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000];

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("sample_rate_hz", &self.sample_rate_hz)
            .field("channels", &self.channels)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
