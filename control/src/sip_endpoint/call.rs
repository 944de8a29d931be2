//! The task of one call: registration, dialling, the dialog, and what is left to do once the call is over.
//! Takes: one order. Gives: events, in the end how the call ended. Leaves out: the INVITE until its answer (`dialing`),
//! the call after it (`in_dialog`).

use std::sync::Arc;

use rsipstack::sip::headers::make_header;
use rsipstack::sip::{HasHeaders, Header, Method, Request, Response};
use rsipstack::transaction::Transaction;
use sipcast_sip::digest::{Authenticator, DigestError};
use sipcast_sip::sdp::Agreement;
use sipcast_sip::status;
use sipcast_sip::{CallEnd, CallEvent, CallOrder, CallStatus};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::dialog::{Dialog, cancel};
use super::dispatch::OpenDialog;
use super::register::Lease;
use super::steering::Steering;
use super::transaction::{ClientTransaction, Reply, respond};
use super::transport::Flow;

/// What a call is made of.
pub(super) struct CallParts {
    pub shared: Arc<Shared>,
    pub order: CallOrder,
    pub events: mpsc::Sender<CallEvent>,
    pub steering: Steering,
}

/// How a call ended and what remains to be done for it.
pub(super) type Outcome = (CallEnd, Option<Afterwards>);

/// One call in progress.
pub(super) struct Call {
    pub shared: Arc<Shared>,
    pub order: CallOrder,
    pub steering: Steering,
    pub authenticator: Authenticator,
    pub events: mpsc::Sender<CallEvent>,
    shown: Option<(CallStatus, u16)>,
    agreed: Option<Agreement>,
    held: bool,
}

impl Call {
    /// Runs a call to its end.
    pub async fn run(parts: CallParts) -> Outcome {
        let CallParts { shared, order, events, steering } = parts;
        let account = &order.account;
        let authenticator = match Authenticator::new(&account.authentication_name, account.password.clone()) {
            Ok(authenticator) => authenticator,
            Err(error) => return (status::end_of_trouble(0, &error.to_string()), None),
        };
        let mut call =
            Self { shared, order, steering, authenticator, events, shown: None, agreed: None, held: false };
        call.progress(CallStatus::Pending, 0);
        let lease = match call.register().await {
            Ok(lease) => lease,
            Err(end) => return (end, None),
        };
        let (end, mut afterwards) = match call.dial().await {
            Ok(session) => session.run(&mut call).await,
            Err(outcome) => outcome,
        };
        match &mut afterwards {
            Some(afterwards) => afterwards.lease = lease,
            None => drop(lease),
        }
        (end, afterwards)
    }

    async fn register(&mut self) -> Result<Option<Lease>, CallEnd> {
        if !self.order.account.register {
            return Ok(None);
        }
        tokio::select! {
            biased;
            () = abandoned(&self.steering.hang_up, &self.events) => Err(status::end_of_order(0)),
            lease = self.shared.registrations.acquire(&self.shared, &self.order.account) => lease.map(Some),
        }
    }

    /// Tells a step, once.
    pub fn progress(&mut self, status: CallStatus, sip_status: u16) {
        if self.shown == Some((status, sip_status)) {
            return;
        }
        self.shown = Some((status, sip_status));
        // Who does not keep up misses a step, never the end.
        let _ = self.events.try_send(CallEvent::Progress { status, sip_status });
    }

    /// Tells that the call is answered.
    pub async fn established(&mut self) {
        let _ = self.events.send(CallEvent::Established).await;
        if std::mem::take(&mut self.held) {
            self.hold(true).await;
        }
    }

    /// Tells what was agreed, if it is news; `answered`: hold counts from then on.
    pub async fn agree(&mut self, agreement: Agreement, answered: bool) {
        let held = agreement.held;
        if self.agreed.as_ref().is_none_or(|known| known.media != agreement.media) {
            let event = CallEvent::Media {
                media: Box::new(agreement.media.clone()),
                sdp: agreement.description.clone(),
            };
            let _ = self.events.send(event).await;
        }
        self.agreed = Some(agreement);
        if answered {
            self.hold(held).await;
        } else {
            self.held = held;
        }
    }

    async fn hold(&mut self, held: bool) {
        if self.held != held {
            self.held = held;
            let _ = self.events.send(CallEvent::Hold(held)).await;
        }
    }
}

/// Resolves when a call is to end: by order, or because nobody listens any more.
pub(super) async fn abandoned(hang_up: &CancellationToken, events: &mpsc::Sender<CallEvent>) {
    tokio::select! {
        () = hang_up.cancelled() => {}
        () = events.closed() => {}
    }
}

/// Puts credentials into a request, as far as challenges are known.
pub(super) fn authorize(authenticator: &mut Authenticator, request: &mut Request) {
    let uri = request.uri.to_string();
    let method = request.method.to_string();
    for credentials in authenticator.authorize(&method, &uri, &request.body) {
        request.headers.push(make_header(credentials.name, credentials.value));
    }
}

/// Takes a 401 or 407 in. `Ok`: the request is worth repeating.
pub(super) fn take_challenge(
    authenticator: &mut Authenticator,
    response: &Response,
) -> Result<(), DigestError> {
    let values = response.headers().iter().filter_map(|header| match header {
        Header::WwwAuthenticate(header) => Some(header.value()),
        Header::ProxyAuthenticate(header) => Some(header.value()),
        _ => None,
    });
    authenticator.handle_challenge(response.status_code.code(), values)
}

/// What a call leaves behind: a BYE or an INVITE that is not answered yet.
pub(super) struct Afterwards {
    shared: Arc<Shared>,
    authenticator: Authenticator,
    dialog: Dialog,
    flow: Flow,
    requests: mpsc::Receiver<Transaction>,
    _open: OpenDialog,
    lease: Option<Lease>,
    invite: Option<OpenInvite>,
    byes: Vec<Goodbye>,
}

/// An INVITE whose transaction is not over.
pub(super) struct OpenInvite {
    pub transaction: ClientTransaction,
    pub request: Request,
    /// A response came, so a CANCEL may go (RFC 3261 §9.1).
    pub provisional: bool,
    /// Answered by 2xx: what may still come are other forks.
    pub answered: bool,
}

struct Goodbye {
    transaction: ClientTransaction,
    dialog: Dialog,
}

/// The parts of a dialog that outlive the call.
pub(super) struct Remains {
    pub dialog: Dialog,
    pub flow: Flow,
    pub requests: mpsc::Receiver<Transaction>,
    pub open: OpenDialog,
    pub invite: Option<OpenInvite>,
}

impl Afterwards {
    /// Takes a call's dialog over and sends what ends it: BYE for an answered call unless `peer_left`, else CANCEL as
    /// soon as allowed.
    pub async fn new(call: &Call, remains: Remains, peer_left: bool) -> Self {
        let Remains { dialog, flow, requests, open, invite } = remains;
        let mut afterwards = Self {
            shared: call.shared.clone(),
            authenticator: call.authenticator.clone(),
            dialog,
            flow,
            requests,
            _open: open,
            lease: None,
            invite,
            byes: Vec::new(),
        };
        match &afterwards.invite {
            Some(invite) if !invite.answered => {
                if invite.provisional {
                    afterwards.cancel();
                }
            }
            _ if !peer_left => {
                let dialog = afterwards.dialog.clone();
                afterwards.bye(dialog).await;
            }
            _ => {}
        }
        afterwards
    }

    /// Waits for the end of what was begun.
    pub async fn settle(mut self) {
        let deadline = tokio::time::sleep(self.shared.options.t1 * SETTLE_T1);
        tokio::pin!(deadline);
        loop {
            let waits_for_answer = self.invite.as_ref().is_some_and(|invite| !invite.answered);
            if self.byes.is_empty() && !waits_for_answer {
                // The registration is not needed for stragglers.
                self.lease = None;
                if self.invite.is_none() || self.shared.closing.is_cancelled() {
                    return;
                }
            }
            tokio::select! {
                response = next_of(&mut self.invite) => self.handle_invite_response(response).await,
                response = next_bye(&mut self.byes) => self.handle_bye_response(response).await,
                Some(transaction) = self.requests.recv() => {
                    let status = if transaction.original.method == Method::Bye { 200 } else { 481 };
                    respond(transaction, Reply::new(status));
                }
                () = self.shared.closing.cancelled(), if !waits_for_answer && self.byes.is_empty() => return,
                () = &mut deadline => return,
            }
        }
    }

    async fn handle_invite_response(&mut self, response: Option<Response>) {
        let Some(invite) = &mut self.invite else { return };
        let Some(response) = response else {
            self.invite = None;
            return;
        };
        match response.status_code.code() {
            ..200 => {
                if !invite.answered && !std::mem::replace(&mut invite.provisional, true) {
                    self.cancel();
                }
            }
            200..300 => {
                // The answer crossed our CANCEL, or another fork answered: RFC 3261 §13.2.2.4, §15.
                invite.answered = true;
                let mut dialog = self.dialog.clone();
                dialog.establish(&response);
                self.bye(dialog).await;
            }
            _ => self.invite = None,
        }
    }

    async fn handle_bye_response(&mut self, (index, response): (usize, Option<Response>)) {
        let Some(response) = response else {
            self.byes.remove(index);
            return;
        };
        let status = response.status_code.code();
        if status < 200 {
            return;
        }
        let Goodbye { dialog, .. } = self.byes.remove(index);
        if matches!(status, 401 | 407) && take_challenge(&mut self.authenticator, &response).is_ok() {
            self.bye(dialog).await;
        }
    }

    fn cancel(&self) {
        let Some(invite) = &self.invite else { return };
        let request = cancel(&invite.request);
        // Its own transaction repeats it; its answer means nothing (RFC 3261 §9.1).
        ClientTransaction::start(&self.shared.network.stack, &self.flow, request);
    }

    async fn bye(&mut self, mut dialog: Dialog) {
        let flow = self.shared.network.flow_within(&dialog.next_hop(), &self.flow).await;
        let mut request = dialog.request(Method::Bye, &flow, Vec::new(), None);
        authorize(&mut self.authenticator, &mut request);
        let transaction = ClientTransaction::start(&self.shared.network.stack, &flow, request);
        self.byes.push(Goodbye { transaction, dialog });
    }
}

async fn next_of(invite: &mut Option<OpenInvite>) -> Option<Response> {
    match invite {
        Some(invite) => invite.transaction.next().await,
        None => std::future::pending().await,
    }
}

/// The next response to any BYE. There is one per fork, so a handful at most.
async fn next_bye(byes: &mut [Goodbye]) -> (usize, Option<Response>) {
    if byes.is_empty() {
        return std::future::pending().await;
    }
    let waiting = byes
        .iter_mut()
        .enumerate()
        .map(|(index, bye)| Box::pin(async move { (index, bye.transaction.next().await) }));
    futures_util::future::select_all(waiting).await.0
}

/// In units of T1: Timer B of an INVITE nobody answered, then Timer F of a BYE, with a margin.
const SETTLE_T1: u32 = 140;
