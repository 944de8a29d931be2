//! Figures of one moment: shards, calls, targets, and sums that outlive the calls.
//! Takes: the registry and what the shards last told. Gives: plain numbers. Leaves out: their JSON and text (`rest`).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sipcast_contract::latency::LatencyHistogram;
use sipcast_contract::statistics::{
    BroadcastStatistics, ShardStatistics, StreamStatistics, TargetStatistics,
};
use sipcast_contract::{BroadcastId, TargetId, TargetState};
use sipcast_sip::event::CallStatus;

use crate::broadcast::{Figures, Shared};
use crate::conformity::ConformityReport;
use crate::registry::{Broadcast, Registry};

/// A snapshot of everything that is counted. Shards tell about once a second, so figures lag by that much.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Since the control plane started.
    pub uptime: Duration,
    /// How calls went since then.
    pub calls: CallCounts,
    /// Live calls by status; only statuses that occur.
    pub by_status: BTreeMap<&'static str, usize>,
    /// RTP and RTMP figures of all broadcasts since the start, live and closed.
    pub totals: Totals,
    /// From the arrival of an access unit's last datagram to its send, over all shards.
    pub added_latency: LatencyHistogram,
    /// By shard, in order of their numbers; a shard appears with its first report.
    pub shards: Vec<ShardFigures>,
    /// Live calls and those within their grace time, oldest first.
    pub broadcasts: Vec<BroadcastFigures>,
}

/// Calls since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Gauge: live now.
    pub live: usize,
    /// As many may be live.
    pub live_max: usize,
    /// Orders taken.
    pub ordered: u64,
    /// Answered.
    pub established: u64,
    /// Ended by BYE or by order.
    pub finished: u64,
    /// Callee busy.
    pub busy: u64,
    /// Failed.
    pub failed: u64,
    /// Orders refused because of a limit.
    pub refused: u64,
}

/// One shard.
#[derive(Clone, Debug)]
pub struct ShardFigures {
    /// Gauge: live broadcasts that it holds.
    pub broadcasts: usize,
    /// As it told; its list of broadcasts is moved to [`Statistics::broadcasts`].
    pub statistics: ShardStatistics,
}

/// One call and its targets.
#[derive(Clone, Debug)]
pub struct BroadcastFigures {
    /// Its name between the planes.
    pub id: BroadcastId,
    /// Its name in the API.
    pub call_id: String,
    /// Where it stands.
    pub status: CallStatus,
    /// Index of the shard that holds it.
    pub shard: usize,
    /// As the shard told.
    pub statistics: BroadcastStatistics,
    /// Its targets.
    pub targets: Vec<TargetFigures>,
}

/// One target.
#[derive(Clone, Debug)]
pub struct TargetFigures {
    /// Its name between the planes.
    pub id: TargetId,
    /// Its name in the API; `None` for the call's direct publication.
    pub media_session_id: Option<String>,
    /// Where it publishes: no credentials, no query, no stream name.
    pub url: String,
    /// Its state.
    pub state: TargetState,
    /// Silence instead of sound.
    pub muted: bool,
    /// As the shard told.
    pub statistics: TargetStatistics,
    /// How it keeps to its service's contract.
    pub conformity: ConformityReport,
}

/// Sums over broadcasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Audio streams.
    pub audio: StreamStatistics,
    /// Video streams.
    pub video: StreamStatistics,
    /// Pictures published.
    pub access_units: u64,
    /// Pictures given up for loss.
    pub access_units_dropped: u64,
    /// AAC frames published.
    pub aac_frames: u64,
    /// Bytes that RTMP servers took.
    pub bytes_sent: u64,
    /// Pictures dropped because a target was slow.
    pub access_units_dropped_by_targets: u64,
    /// Times a target's connection was lost.
    pub reconnects: u64,
}

impl Totals {
    /// Adds one broadcast. `jitter_ms`, a gauge, keeps the largest value.
    pub(crate) fn add(&mut self, broadcast: &BroadcastStatistics) {
        add_stream(&mut self.audio, &broadcast.audio);
        add_stream(&mut self.video, &broadcast.video);
        self.access_units += broadcast.access_units;
        self.access_units_dropped += broadcast.access_units_dropped;
        self.aac_frames += broadcast.aac_frames;
        for (_, target) in &broadcast.targets {
            self.bytes_sent += target.bytes_sent;
            self.access_units_dropped_by_targets += target.access_units_dropped;
            self.reconnects += target.reconnects;
        }
    }
}

impl Statistics {
    pub(crate) fn gather(shared: &Shared, registry: &Registry, figures: &Figures) -> Self {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let calls = CallCounts {
            live: registry.live(),
            live_max: shared.options.broadcasts_max,
            ordered: count(&shared.counters.ordered),
            established: count(&shared.counters.established),
            finished: count(&shared.counters.finished),
            busy: count(&shared.counters.busy),
            failed: count(&shared.counters.failed),
            refused: count(&shared.counters.refused),
        };
        let mut by_status = BTreeMap::new();
        let mut totals = figures.closed;
        for broadcast in registry.iter_live() {
            *by_status.entry(broadcast.status.as_str()).or_insert(0) += 1;
            // The figures of a closed one are in the sum already.
            if !broadcast.is_closed() {
                totals.add(&broadcast.statistics);
            }
        }
        let mut added_latency = LatencyHistogram::default();
        let shards = figures
            .shards
            .values()
            .map(|statistics| {
                added_latency.merge(&statistics.added_latency);
                let broadcasts = registry.loads().get(usize::from(statistics.shard.0)).copied();
                ShardFigures { broadcasts: broadcasts.unwrap_or(0), statistics: (**statistics).clone() }
            })
            .collect();
        let broadcasts = registry.iter().map(broadcast_figures).collect();
        let uptime = shared.started_at.elapsed();
        Self { uptime, calls, by_status, totals, added_latency, shards, broadcasts }
    }
}

fn broadcast_figures(b: &Broadcast) -> BroadcastFigures {
    let targets = b.targets.iter().map(|(&id, target)| TargetFigures {
        id,
        media_session_id: target.push.as_ref().map(|push| push.media_session_id.clone()),
        url: target.spec.url.to_string(),
        state: target.state,
        muted: target.muted,
        statistics: target.statistics,
        conformity: ConformityReport::of(b, target),
    });
    BroadcastFigures {
        id: b.id,
        call_id: b.call_id.clone(),
        status: b.status,
        shard: b.shard,
        statistics: b.statistics.clone(),
        targets: targets.collect(),
    }
}

fn add_stream(sum: &mut StreamStatistics, stream: &StreamStatistics) {
    sum.packets += stream.packets;
    sum.bytes += stream.bytes;
    sum.lost += stream.lost;
    sum.reordered += stream.reordered;
    sum.duplicates += stream.duplicates;
    sum.late += stream.late;
    sum.malformed += stream.malformed;
    sum.unknown_payload_type += stream.unknown_payload_type;
    sum.foreign_source += stream.foreign_source;
    sum.authentication_failed += stream.authentication_failed;
    sum.replayed += stream.replayed;
    sum.nacked += stream.nacked;
    sum.retransmitted += stream.retransmitted;
    sum.sender_reports += stream.sender_reports;
    sum.jitter_ms = sum.jitter_ms.max(stream.jitter_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_streams_and_targets() {
        let target = TargetStatistics { bytes_sent: 7, reconnects: 1, ..TargetStatistics::default() };
        let video = StreamStatistics { packets: 3, lost: 1, jitter_ms: 4, ..StreamStatistics::default() };
        let broadcast = BroadcastStatistics {
            video,
            targets: vec![(TargetId(1), target), (TargetId(2), target)],
            ..BroadcastStatistics::default()
        };
        let mut totals = Totals::default();
        totals.add(&broadcast);
        totals.add(&broadcast);
        assert_eq!((totals.video.packets, totals.video.lost, totals.video.jitter_ms), (6, 2, 4));
        assert_eq!((totals.bytes_sent, totals.reconnects), (28, 4));
    }
}
