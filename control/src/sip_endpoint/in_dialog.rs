//! An answered call (RFC 3261 §12.2, §14, §15): the peer's requests, ours, session refresh, the end.
//! Takes: requests and responses in the dialog, orders from the call's control. Gives: how the call ended.
//! Leaves out: how answers and timers are decided (`sipcast-sip`), the BYE's own transaction (`call`).

use std::future::pending;
use std::time::Duration;

use rsipstack::sip::headers::{Accept, Unsupported, make_header};
use rsipstack::sip::{Header, HeadersExt, Method, Request, Response};
use rsipstack::transaction::Transaction;
use sipcast_contract::dtmf::DtmfStep;
use sipcast_sip::CallEnd;
use sipcast_sip::dtmf_info;
use sipcast_sip::sdp::Negotiation;
use sipcast_sip::session_timer::{SessionTimer, TimerAction};
use sipcast_sip::status;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::call::{Afterwards, Call, OpenInvite, Outcome, Remains, abandoned, authorize, take_challenge};
use super::dialog::Body;
use super::dispatch::{allow, capabilities};
use super::transaction::{Acknowledged, ClientTransaction, Reply, SDP_TYPE, respond};

/// A dialog after its 2xx.
pub(super) struct Session {
    remains: Remains,
    negotiation: Negotiation,
    timer: SessionTimer,
    /// The peer takes UPDATE.
    updates: bool,
    /// Our session refresh under way.
    refresh: Option<Sent>,
    /// Our INFO under way; one at a time keeps digits in order.
    info: Option<Sent>,
    /// Not before this may the next DTMF step go.
    dtmf_after: Instant,
    /// Not before this may a picture be asked for again.
    keyframe_after: Instant,
    /// 2xx of ours whose ACK is awaited.
    acknowledgements: JoinSet<(Offered, Acknowledged)>,
}

/// A request of ours under way.
struct Sent {
    transaction: ClientTransaction,
    method: Method,
    body: Option<Body>,
}

/// Whether a 2xx of ours held an offer, so that the ACK brings the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offered {
    Yes,
    No,
}

impl Session {
    /// `answer` is the 2xx that made the dialog.
    pub fn new(remains: Remains, negotiation: Negotiation, timer: SessionTimer, answer: &Response) -> Self {
        let now = Instant::now();
        Self {
            remains,
            negotiation,
            timer,
            updates: allows_update(answer),
            refresh: None,
            info: None,
            dtmf_after: now,
            keyframe_after: now,
            acknowledgements: JoinSet::new(),
        }
    }

    /// Serves the dialog until it ends.
    pub async fn run(mut self, call: &mut Call) -> Outcome {
        let (end, peer_left) = loop {
            if let Some(end) = self.turn(call).await {
                break end;
            }
        };
        (end, Some(Afterwards::new(call, self.remains, peer_left).await))
    }

    /// One event. The result tells how the call ended and whether the peer knows.
    async fn turn(&mut self, call: &mut Call) -> Option<(CallEnd, bool)> {
        let timer = self.timer.next_timeout().map(|at| call.shared.instant(at));
        let may_inform = self.info.is_none();
        tokio::select! {
            biased;
            () = abandoned(&call.steering.hang_up, &call.events) => return Some((status::end_of_order(200), false)),
            Some(transaction) = self.remains.requests.recv() => return self.handle_request(call, transaction).await,
            response = next_of(&mut self.refresh) => return self.handle_refresh_response(call, response).await,
            response = next_of(&mut self.info) => return self.handle_info_response(call, response).await,
            response = fork(&mut self.remains.invite) => self.handle_fork(call, response).await,
            Some(result) = self.acknowledgements.join_next() => {
                let (offered, acknowledged) = result.ok()?;
                return self.handle_acknowledged(call, offered, acknowledged).await;
            }
            () = wait_for(timer) => return self.handle_timeout(call).await,
            step = next_step(&mut call.steering.dtmf, self.dtmf_after), if may_inform => {
                self.handle_dtmf(call, step).await;
            }
            () = picture_wanted(&call.steering.keyframe, self.keyframe_after), if may_inform => {
                self.keyframe_after = Instant::now() + KEYFRAME_INTERVAL_MIN;
                let body = dtmf_info::PICTURE_FAST_UPDATE.to_owned();
                self.inform(call, dtmf_info::MEDIA_CONTROL_CONTENT_TYPE, body).await;
            }
        }
        None
    }

    async fn handle_request(&mut self, call: &mut Call, transaction: Transaction) -> Option<(CallEnd, bool)> {
        let request = &transaction.original;
        if !self.remains.dialog.matches(request) {
            respond(transaction, Reply::new(481));
            return None;
        }
        if !self.remains.dialog.in_order(request) {
            // RFC 3261 §12.2.2: a request that comes late.
            respond(transaction, Reply::new(500));
            return None;
        }
        if let Some(unsupported) = unsupported(request) {
            respond(transaction, Reply::new(420).with(Header::Unsupported(Unsupported::new(unsupported))));
            return None;
        }
        let reply = match request.method {
            Method::Bye => {
                let end = status::end_of_bye(200, request.header_value("Reason").as_deref());
                respond(transaction, Reply::new(200));
                return Some((end, true));
            }
            Method::Options => capabilities(Reply::new(200)),
            Method::Info => Reply::new(200),
            Method::Update => self.handle_update(call, request).await,
            Method::Invite => {
                self.handle_reinvite(call, transaction).await;
                return None;
            }
            _ => Reply::new(405).with(allow()),
        };
        respond(transaction, reply);
        None
    }

    /// RFC 3311 §5.2.
    async fn handle_update(&mut self, call: &mut Call, request: &Request) -> Reply {
        let timer_headers = match self.refreshed_by_peer(call, request) {
            Ok(headers) => headers,
            Err(reply) => return reply,
        };
        let mut reply = Reply::new(200);
        if !request.body.is_empty() {
            if self.offering() {
                return Reply::new(491);
            }
            match self.answer(call, request).await {
                Ok(answer) => reply = reply.with_sdp(answer),
                Err(refusal) => return refusal,
            }
        }
        self.target_refreshed(request);
        self.accept(reply, timer_headers)
    }

    /// RFC 3261 §14.2.
    async fn handle_reinvite(&mut self, call: &mut Call, transaction: Transaction) {
        let request = &transaction.original;
        if self.offering() || self.refresh.as_ref().is_some_and(|sent| sent.method == Method::Invite) {
            respond(transaction, Reply::new(491));
            return;
        }
        let timer_headers = match self.refreshed_by_peer(call, request) {
            Ok(headers) => headers,
            Err(reply) => {
                respond(transaction, reply);
                return;
            }
        };
        let (sdp, offered) = if request.body.is_empty() {
            // RFC 3264 §5, RFC 6337 §3.1: the peer asks for our offer and answers in its ACK.
            match self.negotiation.offer() {
                Ok(offer) => (offer, Offered::Yes),
                Err(error) => {
                    respond(transaction, Reply::new(error.status()));
                    return;
                }
            }
        } else {
            match self.answer(call, request).await {
                Ok(answer) => (answer, Offered::No),
                Err(refusal) => {
                    respond(transaction, refusal);
                    return;
                }
            }
        };
        self.target_refreshed(request);
        let reply = self.accept(Reply::new(200).with_sdp(sdp), timer_headers);
        let acknowledged = respond(transaction, reply);
        self.acknowledgements
            .spawn(async move { (offered, acknowledged.await.unwrap_or(Acknowledged::Missing)) });
    }

    /// Our answer to the offer in `request`.
    async fn answer(&mut self, call: &mut Call, request: &Request) -> Result<String, Reply> {
        if !has_session_description(request) {
            return Err(Reply::new(415).with(Header::Accept(Accept::new(SDP_TYPE))));
        }
        match self.negotiation.answer(&request.body) {
            Ok((answer, agreement)) => {
                call.agree(agreement, true).await;
                Ok(answer)
            }
            Err(error) => Err(Reply::new(error.status())),
        }
    }

    /// An offer of ours waits for its answer, or theirs cannot be taken for another reason (RFC 3261 §14.2).
    fn offering(&self) -> bool {
        self.negotiation.offer_pending()
    }

    /// What a refresh by the peer does to the session timer (RFC 4028 §9); `Err`: refuse it so.
    fn refreshed_by_peer(
        &mut self,
        call: &Call,
        request: &Request,
    ) -> Result<Vec<(&'static str, String)>, Reply> {
        let session_expires = request.header_value("Session-Expires");
        let supported = request.header_contains_token("Supported", "timer");
        self.timer
            .handle_request(session_expires.as_deref(), supported, call.shared.now())
            .map_err(|too_small| Reply { headers: headers(vec![too_small.header()]), ..Reply::new(422) })
    }

    fn target_refreshed(&mut self, message: &impl HeadersExt) {
        self.remains.dialog.refresh_target(message);
    }

    /// Completes a 2xx to INVITE or UPDATE.
    fn accept(&self, mut reply: Reply, timer_headers: Vec<(&'static str, String)>) -> Reply {
        reply.headers.extend(headers(timer_headers));
        capabilities(reply).with(Header::Contact(self.remains.dialog.contact(&self.remains.flow)))
    }

    async fn handle_acknowledged(
        &mut self,
        call: &mut Call,
        offered: Offered,
        acknowledged: Acknowledged,
    ) -> Option<(CallEnd, bool)> {
        match (acknowledged, offered) {
            // RFC 3261 §14.2: as for a first INVITE, the session ends.
            (Acknowledged::Missing, _) => {
                Some((status::end_of_trouble(408, "the peer did not acknowledge our answer"), false))
            }
            (Acknowledged::Ack(_), Offered::No) => None,
            (Acknowledged::Ack(body), Offered::Yes) => {
                match self.negotiation.handle_answer(body.as_bytes()) {
                    Ok(agreement) => {
                        call.agree(agreement, true).await;
                        None
                    }
                    Err(error) => Some((status::end_of_trouble(488, &error.to_string()), false)),
                }
            }
        }
    }

    /// A 2xx of another fork: the first one has the call (RFC 3261 §13.2.2.4).
    async fn handle_fork(&mut self, call: &mut Call, response: Option<Response>) {
        let Some(response) = response else {
            self.remains.invite = None;
            return;
        };
        if response.status_code.code() < 200 || !self.remains.dialog.is_other_fork(&response) {
            return;
        }
        let mut dialog = self.remains.dialog.clone();
        dialog.establish(&response);
        let flow = call.shared.network.flow_within(&dialog.next_hop(), &self.remains.flow).await;
        let mut bye = dialog.request(Method::Bye, &flow, Vec::new(), None);
        authorize(&mut call.authenticator, &mut bye);
        ClientTransaction::start(&call.shared.network.stack, &flow, bye);
    }

    async fn handle_timeout(&mut self, call: &mut Call) -> Option<(CallEnd, bool)> {
        match self.timer.handle_timeout(call.shared.now())? {
            TimerAction::Bye => {
                Some((status::end_of_trouble(408, "session expired: it was not refreshed"), false))
            }
            TimerAction::Refresh => {
                self.send_refresh(call).await;
                None
            }
        }
    }

    /// RFC 4028 §7.4: UPDATE if the peer takes it, else re-INVITE with what we said last.
    async fn send_refresh(&mut self, call: &mut Call) {
        let (method, body) = if self.updates {
            (Method::Update, None)
        } else {
            if self.offering() || !self.acknowledgements.is_empty() {
                // An exchange of the peer's is under way: later.
                self.timer.handle_refresh_failed(491, call.shared.now());
                return;
            }
            (Method::Invite, self.negotiation.refresh().map(Body::sdp))
        };
        let extra = headers(self.timer.request_headers());
        self.refresh = Some(self.send(call, method, extra, body).await);
    }

    async fn handle_refresh_response(
        &mut self,
        call: &mut Call,
        response: Option<Response>,
    ) -> Option<(CallEnd, bool)> {
        let status = response.as_ref().map_or(503, |response| response.status_code.code());
        if status < 200 {
            return None;
        }
        let sent = self.refresh.take()?;
        let of_invite = sent.method == Method::Invite;
        if of_invite && !(200..300).contains(&status) {
            self.negotiation.handle_offer_refused();
        }
        let Some(response) = response else {
            self.timer.handle_refresh_failed(status, call.shared.now());
            return None;
        };
        match status {
            200..300 => {
                call.authenticator.handle_accepted();
                self.target_refreshed(&response);
                let session_expires = response.header_value("Session-Expires");
                self.timer.handle_success(session_expires.as_deref(), call.shared.now());
                if of_invite {
                    match self.negotiation.handle_answer(&response.body) {
                        Ok(agreement) => call.agree(agreement, true).await,
                        // The session goes on as it was.
                        Err(_) => self.negotiation.handle_offer_refused(),
                    }
                }
            }
            401 | 407 if take_challenge(&mut call.authenticator, &response).is_ok() => {
                self.send_refresh(call).await;
            }
            422 if self.timer.handle_interval_too_small(response.header_value("Min-SE").as_deref()) => {
                self.send_refresh(call).await;
            }
            405 | 501 if !of_invite => {
                self.updates = false;
                self.send_refresh(call).await;
            }
            // RFC 3261 §12.2.1.2: the peer knows no such dialog, or is gone.
            408 | 481 => {
                return Some((
                    status::end_of_trouble(status, "the peer no longer answers in this call"),
                    false,
                ));
            }
            _ => self.timer.handle_refresh_failed(status, call.shared.now()),
        }
        None
    }

    async fn handle_dtmf(&mut self, call: &mut Call, step: DtmfStep) {
        match step {
            DtmfStep::Pause(pause) => self.dtmf_after = Instant::now() + pause,
            DtmfStep::Digit(digit) => {
                self.dtmf_after = Instant::now() + DIGIT_DURATION + DIGIT_GAP;
                let body = dtmf_info::relay_body(digit, DIGIT_DURATION);
                self.inform(call, dtmf_info::RELAY_CONTENT_TYPE, body).await;
            }
        }
    }

    async fn inform(&mut self, call: &mut Call, media_type: &'static str, text: String) {
        let body = Some(Body { media_type, text });
        self.info = Some(self.send(call, Method::Info, Vec::new(), body).await);
    }

    async fn handle_info_response(
        &mut self,
        call: &mut Call,
        response: Option<Response>,
    ) -> Option<(CallEnd, bool)> {
        let status = response.as_ref().map_or(503, |response| response.status_code.code());
        if status < 200 {
            return None;
        }
        let sent = self.info.take()?;
        match (status, response) {
            (200..300, _) => call.authenticator.handle_accepted(),
            (401 | 407, Some(response)) if take_challenge(&mut call.authenticator, &response).is_ok() => {
                self.info = Some(self.send(call, Method::Info, Vec::new(), sent.body).await);
            }
            (481, _) => {
                return Some((status::end_of_trouble(481, "the peer no longer knows this call"), false));
            }
            _ => tracing::debug!(status, "the peer did not take our INFO"),
        }
        None
    }

    async fn send(
        &mut self,
        call: &mut Call,
        method: Method,
        extra: Vec<Header>,
        body: Option<Body>,
    ) -> Sent {
        let remains = &mut self.remains;
        remains.flow = call.shared.network.flow_within(&remains.dialog.next_hop(), &remains.flow).await;
        let mut request = remains.dialog.request(method, &remains.flow, extra, body.clone());
        authorize(&mut call.authenticator, &mut request);
        let transaction = ClientTransaction::start(&call.shared.network.stack, &remains.flow, request);
        Sent { transaction, method, body }
    }
}

/// Whether a message brings a session description. A body without a type is taken for one, as some peers send it.
pub(super) fn has_session_description(message: &(impl HeadersExt + Octets)) -> bool {
    let declared = message.header_value("Content-Type");
    !message.octets().is_empty()
        && declared.is_none_or(|declared| {
            declared.split(';').next().is_some_and(|declared| declared.trim().eq_ignore_ascii_case(SDP_TYPE))
        })
}

/// The body of a request or response.
pub(super) trait Octets {
    fn octets(&self) -> &[u8];
}

impl Octets for Request {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

impl Octets for Response {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

/// Headers of the stack from names and values.
pub(super) fn headers(pairs: Vec<(&'static str, String)>) -> Vec<Header> {
    pairs.into_iter().map(|(name, value)| make_header(name, value)).collect()
}

/// Extensions a request requires and we lack (RFC 3261 §8.2.2.3).
fn unsupported(request: &Request) -> Option<String> {
    let unknown: Vec<_> = request
        .headers
        .iter()
        .filter_map(|header| match header {
            Header::Require(require) => Some(require.value()),
            _ => None,
        })
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|tag| {
            !tag.is_empty() && !super::SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(tag))
        })
        .collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

fn allows_update(message: &Response) -> bool {
    message.headers.iter().any(|header| match header {
        Header::Allow(allow) => {
            allow.value().split(',').any(|method| method.trim().eq_ignore_ascii_case("UPDATE"))
        }
        _ => false,
    })
}

async fn next_of(sent: &mut Option<Sent>) -> Option<Response> {
    match sent {
        Some(sent) => sent.transaction.next().await,
        None => pending().await,
    }
}

async fn fork(invite: &mut Option<OpenInvite>) -> Option<Response> {
    match invite {
        Some(invite) => invite.transaction.next().await,
        None => pending().await,
    }
}

async fn wait_for(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

async fn next_step(steps: &mut tokio::sync::mpsc::Receiver<DtmfStep>, after: Instant) -> DtmfStep {
    tokio::time::sleep_until(after).await;
    match steps.recv().await {
        Some(step) => step,
        None => pending().await,
    }
}

async fn picture_wanted(wanted: &tokio::sync::Notify, after: Instant) {
    tokio::time::sleep_until(after).await;
    wanted.notified().await;
}

/// How long a digit sounds, and the silence after it.
const DIGIT_DURATION: Duration = Duration::from_millis(160);
const DIGIT_GAP: Duration = Duration::from_millis(100);
/// Pictures are asked for by INFO no more often than this.
const KEYFRAME_INTERVAL_MIN: Duration = Duration::from_millis(500);
