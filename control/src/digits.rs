//! The digits of one call: those of its dial script first, then those ordered over the API, by RFC 4733 events or SIP
//! INFO, in one order whatever the way.
//! Takes: orders, the answer, early media, what was sent. Gives: what to hand over next.
//! Leaves out: handing it over (`broadcast`, `course`), reading scripts (`sipcast_sip::dial_script`).
//!
//! The two ways are carried out in two places that know nothing of each other, the shard and the call's task. So digits
//! of one way wait until those of the other are sent: an IVR that hears `5#` for `#5` joins the wrong meeting.

use std::collections::VecDeque;

use sipcast_contract::dtmf::DtmfStep;
use sipcast_contract::limits::DTMF_QUEUE_MAX;
use sipcast_sip::profile::DtmfPolicy;

/// Digits to send.
// `Debug` would show a passcode.
#[derive(Clone)]
pub(crate) struct DtmfOrder {
    /// Digits and pauses.
    pub(crate) steps: Vec<DtmfStep>,
    /// How they travel; `None`: as the call's policy has it.
    pub(crate) way: Option<DtmfWay>,
    /// They may go with early media, before the answer.
    pub(crate) early: bool,
}

/// How digits travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DtmfWay {
    /// RFC 4733 events (the API says RFC2833); SIP INFO when the peer takes none.
    Events,
    /// SIP INFO.
    Info,
}

/// More than [`DTMF_QUEUE_MAX`] steps would wait or be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// How far the call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Dialling,
    EarlyMedia,
    Answered,
}

/// The queue. Call [`Self::next`] after every input until it gives nothing.
#[derive(Default)]
pub(crate) struct Digits {
    waiting: VecDeque<DtmfOrder>,
    /// Steps handed to the shard since it last said that all are sent; what its queue holds at most.
    in_shard: usize,
    /// Steps handed to the call's task that it has not sent yet.
    by_info: usize,
    stage: Stage,
    policy: DtmfPolicy,
}

impl Digits {
    /// How digits travel where an order does not say, and whether INFO may be used at all.
    pub(crate) fn set_policy(&mut self, policy: DtmfPolicy) {
        self.policy = policy;
    }

    /// Queues an order behind all others.
    ///
    /// # Errors
    /// [`Full`]: nothing is queued.
    pub(crate) fn push(&mut self, order: DtmfOrder) -> Result<(), Full> {
        let waiting: usize = self.waiting.iter().map(|order| order.steps.len()).sum();
        if waiting + self.in_shard + self.by_info + order.steps.len() > DTMF_QUEUE_MAX {
            return Err(Full);
        }
        self.waiting.push_back(order);
        Ok(())
    }

    /// The order that was pushed last, if it still waits and nothing before it does.
    pub(crate) fn take_back(&mut self) -> Option<DtmfOrder> {
        if self.waiting.len() == 1 { self.waiting.pop_back() } else { None }
    }

    /// Media was agreed on before the answer.
    pub(crate) fn note_early_media(&mut self) {
        self.stage = self.stage.max(Stage::EarlyMedia);
    }

    /// The call was answered.
    pub(crate) fn note_answered(&mut self) {
        self.stage = Stage::Answered;
    }

    /// The shard has sent all it had.
    pub(crate) fn note_shard_idle(&mut self) {
        self.in_shard = 0;
    }

    /// The call's task has sent so many steps by INFO.
    pub(crate) fn note_info_sent(&mut self, steps: usize) {
        self.by_info = self.by_info.saturating_sub(steps);
    }

    /// What is to be handed over now, and how. `telephone_event`: the peer takes events. Stays at the head until
    /// [`Self::note_handed_over`].
    pub(crate) fn next(&self, telephone_event: bool) -> Option<(DtmfWay, &[DtmfStep])> {
        let head = self.waiting.front()?;
        let may_go = self.stage == Stage::Answered || (head.early && self.stage == Stage::EarlyMedia);
        let way = self.way(head.way, telephone_event)?;
        let other_is_busy = match way {
            DtmfWay::Events => self.by_info > 0,
            DtmfWay::Info => self.in_shard > 0,
        };
        (may_go && !other_is_busy).then_some((way, head.steps.as_slice()))
    }

    /// What [`Self::next`] gave is on its way.
    pub(crate) fn note_handed_over(&mut self, way: DtmfWay) {
        let Some(order) = self.waiting.pop_front() else { return };
        match way {
            DtmfWay::Events => self.in_shard += order.steps.len(),
            DtmfWay::Info => self.by_info += order.steps.len(),
        }
    }

    /// Whether digits would go by a way that the service passes over: events only, and the peer agreed on none. They
    /// wait, should a later answer agree on them.
    pub(crate) fn lack_a_way(&self, telephone_event: bool) -> bool {
        self.stage == Stage::Answered && !self.waiting.is_empty() && self.way(None, telephone_event).is_none()
    }

    /// Nothing more goes out.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    fn way(&self, ordered: Option<DtmfWay>, telephone_event: bool) -> Option<DtmfWay> {
        let wanted = match self.policy {
            // Twilio, Zoom: an INFO would be answered and passed over, so the order's word does not count.
            DtmfPolicy::EventsOnly => return telephone_event.then_some(DtmfWay::Events),
            DtmfPolicy::Events => ordered.unwrap_or(DtmfWay::Events),
            DtmfPolicy::Info => ordered.unwrap_or(DtmfWay::Info),
        };
        Some(if telephone_event { wanted } else { DtmfWay::Info })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::dtmf::parse;

    fn order(text: &str, way: Option<DtmfWay>) -> DtmfOrder {
        DtmfOrder { steps: parse(text).expect("digits"), way, early: false }
    }

    /// Hands over what may go; gives it in short.
    fn drain(digits: &mut Digits, telephone_event: bool) -> Vec<(DtmfWay, usize)> {
        let mut out = Vec::new();
        while let Some((way, steps)) = digits.next(telephone_event) {
            out.push((way, steps.len()));
            digits.note_handed_over(way);
        }
        out
    }

    #[test]
    fn info_does_not_overtake_events_nor_events_info() {
        let mut digits = Digits::default();
        for (text, way) in
            [("1", None), ("22", None), ("333", Some(DtmfWay::Info)), ("4444", Some(DtmfWay::Events))]
        {
            digits.push(order(text, way)).expect("room");
        }
        assert_eq!(drain(&mut digits, true), []);
        digits.note_answered();
        assert_eq!(drain(&mut digits, true), [(DtmfWay::Events, 1), (DtmfWay::Events, 2)]);
        digits.note_shard_idle();
        assert_eq!(drain(&mut digits, true), [(DtmfWay::Info, 3)]);
        digits.note_info_sent(2);
        assert_eq!(drain(&mut digits, true), []);
        digits.note_info_sent(1);
        assert_eq!(drain(&mut digits, true), [(DtmfWay::Events, 4)]);
    }

    #[test]
    fn a_script_may_go_with_early_media_and_the_rest_waits() {
        let mut digits = Digits::default();
        digits.push(DtmfOrder { early: true, ..order("12", None) }).expect("room");
        digits.push(order("3", None)).expect("room");
        digits.note_early_media();
        assert_eq!(drain(&mut digits, true), [(DtmfWay::Events, 2)]);
        digits.note_answered();
        digits.note_early_media();
        assert_eq!(drain(&mut digits, true), [(DtmfWay::Events, 1)]);
    }

    #[test]
    fn the_policy_chooses_the_way() {
        let sent = |policy, way, telephone_event| {
            let mut digits = Digits::default();
            digits.set_policy(policy);
            digits.note_answered();
            digits.push(order("1", way)).expect("room");
            assert_eq!(
                digits.lack_a_way(telephone_event),
                policy == DtmfPolicy::EventsOnly && !telephone_event
            );
            drain(&mut digits, telephone_event).first().map(|(way, _)| *way)
        };
        assert_eq!(sent(DtmfPolicy::Events, None, false), Some(DtmfWay::Info));
        assert_eq!(sent(DtmfPolicy::Info, None, true), Some(DtmfWay::Info));
        assert_eq!(sent(DtmfPolicy::Info, Some(DtmfWay::Events), true), Some(DtmfWay::Events));
        assert_eq!(sent(DtmfPolicy::EventsOnly, Some(DtmfWay::Info), true), Some(DtmfWay::Events));
        assert_eq!(sent(DtmfPolicy::EventsOnly, None, false), None);
    }

    #[test]
    fn steps_are_bounded_just_inside_and_just_outside() {
        let mut digits = Digits::default();
        digits.note_answered();
        digits.push(order(&"1".repeat(DTMF_QUEUE_MAX), None)).expect("room");
        assert_eq!(digits.push(order("1", None)), Err(Full));
        drain(&mut digits, true);
        assert_eq!(digits.push(order("1", None)), Err(Full), "the shard still has them");
        digits.note_shard_idle();
        digits.push(order("1", None)).expect("room");
        assert!(digits.take_back().is_some());
    }
}
