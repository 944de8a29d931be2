//! From the source's sampling rate to the one that is worked with, by a polyphase filter in exact rational time.
//! Takes: source samples. Gives: samples at the places that a smaller transform wants ([`crate::mdct`]).
//!
//! Its slope is wide: images of the source that fall on lines which are not coded may stay, so only what would fold back
//! onto coded lines is suppressed, from the working rate less the band on. 8 to 12 kHz takes 12 factors a sample.

use std::sync::OnceLock;

use wide::f32x4;

use crate::rates::{OUTPUT_RATES_HZ, Rates, SOURCE_RATES_HZ};
use crate::vectors::{LANES, vectors};
use crate::window::bessel_i0;

/// What is suppressed is so by this much.
const ATTENUATION_DB: f64 = 85.0;

/// Factors of the longest filter, 48 to 8 kHz, with room to spare.
pub(crate) const TAPS_MAX: usize = 256;

/// The filter of one pair of rates, shared by all encoders.
pub(crate) struct Kernel {
    /// Factors a sample; 0: the rates are equal and samples pass as they are.
    taps: usize,
    /// `taps` factors for each phase, in order of time.
    factors: Box<[f32]>,
    /// From one sample to the next in time: whole source samples, phases.
    step: (usize, usize),
    phases: usize,
    /// From the first source sample to working sample 0, and from one output sample to the next, in phases.
    first_phase: usize,
    output_step: usize,
    rates: Rates,
}

impl Kernel {
    /// The kernel of a pair of rates that is offered.
    pub(crate) fn of(rates: Rates) -> &'static Self {
        static KERNELS: [OnceLock<Kernel>; SOURCE_RATES_HZ.len() * OUTPUT_RATES_HZ.len()] =
            [const { OnceLock::new() }; SOURCE_RATES_HZ.len() * OUTPUT_RATES_HZ.len()];
        let source = SOURCE_RATES_HZ.iter().position(|&hz| hz == rates.source_hz).unwrap_or(0);
        let output = OUTPUT_RATES_HZ.iter().position(|&hz| hz == rates.output_hz).unwrap_or(0);
        KERNELS[source * OUTPUT_RATES_HZ.len() + output].get_or_init(|| Self::new(rates))
    }

    fn new(rates: Rates) -> Self {
        let Rates { source_hz, output_hz, divisor } = rates;
        if source_hz == output_hz {
            let factors = Box::default();
            return Self { taps: 0, factors, step: (1, 0), phases: 1, first_phase: 0, output_step: 0, rates };
        }
        // Working sample m lies at output sample divisor m + (divisor - 1) / 2, which is source sample
        // (2 divisor m + divisor - 1) source / (2 output). A phase is one of the fractions that occur.
        let unit = gcd(2 * divisor * source_hz, 2 * output_hz);
        let phases = (2 * output_hz / unit) as usize;
        let step = 2 * divisor * source_hz / unit;
        let offset = (divisor - 1) * source_hz;
        let fraction = f64::from(offset % unit) / f64::from(2 * output_hz);
        let filter = Filter::new(rates);
        let mut factors = Vec::with_capacity(phases * filter.taps);
        for phase in 0..phases {
            filter.write_phase(phase as f64 / phases as f64 + fraction, &mut factors);
        }
        Self {
            taps: filter.taps,
            factors: factors.into(),
            step: (step as usize / phases, step as usize % phases),
            phases,
            first_phase: (offset / unit) as usize,
            output_step: (2 * source_hz / unit) as usize,
            rates,
        }
    }
}

impl Kernel {
    /// Source samples after which the same phases come again.
    fn period(&self) -> usize {
        self.step.0 * self.phases + self.step.1
    }
}

/// Kernels that [`Interpolator::filter_thirds`] is for, those of 8 to 12, 16 to 24 and 32 to 48 kHz: three samples for
/// every two of the source.
const THIRDS_TAPS: usize = 12;
const THIRDS: usize = 3;
const THIRDS_PERIOD: usize = 2;
/// Source samples that four samples of one phase need.
const THIRDS_WINDOW: usize = THIRDS_TAPS + 3 * THIRDS_PERIOD;

/// A low-pass: a sinc in a Kaiser window, over source samples.
struct Filter {
    taps: usize,
    /// Cycles a source sample.
    cut_off: f64,
    beta: f64,
}

impl Filter {
    fn new(rates: Rates) -> Self {
        let source_hz = f64::from(rates.source_hz);
        let (pass_hz, stop_hz) = (rates.band_hz(), stop_hz(rates));
        // Kaiser's estimates of length and shape.
        let taps = (ATTENUATION_DB - 7.95) * source_hz / (14.36 * (stop_hz - pass_hz));
        Self {
            taps: (taps.ceil() as usize).next_multiple_of(4).min(TAPS_MAX),
            cut_off: (pass_hz + stop_hz) / 2.0 / source_hz,
            beta: 0.1102 * (ATTENUATION_DB - 8.7),
        }
    }

    /// Appends the factors for a sample `fraction` behind a source sample.
    fn write_phase(&self, fraction: f64, out: &mut Vec<f32>) {
        let reach = self.taps as f64 / 2.0;
        let factors: Vec<f64> = (0..self.taps)
            .map(|k| {
                let distance = fraction + reach - 1.0 - k as f64;
                let x = std::f64::consts::TAU * self.cut_off * distance;
                let sinc = if x.abs() < 1e-9 { 1.0 } else { x.sin() / x };
                let from_centre = distance / reach;
                sinc * bessel_i0(self.beta * (1.0 - from_centre * from_centre).max(0.0).sqrt())
            })
            .collect();
        let sum: f64 = factors.iter().sum();
        out.extend(factors.iter().map(|factor| (factor / sum) as f32));
    }
}

/// From where on nothing may pass, in Hz: it would fold back onto coded lines. At the source's rate already, as there is
/// the image of what does not move, which all phases must agree about.
fn stop_hz(rates: Rates) -> f64 {
    (rates.working_hz() - rates.band_hz()).min(f64::from(rates.source_hz))
}

/// One channel's state.
pub(crate) struct Interpolator {
    kernel: &'static Kernel,
    /// Source samples that are still needed, then those of the block at hand.
    held: Box<[f32]>,
    held_len: usize,
    /// Of the next sample: the first held sample that it needs, and its phase.
    next: (usize, usize),
}

impl Interpolator {
    /// For blocks of `block_len` source samples.
    pub(crate) fn new(kernel: &'static Kernel, block_len: usize) -> Self {
        let held = vec![0.0; kernel.taps + block_len + kernel.step.0 + 1].into();
        Self { kernel, held, held_len: 0, next: (0, 0) }
    }

    /// Begins anew, with silence before the first source sample, which lies `offset` output samples behind the first
    /// that working sample 0 stands for. Says which working sample comes first: `least` or, as the filter rings before,
    /// a later one.
    pub(crate) fn restart(&mut self, offset: usize, least: isize) -> isize {
        let kernel = self.kernel;
        if kernel.taps == 0 {
            return 0;
        }
        let phases = kernel.phases as isize;
        let step = kernel.step.0 as isize * phases + kernel.step.1 as isize;
        // Places in phases, from the first source sample on; one output sample is a whole number of them.
        let start = kernel.first_phase as isize - (offset * kernel.output_step) as isize;
        let reach = self.reach() as isize * phases;
        // The first one whose reach touches the first source sample.
        let first = (-reach - start).div_euclid(step) + 1;
        let first = first.max(least);
        self.held[..kernel.taps].fill(0.0);
        self.held_len = kernel.taps;
        // A sample needs `reach - 1` source samples before its own; `taps` of silence are held before the first.
        let at = start + first * step + (kernel.taps as isize + 1) * phases - reach;
        self.next = (at as usize / kernel.phases, at as usize % kernel.phases);
        first
    }

    /// Source samples that a sample needs on either side of its place.
    pub(crate) fn reach(&self) -> usize {
        self.kernel.taps / 2
    }

    /// The same as [`Interpolator::process`] with `count` samples of silence, when all that is held is silence.
    pub(crate) fn process_silence(&mut self, count: usize, out: &mut [f32]) -> usize {
        let kernel = self.kernel;
        if kernel.taps == 0 {
            out[..count].fill(0.0);
            return count;
        }
        let end = self.held_len + count;
        let step = kernel.step.0 * kernel.phases + kernel.step.1;
        let at = self.next.0 * kernel.phases + self.next.1;
        // The last place that can be had is at `end - taps` and any phase.
        let room = ((end + 1 - kernel.taps) * kernel.phases).saturating_sub(at);
        let len = room.div_ceil(step);
        out[..len].fill(0.0);
        let at = at + len * step;
        let used = (at / kernel.phases).min(end);
        self.held_len = end - used;
        self.held[..self.held_len].fill(0.0);
        self.next = (at / kernel.phases - used, at % kernel.phases);
        len
    }

    /// Takes `count` source samples, which `sample` tells, and writes what can be had of them; says how much that is.
    pub(crate) fn process(&mut self, count: usize, sample: impl Fn(usize) -> f32, out: &mut [f32]) -> usize {
        let kernel = self.kernel;
        if kernel.taps == 0 {
            out[..count].iter_mut().enumerate().for_each(|(n, out)| *out = sample(n));
            return count;
        }
        let end = self.held_len + count;
        self.held[self.held_len..end].iter_mut().enumerate().for_each(|(n, held)| *held = sample(n));
        let len = match (kernel.taps, kernel.phases, kernel.period()) {
            (THIRDS_TAPS, THIRDS, THIRDS_PERIOD) => self.filter_thirds(end, out),
            // The usual length is unrolled.
            (16, ..) => self.filter::<16>(end, out),
            _ => self.filter::<0>(end, out),
        };
        let used = self.next.0.min(end);
        self.held.copy_within(used..end, 0);
        self.held_len = end - used;
        self.next.0 -= used;
        len
    }

    /// Writes all samples that the first `end` held ones are enough for; with `TAPS` factors, or if 0 the kernel's.
    fn filter<const TAPS: usize>(&mut self, end: usize, out: &mut [f32]) -> usize {
        let Kernel { taps, step, phases, factors, .. } = self.kernel;
        let taps = if TAPS > 0 { TAPS } else { *taps };
        let held = &self.held[..end];
        let (mut at, mut phase) = self.next;
        let mut len = 0;
        for out in out {
            let Some(samples) = held.get(at..at + taps) else { break };
            *out = product(samples, &factors[phase * taps..][..taps]);
            len += 1;
            at += step.0;
            phase += step.1;
            if phase >= *phases {
                phase -= phases;
                at += 1;
            }
        }
        self.next = (at, phase);
        len
    }

    /// The same where all three phases come again after two source samples: four samples of each at a time.
    fn filter_thirds(&mut self, end: usize, out: &mut [f32]) -> usize {
        let held = &self.held[..end];
        let place = self.next.0 * THIRDS + self.next.1;
        let [first, second, third] = [0, 1, 2].map(|sample| {
            let place = place + sample * THIRDS_PERIOD;
            let factors = &self.kernel.factors[place % THIRDS * THIRDS_TAPS..][..THIRDS_TAPS];
            (held.get(place / THIRDS..).unwrap_or_default(), vectors(factors))
        });
        let mut len = 0;
        for (group, out) in out.as_chunks_mut::<{ LANES * THIRDS }>().0.iter_mut().enumerate() {
            let at = group * LANES * THIRDS_PERIOD;
            let (Some(first), Some(second), Some(third)) =
                (four_products(first, at), four_products(second, at), four_products(third, at))
            else {
                break;
            };
            for n in 0..LANES {
                out[n * THIRDS] = first[n];
                out[n * THIRDS + 1] = second[n];
                out[n * THIRDS + 2] = third[n];
            }
            len += LANES * THIRDS;
        }
        let place = place + len * THIRDS_PERIOD;
        self.next = (place / THIRDS, place % THIRDS);
        // What is left is less than a group.
        len + self.filter::<THIRDS_TAPS>(end, &mut out[len..])
    }

    /// Most samples that come of a block of `block_len`.
    pub(crate) fn len_max(kernel: &Kernel, block_len: usize) -> usize {
        let Rates { source_hz, output_hz, divisor } = kernel.rates;
        (block_len * output_hz as usize).div_ceil(source_hz as usize * divisor as usize) + 1
    }
}

/// Sums of products with the factors of one phase, of the samples from `at` on and those two, four and six further on;
/// `None`: there are too few.
#[inline(always)]
fn four_products(
    (samples, factors): (&[f32], [f32x4; THIRDS_TAPS / LANES]),
    at: usize,
) -> Option<[f32; LANES]> {
    let samples = samples.get(at..)?.first_chunk::<THIRDS_WINDOW>()?;
    let sums = |n: usize| {
        let [a, b, c] = vectors(&samples[n * THIRDS_PERIOD..][..THIRDS_TAPS]);
        a * factors[0] + b * factors[1] + c * factors[2]
    };
    let [a, b, c, d] = f32x4::transpose([sums(0), sums(1), sums(2), sums(3)]);
    Some(((a + b) + (c + d)).to_array())
}

/// Sum of products, in lanes that a vector holds.
#[inline(always)]
fn product(samples: &[f32], factors: &[f32]) -> f32 {
    let (samples, _) = samples.as_chunks::<4>();
    let (factors, _) = factors.as_chunks::<4>();
    let mut lanes = [0.0; 4];
    for (samples, factors) in samples.iter().zip(factors) {
        for lane in 0..4 {
            lanes[lane] += samples[lane] * factors[lane];
        }
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdct::{LINES_MAX, Mdct, Scratch, Slope};
    use std::f64::consts::TAU;

    fn all_rates() -> impl Iterator<Item = Rates> {
        SOURCE_RATES_HZ
            .into_iter()
            .flat_map(|source| OUTPUT_RATES_HZ.into_iter().map(move |output| (source, output)))
            .filter_map(|(source, output)| Rates::new(source, output))
    }

    /// Magnitude of what a tone of `hz` becomes at the same frequency, over all phases.
    fn gain(filter: &Filter, source_hz: f64, hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        let phases = 24;
        for phase in 0..phases {
            let fraction = f64::from(phase) / f64::from(phases);
            let mut factors = Vec::new();
            filter.write_phase(fraction, &mut factors);
            for (k, factor) in factors.iter().enumerate() {
                let distance = fraction + filter.taps as f64 / 2.0 - 1.0 - k as f64;
                let angle = TAU * hz / source_hz * distance;
                re += f64::from(*factor) * angle.cos() / f64::from(phases);
                im += f64::from(*factor) * angle.sin() / f64::from(phases);
            }
        }
        re.hypot(im)
    }

    #[test]
    fn the_band_passes_and_what_would_fold_onto_it_does_not() {
        for rates in all_rates().filter(|rates| rates.source_hz != rates.output_hz) {
            let filter = Filter::new(rates);
            let source_hz = f64::from(rates.source_hz);
            let band_hz = rates.band_hz();
            let stop_hz = stop_hz(rates);
            for step in 0..=40 {
                let ripple = 20.0 * gain(&filter, source_hz, band_hz * f64::from(step) / 40.0).log10();
                assert!(ripple.abs() < 0.01, "{rates:?}: {ripple} dB");
                let leak = gain(&filter, source_hz, stop_hz + source_hz * f64::from(step) / 40.0);
                assert!(20.0 * leak.log10() < -82.0, "{rates:?}: {} dB", 20.0 * leak.log10());
            }
        }
    }

    #[test]
    fn lines_of_the_band_are_those_of_samples_in_their_places() {
        for rates in all_rates() {
            let kernel = Kernel::of(rates);
            let block_len = rates.source_hz as usize / 50;
            let mut interpolator = Interpolator::new(kernel, block_len);
            let band_hz = rates.band_hz();
            let tone = |seconds: f64| {
                let tones = [0.11, 0.36, 0.97].map(|part| (TAU * part * band_hz * seconds + part).cos());
                1000.0 * tones.iter().sum::<f64>()
            };
            let first = interpolator.restart(0, isize::MIN);
            let mut samples = Vec::new();
            let mut out = vec![0.0; Interpolator::len_max(kernel, block_len)];
            for block in 0..40 {
                let sample = |n| tone((block * block_len + n) as f64 / f64::from(rates.source_hz)) as f32;
                let len = interpolator.process(block_len, sample, &mut out);
                samples.extend_from_slice(&out[..len]);
            }
            let wanted = 0.8 * rates.working_hz();
            assert!((samples.len() as f64 - wanted).abs() < 100.0, "{rates:?}");
            let at = samples.len() / 3;
            let expected: Vec<f32> = (0..samples.len())
                .map(|n| {
                    let place = (n as isize + first) as f64 * f64::from(rates.divisor);
                    let place = place + f64::from(rates.divisor - 1) / 2.0;
                    tone(place / f64::from(rates.output_hz)) as f32
                })
                .collect();
            let lines = |samples: &[f32]| {
                let mdct = Mdct::long(rates.divisor);
                let (first, second) = samples[at..].split_at(LINES_MAX / rates.divisor as usize);
                let mut out = [0.0; LINES_MAX];
                mdct.transform(first, second, (Slope::Long, Slope::Long), &mut out, &mut { Scratch::NEW });
                out
            };
            let (lines, expected) = (lines(&samples), lines(&expected));
            let range = ..rates.lines();
            let signal: f32 = expected[range].iter().map(|x| x * x).sum();
            let error: f32 = lines[range].iter().zip(&expected).map(|(x, y)| (x - y) * (x - y)).sum();
            let error_db = 10.0 * (error / signal).log10();
            println!("{rates:?}: {error_db} dB, {} factors", kernel.taps);
            assert!(error_db < -70.0, "{rates:?}: {error_db} dB");
        }
    }
}
