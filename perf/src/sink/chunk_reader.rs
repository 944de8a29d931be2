//! RTMP chunks to messages, keeping only the first octets of each (Adobe RTMP 1.0 §5.3).
//! Takes: octets as they come. Gives: a message when its last octet passed.
//! Leaves out: meaning; only Set Chunk Size is obeyed here, because the chunks themselves depend on it.

use std::collections::HashMap;

use crate::callee::{PICTURE_TAIL_LEN, PictureTail};

/// Octets kept of a command; a longer one is a fault.
const COMMAND_LEN_MAX: u32 = 16 * 1024;
/// Octets kept of audio: the FLV tag header.
const AUDIO_HEAD_LEN: usize = 2;
/// Octets kept of the front of video: the FLV tag header.
const VIDEO_HEAD_LEN: usize = 5;
/// Chunk streams of one connection.
const CHUNK_STREAMS_MAX: usize = 64;
/// §5.4.1: chunk sizes from 1 to 2^24 - 1.
const CHUNK_SIZE_MAX: u32 = 0xff_ffff;
/// Basic header 3, message header 11, extended timestamp 4.
const HEADER_LEN_MAX: usize = 18;
/// A 24-bit time of this value says that 32 bits follow (§5.3.1.3).
const EXTENDED: u32 = 0xff_ffff;

/// The peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ChunkSize,
    NoPreviousHeader,
    TooManyChunkStreams,
    CommandTooLong,
}

/// A message, its body cut to what is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub kind: u8,
    pub timestamp_ms: u32,
    pub stream_id: u32,
    /// Octets of the whole body.
    pub len: u32,
    pub head: &'a [u8],
    /// The last octets of a video body, zeros in front when it is shorter.
    pub tail: PictureTail,
}

#[derive(Default)]
struct ChunkStream {
    timestamp: u32,
    delta: u32,
    extended: bool,
    len: u32,
    kind: u8,
    stream_id: u32,
    /// Octets of the open message that came; 0 with `open` false.
    received: u32,
    open: bool,
    head: Vec<u8>,
    tail: PictureTail,
}

/// Reads one direction of one connection.
pub(super) struct ChunkReader {
    chunk_size: u32,
    header: Vec<u8>,
    streams: HashMap<u32, ChunkStream>,
    /// The chunk being read: its stream, and octets still to come.
    current: Option<(u32, u32)>,
    finished: Option<u32>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self {
            chunk_size: 128,
            header: Vec::with_capacity(HEADER_LEN_MAX),
            streams: HashMap::new(),
            current: None,
            finished: None,
        }
    }
}

impl ChunkReader {
    /// Takes from `input` up to the end of a message; `None` when all was taken and no message ended.
    ///
    /// # Errors
    /// When the peer broke the protocol; the connection is of no use after it.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message<'_>>, Fault> {
        if let Some(stream) = self.finished.take().and_then(|id| self.streams.get_mut(&id)) {
            stream.head.clear();
        }
        loop {
            let (id, remaining) = match self.current {
                Some(current) => current,
                None => match self.read_header(input)? {
                    Some(current) => current,
                    None => return Ok(None),
                },
            };
            let stream = self.streams.entry(id).or_default();
            let taken = (remaining as usize).min(input.len());
            let keep = match stream.kind {
                super::AUDIO => AUDIO_HEAD_LEN,
                super::VIDEO => VIDEO_HEAD_LEN,
                _ => COMMAND_LEN_MAX as usize,
            };
            let kept = keep.saturating_sub(stream.head.len()).min(taken);
            stream.head.extend_from_slice(&input[..kept]);
            if stream.kind == super::VIDEO {
                keep_tail(&mut stream.tail, &input[..taken]);
            }
            *input = &input[taken..];
            stream.received += taken as u32;
            let remaining = remaining - taken as u32;
            if remaining > 0 {
                self.current = Some((id, remaining));
                return Ok(None);
            }
            self.current = None;
            if stream.received == stream.len {
                return self.finish(id).map(Some);
            }
        }
    }

    fn finish(&mut self, id: u32) -> Result<Message<'_>, Fault> {
        self.finished = Some(id);
        let stream = self.streams.entry(id).or_default();
        stream.open = false;
        stream.received = 0;
        if stream.kind == super::SET_CHUNK_SIZE {
            let size =
                stream.head.first_chunk().map(|size| u32::from_be_bytes(*size)).ok_or(Fault::ChunkSize)?;
            if !(1..=CHUNK_SIZE_MAX).contains(&size) {
                return Err(Fault::ChunkSize);
            }
            self.chunk_size = size;
        }
        Ok(Message {
            kind: stream.kind,
            timestamp_ms: stream.timestamp,
            stream_id: stream.stream_id,
            len: stream.len,
            head: &stream.head,
            tail: stream.tail,
        })
    }

    /// Gathers a chunk's header octet by octet; gives its stream and how many body octets the chunk holds.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<(u32, u32)>, Fault> {
        loop {
            if let Some(len) = self.header_len()
                && self.header.len() == len
            {
                return self.begin_chunk().map(Some);
            }
            let Some((octet, rest)) = input.split_first() else { return Ok(None) };
            self.header.push(*octet);
            *input = rest;
        }
    }

    /// Length of the header that has begun, once it can be told.
    fn header_len(&self) -> Option<usize> {
        let first = *self.header.first()?;
        let basic = basic_len(first);
        let message = match first >> 6 {
            0 => 11,
            1 => 7,
            2 => 3,
            _ => 0,
        };
        if self.header.len() < basic + message {
            return None;
        }
        let extended = match self.header.get(basic..basic + 3) {
            Some(time) if message > 0 => be24(time) == EXTENDED,
            // §5.3.1.3: type 3 has the extended timestamp again when its stream had it.
            _ => self.streams.get(&chunk_stream_id(&self.header)).is_some_and(|stream| stream.extended),
        };
        Some(basic + message + if extended { 4 } else { 0 })
    }

    fn begin_chunk(&mut self) -> Result<(u32, u32), Fault> {
        let id = chunk_stream_id(&self.header);
        let format = self.header[0] >> 6;
        let rest = &self.header[basic_len(self.header[0])..];
        if !self.streams.contains_key(&id) {
            if format != 0 && format != 1 {
                return Err(Fault::NoPreviousHeader);
            }
            if self.streams.len() == CHUNK_STREAMS_MAX {
                return Err(Fault::TooManyChunkStreams);
            }
        }
        let stream = self.streams.entry(id).or_default();
        if format < 3 {
            let time = be24(rest);
            stream.extended = time == EXTENDED;
            let time = match rest.last_chunk::<4>() {
                Some(octets) if stream.extended => u32::from_be_bytes(*octets),
                _ => time,
            };
            if format < 2 {
                stream.len = be24(&rest[3..]);
                stream.kind = rest[6];
            }
            if format == 0 {
                stream.stream_id = u32::from_le_bytes([rest[7], rest[8], rest[9], rest[10]]);
                stream.timestamp = time;
                stream.delta = 0;
            } else {
                stream.delta = time;
                stream.timestamp = stream.timestamp.wrapping_add(time);
            }
            stream.received = 0;
            stream.head.clear();
            stream.tail = [0; PICTURE_TAIL_LEN];
            stream.open = true;
        } else if !stream.open {
            // A type 3 chunk that begins a message repeats the delta.
            stream.timestamp = stream.timestamp.wrapping_add(stream.delta);
            stream.head.clear();
            stream.tail = [0; PICTURE_TAIL_LEN];
            stream.open = true;
        }
        if !matches!(stream.kind, super::AUDIO | super::VIDEO | 18) && stream.len > COMMAND_LEN_MAX {
            return Err(Fault::CommandTooLong);
        }
        self.header.clear();
        Ok((id, (stream.len - stream.received).min(self.chunk_size)))
    }
}

fn keep_tail(tail: &mut PictureTail, octets: &[u8]) {
    match octets.last_chunk() {
        Some(last) => *tail = *last,
        None => {
            tail.copy_within(octets.len().., 0);
            tail[PICTURE_TAIL_LEN - octets.len()..].copy_from_slice(octets);
        }
    }
}

const fn basic_len(first: u8) -> usize {
    match first & 0x3f {
        0 => 2,
        1 => 3,
        _ => 1,
    }
}

// §5.3.1.1.
fn chunk_stream_id(header: &[u8]) -> u32 {
    match header {
        [first, second, ..] if first & 0x3f == 0 => u32::from(*second) + 64,
        [first, second, third, ..] if first & 0x3f == 1 => u32::from(*third) * 256 + u32::from(*second) + 64,
        [first, ..] => u32::from(first & 0x3f),
        [] => 0,
    }
}

fn be24(octets: &[u8]) -> u32 {
    octets.iter().take(3).fold(0, |value, octet| value << 8 | u32::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, timestamp, length, and what is kept.
    type Read = (u8, u32, u32, Vec<u8>);

    fn read_all(mut input: &[u8], cut: usize) -> Result<Vec<Read>, Fault> {
        let mut reader = ChunkReader::default();
        let mut messages = Vec::new();
        while !input.is_empty() {
            let (mut now, later) = input.split_at(cut.min(input.len()));
            while let Some(message) = reader.read(&mut now)? {
                messages.push((message.kind, message.timestamp_ms, message.len, message.head.to_vec()));
            }
            input = later;
        }
        Ok(messages)
    }

    #[test]
    fn reads_across_every_cut() {
        let mut input = vec![2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 200];
        // Video, 250 octets at 0x01000000 ms: two chunks, extended timestamp in both.
        input.extend_from_slice(&[6, 0xff, 0xff, 0xff, 0, 0, 250, 9, 1, 0, 0, 0, 1, 0, 0, 0]);
        input.extend_from_slice(&[0x17; 200]);
        input.extend_from_slice(&[0xc6, 1, 0, 0, 0]);
        input.extend_from_slice(&[0x17; 50]);
        // Audio on a two-octet chunk stream, then the same again by type 3.
        input.extend_from_slice(&[0x40, 0, 0, 0, 10, 0, 0, 2, 8, 0xaf, 1]);
        input.extend_from_slice(&[0xc0, 0, 0xaf, 1]);
        let whole = read_all(&input, input.len()).unwrap();
        assert_eq!(
            whole,
            [
                (1, 0, 4, vec![0, 0, 0, 200]),
                (9, 0x0100_0000, 250, vec![0x17; VIDEO_HEAD_LEN]),
                (8, 10, 2, vec![0xaf, 1]),
                (8, 20, 2, vec![0xaf, 1]),
            ]
        );
        for cut in 1..input.len() {
            assert_eq!(read_all(&input, cut).unwrap(), whole, "cut every {cut} octets");
        }
    }

    #[test]
    fn the_tail_of_a_picture_is_kept_across_chunks_and_reads() {
        let body: Vec<u8> = (0..=255).collect();
        let mut input = vec![6, 0, 0, 0, 0, 1, 0, 9, 1, 0, 0, 0];
        input.extend_from_slice(&body[..128]);
        input.push(0xc6);
        input.extend_from_slice(&body[128..]);
        for cut in 1..input.len() {
            let mut reader = ChunkReader::default();
            let mut tails = Vec::new();
            for mut part in input.chunks(cut) {
                while let Some(message) = reader.read(&mut part).unwrap() {
                    tails.push(message.tail);
                }
            }
            assert_eq!(tails.len(), 1, "cut every {cut} octets");
            assert_eq!(tails[0][..], body[body.len() - PICTURE_TAIL_LEN..], "cut every {cut} octets");
        }
    }

    #[test]
    fn refuses_what_breaks_the_protocol() {
        assert_eq!(read_all(&[0xc3], 1), Err(Fault::NoPreviousHeader));
        assert_eq!(read_all(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0], 99), Err(Fault::ChunkSize));
        assert_eq!(read_all(&[3, 0, 0, 0, 0xff, 0, 0, 20, 0, 0, 0, 0], 99), Err(Fault::CommandTooLong));
    }
}
