//! What waits for one player: a bounded queue with the player's own timeline.
//! Takes: the publisher's messages and headers. Gives: tags from an IDR picture on, timestamps from 0.
//! Leaves out: how they are written (FLV, RTMP).
//!
//! Who pushes never waits. When the queue is full it is emptied, and the player continues with the next IDR
//! picture; a player that takes nothing at all is ended.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sipcast_media::rtmp::MediaKind;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::headers::{Headers, Tracks};
use crate::message::{Message, Role};
use crate::options::Limits;

/// How much audio passes before a player starts without the picture that was announced.
const PICTURE_WAIT_MS: u32 = 3_000;

/// How far the timeline moves on from one publisher to the next.
const PUBLISHER_GAP_MS: u32 = 40;

/// Bytes handed out at a time, so that a player's task does not hold a whole queue twice.
const BATCH_BYTES: usize = 256 << 10;

/// One message, on the player's timeline.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) kind: MediaKind,
    pub(crate) timestamp_ms: u32,
    pub(crate) body: Bytes,
}

/// The publisher's side as a queue must know it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) headers: &'a Headers,
    /// Which publisher of the stream this is.
    pub(crate) epoch: u64,
    pub(crate) limits: &'a Limits,
    pub(crate) stall_timeout: Duration,
}

/// What became of a pushed message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Messages dropped because the player is slow.
    pub(crate) dropped: u64,
    /// The player has taken nothing for too long and was ended.
    pub(crate) stalled: bool,
}

/// Queue between a publisher's task and one player's task.
#[derive(Debug)]
pub(crate) struct PlayerQueue {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug)]
struct State {
    tags: VecDeque<Tag>,
    bytes: usize,
    /// Headers that are queued or taken.
    sent: Headers,
    /// Tracks of the stream when the player started.
    tracks: Option<Tracks>,
    /// Nothing goes out before the next IDR picture (or audio, where no picture is expected).
    waiting: bool,
    /// Timestamp of the first audio frame that was passed over while waiting.
    waiting_since_ms: Option<u32>,
    /// What the publisher's timestamps are reduced by; `None` until the player starts on this publisher.
    base_ms: Option<u32>,
    /// Latest timestamp queued, on the player's timeline.
    latest_ms: Option<u32>,
    /// First timestamp after the latest start; what is older is passed over.
    begin_ms: u32,
    epoch: u64,
    ended: bool,
    /// When the player last took something, or the queue began to fill.
    taken: Instant,
}

impl PlayerQueue {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                tags: VecDeque::new(),
                bytes: 0,
                sent: Headers::default(),
                tracks: None,
                waiting: true,
                waiting_since_ms: None,
                base_ms: None,
                latest_ms: None,
                begin_ms: 0,
                epoch: 0,
                ended: false,
                taken: Instant::now(),
            }),
            filled: Notify::new(),
        }
    }

    /// Queues one message, or what there is to queue of it.
    pub(crate) fn push(&self, message: &Message, source: Source<'_>) -> Pushed {
        let pushed = self.lock().push(message, source);
        self.filled.notify_one();
        pushed
    }

    /// No more messages come; what is queued is still handed out.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.filled.notify_one();
    }

    /// Waits for messages and moves some into `out`; `false` at the end.
    pub(crate) async fn take(&self, out: &mut Vec<Tag>) -> bool {
        loop {
            // `notify_one` leaves a permit when nobody waits: nothing is missed between the look and the wait.
            if let Some(more) = self.lock().take(out) {
                return more;
            }
            self.filled.notified().await;
        }
    }

    /// Tracks of the stream; known once something was taken.
    pub(crate) fn tracks(&self) -> Tracks {
        self.lock().tracks.unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two statements here leaves a queue that is at worst incomplete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, message: &Message, source: Source<'_>) -> Pushed {
        let mut pushed = Pushed::default();
        if self.ended {
            return pushed;
        }
        if self.tags.is_empty() {
            self.taken = Instant::now();
        } else if self.taken.elapsed() > source.stall_timeout {
            self.clear();
            self.ended = true;
            pushed.stalled = true;
            return pushed;
        }
        if self.epoch != source.epoch {
            // Another publisher, another timeline.
            self.epoch = source.epoch;
            self.base_ms = None;
            self.wait();
        }
        if message.role == Role::Header {
            if !self.waiting {
                self.push_headers(source.headers, self.latest_ms.unwrap_or_default());
            }
            return pushed;
        }
        if self.is_full(message, source.limits) {
            pushed.dropped = self.tags.len() as u64;
            self.clear();
            self.wait();
        }
        if self.waiting && !self.start(message, source.headers) {
            return pushed;
        }
        let Some(base_ms) = self.base_ms else { return pushed };
        let timestamp_ms = message.timestamp_ms.wrapping_sub(base_ms);
        // Audio that belongs before the first picture comes behind it.
        if timestamp_ms.wrapping_sub(self.begin_ms).cast_signed() < 0 {
            return pushed;
        }
        self.push_tag(message.kind, timestamp_ms, &message.body);
        pushed
    }

    fn take(&mut self, out: &mut Vec<Tag>) -> Option<bool> {
        if self.tags.is_empty() {
            return self.ended.then_some(false);
        }
        self.taken = Instant::now();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(tag) = self.tags.pop_front()
        {
            bytes += tag.body.len();
            out.push(tag);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(true)
    }

    fn wait(&mut self) {
        self.waiting = true;
        self.waiting_since_ms = None;
    }

    /// Whether the player can start with `message`; if so, headers go before it.
    fn start(&mut self, message: &Message, headers: &Headers) -> bool {
        let starts = match message.kind {
            MediaKind::Metadata => false,
            MediaKind::Video => message.role == Role::IdrPicture,
            MediaKind::Audio => {
                let since_ms = *self.waiting_since_ms.get_or_insert(message.timestamp_ms);
                !headers.tracks().video || message.timestamp_ms.wrapping_sub(since_ms) > PICTURE_WAIT_MS
            }
        };
        if !starts {
            return false;
        }
        self.waiting = false;
        self.tracks.get_or_insert(headers.tracks());
        let base_ms = *self.base_ms.get_or_insert_with(|| {
            let begin_ms = self.latest_ms.map_or(0, |latest| latest.wrapping_add(PUBLISHER_GAP_MS));
            message.timestamp_ms.wrapping_sub(begin_ms)
        });
        self.begin_ms = message.timestamp_ms.wrapping_sub(base_ms);
        self.push_headers(headers, self.begin_ms);
        true
    }

    fn push_headers(&mut self, headers: &Headers, timestamp_ms: u32) {
        let sent = std::mem::replace(&mut self.sent, headers.clone());
        for (kind, body) in headers.missing(&sent) {
            self.push_tag(kind, timestamp_ms, body);
        }
    }

    fn push_tag(&mut self, kind: MediaKind, timestamp_ms: u32, body: &Bytes) {
        self.bytes += body.len();
        let newer = self.latest_ms.is_none_or(|latest| timestamp_ms.wrapping_sub(latest).cast_signed() > 0);
        if newer {
            self.latest_ms = Some(timestamp_ms);
        }
        self.tags.push_back(Tag { kind, timestamp_ms, body: body.clone() });
    }

    fn is_full(&self, message: &Message, limits: &Limits) -> bool {
        let Some(first) = self.tags.front() else { return false };
        let waiting_ms = self.latest_ms.unwrap_or_default().wrapping_sub(first.timestamp_ms).cast_signed();
        self.bytes + message.body.len() > limits.player_queue_bytes_max
            || i64::from(waiting_ms) > i64::from(limits.player_queue_ms_max)
            || self.tags.len() >= TAGS_MAX
    }

    fn clear(&mut self) {
        self.tags.clear();
        self.bytes = 0;
        // Headers may have been among them.
        self.sent = Headers::default();
    }
}

/// Messages that wait at most: tiny ones must not add up to more than their bytes.
const TAGS_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    struct Publisher {
        headers: Headers,
        limits: Limits,
        epoch: u64,
        queue: PlayerQueue,
        stall_timeout: Duration,
    }

    impl Publisher {
        fn new() -> Self {
            let mut headers = Headers::default();
            headers.set(MediaKind::Video, &Bytes::from_static(&[0x17, 0]));
            headers.set(MediaKind::Audio, &Bytes::from_static(&[0xaf, 0]));
            let limits =
                Limits { player_queue_bytes_max: 1_000, player_queue_ms_max: 500, ..Limits::default() };
            Self {
                headers,
                limits,
                epoch: 1,
                queue: PlayerQueue::new(),
                stall_timeout: Duration::from_secs(9),
            }
        }

        fn push(&self, kind: MediaKind, timestamp_ms: u32, body: &[u8]) -> Pushed {
            let message = Message::new(kind, timestamp_ms, Bytes::copy_from_slice(body));
            let Self { headers, limits, epoch, stall_timeout, .. } = self;
            self.queue
                .push(&message, Source { headers, epoch: *epoch, limits, stall_timeout: *stall_timeout })
        }

        fn idr(&self, timestamp_ms: u32) -> Pushed {
            self.push(MediaKind::Video, timestamp_ms, &[0x17, 1])
        }

        fn picture(&self, timestamp_ms: u32, len: usize) -> Pushed {
            self.push(MediaKind::Video, timestamp_ms, &[&[0x27, 1], &vec![0; len][..]].concat())
        }

        fn audio(&self, timestamp_ms: u32) -> Pushed {
            self.push(MediaKind::Audio, timestamp_ms, &[0xaf, 1])
        }

        fn taken(&self) -> Vec<(u32, Vec<u8>)> {
            let mut tags = Vec::new();
            let _ = self.queue.lock().take(&mut tags);
            tags.iter().map(|tag| (tag.timestamp_ms, tag.body[..2].to_vec())).collect()
        }
    }

    #[test]
    fn a_player_starts_with_headers_and_an_idr_picture_at_zero() {
        let publisher = Publisher::new();
        publisher.audio(5_000);
        publisher.picture(5_010, 0);
        publisher.idr(5_020);
        publisher.audio(5_010);
        publisher.audio(5_033);
        assert_eq!(
            publisher.taken(),
            [(0, vec![0x17, 0]), (0, vec![0xaf, 0]), (0, vec![0x17, 1]), (13, vec![0xaf, 1]),]
        );
        assert_eq!(publisher.queue.tracks(), Tracks { audio: true, video: true });
    }

    #[test]
    fn a_full_queue_is_emptied_to_the_next_idr_picture() {
        let publisher = Publisher::new();
        publisher.idr(u32::MAX - 5);
        publisher.picture(20, 900);
        assert_eq!(publisher.picture(40, 900).dropped, 4);
        assert_eq!(publisher.taken(), []);
        publisher.audio(50);
        publisher.picture(60, 10);
        publisher.idr(80);
        assert_eq!(publisher.taken(), [(86, vec![0x17, 0]), (86, vec![0xaf, 0]), (86, vec![0x17, 1])]);
        publisher.picture(600, 10);
        publisher.picture(1_100, 10);
        assert_eq!(publisher.picture(1_101, 10).dropped, 0, "500 ms are in bounds");
        assert_eq!(publisher.picture(1_102, 10).dropped, 3);
    }

    #[test]
    fn another_publisher_continues_the_timeline() {
        let mut publisher = Publisher::new();
        publisher.idr(90_000);
        publisher.picture(90_033, 10);
        publisher.taken();
        publisher.epoch = 2;
        publisher.headers.set(MediaKind::Video, &Bytes::from_static(&[0x17, 0, 9]));
        publisher.picture(3, 10);
        publisher.idr(5);
        publisher.audio(27);
        assert_eq!(publisher.taken(), [(73, vec![0x17, 0]), (73, vec![0x17, 1]), (95, vec![0xaf, 1])]);
    }

    #[test]
    fn audio_does_not_wait_for_a_picture_for_ever() {
        let publisher = Publisher::new();
        publisher.audio(0);
        publisher.audio(3_000);
        assert_eq!(publisher.taken(), []);
        publisher.audio(3_001);
        assert_eq!(publisher.taken().last(), Some(&(0, vec![0xaf, 1])));
        let mut publisher = Publisher::new();
        publisher.headers = Headers::default();
        publisher.headers.set(MediaKind::Audio, &Bytes::from_static(&[0xaf, 0]));
        publisher.audio(77);
        assert_eq!(publisher.taken(), [(0, vec![0xaf, 0]), (0, vec![0xaf, 1])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_player_that_takes_nothing_is_ended() {
        let publisher = Publisher::new();
        publisher.idr(0);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!publisher.idr(1).stalled);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(publisher.idr(2).stalled);
        assert!(!publisher.queue.take(&mut Vec::new()).await);
    }

    #[tokio::test]
    async fn what_is_queued_comes_before_the_end() {
        let publisher = Publisher::new();
        publisher.idr(0);
        publisher.queue.end();
        let mut tags = Vec::new();
        assert!(publisher.queue.take(&mut tags).await);
        assert_eq!(tags.len(), 3);
        assert!(!publisher.queue.take(&mut tags).await);
    }
}
