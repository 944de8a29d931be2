//! When what was given to the targets is sent: a picture at once, sound with the picture that comes next, or when it has
//! waited for long enough. Takes: pushes, time. Gives: whether a send is due, until when sound
//! may wait. Leaves out: what is sent (`targets`).

use std::time::Duration;

use sipcast_contract::Timestamp;

/// How long after a picture sound still waits for the next one: five pictures a second and more are worth to wait for.
const PICTURES_FLOW: Duration = Duration::from_millis(200);

/// How much later than it may wait sound is sent at the latest. Until then it is sent by the next datagram, as sound comes
/// oftener than this: a timer for each wait would cost as much as the send that is saved.
const TIMER_GRACE: Duration = Duration::from_millis(160);

/// One broadcast's next send.
#[derive(Debug)]
pub(super) struct Departure {
    sound_wait: Duration,
    /// When the latest picture came.
    picture: Option<Timestamp>,
    /// Sound waits until then.
    sound_until: Option<Timestamp>,
    is_due: bool,
}

impl Departure {
    /// Sound waits for a picture for at most `sound_wait`; zero: it never waits.
    pub(super) fn new(sound_wait: Duration) -> Self {
        Self { sound_wait, picture: None, sound_until: None, is_due: false }
    }

    /// Sends what there is.
    pub(super) fn push(&mut self) {
        self.is_due = true;
    }

    /// Sends a picture that came at `arrival`, and what waits for it.
    pub(super) fn push_picture(&mut self, arrival: Timestamp) {
        self.picture = Some(arrival);
        self.is_due = true;
    }

    /// Sends sound that came at `arrival` when its time has come. Without pictures that is at once.
    pub(super) fn push_sound(&mut self, arrival: Timestamp) {
        match self.may_wait(arrival) {
            Some(until) => {
                self.sound_until.get_or_insert(until);
            }
            None => self.is_due = true,
        }
    }

    /// The broadcast ends: nothing waits any more.
    pub(super) fn close(&mut self) {
        self.sound_wait = Duration::ZERO;
    }

    /// Until when sound that came at `arrival` may wait; `None`: not at all, or what waits is to be sent now.
    pub(super) fn may_wait(&self, arrival: Timestamp) -> Option<Timestamp> {
        let flows = |picture: Timestamp| arrival - picture < PICTURES_FLOW;
        let is_over = self.sound_until.is_some_and(|until| until <= arrival);
        let may_wait = !self.sound_wait.is_zero() && self.picture.is_some_and(flows) && !is_over;
        may_wait.then(|| arrival + self.sound_wait)
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.sound_until.map(at_the_latest)
    }

    /// Whether a send is due at `now`; it takes all that waits.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let is_due = std::mem::take(&mut self.is_due) || self.sound_until.is_some_and(|until| until <= now);
        if is_due {
            self.sound_until = None;
        }
        is_due
    }
}

/// When a timer ends the wait of sound that may wait until `until`.
pub(super) fn at_the_latest(until: Timestamp) -> Timestamp {
    until + TIMER_GRACE
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(40);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn sound_goes_with_the_next_picture() {
        let mut departure = Departure::new(WAIT);
        departure.push_picture(at(100));
        assert!(departure.take(at(100)));
        departure.push_sound(at(110));
        departure.push_sound(at(130));
        assert!(!departure.take(at(130)));
        departure.push_picture(at(133));
        assert!(departure.take(at(133)) && !departure.take(at(133)));
        assert_eq!(departure.next_timeout(), None);
    }

    #[test]
    fn sound_that_has_waited_goes_with_the_next_datagram_or_by_a_timer() {
        let mut departure = Departure::new(WAIT);
        departure.push_picture(at(100));
        departure.take(at(100));
        departure.push_sound(at(110));
        assert!(!departure.take(at(149)));
        departure.push_sound(at(131));
        assert_eq!(departure.may_wait(at(149)), Some(at(189)));
        assert_eq!(departure.may_wait(at(150)), None, "the first must not wait for this one");
        assert_eq!(departure.next_timeout(), Some(at(310)), "by the first that waits");
        assert!(departure.take(at(150)));
        assert_eq!(departure.next_timeout(), None);
    }

    #[test]
    fn sound_waits_for_no_picture_where_none_come_or_it_shall_not() {
        let mut without = Departure::new(WAIT);
        without.push_sound(at(10));
        assert!(without.take(at(10)));
        without.push_picture(at(20));
        without.take(at(20));
        without.push_sound(at(220));
        assert!(without.take(at(220)), "the pictures have stopped");
        let mut at_once = Departure::new(Duration::ZERO);
        at_once.push_picture(at(20));
        at_once.take(at(20));
        at_once.push_sound(at(21));
        assert!(at_once.take(at(21)));
    }
}
