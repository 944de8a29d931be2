//! When to ask the sender to keep to a bit rate (TMMBR, RFC 5104 §3.5.4, §4.2.1).
//! Takes: what is wanted and agreed, the SSRC that is heard, notifications, time. Gives: when to send the request.
//! Leaves out: RTCP bytes (`rtcp`).

use std::time::Duration;

use sipcast_contract::Timestamp;

/// Asks until the sender says which bit rate it keeps to.
///
/// | state | new SSRC or newly agreed | notification | timeout |
/// | --- | --- | --- | --- |
/// | quiet | asking; send at once | stays | - |
/// | asking | asks anew | quiet | send again, every second, five times in all; then quiet |
#[derive(Clone, Debug)]
pub struct BitRateRequest {
    wanted_bps: Option<u32>,
    is_agreed: bool,
    ssrc: Option<u32>,
    /// When to send, and how often it was sent.
    asking: Option<(Timestamp, u8)>,
    bound_bps: Option<u64>,
    sent: u64,
}

impl BitRateRequest {
    /// Quiet until it is agreed on; for ever when nothing is wanted.
    pub const fn new(wanted_bps: Option<u32>) -> Self {
        Self { wanted_bps, is_agreed: false, ssrc: None, asking: None, bound_bps: None, sent: 0 }
    }

    /// Takes what a new offer and answer agreed on.
    pub fn set_agreed(&mut self, is_agreed: bool, now: Timestamp) {
        if self.is_agreed != is_agreed {
            self.is_agreed = is_agreed;
            self.begin(now);
        }
    }

    /// The SSRC that is heard: a new one knows nothing of what was asked.
    pub fn handle_source(&mut self, ssrc: u32, now: Timestamp) {
        if self.ssrc != Some(ssrc) {
            self.ssrc = Some(ssrc);
            self.bound_bps = None;
            self.begin(now);
        }
    }

    /// The sender says that it keeps to `bound_bps` (TMMBN), whoever asked for it.
    pub fn handle_notification(&mut self, bound_bps: u64) {
        self.bound_bps = Some(bound_bps);
        self.asking = None;
    }

    /// The bit rate to ask for now.
    pub fn poll(&mut self, now: Timestamp) -> Option<u32> {
        let (_, times) = self.asking.filter(|(at, _)| *at <= now)?;
        self.asking = (times + 1 < TIMES_MAX).then(|| (now + REPEAT, times + 1));
        self.sent += 1;
        self.wanted_bps
    }

    /// When to poll again.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.asking.map(|(at, _)| at)
    }

    /// What the sender said it keeps to, in bits per second.
    pub const fn bound_bps(&self) -> Option<u64> {
        self.bound_bps
    }

    /// Requests so far.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    fn begin(&mut self, now: Timestamp) {
        let is_wanted = self.wanted_bps.is_some() && self.is_agreed && self.ssrc.is_some();
        self.asking = is_wanted.then_some((now, 0));
    }
}

const REPEAT: Duration = Duration::from_secs(1);
/// A sender that does not answer may keep to it all the same.
const TIMES_MAX: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(request: &mut BitRateRequest) -> Vec<(u64, Option<u32>)> {
        let mut sent = Vec::new();
        while let Some(at) = request.next_timeout() {
            sent.push((at.as_millis(), request.poll(at)));
        }
        sent
    }

    #[test]
    fn it_asks_five_times_and_anew_for_a_new_source() {
        let mut request = BitRateRequest::new(Some(500_000));
        request.set_agreed(true, Timestamp::ZERO);
        assert_eq!(run(&mut request), [], "nobody is heard");
        request.handle_source(1, Timestamp::from_millis(10));
        let times = run(&mut request);
        assert_eq!(times.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [10, 1010, 2010, 3010, 4010]);
        assert!(times.iter().all(|(_, bps)| *bps == Some(500_000)));
        request.handle_source(1, Timestamp::from_millis(5000));
        assert_eq!(run(&mut request), []);
        request.handle_source(2, Timestamp::from_millis(6000));
        assert_eq!(request.poll(Timestamp::from_millis(6000)), Some(500_000));
        request.handle_notification(400_000);
        assert_eq!((run(&mut request).len(), request.bound_bps(), request.sent()), (0, Some(400_000), 6));
    }

    #[test]
    fn without_wish_or_agreement_it_is_quiet() {
        for (wanted, is_agreed) in [(None, true), (Some(1), false)] {
            let mut request = BitRateRequest::new(wanted);
            request.handle_source(1, Timestamp::ZERO);
            request.set_agreed(is_agreed, Timestamp::ZERO);
            assert_eq!((request.next_timeout(), request.poll(Timestamp::ZERO)), (None, None));
        }
    }
}
