//! `GET /metrics`: figures for Prometheus, in the OpenMetrics text format.
//! Takes: a snapshot of everything that is counted. Gives: text.
//! Labels come from short lists fixed here or by configuration: shards, states, statuses, causes, route templates. No
//! call, URL or peer is one, so a scrape does not grow with use.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use sipcast_contract::latency::LatencyHistogram;
use sipcast_contract::statistics::StreamStatistics;

use crate::broadcast::Broadcasts;
use crate::delivery::DeliveryCounts;
use crate::events::{Tally, TargetStateName};
use crate::faces::{GrpcCounts, RequestCounts};
use crate::hooks::counts::AppCounts;
use crate::process_figures::ProcessFigures;
use crate::statistics::{ShardFigures, Statistics};

/// The text, or nothing if it cannot be written, which no input can cause.
pub(crate) fn text(broadcasts: &Broadcasts) -> Option<String> {
    let mut registrations = BTreeMap::new();
    for account in broadcasts.accounts() {
        *registrations.entry(account.state).or_insert(0) += 1;
    }
    let faces = &broadcasts.shared.faces;
    let snapshot = Snapshot {
        process: ProcessFigures::read(),
        statistics: broadcasts.statistics(),
        tally: broadcasts.events().tally(),
        registrations,
        requests: faces.answered(),
        grpc_requests: faces.grpc_answered(),
        refusals: faces.refusals().collect(),
        webhooks: faces.webhooks.iter().map(|w| (w.name().to_owned(), w.counts())).collect(),
        apps: broadcasts.shared.apps.counts(),
    };
    let mut registry = Registry::with_prefix("sipcast");
    registry.register_collector(Box::new(snapshot));
    let mut out = String::with_capacity(16 * 1024);
    text::encode(&mut out, &registry).ok()?;
    Some(out)
}

/// The value of Content-Type.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct Snapshot {
    process: Option<ProcessFigures>,
    statistics: Statistics,
    tally: Tally,
    registrations: BTreeMap<&'static str, u64>,
    requests: RequestCounts,
    grpc_requests: GrpcCounts,
    refusals: Vec<(&'static str, u64)>,
    webhooks: Vec<(String, DeliveryCounts)>,
    apps: Vec<AppCounts>,
}

type Labels = Vec<(&'static str, String)>;

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut Out(&mut encoder);
        self.process(out)?;
        self.calls(out)?;
        self.media(out)?;
        self.targets(out)?;
        self.shards(out)?;
        self.faces(out)?;
        self.webhooks(out)?;
        self.hooks(out)
    }
}

impl Snapshot {
    fn process(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let build = vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)];
        out.gauges("build", "Always 1; the version is a label", build)?;
        out.gauge("uptime_seconds", "Time since the start", self.statistics.uptime.as_secs_f64())?;
        let Some(ProcessFigures { cpu, resident_bytes }) = self.process else { return Ok(()) };
        let help = "CPU time of the process, user and system";
        out.seconds_in_all("process_cpu_seconds", help, cpu.as_secs_f64())?;
        out.gauge("process_resident_memory_bytes", "Resident memory", resident_bytes as f64)
    }

    fn calls(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let calls = &self.statistics.calls;
        let live = self.statistics.by_status.iter().map(|(word, n)| (labels("status", word), *n as f64));
        out.gauges("calls_live", "Live calls by status", live)?;
        out.gauge("calls_live_max", "Live calls that are allowed", calls.live_max as f64)?;
        out.counter("calls_ordered", "Orders taken", calls.ordered)?;
        out.counter("calls_established", "Calls answered", calls.established)?;
        let outcomes = [("finished", calls.finished), ("busy", calls.busy), ("failed", calls.failed)];
        let outcomes = outcomes.map(|(outcome, n)| (labels("outcome", outcome), n));
        out.counters("calls_ended", "Calls that ended, by outcome", outcomes)?;
        out.counter("calls_refused", "Orders refused because of a limit of calls", calls.refused)?;
        let finals = self.tally.ended.iter().map(|(&(status, sip_status), n)| {
            (vec![("status", status.to_owned()), ("sip_status", sip_status.to_string())], *n)
        });
        out.counters("calls_final_sip_status", "Ended calls by final status and last SIP status", finals)?;
        let progress = self.tally.sip_statuses.iter();
        let progress = progress.map(|(status, n)| (labels("sip_status", &status.to_string()), *n));
        out.counters("sip_status", "SIP statuses that changed the state of a call", progress)?;
        let registrations = self.registrations.iter().map(|(state, n)| (labels("state", state), *n as f64));
        out.gauges("registrations", "SIP registrations by state", registrations)?;
        let events = self.tally.by_type.iter().map(|(kind, n)| (labels("type", kind), *n));
        out.counters("events", "Events told to webhooks and subscribers", events)
    }

    fn media(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        type Figure = (&'static str, &'static str, fn(&StreamStatistics) -> u64);
        const FIGURES: [Figure; 9] = [
            ("rtp_packets", "RTP packets taken", |s| s.packets),
            ("rtp_payload_bytes", "Payload bytes of RTP packets taken", |s| s.bytes),
            ("rtp_lost", "RTP packets that never came", |s| s.lost),
            ("rtp_reordered", "RTP packets out of order but in time", |s| s.reordered),
            ("rtp_duplicates", "RTP packets that came twice", |s| s.duplicates),
            ("rtp_late", "RTP packets that came too late", |s| s.late),
            ("rtp_nacked", "RTP packets asked for again", |s| s.nacked),
            ("rtp_retransmitted", "RTP packets that came after they were asked for again", |s| {
                s.retransmitted
            }),
            ("rtcp_sender_reports", "RTCP sender reports taken", |s| s.sender_reports),
        ];
        let totals = &self.statistics.totals;
        let streams = [("audio", &totals.audio), ("video", &totals.video)];
        for (name, help, figure) in FIGURES {
            out.counters(name, help, streams.map(|(media, s)| (labels("media", media), figure(s))))?;
        }
        let srtp = streams.iter().flat_map(|(media, s)| {
            [("authentication", s.authentication_failed), ("replay", s.replayed)]
                .map(|(cause, n)| (vec![("media", (*media).to_owned()), ("cause", cause.to_owned())], n))
        });
        out.counters("srtp_failures", "SRTP and SRTCP packets refused", srtp)?;
        let shards = &self.statistics.shards;
        let truncated = shards.iter().map(|shard| shard.statistics.truncated).sum();
        let bad = streams.iter().flat_map(|(_, s)| {
            [
                ("malformed", s.malformed),
                ("unknown_payload_type", s.unknown_payload_type),
                ("foreign_source", s.foreign_source),
            ]
        });
        let mut causes = BTreeMap::from([("truncated", truncated)]);
        bad.for_each(|(cause, n)| *causes.entry(cause).or_default() += n);
        let causes = causes.into_iter().map(|(cause, n)| (labels("cause", cause), n));
        out.counters("rtp_bad_input", "Datagrams dropped because of what is in them, by cause", causes)?;
        out.counter("pictures_published", "Access units published", totals.access_units)?;
        out.counter("pictures_lost", "Access units given up for loss", totals.access_units_dropped)?;
        out.counter("audio_frames_published", "Audio frames published", totals.aac_frames)
    }

    fn targets(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let mut states = BTreeMap::from([("connecting", 0), ("publishing", 0), ("reconnecting", 0)]);
        for target in self.statistics.broadcasts.iter().flat_map(|broadcast| &broadcast.targets) {
            if let Some(count) = states.get_mut(TargetStateName::of(target.state).0.name()) {
                *count += 1;
            }
        }
        let states = states.into_iter().map(|(state, n)| (labels("state", state), f64::from(n)));
        out.gauges("targets", "RTMP targets by state", states)?;
        let reached = self.tally.target_states.iter().map(|(state, n)| (labels("state", state), *n));
        out.counters("target_states", "Times that RTMP targets came to a state", reached)?;
        let totals = &self.statistics.totals;
        out.counter("rtmp_sent_bytes", "Bytes that RTMP servers took", totals.bytes_sent)?;
        out.counter(
            "rtmp_pictures_dropped",
            "Access units dropped because a target was slow",
            totals.access_units_dropped_by_targets,
        )?;
        out.counter("rtmp_reconnects", "Times that the connection of a target was lost", totals.reconnects)
    }

    fn shards(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let shards = &self.statistics.shards;
        let by = |shard: &ShardFigures| labels("shard", &shard.statistics.shard.0.to_string());
        type Counter = (&'static str, &'static str, fn(&ShardFigures) -> u64);
        const COUNTERS: [Counter; 5] = [
            ("shard_datagrams", "Datagrams received", |s| s.statistics.datagrams),
            ("shard_turns", "Turns of the ring loop", |s| s.statistics.turns),
            ("shard_no_buffers", "Times that the kernel found no buffer", |s| s.statistics.no_buffers),
            ("shard_kernel_drops", "Datagrams that the kernel dropped", |s| s.statistics.kernel_drops),
            ("shard_sealed_bytes", "Bytes encrypted for rtmps targets", |s| s.statistics.sealed_bytes),
        ];
        for (name, help, figure) in COUNTERS {
            out.counters(name, help, shards.iter().map(|shard| (by(shard), figure(shard))))?;
        }
        let cpu = shards.iter().map(|shard| (by(shard), shard.statistics.cpu.as_secs_f64()));
        out.seconds("shard_cpu_seconds", "CPU time of the shard's thread", cpu)?;
        type Gauge = (&'static str, &'static str, fn(&ShardFigures) -> f64);
        const GAUGES: [Gauge; 5] = [
            ("shard_broadcasts", "Live broadcasts", |s| s.broadcasts as f64),
            ("shard_pool_slots_held", "Pool slots held outside the kernel", |s| {
                s.statistics.slots_held.into()
            }),
            ("shard_pool_slots", "Pool slots in all", |s| s.statistics.slots.into()),
            ("shard_broadcasts_max", "Broadcasts that the shard may carry, by what they cost", |s| {
                s.statistics.broadcasts_max.into()
            }),
            ("shard_broadcast_cpu_ratio", "Share of a core that one broadcast costs", |s| {
                s.statistics.broadcast_cpu.as_secs_f64()
            }),
        ];
        for (name, help, figure) in GAUGES {
            out.gauges(name, help, shards.iter().map(|shard| (by(shard), figure(shard))))?;
        }
        let help = "From the arrival of a picture's last datagram to its send";
        let latencies = shards.iter().map(|shard| (by(shard), &shard.statistics.added_latency));
        out.latencies("shard_added_latency_seconds", help, latencies)
    }

    fn faces(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let requests = self.requests.iter().map(|((route, method, status), n)| {
            let route = ("route", route.clone());
            (vec![route, ("method", (*method).to_owned()), ("status", status.to_string())], *n)
        });
        out.counters("http_requests", "Requests by route, method and status", requests)?;
        let calls = self.grpc_requests.iter().map(|((method, code), n)| {
            (vec![("method", method.to_string()), ("code", code_name(*code).to_owned())], *n)
        });
        out.counters("grpc_requests", "gRPC calls by method and status code", calls)?;
        let refusals = self.refusals.iter().map(|(cause, n)| (labels("cause", cause), *n));
        out.counters("refusals", "What was refused to clients, by cause", refusals)
    }

    fn webhooks(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let endpoints = self.webhooks.iter().map(|(name, counts)| (labels("webhook", name), *counts));
        out.deliveries("webhook", endpoints)
    }

    fn hooks(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let by = |app: &AppCounts| labels("app", &app.app_key);
        out.deliveries("hook", self.apps.iter().map(|app| (by(app), app.told)))?;
        let answers = self.apps.iter().flat_map(|app| {
            app.asked.iter().map(|((hook, outcome), n)| {
                let more = [("hook", hook.as_str().to_owned()), ("outcome", outcome.name().to_owned())];
                (by(app).into_iter().chain(more).collect(), *n)
            })
        });
        out.counters("hook_answers", "What came of asking the app before orders", answers)
    }
}

/// gRPC's name of a status code.
fn code_name(code: i32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("UNKNOWN")
}

fn labels(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

/// Writes families.
struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Out<'_, '_> {
    /// What became of posts to `of`, each name beginning with that.
    fn deliveries(
        &mut self,
        of: &str,
        rows: impl Iterator<Item = (Labels, DeliveryCounts)> + Clone,
    ) -> fmt::Result {
        type Figure = (&'static str, &'static str, fn(&DeliveryCounts) -> u64);
        const FIGURES: [Figure; 4] = [
            ("delivered", "Posts that were taken", |counts| counts.delivered),
            ("failed_attempts", "Attempts that failed", |counts| counts.failed_attempts),
            ("dropped", "Posts dropped because the queue was full", |counts| counts.dropped),
            ("given_up", "Posts that became too old", |counts| counts.given_up),
        ];
        for (name, help, figure) in FIGURES {
            let rows = rows.clone().map(|(labels, counts)| (labels, figure(&counts)));
            self.counters(&format!("{of}_{name}"), help, rows)?;
        }
        let waiting = rows.map(|(labels, counts)| (labels, counts.waiting as f64));
        self.gauges(&format!("{of}_waiting"), "Posts that wait", waiting)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn seconds_in_all(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
        })
    }

    fn seconds(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)
        })
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.into_iter().try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }

    fn latencies<'a>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, &'a LatencyHistogram)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        rows.into_iter().try_for_each(|(labels, histogram)| {
            let mut buckets = LATENCY_EDGES_S.map(|edge| (edge, 0));
            let mut sum = 0.0;
            for (edge, count) in histogram.buckets() {
                let edge = edge.as_secs_f64();
                sum += edge * count as f64;
                let at = buckets.iter_mut().find(|(upper, _)| edge <= *upper);
                at.into_iter().for_each(|(_, n)| *n += count);
            }
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
        })
    }
}

/// Upper edges of the buckets of latency; the last one takes all.
const LATENCY_EDGES_S: [f64; 13] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, f64::MAX];
