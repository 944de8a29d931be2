//! SIP over TCP and TLS: one task per connection between the socket and the stack (RFC 3261 §18).
//! Takes: connected sockets. Gives: messages to the stack, its answers to the peer, a connection that the stack knows.
//! Leaves out: where messages begin and end (`framing`), which may pass (`admission`), dialling and listening
//! (`transport`), protecting (`tls`).
//!
//! The stack would serve the socket itself. It would then write from the one task that serves every call, so that a
//! peer that does not read stalls them all; it never sets `TCP_NODELAY`; and see `framing`. So to the stack each
//! connection is a channel. What is bounded here: what a peer makes us keep in either direction, and for how long a
//! connection may be silent or a message incomplete.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{SipMessage, Transport as StackTransport};
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use sipcast_sip::Transport;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Screening, refusal, screen};
use super::framing::{Frame, Framer, Unframable};
use super::transport::{sip_addr, stack_transport};

/// What all connections of an endpoint share.
pub(super) struct Streams {
    pub stack: EndpointInnerRef,
    pub admission: Arc<Admission>,
    pub user_agent: String,
    pub closing: CancellationToken,
}

impl Streams {
    /// Serves a connection to `from` within `limits`; `stream` is its socket, or TLS over it.
    pub async fn adopt(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        from: SocketAddr,
        transport: Transport,
        limits: Limits,
    ) -> io::Result<SipConnection> {
        let remote = sip_addr(stack_transport(transport), from);
        let token = self.closing.child_token();
        let (to_peer, answers) = mpsc::unbounded_channel();
        // Nothing is ever sent over it: the stack waits on it for the connection's end.
        let (alive, incoming) = mpsc::unbounded_channel();
        let connection =
            ChannelConnection::create_connection(incoming, to_peer, remote.clone(), Some(token.clone()))
                .await
                .map_err(io::Error::other)?;
        let connection = SipConnection::Channel(connection);
        self.stack.transport_layer.add_connection(connection.clone());
        let entrance = Entrance {
            streams: self.clone(),
            connection: connection.clone(),
            remote,
            from,
            transport: stack_transport(transport),
        };
        tokio::spawn(async move {
            // Also should the task panic: who waits for the connection must not wait for ever.
            let _ends_with_this_task = (token.clone().drop_guard(), alive);
            tokio::select! {
                () = token.cancelled() => {}
                () = serve(entrance, stream, answers, limits) => {}
            }
        });
        Ok(connection)
    }
}

/// What a connection may cost.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Without a byte for this long it is closed.
    pub idle_max: Duration,
    /// Messages that wait while the peer reads nothing; with more it is closed.
    pub waiting_max: usize,
    /// How often the peer is pinged (RFC 5626 §3.5.1); `None`: never.
    pub keep_alive: Option<Duration>,
}

impl Limits {
    /// Connections of ours carry our calls. A dialog may be silent between two session refreshes, and dead peers are
    /// found by TCP keep-alive; each of a thousand calls may send an INVITE at once.
    pub const DIALLED: Self =
        Self { idle_max: Duration::from_secs(4 * 3600), waiting_max: 8192, keep_alive: None };
    /// A peer that called us calls again when it has something to say; strangers must not fill memory, nor the number
    /// of connections.
    pub const ACCEPTED: Self = Self { idle_max: Duration::from_secs(300), waiting_max: 64, keep_alive: None };
}

async fn serve(
    entrance: Entrance,
    stream: impl AsyncRead + AsyncWrite + Send,
    answers: mpsc::UnboundedReceiver<TransportEvent>,
    limits: Limits,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (own, own_answers) = mpsc::channel(OWN_ANSWERS_WAITING_MAX);
    let writing = write_out(writer, answers, own_answers, limits.waiting_max);
    tokio::pin!(writing);
    tokio::select! {
        () = &mut writing => {}
        () = read_in(entrance, reader, own, limits) => {
            // A refusal may be on its way.
            let _ = timeout(FLUSH_MAX, writing).await;
        }
    }
}

/// Our pings to one peer (RFC 5626 §4.4.1). A peer that has answered one and then leaves one unanswered is dead; peers
/// that never answer one know no pings, and TCP alone finds them dead.
#[derive(Debug)]
struct Pinger {
    interval: Option<Duration>,
    next: Option<Instant>,
    /// Until when the answer to the ping that is out has to come.
    answer_until: Option<Instant>,
    /// The peer answered a ping before.
    peer_answers: bool,
}

impl Pinger {
    fn new(interval: Option<Duration>, now: Instant) -> Self {
        Self {
            interval,
            next: interval.map(|interval| now + interval),
            answer_until: None,
            peer_answers: false,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    fn next_timeout(&self) -> Option<Instant> {
        self.answer_until.or(self.next)
    }

    /// Whether to send a ping now.
    ///
    /// # Errors
    /// [`Dead`]: the peer owes an answer.
    fn handle_timeout(&mut self, now: Instant) -> Result<bool, Dead> {
        if self.answer_until.is_some_and(|until| now >= until) {
            if self.peer_answers {
                return Err(Dead);
            }
            self.answer_until = None;
            return Ok(false);
        }
        if self.next.is_none_or(|next| now < next) {
            return Ok(false);
        }
        self.answer_until = Some(now + PONG_MAX);
        self.next = self.interval.map(|interval| now + interval);
        Ok(true)
    }

    /// Bytes came, `is_pong`: a lone line end. Whoever sends is alive.
    fn handle_input(&mut self, is_pong: bool, now: Instant) {
        self.peer_answers |= is_pong && self.answer_until.is_some();
        self.answer_until = None;
        self.next = self.interval.map(|interval| now + interval);
    }
}

/// A peer that answered pings does so no more.
#[derive(Debug)]
struct Dead;

/// Reads until the peer closes, talks no SIP, is dead, or is silent for too long. Waits while our own answers wait.
async fn read_in(
    entrance: Entrance,
    mut reader: impl AsyncRead + Unpin,
    own: mpsc::Sender<Vec<u8>>,
    limits: Limits,
) {
    let Limits { idle_max, keep_alive, .. } = limits;
    let mut framer = Framer::default();
    let mut chunk = vec![0; READ_MAX];
    let mut until = Instant::now() + idle_max;
    let mut pinger = Pinger::new(keep_alive, Instant::now());
    loop {
        let wake = pinger.next_timeout().map_or(until, |ping| ping.min(until));
        let length = match timeout_at(wake, reader.read(&mut chunk)).await {
            Ok(Ok(length @ 1..)) => length,
            Ok(_) => return,
            Err(_) if Instant::now() >= until => return,
            Err(_) => {
                match pinger.handle_timeout(Instant::now()) {
                    Ok(false) => {}
                    Ok(true) => drop(own.try_send(PING.to_vec())),
                    Err(Dead) => {
                        tracing::debug!(from = %entrance.from, "SIP connection closed: the peer answers no pings");
                        return;
                    }
                }
                continue;
            }
        };
        let mut begins = framer.is_empty();
        framer.push(&chunk[..length]);
        loop {
            let answer = match framer.poll() {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => Some(PONG.to_vec()),
                Ok(Some(Frame::Message(message))) => match entrance.take(&message).await {
                    Ok(answer) => answer,
                    Err(NoSip) => return,
                },
                Err(unframable) => {
                    if let Some(answer) = entrance.refuse(&unframable) {
                        let _ = own.send(answer).await;
                    }
                    return;
                }
            };
            begins = true;
            if let Some(answer) = answer
                && own.send(answer).await.is_err()
            {
                return;
            }
        }
        let is_pong = pinger.answer_until.is_some() && framer.take_pong();
        pinger.handle_input(is_pong, Instant::now());
        if framer.is_empty() {
            until = Instant::now() + idle_max;
        } else if begins {
            until = Instant::now() + MESSAGE_MAX;
        }
    }
}

/// Writes what the stack and the reader answer, until the reader has ended and all is written, the peer does not take
/// it, or the stack has let the connection go.
async fn write_out(
    mut writer: impl AsyncWrite + Unpin,
    mut answers: mpsc::UnboundedReceiver<TransportEvent>,
    mut own: mpsc::Receiver<Vec<u8>>,
    waiting_max: usize,
) {
    let mut unsent: Vec<u8> = Vec::new();
    // TLS takes bytes before the socket does.
    let mut flushed = true;
    let mut reading = true;
    while reading || !unsent.is_empty() || !flushed || !answers.is_empty() {
        let is_busy = !unsent.is_empty() || !flushed;
        tokio::select! {
            biased;
            written = write_some(&mut writer, &unsent), if is_busy => match written {
                Ok(Written::Bytes(length)) => {
                    unsent.drain(..length);
                    flushed = false;
                }
                Ok(Written::All) => flushed = true,
                Err(_) => return,
            },
            // The stack's channel has no bound. A peer that takes something is waited for, however many calls share
            // its connection; one that takes nothing is not.
            () = tokio::time::sleep(STALL), if is_busy => if answers.len() > waiting_max {
                return;
            },
            event = answers.recv(), if !is_busy => match event {
                // To the stack we are the far end of a channel, so what it sends is incoming for us.
                Some(TransportEvent::Incoming(message, ..)) => unsent = message.to_bytes(),
                Some(_) => {}
                None => return,
            },
            answer = own.recv(), if reading && !is_busy => match answer {
                Some(answer) => unsent = answer,
                None => reading = false,
            },
        }
    }
    // A farewell, so that TLS peers can tell an end from an attack (RFC 8446 §6.1).
    let _ = timeout(FLUSH_MAX, writer.shutdown()).await;
}

/// What a step of writing did.
enum Written {
    Bytes(usize),
    /// Nothing is left, neither here nor in TLS.
    All,
}

/// Writes a part of `unsent`; if there is none, sees off what TLS holds. Nothing is lost if it is not waited for.
async fn write_some(writer: &mut (impl AsyncWrite + Unpin), unsent: &[u8]) -> io::Result<Written> {
    if unsent.is_empty() {
        return writer.flush().await.map(|()| Written::All);
    }
    match writer.write(unsent).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        length => Ok(Written::Bytes(length)),
    }
}

/// The way of one connection's messages into the stack.
struct Entrance {
    streams: Arc<Streams>,
    connection: SipConnection,
    remote: SipAddr,
    from: SocketAddr,
    transport: StackTransport,
}

impl Entrance {
    /// Hands a message to the stack, or gives the answer to one that cannot be.
    async fn take(&self, message: &[u8]) -> Result<Option<Vec<u8>>, NoSip> {
        let Streams { stack, admission, user_agent, .. } = &*self.streams;
        match screen(message, self.from, user_agent) {
            Screening::Pass => {}
            Screening::Answer(answer) => return Ok(Some(answer)),
            Screening::Drop => return Err(NoSip),
        }
        let parsed = SipMessage::try_from(message).ok();
        let parsed = parsed
            .and_then(|parsed| SipConnection::update_msg_received(parsed, self.from, self.transport).ok());
        let Some(parsed) = parsed else {
            return Ok(refusal(message, self.from, "400 Bad Request", user_agent));
        };
        if let Some(admitted) = admission.admit(parsed, &self.remote) {
            let taken = stack.on_received_message(admitted, self.connection.clone(), &self.remote).await;
            if let Err(error) = taken {
                tracing::debug!(from = %self.from, %error, "SIP message passed over");
            }
        }
        Ok(None)
    }

    /// The answer to what cannot be framed.
    fn refuse(&self, unframable: &Unframable) -> Option<Vec<u8>> {
        let (head, status) = match unframable {
            Unframable::EndlessHead => return None,
            Unframable::BadLength(head) => (head, "400 Bad Content-Length"),
            Unframable::LongBody(head) => (head, "513 Message Too Large"),
        };
        refusal(head, self.from, status, &self.streams.user_agent)
    }
}

/// The peer speaks another protocol.
struct NoSip;

/// Nagle's algorithm against delayed acknowledgements would cost 40 ms an exchange.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL),
    )?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

const PING: &[u8] = b"\r\n\r\n";
const PONG: &[u8] = b"\r\n";
/// How long the answer to a ping may take (RFC 5626 §4.4.1).
const PONG_MAX: Duration = Duration::from_secs(10);
/// Bytes of one read.
const READ_MAX: usize = 8 * 1024;
/// Answers that the stack does not give, waiting to be written; then nothing more is read.
const OWN_ANSWERS_WAITING_MAX: usize = 4;
/// Without a byte taken for this long a peer does not read.
const STALL: Duration = Duration::from_millis(100);
/// How long the last answer may take to leave.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// How long a message may take from its first byte to its last (64*T1).
const MESSAGE_MAX: Duration = Duration::from_secs(32);
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const USER_TIMEOUT: Duration = Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        (near, listener.accept().await.expect("accepts").0)
    }

    async fn queued(count: usize) -> (mpsc::UnboundedReceiver<TransportEvent>, usize) {
        let remote = sip_addr(StackTransport::Tcp, "127.0.0.1:9".parse().expect("an address"));
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(1000));
        let (to_peer, answers) = mpsc::unbounded_channel();
        let incoming = mpsc::unbounded_channel().1;
        let connection = ChannelConnection::create_connection(incoming, to_peer, remote, None).await;
        let connection = connection.expect("a channel");
        let message = SipMessage::try_from(text.as_str()).expect("a message");
        for _ in 0..count {
            connection.send(message.clone()).await.expect("no bound");
        }
        (answers, count * message.to_bytes().len())
    }

    #[tokio::test]
    async fn a_peer_that_reads_gets_any_number_of_messages() {
        let (near, mut far) = pair().await;
        let (answers, length) = queued(20_000).await;
        let (_reading, own) = mpsc::channel(1);
        let writing = write_out(near, answers, own, 64);
        let reading = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("reads");
            all.len()
        };
        let ((), read) = tokio::join!(writing, reading);
        assert_eq!(read, length);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (near, _far) = pair().await;
        let (answers, _) = queued(20_000).await;
        let (_reading, own) = mpsc::channel(1);
        let writing = write_out(near, answers, own, 64);
        timeout(Duration::from_secs(10), writing).await.expect("ends");
    }

    #[test]
    fn only_a_peer_that_answered_pings_is_dead_without_an_answer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pinger = Pinger::new(Some(Duration::from_secs(90)), start);
        assert!(!pinger.handle_timeout(at(89)).expect("alive"));
        assert!(pinger.handle_timeout(at(90)).expect("alive"));
        assert_eq!(pinger.next_timeout(), Some(at(100)));
        assert!(!pinger.handle_timeout(at(100)).expect("may not know pings"));
        assert!(pinger.handle_timeout(at(180)).expect("alive"));
        pinger.handle_input(true, at(181));
        assert_eq!(pinger.next_timeout(), Some(at(271)));
        assert!(pinger.handle_timeout(at(271)).expect("alive"));
        assert!(pinger.handle_timeout(at(281)).is_err());
        let mut never = Pinger::new(None, start);
        assert_eq!(never.next_timeout(), None);
        never.handle_input(true, at(1));
        assert_eq!(never.next_timeout(), None);
    }

    #[tokio::test]
    async fn streams_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        tune(&stream).expect("options are known");
        assert!(stream.nodelay().expect("readable"));
        assert!(SockRef::from(&stream).keepalive().expect("readable"));
    }
}
