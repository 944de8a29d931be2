//! One RTMP connection: bytes between its socket and its [`ServerSession`], as publisher or player.
//! Takes: a socket. Gives: messages to the registry, a player's tags to the socket.
//! Leaves out: what the bytes mean (the session), who may do what (the registry).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sipcast_media::rtmp::{Fault, MediaKind, ServerEvent, ServerSession};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::message::Message;
use crate::player_queue::Tag;
use crate::registry::{PlayRefused, Publication, PublishRefused, Registry};
use crate::stream::Player;
use crate::stream_name::StreamName;

/// Bytes read at a time.
const READ_LEN: usize = 16 << 10;

/// How long a client that was told to go may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why a connection ended, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ended {
    #[error("closed")]
    Closed,
    #[error("connection lost")]
    Lost,
    #[error("nothing came or could be sent for too long")]
    TimedOut,
    #[error("origin stopped")]
    Stopped,
    #[error("protocol broken: {0}")]
    Fault(#[from] Fault),
}

/// Serves one connection to its end.
pub(crate) async fn serve(socket: TcpStream, peer: SocketAddr, registry: Arc<Registry>, seed: u64) {
    // Small answers and audio frames must not wait for more. Without the option it only gets slower.
    let _ = socket.set_nodelay(true);
    let mut connection = Connection {
        socket,
        session: ServerSession::new(seed),
        output: Vec::new(),
        app: String::new(),
        role: Role::None,
        deadline: Instant::now() + registry.options.client_timeout,
        registry,
    };
    let ended = connection.run().await;
    if ended == Ended::Closed {
        connection.close().await;
    }
    if matches!(ended, Ended::Fault(_)) {
        connection.registry.count_fault();
    }
    tracing::debug!(%peer, role = connection.role.name(), %ended, "RTMP connection ended");
}

struct Connection {
    socket: TcpStream,
    session: ServerSession,
    /// On its way to the socket.
    output: Vec<u8>,
    app: String,
    role: Role,
    /// When the client must have shown life.
    deadline: Instant,
    registry: Arc<Registry>,
}

enum Role {
    None,
    Publisher(Publication),
    Player(Player),
}

impl Role {
    const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Publisher(_) => "publisher",
            Self::Player(_) => "player",
        }
    }
}

/// What happened first.
enum Woken {
    Read(std::io::Result<usize>),
    Played(bool),
    TimedOut,
    Stopped,
}

impl Connection {
    async fn run(&mut self) -> Ended {
        let mut input = vec![0; READ_LEN];
        let mut tags = Vec::new();
        loop {
            let served = match self.wait(&mut input, &mut tags).await {
                Woken::Read(Ok(0) | Err(_)) => return Ended::Lost,
                Woken::Read(Ok(len)) => self.handle_input(&input[..len]).await,
                Woken::Played(more) => self.handle_tags(&mut tags, more).await,
                Woken::TimedOut => return Ended::TimedOut,
                Woken::Stopped => {
                    self.session.send_end();
                    return self.flush().await.err().unwrap_or(Ended::Stopped);
                }
            };
            if let Err(ended) = served {
                return ended;
            }
        }
    }

    /// Lets the client read what was said last: a close with unread input would throw it away.
    async fn close(&mut self) {
        let mut input = [0; 1024];
        let farewell = async {
            self.socket.shutdown().await?;
            while self.socket.read(&mut input).await? > 0 {}
            std::io::Result::Ok(())
        };
        // Whatever comes of it, the connection ends here.
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn wait(&mut self, input: &mut [u8], tags: &mut Vec<Tag>) -> Woken {
        let played = async {
            match &self.role {
                Role::Player(player) => player.take(tags).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            read = self.socket.read(input) => Woken::Read(read),
            more = played => Woken::Played(more),
            () = sleep_until(self.deadline), if !matches!(self.role, Role::Player(_)) => Woken::TimedOut,
            () = self.registry.stop.cancelled() => Woken::Stopped,
        }
    }

    async fn handle_input(&mut self, input: &[u8]) -> Result<(), Ended> {
        if matches!(self.role, Role::Publisher(_)) {
            self.deadline = Instant::now() + self.registry.options.client_timeout;
        }
        let fault = self.session.handle_input(input).err();
        let mut closed = false;
        while let Some(event) = self.session.poll_event() {
            closed |= self.handle_event(event);
        }
        self.flush().await?;
        match fault {
            Some(fault) => Err(fault.into()),
            None if closed => Err(Ended::Closed),
            None => Ok(()),
        }
    }

    /// Whether the connection is to be closed.
    fn handle_event(&mut self, event: ServerEvent) -> bool {
        match event {
            ServerEvent::Connected { app, .. } => self.app = app,
            ServerEvent::PublishRequested { stream } => self.publish(stream.reveal()),
            ServerEvent::PlayRequested { stream } => self.play(stream.reveal()),
            ServerEvent::Metadata(body) => self.push(Message::new(MediaKind::Metadata, 0, body)),
            ServerEvent::Media { kind, timestamp_ms, body } => {
                self.push(Message::new(kind, timestamp_ms, body))
            }
            ServerEvent::Unpublished => {
                if let Role::Publisher(publication) = std::mem::replace(&mut self.role, Role::None) {
                    publication.end();
                }
                self.deadline = Instant::now() + self.registry.options.client_timeout;
            }
            ServerEvent::Closed => return true,
        }
        false
    }

    fn publish(&mut self, stream: &str) {
        let Ok(name) = StreamName::new(&self.app, stream) else {
            return self.session.reject("NetStream.Publish.BadName", "This is no stream name.");
        };
        match self.registry.publish(name) {
            Ok(publication) => {
                self.role = Role::Publisher(publication);
                self.session.accept();
            }
            Err(PublishRefused::NameTaken) => {
                self.session.reject("NetStream.Publish.BadName", "The stream is being published already.");
            }
            Err(PublishRefused::TooMany) => {
                self.session.reject("NetStream.Publish.BadName", "There are too many publishers.");
            }
        }
    }

    fn play(&mut self, stream: &str) {
        let player = StreamName::new(&self.app, stream).map_err(|_| PlayRefused::NotLive);
        match player.and_then(|name| self.registry.play(&name)) {
            Ok(player) => {
                self.role = Role::Player(player);
                self.session.accept();
            }
            Err(PlayRefused::NotLive) => {
                self.session.reject("NetStream.Play.StreamNotFound", "There is no such stream.");
            }
            Err(PlayRefused::TooMany) => {
                self.session.reject("NetStream.Play.Failed", "There are too many players.");
            }
        }
    }

    fn push(&self, message: Message) {
        if let Role::Publisher(publication) = &self.role {
            publication.push(message);
        }
    }

    async fn handle_tags(&mut self, tags: &mut Vec<Tag>, more: bool) -> Result<(), Ended> {
        for Tag { kind, timestamp_ms, body } in tags.drain(..) {
            self.session.send_media(kind, timestamp_ms, &body);
        }
        if more {
            return self.flush().await;
        }
        self.session.send_end();
        self.flush().await?;
        Err(Ended::Closed)
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        self.session.take_output(&mut self.output);
        if self.output.is_empty() {
            return Ok(());
        }
        let longest = self.registry.options.stall_timeout;
        let written = timeout(longest, self.socket.write_all(&self.output)).await;
        self.output.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Lost),
            Err(_) => Err(Ended::TimedOut),
        }
    }
}
