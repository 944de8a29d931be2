//! One measurement: what a system uses while it carries its calls, and what becomes of their pictures.
//! Takes: a scene with all calls up. Gives: a [`Measurement`].
//! Leaves out: comparing (`report`).

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::latency::{self, Pictures};
use super::stage::{Scene, Stage};
use super::system::System;
use super::usage::{self, Snapshot};

/// Between the last call's first picture and the measurement: what peers gather while they probe has drained.
const WARM_TIME: Duration = Duration::from_secs(3);
/// How long pictures that left may still arrive.
const ARRIVE_TIME: Duration = Duration::from_secs(1);
/// Pictures a second and call for which there is room in the notes.
const PICTURES_PER_SECOND: f64 = 40.0;

/// What one system took for one number of calls. CPU is user and system time of its processes alone.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The system.
    pub system: System,
    /// Calls at the same time.
    pub calls: u16,
    /// Measured time in seconds.
    pub seconds: f64,
    /// Percent of one core, by call.
    pub cpu_percent_per_call: f64,
    /// Times a second a thread was woken, by call.
    pub wakes_per_second_per_call: f64,
    /// Memory of all its processes, shared pages counted once (PSS), by call, in KiB.
    pub memory_per_call_kib: u64,
    /// RTP packets sent to it.
    pub packets_sent: u64,
    /// Datagrams that the kernel dropped on its sockets.
    pub packets_dropped: u64,
    /// Pictures on their way through it; `None` when they went to another server than the sink.
    pub pictures: Option<Pictures>,
    /// How late packets left the sender, 99th percentile, in ms.
    pub sender_lateness_p99_ms: f64,
}

impl Measurement {
    /// The gist on one line.
    pub fn line(&self) -> String {
        let Self { system, calls, cpu_percent_per_call, .. } = self;
        let seen = self.pictures.map_or_else(String::new, |pictures| {
            let Pictures { sent, arrived, latency_p50_ms, latency_p99_ms, .. } = pictures;
            format!(
                ", {arrived} of {sent} pictures, {latency_p50_ms:.1} and {latency_p99_ms:.1} ms (p50, p99)"
            )
        });
        format!("{system}, {calls} calls: {cpu_percent_per_call:.3} % of a core a call{seen}")
    }
}

/// Measures for `duration`.
///
/// # Errors
/// When a process of the system ends meanwhile.
pub(super) async fn measure(
    stage: &Stage,
    scene: &mut Scene,
    duration: Duration,
) -> anyhow::Result<Measurement> {
    sleep(WARM_TIME).await;
    scene.check()?;
    let (system, calls, pids) = (scene.system, scene.calls, scene.pids());
    let notes_max =
        (PICTURES_PER_SECOND * (duration + ARRIVE_TIME).as_secs_f64()) as usize * usize::from(calls);
    let dropped_before = usage::datagrams_dropped(&pids)?;
    let sent_before = stage.sent(system);
    stage.begin_notes(system, notes_max);
    let began = Instant::now();
    let before = Snapshot::take(&pids)?;
    sleep_until(began + duration).await;
    let used = Snapshot::take(&pids)?.since(&before);
    let seconds = began.elapsed().as_secs_f64();
    let departures = stage.take_departures(system);
    let sent = stage.sent(system);
    let memory_kib = usage::proportional_kib(&pids)?;
    let lateness = stage.lateness(system);
    sleep(ARRIVE_TIME).await;
    let arrivals = stage.sink.take_arrivals();
    let packets_dropped = usage::datagrams_dropped(&pids)? - dropped_before;
    scene.check()?;
    let pictures = stage
        .publishes_to_sink()
        .then(|| latency::join(&departures, &arrivals, &stage.tails, |name| scene.call_of(name)));
    let by_call = |value: f64| value / f64::from(calls);
    Ok(Measurement {
        system,
        calls,
        seconds,
        cpu_percent_per_call: by_call(used.cpu.as_secs_f64() / seconds * 100.0),
        wakes_per_second_per_call: by_call(used.wakes as f64 / seconds),
        memory_per_call_kib: memory_kib / u64::from(calls),
        packets_sent: sent.audio_packets + sent.video_packets
            - sent_before.audio_packets
            - sent_before.video_packets,
        packets_dropped,
        pictures,
        sender_lateness_p99_ms: lateness.p99_us as f64 / 1_000.0,
    })
}
