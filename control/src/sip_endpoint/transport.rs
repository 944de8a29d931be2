//! Sockets below the SIP stack: UDP, TCP listener, TCP dialling, name resolution, local addresses (RFC 3261 §18).
//! Takes: bind address, next hops. Gives: [`Flow`]s that transactions are sent on, and the stack's incoming requests.
//! Leaves out: transactions (`transaction`), which requests are let in (`admission`), serving a connection (`stream`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rsipstack::EndpointBuilder;
use rsipstack::platform::net::UdpSocket as StackUdpSocket;
use rsipstack::sip::{Host, HostWithPort, Transport as StackTransport, Uri};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transaction::endpoint::{EndpointInnerRef, EndpointOption};
use rsipstack::transport::transport_layer::DomainResolver;
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportLayer};
use sipcast_sip::Transport;
use sipcast_sip::uri::Addresses;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::SipOptions;
use super::admission::{Admission, Inspector, Screening, TokenBucket, screen};
use super::stream::{Limits, Streams};

/// Default SIP port (RFC 3261 §19.1.2).
pub(super) const SIP_PORT: u16 = 5060;

/// Why a next hop could not be reached. Holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error("{0} has no address that the SIP socket can reach")]
    NoAddress(String),
    #[error("looking up {host} failed: {error}")]
    Lookup { host: String, error: String },
    #[error("connecting to {address} failed: {error}")]
    Connect { address: SocketAddr, error: String },
}

/// Where a request goes next.
#[derive(Clone, Debug)]
pub(super) struct NextHop {
    pub host: String,
    pub port: u16,
    pub transport: Transport,
}

impl NextHop {
    /// Where an account's first request goes.
    pub fn first(addresses: &Addresses) -> Self {
        Self {
            host: addresses.next_hop.host.to_string(),
            port: addresses.next_hop.port.unwrap_or(SIP_PORT),
            transport: addresses.transport,
        }
    }

    /// The address, if the host is one.
    pub fn literal(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// From the topmost Route or the Request-URI (RFC 3261 §8.1.2).
    pub fn from_uri(uri: &Uri) -> Self {
        let transport = match rsipstack::sip::uri::ParamsExt::transport(uri) {
            Some(StackTransport::Tcp) => Transport::Tcp,
            _ => Transport::Udp,
        };
        Self {
            host: uri.host_with_port.host.to_string(),
            port: uri.host_with_port.port.map_or(SIP_PORT, |port| port.0),
            transport,
        }
    }
}

/// One way to a peer: a socket of ours and an address of theirs.
#[derive(Clone)]
pub(super) struct Flow {
    pub connection: SipConnection,
    pub destination: SipAddr,
    pub transport: Transport,
    /// What Via and Contact say: where the peer reaches us.
    pub local: SocketAddr,
}

impl Flow {
    /// Ends when a stream connection is gone; never for UDP.
    pub async fn closed(&self) {
        match (self.transport, self.connection.cancel_token()) {
            (Transport::Tcp, Some(token)) => token.cancelled().await,
            _ => std::future::pending().await,
        }
    }

    fn is_open(&self) -> bool {
        self.transport == Transport::Udp
            || self.connection.cancel_token().is_none_or(|token| !token.is_cancelled())
    }
}

/// The endpoint's sockets and the stack on top of them.
pub(super) struct Network {
    pub stack: EndpointInnerRef,
    udp: SipConnection,
    local: SocketAddr,
    advertised: Option<IpAddr>,
    dialled: Mutex<HashMap<SocketAddr, SipConnection>>,
    streams: Arc<Streams>,
}

impl Network {
    /// Binds and starts the stack. The second value yields requests from peers.
    pub async fn bind(
        options: &SipOptions,
        admission: Admission,
        closing: CancellationToken,
    ) -> io::Result<(Self, TransactionReceiver)> {
        let (socket, listener) = bind_sockets(options.bind, options.port, options.tcp).await?;
        let local = socket.local_addr()?;
        let layer = TransportLayer::new_with_domain_resolver(
            closing.clone(),
            Box::new(SystemResolver::new(options.bind)),
        );
        let admission = Arc::new(admission);
        let udp = UdpConnection::from_socket(
            Arc::new(ScreenedSocket {
                socket,
                user_agent: options.user_agent.clone(),
                answers: Mutex::new(TokenBucket::new(STATELESS_ANSWERS_PER_S, STATELESS_ANSWERS_PER_S)),
            }),
            None,
            Some(closing.child_token()),
        )
        .await
        .map_err(io::Error::other)?;
        let udp = SipConnection::Udp(udp);
        layer.add_transport(udp.clone());
        let endpoint = EndpointBuilder::new()
            .with_user_agent(&options.user_agent)
            .with_transport_layer(layer)
            .with_cancel_token(closing.clone())
            .with_transport_inspector(Box::new(Inspector(admission.clone())))
            .with_option(EndpointOption {
                t1: options.t1,
                t1x64: options.t1 * 64,
                // Our own ring timeout cancels first; the stack's only guards against a lost task.
                timerc: options.ring_timeout + options.t1 * 128,
                ..EndpointOption::default()
            })
            .build();
        let incoming = endpoint.incoming_transactions().map_err(io::Error::other)?;
        let stack = endpoint.inner.clone();
        tokio::spawn(async move { endpoint.serve().await });
        let user_agent = options.user_agent.clone();
        let streams = Arc::new(Streams { stack: stack.clone(), admission, user_agent, closing });
        if let Some(listener) = listener {
            tokio::spawn(accept(listener, streams.clone()));
        }
        let network = Self {
            stack,
            udp,
            local,
            advertised: options.advertised_address,
            dialled: Mutex::default(),
            streams,
        };
        Ok((network, incoming))
    }

    /// The bound address; unspecified if bound to all.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address peers near `remote` reach us at.
    pub fn address_towards(&self, remote: IpAddr) -> IpAddr {
        if let Some(advertised) = self.advertised {
            return advertised;
        }
        if !self.local.ip().is_unspecified() {
            return self.local.ip();
        }
        route_source(self.local.ip(), remote).unwrap_or(self.local.ip())
    }

    /// Address to use when the peer's is not known yet.
    pub fn default_address(&self) -> IpAddr {
        // Documentation addresses (RFC 5737, RFC 3849): no packet is sent, only the default route is asked for.
        let anywhere = match self.local.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        self.address_towards(anywhere)
    }

    /// Addresses of `host` that our socket can reach, at least one.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Unreachable> {
        resolve(self.local.ip(), host, port).await
    }

    /// A flow to `hop`: the UDP socket, or a TCP connection, shared by all calls to that address.
    pub async fn flow(&self, hop: &NextHop) -> Result<Flow, Unreachable> {
        let addresses = self.resolve(&hop.host, hop.port).await?;
        match hop.transport {
            Transport::Udp => Ok(self.udp_flow(addresses[0])),
            Transport::Tcp => self.tcp_flow(&addresses).await,
        }
    }

    /// A flow for a request inside a dialog. A live stream connection is kept, whatever the peer's Contact says: it
    /// is the one way that is known to pass NATs (RFC 5626 §4.3 in spirit, RFC 5923).
    pub async fn flow_within(&self, hop: &NextHop, current: &Flow) -> Flow {
        if current.transport == Transport::Tcp && current.is_open() {
            return current.clone();
        }
        match self.flow(hop).await {
            Ok(flow) => flow,
            Err(_) => current.clone(),
        }
    }

    fn udp_flow(&self, remote: SocketAddr) -> Flow {
        Flow {
            connection: self.udp.clone(),
            destination: sip_addr(StackTransport::Udp, remote),
            transport: Transport::Udp,
            local: SocketAddr::new(self.address_towards(remote.ip()), self.local.port()),
        }
    }

    fn tcp_over(&self, remote: SocketAddr, connection: SipConnection) -> Flow {
        Flow {
            connection,
            destination: sip_addr(StackTransport::Tcp, remote),
            transport: Transport::Tcp,
            local: SocketAddr::new(self.address_towards(remote.ip()), self.local.port()),
        }
    }

    async fn tcp_flow(&self, addresses: &[SocketAddr]) -> Result<Flow, Unreachable> {
        if let Some(flow) = addresses.iter().find_map(|address| self.dialled_flow(*address)) {
            return Ok(flow);
        }
        let mut last = None;
        for &address in addresses {
            match self.dial(address).await {
                Ok(connection) => return Ok(self.tcp_over(address, connection)),
                Err(error) => last = Some(Unreachable::Connect { address, error: error.to_string() }),
            }
        }
        Err(last.expect("resolve() yields at least one address"))
    }

    fn dialled_flow(&self, remote: SocketAddr) -> Option<Flow> {
        let mut dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        dialled.retain(|_, connection| connection.cancel_token().is_none_or(|token| !token.is_cancelled()));
        dialled.get(&remote).map(|connection| self.tcp_over(remote, connection.clone()))
    }

    async fn dial(&self, remote: SocketAddr) -> io::Result<SipConnection> {
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(remote))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let connection = self.streams.adopt(stream, Limits::DIALLED).await?;
        let mut dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        dialled.insert(remote, connection.clone());
        Ok(connection)
    }
}

async fn accept(listener: TcpListener, streams: Arc<Streams>) {
    loop {
        let accepted = tokio::select! {
            () = streams.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Beyond the bound a connection is closed at once.
            Ok(_) if streams.stack.transport_layer.connections_count() >= CONNECTIONS_MAX => {}
            Ok((stream, _)) => {
                if let Err(error) = streams.adopt(stream, Limits::ACCEPTED).await {
                    tracing::debug!(%error, "SIP connection refused");
                }
            }
            // Out of descriptors, most likely: let others go first.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Binds UDP and, at the same port, TCP. With port 0 a pair that is free for both is looked for.
async fn bind_sockets(address: IpAddr, port: u16, tcp: bool) -> io::Result<(UdpSocket, Option<TcpListener>)> {
    let mut attempts = if port == 0 { BIND_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let socket = UdpSocket::bind((address, port)).await?;
        if !tcp {
            return Ok((socket, None));
        }
        match TcpListener::bind(socket.local_addr()?).await {
            Ok(listener) => return Ok((socket, Some(listener))),
            Err(error) if attempts == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// The source address the kernel picks for `remote`.
fn route_source(any: IpAddr, remote: IpAddr) -> Option<IpAddr> {
    let probe = std::net::UdpSocket::bind((any, 0)).ok()?;
    probe.connect((remote, SIP_PORT)).ok()?;
    let source = probe.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

async fn resolve(ours: IpAddr, host: &str, port: u16) -> Result<Vec<SocketAddr>, Unreachable> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let lookup = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, port)));
    let found = match lookup.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            return Err(Unreachable::Lookup { host: host.to_owned(), error: error.to_string() });
        }
        Err(_) => {
            return Err(Unreachable::Lookup { host: host.to_owned(), error: "no answer in time".into() });
        }
    };
    let addresses: Vec<_> =
        found.filter(|address| address.is_ipv4() == ours.is_ipv4()).take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(Unreachable::NoAddress(host.to_owned()));
    }
    Ok(addresses)
}

pub(super) fn sip_addr(transport: StackTransport, address: SocketAddr) -> SipAddr {
    SipAddr::new(transport, HostWithPort::from(address))
}

/// Names in Route and Contact headers, for the one request that the stack addresses itself: the ACK of a 2xx. The stack
/// asks again for each repeated 2xx, and from the one task that takes every datagram, so the answers are kept for a
/// while: a name service that is slow, or a name chosen to be, must not stall other calls.
struct SystemResolver {
    ours: IpAddr,
    known: Mutex<HashMap<(String, u16), LookedUp>>,
}

/// When a name was looked up, and its address if it had one.
type LookedUp = (Instant, Option<SocketAddr>);

impl SystemResolver {
    fn new(ours: IpAddr) -> Self {
        Self { ours, known: Mutex::default() }
    }

    /// `None`: not asked lately.
    fn known(&self, name: &(String, u16)) -> Option<Option<SocketAddr>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = |address: &Option<SocketAddr>| if address.is_some() { NAME_KEPT } else { FAILURE_KEPT };
        known.retain(|_, (at, address)| at.elapsed() < kept(address));
        known.get(name).map(|(_, address)| *address)
    }

    fn keep(&self, name: (String, u16), address: Option<SocketAddr>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < NAMES_KEPT_MAX {
            known.insert(name, (Instant::now(), address));
        }
    }
}

#[async_trait::async_trait]
impl DomainResolver for SystemResolver {
    async fn resolve(&self, target: &SipAddr) -> rsipstack::Result<SipAddr> {
        let Host::Domain(domain) = &target.addr.host else { return Ok(target.clone()) };
        let name = (domain.0.to_ascii_lowercase(), target.addr.port.map_or(SIP_PORT, |port| port.0));
        let address = match self.known(&name) {
            Some(known) => known,
            None => {
                let found = resolve(self.ours, &name.0, name.1).await.ok().map(|addresses| addresses[0]);
                self.keep(name.clone(), found);
                found
            }
        };
        let address = address.ok_or(rsipstack::Error::DnsResolutionError(name.0))?;
        Ok(sip_addr(target.r#type.unwrap_or(StackTransport::Udp), address))
    }
}

/// The UDP socket with a gate in front of the stack's parser.
struct ScreenedSocket {
    socket: UdpSocket,
    user_agent: String,
    /// Stateless answers cost nothing, yet must not make us a reflector for forged source addresses.
    answers: Mutex<TokenBucket>,
}

#[async_trait::async_trait]
impl StackUdpSocket for ScreenedSocket {
    async fn recv_from(&self, buffer: &mut [u8]) -> rsipstack::Result<(usize, SocketAddr)> {
        loop {
            let (length, from) = match self.socket.recv_from(buffer).await {
                Ok(received) => received,
                Err(_) => {
                    // The stack would ask again at once and spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if length == buffer.len() {
                continue; // Cut off by the kernel: not a whole message.
            }
            match screen(&buffer[..length], from, &self.user_agent) {
                Screening::Pass => return Ok((length, from)),
                Screening::Drop => {}
                Screening::Answer(answer) => {
                    let within_rate = self.answers.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if within_rate {
                        let _ = self.socket.send_to(&answer, from).await;
                    }
                }
            }
        }
    }

    async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> rsipstack::Result<usize> {
        Ok(self.socket.send_to(datagram, to).await?)
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}

const LOOKUP_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Stream connections, accepted and dialled; a further one that arrives is closed.
const CONNECTIONS_MAX: usize = 2048;
/// Stateless 501 and 505 answers; beyond it such datagrams are dropped.
const STATELESS_ANSWERS_PER_S: f64 = 20.0;
const BIND_ATTEMPTS: u32 = 16;
/// How long a looked-up name is taken as it is.
const NAME_KEPT: Duration = Duration::from_secs(60);
/// How long a name without address is not asked for again.
const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// Names that are kept; further ones are looked up each time.
const NAMES_KEPT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_once_in_a_while() {
        let resolver = SystemResolver::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let target = |name: &str| {
            let host_port = HostWithPort::try_from(name).expect("a host");
            SipAddr::new(StackTransport::Udp, host_port)
        };
        let found = resolver.resolve(&target("LOCALHOST:5070")).await.expect("every machine has it");
        assert_eq!(found.get_socketaddr().expect("an address"), "127.0.0.1:5070".parse().expect("valid"));
        assert!(resolver.resolve(&target("-none-.invalid")).await.is_err());
        assert_eq!(resolver.known(&("localhost".to_owned(), 5070)), found.get_socketaddr().ok().map(Some));
        assert_eq!(resolver.known(&("-none-.invalid".to_owned(), SIP_PORT)), Some(None));
        for number in 0..2 * NAMES_KEPT_MAX {
            resolver.keep((number.to_string(), 1), None);
        }
        assert_eq!(resolver.known.lock().expect("sound").len(), NAMES_KEPT_MAX);
    }

    #[test]
    fn the_route_names_the_local_address() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(route_source(any, loopback), Some(loopback));
    }

    #[test]
    fn a_next_hop_is_read_from_a_uri() {
        let uri = Uri::try_from("sip:a@[::1]:5070;transport=TCP;lr").expect("a URI");
        let hop = NextHop::from_uri(&uri);
        assert_eq!((hop.literal(), hop.port, hop.transport), ("::1".parse().ok(), 5070, Transport::Tcp));
        let hop = NextHop::from_uri(&Uri::try_from("sip:pbx.example").expect("a URI"));
        assert_eq!((hop.literal(), hop.port, hop.transport), (None, SIP_PORT, Transport::Udp));
    }

    #[tokio::test]
    async fn only_addresses_that_the_socket_reaches_count() {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(resolve(v4, "[::1]", 5060).await.is_err());
        assert_eq!(
            resolve(v4, "127.0.0.1", 5070).await.expect("itself"),
            ["127.0.0.1:5070".parse().expect("address")]
        );
    }
}
