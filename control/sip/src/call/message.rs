//! What goes into a call and what comes out of it: the peer's messages as text, and actions for the driver.

use std::time::Duration;

use thiserror::Error;

use crate::addresses::Addresses;
use crate::digest::DigestError;
use crate::event::CallEvent;
use crate::sdp::OfferOptions;
use crate::session_timer::Header;
use crate::uri::UriError;

/// What a call may do beside its order.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// Shape of our offers.
    pub offer: OfferOptions,
    /// Session interval to ask for, in seconds; `None`: no session timer of ours.
    pub session_expires_s: Option<u32>,
    /// How long the peer may ring.
    pub answer_timeout: Duration,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            offer: OfferOptions::default(),
            session_expires_s: Some(crate::session_timer::SESSION_EXPIRES_S),
            answer_timeout: Duration::from_secs(120),
        }
    }
}

/// A response of the peer, as text.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub phrase: &'a str,
    /// All headers, names as they came, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// A request of the peer within the dialog.
#[derive(Clone, Copy, Debug)]
pub struct PeerRequest<'a> {
    /// The driver's mark; comes back in [`Action::Answer`].
    pub id: u64,
    /// The method, upper case.
    pub method: &'a str,
    /// All headers, names as they came, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// How a refresh is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshMethod {
    /// Without a body (RFC 4028 §7.4 prefers it where allowed).
    Update,
    /// re-INVITE with the last description.
    Invite,
}

impl RefreshMethod {
    /// The method's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "UPDATE",
            Self::Invite => "INVITE",
        }
    }
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an INVITE: a new dialog with the call's Call-ID and From tag, CSeq one up. Every response goes to
    /// [`super::Call::handle_response`]; ACK is the stack's.
    SendInvite {
        /// Request-URI, From, To, Route, next hop.
        addresses: Box<Addresses>,
        /// To be added as they are.
        headers: Vec<Header>,
        /// `application/sdp`.
        body: String,
    },
    /// Send CANCEL as soon as a provisional response came (RFC 3261 §9.1).
    Cancel,
    /// Send BYE in the confirmed dialog.
    Bye {
        /// To be added as they are.
        headers: Vec<Header>,
    },
    /// The peer answered and takes no media: send BYE in the dialog that its 2xx confirmed, and leave it. The next
    /// [`Action::SendInvite`] is outside of any dialog, with a Call-ID and From tag of its own (RFC 3261 §8.1.1.4).
    /// The BYE's final answer goes to [`super::Call::handle_parted`]; a further 2xx to the same INVITE gets a BYE, too,
    /// and does not concern the call.
    Part {
        /// To be added to the BYE as they are.
        headers: Vec<Header>,
    },
    /// A second fork answered: ACK its 2xx, then BYE in its dialog (RFC 3261 §13.2.2.4).
    ByeFork {
        /// To tag of that dialog.
        to_tag: String,
    },
    /// Send a refresh; the final response goes to [`super::Call::handle_refresh_response`].
    SendRefresh {
        /// How.
        method: RefreshMethod,
        /// To be added as they are.
        headers: Vec<Header>,
        /// `application/sdp`, with INVITE.
        body: Option<String>,
    },
    /// Answer a request of the peer.
    Answer {
        /// [`PeerRequest::id`].
        id: u64,
        /// Status code.
        status: u16,
        /// To be added as they are.
        headers: Vec<Header>,
        /// `application/sdp`.
        body: Option<String>,
    },
    /// For the control plane.
    Event(CallEvent),
}

/// An order that cannot be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// An address.
    #[error(transparent)]
    Address(#[from] UriError),
    /// The credentials.
    #[error("authenticationName: {0}")]
    Credentials(#[from] DigestError),
}
