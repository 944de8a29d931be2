//! An RTMP server that takes every publication and counts it: pictures and audio frames by stream, nothing kept.
//! Takes: RTMP connections (Adobe RTMP 1.0). Gives: the few answers a publisher waits for; counts; arrivals to a clock.
//! Leaves out: playing, the digest handshake, reading media beyond its first octets. Bodies are skipped where they lie,
//! so that the sink costs little beside what is measured.

mod arrivals;
mod chunk_reader;
mod connection;
mod reply;
mod tally;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

pub use arrivals::{Arrival, Arrivals};
pub use tally::StreamCounts;

use crate::call_clock::CallClock;
use connection::{Connection, ReadState};
use tally::Tally;

/// Octets read at once, into one buffer for all connections: it stays in the cache.
const READ_LEN: usize = 256 * 1024;
/// Connections at once; further ones are closed.
const CONNECTIONS_MAX: usize = 16_384;
/// How often connections are looked through for handshakes that take too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Name of the thread, by which its CPU time can be told apart.
pub const THREAD_NAME: &str = "sink";

const LISTENER: Token = Token(0);
const STOP: Token = Token(1);
/// Tokens of connections begin here.
const CONNECTIONS: usize = 2;

/// Message type IDs (§5.4, §7.1).
const SET_CHUNK_SIZE: u8 = 1;
const USER_CONTROL: u8 = 4;
const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const COMMAND_AMF0: u8 = 20;

/// Counts by stream name.
pub type SinkCounts = BTreeMap<String, StreamCounts>;

/// A running sink on a thread of its own.
pub struct Sink {
    local_addr: SocketAddr,
    tally: Arc<Tally>,
    stop: Waker,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sink {
    /// Listens on `bind`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken or no thread can start.
    pub fn start(bind: SocketAddr) -> io::Result<Self> {
        Self::start_with(bind, None)
    }

    /// The same, and tells `clock` what arrives.
    ///
    /// # Errors
    /// When the port is taken or no thread can start.
    pub fn start_with(bind: SocketAddr, clock: Option<Arc<CallClock>>) -> io::Result<Self> {
        let mut listener = TcpListener::bind(bind)?;
        let local_addr = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let stop = Waker::new(poll.registry(), STOP)?;
        let tally = Arc::new(Tally::new(clock));
        let server =
            Server { poll, listener, connections: Vec::new(), free: Vec::new(), tally: Arc::clone(&tally) };
        let thread = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || server.run())?;
        Ok(Self { local_addr, tally, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counts as they are now.
    pub fn counts(&self) -> SinkCounts {
        self.tally.counts()
    }

    /// All streams added up, forgotten ones too; `publishing` says whether all that are not forgotten are, `publications`
    /// how many were.
    pub fn totals(&self) -> StreamCounts {
        self.tally.totals()
    }

    /// How many streams are being published now.
    pub fn publishing(&self) -> usize {
        self.tally.publishing()
    }

    /// Notes when pictures arrive from now on, up to `max` of them.
    pub fn note_arrivals(&self, max: usize) {
        self.tally.notes.begin(max);
    }

    /// Ends that and gives the notes.
    pub fn take_arrivals(&self) -> Arrivals {
        self.tally.notes.take()
    }

    /// Keeps only the sum of a stream that is over.
    pub fn forget(&self, stream_name: &str) {
        self.tally.forget(stream_name);
    }

    /// Closes all connections and waits for the thread.
    pub fn shutdown(mut self) {
        let _ = self.stop.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sink panicked");
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.stop.wake();
    }
}

/// The thread's state.
struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    tally: Arc<Tally>,
}

impl Server {
    fn run(mut self) {
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; READ_LEN];
        // Connections that may have more to read than they were let.
        let mut again: Vec<usize> = Vec::new();
        let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
        loop {
            let wait = if again.is_empty() { SWEEP_INTERVAL } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(%error, "sink");
                    return;
                }
                _ => {}
            }
            for place in std::mem::take(&mut again) {
                self.serve(place, &mut buffer, &mut again);
            }
            for event in &events {
                match event.token() {
                    STOP => return,
                    LISTENER => self.accept(),
                    Token(token) => self.serve(token - CONNECTIONS, &mut buffer, &mut again),
                }
            }
            if Instant::now() >= next_sweep {
                next_sweep = Instant::now() + SWEEP_INTERVAL;
                self.sweep();
            }
        }
    }

    fn accept(&mut self) {
        // Any error ends the round: none waits, or the system is out of something, which the next event shows again.
        while let Ok((mut stream, _)) = self.listener.accept() {
            if self.connections.len() - self.free.len() >= CONNECTIONS_MAX {
                continue;
            }
            let place = self.free.pop().unwrap_or(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(place + CONNECTIONS);
            let _ = stream.set_nodelay(true);
            if place == self.connections.len() {
                self.connections.push(None);
            }
            if self.poll.registry().register(&mut stream, token, interest).is_err() {
                self.free.push(place);
                continue;
            }
            self.connections[place] = Some(Connection::new(stream, Arc::clone(&self.tally)));
        }
    }

    fn serve(&mut self, place: usize, buffer: &mut [u8], again: &mut Vec<usize>) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        match connection.serve(buffer) {
            Ok(ReadState::Drained) => {}
            Ok(ReadState::More) => again.push(place),
            Err(error) => {
                tracing::debug!(%error, "sink connection ended");
                self.close(place);
            }
        }
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        let late: Vec<usize> = self
            .connections
            .iter()
            .enumerate()
            .filter(|(_, connection)| connection.as_ref().is_some_and(|connection| connection.is_late(now)))
            .map(|(place, _)| place)
            .collect();
        late.into_iter().for_each(|place| self.close(place));
    }

    fn close(&mut self, place: usize) {
        if self.connections[place].take().is_some() {
            self.free.push(place);
        }
    }
}
