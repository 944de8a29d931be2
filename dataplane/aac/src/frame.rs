//! One frame: transform, allocate, quantize, write (ISO/IEC 14496-3 §4.5).

use std::cell::RefCell;

use crate::EncodeError;
use crate::allocation::Demand;
use crate::bands::Bands;
use crate::block_switching::{self, Switched};
use crate::channel::Channel;
use crate::layout::{BANDS_MAX, Layout, WindowSequence};
use crate::mdct::LINES_MAX;
use crate::mid_side::{self, MidSide};
use crate::quantizer;
use crate::rate_control::{CHANNEL_BITS_MAX, Estimate, RateControl};
use crate::source::Source;
use crate::spectrum::Spectrum;
use crate::syntax::{Frame, Pair, Written};
use crate::window::SHORT_WINDOWS;

/// Makes the frames of one stream.
pub(crate) struct FrameCoder {
    channels: usize,
    bands: Bands,
    /// Lines that the bit rate is enough for.
    lines_max: usize,
    rate: RateControl,
}

/// Room for one frame's work, one for each thread: nothing of it outlives the frame.
struct Workspace {
    spectrum: Spectrum,
    powers: [[f32; LINES_MAX]; 2],
    demands: [Demand; 2],
    channels: [Channel; 2],
    scale_factors: [u8; BANDS_MAX],
    mid_side: MidSide,
}

thread_local! {
    static WORKSPACE: RefCell<Box<Workspace>> = RefCell::new(Box::new(Workspace {
        spectrum: Spectrum::EMPTY,
        powers: [[0.0; LINES_MAX]; 2],
        demands: [Demand::EMPTY; 2],
        channels: [Channel::EMPTY; 2],
        scale_factors: [0; BANDS_MAX],
        mid_side: [false; BANDS_MAX],
    }));
}

/// How the channels of a frame are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// One channel is all there is.
    Mono,
    /// Both channels are alike: their mean is coded, their difference is nothing.
    Alike,
    /// Two channels.
    Stereo,
}

impl Coding {
    const fn coded_channels(self) -> usize {
        if matches!(self, Self::Stereo) { 2 } else { 1 }
    }
}

impl FrameCoder {
    pub(crate) fn new(sample_rate_hz: u32, channels: u8, bit_rate_bps: u32) -> Self {
        let rate = RateControl::new(bit_rate_bps, sample_rate_hz, channels.into());
        let bits_per_line = if channels == 2 { PAIR_BITS_PER_LINE } else { BITS_PER_LINE };
        Self {
            channels: channels.into(),
            bands: Bands::of(sample_rate_hz),
            lines_max: (rate.frame_bits() / bits_per_line).max(LINES_MIN) as usize,
            rate,
        }
    }

    /// A frame of silence, as long as frames are on average.
    pub(crate) fn silence(&mut self) -> Box<[u8]> {
        let layout = Layout::long(&self.bands, WindowSequence::OnlyLong, 0);
        let channels = &mut [Channel::EMPTY; 2][..self.channels];
        channels.iter_mut().for_each(|channel| channel.code_silence(&layout));
        let pair = (self.channels == 2).then_some(Pair::MidSide);
        let frame = Frame { layout: &layout, channels, pair };
        let mut out = vec![0; CHANNEL_BITS_MAX as usize / 8 * self.channels];
        let written = frame.write(self.rate.frame_bits() as u32 / 8 * 8, &mut out);
        out.truncate(written.len);
        out.into()
    }

    /// Counts a frame of silence of `len` bytes. `false`: it must be longer, so that the reservoir does not run over.
    pub(crate) fn spend_silence(&mut self, len: usize) -> bool {
        let bits = 8 * len as u32;
        let fits = self.rate.bounds().least <= bits;
        if fits {
            self.rate.spend(bits);
        }
        fits
    }

    /// Encodes what `sources` hold to the front of `out` and says how long it is.
    ///
    /// # Errors
    /// [`EncodeError`] when it has no room there.
    pub(crate) fn encode(
        &mut self,
        switched: Switched,
        sources: &[Source],
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        WORKSPACE.with_borrow_mut(|workspace| self.encode_in(workspace, switched, sources, out))
    }

    fn encode_in(
        &mut self,
        workspace: &mut Workspace,
        switched: Switched,
        sources: &[Source],
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        let sounding = || sources.iter().filter(|source| !source.is_window_silent());
        let coding = match self.channels {
            1 => Coding::Mono,
            _ if sounding().all(|source| source.channels().len() == 1) => Coding::Alike,
            _ => Coding::Stereo,
        };
        let lines = sounding().map(|source| source.lines().min(self.lines_max)).max().unwrap_or(0);
        let layout = match switched.sequence {
            WindowSequence::EightShort => {
                let groups = block_switching::groups(switched.attack);
                Layout::short(&self.bands, groups, lines / SHORT_WINDOWS)
            }
            sequence => Layout::long(&self.bands, sequence, lines),
        };
        let count = coding.coded_channels();
        let Workspace { spectrum, powers, demands, mid_side, .. } = workspace;
        spectrum.fill(sounding(), count, &self.bands, &layout, self.lines_max);
        for ((lines, powers), demand) in
            spectrum.channels.iter().zip(&mut *powers).zip(&mut *demands).take(count)
        {
            quantizer::powers(&lines[..layout.lines()], powers);
            demand.analyse(&layout, lines, powers);
        }
        if coding == Coding::Stereo {
            mid_side::choose(&layout, &mut spectrum.channels, powers, demands, mid_side);
        }
        let needed = self.write(workspace, &layout, coding, out);
        self.rate.spend(8 * needed as u32);
        if needed > out.len() { Err(EncodeError { needed, room: out.len() }) } else { Ok(needed) }
    }

    /// Finds the values that fit and writes them; says how many bytes they take. How long they are is not worked out
    /// beforehand: that takes nearly as long as writing them, and it is rarely too long.
    fn write(&mut self, workspace: &mut Workspace, layout: &Layout, coding: Coding, out: &mut [u8]) -> usize {
        let count = coding.coded_channels();
        let bounds = self.rate.bounds();
        let demands = &workspace.demands[..count];
        let estimate = |gain: f32| {
            let mut sum = Estimate::default();
            demands.iter().for_each(|demand| demand.estimate(gain, &mut sum));
            sum
        };
        let (mut gain, estimated) =
            if layout.bands() == 0 { (0.0, Estimate::default()) } else { self.rate.gain(estimate) };
        if coding == Coding::Alike {
            workspace.channels[1].code_silence(layout);
        }
        for attempt in 0..ATTEMPTS_MAX {
            for channel in 0..count {
                let demand = &workspace.demands[channel];
                demand.scale_factors(gain, &mut workspace.scale_factors);
                workspace.channels[channel].code(
                    layout,
                    &workspace.spectrum.channels[channel],
                    &workspace.powers[channel],
                    &demand.peaks,
                    &workspace.scale_factors,
                );
            }
            let Written { bits, len } = Frame::of(workspace, layout, coding).write(bounds.least, out);
            if attempt == 0 && layout.bands() > 0 {
                self.rate.learn(estimated.bits, bits);
            }
            let over = bits.next_multiple_of(8).saturating_sub(bounds.most);
            if over == 0 {
                return len;
            }
            gain += (over as f32 / estimated.fewer.max(1.0)).clamp(1.0, 30.0) * (attempt + 1) as f32;
        }
        workspace.channels[..count].iter_mut().for_each(|channel| channel.code_silence(layout));
        Frame::of(workspace, layout, coding).write(bounds.least, out).len
    }
}

impl<'a> Frame<'a> {
    fn of(workspace: &'a Workspace, layout: &'a Layout, coding: Coding) -> Self {
        let (channels, pair) = match coding {
            Coding::Mono => (1, None),
            Coding::Alike => (2, Some(Pair::MidSide)),
            Coding::Stereo => (2, Some(Pair::Bands(&workspace.mid_side[..layout.bands()]))),
        };
        Self { layout, channels: &workspace.channels[..channels], pair }
    }
}

/// Times that a frame is quantized at most until it fits; it is once as a rule.
const ATTEMPTS_MAX: usize = 8;

/// Fewer bits for each line than this make holes in the spectrum that come and go: better fewer lines.
const BITS_PER_LINE: f32 = 1.5;
/// The second channel of a pair takes less than the first.
const PAIR_BITS_PER_LINE: f32 = 2.5;

/// Lines that are coded at any bit rate.
const LINES_MIN: f32 = 40.0;
