//! Registrations (RFC 3261 §10), one per account, shared by its calls: made for the first, kept fresh, removed after
//! the last.
//! Takes: accounts. Gives: leases. Leaves out: everything about calls, and when to refresh (`sipcast-sip`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rsipstack::sip::{Header, Method, Response};
use sipcast_sip::registration::{Registration as Decisions, RegistrationAction};
use sipcast_sip::uri::Addresses;
use sipcast_sip::{Account, CallEnd, status};
use tokio::sync::watch;

use super::Shared;
use super::dialog::{Dialog, headers};
use super::transaction::{ClientTransaction, wait_for, with_fields};
use super::transport::{NextHop, Unreachable};

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
    while let Err(end) = bind(&shared, &account, &registration).await {
        if let Some(end) = end {
            return shared.registrations.fail(&account, &registration, end);
        }
        // Un-registered, and somebody wants the account again.
    }
}

/// Registers, refreshes, and un-registers when the last lease is gone. `Ok`: nobody needs the account any more.
/// `Err(None)`: somebody does again.
async fn bind(
    shared: &Shared,
    account: &Account,
    registration: &Arc<Registration>,
) -> Result<(), Option<CallEnd>> {
    let (mut decisions, mut dialog) = prepare(shared, account).await.map_err(Some)?;
    let mut leases = registration.leases.subscribe();
    let mut stopping = false;
    let mut sent: Option<ClientTransaction> = None;
    decisions.start(shared.now());
    loop {
        while let Some(action) = decisions.poll_action() {
            match action {
                RegistrationAction::Send { headers: extra } => {
                    match send(shared, &mut dialog, headers(extra)).await {
                        Ok(transaction) => sent = Some(transaction),
                        Err(error) => decisions.handle_failure(&error.to_string(), shared.now()),
                    }
                }
                RegistrationAction::Registered => drop(registration.state.send_replace(State::Registered)),
                RegistrationAction::Failed { sip_status, reason, fatal } => {
                    // Calls that stand do not fall with it; it is tried again.
                    if !fatal && matches!(*registration.state.borrow(), State::Registered) {
                        tracing::warn!(sip_status, %reason, "registration not refreshed");
                        continue;
                    }
                    return Err(Some(status::end_of_trouble(
                        sip_status,
                        &format!("registration failed: {reason}"),
                    )));
                }
                RegistrationAction::Ended if shared.registrations.retire(account, registration) => {
                    return Ok(());
                }
                RegistrationAction::Ended => return Err(None),
            }
        }
        let timeout = decisions.next_timeout().map(|at| shared.instant(at));
        tokio::select! {
            response = next_of(&mut sent) => match response {
                Some(response) if response.status_code.code() < 200 => {}
                Some(response) => {
                    sent = None;
                    with_fields(&response, |response| decisions.handle_response(response, shared.now()));
                }
                None => {
                    sent = None;
                    decisions.handle_failure("the connection to the SIP server broke", shared.now());
                }
            },
            _ = leases.wait_for(|leases| *leases == 0), if !stopping => {
                stopping = true;
                registration.state.send_replace(State::Pending);
                decisions.handle_stop(shared.now());
            }
            () = wait_for(timeout) => decisions.handle_timeout(shared.now()),
        }
    }
}

/// REGISTER makes no dialog, but is written like requests of one: same Call-ID, rising CSeq (RFC 3261 §10.2).
async fn prepare(shared: &Shared, account: &Account) -> Result<(Decisions, Dialog), CallEnd> {
    let trouble = |error: &dyn std::fmt::Display| status::end_of_trouble(0, &error.to_string());
    let addresses = Addresses::for_registration(account).map_err(|error| trouble(&error))?;
    let flow = shared.network.flow(&NextHop::first(&addresses)).await;
    let flow = flow.map_err(|error| status::end_of_trouble(503, &error.to_string()))?;
    let decisions = Decisions::new(account, addresses.contact(flow.local))
        .map_err(|error| trouble(&error))?
        .with_expires(shared.options.register_expires_s);
    let host = flow.local.ip().to_string();
    let dialog =
        Dialog::new(addresses, &shared.options.user_agent, &host).map_err(|error| trouble(&error))?;
    Ok((decisions, dialog))
}

async fn send(
    shared: &Shared,
    dialog: &mut Dialog,
    extra: Vec<Header>,
) -> Result<ClientTransaction, Unreachable> {
    let flow = shared.network.flow(&dialog.next_hop()).await?;
    let request = dialog.request(Method::Register, &flow, extra, None);
    Ok(ClientTransaction::start(&shared.network.stack, &flow, request))
}

async fn next_of(sent: &mut Option<ClientTransaction>) -> Option<Response> {
    match sent {
        Some(transaction) => transaction.next().await,
        None => std::future::pending().await,
    }
}
