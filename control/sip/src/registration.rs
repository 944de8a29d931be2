//! Life of one registration (RFC 3261 §10): REGISTER, refresh ahead of time, un-register.
//! Takes: responses to REGISTER, time. Gives: [`RegistrationAction`]s for the driver.
//! Leaves out: sending; Call-ID and CSeq, which the driver keeps over all REGISTERs (RFC 3261 §10.2.4).

use std::collections::VecDeque;
use std::time::Duration;

use sipcast_contract::Timestamp;

use crate::addresses::Addresses;
use crate::call::{CallError, Response};
use crate::contact;
use crate::digest::{Authenticator, Challenger};
use crate::order::Account;
use crate::session_timer::{Header, delta_seconds};
use crate::status;
use crate::uri::SipUri;

/// Expiration asked for, in seconds.
pub const EXPIRES_S: u32 = 600;
/// Longest expiration kept, in seconds; a longer one is cut to a day.
const EXPIRES_S_MAX: u32 = 86_400;
/// First pause after a failure, doubled up to [`BACK_OFF_MAX`] (RFC 5626 §4.5 in small).
const BACK_OFF: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// 64 * T1: a REGISTER without a final response has failed.
const RESPONSE_WAIT: Duration = Duration::from_secs(32);
/// REGISTERs in a row after 401, 407 and 423 together.
const ATTEMPTS_MAX: u8 = 6;

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationAction {
    /// Send REGISTER to [`Registration::addresses`]; the final response goes to [`Registration::handle_response`].
    Send {
        /// Contact, Expires, credentials.
        headers: Vec<Header>,
    },
    /// The registrar has accepted, for the first time or after a failure.
    Registered,
    /// The registrar has refused, or does not answer. `fatal`: it will not be tried again.
    Failed {
        /// Last status code, 408 for none.
        sip_status: u16,
        /// For people.
        reason: String,
        /// No further attempt follows.
        fatal: bool,
    },
    /// Un-registered, or given up doing so; nothing follows.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// REGISTER out.
    Registering {
        give_up_at: Timestamp,
    },
    Registered {
        refresh_at: Timestamp,
    },
    /// Failed; the next attempt.
    Waiting {
        retry_at: Timestamp,
    },
    /// REGISTER with Expires 0 out.
    Unregistering {
        give_up_at: Timestamp,
    },
    Ended,
}

/// One registration. After every input call [`Self::poll_action`] until `None`.
#[derive(Debug)]
pub struct Registration {
    addresses: Addresses,
    contact: SipUri,
    authenticator: Authenticator,
    expires_s: u32,
    state: State,
    attempts: u8,
    failures: u32,
    is_registered: bool,
    /// When the binding that the registrar granted last ends.
    expires_at: Option<Timestamp>,
    actions: VecDeque<RegistrationAction>,
}

impl Registration {
    /// For `account`; `contact` is where calls would reach us ([`Addresses::contact`]).
    ///
    /// # Errors
    /// [`CallError`] naming what to change in the account.
    pub fn new(account: &Account, contact: SipUri) -> Result<Self, CallError> {
        Ok(Self {
            addresses: Addresses::for_registration(account)?,
            contact,
            authenticator: Authenticator::new(&account.authentication_name, account.password.clone())?,
            expires_s: EXPIRES_S,
            state: State::Idle,
            attempts: 0,
            failures: 0,
            is_registered: false,
            expires_at: None,
            actions: VecDeque::new(),
        })
    }

    /// Asks for `expires_s` seconds instead of [`EXPIRES_S`]; 0, which would un-register, is taken for 1.
    #[must_use]
    pub fn with_expires(mut self, expires_s: u32) -> Self {
        self.expires_s = expires_s.clamp(1, EXPIRES_S_MAX);
        self
    }

    /// Request-URI, From, To, Route of the REGISTER.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether the registrar holds our Contact.
    pub const fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// When the binding ends unless it is refreshed; `None` before the first.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Sends the first REGISTER.
    pub fn start(&mut self, now: Timestamp) {
        if self.state == State::Idle {
            self.register(now);
        }
    }

    /// The final response to the REGISTER that is out.
    pub fn handle_response(&mut self, response: &Response<'_>, now: Timestamp) {
        let unregistering = match self.state {
            State::Registering { .. } => false,
            State::Unregistering { .. } => true,
            _ => return,
        };
        let headers = response.headers;
        let get = |wanted: &str| {
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
        };
        match response.status {
            0..=199 => {}
            200..=299 if unregistering => self.end(),
            200..=299 => {
                self.authenticator.handle_accepted();
                let contacts = headers
                    .iter()
                    .filter(|(name, _)| {
                        name.eq_ignore_ascii_case("Contact") || name.eq_ignore_ascii_case("m")
                    })
                    .map(|(_, value)| *value);
                // RFC 3261 §10.3 step 8: our own binding's parameter, else the Expires header.
                let ours = contact::parse(contacts)
                    .into_iter()
                    .find(|contact| {
                        contact.uri.user == self.contact.user
                            && contact.uri.host_port == self.contact.host_port
                    })
                    .and_then(|contact| contact.expires_s);
                let granted_s =
                    ours.or_else(|| get("Expires").and_then(delta_seconds)).unwrap_or(self.expires_s);
                self.accept(granted_s, now);
            }
            401 | 407 => {
                let name = Challenger::from_status(response.status).map_or("", Challenger::challenge_header);
                let values = headers
                    .iter()
                    .filter(|(known, _)| known.eq_ignore_ascii_case(name))
                    .map(|(_, value)| *value);
                match self.authenticator.handle_challenge(response.status, values) {
                    Ok(()) if self.attempts < ATTEMPTS_MAX => self.send(unregistering, now),
                    Ok(()) => self.fail(response.status, "asks for credentials again and again", true, now),
                    Err(error) => self.fail(response.status, &error.to_string(), true, now),
                }
            }
            423 if !unregistering => {
                let min_s = get("Min-Expires").and_then(delta_seconds).unwrap_or(0);
                if min_s > self.expires_s && min_s <= EXPIRES_S_MAX && self.attempts < ATTEMPTS_MAX {
                    self.expires_s = min_s;
                    self.send(false, now);
                } else {
                    self.fail(423, "asks for an expiration that cannot be met", true, now);
                }
            }
            // The account is wrong: trying again would only get it blocked.
            refused @ (403 | 404 | 604) => self.fail(refused, response.phrase, true, now),
            other => self.fail(other, response.phrase, false, now),
        }
    }

    /// REGISTER could not be sent.
    pub fn handle_failure(&mut self, reason: &str, now: Timestamp) {
        if matches!(self.state, State::Registering { .. } | State::Unregistering { .. }) {
            self.fail(408, reason, false, now);
        }
    }

    /// The order to un-register.
    pub fn handle_stop(&mut self, now: Timestamp) {
        match self.state {
            State::Ended | State::Unregistering { .. } => {}
            // Also while a REGISTER is out: it may have got through.
            State::Registered { .. } | State::Registering { .. } => {
                self.attempts = 0;
                self.send(true, now);
            }
            State::Waiting { .. } if self.is_registered => {
                self.attempts = 0;
                self.send(true, now);
            }
            State::Idle | State::Waiting { .. } => self.end(),
        }
    }

    /// Time passed; call at [`Self::next_timeout`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match self.state {
            State::Registered { refresh_at: at } | State::Waiting { retry_at: at } if at <= now => {
                self.register(now);
            }
            State::Registering { give_up_at } | State::Unregistering { give_up_at } if give_up_at <= now => {
                self.fail(408, "no answer from the registrar", false, now);
            }
            _ => {}
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub const fn next_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Registered { refresh_at: at }
            | State::Waiting { retry_at: at }
            | State::Registering { give_up_at: at }
            | State::Unregistering { give_up_at: at } => Some(at),
            State::Idle | State::Ended => None,
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<RegistrationAction> {
        self.actions.pop_front()
    }

    fn register(&mut self, now: Timestamp) {
        self.attempts = 0;
        self.send(false, now);
    }

    fn send(&mut self, unregister: bool, now: Timestamp) {
        self.attempts += 1;
        let expires_s = if unregister { 0 } else { self.expires_s };
        let mut headers =
            vec![("Contact", format!("<{}>", self.contact)), ("Expires", expires_s.to_string())];
        let uri = self.addresses.request_uri.to_string();
        let credentials = self.authenticator.authorize("REGISTER", &uri, b"");
        headers.extend(credentials.into_iter().map(|credentials| (credentials.name, credentials.value)));
        let give_up_at = now + RESPONSE_WAIT;
        self.state =
            if unregister { State::Unregistering { give_up_at } } else { State::Registering { give_up_at } };
        self.actions.push_back(RegistrationAction::Send { headers });
    }

    fn accept(&mut self, granted_s: u32, now: Timestamp) {
        self.failures = 0;
        let granted = Duration::from_secs(u64::from(granted_s.min(EXPIRES_S_MAX)));
        // At 80 %, yet 30 s ahead where that is earlier; never in a tight loop.
        let refresh_in = (granted * 4 / 5).min(granted.saturating_sub(Duration::from_secs(30)));
        let refresh_in = refresh_in.max(granted / 2).max(BACK_OFF);
        self.expires_at = Some(now + granted);
        self.state = State::Registered { refresh_at: now + refresh_in };
        if !std::mem::replace(&mut self.is_registered, true) {
            self.actions.push_back(RegistrationAction::Registered);
        }
    }

    fn fail(&mut self, sip_status: u16, reason: &str, fatal: bool, now: Timestamp) {
        if matches!(self.state, State::Unregistering { .. }) {
            return self.end();
        }
        self.is_registered = false;
        let reason = status::sanitized(reason);
        let reason = if reason.is_empty() { status::default_phrase(sip_status).to_owned() } else { reason };
        self.actions.push_back(RegistrationAction::Failed { sip_status, reason, fatal });
        if fatal {
            self.state = State::Ended;
            return;
        }
        let wait = BACK_OFF.saturating_mul(1 << self.failures.min(6)).min(BACK_OFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { retry_at: now + wait };
    }

    fn end(&mut self) {
        self.is_registered = false;
        self.state = State::Ended;
        self.actions.push_back(RegistrationAction::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Transport;
    use sipcast_contract::Secret;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn started() -> Registration {
        let account = Account {
            login: "1000".into(),
            authentication_name: "1000".into(),
            password: Secret::new("pw".into()),
            domain: "pbx".into(),
            port: 5060,
            outbound_proxy: None,
            transport: Some(Transport::Udp),
            register: true,
            visible_name: None,
        };
        let mut registration =
            Registration::new(&account, "sip:1000@192.0.2.1:5070".parse().unwrap()).unwrap();
        registration.start(at(0));
        registration
    }

    fn drain(registration: &mut Registration) -> Vec<String> {
        std::iter::from_fn(|| registration.poll_action())
            .map(|action| match action {
                RegistrationAction::Send { headers } => {
                    format!("send {}{}", headers[1].1, if headers.len() > 2 { " signed" } else { "" })
                }
                RegistrationAction::Registered => "registered".into(),
                RegistrationAction::Failed { sip_status, fatal, .. } => {
                    format!("failed {sip_status} {fatal}")
                }
                RegistrationAction::Ended => "ended".into(),
            })
            .collect()
    }

    fn respond(registration: &mut Registration, status: u16, headers: &[(&str, &str)]) -> Vec<String> {
        registration.handle_response(&Response { status, phrase: "", headers, body: b"" }, at(1));
        drain(registration)
    }

    #[test]
    fn registers_refreshes_and_unregisters() {
        let mut registration = started();
        assert_eq!(drain(&mut registration), ["send 600"]);
        let challenge = ("WWW-Authenticate", "Digest realm=\"r\", nonce=\"1\", qop=\"auth\"");
        assert_eq!(respond(&mut registration, 401, &[challenge]), ["send 600 signed"]);
        assert_eq!(respond(&mut registration, 423, &[("Min-Expires", "900")]), ["send 900 signed"]);
        let contacts =
            [("m", "<sip:other@h>;expires=5, <sip:1000@192.0.2.1:5070>;expires=100"), ("Expires", "7")];
        assert_eq!(respond(&mut registration, 200, &contacts), ["registered"]);
        assert_eq!(registration.next_timeout(), Some(at(1 + 70)));
        registration.handle_timeout(at(71));
        assert_eq!(drain(&mut registration), ["send 900 signed"]);
        assert_eq!(respond(&mut registration, 200, &[("Expires", "1000")]), [""; 0]);
        assert_eq!(registration.next_timeout(), Some(at(801)));
        registration.handle_stop(at(80));
        assert_eq!(drain(&mut registration), ["send 0 signed"]);
        assert_eq!(respond(&mut registration, 200, &[]), ["ended"]);
        assert_eq!(registration.next_timeout(), None);
    }

    #[test]
    fn failures_back_off() {
        let mut registration = started();
        drain(&mut registration);
        let mut now = at(1);
        for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
            registration.handle_failure("refused", now);
            assert_eq!(drain(&mut registration), ["failed 408 false"]);
            let retry_at = registration.next_timeout().unwrap();
            assert_eq!(retry_at.since(now), Duration::from_secs(wait));
            now = retry_at;
            registration.handle_timeout(now);
            assert_eq!(drain(&mut registration), ["send 600"]);
        }
        registration.handle_timeout(now + RESPONSE_WAIT);
        assert_eq!(drain(&mut registration), ["failed 408 false"]);
        registration.handle_stop(now);
        assert_eq!(drain(&mut registration), ["ended"]);
    }

    #[test]
    fn refusals_are_final() {
        for (status, wanted) in [(403, "failed 403 true"), (401, "failed 401 true"), (423, "failed 423 true")]
        {
            let mut registration = started();
            drain(&mut registration);
            assert_eq!(respond(&mut registration, status, &[]), [wanted]);
            assert_eq!(registration.next_timeout(), None);
        }
        let mut registration = started();
        drain(&mut registration);
        assert_eq!(respond(&mut registration, 503, &[]), ["failed 503 false"]);
    }

    #[test]
    fn tiny_expirations_make_no_tight_loop() {
        let mut registration = started();
        drain(&mut registration);
        respond(&mut registration, 200, &[("Expires", "0")]);
        assert_eq!(registration.next_timeout(), Some(at(1 + 5)));
    }
}
