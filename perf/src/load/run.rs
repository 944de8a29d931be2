//! One run: order, wait until all is up, measure, compare both sides.
//! Takes: options, a number of calls. Gives: a [`Report`].
//! Leaves out: what the figures are good for (`thresholds`).
//!
//! Counts are compared at two moments when no packet is under way: the callees pause, sipcast's statistics settle,
//! and only then both sides are read. So "lost" is exact to the packet, not a matter of when who was asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::options::LoadOptions;
use super::process;
use super::product::{Order, Product};
use super::progress::Progress;
use super::report::{ProductCounts, Report};
use crate::callee::{Callee, CalleeOptions, CalleeStatistics, PictureSource, SipTransport, VideoOptions};
use crate::sink::{Sink, StreamCounts};

/// What packets need at most from the callee through sipcast to the sink, plus one period of its statistics (1 s).
const SETTLE_TIME: Duration = Duration::from_millis(2_500);
/// How long calls may take to come up after the last order.
const ESTABLISH_TIME: Duration = Duration::from_secs(30);
/// After the pause, before CPU is measured: the IDR pictures that all calls begin with are over.
const WARM_TIME: Duration = Duration::from_secs(2);
/// From one look at the figures to the next while measuring.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One run under way.
pub(super) struct Run<'a> {
    options: &'a LoadOptions,
    calls: usize,
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

/// CPU time used so far.
#[derive(Clone, Copy)]
struct CpuTimes {
    sipcast: Duration,
    own: Duration,
    sink: Duration,
}

impl Run<'_> {
    /// Starts everything, measures, and ends everything.
    ///
    /// # Errors
    /// When something does not start, no call comes up, or `interrupt` completes.
    pub async fn make(
        options: &LoadOptions,
        calls: usize,
        program: &Path,
        progress: &mut Progress,
        interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> anyhow::Result<Report> {
        let callee = Callee::start(CalleeOptions {
            transport: if options.tcp { SipTransport::Tcp } else { SipTransport::Udp },
            video: VideoOptions { bit_rate_bps: options.bit_rate_bps, ..VideoOptions::default() },
            pictures: PictureSource::Recorded,
            calls_max: calls,
            ..CalleeOptions::default()
        })
        .await?;
        let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("sink")?;
        let product = match Product::start(program, options).await {
            Ok(product) => product,
            Err(error) => {
                callee.shutdown().await;
                sink.shutdown();
                return Err(error);
            }
        };
        let outcome = {
            let run = Run { options, calls, callee: &callee, sink: &sink, product: &product };
            tokio::select! {
                outcome = run.measure(progress) => outcome,
                () = interrupt => Err(anyhow::anyhow!("interrupted")),
            }
        };
        for call in 0..calls {
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

    async fn measure(&self, progress: &mut Progress) -> anyhow::Result<Report> {
        let calls = self.calls;
        sleep(Duration::from_millis(500)).await;
        let idle_resident_kib = process::resident_kib(self.product.pid())?;
        self.order_all(progress).await;
        let up = self.wait_until_up(progress).await?;

        let before = self.quiet().await?;
        self.callee.set_paused(false);
        sleep(WARM_TIME).await;
        self.callee.reset_lateness();
        let cpu_before = self.cpu_times()?;
        let began = Instant::now();
        self.watch(began, progress).await?;
        let seconds = began.elapsed().as_secs_f64();
        let cpu_after = self.cpu_times()?;
        let lateness = self.callee.lateness();
        let resident_kib = process::resident_kib(self.product.pid())?;
        let still_up = self.product.calls_with_status("ESTABLISHED").await?.min(self.sink.publishing());
        let after = self.quiet().await?;

        let percent = |after: Duration, before: Duration| (after - before).as_secs_f64() / seconds * 100.0;
        let sipcast_cpu_percent = percent(cpu_after.sipcast, cpu_before.sipcast);
        let sink_cpu_percent = percent(cpu_after.sink, cpu_before.sink);
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
            packets_per_second: (packets_sent as f64 / running) as u64,
            sipcast_cpu_percent: Some(sipcast_cpu_percent),
            sipcast_cpu_percent_per_call: Some(sipcast_cpu_percent / calls as f64),
            callee_cpu_percent: (percent(cpu_after.own, cpu_before.own) - sink_cpu_percent).max(0.0),
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
            idle_resident_kib: Some(idle_resident_kib),
            resident_kib: Some(resident_kib),
            resident_per_call_kib: Some(resident_kib.saturating_sub(idle_resident_kib) / calls as u64),
            lateness,
            pictures_skipped: after.sent.pictures_skipped - before.sent.pictures_skipped,
            sipcast_ended_cleanly: true,
        })
    }

    async fn order_all(&self, progress: &mut Progress) {
        let phase = format!("{} calls, ordering", self.calls);
        let mut ramp = interval(Duration::from_secs_f64(1.0 / self.options.ramp_per_second));
        for call in 0..self.calls {
            ramp.tick().await;
            let order = Order {
                call_id: &call_id(call),
                callee: self.callee.local_addr(),
                tcp: self.options.tcp,
                rtmp_url: &format!("rtmp://{}/live", self.sink.local_addr()),
                media: self.options.media,
            };
            if let Err(error) = self.product.order(&order).await {
                tracing::error!(%error, call, "order refused");
            }
            progress.tell(&phase, (call + 1) as f64, self.calls as f64, "");
        }
    }

    /// Waits until every call is answered and its media is at the sink; returns how many made it.
    async fn wait_until_up(&self, progress: &mut Progress) -> anyhow::Result<usize> {
        let phase = format!("{} calls, coming up", self.calls);
        let until = Instant::now() + ESTABLISH_TIME;
        loop {
            let established = self.product.calls_with_status("ESTABLISHED").await?;
            let streams = self.sink.counts();
            let is_seen = |stream: &&StreamCounts| {
                stream.publishing && (!self.options.media.video || stream.pictures > 0)
            };
            let seen = streams.values().filter(is_seen).count();
            let up = established.min(seen);
            progress.tell(&phase, up as f64, self.calls as f64, "");
            if up == self.calls || Instant::now() > until {
                anyhow::ensure!(up > 0, "no call came up: {established} established, {seen} at the sink");
                return Ok(up);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lets the measured time pass and tells how it goes.
    async fn watch(&self, began: Instant, progress: &mut Progress) -> anyhow::Result<()> {
        let phase = format!("{} calls, measuring", self.calls);
        let total = self.options.duration;
        let mut latest = self.cpu_times()?.sipcast;
        loop {
            let look = (Instant::now() + LOOK_INTERVAL).min(began + total);
            sleep_until(look).await;
            let elapsed = began.elapsed();
            let cpu = self.cpu_times()?.sipcast;
            let detail = format!(
                "s, sipcast {:.0} %, generator {:.1} ms late (p99)",
                (cpu - latest).as_secs_f64() / LOOK_INTERVAL.as_secs_f64() * 100.0,
                self.callee.lateness().p99_us as f64 / 1_000.0
            );
            latest = cpu;
            progress.tell(
                &phase,
                elapsed.as_secs_f64().min(total.as_secs_f64()),
                total.as_secs_f64(),
                &detail,
            );
            if elapsed >= total {
                return Ok(());
            }
        }
    }

    fn cpu_times(&self) -> anyhow::Result<CpuTimes> {
        Ok(CpuTimes {
            sipcast: process::cpu_time(self.product.pid())?,
            own: process::cpu_time(std::process::id())?,
            sink: process::own_thread_cpu_time("sink"),
        })
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

fn call_id(call: usize) -> String {
    format!("load-{call:05}")
}
