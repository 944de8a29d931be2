//! Runs the stack's transactions, each in a task of its own, because their futures must not be dropped half-way.
//! Takes: requests with a flow, or received requests with a reply. Gives: responses, ACKs. Requests outside dialogs go to
//! the next hop's next address if one fails (RFC 3263 §4.3).
//! Leaves out: what requests say (`dialog`), which reply is right (`dispatch`, `sipcast-sip`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rsipstack::sip::headers::{ContentType, make_header};
use rsipstack::sip::{Header, Headers, HeadersExt, Method, Request, Response, SipMessage, StatusCode};
use rsipstack::transaction::Transaction;
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use sipcast_sip::call::{self, authentication::Authentication};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::dialog::readdress;
use super::transport::{Flow, Network};

/// A request on its way: yields provisional responses and the final one, for INVITE also 2xx of further forks.
/// Ends without a final response when the connection was lost.
pub(super) struct ClientTransaction {
    responses: mpsc::Receiver<Response>,
    /// The attempt that is under way.
    attempt: Arc<Mutex<(Flow, Request)>>,
    /// No further address is tried.
    stays: CancellationToken,
}

impl ClientTransaction {
    /// Sends `request` over `flow`. The stack retransmits, times out (as a local 408) and acknowledges.
    pub fn start(stack: &EndpointInnerRef, flow: &Flow, request: Request) -> Self {
        let (started, sender) = Self::new(flow, &request);
        let stack = stack.clone();
        let flow = flow.clone();
        tokio::spawn(async move {
            if let Outcome::Failed(Some(response)) = run(stack, flow, request, &sender, None).await {
                let _ = sender.send(response).await;
            }
        });
        started
    }

    /// Sends a request that belongs to no dialog yet, INVITE or REGISTER, over `flow`; over TCP if it is too large for
    /// UDP (RFC 3261 §18.1.1); to the next address if one does not answer, is out of service (503), or cannot be
    /// connected to (RFC 3263 §4.3). [`Self::flow`] and [`Self::request`] tell which attempt it is.
    pub fn start_outside_dialog(network: &Network, flow: &Flow, request: Request) -> Self {
        let (started, sender) = Self::new(flow, &request);
        let (attempt, stays) = (started.attempt.clone(), started.stays.clone());
        let (network, flow) = (network.clone(), flow.clone());
        tokio::spawn(async move { run_along(network, flow, request, sender, attempt, stays).await });
        started
    }

    fn new(flow: &Flow, request: &Request) -> (Self, mpsc::Sender<Response>) {
        let (sender, responses) = mpsc::channel(RESPONSES_WAITING_MAX);
        let attempt = Arc::new(Mutex::new((flow.clone(), request.clone())));
        (Self { responses, attempt, stays: CancellationToken::new() }, sender)
    }

    /// The flow that the request went over.
    pub fn flow(&self) -> Flow {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// The request as it went.
    pub fn request(&self) -> Request {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Nobody wants the request any more: if it fails, it has failed.
    pub fn stay(&self) {
        self.stays.cancel();
    }

    /// The next response; `None` when nothing more will come.
    pub async fn next(&mut self) -> Option<Response> {
        self.responses.recv().await
    }
}

/// How one attempt ended.
enum Outcome {
    /// The peer has had its say.
    Over,
    /// It had none, or is out of service; with the response that says so.
    Failed(Option<Response>),
}

async fn run_along(
    network: Network,
    mut flow: Flow,
    mut request: Request,
    responses: mpsc::Sender<Response>,
    attempt: Arc<Mutex<(Flow, Request)>>,
    stays: CancellationToken,
) {
    let mut next = network.flow_for_size(&flow, request.to_string().len()).await;
    let mut last = None;
    loop {
        if let Some(other) = next.take() {
            flow = other;
            readdress(&mut request, &flow);
            *attempt.lock().unwrap_or_else(PoisonError::into_inner) = (flow.clone(), request.clone());
        }
        // The last address has all the time that RFC 3261 gives; who has others to try does not wait for it.
        let patience = flow.has_more().then(|| network.stack.option.t1 * PATIENCE_T1);
        let outcome = run(network.stack.clone(), flow.clone(), request.clone(), &responses, patience).await;
        let Outcome::Failed(response) = outcome else { return };
        last = response.or(last);
        if !stays.is_cancelled() {
            next = network.next_flow(&flow).await;
        }
        if next.is_none() {
            if let Some(response) = last {
                let _ = responses.send(response).await;
            }
            return;
        }
        tracing::debug!(failed = %flow.destination, "SIP request goes to the next address");
    }
}

/// One transaction. Without any response within `patience` it has failed.
async fn run(
    stack: EndpointInnerRef,
    flow: Flow,
    request: Request,
    responses: &mpsc::Sender<Response>,
    patience: Option<Duration>,
) -> Outcome {
    let Ok(key) = TransactionKey::from_request(&request, TransactionRole::Client) else {
        return Outcome::Over;
    };
    let is_invite = request.method == Method::Invite;
    let mut transaction = Transaction::new_client(key, request, stack, Some(flow.connection.clone()));
    transaction.destination = Some(flow.destination.clone());
    if let Err(error) = transaction.send().await {
        tracing::debug!(%error, "SIP request was not sent");
        return Outcome::Failed(None);
    }
    let mut heard = false;
    let patience = tokio::time::sleep(patience.unwrap_or(PATIENCE_WITHOUT_END));
    tokio::pin!(patience);
    let mut answered: Vec<String> = Vec::new();
    loop {
        let message = tokio::select! {
            message = transaction.receive() => message,
            () = flow.closed(), if answered.is_empty() => {
                return if heard { Outcome::Over } else { Outcome::Failed(None) };
            }
            () = &mut patience, if !heard => return Outcome::Failed(None),
        };
        let Some(message) = message else { return Outcome::Over };
        let SipMessage::Response(response) = message else { continue };
        let status = response.status_code.code();
        // A 408 without a word before it is the stack's own, or as good as it.
        if answered.is_empty() && (status == 503 || (status == 408 && !heard)) {
            // A final answer that is repeated is acknowledged again.
            tokio::spawn(async move { while transaction.receive().await.is_some() {} });
            return Outcome::Failed(Some(response));
        }
        heard = true;
        match status {
            ..200 => {
                // Provisionals in excess of what the call takes in are of no use to it.
                let _ = responses.try_send(response);
            }
            200..300 if is_invite => {
                // A retransmitted 2xx was acknowledged again by the stack; only new dialogs concern the call.
                let tag = to_tag(&response).unwrap_or_default();
                if answered.contains(&tag) || answered.len() >= FORKS_MAX {
                    continue;
                }
                answered.push(tag);
                let _ = responses.send(response).await;
            }
            _ => {
                answered.push(String::new());
                let _ = responses.send(response).await;
            }
        }
    }
}

/// A response to a request of the peer's.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<Header>,
    /// A session description.
    pub sdp: Option<String>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn with(mut self, header: Header) -> Self {
        self.headers.push(header);
        self
    }
}

/// What came after a reply to an INVITE.
#[derive(Debug)]
pub(super) enum Acknowledged {
    /// The ACK.
    Ack(Box<Request>),
    /// None came in 64*T1 (RFC 3261 §13.3.1.4).
    Missing,
}

/// Sends `reply`; the stack repeats it until it is acknowledged or as often as the request is repeated.
/// For INVITE the result tells of the ACK.
pub(super) fn respond(mut transaction: Transaction, reply: Reply) -> oneshot::Receiver<Acknowledged> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let mut headers = reply.headers;
        let body = reply.sdp.map(String::into_bytes);
        if body.is_some() {
            headers.push(Header::ContentType(ContentType::new(SDP_TYPE)));
        }
        let is_invite = transaction.original.method == Method::Invite;
        let sent = transaction.reply_with(StatusCode::from(reply.status), headers, body).await;
        if let Err(error) = sent {
            tracing::debug!(error = %error, "SIP reply was not sent");
            return;
        }
        if !is_invite {
            return;
        }
        while let Some(message) = transaction.receive().await {
            if let SipMessage::Request(request) = message
                && request.method == Method::Ack
            {
                let _ = sender.send(Acknowledged::Ack(Box::new(request)));
                return;
            }
        }
        let _ = sender.send(Acknowledged::Missing);
    });
    receiver
}

/// Headers as `sipcast-sip` reads them.
pub(super) fn fields(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().map(|header| (header.name(), header.value())).collect()
}

/// Shows a response to `sipcast-sip`.
pub(super) fn with_fields<R>(response: &Response, read: impl FnOnce(&call::Response<'_>) -> R) -> R {
    let phrase = response.wire_reason.as_deref().unwrap_or_else(|| response.status_code.text());
    read(&call::Response {
        status: response.status_code.code(),
        phrase,
        headers: &fields(&response.headers),
        body: &response.body,
    })
}

/// Puts credentials into a request as far as challenges are known. Those it has stay if they are for the Request-URI as
/// the stack writes it: each computation counts the nonce up.
pub(super) fn sign(authentication: &mut Authentication, request: &mut Request) {
    let uri = request.uri.to_string();
    let is_credentials =
        |header: &Header| matches!(header, Header::Authorization(_) | Header::ProxyAuthorization(_));
    let for_uri = format!("uri=\"{uri}\"");
    let values = request.headers.iter().filter(|header| is_credentials(header)).map(Header::value);
    let signed: Vec<bool> = values.map(|value| value.contains(&for_uri)).collect();
    if !signed.is_empty() && signed.iter().all(|fits| *fits) {
        return;
    }
    request.headers.retain(|header| !is_credentials(header));
    let method = request.method.to_string();
    for (name, value) in authentication.credentials(&method, &uri, &request.body) {
        request.headers.push(make_header(name, value));
    }
}

/// Until a time that may never come.
pub(super) async fn wait_for(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The To tag of a message: the other end's part of the dialog for a response.
pub(super) fn to_tag(message: &impl HeadersExt) -> Option<String> {
    let tag = message.to_header().ok()?.tag().ok()??;
    Some(tag.value().to_owned())
}

/// Media type of session descriptions (RFC 4566 §8.1).
pub(super) const SDP_TYPE: &str = "application/sdp";
/// Without a response for so long the next address is tried, in units of T1: 8 s, five transmissions of a request.
const PATIENCE_T1: u32 = 16;
/// Longer than any transaction.
const PATIENCE_WITHOUT_END: Duration = Duration::from_secs(3600);
/// Responses that wait for a call's task; beyond it provisional ones are dropped.
const RESPONSES_WAITING_MAX: usize = 16;
/// Dialogs that one INVITE may create by forking; the 2xx of further ones are ignored.
pub(super) const FORKS_MAX: usize = 8;
