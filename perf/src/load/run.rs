//! One run: order, wait until all is up, measure, compare both sides.
//! Takes: options, a number of calls. Gives: a [`Report`].
//! Leaves out: what the figures are good for (`thresholds`).
//!
//! Counts are compared at two moments when no packet is under way: the callees pause, sipcast's statistics settle,
//! and only then both sides are read. So "lost" is exact to the packet, not a matter of when who was asked.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::calls::Calls;
use super::options::{LoadOptions, SipcastChoice};
use super::process;
use super::product::Product;
use super::progress::Progress;
use super::report::{PERFECT_NETWORK, ProductCounts, Report};
use super::rest::{Order, Rest};
use super::subject::{Cost, Subject};
use crate::call_clock::CallClock;
use crate::callee::{
    self, Callee, CalleeOptions, CalleeStatistics, NetworkProfile, PictureSource, SipTransport,
};
use crate::sink::{self, Sink, StreamCounts};

/// What packets need at most from the callee through sipcast to the sink, plus one period of its statistics (1 s).
const SETTLE_TIME: Duration = Duration::from_millis(2_500);
/// How long calls may take to come up after the last order.
const ESTABLISH_TIME: Duration = Duration::from_secs(30);
/// After the pause, before CPU is measured: the IDR pictures that all calls begin with are over.
const WARM_TIME: Duration = Duration::from_secs(2);
/// From one look at the figures to the next while measuring.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// From the last packet of a call that is to be ended to its end: longer than a packet takes to sipcast.
const MUTE_TIME: Duration = Duration::from_millis(100);

/// One run under way.
pub(super) struct Run<'a> {
    options: &'a LoadOptions,
    calls: usize,
    clock: Arc<CallClock>,
    callee: &'a Callee,
    sink: Option<&'a Sink>,
    subject: &'a Subject,
}

/// Both sides at a moment when nothing is under way.
struct Quiet {
    sent: CalleeStatistics,
    product: ProductCounts,
    received: Option<StreamCounts>,
}

/// CPU time used so far.
#[derive(Clone, Copy)]
struct CpuTimes {
    sipcast: Cost,
    callees: Duration,
    sink: Duration,
    harness: Duration,
}

impl Run<'_> {
    /// Starts everything, measures, and ends everything.
    ///
    /// # Errors
    /// When something does not start, no call comes up, or `interrupt` completes.
    pub async fn make(
        options: &LoadOptions,
        calls: usize,
        program: Option<&Path>,
        progress: &mut Progress,
        interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> anyhow::Result<Report> {
        let clock = Arc::new(CallClock::default());
        let bind = SocketAddr::new(options.address, 0);
        let callee = Callee::start(CalleeOptions {
            bind,
            transport: if options.tcp { SipTransport::Tcp } else { SipTransport::Udp },
            profiles: options.mix.profiles(),
            pictures: PictureSource::Recorded,
            // Ended calls may still be hanging up while new ones come.
            calls_max: 2 * calls,
            network: options.network,
            segmentation: options.segmentation,
            clock: Some(Arc::clone(&clock)),
            ..CalleeOptions::default()
        })
        .await?;
        let sink = match options.target {
            None => Some(Sink::start_with(bind, Some(Arc::clone(&clock))).context("sink")?),
            Some(_) => None,
        };
        let subject = match Self::subject(options, program).await {
            Ok(subject) => subject,
            Err(error) => {
                callee.shutdown().await;
                if let Some(sink) = sink {
                    sink.shutdown();
                }
                return Err(error);
            }
        };
        let mut made = Calls::new(options, calls);
        let outcome = {
            let run = Run { options, calls, clock, callee: &callee, sink: sink.as_ref(), subject: &subject };
            tokio::select! {
                outcome = run.measure(&mut made, progress) => outcome,
                () = interrupt => Err(anyhow::anyhow!("interrupted")),
            }
        };
        for name in made.names() {
            if let Err(error) = subject.rest().terminate(name).await {
                tracing::warn!(%error, "terminate");
                break;
            }
        }
        let stopped = subject.stop().await;
        callee.shutdown().await;
        if let Some(sink) = sink {
            sink.shutdown();
        }
        let mut report = outcome?;
        if let Err(error) = stopped {
            tracing::error!(%error, "sipcast's end");
            report.sipcast_ended_cleanly = false;
        }
        Ok(report)
    }

    async fn subject(options: &LoadOptions, program: Option<&Path>) -> anyhow::Result<Subject> {
        match (&options.sipcast, program) {
            (SipcastChoice::Own(own), Some(program)) => {
                Product::start(program, own, options.address).await.map(Box::new).map(Subject::Own)
            }
            (SipcastChoice::Own(_), None) => anyhow::bail!("no sipcast program"),
            (SipcastChoice::Elsewhere(elsewhere), _) => {
                let rest = Rest::new(&elsewhere.rest, elsewhere.api_key.as_deref())?;
                let statistics = rest.statistics().await?;
                let live = statistics.pointer("/calls/live").and_then(serde_json::Value::as_u64);
                anyhow::ensure!(
                    live == Some(0),
                    "{}: {} calls are live there; counts and costs would not be those of the load",
                    elsewhere.rest,
                    live.unwrap_or_default()
                );
                Ok(Subject::Elsewhere(Box::new(rest)))
            }
        }
    }

    async fn measure(&self, made: &mut Calls, progress: &mut Progress) -> anyhow::Result<Report> {
        let calls = self.calls;
        sleep(Duration::from_millis(500)).await;
        let idle = self.subject.cost().await?;
        self.order_all(made, progress).await;
        let up = self.wait_until_up(made, progress).await?;
        anyhow::ensure!(up > 0, "no call came up");

        let before = self.quiet().await?;
        self.callee.set_paused(false);
        sleep(WARM_TIME).await;
        self.callee.reset_lateness();
        self.clock.reset_latency();
        let cpu_before = self.cpu_times().await?;
        let began = Instant::now();
        self.watch(began, made, progress).await?;
        let seconds = began.elapsed().as_secs_f64();
        let cpu_after = self.cpu_times().await?;
        let lateness = self.callee.lateness();
        let latency = self.clock.latency();
        let still_up = match self.options.churn_per_second {
            0.0 => self.up(made).await?,
            // Those ordered last may still be ringing.
            _ => self.wait_until_up(made, progress).await?,
        };
        let sending = began.elapsed().as_secs_f64() + WARM_TIME.as_secs_f64();
        let after = self.quiet().await?;

        // Threads of another run in this process may have ended in between, and their time with them.
        let percent =
            |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() / seconds * 100.0;
        let sipcast_cpu =
            cpu_after.sipcast.cpu.zip(cpu_before.sipcast.cpu).map(|(after, before)| percent(after, before));
        let resident_per_call = cpu_after
            .sipcast
            .resident_kib
            .zip(idle.resident_kib)
            .map(|(loaded, idle)| loaded.saturating_sub(idle) / calls as u64);
        let packets = |quiet: &Quiet| quiet.sent.audio_packets + quiet.sent.video_packets;
        let packets_sent = packets(&after) - packets(&before);
        let packets_received = after.product.packets.saturating_sub(before.product.packets);
        let packets_not_used = after.product.not_used.saturating_sub(before.product.not_used);
        let octets = after.sent.octets - before.sent.octets;
        let received = after.received.zip(before.received);
        made.take_moments(&self.clock);
        Ok(Report {
            calls,
            calls_failed: calls - up.min(still_up) + made.refused() + made.never_shown(),
            calls_made: made.made(),
            mix: self.options.mix.to_string(),
            network: network_text(&self.options.network),
            seconds,
            bit_rate_per_call_bps: (octets as f64 * 8.0 / sending / calls as f64) as u64,
            packets_per_second: (packets_sent as f64 / sending) as u64,
            cpu_scope: cpu_after.sipcast.scope,
            sipcast_cpu_percent: sipcast_cpu,
            sipcast_cpu_percent_per_call: sipcast_cpu.map(|percent| percent / calls as f64),
            callee_cpu_percent: percent(cpu_after.callees, cpu_before.callees),
            sink_cpu_percent: percent(cpu_after.sink, cpu_before.sink),
            harness_cpu_percent: percent(cpu_after.harness, cpu_before.harness),
            packets_sent,
            packets_received,
            packets_not_used,
            packets_lost: packets_sent.saturating_sub(packets_received + packets_not_used),
            packets_lost_on_purpose: after.sent.packets_lost_on_purpose - before.sent.packets_lost_on_purpose,
            packets_missing_by_sequence: after.product.lost.saturating_sub(before.product.lost),
            kernel_drops: after.product.kernel_drops.saturating_sub(before.product.kernel_drops),
            no_buffers: after.product.no_buffers.saturating_sub(before.product.no_buffers),
            send_failures: after.sent.send_failures - before.sent.send_failures,
            pictures_sent: after.sent.pictures - before.sent.pictures,
            pictures_received: received.map(|(after, before)| after.pictures - before.pictures),
            audio_frames_received: received.map(|(after, before)| after.audio_frames - before.audio_frames),
            backward_timestamps: received.map(|(after, _)| after.backward_timestamps),
            latency,
            set_up_answered: made.answered(),
            set_up_shown: made.shown(),
            sipcast_latency_p50_ms: after.product.latency_p50_ms,
            sipcast_latency_p99_ms: after.product.latency_p99_ms,
            idle_resident_kib: idle.resident_kib,
            resident_kib: cpu_after.sipcast.resident_kib,
            resident_per_call_kib: resident_per_call,
            lateness,
            pictures_skipped: after.sent.pictures_skipped - before.sent.pictures_skipped,
            sipcast_ended_cleanly: true,
        })
    }

    async fn order_all(&self, made: &mut Calls, progress: &mut Progress) {
        let phase = format!("{} calls, ordering", self.calls);
        let mut ramp = interval(Duration::from_secs_f64(1.0 / self.options.ramp_per_second));
        for slot in 0..self.calls {
            ramp.tick().await;
            self.order(slot, made).await;
            progress.tell(&phase, (slot + 1) as f64, self.calls as f64, "");
        }
    }

    async fn order(&self, slot: usize, made: &mut Calls) {
        let name = made.begin(slot, self.clock.now());
        let rtmp_url = match (&self.options.target, self.sink) {
            (None, Some(sink)) => format!("rtmp://{}/live", sink.local_addr()),
            (target, _) => target.clone().unwrap_or_default(),
        };
        let order = Order {
            name: &name,
            callee: self.callee.local_addr(),
            tcp: self.options.tcp,
            rtmp_url: &rtmp_url,
            media: self.options.media,
        };
        if let Err(error) = self.subject.rest().order(&order).await {
            tracing::error!(%error, name, "order refused");
            made.refuse(slot);
        }
    }

    /// How many calls are answered, and their media at the sink (or, without one, taken by the target).
    async fn up(&self, made: &Calls) -> anyhow::Result<usize> {
        let established = self.subject.rest().established().await?;
        let streams = self.sink.map(Sink::counts);
        let is_up = |(name, is_published): &&(String, bool)| {
            let is_shown = match &streams {
                None => *is_published,
                Some(streams) => streams.get(&format!("rtmp_{name}")).is_some_and(|stream| {
                    stream.publishing && (!self.options.media.video || stream.pictures > 0)
                }),
            };
            is_shown && made.is_ours(name)
        };
        Ok(established.iter().filter(is_up).count())
    }

    /// Waits until every call is up; returns how many made it.
    async fn wait_until_up(&self, made: &Calls, progress: &mut Progress) -> anyhow::Result<usize> {
        let phase = format!("{} calls, coming up", self.calls);
        let until = Instant::now() + ESTABLISH_TIME;
        loop {
            let up = self.up(made).await?;
            progress.tell(&phase, up as f64, self.calls as f64, "");
            if up == self.calls || Instant::now() > until {
                return Ok(up);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lets the measured time pass, ends calls and orders them anew, and tells how it goes.
    async fn watch(&self, began: Instant, made: &mut Calls, progress: &mut Progress) -> anyhow::Result<()> {
        let phase = format!("{} calls, measuring", self.calls);
        let total = self.options.duration;
        let churn = self.options.churn_per_second;
        let churn_interval = Duration::from_secs_f64(if churn > 0.0 { 1.0 / churn } else { 86_400.0 });
        let mut next_churn = began + churn_interval;
        let mut ending: Option<(Instant, usize)> = None;
        let mut next_slot = 0;
        let mut next_look = began + LOOK_INTERVAL;
        let mut latest = self.subject.cost().await?.cpu;
        while began.elapsed() < total {
            let due = ending.map_or(next_churn, |(at, _)| at).min(next_look).min(began + total);
            sleep_until(due).await;
            let now = Instant::now();
            if let Some((_, slot)) = ending.filter(|(at, _)| *at <= now) {
                ending = None;
                self.renew(slot, made).await;
            } else if ending.is_none() && next_churn <= now && began + total > now + MUTE_TIME {
                next_churn = (next_churn + churn_interval).max(now);
                self.callee.mute(made.name(next_slot));
                ending = Some((now + MUTE_TIME.min(churn_interval), next_slot));
                next_slot = (next_slot + 1) % self.calls;
            }
            if next_look <= now {
                next_look += LOOK_INTERVAL;
                let cpu = self.subject.cost().await?.cpu;
                let detail = self.detail(cpu.zip(latest).map(|(now, before)| now.saturating_sub(before)));
                latest = cpu;
                let elapsed = began.elapsed().as_secs_f64().min(total.as_secs_f64());
                progress.tell(&phase, elapsed, total.as_secs_f64(), &detail);
            }
        }
        if let Some((_, slot)) = ending {
            self.renew(slot, made).await;
        }
        Ok(())
    }

    /// Ends the call of a slot and orders another one in its place.
    async fn renew(&self, slot: usize, made: &mut Calls) {
        let name = made.name(slot).to_owned();
        if let Err(error) = self.subject.rest().terminate(&name).await {
            tracing::error!(%error, name, "terminate");
        }
        made.end(slot, &self.clock);
        if let Some(sink) = self.sink {
            made.forget_ended(sink);
        }
        self.order(slot, made).await;
    }

    fn detail(&self, cpu: Option<Duration>) -> String {
        let late = self.callee.lateness().p99_us as f64 / 1_000.0;
        let cpu = cpu.map_or_else(String::new, |cpu| {
            format!(", sipcast {:.0} %", cpu.as_secs_f64() / LOOK_INTERVAL.as_secs_f64() * 100.0)
        });
        let latency = self.clock.latency();
        let latency =
            latency.map_or_else(String::new, |latency| format!(", latency p99 {:.1} ms", latency.p99_ms));
        format!("s{cpu}{latency}, generator {late:.1} ms late (p99)")
    }

    async fn cpu_times(&self) -> anyhow::Result<CpuTimes> {
        let callees = process::own_thread_cpu_time(callee::THREAD_NAME);
        let sink = process::own_thread_cpu_time(sink::THREAD_NAME);
        let own = process::cpu_time(std::process::id())?;
        let harness = own.saturating_sub(callees + sink);
        Ok(CpuTimes { sipcast: self.subject.cost().await?, callees, sink, harness })
    }

    async fn quiet(&self) -> anyhow::Result<Quiet> {
        self.callee.set_paused(true);
        sleep(SETTLE_TIME).await;
        Ok(Quiet {
            sent: self.callee.statistics(),
            product: ProductCounts::read(&self.subject.rest().statistics().await?)?,
            received: self.sink.map(Sink::totals),
        })
    }
}

fn network_text(network: &NetworkProfile) -> String {
    if network.is_perfect() {
        return PERFECT_NETWORK.to_owned();
    }
    let bursts = match network.loss_burst {
        burst if burst > 1.0 => format!(" in bursts of {burst}"),
        _ => String::new(),
    };
    let order = if network.reorder { ", reordered" } else { "" };
    format!(
        "{} % lost{bursts}, jitter {:.0} ms{order}, seed {}",
        network.loss * 100.0,
        network.jitter.as_secs_f64() * 1_000.0,
        network.seed
    )
}
