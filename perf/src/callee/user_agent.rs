//! The callee's user agent core: server transactions and dialogs by hand (RFC 3261 §8.2, §12, §13.3, §15, §17.2),
//! on purpose with nothing of the product's control plane in it.
//! Takes: messages with their source, time. Gives: octets to send and to whom; media plans for the calls.
//! Leaves out: sockets (`transport`), media (`media`), session descriptions (`sdp`).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsip::headers::UntypedHeader;
use rsip::message::HeadersExt;
use rsip::{Header, Method, Request, SipMessage};

use super::dialog::{
    ClientTransaction, Dialog, DialogId, DialogState, Repetition, ServerTransaction, T1, TRANSACTION_LIFE,
    dialog_id, route_set,
};
use super::digest::Authenticator;
use super::media::{Media, MediaSession};
use super::message::{self, Envelope};
use super::profile;
use super::sdp::{self, Capabilities, SdpError};
use super::sender::random_u32;
use super::statistics::{CalleeEvent, Tally};
use super::telephone_event::info_digits;

/// Transactions remembered; further requests get 503 until old ones are forgotten.
const TRANSACTIONS_MAX: usize = 65_536;
/// Shortest session interval granted (RFC 4028 §4).
const SESSION_EXPIRES_MIN_SECONDS: u64 = 90;
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REGISTER";

/// Whom octets come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// A UDP address.
    Udp(SocketAddr),
    /// A TCP connection by number, and its far end.
    Tcp(u64, SocketAddr),
}

impl Peer {
    const fn address(self) -> SocketAddr {
        match self {
            Self::Udp(address) | Self::Tcp(_, address) => address,
        }
    }
}

/// What the user agent decides by.
pub(super) struct Policy {
    pub local: SocketAddr,
    pub tcp: bool,
    pub calls_max: usize,
    /// How long it rings.
    pub answer_after: Duration,
}

/// The user agent core.
pub(super) struct UserAgent {
    policy: Policy,
    authenticator: Option<Authenticator>,
    media: Media,
    tally: Arc<Tally>,
    server_transactions: HashMap<String, ServerTransaction>,
    client_transactions: HashMap<String, ClientTransaction>,
    dialogs: HashMap<DialogId, Dialog>,
    transmits: VecDeque<(Peer, Vec<u8>)>,
}

impl UserAgent {
    pub fn new(
        policy: Policy,
        authenticator: Option<Authenticator>,
        media: Media,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            policy,
            authenticator,
            media,
            tally,
            server_transactions: HashMap::new(),
            client_transactions: HashMap::new(),
            dialogs: HashMap::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Takes one message; drain [`poll_transmit`](Self::poll_transmit) after it.
    pub fn handle_message(&mut self, octets: &[u8], peer: Peer, now: Instant) {
        // RFC 5626 §3.5.1: line ends alone keep a binding alive.
        if octets.iter().all(|octet| matches!(octet, b'\r' | b'\n')) {
            return;
        }
        let handled = match message::parse(octets) {
            Ok(SipMessage::Request(request)) => self.handle_request(request, peer, now),
            Ok(SipMessage::Response(response)) => {
                let branch =
                    response.via_header().ok().and_then(|via| message::parameter(via.value(), "branch"));
                let provisional = response.status_code.kind() == rsip::StatusCodeKind::Provisional;
                if let (Some(branch), false) = (branch, provisional) {
                    self.client_transactions.remove(branch);
                }
                Some(())
            }
            Err(_) => None,
        };
        if handled.is_none() {
            self.tally.count(|counters| counters.sip_malformed += 1);
        }
        self.count_active();
    }

    /// Repeats, answers and forgets what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let ringing: Vec<DialogId> = self
            .dialogs
            .iter()
            .filter(
                |(_, dialog)| matches!(dialog.state, DialogState::Ringing { answer_at } if answer_at <= now),
            )
            .map(|(id, _)| id.clone())
            .collect();
        ringing.iter().for_each(|id| self.answer(id, now));

        let mut unacknowledged = Vec::new();
        for transaction in self.server_transactions.values_mut() {
            let Some(repetition) = &mut transaction.repetition else { continue };
            if repetition.until <= now {
                transaction.repetition = None;
                unacknowledged.extend(transaction.dialog.clone());
            } else if repetition.due(now) {
                self.transmits.push_back((transaction.peer, transaction.response.clone()));
            }
        }
        // RFC 3261 §13.3.1.4: no ACK for a 2xx in 64*T1, so the session ends with BYE.
        unacknowledged.iter().for_each(|id| self.hang_up(id, now));
        self.server_transactions.retain(|_, transaction| transaction.forget_at > now);

        for transaction in self.client_transactions.values_mut() {
            if matches!(transaction.peer, Peer::Udp(_)) && transaction.repetition.due(now) {
                self.transmits.push_back((transaction.peer, transaction.request.clone()));
            }
        }
        self.client_transactions.retain(|_, transaction| transaction.repetition.until > now);

        let expired: Vec<DialogId> = self
            .dialogs
            .iter()
            .filter(|(_, dialog)| dialog.session_expiry.is_some_and(|(_, at)| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        expired.iter().for_each(|id| self.hang_up(id, now));
        self.count_active();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    pub fn next_timeout(&self) -> Option<Instant> {
        let dialogs = self.dialogs.values().flat_map(|dialog| {
            let answer = match dialog.state {
                DialogState::Ringing { answer_at } => Some(answer_at),
                DialogState::Answered | DialogState::Confirmed => None,
            };
            answer.into_iter().chain(dialog.session_expiry.map(|(_, at)| at))
        });
        let servers = self.server_transactions.values().map(|transaction| {
            transaction
                .repetition
                .as_ref()
                .map_or(transaction.forget_at, |repetition| repetition.at.min(repetition.until))
        });
        let clients = self.client_transactions.values().map(|transaction| transaction.repetition.at);
        dialogs.chain(servers).chain(clients).min()
    }

    /// The next octets to send.
    pub fn poll_transmit(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// Ends all calls with BYE.
    pub fn hang_up_all(&mut self, now: Instant) {
        let ids: Vec<DialogId> = self.dialogs.keys().cloned().collect();
        ids.iter().for_each(|id| self.hang_up(id, now));
        self.count_active();
    }

    /// Whether every BYE of ours was answered or given up.
    pub fn is_quiet(&self) -> bool {
        self.client_transactions.is_empty()
    }

    /// Drops the calls that are left and waits for the media threads.
    pub fn close(mut self) {
        self.dialogs.clear();
        self.media.close();
    }

    fn handle_request(&mut self, request: Request, peer: Peer, now: Instant) -> Option<()> {
        let envelope = message::envelope(&request).ok()?;
        let peer = match peer {
            Peer::Udp(source) => Peer::Udp(message::response_address(&request, source)),
            tcp => tcp,
        };
        if request.method == Method::Ack {
            self.handle_ack(&request, &envelope, now);
            return Some(());
        }
        let key = transaction_key(&envelope.branch, request.method);
        if let Some(transaction) = self.server_transactions.get(&key) {
            // RFC 3261 §17.2.1 and §17.2.2: a retransmitted request gets the latest response again.
            self.transmits.push_back((transaction.peer, transaction.response.clone()));
            return Some(());
        }
        if self.server_transactions.len() >= TRANSACTIONS_MAX {
            let busy = message::response(&request, 503, None, peer.address(), vec![], "");
            self.transmits.push_back((peer, busy));
            return Some(());
        }
        match (request.method, envelope.to_tag.is_some()) {
            (Method::Invite, false) => self.handle_invite(request, &envelope, peer, key, now),
            (Method::Cancel, _) => self.handle_cancel(&request, &envelope, peer, key, now),
            (Method::Options, false) => {
                let headers = vec![allow(), Header::Accept(rsip::headers::Accept::new("application/sdp"))];
                self.respond(&request, 200, &key, peer, headers, "", now);
            }
            (Method::Register, _) => self.handle_register(&request, &key, peer, now),
            (Method::Invite | Method::Bye | Method::Info | Method::Update | Method::Options, true) => {
                self.handle_in_dialog(&request, &envelope, peer, key, now);
            }
            (Method::Bye | Method::Info | Method::Update, false) => {
                self.respond(&request, 481, &key, peer, vec![], "", now);
            }
            _ => self.respond(&request, 405, &key, peer, vec![allow()], "", now),
        }
        Some(())
    }

    fn handle_invite(
        &mut self,
        request: Request,
        envelope: &Envelope,
        peer: Peer,
        key: String,
        now: Instant,
    ) {
        if !self.authorized(&request, &key, peer, now) {
            return;
        }
        let refusal = if self.dialogs.len() >= self.policy.calls_max {
            Some(486)
        } else if envelope.contact.is_none() || envelope.from_tag.is_empty() {
            Some(400)
        } else {
            None
        };
        if let Some(status) = refusal {
            self.refuse(&request, status, &key, peer, now);
            return;
        }
        let called = request.uri.auth.as_ref().map(|auth| auth.user.clone()).unwrap_or_default();
        let profile = profile::number(&called, self.media.profiles().len());
        let media = match self.media.open(profile) {
            Ok(media) => media,
            Err(error) => {
                tracing::warn!(%error, "no media for a call");
                self.refuse(&request, 500, &key, peer, now);
                return;
            }
        };
        let sdp_session_id = u64::from(random_u32());
        let local = self.capabilities(&media, sdp_session_id, 1);
        let agreed = if request.body.is_empty() {
            Ok((sdp::offer(&local), None))
        } else {
            sdp::answer(&request.body, &local).map(|(answer, plan)| (answer, Some(plan)))
        };
        let (answer, plan) = match agreed {
            Ok(agreed) => agreed,
            Err(error) => {
                let status = match error {
                    SdpError::Malformed => 400,
                    SdpError::NothingInCommon => 488,
                };
                self.refuse(&request, status, &key, peer, now);
                return;
            }
        };
        if let Some(video) = plan.and_then(|plan| plan.video) {
            self.media.prepare(profile, video.mode);
        }
        let local_tag = format!("{:08x}{:08x}", random_u32(), random_u32());
        let id = DialogId {
            call_id: envelope.call_id.clone(),
            local_tag: local_tag.clone(),
            remote_tag: envelope.from_tag.clone(),
        };
        let to = request.to_header().map(|to| to.value().to_owned()).unwrap_or_default();
        let from = request.from_header().map(|from| from.value().to_owned()).unwrap_or_default();
        let source = peer.address();
        let trying = message::response(&request, 100, None, source, vec![], "");
        let ringing = message::response(&request, 180, Some(&local_tag), source, vec![self.contact()], "");
        self.transmits.push_back((peer, trying));
        self.transmits.push_back((peer, ringing.clone()));
        let dialog = Dialog {
            state: DialogState::Ringing { answer_at: now + self.policy.answer_after },
            peer,
            local_uri: format!("{to};tag={local_tag}"),
            remote_uri: from,
            remote_target: envelope.contact.clone().unwrap_or_default(),
            route_set: route_set(&request),
            remote_cseq: envelope.cseq,
            local_cseq: 0,
            invite: Box::new(request),
            invite_source: source,
            invite_key: key.clone(),
            media,
            called,
            plan,
            answer,
            sdp_session_id,
            sdp_version: 1,
            session_expiry: None,
        };
        self.dialogs.insert(id.clone(), dialog);
        let transaction = ServerTransaction {
            peer,
            response: ringing,
            repetition: None,
            forget_at: now + self.policy.answer_after + TRANSACTION_LIFE,
            dialog: Some(id.clone()),
        };
        self.server_transactions.insert(key, transaction);
        if self.policy.answer_after.is_zero() {
            self.answer(&id, now);
        }
    }

    fn answer(&mut self, id: &DialogId, now: Instant) {
        let contact = self.contact();
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let mut headers = vec![contact, allow(), sdp_type()];
        headers.extend(negotiate_session_timer(&dialog.invite, &mut dialog.session_expiry, now));
        let response = message::response(
            &dialog.invite,
            200,
            Some(&id.local_tag),
            dialog.invite_source,
            headers,
            &dialog.answer,
        );
        dialog.state = DialogState::Answered;
        if let Some(plan) = dialog.plan {
            dialog.media.set_plan(&id.call_id, &dialog.called, plan, now);
        }
        self.transmits.push_back((dialog.peer, response.clone()));
        if let Some(transaction) = self.server_transactions.get_mut(&dialog.invite_key) {
            transaction.response = response;
            // RFC 3261 §13.3.1.4: over every transport, because the ACK is end to end.
            transaction.repetition = Some(Repetition::new(now));
            transaction.forget_at = now + TRANSACTION_LIFE + T1;
        }
    }

    fn handle_ack(&mut self, request: &Request, envelope: &Envelope, now: Instant) {
        let invite_key = transaction_key(&envelope.branch, Method::Invite);
        if let Some(transaction) = self.server_transactions.get_mut(&invite_key) {
            transaction.repetition = None;
        }
        let Some(id) = dialog_id(envelope) else { return };
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        if let Some(transaction) = self.server_transactions.get_mut(&dialog.invite_key) {
            transaction.repetition = None;
        }
        if dialog.state != DialogState::Answered {
            return;
        }
        dialog.state = DialogState::Confirmed;
        if dialog.plan.is_none() {
            let local = capabilities(&self.media, &dialog.media, dialog.sdp_session_id, dialog.sdp_version);
            dialog.plan = sdp::accept(&request.body, &local).ok();
            if let Some(plan) = dialog.plan {
                dialog.media.set_plan(&id.call_id, &dialog.called, plan, now);
            }
        }
        self.tally.count(|counters| counters.calls_answered += 1);
        self.tally.announce(CalleeEvent::Answered { call_id: id.call_id });
    }

    fn handle_cancel(
        &mut self,
        request: &Request,
        envelope: &Envelope,
        peer: Peer,
        key: String,
        now: Instant,
    ) {
        let invite_key = transaction_key(&envelope.branch, Method::Invite);
        let Some(transaction) = self.server_transactions.get(&invite_key) else {
            self.respond(request, 481, &key, peer, vec![], "", now);
            return;
        };
        let dialog = transaction.dialog.clone();
        self.respond(request, 200, &key, peer, vec![], "", now);
        // RFC 3261 §9.2: a final response already sent makes CANCEL come too late.
        let Some(id) = dialog else { return };
        let ringing =
            self.dialogs.get(&id).is_some_and(|dialog| matches!(dialog.state, DialogState::Ringing { .. }));
        if !ringing {
            return;
        }
        let Some(dialog) = self.dialogs.remove(&id) else { return };
        self.server_transactions.remove(&invite_key);
        self.refuse(&dialog.invite, 487, &invite_key, dialog.peer, now);
        self.tally.announce(CalleeEvent::Ended { call_id: id.call_id, by_peer: true });
    }

    // A registrar that takes every binding: enough for an account that insists on registering first.
    fn handle_register(&mut self, request: &Request, key: &str, peer: Peer, now: Instant) {
        if !self.authorized(request, key, peer, now) {
            return;
        }
        let asked = request.expires_header().and_then(|expires| expires.value().trim().parse::<u32>().ok());
        let seconds = asked.unwrap_or(3_600).min(3_600);
        let mut headers: Vec<Header> = request
            .contact_headers()
            .into_iter()
            .filter(|contact| contact.value().trim() != "*" && seconds > 0)
            .take(8)
            .map(|contact| format!("<{}>;expires={seconds}", message::address_uri(contact.value())))
            .map(|contact| Header::Contact(rsip::headers::Contact::new(contact)))
            .collect();
        headers.push(Header::Expires(rsip::headers::Expires::new(seconds.to_string())));
        self.respond(request, 200, key, peer, headers, "", now);
    }

    fn handle_in_dialog(
        &mut self,
        request: &Request,
        envelope: &Envelope,
        peer: Peer,
        key: String,
        now: Instant,
    ) {
        let Some(id) = dialog_id(envelope).filter(|id| self.dialogs.contains_key(id)) else {
            self.respond(request, 481, &key, peer, vec![], "", now);
            return;
        };
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        // RFC 3261 §12.2.2: a lower number is out of order.
        if envelope.cseq <= dialog.remote_cseq {
            self.respond(request, 500, &key, peer, vec![], "", now);
            return;
        }
        dialog.remote_cseq = envelope.cseq;
        dialog.peer = peer;
        match request.method {
            Method::Bye => {
                self.respond(request, 200, &key, peer, vec![], "", now);
                self.end_by_peer(&id, now);
            }
            Method::Info => {
                let status = self.handle_info(request, &id);
                self.respond(request, status, &key, peer, vec![], "", now);
            }
            Method::Options => self.respond(request, 200, &key, peer, vec![allow()], "", now),
            _ => self.renegotiate(request, envelope, &id, peer, key, now),
        }
    }

    // RFC 3261 §14.2 and RFC 3311 §5.2: re-INVITE and UPDATE change the session the same way.
    fn renegotiate(
        &mut self,
        request: &Request,
        envelope: &Envelope,
        id: &DialogId,
        peer: Peer,
        key: String,
        now: Instant,
    ) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let mut body = String::new();
        if !request.body.is_empty() {
            let local =
                capabilities(&self.media, &dialog.media, dialog.sdp_session_id, dialog.sdp_version + 1);
            match sdp::answer(&request.body, &local) {
                Ok((answer, plan)) => {
                    dialog.sdp_version += 1;
                    let held = plan.held();
                    if dialog.plan.is_some_and(|before| before.held() != held) {
                        self.tally.announce(CalleeEvent::Hold { call_id: id.call_id.clone(), held });
                    }
                    if let Some(video) = plan.video {
                        self.media.prepare(dialog.media.profile(), video.mode);
                    }
                    dialog.plan = Some(plan);
                    if !matches!(dialog.state, DialogState::Ringing { .. }) {
                        dialog.media.set_plan(&id.call_id, &dialog.called, plan, now);
                    }
                    body = answer;
                }
                Err(_) => {
                    self.respond(request, 488, &key, peer, vec![], "", now);
                    return;
                }
            }
        } else if request.method == Method::Invite {
            let local = capabilities(&self.media, &dialog.media, dialog.sdp_session_id, dialog.sdp_version);
            body = sdp::offer(&local);
        }
        if let Some(contact) = &envelope.contact {
            dialog.remote_target.clone_from(contact);
        }
        let mut headers = negotiate_session_timer(request, &mut dialog.session_expiry, now);
        headers.extend([self.contact(), allow()]);
        if !body.is_empty() {
            headers.push(sdp_type());
        }
        self.respond(request, 200, &key, peer, headers, &body, now);
        if request.method == Method::Invite {
            if let Some(dialog) = self.dialogs.get_mut(id) {
                dialog.invite_key.clone_from(&key);
            }
            if let Some(transaction) = self.server_transactions.get_mut(&key) {
                transaction.repetition = Some(Repetition::new(now));
                transaction.dialog = Some(id.clone());
            }
        }
    }

    fn handle_info(&mut self, request: &Request, id: &DialogId) -> u16 {
        let content_type = request.headers.iter().find_map(|header| match header {
            Header::ContentType(content_type) => Some(content_type.value()),
            _ => None,
        });
        let Some(content_type) = content_type else { return 200 };
        let body = String::from_utf8_lossy(&request.body);
        // RFC 5168 §4.
        if content_type.contains("media_control+xml") {
            if body.contains("picture_fast_update") {
                self.tally.count(|counters| counters.fast_updates += 1);
                self.tally.announce(CalleeEvent::KeyframeRequested { call_id: id.call_id.clone() });
                if let Some(dialog) = self.dialogs.get(id) {
                    dialog.media.request_idr();
                }
            }
            return 200;
        }
        let digits = info_digits(content_type, &body);
        if digits.is_empty() {
            return 415;
        }
        for digit in digits.chars() {
            self.tally.count(|counters| counters.digits += 1);
            self.tally.announce(CalleeEvent::Digit { call_id: id.call_id.clone(), digit });
        }
        200
    }

    fn end_by_peer(&mut self, id: &DialogId, now: Instant) {
        let Some(dialog) = self.dialogs.remove(id) else { return };
        if matches!(dialog.state, DialogState::Ringing { .. }) {
            // RFC 3261 §15.1.2: the pending INVITE still wants its final response.
            let key = dialog.invite_key.clone();
            self.server_transactions.remove(&key);
            self.refuse(&dialog.invite, 487, &key, dialog.peer, now);
        } else if let Some(transaction) = self.server_transactions.get_mut(&dialog.invite_key) {
            transaction.repetition = None;
        }
        self.tally.count(|counters| counters.byes_received += 1);
        self.tally.announce(CalleeEvent::Ended { call_id: id.call_id.clone(), by_peer: true });
    }

    fn hang_up(&mut self, id: &DialogId, now: Instant) {
        let Some(mut dialog) = self.dialogs.remove(id) else { return };
        if matches!(dialog.state, DialogState::Ringing { .. }) {
            let key = dialog.invite_key.clone();
            self.server_transactions.remove(&key);
            self.refuse(&dialog.invite, 480, &key, dialog.peer, now);
        } else {
            if let Some(transaction) = self.server_transactions.get_mut(&dialog.invite_key) {
                transaction.repetition = None;
            }
            dialog.local_cseq += 1;
            let branch = format!("z9hG4bK{:08x}{:08x}", random_u32(), random_u32());
            let request = self.bye(id, &dialog, &branch);
            self.transmits.push_back((dialog.peer, request.clone()));
            let transaction =
                ClientTransaction { peer: dialog.peer, request, repetition: Repetition::new(now) };
            self.client_transactions.insert(branch, transaction);
            self.tally.count(|counters| counters.byes_sent += 1);
        }
        self.tally.announce(CalleeEvent::Ended { call_id: id.call_id.clone(), by_peer: false });
    }

    // RFC 3261 §12.2.1.1.
    fn bye(&self, id: &DialogId, dialog: &Dialog, branch: &str) -> Vec<u8> {
        let transport = if self.policy.tcp { "TCP" } else { "UDP" };
        let via = format!("SIP/2.0/{transport} {};branch={branch};rport", self.policy.local);
        let mut headers = rsip::Headers::default();
        headers.push(Header::Via(rsip::headers::Via::new(via)));
        headers.push(Header::MaxForwards(rsip::headers::MaxForwards::new("70")));
        for route in &dialog.route_set {
            headers.push(Header::Route(rsip::headers::Route::new(route.clone())));
        }
        headers.push(Header::From(rsip::headers::From::new(dialog.local_uri.clone())));
        headers.push(Header::To(rsip::headers::To::new(dialog.remote_uri.clone())));
        headers.push(Header::CallId(rsip::headers::CallId::new(id.call_id.clone())));
        headers.push(Header::CSeq(rsip::headers::CSeq::new(format!("{} BYE", dialog.local_cseq))));
        headers.push(Header::ContentLength(rsip::headers::ContentLength::new("0")));
        let uri = rsip::Uri::try_from(dialog.remote_target.as_str()).unwrap_or_default();
        Request { method: Method::Bye, uri, version: rsip::Version::V2, headers, body: Vec::new() }.into()
    }

    fn authorized(&mut self, request: &Request, key: &str, peer: Peer, now: Instant) -> bool {
        let Some(authenticator) = &mut self.authenticator else { return true };
        let given = request.authorization_header().map(|authorization| authorization.value());
        if given.is_some_and(|given| authenticator.verify(given, &request.method.to_string())) {
            return true;
        }
        let challenge = rsip::headers::WwwAuthenticate::new(authenticator.challenge());
        self.tally.count(|counters| counters.challenges += 1);
        self.respond(request, 401, key, peer, vec![Header::WwwAuthenticate(challenge)], "", now);
        false
    }

    fn refuse(&mut self, request: &Request, status: u16, key: &str, peer: Peer, now: Instant) {
        self.tally.count(|counters| counters.calls_refused += 1);
        self.respond(request, status, key, peer, vec![], "", now);
    }

    /// Sends a final response and remembers it for retransmissions of the request.
    #[expect(
        clippy::too_many_arguments,
        reason = "a response is made of all of these, and one struct would only move them"
    )]
    fn respond(
        &mut self,
        request: &Request,
        status: u16,
        key: &str,
        peer: Peer,
        headers: Vec<Header>,
        body: &str,
        now: Instant,
    ) {
        let tag = format!("{:08x}", random_u32());
        let response = message::response(request, status, Some(&tag), peer.address(), headers, body);
        self.transmits.push_back((peer, response.clone()));
        // RFC 3261 §17.2.1, timer G: a final response to INVITE repeats over UDP until its ACK.
        let repeats = request.method == Method::Invite && matches!(peer, Peer::Udp(_));
        let transaction = ServerTransaction {
            peer,
            response,
            repetition: repeats.then(|| Repetition::new(now)),
            forget_at: now + TRANSACTION_LIFE,
            dialog: None,
        };
        self.server_transactions.insert(key.to_owned(), transaction);
    }

    fn capabilities<'a>(&'a self, media: &MediaSession, session_id: u64, version: u64) -> Capabilities<'a> {
        capabilities(&self.media, media, session_id, version)
    }

    fn contact(&self) -> Header {
        let transport = if self.policy.tcp { ";transport=tcp" } else { "" };
        Header::Contact(rsip::headers::Contact::new(format!("<sip:callee@{}{transport}>", self.policy.local)))
    }

    fn count_active(&self) {
        let active = self.dialogs.len() as u64;
        self.tally.count(|counters| counters.calls_active = active);
    }
}

fn capabilities<'a>(
    media: &'a Media,
    session: &MediaSession,
    session_id: u64,
    version: u64,
) -> Capabilities<'a> {
    let profile = &media.profiles()[session.profile()];
    Capabilities {
        ports: session.ports(),
        mode: profile.video.packetization_mode,
        codec: profile.audio,
        sprop_parameter_sets: media.sprop_parameter_sets(session.profile()),
        session_id,
        version,
    }
}

fn transaction_key(branch: &str, method: Method) -> String {
    format!("{branch} {method}")
}

// RFC 4028 §9: the caller that offers a session timer refreshes it itself.
fn negotiate_session_timer(
    request: &Request,
    expiry: &mut Option<(Duration, Instant)>,
    now: Instant,
) -> Vec<Header> {
    let supported = request.headers.iter().any(|header| match header {
        Header::Supported(supported) => supported.value().split(',').any(|option| option.trim() == "timer"),
        _ => false,
    });
    let asked = message::other_header(&request.headers, "Session-Expires")
        .and_then(|value| value.split(';').next())
        .and_then(|seconds| seconds.trim().parse::<u64>().ok());
    let Some(seconds) = asked.filter(|_| supported) else {
        if let Some((interval, at)) = expiry {
            *at = now + *interval;
        }
        return Vec::new();
    };
    let interval = Duration::from_secs(seconds.clamp(SESSION_EXPIRES_MIN_SECONDS, 7_200));
    *expiry = Some((interval, now + interval));
    vec![
        Header::Other("Session-Expires".into(), format!("{};refresher=uac", interval.as_secs())),
        Header::Require(rsip::headers::Require::new("timer")),
    ]
}

fn allow() -> Header {
    Header::Allow(rsip::headers::Allow::new(ALLOW))
}

fn sdp_type() -> Header {
    Header::ContentType(rsip::headers::ContentType::new("application/sdp"))
}
