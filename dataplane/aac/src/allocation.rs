//! Where the noise of quantization may lie, and how many bits that takes, in closed form.
//! Takes: lines of a channel. Gives: scale factors for a gain that all bands share, and an estimate of the bits.
//!
//! Noise follows the energy that masks it by a power law: louder bands get more noise, and less than in proportion.
//! What one band masks in its neighbours falls off on both sides.

use wide::f32x4;

use crate::codebook::DIFFERENCE_MAX;
use crate::layout::{BANDS_MAX, Layout};
use crate::log2::{exp2, log2};
use crate::quantizer::UNITY;
use crate::rate_control::Estimate;
use crate::vectors::LANES;

/// What is known of a channel's bands.
pub(crate) struct Demand {
    count: usize,
    /// Lines of each band.
    widths: [f32; BANDS_MAX],
    /// Binary logarithm of the mean power of 3/4: what decides about bits.
    levels: [f32; BANDS_MAX],
    /// Binary logarithm of the amplitude that masks.
    maskers: [f32; BANDS_MAX],
    /// Least scale factor that keeps values legal and is of any use.
    floors: [f32; BANDS_MAX],
    /// Greatest power of each band.
    pub(crate) peaks: [f32; BANDS_MAX],
}

/// Steps of scale factor for each doubling of the masker's amplitude. The quantizer itself lets noise grow with the
/// fourth root of energy; this makes it the third. By PESQ of speech steeper laws are worse from 2 bits a line on.
const SLOPE: f32 = 0.5;

/// How much masking falls off from a band to the next one above and below, in binary logarithms of amplitude.
const FALL_UPWARDS: f32 = 0.5;
const FALL_DOWNWARDS: f32 = 1.0;

/// The binary logarithm of the greatest value, less what the logarithm may be wrong by.
const VALUE_MAX_LOG2: f32 = 12.97;

/// Least scale factor of any use: its noise is 12 dB below that of samples of 16 bits.
const FINEST: f32 = 112.0;

/// What this is added to is rounded up when it is cut to a whole number, unless it is one or less than 0.0001 above it;
/// [`VALUE_MAX_LOG2`] leaves room for that.
const BELOW_ONE: f32 = 0.9999;

/// Bands that are looked at together: two vectors' worth. What is kept of bands is kept in whole ones.
const TOGETHER: usize = 2 * LANES;
const _: () = assert!(BANDS_MAX.is_multiple_of(TOGETHER));

/// Bands below this amplitude, in binary logarithms, are silent.
const SILENT: f32 = -10.0;

impl Demand {
    pub(crate) const EMPTY: Self = Self {
        count: 0,
        widths: [0.0; BANDS_MAX],
        levels: [0.0; BANDS_MAX],
        maskers: [0.0; BANDS_MAX],
        floors: [0.0; BANDS_MAX],
        peaks: [0.0; BANDS_MAX],
    };

    /// Looks at the lines of a channel and their powers of 3/4.
    pub(crate) fn analyse(&mut self, layout: &Layout, lines: &[f32], powers: &[f32]) {
        self.count = layout.bands();
        for first in (0..self.count).step_by(LANES) {
            let bands = first..self.count.min(first + LANES);
            let sums = bands.clone().map(|band| {
                let range = layout.band(band);
                self.widths[band] = range.len() as f32;
                Sums::of(&lines[range.clone()], &powers[range])
            });
            let mut of_bands = [Sums::NONE; LANES];
            of_bands.iter_mut().zip(sums).for_each(|(of_band, sums)| *of_band = sums);
            let [energies, sums, peaks] = Sums::whole(of_bands);
            for ((band, energy), (power, peak)) in bands.zip(energies).zip(sums.into_iter().zip(peaks)) {
                self.maskers[band] = energy / self.widths[band];
                self.levels[band] = power / self.widths[band];
                self.peaks[band] = peak;
            }
        }
        // What fills the last vector up is silent and has no lines, so that it costs no bits.
        let end = self.count.next_multiple_of(TOGETHER);
        for values in [&mut self.widths, &mut self.levels, &mut self.maskers, &mut self.peaks] {
            values[self.count..end].fill(0.0);
        }
        for masker in &mut self.maskers[..end] {
            let masks = 0.5 * log2(*masker);
            *masker = if masks > SILENT { masks } else { SILENT };
        }
        self.measure(0..end);
        for group in 0..layout.groups().len() {
            self.spread(group * layout.group_bands..(group + 1) * layout.group_bands);
        }
    }

    /// What masks in a band: the binary logarithm of an amplitude.
    pub(crate) fn masker(&self, band: usize) -> f32 {
        self.maskers[band]
    }

    /// A band holds other lines now, and something else masks there.
    pub(crate) fn change(&mut self, band: usize, lines: &[f32], powers: &[f32], masker: f32) {
        let [_, [power, ..], [peak, ..]] =
            Sums::whole([Sums::of(lines, powers), Sums::NONE, Sums::NONE, Sums::NONE]);
        self.levels[band] = power / self.widths[band];
        self.peaks[band] = peak;
        self.measure(band..band + 1);
        self.maskers[band] = masker;
    }

    /// Makes levels of mean powers, and floors of peaks.
    fn measure(&mut self, bands: std::ops::Range<usize>) {
        let levels = &mut self.levels[bands.clone()];
        let peaks = &self.peaks[bands.clone()];
        for ((level, floor), peak) in levels.iter_mut().zip(&mut self.floors[bands]).zip(peaks) {
            *level = log2(*level);
            // peak 2^(-3/16 (sf - 100)) must stay below the greatest value.
            let legal = UNITY + (log2(*peak) - VALUE_MAX_LOG2) * (16.0 / 3.0);
            *floor = if legal > FINEST { legal } else { FINEST };
        }
    }

    /// Lets each band mask its neighbours. What falls off is added beforehand, so that one greatest number after the other
    /// is all that has to wait for the one before.
    fn spread(&mut self, bands: std::ops::Range<usize>) {
        let maskers = &mut self.maskers[bands];
        let mut greatest = SILENT;
        let mut fallen = 0.0;
        for masker in maskers.iter_mut() {
            let raised = *masker + fallen;
            greatest = if raised > greatest { raised } else { greatest };
            *masker = greatest - fallen;
            fallen += FALL_UPWARDS;
        }
        let mut greatest = SILENT;
        let mut fallen = 0.0;
        for masker in maskers.iter_mut().rev() {
            let raised = *masker + fallen;
            greatest = if raised > greatest { raised } else { greatest };
            *masker = greatest - fallen;
            fallen += FALL_DOWNWARDS;
        }
    }

    /// Adds about how many bits the values take at a gain.
    pub(crate) fn estimate(&self, gain: f32, sum: &mut Estimate) {
        let end = self.count.next_multiple_of(TOGETHER);
        let (mut bits, mut fewer) = ([0.0; BANDS_MAX], [0.0; BANDS_MAX]);
        let known = self.levels[..end].iter().zip(&self.maskers[..end]).zip(&self.floors[..end]);
        let sought = self.widths[..end].iter().zip(&mut bits[..end]).zip(&mut fewer[..end]);
        for (((level, masker), floor), ((width, bits), fewer)) in known.zip(sought) {
            let wanted = gain + SLOPE * masker;
            let scale_factor = if wanted > *floor { wanted } else { *floor };
            let [of_line, slope] = line_bits(level - 0.1875 * (scale_factor - UNITY));
            *bits = width * of_line;
            *fewer = if wanted > *floor { width * slope } else { 0.0 };
        }
        sum.bits += total(&bits[..end]);
        sum.fewer += 0.1875 * total(&fewer[..end]);
    }

    /// The scale factors at a gain.
    pub(crate) fn scale_factors(&self, gain: f32, out: &mut [u8; BANDS_MAX]) {
        // Neighbours differ by no more than can be coded; what is louder rules.
        let bands = || self.maskers.iter().zip(&self.floors).take(self.count);
        let wanted = |masker: &f32| gain + SLOPE * masker;
        let highest = bands().fold(0.0_f32, |highest, (masker, floor)| {
            let highest = if wanted(masker) > highest { wanted(masker) } else { highest };
            if *floor > highest { *floor } else { highest }
        });
        let least = highest as i32 + 1 - DIFFERENCE_MAX;
        for (out, (masker, floor)) in out.iter_mut().zip(bands()) {
            // Rounded to the nearest, and up; what is below 0 is raised all the same.
            let wanted = (wanted(masker) + 0.5) as i32;
            *out = wanted.max((floor + BELOW_ONE) as i32).max(least).clamp(0, 255) as u8;
        }
    }
}

/// The sum of values, whole vectors of them.
fn total(values: &[f32]) -> f32 {
    let mut lanes = [0.0; TOGETHER];
    for values in values.as_chunks::<TOGETHER>().0 {
        lanes.iter_mut().zip(values).for_each(|(lane, value)| *lane += value);
    }
    lanes.iter().sum()
}

/// Sums of a band's energies and powers, and its greatest power, each in the lanes of a vector.
#[derive(Clone, Copy)]
struct Sums {
    energies: f32x4,
    powers: f32x4,
    peaks: f32x4,
}

impl Sums {
    const NONE: Self = Self { energies: f32x4::ZERO, powers: f32x4::ZERO, peaks: f32x4::ZERO };

    #[inline(always)]
    fn of(lines: &[f32], powers: &[f32]) -> Self {
        let mut sums = Self::NONE;
        for (lines, powers) in lines.as_chunks::<LANES>().0.iter().zip(powers.as_chunks::<LANES>().0) {
            let (lines, powers) = (f32x4::from(*lines), f32x4::from(*powers));
            sums.energies += lines * lines;
            sums.powers += powers;
            sums.peaks = sums.peaks.fast_max(powers);
        }
        sums
    }

    /// The lanes of each band in one: energies, powers, peaks.
    #[inline(always)]
    fn whole(bands: [Self; LANES]) -> [[f32; LANES]; 3] {
        let add = |[a, b, c, d]: [f32x4; LANES]| (a + b + c + d).to_array();
        let [a, b, c, d] = f32x4::transpose(bands.map(|band| band.peaks));
        [
            add(f32x4::transpose(bands.map(|band| band.energies))),
            add(f32x4::transpose(bands.map(|band| band.powers))),
            a.fast_max(b).fast_max(c.fast_max(d)).to_array(),
        ]
    }
}

/// Bits of a line in a band whose mean magnitude is `2^level`, and how many more when the level grows by 1.
#[inline(always)]
fn line_bits(level: f32) -> [f32; 2] {
    let states = 5.4 * exp2(level);
    [log2(1.0 + states), states / (1.0 + states)]
}
