//! What the callee's user agent remembers: transactions with what they repeat, and dialogs (RFC 3261 §12, §17).
//! Takes: times, envelopes. Gives: whether a repetition is due, a dialog's identity and route set.
//! Leaves out: what is decided by them (`user_agent`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rsip::headers::UntypedHeader;
use rsip::{Header, Request};

use super::media::MediaSession;
use super::message::Envelope;
use super::sdp::MediaPlan;
use super::user_agent::Peer;

/// Timers of RFC 3261 §17.1.1.1.
pub const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// How long a transaction is remembered, and an unacknowledged response repeated.
pub const TRANSACTION_LIFE: Duration = Duration::from_millis(500 * 64);

/// A message that repeats until something answers it.
pub struct Repetition {
    pub at: Instant,
    pub interval: Duration,
    pub until: Instant,
}

impl Repetition {
    pub fn new(now: Instant) -> Self {
        Self { at: now + T1, interval: T1, until: now + TRANSACTION_LIFE }
    }

    /// Whether it is time to repeat; sets the next time.
    pub fn due(&mut self, now: Instant) -> bool {
        if self.at > now {
            return false;
        }
        self.interval = (self.interval * 2).min(T2);
        self.at = now + self.interval;
        true
    }
}

pub struct ServerTransaction {
    pub peer: Peer,
    pub response: Vec<u8>,
    pub repetition: Option<Repetition>,
    pub forget_at: Instant,
    pub dialog: Option<DialogId>,
}

pub struct ClientTransaction {
    pub peer: Peer,
    pub request: Vec<u8>,
    pub repetition: Repetition,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialogId {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogState {
    Ringing { answer_at: Instant },
    Answered,
    Confirmed,
}

pub struct Dialog {
    pub state: DialogState,
    pub peer: Peer,
    /// Our own From and the peer's To in requests of ours.
    pub local_uri: String,
    pub remote_uri: String,
    pub remote_target: String,
    pub route_set: Vec<String>,
    pub remote_cseq: u32,
    pub local_cseq: u32,
    pub invite: Box<Request>,
    pub invite_source: SocketAddr,
    pub invite_key: String,
    pub media: MediaSession,
    /// The user part that was called.
    pub called: String,
    pub plan: Option<MediaPlan>,
    pub answer: String,
    pub sdp_session_id: u64,
    pub sdp_version: u64,
    /// Interval and end of the session (RFC 4028), when the peer asked for one.
    pub session_expiry: Option<(Duration, Instant)>,
}

pub fn dialog_id(envelope: &Envelope) -> Option<DialogId> {
    Some(DialogId {
        call_id: envelope.call_id.clone(),
        local_tag: envelope.to_tag.clone()?,
        remote_tag: envelope.from_tag.clone(),
    })
}

// RFC 3261 §12.1.1: as UAS the route set keeps the order of Record-Route.
pub fn route_set(request: &Request) -> Vec<String> {
    request
        .headers
        .iter()
        .filter_map(|header| match header {
            Header::RecordRoute(route) => Some(route.value().to_owned()),
            _ => None,
        })
        .take(32)
        .collect()
}
