//! What one send of a target holds: answers of the protocol, headers, messages, goodbye, as chunks.
//! Takes: the queue, the publisher's bytes. Gives: segments of one vectored send.
//! Leaves out: when something is sent, and what happens when a send fails (`target`).
//!
//! A send holds no more than the server takes in about a second, and sound that has waited for [`SOUND_WAIT_MAX`] goes
//! between the chunks of a large picture: so a server that takes little more than the sound gets all of it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sipcast_contract::Timestamp;
use sipcast_contract::limits::IOVECS_MAX;
use sipcast_pool::{Arena, Segment};

use super::super::chunker::{ChunkList, Chunker, Exhausted, MessageHeader};
use super::super::message_type;
use super::super::send_queue::{Next, QueuedMessage, SendQueue};
use super::Link;
use super::tracks::{Picture, Tracks};
use crate::flv::metadata::write_set_data_frame;
use crate::flv::{audio, video};
use crate::message::MessageKind;

/// What is on its way out of the queue, on one connection.
pub(super) struct Outgoing {
    chunker: Chunker,
    /// Taken out of the queue: waits to be begun, or is begun.
    message: Option<QueuedMessage>,
    /// Tracks to send before the next message.
    tracks_due: Option<Rc<Tracks>>,
    sent: SentHeaders,
    /// Sound between the chunks of `message`, and its segments.
    inserted: Option<QueuedMessage>,
    inserted_segments: VecDeque<Segment>,
    /// What the server takes in about a second, and no more than [`SEND_BYTES_MAX`].
    send_bytes: usize,
    /// Bytes that go before the next message; those before `wire_sent` are gone.
    wire: Vec<u8>,
    wire_sent: usize,
}

/// Headers that the server has, on this connection.
#[derive(Debug, Default)]
struct SentHeaders {
    metadata: Vec<u8>,
    avc_config: Option<Bytes>,
    audio_config: Option<Bytes>,
    picture: Option<Picture>,
}

/// Messages that a send completes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    pub(super) pictures: u64,
    pub(super) audio_frames: u64,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            chunker: Chunker::announced(),
            message: None,
            tracks_due: None,
            sent: SentHeaders::default(),
            inserted: None,
            inserted_segments: VecDeque::new(),
            send_bytes: SEND_BYTES_FIRST,
            wire: Vec::new(),
            wire_sent: 0,
        }
    }

    /// A send of `bytes` took so long.
    pub(super) fn handle_sent(&mut self, bytes: usize, took: Duration) {
        if took >= SEND_TIME {
            let in_time = bytes as u128 * SEND_TIME.as_millis() / took.as_millis();
            self.send_bytes = usize::try_from(in_time).unwrap_or(0).max(SEND_BYTES_MIN);
        } else if bytes >= self.send_bytes / 2 {
            self.send_bytes = (self.send_bytes * 2).min(SEND_BYTES_MAX);
        }
    }

    /// Forgets the connection; leases go home.
    pub(super) fn reset(&mut self) {
        self.chunker = Chunker::announced();
        self.message = None;
        self.tracks_due = None;
        self.sent = SentHeaders::default();
        self.inserted = None;
        self.inserted_segments.clear();
        self.send_bytes = SEND_BYTES_FIRST;
        self.wire.clear();
        self.wire_sent = 0;
    }

    /// Whether something waits that is in the queue no more.
    pub(super) fn is_pending(&self) -> bool {
        self.wire_sent < self.wire.len() || self.message.is_some()
    }

    /// The picture whose header the server has.
    pub(super) fn sent_picture(&self) -> Option<Picture> {
        self.sent.picture
    }

    #[cfg(test)]
    pub(super) fn wire_capacity(&self) -> usize {
        self.wire.capacity()
    }

    /// In order: rest of the open message, answers of the protocol, headers, messages, goodbye.
    pub(super) fn gather(
        &mut self,
        link: &mut Link,
        queue: &mut SendQueue,
        arena: &mut Arena,
        out: &mut ChunkList,
        messages: &mut Messages,
        now: Timestamp,
    ) -> Result<(), Exhausted> {
        loop {
            while self.chunker.is_open() {
                if self.is_full(out) {
                    return Ok(());
                }
                self.gather_open(link, queue, arena, out, messages, now)?;
            }
            if !self.gather_wire(arena, out)? {
                return Ok(());
            }
            let (Link::Up(publisher) | Link::Closing { publisher, .. }) = &mut *link else {
                return Ok(());
            };
            if publisher.has_output() {
                // Only into an empty `wire`: the publisher bounds what waits.
                publisher.take_output(&mut self.wire);
                continue;
            }
            let Some(message_stream) = publisher.publishing() else { return Ok(()) };
            if let Some(message) = &self.message {
                // A message that does not fit whole waits for the next send, unless no send is large enough.
                let segments = message.segments + 2 * (message.bytes / Chunker::CHUNK_SIZE + 1);
                let is_full = out.segments.len() + segments > IOVECS_MAX || out.bytes >= self.send_bytes;
                if is_full && !out.is_empty() {
                    return Ok(());
                }
                let header = media_header(message.kind, message.timestamp_ms, message_stream);
                self.chunker.begin(&header, message.bytes);
                continue;
            }
            match queue.begin_next() {
                Some(Next::Tracks(tracks)) => self.tracks_due = Some(tracks),
                Some(Next::Message(message)) => {
                    self.message = Some(message);
                    if let Some(tracks) = self.tracks_due.take() {
                        self.write_headers(&tracks, message.timestamp_ms, message_stream);
                    }
                }
                None if !say_goodbye(link) => return Ok(()),
                None => {}
            }
        }
    }

    /// Moves the open message to `out` up to the end of its chunk, or sound that is late where it stands between two.
    fn gather_open(
        &mut self,
        link: &Link,
        queue: &mut SendQueue,
        arena: &mut Arena,
        out: &mut ChunkList,
        messages: &mut Messages,
        now: Timestamp,
    ) -> Result<(), Exhausted> {
        let is_picture = self.message.is_some_and(|message| message.kind != MessageKind::Audio);
        if is_picture
            && self.chunker.is_between_chunks()
            && let Link::Up(publisher) | Link::Closing { publisher, .. } = link
            && let Some(message_stream) = publisher.publishing()
            && let Some(sound) = queue.take_sound(SOUND_WAIT_MAX, now, &mut self.inserted_segments)
        {
            let header = media_header(sound.kind, sound.timestamp_ms, message_stream);
            self.chunker.insert(&header, sound.bytes);
            self.inserted = Some(sound);
        }
        if self.inserted.is_some() {
            let segments = &mut self.inserted_segments;
            self.chunker.fill(|| segments.pop_front(), arena, out, self.send_bytes)?;
            if self.inserted_segments.is_empty() && self.chunker.is_between_chunks() {
                self.inserted = None;
                messages.audio_frames += 1;
            }
            return Ok(());
        }
        self.chunker.fill(|| queue.next_segment(), arena, out, self.send_bytes)?;
        if self.chunker.is_open() {
            return Ok(());
        }
        match self.message.take() {
            Some(message) if message.kind == MessageKind::Audio => messages.audio_frames += 1,
            Some(message) => {
                out.arrivals.push(message.arrival);
                messages.pictures += 1;
            }
            None => {}
        }
        Ok(())
    }

    fn is_full(&self, out: &ChunkList) -> bool {
        out.segments.len() >= IOVECS_MAX || out.bytes >= self.send_bytes
    }

    /// Moves `wire` to `out`; `false`: `out` is full.
    fn gather_wire(&mut self, arena: &mut Arena, out: &mut ChunkList) -> Result<bool, Exhausted> {
        while self.wire_sent < self.wire.len() {
            if out.segments.len() >= IOVECS_MAX {
                return Ok(false);
            }
            let rest = &self.wire[self.wire_sent..];
            let piece = &rest[..rest.len().min(PIECE_LEN)];
            out.push(arena.write(piece)?);
            self.wire_sent += piece.len();
        }
        self.wire.clear();
        self.wire_sent = 0;
        Ok(true)
    }

    /// Metadata and sequence headers that the server does not have yet.
    fn write_headers(&mut self, tracks: &Tracks, timestamp_ms: u32, message_stream: u32) {
        let mut body = Vec::with_capacity(512);
        write_set_data_frame(&mut body, &tracks.metadata());
        if self.sent.metadata != body {
            let type_id = message_type::DATA_AMF0;
            let header =
                MessageHeader { chunk_stream: DATA_CHUNK_STREAM, timestamp_ms, type_id, message_stream };
            self.chunker.write(&header, &body, &mut self.wire);
            self.sent.metadata.clone_from(&body);
        }
        if let Some(config) = &tracks.avc_config
            && self.sent.avc_config.as_ref() != Some(config)
        {
            body.clear();
            video::write_sequence_header(&mut body, config);
            let header = media_header(MessageKind::IdrPicture, timestamp_ms, message_stream);
            self.chunker.write(&header, &body, &mut self.wire);
            self.sent.avc_config = Some(config.clone());
            self.sent.picture = tracks.picture();
        }
        if let Some(config) = &tracks.audio_config
            && self.sent.audio_config.as_ref() != Some(config)
        {
            body.clear();
            audio::write_sequence_header(&mut body, config);
            let header = media_header(MessageKind::Audio, timestamp_ms, message_stream);
            self.chunker.write(&header, &body, &mut self.wire);
            self.sent.audio_config = Some(config.clone());
        }
    }
}

/// FCUnpublish and deleteStream, once, when closing.
fn say_goodbye(link: &mut Link) -> bool {
    match link {
        Link::Closing { publisher, has_unpublished, .. } if !*has_unpublished => {
            *has_unpublished = true;
            publisher.unpublish();
            true
        }
        _ => false,
    }
}

fn media_header(kind: MessageKind, timestamp_ms: u32, message_stream: u32) -> MessageHeader {
    let (chunk_stream, type_id) = match kind {
        MessageKind::Audio => (AUDIO_CHUNK_STREAM, message_type::AUDIO),
        MessageKind::IdrPicture | MessageKind::Picture => (VIDEO_CHUNK_STREAM, message_type::VIDEO),
    };
    MessageHeader { chunk_stream, timestamp_ms, type_id, message_stream }
}

/// How long sound waits for the rest of a picture that the server is slow to take.
const SOUND_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long one send is to take at most; far below [`super::SEND_TIMEOUT`].
const SEND_TIME: Duration = Duration::from_secs(1);
/// Bytes of the first send, of the shortest and of the longest one; the last segment and headers go beyond.
const SEND_BYTES_FIRST: usize = 64 << 10;
const SEND_BYTES_MIN: usize = 4 << 10;
const SEND_BYTES_MAX: usize = 256 << 10;
/// Bytes of one piece of `wire`; less than a slot of the pool.
const PIECE_LEN: usize = 1024;
const AUDIO_CHUNK_STREAM: u8 = 4;
const DATA_CHUNK_STREAM: u8 = 5;
const VIDEO_CHUNK_STREAM: u8 = 6;
