//! One dialog as its caller keeps it (RFC 3261 §12): identifiers, sequence numbers, route set, remote target.
//! Takes: responses and requests of the peer. Gives: requests that are complete but for credentials.
//! Leaves out: sending (`transaction`), when to send (`call`, `register`).

use rsipstack::sip::headers::{
    CSeq, CallId, Contact, ContentLength, ContentType, From, MaxForwards, RAck, Route, To, UserAgent, Via,
    make_header,
};
use rsipstack::sip::param::{OtherParam, OtherParamValue};
use rsipstack::sip::typed;
use rsipstack::sip::{
    Header, Headers, HeadersExt, Method, Param, Request, Response, ToTypedHeader, Uri, Version,
};
use rsipstack::transaction::random_text;
use sipcast_sip::Transport;
use sipcast_sip::addresses::Addresses;
use sipcast_sip::uri::SipUri;

use super::transaction::{SDP_TYPE, to_tag};
use super::transport::{Flow, NextHop};

/// A dialog, also before it exists: then without remote tag.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    addresses: Addresses,
    user_agent: String,
    call_id: String,
    local_tag: String,
    /// Known once a response created the dialog, early or confirmed.
    remote_tag: Option<String>,
    local_sequence: u32,
    remote_sequence: Option<u32>,
    /// Route header values in order.
    route_set: Vec<String>,
    remote_target: Uri,
}

impl Dialog {
    /// A dialog before its first request. `host` is ours, for the Call-ID.
    pub fn new(addresses: Addresses, user_agent: &str, host: &str) -> Result<Self, rsipstack::sip::Error> {
        // RFC 3261 §8.1.1.4: random, so that nobody outside can guess it.
        Self::with_call_id(addresses, user_agent, format!("{}@{host}", random_text(CALL_ID_LEN)))
    }

    /// The same with a Call-ID that was made before.
    pub fn with_call_id(
        addresses: Addresses,
        user_agent: &str,
        call_id: String,
    ) -> Result<Self, rsipstack::sip::Error> {
        Ok(Self {
            user_agent: user_agent.to_owned(),
            call_id,
            local_tag: random_text(TAG_LEN),
            remote_tag: None,
            local_sequence: 0,
            remote_sequence: None,
            route_set: addresses.route_headers(),
            remote_target: request_uri(&addresses)?,
            addresses,
        })
    }

    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Before a repeated INVITE: forgets what a failed one brought; To, From and Call-ID stay (RFC 3261 §8.1.3.4,
    /// §22.2).
    pub fn start_over(&mut self, addresses: Addresses) -> Result<(), rsipstack::sip::Error> {
        self.remote_target = request_uri(&addresses)?;
        self.route_set = addresses.route_headers();
        self.remote_tag = None;
        self.addresses = addresses;
        Ok(())
    }

    /// Where requests go: the topmost Route or the remote target.
    pub fn next_hop(&self) -> NextHop {
        if self.remote_tag.is_none() {
            return NextHop::first(&self.addresses);
        }
        let route = self.route_set.first().and_then(|route| Route::new(route.clone()).typed().ok());
        NextHop::from_uri(route.as_ref().map_or(&self.remote_target, |route| &route.uri))
    }

    /// Takes remote tag, route set and remote target from a response to the INVITE (RFC 3261 §12.1.2).
    pub fn establish(&mut self, response: &Response) {
        let Some(tag) = to_tag(response) else { return };
        self.remote_tag = Some(tag);
        let recorded = response.typed_record_route_headers().unwrap_or_default();
        self.route_set = recorded
            .into_iter()
            .rev()
            .take(ROUTES_MAX)
            .map(|route| typed::Route::from(route.uri).to_string())
            .collect();
        self.refresh_target(response);
    }

    /// Target refresh by re-INVITE or UPDATE, theirs or ours (RFC 3261 §12.2.1.2).
    pub fn refresh_target(&mut self, message: &impl HeadersExt) {
        if let Some(contact) = contact(message) {
            self.remote_target = contact;
        }
    }

    /// Sequence numbers go on above those of `other`, a copy of this dialog or the one that it was copied from.
    pub fn keep_up_with(&mut self, other: &Self) {
        self.local_sequence = self.local_sequence.max(other.local_sequence);
    }

    /// Becomes the confirmed form of an early dialog that was copied from this one.
    pub fn take_over(&mut self, early: &Self) {
        self.keep_up_with(early);
        self.remote_sequence = early.remote_sequence;
    }

    /// Whether `request` is for our end of this dialog or of one that its INVITE may yet create.
    pub fn is_addressed_by(&self, request: &Request) -> bool {
        to_tag(request).is_some_and(|tag| tag == self.local_tag)
    }

    /// Whether `request` belongs to this dialog (RFC 3261 §12.2.2): Call-ID is given, the tags decide.
    pub fn matches(&self, request: &Request) -> bool {
        let remote = request.from_header().ok().and_then(|from| from.tag().ok()).flatten();
        let remote = remote.map(|tag| tag.value().to_owned());
        self.is_addressed_by(request) && self.remote_tag == remote
    }

    /// Checks that the peer's sequence number rises (RFC 3261 §12.2.2).
    pub fn in_order(&mut self, request: &Request) -> bool {
        let Ok(sequence) = request.cseq_header().and_then(|cseq| cseq.seq()) else { return false };
        if self.remote_sequence.is_some_and(|last| sequence <= last) {
            return false;
        }
        self.remote_sequence = Some(sequence);
        true
    }

    /// A request with the next sequence number. INVITE and UPDATE carry what target refreshes need.
    pub fn request(
        &mut self,
        method: Method,
        flow: &Flow,
        extra: Vec<Header>,
        body: Option<Body>,
    ) -> Request {
        self.local_sequence += 1;
        let mut headers = Headers::from(vec![
            Header::Via(via(flow)),
            Header::MaxForwards(MaxForwards::new("70")),
            Header::From(From::new(format!("{};tag={}", self.addresses.from_header(), self.local_tag))),
            Header::To(To::new(match &self.remote_tag {
                Some(tag) => format!("{};tag={tag}", self.addresses.to_header()),
                None => self.addresses.to_header(),
            })),
            Header::CallId(CallId::new(self.call_id.clone())),
            Header::CSeq(CSeq::new(format!("{} {method}", self.local_sequence))),
        ]);
        headers.extend(self.route_set.iter().map(|route| Header::Route(Route::new(route.clone()))).collect());
        if matches!(method, Method::Invite | Method::Update) {
            headers.push(Header::Contact(self.contact(flow)));
        }
        headers.push(Header::UserAgent(UserAgent::new(self.user_agent.clone())));
        headers.extend(extra);
        let mut octets = Vec::new();
        if let Some(body) = body {
            headers.push(Header::ContentType(ContentType::new(body.media_type)));
            octets = body.text.into_bytes();
        }
        headers.push(Header::ContentLength(ContentLength::new(octets.len().to_string())));
        Request { method, uri: self.remote_target.clone(), version: Version::V2, headers, body: octets }
    }

    /// PRACK for a reliable provisional response (RFC 3262 §4).
    pub fn prack(&mut self, flow: &Flow, response: &Response) -> Option<Request> {
        let sequence = response.rseq_value()?;
        let invite = response.cseq_header().ok()?.value().to_owned();
        Some(self.request(
            Method::PRack,
            flow,
            vec![Header::RAck(RAck::new(format!("{sequence} {invite}")))],
            None,
        ))
    }

    /// Our Contact: how the peer reaches us over the flow's transport.
    pub fn contact(&self, flow: &Flow) -> Contact {
        contact_of(&self.addresses, flow)
    }
}

/// A message body of ours.
#[derive(Clone)]
pub(super) struct Body {
    pub media_type: &'static str,
    pub text: String,
}

impl Body {
    pub fn sdp(text: String) -> Self {
        Self { media_type: SDP_TYPE, text }
    }
}

/// CANCEL for an INVITE that was sent: its Via, Request-URI and Routes (RFC 3261 §9.1).
pub(super) fn cancel(invite: &Request) -> Request {
    let mut headers = invite.headers.clone();
    headers.retain(|header| {
        matches!(
            header,
            Header::Via(_)
                | Header::From(_)
                | Header::To(_)
                | Header::CallId(_)
                | Header::MaxForwards(_)
                | Header::Route(_)
                | Header::UserAgent(_)
        )
    });
    let sequence = invite.cseq_header().and_then(|cseq| cseq.seq()).unwrap_or(1);
    headers.push(Header::CSeq(CSeq::new(format!("{sequence} CANCEL"))));
    headers.push(Header::ContentLength(ContentLength::new("0")));
    Request {
        method: Method::Cancel,
        uri: invite.uri.clone(),
        version: Version::V2,
        headers,
        body: Vec::new(),
    }
}

/// A Via for a new transaction (RFC 3261 §8.1.1.7; `rport` of RFC 3581).
pub(super) fn via(flow: &Flow) -> Via {
    let transport = flow.transport.name().to_ascii_uppercase();
    // RFC 5923 §5.1: the peer's requests may come back over this connection, wherever sent-by points.
    let alias = if flow.transport == Transport::Tls { ";alias" } else { "" };
    let branch = random_text(BRANCH_LEN);
    Via::new(format!("SIP/2.0/{transport} {};rport{alias};branch=z9hG4bK{branch}", flow.local))
}

/// Turns a request that was sent before towards another `flow`: a new transaction (RFC 3263 §4.3), and where we are
/// reached over that flow.
pub(super) fn readdress(request: &mut Request, flow: &Flow) {
    for header in request.headers.iter_mut() {
        match header {
            Header::Via(value) => *value = via(flow),
            Header::Contact(value) => {
                let uri = value.value().trim_start_matches('<').split('>').next().unwrap_or_default();
                if let Ok(uri) = SipUri::parse("Contact", uri) {
                    *value = Contact::new(format!("<{}>", uri.moved(flow.local, flow.transport)));
                }
            }
            _ => {}
        }
    }
}

/// Our Contact at our end of `flow`.
pub(super) fn contact_of(addresses: &Addresses, flow: &Flow) -> Contact {
    Contact::new(format!("<{}>", addresses.contact(flow.local, flow.transport)))
}

/// The stack writes `transport=` values in capitals. Digest covers the Request-URI byte by byte, so it is kept as is.
fn request_uri(addresses: &Addresses) -> Result<Uri, rsipstack::sip::Error> {
    let mut uri = Uri::try_from(addresses.request_uri.to_string())?;
    for param in &mut uri.params {
        if let Param::Transport(transport) = param {
            let name = transport.to_string().to_ascii_lowercase();
            *param = Param::Other(OtherParam::new("transport"), Some(OtherParamValue::new(name)));
        }
    }
    Ok(uri)
}

/// Headers of the stack from names and values.
pub(super) fn headers(fields: Vec<(&'static str, String)>) -> Vec<Header> {
    fields.into_iter().map(|(name, value)| make_header(name, value)).collect()
}

/// The first Contact URI of a message.
pub(super) fn contact(message: &impl HeadersExt) -> Option<Uri> {
    message.contact_header().ok()?.typed().ok().map(|contact| contact.uri)
}

/// A Call-ID for the requests of one registration.
pub(super) fn new_call_id() -> String {
    random_text(CALL_ID_LEN)
}

const CALL_ID_LEN: usize = 24;
const TAG_LEN: usize = 12;
const BRANCH_LEN: usize = 20;
/// Record-Route entries that are kept; a longer path is cut, which no real network has.
const ROUTES_MAX: usize = 16;
