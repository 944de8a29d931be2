//! Figures on the wire: `GET /statistics` as JSON, and `GET /?action=stat` as the original's text of
//! `-----section-----` lines and `key=value` lines (wcs-api 1.5). No credential or stream key is among them.

use std::fmt::Write;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use sipcast_contract::TargetState;
use sipcast_contract::latency::LatencyHistogram;
use sipcast_contract::statistics::StreamStatistics;

use crate::broadcast::Broadcasts;
use crate::statistics::{BroadcastFigures, ShardFigures, Statistics, TargetFigures, Totals};

/// `GET /statistics`.
pub(crate) async fn json(State(broadcasts): State<Broadcasts>) -> Json<Value> {
    Json(as_json(&broadcasts.statistics()))
}

fn as_json(s: &Statistics) -> Value {
    json!({
        "uptimeSeconds": s.uptime.as_secs_f64(),
        "calls": {
            "live": s.calls.live,
            "liveMax": s.calls.live_max,
            "ordered": s.calls.ordered,
            "established": s.calls.established,
            "finished": s.calls.finished,
            "busy": s.calls.busy,
            "failed": s.calls.failed,
            "refused": s.calls.refused,
            "byStatus": s.by_status,
        },
        "addedLatency": Latency::of(&s.added_latency),
        "totals": totals(&s.totals),
        "shards": s.shards.iter().map(shard).collect::<Vec<_>>(),
        "broadcasts": s.broadcasts.iter().map(broadcast).collect::<Vec<_>>(),
    })
}

/// `GET /?action=stat`.
pub(crate) fn as_text(s: &Statistics) -> String {
    let mut text = String::with_capacity(2048);
    let latency = Latency::of(&s.added_latency);
    let mut section = |name: &str, lines: &[(&str, u64)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "-----{name}-----");
        for (key, value) in lines {
            let _ = writeln!(text, "{key}={value}");
        }
    };
    section("Core Stats", &[("core.uptime_s", s.uptime.as_secs()), ("core.shards", s.shards.len() as u64)]);
    section(
        "Call Stats",
        &[
            ("call_stats.live", s.calls.live as u64),
            ("call_stats.live_max", s.calls.live_max as u64),
            ("call_stats.ordered", s.calls.ordered),
            ("call_stats.established", s.calls.established),
            ("call_stats.finished", s.calls.finished),
            ("call_stats.busy", s.calls.busy),
            ("call_stats.failed", s.calls.failed),
            ("call_stats.refused", s.calls.refused),
        ],
    );
    let by_status: Vec<(&str, u64)> = s.by_status.iter().map(|(&word, &n)| (word, n as u64)).collect();
    section("Call Statuses", &by_status);
    for (name, stream) in [("Audio RTP", &s.totals.audio), ("Video RTP", &s.totals.video)] {
        section(
            name,
            &[
                ("packets", stream.packets),
                ("bytes", stream.bytes),
                ("lost", stream.lost),
                ("reordered", stream.reordered),
                ("duplicates", stream.duplicates),
                ("late", stream.late),
                ("malformed", stream.malformed),
                ("foreign_source", stream.foreign_source),
                ("authentication_failed", stream.authentication_failed),
                ("replayed", stream.replayed),
                ("nacked", stream.nacked),
                ("retransmitted", stream.retransmitted),
            ],
        );
    }
    section(
        "RTMP Stats",
        &[
            ("access_units", s.totals.access_units),
            ("access_units_dropped", s.totals.access_units_dropped),
            ("aac_frames", s.totals.aac_frames),
            ("bytes_sent", s.totals.bytes_sent),
            ("reconnects", s.totals.reconnects),
        ],
    );
    section(
        "Added Latency",
        &[("count", latency.count), ("p50_us", latency.p50_micros), ("p99_us", latency.p99_micros)],
    );
    for figures in &s.shards {
        let shard = &figures.statistics;
        section(
            &format!("Shard {}", shard.shard),
            &[
                ("broadcasts", figures.broadcasts as u64),
                ("turns", shard.turns),
                ("datagrams", shard.datagrams),
                ("truncated", shard.truncated),
                ("no_buffers", shard.no_buffers),
                ("kernel_drops", shard.kernel_drops),
                ("slots_held", u64::from(shard.slots_held)),
                ("slots", u64::from(shard.slots)),
                ("payload_bytes_copied", shard.payload_bytes_copied),
                ("sealed_bytes", shard.sealed_bytes),
                ("cpu_us", micros(shard.cpu)),
            ],
        );
    }
    text
}

/// A histogram in short. All in microseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Latency {
    count: u64,
    p50_micros: u64,
    p99_micros: u64,
    max_micros: u64,
}

impl Latency {
    fn of(histogram: &LatencyHistogram) -> Self {
        let at = |q| micros(histogram.quantile(q));
        Self { count: histogram.count(), p50_micros: at(0.5), p99_micros: at(0.99), max_micros: at(1.0) }
    }
}

fn shard(figures: &ShardFigures) -> Value {
    let s = &figures.statistics;
    json!({
        "shard": s.shard.0,
        "broadcasts": figures.broadcasts,
        "turns": s.turns,
        "datagrams": s.datagrams,
        "truncated": s.truncated,
        "noBuffers": s.no_buffers,
        "kernelDrops": s.kernel_drops,
        "slotsHeld": s.slots_held,
        "slots": s.slots,
        "payloadBytesCopied": s.payload_bytes_copied,
        "sealedBytes": s.sealed_bytes,
        "cpuMicros": micros(s.cpu),
        "broadcastsMax": s.broadcasts_max,
        "broadcastCpuMicros": micros(s.broadcast_cpu),
        "addedLatency": Latency::of(&s.added_latency),
    })
}

fn broadcast(figures: &BroadcastFigures) -> Value {
    let s = &figures.statistics;
    json!({
        "broadcast": figures.id.0,
        "callId": figures.call_id,
        "status": figures.status.as_str(),
        "shard": figures.shard,
        "audio": stream(&s.audio),
        "video": stream(&s.video),
        "width": s.width,
        "height": s.height,
        "accessUnits": s.access_units,
        "idrPictures": s.idr_pictures,
        "accessUnitsDropped": s.access_units_dropped,
        "aacFrames": s.aac_frames,
        "silenceSamples": s.silence_samples,
        "reorderedPictures": s.reordered_pictures,
        "concealedSamples": s.concealed_samples,
        "playedPictures": s.played_pictures,
        "playedPicturesDropped": s.played_pictures_dropped,
        "pliSent": s.pli_sent,
        "firSent": s.fir_sent,
        "tmmbrSent": s.tmmbr_sent,
        "bitRateBoundBps": s.bit_rate_bound_bps,
        "skewMs": s.skew_ms,
        "targets": figures.targets.iter().map(target).collect::<Vec<_>>(),
    })
}

fn target(figures: &TargetFigures) -> Value {
    let s = &figures.statistics;
    let (state, fault) = match figures.state {
        TargetState::Connecting => ("CONNECTING", None),
        TargetState::Publishing => ("PUBLISHING", None),
        TargetState::Reconnecting(fault) => ("RECONNECTING", Some(fault.to_string())),
        TargetState::Ended(fault) => ("ENDED", fault.map(|f| f.to_string())),
    };
    json!({
        "target": figures.id.0,
        "mediaSessionId": figures.media_session_id,
        "url": figures.url,
        "state": state,
        "fault": fault,
        "muted": figures.muted,
        "bytesSent": s.bytes_sent,
        "accessUnits": s.access_units,
        "audioFrames": s.audio_frames,
        "oversized": s.oversized,
        "republished": s.republished,
        "conformity": figures.conformity,
        "accessUnitsDropped": s.access_units_dropped,
        "audioFramesDropped": s.audio_frames_dropped,
        "reconnects": s.reconnects,
        "queueMs": s.queue_ms,
    })
}

fn totals(t: &Totals) -> Value {
    json!({
        "audio": stream(&t.audio),
        "video": stream(&t.video),
        "accessUnits": t.access_units,
        "accessUnitsDropped": t.access_units_dropped,
        "aacFrames": t.aac_frames,
        "bytesSent": t.bytes_sent,
        "accessUnitsDroppedByTargets": t.access_units_dropped_by_targets,
        "reconnects": t.reconnects,
    })
}

fn stream(s: &StreamStatistics) -> Value {
    json!({
        "packets": s.packets,
        "bytes": s.bytes,
        "lost": s.lost,
        "reordered": s.reordered,
        "duplicates": s.duplicates,
        "late": s.late,
        "malformed": s.malformed,
        "unknownPayloadType": s.unknown_payload_type,
        "foreignSource": s.foreign_source,
        "authenticationFailed": s.authentication_failed,
        "replayed": s.replayed,
        "nacked": s.nacked,
        "retransmitted": s.retransmitted,
        "senderReports": s.sender_reports,
        "jitterMs": s.jitter_ms,
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
