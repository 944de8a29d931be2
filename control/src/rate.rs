//! Token buckets: how often somebody may do something.
//! Takes: who, and the time. Gives: go on, or how long to wait. Leaves out: what is limited (`faces`, `broadcast`).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One bucket per somebody, at most [`BUCKETS_MAX`].
pub(crate) struct Rate<Who> {
    /// 0: no limit.
    per_s: u32,
    buckets: Mutex<HashMap<Who, Bucket>>,
}

/// Invariant: `0 <= tokens <= burst`.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<Who: Hash + Eq> Rate<Who> {
    /// As many a second in the long run, and twice as many at once; 0: no limit.
    pub(crate) fn new(per_s: u32) -> Self {
        Self { per_s, buckets: Mutex::default() }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// When the next one is there.
    pub(crate) fn take(&self, who: Who, now: Instant) -> Result<(), Duration> {
        if self.per_s == 0 {
            return Ok(());
        }
        let (rate, burst) = (f64::from(self.per_s), f64::from(self.per_s) * 2.0);
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * rate).min(burst)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&who) {
            // A full bucket says nothing that a new one would not.
            buckets.retain(|_, bucket| filled(bucket) < burst);
            if buckets.len() >= BUCKETS_MAX {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket { tokens: burst, at: now });
        let tokens = filled(bucket);
        if tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - tokens) / rate));
        }
        *bucket = Bucket { tokens: tokens - 1.0, at: now.max(bucket.at) };
        Ok(())
    }
}

/// Whom buckets are kept for at the same time; while all of them are busy, strangers have to wait.
const BUCKETS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let rate = Rate::new(10);
        let start = Instant::now();
        assert_eq!((0..30).filter(|_| rate.take(1, start).is_ok()).count(), 20, "the burst");
        let wait = rate.take(1, start).expect_err("empty");
        assert!(wait <= Duration::from_millis(100) && !wait.is_zero());
        assert!(rate.take(2, start).is_ok(), "another's is full");
        assert!(rate.take(1, start + Duration::from_millis(99)).is_err(), "just too early");
        assert!(rate.take(1, start + Duration::from_millis(101)).is_ok());
        assert!(Rate::new(0).take(1, start).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let rate = Rate::new(1);
        let start = Instant::now();
        let taken = (0..BUCKETS_MAX + 10).filter(|n| rate.take(*n, start).is_ok()).count();
        assert_eq!(taken, BUCKETS_MAX);
        assert!(rate.take(BUCKETS_MAX + 1, start + Duration::from_secs(3)).is_ok());
        assert_eq!(rate.buckets.lock().expect("sound").len(), 1);
    }
}
