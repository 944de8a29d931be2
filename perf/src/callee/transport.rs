//! The callee's SIP transport: one UDP socket, or a TCP listener with its connections (RFC 3261 §18).
//! Takes: datagrams and streams. Gives: whole messages to the user agent, its octets to the network.
//! Leaves out: what messages mean (`user_agent`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::message::{MESSAGE_LEN_MAX, framed_len};
use super::user_agent::{Peer, UserAgent};

/// TCP connections at once; further ones are closed at once.
const CONNECTIONS_MAX: usize = 4_096;
/// Messages waiting for one connection's writer; a peer that reads no more loses the connection.
const WRITES_MAX: usize = 256;
/// How long the BYEs of a shutdown may wait for their answers.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// How long to sleep when nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// Where messages come in.
pub(super) enum Endpoint {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Endpoint {
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(listener) => listener.local_addr(),
        }
    }
}

enum Inbound {
    Message(Peer, Vec<u8>),
    Closed(u64),
}

/// Serves until `stop`, then hangs up, waits for the answers a little, and closes the media.
pub(super) async fn serve(endpoint: Endpoint, mut agent: UserAgent, stop: CancellationToken) {
    let endpoint = Arc::new(endpoint);
    let (inbound, mut messages) = mpsc::channel(256);
    let mut writers: HashMap<u64, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut next_connection = 0;
    let mut datagram = vec![0; MESSAGE_LEN_MAX];
    let mut farewell: Option<Instant> = None;
    loop {
        let now = Instant::now();
        while let Some((peer, octets)) = agent.poll_transmit() {
            send(&endpoint, &writers, peer, octets).await;
        }
        if farewell.is_some_and(|until| agent.is_quiet() || until <= now) {
            break;
        }
        let due = agent.next_timeout().unwrap_or(now + IDLE);
        let due = farewell.map_or(due, |until| due.min(until));
        tokio::select! {
            () = stop.cancelled(), if farewell.is_none() => {
                farewell = Some(Instant::now() + FAREWELL_MAX);
                agent.hang_up_all(Instant::now());
            }
            received = receive(&endpoint, &mut datagram) => match received {
                Some(Received::Datagram(len, from)) => {
                    agent.handle_message(&datagram[..len], Peer::Udp(from), Instant::now());
                }
                Some(Received::Connection(stream, from)) if writers.len() < CONNECTIONS_MAX => {
                    next_connection += 1;
                    let (writer, queue) = mpsc::channel(WRITES_MAX);
                    writers.insert(next_connection, writer);
                    tokio::spawn(converse(stream, from, next_connection, inbound.clone(), queue, stop.clone()));
                }
                // A refused connection closes as it drops; a failed receive is retried after the error passed.
                Some(Received::Connection(..)) => {}
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(message) = messages.recv() => match message {
                Inbound::Message(peer, octets) => agent.handle_message(&octets, peer, Instant::now()),
                Inbound::Closed(connection) => { writers.remove(&connection); }
            },
            () = tokio::time::sleep_until(due.into()) => agent.handle_timeout(Instant::now()),
        }
    }
    if tokio::task::spawn_blocking(move || agent.close()).await.is_err() {
        tracing::error!("the callee's media did not close");
    }
}

enum Received {
    Datagram(usize, SocketAddr),
    Connection(TcpStream, SocketAddr),
}

async fn receive(endpoint: &Endpoint, datagram: &mut [u8]) -> Option<Received> {
    match endpoint {
        Endpoint::Udp(socket) => {
            socket.recv_from(datagram).await.ok().map(|(len, from)| Received::Datagram(len, from))
        }
        Endpoint::Tcp(listener) => {
            listener.accept().await.ok().map(|(stream, from)| Received::Connection(stream, from))
        }
    }
}

async fn send(
    endpoint: &Endpoint,
    writers: &HashMap<u64, mpsc::Sender<Vec<u8>>>,
    peer: Peer,
    octets: Vec<u8>,
) {
    match (peer, endpoint) {
        (Peer::Udp(to), Endpoint::Udp(socket)) => {
            if let Err(error) = socket.send_to(&octets, to).await {
                tracing::debug!(%error, "datagram not sent, retransmission is the cure");
            }
        }
        (Peer::Tcp(connection, _), _) => {
            if let Some(writer) = writers.get(&connection) {
                let _ = writer.try_send(octets);
            }
        }
        (Peer::Udp(_), Endpoint::Tcp(_)) => {}
    }
}

/// One TCP connection: reads messages, writes what the user agent gives.
async fn converse(
    mut stream: TcpStream,
    from: SocketAddr,
    connection: u64,
    inbound: mpsc::Sender<Inbound>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.split();
    let mut buffer: Vec<u8> = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        tokio::select! {
            read = reader.read(&mut chunk) => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => buffer.extend_from_slice(&chunk[..len]),
            },
            written = queue.recv() => match written {
                Some(octets) if writer.write_all(&octets).await.is_ok() => continue,
                _ => break,
            },
        }
        // RFC 5626 §3.5.1: CRLFs between messages are keep-alives.
        let blank = buffer.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        buffer.drain(..blank);
        let mut broken = false;
        loop {
            match framed_len(&buffer) {
                Ok(Some(len)) => {
                    let octets = buffer.drain(..len).collect();
                    if inbound.send(Inbound::Message(Peer::Tcp(connection, from), octets)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                // RFC 3261 §18.3: without a length there is no next message.
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        if broken {
            break;
        }
    }
    if !stop.is_cancelled() {
        let _ = inbound.send(Inbound::Closed(connection)).await;
    }
}
