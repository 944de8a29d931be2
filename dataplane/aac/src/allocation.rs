//! Where the noise of quantization may lie, and how many bits that takes, in closed form.
//! Takes: lines of a channel. Gives: scale factors for a gain that all bands share, and an estimate of the bits.
//!
//! Noise follows the energy that masks it by a power law: louder bands get more noise, and less than in proportion.
//! What one band masks in its neighbours falls off on both sides.

use std::sync::LazyLock;

use crate::codebook::DIFFERENCE_MAX;
use crate::layout::{BANDS_MAX, Layout};
use crate::log2::log2;
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
            let energy = self.measure(band, &lines[range.clone()], &powers[range.clone()]);
            self.maskers[band] = (0.5 * log2(energy / range.len() as f32)).max(SILENT);
        }
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
        self.measure(band, lines, powers);
        self.maskers[band] = masker;
    }

    /// Notes all of a band but what masks; gives its energy.
    fn measure(&mut self, band: usize, lines: &[f32], powers: &[f32]) -> f32 {
        let width = lines.len() as f32;
        let Sums { energy, power, peak } = sums(lines, powers);
        self.widths[band] = width;
        self.levels[band] = log2(power / width);
        self.peaks[band] = peak;
        // peak 2^(-3/16 (sf - 100)) must stay below the greatest value.
        let legal = UNITY + (log2(peak) - VALUE_MAX_LOG2) * (16.0 / 3.0);
        self.floors[band] = legal.max(FINEST);
        energy
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
        let bands = self.widths.iter().zip(&self.levels).zip(&self.maskers).zip(&self.floors);
        for (((width, level), masker), floor) in bands.take(self.count) {
            let wanted = gain + SLOPE * masker;
            let scale_factor = if wanted > *floor { wanted } else { *floor };
            let [bits, slope] = line_bits(level - 0.1875 * (scale_factor - UNITY));
            sum.bits += width * bits;
            sum.fewer += if wanted > *floor { 0.1875 * width * slope } else { 0.0 };
        }
    }

    /// The scale factors at a gain.
    pub(crate) fn scale_factors(&self, gain: f32, out: &mut [u8; BANDS_MAX]) {
        // Neighbours differ by no more than can be coded; what is louder rules.
        let highest = (0..self.count).map(|band| self.floors[band]).fold(0.0, f32::max).ceil();
        let mut least = 0.0_f32;
        for band in 0..self.count {
            least = least.max(gain + SLOPE * self.maskers[band]);
        }
        let least = least.max(highest) - DIFFERENCE_MAX as f32;
        for (band, out) in out.iter_mut().enumerate().take(self.count) {
            let wanted = (gain + SLOPE * self.maskers[band] + 0.5).floor();
            *out = wanted.max(self.floors[band].ceil()).max(least).clamp(0.0, 255.0) as u8;
        }
    }
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
fn line_bits(level: f32) -> [f32; 2] {
    /// Bits, and how many more they are at the next step.
    static TABLE: LazyLock<[[f32; 2]; STEPS]> = LazyLock::new(|| {
        let bits = |step: usize| {
            let level = step as f32 / STEPS_PER_UNIT + LOWEST;
            (1.0 + 5.4 * level.exp2()).log2()
        };
        std::array::from_fn(|step| [bits(step), bits(step + 1) - bits(step)])
    });
    let at = ((level - LOWEST) * STEPS_PER_UNIT).clamp(0.0, STEPS as f32 - 0.01);
    let step = at as u16;
    let [bits, more] = TABLE[usize::from(step) % STEPS];
    [bits + (at - f32::from(step)) * more, more * STEPS_PER_UNIT]
}

const LOWEST: f32 = -8.0;
const STEPS_PER_UNIT: f32 = 4.0;
const STEPS: usize = 128;
