//! One stream: its publisher's messages, what is kept of them, its players.
//! Takes: messages of one publisher at a time. Gives: players, statistics.
//! Leaves out: names and how long a stream outlives its publisher (`registry`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sipcast_media::rtmp::MediaKind;
use tokio::sync::OwnedSemaphorePermit;

use crate::gop_cache::GopCache;
use crate::headers::{Headers, Tracks};
use crate::message::{Message, Role};
use crate::options::{Keep, Limits};
use crate::player_queue::{PlayerQueue, Source, Tag};
use crate::statistics::StreamStatistics;
use crate::stream_name::StreamName;

/// A stream that is live, or waits for its publisher to come back.
#[derive(Debug)]
pub(crate) struct Stream {
    keep: Keep,
    limits: Limits,
    stall_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Which publisher this is, from 1.
    epoch: u64,
    live: bool,
    headers: Headers,
    gop: GopCache,
    players: Vec<Arc<PlayerQueue>>,
    statistics: StreamStatistics,
}

/// One player's claim on a stream; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Player {
    stream: Arc<Stream>,
    queue: Arc<PlayerQueue>,
    /// Its place among all players.
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// A stream without publisher.
    pub(crate) fn new(name: StreamName, keep: Keep, limits: Limits, stall_timeout: Duration) -> Self {
        let mut statistics = StreamStatistics::new(name);
        statistics.live = false;
        let state = State {
            epoch: 0,
            live: false,
            headers: Headers::default(),
            gop: GopCache::default(),
            players: Vec::new(),
            statistics,
        };
        Self { keep, limits, stall_timeout, state: Mutex::new(state) }
    }

    /// A publisher begins: its epoch, or `None` when there is one already.
    pub(crate) fn begin(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.live {
            return None;
        }
        state.live = true;
        state.epoch += 1;
        state.headers = Headers::default();
        state.gop.clear();
        state.statistics.publishers += 1;
        state.statistics.video_timestamp_ms = None;
        state.statistics.audio_timestamp_ms = None;
        Some(state.epoch)
    }

    /// The publisher of this epoch is gone; players stay until [`Stream::end`].
    pub(crate) fn pause(&self) {
        let mut state = self.lock();
        state.live = false;
        state.gop.clear();
    }

    /// Whether nobody has published since `epoch`, whose publisher is gone.
    pub(crate) fn is_over(&self, epoch: u64) -> bool {
        let state = self.lock();
        !state.live && state.epoch == epoch
    }

    /// Ends all players.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.live = false;
        state.gop.clear();
        for player in state.players.drain(..) {
            player.end();
        }
    }

    /// Takes one message of the publisher.
    pub(crate) fn publish(&self, message: Message) {
        let mut state = self.lock();
        state.count(&message);
        if self.keep == Keep::CountOnly {
            return;
        }
        if message.role == Role::Header {
            state.headers.set(message.kind, &message.body);
        } else {
            state.headers.note(message.kind);
            state.gop.push(&message, &self.limits);
        }
        let State { epoch, headers, players, statistics, .. } = &mut *state;
        let source = self.source(headers, *epoch);
        players.retain(|player| {
            let pushed = player.push(&message, source);
            statistics.dropped += pushed.dropped;
            statistics.stalled += u64::from(pushed.stalled);
            !pushed.stalled
        });
    }

    /// A player joins with what is kept; `None` when the stream is not live.
    pub(crate) fn join(self: Arc<Self>, place: OwnedSemaphorePermit) -> Option<Player> {
        let queue = Arc::new(PlayerQueue::new());
        {
            let mut state = self.lock();
            if !state.live || self.keep == Keep::CountOnly {
                return None;
            }
            let source = self.source(&state.headers, state.epoch);
            for message in state.gop.messages() {
                queue.push(message, source);
            }
            state.players.push(queue.clone());
        }
        Some(Player { stream: self, queue, _place: place })
    }

    pub(crate) fn statistics(&self) -> StreamStatistics {
        let state = self.lock();
        StreamStatistics { live: state.live, players: state.players.len(), ..state.statistics.clone() }
    }

    fn source<'a>(&'a self, headers: &'a Headers, epoch: u64) -> Source<'a> {
        Source { headers, epoch, limits: &self.limits, stall_timeout: self.stall_timeout }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves a stream that is at worst incomplete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, message: &Message) {
        let statistics = &mut self.statistics;
        statistics.bytes += message.body.len() as u64;
        if message.role == Role::Header {
            statistics.headers += 1;
            return;
        }
        statistics.messages += 1;
        let latest = match message.kind {
            MediaKind::Video => {
                statistics.pictures += 1;
                statistics.idr_pictures += u64::from(message.role == Role::IdrPicture);
                &mut statistics.video_timestamp_ms
            }
            _ => {
                statistics.audio_frames += 1;
                &mut statistics.audio_timestamp_ms
            }
        };
        let before = latest.replace(message.timestamp_ms).unwrap_or(message.timestamp_ms);
        statistics.timestamps_back += u64::from(message.timestamp_ms.wrapping_sub(before).cast_signed() < 0);
    }
}

impl Player {
    /// Waits for messages and moves some into `out`; `false` at the end.
    pub(crate) async fn take(&self, out: &mut Vec<Tag>) -> bool {
        self.queue.take(out).await
    }

    /// Tracks of the stream; known once something was taken.
    pub(crate) fn tracks(&self) -> Tracks {
        self.queue.tracks()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let queue = &self.queue;
        self.stream.lock().players.retain(|player| !Arc::ptr_eq(player, queue));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::*;

    fn stream(keep: Keep) -> Arc<Stream> {
        let name = StreamName::new("live", "key").expect("valid");
        Arc::new(Stream::new(name, keep, Limits::default(), Duration::from_secs(9)))
    }

    fn place() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free")
    }

    fn video(timestamp_ms: u32, head: [u8; 2]) -> Message {
        Message::new(MediaKind::Video, timestamp_ms, Bytes::copy_from_slice(&head))
    }

    #[tokio::test]
    async fn who_joins_late_gets_the_pictures_since_the_last_idr() {
        let stream = stream(Keep::Playable);
        assert!(stream.clone().join(place()).is_none(), "not live yet");
        assert_eq!(stream.begin(), Some(1));
        assert_eq!(stream.begin(), None);
        for message in [
            video(0, [0x17, 0]),
            video(1_000, [0x17, 1]),
            video(1_033, [0x27, 1]),
            video(1_066, [0x17, 1]),
            video(1_100, [0x27, 1]),
        ] {
            stream.publish(message);
        }
        let player = stream.clone().join(place()).expect("live");
        let mut tags = Vec::new();
        assert!(player.take(&mut tags).await);
        let times: Vec<u32> = tags.iter().map(|tag| tag.timestamp_ms).collect();
        assert_eq!(times, [0, 0, 34]);
        assert_eq!(stream.statistics().players, 1);
        drop(player);
        assert_eq!(stream.statistics().players, 0);
        stream.pause();
        assert!(stream.clone().join(place()).is_none(), "waits for its publisher");
        assert!(stream.is_over(1));
        assert_eq!(stream.begin(), Some(2));
        assert!(!stream.is_over(1));
    }

    #[test]
    fn counting_keeps_nothing() {
        let stream = stream(Keep::CountOnly);
        stream.begin();
        stream.publish(video(5, [0x17, 0]));
        stream.publish(video(5, [0x17, 1]));
        stream.publish(video(4, [0x27, 1]));
        let statistics = stream.statistics();
        assert_eq!((statistics.messages, statistics.bytes, statistics.headers), (2, 6, 1));
        assert_eq!((statistics.pictures, statistics.idr_pictures, statistics.timestamps_back), (2, 1, 1));
        assert_eq!(statistics.video_timestamp_ms, Some(4));
        assert!(stream.lock().gop.messages().is_empty());
        assert!(stream.clone().join(place()).is_none());
    }
}
