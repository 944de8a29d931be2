//! The sipcast under load, whether it is a process of ours or runs elsewhere: what it can be asked, and what of its cost
//! can be seen.
//! Takes: where it is. Gives: CPU time and memory as far as they are known.
//! Leaves out: orders and statistics (`rest`), starting and stopping (`product`).

use std::time::Duration;

use serde::Serialize;

use super::process;
use super::product::Product;
use super::rest::Rest;

/// Whose CPU time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuScope {
    /// The whole process.
    Process,
    /// Only the threads of its dataplane: that is all its metrics tell.
    Shards,
    /// Nobody's: its metrics do not tell.
    None,
}

impl CpuScope {
    /// What a table says behind "sipcast CPU".
    pub const fn note(self) -> &'static str {
        match self {
            Self::Process | Self::None => "",
            Self::Shards => " (shards only)",
        }
    }
}

/// The sipcast under load.
pub(super) enum Subject {
    Own(Box<Product>),
    Elsewhere(Box<Rest>),
}

/// What it has cost so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub scope: CpuScope,
    pub cpu: Option<Duration>,
    pub resident_kib: Option<u64>,
}

impl Subject {
    pub fn rest(&self) -> &Rest {
        match self {
            Self::Own(product) => product.rest(),
            Self::Elsewhere(rest) => rest,
        }
    }

    /// What it has cost.
    ///
    /// # Errors
    /// When it is gone or does not answer.
    pub async fn cost(&self) -> anyhow::Result<Cost> {
        match self {
            Self::Own(product) => Ok(Cost {
                scope: CpuScope::Process,
                cpu: Some(process::cpu_time(product.pid())?),
                resident_kib: Some(process::resident_kib(product.pid())?),
            }),
            Self::Elsewhere(rest) => Ok(cost_by_metrics(&rest.metrics().await?)),
        }
    }

    /// Ends it, if it is ours.
    ///
    /// # Errors
    /// When it did not end by itself with success.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Own(product) => product.stop().await,
            Self::Elsewhere(_) => Ok(()),
        }
    }
}

/// Reads the names that Prometheus' clients agree on, and sipcast's own for its shards.
fn cost_by_metrics(metrics: &str) -> Cost {
    let sum = |name: &str| -> Option<f64> {
        let values = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.reduce(|sum, value| sum + value).filter(|sum| sum.is_finite() && *sum >= 0.0)
    };
    let process = sum("process_cpu_seconds_total").or_else(|| sum("sipcast_process_cpu_seconds_total"));
    let shards = sum("sipcast_shard_cpu_seconds_total");
    let scope = match (process, shards) {
        (Some(_), _) => CpuScope::Process,
        (None, Some(_)) => CpuScope::Shards,
        (None, None) => CpuScope::None,
    };
    let resident =
        sum("process_resident_memory_bytes").or_else(|| sum("sipcast_process_resident_memory_bytes"));
    Cost {
        scope,
        cpu: process.or(shards).map(Duration::from_secs_f64),
        resident_kib: resident.map(|octets| octets as u64 / 1_024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_tell_of_the_process_or_else_of_the_shards() {
        let shards = "# TYPE sipcast_shard_cpu_seconds counter\n\
            sipcast_shard_cpu_seconds_total{shard=\"0\"} 1.5\nsipcast_shard_cpu_seconds_total{shard=\"1\"} 2\n";
        let cost = cost_by_metrics(shards);
        assert_eq!((cost.scope, cost.cpu), (CpuScope::Shards, Some(Duration::from_millis(3_500))));
        assert_eq!(cost.resident_kib, None);
        let process =
            format!("{shards}process_cpu_seconds_total 9.25\nprocess_resident_memory_bytes 2097152\n");
        let cost = cost_by_metrics(&process);
        assert_eq!((cost.scope, cost.cpu), (CpuScope::Process, Some(Duration::from_millis(9_250))));
        assert_eq!(cost.resident_kib, Some(2_048));
        let nothing =
            cost_by_metrics("process_cpu_seconds_total_of_another 1\nprocess_cpu_seconds_total NaN\n");
        assert_eq!((nothing.scope, nothing.cpu), (CpuScope::None, None));
    }
}
