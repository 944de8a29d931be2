//! Reports on their way to the control plane. State changes are never lost; statistics are skipped when the
//! channel is full, since the next ones say all they said.

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam::channel::Sender;
use sipcast_contract::Report;

/// How long the last reports of a shard wait for room.
const FINISH_WAIT: Duration = Duration::from_secs(1);

/// A shard's end of the report channel.
pub struct Outbox {
    sender: Sender<Report>,
    /// Waits for room. Bounded: what is told again replaces what was to be told, and the rest answers orders,
    /// which a control plane that does not read does not give.
    waiting: VecDeque<Report>,
}

impl Outbox {
    /// Sends into `sender`.
    pub fn new(sender: Sender<Report>) -> Self {
        Self { sender, waiting: VecDeque::new() }
    }

    /// Sends a report, now or when there is room.
    pub fn send(&mut self, report: Report) {
        self.retry();
        if self.waiting.is_empty() {
            if let Err(error) = self.sender.try_send(report) {
                self.keep(error.into_inner());
            }
        } else {
            self.keep(report);
        }
    }

    /// Tries again what waits.
    pub fn retry(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            if let Err(error) = self.sender.try_send(report) {
                self.waiting.push_front(error.into_inner());
                break;
            }
        }
    }

    /// Whether something waits for room.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what waits and `last`, giving a reader that has fallen behind some time for each.
    pub fn finish(mut self, last: Report) {
        self.waiting.push_back(last);
        for report in self.waiting {
            if self.sender.send_timeout(report, FINISH_WAIT).is_err() {
                return; // Nobody reads any more.
            }
        }
    }

    fn keep(&mut self, report: Report) {
        if !matches!(report, Report::Statistics(_)) {
            self.waiting.retain(|waiting| !replaces(&report, waiting));
            self.waiting.push_back(report);
        }
    }
}

/// Whether `new` says all that `old` said. These are what peers and servers can cause at will.
fn replaces(new: &Report, old: &Report) -> bool {
    match (new, old) {
        (
            Report::Target { broadcast: new, target: new_target, .. },
            Report::Target { broadcast: old, target: old_target, .. },
        ) => (new, new_target) == (old, old_target),
        (Report::PictureSize { broadcast: new, .. }, Report::PictureSize { broadcast: old, .. })
        | (Report::KeyframeOverdue { broadcast: new }, Report::KeyframeOverdue { broadcast: old }) => {
            new == old
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use sipcast_contract::BroadcastId;

    use super::*;

    #[test]
    fn events_wait_in_order_when_the_channel_is_full() {
        let (sender, receiver) = crossbeam::channel::bounded(1);
        let mut outbox = Outbox::new(sender);
        for id in 0..3 {
            outbox.send(Report::MediaStarted { broadcast: BroadcastId(id) });
        }
        for expected in 0..3 {
            assert_eq!(outbox.is_waiting(), expected < 2);
            let report = receiver.recv().expect("a report");
            assert!(matches!(report, Report::MediaStarted { broadcast: BroadcastId(id) } if id == expected));
            outbox.retry();
        }
    }

    #[test]
    fn of_what_a_peer_can_say_again_and_again_only_the_last_waits() {
        let (sender, receiver) = crossbeam::channel::bounded(1);
        let mut outbox = Outbox::new(sender);
        outbox.send(Report::MediaStarted { broadcast: BroadcastId(9) });
        for n in 0..100 {
            let broadcast = BroadcastId(n % 2);
            outbox.send(Report::KeyframeOverdue { broadcast });
            outbox.send(Report::PictureSize { broadcast, width: n as u16, height: 1 });
        }
        assert_eq!(outbox.waiting.len(), 4);
        let reports: Vec<_> = std::iter::from_fn(|| {
            let report = receiver.try_recv().ok();
            outbox.retry();
            report
        })
        .collect();
        assert!(matches!(reports[4], Report::PictureSize { broadcast: BroadcastId(1), width: 99, .. }));
        assert_eq!(reports.len(), 5);
    }
}
