//! An RTMP server that takes every publication and counts it: pictures and audio frames by stream, nothing kept.
//! Takes: RTMP connections (Adobe RTMP 1.0). Gives: the few answers a publisher waits for; counts.
//! Leaves out: playing, the digest handshake, reading media beyond its first octets. Bodies are skipped where they lie,
//! so that the sink costs little beside what is measured.

mod arrivals;
mod chunk_reader;
mod reply;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::callee::PictureTail;
use arrivals::Notes;
pub use arrivals::{Arrival, Arrivals};
use chunk_reader::{ChunkReader, Fault, Message};

/// Octets of C1 and of S1 (§5.2.3).
const HANDSHAKE_LEN: usize = 1_536;
/// Octets read at once.
const READ_LEN: usize = 64 * 1024;
/// Connections at once; further ones are closed.
const CONNECTIONS_MAX: usize = 16_384;
/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Octets after which the publisher gets an acknowledgement when it named no window (§5.4.3).
const WINDOW_DEFAULT: u64 = 2_500_000;

/// Message type IDs (§5.4, §7.1).
const SET_CHUNK_SIZE: u8 = 1;
const USER_CONTROL: u8 = 4;
const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const COMMAND_AMF0: u8 = 20;

/// What came in for one stream name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamCounts {
    /// Gauge: whether it is being published now.
    pub publishing: bool,
    /// Times it was published.
    pub publications: u64,
    /// Pictures (AVC NAL units); sequence headers are not counted.
    pub pictures: u64,
    /// IDR pictures among them.
    pub idr_pictures: u64,
    /// AAC frames; sequence headers are not counted.
    pub audio_frames: u64,
    /// Octets of audio and video messages.
    pub octets: u64,
    /// Messages whose timestamp lay before the one before of the same kind.
    pub backward_timestamps: u64,
    /// Latest timestamp of a picture, in ms.
    pub video_timestamp_ms: u32,
    /// Latest timestamp of an audio frame, in ms.
    pub audio_timestamp_ms: u32,
}

/// Counts by stream name.
pub type SinkCounts = BTreeMap<String, StreamCounts>;

/// A running sink on a thread of its own, named `sink`, so that its CPU time can be told apart.
pub struct Sink {
    local_addr: SocketAddr,
    counts: Arc<Mutex<SinkCounts>>,
    notes: Arc<Notes>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sink {
    /// Listens on `bind`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken or no thread can start.
    pub fn start(bind: SocketAddr) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(bind)?;
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let counts = Arc::new(Mutex::new(SinkCounts::new()));
        let stop = CancellationToken::new();
        let notes = Arc::new(Notes::default());
        let shared = Shared { counts: Arc::clone(&counts), notes: Arc::clone(&notes) };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("sink".into()).spawn(move || {
            runtime.block_on(async {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, shared, stopped).await,
                    Err(error) => tracing::error!(%error, "sink"),
                }
            });
        })?;
        Ok(Self { local_addr, counts, notes, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counts as they are now.
    pub fn counts(&self) -> SinkCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All streams added up; `publishing` says whether all of them are, `publications` how many were.
    pub fn totals(&self) -> StreamCounts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = StreamCounts { publishing: !counts.is_empty(), ..StreamCounts::default() };
        for stream in counts.values() {
            totals.publishing &= stream.publishing;
            totals.publications += stream.publications;
            totals.pictures += stream.pictures;
            totals.idr_pictures += stream.idr_pictures;
            totals.audio_frames += stream.audio_frames;
            totals.octets += stream.octets;
            totals.backward_timestamps += stream.backward_timestamps;
        }
        totals
    }

    /// How many streams are being published now.
    pub fn publishing(&self) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().filter(|stream| stream.publishing).count()
    }

    /// Notes when pictures arrive from now on, up to `max` of them.
    pub fn note_arrivals(&self, max: usize) {
        self.notes.begin(max);
    }

    /// Ends that and gives the notes.
    pub fn take_arrivals(&self) -> Arrivals {
        self.notes.take()
    }

    /// Closes all connections and waits for the thread.
    pub fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sink panicked");
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What all connections write to.
#[derive(Clone)]
struct Shared {
    counts: Arc<Mutex<SinkCounts>>,
    notes: Arc<Notes>,
}

async fn serve(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    let connections = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let (shared, stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            let mut connection =
                Connection { shared, stream_name: None, pending: StreamCounts::default(), tails: Vec::new() };
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection.run(stream) => if let Err(error) = ended {
                    tracing::debug!(%error, "sink connection ended");
                },
            }
            connection.unpublish();
            drop(permit);
        });
    }
}

struct Connection {
    shared: Shared,
    stream_name: Option<String>,
    pending: StreamCounts,
    /// Of the pictures of one read.
    tails: Vec<PictureTail>,
}

impl Connection {
    async fn run(&mut self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        tokio::time::timeout(HANDSHAKE_TIME, handshake(&mut stream)).await??;
        let mut reader = ChunkReader::default();
        let mut buffer = vec![0; READ_LEN];
        let mut replies = Vec::new();
        let (mut received, mut acknowledged, mut window) = (0_u64, 0_u64, WINDOW_DEFAULT);
        loop {
            let len = stream.read(&mut buffer).await?;
            if len == 0 {
                return Ok(());
            }
            received += len as u64;
            let mut input = &buffer[..len];
            while let Some(message) = reader.read(&mut input).map_err(as_io_error)? {
                self.handle(&message, &mut window, &mut replies);
            }
            self.publish_counts();
            if received - acknowledged >= window {
                acknowledged = received;
                reply::acknowledgement(received as u32, &mut replies);
            }
            if !replies.is_empty() {
                stream.write_all(&replies).await?;
                replies.clear();
            }
        }
    }

    fn handle(&mut self, message: &Message<'_>, window: &mut u64, replies: &mut Vec<u8>) {
        let counts = &mut self.pending;
        match message.kind {
            // The reader follows the chunk size by itself.
            SET_CHUNK_SIZE => {}
            WINDOW_ACKNOWLEDGEMENT_SIZE => {
                if let Some(size) = message.head.first_chunk() {
                    *window = u64::from(u32::from_be_bytes(*size)).max(1_024);
                }
            }
            USER_CONTROL => reply::answer_user_control(message.head, replies),
            // FLV §E.4.3.1: codec 7 is AVC, packet type 1 a NAL unit.
            VIDEO => {
                counts.octets += u64::from(message.len);
                if let [head, 1, ..] = message.head {
                    counts.pictures += 1;
                    if self.stream_name.is_some() {
                        self.tails.push(message.tail);
                    }
                    counts.idr_pictures += u64::from(head >> 4 == 1);
                    counts.backward_timestamps += u64::from(message.timestamp_ms < counts.video_timestamp_ms);
                    counts.video_timestamp_ms = message.timestamp_ms;
                }
            }
            AUDIO => {
                counts.octets += u64::from(message.len);
                if let [_, 1, ..] = message.head {
                    counts.audio_frames += 1;
                    counts.backward_timestamps += u64::from(message.timestamp_ms < counts.audio_timestamp_ms);
                    counts.audio_timestamp_ms = message.timestamp_ms;
                }
            }
            COMMAND_AMF0 => self.handle_command(message, replies),
            _ => {}
        }
    }

    fn handle_command(&mut self, message: &Message<'_>, replies: &mut Vec<u8>) {
        let Some(command) = reply::Command::parse(message.head) else { return };
        match command.name {
            "connect" => reply::connected(command.transaction_id, replies),
            "createStream" => reply::stream_created(command.transaction_id, replies),
            "publish" => {
                let name = command.argument.split('?').next().unwrap_or_default().to_owned();
                self.publish(name);
                reply::publish_started(message.stream_id, replies);
            }
            "FCUnpublish" | "deleteStream" | "closeStream" => self.unpublish(),
            "releaseStream" | "FCPublish" => reply::empty_result(command.transaction_id, replies),
            _ => {}
        }
    }

    fn publish(&mut self, name: String) {
        self.unpublish();
        let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = counts.entry(name.clone()).or_default();
        stream.publishing = true;
        stream.publications += 1;
        self.pending = StreamCounts { ..StreamCounts::default() };
        self.stream_name = Some(name);
    }

    fn unpublish(&mut self) {
        self.publish_counts();
        let Some(name) = self.stream_name.take() else { return };
        let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = counts.get_mut(&name) {
            stream.publishing = false;
        }
    }

    fn publish_counts(&mut self) {
        let Some(name) = &self.stream_name else { return };
        if !self.tails.is_empty() {
            self.shared.notes.note(name, &mut self.tails);
        }
        let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = counts.get_mut(name) else { return };
        let pending = &mut self.pending;
        stream.pictures += std::mem::take(&mut pending.pictures);
        stream.idr_pictures += std::mem::take(&mut pending.idr_pictures);
        stream.audio_frames += std::mem::take(&mut pending.audio_frames);
        stream.octets += std::mem::take(&mut pending.octets);
        stream.backward_timestamps += std::mem::take(&mut pending.backward_timestamps);
        stream.video_timestamp_ms = pending.video_timestamp_ms;
        stream.audio_timestamp_ms = pending.audio_timestamp_ms;
    }
}

// §5.2: the simple handshake. S1 has a zero version, so publishers expect no digest; S2 echoes C1.
async fn handshake(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut peer = vec![0; 1 + HANDSHAKE_LEN];
    stream.read_exact(&mut peer).await?;
    if peer[0] != 3 {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut own = vec![0; 1 + 2 * HANDSHAKE_LEN];
    own[0] = 3;
    own[1 + HANDSHAKE_LEN..].copy_from_slice(&peer[1..]);
    stream.write_all(&own).await?;
    stream.read_exact(&mut peer[1..]).await?;
    Ok(())
}

fn as_io_error(fault: Fault) -> std::io::Error {
    let text = match fault {
        Fault::ChunkSize => "chunk size out of range",
        Fault::NoPreviousHeader => "a chunk refers to a header that never came",
        Fault::TooManyChunkStreams => "too many chunk streams",
        Fault::CommandTooLong => "command too long",
    };
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}
