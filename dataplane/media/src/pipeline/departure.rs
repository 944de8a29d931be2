//! When what was given to the targets is sent: a picture at once, sound with the picture that comes next, or when it has
//! waited for long enough. Takes: pushes, time. Gives: whether a send is due. Leaves out: what is sent (`targets`).

use std::time::Duration;

use sipcast_contract::Timestamp;

/// How long after a picture sound still waits for the next one: five pictures a second and more are worth to wait for.
const PICTURES_FLOW: Duration = Duration::from_millis(200);

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
        let flows = |picture: Timestamp| arrival - picture < PICTURES_FLOW;
        if self.sound_wait.is_zero() || !self.picture.is_some_and(flows) {
            self.is_due = true;
        } else {
            self.sound_until.get_or_insert(arrival + self.sound_wait);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        self.is_due |= self.sound_until.take_if(|until| *until <= now).is_some();
    }

    pub(super) const fn next_timeout(&self) -> Option<Timestamp> {
        self.sound_until
    }

    /// Whether a send is due; it takes all that waits.
    pub(super) fn take(&mut self) -> bool {
        if self.is_due {
            self.sound_until = None;
        }
        std::mem::take(&mut self.is_due)
    }
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
        assert!(departure.take());
        departure.push_sound(at(110));
        departure.push_sound(at(130));
        assert!(!departure.take());
        assert_eq!(departure.next_timeout(), Some(at(150)), "by the first that waits");
        departure.push_picture(at(133));
        assert!(departure.take() && !departure.take());
        assert_eq!(departure.next_timeout(), None);
    }

    #[test]
    fn sound_that_has_waited_goes_alone() {
        let mut departure = Departure::new(WAIT);
        departure.push_picture(at(100));
        departure.take();
        departure.push_sound(at(110));
        departure.handle_timeout(at(149));
        assert!(!departure.take());
        departure.handle_timeout(at(150));
        assert_eq!(departure.next_timeout(), None);
        assert!(departure.take());
    }

    #[test]
    fn sound_waits_for_no_picture_where_none_come_or_it_shall_not() {
        let mut without = Departure::new(WAIT);
        without.push_sound(at(10));
        assert!(without.take());
        without.push_picture(at(20));
        without.take();
        without.push_sound(at(220));
        assert!(without.take(), "the pictures have stopped");
        let mut at_once = Departure::new(Duration::ZERO);
        at_once.push_picture(at(20));
        at_once.take();
        at_once.push_sound(at(21));
        assert!(at_once.take());
    }
}
