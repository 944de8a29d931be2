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
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod ladder;
mod listener;
mod name_service;
mod next_hop;
mod register;
mod steering;
mod stream;
mod tls;
mod tls_listener;
mod transaction;
mod transport;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::Header;
use rsipstack::sip::headers::Supported;
use sipcast_contract::Timestamp;
use sipcast_sip::addresses::Addresses;
use sipcast_sip::{Account, CallEvent, CallOrder, status};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use ladder::{LadderDirection, LadderEntry, LadderView};
pub use register::RegistrationView;
pub use sipcast_sip::MediaSecurity;
pub use sipcast_sip::sdp::{AudioCodecs, OfferOptions, SrtpSuites};
pub use steering::CallControl;
pub use tls::{TlsIdentity, TlsOptions, TlsRoots, TlsSetupError, TlsVersion};

use crate::access::AccessRules;
use crate::events::Events;
use call::CallParts;
use dispatch::Dialogs;
use ladder::{Ladder, Ladders};
use register::Registrations;
use steering::Steering;
use transport::{Network, NextHop};

/// Settings of the SIP side.
#[derive(Clone, Debug)]
pub struct SipOptions {
    /// Local address for SIP over UDP and TCP.
    pub bind: IpAddr,
    /// A local address of the other family, at the same port. If it is the unspecified one and this machine lacks the
    /// family, it is passed over.
    pub bind_also: Option<IpAddr>,
    /// Local port; 0: any free one.
    pub port: u16,
    /// Accept TCP connections too, at the same port. Dialling out over TCP does not depend on it.
    pub tcp: bool,
    /// TLS, dialled and listened for.
    pub tls: TlsOptions,
    /// Name servers to ask; none: the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Requests of more than 1300 bytes go over TCP unless the order names a transport, and over UDP after all if TCP
    /// is refused (RFC 3261 §18.1.1).
    pub large_requests_over_tcp: bool,
    /// How often registrars and outbound proxies are pinged over UDP, so that NATs stay open; `None`: never.
    pub keep_alive_udp: Option<Duration>,
    /// How often the far end of a connection of ours is pinged (RFC 5626 §4.4.1); `None`: never.
    pub keep_alive_stream: Option<Duration>,
    /// Address that Via, Contact and session descriptions name instead of the local one (1:1 NAT), towards peers of its
    /// family.
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
    /// Which hosts may be reached, asked about after their look-up.
    pub access: AccessRules,
    /// Where registrations are told of; give the control plane the same.
    pub events: Events,
}

impl Default for SipOptions {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            bind_also: None,
            port: transport::SIP_PORT,
            tcp: true,
            tls: TlsOptions::default(),
            name_servers: Vec::new(),
            large_requests_over_tcp: true,
            keep_alive_udp: Some(Duration::from_secs(25)),
            keep_alive_stream: Some(Duration::from_secs(90)),
            advertised_address: None,
            user_agent: concat!("sipcast/", env!("CARGO_PKG_VERSION")).to_owned(),
            register_expires_s: 300,
            session_expires_s: 1800,
            ring_timeout: Duration::from_secs(60),
            t1: Duration::from_millis(500),
            offer: OfferOptions::default(),
            access: AccessRules::default(),
            events: Events::default(),
        }
    }
}

/// The SIP side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SipBindError {
    /// A port could not be opened.
    #[error(
        "SIP cannot listen on {address} port {port}: {source}; choose a free port or an address of this machine"
    )]
    Port {
        /// The address asked for.
        address: IpAddr,
        /// The port asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// TLS is not configured as it has to be.
    #[error("TLS of SIP: {0}")]
    Tls(#[from] TlsSetupError),
}

/// Our end of SIP: sockets, listeners, all calls.
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
    ladders: Arc<Ladders>,
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
        let ladders = Arc::new(Ladders::default());
        let admission = admission::Admission::new(dialogs.clone());
        let recorder = ladder::Recorder(ladders.clone());
        let bound = Network::bind(&options, admission, recorder, closed.clone()).await;
        let (network, incoming) = bound?;
        tokio::spawn(dispatch::serve(dialogs.clone(), incoming));
        let shared = Shared {
            network,
            dialogs,
            ladders,
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

    /// The port that TLS is listened at; `None` without a server certificate.
    pub fn tls_port(&self) -> Option<u16> {
        self.shared.network.tls_port()
    }

    /// Certificates and roots of TLS, which can be read again while calls are placed.
    pub fn tls_files(&self) -> Vec<Arc<dyn sipcast_trust::FromFiles>> {
        self.shared.network.tls_files()
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
        let candidates = network.candidates(&hop).await.map_err(|error| error.to_string())?;
        Ok(network.address_towards(candidates[0].address.ip()))
    }

    /// Places a call. Returns at once; what becomes of it is told by events.
    pub fn call(&self, order: CallOrder) -> CallHandle {
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let ladder = Ladder::new(order.secrets());
        let (steering, control) = Steering::new(self.shared.closing.child_token(), ladder.clone());
        let parts = CallParts {
            shared: self.shared.clone(),
            order,
            events: events.clone(),
            steering,
            ladder: ladder.clone(),
        };
        let tasks = self.shared.tasks.clone();
        self.shared.tasks.spawn(async move {
            // A task of its own: should it panic, this call ends as any other and no other call notices.
            let (mut end, afterwards) = match tokio::spawn(call::run(parts)).await {
                Ok(outcome) => outcome,
                Err(_) => (status::end_of_trouble(0, "internal error: the call's task broke off"), None),
            };
            // Settling does not depend on whether anybody still listens.
            if let Some(afterwards) = afterwards {
                tasks.spawn(afterwards.settle());
            }
            // A peer may have put what it was sent into its reason phrase.
            end.reason = ladder.masked(&end.reason);
            let _ = events.send(CallEvent::Ended(end)).await;
        });
        CallHandle { events: receiver, control }
    }

    /// The registrations that calls use, and those that failed lately, in order of account.
    pub fn registrations(&self) -> Vec<RegistrationView> {
        self.shared.registrations.views(self.shared.now())
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
const SUPPORTED: &str = sipcast_sip::call::SUPPORTED;
/// Events that wait for the call's owner; beyond it progress is skipped and the call waits with the rest.
const EVENTS_WAITING_MAX: usize = 64;
/// Longer than a BYE with its challenge takes, shorter than an operator's patience.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
