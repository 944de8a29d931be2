//! A network that loses, delays and reorders packets, repeatable by its seed.
//! Takes: packets one by one. Gives: whether each is lost, and by how much it is late.
//! Leaves out: carrying it out (`sender`).
//!
//! Losses follow the model of Gilbert: a good state that loses nothing and a bad one that loses everything, so that the
//! share lost and the mean length of a burst are what was asked for.

use std::time::Duration;

/// Longest jitter that can be asked for.
pub const JITTER_MAX: Duration = Duration::from_secs(1);

/// What the network is like.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct NetworkProfile {
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Mean packets of one burst of losses; 1 or less: losses do not come in bursts.
    pub loss_burst: f64,
    /// Each packet is late by up to so much, evenly spread.
    pub jitter: Duration,
    /// Whether a packet may overtake another of its stream that is later than it.
    pub reorder: bool,
    /// What the losses and delays come from; the same seed gives the same ones.
    pub seed: u64,
}

impl NetworkProfile {
    /// Whether it does anything.
    pub fn is_perfect(&self) -> bool {
        self.loss == 0.0 && self.jitter.is_zero()
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field that lies outside.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!((0.0..=0.5).contains(&self.loss), "loss: 0 to 50 %");
        anyhow::ensure!(self.loss_burst <= 100.0, "loss_burst: up to 100 packets");
        anyhow::ensure!(self.jitter <= JITTER_MAX, "jitter: up to {JITTER_MAX:?}");
        anyhow::ensure!(
            !self.reorder || !self.jitter.is_zero(),
            "reorder: needs jitter, by which packets overtake each other"
        );
        Ok(())
    }
}

/// One stream's way through the network.
pub(super) struct Path {
    profile: NetworkProfile,
    random: Random,
    bad: bool,
}

impl Path {
    /// The way of stream number `stream`.
    pub fn new(profile: NetworkProfile, stream: u64) -> Self {
        Self {
            profile,
            random: Random(profile.seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            bad: false,
        }
    }

    /// The next packet's delay; `None` when it is lost.
    pub fn next(&mut self) -> Option<Duration> {
        if self.loses() {
            return None;
        }
        if self.profile.jitter.is_zero() {
            return Some(Duration::ZERO);
        }
        Some(self.profile.jitter.mul_f64(self.random.unit()))
    }

    /// Whether later packets may leave before earlier ones.
    pub const fn reorders(&self) -> bool {
        self.profile.reorder
    }

    fn loses(&mut self) -> bool {
        let NetworkProfile { loss, loss_burst, .. } = self.profile;
        if loss <= 0.0 {
            return false;
        }
        let burst = loss_burst.max(1.0);
        if burst <= 1.0 {
            return self.random.unit() < loss;
        }
        // Stationary share of the bad state: enter / (enter + leave) = loss, and 1 / leave is the mean burst.
        let leave = 1.0 / burst;
        let enter = leave * loss / (1.0 - loss);
        let chance = self.random.unit();
        self.bad = if self.bad { chance >= leave } else { chance < enter };
        self.bad
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    /// From 0 up to, not including, 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut state = self.0;
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((state ^ (state >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: usize = 200_000;

    fn outcomes(profile: NetworkProfile, stream: u64) -> Vec<Option<Duration>> {
        let mut path = Path::new(profile, stream);
        (0..PACKETS).map(|_| path.next()).collect()
    }

    fn bursts(outcomes: &[Option<Duration>]) -> f64 {
        let lost = outcomes.iter().filter(|outcome| outcome.is_none()).count();
        let begun = outcomes.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count();
        lost as f64 / begun as f64
    }

    #[test]
    fn loses_the_share_asked_for_alone_and_in_bursts() {
        for burst in [1.0, 4.0] {
            let profile =
                NetworkProfile { loss: 0.02, loss_burst: burst, seed: 7, ..NetworkProfile::default() };
            let outcomes = outcomes(profile, 0);
            let lost = outcomes.iter().filter(|outcome| outcome.is_none()).count() as f64 / PACKETS as f64;
            assert!((lost - 0.02).abs() < 0.003, "seed 7, bursts of {burst}: {lost} lost");
            let measured = bursts(&outcomes);
            assert!((measured / burst - 1.0).abs() < 0.15, "seed 7: bursts of {measured} instead of {burst}");
        }
    }

    #[test]
    fn the_seed_alone_decides_and_streams_differ() {
        let profile = NetworkProfile {
            loss: 0.1,
            jitter: Duration::from_millis(20),
            seed: 42,
            ..NetworkProfile::default()
        };
        assert_eq!(outcomes(profile, 3), outcomes(profile, 3));
        assert_ne!(outcomes(profile, 3), outcomes(profile, 4));
        assert_ne!(outcomes(profile, 3), outcomes(NetworkProfile { seed: 43, ..profile }, 3));
        let late: Vec<Duration> = outcomes(profile, 3).into_iter().flatten().collect();
        let mean = late.iter().sum::<Duration>() / late.len() as u32;
        assert!(late.iter().all(|late| *late < profile.jitter));
        assert!((9_500..10_500).contains(&(mean.as_micros() as u32)), "{mean:?}");
    }

    #[test]
    fn a_perfect_network_does_nothing() {
        let profile = NetworkProfile::default();
        assert!(profile.is_perfect());
        assert!(outcomes(profile, 0).iter().all(|outcome| *outcome == Some(Duration::ZERO)));
    }

    #[test]
    fn ranges_are_checked() {
        let perfect = NetworkProfile::default();
        assert!(perfect.check().is_ok());
        for wrong in [
            NetworkProfile { loss: 0.6, ..perfect },
            NetworkProfile { loss_burst: 101.0, ..perfect },
            NetworkProfile { jitter: Duration::from_secs(2), ..perfect },
            NetworkProfile { reorder: true, ..perfect },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
