//! How long pictures take through a gateway: from the arrival of their last packet at its socket to their arrival at the
//! sink, by the picture's own octets, so that it is measured alike for every system.
//! Takes: departures and arrivals. Gives: pictures sent, arrived, and the distribution.
//! Leaves out: sound.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::callee::{Departure, PictureTail};
use crate::sink::Arrivals;

/// A picture that takes longer counts as lost. The recording repeats itself after 10 s.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// What became of the pictures that left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pictures {
    /// Pictures that left the sender.
    pub sent: u64,
    /// Those of them that arrived at the sink.
    pub arrived: u64,
    /// Added latency of those, median, in ms.
    pub latency_p50_ms: f64,
    /// 95th percentile, in ms.
    pub latency_p95_ms: f64,
    /// 99th percentile, in ms.
    pub latency_p99_ms: f64,
}

/// Joins them. `call_of` says which call a stream name is of, calls counted as in `departures`; `tails` are those of
/// the recording.
pub(super) fn join(
    departures: &[Departure],
    arrivals: &Arrivals,
    tails: &[PictureTail],
    call_of: impl Fn(&str) -> Option<u32>,
) -> Pictures {
    let places: HashMap<&PictureTail, u32> =
        tails.iter().enumerate().map(|(place, tail)| (tail, place as u32)).collect();
    let calls: Vec<Option<u32>> = arrivals.streams.iter().map(|name| call_of(name)).collect();
    let mut arrived: HashMap<(u32, u32), Vec<Instant>> = HashMap::new();
    for arrival in &arrivals.pictures {
        let call = calls.get(arrival.stream as usize).copied().flatten();
        if let (Some(call), Some(picture)) = (call, places.get(&arrival.tail)) {
            arrived.entry((call, *picture)).or_default().push(arrival.at);
        }
    }
    let took = departures.iter().filter_map(|departure| {
        // Arrivals are in order of time; the first one after the departure is its own.
        let times = arrived.get(&(departure.call, departure.picture))?;
        let latency = times.iter().find(|at| **at >= departure.at)?.duration_since(departure.at);
        (latency <= LATENCY_MAX).then_some(latency)
    });
    let mut latencies: Vec<Duration> = took.collect();
    latencies.sort_unstable();
    Pictures {
        sent: departures.len() as u64,
        arrived: latencies.len() as u64,
        latency_p50_ms: quantile_ms(&latencies, 0.5),
        latency_p95_ms: quantile_ms(&latencies, 0.95),
        latency_p99_ms: quantile_ms(&latencies, 0.99),
    }
}

/// The smallest value that so large a share does not exceed; 0 of none.
fn quantile_ms(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Arrival;

    fn call_of(name: &str) -> Option<u32> {
        name.strip_prefix("call-")?.parse().ok()
    }

    #[test]
    fn a_picture_is_found_by_call_and_content_and_the_repetition_is_another() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let tails = [[7; 24], [8; 24]];
        let leaves = |call, picture, ms| Departure { call, picture, at: at(ms) };
        let arrives = |stream, tail: usize, ms| Arrival { stream, tail: tails[tail], at: at(ms) };
        let departures = [leaves(0, 0, 0), leaves(1, 0, 5), leaves(0, 1, 33), leaves(0, 0, 10_000)];
        let arrivals = Arrivals {
            pictures: vec![
                arrives(1, 0, 2),
                arrives(0, 0, 25),
                arrives(2, 0, 30),
                arrives(1, 0, 10_004),
                Arrival { stream: 1, tail: [9; 24], at: at(34) },
            ],
            streams: ["call-1", "call-0", "else"].map(str::to_owned).to_vec(),
        };
        let pictures = join(&departures, &arrivals, &tails, call_of);
        assert_eq!((pictures.sent, pictures.arrived), (4, 3));
        assert_eq!((pictures.latency_p50_ms, pictures.latency_p99_ms), (4.0, 20.0));
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        assert_eq!(join(&[], &Arrivals::default(), &[], call_of), Pictures::default());
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        for (share, ms) in [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)] {
            assert_eq!(quantile_ms(&sorted, share), ms);
        }
    }
}
