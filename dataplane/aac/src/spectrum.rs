//! The lines of a frame: of every source that sounds in it, added up, which the transform allows as it is linear.

use crate::bands::Bands;
use crate::layout::{Layout, WindowSequence};
use crate::mdct::{LINES_MAX, LINES_STEP, Mdct, Scratch, Slope};
use crate::rates::Rates;
use crate::source::Source;
use crate::window::SHORT_WINDOWS;

/// The lines of each channel, in coded order, and room to work in.
pub(crate) struct Spectrum {
    pub(crate) channels: [[f32; LINES_MAX]; 2],
    windows: [f32; LINES_MAX],
    ordered: [f32; LINES_MAX],
    scratch: Scratch,
}

impl Spectrum {
    pub(crate) const EMPTY: Self = Self {
        channels: [[0.0; LINES_MAX]; 2],
        windows: [0.0; LINES_MAX],
        ordered: [0.0; LINES_MAX],
        scratch: Scratch::NEW,
    };

    /// Transforms what `sources` hold into `count` channels. Of each source no more than `lines_max` lines are taken; a
    /// source of one channel goes into all.
    pub(crate) fn fill<'a>(
        &mut self,
        sources: impl Iterator<Item = &'a Source>,
        count: usize,
        bands: &Bands,
        layout: &Layout,
        lines_max: usize,
    ) {
        let end = layout.lines();
        let mut is_first = true;
        for source in sources {
            let lines = source.lines().min(lines_max);
            let mono = source.channels().len() == 1;
            for (channel, samples) in source.channels().enumerate() {
                self.transform(samples, source.rates(), bands, layout, lines);
                let into = if mono { 0..count } else { channel..channel + 1 };
                for out in &mut self.channels[into] {
                    if is_first {
                        out[..end].copy_from_slice(&self.ordered[..end]);
                    } else {
                        out[..end].iter_mut().zip(&self.ordered).for_each(|(out, line)| *out += line);
                    }
                }
            }
            is_first = false;
        }
        if is_first {
            self.channels.iter_mut().for_each(|channel| channel[..end].fill(0.0));
        }
    }

    /// The lines of one channel of a source into `ordered`.
    fn transform(&mut self, samples: &[f32], rates: Rates, bands: &Bands, layout: &Layout, lines: usize) {
        let hop = rates.working(LINES_MAX);
        if layout.sequence != WindowSequence::EightShort {
            let slopes = match layout.sequence {
                WindowSequence::LongStart => (Slope::Long, Slope::Edge),
                WindowSequence::LongStop => (Slope::Edge, Slope::Long),
                _ => (Slope::Long, Slope::Long),
            };
            let (first, second) = samples.split_at(hop);
            let end = layout.lines();
            let lines = lines.min(end);
            let out = &mut self.ordered[..lines.next_multiple_of(LINES_STEP)];
            Mdct::long(rates.divisor).transform(first, second, slopes, out, &mut self.scratch);
            self.ordered[lines..end].fill(0.0);
            return;
        }
        let mdct = Mdct::short(rates.divisor);
        let short_hop = hop / SHORT_WINDOWS;
        // §4.6.11.3.2: the short windows lie in the middle of the long one.
        let start = (hop - short_hop) / 2;
        for window in 0..SHORT_WINDOWS {
            let (first, second) = samples[start + window * short_hop..].split_at(short_hop);
            let out = &mut self.windows[window * short_hop..];
            mdct.transform(first, second, (Slope::Long, Slope::Long), out, &mut self.scratch);
        }
        let short_lines = (lines / SHORT_WINDOWS).min(short_hop);
        layout.interleave(bands, &self.windows, (short_hop, short_lines), &mut self.ordered);
    }
}
