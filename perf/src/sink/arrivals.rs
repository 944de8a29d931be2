//! When which picture arrived: for comparing with when it left the callee.
//! Takes: notes of the connections, while they are asked for. Gives: the notes.
//! Leaves out: joining them with departures (`compare`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::callee::PictureTail;

/// One picture that came in whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its stream's place in [`Arrivals::streams`].
    pub stream: u32,
    /// Its last octets.
    pub tail: PictureTail,
    /// When its last octet was read.
    pub at: Instant,
}

/// What was noted.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// Pictures as they came.
    pub pictures: Vec<Arrival>,
    /// Names of their streams.
    pub streams: Vec<String>,
}

/// Collects arrivals while asked to.
#[derive(Default)]
pub(super) struct Notes {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: Arrivals,
    numbers: HashMap<String, u32>,
    /// Beyond it nothing is noted; 0 while nobody asks.
    max: usize,
}

impl Notes {
    /// Notes up to `max` pictures from now on.
    pub fn begin(&self, max: usize) {
        let pictures = Vec::with_capacity(max);
        let taken = Arrivals { pictures, streams: Vec::new() };
        *self.locked() = State { taken, numbers: HashMap::new(), max };
    }

    /// Ends it and gives what was noted.
    pub fn take(&self) -> Arrivals {
        std::mem::take(&mut *self.locked()).taken
    }

    /// Notes what one read brought on the stream `name`.
    pub fn note(&self, name: &str, tails: &mut Vec<PictureTail>) {
        let at = Instant::now();
        let mut state = self.locked();
        let room = state.max - state.taken.pictures.len();
        if room == 0 {
            tails.clear();
            return;
        }
        let next = state.numbers.len() as u32;
        let stream = match state.numbers.get(name) {
            Some(stream) => *stream,
            None => {
                state.numbers.insert(name.to_owned(), next);
                state.taken.streams.push(name.to_owned());
                next
            }
        };
        let arrived = tails.drain(..).take(room).map(|tail| Arrival { stream, tail, at });
        state.taken.pictures.extend(arrived);
    }

    // A panic elsewhere leaves plain notes behind.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_numbered_as_they_come_and_notes_are_bounded() {
        let notes = Notes::default();
        let mut tails = vec![[1; 24]];
        notes.note("early", &mut tails);
        assert!(tails.is_empty());
        notes.begin(3);
        notes.note("b", &mut vec![[1; 24]]);
        notes.note("a", &mut vec![[2; 24]]);
        notes.note("b", &mut vec![[3; 24], [4; 24]]);
        notes.note("c", &mut vec![[5; 24]]);
        let arrivals = notes.take();
        assert_eq!(arrivals.streams, ["b", "a"]);
        let seen: Vec<(u32, u8)> = arrivals.pictures.iter().map(|p| (p.stream, p.tail[0])).collect();
        assert_eq!(seen, [(0, 1), (1, 2), (0, 3)]);
    }
}
