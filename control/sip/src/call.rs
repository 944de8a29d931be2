//! One call from order to BYE (RFC 3261 §13-§15, RFC 3264, RFC 3311, RFC 4028).
//! Takes: the order, responses and requests of the peer as plain text, time. Gives: [`Action`]s for the driver.
//! Leaves out: transports, transactions, dialogs, ACK: those are the stack's.
//!
//! Rule of use: after every `start` and `handle_*`, call [`Call::poll_action`] until `None`, then wake at
//! [`Call::next_timeout`]. Inputs that come too late are ignored, never an error.

use std::collections::VecDeque;
use std::time::Duration;

use sipcast_contract::{NegotiatedMedia, Secret, Timestamp};

use self::authentication::Authentication;
use self::fork::Fork;
use self::header::{all, demands_more, description, first, lists, tag, tag_of};
use self::refresh::Refresh;
use crate::addresses::Addresses;
use crate::dtmf_info;
use crate::event::{CallEnd, CallEvent, CallStatus};
use crate::multipart;
use crate::order::CallOrder;
use crate::redirect::Redirection;
use crate::sdp::{Agreement, Negotiation, SdpError};
use crate::session_timer::{Header, SessionTimer};
use crate::status::{self, FailureText};

pub mod authentication;
mod fork;
mod header;
mod message;
mod pictures;
mod refresh;

pub use fork::FORKS_MAX;
pub use message::{Action, CallError, CallOptions, PeerRequest, RefreshMethod, Response};

/// Methods we answer in a dialog: value of Allow. PRACK is none of them: it answers provisional responses, and as
/// callers we only receive those.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE";
/// Extensions we have: session timers (RFC 4028), and reliable provisional responses (RFC 3262) to our INVITE. Not
/// `replaces`: a call is never taken over.
pub const SUPPORTED: &str = "timer, 100rel";
/// INVITEs of one call: digest, 422, redirects and other offers together. Then the last failure stands.
pub const INVITES_MAX: u8 = 12;

/// 64 * T1 (RFC 3261 §9.1): a call whose CANCEL brought no final response is over.
const CANCEL_WAIT: Duration = Duration::from_secs(32);
/// How long the answer to a BYE is waited for before the next offer goes out all the same.
const PARTING_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing sent.
    New,
    /// INVITE out, no final response.
    Calling { give_up_at: Timestamp },
    /// CANCEL out; `end` stands when the final response or the time comes.
    Cancelling { end: CallEnd, give_up_at: Timestamp },
    /// 2xx came that takes no media; BYE is out, and the next offer follows its answer.
    Parting { go_on_at: Timestamp },
    /// 2xx came.
    Established { to_tag: Option<String> },
    /// Over.
    Ended,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    addresses: Addresses,
    options: CallOptions,
    negotiation: Negotiation,
    authentication: Authentication,
    redirection: Redirection,
    timer: SessionTimer,
    timer_wanted: bool,
    state: State,
    /// May hold SRTP keys.
    offer: Secret<String>,
    invites: u8,
    last_status: u16,
    shown: CallStatus,
    media: Option<NegotiatedMedia>,
    /// To tag of the fork that `negotiation`, `answer_body` and `agreement` belong to: the last one that described
    /// its media, in the end the one that answered.
    fork_tag: Option<String>,
    answer_body: Vec<u8>,
    agreement: Option<Agreement>,
    /// As it was when the INVITE went: where each fork begins.
    offered: Negotiation,
    /// The other early dialogs (RFC 3261 §12.1), [`FORKS_MAX`] at most.
    forks: Vec<Fork>,
    held: bool,
    update_allowed: bool,
    remote_target: String,
    refresh: Option<Refresh>,
    /// What we want of the media is another thing than what was agreed on.
    is_offer_due: bool,
    /// Our offer went out in a 200; its ACK brings the answer.
    awaits_ack: bool,
    actions: VecDeque<Action>,
}

impl Call {
    /// For one order.
    ///
    /// # Errors
    /// [`CallError`] naming what to change in the order.
    pub fn new(order: &CallOrder, options: CallOptions) -> Result<Self, CallError> {
        let addresses = Addresses::for_call(&order.account, &order.callee)?;
        let account = &order.account;
        let authentication = Authentication::new(account)?;
        let offer = options.offer.preferring(&order.preferences);
        let negotiation = Negotiation::new(order.media, offer).protected(order.security, fill_random);
        Ok(Self {
            redirection: Redirection::new(addresses.request_uri.clone()),
            remote_target: addresses.request_uri.to_string(),
            addresses,
            options,
            offered: negotiation.clone(),
            negotiation,
            authentication,
            timer: SessionTimer::new(options.session_expires_s.unwrap_or(0)),
            timer_wanted: options.session_expires_s.is_some(),
            state: State::New,
            offer: Secret::default(),
            invites: 0,
            last_status: 0,
            shown: CallStatus::New,
            media: None,
            fork_tag: None,
            answer_body: Vec::new(),
            agreement: None,
            forks: Vec::new(),
            held: false,
            update_allowed: false,
            refresh: None,
            is_offer_due: false,
            awaits_ack: false,
            actions: VecDeque::new(),
        })
    }

    /// Sends the INVITE.
    pub fn start(&mut self, now: Timestamp) {
        if self.state != State::New {
            return;
        }
        match self.negotiation.offer() {
            Ok(offer) => self.offer = Secret::new(offer),
            Err(error) => return self.end(status::end_of_trouble(0, &error.to_string())),
        }
        self.state = State::Calling { give_up_at: now + self.options.answer_timeout };
        self.show(CallStatus::Trying);
        self.send_invite();
    }

    /// A response to the INVITE that is out, or a 2xx of another fork.
    pub fn handle_response(&mut self, response: &Response<'_>, now: Timestamp) {
        match (&self.state, response.status) {
            (State::Calling { .. }, 100..=199) => self.handle_provisional(response),
            (State::Calling { .. }, 200..=299) => self.handle_answered(response, now),
            (State::Calling { .. }, 300..) => self.handle_refused(response),
            (State::Cancelling { .. }, 200..=299) => {
                // RFC 3261 §9.1: CANCEL came too late.
                self.push(Action::Bye { headers: Vec::new() });
                self.end_cancelled(response.status);
            }
            (State::Cancelling { .. }, 300..) => self.end_cancelled(response.status),
            (State::Established { to_tag }, 200..=299) => {
                let other = tag(response.headers);
                if let Some(other) =
                    other.filter(|other| to_tag.as_deref().is_some_and(|known| known != other))
                {
                    self.push(Action::ByeFork { to_tag: other });
                }
            }
            _ => {}
        }
    }

    /// A request of the peer within the dialog; always answered by one [`Action::Answer`].
    pub fn handle_request(&mut self, request: &PeerRequest<'_>, now: Timestamp) {
        let live = matches!(self.state, State::Calling { .. } | State::Established { .. });
        match request.method {
            "BYE" => {
                self.answer(request.id, 200, Vec::new(), None);
                self.handle_bye(first(request.headers, "Reason"));
            }
            _ if !live => self.answer(request.id, 481, Vec::new(), None),
            "INVITE" | "UPDATE" => self.handle_offer(request, now),
            // RFC 6086 §4.2.2: we subscribe to no Info Package; INFO without one is of the older kind (RFC 2976).
            "INFO" if first(request.headers, "Info-Package").is_some() => {
                self.answer(request.id, 469, vec![("Recv-Info", String::new())], None);
            }
            "OPTIONS" => {
                let headers = vec![allow(), accept(), ("Supported", SUPPORTED.to_owned())];
                self.answer(request.id, 200, headers, None);
            }
            "INFO" => {
                self.answer(request.id, 200, Vec::new(), None);
                if dtmf_info::is_picture_fast_update(request.body) {
                    self.push(Action::Event(CallEvent::PictureWanted));
                }
            }
            _ => self.answer(request.id, 405, vec![allow()], None),
        }
    }

    /// The ACK to our 2xx of a re-INVITE; its body answers the offer of that 2xx.
    pub fn handle_ack(&mut self, headers: &[(&str, &str)], body: &[u8]) {
        if !std::mem::take(&mut self.awaits_ack) || !self.is_established() {
            return;
        }
        let described = description(headers, body).unwrap_or_default().unwrap_or_default();
        match self.negotiation.handle_answer(described) {
            Ok(agreement) => self.agree(agreement),
            // The earlier agreement stands (RFC 3264 §4); the peer may offer anew.
            Err(_) => self.negotiation.handle_offer_refused(),
        }
    }

    /// The peer's BYE, where the stack has answered it already.
    pub fn handle_bye(&mut self, reason: Option<&str>) {
        match self.state {
            State::Cancelling { .. } => self.end_cancelled(self.last_status),
            // It crosses ours.
            State::Parting { .. } => {}
            _ => self.end(status::end_of_bye(self.last_status, reason)),
        }
    }

    /// The BYE of [`Action::Part`] has its final answer; `authentication` is how it was signed.
    pub fn handle_parted(&mut self, authentication: Authentication, now: Timestamp) {
        if matches!(self.state, State::Parting { .. }) {
            self.authentication = authentication;
            self.dial_anew(now);
        }
    }

    /// The INVITE could not be sent, or no response came in time (`sip_status` 408).
    pub fn handle_failure(&mut self, sip_status: u16, reason: &str) {
        match self.state {
            State::Cancelling { .. } => self.end_cancelled(sip_status),
            State::Established { .. } => {
                self.push(Action::Bye { headers: Vec::new() });
                self.end(status::end_of_trouble(sip_status, reason));
            }
            _ => self.end(status::end_of_trouble(sip_status, reason)),
        }
    }

    /// The order to end the call: CANCEL before the answer, BYE after it.
    pub fn handle_hangup(&mut self, now: Timestamp) {
        let end = status::end_of_order(self.last_status);
        match self.state {
            State::New | State::Parting { .. } => self.end(end),
            State::Calling { .. } => self.cancel(end, now),
            State::Established { .. } => {
                self.push(Action::Bye { headers: Vec::new() });
                self.end(end);
            }
            State::Cancelling { .. } | State::Ended => {}
        }
    }

    /// Time passed; call at [`Self::next_timeout`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match &self.state {
            State::Calling { give_up_at } if *give_up_at <= now => {
                self.cancel(status::end_of_trouble(408, "no answer in time"), now);
            }
            State::Cancelling { give_up_at, .. } if *give_up_at <= now => {
                self.end_cancelled(self.last_status)
            }
            State::Parting { go_on_at } if *go_on_at <= now => self.dial_anew(now),
            State::Established { .. } => self.handle_session_timeout(now),
            _ => {}
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Calling { give_up_at: at }
            | State::Cancelling { give_up_at: at, .. }
            | State::Parting { go_on_at: at } => Some(*at),
            State::Established { .. } => {
                let retry_at = self.refresh.and_then(|refresh| refresh.retry_at);
                self.timer.next_timeout().into_iter().chain(retry_at).min()
            }
            State::New | State::Ended => None,
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.actions.is_empty() {
            self.offer_anew();
        }
        self.actions.pop_front()
    }

    /// Whether the call is over.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether a 2xx came and no BYE.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// Where the call is or was directed.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// For other requests of the driver in this call's dialogs (BYE, INFO).
    pub fn authentication(&mut self) -> &mut Authentication {
        &mut self.authentication
    }

    fn send_invite(&mut self) {
        self.invites = self.invites.saturating_add(1);
        // The responses to come are of dialogs of their own.
        self.forks.clear();
        self.fork_tag = None;
        self.answer_body.clear();
        self.agreement = None;
        self.offered = self.negotiation.clone();
        let mut headers = vec![allow()];
        if self.timer_wanted {
            headers.push(supported());
            headers.extend(self.timer.request_headers());
        }
        let uri = self.addresses.request_uri.to_string();
        let body = self.offer.reveal().clone();
        headers.extend(self.authentication.credentials("INVITE", &uri, body.as_bytes()));
        self.push(Action::SendInvite { addresses: Box::new(self.addresses.clone()), headers, body });
    }

    fn handle_provisional(&mut self, response: &Response<'_>) {
        self.last_status = response.status;
        // An early answer that cannot be used is no reason to give up: the final one counts.
        let described = description(response.headers, response.body).unwrap_or_default();
        if let Some(answer) = described
            && self.turn_to(tag(response.headers))
        {
            let _ = self.read_answer(answer);
        }
        let has_media = described.is_some() || self.media.is_some();
        if response.status != 100 || self.shown == CallStatus::Trying {
            self.show(status::of_provisional(response.status, has_media && response.status != 100));
        }
    }

    fn read_answer(&mut self, body: &[u8]) -> Result<(), SdpError> {
        if let Some(agreement) = &self.agreement
            && self.answer_body == body
            && !self.negotiation.offer_pending()
        {
            // Said before; media may have followed another fork since.
            let agreement = agreement.clone();
            self.agree(agreement);
            return Ok(());
        }
        self.negotiation.reopen_offer();
        let agreement = self.negotiation.handle_answer(body)?;
        self.answer_body = body.to_vec();
        self.agree(agreement);
        Ok(())
    }

    fn handle_answered(&mut self, response: &Response<'_>, now: Timestamp) {
        self.last_status = response.status;
        self.authentication.handle_accepted();
        let answering = tag(response.headers);
        let described = description(response.headers, response.body);
        if !matches!(described, Ok(None)) || self.knows_fork(answering.as_ref()) {
            if self.forks.len() + 1 >= FORKS_MAX {
                // The fork that answers counts, however many others rang.
                self.forks.pop();
            }
            self.turn_to(answering);
        } else {
            // An intermediary that changes the tag with the answer: what was agreed on early stands.
            self.fork_tag = answering;
        }
        let mut takes_nothing = false;
        let answer = match (described, self.agreement.clone()) {
            (Ok(Some(answer)), early) => self.read_answer(answer).map_err(|error| {
                takes_nothing = early.is_none() && matches!(error, SdpError::AllRefused { .. });
                error.to_string()
            }),
            (Ok(None), Some(agreement)) => {
                // RFC 3261 §13.2.1: a reliable provisional response has answered already.
                self.negotiation.handle_offer_refused();
                self.agree(agreement);
                Ok(())
            }
            (Ok(None), None) => Err("answered without a session description".to_owned()),
            (Err(fault), _) => Err(format!("the answer cannot be read: {fault}")),
        };
        self.forks.clear();
        if let Err(reason) = answer {
            let headers = vec![("Reason", "SIP;cause=488;text=\"Not Acceptable Here\"".into())];
            // RFC 3264 §6 lets a peer say 488 so, too: by an answer with port 0 in every line.
            if takes_nothing && self.invites < INVITES_MAX && self.negotiation.try_another_offer(488) {
                self.state = State::Parting { go_on_at: now + PARTING_WAIT };
                return self.push(Action::Part { headers });
            }
            self.push(Action::Bye { headers });
            return self.end(status::end_of_trouble(488, &reason));
        }
        if let Some(contact) = crate::contact::parse(all(response.headers, "Contact")).first() {
            self.remote_target = contact.uri.to_string();
        }
        self.update_allowed = lists(response.headers, "Allow", "UPDATE");
        self.timer.handle_success(first(response.headers, "Session-Expires"), now);
        self.state = State::Established { to_tag: tag(response.headers) };
        self.show(CallStatus::Established);
        self.push(Action::Event(CallEvent::Established));
        if self.held {
            self.push(Action::Event(CallEvent::Hold(true)));
        }
    }

    fn handle_refused(&mut self, response: &Response<'_>) {
        self.last_status = response.status;
        let mut trouble = None;
        let retry = self.invites < INVITES_MAX
            && match response.status {
                300..=399 => {
                    self.redirection.handle_contacts(all(response.headers, "Contact"));
                    self.redirect()
                }
                401 | 407 => match self.authentication.take_challenge(response) {
                    Ok(()) => true,
                    Err(error) => {
                        trouble = Some(error);
                        false
                    }
                },
                422 => self.timer.handle_interval_too_small(first(response.headers, "Min-SE")),
                // RFC 3261 §8.1.3.5: again without what the peer does not know.
                420 if self.timer_wanted && lists(response.headers, "Unsupported", "timer") => {
                    self.timer_wanted = false;
                    true
                }
                // The same media in another form, before another target.
                status if self.negotiation.try_another_offer(status) => self.offer_again(),
                400..=599 => self.redirect(),
                _ => false,
            };
        if retry {
            return self.send_invite();
        }
        let text = FailureText {
            phrase: response.phrase,
            reason: first(response.headers, "Reason"),
            warning: first(response.headers, "Warning"),
        };
        let mut end = status::end_of_failure(response.status, text, false);
        if let Some(error) = trouble {
            end.reason = status::sanitized(&format!("{}; {error}", end.reason));
        }
        self.end(end);
    }

    /// The next offer, to a peer that refused the last one by its answer and may ring anew.
    fn dial_anew(&mut self, now: Timestamp) {
        if !self.offer_again() {
            return self.end(status::end_of_trouble(0, &SdpError::NoRandomness.to_string()));
        }
        self.state = State::Calling { give_up_at: now + self.options.answer_timeout };
        self.send_invite();
    }

    /// Turns to the next target of a redirection.
    fn redirect(&mut self) -> bool {
        let Some(target) = self.redirection.next_target() else { return false };
        self.addresses = self.addresses.redirected(target);
        self.negotiation.offer_afresh();
        self.offer_again()
    }

    /// The offer of the next INVITE; it fails only as the first could have.
    fn offer_again(&mut self) -> bool {
        let offer = self.negotiation.offer();
        offer.map(|offer| self.offer = Secret::new(offer)).is_ok()
    }

    fn handle_offer(&mut self, request: &PeerRequest<'_>, now: Timestamp) {
        let reinvite_is_out = self
            .refresh
            .is_some_and(|refresh| refresh.retry_at.is_none() && refresh.method == RefreshMethod::Invite);
        let is_invite = request.method == "INVITE";
        if demands_more(request.headers, request.body) {
            return self.answer(request.id, 415, vec![accept()], None);
        }
        let offer = match description(request.headers, request.body) {
            Ok(Some(offer)) => Some(offer),
            Ok(None) if request.body.is_empty() => None,
            Ok(None) => return self.answer(request.id, 415, vec![accept()], None),
            Err(fault) => {
                let headers = vec![("Warning", warning(&fault.to_string())), accept()];
                return self.answer(request.id, 400, headers, None);
            }
        };
        let has_offer = offer.is_some();
        if is_invite && !self.is_established() {
            return self.answer(request.id, 491, Vec::new(), None);
        }
        if !self.is_established() && !self.turn_to(tag_of(request.headers, "From")) {
            return self.answer(request.id, 481, Vec::new(), None);
        }
        // RFC 3261 §14.2, RFC 3311 §5.2: offers must not cross. An UPDATE of ours has none.
        if (is_invite && reinvite_is_out)
            || (has_offer && self.negotiation.offer_pending())
            || self.awaits_ack
        {
            return self.answer(request.id, 491, Vec::new(), None);
        }
        // The description first: a refused offer must not refresh the session either. And the other way round.
        let before = self.negotiation.clone();
        let (body, agreement) = if let Some(offer) = offer {
            match self.negotiation.answer(offer) {
                Ok((answer, agreement)) => (Some(answer), Some(agreement)),
                Err(error) => {
                    let warning = vec![("Warning", warning(&error.to_string()))];
                    return self.answer(request.id, error.status(), warning, None);
                }
            }
        } else if is_invite {
            match self.negotiation.offer() {
                Ok(offer) => (Some(offer), None),
                Err(error) => return self.answer(request.id, error.status(), Vec::new(), None),
            }
        } else {
            (None, None)
        };
        let supports_timer = lists(request.headers, "Supported", "timer");
        let expires = first(request.headers, "Session-Expires");
        match self.timer.handle_request(expires, supports_timer, now) {
            Ok(mut headers) => {
                headers.extend([allow(), supported()]);
                // The peer has refreshed the session, so ours that waits for its turn is not needed any more.
                let waiting = self.refresh.take_if(|refresh| refresh.retry_at.is_some());
                self.is_offer_due |= waiting.is_some_and(|refresh| refresh.is_new_offer);
                self.awaits_ack = is_invite && !has_offer;
                self.answer(request.id, 200, headers, body);
                if let Some(agreement) = agreement {
                    self.agree(agreement);
                }
            }
            Err(too_small) => {
                self.negotiation = before;
                self.answer(request.id, 422, vec![too_small.header()], None);
            }
        }
    }

    /// Tells of media and hold where they changed.
    fn agree(&mut self, agreement: Agreement) {
        self.agreement = Some(agreement.clone());
        if self.media.as_ref() != Some(&agreement.media) {
            self.media = Some(agreement.media.clone());
            let media = Box::new(agreement.media);
            self.push(Action::Event(CallEvent::Media { media, sdp: agreement.description }));
        }
        if self.held != agreement.held {
            self.held = agreement.held;
            if self.is_established() {
                self.push(Action::Event(CallEvent::Hold(agreement.held)));
            }
        }
    }

    fn cancel(&mut self, end: CallEnd, now: Timestamp) {
        self.state = State::Cancelling { end, give_up_at: now + CANCEL_WAIT };
        self.push(Action::Cancel);
    }

    fn end_cancelled(&mut self, sip_status: u16) {
        if let State::Cancelling { end, .. } = &self.state {
            let mut end = end.clone();
            if end.status == CallStatus::Finish {
                end.sip_status = sip_status;
            }
            self.end(end);
        }
    }

    fn end(&mut self, end: CallEnd) {
        if self.state == State::Ended {
            return;
        }
        self.state = State::Ended;
        self.timer.stop();
        self.refresh = None;
        self.shown = end.status;
        self.push(Action::Event(CallEvent::Ended(end)));
    }

    fn show(&mut self, status: CallStatus) {
        if self.shown != status {
            self.shown = status;
            self.push(Action::Event(CallEvent::Progress { status, sip_status: self.last_status }));
        }
    }

    fn answer(&mut self, id: u64, status: u16, headers: Vec<Header>, body: Option<String>) {
        self.push(Action::Answer { id, status, headers, body });
    }

    fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }
}

fn allow() -> Header {
    ("Allow", ALLOW.to_owned())
}

fn accept() -> Header {
    ("Accept", multipart::ACCEPT.to_owned())
}

fn supported() -> Header {
    ("Supported", "timer".to_owned())
}

/// RFC 3261 §20.43; 399 is a text for people.
fn warning(text: &str) -> String {
    let text: String = status::sanitized(text).chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    format!("399 sipcast \"{text}\"")
}

fn fill_random(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

#[cfg(test)]
mod tests;
