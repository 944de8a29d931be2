//! RTMP chunk stream, sending side (Adobe RTMP 1.0 §5.3).
//! Takes: messages, as a list of segments or as bytes. Gives: chunks, as a list of segments for one vectored send
//! or as bytes. Leaves out: what messages mean, and their order.
//!
//! Chunk headers are written to the arena; payload is sliced at chunk borders, never copied. Messages begin with
//! a type 0 chunk, or type 1 or 2 when stream and direction of time allow, and go on in type 3 chunks. Type 3
//! never begins a message: receivers disagree on its timestamp after a type 0 chunk.

use sipcast_contract::Timestamp;
use sipcast_contract::limits::IOVECS_MAX;
use sipcast_pool::{Arena, Segment};

pub use sipcast_pool::Exhausted;

use super::control::Control;

/// One vectored send: segments in order.
#[derive(Debug, Default)]
pub struct ChunkList {
    /// What to send; at most [`IOVECS_MAX`].
    pub segments: Vec<Segment>,
    /// Their bytes in all.
    pub bytes: usize,
    /// Arrival of each picture whose last byte is in this send.
    pub arrivals: Vec<Timestamp>,
}

impl ChunkList {
    /// An empty list with room for one send.
    pub fn new() -> Self {
        Self { segments: Vec::with_capacity(IOVECS_MAX), bytes: 0, arrivals: Vec::with_capacity(64) }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.bytes = 0;
        self.arrivals.clear();
    }

    /// Appends a segment.
    pub fn push(&mut self, segment: Segment) {
        self.bytes += segment.len();
        self.segments.push(segment);
    }
}

/// What the header of a message says, but for its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// Chunk stream ID, 2..=7.
    pub chunk_stream: u8,
    /// Timestamp in ms; wraps at 2^32.
    pub timestamp_ms: u32,
    /// Message type ID.
    pub type_id: u8,
    /// Message stream ID.
    pub message_stream: u32,
}

/// Cuts messages into chunks and remembers what each chunk stream sent last. One per connection.
#[derive(Debug)]
pub struct Chunker {
    chunk_size: usize,
    last: [Option<Last>; CHUNK_STREAMS],
    open: Option<Open>,
    /// Rest of a segment that was cut at a chunk border; belongs to the open message.
    remainder: Option<Segment>,
    /// The message that another one was put into.
    parked: Option<(Open, Option<Segment>)>,
}

/// Last header on a chunk stream.
#[derive(Clone, Copy, Debug)]
struct Last {
    timestamp_ms: u32,
    len: usize,
    type_id: u8,
    message_stream: u32,
}

/// A message on its way out. Invariant: `chunk_left <= left`, and `header` is written before any of `chunk_left`.
#[derive(Debug)]
struct Open {
    left: usize,
    chunk_left: usize,
    header: Option<Header>,
    /// Header of the type 3 chunks to come.
    next: Header,
}

/// Bytes of a chunk header.
#[derive(Clone, Copy, Debug)]
struct Header {
    bytes: [u8; HEADER_LEN_MAX],
    len: usize,
}

impl Chunker {
    /// Chunk size that both sides begin with, in bytes (§5.4.1).
    pub const CHUNK_SIZE_INITIAL: usize = 128;

    /// Chunk size that sessions announce, in bytes: most messages are one chunk, and each server takes it
    /// (Adobe's own stops at 65536).
    pub const CHUNK_SIZE: usize = 60_000;

    /// For a connection that just began.
    pub const fn new() -> Self {
        Self {
            chunk_size: Self::CHUNK_SIZE_INITIAL,
            last: [None; CHUNK_STREAMS],
            open: None,
            remainder: None,
            parked: None,
        }
    }

    /// For a connection on which [`Self::CHUNK_SIZE`] was announced already.
    pub const fn announced() -> Self {
        let mut chunker = Self::new();
        chunker.chunk_size = Self::CHUNK_SIZE;
        chunker
    }

    /// Appends Set Chunk Size and cuts by [`Self::CHUNK_SIZE`] from then on.
    pub fn announce(&mut self, out: &mut Vec<u8>) {
        Control::SetChunkSize(Self::CHUNK_SIZE as u32).write(self, out);
        self.chunk_size = Self::CHUNK_SIZE;
    }

    /// Appends a whole message as bytes, copying them: for what is no media, or goes over a plain socket.
    ///
    /// # Panics
    /// When a message of segments is open, or `payload` has 2^24 bytes or more: both are ours to avoid.
    pub fn write(&mut self, header: &MessageHeader, payload: &[u8], out: &mut Vec<u8>) {
        assert!(self.open.is_none(), "no message may begin inside another's chunk");
        let (first, next) = self.headers(header, payload.len());
        out.extend_from_slice(first.bytes());
        let (begin, rest) = payload.split_at(payload.len().min(self.chunk_size));
        out.extend_from_slice(begin);
        for chunk in rest.chunks(self.chunk_size) {
            out.extend_from_slice(next.bytes());
            out.extend_from_slice(chunk);
        }
    }

    /// Begins a message of `len` bytes whose segments [`Chunker::fill`] will take.
    ///
    /// # Panics
    /// When a message is open, or `len` is 2^24 or more.
    pub fn begin(&mut self, header: &MessageHeader, len: usize) {
        assert!(self.open.is_none(), "no message may begin inside another's chunk");
        let (first, next) = self.headers(header, len);
        self.open = Some(Open { left: len, chunk_left: len.min(self.chunk_size), header: Some(first), next });
    }

    /// Whether a message is begun and not whole yet; nothing else may be sent until it is, but for what
    /// [`Chunker::insert`] takes.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the open message stands between two chunks of its own, so that another one may be inserted.
    pub fn is_between_chunks(&self) -> bool {
        self.parked.is_none() && self.open.as_ref().is_some_and(|open| open.header.is_some())
    }

    /// Begins a message between two chunks of the open one (§5.3: that is what chunk streams are for), on another chunk
    /// stream; the open one goes on when it is whole.
    ///
    /// # Panics
    /// When it may not be inserted, or `len` is 2^24 or more.
    pub fn insert(&mut self, header: &MessageHeader, len: usize) {
        assert!(self.is_between_chunks(), "a chunk is not interrupted");
        self.parked = self.open.take().map(|open| (open, self.remainder.take()));
        self.begin(header, len);
    }

    /// Moves the open message to `out` until it is whole, until it stands between two chunks, or until `out` has
    /// [`IOVECS_MAX`] segments or `bytes_max` bytes; call again with an empty `out` for the rest. `next_segment` gives its
    /// segments in turn.
    ///
    /// # Errors
    /// [`Exhausted`]: no slot for a chunk header. The state stays right; call again later.
    ///
    /// # Panics
    /// When the segments hold fewer bytes than [`Chunker::begin`] was told.
    pub fn fill(
        &mut self,
        mut next_segment: impl FnMut() -> Option<Segment>,
        arena: &mut Arena,
        out: &mut ChunkList,
        bytes_max: usize,
    ) -> Result<(), Exhausted> {
        while let Some(open) = &mut self.open {
            if out.segments.len() >= IOVECS_MAX || out.bytes >= bytes_max {
                return Ok(());
            }
            if let Some(header) = open.header {
                out.push(arena.write(header.bytes())?);
                open.header = None;
                if open.left == 0 {
                    self.end();
                    return Ok(());
                }
                continue;
            }
            let segment = self.remainder.take().or_else(&mut next_segment);
            let segment = segment.expect("a message has as many bytes as it was begun with");
            let (segment, remainder) = split(segment, open.chunk_left);
            self.remainder = remainder;
            open.left -= segment.len();
            open.chunk_left -= segment.len();
            if !segment.is_empty() {
                out.push(segment);
            }
            if open.left == 0 {
                self.end();
                return Ok(());
            }
            if open.chunk_left == 0 {
                open.header = Some(open.next);
                open.chunk_left = open.left.min(self.chunk_size);
                return Ok(());
            }
        }
        Ok(())
    }

    /// The open message is whole; one that it was put into goes on.
    fn end(&mut self) {
        self.open = None;
        if let Some((open, remainder)) = self.parked.take() {
            (self.open, self.remainder) = (Some(open), remainder);
        }
    }

    /// Headers of the first chunk and of those that go on; remembers the message as the last of its stream.
    fn headers(&mut self, header: &MessageHeader, len: usize) -> (Header, Header) {
        assert!(len < 1 << 24, "a message length has 24 bits");
        let last = &mut self.last[usize::from(header.chunk_stream)];
        let delta = last.as_ref().and_then(|last| delta(last, header));
        let (field, kind) = match (delta, &*last) {
            (Some(delta), Some(last)) if last.len == len && last.type_id == header.type_id => (delta, 2),
            (Some(delta), _) => (delta, 1),
            _ => (header.timestamp_ms, 0),
        };
        *last = Some(Last {
            timestamp_ms: header.timestamp_ms,
            len,
            type_id: header.type_id,
            message_stream: header.message_stream,
        });
        let mut first = Header::new(kind << 6 | header.chunk_stream);
        let mut next = Header::new(3 << 6 | header.chunk_stream);
        // §5.3.1.2: a timestamp or delta that does not fit 24 bits goes to the extended field.
        let extended = field >= EXTENDED;
        first.push(&field.min(EXTENDED).to_be_bytes()[1..]);
        if kind < 2 {
            first.push(&(len as u32).to_be_bytes()[1..]);
            first.push(&[header.type_id]);
        }
        if kind == 0 {
            first.push(&header.message_stream.to_le_bytes());
        }
        if extended {
            // §5.3.1.3: type 3 chunks repeat it.
            first.push(&field.to_be_bytes());
            next.push(&field.to_be_bytes());
        }
        (first, next)
    }
}

impl Default for Chunker {
    fn default() -> Self {
        Self::new()
    }
}

impl Header {
    const fn new(basic: u8) -> Self {
        let mut bytes = [0; HEADER_LEN_MAX];
        bytes[0] = basic;
        Self { bytes, len: 1 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The delta that a type 1 or 2 chunk may carry; `None`: a type 0 chunk is needed (§5.3.1.2.1: another message
/// stream, or time goes back). Deltas that need the extended field go as type 0, which all receivers agree on.
fn delta(last: &Last, header: &MessageHeader) -> Option<u32> {
    let delta = header.timestamp_ms.wrapping_sub(last.timestamp_ms);
    // Across the wrap at 2^32 the time is sent whole: not every receiver counts on.
    let forward = header.timestamp_ms >= last.timestamp_ms;
    (forward && delta < EXTENDED && last.message_stream == header.message_stream).then_some(delta)
}

/// The first `at` bytes, and the rest if there is any.
fn split(segment: Segment, at: usize) -> (Segment, Option<Segment>) {
    if segment.len() <= at {
        return (segment, None);
    }
    let first = segment.slice(0..at);
    let len = segment.len();
    (first, Some(segment.narrow(at..len)))
}

/// Basic header 1, message header 11, extended timestamp 4.
const HEADER_LEN_MAX: usize = 16;
/// Chunk streams 0..=7; 2 to 7 are used.
const CHUNK_STREAMS: usize = 8;
/// §5.3.1.3: the 24-bit field that announces an extended timestamp.
const EXTENDED: u32 = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_pool::Pool;

    fn video(timestamp_ms: u32) -> MessageHeader {
        MessageHeader { chunk_stream: 6, timestamp_ms, type_id: 9, message_stream: 1 }
    }

    fn written(chunker: &mut Chunker, header: &MessageHeader, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        chunker.write(header, payload, &mut out);
        out
    }

    fn gathered(list: &ChunkList) -> Vec<u8> {
        list.segments.iter().flat_map(|segment| segment.iter().copied()).collect()
    }

    #[test]
    fn the_example_of_section_5_3_2_2() {
        // A video message of 307 bytes at time 1000 on chunk stream 4, message stream 12346, chunks of 128.
        let header = MessageHeader { chunk_stream: 4, timestamp_ms: 1000, type_id: 9, message_stream: 12346 };
        let out = written(&mut Chunker::new(), &header, &[7; 307]);
        assert_eq!(out.len(), 140 + 129 + 52);
        assert_eq!(out[..12], [4, 0, 3, 0xe8, 0, 1, 0x33, 9, 0x3a, 0x30, 0, 0]);
        assert_eq!((out[140], out[269]), (0xc4, 0xc4));
    }

    #[test]
    fn types_1_and_2_carry_deltas() {
        let mut chunker = Chunker::new();
        assert_eq!(written(&mut chunker, &video(1000), b"abc")[0], 0x06);
        assert_eq!(written(&mut chunker, &video(1020), b"ab"), [0x46, 0, 0, 20, 0, 0, 2, 9, b'a', b'b']);
        assert_eq!(written(&mut chunker, &video(1060), b"cd"), [0x86, 0, 0, 40, b'c', b'd']);
        assert_eq!(written(&mut chunker, &video(1050), b"cd")[0], 0x06, "time goes back");
        let other = MessageHeader { message_stream: 2, ..video(1070) };
        assert_eq!(written(&mut chunker, &other, b"cd")[0], 0x06, "another message stream");
    }

    #[test]
    fn an_extended_timestamp_is_repeated_in_type_3() {
        let mut chunker = Chunker::new();
        let below = written(&mut chunker, &video(0xff_fffe), &[1; 129]);
        assert_eq!(below[..4], [6, 0xff, 0xff, 0xfe]);
        assert_eq!(below[140], 0xc6);
        assert_eq!(below.len(), 12 + 128 + 1 + 1);
        let mut chunker = Chunker::new();
        let at = written(&mut chunker, &video(0xff_ffff), &[1; 129]);
        assert_eq!(at[..4], [6, 0xff, 0xff, 0xff]);
        assert_eq!(at[12..16], [0, 0xff, 0xff, 0xff]);
        assert_eq!(at[144..149], [0xc6, 0, 0xff, 0xff, 0xff]);
        let delta = written(&mut chunker, &video(0x100_0010), &[1; 129]);
        assert_eq!(delta[..4], [0x86, 0, 0, 0x11], "a small delta needs no extension");
        assert_eq!(delta[4 + 128], 0xc6);
        let wrapped = written(&mut chunker, &video(5), &[1; 3]);
        assert_eq!(wrapped[0], 6);
        let far = written(&mut chunker, &video(5 + 0xff_ffff), &[1; 3]);
        assert_eq!(far[0], 6, "a delta beyond 24 bits goes as type 0");
    }

    #[test]
    fn segments_are_cut_at_chunk_borders_and_match_the_written_bytes() {
        let pool = Pool::new(64, 2048);
        let mut arena = Arena::new(pool.clone());
        for chunk_size in [1, 2, 127, 128, 129, 1000, 60_000] {
            for len in [0usize, 1, 127, 128, 129, 256, 999, 5000] {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut one = Chunker { chunk_size, ..Chunker::new() };
                let mut two = Chunker { chunk_size, ..Chunker::new() };
                let mut segments = payload.chunks(300).map(|part| {
                    let mut lease = pool.claim().expect("free");
                    lease[..part.len()].copy_from_slice(part);
                    lease.freeze(0..part.len())
                });
                two.begin(&video(9), len);
                let (mut bytes, mut out) = (Vec::new(), ChunkList::new());
                while two.is_open() {
                    out.clear();
                    two.fill(|| segments.next(), &mut arena, &mut out, usize::MAX).expect("room");
                    assert!(out.segments.len() <= IOVECS_MAX);
                    bytes.extend_from_slice(&gathered(&out));
                }
                assert_eq!(bytes, written(&mut one, &video(9), &payload), "{chunk_size} {len}");
                assert!(two.remainder.is_none());
            }
        }
        assert_eq!(pool.bytes_copied(), 0);
        drop(arena);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn a_message_is_put_between_two_chunks_of_another() {
        let pool = Pool::new(8, 2048);
        let mut arena = Arena::new(pool.clone());
        let segment = |len: usize, byte: u8| {
            let mut lease = pool.claim().expect("free");
            lease[..len].fill(byte);
            lease.freeze(0..len)
        };
        let sound = MessageHeader { chunk_stream: 4, timestamp_ms: 40, type_id: 8, message_stream: 1 };
        let mut chunker = Chunker::new();
        let mut picture = [segment(200, 1), segment(100, 2)].into_iter();
        let mut frame = Some(segment(3, 9));
        let mut out = ChunkList::new();
        assert!(!chunker.is_between_chunks());
        chunker.begin(&video(9), 300);
        chunker.fill(|| picture.next(), &mut arena, &mut out, 1).expect("room");
        assert!(chunker.is_open() && !chunker.is_between_chunks(), "the header is out, its chunk is not");
        chunker.fill(|| picture.next(), &mut arena, &mut out, usize::MAX).expect("room");
        assert!(chunker.is_between_chunks());
        chunker.insert(&sound, 3);
        assert!(!chunker.is_between_chunks());
        while chunker.is_open() && frame.is_some() {
            chunker.fill(|| frame.take(), &mut arena, &mut out, usize::MAX).expect("room");
        }
        while chunker.is_open() {
            chunker.fill(|| picture.next(), &mut arena, &mut out, usize::MAX).expect("room");
        }
        let (mut apart, mut whole, mut between) = (Chunker::new(), Vec::new(), Vec::new());
        apart.write(&video(9), &[[1; 200].as_slice(), &[2; 100]].concat(), &mut whole);
        apart.write(&sound, &[9; 3], &mut between);
        assert_eq!(gathered(&out), [&whole[..140], &between, &whole[140..]].concat());
        drop((arena, out));
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn an_exhausted_pool_leaves_the_state_right() {
        let pool = Pool::new(2, 16);
        let mut arena = Arena::new(pool.clone());
        let mut lease = pool.claim().expect("free");
        lease[..3].copy_from_slice(b"abc");
        let mut body = Some(lease.freeze(0..3));
        let other = pool.claim().expect("free");
        let mut chunker = Chunker::new();
        let mut out = ChunkList::new();
        chunker.begin(&video(1), 3);
        assert_eq!(chunker.fill(|| body.take(), &mut arena, &mut out, usize::MAX), Err(Exhausted));
        assert!(out.is_empty() && chunker.is_open());
        drop(other);
        assert_eq!(chunker.fill(|| body.take(), &mut arena, &mut out, usize::MAX), Ok(()));
        assert_eq!(gathered(&out), written(&mut Chunker::new(), &video(1), b"abc"));
    }
}
