//! One publisher's connection: handshake, messages, answers (Adobe RTMP 1.0 §5.2, §7.2).
//! Takes: readiness. Gives: counts to the tally.
//! Leaves out: chunks (`chunk_reader`), what answers look like (`reply`).

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::chunk_reader::{ChunkReader, Fault, Message};
use super::tally::{StreamCounts, StreamTally, Tally};
use super::{AUDIO, COMMAND_AMF0, SET_CHUNK_SIZE, USER_CONTROL, VIDEO, WINDOW_ACKNOWLEDGEMENT_SIZE, reply};
use crate::call_clock::{CallMoments, Moment};
use crate::callee::PictureTail;

/// Octets of C1 and of S1 (§5.2.3).
const HANDSHAKE_LEN: usize = 1_536;
/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Octets after which the publisher gets an acknowledgement when it named no window (§5.4.3).
const WINDOW_DEFAULT: u64 = 2_500_000;
/// Octets of answers waiting for a publisher that does not read them; beyond it the connection is closed.
const REPLIES_MAX: usize = 64 * 1024;
/// Reads of one connection in one turn: others have theirs in between.
const READS_MAX: usize = 16;

/// Whether a connection was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadState {
    Drained,
    More,
}

/// What is read next.
enum Phase {
    /// C0 and C1, and what of them came.
    Greeting(Vec<u8>),
    /// C2, of which so many octets are missing.
    Echo(usize),
    Messages,
}

/// A stream that is being published.
struct Publication {
    name: String,
    counts: Arc<StreamTally>,
    /// The call behind it, as soon as it is answered: publishing may begin before that.
    call: Option<Arc<CallMoments>>,
}

pub(super) struct Connection {
    stream: TcpStream,
    tally: Arc<Tally>,
    since: Instant,
    phase: Phase,
    reader: ChunkReader,
    publication: Option<Publication>,
    pending: StreamCounts,
    /// Of the pictures of one read.
    tails: Vec<PictureTail>,
    replies: Vec<u8>,
    received: u64,
    acknowledged: u64,
    window: u64,
}

impl Connection {
    pub fn new(stream: TcpStream, tally: Arc<Tally>) -> Self {
        Self {
            stream,
            tally,
            since: Instant::now(),
            phase: Phase::Greeting(Vec::new()),
            reader: ChunkReader::default(),
            publication: None,
            pending: StreamCounts::default(),
            tails: Vec::new(),
            replies: Vec::new(),
            received: 0,
            acknowledged: 0,
            window: WINDOW_DEFAULT,
        }
    }

    /// Whether it has not shaken hands in time.
    pub fn is_late(&self, now: Instant) -> bool {
        !matches!(self.phase, Phase::Messages) && now > self.since + HANDSHAKE_TIME
    }

    /// Reads what there is and answers.
    ///
    /// # Errors
    /// When the connection is over: closed, broken, or against the protocol.
    pub fn serve(&mut self, buffer: &mut [u8]) -> io::Result<ReadState> {
        for _ in 0..READS_MAX {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.write()?;
                    return Ok(ReadState::Drained);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.take(&buffer[..len])?;
            self.write()?;
            // epoll(7): a stream that gave less than was asked for has no more.
            if len < buffer.len() {
                return Ok(ReadState::Drained);
            }
        }
        Ok(ReadState::More)
    }

    fn take(&mut self, mut input: &[u8]) -> io::Result<()> {
        let now = self.tally.clock.as_ref().map(|clock| clock.now());
        self.received += input.len() as u64;
        if !matches!(self.phase, Phase::Messages) {
            self.shake_hands(&mut input)?;
        }
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(message) = reader.read(&mut input).map_err(as_io_error)? {
            self.handle(&message, now);
        }
        self.reader = reader;
        self.publish_counts();
        if self.received - self.acknowledged >= self.window {
            self.acknowledged = self.received;
            reply::acknowledgement(self.received as u32, &mut self.replies);
        }
        Ok(())
    }

    // §5.2: the simple handshake. S1 has a zero version, so publishers expect no digest; S2 echoes C1.
    fn shake_hands(&mut self, input: &mut &[u8]) -> io::Result<()> {
        if let Phase::Greeting(greeting) = &mut self.phase {
            let taken = input.len().min(1 + HANDSHAKE_LEN - greeting.len());
            greeting.extend_from_slice(&input[..taken]);
            *input = &input[taken..];
            if greeting.first().is_some_and(|version| *version != 3) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if greeting.len() < 1 + HANDSHAKE_LEN {
                return Ok(());
            }
            self.replies.push(3);
            self.replies.resize(1 + HANDSHAKE_LEN, 0);
            self.replies.extend_from_slice(&greeting[1..]);
            self.phase = Phase::Echo(HANDSHAKE_LEN);
        }
        if let Phase::Echo(missing) = &mut self.phase {
            let taken = input.len().min(*missing);
            *input = &input[taken..];
            *missing -= taken;
            if *missing == 0 {
                self.phase = Phase::Messages;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.replies.is_empty() {
            match self.stream.write(&self.replies) {
                Ok(len) => drop(self.replies.drain(..len)),
                // It becomes writable again, which is an event.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.replies.len() > REPLIES_MAX {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: &Message<'_>, now: Option<Moment>) {
        let counts = &mut self.pending;
        match message.kind {
            // The reader follows the chunk size by itself.
            SET_CHUNK_SIZE => {}
            WINDOW_ACKNOWLEDGEMENT_SIZE => {
                if let Some(size) = message.head.first_chunk() {
                    self.window = u64::from(u32::from_be_bytes(*size)).max(1_024);
                }
            }
            USER_CONTROL => reply::answer_user_control(message.head, &mut self.replies),
            // FLV §E.4.3.1: codec 7 is AVC, packet type 1 a NAL unit.
            VIDEO => {
                counts.octets += u64::from(message.len);
                if let [head, 1, ..] = message.head {
                    counts.pictures += 1;
                    counts.idr_pictures += u64::from(head >> 4 == 1);
                    counts.backward_timestamps += u64::from(message.timestamp_ms < counts.video_timestamp_ms);
                    counts.video_timestamp_ms = message.timestamp_ms;
                    self.arrived(Some(&message.tail), now);
                    if self.publication.is_some() {
                        self.tails.push(message.tail);
                    }
                }
            }
            AUDIO => {
                counts.octets += u64::from(message.len);
                // FLV §E.4.2.1: AAC (10) has sequence headers (packet type 0), other formats have none.
                if matches!(message.head, [head, kind, ..] if head >> 4 != 10 || *kind == 1) {
                    counts.audio_frames += 1;
                    counts.backward_timestamps += u64::from(message.timestamp_ms < counts.audio_timestamp_ms);
                    counts.audio_timestamp_ms = message.timestamp_ms;
                    self.arrived(None, now);
                }
            }
            COMMAND_AMF0 => self.handle_command(message),
            _ => {}
        }
    }

    /// Tells the clock of a picture with this tail, or of sound.
    fn arrived(&mut self, tail: Option<&PictureTail>, now: Option<Moment>) {
        let (Some(clock), Some(now), Some(publication)) = (&self.tally.clock, now, &mut self.publication)
        else {
            return;
        };
        if publication.call.is_none() {
            publication.call = clock.call(&publication.name);
        }
        if let Some(call) = &publication.call
            && (tail.is_some() || !call.has_pictures())
        {
            clock.arrived(call, tail, now);
        }
    }

    fn handle_command(&mut self, message: &Message<'_>) {
        let Some(command) = reply::Command::parse(message.head) else { return };
        match command.name {
            "connect" => reply::connected(command.transaction_id, &mut self.replies),
            "createStream" => reply::stream_created(command.transaction_id, &mut self.replies),
            "publish" => {
                let name = command.argument.split('?').next().unwrap_or_default();
                self.publish(name);
                reply::publish_started(message.stream_id, &mut self.replies);
            }
            "FCUnpublish" | "deleteStream" | "closeStream" => self.unpublish(),
            "releaseStream" | "FCPublish" => reply::empty_result(command.transaction_id, &mut self.replies),
            _ => {}
        }
    }

    fn publish(&mut self, name: &str) {
        self.unpublish();
        let counts = self.tally.stream(name);
        counts.set_publishing(true);
        self.pending = StreamCounts::default();
        self.publication = Some(Publication { name: name.to_owned(), counts, call: None });
    }

    fn unpublish(&mut self) {
        self.publish_counts();
        if let Some(publication) = self.publication.take() {
            publication.counts.set_publishing(false);
        }
    }

    fn publish_counts(&mut self) {
        let Some(publication) = &self.publication else { return };
        publication.counts.add(&self.pending);
        if !self.tails.is_empty() {
            self.tally.notes.note(&publication.name, &mut self.tails);
        }
        let StreamCounts { video_timestamp_ms, audio_timestamp_ms, .. } = self.pending;
        self.pending = StreamCounts { video_timestamp_ms, audio_timestamp_ms, ..StreamCounts::default() };
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.unpublish();
    }
}

fn as_io_error(fault: Fault) -> io::Error {
    let text = match fault {
        Fault::ChunkSize => "chunk size out of range",
        Fault::NoPreviousHeader => "a chunk refers to a header that never came",
        Fault::TooManyChunkStreams => "too many chunk streams",
        Fault::CommandTooLong => "command too long",
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}
