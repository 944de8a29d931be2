//! Registrations (RFC 3261 §10), one per account, shared by its calls: made for the first, kept fresh, removed after
//! the last.
//! Takes: accounts. Gives: leases. Leaves out: everything about calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rsipstack::sip::headers::{Expires, make_header};
use rsipstack::sip::{Header, HeadersExt, Method, Response};
use sipcast_sip::contact;
use sipcast_sip::digest::Authenticator;
use sipcast_sip::status;
use sipcast_sip::uri::Addresses;
use sipcast_sip::{Account, CallEnd};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::call::{authorize, take_challenge};
use super::dialog::Dialog;
use super::transaction::ClientTransaction;
use super::transport::NextHop;

/// The registrations that are alive.
#[derive(Default)]
pub(super) struct Registrations {
    alive: Mutex<HashMap<Account, Arc<Registration>>>,
}

struct Registration {
    leases: watch::Sender<usize>,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// No binding yet, or not any more.
    Pending,
    Registered,
    Failed(CallEnd),
}

/// Keeps an account registered.
pub(super) struct Lease {
    registration: Arc<Registration>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.registration.leases.send_modify(|leases| *leases -= 1);
    }
}

impl Registrations {
    /// Waits until `account` is registered.
    ///
    /// # Errors
    /// How the call ends that needs it.
    pub async fn acquire(&self, shared: &Arc<Shared>, account: &Account) -> Result<Lease, CallEnd> {
        let lease = self.lease(shared, account);
        let mut state = lease.registration.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Registered => break,
                State::Failed(end) => return Err(end.clone()),
                State::Pending => {}
            }
            if state.changed().await.is_err() {
                return Err(status::end_of_trouble(0, "internal error: the registration's task broke off"));
            }
        }
        Ok(lease)
    }

    fn lease(&self, shared: &Arc<Shared>, account: &Account) -> Lease {
        let mut alive = self.lock();
        let registration = match alive.get(account) {
            Some(known) if !matches!(*known.state.borrow(), State::Failed(_)) => known.clone(),
            _ => {
                let registration = Arc::new(Registration {
                    leases: watch::channel(0).0,
                    state: watch::channel(State::Pending).0,
                });
                alive.insert(account.clone(), registration.clone());
                shared.tasks.spawn(keep(shared.clone(), account.clone(), registration.clone()));
                registration
            }
        };
        // Counted under the lock: the task looks at the count under it before it goes.
        registration.leases.send_modify(|leases| *leases += 1);
        Lease { registration }
    }

    /// Ends a registration that nobody leases; `false` if somebody does again.
    fn retire(&self, account: &Account, registration: &Arc<Registration>) -> bool {
        let mut alive = self.lock();
        if *registration.leases.borrow() > 0 {
            return false;
        }
        if alive.get(account).is_some_and(|known| Arc::ptr_eq(known, registration)) {
            alive.remove(account);
        }
        true
    }

    /// Nobody gets this registration any more.
    fn fail(&self, account: &Account, registration: &Arc<Registration>, end: CallEnd) {
        let mut alive = self.lock();
        if alive.get(account).is_some_and(|known| Arc::ptr_eq(known, registration)) {
            alive.remove(account);
        }
        registration.state.send_replace(State::Failed(end));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Arc<Registration>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one registration.
async fn keep(shared: Arc<Shared>, account: Account, registration: Arc<Registration>) {
    let registrations = &shared.registrations;
    let mut registrar = match Registrar::new(&shared, &account).await {
        Ok(registrar) => registrar,
        Err(end) => return registrations.fail(&account, &registration, end),
    };
    let mut leases = registration.leases.subscribe();
    let mut bound_until: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        let again = match registrar.register(shared.options.register_expires_s).await {
            Ok(granted) => {
                bound_until = Some(asked + granted);
                registration.state.send_replace(State::Registered);
                refresh_after(granted)
            }
            // A binding that still stands carries the calls; the server may be back before it lapses.
            Err(error) if bound_until.is_some_and(|until| until > Instant::now()) => {
                tracing::warn!(sip_status = error.sip_status, reason = %error.reason, "registration not refreshed");
                RETRY
            }
            Err(end) => return registrations.fail(&account, &registration, end),
        };
        let abandoned = tokio::select! {
            abandoned = leases.wait_for(|leases| *leases == 0) => abandoned.is_ok(),
            () = tokio::time::sleep_until(asked + again) => false,
        };
        if abandoned {
            registration.state.send_replace(State::Pending);
            // An error changes nothing: the binding lapses by itself.
            let _ = registrar.register(0).await;
            bound_until = None;
            if registrations.retire(&account, &registration) {
                return;
            }
        }
    }
}

/// Time from a REGISTER to the next: early enough for retransmissions, late enough not to bother.
fn refresh_after(granted: Duration) -> Duration {
    if granted >= REFRESH_MARGIN * 3 { granted - REFRESH_MARGIN } else { granted / 2 }
        .max(Duration::from_secs(1))
}

/// The client's side of one address of record's bindings.
struct Registrar<'a> {
    shared: &'a Shared,
    /// REGISTER makes no dialog, but is written like a request of one (RFC 3261 §10.2).
    dialog: Dialog,
    authenticator: Authenticator,
    min_expires_s: u32,
}

impl<'a> Registrar<'a> {
    async fn new(shared: &'a Shared, account: &Account) -> Result<Self, CallEnd> {
        let addresses = Addresses::for_registration(account)
            .map_err(|error| status::end_of_trouble(0, &error.to_string()))?;
        let authenticator = Authenticator::new(&account.authentication_name, account.password.clone())
            .map_err(|error| status::end_of_trouble(0, &error.to_string()))?;
        let hop = NextHop::first(&addresses);
        let flow = shared
            .network
            .flow(&hop)
            .await
            .map_err(|error| status::end_of_trouble(503, &error.to_string()))?;
        let host = flow.local.ip().to_string();
        let dialog = Dialog::new(addresses, &shared.options.user_agent, &host)
            .map_err(|error| status::end_of_trouble(0, &format!("account cannot be registered: {error}")))?;
        Ok(Self { shared, dialog, authenticator, min_expires_s: 0 })
    }

    /// Binds our contact for `expires_s`, or removes the binding with 0. Gives what the server granted.
    async fn register(&mut self, expires_s: u32) -> Result<Duration, CallEnd> {
        for _ in 0..ATTEMPTS_MAX {
            let network = &self.shared.network;
            let flow = network
                .flow(&self.dialog.next_hop())
                .await
                .map_err(|error| status::end_of_trouble(503, &error.to_string()))?;
            let asked_s = if expires_s == 0 { 0 } else { expires_s.max(self.min_expires_s) };
            let contact = self.dialog.contact(&flow);
            let extra = vec![
                make_header("Contact", format!("{};expires={asked_s}", contact.value())),
                Header::Expires(Expires::new(asked_s.to_string())),
            ];
            let mut request = self.dialog.request(Method::Register, &flow, extra, None);
            authorize(&mut self.authenticator, &mut request);
            let response = ClientTransaction::start(&network.stack, &flow, request).finish().await;
            let Some(response) = response else {
                return Err(status::end_of_trouble(
                    503,
                    "registration failed: the connection to the SIP server broke",
                ));
            };
            let status = response.status_code.code();
            let min_expires_s =
                response.min_expires_header().and_then(|header| header.value().trim().parse().ok());
            match status {
                200..300 => {
                    self.authenticator.handle_accepted();
                    return Ok(Duration::from_secs(u64::from(granted_s(
                        &response,
                        contact.value(),
                        asked_s,
                    ))));
                }
                401 | 407 => take_challenge(&mut self.authenticator, &response).map_err(|error| {
                    status::end_of_trouble(status, &format!("registration failed: {error}"))
                })?,
                // RFC 3261 §10.2.8.
                423 if min_expires_s > Some(asked_s) => {
                    self.min_expires_s = min_expires_s.unwrap_or_default()
                }
                _ => {
                    return Err(status::end_of_trouble(
                        status,
                        &format!("registration failed: {}", response.status_code.text()),
                    ));
                }
            }
        }
        Err(status::end_of_trouble(401, "registration failed: the server keeps asking"))
    }
}

/// RFC 3261 §10.2.4: the expiry at our contact among those listed, else the header, else what we asked for.
fn granted_s(response: &Response, ours: &str, asked_s: u32) -> u32 {
    let contacts = contact::parse(response.contact_headers().into_iter().map(|contact| contact.value()));
    let ours = contacts
        .iter()
        .find(|contact| format!("<{}>", contact.uri) == ours)
        .or(if contacts.len() == 1 { contacts.first() } else { None });
    let listed = ours.and_then(|contact| contact.expires_s);
    let header = response.expires_header().and_then(|header| header.value().trim().parse().ok());
    listed.or(header).unwrap_or(asked_s).min(EXPIRES_MAX_S)
}

/// Challenges and 423 that one REGISTER may meet.
const ATTEMPTS_MAX: u32 = 6;
const REFRESH_MARGIN: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_secs(10);
const EXPIRES_MAX_S: u32 = 86_400;
