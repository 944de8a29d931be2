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
    /// Video payload bytes copied in user space on the packet path: stays zero. What TLS gathers into its records is
    /// in `sealed_bytes`.
    pub payload_bytes_copied: u64,
    /// Bytes of RTMP that were encrypted for `rtmps://` targets: each is copied once, into its TLS record, in place of
    /// the vectored send of `rtmp://`.
    pub sealed_bytes: u64,
    /// CPU time of the shard's thread, user and system.
    pub cpu: Duration,
    /// Gauge: broadcasts that the shard may carry in all, by what they cost on its core so far and by its setting.
    pub broadcasts_max: u32,
    /// Gauge: CPU time that one broadcast takes in a second, a moving average; zero while none has media.
    pub broadcast_cpu: Duration,
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
    /// Pictures whose RTP time lies before that of one that came before them: the sender codes B pictures, whose
    /// composition time RTMP would have to carry. They are published with composition time 0.
    pub reordered_pictures: u64,
    /// AAC frames published.
    pub aac_frames: u64,
    /// Silence put into gaps, in samples of the output rate.
    pub silence_samples: u64,
    /// Sound made up for lost packets, in samples of the output rate.
    pub concealed_samples: u64,
    /// Pictures of another broadcast that the callee was shown.
    pub played_pictures: u64,
    /// Pictures of another broadcast that the callee was not shown: it takes nothing like them, or what they refer to
    /// was not sent.
    pub played_pictures_dropped: u64,
    /// Picture Loss Indications sent (RFC 4585 §6.3.1).
    pub pli_sent: u64,
    /// Full Intra Requests sent (RFC 5104 §4.3.1).
    pub fir_sent: u64,
    /// Temporary Maximum Media Stream Bit Rate Requests sent (RFC 5104 §4.2.1).
    pub tmmbr_sent: u64,
    /// Gauge: the bit rate that the sender said it keeps to, in bits per second, 0 while it said none
    /// (TMMBN, RFC 5104 §4.2.2).
    pub bit_rate_bound_bps: u64,
    /// Gauge: video behind (+) or ahead of (-) audio as it leaves, by the sender reports, in ms.
    pub skew_ms: Option<i32>,
    /// What its targets are given.
    pub published: PublishedMedia,
    /// Its targets.
    pub targets: Vec<(TargetId, TargetStatistics)>,
}

/// The media of a broadcast as its targets are given it, before any of them drops something. Times are media times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishedMedia {
    /// Bytes of pictures.
    pub video_bytes: u64,
    /// Gauge: bit rate of the pictures over the last [`PublishedMedia::WINDOW`], in bits per second.
    pub video_bit_rate_bps: u32,
    /// Gauge: pictures per 1000 s over the same time.
    pub frame_rate_millis: u32,
    /// Gauge: time between the last two IDR pictures, in ms; while the one that follows is overdue, the time since.
    pub gop_last_ms: u32,
    /// Longest time between two IDR pictures, or since the last one, in ms.
    pub gop_max_ms: u32,
    /// Gauge: `profile_idc`, constraint flags and `level_idc` (ITU-T H.264 §7.4.2.1.1); zero until known.
    pub profile: [u8; 3],
    /// Pictures that refer to later ones (B slices).
    pub b_pictures: u64,
    /// Times the picture's size or profile became another one.
    pub picture_changes: u64,
    /// Largest picture, in bytes.
    pub picture_bytes_max: u32,
    /// Bytes of sound.
    pub audio_bytes: u64,
    /// Gauge: bit rate of the sound over the last [`PublishedMedia::WINDOW`], in bits per second.
    pub audio_bit_rate_bps: u32,
    /// Gauge: sampling rate in Hz; 0: no sound.
    pub audio_sample_rate_hz: u32,
    /// Gauge: channels; 0: no sound.
    pub audio_channels: u8,
    /// Bytes of the call's own sound, as targets get it that take it ([`crate::TargetAudio::Source`]).
    pub source_bytes: u64,
    /// Gauge: bit rate of that over the last [`PublishedMedia::WINDOW`], in bits per second.
    pub source_bit_rate_bps: u32,
    /// Gauge: sampling rate of that in Hz, one channel; 0: FLV has no format for it, and those targets get AAC.
    pub source_sample_rate_hz: u32,
    /// Times no sound followed for longer than [`PublishedMedia::GAP_MIN`].
    pub audio_gaps: u64,
    /// Longest such time, in ms.
    pub audio_gap_max_ms: u32,
}

impl PublishedMedia {
    /// Time that bit rates and frame rates are taken over.
    pub const WINDOW: Duration = Duration::from_secs(10);

    /// Media time between two audio frames that counts as a gap.
    pub const GAP_MIN: Duration = Duration::from_millis(200);
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
    /// RTP and RTCP whose SRTP tag is wrong: forged, damaged, of other keys, or plain although SRTP was agreed
    /// (RFC 3711 §3.3).
    pub authentication_failed: u64,
    /// Authentic SRTP and SRTCP that came before, or is older than the replay window (RFC 3711 §3.3.2).
    pub replayed: u64,
    /// Packets asked for again (RFC 4585 §6.2.1), each repetition counted.
    pub nacked: u64,
    /// Packets that came after they were asked for again.
    pub retransmitted: u64,
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
    /// Audio frames sent.
    pub audio_frames: u64,
    /// Pictures longer than the server takes.
    pub oversized: u64,
    /// Times it published again because the picture changed.
    pub republished: u64,
    /// Gauge: how long the publication that stands has lasted; zero while not publishing.
    pub publishing_for: Duration,
}
