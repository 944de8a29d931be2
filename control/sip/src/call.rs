//! One call from order to BYE (RFC 3261 §13-§15, RFC 3264, RFC 3311, RFC 4028).
//! Takes: the order, responses and requests of the peer as plain text, time. Gives: [`Action`]s for the driver.
//! Leaves out: transports, transactions, dialogs, ACK: those are the stack's.
//!
//! Rule of use: after every `start` and `handle_*`, call [`Call::poll_action`] until `None`, then wake at
//! [`Call::next_timeout`]. Inputs that come too late are ignored, never an error.

use std::collections::VecDeque;
use std::time::Duration;

use sipcast_contract::{NegotiatedMedia, Secret, Timestamp};
use thiserror::Error;

use crate::digest::{Authenticator, Challenger, DigestError};
use crate::event::{CallEnd, CallEvent, CallStatus};
use crate::order::CallOrder;
use crate::redirect::Redirection;
use crate::sdp::{Agreement, Negotiation, OfferOptions, SdpError};
use crate::session_timer::{Header, SessionTimer, TimerAction};
use crate::status::{self, FailureText};
use crate::uri::{Addresses, UriError};

/// Methods we answer in a dialog: value of Allow. PRACK is none of them: it answers provisional responses, and as
/// callers we only receive those.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE";
/// Extensions we have: session timers (RFC 4028), and reliable provisional responses (RFC 3262) to our INVITE. Not
/// `replaces`: a call is never taken over.
pub const SUPPORTED: &str = "timer, 100rel";
/// Content type of session descriptions.
pub const SDP_CONTENT_TYPE: &str = "application/sdp";
/// INVITEs of one call: digest, 422 and redirects together. Then the last failure stands.
pub const INVITES_MAX: u8 = 12;

/// Early dialogs of one INVITE that are told apart; what further forks describe is passed over.
pub const FORKS_MAX: usize = 8;

/// 64 * T1 (RFC 3261 §9.1): a call whose CANCEL brought no final response is over.
const CANCEL_WAIT: Duration = Duration::from_secs(32);
/// Repetitions of one refresh after 401, 407, 422 or 405.
const REFRESH_ATTEMPTS_MAX: u8 = 5;

/// What a call may do beside its order.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// Shape of our offers.
    pub offer: OfferOptions,
    /// Session interval to ask for, in seconds; `None`: no session timer of ours.
    pub session_expires_s: Option<u32>,
    /// How long the peer may ring.
    pub answer_timeout: Duration,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            offer: OfferOptions::default(),
            session_expires_s: Some(crate::session_timer::SESSION_EXPIRES_S),
            answer_timeout: Duration::from_secs(120),
        }
    }
}

/// A response of the peer, as text.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub phrase: &'a str,
    /// All headers, names as they came, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// A request of the peer within the dialog.
#[derive(Clone, Copy, Debug)]
pub struct PeerRequest<'a> {
    /// The driver's mark; comes back in [`Action::Answer`].
    pub id: u64,
    /// The method, upper case.
    pub method: &'a str,
    /// All headers, names as they came, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// How a refresh is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshMethod {
    /// Without a body (RFC 4028 §7.4 prefers it where allowed).
    Update,
    /// re-INVITE with the last description.
    Invite,
}

impl RefreshMethod {
    /// The method's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "UPDATE",
            Self::Invite => "INVITE",
        }
    }
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an INVITE: a new dialog with the call's Call-ID and From tag, CSeq one up. Every response goes to
    /// [`Call::handle_response`]; ACK is the stack's.
    SendInvite {
        /// Request-URI, From, To, Route, next hop.
        addresses: Box<Addresses>,
        /// To be added as they are.
        headers: Vec<Header>,
        /// `application/sdp`.
        body: String,
    },
    /// Send CANCEL as soon as a provisional response came (RFC 3261 §9.1).
    Cancel,
    /// Send BYE in the confirmed dialog.
    Bye {
        /// To be added as they are.
        headers: Vec<Header>,
    },
    /// A second fork answered: ACK its 2xx, then BYE in its dialog (RFC 3261 §13.2.2.4).
    ByeFork {
        /// To tag of that dialog.
        to_tag: String,
    },
    /// Send a refresh; the final response goes to [`Call::handle_refresh_response`].
    SendRefresh {
        /// How.
        method: RefreshMethod,
        /// To be added as they are.
        headers: Vec<Header>,
        /// `application/sdp`, with INVITE.
        body: Option<String>,
    },
    /// Answer a request of the peer.
    Answer {
        /// [`PeerRequest::id`].
        id: u64,
        /// Status code.
        status: u16,
        /// To be added as they are.
        headers: Vec<Header>,
        /// `application/sdp`.
        body: Option<String>,
    },
    /// For the control plane.
    Event(CallEvent),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing sent.
    New,
    /// INVITE out, no final response.
    Calling { give_up_at: Timestamp },
    /// CANCEL out; `end` stands when the final response or the time comes.
    Cancelling { end: CallEnd, give_up_at: Timestamp },
    /// 2xx came.
    Established { to_tag: Option<String> },
    /// Over.
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Refresh {
    method: RefreshMethod,
    attempts: u8,
    /// Waits for a second try after 491 (RFC 3261 §14.1); `None`: the request is out.
    retry_at: Option<Timestamp>,
}

/// An early dialog that media does not follow at the moment.
#[derive(Debug)]
struct Fork {
    tag: Option<String>,
    negotiation: Negotiation,
    answer_body: Vec<u8>,
    agreement: Option<Agreement>,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    addresses: Addresses,
    options: CallOptions,
    negotiation: Negotiation,
    authenticator: Authenticator,
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
        let authenticator = Authenticator::new(&account.authentication_name, account.password.clone())?;
        let offer = options.offer.preferring(&order.preferences);
        let negotiation = Negotiation::new(order.media, offer).protected(order.security, fill_random);
        Ok(Self {
            redirection: Redirection::new(addresses.request_uri.clone()),
            remote_target: addresses.request_uri.to_string(),
            addresses,
            options,
            offered: negotiation.clone(),
            negotiation,
            authenticator,
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

    /// The final response to our refresh; `status` 408 stands for none.
    pub fn handle_refresh_response(&mut self, response: &Response<'_>, now: Timestamp) {
        let Some(mut refresh) = self.refresh.take() else { return };
        if !self.is_established() || response.status < 200 {
            self.refresh = Some(refresh);
            return;
        }
        let repeat = match response.status {
            200..=299 => {
                self.authenticator.handle_accepted();
                self.timer.handle_success(first(response.headers, "Session-Expires"), now);
                if refresh.method == RefreshMethod::Invite
                    && let Ok(agreement) = self.negotiation.handle_answer(response.body)
                {
                    self.agree(agreement);
                }
                self.negotiation.handle_offer_refused();
                return;
            }
            401 | 407 => self.take_challenge(response).is_ok(),
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
            self.timer.handle_refresh_failed(response.status, now);
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
                let headers = vec![
                    allow(),
                    ("Accept", SDP_CONTENT_TYPE.to_owned()),
                    ("Supported", SUPPORTED.to_owned()),
                ];
                self.answer(request.id, 200, headers, None);
            }
            "INFO" => self.answer(request.id, 200, Vec::new(), None),
            _ => self.answer(request.id, 405, vec![allow()], None),
        }
    }

    /// The ACK to our 2xx of a re-INVITE; its body answers the offer of that 2xx.
    pub fn handle_ack(&mut self, body: &[u8]) {
        if !std::mem::take(&mut self.awaits_ack) || !self.is_established() {
            return;
        }
        match self.negotiation.handle_answer(body) {
            Ok(agreement) => self.agree(agreement),
            // The earlier agreement stands (RFC 3264 §4); the peer may offer anew.
            Err(_) => self.negotiation.handle_offer_refused(),
        }
    }

    /// The peer's BYE, where the stack has answered it already.
    pub fn handle_bye(&mut self, reason: Option<&str>) {
        if matches!(self.state, State::Cancelling { .. }) {
            return self.end_cancelled(self.last_status);
        }
        self.end(status::end_of_bye(self.last_status, reason));
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
            State::New => self.end(end),
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
            State::Established { .. } => self.handle_session_timeout(now),
            _ => {}
        }
    }

    fn handle_session_timeout(&mut self, now: Timestamp) {
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
                    self.send_refresh(Refresh { method, attempts: 0, retry_at: None });
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

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Calling { give_up_at } | State::Cancelling { give_up_at, .. } => Some(*give_up_at),
            State::Established { .. } => {
                let retry_at = self.refresh.and_then(|refresh| refresh.retry_at);
                self.timer.next_timeout().into_iter().chain(retry_at).min()
            }
            State::New | State::Ended => None,
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
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

    /// For other requests of the driver in this dialog (BYE, INFO): takes the challenge of a 401 or 407.
    ///
    /// # Errors
    /// [`DigestError`]: do not repeat the request.
    pub fn take_challenge(&mut self, response: &Response<'_>) -> Result<(), DigestError> {
        let name =
            Challenger::from_status(response.status).ok_or(DigestError::NoChallenge)?.challenge_header();
        let values: Vec<&str> = all(response.headers, name).collect();
        self.authenticator.handle_challenge(response.status, values)
    }

    /// Credentials for a request, empty before the first challenge.
    pub fn credentials(&mut self, method: &str, uri: &str, body: &[u8]) -> Vec<Header> {
        let credentials = self.authenticator.authorize(method, uri, body);
        credentials.into_iter().map(|credentials| (credentials.name, credentials.value)).collect()
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
        headers.extend(self.credentials("INVITE", &uri, body.as_bytes()));
        self.push(Action::SendInvite { addresses: Box::new(self.addresses.clone()), headers, body });
    }

    fn handle_provisional(&mut self, response: &Response<'_>) {
        self.last_status = response.status;
        let has_media = has_description(response);
        if has_media {
            // An early answer that cannot be used is no reason to give up: the final one counts.
            if self.turn_to(tag(response.headers)) {
                let _ = self.read_answer(response.body);
            }
        }
        let has_media = has_media || self.media.is_some();
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

    /// Media follows the fork with this To tag from here (RFC 3261 §13.2.2.4, RFC 3264 §4: each has an answer of its
    /// own). A response without tag is of the fork we are at. `false`: one fork too many.
    fn turn_to(&mut self, tag: Option<String>) -> bool {
        if tag.is_none() || self.fork_tag == tag {
            return true;
        }
        if self.fork_tag.is_none() && self.agreement.is_none() {
            self.fork_tag = tag;
            return true;
        }
        let known = self.forks.iter().position(|fork| fork.tag == tag);
        if known.is_none() && self.forks.len() + 1 >= FORKS_MAX {
            return false;
        }
        let next = match known {
            Some(at) => self.forks.swap_remove(at),
            None => Fork { tag, negotiation: self.offered.clone(), answer_body: Vec::new(), agreement: None },
        };
        self.forks.push(Fork {
            tag: std::mem::replace(&mut self.fork_tag, next.tag),
            negotiation: std::mem::replace(&mut self.negotiation, next.negotiation),
            answer_body: std::mem::replace(&mut self.answer_body, next.answer_body),
            agreement: std::mem::replace(&mut self.agreement, next.agreement),
        });
        true
    }

    /// Whether an early dialog with this tag has described its media.
    fn knows_fork(&self, tag: Option<&String>) -> bool {
        self.fork_tag.as_ref() == tag || self.forks.iter().any(|fork| fork.tag.as_ref() == tag)
    }

    fn handle_answered(&mut self, response: &Response<'_>, now: Timestamp) {
        self.last_status = response.status;
        self.authenticator.handle_accepted();
        let answering = tag(response.headers);
        let has_description = has_description(response);
        if has_description || self.knows_fork(answering.as_ref()) {
            if self.forks.len() + 1 >= FORKS_MAX {
                // The fork that answers counts, however many others rang.
                self.forks.pop();
            }
            self.turn_to(answering);
        } else {
            // An intermediary that changes the tag with the answer: what was agreed on early stands.
            self.fork_tag = answering;
        }
        let answer = if has_description {
            self.read_answer(response.body).map_err(|error| error.to_string())
        } else if let Some(agreement) = self.agreement.clone() {
            // RFC 3261 §13.2.1: a reliable provisional response has answered already.
            self.negotiation.handle_offer_refused();
            self.agree(agreement);
            Ok(())
        } else {
            Err("answered without a session description".to_owned())
        };
        self.forks.clear();
        if let Err(reason) = answer {
            self.push(Action::Bye {
                headers: vec![("Reason", "SIP;cause=488;text=\"Not Acceptable Here\"".into())],
            });
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
                401 | 407 => match self.take_challenge(response) {
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
        let has_offer = !request.body.is_empty();
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
        let content_type = first(request.headers, "Content-Type").unwrap_or(SDP_CONTENT_TYPE);
        if has_offer && !is_sdp(content_type) {
            let headers = vec![("Accept", SDP_CONTENT_TYPE.to_owned())];
            return self.answer(request.id, 415, headers, None);
        }
        // The description first: a refused offer must not refresh the session either. And the other way round.
        let before = self.negotiation.clone();
        let (body, agreement) = if has_offer {
            match self.negotiation.answer(request.body) {
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
                self.refresh = self.refresh.filter(|refresh| refresh.retry_at.is_none());
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

    fn send_refresh(&mut self, refresh: Refresh) {
        let body = match refresh.method {
            RefreshMethod::Update => None,
            RefreshMethod::Invite => self.negotiation.refresh(),
        };
        let mut headers = vec![allow(), supported()];
        headers.extend(self.timer.request_headers());
        let uri = self.remote_target.clone();
        let bytes = body.as_deref().unwrap_or("").to_owned();
        headers.extend(self.credentials(refresh.method.as_str(), &uri, bytes.as_bytes()));
        self.refresh = Some(refresh);
        self.push(Action::SendRefresh { method: refresh.method, headers, body });
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

fn random_byte() -> u8 {
    let mut byte = [0];
    // Without random numbers the wait is the shortest one: legal, only less well spread.
    if getrandom::fill(&mut byte).is_err() {
        return 0;
    }
    byte[0]
}

/// Compact forms (RFC 3261 §7.3.3, RFC 4028 §4) beside the long names.
fn is_named(name: &str, wanted: &str) -> bool {
    let compact = match wanted {
        "Contact" => "m",
        "Content-Type" => "c",
        "Supported" => "k",
        "Session-Expires" => "x",
        "To" => "t",
        "From" => "f",
        _ => "",
    };
    name.eq_ignore_ascii_case(wanted) || (!compact.is_empty() && name.eq_ignore_ascii_case(compact))
}

fn all<'a>(headers: &'a [(&'a str, &'a str)], wanted: &'static str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(name, _)| is_named(name, wanted)).map(|(_, value)| *value)
}

fn first<'a>(headers: &'a [(&'a str, &'a str)], wanted: &'static str) -> Option<&'a str> {
    all(headers, wanted).next()
}

/// Whether a comma-separated list header names `item`.
fn lists(headers: &[(&str, &str)], wanted: &'static str, item: &str) -> bool {
    all(headers, wanted).flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(item))
}

fn tag(headers: &[(&str, &str)]) -> Option<String> {
    tag_of(headers, "To")
}

fn tag_of(headers: &[(&str, &str)], name: &'static str) -> Option<String> {
    let address = first(headers, name)?;
    let parameters = address.rsplit('>').next()?;
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("tag").then(|| value.trim().to_owned())
    })
}

fn is_sdp(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(SDP_CONTENT_TYPE))
}

fn has_description(response: &Response<'_>) -> bool {
    !response.body.is_empty() && first(response.headers, "Content-Type").is_none_or(is_sdp)
}

/// An order that cannot be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// An address.
    #[error(transparent)]
    Address(#[from] UriError),
    /// The credentials.
    #[error("authenticationName: {0}")]
    Credentials(#[from] DigestError),
}

#[cfg(test)]
mod tests;
