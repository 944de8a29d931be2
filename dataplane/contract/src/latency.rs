//! A histogram of short durations in fixed memory: 8 buckets per octave from 1 us to 8 s, 12 % wide.

use std::time::Duration;

const STEPS_PER_OCTAVE: u32 = 8;
const OCTAVES: u32 = 23;
const BUCKETS: usize = (STEPS_PER_OCTAVE * (OCTAVES + 1)) as usize;

/// Counts durations; merging and quantiles are exact to one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl LatencyHistogram {
    /// Counts one duration; those above 8 s land in the last bucket.
    pub fn record(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
    }

    /// How many were counted.
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// Upper edge and count of every bucket that holds something, in rising order.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(index, count)| (Duration::from_micros(upper_edge(index)), *count))
    }

    /// Upper edge of the bucket that holds quantile `q` (0.0..=1.0); zero when nothing was counted.
    pub fn quantile(&self, q: f64) -> Duration {
        // Truncation is wanted: ranks are whole.
        let rank = ((self.total as f64 * q).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper_edge(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(micros: u64) -> usize {
    if micros < u64::from(STEPS_PER_OCTAVE) {
        return micros as usize;
    }
    let octave = micros.ilog2() - STEPS_PER_OCTAVE.ilog2();
    let step = (micros >> octave) as u32 - STEPS_PER_OCTAVE;
    (((octave + 1) * STEPS_PER_OCTAVE + step) as usize).min(BUCKETS - 1)
}

const fn upper_edge(index: usize) -> u64 {
    let steps = STEPS_PER_OCTAVE as usize;
    if index < steps {
        return index as u64;
    }
    let octave = index / steps - 1;
    (((index % steps + steps + 1) as u64) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_its_bucket() {
        for micros in (0..100_000).chain([1 << 20, 8_000_000]) {
            let index = bucket(micros);
            assert!(micros <= upper_edge(index), "{micros}");
            assert!(index == 0 || micros > upper_edge(index - 1), "{micros}");
        }
    }

    #[test]
    fn quantiles_of_a_known_set() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let median = histogram.quantile(0.5).as_micros();
        assert!((500..=570).contains(&median), "{median}");
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.count(), twice.quantile(0.5)), (2000, histogram.quantile(0.5)));
    }

    #[test]
    fn a_huge_value_lands_in_the_last_bucket() {
        let mut histogram = LatencyHistogram::default();
        histogram.record(Duration::from_secs(3600));
        assert_eq!(histogram.count(), 1);
        assert!(histogram.quantile(1.0) >= Duration::from_secs(8));
    }
}
