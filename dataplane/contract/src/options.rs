//! How one broadcast treats its media: settings that the control plane passes along with an order.

use std::time::Duration;

use crate::cores::ShardCores;

/// Which media an order asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaWanted {
    /// Offer audio.
    pub audio: bool,
    /// Offer video.
    pub video: bool,
}

/// Media settings of one broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaOptions {
    /// What AAC is produced.
    pub aac: AacOptions,
    /// How long a missing RTP packet is waited for before it counts as lost.
    pub reorder_wait: Duration,
    /// Ask for an IDR picture when none came for this long; zero: never periodically.
    pub keyframe_interval_max: Duration,
    /// Publish silent AAC when the call has no audio (many CDNs refuse video alone).
    pub silent_audio: bool,
    /// How long sound waits for the next picture, to share its send; then it goes with the next datagram. Zero: not at all.
    /// Without pictures it never waits.
    pub sound_wait: Duration,
    /// Bit rate that the sender of video is asked to keep to, in bits per second with packet overhead, where the
    /// call agreed on it (TMMBR, RFC 5104 §4.2.1); `None`: not asked.
    pub video_bit_rate_wanted: Option<u32>,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            aac: AacOptions::default(),
            reorder_wait: Duration::from_millis(60),
            keyframe_interval_max: Duration::from_secs(2),
            silent_audio: true,
            sound_wait: Duration::from_millis(40),
            video_bit_rate_wanted: None,
        }
    }
}

/// AAC-LC output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacOptions {
    /// Output sampling rate in Hz: 48000, 44100, 32000, 24000, 16000 or 8000.
    pub sample_rate_hz: u32,
    /// 1 or 2. Telephone audio is mono; 2 writes it to both channels.
    pub channels: u8,
    /// Bit rate in bits per second.
    pub bit_rate_bps: u32,
}

impl AacOptions {
    /// Sampling rates that can be asked for, in Hz.
    pub const SAMPLE_RATES_HZ: [u32; 6] = [48_000, 44_100, 32_000, 24_000, 16_000, 8_000];
}

impl Default for AacOptions {
    fn default() -> Self {
        Self { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 64_000 }
    }
}

/// Settings of every shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOptions {
    /// First port of the RTP range, even.
    pub rtp_port_min: u16,
    /// Last port of the RTP range.
    pub rtp_port_max: u16,
    /// How long a loaded shard gathers datagrams before it serves them in one turn; zero: at once.
    pub gather: Duration,
    /// Broadcasts one shard takes; beyond it an order is refused.
    pub broadcasts_max: usize,
    /// Pool slots, each of [`crate::limits::SLOT_LEN`] bytes.
    pub pool_slots: u32,
    /// Where the shards run.
    pub cores: ShardCores,
}
