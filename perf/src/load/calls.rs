//! The calls of a run: a name for each that was ever made, and when it came up.
//! Takes: slots, moments. Gives: names, set-up times.
//! Leaves out: ordering and ending them (`run`).

use std::collections::VecDeque;

use super::options::LoadOptions;
use crate::call_clock::{CallClock, Latency, Moment};
use crate::sink::Sink;

/// Ended calls whose stream may still be closing; older ones are forgotten by the sink.
const ENDED_MAX: usize = 64;
/// Set-up times kept; of a longer run the latest.
const TIMES_MAX: usize = 100_000;

/// As many slots as calls at the same time, and what was in them.
pub(super) struct Calls {
    slots: Vec<Slot>,
    profiles: Vec<usize>,
    made: usize,
    refused: usize,
    never_shown: usize,
    answered_ms: VecDeque<f64>,
    shown_ms: VecDeque<f64>,
    ended: VecDeque<String>,
    has_sink: bool,
}

#[derive(Clone, Default)]
struct Slot {
    name: String,
    ordered: Option<Moment>,
    was_refused: bool,
}

impl Calls {
    pub fn new(options: &LoadOptions, calls: usize) -> Self {
        Self {
            slots: vec![Slot::default(); calls],
            profiles: (0..calls).map(|slot| options.mix.profile_of(slot)).collect(),
            made: 0,
            refused: 0,
            never_shown: 0,
            answered_ms: VecDeque::new(),
            shown_ms: VecDeque::new(),
            ended: VecDeque::new(),
            has_sink: options.target.is_none(),
        }
    }

    /// A new call in `slot`; gives its name.
    pub fn begin(&mut self, slot: usize, now: Moment) -> String {
        self.made += 1;
        let name = format!("p{}-load-{:05}", self.profiles[slot], self.made);
        self.slots[slot] = Slot { name: name.clone(), ordered: Some(now), was_refused: false };
        name
    }

    /// The order for the call in `slot` was refused.
    pub fn refuse(&mut self, slot: usize) {
        self.slots[slot].was_refused = true;
    }

    pub fn name(&self, slot: usize) -> &str {
        &self.slots[slot].name
    }

    /// The calls that are in the slots now.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str()).filter(|name| !name.is_empty())
    }

    pub fn is_ours(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// The call in `slot` is over: what is known of it is taken.
    pub fn end(&mut self, slot: usize, clock: &CallClock) {
        let slot = std::mem::take(&mut self.slots[slot]);
        let is_shown = self.take_times(&slot, clock);
        if slot.was_refused {
            self.refused += 1;
        } else if !is_shown && self.has_sink {
            self.never_shown += 1;
        }
        clock.forget(&slot.name);
        self.ended.push_back(slot.name);
    }

    /// Lets the sink forget calls that ended long ago.
    pub fn forget_ended(&mut self, sink: &Sink) {
        while self.ended.len() > ENDED_MAX {
            if let Some(name) = self.ended.pop_front() {
                sink.forget(&format!("rtmp_{name}"));
            }
        }
    }

    /// Takes what is known of the calls that are up at the end.
    pub fn take_moments(&mut self, clock: &CallClock) {
        for slot in self.slots.clone() {
            self.take_times(&slot, clock);
        }
    }

    fn take_times(&mut self, slot: &Slot, clock: &CallClock) -> bool {
        let set_up = clock.set_up(&slot.name);
        let Some(ordered) = slot.ordered else { return false };
        for (times, moment) in [(&mut self.answered_ms, set_up.answered), (&mut self.shown_ms, set_up.shown)]
        {
            if times.len() == TIMES_MAX {
                times.pop_front();
            }
            times.extend(moment.map(|moment| moment.milliseconds_since(ordered)));
        }
        set_up.shown.is_some()
    }

    /// Calls ordered in all.
    pub const fn made(&self) -> usize {
        self.made
    }

    /// Calls that ended without their order having been taken; those in the slots now are seen by what is up.
    pub const fn refused(&self) -> usize {
        self.refused
    }

    /// Calls that ended before anything of them was at the sink.
    pub const fn never_shown(&self) -> usize {
        self.never_shown
    }

    /// From the order to the 200.
    pub fn answered(&self) -> Option<Latency> {
        Latency::of_values(self.answered_ms.iter().copied())
    }

    /// From the order to the first picture at the sink.
    pub fn shown(&self) -> Option<Latency> {
        Latency::of_values(self.shown_ms.iter().copied())
    }
}
