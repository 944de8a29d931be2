//! What is due next, over all calls of one sender.
//! Takes: times. Gives: the earliest first.
//! Leaves out: what is to be done then (`sender`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Sender reports: before the media that they tell the time of.
    Report,
    /// A packet of sound.
    Sound,
    /// A picture, last because it may have to be encoded first.
    Picture,
}

/// Something to be done for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    pub at: Instant,
    /// The session's place, and its number: a place may have been taken by another one since.
    pub slot: usize,
    pub session: u64,
    pub task: Task,
}

/// A heap of them: one of each task for each call.
#[derive(Default)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<Due>>,
}

impl Schedule {
    pub fn push(&mut self, due: Due) {
        self.heap.push(Reverse(due));
    }

    /// The earliest, if its time has come.
    pub fn pop(&mut self, now: Instant) -> Option<Due> {
        let Reverse(earliest) = self.heap.peek()?;
        if earliest.at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// When the earliest is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn gives_the_earliest_first_and_nothing_before_its_time() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        for (slot, milliseconds) in [(0, 30), (1, 10), (2, 20)] {
            let at = now + Duration::from_millis(milliseconds);
            schedule.push(Due { at, slot, session: 1, task: Task::Sound });
        }
        assert_eq!(schedule.pop(now), None);
        assert_eq!(schedule.next(), Some(now + Duration::from_millis(10)));
        let later = now + Duration::from_millis(20);
        let slots: Vec<usize> = std::iter::from_fn(|| schedule.pop(later)).map(|due| due.slot).collect();
        assert_eq!(slots, [1, 2]);
    }
}
