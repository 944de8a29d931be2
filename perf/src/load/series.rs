//! Several runs with different numbers of calls: as JSON, as one table, as a plot.
//! Takes: reports. Gives: text.
//! Leaves out: one run in detail (`report`), drawing (`plot`).

use std::fmt::Write as _;

use serde::Serialize;

use super::machine::Machine;
use super::plot::{self, Line, Panel};
use super::report::{Report, measured};

/// The runs, in the order they were made.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// Where they were made.
    pub machine: Machine,
    /// One by one.
    pub runs: Vec<Report>,
    /// Why the series ended before all runs were made.
    pub broken_off: Option<String>,
}

impl Series {
    /// A table in full for one run, a row each for several.
    pub fn table(&self) -> String {
        match self.runs.as_slice() {
            [run] => run.table(),
            runs => rows(runs),
        }
    }

    /// CPU and latency against calls.
    pub fn svg(&self) -> String {
        let line = |name, figure: fn(&Report) -> Option<f64>| Line {
            name,
            points: self.runs.iter().filter_map(|run| Some((run.calls as f64, figure(run)?))).collect(),
        };
        let panels = [
            Panel {
                title: "CPU per call, % of a core",
                lines: vec![line("sipcast", |run| run.sipcast_cpu_percent_per_call)],
            },
            Panel {
                title: "CPU, % of a core",
                lines: vec![
                    line("sipcast", |run| run.sipcast_cpu_percent),
                    line("callees", |run| Some(run.callee_cpu_percent)),
                    line("sink", |run| Some(run.sink_cpu_percent)),
                ],
            },
            Panel {
                title: "Added latency, ms",
                lines: vec![
                    line("p50", |run| Some(run.latency_p50_ms())),
                    line("p99", |run| Some(run.latency_p99_ms())),
                ],
            },
        ];
        plot::svg(&panels, "calls", &self.machine.to_string())
    }
}

fn rows(runs: &[Report]) -> String {
    let head = [
        "calls",
        "failed",
        "CPU/call %",
        "CPU %",
        "callees %",
        "sink %",
        "lost",
        "p50 ms",
        "p99 ms",
        "answer p99 ms",
        "KiB/call",
        "late p99 ms",
    ];
    let mut table: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    table.extend(runs.iter().map(|run| {
        vec![
            run.calls.to_string(),
            run.calls_failed.to_string(),
            measured(run.sipcast_cpu_percent_per_call, |percent| format!("{percent:.3}")),
            measured(run.sipcast_cpu_percent, |percent| format!("{percent:.1}")),
            format!("{:.1}", run.callee_cpu_percent),
            format!("{:.1}", run.sink_cpu_percent),
            run.lost().to_string(),
            format!("{:.2}", run.latency_p50_ms()),
            format!("{:.2}", run.latency_p99_ms()),
            measured(run.set_up_answered, |set_up| format!("{:.0}", set_up.p99_ms)),
            measured(run.resident_per_call_kib, |kib| kib.to_string()),
            format!("{:.2}", run.lateness.p99_us as f64 / 1_000.0),
        ]
    }));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| table.iter().map(|row| row[column].len()).max().unwrap_or_default())
        .collect();
    table.iter().fold(String::new(), |mut text, row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  "));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    fn series(calls: &[usize]) -> Series {
        let machine = Machine { cores: 2, processor: "a processor".into(), kernel: "6.18.0".into() };
        let runs = calls.iter().map(|calls| Report { calls: *calls, ..report() }).collect();
        Series { machine, runs, broken_off: None }
    }

    #[test]
    fn one_run_is_told_in_full_and_several_in_rows() {
        assert_eq!(series(&[10]).table(), report().table());
        let table = series(&[1, 10, 200]).table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[3].trim_start().starts_with("200 "), "{table}");
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
    }

    #[test]
    fn the_plot_has_every_run_and_the_json_every_figure() {
        let svg = series(&[1, 10, 200]).svg();
        assert_eq!(svg.matches("<circle").count(), 3 * 6);
        let json = serde_json::to_value(series(&[1, 10])).unwrap();
        assert_eq!(json.pointer("/runs/1/calls"), Some(&10.into()));
        assert_eq!(json.pointer("/machine/cores"), Some(&2.into()));
    }
}
