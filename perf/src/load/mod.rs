//! The load harness: a callee and an RTMP sink around a sipcast process, N broadcasts ordered over REST, and what a
//! call costs.
//!
//! Takes: how many calls for how long. Gives: a [`Report`].
//! Leaves out: other programs than sipcast.
//!
//! Counts are compared at two moments when no packet is under way: the callees pause, sipcast's statistics settle,
//! and only then both sides are read. So "lost" is exact to the packet, not a matter of when who was asked.

mod process;
mod product;
mod report;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, interval, sleep, sleep_until};

pub use report::{Limits, Report};

use crate::callee::{Callee, CalleeOptions, CalleeStatistics, PictureSource, SipTransport, VideoOptions};
use crate::sink::{Sink, StreamCounts};
use product::Product;
use report::ProductCounts;

/// What packets need at most from the callee through sipcast to the sink, plus one period of its statistics (1 s).
const SETTLE_TIME: Duration = Duration::from_millis(2_500);
/// How long calls may take to come up after the last order.
const ESTABLISH_TIME: Duration = Duration::from_secs(30);
/// After the pause, before CPU is measured: the IDR pictures that all calls begin with are over.
const WARM_TIME: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Broadcasts.
    pub calls: usize,
    /// How long to measure.
    pub duration: Duration,
    /// Video bits a second and call.
    pub bit_rate_bps: u32,
    /// Orders a second.
    pub ramp_per_second: f64,
    /// The sipcast program; built and found beside our own when not given.
    pub sipcast: Option<PathBuf>,
    /// Dataplane shards of sipcast.
    pub shards: u16,
    /// SIP over TCP instead of UDP.
    pub tcp: bool,
    /// Show sipcast's log.
    pub log: bool,
}

/// Runs the load and cleans up, also when `interrupt` completes first.
///
/// # Errors
/// When the harness itself cannot run; calls that fail are figures of the report.
pub async fn run(options: &LoadOptions, interrupt: impl Future<Output = ()>) -> anyhow::Result<Report> {
    anyhow::ensure!(options.calls > 0, "--calls: at least 1");
    anyhow::ensure!(options.ramp_per_second > 0.0, "--ramp: more than 0 a second");
    let program = product::find_program(options.sipcast.clone()).await?;
    let callee = Callee::start(CalleeOptions {
        transport: if options.tcp { SipTransport::Tcp } else { SipTransport::Udp },
        video: VideoOptions { bit_rate_bps: options.bit_rate_bps, ..VideoOptions::default() },
        pictures: PictureSource::Recorded,
        calls_max: options.calls,
        ..CalleeOptions::default()
    })
    .await?;
    let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("sink")?;
    let product = match Product::start(&program, options.shards, options.log).await {
        Ok(product) => product,
        Err(error) => {
            callee.shutdown().await;
            sink.shutdown();
            return Err(error);
        }
    };
    let outcome = {
        let run = Run { options, callee: &callee, sink: &sink, product: &product };
        tokio::select! {
            outcome = run.measure() => outcome,
            () = interrupt => Err(anyhow::anyhow!("interrupted")),
        }
    };
    for call in 0..options.calls {
        if let Err(error) = product.terminate(&call_id(call)).await {
            tracing::warn!(%error, "terminate");
            break;
        }
    }
    let stopped = product.stop().await;
    callee.shutdown().await;
    sink.shutdown();
    let mut report = outcome?;
    if let Err(error) = stopped {
        tracing::error!(%error, "sipcast's end");
        report.sipcast_ended_cleanly = false;
    }
    Ok(report)
}

struct Run<'a> {
    options: &'a LoadOptions,
    callee: &'a Callee,
    sink: &'a Sink,
    product: &'a Product,
}

/// Both sides at a moment when nothing is under way.
struct Quiet {
    sent: CalleeStatistics,
    product: ProductCounts,
    received: StreamCounts,
}

impl Run<'_> {
    async fn measure(&self) -> anyhow::Result<Report> {
        let calls = self.options.calls;
        sleep(Duration::from_millis(500)).await;
        let idle_resident_kib = process::resident_kib(self.product.pid())?;
        self.order_all().await;
        let up = self.wait_until_up().await?;

        let before = self.quiet().await?;
        self.callee.set_paused(false);
        sleep(WARM_TIME).await;
        self.callee.reset_lateness();
        let own = std::process::id();
        let cpu_before = (process::cpu_time(self.product.pid())?, process::cpu_time(own)?, sink_cpu());
        let began = Instant::now();
        sleep_until(began + self.options.duration).await;
        let seconds = began.elapsed().as_secs_f64();
        let cpu_after = (process::cpu_time(self.product.pid())?, process::cpu_time(own)?, sink_cpu());
        let lateness = self.callee.lateness();
        let resident_kib = process::resident_kib(self.product.pid())?;
        let still_up = self.product.calls_with_status("ESTABLISHED").await?.min(self.sink.publishing());
        let after = self.quiet().await?;

        let percent = |after: Duration, before: Duration| (after - before).as_secs_f64() / seconds * 100.0;
        let sipcast_cpu_percent = percent(cpu_after.0, cpu_before.0);
        let sink_cpu_percent = percent(cpu_after.2, cpu_before.2);
        let packets = |quiet: &Quiet| quiet.sent.audio_packets + quiet.sent.video_packets;
        let packets_sent = packets(&after) - packets(&before);
        let packets_received = after.product.packets - before.product.packets;
        let running = seconds + WARM_TIME.as_secs_f64();
        let octets = after.sent.octets - before.sent.octets;
        Ok(Report {
            calls,
            calls_failed: calls - up.min(still_up),
            seconds,
            bit_rate_per_call_bps: (octets as f64 * 8.0 / running / calls as f64) as u64,
            sipcast_cpu_percent,
            sipcast_cpu_percent_per_call: sipcast_cpu_percent / calls as f64,
            callee_cpu_percent: (percent(cpu_after.1, cpu_before.1) - sink_cpu_percent).max(0.0),
            sink_cpu_percent,
            packets_sent,
            packets_received,
            packets_lost: packets_sent.saturating_sub(packets_received),
            packets_missing_by_sequence: after.product.lost - before.product.lost,
            kernel_drops: after.product.kernel_drops - before.product.kernel_drops,
            no_buffers: after.product.no_buffers - before.product.no_buffers,
            pictures_sent: after.sent.pictures - before.sent.pictures,
            pictures_received: after.received.pictures - before.received.pictures,
            audio_frames_received: after.received.audio_frames - before.received.audio_frames,
            backward_timestamps: after.received.backward_timestamps,
            added_latency_p50_ms: after.product.latency_p50_ms,
            added_latency_p99_ms: after.product.latency_p99_ms,
            idle_resident_kib,
            resident_kib,
            resident_per_call_kib: resident_kib.saturating_sub(idle_resident_kib) / calls as u64,
            lateness,
            pictures_skipped: after.sent.pictures_skipped - before.sent.pictures_skipped,
            sipcast_ended_cleanly: true,
        })
    }

    async fn order_all(&self) {
        let mut ramp = interval(Duration::from_secs_f64(1.0 / self.options.ramp_per_second));
        for call in 0..self.options.calls {
            ramp.tick().await;
            let ordered = self
                .product
                .order(&call_id(call), self.callee.local_addr(), self.options.tcp, self.sink.local_addr())
                .await;
            if let Err(error) = ordered {
                tracing::error!(%error, call, "order refused");
            }
        }
    }

    /// Waits until every call is answered and its picture is at the sink; returns how many made it.
    async fn wait_until_up(&self) -> anyhow::Result<usize> {
        let until = Instant::now() + ESTABLISH_TIME;
        loop {
            let established = self.product.calls_with_status("ESTABLISHED").await?;
            let streams = self.sink.counts();
            let seen = streams.values().filter(|stream| stream.publishing && stream.pictures > 0).count();
            let up = established.min(seen);
            if up == self.options.calls || Instant::now() > until {
                anyhow::ensure!(up > 0, "no call came up: {established} established, {seen} with a picture");
                return Ok(up);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn quiet(&self) -> anyhow::Result<Quiet> {
        self.callee.set_paused(true);
        sleep(SETTLE_TIME).await;
        Ok(Quiet {
            sent: self.callee.statistics(),
            product: ProductCounts::read(&self.product.statistics().await?)?,
            received: self.sink.totals(),
        })
    }
}

fn sink_cpu() -> Duration {
    process::own_thread_cpu_time("sink")
}

fn call_id(call: usize) -> String {
    format!("load-{call:05}")
}
