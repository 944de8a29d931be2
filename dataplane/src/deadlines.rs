//! When each broadcast wants to be served next. Entries are never moved: one that is no longer wanted fires
//! early or is recognised as stale, which costs less than keeping a heap in order for every packet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sipcast_contract::Timestamp;

/// Deadlines are rounded up to this, so that many broadcasts share a wake.
const GRAIN_MS: u64 = 2;

/// The deadlines of one shard.
#[derive(Default)]
pub struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, u32)>>,
}

impl Deadlines {
    /// Wants slot `slot` served at `at`, unless it already fires at or before that. `scheduled` is the slot's own
    /// note of when it fires next.
    pub fn want(&mut self, at: Timestamp, slot: u32, scheduled: &mut Option<Timestamp>) {
        let at = Timestamp::from_millis((at.as_millis() / GRAIN_MS + 1) * GRAIN_MS);
        if scheduled.is_none_or(|scheduled| at < scheduled) {
            *scheduled = Some(at);
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A slot whose deadline is over, with that deadline; the caller compares it with the slot's own note.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_wish_wins_and_the_stale_one_is_recognised() {
        let mut deadlines = Deadlines::default();
        let mut scheduled = None;
        deadlines.want(Timestamp::from_millis(100), 7, &mut scheduled);
        deadlines.want(Timestamp::from_millis(200), 7, &mut scheduled);
        deadlines.want(Timestamp::from_millis(50), 7, &mut scheduled);
        assert_eq!(deadlines.next(), Some(Timestamp::from_millis(52)));
        assert_eq!(deadlines.pop(Timestamp::from_millis(51)), None);
        let first = deadlines.pop(Timestamp::from_millis(300)).expect("due");
        assert_eq!((Some(first.0), first.1), (scheduled, 7));
        let stale = deadlines.pop(Timestamp::from_millis(300)).expect("the entry for 100 ms");
        assert_ne!(Some(stale.0), scheduled);
        assert_eq!(deadlines.pop(Timestamp::from_millis(300)), None);
    }
}
