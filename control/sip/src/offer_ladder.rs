//! What the next INVITE offers when the peer refuses an offer (488, 606, 415, or an answer that takes nothing): a short
//! ladder, as data.
//! Takes: the order's media security, statuses. Gives: the [`OfferShape`] of each try, at most [`RUNGS_MAX`].
//! Leaves out: the offer itself (`sdp::offer`), and sending it (`call`).
//!
//! | security | AVPF | tries, in order |
//! | --- | --- | --- |
//! | off | no | AVP; AVP, plain formats |
//! | off | yes | AVPF; AVP; AVP, plain formats |
//! | opportunistic | no | AVP with keys (RFC 8643); SAVP; AVP; AVP, plain formats |
//! | opportunistic | yes | AVPF with keys; SAVPF; AVP; AVP, plain formats |
//! | mandatory | no | SAVP; SAVP with one key line, plain formats |
//! | mandatory | yes | SAVPF; SAVP; SAVP with one key line, plain formats |
//!
//! Peers that reject keys under AVP are common, and so are peers that take SRTP only as SAVP; hence SAVP before
//! plain RTP. Plain formats are PCMU, PCMA and H.264 Constrained Baseline with the parameters of RFC 6184's first
//! days: what a gateway that gives up on long lists still reads.

use crate::order::MediaSecurity;

/// Offers of one call to one target at most.
pub const RUNGS_MAX: usize = 4;

/// Keys in an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOffer {
    /// No `a=crypto`.
    None,
    /// One line for each suite that the call may use.
    AllSuites,
    /// One line, AES_CM_128_HMAC_SHA1_80 where it may be used: for peers that read one line only.
    OneSuite,
}

/// The form of one offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferShape {
    /// RTP/SAVP or RTP/SAVPF.
    pub secure_profile: bool,
    /// RTP/AVPF or RTP/SAVPF.
    pub feedback_profile: bool,
    /// `a=crypto` lines.
    pub keys: KeyOffer,
    /// All formats with all their parameters; otherwise the few that everyone has.
    pub all_formats: bool,
}

/// Where a call stands on its ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferLadder {
    rungs: &'static [OfferShape],
    at: usize,
}

impl OfferLadder {
    /// The ladder for an order. `feedback_profile`: offers begin with AVPF.
    pub const fn new(security: MediaSecurity, feedback_profile: bool) -> Self {
        let rungs: &'static [OfferShape] = match (security, feedback_profile) {
            (MediaSecurity::Off, false) => &OFF,
            (MediaSecurity::Off, true) => &OFF_WITH_FEEDBACK,
            (MediaSecurity::Opportunistic, false) => &OPPORTUNISTIC,
            (MediaSecurity::Opportunistic, true) => &OPPORTUNISTIC_WITH_FEEDBACK,
            (MediaSecurity::Mandatory, false) => &MANDATORY,
            (MediaSecurity::Mandatory, true) => &MANDATORY_WITH_FEEDBACK,
        };
        Self { rungs, at: 0 }
    }

    /// The form of the next offer.
    pub const fn shape(&self) -> OfferShape {
        self.rungs[self.at]
    }

    /// The last offer was refused with `status`. `true`: try again with the new [`Self::shape`]; `false`: the
    /// refusal is not about the description, or the ladder is at its end.
    pub const fn descend(&mut self, status: u16) -> bool {
        // RFC 3261 §21.4.26, §21.6.4 for what is offered; some gateways say 415 for the same.
        let is_about_media = matches!(status, 488 | 606 | 415);
        if !is_about_media || self.at + 1 >= self.rungs.len() {
            return false;
        }
        self.at += 1;
        true
    }

    /// Back to the first rung, for another target.
    pub const fn restart(&mut self) {
        self.at = 0;
    }
}

const PLAIN: OfferShape =
    OfferShape { secure_profile: false, feedback_profile: false, keys: KeyOffer::None, all_formats: true };
const BASIC: OfferShape = OfferShape { all_formats: false, ..PLAIN };
const SECURE: OfferShape = OfferShape { secure_profile: true, keys: KeyOffer::AllSuites, ..PLAIN };
const SECURE_BASIC: OfferShape = OfferShape { keys: KeyOffer::OneSuite, all_formats: false, ..SECURE };
const EITHER: OfferShape = OfferShape { keys: KeyOffer::AllSuites, ..PLAIN };

const fn with_feedback(shape: OfferShape) -> OfferShape {
    OfferShape { feedback_profile: true, ..shape }
}

const OFF: [OfferShape; 2] = [PLAIN, BASIC];
const OFF_WITH_FEEDBACK: [OfferShape; 3] = [with_feedback(PLAIN), PLAIN, BASIC];
const OPPORTUNISTIC: [OfferShape; RUNGS_MAX] = [EITHER, SECURE, PLAIN, BASIC];
const OPPORTUNISTIC_WITH_FEEDBACK: [OfferShape; RUNGS_MAX] =
    [with_feedback(EITHER), with_feedback(SECURE), PLAIN, BASIC];
const MANDATORY: [OfferShape; 2] = [SECURE, SECURE_BASIC];
const MANDATORY_WITH_FEEDBACK: [OfferShape; 3] = [with_feedback(SECURE), SECURE, SECURE_BASIC];

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(security: MediaSecurity, feedback: bool) -> Vec<OfferShape> {
        let mut ladder = OfferLadder::new(security, feedback);
        let mut shapes = vec![ladder.shape()];
        while ladder.descend(488) {
            shapes.push(ladder.shape());
        }
        ladder.restart();
        assert_eq!(ladder.shape(), shapes[0]);
        shapes
    }

    #[test]
    fn every_ladder_is_short_and_keeps_the_order() {
        for feedback in [false, true] {
            for security in [MediaSecurity::Off, MediaSecurity::Opportunistic, MediaSecurity::Mandatory] {
                let shapes = shapes(security, feedback);
                assert!((2..=RUNGS_MAX).contains(&shapes.len()), "{security:?}");
                for shape in &shapes {
                    match security {
                        MediaSecurity::Off => assert_eq!(shape.keys, KeyOffer::None),
                        MediaSecurity::Opportunistic => {}
                        MediaSecurity::Mandatory => {
                            assert!(shape.secure_profile && shape.keys != KeyOffer::None);
                        }
                    }
                    assert!(!shape.secure_profile || shape.keys != KeyOffer::None);
                }
                assert!(!shapes.last().unwrap().all_formats);
            }
        }
    }

    #[test]
    fn only_refusals_of_the_description_descend() {
        let mut ladder = OfferLadder::new(MediaSecurity::Opportunistic, false);
        for status in [400, 403, 404, 480, 486, 500, 600, 603] {
            assert!(!ladder.descend(status), "{status}");
        }
        assert!(ladder.descend(488) && ladder.descend(606) && ladder.descend(415));
        assert!(!ladder.descend(488), "the end");
    }
}
