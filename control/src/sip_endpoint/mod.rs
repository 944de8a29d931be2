//! Places calls: drives the SIP stack (rsipstack) and is the only place that knows it.
//! Takes: [`CallOrder`]s. Gives: one [`CallHandle`] per call with its events and its control.
//! Leaves out: what a call decides about authentication, offers, answers, timers (`sipcast-sip`); media (dataplane).
//!
//! The stack's transports and transactions are used, its dialog layer is not: it cannot do digest with SHA-256, an
//! offer in our 2xx, session timers, or UPDATE before the answer, and it keeps dialogs until told otherwise.
//! rsipstack logs whole messages, credentials and all, at level `info` under the targets `rsipstack::transport` and at
//! `trace` under `rsipstack::transaction`: whoever sets up logging must hold target `rsipstack` at `warn` or `off`.

mod admission;
mod afterwards;
mod call;
mod dialog;
mod dispatch;
mod framing;
mod register;
mod steering;
mod stream;
mod transaction;
mod transport;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::Header;
use rsipstack::sip::headers::Supported;
use sipcast_contract::Timestamp;
use sipcast_sip::sdp::OfferOptions;
use sipcast_sip::uri::Addresses;
use sipcast_sip::{Account, CallEvent, CallOrder, status};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use steering::CallControl;

use call::CallParts;
use dispatch::Dialogs;
use register::Registrations;
use steering::Steering;
use transport::{Network, NextHop};

/// Settings of the SIP side.
#[derive(Clone, Debug)]
pub struct SipOptions {
    /// Local address for SIP over UDP and TCP.
    pub bind: IpAddr,
    /// Local port; 0: any free one.
    pub port: u16,
    /// Accept TCP connections too, at the same port. Dialling out over TCP does not depend on it.
    pub tcp: bool,
    /// Address that Via, Contact and session descriptions name instead of the local one (1:1 NAT).
    pub advertised_address: Option<IpAddr>,
    /// User-Agent header.
    pub user_agent: String,
    /// Expiry asked for in REGISTER, in seconds.
    pub register_expires_s: u32,
    /// Session interval asked for (RFC 4028), in seconds; 0: none.
    pub session_expires_s: u32,
    /// Without a final answer for this long the call is cancelled and ends as failed with 408.
    pub ring_timeout: Duration,
    /// SIP's T1 (RFC 3261 §17.1.1.1): the round trip time that retransmissions assume.
    pub t1: Duration,
    /// Shape of our offers.
    pub offer: OfferOptions,
}

impl Default for SipOptions {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            port: transport::SIP_PORT,
            tcp: true,
            advertised_address: None,
            user_agent: concat!("sipcast/", env!("CARGO_PKG_VERSION")).to_owned(),
            register_expires_s: 300,
            session_expires_s: 1800,
            ring_timeout: Duration::from_secs(60),
            t1: Duration::from_millis(500),
            offer: OfferOptions::default(),
        }
    }
}

/// The SIP port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "SIP cannot listen on {address} port {port}: {source}; choose a free port or an address of this machine"
)]
pub struct SipBindError {
    /// The address asked for.
    pub address: IpAddr,
    /// The port asked for.
    pub port: u16,
    /// What the system said.
    pub source: io::Error,
}

/// Our end of SIP: one UDP socket, one TCP listener, all calls.
pub struct SipEndpoint {
    shared: Arc<Shared>,
}

/// A call that was ordered.
pub struct CallHandle {
    /// What happens to the call. The last event is `Ended`, always, once. Dropping the receiver hangs up.
    pub events: mpsc::Receiver<CallEvent>,
    /// Acts on the call.
    pub control: CallControl,
}

/// What all calls of an endpoint use.
struct Shared {
    network: Network,
    dialogs: Arc<Dialogs>,
    registrations: Registrations,
    options: SipOptions,
    tasks: TaskTracker,
    /// Every call hangs up.
    closing: CancellationToken,
    /// The stack ends.
    closed: CancellationToken,
    started: Instant,
}

impl Shared {
    /// Time as the sans-IO crates take it.
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.started.elapsed()
    }

    /// The instant of a [`Self::now`] time.
    fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(Timestamp::ZERO)
    }
}

impl SipEndpoint {
    /// Opens the sockets and starts serving.
    ///
    /// # Errors
    /// [`SipBindError`] naming address and port.
    pub async fn bind(options: SipOptions) -> Result<Self, SipBindError> {
        let dialogs = Arc::new(Dialogs::default());
        let closed = CancellationToken::new();
        let bound = Network::bind(&options, admission::Admission::new(dialogs.clone()), closed.clone()).await;
        let (network, incoming) =
            bound.map_err(|source| SipBindError { address: options.bind, port: options.port, source })?;
        tokio::spawn(dispatch::serve(dialogs.clone(), incoming));
        let shared = Shared {
            network,
            dialogs,
            registrations: Registrations::default(),
            options,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            closed,
            started: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.network.local_addr()
    }

    /// The local address to offer media at for a call of `account`: the advertised one, or the one that the route to
    /// its SIP server leaves from. Does not wait, so a server known only by name is taken to be behind the default
    /// route; [`Self::resolve_local_address_towards`] looks it up.
    pub fn local_address_towards(&self, account: &Account) -> IpAddr {
        let network = &self.shared.network;
        let hop = Addresses::for_registration(account).ok().map(|addresses| NextHop::first(&addresses));
        match hop.and_then(|hop| hop.literal()) {
            Some(remote) => network.address_towards(remote),
            None => network.default_address(),
        }
    }

    /// The same with a look-up of the server's name.
    ///
    /// # Errors
    /// A text for the operator: the account's server has no usable name, or no address.
    pub async fn resolve_local_address_towards(&self, account: &Account) -> Result<IpAddr, String> {
        let addresses = Addresses::for_registration(account).map_err(|error| error.to_string())?;
        let hop = NextHop::first(&addresses);
        let network = &self.shared.network;
        let remote = network.resolve(&hop.host, hop.port).await.map_err(|error| error.to_string())?;
        Ok(network.address_towards(remote[0].ip()))
    }

    /// Places a call. Returns at once; what becomes of it is told by events.
    pub fn call(&self, order: CallOrder) -> CallHandle {
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let (steering, control) = Steering::new(self.shared.closing.child_token());
        let parts = CallParts { shared: self.shared.clone(), order, events: events.clone(), steering };
        let tasks = self.shared.tasks.clone();
        self.shared.tasks.spawn(async move {
            // A task of its own: should it panic, this call ends as any other and no other call notices.
            let (end, afterwards) = match tokio::spawn(call::run(parts)).await {
                Ok(outcome) => outcome,
                Err(_) => (status::end_of_trouble(0, "internal error: the call's task broke off"), None),
            };
            // Settling does not depend on whether anybody still listens.
            if let Some(afterwards) = afterwards {
                tasks.spawn(afterwards.settle());
            }
            let _ = events.send(CallEvent::Ended(end)).await;
        });
        CallHandle { events: receiver, control }
    }

    /// Hangs up every call, un-registers, closes the sockets. Peers that do not answer are not waited for beyond a few
    /// seconds.
    pub async fn shutdown(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(SHUTDOWN_MAX, self.shared.tasks.wait()).await;
        self.shared.closed.cancel();
    }
}

impl Drop for SipEndpoint {
    fn drop(&mut self) {
        // Without shutdown() there is nobody left to wait for the peers' answers.
        self.shared.closing.cancel();
        self.shared.closed.cancel();
    }
}

/// We take PRACKs' counterpart as callers (RFC 3262); `sipcast-sip` names its own extensions itself.
fn reliable_provisionals() -> Header {
    Header::Supported(Supported::new("100rel"))
}

/// Extensions we have (RFC 4028, RFC 3262 as caller).
const SUPPORTED: &str = "timer, 100rel";
/// Events that wait for the call's owner; beyond it progress is skipped and the call waits with the rest.
const EVENTS_WAITING_MAX: usize = 64;
/// Longer than a BYE with its challenge takes, shorter than an operator's patience.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
