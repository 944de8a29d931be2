//! How long to wait before the next connection attempt: growing pauses with jitter, for ever.

use std::time::Duration;

use sipcast_contract::Timestamp;

use super::random::SplitMix64;

/// Pauses of one target. An outage begins with the first failure after [`STEADY`] of publishing.
#[derive(Debug)]
pub struct BackOff {
    random: SplitMix64,
    next: Duration,
    outage_began: Option<Timestamp>,
    published: Option<Timestamp>,
}

impl BackOff {
    /// No outage yet.
    pub const fn new(seed: u64) -> Self {
        Self { random: SplitMix64::new(seed), next: FIRST, outage_began: None, published: None }
    }

    /// `publish` was accepted.
    pub const fn handle_published(&mut self, now: Timestamp) {
        self.published = Some(now);
    }

    /// The connection failed or was lost: how long to wait. A server that accepts and throws out at once does not
    /// bring the pauses back to the first.
    pub fn handle_failure(&mut self, now: Timestamp) -> Duration {
        self.pause(now, EARLY)
    }

    /// The stream name is published already: how long to wait. As a rule our own lost connection holds it, and pauses
    /// stay short for as long as servers need to give that up.
    pub fn handle_name_taken(&mut self, now: Timestamp) -> Duration {
        self.next = self.next.max(NAME_TAKEN_FIRST);
        self.pause(now, NAME_HELD)
    }

    /// Pauses grow to [`CAP_EARLY`] for the first `early` of the outage, then to [`CAP_LATE`].
    fn pause(&mut self, now: Timestamp, early: Duration) -> Duration {
        if self.published.take().is_some_and(|published| now - published >= STEADY) {
            self.next = FIRST;
            self.outage_began = None;
        }
        let began = *self.outage_began.get_or_insert(now);
        let cap = if now - began < early { CAP_EARLY } else { CAP_LATE };
        let pause = self.next.min(cap);
        self.next = pause.mul_f64(FACTOR);
        // Downwards only: the cap is a promise.
        let jitter =
            self.random.below(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX) * JITTER_PERCENT / 100);
        pause - Duration::from_micros(jitter)
    }
}

/// Publishing this long ends an outage.
pub const STEADY: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(500);
const FACTOR: f64 = 1.6;
/// A server that restarts within [`EARLY`] has the picture back within 3 s of being up: pause, connect, IDR picture.
const CAP_EARLY: Duration = Duration::from_secs(2);
const EARLY: Duration = Duration::from_secs(30);
/// Adobe Media Server keeps the name of a lost publisher for 2 s (PublishTimeout), so a retry at once is in vain.
const NAME_TAKEN_FIRST: Duration = Duration::from_secs(1);
/// nginx-rtmp asks after 60 s and gives a silent publisher up 30 s later.
const NAME_HELD: Duration = Duration::from_secs(120);
const CAP_LATE: Duration = Duration::from_secs(15);
const JITTER_PERCENT: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_caps_and_begin_anew() {
        for seed in 0..50 {
            let mut back_off = BackOff::new(seed);
            let mut now = Timestamp::from_millis(1000);
            let first = back_off.handle_failure(now);
            assert!((400..=500).contains(&first.as_millis()), "{seed} {first:?}");
            let began = now;
            let mut longest = Duration::ZERO;
            now = now + first;
            for _ in 0..60 {
                let pause = back_off.handle_failure(now);
                assert!(pause <= if now - began < EARLY { CAP_EARLY } else { CAP_LATE }, "{seed}");
                longest = longest.max(pause);
                now = now + pause;
            }
            assert!(longest >= CAP_LATE.mul_f64(0.8));
            back_off.handle_published(now);
            assert!(back_off.handle_failure(now + (STEADY - Duration::from_millis(1))) > FIRST);
            back_off.handle_published(now);
            assert!(back_off.handle_failure(now + STEADY) <= FIRST);
        }
    }

    #[test]
    fn a_taken_name_is_tried_every_two_seconds_for_as_long_as_servers_hold_it() {
        let mut back_off = BackOff::new(5);
        let began = Timestamp::from_millis(1000);
        let mut now = began;
        assert!(back_off.handle_name_taken(now) >= NAME_TAKEN_FIRST.mul_f64(0.8));
        while now - began < NAME_HELD {
            let pause = back_off.handle_name_taken(now);
            assert!(pause <= CAP_EARLY && pause >= NAME_TAKEN_FIRST, "{pause:?}");
            now = now + pause;
        }
        (0..10).for_each(|_| now = now + back_off.handle_name_taken(now));
        assert!(back_off.handle_name_taken(now) > CAP_EARLY, "somebody else has the name");
    }
}
