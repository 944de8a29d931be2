//! The load harness: callees and an RTMP sink around a sipcast process, N broadcasts ordered over REST, and what a
//! call costs; once, or for several N as a series.
//!
//! Takes: [`LoadOptions`]. Gives: a [`Series`] of [`Report`]s, judged by [`Thresholds`].
//! Leaves out: other programs than sipcast.
//!
//! The sipcast may be started for the load ([`options::OwnSipcast`]) or run already ([`options::SipcastElsewhere`]).

mod calls;
mod machine;
pub mod mix;
pub mod options;
pub(crate) mod plot;
mod process;
pub(crate) mod product;
mod progress;
mod report;
pub(crate) mod rest;
mod run;
mod series;
mod subject;
mod thresholds;

use std::pin::pin;

pub use machine::Machine;
pub use options::LoadOptions;
pub use progress::Progress;
pub use report::Report;
pub use series::Series;
pub use subject::CpuScope;
pub use thresholds::{Outcome, Thresholds};

use options::SipcastChoice;
use run::Run;

/// Runs the load for every number of calls, each with a fresh sipcast if it is our own, and cleans up, also when `interrupt`
/// completes first. A run that cannot be made ends the series; the runs before it are kept.
///
/// # Errors
/// When not even the first run can be made; calls that fail are figures of the report.
pub async fn run(
    options: &LoadOptions,
    progress: &mut Progress,
    interrupt: impl Future<Output = ()>,
) -> anyhow::Result<Series> {
    options.check()?;
    let program = match &options.sipcast {
        SipcastChoice::Own(own) => Some(product::find_program(own.program.clone()).await?),
        SipcastChoice::Elsewhere(_) => None,
    };
    let mut interrupt = pin!(interrupt);
    let mut series = Series { machine: Machine::this(), runs: Vec::new(), broken_off: None };
    for calls in &options.calls {
        let made = Run::make(options, *calls, program.as_deref(), progress, interrupt.as_mut()).await;
        progress.clear();
        match made {
            Ok(report) => series.runs.push(report),
            Err(error) if series.runs.is_empty() => return Err(error),
            Err(error) => {
                series.broken_off = Some(format!("{calls} calls: {error:#}"));
                break;
            }
        }
    }
    Ok(series)
}
