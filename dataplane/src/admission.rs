//! How many broadcasts a shard may carry, by what they cost so far: one more than its core can bear would hurt those in
//! progress. Takes: the CPU time of the shard's thread, and how many broadcasts had media meanwhile. Gives: a number.
//! Leaves out: refusing (control plane, which chooses the shard).

use std::time::Duration;

/// Share of a core that broadcasts may take in all. The rest is for what comes in bursts: IDR pictures of many calls at
/// once, reconnecting targets.
pub const BUSY_MAX: f64 = 0.85;

/// Share of a core that a broadcast is taken to cost before enough were measured: that of a transcoded call of 1 Mbit/s
/// on a slow core.
const COST_ASSUMED: f64 = 0.0025;

/// Below this number a broadcast costs more than it will, since few share a wake: no less than [`COST_ASSUMED`] is
/// believed to be saved by then.
const SHARED_FROM: f64 = 50.0;

/// Weight of the latest second. Some ten seconds count, so that a second of IDR pictures closes no shard.
const LATEST_WEIGHT: f64 = 0.1;

/// A shard's admission.
#[derive(Debug)]
pub struct Admission {
    /// Never more, whatever they cost.
    broadcasts_max: usize,
    /// Moving average of the share of a core.
    busy: f64,
    /// Moving average, over the same seconds, of the broadcasts with media: their quotient is the cost of one.
    active: f64,
}

impl Admission {
    /// Nothing is measured yet.
    pub fn new(broadcasts_max: usize) -> Self {
        Self { broadcasts_max, busy: 0.0, active: 0.0 }
    }

    /// In the last `elapsed`, `active` broadcasts had media, and the shard's thread took `cpu`.
    pub fn measure(&mut self, cpu: Duration, elapsed: Duration, active: usize) {
        let seconds = elapsed.as_secs_f64();
        if active == 0 || seconds <= 0.0 {
            // An idle shard says nothing of what a broadcast costs; what was known of it may no longer be true.
            (self.busy, self.active) = (0.0, 0.0);
            return;
        }
        let busy = cpu.as_secs_f64() / seconds;
        // The first second stands for those before it.
        let weight = if self.active == 0.0 { 1.0 } else { LATEST_WEIGHT };
        self.busy += (busy - self.busy) * weight;
        self.active += (active as f64 - self.active) * weight;
    }

    /// Share of a core that one broadcast costs; zero while none was measured.
    pub fn cost(&self) -> f64 {
        if self.active > 0.0 { self.busy / self.active } else { 0.0 }
    }

    /// How many broadcasts the shard may carry in all, those in progress included.
    pub fn limit(&self) -> usize {
        let cost = match self.cost() {
            cost if self.active < SHARED_FROM && (cost == 0.0 || cost > COST_ASSUMED) => COST_ASSUMED,
            cost => cost,
        };
        // A float becomes the nearest integer that there is.
        let by_cost = (BUSY_MAX / cost) as usize;
        let by_load = if self.busy < BUSY_MAX { usize::MAX } else { self.active.ceil() as usize };
        by_cost.min(by_load).min(self.broadcasts_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn measured(seconds: usize, busy_ms: u64, active: usize) -> Admission {
        let mut admission = Admission::new(500);
        (0..seconds).for_each(|_| admission.measure(Duration::from_millis(busy_ms), SECOND, active));
        admission
    }

    #[test]
    fn before_anything_is_measured_a_usual_cost_is_assumed() {
        assert_eq!(Admission::new(500).limit(), 340);
        assert_eq!(Admission::new(200).limit(), 200, "the configured number stays the limit");
        assert_eq!(measured(3, 40, 0).limit(), 340, "an idle shard says nothing");
    }

    #[test]
    fn the_limit_follows_the_measured_cost() {
        assert_eq!(measured(1, 100, 100).limit(), 500, "850 by cost");
        assert!(measured(5, 340, 100).limit().abs_diff(250) <= 1);
        assert!((measured(5, 340, 100).cost() - 0.0034).abs() < 1e-9);
        assert_eq!(measured(5, 900, 100).limit(), 94, "fewer than there are: no further one");
        assert_eq!(measured(1, 0, 10).limit(), 340, "too cheap to be measured by a coarse clock");
    }

    #[test]
    fn few_broadcasts_are_dear_and_close_the_shard_only_when_its_core_is_busy() {
        assert_eq!(measured(5, 10, 1).limit(), 340, "1 % of a core alone");
        assert_eq!(measured(5, 30, 30).limit(), 500, "cheaper than assumed");
        assert_eq!(measured(5, 840, 3).limit(), 340);
        assert_eq!(measured(5, 900, 3).limit(), 3, "each with many targets");
    }

    #[test]
    fn one_dear_second_closes_no_shard_and_ten_do() {
        let mut admission = measured(30, 300, 100);
        admission.measure(Duration::from_millis(900), SECOND, 100);
        assert!(admission.limit() > 200, "{}", admission.limit());
        (0..30).for_each(|_| admission.measure(Duration::from_millis(900), SECOND, 100));
        assert!((94..=100).contains(&admission.limit()), "{}", admission.limit());
    }

    #[test]
    fn a_ramp_does_not_look_cheap_because_its_calls_are_young() {
        let mut admission = Admission::new(500);
        for calls in (60..=240).step_by(10) {
            admission.measure(Duration::from_micros(3_400 * calls as u64), SECOND, calls);
            assert!(admission.limit().abs_diff(250) <= 1, "{calls}: {}", admission.limit());
        }
    }
}
