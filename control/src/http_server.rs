//! Serves HTTP on listening sockets, with and without TLS, within limits.
//! Takes: a listener, a router. Gives: connections served, each limited in headers and time; what is over the limits of
//! connections is closed at once and counted.
//! Leaves out: what is asked (`rest`), who may ask (`faces`), binding (the process).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use sipcast_trust::{FileError, FromFiles, Identity};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::faces::{FaceLimits, Faces, Peer, RefusalCause, network};

/// A certificate and its key for HTTPS and gRPC.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    identity: Arc<Identity>,
}

impl ServerTls {
    /// Reads both PEM files: the chain with the own certificate first, and its key without pass phrase.
    ///
    /// # Errors
    /// [`FileError`] naming the file.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, FileError> {
        let identity = Arc::new(Identity::load(certificate, key)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has suites of TLS 1.2 and 1.3");
        let mut config = builder.with_no_client_auth().with_cert_resolver(identity.clone());
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), identity })
    }

    /// The files, to be read again while connections are served.
    pub fn files(&self) -> Arc<dyn FromFiles> {
        self.identity.clone()
    }
}

/// Who is connected, over all listeners of the process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connections {
    all: Arc<Semaphore>,
    per_peer_max: usize,
    peers: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The place of one connection.
pub(crate) struct Place {
    peer: IpAddr,
    peers: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _place: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(limits: &FaceLimits) -> Self {
        let all = Arc::new(Semaphore::new(limits.connections_max));
        Self { all, per_peer_max: limits.connections_per_peer_max, peers: Arc::default() }
    }

    fn admit(&self, peer: IpAddr) -> Option<Place> {
        let peer = network(peer);
        let place = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_insert(0);
        if *count >= self.per_peer_max {
            return None;
        }
        *count += 1;
        Some(Place { peer, peers: Arc::clone(&self.peers), _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// Takes the next connection that there is a place for.
async fn accept(
    listener: &TcpListener,
    connections: &Connections,
    faces: &Faces,
) -> (TcpStream, SocketAddr, Place) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match connections.admit(peer.ip()) {
                Some(place) => {
                    close_when_dead(&stream);
                    return (stream, peer, place);
                }
                None => faces.count(RefusalCause::Connections),
            },
            // Out of descriptors or memory, or the peer is gone again: a pause keeps the loop from spinning.
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Lets the kernel close a connection whose client takes nothing or is gone: a player's body is written for ever,
/// and HTTP itself has no time limit for that.
fn close_when_dead(socket: &TcpStream) {
    let socket = SockRef::from(socket);
    let keep_alive = TcpKeepalive::new().with_time(IDLE).with_interval(PROBE_INTERVAL);
    let set = socket
        .set_tcp_user_timeout(Some(STALL_MAX))
        .and_then(|()| socket.set_tcp_keepalive(&keep_alive))
        // A player's tags must not wait for the next ones.
        .and_then(|()| socket.set_tcp_nodelay(true));
    if let Err(error) = set {
        tracing::debug!(%error, "an HTTP connection keeps the system's time limits");
    }
}

async fn protect(tls: &ServerTls, stream: TcpStream, faces: &Faces) -> Option<TlsStream<TcpStream>> {
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        _ => {
            faces.count(RefusalCause::TlsHandshake);
            None
        }
    }
}

/// Serves HTTP until `stopped` is ready. Connections that are open then are dropped: players and pollers keep theirs
/// for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<ServerTls>,
    limits: FaceLimits,
    connections: Connections,
    faces: Arc<crate::broadcast::Shared>,
    stopped: impl Future<Output = ()>,
) {
    let mut open = tokio::task::JoinSet::new();
    tokio::pin!(stopped);
    loop {
        let (stream, peer, place) = tokio::select! {
            accepted = accept(&listener, &connections, &faces.faces) => accepted,
            Some(_) = open.join_next() => continue,
            () = &mut stopped => return,
        };
        let (router, tls, limits, faces) = (router.clone(), tls.clone(), limits.clone(), Arc::clone(&faces));
        open.spawn(async move {
            let _place = place;
            let Some(tls) = tls else { return speak_1(stream, router, peer, &limits).await };
            let Some(stream) = protect(&tls, stream, &faces.faces).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(H2) {
                speak_2(stream, router, peer, &limits).await;
            } else {
                speak_1(stream, router, peer, &limits).await;
            }
        });
    }
}

async fn speak_1<T>(io: T, router: Router, peer: SocketAddr, limits: &FaceLimits)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_wait_max)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_MIN));
    let service = hyper::service::service_fn(move |request| ask(router.clone(), request, peer));
    // How a connection ends is its client's affair.
    let _ = builder.serve_connection(TokioIo::new(io), service).with_upgrades().await;
}

async fn speak_2<T>(io: T, router: Router, peer: SocketAddr, limits: &FaceLimits)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .keep_alive_interval(PROBE_INTERVAL)
        .keep_alive_timeout(PROBE_INTERVAL);
    let service = hyper::service::service_fn(move |request| ask(router.clone(), request, peer));
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}

fn ask(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> impl Future<Output = Result<axum::response::Response, std::convert::Infallible>> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer.ip()));
    router.oneshot(request)
}

/// A connection for gRPC, which holds its place.
pub(crate) struct GrpcConnection {
    io: GrpcIo,
    peer: SocketAddr,
    _place: Place,
}

enum GrpcIo {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connections for gRPC as they come, until the receiver is dropped.
pub(crate) fn grpc_connections(
    listener: TcpListener,
    tls: Option<ServerTls>,
    connections: Connections,
    faces: Arc<crate::broadcast::Shared>,
) -> mpsc::Receiver<io::Result<GrpcConnection>> {
    let (out, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (stream, peer, place) = tokio::select! {
                accepted = accept(&listener, &connections, &faces.faces) => accepted,
                () = out.closed() => return,
            };
            let (out, tls, faces) = (out.clone(), tls.clone(), Arc::clone(&faces));
            // Apart, so that a slow handshake keeps nobody else waiting.
            tokio::spawn(async move {
                let io = match tls {
                    None => GrpcIo::Plain(stream),
                    Some(tls) => match protect(&tls, stream, &faces.faces).await {
                        Some(stream) => GrpcIo::Tls(Box::new(stream)),
                        None => return,
                    },
                };
                // Nobody takes it when the server has ended.
                let _ = out.send(Ok(GrpcConnection { io, peer, _place: place })).await;
            });
        }
    });
    incoming
}

impl tonic::transport::server::Connected for GrpcConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.peer.ip())
    }
}

impl AsyncRead for GrpcConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            GrpcIo::Plain(io) => Pin::new(io).poll_read(context, buffer),
            GrpcIo::Tls(io) => Pin::new(io).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for GrpcConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            GrpcIo::Plain(io) => Pin::new(io).poll_write(context, bytes),
            GrpcIo::Tls(io) => Pin::new(io).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            GrpcIo::Plain(io) => Pin::new(io).poll_flush(context),
            GrpcIo::Tls(io) => Pin::new(io).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            GrpcIo::Plain(io) => Pin::new(io).poll_shutdown(context),
            GrpcIo::Tls(io) => Pin::new(io).poll_shutdown(context),
        }
    }
}

/// ALPN of HTTP/2.
const H2: &[u8] = b"h2";

/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client may leave what was sent to it unacknowledged, or its window shut (TCP_USER_TIMEOUT).
const STALL_MAX: Duration = Duration::from_secs(30);

/// Silence after which a client is asked whether it is still there, and how often.
const IDLE: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a buffer, below which hyper panics.
const BUFFER_MIN: usize = 8192;

/// Requests at the same time over one HTTP/2 connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;

/// Streams that a client may have opened and reset before they were looked at (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn an_accepted_socket_has_time_limits() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let _client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
        let (stream, _) = listener.accept().await.expect("a client");
        close_when_dead(&stream);
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_user_timeout().expect("open"), Some(STALL_MAX));
        assert!(socket.keepalive().expect("open") && socket.tcp_nodelay().expect("open"));
        assert_eq!(socket.tcp_keepalive_time().expect("open"), IDLE);
    }

    #[test]
    fn connections_are_limited_in_all_and_per_peer() {
        let limits = FaceLimits { connections_max: 3, connections_per_peer_max: 2, ..FaceLimits::default() };
        let connections = Connections::new(&limits);
        let from = |text: &str| connections.admit(text.parse().expect("an address"));
        let (a, b) = (from("192.0.2.1"), from("192.0.2.1"));
        assert!(a.is_some() && b.is_some() && from("192.0.2.1").is_none());
        let c = from("192.0.2.2");
        assert!(c.is_some() && from("192.0.2.3").is_none(), "three in all");
        drop((a, b));
        assert!(from("192.0.2.1").is_some());
        drop(c);
        assert!(connections.peers.lock().expect("sound").is_empty());
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let error = ServerTls::load("/nonexistent/cert.pem".into(), "/nonexistent/key.pem".into());
        assert!(error.err().is_some_and(|e| e.to_string().contains("/nonexistent/cert.pem: cannot be read")));
    }
}
