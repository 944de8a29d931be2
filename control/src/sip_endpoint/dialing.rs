//! The INVITE until its answer (RFC 3261 §13.2): challenges, redirects, early media, cancelling.
//! Takes: a call's order. Gives: an answered [`Session`], or how the call ended.
//! Leaves out: everything after the 2xx (`in_dialog`).

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response};
use rsipstack::transaction::Transaction;
use sipcast_sip::redirect::Redirection;
use sipcast_sip::sdp::Negotiation;
use sipcast_sip::session_timer::SessionTimer;
use sipcast_sip::status::{self, FailureText};
use sipcast_sip::uri::Addresses;
use sipcast_sip::{CallEnd, CallStatus};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::call::{Afterwards, Call, OpenInvite, Outcome, Remains, abandoned, authorize, take_challenge};
use super::dialog::{Body, Dialog};
use super::dispatch::OpenDialog;
use super::in_dialog::{Session, has_session_description, headers};
use super::transaction::{ClientTransaction, Reply, respond};
use super::transport::{Flow, NextHop};

/// A call whose INVITE is not answered yet.
struct Attempt {
    dialog: Dialog,
    flow: Flow,
    requests: mpsc::Receiver<Transaction>,
    open: OpenDialog,
    /// Holds our offer; every answer is read by a copy, since each fork answers for itself.
    offer: Negotiation,
    /// The copy that read a provisional response's answer.
    early: Option<Negotiation>,
    timer: SessionTimer,
    last_status: u16,
    deadline: Instant,
}

/// What became of one INVITE.
enum Rung {
    Answered(Response),
    Refused(Response),
    /// The connection broke.
    Lost,
    Abandoned,
    TimedOut,
}

impl Call {
    /// Dials until somebody answers or nobody will.
    pub async fn dial(&mut self) -> Result<Session, Outcome> {
        let addresses = Addresses::for_call(&self.order.account, &self.order.callee)
            .map_err(|error| (status::end_of_trouble(0, &error.to_string()), None))?;
        let hop = NextHop::first(&addresses);
        let flow = tokio::select! {
            biased;
            () = abandoned(&self.steering.hang_up, &self.events) => return Err((status::end_of_order(0), None)),
            flow = self.shared.network.flow(&hop) => flow.map_err(|error| (status::end_of_trouble(503, &error.to_string()), None))?,
        };
        let host = flow.local.ip().to_string();
        let dialog = Dialog::new(addresses, &self.shared.options.user_agent, &host).map_err(|error| {
            (status::end_of_trouble(0, &format!("callee cannot be dialled: {error}")), None)
        })?;
        let (open, requests) = self.shared.dialogs.open(dialog.call_id());
        let attempt = Attempt {
            dialog,
            flow,
            requests,
            open,
            offer: Negotiation::new(self.order.media, self.shared.options.offer),
            early: None,
            timer: SessionTimer::new(self.shared.options.session_expires_s),
            last_status: 0,
            deadline: Instant::now() + self.shared.options.ring_timeout,
        };
        attempt.run(self).await
    }
}

impl Attempt {
    async fn run(mut self, call: &mut Call) -> Result<Session, Outcome> {
        let offer =
            self.offer.offer().map_err(|error| (status::end_of_trouble(0, &error.to_string()), None))?;
        let mut redirection = Redirection::new(self.dialog.addresses().request_uri.clone());
        loop {
            let request = self.invite(call, offer.clone());
            let transaction =
                ClientTransaction::start(&call.shared.network.stack, &self.flow, request.clone());
            let mut invite = OpenInvite { transaction, request, provisional: false, answered: false };
            let end = match self.ring(call, &mut invite).await {
                Rung::Answered(response) => return self.answered(call, invite, response).await,
                Rung::Refused(response) => match self.refused(call, &mut redirection, &response).await {
                    Ok(()) => continue,
                    Err(end) => return Err((end, None)),
                },
                Rung::Lost => {
                    return Err((
                        status::end_of_trouble(503, "the connection to the SIP server broke"),
                        None,
                    ));
                }
                Rung::Abandoned => status::end_of_order(self.last_status),
                Rung::TimedOut => status::end_of_trouble(408, "no answer in time"),
            };
            return Err(self.leave(call, end, invite).await);
        }
    }

    /// Ends an attempt whose INVITE is still open or was answered in vain.
    async fn leave(self, call: &Call, end: CallEnd, invite: OpenInvite) -> Outcome {
        let remains = Remains {
            dialog: self.dialog,
            flow: self.flow,
            requests: self.requests,
            open: self.open,
            invite: Some(invite),
        };
        (end, Some(Afterwards::new(call, remains, false).await))
    }

    fn invite(&mut self, call: &mut Call, offer: String) -> Request {
        let timed = call.shared.options.session_expires_s > 0;
        let headers = if timed { headers(self.timer.request_headers()) } else { Vec::new() };
        let mut request = self.dialog.request(Method::Invite, &self.flow, headers, Some(Body::sdp(offer)));
        authorize(&mut call.authenticator, &mut request);
        request
    }

    /// Waits for the final response.
    async fn ring(&mut self, call: &mut Call, invite: &mut OpenInvite) -> Rung {
        loop {
            tokio::select! {
                biased;
                () = abandoned(&call.steering.hang_up, &call.events) => return Rung::Abandoned,
                response = invite.transaction.next() => {
                    let Some(response) = response else { return Rung::Lost };
                    self.last_status = response.status_code.code();
                    match self.last_status {
                        ..200 => {
                            invite.provisional = true;
                            self.handle_provisional(call, &response).await;
                        }
                        200..300 => return Rung::Answered(response),
                        _ => return Rung::Refused(response),
                    }
                }
                Some(transaction) = self.requests.recv() => self.handle_request(transaction),
                () = tokio::time::sleep_until(self.deadline) => return Rung::TimedOut,
            }
        }
    }

    async fn handle_provisional(&mut self, call: &mut Call, response: &Response) {
        if response.header_contains_token("Require", "100rel") {
            let mut early = self.dialog.clone();
            early.establish(response);
            // A dialog forked off by this response has its own sequence; ours must stay above all of them.
            if let Some(mut prack) = early.prack(&self.flow, response) {
                self.dialog.skip_sequence();
                authorize(&mut call.authenticator, &mut prack);
                ClientTransaction::start(&call.shared.network.stack, &self.flow, prack);
            }
        }
        let mut media = false;
        if has_session_description(response) {
            let mut negotiation = self.offer.clone();
            // An answer that cannot be used may be followed by a better one in the 2xx.
            if let Ok(agreement) = negotiation.handle_answer(&response.body) {
                media = true;
                self.early = Some(negotiation);
                call.agree(agreement, false).await;
            }
        }
        call.progress(status::of_provisional(self.last_status, media), self.last_status);
    }

    /// Requests of an early dialog. No session stands yet, so little can be asked (RFC 3261 §15, RFC 3311 §5.2).
    fn handle_request(&mut self, transaction: Transaction) {
        let request = &transaction.original;
        let reply = match request.method {
            _ if !self.dialog.is_addressed_by(request) => Reply::new(481),
            Method::Options => super::dispatch::capabilities(Reply::new(200)),
            Method::Info => Reply::new(200),
            Method::Update if request.body.is_empty() => {
                Reply::new(200).with(Header::Contact(self.dialog.contact(&self.flow)))
            }
            // Our offer is open until the 2xx: RFC 3311 §5.2 asks for 491.
            Method::Update | Method::Invite => Reply::new(491),
            Method::Bye | Method::PRack => Reply::new(481),
            _ => Reply::new(405).with(super::dispatch::allow()),
        };
        respond(transaction, reply);
    }

    /// Prepares the next INVITE after a final response other than 2xx, or tells how the call ended.
    async fn refused(
        &mut self,
        call: &mut Call,
        redirection: &mut Redirection,
        response: &Response,
    ) -> Result<(), CallEnd> {
        let code = self.last_status;
        let mut addresses = self.dialog.addresses().clone();
        match code {
            401 | 407 => {
                take_challenge(&mut call.authenticator, response)
                    .map_err(|error| status::end_of_trouble(code, &error.to_string()))?;
            }
            422 => {
                let min_se = response.header_value("Min-SE");
                if !self.timer.handle_interval_too_small(min_se.as_deref()) {
                    return Err(end_of(response));
                }
            }
            _ => {
                if code < 400 {
                    redirection.handle_contacts(
                        response.contact_headers().into_iter().map(|contact| contact.value()),
                    );
                }
                // RFC 3261 §21.6: a 6xx speaks for all targets. Else the next one of a redirect, if there was one.
                let target = if code < 600 { redirection.next_target() } else { None };
                addresses = addresses.redirected(target.ok_or_else(|| end_of(response))?);
                let hop = NextHop::first(&addresses);
                self.flow = tokio::select! {
                    biased;
                    () = abandoned(&call.steering.hang_up, &call.events) => return Err(status::end_of_order(code)),
                    flow = call.shared.network.flow(&hop) => {
                        flow.map_err(|error| status::end_of_trouble(503, &error.to_string()))?
                    }
                };
            }
        }
        self.early = None;
        self.dialog
            .start_over(addresses)
            .map_err(|error| status::end_of_trouble(code, &format!("redirect: {error}")))
    }

    /// The 2xx: the stack has acknowledged it. Its answer decides whether there is a call.
    async fn answered(
        mut self,
        call: &mut Call,
        mut invite: OpenInvite,
        response: Response,
    ) -> Result<Session, Outcome> {
        invite.answered = true;
        call.authenticator.handle_accepted();
        self.dialog.establish(&response);
        let negotiation = if has_session_description(&response) {
            let mut negotiation = self.offer.clone();
            match negotiation.handle_answer(&response.body) {
                Ok(agreement) => {
                    call.agree(agreement, false).await;
                    negotiation
                }
                Err(error) => {
                    let end = status::end_of_trouble(488, &error.to_string());
                    return Err(self.leave(call, end, invite).await);
                }
            }
        } else if let Some(early) = self.early.take() {
            early
        } else {
            let end = status::end_of_trouble(488, "the callee answered without a session description");
            return Err(self.leave(call, end, invite).await);
        };
        call.progress(CallStatus::Established, self.last_status);
        call.established().await;
        let session_expires = response.header_value("Session-Expires");
        self.timer.handle_success(session_expires.as_deref(), call.shared.now());
        let remains = Remains {
            dialog: self.dialog,
            flow: self.flow,
            requests: self.requests,
            open: self.open,
            invite: Some(invite),
        };
        Ok(Session::new(remains, negotiation, self.timer, &response))
    }
}

/// The end of the call that a final failure response makes.
fn end_of(response: &Response) -> CallEnd {
    let phrase = response.wire_reason.as_deref().unwrap_or_else(|| response.status_code.text());
    let (reason, warning) = (response.header_value("Reason"), response.header_value("Warning"));
    let text = FailureText { phrase, reason: reason.as_deref(), warning: warning.as_deref() };
    status::end_of_failure(response.status_code.code(), text, false)
}
