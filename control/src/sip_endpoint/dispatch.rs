//! Which call a request from outside belongs to, and the answers to those that belong to none.
//! Takes: the stack's incoming transactions. Gives: in-dialog requests to their calls.
//! Leaves out: answering inside a dialog (`sipcast-sip`), the rate of requests (`admission`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rsipstack::sip::headers::{Accept, Allow, Supported, Unsupported};
use rsipstack::sip::{Header, HeadersExt, Method, Request, Version};
use rsipstack::transaction::{Transaction, TransactionReceiver};
use sipcast_sip::call::ALLOW;
use tokio::sync::mpsc;

use super::admission::TokenBucket;
use super::transaction::{Reply, respond, to_tag};

/// The open dialogs by Call-ID.
#[derive(Default)]
pub(super) struct Dialogs {
    open: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    requests: mpsc::Sender<Transaction>,
    rate: TokenBucket,
}

impl Dialogs {
    /// Requests with `call_id` go to `requests` until the result is dropped.
    pub fn open(self: &Arc<Self>, call_id: &str) -> (OpenDialog, mpsc::Receiver<Transaction>) {
        let (sender, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
        let entry = Entry { requests: sender, rate: TokenBucket::new(REQUESTS_PER_S, REQUESTS_BURST) };
        self.lock().insert(call_id.to_owned(), entry);
        (OpenDialog { dialogs: self.clone(), call_id: call_id.to_owned() }, receiver)
    }

    /// Whether a request is within its dialog's rate; `None` if there is no such dialog.
    pub fn admits(&self, call_id: &str) -> Option<bool> {
        self.lock().get_mut(call_id).map(|entry| entry.rate.take())
    }

    fn requests(&self, call_id: &str) -> Option<mpsc::Sender<Transaction>> {
        self.lock().get(call_id).map(|entry| entry.requests.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a dialog known to the dispatcher.
pub(super) struct OpenDialog {
    dialogs: Arc<Dialogs>,
    call_id: String,
}

impl Drop for OpenDialog {
    fn drop(&mut self) {
        self.dialogs.lock().remove(&self.call_id);
    }
}

/// Serves until the stack ends.
pub(super) async fn serve(dialogs: Arc<Dialogs>, mut incoming: TransactionReceiver) {
    while let Some(transaction) = incoming.recv().await {
        dispatch(&dialogs, transaction);
    }
}

fn dispatch(dialogs: &Dialogs, mut transaction: Transaction) {
    let request = &mut transaction.original;
    if request.version != Version::V2 {
        // The stack would answer in the peer's version.
        request.version = Version::V2;
        respond(transaction, Reply::new(505));
        return;
    }
    if to_tag(request).is_none() {
        // RFC 3261 §8.2.2.3: what is required comes first, so that `Require: replaces` (RFC 3891) meets 420, not 403.
        let reply = match request.method {
            Method::Cancel | Method::Ack => None,
            _ => unsupported(request),
        };
        let reply = reply.unwrap_or_else(|| reply_to_stranger(request.method));
        respond(transaction, reply);
        return;
    }
    let call = request.call_id_header().ok().and_then(|call_id| dialogs.requests(call_id.value()));
    let refused = match call {
        Some(requests) => match requests.try_send(transaction) {
            Ok(()) => return,
            // RFC 3261 §21.5.4: the call's task is behind; the peer tries again.
            Err(mpsc::error::TrySendError::Full(transaction)) => (transaction, 503),
            Err(mpsc::error::TrySendError::Closed(transaction)) => (transaction, 481),
        },
        None => (transaction, 481),
    };
    respond(refused.0, Reply::new(refused.1));
}

/// RFC 3261 §8.2, §11.2: the answer to a request outside any dialog. We take no calls.
fn reply_to_stranger(method: Method) -> Reply {
    match method {
        Method::Options => capabilities(Reply::new(200)),
        Method::Invite => Reply::new(403),
        Method::Bye | Method::Info | Method::Update | Method::PRack => Reply::new(481),
        _ => Reply::new(405).with(allow()),
    }
}

/// What OPTIONS asks for (RFC 3261 §11.2).
fn capabilities(reply: Reply) -> Reply {
    reply
        .with(allow())
        .with(Header::Accept(Accept::new(sipcast_sip::multipart::ACCEPT)))
        .with(Header::Supported(Supported::new(super::SUPPORTED)))
}

/// Refuses a request that requires extensions we lack (RFC 3261 §8.2.2.3).
pub(super) fn unsupported(request: &Request) -> Option<Reply> {
    let required = request.headers.iter().filter_map(|header| match header {
        Header::Require(require) => Some(require.value()),
        _ => None,
    });
    let unknown: Vec<_> = required
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|tag| {
            !tag.is_empty() && !super::SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(tag))
        })
        .collect();
    let header = || Header::Unsupported(Unsupported::new(unknown.join(", ")));
    (!unknown.is_empty()).then(|| Reply::new(420).with(header()))
}

fn allow() -> Header {
    Header::Allow(Allow::new(ALLOW))
}

/// Requests that wait for a call's task; a further one is answered 503.
const REQUESTS_WAITING_MAX: usize = 16;
/// In-dialog requests that one call looks at; the rest is dropped.
const REQUESTS_PER_S: f64 = 20.0;
const REQUESTS_BURST: f64 = 50.0;
