//! Registrations (RFC 3261 §10), one per account, shared by its calls: made for the first, kept fresh, removed after
//! the last.
//! Takes: accounts. Gives: leases. Leaves out: everything about calls, and when to refresh (`sipcast-sip`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rsipstack::sip::{Header, Method, Response};
use sipcast_contract::Timestamp;
use sipcast_sip::addresses::Addresses;
use sipcast_sip::registration::{Registration as Decisions, RegistrationAction};
use sipcast_sip::{Account, CallEnd, status};
use tokio::sync::watch;

use super::Shared;
use super::dialog::{Dialog, headers, new_call_id, readdress};
use super::ladder::{Ladder, Listening};
use super::transaction::{ClientTransaction, wait_for, with_fields};
use super::transport::{Flow, NextHop, Unreachable};
use crate::events::EventKind;

/// The registrations that are alive.
#[derive(Default)]
pub(super) struct Registrations {
    alive: Mutex<HashMap<Account, Arc<Registration>>>,
}

struct Registration {
    /// Of all its REGISTERs (RFC 3261 §10.2).
    call_id: String,
    /// What is shown of it.
    shown: Mutex<Shown>,
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

/// What is shown of a registration beside its state.
#[derive(Debug, Default)]
struct Shown {
    expires_at: Option<Timestamp>,
    last_status: u16,
    reason: Option<String>,
    is_leaving: bool,
}

impl Shown {
    fn note_response(&mut self, status: u16, expires_at: Option<Timestamp>) {
        self.last_status = status;
        self.expires_at = expires_at;
        if (200..300).contains(&status) {
            self.reason = None;
        }
    }

    fn note_failure(&mut self, status: u16, reason: &str) {
        self.last_status = status;
        self.reason = Some(reason.to_owned());
    }
}

/// A registration as it is shown. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationView {
    /// Address of record, `sip:login@domain`.
    pub account: String,
    /// Where REGISTER goes, `host:port`, as ordered.
    pub registrar: String,
    /// Where it stands.
    pub state: RegistrationState,
    /// Seconds until the binding expires if it is not refreshed; `None` without a binding.
    pub expires_in_s: Option<u64>,
    /// Status code of the last answer, 408 for none, 0 before the first.
    pub last_status: u16,
    /// Why the last REGISTER failed.
    pub reason: Option<String>,
    /// Calls that use it now.
    pub calls: usize,
}

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationState {
    /// REGISTER is out, no binding yet.
    Registering,
    /// The registrar holds our Contact.
    Registered,
    /// The last call that used it is over.
    Unregistering,
    /// Refused or not answered; the next call of the account tries again.
    Failed,
}

impl RegistrationState {
    /// The word the API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::Unregistering => "unregistering",
            Self::Failed => "failed",
        }
    }
}

impl Registration {
    /// Tells subscribers where the registration stands now.
    fn tell(&self, shared: &Shared, account: &Account, state: &'static str) {
        let (sip_status, expires_at) = {
            let shown = self.shown();
            (shown.last_status, shown.expires_at)
        };
        let now = shared.now();
        let left = expires_at.filter(|at| state == REGISTERED && *at > now).map(|at| at.since(now).as_secs());
        shared.options.events.tell_of_account(EventKind::Registration {
            account: format!("{}@{}", account.login, account.domain),
            state,
            sip_status,
            expires_s: left.and_then(|seconds| u32::try_from(seconds).ok()),
        });
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self, account: &Account, now: Timestamp) -> RegistrationView {
        let shown = self.shown();
        let state = match &*self.state.borrow() {
            State::Failed(_) => RegistrationState::Failed,
            _ if shown.is_leaving => RegistrationState::Unregistering,
            State::Pending => RegistrationState::Registering,
            State::Registered => RegistrationState::Registered,
        };
        let is_bound = state != RegistrationState::Failed;
        let expires_at = shown.expires_at.filter(|at| is_bound && *at > now);
        let registrar =
            account.outbound_proxy.clone().unwrap_or_else(|| format!("{}:{}", account.domain, account.port));
        RegistrationView {
            account: format!("sip:{}@{}", account.login, account.domain),
            registrar,
            state,
            expires_in_s: expires_at.map(|at| at.since(now).as_secs()),
            last_status: shown.last_status,
            reason: shown.reason.clone(),
            calls: *self.leases.borrow(),
        }
    }
}

/// Keeps the failed ones that are shown few: those beyond [`FAILED_MAX`] are dropped, no matter which.
fn forget_failed(alive: &mut HashMap<Account, Arc<Registration>>) {
    let is_failed = |registration: &Registration| matches!(*registration.state.borrow(), State::Failed(_));
    let mut failed = alive.values().filter(|registration| is_failed(registration)).count();
    alive.retain(|_, registration| {
        let drops = failed > FAILED_MAX && is_failed(registration);
        failed -= usize::from(drops);
        !drops
    });
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
    pub async fn acquire(
        &self,
        shared: &Arc<Shared>,
        account: &Account,
        ladder: &Arc<Ladder>,
    ) -> Result<Lease, CallEnd> {
        // The ladder listens for as long as the call waits.
        let (lease, _listening) = self.lease(shared, account, ladder);
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

    fn lease(&self, shared: &Arc<Shared>, account: &Account, ladder: &Arc<Ladder>) -> (Lease, Listening) {
        let mut alive = self.lock();
        let mut listening = None;
        let registration = match alive.get(account) {
            Some(known) if !matches!(*known.state.borrow(), State::Failed(_)) => known.clone(),
            _ => {
                let registration = Arc::new(Registration {
                    call_id: new_call_id(),
                    shown: Mutex::default(),
                    leases: watch::channel(0).0,
                    state: watch::channel(State::Pending).0,
                });
                alive.insert(account.clone(), registration.clone());
                forget_failed(&mut alive);
                listening = Some(shared.ladders.listen(&registration.call_id, ladder));
                shared.tasks.spawn(keep(shared.clone(), account.clone(), registration.clone()));
                registration
            }
        };
        // Counted under the lock: the task looks at the count under it before it goes.
        registration.leases.send_modify(|leases| *leases += 1);
        let listening = listening.unwrap_or_else(|| shared.ladders.listen(&registration.call_id, ladder));
        (Lease { registration }, listening)
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

    /// Nobody gets this registration any more; it is shown until the next one of its account, or too many failed.
    fn fail(&self, registration: &Arc<Registration>, end: CallEnd) {
        let _alive = self.lock();
        {
            let mut shown = registration.shown();
            // What the registrar said is better than what it means for the calls.
            if shown.reason.is_none() {
                shown.note_failure(end.sip_status, &end.reason);
            }
        }
        registration.state.send_replace(State::Failed(end));
    }

    /// What is to be shown, in order of account.
    pub fn views(&self, now: Timestamp) -> Vec<RegistrationView> {
        let alive = self.lock();
        let mut views: Vec<_> =
            alive.iter().map(|(account, registration)| registration.view(account, now)).collect();
        views.sort_by(|a, b| (&a.account, &a.registrar).cmp(&(&b.account, &b.registrar)));
        views
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Arc<Registration>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one registration.
async fn keep(shared: Arc<Shared>, account: Account, registration: Arc<Registration>) {
    while let Err(end) = bind(&shared, &account, &registration).await {
        if let Some(end) = end {
            shared.registrations.fail(&registration, end);
            return registration.tell(&shared, &account, FAILED);
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
    let prepared = prepare(shared, account, &registration.call_id).await.map_err(Some)?;
    let (mut decisions, mut dialog, mut flow) = prepared;
    // The flow failed: the next REGISTER looks for another.
    let mut stale = false;
    let mut leases = registration.leases.subscribe();
    let mut stopping = false;
    let mut sent: Option<ClientTransaction> = None;
    decisions.start(shared.now());
    registration.tell(shared, account, REGISTERING);
    loop {
        while let Some(action) = decisions.poll_action() {
            match action {
                RegistrationAction::Send { headers: extra } => {
                    match send(shared, &mut dialog, &mut flow, std::mem::take(&mut stale), headers(extra))
                        .await
                    {
                        Ok(transaction) => sent = Some(transaction),
                        Err(error) => decisions.handle_failure(&error.to_string(), shared.now()),
                    }
                }
                RegistrationAction::Registered => drop(registration.state.send_replace(State::Registered)),
                RegistrationAction::Failed { sip_status, reason, fatal } => {
                    registration.shown().note_failure(sip_status, &reason);
                    // Calls that stand do not fall with it; it is tried again.
                    if !fatal && matches!(*registration.state.borrow(), State::Registered) {
                        tracing::warn!(sip_status, %reason, "registration not refreshed");
                        registration.tell(shared, account, FAILED);
                        continue;
                    }
                    return Err(Some(status::end_of_trouble(
                        sip_status,
                        &format!("registration failed: {reason}"),
                    )));
                }
                RegistrationAction::Ended => {
                    registration.tell(shared, account, UNREGISTERED);
                    let is_over = shared.registrations.retire(account, registration);
                    return if is_over { Ok(()) } else { Err(None) };
                }
            }
        }
        let timeout = decisions.next_timeout().map(|at| shared.instant(at));
        tokio::select! {
            response = next_of(&mut sent) => match response {
                Some(response) if response.status_code.code() < 200 => {}
                Some(response) => {
                    if let Some(transaction) = sent.take() {
                        flow = transaction.flow();
                    }
                    stale = matches!(response.status_code.code(), 408 | 503);
                    with_fields(&response, |response| decisions.handle_response(response, shared.now()));
                    let (status, expires_at) = (response.status_code.code(), decisions.expires_at());
                    registration.shown().note_response(status, expires_at);
                    if !stopping && (200..300).contains(&status) && expires_at.is_some() {
                        registration.tell(shared, account, REGISTERED);
                    }
                }
                None => {
                    sent = None;
                    stale = true;
                    decisions.handle_failure("the connection to the SIP server broke", shared.now());
                }
            },
            _ = leases.wait_for(|leases| *leases == 0), if !stopping => {
                stopping = true;
                registration.shown().is_leaving = true;
                registration.state.send_replace(State::Pending);
                decisions.handle_stop(shared.now());
            }
            () = wait_for(timeout) => decisions.handle_timeout(shared.now()),
        }
    }
}

/// REGISTER makes no dialog, but is written like requests of one: same Call-ID, rising CSeq (RFC 3261 §10.2).
async fn prepare(
    shared: &Shared,
    account: &Account,
    call_id: &str,
) -> Result<(Decisions, Dialog, Flow), CallEnd> {
    let trouble = |error: &dyn std::fmt::Display| status::end_of_trouble(0, &error.to_string());
    let addresses = Addresses::for_registration(account).map_err(|error| trouble(&error))?;
    let flow = shared.network.flow(&NextHop::first(&addresses).kept_alive()).await;
    let flow = flow.map_err(|error| status::end_of_trouble(503, &error.to_string()))?;
    let decisions = Decisions::new(account, addresses.contact(flow.local, flow.transport))
        .map_err(|error| trouble(&error))?
        .with_expires(shared.options.register_expires_s);
    let dialog = Dialog::with_call_id(addresses, &shared.options.user_agent, call_id.to_owned())
        .map_err(|error| trouble(&error))?;
    Ok((decisions, dialog, flow))
}

/// Sends a REGISTER over the flow of the one before (RFC 5626 §4.2): a registrar of several knows the binding then.
async fn send(
    shared: &Shared,
    dialog: &mut Dialog,
    flow: &mut Flow,
    stale: bool,
    extra: Vec<Header>,
) -> Result<ClientTransaction, Unreachable> {
    let (network, hop) = (&shared.network, dialog.next_hop().kept_alive());
    *flow = if stale { network.flow(&hop).await? } else { network.flow_within(&hop, flow).await };
    let mut request = dialog.request(Method::Register, flow, extra, None);
    // Where the registrar is to send calls to may have changed with the flow.
    readdress(&mut request, flow);
    Ok(ClientTransaction::start_outside_dialog(network, flow, request))
}

async fn next_of(sent: &mut Option<ClientTransaction>) -> Option<Response> {
    match sent {
        Some(transaction) => transaction.next().await,
        None => std::future::pending().await,
    }
}

/// Words of events.
const REGISTERING: &str = "registering";
const REGISTERED: &str = "registered";
const FAILED: &str = "failed";
const UNREGISTERED: &str = "unregistered";

/// Failed registrations that are shown.
const FAILED_MAX: usize = 64;
