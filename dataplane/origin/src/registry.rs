//! Which streams there are, and who may begin or join one.
//! Takes: names. Gives: publications and players, within the limits.
//! Leaves out: connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::message::Message;
use crate::options::OriginOptions;
use crate::statistics::OriginStatistics;
use crate::stream::{Player, Stream};
use crate::stream_name::StreamName;

/// All streams of an origin and the places that its limits leave.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) options: OriginOptions,
    pub(crate) stop: CancellationToken,
    streams: Mutex<HashMap<StreamName, Arc<Stream>>>,
    connections: Arc<Semaphore>,
    publishers: Arc<Semaphore>,
    players: Arc<Semaphore>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    faults: AtomicU64,
    connections_refused: AtomicU64,
    publishers_refused: AtomicU64,
    ended_messages: AtomicU64,
    ended_bytes: AtomicU64,
}

/// One publisher's claim on a stream. Dropped without [`Publication::end`], the stream waits for it to come back.
#[derive(Debug)]
pub(crate) struct Publication {
    registry: Arc<Registry>,
    name: StreamName,
    stream: Arc<Stream>,
    epoch: u64,
    ended: bool,
    /// Its place among all publishers.
    _place: OwnedSemaphorePermit,
}

/// Why a stream cannot be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishRefused {
    NameTaken,
    TooMany,
}

/// Why a stream cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlayRefused {
    NotLive,
    TooMany,
}

impl Registry {
    pub(crate) fn new(options: OriginOptions) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            connections: places(options.limits.connections_max),
            publishers: places(options.limits.publishers_max),
            players: places(options.limits.players_max),
            options,
            stop: CancellationToken::new(),
            streams: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// A place for one RTMP connection.
    pub(crate) fn connect(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.connections.clone().try_acquire_owned().ok();
        if place.is_none() {
            self.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    /// Begins to publish `name`.
    pub(crate) fn publish(self: &Arc<Self>, name: StreamName) -> Result<Publication, PublishRefused> {
        let refused = |reason| {
            self.counters.publishers_refused.fetch_add(1, Ordering::Relaxed);
            reason
        };
        let place = self.publishers.clone().try_acquire_owned();
        let place = place.map_err(|_| refused(PublishRefused::TooMany))?;
        let OriginOptions { keep, limits, stall_timeout, .. } = &self.options;
        let mut streams = self.streams();
        let stream = streams
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Stream::new(name.clone(), *keep, limits.clone(), *stall_timeout)));
        let stream = stream.clone();
        let epoch = stream.begin().ok_or_else(|| refused(PublishRefused::NameTaken))?;
        drop(streams);
        Ok(Publication { registry: self.clone(), name, stream, epoch, ended: false, _place: place })
    }

    /// Joins `name`.
    pub(crate) fn play(&self, name: &StreamName) -> Result<Player, PlayRefused> {
        let stream = self.streams().get(name).cloned().ok_or(PlayRefused::NotLive)?;
        let place = self.players.clone().try_acquire_owned().map_err(|_| PlayRefused::TooMany)?;
        stream.join(place).ok_or(PlayRefused::NotLive)
    }

    /// Counts a connection that broke the protocol.
    pub(crate) fn count_fault(&self) {
        self.counters.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends all streams and their players.
    pub(crate) fn end_all(&self) {
        for (_, stream) in self.streams().drain() {
            self.retire(&stream);
        }
    }

    pub(crate) fn statistics(&self) -> OriginStatistics {
        let OriginOptions { limits, .. } = &self.options;
        let used = |places: &Semaphore, max: usize| max.saturating_sub(places.available_permits());
        let streams: Vec<Arc<Stream>> = self.streams().values().cloned().collect();
        OriginStatistics {
            connections: used(&self.connections, limits.connections_max),
            faults: self.counters.faults.load(Ordering::Relaxed),
            connections_refused: self.counters.connections_refused.load(Ordering::Relaxed),
            publishers_refused: self.counters.publishers_refused.load(Ordering::Relaxed),
            publishers: used(&self.publishers, limits.publishers_max),
            players: used(&self.players, limits.players_max),
            ended_messages: self.counters.ended_messages.load(Ordering::Relaxed),
            ended_bytes: self.counters.ended_bytes.load(Ordering::Relaxed),
            streams: streams.iter().map(|stream| stream.statistics()).collect(),
        }
    }

    pub(crate) fn stream(&self, name: &StreamName) -> Option<Arc<Stream>> {
        self.streams().get(name).cloned()
    }

    /// Forgets a stream if nobody has published it since `epoch`.
    fn forget(&self, name: &StreamName, epoch: u64) {
        let mut streams = self.streams();
        if streams.get(name).is_some_and(|stream| stream.is_over(epoch))
            && let Some(stream) = streams.remove(name)
        {
            self.retire(&stream);
        }
    }

    fn retire(&self, stream: &Stream) {
        let statistics = stream.statistics();
        self.counters.ended_messages.fetch_add(statistics.messages, Ordering::Relaxed);
        self.counters.ended_bytes.fetch_add(statistics.bytes, Ordering::Relaxed);
        stream.end();
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamName, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publication {
    /// Takes one message.
    pub(crate) fn push(&self, message: Message) {
        self.stream.publish(message);
    }

    /// The publisher has unpublished: players end at once.
    pub(crate) fn end(mut self) {
        self.ended = true;
        self.stream.pause();
        self.registry.forget(&self.name, self.epoch);
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.stream.pause();
        let (registry, name, epoch) = (self.registry.clone(), self.name.clone(), self.epoch);
        match Handle::try_current() {
            Ok(runtime) if !registry.stop.is_cancelled() => {
                runtime.spawn(async move {
                    let grace = tokio::time::sleep(registry.options.publisher_grace);
                    tokio::select! {
                        () = grace => {}
                        () = registry.stop.cancelled() => {}
                    }
                    registry.forget(&name, epoch);
                });
            }
            // The runtime or the origin is going away: nobody comes back.
            _ => registry.forget(&name, epoch),
        }
    }
}
