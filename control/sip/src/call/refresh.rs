//! Keeping the session alive in mid-call (RFC 4028 §7.2, §7.4; RFC 3261 §14.1): refreshes by UPDATE or re-INVITE, their
//! repetition after refusals and glare.

use std::time::Duration;

use sipcast_contract::Timestamp;

use super::header::{description, first};
use super::{Action, Call, RefreshMethod, Response, allow, supported};
use crate::session_timer::TimerAction;
use crate::status;

#[derive(Clone, Copy, Debug)]
pub(super) struct Refresh {
    pub(super) method: RefreshMethod,
    pub(super) attempts: u8,
    /// Waits for a second try after 491 (RFC 3261 §14.1); `None`: the request is out.
    pub(super) retry_at: Option<Timestamp>,
    /// Not the last description again, but what we want by now.
    pub(super) is_new_offer: bool,
}

impl Call {
    /// The final response to our refresh; `status` 408 stands for none.
    pub fn handle_refresh_response(&mut self, response: &Response<'_>, now: Timestamp) {
        let Some(mut refresh) = self.refresh.take() else { return };
        if !self.is_established() || response.status < 200 {
            self.refresh = Some(refresh);
            return;
        }
        let repeat = match response.status {
            200..=299 => {
                self.authentication.handle_accepted();
                self.timer.handle_success(first(response.headers, "Session-Expires"), now);
                if refresh.method == RefreshMethod::Invite
                    && let Ok(Some(answer)) = description(response.headers, response.body)
                    && let Ok(agreement) = self.negotiation.handle_answer(answer)
                {
                    self.agree(agreement);
                }
                self.negotiation.handle_offer_refused();
                return;
            }
            401 | 407 => self.authentication.take_challenge(response).is_ok(),
            422 => self.timer.handle_interval_too_small(first(response.headers, "Min-SE")),
            405 | 501 if refresh.method == RefreshMethod::Update => {
                self.update_allowed = false;
                refresh.method = RefreshMethod::Invite;
                true
            }
            491 => {
                // RFC 3261 §14.1: we own the Call-ID, so 2.1 to 4 seconds, in steps of 10 ms.
                self.negotiation.handle_offer_refused();
                let wait = 2_100 + u64::from(random_byte()) * 190 / 255 * 10;
                refresh.retry_at = Some(now + Duration::from_millis(wait));
                self.refresh = Some(refresh);
                return;
            }
            _ => false,
        };
        self.negotiation.handle_offer_refused();
        refresh.attempts += 1;
        if repeat && refresh.attempts < REFRESH_ATTEMPTS_MAX {
            self.send_refresh(refresh);
        } else {
            if refresh.is_new_offer {
                // RFC 3261 §14.1: the session is as it was, and so are our further offers.
                self.negotiation.options.video_direction = self.options.offer.video_direction;
            }
            self.timer.handle_refresh_failed(response.status, now);
        }
    }

    pub(super) fn handle_session_timeout(&mut self, now: Timestamp) {
        if let Some(refresh) = self.refresh
            && refresh.retry_at.is_some_and(|at| at <= now)
        {
            self.send_refresh(Refresh { retry_at: None, ..refresh });
        }
        while let Some(action) = self.timer.handle_timeout(now) {
            match action {
                TimerAction::Refresh if self.refresh.is_none() => {
                    let method =
                        if self.update_allowed { RefreshMethod::Update } else { RefreshMethod::Invite };
                    self.send_refresh(Refresh { method, attempts: 0, retry_at: None, is_new_offer: false });
                }
                TimerAction::Refresh => {}
                TimerAction::Bye => {
                    let reason = "SIP;cause=408;text=\"Session expired\"".to_owned();
                    self.push(Action::Bye { headers: vec![("Reason", reason)] });
                    self.end(status::end_of_trouble(408, "session expired: no refresh from the peer"));
                    return;
                }
            }
        }
    }

    pub(super) fn send_refresh(&mut self, refresh: Refresh) {
        let body = match refresh.method {
            RefreshMethod::Update => None,
            // A new offer can fail for want of random numbers only; then the session is at least refreshed.
            RefreshMethod::Invite if refresh.is_new_offer => {
                self.negotiation.offer().ok().or_else(|| self.negotiation.refresh())
            }
            RefreshMethod::Invite => self.negotiation.refresh(),
        };
        let mut headers = vec![allow(), supported()];
        headers.extend(self.timer.request_headers());
        let uri = self.remote_target.clone();
        let bytes = body.as_deref().unwrap_or("").to_owned();
        headers.extend(self.authentication.credentials(refresh.method.as_str(), &uri, bytes.as_bytes()));
        self.refresh = Some(refresh);
        self.push(Action::SendRefresh { method: refresh.method, headers, body });
    }
}

fn random_byte() -> u8 {
    let mut byte = [0];
    // Without random numbers the wait is the shortest one: legal, only less well spread.
    if getrandom::fill(&mut byte).is_err() {
        return 0;
    }
    byte[0]
}

/// Repetitions of one refresh after 401, 407, 422 or 405.
const REFRESH_ATTEMPTS_MAX: u8 = 5;
