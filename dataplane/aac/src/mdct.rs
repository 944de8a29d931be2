//! The modified discrete cosine transform of the encoder's filter bank (ISO/IEC 14496-3 §4.6.11.2, forward).
//! Takes: two adjoining blocks of `lines` samples and how the window rises and falls. Gives: `lines` lines.
//!
//! Sound that is band-limited needs no full transform. With n = d m + (d - 1) / 2 the phase of the cosine,
//! n + 1/2 + N/2, is d (m + 1/2 + N/(2 d)): the lowest N/d lines of a transform of N lines are, d times, a transform of
//! N/d lines of the same sound sampled at every d-th place, as long as sound and line together stay below the lower
//! sampling rate.

use std::f64::consts::PI;
use std::sync::LazyLock;

use wide::f32x4;

use crate::fft::{Complex, Fft};
use crate::vectors::{LANES, joined, parted, reversed};
use crate::window;

/// Lines of a long transform at the output's own rate.
pub(crate) const LINES_MAX: usize = 1024;

/// Lines that a transform makes at a time.
pub(crate) const LINES_STEP: usize = 2 * LANES;

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
    /// `exp(-i pi (n + 1/8) / lines)`, real and imaginary parts: before and after the FFT. What comes before holds the
    /// scale.
    before: Box<[[f32x4; 2]]>,
    after: Box<[[f32x4; 2]]>,
    slope: Box<[f32]>,
    edge: Box<[f32]>,
}

impl Mdct {
    /// Long transforms of 1024 / `divisor` lines.
    pub(crate) fn long(divisor: u32) -> &'static Self {
        static LONG: [LazyLock<Mdct>; 3] = [
            LazyLock::new(|| Mdct::new(1024, 1.0)),
            LazyLock::new(|| Mdct::new(512, 2.0)),
            LazyLock::new(|| Mdct::new(256, 4.0)),
        ];
        &LONG[divisor.trailing_zeros() as usize]
    }

    /// Short transforms of 128 / `divisor` lines.
    pub(crate) fn short(divisor: u32) -> &'static Self {
        static SHORT: [LazyLock<Mdct>; 3] = [
            LazyLock::new(|| Mdct::new(128, 1.0)),
            LazyLock::new(|| Mdct::new(64, 2.0)),
            LazyLock::new(|| Mdct::new(32, 4.0)),
        ];
        &SHORT[divisor.trailing_zeros() as usize]
    }

    fn new(lines: usize, divisor: f64) -> Self {
        let twiddles = |scale: f64| {
            let angle = |n: usize| -PI * (8 * n + 1) as f64 / (8 * lines) as f64;
            let vector = |at: usize, part: fn(f64) -> f64| {
                f32x4::from([0, 1, 2, 3].map(|lane| (scale * part(angle(at + lane))) as f32))
            };
            (0..lines / 2).step_by(LANES).map(|n| [vector(n, f64::cos), vector(n, f64::sin)]).collect()
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

    /// Transforms `first` and `second`, `lines` samples each, into the lowest lines that `out` has room for: whole
    /// [`LINES_STEP`]s, `lines` at most.
    pub(crate) fn transform(
        &self,
        first: &[f32],
        second: &[f32],
        (rising, falling): (Slope, Slope),
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let lines = self.lines;
        let Scratch { folded, odd, data, other } = scratch;
        let (low, high) = folded[..lines / LANES].split_at_mut(lines / 2 / LANES);
        fold_falling(&second[..lines], self.slope(falling), low);
        fold_rising(&first[..lines], self.slope(rising), high);
        let vectors = lines / 2 / LANES;
        let (re, im, odd) = (&mut data.re[..vectors], &mut data.im[..vectors], &mut odd[..vectors]);
        let pairs = folded[..lines / LANES].as_chunks::<2>().0;
        for ((even, odd), pair) in re.iter_mut().zip(&mut *odd).zip(pairs) {
            [*even, *odd] = parted(*pair);
        }
        // Sample 2 n, and sample 2 n from the end.
        for ((re, im), (odd, before)) in re.iter_mut().zip(im).zip(odd.iter().rev().zip(&self.before)) {
            let (even, odd) = (*re, reversed(*odd));
            *re = even * before[0] - odd * before[1];
            *im = even * before[1] + odd * before[0];
        }
        self.fft.transform(data, other);
        let (re, im) = (&data.re[..vectors], &data.im[..vectors]);
        let ahead = re.iter().zip(im).zip(&self.after);
        // Line 2 n, and line 2 n from the end.
        let pairs = ahead.clone().zip(ahead.rev());
        let out = out.as_chunks_mut::<LINES_STEP>().0;
        for (out, (((re, im), after), ((re_back, im_back), after_back))) in out.iter_mut().zip(pairs) {
            let even = *re * after[0] - *im * after[1];
            let odd = reversed(*re_back * after_back[1] + *im_back * after_back[0]);
            let [low, high] = joined(even, -odd);
            out[..LANES].copy_from_slice(low.as_array());
            out[LANES..].copy_from_slice(high.as_array());
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
fn fold_falling(block: &[f32], slope: &[f32], out: &mut [f32x4]) {
    let ((low, high), (slope_low, slope_high)) = (halves(block), halves(slope));
    let ahead = high.iter().zip(slope_high);
    for (out, ((high, slope_high), (low, slope_low))) in
        out.iter_mut().zip(ahead.zip(low.iter().rev().zip(slope_low.iter().rev())))
    {
        let (low, slope_low) = (reversed(f32x4::from(*low)), reversed(f32x4::from(*slope_low)));
        *out = -(low * f32x4::from(*slope_high)) - f32x4::from(*high) * slope_low;
    }
}

/// The second half: the first block, windowed, less its mirror image.
fn fold_rising(block: &[f32], slope: &[f32], out: &mut [f32x4]) {
    let ((low, high), (slope_low, slope_high)) = (halves(block), halves(slope));
    let ahead = low.iter().zip(slope_low);
    for (out, ((low, slope_low), (high, slope_high))) in
        out.iter_mut().zip(ahead.zip(high.iter().rev().zip(slope_high.iter().rev())))
    {
        let mirrored = reversed(f32x4::from(*high) * f32x4::from(*slope_high));
        *out = f32x4::from(*low) * f32x4::from(*slope_low) - mirrored;
    }
}

/// Both halves of a block, in vectors.
fn halves(block: &[f32]) -> (&[[f32; LANES]], &[[f32; LANES]]) {
    let vectors = block.as_chunks::<LANES>().0;
    vectors.split_at(vectors.len() / 2)
}

/// Room that a transform works in.
pub(crate) struct Scratch {
    folded: [f32x4; LINES_MAX / LANES],
    odd: [f32x4; LINES_MAX / 2 / LANES],
    data: Complex,
    other: Complex,
}

impl Scratch {
    pub(crate) const NEW: Self = Self {
        folded: [f32x4::ZERO; LINES_MAX / LANES],
        odd: [f32x4::ZERO; LINES_MAX / 2 / LANES],
        data: Complex::ZERO,
        other: Complex::ZERO,
    };
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
