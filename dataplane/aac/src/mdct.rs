//! The modified discrete cosine transform of the encoder's filter bank (ISO/IEC 14496-3 §4.6.11.2, forward).
//! Takes: two adjoining blocks of `lines` samples and how the window rises and falls. Gives: `lines` lines.
//!
//! Sound that is band-limited needs no full transform. With n = d m + (d - 1) / 2 the phase of the cosine,
//! n + 1/2 + N/2, is d (m + 1/2 + N/(2 d)): the lowest N/d lines of a transform of N lines are, d times, a transform of
//! N/d lines of the same sound sampled at every d-th place, as long as sound and line together stay below the lower
//! sampling rate.

use std::f64::consts::PI;
use std::sync::LazyLock;

use crate::fft::{Complex, Fft};
use crate::window;

/// Lines of a long transform at the output's own rate.
pub(crate) const LINES_MAX: usize = 1024;

/// How one half of a window runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slope {
    /// Over all of it.
    Long,
    /// A short one in its middle.
    Edge,
}

/// The transform of one size.
pub(crate) struct Mdct {
    lines: usize,
    fft: Fft,
    /// `exp(-i pi (n + 1/8) / lines)`: before and after the FFT. What comes before holds the scale.
    before: Box<[[f32; 2]]>,
    after: Box<[[f32; 2]]>,
    slope: Box<[f32]>,
    edge: Box<[f32]>,
}

impl Mdct {
    /// Long transforms of 1024 / `divisor` lines.
    pub(crate) fn long(divisor: usize) -> &'static Self {
        static LONG: [LazyLock<Mdct>; 3] = [
            LazyLock::new(|| Mdct::new(1024, 1.0)),
            LazyLock::new(|| Mdct::new(512, 2.0)),
            LazyLock::new(|| Mdct::new(256, 4.0)),
        ];
        &LONG[divisor.trailing_zeros() as usize]
    }

    /// Short transforms of 128 / `divisor` lines.
    pub(crate) fn short(divisor: usize) -> &'static Self {
        static SHORT: [LazyLock<Mdct>; 3] = [
            LazyLock::new(|| Mdct::new(128, 1.0)),
            LazyLock::new(|| Mdct::new(64, 2.0)),
            LazyLock::new(|| Mdct::new(32, 4.0)),
        ];
        &SHORT[divisor.trailing_zeros() as usize]
    }

    fn new(lines: usize, divisor: f64) -> Self {
        let twiddles = |scale: f64| {
            (0..lines / 2)
                .map(|n| {
                    let angle = -PI * (8 * n + 1) as f64 / (8 * lines) as f64;
                    [(scale * angle.cos()) as f32, (scale * angle.sin()) as f32]
                })
                .collect()
        };
        let is_long = lines as f64 * divisor == LINES_MAX as f64;
        Self {
            lines,
            fft: Fft::new(lines / 2),
            // The transform of the standard is twice the plain sum.
            before: twiddles(2.0 * divisor),
            after: twiddles(1.0),
            slope: if is_long { window::long(lines) } else { window::short(lines) },
            edge: if is_long { window::edge(lines) } else { Box::default() },
        }
    }

    /// Transforms `first` and `second`, `lines` samples each, into `out`.
    pub(crate) fn transform(
        &self,
        first: &[f32],
        second: &[f32],
        (rising, falling): (Slope, Slope),
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let lines = self.lines;
        let half = lines / 2;
        let (low, high) = scratch.folded[..lines].split_at_mut(half);
        fold_falling(&second[..lines], self.slope(falling), low);
        fold_rising(&first[..lines], self.slope(rising), high);
        let Scratch { folded, data, other } = scratch;
        let (ahead, _) = folded[..lines].as_chunks::<2>();
        let (re, im) = (&mut data.re[..half], &mut data.im[..half]);
        let before = &self.before[..half];
        for n in 0..half {
            // Sample 2 n, and sample 2 n from the end.
            let (even, odd) = (ahead[n][0], ahead[half - 1 - n][1]);
            re[n] = even * before[n][0] - odd * before[n][1];
            im[n] = even * before[n][1] + odd * before[n][0];
        }
        self.fft.transform(data, other);
        let (re, im) = (&mut data.re[..half], &mut data.im[..half]);
        let after = &self.after[..half];
        for n in 0..half {
            (re[n], im[n]) =
                (re[n] * after[n][0] - im[n] * after[n][1], re[n] * after[n][1] + im[n] * after[n][0]);
        }
        // Line 2 n, and line 2 n from the end.
        let (out, _) = out[..lines].as_chunks_mut::<2>();
        for (n, out) in out.iter_mut().enumerate() {
            *out = [re[n], -im[half - 1 - n]];
        }
    }

    fn slope(&self, slope: Slope) -> &[f32] {
        match slope {
            Slope::Long => &self.slope,
            Slope::Edge => &self.edge,
        }
    }
}

/// The first half of the DCT-IV's input: minus the second block's, windowed, and its mirror image.
fn fold_falling(block: &[f32], slope: &[f32], out: &mut [f32]) {
    let half = out.len();
    let (block_low, block_high) = block.split_at(half);
    let (slope_low, slope_high) = slope.split_at(half);
    for n in 0..half {
        out[n] = -block_low[half - 1 - n] * slope_high[n] - block_high[n] * slope_low[half - 1 - n];
    }
}

/// The second half: the first block, windowed, less its mirror image.
fn fold_rising(block: &[f32], slope: &[f32], out: &mut [f32]) {
    let half = out.len();
    let (block_low, block_high) = block.split_at(half);
    let (slope_low, slope_high) = slope.split_at(half);
    for n in 0..half {
        out[n] = block_low[n] * slope_low[n] - block_high[half - 1 - n] * slope_high[half - 1 - n];
    }
}

/// Room that a transform works in.
pub(crate) struct Scratch {
    folded: [f32; LINES_MAX],
    data: Complex,
    other: Complex,
}

impl Scratch {
    pub(crate) const NEW: Self = Self { folded: [0.0; LINES_MAX], data: Complex::ZERO, other: Complex::ZERO };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Random;

    fn reference(samples: &[f64]) -> Vec<f64> {
        let lines = samples.len() / 2;
        (0..lines)
            .map(|k| {
                let line = |n: usize| {
                    let phase = (2 * n + 1 + lines) as f64 * (2 * k + 1) as f64;
                    samples[n] * (PI / (4 * lines) as f64 * phase).cos()
                };
                2.0 * (0..2 * lines).map(line).sum::<f64>()
            })
            .collect()
    }

    #[test]
    fn every_size_is_the_transform_of_the_standard() {
        for (mdct, divisor) in [1, 2, 4].into_iter().flat_map(|d| [(Mdct::long(d), d), (Mdct::short(d), d)]) {
            let lines = mdct.lines;
            let mut random = Random::new(lines as u64);
            let samples: Vec<f32> = (0..2 * lines).map(|_| 1000.0 * random.uniform() as f32).collect();
            let windowed: Vec<f64> = (0..2 * lines)
                .map(|n| f64::from(samples[n]) * f64::from(mdct.slope[n.min(2 * lines - 1 - n)]))
                .collect();
            let mut out = [0.0; LINES_MAX];
            let (first, second) = samples.split_at(lines);
            let slopes = (Slope::Long, Slope::Long);
            mdct.transform(first, second, slopes, &mut out, &mut { Scratch::NEW });
            for (k, expected) in reference(&windowed).into_iter().enumerate() {
                let error = (f64::from(out[k]) - divisor as f64 * expected).abs();
                assert!(error < 0.5 * divisor as f64, "{lines} lines, {k}: {error}");
            }
        }
    }

    #[test]
    fn a_smaller_transform_of_a_telephone_band_is_the_larger_one() {
        let tone = |n: f64| {
            [211.0, 1004.0, 3_977.0]
                .iter()
                .map(|hz| 9_000.0 * (2.0 * PI * hz * n / 48_000.0 + hz).sin())
                .sum::<f64>()
        };
        let full: Vec<f32> = (0..2048).map(|n| tone(f64::from(n)) as f32).collect();
        let fourth: Vec<f32> = (0..512).map(|m| tone(f64::from(m) * 4.0 + 1.5) as f32).collect();
        let mut scratch = Scratch::NEW;
        let (mut large, mut small) = ([0.0; LINES_MAX], [0.0; LINES_MAX]);
        let slopes = (Slope::Long, Slope::Long);
        Mdct::long(1).transform(&full[..1024], &full[1024..], slopes, &mut large, &mut scratch);
        Mdct::long(4).transform(&fourth[..256], &fourth[256..], slopes, &mut small, &mut scratch);
        let signal: f32 = large[..171].iter().map(|x| x * x).sum();
        let error: f32 = large[..171].iter().zip(&small).map(|(x, y)| (x - y) * (x - y)).sum();
        assert!(error / signal < 1e-9, "{}", error / signal);
    }
}
