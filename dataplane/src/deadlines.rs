//! When each broadcast wants to be served next. Entries are not moved while packets come, which costs less than keeping
//! a heap in order for each of them: one that is no longer wanted is put off when it is the first, before the shard
//! would wake for it.

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
        let at = rounded(at);
        if scheduled.is_none_or(|scheduled| at < scheduled) {
            *scheduled = Some(at);
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// The earliest deadline and its slot.
    pub fn first(&self) -> Option<(Timestamp, u32)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }

    /// Puts the first deadline off to when its slot `wanted` it, if that is later: `None` is never. `scheduled` is the
    /// slot's own note, `None` when it is empty. `false`: it stays, because it is wanted as it is.
    pub fn put_off(&mut self, wanted: Option<Timestamp>, scheduled: Option<&mut Option<Timestamp>>) -> bool {
        let Some((at, slot)) = self.first() else { return false };
        match scheduled.filter(|scheduled| **scheduled == Some(at)) {
            Some(_) if wanted.is_some_and(|wanted| rounded(wanted) <= at) => return false,
            Some(scheduled) => {
                self.heap.pop();
                *scheduled = None;
                if let Some(wanted) = wanted {
                    self.want(wanted, slot, scheduled);
                }
            }
            // An earlier wish has been served since.
            None => drop(self.heap.pop()),
        }
        true
    }

    /// A slot whose deadline is over, with that deadline; the caller compares it with the slot's own note.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        self.first().filter(|(at, _)| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

fn rounded(at: Timestamp) -> Timestamp {
    Timestamp::from_millis((at.as_millis() / GRAIN_MS + 1) * GRAIN_MS)
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
        assert_eq!(deadlines.first(), Some((Timestamp::from_millis(52), 7)));
        assert_eq!(deadlines.pop(Timestamp::from_millis(51)), None);
        let first = deadlines.pop(Timestamp::from_millis(300)).expect("due");
        assert_eq!((Some(first.0), first.1), (scheduled, 7));
        let stale = deadlines.pop(Timestamp::from_millis(300)).expect("the entry for 100 ms");
        assert_ne!(Some(stale.0), scheduled);
        assert_eq!(deadlines.pop(Timestamp::from_millis(300)), None);
    }

    #[test]
    fn what_is_no_longer_wanted_is_put_off_and_what_is_wanted_stays() {
        let mut deadlines = Deadlines::default();
        let (mut first, mut second) = (None, None);
        deadlines.want(Timestamp::from_millis(100), 1, &mut first);
        deadlines.want(Timestamp::from_millis(200), 2, &mut second);
        assert!(!deadlines.put_off(Some(Timestamp::from_millis(99)), Some(&mut first)));
        assert!(!deadlines.put_off(Some(Timestamp::from_millis(100)), Some(&mut first)));
        assert!(deadlines.put_off(Some(Timestamp::from_millis(300)), Some(&mut first)));
        assert_eq!(first, Some(Timestamp::from_millis(302)));
        assert_eq!(deadlines.first(), Some((Timestamp::from_millis(202), 2)));
        assert!(deadlines.put_off(None, Some(&mut second)));
        assert_eq!((second, deadlines.first()), (None, Some((Timestamp::from_millis(302), 1))));
        assert!(deadlines.put_off(None, None), "its slot is empty");
        assert_eq!(deadlines.first(), None);
        assert!(!deadlines.put_off(None, None));
    }
}
