//! A constant bit rate on average, with the bit reservoir (ISO/IEC 14496-3 §4.5.3.2): what a frame does not need, later
//! ones may use, as far as the decoder's input buffer of 6144 bits a channel reaches.
//!
//! No search: the bits of a gain are estimated, the gain for the bits wanted follows, and the reservoir takes the error.

use crate::mdct::LINES_MAX;

/// Bits of the decoder's input buffer for each channel, and so of the longest frame (§4.5.3.2).
pub(crate) const CHANNEL_BITS_MAX: u32 = 6144;

/// How full the reservoir is to be on average; what is above is for sound that needs few bits.
const FULLNESS: f32 = 0.8;

/// How much of the reservoir's distance from that is made up for with each frame.
const CORRECTION: f32 = 0.125;

/// How much of what a frame needs beyond the mean at equal noise it gets.
const DEMAND: f32 = 0.1;

/// How fast the gain that demand is measured at follows the one in use.
const ADAPTION: f32 = 0.05;

/// The state of one encoder's rate.
#[derive(Clone, Debug)]
pub(crate) struct RateControl {
    /// Bits of a frame on average times `per_bit`.
    frame: i64,
    /// Units of the reservoir in a bit: the sampling rate, so that nothing is rounded.
    per_bit: i64,
    /// Bits of the longest frame.
    frame_max: u32,
    /// What the reservoir may hold and what it does, in units.
    capacity: i64,
    level: i64,
    /// The mean gain; `None` before the first sound.
    gain: Option<f32>,
    /// Bits that frames take beside what is estimated.
    overhead: f32,
}

/// What a frame may and must take, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) least: u32,
    pub(crate) most: u32,
}

impl RateControl {
    /// For `bit_rate_bps`, lowered to what `channels` may have at `sample_rate_hz`.
    pub(crate) fn new(bit_rate_bps: u32, sample_rate_hz: u32, channels: u32) -> Self {
        let frame_max = CHANNEL_BITS_MAX * channels;
        let per_bit = i64::from(sample_rate_hz);
        let most = i64::from(frame_max) * per_bit;
        let frame = (i64::from(bit_rate_bps) * LINES_MAX as i64).min(most);
        let overhead = 60.0 * channels as f32;
        Self { frame, per_bit, frame_max, capacity: most - frame, level: 0, gain: None, overhead }
    }

    /// Bits of a frame on average.
    pub(crate) fn frame_bits(&self) -> f32 {
        self.frame as f32 / self.per_bit as f32
    }

    /// What the next frame may take, and what it must, so that the reservoir neither runs dry nor over.
    pub(crate) fn bounds(&self) -> Bounds {
        let there = self.level + self.frame;
        let most = u32::try_from(there / self.per_bit).unwrap_or(0).min(self.frame_max);
        let over = there - self.capacity;
        let least = u32::try_from((over + self.per_bit - 1) / self.per_bit).unwrap_or(0);
        Bounds { least: least.min(most), most }
    }

    /// A frame took so many bits.
    pub(crate) fn spend(&mut self, bits: u32) {
        self.level += self.frame - i64::from(bits) * self.per_bit;
        // Only the shortest frame of all can be longer than what there is; it is not paid back.
        self.level = self.level.clamp(0, self.capacity);
    }

    /// The gain for the next frame, and the estimate at it. `estimate` gives the bits at a gain, and how many fewer 1 more
    /// makes.
    pub(crate) fn gain(&mut self, estimate: impl Fn(f32) -> Estimate) -> (f32, Estimate) {
        let average = self.frame_bits();
        let reference = self.gain.unwrap_or_else(|| {
            let start = estimate(START);
            solve(&estimate, average - self.overhead, START, start).0
        });
        let at_reference = estimate(reference);
        let demand = at_reference.bits + self.overhead;
        let level = self.level as f32 / self.per_bit as f32;
        let capacity = self.capacity as f32 / self.per_bit as f32;
        let wanted = average + DEMAND * (demand - average) + CORRECTION * (level - FULLNESS * capacity);
        let wanted = wanted.clamp(0.3 * average, average + 0.7 * level);
        let (gain, at_gain) = solve(&estimate, wanted - self.overhead, reference, at_reference);
        self.gain = Some(reference + ADAPTION * (gain - reference));
        (gain, at_gain)
    }

    /// Tells how many bits a frame took of which `estimated` were foreseen.
    pub(crate) fn learn(&mut self, estimated: f32, bits: u32) {
        self.overhead += LEARNING * (bits as f32 - estimated - self.overhead);
    }
}

/// Bits that the values of a frame take at a gain, about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) bits: f32,
    /// How many fewer they are when the gain grows by 1.
    pub(crate) fewer: f32,
}

/// The gain at which `estimate` is about `bits`, by Newton's method from `gain` on, where it is known; bits are a convex
/// function of the gain.
fn solve(
    estimate: &impl Fn(f32) -> Estimate,
    bits: f32,
    mut gain: f32,
    mut at_gain: Estimate,
) -> (f32, Estimate) {
    for _ in 0..STEPS {
        let step = ((at_gain.bits - bits) / at_gain.fewer.max(1.0)).clamp(-STEP_MAX, STEP_MAX);
        let stepped = (gain + step).clamp(GAIN_MIN, GAIN_MAX);
        let step = stepped - gain;
        gain = stepped;
        if step.abs() < CLOSE {
            // So near that a line tells as much.
            at_gain.bits -= step * at_gain.fewer;
            break;
        }
        at_gain = estimate(gain);
    }
    (gain, at_gain)
}

/// How fast the overhead follows.
const LEARNING: f32 = 0.1;
const START: f32 = 110.0;
const STEPS: usize = 4;
const STEP_MAX: f32 = 40.0;
/// A gain so near is as good.
const CLOSE: f32 = 1.5;
const GAIN_MIN: f32 = 40.0;
const GAIN_MAX: f32 = 255.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reservoir_neither_runs_dry_nor_over() {
        let mut control = RateControl::new(64_000, 48_000, 1);
        assert_eq!(control.bounds(), Bounds { least: 0, most: 1_365 });
        for _ in 0..10 {
            control.spend(1_000);
        }
        assert_eq!(control.bounds().most, 1_365 + 3_653);
        for _ in 0..10 {
            control.spend(control.bounds().least.next_multiple_of(8));
        }
        // The buffer is full: the whole of what comes in must be used.
        let Bounds { least, most } = control.bounds();
        assert!((1_358..=1_366).contains(&least) && (6_136..=6_144).contains(&most), "{least} {most}");
        control.spend(most);
        assert_eq!(control.bounds().least, 0);
        assert!(control.bounds().most <= 1_366);
    }

    #[test]
    fn more_than_a_decoder_takes_is_lowered() {
        let control = RateControl::new(10_000_000, 48_000, 2);
        assert_eq!(control.bounds(), Bounds { least: 12_288, most: 12_288 });
        assert_eq!(control.frame_bits(), 12_288.0);
    }

    #[test]
    fn the_gain_meets_the_bits_wanted() {
        let mut control = RateControl::new(64_000, 48_000, 1);
        let estimate = |gain: f32| Estimate {
            bits: (200.0 - gain).max(0.0) * 20.0,
            fewer: if gain < 200.0 { 20.0 } else { 0.0 },
        };
        let mut sum = 0.0;
        for _ in 0..400 {
            let bits = estimate(control.gain(estimate).0).bits + 100.0;
            control.learn(bits - 100.0, bits as u32);
            control.spend(bits as u32);
            sum += bits;
        }
        assert!((sum / 400.0 / control.frame_bits() - 1.0).abs() < 0.03, "{sum}");
    }
}
