//! sipcast beside what users run today and beside the floor, on the same RTP, into the same RTMP server, in one run.
//!
//! Takes: [`CompareOptions`]. Gives: a [`Comparison`].
//! Leaves out: loads that only sipcast carries ([`load`](crate::load)).
//!
//! Every system carries the same recorded pictures and PCMU. Systems take turns within a round, and rounds are
//! repeated, so that what else the machine does falls on all of them alike.

mod gateway;
mod latency;
mod measure;
mod packages;
mod peers;
mod report;
mod stage;
mod system;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;

use crate::callee::VideoOptions;
use crate::floor::PORTS_PER_CALL;
use crate::load::{Machine, product};
use crate::ports;
use stage::{Programs, Stage};

pub use latency::Pictures;
pub use measure::Measurement;
pub use report::{Comparison, Ratios, Thresholds};
pub use system::System;

/// Rounds at most.
pub const REPEAT_MAX: usize = 100;

/// What to compare.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// Which systems.
    pub systems: Vec<System>,
    /// Calls at the same time, one measurement each.
    pub calls: Vec<u16>,
    /// Peers are spared numbers of calls above this one.
    pub peer_calls_max: u16,
    /// How long each measurement takes.
    pub duration: Duration,
    /// How often everything is measured.
    pub repeat: usize,
    /// Video bits a second and call.
    pub bit_rate_bps: u32,
    /// The sipcast program; built and found beside our own when not given.
    pub sipcast: Option<PathBuf>,
    /// Another RTMP server than the sink, and its application. Pictures and latency are not seen then.
    pub server: Option<(SocketAddr, String)>,
    /// Install peers that are missing.
    pub may_install: bool,
}

impl CompareOptions {
    /// Checks what no parser of a single option can.
    ///
    /// # Errors
    /// Names the option and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        let calls_max = ports::LEN_MAX / PORTS_PER_CALL;
        anyhow::ensure!(!self.systems.is_empty(), "--only: at least one system");
        anyhow::ensure!(
            !self.calls.is_empty() && self.calls.iter().all(|calls| (1..=calls_max).contains(calls)),
            "--calls: numbers from 1 to {calls_max}"
        );
        anyhow::ensure!((1..=REPEAT_MAX).contains(&self.repeat), "--repeat: from 1 to {REPEAT_MAX}");
        anyhow::ensure!(!self.duration.is_zero(), "--seconds: at least 1");
        Ok(())
    }

    /// The measurements of one round, in the order in which they are taken.
    fn round(&self) -> Vec<(System, u16)> {
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        calls.dedup();
        let of = |calls: u16| {
            let may = move |system: &System| !system.is_peer() || calls <= self.peer_calls_max;
            System::ALL
                .into_iter()
                .filter(|system| self.systems.contains(system))
                .filter(may)
                .map(move |system| (system, calls))
        };
        calls.into_iter().flat_map(of).collect()
    }
}

/// Compares and cleans up, also when `interrupt` completes first. `progress` is told of each step.
///
/// # Errors
/// What could not be started or measured; what a system said when it ended early.
pub async fn run(
    options: &CompareOptions,
    mut progress: impl FnMut(&str),
    interrupt: impl Future<Output = ()>,
) -> anyhow::Result<Comparison> {
    options.check()?;
    packages::provide(&options.systems, options.may_install).await?;
    let sipcast = match options.systems.contains(&System::Sipcast) {
        true => product::find_program(options.sipcast.clone()).await?,
        false => PathBuf::new(),
    };
    let floor = std::env::current_exe().context("our own program, for the floor")?;
    let programs = Programs { sipcast, floor };
    let video = VideoOptions { bit_rate_bps: options.bit_rate_bps, ..VideoOptions::default() };
    let versions = packages::versions(&options.systems).await;
    progress("encoding the pictures");
    let mut stage = Stage::new(video, options.server.clone()).await?;
    let outcome = {
        let mut interrupt = pin!(interrupt);
        let rounds = rounds(options, &mut stage, &programs, &mut progress);
        tokio::select! {
            outcome = rounds => outcome,
            () = interrupt.as_mut() => Err(anyhow::anyhow!("interrupted")),
        }
    };
    stage.close().await;
    Ok(Comparison {
        machine: Machine::this(),
        versions,
        bit_rate_bps: options.bit_rate_bps,
        seconds: options.duration.as_secs_f64(),
        repeat: options.repeat,
        measurements: outcome?,
    })
}

async fn rounds(
    options: &CompareOptions,
    stage: &mut Stage,
    programs: &Programs,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for round in 0..options.repeat {
        for (system, calls) in options.round() {
            let run = measurements.len();
            let mut scene = stage.play(system, calls, run, programs).await?;
            let measured = measure::measure(stage, &mut scene, options.duration).await;
            stage.end(scene).await;
            let measurement = measured.with_context(|| format!("{system}, {calls} calls"))?;
            progress(&format!("round {} of {}: {}", round + 1, options.repeat, measurement.line()));
            measurements.push(measurement);
        }
    }
    Ok(measurements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> CompareOptions {
        CompareOptions {
            systems: vec![System::Ffmpeg, System::Sipcast, System::Floor],
            calls: vec![100, 1, 20, 20],
            peer_calls_max: 20,
            duration: Duration::from_secs(1),
            repeat: 1,
            bit_rate_bps: 1_000_000,
            sipcast: None,
            server: None,
            may_install: false,
        }
    }

    #[test]
    fn systems_take_turns_and_peers_are_spared_what_they_cannot_do() {
        use System::{Ffmpeg, Floor, Sipcast};
        assert_eq!(
            options().round(),
            [
                (Sipcast, 1),
                (Floor, 1),
                (Ffmpeg, 1),
                (Sipcast, 20),
                (Floor, 20),
                (Ffmpeg, 20),
                (Sipcast, 100),
                (Floor, 100)
            ]
        );
    }

    #[test]
    fn an_option_out_of_range_is_named() {
        options().check().unwrap();
        let cases = [
            (CompareOptions { systems: vec![], ..options() }, "--only"),
            (CompareOptions { calls: vec![], ..options() }, "--calls"),
            (CompareOptions { calls: vec![0], ..options() }, "--calls"),
            (CompareOptions { calls: vec![u16::MAX], ..options() }, "--calls"),
            (CompareOptions { repeat: 0, ..options() }, "--repeat"),
            (CompareOptions { duration: Duration::ZERO, ..options() }, "--seconds"),
        ];
        for (wrong, flag) in cases {
            assert!(wrong.check().unwrap_err().to_string().starts_with(flag), "{flag}");
        }
    }
}
