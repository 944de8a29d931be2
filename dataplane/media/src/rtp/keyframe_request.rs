//! When to ask the sender for an IDR picture (PLI: RFC 4585 §6.3.1; FIR: RFC 5104 §4.3.1, §3.5.1).
//! Takes: wishes (start, loss, a new target), arrivals of IDR pictures, time. Gives: what to send, and that the
//! peer does not listen. Leaves out: RTCP bytes (`rtcp::writer`), SIP INFO (control plane).

use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::media::VideoFeedback;

/// Asks until an IDR picture comes. Poll until `None` after each call and at each timeout.
///
/// | state | `request` | IDR picture | timeout |
/// | --- | --- | --- | --- |
/// | quiet | asking, urgent; send at once | quiet | asking, periodic; send (none came for `interval_max`) |
/// | asking, periodic | asking, urgent; send at once | quiet | send, every `interval_max` |
/// | asking, urgent | same | quiet | send; 250 ms, 500 ms, then every 1 s |
///
/// Whatever the state, two sends are at least 250 ms apart. Asking for 3 s gives `Overdue`, again every 5 s.
#[derive(Clone, Debug)]
pub struct KeyframeRequest {
    feedback: VideoFeedback,
    /// Zero: never periodically.
    interval_max: Duration,
    asking: Option<Asking>,
    /// When the last IDR picture came, or this began.
    last_idr: Timestamp,
    last_sent: Option<Timestamp>,
    last_overdue: Option<Timestamp>,
    fir: FirCommand,
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    since: Timestamp,
    next_send: Timestamp,
    /// Pause after the next send.
    repeat: Duration,
    urgent: bool,
}

/// The command number of the Full Intra Request, and since when it stands.
#[derive(Clone, Copy, Debug, Default)]
struct FirCommand {
    sequence_number: u8,
    since: Option<Timestamp>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyframeAction {
    /// Send a compound with these requests; at least one is there.
    Send {
        /// Picture Loss Indication.
        pli: bool,
        /// Full Intra Request of this sequence number.
        fir: Option<u8>,
    },
    /// Nothing came for 3 s: the control plane may ask by SIP INFO (RFC 5168).
    Overdue,
}

impl KeyframeRequest {
    /// Quiet until [`KeyframeRequest::request`], or until `interval_max` has passed without an IDR picture.
    pub fn new(feedback: VideoFeedback, interval_max: Duration, now: Timestamp) -> Self {
        Self {
            feedback,
            interval_max,
            asking: None,
            last_idr: now,
            last_sent: None,
            last_overdue: None,
            fir: FirCommand::default(),
        }
    }

    /// Takes what a new offer and answer agreed on.
    pub fn set_feedback(&mut self, feedback: VideoFeedback) {
        self.feedback = feedback;
    }

    /// Asks periodically after another time without an IDR picture; zero: never periodically.
    pub const fn set_interval_max(&mut self, interval_max: Duration) {
        self.interval_max = interval_max;
    }

    /// An IDR picture is needed: at start, after a loss, for a new target.
    pub fn request(&mut self, now: Timestamp) {
        if self.asking.is_some_and(|asking| asking.urgent) {
            return;
        }
        let since = self.asking.map_or(now, |asking| asking.since);
        self.asking =
            Some(Asking { since, next_send: self.earliest(now), repeat: REPEAT_FIRST, urgent: true });
    }

    /// An IDR picture came.
    pub fn handle_idr_picture(&mut self, now: Timestamp) {
        self.asking = None;
        self.fir.since = None;
        self.last_idr = now;
    }

    /// Forgets what is asked, while the call has no video to ask for; the interval begins anew.
    pub fn cancel(&mut self, now: Timestamp) {
        self.handle_idr_picture(now);
    }

    /// Whether an IDR picture is waited for.
    pub const fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Timestamp) -> Option<KeyframeAction> {
        if self.asking.is_none() && self.periodic_at().is_some_and(|at| now >= at) {
            self.asking = Some(Asking {
                since: now,
                next_send: self.earliest(now),
                repeat: self.interval_max.max(REPEAT_FIRST),
                urgent: false,
            });
        }
        let overdue_at = self.overdue_at()?;
        if now >= overdue_at {
            self.last_overdue = Some(now);
            return Some(KeyframeAction::Overdue);
        }
        let asking = self.asking.as_mut().filter(|asking| now >= asking.next_send)?;
        asking.next_send = now + asking.repeat;
        if asking.urgent {
            asking.repeat = (asking.repeat * 2).min(REPEAT_MAX);
        }
        self.last_sent = Some(now);
        Some(self.message(now))
    }

    /// When to poll again.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        match (self.asking, self.overdue_at()) {
            (Some(asking), Some(overdue_at)) => Some(asking.next_send.min(overdue_at)),
            _ => self.periodic_at(),
        }
    }

    fn message(&mut self, now: Timestamp) -> KeyframeAction {
        // Many devices honour both unannounced, so without an agreement both are sent.
        let unannounced = !self.feedback.pli && !self.feedback.fir;
        let fir = (self.feedback.fir || unannounced).then(|| self.fir.number(now));
        KeyframeAction::Send { pli: self.feedback.pli || unannounced, fir }
    }

    fn earliest(&self, now: Timestamp) -> Timestamp {
        self.last_sent.map_or(now, |sent| now.max(sent + REPEAT_FIRST))
    }

    fn periodic_at(&self) -> Option<Timestamp> {
        (!self.interval_max.is_zero()).then(|| self.last_idr + self.interval_max)
    }

    fn overdue_at(&self) -> Option<Timestamp> {
        let at = self.asking?.since + OVERDUE_AFTER;
        Some(self.last_overdue.map_or(at, |last| at.max(last + OVERDUE_PAUSE)))
    }
}

impl FirCommand {
    /// RFC 5104 §4.3.1.1: a repetition keeps its number, a new command gets the next one. After a second it is a
    /// new command: the picture that answered the old one may have been lost itself.
    fn number(&mut self, now: Timestamp) -> u8 {
        if self.since.is_none_or(|since| now - since >= FIR_COMMAND_LIFE) {
            self.since = Some(now);
            self.sequence_number = self.sequence_number.wrapping_add(1);
        }
        self.sequence_number
    }
}

const REPEAT_FIRST: Duration = Duration::from_millis(250);
const REPEAT_MAX: Duration = Duration::from_secs(1);
const OVERDUE_AFTER: Duration = Duration::from_secs(3);
const OVERDUE_PAUSE: Duration = Duration::from_secs(5);
const FIR_COMMAND_LIFE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: VideoFeedback = VideoFeedback { pli: false, fir: false, nack: false, tmmbr: false };

    fn ms(at: u64) -> Timestamp {
        Timestamp::from_millis(at)
    }

    fn drain(request: &mut KeyframeRequest, at: u64) -> Vec<KeyframeAction> {
        std::iter::from_fn(|| request.poll(ms(at))).collect()
    }

    /// Times of sends and of `Overdue` up to `end`, driven by timeouts alone.
    fn run(request: &mut KeyframeRequest, end: u64) -> (Vec<u64>, Vec<u64>) {
        let (mut sends, mut overdue) = (Vec::new(), Vec::new());
        while let Some(at) = request.next_timeout().map(Timestamp::as_millis).filter(|at| *at <= end) {
            let actions = drain(request, at);
            assert!(!actions.is_empty(), "a timeout at {at} must bring something");
            for action in actions {
                match action {
                    KeyframeAction::Send { .. } => sends.push(at),
                    KeyframeAction::Overdue => overdue.push(at),
                }
            }
        }
        (sends, overdue)
    }

    #[test]
    fn what_was_agreed_is_sent_and_both_without_agreement() {
        for (pli, fir, expected) in [
            (true, false, KeyframeAction::Send { pli: true, fir: None }),
            (false, true, KeyframeAction::Send { pli: false, fir: Some(1) }),
            (true, true, KeyframeAction::Send { pli: true, fir: Some(1) }),
            (false, false, KeyframeAction::Send { pli: true, fir: Some(1) }),
        ] {
            let mut request = KeyframeRequest::new(VideoFeedback { pli, fir, ..NONE }, Duration::ZERO, ms(0));
            assert_eq!((request.next_timeout(), drain(&mut request, 0)), (None, vec![]));
            request.request(ms(5));
            assert_eq!(drain(&mut request, 5), [expected]);
        }
    }

    #[test]
    fn repeats_double_to_a_second_and_overdue_comes_at_3_8_and_13_seconds() {
        let mut request = KeyframeRequest::new(NONE, Duration::ZERO, ms(0));
        request.request(ms(0));
        let (sends, overdue) = run(&mut request, 14_000);
        assert_eq!(sends[..6], [0, 250, 750, 1750, 2750, 3750]);
        assert_eq!(overdue, [3000, 8000, 13_000]);
        request.handle_idr_picture(ms(14_000));
        assert_eq!((request.next_timeout(), request.is_asking()), (None, false));
        // Soon asked again and again unanswered: Overdue keeps its distance.
        request.request(ms(14_000));
        assert_eq!(run(&mut request, 18_500).1, [18_000]);
    }

    #[test]
    fn a_storm_of_losses_sends_at_most_every_250_ms() {
        let mut request = KeyframeRequest::new(NONE, Duration::ZERO, ms(0));
        let mut sends = Vec::new();
        for at in 0..2000 {
            request.request(ms(at));
            sends.extend(drain(&mut request, at).iter().map(|_| at));
            request.handle_idr_picture(ms(at));
        }
        // The wish behind each IDR picture is due only when 250 ms are over.
        assert_eq!(sends, [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
    }

    #[test]
    fn periodic_requests_keep_to_their_interval() {
        let mut request = KeyframeRequest::new(NONE, Duration::from_secs(2), ms(0));
        assert_eq!(drain(&mut request, 1999), []);
        let (sends, overdue) = run(&mut request, 8000);
        assert_eq!((sends, overdue), (vec![2000, 4000, 6000, 8000], vec![5000]));
        request.request(ms(8100));
        assert_eq!(request.next_timeout(), Some(ms(8250)), "urgent, but not within 250 ms");
        request.handle_idr_picture(ms(8200));
        assert_eq!(request.next_timeout(), Some(ms(10_200)));
    }

    #[test]
    fn fir_numbers_repeat_within_a_second_and_wrap() {
        let fir = VideoFeedback { fir: true, ..NONE };
        let mut request = KeyframeRequest::new(fir, Duration::ZERO, ms(0));
        request.fir.sequence_number = 253;
        request.request(ms(0));
        let mut numbers = Vec::new();
        for at in [0, 250, 750, 1750] {
            let [KeyframeAction::Send { fir: Some(number), .. }] = drain(&mut request, at)[..] else {
                panic!()
            };
            numbers.push(number);
        }
        request.handle_idr_picture(ms(1800));
        request.request(ms(2100));
        let [KeyframeAction::Send { fir: Some(number), .. }] = drain(&mut request, 2100)[..] else {
            panic!()
        };
        numbers.push(number);
        assert_eq!(numbers, [254, 254, 254, 255, 0]);
    }
}
