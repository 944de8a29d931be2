//! When to send something only to keep the way open: address translators and firewalls let the peer's media
//! in only after ours went out (RFC 6263).

use std::time::Duration;

use sipcast_contract::Timestamp;

/// The timer of one RTP stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeepAlive {
    /// `None`: there is nobody to send to.
    due: Option<Timestamp>,
    opening_until: Timestamp,
}

impl KeepAlive {
    /// Begins to open the way, at once.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.due = Some(now);
        self.opening_until = now + OPENING_MAX;
    }

    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    /// Whether a packet is due; if so the next one is scheduled. `is_heard`: the peer's media comes in.
    pub(super) fn poll(&mut self, is_heard: bool, now: Timestamp) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let is_opening = !is_heard && now + OPENING_INTERVAL <= self.opening_until;
        let pause = if is_opening { OPENING_INTERVAL } else { INTERVAL };
        self.due = Some(now + pause);
        // What comes in proves that the way is open; the first one after that may wait.
        true
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.due
    }
}

/// RFC 6263 §4.1 leaves the pace of opening open; a ringing phone may be answered at any moment.
const OPENING_INTERVAL: Duration = Duration::from_millis(500);
const OPENING_MAX: Duration = Duration::from_secs(10);
/// RFC 6263 §6: at least every 15 s.
const INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(is_heard: bool, until_ms: u64) -> Vec<u64> {
        let mut keep_alive = KeepAlive::default();
        assert_eq!(keep_alive.next_timeout(), None);
        keep_alive.begin(Timestamp::ZERO);
        let due = |ms: &u64| keep_alive.poll(is_heard, Timestamp::from_millis(*ms));
        (0..=until_ms).step_by(100).filter(due).collect()
    }

    #[test]
    fn opens_twice_a_second_for_ten_seconds_then_every_fifteen() {
        let sent = sent(false, 40_000);
        assert_eq!(sent[..3], [0, 500, 1000]);
        assert_eq!(sent[20..], [10_000, 25_000, 40_000]);
    }

    #[test]
    fn once_the_peer_is_heard_it_only_keeps() {
        assert_eq!(sent(true, 31_000), [0, 15_000, 30_000]);
    }
}
