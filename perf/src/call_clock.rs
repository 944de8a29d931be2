//! When what happened to a call, on one clock for the callee that sends and the sink that receives: so that set-up
//! times and the way of a picture can be measured without asking what lies between.
//! Takes: moments, told by callee and sink; pictures by what they look like. Gives: set-up times, latencies.
//! Leaves out: judging them (`load`).
//!
//! Calls are known by one name on both sides: the user part that was called, and the name of the RTMP stream.
//! A picture is known by its last octets ([`PictureTail`]), which every way that does not encode anew leaves as they
//! are. So nothing is added to what is sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::callee::PictureTail;

/// Longest latency told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// A picture that left longer ago is an older showing of the same recording, or was lost and is matched by chance.
const LATENCY_MAX: Duration = Duration::from_secs(9);
/// Put before stream names by configurations that have it so.
const STREAM_NAME_PREFIX: &str = "rtmp_";

/// The pictures of one recording by their looks.
#[derive(Debug, Default)]
pub struct PictureIndex {
    places: HashMap<PictureTail, Option<u32>>,
    len: usize,
}

impl PictureIndex {
    /// Of a recording's pictures in their order; those that look alike are not told apart, and never matched.
    pub fn new(pictures: impl Iterator<Item = Option<PictureTail>>) -> Self {
        let mut index = Self::default();
        for tail in pictures {
            let place = index.len as u32;
            index.len += 1;
            if let Some(tail) = tail {
                index.places.entry(tail).and_modify(|place| *place = None).or_insert(Some(place));
            }
        }
        index
    }

    /// Which picture it is.
    pub fn place(&self, tail: &PictureTail) -> Option<u32> {
        self.places.get(tail).copied().flatten()
    }

    /// Pictures that can be told apart from all others.
    pub fn distinct(&self) -> usize {
        self.places.values().flatten().count()
    }
}

/// One call's moments, in nanoseconds since the clock's start plus one; zero is never. Relaxed throughout: each value
/// stands for itself.
pub struct CallMoments {
    answered: AtomicU64,
    first_picture: AtomicU64,
    index: Arc<PictureIndex>,
    sent: Box<[AtomicU64]>,
}

impl CallMoments {
    /// Whether it sends pictures that can be known again.
    pub fn has_pictures(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Picture `place` of the recording leaves now.
    pub fn sent(&self, place: u32, now: Moment) {
        if let Some(sent) = self.sent.get(place as usize) {
            sent.store(now.0, Ordering::Relaxed);
        }
    }
}

/// A time on a [`CallClock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// When a call was answered and shown, if it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetUp {
    /// The 200 was sent.
    pub answered: Option<Moment>,
    /// The first picture (or, in a call without pictures, the first sound) came to the sink.
    pub shown: Option<Moment>,
}

/// The clock, and what is known of the calls.
pub struct CallClock {
    start: Instant,
    calls: Mutex<HashMap<String, Arc<CallMoments>>>,
    latency: Mutex<Histogram<u64>>,
}

impl Default for CallClock {
    fn default() -> Self {
        Self { start: Instant::now(), calls: Mutex::default(), latency: Mutex::new(histogram()) }
    }
}

impl CallClock {
    /// The present.
    pub fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    /// `instant` on this clock.
    pub fn at(&self, instant: Instant) -> Moment {
        Moment(instant.saturating_duration_since(self.start).as_nanos() as u64 + 1)
    }

    /// The call was answered at `at` and will send pictures of `index`.
    pub fn answered(&self, name: &str, at: Moment, index: Arc<PictureIndex>) -> Arc<CallMoments> {
        let sent = (0..index.len).map(|_| AtomicU64::new(0)).collect();
        let moments = Arc::new(CallMoments {
            answered: AtomicU64::new(at.0),
            first_picture: AtomicU64::new(0),
            index,
            sent,
        });
        locked(&self.calls).insert(name.to_owned(), Arc::clone(&moments));
        moments
    }

    /// The call that is published as `stream_name`.
    pub fn call(&self, stream_name: &str) -> Option<Arc<CallMoments>> {
        let calls = locked(&self.calls);
        let without_prefix = || calls.get(stream_name.strip_prefix(STREAM_NAME_PREFIX)?);
        calls.get(stream_name).or_else(without_prefix).cloned()
    }

    /// Media of the call came to the sink at `now`: a picture that ends with `tail`, or sound.
    pub fn arrived(&self, call: &CallMoments, tail: Option<&PictureTail>, now: Moment) {
        if call.first_picture.load(Ordering::Relaxed) == 0 {
            call.first_picture.store(now.0, Ordering::Relaxed);
        }
        let place = tail.and_then(|tail| call.index.place(tail));
        let Some(sent) = place.and_then(|place| call.sent.get(place as usize)) else { return };
        let sent = sent.load(Ordering::Relaxed);
        let took = Duration::from_nanos(now.0.saturating_sub(sent));
        if sent != 0 && took < LATENCY_MAX {
            locked(&self.latency).saturating_record((took.as_micros() as u64).max(1));
        }
    }

    /// When a call came up.
    pub fn set_up(&self, name: &str) -> SetUp {
        let calls = locked(&self.calls);
        let Some(moments) = calls.get(name) else { return SetUp::default() };
        let moment = |value: &AtomicU64| Some(Moment(value.load(Ordering::Relaxed))).filter(|at| at.0 != 0);
        SetUp { answered: moment(&moments.answered), shown: moment(&moments.first_picture) }
    }

    /// Forgets a call that is over.
    pub fn forget(&self, name: &str) {
        locked(&self.calls).remove(name);
    }

    /// From the sending of each picture's last packet to its arrival at the sink, since the start or the last
    /// [`reset_latency`](Self::reset_latency); `None` when no picture arrived.
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(&locked(&self.latency))
    }

    /// Begins a new measurement of latency.
    pub fn reset_latency(&self) {
        locked(&self.latency).reset();
    }
}

impl Moment {
    /// Milliseconds from `earlier` to this.
    pub fn milliseconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }
}

/// A distribution of times, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// Highest.
    pub max_ms: f64,
}

impl Latency {
    /// Of a histogram in microseconds; `None` when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1_000.0,
        })
    }

    /// Of single values in ms; `None` when there is none.
    pub fn of_values(milliseconds: impl Iterator<Item = f64>) -> Option<Self> {
        let mut histogram = histogram();
        milliseconds.for_each(|value| histogram.saturating_record(((value * 1_000.0) as u64).max(1)));
        Self::of(&histogram)
    }
}

/// Microseconds to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are valid for the histogram")
}

// A panic elsewhere leaves plain numbers behind, which stay usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: PictureTail = [7; 24];

    #[test]
    fn pictures_that_look_alike_are_never_matched() {
        let [a, b] = [[1; 24], [2; 24]];
        let index = PictureIndex::new([Some(a), None, Some(b), Some(a)].into_iter());
        assert_eq!((index.place(&a), index.place(&b), index.distinct()), (None, Some(2), 1));
    }

    #[test]
    fn the_way_of_a_picture_and_of_a_call_is_timed() {
        let clock = CallClock::default();
        let index = Arc::new(PictureIndex::new([Some(TAIL)].into_iter()));
        assert_eq!(clock.set_up("p0-1"), SetUp::default());
        let call = clock.answered("p0-1", clock.now(), index);
        let found = clock.call("rtmp_p0-1").unwrap();
        clock.arrived(&found, Some(&TAIL), clock.now());
        assert_eq!(clock.latency(), None, "what was never sent has no latency");

        let sent = clock.now();
        call.sent(0, sent);
        clock.arrived(&found, Some(&TAIL), Moment(sent.0 + 5_000_000));
        clock.arrived(&found, Some(&[8; 24]), Moment(sent.0 + 6_000_000));
        clock.arrived(&found, None, Moment(sent.0 + 7_000_000));
        clock.arrived(&found, Some(&TAIL), Moment(sent.0 + 9_500_000_000));
        let latency = clock.latency().unwrap();
        assert!(latency.count == 1 && (latency.p50_ms - 5.0).abs() < 0.01, "{latency:?}");
        let set_up = clock.set_up("p0-1");
        assert!(set_up.shown.unwrap() >= set_up.answered.unwrap());
        clock.reset_latency();
        assert_eq!(clock.latency(), None);
        clock.forget("p0-1");
        assert!(clock.call("p0-1").is_none());
    }

    #[test]
    fn percentiles_of_single_values() {
        let latency = Latency::of_values((1..=100).map(f64::from)).unwrap();
        assert!(latency.count == 100 && (latency.max_ms - 100.0).abs() < 0.1, "{latency:?}");
        assert!((latency.p50_ms - 50.0).abs() < 0.1 && (latency.p99_ms - 99.0).abs() < 0.1);
        assert_eq!(Latency::of_values(std::iter::empty()), None);
    }
}
