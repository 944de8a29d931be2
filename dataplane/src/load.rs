//! How long a shard gathers, and how many slots the kernel holds meanwhile: by how much comes. A short timer costs as much
//! as ten packets, so a shard with one or two calls sleeps until a datagram comes, and others let datagrams collect up to
//! the deadline. Where one way begins to be cheaper than the other they cost the same, so that there is no step between
//! them (`cargo bench -p sipcast-dataplane --bench ring -- gather`).

use std::time::Duration;

use sipcast_contract::Timestamp;

/// Over how long datagrams are counted before the rate is taken anew.
const WINDOW: Duration = Duration::from_millis(100);

/// Gathering begins when this many datagrams are expected within the deadline: about as many trains of packets as turns.
const GATHER_FROM: u64 = 2;

/// How long a shard may be kept from its core without a datagram finding no slot: what other processes, or other guests of
/// a virtual machine's host, take of a core now and then.
const STALL: Duration = Duration::from_millis(40);

/// A turn never waits for more completions than this, whatever the rate.
const WANT_MAX: usize = 2048;

/// Datagram rate of a shard and what follows from it.
pub struct Load {
    gather: Duration,
    since: Timestamp,
    /// Datagrams in all, at `since`.
    counted: u64,
    /// Datagrams expected within `gather`.
    expected: u64,
    /// Datagrams expected within [`STALL`].
    stalled: u64,
}

/// How the next wait is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Completions to wait for.
    pub want: usize,
    /// How long to let them collect; zero: wake at the first.
    pub gather: Duration,
}

impl Load {
    /// Gathers for at most `gather`; zero: never.
    pub fn new(gather: Duration, now: Timestamp) -> Self {
        Self { gather, since: now, counted: 0, expected: 0, stalled: 0 }
    }

    /// Takes how many `datagrams` have come in all.
    pub fn count(&mut self, datagrams: u64, now: Timestamp) {
        let elapsed = now - self.since;
        if elapsed >= WINDOW {
            let since = datagrams.saturating_sub(self.counted);
            let within = |time: Duration| {
                u64::try_from(u128::from(since) * time.as_nanos() / elapsed.as_nanos()).unwrap_or(u64::MAX)
            };
            self.expected = within(self.gather);
            self.stalled = within(STALL);
            self.counted = datagrams;
            self.since = now;
        }
    }

    /// Slots that the kernel shall hold.
    pub const fn slots(&self) -> u64 {
        self.stalled
    }

    /// How to wait now.
    pub fn wait(&self) -> Wait {
        if self.expected < GATHER_FROM {
            return Wait { want: 1, gather: Duration::ZERO };
        }
        // Twice the expected number: only a burst ends the wait before the deadline.
        let want = usize::try_from(self.expected * 2).unwrap_or(WANT_MAX).min(WANT_MAX);
        Wait { want, gather: self.gather }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_begins_with_load_and_ends_with_it() {
        let mut load = Load::new(Duration::from_millis(5), Timestamp::ZERO);
        assert_eq!(load.wait().want, 1);
        load.count(39, Timestamp::from_millis(100));
        assert_eq!(load.wait(), Wait { want: 1, gather: Duration::ZERO }, "1.95 expected");
        load.count(2_039, Timestamp::from_millis(200));
        assert_eq!(load.wait(), Wait { want: 200, gather: Duration::from_millis(5) });
        assert_eq!(load.slots(), 800);
        load.count(2_039, Timestamp::from_millis(300));
        assert_eq!(load.wait().want, 1);
    }

    #[test]
    fn a_deadline_of_zero_never_gathers() {
        let mut load = Load::new(Duration::ZERO, Timestamp::ZERO);
        load.count(1_000_000, Timestamp::from_millis(100));
        assert_eq!(load.wait(), Wait { want: 1, gather: Duration::ZERO });
    }
}
