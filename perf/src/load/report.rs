//! What one run found: as JSON and as a table for people.
//! Takes: figures of two quiet moments. Gives: text.
//! Leaves out: gathering them (`run`), several runs (`series`), judging them (`thresholds`).

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::subject::CpuScope;
use crate::call_clock::Latency;
use crate::callee::Lateness;

/// All figures of one run. Counts are of the measured time; CPU figures are percent of one core; what could not be
/// measured is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Calls at the same time.
    pub calls: usize,
    /// Calls that did not come up, or were lost on the way.
    pub calls_failed: usize,
    /// Calls ordered in all: more than `calls` when some were ended and ordered anew.
    pub calls_made: usize,
    /// What kinds of calls there were.
    pub mix: String,
    /// What the network did to their RTP packets.
    pub network: String,
    /// Measured time in seconds.
    pub seconds: f64,
    /// RTP payload bits a second and call.
    pub bit_rate_per_call_bps: u64,
    /// RTP packets a second, all calls together.
    pub packets_per_second: u64,
    /// Whose CPU time `sipcast_cpu_percent` is.
    pub cpu_scope: CpuScope,
    /// CPU of sipcast, user and system.
    pub sipcast_cpu_percent: Option<f64>,
    /// The same by call.
    pub sipcast_cpu_percent_per_call: Option<f64>,
    /// CPU of the thread that sends for all callees.
    pub callee_cpu_percent: f64,
    /// CPU of the RTMP sink's thread.
    pub sink_cpu_percent: f64,
    /// CPU of the rest of the harness: SIP, orders, looking at figures.
    pub harness_cpu_percent: f64,
    /// RTP packets sent to sipcast.
    pub packets_sent: u64,
    /// RTP packets sipcast says it took.
    pub packets_received: u64,
    /// RTP packets that arrived at sipcast and were of no use to it: too late, twice, or before it knew the answer.
    pub packets_not_used: u64,
    /// RTP packets sent that did not even arrive.
    pub packets_lost: u64,
    /// RTP packets that the network profile lost; not counted as sent.
    pub packets_lost_on_purpose: u64,
    /// Gaps in sequence numbers that sipcast saw.
    pub packets_missing_by_sequence: u64,
    /// Datagrams the kernel dropped on sipcast's sockets.
    pub kernel_drops: u64,
    /// Times sipcast had no buffer to receive into.
    pub no_buffers: u64,
    /// RTP packets that the kernel did not take from the generator.
    pub send_failures: u64,
    /// Pictures sent to sipcast.
    pub pictures_sent: u64,
    /// Pictures that arrived at the sink.
    pub pictures_received: Option<u64>,
    /// Audio frames that arrived at the sink.
    pub audio_frames_received: Option<u64>,
    /// RTMP messages whose timestamp went back.
    pub backward_timestamps: Option<u64>,
    /// From the sending of a picture's last packet to its arrival at the sink.
    pub latency: Option<Latency>,
    /// From the order to the callee's 200, all calls ever made.
    pub set_up_answered: Option<Latency>,
    /// From the order to the first picture at the sink.
    pub set_up_shown: Option<Latency>,
    /// From RTP arrival to RTMP send, median, in ms, since sipcast started, as sipcast counts it.
    pub sipcast_latency_p50_ms: f64,
    /// The same, 99th percentile.
    pub sipcast_latency_p99_ms: f64,
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
    /// Packets lost by sipcast: by the count of both sides or, on a network that loses and reorders nothing itself, by
    /// sequence numbers, whichever tells of more.
    pub fn lost(&self) -> u64 {
        if self.network == PERFECT_NETWORK {
            self.packets_lost.max(self.packets_missing_by_sequence)
        } else {
            self.packets_lost
        }
    }

    /// Added latency, median, in ms: as the sink saw it, else as sipcast counts it.
    pub fn latency_p50_ms(&self) -> f64 {
        self.latency.map_or(self.sipcast_latency_p50_ms, |latency| latency.p50_ms)
    }

    /// The same, 99th percentile.
    pub fn latency_p99_ms(&self) -> f64 {
        self.latency.map_or(self.sipcast_latency_p99_ms, |latency| latency.p99_ms)
    }

    /// The table.
    pub fn table(&self) -> String {
        let rows = [self.load_rows(), self.cpu_rows(), self.count_rows(), self.time_rows()].concat();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            let _ = writeln!(table, "{name:<width$}  {value}");
            table
        })
    }

    fn load_rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("calls", format!("{} ({} failed, {} made)", self.calls, self.calls_failed, self.calls_made)),
            ("mix", self.mix.clone()),
            ("network", self.network.clone()),
            ("measured", format!("{:.1} s", self.seconds)),
            ("bit rate per call", format!("{} kbit/s", self.bit_rate_per_call_bps / 1_000)),
            ("RTP packets a second", self.packets_per_second.to_string()),
        ]
    }

    fn cpu_rows(&self) -> Vec<(&'static str, String)> {
        let mib = |kib: Option<u64>| measured(kib, |kib| format!("{:.1} MiB", kib as f64 / 1_024.0));
        let note = self.cpu_scope.note();
        let cpu = measured(self.sipcast_cpu_percent, |percent| format!("{percent:.1} % of a core{note}"));
        let per_call = |percent| format!("{percent:.3} % of a core{note}");
        vec![
            ("sipcast CPU", cpu),
            ("sipcast CPU per call", measured(self.sipcast_cpu_percent_per_call, per_call)),
            (
                "generator CPU: callees, sink, rest",
                format!(
                    "{:.1} %, {:.1} %, {:.1} % of a core",
                    self.callee_cpu_percent, self.sink_cpu_percent, self.harness_cpu_percent
                ),
            ),
            ("resident idle, loaded", format!("{}, {}", mib(self.idle_resident_kib), mib(self.resident_kib))),
            ("resident per call", measured(self.resident_per_call_kib, |kib| format!("{kib} KiB"))),
        ]
    }

    fn count_rows(&self) -> Vec<(&'static str, String)> {
        let count = |count: Option<u64>| measured(count, |count| count.to_string());
        vec![
            (
                "RTP packets sent, received, not used",
                format!("{}, {}, {}", self.packets_sent, self.packets_received, self.packets_not_used),
            ),
            ("RTP packets lost", self.packets_lost.to_string()),
            ("lost by the network profile", self.packets_lost_on_purpose.to_string()),
            ("missing by sequence", self.packets_missing_by_sequence.to_string()),
            ("kernel drops, no buffer", format!("{}, {}", self.kernel_drops, self.no_buffers)),
            (
                "pictures sent, at the sink",
                format!("{}, {}", self.pictures_sent, count(self.pictures_received)),
            ),
            ("audio frames at the sink", count(self.audio_frames_received)),
            ("timestamps going back", count(self.backward_timestamps)),
        ]
    }

    fn time_rows(&self) -> Vec<(&'static str, String)> {
        let late = |microseconds: u64| microseconds as f64 / 1_000.0;
        vec![
            ("latency p50, p90, p99, p99.9, max", measured(self.latency, five)),
            (
                "  by sipcast's own count p50, p99",
                format!("{:.2}, {:.2} ms", self.sipcast_latency_p50_ms, self.sipcast_latency_p99_ms),
            ),
            ("order to answer", measured(self.set_up_answered, five)),
            ("order to first picture", measured(self.set_up_shown, five)),
            (
                "generator lateness p50, p99, max",
                format!(
                    "{:.2}, {:.2}, {:.2} ms",
                    late(self.lateness.p50_us),
                    late(self.lateness.p99_us),
                    late(self.lateness.max_us)
                ),
            ),
            (
                "generator skipped, could not send",
                format!("{} pictures, {} packets", self.pictures_skipped, self.send_failures),
            ),
        ]
    }
}

/// The network of a run that neither loses nor delays packets.
pub(super) const PERFECT_NETWORK: &str = "perfect";

fn five(latency: Latency) -> String {
    let Latency { p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = latency;
    format!("{p50_ms:.2}, {p90_ms:.2}, {p99_ms:.2}, {p999_ms:.2}, {max_ms:.2} ms")
}

/// A figure, or that there is none.
pub(super) fn measured<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "not measured".to_owned(), text)
}

/// The counters of `GET /statistics` that a run compares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProductCounts {
    pub packets: u64,
    /// Arrived and dropped for what or when they were.
    pub not_used: u64,
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
            not_used: ["late", "duplicates", "malformed", "foreignSource", "unknownPayloadType"]
                .into_iter()
                .try_fold(0, |sum, key| anyhow::Ok(sum + streams(key)?))?,
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
        let latency =
            Latency { count: 300, p50_ms: 1.0, p90_ms: 3.0, p99_ms: 5.0, p999_ms: 6.0, max_ms: 9.0 };
        Report {
            calls: 10,
            calls_failed: 0,
            calls_made: 10,
            mix: "1000k".into(),
            network: PERFECT_NETWORK.into(),
            seconds: 10.0,
            bit_rate_per_call_bps: 1_000_000,
            packets_per_second: 100,
            cpu_scope: CpuScope::Process,
            sipcast_cpu_percent: Some(12.0),
            sipcast_cpu_percent_per_call: Some(1.2),
            callee_cpu_percent: 3.0,
            sink_cpu_percent: 2.0,
            harness_cpu_percent: 1.0,
            packets_sent: 1_000,
            packets_received: 997,
            packets_not_used: 1,
            packets_lost: 2,
            packets_lost_on_purpose: 0,
            packets_missing_by_sequence: 1,
            kernel_drops: 0,
            no_buffers: 0,
            send_failures: 0,
            pictures_sent: 300,
            pictures_received: Some(300),
            audio_frames_received: Some(400),
            backward_timestamps: Some(0),
            latency: Some(latency),
            set_up_answered: Some(latency),
            set_up_shown: None,
            sipcast_latency_p50_ms: 0.5,
            sipcast_latency_p99_ms: 4.0,
            idle_resident_kib: Some(10_000),
            resident_kib: Some(20_000),
            resident_per_call_kib: Some(1_000),
            lateness: Lateness::default(),
            pictures_skipped: 0,
            sipcast_ended_cleanly: true,
        }
    }

    /// The value behind `name` in the table.
    fn row(report: &Report, name: &str) -> String {
        let table = report.table();
        let line = table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        line[name.len()..].trim().to_owned()
    }

    #[test]
    fn the_table_says_what_was_not_measured_and_of_what() {
        assert_eq!(row(&report(), "sipcast CPU per call"), "1.200 % of a core");
        assert_eq!(row(&report(), "order to first picture"), "not measured");
        assert_eq!(row(&report(), "order to answer"), "1.00, 3.00, 5.00, 6.00, 9.00 ms");
        let blind = Report { resident_per_call_kib: None, cpu_scope: CpuScope::Shards, ..report() };
        assert_eq!(row(&blind, "resident per call"), "not measured");
        assert_eq!(row(&blind, "sipcast CPU per call"), "1.200 % of a core (shards only)");
    }

    #[test]
    fn what_the_network_lost_is_not_sipcasts_loss() {
        assert_eq!(Report { packets_missing_by_sequence: 7, ..report() }.lost(), 7);
        let lossy = Report { packets_missing_by_sequence: 70, network: "1 % lost".into(), ..report() };
        assert_eq!(lossy.lost(), 2);
        let blind = Report { latency: None, ..report() };
        assert_eq!((report().latency_p99_ms(), blind.latency_p99_ms()), (5.0, 4.0));
    }

    #[test]
    fn reads_the_statistics_and_names_what_is_missing() {
        let statistics = serde_json::json!({
            "addedLatency": { "p50Micros": 1500, "p99Micros": 6000 },
            "totals": {
                "audio": { "packets": 3, "lost": 1, "late": 1, "duplicates": 2, "malformed": 3,
                    "foreignSource": 4, "unknownPayloadType": 5 },
                "video": { "packets": 4, "lost": 2, "late": 0, "duplicates": 0, "malformed": 0,
                    "foreignSource": 0, "unknownPayloadType": 1 },
            },
            "shards": [{ "kernelDrops": 1, "noBuffers": 0 }, { "kernelDrops": 2, "noBuffers": 5 }],
        });
        let counts = ProductCounts::read(&statistics).unwrap();
        assert_eq!((counts.packets, counts.lost, counts.kernel_drops, counts.no_buffers), (7, 3, 3, 5));
        assert_eq!((counts.not_used, counts.latency_p50_ms), (16, 1.5));
        let error = ProductCounts::read(&serde_json::json!({})).unwrap_err();
        assert!(error.to_string().contains("/totals/audio/packets"), "{error}");
    }
}
