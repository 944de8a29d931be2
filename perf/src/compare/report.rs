//! The comparison: by system and number of calls, as ratios, as a table, as a plot, against thresholds.
//! Takes: measurements of all rounds. Gives: text. Leaves out: measuring (`measure`).
//!
//! What a system takes is the least of its rounds: whatever else a machine does only adds to CPU time. Everything
//! else is the median of the rounds.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::measure::Measurement;
use super::system::System;
use crate::load::Machine;
use crate::load::plot::{Line, Panel, svg};

/// All that was measured, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Where.
    pub machine: Machine,
    /// What the peers say of themselves.
    pub versions: Vec<String>,
    /// Video bits a second and call that were asked of the encoder.
    pub bit_rate_bps: u32,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// Rounds.
    pub repeat: usize,
    /// Every single one, in the order in which they were taken.
    pub measurements: Vec<Measurement>,
}

/// How sipcast stands; `None` where one side was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ratios {
    /// Calls at which sipcast is taken: its highest number.
    pub calls: u16,
    /// CPU per call of ffmpeg at its best over sipcast's.
    pub ffmpeg_to_sipcast: Option<f64>,
    /// CPU per call of GStreamer at its best over sipcast's.
    pub gstreamer_to_sipcast: Option<f64>,
    /// CPU per call of sipcast over the floor's, at the same calls.
    pub sipcast_to_floor: Option<f64>,
}

/// Limits that a comparison must keep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thresholds {
    /// Highest ratio of sipcast to the floor.
    pub max_ratio_floor: Option<f64>,
    /// Lowest ratio of each peer to sipcast.
    pub min_ratio_peers: Option<f64>,
    /// Highest added latency of sipcast, 99th percentile, in ms, at every number of calls.
    pub max_latency_p99_ms: Option<f64>,
    /// RTP packets that the kernel may drop on sipcast's sockets.
    pub max_dropped: Option<u64>,
}

/// One system at one number of calls, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Row {
    system: System,
    calls: u16,
    cpu_percent_per_call: f64,
    cpu_percent_per_call_median: f64,
    wakes_per_second_per_call: f64,
    memory_per_call_kib: f64,
    packets_dropped: u64,
    pictures_missing: Option<u64>,
    latency_p50_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
}

impl Comparison {
    /// Everything as JSON: the measurements, the rows of the table, the ratios.
    ///
    /// # Errors
    /// When a figure has no place in JSON.
    pub fn json(&self) -> serde_json::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        value["rows"] = json!(self.rows());
        value["ratios"] = json!(self.ratios());
        Ok(value)
    }

    /// How sipcast stands beside the others.
    pub fn ratios(&self) -> Ratios {
        let rows = self.rows();
        let Some(own) = rows.iter().filter(|row| row.system == System::Sipcast).max_by_key(|row| row.calls)
        else {
            return Ratios::default();
        };
        let best = |systems: [System; 2]| {
            rows.iter()
                .filter(|row| systems.contains(&row.system))
                .map(|row| row.cpu_percent_per_call / own.cpu_percent_per_call)
                .min_by(f64::total_cmp)
        };
        let floor = rows.iter().find(|row| row.system == System::Floor && row.calls == own.calls);
        Ratios {
            calls: own.calls,
            ffmpeg_to_sipcast: best([System::Ffmpeg, System::FfmpegFast]),
            gstreamer_to_sipcast: best([System::Gstreamer, System::GstreamerOne]),
            sipcast_to_floor: floor.map(|row| own.cpu_percent_per_call / row.cpu_percent_per_call),
        }
    }

    /// What broke a threshold, one line each; empty when all is well. A threshold on what was not measured is broken.
    pub fn broken(&self, thresholds: &Thresholds) -> Vec<String> {
        let ratios = self.ratios();
        let mut broken = Vec::new();
        if let Some(max) = thresholds.max_ratio_floor {
            match ratios.sipcast_to_floor {
                Some(ratio) if ratio <= max => {}
                Some(ratio) => {
                    broken.push(format!("sipcast takes {ratio:.2} times the floor, allowed are {max}"))
                }
                None => {
                    broken.push("--max-ratio-floor: sipcast and the floor were not both measured".to_owned())
                }
            }
        }
        if let Some(min) = thresholds.min_ratio_peers {
            let peers = [("ffmpeg", ratios.ffmpeg_to_sipcast), ("GStreamer", ratios.gstreamer_to_sipcast)];
            let measured = peers.iter().filter_map(|(name, ratio)| Some((name, (*ratio)?)));
            let too_low = measured.clone().filter(|(_, ratio)| *ratio < min);
            broken.extend(too_low.map(|(name, ratio)| {
                format!("{name} takes {ratio:.1} times what sipcast takes, wanted are {min}")
            }));
            if measured.count() == 0 {
                broken.push("--min-ratio-peers: sipcast and a peer were not both measured".to_owned());
            }
        }
        for row in self.rows().iter().filter(|row| row.system == System::Sipcast) {
            if let (Some(max), Some(latency)) = (thresholds.max_latency_p99_ms, row.latency_p99_ms)
                && latency > max
            {
                broken.push(format!("{} calls: latency p99 {latency:.1} ms, allowed are {max}", row.calls));
            }
            if let Some(max) = thresholds.max_dropped
                && row.packets_dropped > max
            {
                let dropped = row.packets_dropped;
                broken.push(format!("{} calls: {dropped} packets dropped, allowed are {max}", row.calls));
            }
        }
        broken
    }

    /// The table, with what was measured above it and the ratios below.
    pub fn table(&self) -> String {
        let mut out = format!("{}\n", self.machine);
        for version in &self.versions {
            let _ = writeln!(out, "{version}");
        }
        let _ = writeln!(
            out,
            "H.264 of {} kbit/s passed through, PCMU to AAC 48 kHz; {} s, {} rounds; CPU: least of the rounds (median)\n",
            self.bit_rate_bps / 1_000,
            self.seconds,
            self.repeat
        );
        let _ = writeln!(
            out,
            "{:<14} {:>5}  {:>19}  {:>9}  {:>10}  {:>7}  {:>8}  latency ms p50, p95, p99",
            "system", "calls", "CPU/call, % of core", "wakes/s", "memory", "dropped", "missing"
        );
        let rows = self.rows();
        rows.iter().for_each(|row| row.write(&mut out));
        let _ = writeln!(out);
        for system in System::ALL.into_iter().filter(|system| rows.iter().any(|row| row.system == *system)) {
            let _ = writeln!(out, "{system:<14} {}", system.description());
        }
        let _ = writeln!(out);
        let Ratios { calls, ffmpeg_to_sipcast, gstreamer_to_sipcast, sipcast_to_floor } = self.ratios();
        if let Some(ratio) = ffmpeg_to_sipcast {
            let _ = writeln!(out, "ffmpeg at its best : sipcast at {calls} calls     {ratio:.1} : 1");
        }
        if let Some(ratio) = gstreamer_to_sipcast {
            let _ = writeln!(out, "GStreamer at its best : sipcast at {calls} calls  {ratio:.1} : 1");
        }
        if let Some(ratio) = sipcast_to_floor {
            let _ = writeln!(out, "sipcast : floor, both at {calls} calls            {ratio:.2} : 1");
        }
        out
    }

    /// CPU and latency against calls.
    pub fn svg(&self) -> String {
        let rows = self.rows();
        let lines = |systems: &[System], value: &dyn Fn(&Row) -> Option<f64>| -> Vec<Line> {
            let line = |system: &System| {
                let points: Vec<(f64, f64)> = rows
                    .iter()
                    .filter(|row| row.system == *system)
                    .filter_map(|row| Some((f64::from(row.calls), value(row)?)))
                    .collect();
                (!points.is_empty()).then(|| Line { name: system.name(), points })
            };
            systems.iter().filter_map(line).collect()
        };
        let cpu = |row: &Row| Some(row.cpu_percent_per_call);
        let panels = [
            Panel { title: "CPU per call, % of a core", lines: lines(&System::ALL, &cpu) },
            Panel {
                title: "The same of sipcast and the floor alone",
                lines: lines(&[System::Sipcast, System::Floor], &cpu),
            },
            Panel {
                title: "Added latency of pictures, p99, ms",
                lines: lines(&System::ALL, &|row| row.latency_p99_ms),
            },
        ];
        svg(&panels, "calls", &self.machine.to_string())
    }

    fn rows(&self) -> Vec<Row> {
        let mut keys: Vec<(System, u16)> =
            self.measurements.iter().map(|measurement| (measurement.system, measurement.calls)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(|(system, calls)| self.row(system, calls)).collect()
    }

    fn row(&self, system: System, calls: u16) -> Row {
        let rounds: Vec<&Measurement> = self
            .measurements
            .iter()
            .filter(|measurement| measurement.system == system && measurement.calls == calls)
            .collect();
        let median_of = |value: &dyn Fn(&Measurement) -> f64| median(rounds.iter().map(|round| value(round)));
        let pictures: Vec<_> = rounds.iter().filter_map(|round| round.pictures).collect();
        let latency = |value: &dyn Fn(&super::Pictures) -> f64| {
            (!pictures.is_empty()).then(|| median(pictures.iter().map(value)))
        };
        let cpu = |round: &Measurement| round.cpu_percent_per_call;
        Row {
            system,
            calls,
            cpu_percent_per_call: rounds.iter().map(|round| cpu(round)).fold(f64::INFINITY, f64::min),
            cpu_percent_per_call_median: median_of(&cpu),
            wakes_per_second_per_call: median_of(&|round| round.wakes_per_second_per_call),
            memory_per_call_kib: median_of(&|round| round.memory_per_call_kib as f64),
            packets_dropped: rounds.iter().map(|round| round.packets_dropped).sum(),
            pictures_missing: (!pictures.is_empty())
                .then(|| pictures.iter().map(|pictures| pictures.sent - pictures.arrived).sum()),
            latency_p50_ms: latency(&|pictures| pictures.latency_p50_ms),
            latency_p95_ms: latency(&|pictures| pictures.latency_p95_ms),
            latency_p99_ms: latency(&|pictures| pictures.latency_p99_ms),
        }
    }
}

impl Row {
    fn write(&self, out: &mut String) {
        let cpu = format!("{:.3} ({:.3})", self.cpu_percent_per_call, self.cpu_percent_per_call_median);
        let memory = format!("{:.2} MiB", self.memory_per_call_kib / 1_024.0);
        let missing = self.pictures_missing.map_or_else(|| "-".to_owned(), |missing| missing.to_string());
        let latency = match (self.latency_p50_ms, self.latency_p95_ms, self.latency_p99_ms) {
            (Some(p50), Some(p95), Some(p99)) => format!("{p50:.1}, {p95:.1}, {p99:.1}"),
            _ => "-".to_owned(),
        };
        let _ = writeln!(
            out,
            "{:<14} {:>5}  {cpu:>19}  {:>9.1}  {memory:>10}  {:>7}  {missing:>8}  {latency}",
            self.system, self.calls, self.wakes_per_second_per_call, self.packets_dropped
        );
    }
}

/// The middle one, or the mean of the two in the middle; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pictures;
    use super::*;

    fn measured(system: System, calls: u16, cpu_percent_per_call: f64) -> Measurement {
        let pictures = Pictures {
            sent: 300,
            arrived: 299,
            latency_p50_ms: 2.0,
            latency_p95_ms: 5.0,
            latency_p99_ms: cpu_percent_per_call * 10.0,
        };
        Measurement {
            system,
            calls,
            seconds: 10.0,
            cpu_percent_per_call,
            wakes_per_second_per_call: 3.0,
            memory_per_call_kib: 512,
            packets_sent: 1_000,
            packets_dropped: 1,
            pictures: Some(pictures),
            sender_lateness_p99_ms: 1.0,
        }
    }

    fn comparison() -> Comparison {
        Comparison {
            machine: Machine { cores: 2, processor: "P".to_owned(), kernel: "6".to_owned() },
            versions: vec!["ffmpeg version 7".to_owned()],
            bit_rate_bps: 1_000_000,
            seconds: 10.0,
            repeat: 2,
            measurements: vec![
                measured(System::Sipcast, 10, 0.5),
                measured(System::Sipcast, 100, 0.12),
                measured(System::Floor, 100, 0.09),
                measured(System::Ffmpeg, 10, 2.6),
                measured(System::FfmpegFast, 10, 2.4),
                measured(System::Sipcast, 100, 0.10),
                measured(System::Floor, 100, 0.08),
                measured(System::Ffmpeg, 10, 2.2),
                measured(System::FfmpegFast, 10, 2.0),
            ],
        }
    }

    #[test]
    fn ratios_are_of_the_least_of_the_rounds_and_the_best_of_a_peer() {
        let ratios = comparison().ratios();
        assert_eq!(ratios.calls, 100);
        assert!((ratios.ffmpeg_to_sipcast.unwrap() - 20.0).abs() < 1e-9);
        assert!((ratios.sipcast_to_floor.unwrap() - 1.25).abs() < 1e-9);
        assert_eq!(ratios.gstreamer_to_sipcast, None);
        let empty = Comparison { measurements: vec![], ..comparison() };
        assert_eq!(empty.ratios(), Ratios::default());
    }

    #[test]
    fn thresholds_are_kept_up_to_and_with_their_value() {
        let within = Thresholds {
            max_ratio_floor: Some(1.2501),
            min_ratio_peers: Some(19.999),
            max_latency_p99_ms: Some(5.0),
            max_dropped: Some(2),
        };
        assert_eq!(comparison().broken(&within), [""; 0]);
        let beyond = Thresholds {
            max_ratio_floor: Some(1.2),
            min_ratio_peers: Some(20.1),
            max_latency_p99_ms: Some(4.9),
            max_dropped: Some(1),
        };
        assert_eq!(comparison().broken(&beyond).len(), 4, "{:?}", comparison().broken(&beyond));
    }

    #[test]
    fn a_threshold_on_what_was_not_measured_is_broken() {
        let alone = Comparison { measurements: vec![measured(System::Sipcast, 1, 1.0)], ..comparison() };
        let thresholds =
            Thresholds { max_ratio_floor: Some(9.0), min_ratio_peers: Some(0.1), ..Thresholds::default() };
        let broken = alone.broken(&thresholds);
        assert!(
            broken.len() == 2 && broken.iter().all(|line| line.contains("not both measured")),
            "{broken:?}"
        );
    }

    #[test]
    fn the_table_says_what_was_measured_where_and_how_it_stands() {
        let table = comparison().table();
        for text in [
            "2 cores, P, Linux 6",
            "ffmpeg version 7",
            "sipcast          100        0.100 (0.110)",
            "2.0, 5.0,",
            "ffmpeg at its best : sipcast at 100 calls     20.0 : 1",
            "1.25 : 1",
        ] {
            assert!(table.contains(text), "{text:?} in\n{table}");
        }
        let json = comparison().json().unwrap();
        assert_eq!(json["rows"].as_array().unwrap().len(), 5);
        assert_eq!(json["rows"][1]["pictures_missing"], 2);
        assert_eq!(json["ratios"]["calls"], 100);
        let drawn = comparison().svg();
        assert!(drawn.starts_with("<svg") && drawn.contains(">ffmpeg-fast<"), "{drawn}");
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
