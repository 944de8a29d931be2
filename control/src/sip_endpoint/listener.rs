//! Where peers reach us: UDP sockets, TCP and TLS listeners, for one address of each family.
//! Takes: settings. Gives: bound sockets; then serves who connects. Leaves out: serving a connection (`stream`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sipcast_sip::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::stream::{self, Limits, Streams};
use super::tls::Tls;
use super::{SipBindError, SipOptions};

/// All that is listened at.
pub(super) struct Listeners {
    /// The chief socket, and the one of the other address family.
    pub udp: (UdpSocket, Option<UdpSocket>),
    pub tcp: Vec<TcpListener>,
    pub tls: Vec<TcpListener>,
    /// Bound addresses of UDP, the chief one first.
    pub locals: Vec<SocketAddr>,
    pub tcp_port: Option<u16>,
    pub tls_port: Option<u16>,
}

impl Listeners {
    /// Binds what the settings ask for: every transport at the same port for both families.
    pub async fn bind(options: &SipOptions) -> Result<Self, SipBindError> {
        let failed = |address: IpAddr, port| move |source| SipBindError::Port { address, port, source };
        // With port 0 a port that is free for all is looked for.
        let mut attempts = if options.port == 0 { BIND_ATTEMPTS } else { 1 };
        let mut listeners = loop {
            attempts -= 1;
            match Self::bind_plain(options) {
                Ok(listeners) => break listeners,
                Err((address, source)) if attempts == 0 => return Err(failed(address, options.port)(source)),
                Err(_) => {}
            }
        };
        if options.tls.server_identity.is_some() {
            let mut port = options.tls.port;
            for local in listeners.locals.clone() {
                let listener =
                    tcp_listener(SocketAddr::new(local.ip(), port)).map_err(failed(local.ip(), port))?;
                port = listener.local_addr().map_err(failed(local.ip(), port))?.port();
                listeners.tls.push(listener);
            }
            listeners.tls_port = Some(port);
        }
        Ok(listeners)
    }

    /// UDP and TCP; an error with the address that it is about.
    fn bind_plain(options: &SipOptions) -> Result<Self, (IpAddr, io::Error)> {
        let at = |address: IpAddr| move |error| (address, error);
        let udp = udp_socket(SocketAddr::new(options.bind, options.port)).map_err(at(options.bind))?;
        let local = udp.local_addr().map_err(at(options.bind))?;
        let mut locals = vec![local];
        let mut second = None;
        if let Some(also) = options.bind_also.filter(|also| also.is_ipv4() != options.bind.is_ipv4()) {
            match udp_socket(SocketAddr::new(also, local.port())) {
                Ok(socket) => {
                    locals.push(SocketAddr::new(also, local.port()));
                    second = Some(socket);
                }
                // "All addresses of a family" is none on a machine without the family.
                Err(error) if also.is_unspecified() && lacks_family(&error) => {
                    tracing::debug!(%error, "this machine has no such address family; SIP uses the other alone");
                }
                Err(error) => return Err((also, error)),
            }
        }
        let mut tcp = Vec::new();
        if options.tcp {
            for local in &locals {
                tcp.push(tcp_listener(*local).map_err(at(local.ip()))?);
            }
        }
        let tcp_port = options.tcp.then_some(local.port());
        Ok(Self { udp: (udp, second), tcp, tls: Vec::new(), locals, tcp_port, tls_port: None })
    }
}

/// Serves who connects until the endpoint closes.
pub(super) async fn accept(
    listener: TcpListener,
    transport: Transport,
    tls: Arc<Tls>,
    streams: Arc<Streams>,
) {
    // Handshakes under way count as connections: who opens many and says nothing gains nothing by it.
    let handshakes = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
    loop {
        let accepted = tokio::select! {
            () = streams.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Beyond the bound a connection is closed at once.
            Ok(_) if streams.stack.transport_layer.connections_count() >= CONNECTIONS_MAX => {}
            Ok((stream, from)) => {
                let Ok(place) = handshakes.clone().try_acquire_owned() else { continue };
                let (tls, streams) = (tls.clone(), streams.clone());
                tokio::spawn(async move {
                    let _place = place;
                    if let Err(error) = adopt(stream, from, transport, &tls, &streams).await {
                        tracing::debug!(%from, %error, "SIP connection refused");
                    }
                });
            }
            // Out of descriptors, most likely: let others go first.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn adopt(
    stream: TcpStream,
    from: SocketAddr,
    transport: Transport,
    tls: &Tls,
    streams: &Arc<Streams>,
) -> io::Result<()> {
    stream::tune(&stream)?;
    if transport != Transport::Tls {
        streams.adopt(stream, from, transport, Limits::ACCEPTED).await?;
    } else if let Some(protected) = tls.accept(stream).await {
        streams.adopt(protected?, from, transport, Limits::ACCEPTED).await?;
    }
    Ok(())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // The other family has a socket of its own at the same port.
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // As every server: connections of a former life must not hold the port.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(socket(address, Type::DGRAM, Protocol::UDP)?.into())
}

fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn lacks_family(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// "Address family not supported by protocol", the same number on every Linux architecture that sipcast is built for.
const EAFNOSUPPORT: i32 = 97;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Stream connections, accepted and dialled; a further one that arrives is closed.
const CONNECTIONS_MAX: usize = 2048;
/// TLS handshakes of peers under way at one listener.
const HANDSHAKES_MAX: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
const BIND_ATTEMPTS: u32 = 16;
