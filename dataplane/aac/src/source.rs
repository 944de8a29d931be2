//! Sound of one format on the output's timeline, as the filter bank wants it: from a place in the timeline on, as long
//! as it lasts, silent before and after.
//! Takes: blocks of 20 ms. Gives: samples at the working rate for each frame's windows, and whether they are silence.

use smallvec::SmallVec;

use crate::Format;
use crate::interpolator::{Interpolator, Kernel, TAPS_MAX};
use crate::mdct::LINES_MAX;
use crate::rates::Rates;

/// Blocks in a second.
pub const BLOCKS_PER_SECOND: u32 = 50;

/// Output samples from the start of a frame's window that must be there to encode it: the window, and half a frame to
/// look for attacks in.
const NEEDED: usize = 2 * LINES_MAX + LINES_MAX / 2;

/// One channel's way.
struct Channel {
    interpolator: Interpolator,
    /// From the start of the current frame's window on.
    samples: Box<[f32]>,
}

/// One format's way into the encoder.
pub(crate) struct Source {
    format: Format,
    rates: Rates,
    /// Lines that hold its sound.
    lines: usize,
    /// In place, as an encoder's state is cold when its next block comes: each pointer is one more wait for memory.
    channels: SmallVec<[Channel; 1]>,
    /// Samples of each channel.
    len: usize,
    /// What of them may be other than 0.
    sound: std::ops::Range<usize>,
    /// The last block was silence.
    was_silent: bool,
    is_fed: bool,
}

impl Source {
    /// For output at `output_hz` of `channels`; two channels become one by their mean. `None`: not offered.
    pub(crate) fn new(format: Format, output_hz: u32, channels: usize) -> Option<Self> {
        let rates = Rates::new(format.rate_hz, output_hz)?;
        let kernel = Kernel::of(rates);
        let block_len = (format.rate_hz / BLOCKS_PER_SECOND) as usize;
        let capacity =
            rates.working(NEEDED) + Interpolator::len_max(kernel, block_len) + rates.working(TAPS_MAX);
        let channels = channels.min(format.channels);
        Some(Self {
            format,
            rates,
            lines: rates.lines(),
            channels: (0..channels)
                .map(|_| Channel {
                    interpolator: Interpolator::new(kernel, block_len),
                    samples: vec![0.0; capacity].into(),
                })
                .collect(),
            len: 0,
            sound: 0..0,
            was_silent: true,
            is_fed: false,
        })
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn rates(&self) -> Rates {
        self.rates
    }

    /// Lines of 1024 that hold its sound.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// The next block begins at `position`, in output samples; the frame's window at `window`.
    pub(crate) fn start(&mut self, position: u64, window: u64) {
        let divisor = u64::from(self.rates.divisor);
        let grid = position / divisor;
        // The window begins on the grid, as 1024 is a multiple of all divisors.
        let least = (window / divisor) as i64 - grid as i64;
        let mut first = 0;
        for channel in &mut self.channels {
            first = channel.interpolator.restart((position % divisor) as usize, least as isize);
        }
        let at = (first as i64 - least) as usize;
        // What rings out from before stays; between it and the new sound is silence.
        let ringing = if self.is_silent() { 0 } else { self.len.min(at) };
        for channel in &mut self.channels {
            channel.samples[ringing..at].fill(0.0);
        }
        self.len = at;
        self.was_silent = true;
        self.is_fed = true;
    }

    /// Takes a block, interleaved.
    pub(crate) fn push(&mut self, block: &[i16]) {
        let is_silent = block.iter().all(|&sample| sample == 0);
        let from = self.len;
        let count = if self.format.channels == 2 { block.len() / 2 } else { block.len() };
        let (frames, _) = block.as_chunks::<2>();
        let are_means = self.samples_are_means();
        let mut taken = 0;
        for (channel, Channel { interpolator, samples }) in self.channels.iter_mut().enumerate() {
            let out = &mut samples[from..];
            taken = if is_silent && self.was_silent {
                interpolator.process_silence(count, out)
            } else if self.format.channels == 1 {
                interpolator.process(count, |n| f32::from(block[n]), out)
            } else if are_means {
                interpolator.process(count, |n| mean(frames[n]), out)
            } else {
                interpolator.process(count, |n| f32::from(frames[n][channel]), out)
            };
        }
        self.len += taken;
        if !(is_silent && self.was_silent) {
            if self.is_silent() {
                self.sound = from..from;
            }
            self.sound.end = self.len;
        }
        self.was_silent = is_silent;
    }

    /// No more blocks come for now: what the filter still holds rings out, then there is silence.
    pub(crate) fn end(&mut self) {
        if !self.is_fed {
            return;
        }
        let mut taken = 0;
        for Channel { interpolator, samples } in &mut self.channels {
            taken = interpolator.process(interpolator.reach(), |_| 0.0, &mut samples[self.len..]);
        }
        self.len += taken;
        if !self.was_silent {
            self.sound.end = self.len;
        }
        self.is_fed = false;
    }

    /// Whether a frame can be made.
    pub(crate) fn is_ready(&self) -> bool {
        self.len >= self.rates.working(NEEDED)
    }

    /// Makes a frame possible: after the end comes silence.
    pub(crate) fn extend(&mut self) {
        let needed = self.rates.working(NEEDED);
        if !self.is_fed && self.len < needed {
            if !self.is_silent() {
                for channel in &mut self.channels {
                    channel.samples[self.len..needed].fill(0.0);
                }
            }
            self.len = needed;
        }
    }

    /// All that is held is silence.
    pub(crate) fn is_silent(&self) -> bool {
        self.sound.is_empty()
    }

    /// The frame's window holds nothing but silence.
    pub(crate) fn is_window_silent(&self) -> bool {
        self.is_silent() || self.sound.start >= self.rates.working(2 * LINES_MAX)
    }

    /// The samples of each channel, from the start of the frame's window on.
    pub(crate) fn channels(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.channels.iter().map(|channel| &channel.samples[..self.len])
    }

    /// The window moves on by a frame.
    pub(crate) fn advance(&mut self) {
        let hop = self.rates.working(LINES_MAX);
        if !self.is_silent() {
            for channel in &mut self.channels {
                channel.samples.copy_within(hop..self.len, 0);
            }
            self.sound = self.sound.start.saturating_sub(hop)..self.sound.end.saturating_sub(hop);
            if self.is_silent() {
                // What is not copied from now on must be silent all over.
                for channel in &mut self.channels {
                    channel.samples.fill(0.0);
                }
            }
        }
        self.len = self.len.saturating_sub(hop);
    }

    fn samples_are_means(&self) -> bool {
        self.channels.len() < self.format.channels
    }
}

fn mean([left, right]: [i16; 2]) -> f32 {
    (f32::from(left) + f32::from(right)) * 0.5
}
