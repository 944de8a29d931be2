//! Messages that wait for one target: a flat list of segments with a record per message.
//! Takes: messages, changes of the tracks. Gives: them in order, segment by segment.
//! Leaves out: chunks, and when something is sent.
//!
//! Sound goes last: pictures have narrower bounds ([`SEND_QUEUE_PICTURES_MS_MAX`], [`SEND_QUEUE_SOUND_BYTES`],
//! [`SEND_QUEUE_SOUND_SLICES`]) than all together ([`SEND_QUEUE_BYTES_MAX`], [`SEND_QUEUE_SLICES_MAX`],
//! [`SEND_QUEUE_MS_MAX`]). A picture that does not fit is dropped, and all that follow up to the next IDR picture. An IDR
//! picture that does not fit throws out the pictures that wait, and so does sound that finds no room within the bounds of
//! pictures. Only sound that does not fit at all throws out the oldest sound. [`SendQueue::shed`] throws out the
//! pictures, then the sound, when others need the slots. A picture longer than the server takes is dropped like one that
//! does not fit. No allocation once warm.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::limits::{
    SEND_QUEUE_BYTES_MAX, SEND_QUEUE_MS_MAX, SEND_QUEUE_PICTURES_MS_MAX, SEND_QUEUE_SLICES_MAX,
    SEND_QUEUE_SOUND_BYTES, SEND_QUEUE_SOUND_SLICES,
};
use sipcast_pool::Segment;

use super::target::Tracks;
use crate::message::{Message, MessageKind};

/// The queue of one target.
#[derive(Debug)]
pub struct SendQueue {
    /// Longest message the server takes, in bytes.
    message_bytes_max: usize,
    /// Segments of the open message, then those of `records` in order.
    segments: VecDeque<Segment>,
    records: VecDeque<Record>,
    /// Segments left of the message that [`SendQueue::begin_next`] gave.
    open: usize,
    /// Bytes of `records`.
    bytes: usize,
    /// Pictures are dropped until an IDR picture comes.
    waits_for_idr: bool,
    pictures_dropped: u64,
    audio_dropped: u64,
    oversized: u64,
}

/// One entry of the queue.
#[derive(Debug)]
enum Record {
    /// The messages behind it belong to these tracks.
    Tracks(Rc<Tracks>),
    Message(QueuedMessage),
}

/// A message without its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// What it carries.
    pub kind: MessageKind,
    /// Media time in ms; wraps at 2^32.
    pub timestamp_ms: u32,
    /// Bytes of its body.
    pub bytes: usize,
    /// When its last datagram arrived.
    pub arrival: Timestamp,
    /// Segments of its body.
    pub segments: usize,
}

/// What comes next out of the queue.
#[derive(Debug)]
pub enum Next {
    /// New tracks: send what changed before the next message.
    Tracks(Rc<Tracks>),
    /// A message; its segments come from [`SendQueue::next_segment`].
    Message(QueuedMessage),
}

impl SendQueue {
    /// An empty queue for a server that takes messages of at most `message_bytes_max` bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            segments: VecDeque::new(),
            records: VecDeque::new(),
            open: 0,
            bytes: 0,
            waits_for_idr: false,
            pictures_dropped: 0,
            audio_dropped: 0,
            oversized: 0,
        }
    }

    /// Queues new tracks.
    pub fn push_tracks(&mut self, tracks: Rc<Tracks>) {
        // Of tracks without a message between them only the last count.
        if let Some(Record::Tracks(last)) = self.records.back_mut() {
            *last = tracks;
        } else {
            self.records.push_back(Record::Tracks(tracks));
        }
    }

    /// Queues a message, or drops it or others as the bounds want. Empty messages are passed over.
    pub fn push(&mut self, message: &Message<'_>) {
        let bytes = message.body.iter().map(|segment| segment.len()).sum();
        if bytes == 0 {
            return;
        }
        let segments = message.body.iter().filter(|segment| !segment.is_empty()).count();
        let Message { kind, timestamp_ms, arrival, .. } = *message;
        let queued = QueuedMessage { kind, timestamp_ms, bytes, arrival, segments };
        if !self.make_room(&queued) {
            return;
        }
        if segments == message.body.len() {
            self.segments.extend(message.body.iter().cloned());
        } else {
            self.segments.extend(message.body.iter().filter(|segment| !segment.is_empty()).cloned());
        }
        self.records.push_back(Record::Message(queued));
        self.bytes += bytes;
        if kind == MessageKind::IdrPicture {
            self.waits_for_idr = false;
        }
    }

    /// The next entry. For a message: take all of [`SendQueue::next_segment`] before the next call.
    pub fn begin_next(&mut self) -> Option<Next> {
        debug_assert_eq!(self.open, 0, "the open message comes first");
        Some(match self.records.pop_front()? {
            Record::Tracks(tracks) => Next::Tracks(tracks),
            Record::Message(message) => {
                self.bytes -= message.bytes;
                self.open = message.segments;
                Next::Message(message)
            }
        })
    }

    /// Takes the oldest sound out, past the open message and the pictures in front of it, if it has waited for `wait`; its
    /// segments go to `segments`. `None`: there is none, or it belongs to tracks that are still to be told.
    pub fn take_sound(
        &mut self,
        wait: Duration,
        now: Timestamp,
        segments: &mut VecDeque<Segment>,
    ) -> Option<QueuedMessage> {
        let mut begin = self.open;
        for at in 0..self.records.len() {
            match self.records[at] {
                Record::Tracks(_) => return None,
                Record::Message(message) if message.kind != MessageKind::Audio => begin += message.segments,
                Record::Message(message) if now - message.arrival < wait => return None,
                Record::Message(message) => {
                    self.records.remove(at);
                    self.bytes -= message.bytes;
                    segments.extend(self.segments.drain(begin..begin + message.segments));
                    return Some(message);
                }
            }
        }
        None
    }

    /// The next segment of the message that was begun.
    pub fn next_segment(&mut self) -> Option<Segment> {
        self.open = self.open.checked_sub(1)?;
        let segment = self.segments.pop_front();
        if self.segments.is_empty() {
            // Both begin at the start of their memory again, which is warm.
            self.segments.clear();
            if self.records.is_empty() {
                self.records.clear();
            }
        }
        segment
    }

    /// Segments of the next message; 0 when tracks or nothing come next.
    pub fn next_segments(&self) -> usize {
        match self.records.front() {
            Some(Record::Message(message)) => message.segments,
            _ => 0,
        }
    }

    /// Whether no entry waits; a message that was begun does not count.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Media time from the oldest to the newest message, in ms.
    pub fn queued_ms(&self) -> u32 {
        let newest = self.messages().next_back();
        newest.map_or(0, |newest| self.ms_until(newest.timestamp_ms))
    }

    /// Whether pictures are dropped until an IDR picture comes, and there would be room for one.
    pub fn wants_idr(&self) -> bool {
        self.waits_for_idr
            && self.bytes < SEND_QUEUE_BYTES_MAX / 2
            && self.queued_ms() < SEND_QUEUE_PICTURES_MS_MAX / 2
    }

    /// Pictures and audio frames dropped so far because the bounds were reached.
    pub const fn dropped(&self) -> (u64, u64) {
        (self.pictures_dropped, self.audio_dropped)
    }

    /// Pictures dropped so far because they are longer than the server takes; they count as dropped too.
    pub const fn oversized(&self) -> u64 {
        self.oversized
    }

    /// When the last datagram of the oldest message arrived; `None`: no message waits.
    pub fn oldest_arrival(&self) -> Option<Timestamp> {
        self.messages().next().map(|oldest| oldest.arrival)
    }

    #[cfg(test)]
    pub(super) fn capacities(&self) -> (usize, usize) {
        (self.segments.capacity(), self.records.capacity())
    }

    /// Segments that wait, those of the open message not counted: what [`SendQueue::shed`] would let go.
    pub fn segments_waiting(&self) -> usize {
        self.segments.len() - self.open
    }

    /// Drops the pictures that are not begun and counts them, or the sound when there are none; pictures go on with the
    /// next IDR picture.
    pub fn shed(&mut self) {
        if !self.drop_pictures() {
            self.retain(|queue, _| {
                queue.audio_dropped += 1;
                false
            });
        }
    }

    /// Empties the queue, for a new connection; the counts stay.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.records.clear();
        self.open = 0;
        self.bytes = 0;
        self.waits_for_idr = false;
    }

    /// Whether `message` may be queued; drops others, or counts it as dropped.
    fn make_room(&mut self, message: &QueuedMessage) -> bool {
        match message.kind {
            MessageKind::IdrPicture | MessageKind::Picture if message.bytes > self.message_bytes_max => {
                self.oversized += 1;
                self.pictures_dropped += 1;
                self.waits_for_idr = true;
                false
            }
            MessageKind::Picture if self.waits_for_idr || !self.has_room_for_pictures(message) => {
                self.pictures_dropped += 1;
                self.waits_for_idr = true;
                false
            }
            MessageKind::Picture => true,
            MessageKind::IdrPicture => {
                if !self.has_room_for_pictures(message) {
                    self.drop_pictures();
                }
                let has_room = self.has_room_for_pictures(message);
                if !has_room {
                    self.pictures_dropped += 1;
                    self.waits_for_idr = true;
                }
                has_room
            }
            MessageKind::Audio => {
                if !self.has_room_for_pictures(message) {
                    self.drop_pictures();
                }
                while !self.has_room(message) && self.drop_oldest_audio() {}
                let has_room = self.has_room(message);
                self.audio_dropped += u64::from(!has_room);
                has_room
            }
        }
    }

    fn has_room(&self, message: &QueuedMessage) -> bool {
        self.bytes + message.bytes <= SEND_QUEUE_BYTES_MAX
            && self.segments.len() + message.segments <= SEND_QUEUE_SLICES_MAX
            && self.ms_until(message.timestamp_ms) <= SEND_QUEUE_MS_MAX
    }

    /// Whether there would be room if `message` were a picture.
    fn has_room_for_pictures(&self, message: &QueuedMessage) -> bool {
        self.bytes + message.bytes <= SEND_QUEUE_BYTES_MAX - SEND_QUEUE_SOUND_BYTES
            && self.segments.len() + message.segments <= SEND_QUEUE_SLICES_MAX - SEND_QUEUE_SOUND_SLICES
            && self.ms_until(message.timestamp_ms) <= SEND_QUEUE_PICTURES_MS_MAX
    }

    fn messages(&self) -> impl DoubleEndedIterator<Item = &QueuedMessage> {
        self.records.iter().filter_map(|record| match record {
            Record::Message(message) => Some(message),
            Record::Tracks(_) => None,
        })
    }

    /// Media time from the oldest message to `timestamp_ms`; 0 when it lies before.
    fn ms_until(&self, timestamp_ms: u32) -> u32 {
        let oldest = self.messages().next().map_or(timestamp_ms, |oldest| oldest.timestamp_ms);
        let ms = timestamp_ms.wrapping_sub(oldest);
        if ms < 1 << 31 { ms } else { 0 }
    }

    /// Drops all pictures that are not begun; the next one must be an IDR picture. `false`: there was none.
    fn drop_pictures(&mut self) -> bool {
        if self.messages().all(|message| message.kind == MessageKind::Audio) {
            return false;
        }
        self.retain(|queue, message| {
            let is_audio = message.kind == MessageKind::Audio;
            queue.pictures_dropped += u64::from(!is_audio);
            is_audio
        });
        self.waits_for_idr = true;
        true
    }

    /// Drops the oldest audio frame that is not begun; `false` when there is none.
    fn drop_oldest_audio(&mut self) -> bool {
        let before = self.audio_dropped;
        self.retain(|queue, message| {
            let drops = queue.audio_dropped == before && message.kind == MessageKind::Audio;
            queue.audio_dropped += u64::from(drops);
            !drops
        });
        self.audio_dropped > before
    }

    /// Turns the queue once around and leaves out what `keeps` does not want: order and memory stay.
    fn retain(&mut self, mut keeps: impl FnMut(&mut Self, &QueuedMessage) -> bool) {
        self.segments.rotate_left(self.open);
        for _ in 0..self.records.len() {
            match self.records.pop_front() {
                Some(Record::Message(message)) if keeps(self, &message) => {
                    self.segments.rotate_left(message.segments);
                    self.records.push_back(Record::Message(message));
                }
                Some(Record::Message(message)) => {
                    self.segments.drain(..message.segments);
                    self.bytes -= message.bytes;
                }
                Some(Record::Tracks(tracks)) => self.records.push_back(Record::Tracks(tracks)),
                None => {}
            }
        }
        let mut last_was_tracks = false;
        for _ in 0..self.records.len() {
            // From the back, so that of tracks in a row the last stay.
            if let Some(record) = self.records.pop_back() {
                let is_tracks = matches!(record, Record::Tracks(_));
                if !(is_tracks && last_was_tracks) {
                    self.records.push_front(record);
                }
                last_was_tracks = is_tracks;
            }
        }
    }
}

#[cfg(test)]
mod tests;
