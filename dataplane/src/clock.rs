//! Monotonic time for a shard, and where the kernel's wall-clock arrival stamps lie on it.

use std::time::{Duration, Instant, SystemTime};

use sipcast_contract::Timestamp;

/// Longest age believed of an arrival stamp; beyond it the wall clock was set in between.
const ARRIVAL_AGE_MAX: Duration = Duration::from_secs(2);

/// One shard's clock, read once per turn.
pub struct Clock {
    start: Instant,
    now: Timestamp,
    /// The same moment as `now`, since the UNIX epoch.
    wall: Duration,
}

impl Clock {
    /// Starts at zero.
    pub fn new() -> Self {
        let mut clock = Self { start: Instant::now(), now: Timestamp::ZERO, wall: Duration::ZERO };
        clock.read();
        clock
    }

    /// Reads both clocks.
    pub fn read(&mut self) -> Timestamp {
        self.now = self.precise();
        self.wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.now
    }

    /// The moment of the last [`Clock::read`].
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// This very moment.
    pub fn precise(&self) -> Timestamp {
        Timestamp::ZERO + self.start.elapsed()
    }

    /// When a datagram arrived that the kernel stamped with wall time `stamp`.
    pub fn arrival(&self, stamp: Option<Duration>) -> Timestamp {
        let age = stamp.and_then(|stamp| self.wall.checked_sub(stamp)).unwrap_or_default();
        if age > ARRIVAL_AGE_MAX {
            return self.now;
        }
        Timestamp::from_nanos(self.now.as_nanos().saturating_sub(age.as_nanos() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_lies_before_now_by_its_age_unless_that_is_absurd() {
        let mut clock = Clock::new();
        clock.now = Timestamp::from_millis(5_000);
        let at = |age_ms| clock.arrival(clock.wall.checked_sub(Duration::from_millis(age_ms)));
        assert_eq!(at(3), Timestamp::from_millis(4_997));
        assert_eq!(at(60_000), Timestamp::from_millis(5_000));
        assert_eq!(clock.arrival(None), clock.now);
        assert_eq!(clock.arrival(Some(clock.wall + Duration::from_secs(1))), clock.now);
    }
}
