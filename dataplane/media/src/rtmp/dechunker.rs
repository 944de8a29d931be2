//! RTMP chunk stream, receiving side (Adobe RTMP 1.0 §5.3).
//! Takes: bytes in any fragmentation. Gives: whole messages. Obeys Set Chunk Size and Abort itself.
//! Leaves out: every other message's meaning.
//!
//! Bounds: [`CHUNK_STREAMS_MAX`] chunk streams; a longest message; open messages together no longer than two of
//! the longest.

use bytes::{Bytes, BytesMut};

use super::control::{BadControl, Control};
use super::message_type;

/// Chunk streams one peer may use; publishers use 4 or 5.
pub const CHUNK_STREAMS_MAX: usize = 64;

/// A whole message. `Debug` shows no payload.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Timestamp in ms; wraps at 2^32.
    pub timestamp_ms: u32,
    /// Message type ID.
    pub type_id: u8,
    /// Message stream ID.
    pub message_stream: u32,
    /// Its payload.
    pub payload: Bytes,
}

impl std::fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "message type {} at {} ms, {} bytes", self.type_id, self.timestamp_ms, self.payload.len())
    }
}

/// Why a chunk stream cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DechunkError {
    /// A type 2 or 3 chunk begins a chunk stream.
    #[error("a chunk stream begins without a message header")]
    NoHeader,
    /// A new message begins in a chunk stream before the last one ended.
    #[error("a message begins inside another")]
    Interleaved,
    /// A message longer than we take.
    #[error("a message is too long")]
    MessageTooLong,
    /// Too many long messages are open at once.
    #[error("too much is open at once")]
    TooMuchOpen,
    /// More than [`CHUNK_STREAMS_MAX`] chunk streams.
    #[error("too many chunk streams")]
    TooManyChunkStreams,
    /// A broken Set Chunk Size or Abort.
    #[error("a broken protocol control message")]
    Control(#[from] BadControl),
}

/// Joins chunks to messages. One per connection.
pub struct Dechunker {
    message_len_max: usize,
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    /// The chunk header being gathered.
    header: [u8; HEADER_LEN_MAX],
    header_len: usize,
    /// Stream and bytes left of the chunk whose payload comes next; `None`: a header comes next.
    payload: Option<(usize, usize)>,
    /// Lengths of all open messages. Invariant: `<= 2 * message_len_max`.
    open: usize,
}

/// What the last header on a chunk stream said.
struct ChunkStream {
    id: u32,
    timestamp_ms: u32,
    /// Timestamp field of the last header: the delta of a type 3 chunk that begins a message (§5.3.1.2.4).
    field: u32,
    extended: bool,
    len: usize,
    type_id: u8,
    message_stream: u32,
    /// Whether a message is begun; then `data.len() < len`, or its first chunk comes next.
    open: bool,
    data: BytesMut,
}

impl Dechunker {
    /// For a connection that just began; longer messages than `message_len_max` bytes are refused.
    pub fn new(message_len_max: usize) -> Self {
        Self {
            message_len_max,
            chunk_size: CHUNK_SIZE_INITIAL,
            streams: Vec::new(),
            header: [0; HEADER_LEN_MAX],
            header_len: 0,
            payload: None,
            open: 0,
        }
    }

    /// Takes from the front of `input` up to the end of the next message; `None`: `input` is used up. Call until
    /// `None` after each receive.
    ///
    /// # Errors
    /// See [`DechunkError`]; the connection cannot go on.
    pub fn next_message(&mut self, input: &mut &[u8]) -> Result<Option<ReceivedMessage>, DechunkError> {
        loop {
            let (index, left) = match self.payload {
                Some(payload) => payload,
                None => {
                    if !self.gather_header(input)? {
                        return Ok(None);
                    }
                    self.begin_chunk()?
                }
            };
            let (taken, rest) = input.split_at(input.len().min(left));
            *input = rest;
            let stream = &mut self.streams[index];
            stream.data.extend_from_slice(taken);
            if taken.len() < left {
                self.payload = Some((index, left - taken.len()));
                return Ok(None);
            }
            self.payload = None;
            if stream.data.len() == stream.len
                && let Some(message) = self.end_message(index)?
            {
                return Ok(Some(message));
            }
        }
    }

    /// Gathers one chunk header; `false`: `input` is used up before its end.
    fn gather_header(&mut self, input: &mut &[u8]) -> Result<bool, DechunkError> {
        loop {
            let needed = self.header_len_needed()?;
            if self.header_len == needed {
                return Ok(true);
            }
            let (taken, rest) = input.split_at(input.len().min(needed - self.header_len));
            if taken.is_empty() {
                return Ok(false);
            }
            self.header[self.header_len..self.header_len + taken.len()].copy_from_slice(taken);
            self.header_len += taken.len();
            *input = rest;
        }
    }

    /// Length of the header as far as its bytes tell by now; equal to `header_len` once it is whole.
    fn header_len_needed(&self) -> Result<usize, DechunkError> {
        if self.header_len == 0 {
            return Ok(1);
        }
        let basic = basic_header_len(self.header[0]);
        let kind = self.header[0] >> 6;
        let fixed = basic + MESSAGE_HEADER_LEN[usize::from(kind)];
        if self.header_len < fixed {
            return Ok(fixed);
        }
        let extended = match kind {
            3 => {
                let id = chunk_stream_id(&self.header);
                let stream = self.streams.iter().find(|stream| stream.id == id);
                stream.ok_or(DechunkError::NoHeader)?.extended
            }
            _ => u24(&self.header[basic..]) == EXTENDED,
        };
        Ok(fixed + if extended { 4 } else { 0 })
    }

    /// Applies the gathered header; gives the stream and the bytes of the chunk's payload.
    fn begin_chunk(&mut self) -> Result<(usize, usize), DechunkError> {
        let header = self.header;
        let kind = header[0] >> 6;
        let fields = &header[basic_header_len(header[0])..];
        let index = self.find_or_begin_stream(chunk_stream_id(&header), kind)?;
        let stream = &mut self.streams[index];
        if stream.open && kind != 3 {
            return Err(DechunkError::Interleaved);
        }
        if kind < 3 {
            stream.field = u24(fields);
            stream.extended = stream.field == EXTENDED;
        }
        if stream.extended {
            let at = MESSAGE_HEADER_LEN[usize::from(kind)];
            stream.field = u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
        }
        if kind < 2 {
            stream.len = u24(&fields[3..]) as usize;
            stream.type_id = fields[6];
        }
        if kind == 0 {
            stream.message_stream = u32::from_le_bytes([fields[7], fields[8], fields[9], fields[10]]);
        }
        if !stream.open {
            stream.timestamp_ms = match kind {
                0 => stream.field,
                _ => stream.timestamp_ms.wrapping_add(stream.field),
            };
            if stream.len > self.message_len_max {
                return Err(DechunkError::MessageTooLong);
            }
            if self.open + stream.len > 2 * self.message_len_max {
                return Err(DechunkError::TooMuchOpen);
            }
            self.open += stream.len;
            stream.open = true;
            stream.data.reserve(stream.len);
        }
        self.header_len = 0;
        Ok((index, self.chunk_size.min(stream.len - stream.data.len())))
    }

    fn find_or_begin_stream(&mut self, id: u32, kind: u8) -> Result<usize, DechunkError> {
        if let Some(index) = self.streams.iter().position(|stream| stream.id == id) {
            return Ok(index);
        }
        // §5.3.1.2 wants type 0 first; librtmp begins with type 1 in message stream 0, and all servers take it.
        if kind > 1 {
            return Err(DechunkError::NoHeader);
        }
        if self.streams.len() == CHUNK_STREAMS_MAX {
            return Err(DechunkError::TooManyChunkStreams);
        }
        self.streams.push(ChunkStream {
            id,
            timestamp_ms: 0,
            field: 0,
            extended: false,
            len: 0,
            type_id: 0,
            message_stream: 0,
            open: false,
            data: BytesMut::new(),
        });
        Ok(self.streams.len() - 1)
    }

    /// The message is whole; `None` for those that concern the chunk stream itself.
    fn end_message(&mut self, index: usize) -> Result<Option<ReceivedMessage>, DechunkError> {
        let stream = &mut self.streams[index];
        stream.open = false;
        self.open -= stream.len;
        let message = ReceivedMessage {
            timestamp_ms: stream.timestamp_ms,
            type_id: stream.type_id,
            message_stream: stream.message_stream,
            payload: std::mem::take(&mut stream.data).freeze(),
        };
        if !matches!(message.type_id, message_type::SET_CHUNK_SIZE | message_type::ABORT) {
            return Ok(Some(message));
        }
        match Control::decode(message.type_id, &message.payload)? {
            // Larger chunks than messages are no larger than messages: any valid size is fine.
            Some(Control::SetChunkSize(size)) => self.chunk_size = size as usize,
            Some(Control::Abort(id)) => self.abort(id),
            _ => {}
        }
        Ok(None)
    }

    /// §5.4.2: the open message of a chunk stream will not be finished.
    fn abort(&mut self, id: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id && stream.open) {
            stream.open = false;
            stream.data = BytesMut::new();
            self.open -= stream.len;
        }
    }
}

/// Shows no payload: names and keys travel in it.
impl std::fmt::Debug for Dechunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dechunker of {} chunk streams, {} bytes open", self.streams.len(), self.open)
    }
}

/// §5.3.1.1: 0 and 1 in the low six bits announce one or two more bytes of chunk stream ID.
const fn basic_header_len(first: u8) -> usize {
    match first & 0x3f {
        0 => 2,
        1 => 3,
        _ => 1,
    }
}

fn chunk_stream_id(header: &[u8; HEADER_LEN_MAX]) -> u32 {
    match header[0] & 0x3f {
        0 => 64 + u32::from(header[1]),
        1 => 64 + u32::from(header[1]) + 256 * u32::from(header[2]),
        id => u32::from(id),
    }
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// Basic header 3, message header 11, extended timestamp 4.
const HEADER_LEN_MAX: usize = 18;
/// By chunk type (§5.3.1.2).
const MESSAGE_HEADER_LEN: [usize; 4] = [11, 7, 3, 0];
/// §5.3.1.3.
const EXTENDED: u32 = 0xff_ffff;
/// §5.4.1.
const CHUNK_SIZE_INITIAL: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::chunker::{Chunker, MessageHeader};
    use crate::rtmp::random::SplitMix64;

    fn all(dechunker: &mut Dechunker, mut input: &[u8]) -> Result<Vec<ReceivedMessage>, DechunkError> {
        let mut messages = Vec::new();
        while let Some(message) = dechunker.next_message(&mut input)? {
            messages.push(message);
        }
        assert!(input.is_empty());
        Ok(messages)
    }

    fn header(chunk_stream: u8, timestamp_ms: u32) -> MessageHeader {
        MessageHeader { chunk_stream, timestamp_ms, type_id: 9, message_stream: 1 }
    }

    #[test]
    fn the_example_of_section_5_3_2_1() {
        // Four audio messages of 32 bytes at 1000, 1020, 1040, 1060: types 0, 2, 3, 3.
        let mut bytes = vec![3, 0, 3, 0xe8, 0, 0, 32, 8, 0x39, 0x30, 0, 0];
        bytes.extend([1; 32]);
        bytes.extend([0x83, 0, 0, 20]);
        bytes.extend([2; 32]);
        bytes.push(0xc3);
        bytes.extend([3; 32]);
        bytes.push(0xc3);
        bytes.extend([4; 32]);
        let messages = all(&mut Dechunker::new(1000), &bytes).expect("valid");
        let times: Vec<_> =
            messages.iter().map(|m| (m.timestamp_ms, m.message_stream, m.payload[0])).collect();
        assert_eq!(times, [(1000, 12345, 1), (1020, 12345, 2), (1040, 12345, 3), (1060, 12345, 4)]);
    }

    #[test]
    fn all_three_forms_of_chunk_stream_id() {
        for (basic, id) in [(vec![63u8], 63), (vec![0, 255], 319), (vec![1, 255, 255], 65_599)] {
            let mut bytes = basic.clone();
            bytes.extend([0, 0, 5, 0, 0, 1, 9, 1, 0, 0, 0, b'x']);
            let mut dechunker = Dechunker::new(10);
            let messages = all(&mut dechunker, &bytes).expect("valid");
            assert_eq!((messages.len(), dechunker.streams[0].id), (1, id));
        }
    }

    #[test]
    fn what_the_chunker_sends_arrives_over_any_fragmentation() {
        for seed in 0..60u64 {
            let mut random = SplitMix64::new(seed);
            let mut chunker = Chunker::new();
            let (mut bytes, mut sent) = (Vec::new(), Vec::new());
            let mut time = [0xff_ff00u32, 0xffff_ff00, 0][random.below(3) as usize];
            for turn in 0..60 {
                if turn == 20 {
                    chunker.announce(&mut bytes);
                }
                time = time.wrapping_add(random.below(50) as u32);
                let len = [0, 1, 127, 128, 129, 5000, 60_000, 60_001, 130_000][random.below(9) as usize];
                let mut payload = vec![0; len];
                random.fill(&mut payload);
                let header = MessageHeader {
                    chunk_stream: 4 + random.below(3) as u8,
                    timestamp_ms: time,
                    type_id: 8 + random.below(2) as u8,
                    message_stream: 1,
                };
                chunker.write(&header, &payload, &mut bytes);
                sent.push((header.timestamp_ms, header.type_id, payload));
            }
            let mut dechunker = Dechunker::new(200_000);
            let mut received = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let most = [1, 7, 2000, 100_000][random.below(4) as usize];
                let (part, after) = rest.split_at(rest.len().min(1 + random.below(most) as usize));
                received.extend(all(&mut dechunker, part).expect("valid"));
                rest = after;
            }
            let received: Vec<_> =
                received.into_iter().map(|m| (m.timestamp_ms, m.type_id, m.payload.to_vec())).collect();
            assert!(received == sent, "seed {seed}");
            assert_eq!(dechunker.open, 0);
        }
    }

    #[test]
    fn an_extended_delta_in_types_1_to_3() {
        let mut bytes = vec![6, 0, 0, 1, 0, 0, 1, 9, 1, 0, 0, 0, b'a'];
        bytes.extend([0x46, 255, 255, 255, 0, 0, 1, 9, 1, 0, 0, 0, b'b']);
        bytes.extend([0xc6, 1, 0, 0, 0, b'c']);
        let messages = all(&mut Dechunker::new(10), &bytes).expect("valid");
        let times: Vec<_> = messages.iter().map(|m| m.timestamp_ms).collect();
        assert_eq!(times, [1, 0x100_0001, 0x200_0001]);
        assert_eq!(messages[2].payload[..], b"c"[..]);
    }

    #[test]
    fn cut_at_every_length_gives_nothing_more_than_whole_messages() {
        let mut bytes = Vec::new();
        let mut chunker = Chunker::new();
        chunker.write(&header(6, 0x100_0000), &[1; 300], &mut bytes);
        chunker.write(&header(6, 0x100_0001), &[2; 3], &mut bytes);
        let first = bytes.len() - (8 + 3);
        for len in 0..bytes.len() {
            let messages = all(&mut Dechunker::new(1000), &bytes[..len]).expect("valid so far");
            assert_eq!(messages.len(), usize::from(len >= first), "{len}");
        }
    }

    #[test]
    fn abort_forgets_the_open_message_only() {
        let mut bytes = Vec::new();
        Chunker::new().write(&header(6, 0), &[1; 200], &mut bytes);
        let begun = bytes[..12 + 128].to_vec();
        let mut dechunker = Dechunker::new(1000);
        assert_eq!(all(&mut dechunker, &begun).expect("valid").len(), 0);
        let mut abort = Vec::new();
        let mut chunker = Chunker::new();
        Control::Abort(6).write(&mut chunker, &mut abort);
        Control::Abort(99).write(&mut chunker, &mut abort);
        assert_eq!(all(&mut dechunker, &abort).expect("valid").len(), 0);
        assert_eq!(dechunker.open, 0);
        assert_eq!(all(&mut dechunker, &bytes).expect("valid").len(), 1);
    }

    #[test]
    fn hostile_streams_end_in_their_error() {
        let error = |bytes: &[u8]| all(&mut Dechunker::new(1000), bytes).err();
        assert_eq!(error(&[0x83, 0, 0, 1]), Some(DechunkError::NoHeader));
        assert_eq!(error(&[0xc3]), Some(DechunkError::NoHeader));
        assert_eq!(error(&[6, 0, 0, 0, 0, 0x03, 0xe9, 9, 0, 0, 0, 0]), Some(DechunkError::MessageTooLong));
        assert_eq!(error(&[6, 0, 0, 0, 255, 255, 255, 9, 0, 0, 0, 0]), Some(DechunkError::MessageTooLong));
        let mut inside = vec![6, 0, 0, 0, 0, 3, 0xe8, 9, 0, 0, 0, 0];
        assert_eq!(error(&inside), None);
        inside.extend([0; 128]);
        inside.extend([6, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 0]);
        assert_eq!(error(&inside), Some(DechunkError::Interleaved));
        let zero = [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(error(&zero), Some(DechunkError::Control(BadControl)));
    }

    #[test]
    fn open_messages_and_chunk_streams_are_bounded() {
        let open = |id: u8, len: u16| {
            let [high, low] = len.to_be_bytes();
            let mut chunk = vec![id, 0, 0, 0, 0, high, low, 9, 0, 0, 0, 0];
            chunk.extend([0; 128]);
            chunk
        };
        let mut dechunker = Dechunker::new(1000);
        assert!(all(&mut dechunker, &open(6, 1000)).is_ok());
        assert!(all(&mut dechunker, &open(7, 1000)).is_ok());
        assert_eq!(all(&mut dechunker, &open(8, 129)).err(), Some(DechunkError::TooMuchOpen));
        let mut dechunker = Dechunker::new(1000);
        let empty = |id: u8| [0, id, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0];
        for id in 0..64 {
            assert_eq!(all(&mut dechunker, &empty(id)).map(|messages| messages.len()), Ok(1));
        }
        assert_eq!(all(&mut dechunker, &empty(64)).err(), Some(DechunkError::TooManyChunkStreams));
    }

    #[test]
    fn random_chunks_never_panic_and_stay_bounded() {
        for seed in 0..300 {
            let mut random = SplitMix64::new(seed);
            let mut dechunker = Dechunker::new(5000);
            let mut bytes = vec![0; 4000];
            random.fill(&mut bytes);
            for byte in &mut bytes {
                if random.below(3) > 0 {
                    *byte &= 0x87;
                }
            }
            let mut input = &bytes[..];
            while let Ok(Some(_)) = dechunker.next_message(&mut input) {}
            assert!(dechunker.open <= 10_000 && dechunker.streams.len() <= CHUNK_STREAMS_MAX);
        }
    }
}
