//! Ways to peers below the SIP stack: UDP, TCP and TLS, dialled and accepted (RFC 3261 §18, RFC 3263 §4.3, RFC 5923).
//! Takes: settings, next hops. Gives: [`Flow`]s that transactions are sent on, and the stack's incoming requests.
//! Leaves out: transactions (`transaction`), which requests are let in (`admission`), serving a connection (`stream`),
//! looking names up (`name_service`), handshakes (`tls`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rsipstack::EndpointBuilder;
use rsipstack::sip::{Host, HostWithPort, Transport as StackTransport};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transaction::endpoint::{EndpointInnerRef, EndpointOption};
use rsipstack::transport::transport_layer::DomainResolver;
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportLayer};
use sipcast_sip::Transport;
use sipcast_sip::locate::Candidate;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Inspector};
use super::ladder::Recorder;
use super::listener::{Listeners, accept};
use super::name_service::{LookupError, NameService};
use super::stream::{self, Limits, Streams};
use super::tls::{Tls, TlsTrouble};
use super::udp::ScreenedSockets;
use super::{SipBindError, SipOptions};
use crate::access::AccessRules;

pub(super) use super::next_hop::NextHop;

/// Default SIP port (RFC 3261 §19.1.2).
pub(super) const SIP_PORT: u16 = 5060;

/// Why a next hop could not be reached. Holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("{0} has no address that the SIP sockets can reach")]
    NoAddress(String),
    #[error("{0} has no address that [access] of the configuration admits")]
    Denied(String),
    #[error("looking up {host} failed: {error}")]
    Lookup { host: String, error: LookupError },
    #[error("connecting to {address} failed: {error}")]
    Connect { address: SocketAddr, error: String },
    #[error("TLS to {address} failed: {error}")]
    Tls { address: SocketAddr, error: String },
}

/// One way to a peer: a socket of ours and an address of theirs, and the ways that are left should it fail.
#[derive(Clone)]
pub(super) struct Flow {
    pub connection: SipConnection,
    pub destination: SipAddr,
    pub transport: Transport,
    /// What Via and Contact say: where the peer reaches us.
    pub local: SocketAddr,
    candidate: Candidate,
    /// What the flow was made for.
    hop: NextHop,
    /// Further ways to it, best first.
    rest: Vec<Candidate>,
    /// Keeps NATs open as long as somebody holds the flow.
    _ping: Option<Arc<Ping>>,
}

impl Flow {
    /// Ends when a stream connection is gone; never for UDP.
    pub async fn closed(&self) {
        match self.connection.cancel_token() {
            Some(token) if self.transport.is_stream() => token.cancelled().await,
            _ => std::future::pending().await,
        }
    }

    /// Whether there is another way, should this one fail.
    pub fn has_more(&self) -> bool {
        !self.rest.is_empty()
    }

    fn is_open(&self) -> bool {
        !self.transport.is_stream()
            || self.connection.cancel_token().is_none_or(|token| !token.is_cancelled())
    }
}

/// The endpoint's sockets and the stack on top of them.
#[derive(Clone)]
pub(super) struct Network {
    pub stack: EndpointInnerRef,
    inner: Arc<Inner>,
}

struct Inner {
    udp: SipConnection,
    /// Bound addresses, the chief one first, one for each address family.
    locals: Vec<SocketAddr>,
    /// Where peers can connect to us.
    tcp_port: Option<u16>,
    tls_port: Option<u16>,
    advertised: Option<IpAddr>,
    large_over_tcp: bool,
    access: AccessRules,
    dialled_limits: Limits,
    tls: Arc<Tls>,
    names: Arc<NameService>,
    dialled: Mutex<HashMap<Dialling, Dialled>>,
    /// One dials, those who want the same wait for it.
    dialling: Mutex<HashMap<Dialling, Arc<tokio::sync::Mutex<()>>>>,
    failed: Failures,
    pinged: Arc<Pinged>,
    streams: Arc<Streams>,
}

/// What makes connections the same: address, transport, and the name that TLS proved.
type Dialling = (Candidate, String);

#[derive(Clone)]
struct Dialled {
    connection: SipConnection,
    local_port: u16,
}

impl Network {
    /// Binds and starts the stack. The second value yields requests from peers.
    pub async fn bind(
        options: &SipOptions,
        admission: Admission,
        recorder: Recorder,
        closing: CancellationToken,
    ) -> Result<(Self, TransactionReceiver), SipBindError> {
        let tls = Arc::new(Tls::new(&options.tls)?);
        let listeners = Listeners::bind(options).await?;
        let locals = listeners.locals.clone();
        let chief = locals[0];
        let failed = |source| SipBindError::Port { address: chief.ip(), port: chief.port(), source };
        let names = Arc::new(NameService::new(&options.name_servers));
        let resolver = AckResolver::new(names.clone(), locals.iter().map(SocketAddr::ip).collect());
        let layer = TransportLayer::new_with_domain_resolver(closing.clone(), Box::new(resolver));
        let admission = Arc::new(admission);
        let (first, second) = listeners.udp;
        let sockets = Arc::new(ScreenedSockets::new(first, second, options.user_agent.clone()));
        let udp = UdpConnection::from_socket(sockets.clone(), None, Some(closing.child_token()))
            .await
            .map_err(|error| failed(io::Error::other(error)))?;
        let udp = SipConnection::Udp(udp);
        layer.add_transport(udp.clone());
        let endpoint = EndpointBuilder::new()
            .with_user_agent(&options.user_agent)
            .with_transport_layer(layer)
            .with_cancel_token(closing.clone())
            .with_inspector(Box::new(recorder))
            .with_transport_inspector(Box::new(Inspector(admission.clone())))
            .with_option(EndpointOption {
                t1: options.t1,
                t1x64: options.t1 * 64,
                // Our own ring timeout cancels first; the stack's only guards against a lost task.
                timerc: options.ring_timeout + options.t1 * 128,
                ..EndpointOption::default()
            })
            .build();
        let incoming = endpoint.incoming_transactions().map_err(|error| failed(io::Error::other(error)))?;
        let stack = endpoint.inner.clone();
        tokio::spawn(async move { endpoint.serve().await });
        let user_agent = options.user_agent.clone();
        let pinged = Arc::new(Pinged::default());
        if let Some(interval) = options.keep_alive_udp {
            tokio::spawn(ping(pinged.clone(), sockets, interval, closing.clone()));
        }
        let streams = Arc::new(Streams { stack: stack.clone(), admission, user_agent, closing });
        for listener in listeners.tcp {
            tokio::spawn(accept(listener, Transport::Tcp, tls.clone(), streams.clone()));
        }
        for listener in listeners.tls {
            tokio::spawn(accept(listener, Transport::Tls, tls.clone(), streams.clone()));
        }
        let inner = Inner {
            udp,
            locals,
            tcp_port: listeners.tcp_port,
            tls_port: listeners.tls_port,
            advertised: options.advertised_address,
            large_over_tcp: options.large_requests_over_tcp,
            access: options.access.clone(),
            dialled_limits: Limits { keep_alive: options.keep_alive_stream, ..Limits::DIALLED },
            tls,
            names,
            dialled: Mutex::default(),
            dialling: Mutex::default(),
            failed: Failures::default(),
            pinged,
            streams,
        };
        Ok((Self { stack, inner: Arc::new(inner) }, incoming))
    }

    /// The bound address; unspecified if bound to all.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.locals[0]
    }

    /// Certificates and roots that can be read again.
    pub fn tls_files(&self) -> Vec<Arc<dyn sipcast_trust::FromFiles>> {
        self.inner.tls.files().to_vec()
    }

    /// The port that TLS is listened at.
    pub fn tls_port(&self) -> Option<u16> {
        self.inner.tls_port
    }

    /// The address peers near `remote` reach us at.
    pub fn address_towards(&self, remote: IpAddr) -> IpAddr {
        let advertised = self.inner.advertised.filter(|address| address.is_ipv4() == remote.is_ipv4());
        if let Some(advertised) = advertised {
            return advertised;
        }
        let local = source_towards(&self.inner.locals, remote);
        local.unwrap_or_else(|| self.inner.advertised.unwrap_or(self.inner.locals[0].ip()))
    }

    /// Address to use when the peer's is not known yet.
    pub fn default_address(&self) -> IpAddr {
        // Documentation addresses (RFC 5737, RFC 3849): no packet is sent, only the default route is asked for.
        let anywhere = match self.inner.locals[0].ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        self.address_towards(anywhere)
    }

    /// Ways to `hop` that our sockets have, best first, at least one: in the order of RFC 3263, but for those that
    /// failed a moment ago, which come last (§4.3).
    pub async fn candidates(&self, hop: &NextHop) -> Result<Vec<Candidate>, Unreachable> {
        let random = getrandom::u64().unwrap_or_default();
        let found = self.inner.names.locate(hop.target(), random).await;
        let mut found = found.map_err(|error| Unreachable::Lookup { host: hop.host.clone(), error })?;
        let rules = &self.inner.access;
        found.retain(|candidate| rules.admit_hop(&hop.host, candidate.address.ip(), hop.ordered));
        if found.is_empty() {
            return Err(Unreachable::Denied(hop.host.clone()));
        }
        found.retain(|candidate| source_towards(&self.inner.locals, candidate.address.ip()).is_some());
        if found.is_empty() {
            return Err(Unreachable::NoAddress(hop.host.clone()));
        }
        found.sort_by_key(|candidate| self.inner.failed.contains(candidate));
        Ok(found)
    }

    /// A flow to `hop`: the UDP socket, or a connection, shared by all calls to that address.
    pub async fn flow(&self, hop: &NextHop) -> Result<Flow, Unreachable> {
        let candidates = self.candidates(hop).await?;
        self.reach(hop, candidates).await
    }

    /// The flow to try after `failed`, which is remembered as such. `None`: all are tried.
    pub async fn next_flow(&self, failed: &Flow) -> Option<Flow> {
        self.inner.failed.note(failed.candidate, FAILURE_KEPT);
        if failed.rest.is_empty() {
            return None;
        }
        self.reach(&failed.hop, failed.rest.clone()).await.ok()
    }

    /// RFC 3261 §18.1.1: requests that might not fit a datagram go over TCP if nobody wants UDP, and over UDP after all
    /// if the peer has no TCP. `None`: `flow` is right.
    pub async fn flow_for_size(&self, flow: &Flow, length: usize) -> Option<Flow> {
        let is_free = flow.hop.transport.is_none() && !flow.hop.secure;
        if flow.transport.is_stream() || length <= DATAGRAM_MAX || !is_free || !self.inner.large_over_tcp {
            return None;
        }
        let same = Candidate { address: flow.candidate.address, transport: Transport::Tcp };
        let named = flow.rest.iter().find(|candidate| candidate.transport == Transport::Tcp);
        let tcp = *named.unwrap_or(&same);
        if self.inner.failed.contains(&tcp) {
            return None;
        }
        let Ok(dialled) = self.dialled(&flow.hop, tcp, MOVE_MAX).await else {
            self.inner.failed.note(tcp, NO_TCP_KEPT);
            return None;
        };
        let mut rest = vec![flow.candidate];
        rest.extend(flow.rest.iter().filter(|candidate| **candidate != tcp));
        Some(self.stream_flow(&flow.hop, tcp, dialled, rest))
    }

    /// A flow for a request inside a dialog. A live connection is kept, whatever the peer's Contact says: it is the one
    /// way that is known to pass NATs (RFC 5626 §4.3 in spirit, RFC 5923). One that broke is dialled again.
    pub async fn flow_within(&self, hop: &NextHop, current: &Flow) -> Flow {
        if current.transport.is_stream() {
            if current.is_open() {
                return current.clone();
            }
            let again = self.dialled(&current.hop, current.candidate, CONNECT_MAX).await;
            if let Ok(dialled) = again {
                return self.stream_flow(&current.hop, current.candidate, dialled, Vec::new());
            }
        } else if *hop == current.hop {
            // One server of those that a name leads to knows this dialog.
            return current.clone();
        }
        match self.flow(hop).await {
            Ok(flow) => flow,
            Err(_) => current.clone(),
        }
    }

    /// The first of `candidates` that can be reached.
    async fn reach(&self, hop: &NextHop, candidates: Vec<Candidate>) -> Result<Flow, Unreachable> {
        let mut last = Unreachable::NoAddress(hop.host.clone());
        let mut only_tls = false;
        for (at, &candidate) in candidates.iter().enumerate() {
            let left = |candidate: &&Candidate| !only_tls || candidate.transport == Transport::Tls;
            if !left(&&candidate) {
                continue;
            }
            let rest = || candidates[at + 1..].iter().filter(left).copied().collect();
            if candidate.transport == Transport::Udp {
                return Ok(self.udp_flow(hop, candidate, rest()));
            }
            match self.dialled(hop, candidate, CONNECT_MAX).await {
                Ok(dialled) => return Ok(self.stream_flow(hop, candidate, dialled, rest())),
                Err(trouble) => {
                    self.inner.failed.note(candidate, FAILURE_KEPT);
                    // Who presents a wrong certificate must not gain a call in the clear by it.
                    only_tls |= matches!(trouble, DialError::Tls(TlsTrouble::Certificate(_)));
                    last = trouble.at(candidate.address);
                }
            }
        }
        Err(last)
    }

    fn udp_flow(&self, hop: &NextHop, candidate: Candidate, rest: Vec<Candidate>) -> Flow {
        let ping = hop.keep_alive.then(|| self.inner.pinged.clone().begin(candidate.address)).flatten();
        Flow {
            connection: self.inner.udp.clone(),
            destination: sip_addr(StackTransport::Udp, candidate.address),
            transport: Transport::Udp,
            local: self.local_towards(candidate.address.ip(), None),
            candidate,
            hop: hop.clone(),
            rest,
            _ping: ping,
        }
    }

    fn stream_flow(
        &self,
        hop: &NextHop,
        candidate: Candidate,
        dialled: Dialled,
        rest: Vec<Candidate>,
    ) -> Flow {
        let listened = match candidate.transport {
            Transport::Tls => self.inner.tls_port,
            _ => self.inner.tcp_port,
        };
        // Without a listener requests come back over this connection alone, and its own port finds it (RFC 5923 §5).
        let port = listened.unwrap_or(dialled.local_port);
        Flow {
            connection: dialled.connection,
            destination: sip_addr(stack_transport(candidate.transport), candidate.address),
            transport: candidate.transport,
            local: self.local_towards(candidate.address.ip(), Some(port)),
            candidate,
            hop: hop.clone(),
            rest,
            _ping: None,
        }
    }

    fn local_towards(&self, remote: IpAddr, port: Option<u16>) -> SocketAddr {
        SocketAddr::new(self.address_towards(remote), port.unwrap_or(self.inner.locals[0].port()))
    }

    /// A connection to `candidate`: one that is open, or a new one.
    async fn dialled(
        &self,
        hop: &NextHop,
        candidate: Candidate,
        connect_max: Duration,
    ) -> Result<Dialled, DialError> {
        let name = match candidate.transport {
            Transport::Tls => self.inner.tls.name_of(&hop.host),
            _ => String::new(),
        };
        let key = (candidate, name);
        if let Some(dialled) = self.open(&key) {
            return Ok(dialled);
        }
        let turn = {
            let mut dialling = lock(&self.inner.dialling);
            dialling.retain(|_, turn| Arc::strong_count(turn) > 1);
            dialling.entry(key.clone()).or_default().clone()
        };
        let _turn = turn.lock().await;
        match self.open(&key) {
            Some(dialled) => Ok(dialled),
            None => self.dial(key, connect_max).await,
        }
    }

    fn open(&self, key: &Dialling) -> Option<Dialled> {
        let mut dialled = lock(&self.inner.dialled);
        dialled.retain(|_, one| one.connection.cancel_token().is_none_or(|token| !token.is_cancelled()));
        dialled.get(key).cloned()
    }

    async fn dial(&self, key: Dialling, connect_max: Duration) -> Result<Dialled, DialError> {
        let (Candidate { address, transport }, name) = &key;
        let stream = tokio::time::timeout(connect_max, TcpStream::connect(*address))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream::tune(&stream)?;
        let local_port = stream.local_addr()?.port();
        let (streams, limits) = (&self.inner.streams, self.inner.dialled_limits);
        let connection = match transport {
            Transport::Tls => {
                let protected =
                    self.inner.tls.connect(stream, name, *address).await.map_err(DialError::Tls)?;
                streams.adopt(protected, *address, *transport, limits).await?
            }
            _ => streams.adopt(stream, *address, *transport, limits).await?,
        };
        let dialled = Dialled { connection, local_port };
        lock(&self.inner.dialled).insert(key, dialled.clone());
        Ok(dialled)
    }
}

enum DialError {
    Connect(io::Error),
    Tls(TlsTrouble),
}

impl DialError {
    fn at(self, address: SocketAddr) -> Unreachable {
        match self {
            Self::Connect(error) => Unreachable::Connect { address, error: error.to_string() },
            Self::Tls(error) => Unreachable::Tls { address, error: error.to_string() },
        }
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Connect(error)
    }
}

/// Candidates that failed lately (RFC 3263 §4.3).
#[derive(Default)]
struct Failures(Mutex<HashMap<Candidate, Instant>>);

impl Failures {
    fn note(&self, candidate: Candidate, kept: Duration) {
        let mut failed = lock(&self.0);
        failed.retain(|_, until| *until > Instant::now());
        if failed.len() < FAILURES_KEPT_MAX {
            failed.insert(candidate, Instant::now() + kept);
        }
    }

    fn contains(&self, candidate: &Candidate) -> bool {
        lock(&self.0).get(candidate).is_some_and(|until| *until > Instant::now())
    }
}

/// Who is pinged over UDP, and by how many flows.
#[derive(Default)]
struct Pinged(Mutex<HashMap<SocketAddr, usize>>);

impl Pinged {
    fn begin(self: Arc<Self>, remote: SocketAddr) -> Option<Arc<Ping>> {
        let mut pinged = lock(&self.0);
        if pinged.len() >= PINGED_MAX && !pinged.contains_key(&remote) {
            return None;
        }
        *pinged.entry(remote).or_default() += 1;
        drop(pinged);
        Some(Arc::new(Ping { pinged: self, remote }))
    }
}

/// Has one peer pinged until it is dropped.
struct Ping {
    pinged: Arc<Pinged>,
    remote: SocketAddr,
}

impl Drop for Ping {
    fn drop(&mut self) {
        let mut pinged = lock(&self.pinged.0);
        if let Some(flows) = pinged.get_mut(&self.remote) {
            *flows -= 1;
            if *flows == 0 {
                pinged.remove(&self.remote);
            }
        }
    }
}

/// Sends line ends, which RFC 3261 §7.5 has peers pass over, so that NATs keep their bindings. The answer, if there is
/// one, decides nothing: datagrams get lost, and transactions find a dead peer.
async fn ping(
    pinged: Arc<Pinged>,
    sockets: Arc<ScreenedSockets>,
    interval: Duration,
    closing: CancellationToken,
) {
    loop {
        // RFC 5626 §4.4: 80 to 100 % of the interval, so that clients do not fall into step.
        let share = 80 + u32::try_from(getrandom::u64().unwrap_or_default() % 21).unwrap_or_default();
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(interval * share / 100) => {}
        }
        let remotes: Vec<SocketAddr> = lock(&pinged.0).keys().copied().collect();
        for remote in remotes {
            let _ = sockets.send(b"\r\n\r\n", remote).await;
        }
    }
}

/// Our own address towards `remote`; `None`: no socket, or no route.
fn source_towards(locals: &[SocketAddr], remote: IpAddr) -> Option<IpAddr> {
    let ours = locals.iter().map(SocketAddr::ip).find(|ours| ours.is_ipv4() == remote.is_ipv4())?;
    if ours.is_unspecified() { route_source(ours, remote) } else { Some(ours) }
}

/// The source address the kernel picks for `remote`.
fn route_source(any: IpAddr, remote: IpAddr) -> Option<IpAddr> {
    let probe = std::net::UdpSocket::bind((any, 0)).ok()?;
    probe.connect((remote, SIP_PORT)).ok()?;
    let source = probe.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

pub(super) fn sip_addr(transport: StackTransport, address: SocketAddr) -> SipAddr {
    SipAddr::new(transport, HostWithPort::from(address))
}

pub(super) fn stack_transport(transport: Transport) -> StackTransport {
    match transport {
        Transport::Udp => StackTransport::Udp,
        Transport::Tcp => StackTransport::Tcp,
        Transport::Tls => StackTransport::Tls,
    }
}

/// Names in Route and Contact headers, for the one request that the stack addresses itself: the ACK of a 2xx over UDP.
/// The stack asks again for each repeated 2xx, and from the one task that takes every datagram, so the answers are kept
/// for a while: a name service that is slow, or a name chosen to be, must not stall other calls.
struct AckResolver {
    names: Arc<NameService>,
    ours: Vec<IpAddr>,
    known: Mutex<HashMap<String, LookedUp>>,
}

/// When a name was looked up, and its address if it had one.
type LookedUp = (Instant, Option<SocketAddr>);

impl AckResolver {
    fn new(names: Arc<NameService>, ours: Vec<IpAddr>) -> Self {
        Self { names, ours, known: Mutex::default() }
    }

    /// `None`: not asked lately.
    fn known(&self, name: &str) -> Option<Option<SocketAddr>> {
        let mut known = lock(&self.known);
        let kept = |address: &Option<SocketAddr>| if address.is_some() { NAME_KEPT } else { FAILURE_KEPT };
        known.retain(|_, (at, address)| at.elapsed() < kept(address));
        known.get(name).map(|(_, address)| *address)
    }

    fn keep(&self, name: String, address: Option<SocketAddr>) {
        let mut known = lock(&self.known);
        if known.len() < NAMES_KEPT_MAX {
            known.insert(name, (Instant::now(), address));
        }
    }
}

#[async_trait::async_trait]
impl DomainResolver for AckResolver {
    async fn resolve(&self, target: &SipAddr) -> rsipstack::Result<SipAddr> {
        let Host::Domain(domain) = &target.addr.host else { return Ok(target.clone()) };
        let transport = target.r#type.unwrap_or(StackTransport::Udp);
        let hop = NextHop {
            host: domain.0.clone(),
            port: target.addr.port.map(|port| port.0),
            transport: match transport {
                StackTransport::Tcp => Some(Transport::Tcp),
                StackTransport::Tls => Some(Transport::Tls),
                _ => Some(Transport::Udp),
            },
            secure: false,
            keep_alive: false,
            ordered: false,
        };
        let name = hop.to_string().to_ascii_lowercase();
        let address = match self.known(&name) {
            Some(known) => known,
            None => {
                let found = self.names.locate(hop.target(), 0).await.unwrap_or_default();
                let mut addresses = found.into_iter().map(|candidate| candidate.address);
                let is_ours =
                    |address: &SocketAddr| self.ours.iter().any(|o| o.is_ipv4() == address.is_ipv4());
                let found = addresses.find(is_ours);
                self.keep(name, found);
                found
            }
        };
        let address = address.ok_or(rsipstack::Error::DnsResolutionError(domain.0.clone()))?;
        Ok(sip_addr(transport, address))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The same for a connection that is only to carry what UDP could carry in pieces.
const MOVE_MAX: Duration = Duration::from_secs(2);
/// RFC 3261 §18.1.1: the path MTU is not known, so this is what a datagram may have.
const DATAGRAM_MAX: usize = 1300;
/// How long what failed comes last (RFC 3263 §4.3), and how long a name without address is not asked for again.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
/// How long a UDP peer that took no TCP connection is not asked for one again.
const NO_TCP_KEPT: Duration = Duration::from_secs(600);
/// Failures that are kept.
const FAILURES_KEPT_MAX: usize = 1024;
/// Peers that are pinged over UDP.
const PINGED_MAX: usize = 4096;
/// How long a looked-up name is taken as it is.
const NAME_KEPT: Duration = Duration::from_secs(60);
/// Names that are kept; further ones are looked up each time.
const NAMES_KEPT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> IpAddr {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_in_a_while() {
        let resolver = AckResolver::new(Arc::new(NameService::new(&[])), vec![loopback()]);
        let target = |name: &str| {
            let host_port = HostWithPort::try_from(name).expect("a host");
            SipAddr::new(StackTransport::Udp, host_port)
        };
        let found = resolver.resolve(&target("LOCALHOST:5070")).await.expect("every machine has it");
        assert_eq!(found.get_socketaddr().expect("an address"), "127.0.0.1:5070".parse().expect("valid"));
        assert_eq!(resolver.known("localhost:5070;transport=udp"), found.get_socketaddr().ok().map(Some));
        for number in 0..2 * NAMES_KEPT_MAX {
            resolver.keep(number.to_string(), None);
        }
        assert_eq!(lock(&resolver.known).len(), NAMES_KEPT_MAX);
    }

    #[test]
    fn the_route_names_the_local_address() {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5060);
        assert_eq!(source_towards(&[any], loopback()), Some(loopback()));
        assert_eq!(source_towards(&[any], IpAddr::V6(Ipv6Addr::LOCALHOST)), None, "no socket of that family");
        let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 5060);
        assert_eq!(source_towards(&[any, v6], v6.ip()), Some(v6.ip()));
    }

    #[test]
    fn failures_are_remembered_for_a_while_and_only_so_many() {
        let failures = Failures::default();
        let candidate =
            |port| Candidate { address: SocketAddr::new(loopback(), port), transport: Transport::Udp };
        failures.note(candidate(1), FAILURE_KEPT);
        failures.note(candidate(2), Duration::ZERO);
        assert!(failures.contains(&candidate(1)) && !failures.contains(&candidate(2)));
        for port in 0..2000 {
            failures.note(candidate(port), FAILURE_KEPT);
        }
        assert_eq!(lock(&failures.0).len(), FAILURES_KEPT_MAX);
    }

    #[test]
    fn a_peer_is_pinged_as_long_as_a_flow_to_it_is_held() {
        let pinged = Arc::new(Pinged::default());
        let remote = SocketAddr::new(loopback(), 5060);
        let (one, two) = (pinged.clone().begin(remote), pinged.clone().begin(remote));
        drop(one);
        assert_eq!(lock(&pinged.0).get(&remote), Some(&1));
        drop(two);
        assert!(lock(&pinged.0).is_empty());
    }
}
