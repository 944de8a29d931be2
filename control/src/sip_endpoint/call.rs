//! Drives one call: feeds what comes from the peer, the clock and the control to [`sipcast_sip::call::Call`] and carries
//! out what it decides.
//! Takes: one order. Gives: events, in the end how the call ended. Leaves out: decisions (`sipcast-sip`), transactions
//! (`transaction`), what is left to do once the call is over (`afterwards`).

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response};
use rsipstack::transaction::Transaction;
use sipcast_contract::dtmf::DtmfStep;
use sipcast_sip::call::authentication::Authentication;
use sipcast_sip::call::{self as decisions, Action, CallOptions, PeerRequest};
use sipcast_sip::{CallEnd, CallEvent, CallOrder, dtmf_info, status};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::afterwards::{Afterwards, OpenInvite, Remains};
use super::dialog::{Body, Dialog, headers};
use super::dispatch::OpenDialog;
use super::ladder::{Ladder, Listening};
use super::register::Lease;
use super::steering::Steering;
use super::transaction::{
    Acknowledged, ClientTransaction, FORKS_MAX, Reply, fields, respond, sign, to_tag, wait_for, with_fields,
};
use super::transport::{Flow, NextHop, Unreachable};

/// What a call is made of.
pub(super) struct CallParts {
    pub shared: Arc<Shared>,
    pub order: CallOrder,
    pub events: mpsc::Sender<CallEvent>,
    pub steering: Steering,
    pub ladder: Arc<Ladder>,
}

/// How a call ended and what remains to be done for it.
pub(super) type Outcome = (CallEnd, Option<Afterwards>);

/// Runs a call to its end.
pub(super) async fn run(parts: CallParts) -> Outcome {
    let options = &parts.shared.options;
    let session_expires_s = parts.order.preferences.session_expires_s.unwrap_or(options.session_expires_s);
    let options = CallOptions {
        offer: options.offer,
        session_expires_s: (session_expires_s > 0).then_some(session_expires_s),
        answer_timeout: options.ring_timeout,
    };
    let decisions = match decisions::Call::new(&parts.order, options) {
        Ok(decisions) => decisions,
        Err(error) => return (status::end_of_trouble(0, &error.to_string()), None),
    };
    let lease = match register(&parts).await {
        Ok(lease) => lease,
        Err(end) => return (end, None),
    };
    let (dialog, flow) = tokio::select! {
        biased;
        () = abandoned(&parts.steering.hang_up, &parts.events) => return (status::end_of_order(0), None),
        dialog = dialog(&parts.shared, &decisions) => match dialog {
            Ok(dialog) => dialog,
            Err(end) => return (end, None),
        },
    };
    let (open, requests) = parts.shared.dialogs.open(dialog.call_id());
    let listening = parts.shared.ladders.listen(dialog.call_id(), &parts.ladder);
    let now = Instant::now();
    let driver = Driver {
        decisions,
        dialog,
        flow,
        requests,
        open,
        listening,
        lease,
        invite: None,
        fork: None,
        early: Vec::new(),
        pracks: Vec::new(),
        refresh: None,
        info: None,
        probe: None,
        probe_at: now,
        dtmf_after: now,
        keyed: 0,
        keyframe_after: now,
        acknowledgements: JoinSet::new(),
        asked: None,
        bye: None,
        parting: None,
        last_status: 0,
        parts,
    };
    driver.run().await
}

/// The registration that the account wants before its calls.
async fn register(parts: &CallParts) -> Result<Option<Lease>, CallEnd> {
    let account = &parts.order.account;
    if !account.register {
        return Ok(None);
    }
    tell(&parts.events, CallEvent::Progress { status: sipcast_sip::CallStatus::Pending, sip_status: 0 })
        .await;
    tokio::select! {
        biased;
        () = abandoned(&parts.steering.hang_up, &parts.events) => Err(status::end_of_order(0)),
        lease = parts.shared.registrations.acquire(&parts.shared, account, &parts.ladder) => lease.map(Some),
    }
}

/// A dialog to dial in and the way to its first hop.
async fn dialog(shared: &Shared, decisions: &decisions::Call) -> Result<(Dialog, Flow), CallEnd> {
    let addresses = decisions.addresses();
    let flow = shared.network.flow(&NextHop::first(addresses)).await.map_err(unreachable)?;
    let host = flow.local.ip().to_string();
    let dialog = Dialog::new(addresses.clone(), &shared.options.user_agent, &host)
        .map_err(|error| status::end_of_trouble(0, &format!("callee cannot be dialled: {error}")))?;
    Ok((dialog, flow))
}

fn unreachable(error: Unreachable) -> CallEnd {
    status::end_of_trouble(503, &error.to_string())
}

/// One call in progress.
struct Driver {
    parts: CallParts,
    decisions: decisions::Call,
    dialog: Dialog,
    flow: Flow,
    requests: mpsc::Receiver<Transaction>,
    open: OpenDialog,
    /// Keeps the call's messages going to its ladder.
    listening: Listening,
    lease: Option<Lease>,
    invite: Option<OpenInvite>,
    /// The latest 2xx to the INVITE, should it be another fork's.
    fork: Option<Response>,
    /// The early dialogs, the one that spoke last at the end.
    early: Vec<EarlyDialog>,
    /// PRACKs under way.
    pracks: Vec<Prack>,
    /// The session refresh under way.
    refresh: Option<Sent>,
    /// The INFO under way; one at a time keeps digits in order.
    info: Option<Sent>,
    /// Not before this may the next DTMF step go.
    dtmf_after: Instant,
    /// DTMF steps taken since it was last told.
    keyed: usize,
    /// Not before this may a picture be asked for again.
    keyframe_after: Instant,
    /// The OPTIONS under way that asks whether the peer is still there.
    probe: Option<Sent>,
    /// When the next one is due.
    probe_at: Instant,
    /// 2xx of ours whose ACK is awaited.
    acknowledgements: JoinSet<Acknowledged>,
    /// The peer's request that is being decided on.
    asked: Option<Transaction>,
    /// A BYE was decided on, with these headers.
    bye: Option<Vec<Header>>,
    /// The dialog before this one is being ended; the credentials come back from it.
    parting: Option<oneshot::Receiver<Authentication>>,
    last_status: u16,
}

/// A dialog that a provisional response created (RFC 3261 §12.1).
struct EarlyDialog {
    tag: String,
    dialog: Dialog,
    /// RSeq of the last reliable response that was acknowledged (RFC 3262 §4).
    sequence: Option<u32>,
}

/// A PRACK under way, and what it acknowledges.
struct Prack {
    transaction: ClientTransaction,
    response: Response,
    tag: String,
}

/// A request of ours under way.
struct Sent {
    transaction: ClientTransaction,
    body: Option<Body>,
}

impl Driver {
    async fn run(mut self) -> Outcome {
        self.decisions.start(self.parts.shared.now());
        loop {
            if let Some(end) = self.carry_out().await {
                return (end, Some(self.leave().await));
            }
            self.turn().await;
        }
    }

    async fn leave(mut self) -> Afterwards {
        self.acknowledgements.detach_all();
        let remains = Remains {
            shared: self.parts.shared,
            authentication: self.decisions.authentication().clone(),
            dialog: self.dialog,
            flow: self.flow,
            requests: self.requests,
            _open: self.open,
            _listening: self.listening,
            lease: self.lease,
            invite: self.invite,
        };
        Afterwards::new(remains, self.bye).await
    }

    /// Carries out what was decided. Gives the end if that was decided.
    async fn carry_out(&mut self) -> Option<CallEnd> {
        while let Some(action) = self.decisions.poll_action() {
            match action {
                Action::SendInvite { addresses, headers: extra, body } => {
                    if let Err(end) = self.send_invite(*addresses, extra, body).await {
                        self.decisions.handle_failure(end.sip_status, &end.reason);
                    }
                }
                Action::Cancel => {
                    // The call is over for its owner at once; cancelling goes on in the background.
                    self.decisions.handle_failure(self.last_status, "");
                }
                Action::Bye { headers: extra } => self.bye = Some(headers(extra)),
                Action::Part { headers: extra } => self.part(headers(extra)).await,
                Action::ByeFork { .. } => self.bye_fork().await,
                Action::SendRefresh { method, headers: extra, body } => {
                    let method = match method {
                        decisions::RefreshMethod::Update => Method::Update,
                        decisions::RefreshMethod::Invite => Method::Invite,
                    };
                    self.refresh = Some(self.send(method, headers(extra), body.map(Body::sdp)).await);
                }
                Action::Answer { status, headers: extra, body, .. } => {
                    self.answer(status, headers(extra), body)
                }
                Action::Event(CallEvent::Ended(end)) => return Some(end),
                Action::Event(event) => tell(&self.parts.events, event).await,
            }
        }
        None
    }

    /// One event from outside.
    async fn turn(&mut self) {
        let steering = &mut self.parts.steering;
        let timeout = self.decisions.next_timeout().map(|at| self.parts.shared.instant(at));
        // A session that does not expire (RFC 4028 §7.2) would outlive a peer that is gone.
        let may_probe = self.decisions.is_established() && timeout.is_none() && self.probe.is_none();
        // Services that ask before they answer take INFO in the early dialog.
        let in_dialog = self.decisions.is_established() || !self.early.is_empty();
        let may_inform = in_dialog && self.info.is_none();
        let all_keyed = self.keyed > 0 && self.info.is_none() && steering.dtmf.is_empty();
        tokio::select! {
            biased;
            () = abandoned(&steering.hang_up, &self.parts.events) => {
                self.decisions.handle_hangup(self.parts.shared.now());
            }
            Some(transaction) = self.requests.recv() => self.handle_request(transaction),
            response = next_of_invite(&mut self.invite) => self.handle_invite_response(response),
            response = next_prack(&mut self.pracks) => self.handle_prack_response(response),
            authentication = parted(&mut self.parting) => self.handle_parted(authentication),
            response = next_of(&mut self.refresh) => self.handle_refresh_response(response),
            response = next_of(&mut self.info) => self.handle_info_response(response).await,
            response = next_of(&mut self.probe) => self.handle_probe_response(response),
            Some(result) = self.acknowledgements.join_next() => match result {
                Ok(Acknowledged::Ack(ack)) => self.decisions.handle_ack(&fields(&ack.headers), &ack.body),
                // RFC 3261 §14.2: as for a first INVITE, the session ends.
                _ => self.decisions.handle_failure(408, "the peer did not acknowledge our answer"),
            },
            () = tokio::time::sleep_until(self.probe_at), if may_probe => {
                self.probe = Some(self.send(Method::Options, Vec::new(), None).await);
            }
            () = wait_for(timeout) => self.decisions.handle_timeout(self.parts.shared.now()),
            step = next_step(&mut steering.dtmf, self.dtmf_after), if may_inform => self.handle_dtmf(step).await,
            () = tokio::time::sleep_until(self.dtmf_after), if all_keyed => {
                tell(&self.parts.events, CallEvent::DtmfSent(std::mem::take(&mut self.keyed))).await;
            }
            // Without a control left nothing changes any more, and the branch is off.
            Ok(()) = steering.pictures.changed() => {
                let sends = *steering.pictures.borrow_and_update();
                self.decisions.set_sends_pictures(sends);
            }
            () = picture_wanted(&steering.keyframe, self.keyframe_after), if may_inform => {
                self.keyframe_after = Instant::now() + KEYFRAME_INTERVAL_MIN;
                let body = dtmf_info::PICTURE_FAST_UPDATE.to_owned();
                self.inform(Body { media_type: dtmf_info::MEDIA_CONTROL_CONTENT_TYPE, text: body }).await;
            }
        }
    }

    async fn send_invite(
        &mut self,
        addresses: sipcast_sip::addresses::Addresses,
        extra: Vec<sipcast_sip::session_timer::Header>,
        offer: String,
    ) -> Result<(), CallEnd> {
        if self.invite.is_some() {
            let hop = NextHop::first(&addresses);
            self.dialog
                .start_over(addresses)
                .map_err(|error| status::end_of_trouble(self.last_status, &format!("redirect: {error}")))?;
            self.flow = self.parts.shared.network.flow(&hop).await.map_err(unreachable)?;
        }
        let mut extra = headers(extra);
        extra.push(super::reliable_provisionals());
        let mut request = self.dialog.request(Method::Invite, &self.flow, extra, Some(Body::sdp(offer)));
        sign(self.decisions.authentication(), &mut request);
        let transaction =
            ClientTransaction::start_outside_dialog(&self.parts.shared.network, &self.flow, request.clone());
        self.early.clear();
        self.pracks.clear();
        self.invite = Some(OpenInvite { transaction, request, provisional: false, answered: false });
        Ok(())
    }

    fn handle_invite_response(&mut self, response: Option<Response>) {
        let Some(invite) = &mut self.invite else { return };
        let Some(response) = response else {
            if !invite.answered {
                self.decisions.handle_failure(503, "the connection to the SIP server broke");
            }
            self.invite = None;
            return;
        };
        // Another address of the next hop may have answered than the first.
        (self.flow, invite.request) = (invite.transaction.flow(), invite.transaction.request());
        self.last_status = response.status_code.code();
        match self.last_status {
            ..200 => {
                invite.provisional = true;
                if !self.take_provisional(&response) {
                    return;
                }
            }
            200..300 if invite.answered => self.fork = Some(response.clone()),
            200..300 => {
                invite.answered = true;
                self.probe_at = Instant::now() + self.parts.shared.options.t1 * PROBE_T1;
                let tag = to_tag(&response);
                if let Some(early) = self.early.iter().find(|early| Some(&early.tag) == tag.as_ref()) {
                    self.dialog.take_over(&early.dialog);
                }
                self.dialog.establish(&response);
                self.early.clear();
            }
            _ => {}
        }
        let now = self.parts.shared.now();
        with_fields(&response, |response| self.decisions.handle_response(response, now));
    }

    /// Notes the early dialog and acknowledges a reliable response (RFC 3262 §4): each once, in order, for a bounded
    /// number of forks. `false`: a repetition, or one that leaves a number out; it is not looked at.
    fn take_provisional(&mut self, response: &Response) -> bool {
        let Some(tag) = to_tag(response).filter(|_| response.status_code.code() > 100) else { return true };
        let mut early = match self.early.iter().position(|early| early.tag == tag) {
            Some(at) => self.early.remove(at),
            None if self.early.len() < FORKS_MAX => {
                let mut dialog = self.dialog.clone();
                dialog.establish(response);
                EarlyDialog { tag: tag.clone(), dialog, sequence: None }
            }
            None => return true,
        };
        let is_reliable = response.header_contains_token("Require", "100rel");
        let sequence = response.rseq_value().filter(|_| is_reliable);
        let follows = match (early.sequence, sequence) {
            (Some(last), Some(sequence)) => last.checked_add(1) == Some(sequence),
            _ => true,
        };
        if follows {
            early.dialog.refresh_target(response);
            early.sequence = sequence.or(early.sequence);
        }
        self.early.push(early);
        if follows && sequence.is_some() {
            self.send_prack(&tag, response);
        }
        follows
    }

    fn send_prack(&mut self, tag: &str, response: &Response) {
        let Some(early) = self.early.iter_mut().find(|early| early.tag == tag) else { return };
        early.dialog.keep_up_with(&self.dialog);
        let Some(mut prack) = early.dialog.prack(&self.flow, response) else { return };
        // A fork has a sequence of its own; the call's stays above all of them.
        self.dialog.keep_up_with(&early.dialog);
        sign(self.decisions.authentication(), &mut prack);
        let transaction = ClientTransaction::start(&self.parts.shared.network.stack, &self.flow, prack);
        if self.pracks.len() < PRACKS_MAX {
            self.pracks.push(Prack { transaction, response: response.clone(), tag: tag.to_owned() });
        }
    }

    /// The stack repeats a PRACK; what is left is a challenge. Any other failure is the peer's to act on.
    fn handle_prack_response(&mut self, (at, response): (usize, Option<Response>)) {
        let status = response.as_ref().map_or(503, |response| response.status_code.code());
        if status < 200 {
            return;
        }
        let prack = self.pracks.swap_remove(at);
        if let (401 | 407, Some(response)) = (status, response)
            && with_fields(&response, |response| self.decisions.authentication().take_challenge(response))
                .is_ok()
        {
            self.send_prack(&prack.tag, &prack.response);
        }
    }

    /// The dialog that a request of the peer belongs to; before the answer an early one, or the one to be.
    fn dialog_of(&mut self, request: &Request) -> Option<&mut Dialog> {
        if self.decisions.is_established() {
            return Some(&mut self.dialog).filter(|dialog| dialog.matches(request));
        }
        if !self.dialog.is_addressed_by(request) {
            return None;
        }
        let early = self.early.iter_mut().find(|early| early.dialog.matches(request));
        Some(early.map_or(&mut self.dialog, |early| &mut early.dialog))
    }

    fn handle_request(&mut self, transaction: Transaction) {
        let request = &transaction.original;
        let established = self.decisions.is_established();
        let dialog = self.dialog_of(request).filter(|_| established || request.method != Method::Bye);
        let Some(dialog) = dialog else {
            respond(transaction, Reply::new(481));
            return;
        };
        if !dialog.in_order(request) {
            // RFC 3261 §12.2.2: a request that comes late.
            respond(transaction, Reply::new(500));
            return;
        }
        if let Some(refusal) = super::dispatch::unsupported(request) {
            respond(transaction, refusal);
            return;
        }
        let (method, fields, body) = (request.method.to_string(), fields(&request.headers), &request.body);
        let asked = PeerRequest { id: 0, method: &method, headers: &fields, body };
        self.decisions.handle_request(&asked, self.parts.shared.now());
        self.asked = Some(transaction);
    }

    /// Answers the request that was decided on.
    fn answer(&mut self, status: u16, extra: Vec<Header>, sdp: Option<String>) {
        let Some(transaction) = self.asked.take() else { return };
        let request = &transaction.original;
        let mut reply = Reply { status, headers: extra, sdp };
        let method = request.method;
        let refreshes = (200..300).contains(&status) && matches!(method, Method::Invite | Method::Update);
        if refreshes {
            if let Some(dialog) = self.dialog_of(request) {
                dialog.refresh_target(request);
            }
            reply = reply.with(Header::Contact(self.dialog.contact(&self.flow)));
        }
        let acknowledged = respond(transaction, reply);
        if refreshes && method == Method::Invite {
            self.acknowledgements.spawn(async move { acknowledged.await.unwrap_or(Acknowledged::Missing) });
        }
    }

    fn handle_refresh_response(&mut self, response: Option<Response>) {
        let now = self.parts.shared.now();
        let Some(response) = response else {
            self.refresh = None;
            let lost = decisions::Response { status: 503, phrase: "", headers: &[], body: &[] };
            return self.decisions.handle_refresh_response(&lost, now);
        };
        match response.status_code.code() {
            ..200 => return,
            200..300 => self.dialog.refresh_target(&response),
            _ => {}
        }
        self.refresh = None;
        with_fields(&response, |response| self.decisions.handle_refresh_response(response, now));
    }

    async fn handle_dtmf(&mut self, step: DtmfStep) {
        self.keyed += 1;
        match step {
            DtmfStep::Pause(pause) => self.dtmf_after = Instant::now() + pause,
            DtmfStep::Digit(digit) => {
                self.dtmf_after = Instant::now() + DIGIT_DURATION + DIGIT_GAP;
                let body = dtmf_info::relay_body(digit, DIGIT_DURATION);
                self.inform(Body { media_type: dtmf_info::RELAY_CONTENT_TYPE, text: body }).await;
            }
        }
    }

    async fn inform(&mut self, body: Body) {
        self.info = Some(self.send(Method::Info, Vec::new(), Some(body)).await);
    }

    async fn handle_info_response(&mut self, response: Option<Response>) {
        let status = response.as_ref().map_or(503, |response| response.status_code.code());
        if status < 200 {
            return;
        }
        let sent = self.info.take();
        match (status, response, sent.and_then(|sent| sent.body)) {
            (401 | 407, Some(response), Some(body)) => {
                if with_fields(&response, |response| self.decisions.authentication().take_challenge(response))
                    .is_ok()
                {
                    self.inform(body).await;
                }
            }
            // RFC 3261 §12.2.1.2.
            (481, ..) => self.decisions.handle_failure(481, "the peer no longer knows this call"),
            (200..300, ..) => {}
            _ => tracing::debug!(status, "the peer did not take our INFO"),
        }
    }

    /// Whatever a peer says to an OPTIONS, it is there; but for the two answers of RFC 3261 §12.2.1.2.
    fn handle_probe_response(&mut self, response: Option<Response>) {
        match response.as_ref().map_or(408, |response| response.status_code.code()) {
            ..200 => return,
            status @ (408 | 481) => self.decisions.handle_failure(status, "the peer is gone"),
            _ => {}
        }
        self.probe = None;
        self.probe_at = Instant::now() + self.parts.shared.options.t1 * PROBE_T1;
    }

    async fn send(&mut self, method: Method, extra: Vec<Header>, body: Option<Body>) -> Sent {
        let network = &self.parts.shared.network;
        let dialog = match self.early.last_mut() {
            Some(early) => {
                early.dialog.keep_up_with(&self.dialog);
                &mut early.dialog
            }
            None => &mut self.dialog,
        };
        self.flow = network.flow_within(&dialog.next_hop(), &self.flow).await;
        let mut request = dialog.request(method, &self.flow, extra, body.clone());
        if let Some(early) = self.early.last() {
            self.dialog.keep_up_with(&early.dialog);
        }
        sign(self.decisions.authentication(), &mut request);
        Sent { transaction: ClientTransaction::start(&network.stack, &self.flow, request), body }
    }

    /// Leaves the dialog that the answer confirmed for one that the next INVITE is to make. What is left to do in the
    /// former goes on beside the call.
    async fn part(&mut self, bye: Vec<Header>) {
        let shared = self.parts.shared.clone();
        let (dialog, flow) = match dialog(&shared, &self.decisions).await {
            Ok(next) => next,
            Err(end) => {
                self.bye = Some(bye);
                return self.decisions.handle_failure(end.sip_status, &end.reason);
            }
        };
        let (open, requests) = shared.dialogs.open(dialog.call_id());
        let listening = shared.ladders.listen(dialog.call_id(), &self.parts.ladder);
        let remains = Remains {
            shared: shared.clone(),
            authentication: self.decisions.authentication().clone(),
            dialog: std::mem::replace(&mut self.dialog, dialog),
            flow: std::mem::replace(&mut self.flow, flow),
            requests: std::mem::replace(&mut self.requests, requests),
            _open: std::mem::replace(&mut self.open, open),
            _listening: std::mem::replace(&mut self.listening, listening),
            // The call goes on and needs it.
            lease: None,
            invite: self.invite.take(),
        };
        // An INFO of the early dialog has nobody left to answer it.
        self.info = None;
        let mut afterwards = Afterwards::new(remains, Some(bye)).await;
        self.parting = Some(afterwards.parted());
        shared.tasks.spawn(afterwards.settle());
    }

    fn handle_parted(&mut self, authentication: Option<Authentication>) {
        self.parting = None;
        if let Some(authentication) = authentication {
            self.decisions.handle_parted(authentication, self.parts.shared.now());
        }
    }

    /// Another fork answered too; the stack has acknowledged it (RFC 3261 §13.2.2.4).
    async fn bye_fork(&mut self) {
        let Some(response) = self.fork.take() else { return };
        let mut dialog = self.dialog.clone();
        dialog.establish(&response);
        let network = &self.parts.shared.network;
        let flow = network.flow_within(&dialog.next_hop(), &self.flow).await;
        let mut bye = dialog.request(Method::Bye, &flow, Vec::new(), None);
        sign(self.decisions.authentication(), &mut bye);
        ClientTransaction::start(&network.stack, &flow, bye);
    }
}

/// Resolves when a call is to end: by order, or because nobody listens any more.
async fn abandoned(hang_up: &CancellationToken, events: &mpsc::Sender<CallEvent>) {
    tokio::select! {
        () = hang_up.cancelled() => {}
        () = events.closed() => {}
    }
}

/// Who does not keep up misses progress; the rest is waited for.
async fn tell(events: &mpsc::Sender<CallEvent>, event: CallEvent) {
    match event {
        CallEvent::Progress { .. } => drop(events.try_send(event)),
        event => drop(events.send(event).await),
    }
}

async fn next_of_invite(invite: &mut Option<OpenInvite>) -> Option<Response> {
    match invite {
        Some(invite) => invite.transaction.next().await,
        None => pending().await,
    }
}

async fn next_of(sent: &mut Option<Sent>) -> Option<Response> {
    match sent {
        Some(sent) => sent.transaction.next().await,
        None => pending().await,
    }
}

/// The credentials of the dialog before this one, once its BYE is answered; `None`: it was not.
async fn parted(parting: &mut Option<oneshot::Receiver<Authentication>>) -> Option<Authentication> {
    match parting {
        Some(parting) => parting.await.ok(),
        None => pending().await,
    }
}

/// The next response to any PRACK.
async fn next_prack(pracks: &mut [Prack]) -> (usize, Option<Response>) {
    if pracks.is_empty() {
        return pending().await;
    }
    let waiting = pracks
        .iter_mut()
        .enumerate()
        .map(|(at, prack)| Box::pin(async move { (at, prack.transaction.next().await) }));
    futures_util::future::select_all(waiting).await.0
}

async fn next_step(steps: &mut mpsc::Receiver<DtmfStep>, after: Instant) -> DtmfStep {
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

/// Pause between two questions whether the peer is there, in units of T1: five minutes.
const PROBE_T1: u32 = 600;
/// PRACKs whose answers are looked at; further ones are sent all the same.
const PRACKS_MAX: usize = 16;
/// How long a digit sounds, and the silence after it.
const DIGIT_DURATION: Duration = Duration::from_millis(160);
const DIGIT_GAP: Duration = Duration::from_millis(100);
/// Pictures are asked for by INFO no more often than this.
const KEYFRAME_INTERVAL_MIN: Duration = Duration::from_millis(500);
