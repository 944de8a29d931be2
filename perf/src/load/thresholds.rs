//! Limits that an operator sets, and what a run makes of them.
//! Takes: limits, a report. Gives: a verdict with one line per broken limit.
//! Leaves out: measuring (`run`).

use super::report::Report;
use super::series::Series;

/// Limits that every run of a series must keep. What is `None` is not judged; failed calls always are.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// CPU of sipcast in percent of one core.
    pub cpu_percent_max: Option<f64>,
    /// The same by call.
    pub cpu_percent_per_call_max: Option<f64>,
    /// RTP packets lost by sipcast.
    pub lost_max: Option<u64>,
    /// Added latency, 99th percentile, in ms.
    pub latency_p99_ms_max: Option<f64>,
    /// From the order to the answer, 99th percentile, in ms.
    pub setup_p99_ms_max: Option<f64>,
    /// Resident memory that a call adds, in KiB.
    pub memory_per_call_kib_max: Option<u64>,
    /// Calls that did not come up or were lost.
    pub failed_max: usize,
    /// Lateness of the generator, 99th percentile, in ms: beyond it the run says nothing about sipcast.
    pub lateness_p99_ms_max: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            cpu_percent_max: None,
            cpu_percent_per_call_max: None,
            lost_max: None,
            latency_p99_ms_max: None,
            setup_p99_ms_max: None,
            memory_per_call_kib_max: None,
            failed_max: 0,
            lateness_p99_ms_max: 20.0,
        }
    }
}

/// What a series of runs comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Every run kept every threshold.
    Kept,
    /// A run broke one, or could not be made.
    Broken,
    /// The generator could not keep up: thresholds that were broken, or kept, mean nothing.
    GeneratorWasTheLimit,
}

impl Thresholds {
    /// Judges a series: the outcome, and a line for each thing that is against it.
    pub fn judge(&self, series: &Series) -> (Outcome, Vec<String>) {
        let mut outcome = Outcome::Kept;
        let mut lines = Vec::new();
        let mut against = |what: Outcome, line: String| {
            outcome = outcome.max(what);
            lines.push(line);
        };
        for run in &series.runs {
            for line in self.broken(run) {
                against(Outcome::Broken, format!("{} calls: {line}", run.calls));
            }
            if let Some(line) = self.generator_was_the_limit(run) {
                against(Outcome::GeneratorWasTheLimit, format!("the generator was the limit: {line}"));
            }
        }
        if let Some(error) = &series.broken_off {
            against(Outcome::Broken, error.clone());
        }
        (outcome, lines)
    }

    /// What broke a limit, one line each; empty when all is well. A figure that could not be measured breaks its limit:
    /// a gate that cannot see must not open.
    pub fn broken(&self, report: &Report) -> Vec<String> {
        let mut broken = Vec::new();
        let calls = report.calls;
        if report.calls_failed > self.failed_max {
            broken.push(format!(
                "{} of {calls} calls failed, allowed are {}",
                report.calls_failed, self.failed_max
            ));
        }
        if !report.sipcast_ended_cleanly {
            broken.push("sipcast did not end cleanly".to_owned());
        }
        let mut judge = |what: &str, unit: &str, value: Option<f64>, max: Option<f64>| match (value, max) {
            (Some(value), Some(max)) if value > max => {
                broken.push(format!("{what} is {} {unit}, allowed are {max}", rounded(value)));
            }
            (None, Some(_)) => broken.push(format!("{what} has a limit and could not be measured")),
            _ => {}
        };
        judge("sipcast's CPU", "% of a core", report.sipcast_cpu_percent, self.cpu_percent_max);
        judge(
            "CPU per call",
            "% of a core",
            report.sipcast_cpu_percent_per_call,
            self.cpu_percent_per_call_max,
        );
        judge("packets lost", "packets", Some(report.lost() as f64), self.lost_max.map(|max| max as f64));
        judge("added latency p99", "ms", Some(report.latency_p99_ms()), self.latency_p99_ms_max);
        let set_up = report.set_up_answered.map(|set_up| set_up.p99_ms);
        judge("set-up p99", "ms", set_up, self.setup_p99_ms_max);
        judge(
            "memory per call",
            "KiB",
            report.resident_per_call_kib.map(|kib| kib as f64),
            self.memory_per_call_kib_max.map(|max| max as f64),
        );
        broken
    }

    /// Why the run says nothing about sipcast, when the generator could not keep up.
    pub fn generator_was_the_limit(&self, report: &Report) -> Option<String> {
        let late = report.lateness.p99_us as f64 / 1_000.0;
        if late > self.lateness_p99_ms_max {
            return Some(format!(
                "{} calls: the generator's packets left {late:.1} ms late (p99, allowed are {} ms)",
                report.calls, self.lateness_p99_ms_max
            ));
        }
        (report.pictures_skipped + report.send_failures > 0).then(|| {
            format!(
                "{} calls: the generator left out {} pictures and could not send {} packets",
                report.calls, report.pictures_skipped, report.send_failures
            )
        })
    }
}

fn rounded(value: f64) -> String {
    let places = if value < 10.0 { 3 } else { 1 };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn limits_are_kept_up_to_and_with_their_value() {
        let within = Thresholds {
            cpu_percent_max: Some(12.0),
            cpu_percent_per_call_max: Some(1.2),
            lost_max: Some(2),
            memory_per_call_kib_max: Some(1_000),
            latency_p99_ms_max: Some(5.0),
            setup_p99_ms_max: Some(5.0),
            ..Thresholds::default()
        };
        assert_eq!(within.broken(&report()), Vec::<String>::new());
        let beyond = Thresholds {
            cpu_percent_max: Some(11.9),
            cpu_percent_per_call_max: Some(1.19),
            lost_max: Some(1),
            memory_per_call_kib_max: Some(999),
            latency_p99_ms_max: Some(4.9),
            setup_p99_ms_max: Some(4.9),
            ..Thresholds::default()
        };
        assert_eq!(beyond.broken(&report()).len(), 6, "{:?}", beyond.broken(&report()));
    }

    #[test]
    fn what_cannot_be_measured_breaks_its_limit_and_no_other() {
        let blind = Report { sipcast_cpu_percent: None, sipcast_cpu_percent_per_call: None, ..report() };
        assert!(Thresholds::default().broken(&blind).is_empty());
        let limited = Thresholds { cpu_percent_max: Some(50.0), ..Thresholds::default() };
        assert!(limited.broken(&blind)[0].contains("could not be measured"));
    }

    #[test]
    fn a_series_is_as_good_as_its_worst_run() {
        let series = |runs: Vec<Report>| Series { machine: Machine::this(), runs, broken_off: None };
        let thresholds = Thresholds { lost_max: Some(2), ..Thresholds::default() };
        assert_eq!(thresholds.judge(&series(vec![report()])), (Outcome::Kept, vec![]));
        let lossy = Report { calls: 20, packets_lost: 3, ..report() };
        let (outcome, lines) = thresholds.judge(&series(vec![report(), lossy.clone()]));
        assert_eq!((outcome, lines.len()), (Outcome::Broken, 1));
        assert!(lines[0].starts_with("20 calls: packets lost is 3"), "{lines:?}");
        let starved = Report { pictures_skipped: 1, ..lossy };
        let (outcome, lines) = thresholds.judge(&series(vec![starved, report()]));
        assert_eq!((outcome, lines.len()), (Outcome::GeneratorWasTheLimit, 2));
        let broken_off = Series { broken_off: Some("no call came up".into()), ..series(vec![report()]) };
        assert_eq!(thresholds.judge(&broken_off).0, Outcome::Broken);
    }

    #[test]
    fn failed_calls_break_by_default() {
        let failed = Report { calls_failed: 1, ..report() };
        assert_eq!(Thresholds::default().broken(&failed).len(), 1);
        assert!(Thresholds { failed_max: 1, ..Thresholds::default() }.broken(&failed).is_empty());
    }

    #[test]
    fn a_late_generator_is_told_from_a_slow_sipcast() {
        let thresholds = Thresholds::default();
        assert_eq!(thresholds.generator_was_the_limit(&report()), None);
        let mut late = report();
        late.lateness.p99_us = 20_001;
        assert!(thresholds.generator_was_the_limit(&late).is_some());
        let skipping = Report { pictures_skipped: 1, ..report() };
        assert!(thresholds.generator_was_the_limit(&skipping).is_some());
    }
}
