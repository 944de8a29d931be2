//! When one path of a broadcast, sound or pictures, wants to be looked at again: after an input, or when its timer is
//! over. In between it is passed over, so that a datagram of one path leaves the other's memory alone, which is cold by
//! then: with many calls that costs more than the instructions do.

use sipcast_contract::Timestamp;

/// What is known of one path.
#[derive(Debug, Default)]
pub(super) struct Service {
    state: State,
    has_events: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// There was an input since it was drained.
    #[default]
    Touched,
    /// Drained: nothing to do before its timer is over.
    Settled(Option<Timestamp>),
}

impl Service {
    /// There is an input.
    pub(super) fn touch(&mut self) {
        self.state = State::Touched;
        self.has_events = true;
    }

    /// It has nothing more to say, and its timer is over at `next_timeout`.
    pub(super) fn settle(&mut self, next_timeout: Option<Timestamp>) {
        self.state = State::Settled(next_timeout);
        self.has_events = true;
    }

    /// Whether it may have something to say.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        match self.state {
            State::Touched => true,
            State::Settled(next_timeout) => next_timeout.is_some_and(|at| at <= now),
        }
    }

    /// When its timer is over; `ask` finds out after an input.
    pub(super) fn next_timeout(&self, ask: impl FnOnce() -> Option<Timestamp>) -> Option<Timestamp> {
        match self.state {
            State::Touched => ask(),
            State::Settled(next_timeout) => next_timeout,
        }
    }

    /// Whether it may have events.
    pub(super) const fn has_events(&self) -> bool {
        self.has_events
    }

    /// It has no more events until the next input.
    pub(super) fn events_taken(&mut self) {
        self.has_events = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_looked_at_after_an_input_and_when_its_timer_is_over() {
        let at = Timestamp::from_millis;
        let mut service = Service::default();
        assert!(service.is_due(at(0)));
        assert_eq!(service.next_timeout(|| Some(at(7))), Some(at(7)));
        service.settle(Some(at(10)));
        assert!(!service.is_due(at(9)) && service.is_due(at(10)));
        assert_eq!(service.next_timeout(|| None), Some(at(10)), "it is not asked");
        service.settle(None);
        assert!(!service.is_due(at(1_000_000)));
        assert!(service.has_events(), "what it sent may have been the last of something");
        service.events_taken();
        service.touch();
        assert!(service.is_due(at(0)) && service.has_events());
        service.events_taken();
        assert!(!service.has_events() && service.is_due(at(0)));
    }
}
