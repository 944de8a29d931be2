//! Where the noise of quantization may lie, and how many bits that takes, in closed form.
//! Takes: lines of a channel. Gives: scale factors for a gain that all bands share, and an estimate of the bits.
//!
//! Noise follows the energy that masks it by a power law: louder bands get more noise, and less than in proportion.
//! What one band masks in its neighbours falls off on both sides.

use crate::codebook::DIFFERENCE_MAX;
use crate::layout::{BANDS_MAX, Layout};
use crate::log2::{exp2, log2};
use crate::quantizer::UNITY;
use crate::rate_control::Estimate;

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
const LANES: usize = 8;
const _: () = assert!(BANDS_MAX.is_multiple_of(LANES));

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
        for band in 0..self.count {
            let range = layout.band(band);
            let energy = self.add_up(band, &lines[range.clone()], &powers[range.clone()]);
            self.maskers[band] = energy / range.len() as f32;
        }
        // What fills the last vector up is silent and has no lines, so that it costs no bits.
        let end = self.count.next_multiple_of(LANES);
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
        self.add_up(band, lines, powers);
        self.measure(band..band + 1);
        self.maskers[band] = masker;
    }

    /// Notes width, mean and peak of a band's powers; gives its energy.
    fn add_up(&mut self, band: usize, lines: &[f32], powers: &[f32]) -> f32 {
        let width = lines.len() as f32;
        let Sums { energy, power, peak } = sums(lines, powers);
        self.widths[band] = width;
        self.levels[band] = power / width;
        self.peaks[band] = peak;
        energy
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

    fn spread(&mut self, bands: std::ops::Range<usize>) {
        let maskers = &mut self.maskers[bands];
        let mut last = SILENT;
        for masker in maskers.iter_mut() {
            last = masker.max(last - FALL_UPWARDS);
            *masker = last;
        }
        for masker in maskers.iter_mut().rev() {
            last = masker.max(last - FALL_DOWNWARDS);
            *masker = last;
        }
    }

    /// Adds about how many bits the values take at a gain.
    pub(crate) fn estimate(&self, gain: f32, sum: &mut Estimate) {
        let end = self.count.next_multiple_of(LANES);
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
    let mut lanes = [0.0; LANES];
    for values in values.as_chunks::<LANES>().0 {
        lanes.iter_mut().zip(values).for_each(|(lane, value)| *lane += value);
    }
    lanes.iter().sum()
}

struct Sums {
    energy: f32,
    power: f32,
    peak: f32,
}

/// Sums of energies and powers, and the greatest power, in lanes that a vector holds.
fn sums(lines: &[f32], powers: &[f32]) -> Sums {
    let (mut energies, mut sums, mut peaks) = ([0.0; 4], [0.0; 4], [0.0_f32; 4]);
    for (lines, powers) in lines.as_chunks::<4>().0.iter().zip(powers.as_chunks::<4>().0) {
        for lane in 0..4 {
            energies[lane] += lines[lane] * lines[lane];
            sums[lane] += powers[lane];
            peaks[lane] = if powers[lane] > peaks[lane] { powers[lane] } else { peaks[lane] };
        }
    }
    Sums {
        energy: energies.iter().sum(),
        power: sums.iter().sum(),
        peak: peaks.into_iter().fold(0.0, f32::max),
    }
}

/// Bits of a line in a band whose mean magnitude is `2^level`, and how many more when the level grows by 1.
#[inline(always)]
fn line_bits(level: f32) -> [f32; 2] {
    let states = 5.4 * exp2(level);
    [log2(1.0 + states), states / (1.0 + states)]
}
