//! What came in, by stream, counted by the sink's thread and read by anybody.
//! Takes: counts of one read. Gives: counts by stream, and in all.
//! Leaves out: where they come from (`connection`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::arrivals::Notes;
use crate::call_clock::CallClock;

/// Streams remembered, published or over; more are counted in all only.
const STREAMS_MAX: usize = 65_536;

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
    /// Audio frames; sequence headers are not counted.
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

impl StreamCounts {
    fn add(&mut self, other: &Self) {
        self.publications += other.publications;
        self.pictures += other.pictures;
        self.idr_pictures += other.idr_pictures;
        self.audio_frames += other.audio_frames;
        self.octets += other.octets;
        self.backward_timestamps += other.backward_timestamps;
    }
}

/// One stream. Written by the sink's thread alone, so that plain loads and stores suffice; relaxed, because each counter
/// stands for itself.
#[derive(Default)]
pub(super) struct StreamTally {
    publishing: AtomicBool,
    publications: AtomicU64,
    pictures: AtomicU64,
    idr_pictures: AtomicU64,
    audio_frames: AtomicU64,
    octets: AtomicU64,
    backward_timestamps: AtomicU64,
    video_timestamp_ms: AtomicU32,
    audio_timestamp_ms: AtomicU32,
}

impl StreamTally {
    /// Adds what one read brought.
    pub fn add(&self, read: &StreamCounts) {
        let add = |counter: &AtomicU64, value: u64| {
            if value != 0 {
                counter.store(counter.load(Ordering::Relaxed) + value, Ordering::Relaxed);
            }
        };
        add(&self.pictures, read.pictures);
        add(&self.idr_pictures, read.idr_pictures);
        add(&self.audio_frames, read.audio_frames);
        add(&self.octets, read.octets);
        add(&self.backward_timestamps, read.backward_timestamps);
        self.video_timestamp_ms.store(read.video_timestamp_ms, Ordering::Relaxed);
        self.audio_timestamp_ms.store(read.audio_timestamp_ms, Ordering::Relaxed);
    }

    pub fn set_publishing(&self, publishing: bool) {
        self.publishing.store(publishing, Ordering::Relaxed);
        if publishing {
            self.publications.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> StreamCounts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamCounts {
            publishing: self.publishing.load(Ordering::Relaxed),
            publications: value(&self.publications),
            pictures: value(&self.pictures),
            idr_pictures: value(&self.idr_pictures),
            audio_frames: value(&self.audio_frames),
            octets: value(&self.octets),
            backward_timestamps: value(&self.backward_timestamps),
            video_timestamp_ms: self.video_timestamp_ms.load(Ordering::Relaxed),
            audio_timestamp_ms: self.audio_timestamp_ms.load(Ordering::Relaxed),
        }
    }
}

/// All streams.
pub(super) struct Tally {
    pub clock: Option<Arc<CallClock>>,
    pub notes: Notes,
    streams: Mutex<BTreeMap<String, Arc<StreamTally>>>,
    forgotten: Mutex<StreamCounts>,
}

impl Tally {
    pub fn new(clock: Option<Arc<CallClock>>) -> Self {
        Self { clock, notes: Notes::default(), streams: Mutex::default(), forgotten: Mutex::default() }
    }

    /// The stream's counters, new ones for a new name.
    pub fn stream(&self, name: &str) -> Arc<StreamTally> {
        let mut streams = locked(&self.streams);
        if let Some(stream) = streams.get(name) {
            return Arc::clone(stream);
        }
        let stream = Arc::new(StreamTally::default());
        if streams.len() < STREAMS_MAX {
            streams.insert(name.to_owned(), Arc::clone(&stream));
        }
        stream
    }

    pub fn forget(&self, name: &str) {
        if let Some(stream) = locked(&self.streams).remove(name) {
            locked(&self.forgotten).add(&stream.counts());
        }
    }

    pub fn counts(&self) -> BTreeMap<String, StreamCounts> {
        locked(&self.streams).iter().map(|(name, stream)| (name.clone(), stream.counts())).collect()
    }

    pub fn totals(&self) -> StreamCounts {
        let streams = locked(&self.streams);
        let mut totals = StreamCounts { publishing: !streams.is_empty(), ..*locked(&self.forgotten) };
        for stream in streams.values() {
            let counts = stream.counts();
            totals.publishing &= counts.publishing;
            totals.add(&counts);
        }
        totals
    }

    pub fn publishing(&self) -> usize {
        locked(&self.streams).values().filter(|stream| stream.counts().publishing).count()
    }
}

// A panic elsewhere leaves plain numbers behind, which stay usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_stays_in_the_totals() {
        let tally = Tally::new(None);
        let [a, b] = ["a", "b"].map(|name| tally.stream(name));
        a.set_publishing(true);
        b.set_publishing(true);
        a.add(&StreamCounts { pictures: 2, octets: 10, ..StreamCounts::default() });
        b.add(&StreamCounts { pictures: 3, audio_frames: 1, ..StreamCounts::default() });
        let before = tally.totals();
        assert_eq!((before.pictures, before.publications, tally.publishing()), (5, 2, 2));
        a.set_publishing(false);
        tally.forget("a");
        let after = tally.totals();
        assert_eq!((after.pictures, after.octets, after.publications), (5, 10, 2));
        assert!(after.publishing && tally.counts().len() == 1);
    }
}
