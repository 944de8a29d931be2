//! What one run found: as JSON and as a table for people.
//! Takes: figures of two quiet moments. Gives: text.
//! Leaves out: gathering them (`run`), several runs (`series`), judging them (`thresholds`).

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::callee::Lateness;

/// All figures of one run. Counts are of the measured time; CPU figures are percent of one core; what could not be
/// measured is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Calls that were measured.
    pub calls: usize,
    /// Calls that were ordered but did not come up, or were lost on the way.
    pub calls_failed: usize,
    /// Measured time in seconds.
    pub seconds: f64,
    /// RTP payload bits a second and call.
    pub bit_rate_per_call_bps: u64,
    /// RTP packets a second, all calls together.
    pub packets_per_second: u64,
    /// CPU of sipcast, user and system.
    pub sipcast_cpu_percent: Option<f64>,
    /// The same by call.
    pub sipcast_cpu_percent_per_call: Option<f64>,
    /// CPU of the callees.
    pub callee_cpu_percent: f64,
    /// CPU of the RTMP sink.
    pub sink_cpu_percent: f64,
    /// RTP packets sent to sipcast.
    pub packets_sent: u64,
    /// RTP packets sipcast says it took.
    pub packets_received: u64,
    /// The difference.
    pub packets_lost: u64,
    /// Gaps in sequence numbers that sipcast saw.
    pub packets_missing_by_sequence: u64,
    /// Datagrams the kernel dropped on sipcast's sockets.
    pub kernel_drops: u64,
    /// Times sipcast had no buffer to receive into.
    pub no_buffers: u64,
    /// Pictures sent to sipcast.
    pub pictures_sent: u64,
    /// Pictures that arrived at the sink.
    pub pictures_received: u64,
    /// Audio frames that arrived at the sink.
    pub audio_frames_received: u64,
    /// RTMP messages whose timestamp went back.
    pub backward_timestamps: u64,
    /// From RTP arrival to RTMP send, median, in ms, since sipcast started, as sipcast counts it.
    pub added_latency_p50_ms: f64,
    /// The same, 99th percentile.
    pub added_latency_p99_ms: f64,
    /// Resident memory of sipcast without calls, in KiB.
    pub idle_resident_kib: Option<u64>,
    /// With all calls, in KiB.
    pub resident_kib: Option<u64>,
    /// What a call adds, in KiB.
    pub resident_per_call_kib: Option<u64>,
    /// How late the callees' packets left.
    pub lateness: Lateness,
    /// Pictures the callees left out because they were late: not to be blamed on sipcast.
    pub pictures_skipped: u64,
    /// Whether sipcast ended by itself, with success, when it was asked to.
    pub sipcast_ended_cleanly: bool,
}

impl Report {
    /// Packets lost by sipcast, by the count of both sides or by sequence numbers, whichever tells of more.
    pub fn lost(&self) -> u64 {
        self.packets_lost.max(self.packets_missing_by_sequence)
    }

    /// Added latency, 99th percentile, in ms.
    pub const fn latency_p99_ms(&self) -> Option<f64> {
        Some(self.added_latency_p99_ms)
    }

    /// From the order to the answer, 99th percentile, in ms.
    pub const fn setup_p99_ms(&self) -> Option<f64> {
        None
    }

    /// The table.
    pub fn table(&self) -> String {
        let mib = |kib: Option<u64>| measured(kib, |kib| format!("{:.1} MiB", kib as f64 / 1_024.0));
        let late = |microseconds: u64| microseconds as f64 / 1_000.0;
        let rows = [
            ("calls", format!("{} ({} failed)", self.calls, self.calls_failed)),
            ("measured", format!("{:.1} s", self.seconds)),
            ("bit rate per call", format!("{} kbit/s", self.bit_rate_per_call_bps / 1_000)),
            ("RTP packets a second", self.packets_per_second.to_string()),
            (
                "sipcast CPU",
                measured(self.sipcast_cpu_percent, |percent| format!("{percent:.1} % of a core")),
            ),
            (
                "sipcast CPU per call",
                measured(self.sipcast_cpu_percent_per_call, |percent| format!("{percent:.3} % of a core")),
            ),
            ("callees CPU", format!("{:.1} % of a core", self.callee_cpu_percent)),
            ("sink CPU", format!("{:.1} % of a core", self.sink_cpu_percent)),
            ("RTP packets sent", self.packets_sent.to_string()),
            ("RTP packets received", self.packets_received.to_string()),
            ("RTP packets lost", self.packets_lost.to_string()),
            ("missing by sequence", self.packets_missing_by_sequence.to_string()),
            ("kernel drops, no buffer", format!("{}, {}", self.kernel_drops, self.no_buffers)),
            ("pictures sent", self.pictures_sent.to_string()),
            ("pictures at the sink", self.pictures_received.to_string()),
            ("audio frames at the sink", self.audio_frames_received.to_string()),
            ("timestamps going back", self.backward_timestamps.to_string()),
            (
                "added latency p50, p99",
                format!("{:.2} ms, {:.2} ms", self.added_latency_p50_ms, self.added_latency_p99_ms),
            ),
            ("resident idle, loaded", format!("{}, {}", mib(self.idle_resident_kib), mib(self.resident_kib))),
            ("resident per call", measured(self.resident_per_call_kib, |kib| format!("{kib} KiB"))),
            (
                "callee lateness p50, p99, max",
                format!(
                    "{:.2} ms, {:.2} ms, {:.2} ms",
                    late(self.lateness.p50_us),
                    late(self.lateness.p99_us),
                    late(self.lateness.max_us)
                ),
            ),
            ("pictures the callees skipped", self.pictures_skipped.to_string()),
        ];
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            let _ = writeln!(table, "{name:<width$}  {value}");
            table
        })
    }
}

/// A figure, or that there is none.
pub(super) fn measured<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "not measured".to_owned(), text)
}

/// The counters of `GET /statistics` that a run compares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProductCounts {
    pub packets: u64,
    pub lost: u64,
    pub kernel_drops: u64,
    pub no_buffers: u64,
    pub latency_p50_ms: f64,
    pub latency_p99_ms: f64,
}

impl ProductCounts {
    /// Reads them.
    ///
    /// # Errors
    /// Names the key that is missing.
    pub fn read(statistics: &Value) -> anyhow::Result<Self> {
        let number = |pointer: &str| {
            statistics
                .pointer(pointer)
                .and_then(Value::as_u64)
                .ok_or_else(|| anyhow::anyhow!("GET /statistics has no {pointer}"))
        };
        let shards = |key: &str| -> u64 {
            let shards = statistics.get("shards").and_then(Value::as_array);
            shards.into_iter().flatten().filter_map(|shard| shard.get(key)?.as_u64()).sum()
        };
        let streams = |key: &str| {
            anyhow::Ok(number(&format!("/totals/audio/{key}"))? + number(&format!("/totals/video/{key}"))?)
        };
        Ok(Self {
            packets: streams("packets")?,
            lost: streams("lost")?,
            kernel_drops: shards("kernelDrops"),
            no_buffers: shards("noBuffers"),
            latency_p50_ms: number("/addedLatency/p50Micros")? as f64 / 1_000.0,
            latency_p99_ms: number("/addedLatency/p99Micros")? as f64 / 1_000.0,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn report() -> Report {
        Report {
            calls: 10,
            calls_failed: 0,
            seconds: 10.0,
            bit_rate_per_call_bps: 1_000_000,
            packets_per_second: 100,
            sipcast_cpu_percent: Some(12.0),
            sipcast_cpu_percent_per_call: Some(1.2),
            callee_cpu_percent: 3.0,
            sink_cpu_percent: 2.0,
            packets_sent: 1_000,
            packets_received: 998,
            packets_lost: 2,
            packets_missing_by_sequence: 1,
            kernel_drops: 0,
            no_buffers: 0,
            pictures_sent: 300,
            pictures_received: 300,
            audio_frames_received: 400,
            backward_timestamps: 0,
            added_latency_p50_ms: 1.0,
            added_latency_p99_ms: 5.0,
            idle_resident_kib: Some(10_000),
            resident_kib: Some(20_000),
            resident_per_call_kib: Some(1_000),
            lateness: Lateness::default(),
            pictures_skipped: 0,
            sipcast_ended_cleanly: true,
        }
    }

    #[test]
    fn the_table_says_what_was_not_measured() {
        assert!(report().table().contains("sipcast CPU per call           1.200 % of a core"));
        let blind = Report { resident_per_call_kib: None, ..report() };
        assert!(blind.table().contains("resident per call              not measured"), "{}", blind.table());
    }

    #[test]
    fn reads_the_statistics_and_names_what_is_missing() {
        let statistics = serde_json::json!({
            "addedLatency": { "p50Micros": 1500, "p99Micros": 6000 },
            "totals": { "audio": { "packets": 3, "lost": 1 }, "video": { "packets": 4, "lost": 2 } },
            "shards": [{ "kernelDrops": 1, "noBuffers": 0 }, { "kernelDrops": 2, "noBuffers": 5 }],
        });
        let counts = ProductCounts::read(&statistics).unwrap();
        assert_eq!((counts.packets, counts.lost, counts.kernel_drops, counts.no_buffers), (7, 3, 3, 5));
        assert_eq!(counts.latency_p50_ms, 1.5);
        let error = ProductCounts::read(&serde_json::json!({})).unwrap_err();
        assert!(error.to_string().contains("/totals/audio/packets"), "{error}");
    }
}
