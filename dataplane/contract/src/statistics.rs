//! Plain counters that leave a shard as reports. Counters only rise; gauges say so.

use std::time::Duration;

use crate::latency::LatencyHistogram;
use crate::{BroadcastId, ShardId, TargetId, TargetState};

/// One shard, about once a second.
#[derive(Clone, Debug)]
pub struct ShardStatistics {
    /// Which shard.
    pub shard: ShardId,
    /// Turns of the ring loop.
    pub turns: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams longer than a slot.
    pub truncated: u64,
    /// Times the kernel found no buffer.
    pub no_buffers: u64,
    /// Datagrams that the kernel dropped on our sockets (SO_RXQ_OVFL), not counted in `datagrams`.
    pub kernel_drops: u64,
    /// Gauge: pool slots held outside the kernel.
    pub slots_held: u32,
    /// Gauge: pool slots in all.
    pub slots: u32,
    /// Video payload bytes copied in user space on the packet path: stays zero.
    pub payload_bytes_copied: u64,
    /// CPU time of the shard's thread, user and system.
    pub cpu: Duration,
    /// From the arrival of an access unit's last datagram to its send.
    pub added_latency: LatencyHistogram,
    /// Its broadcasts.
    pub broadcasts: Vec<(BroadcastId, BroadcastStatistics)>,
}

/// One broadcast.
#[derive(Clone, Debug, Default)]
pub struct BroadcastStatistics {
    /// The audio stream.
    pub audio: StreamStatistics,
    /// The video stream.
    pub video: StreamStatistics,
    /// Gauge: picture width in pixels, 0 until known.
    pub width: u16,
    /// Gauge: picture height in pixels, 0 until known.
    pub height: u16,
    /// Pictures published.
    pub access_units: u64,
    /// IDR pictures among them.
    pub idr_pictures: u64,
    /// Pictures given up for loss, up to the next IDR picture.
    pub access_units_dropped: u64,
    /// AAC frames published.
    pub aac_frames: u64,
    /// Silence put into gaps, in samples of the output rate.
    pub silence_samples: u64,
    /// Picture Loss Indications sent (RFC 4585 §6.3.1).
    pub pli_sent: u64,
    /// Full Intra Requests sent (RFC 5104 §4.3.1).
    pub fir_sent: u64,
    /// Gauge: video behind (+) or ahead of (-) audio as it leaves, by the sender reports, in ms.
    pub skew_ms: Option<i32>,
    /// Its targets.
    pub targets: Vec<(TargetId, TargetStatistics)>,
}

/// One RTP stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStatistics {
    /// RTP packets taken.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came out of order but in time.
    pub reordered: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after their place was given up.
    pub late: u64,
    /// Packets that are no RTP, or whose payload breaks its format.
    pub malformed: u64,
    /// Packets of a payload type that was not agreed on.
    pub unknown_payload_type: u64,
    /// Packets from a source that is not the latched one.
    pub foreign_source: u64,
    /// RTCP sender reports taken.
    pub sender_reports: u64,
    /// Gauge: interarrival jitter in ms (RFC 3550 §6.4.1).
    pub jitter_ms: u32,
}

/// One RTMP target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetStatistics {
    /// Gauge: its state.
    pub state: TargetState,
    /// Bytes the kernel took.
    pub bytes_sent: u64,
    /// Pictures sent.
    pub access_units: u64,
    /// Pictures dropped because the target was slow.
    pub access_units_dropped: u64,
    /// Audio frames dropped because the target was slow.
    pub audio_frames_dropped: u64,
    /// Times the connection was lost and tried again.
    pub reconnects: u64,
    /// Gauge: media time waiting, in ms.
    pub queue_ms: u32,
}
