//! When receiver reports are due (RFC 3550 §6.2, §6.3).
//! Two parties share a session, so the minimum interval of 5 s always rules and group size needs no estimate.

use std::time::Duration;

use sipcast_contract::Timestamp;

use super::super::random::SplitMix64;

/// The timer of one stream's reports.
#[derive(Clone, Debug)]
pub struct ReportSchedule {
    random: SplitMix64,
    due: Timestamp,
}

impl ReportSchedule {
    /// The first report is due 0.5 to 1.5 s after `now`; `seed` decides.
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let mut random = SplitMix64::new(seed);
        let due = now + spread(FIRST, &mut random);
        Self { random, due }
    }

    /// Whether a report is due; if so the next one is scheduled.
    pub fn poll(&mut self, now: Timestamp) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + spread(INTERVAL, &mut self.random);
        true
    }

    /// When the next report is due.
    pub const fn next_timeout(&self) -> Timestamp {
        self.due
    }
}

/// RFC 3550 §6.2: 0.5 to 1.5 times the interval, evenly, so that reports do not fall into step.
fn spread(interval: Duration, random: &mut SplitMix64) -> Duration {
    interval / 2 + Duration::from_micros(random.below(interval.as_micros() as u64 + 1))
}

/// RFC 3550 §6.2: the recommended minimum.
const INTERVAL: Duration = Duration::from_secs(5);
/// Sooner than the half interval of §6.2, so that the peer soon learns that its media arrives.
const FIRST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_lie_within_half_and_one_and_a_half() {
        for seed in 0..100 {
            let mut schedule = ReportSchedule::new(seed, Timestamp::ZERO);
            let mut now = Timestamp::ZERO;
            for (index, interval) in [1000u64, 5000, 5000, 5000].into_iter().enumerate() {
                let due = schedule.next_timeout();
                let wait = (due - now).as_micros() as u64;
                assert!((interval * 500..=interval * 1500).contains(&wait), "seed {seed} report {index}");
                assert!(!schedule.poll(Timestamp::from_nanos(due.as_nanos() - 1)));
                assert!(schedule.poll(due) && !schedule.poll(due));
                now = due;
            }
        }
    }

    #[test]
    fn seeds_differ() {
        let due = |seed| ReportSchedule::new(seed, Timestamp::ZERO).next_timeout();
        assert_ne!(due(1), due(2));
        assert_eq!(due(1), due(1));
    }
}
