//! What a call leaves behind: a BYE, or an INVITE that is cancelled but not answered yet (RFC 3261 §9.1, §15).
//! Takes: the call's dialog. Gives: nothing any more, but for the credentials of a call that goes on in another dialog.
//! Leaves out: the call itself (`call`).

use std::sync::Arc;

use rsipstack::sip::{Header, Method, Request, Response};
use rsipstack::transaction::Transaction;
use sipcast_sip::call::authentication::Authentication;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::dialog::{Dialog, cancel};
use super::dispatch::OpenDialog;
use super::ladder::Listening;
use super::register::Lease;
use super::transaction::{ClientTransaction, Reply, respond, sign, with_fields};
use super::transport::Flow;

/// The parts of a call that outlive it.
pub(super) struct Remains {
    pub shared: Arc<Shared>,
    pub authentication: Authentication,
    pub dialog: Dialog,
    pub flow: Flow,
    pub requests: mpsc::Receiver<Transaction>,
    /// Keeps requests coming.
    pub _open: OpenDialog,
    /// Keeps messages going to the call's ladder.
    pub _listening: Listening,
    pub lease: Option<Lease>,
    pub invite: Option<OpenInvite>,
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

/// Work on the remains.
pub(super) struct Afterwards {
    remains: Remains,
    byes: Vec<Goodbye>,
    /// Is told once the BYEs are answered.
    parted: Option<oneshot::Sender<Authentication>>,
}

struct Goodbye {
    transaction: ClientTransaction,
    dialog: Dialog,
}

impl Afterwards {
    /// Sends what ends the dialog: `bye` with these headers, or CANCEL for an INVITE without answer, as soon as
    /// allowed.
    pub async fn new(remains: Remains, bye: Option<Vec<Header>>) -> Self {
        if let Some(invite) = &remains.invite {
            invite.transaction.stay();
        }
        let mut afterwards = Self { remains, byes: Vec::new(), parted: None };
        if let Some(extra) = bye {
            let dialog = afterwards.remains.dialog.clone();
            afterwards.bye(dialog, extra).await;
        }
        if afterwards.remains.invite.as_ref().is_some_and(|invite| !invite.answered && invite.provisional) {
            afterwards.cancel();
        }
        afterwards
    }

    /// Resolves when the BYE has its final answer, with the credentials to go on with; in an error if it gets none.
    pub fn parted(&mut self) -> oneshot::Receiver<Authentication> {
        let (sender, receiver) = oneshot::channel();
        self.parted = Some(sender);
        receiver
    }

    /// Waits for the end of what was begun.
    pub async fn settle(mut self) {
        let shared = self.remains.shared.clone();
        let deadline = tokio::time::sleep(shared.options.t1 * SETTLE_T1);
        tokio::pin!(deadline);
        loop {
            let waits_for_answer = self.remains.invite.as_ref().is_some_and(|invite| !invite.answered);
            if self.byes.is_empty()
                && let Some(parted) = self.parted.take()
            {
                let _ = parted.send(self.remains.authentication.clone());
            }
            let idle = self.byes.is_empty() && !waits_for_answer;
            if idle {
                // Stragglers do not need the registration.
                self.remains.lease = None;
                if self.remains.invite.is_none() {
                    return;
                }
            }
            tokio::select! {
                response = next_of(&mut self.remains.invite) => self.handle_invite_response(response).await,
                response = next_bye(&mut self.byes) => self.handle_bye_response(response).await,
                Some(transaction) = self.remains.requests.recv() => {
                    let status = if transaction.original.method == Method::Bye { 200 } else { 481 };
                    respond(transaction, Reply::new(status));
                }
                () = shared.closing.cancelled(), if idle => return,
                () = &mut deadline => return,
            }
        }
    }

    async fn handle_invite_response(&mut self, response: Option<Response>) {
        let Some(invite) = &mut self.remains.invite else { return };
        let Some(response) = response else {
            self.remains.invite = None;
            return;
        };
        (self.remains.flow, invite.request) = (invite.transaction.flow(), invite.transaction.request());
        match response.status_code.code() {
            ..200 => {
                if !invite.answered && !std::mem::replace(&mut invite.provisional, true) {
                    self.cancel();
                }
            }
            200..300 => {
                // The answer crossed our CANCEL, or another fork answered: RFC 3261 §13.2.2.4, §15.
                invite.answered = true;
                let mut dialog = self.remains.dialog.clone();
                dialog.establish(&response);
                self.bye(dialog, Vec::new()).await;
            }
            _ => self.remains.invite = None,
        }
    }

    async fn handle_bye_response(&mut self, (index, response): (usize, Option<Response>)) {
        let status = response.as_ref().map_or(503, |response| response.status_code.code());
        if status < 200 {
            return;
        }
        let Goodbye { dialog, .. } = self.byes.remove(index);
        if let (401 | 407, Some(response)) = (status, response)
            && with_fields(&response, |response| self.remains.authentication.take_challenge(response)).is_ok()
        {
            self.bye(dialog, Vec::new()).await;
        }
    }

    fn cancel(&self) {
        let Some(invite) = &self.remains.invite else { return };
        // A transaction of its own repeats it; its answer means nothing (RFC 3261 §9.1).
        ClientTransaction::start(
            &self.remains.shared.network.stack,
            &self.remains.flow,
            cancel(&invite.request),
        );
    }

    async fn bye(&mut self, mut dialog: Dialog, extra: Vec<Header>) {
        let network = &self.remains.shared.network;
        let flow = network.flow_within(&dialog.next_hop(), &self.remains.flow).await;
        let mut request = dialog.request(Method::Bye, &flow, extra, None);
        sign(&mut self.remains.authentication, &mut request);
        let transaction = ClientTransaction::start(&network.stack, &flow, request);
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
