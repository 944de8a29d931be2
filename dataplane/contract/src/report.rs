//! What a shard tells the control plane.

use crate::statistics::{BroadcastStatistics, ShardStatistics};
use crate::{BroadcastId, ShardId, TargetId};

/// One event of a shard.
#[derive(Clone, Debug)]
pub enum Report {
    /// Ports are bound and listened on.
    Opened {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// RTP port of the audio description; RTCP is the next one.
        audio_port: Option<u16>,
        /// RTP port of the video description; RTCP is the next one.
        video_port: Option<u16>,
    },
    /// The broadcast could not be opened; the shard holds nothing of it.
    Refused {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Why.
        reason: Refusal,
    },
    /// The first whole picture or the first audio frame was published to some target.
    MediaStarted {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// The picture's size became known or changed.
    PictureSize {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
    /// The peer does not honour PLI and FIR: ask by SIP INFO (RFC 5168).
    KeyframeOverdue {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// A target changed its state.
    Target {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Which target.
        target: TargetId,
        /// The state it has now.
        state: TargetState,
    },
    /// All digits that were waiting are sent.
    DtmfSent {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// Everything of the broadcast is closed and home.
    Closed {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Its last figures.
        statistics: Box<BroadcastStatistics>,
    },
    /// Figures of the shard and its broadcasts, about once a second.
    Statistics(Box<ShardStatistics>),
    /// The shard has ended.
    Stopped {
        /// Which shard.
        shard: ShardId,
        /// Pool slots that did not come home: zero, else a bug.
        slots_missing: u32,
    },
}

/// Why a broadcast could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No free even port pair in the RTP range.
    NoPorts,
    /// The address cannot be bound.
    BadAddress,
    /// The shard holds as many broadcasts as it may.
    Full,
    /// The shard is stopping.
    Stopping,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoPorts => "no free port pair in the RTP port range",
            Self::BadAddress => "the media address cannot be bound on this machine",
            Self::Full => "the shard holds as many broadcasts as it may",
            Self::Stopping => "sipcast is stopping",
        })
    }
}

/// State of an RTMP target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetState {
    /// Connecting, shaking hands, or waiting for `NetStream.Publish.Start`.
    #[default]
    Connecting,
    /// `publish` is accepted.
    Publishing,
    /// The connection was lost or refused; tried again after a pause.
    Reconnecting(TargetFault),
    /// Ended by order, or for good.
    Ended(Option<TargetFault>),
}

/// Why a target's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetFault {
    /// TCP could not connect.
    Unreachable,
    /// The server closed the connection.
    ClosedByServer,
    /// The server broke the RTMP protocol.
    Protocol,
    /// `connect` was refused.
    ConnectRefused,
    /// `publish` was refused; `NetStream.Publish.BadName` is the usual one.
    PublishRefused,
    /// The server did not answer, or took no data, for too long.
    TimedOut,
}

impl std::fmt::Display for TargetFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the RTMP server cannot be reached",
            Self::ClosedByServer => "the RTMP server closed the connection",
            Self::Protocol => "the RTMP server broke the protocol",
            Self::ConnectRefused => "the RTMP server refused connect",
            Self::PublishRefused => "the RTMP server refused publish",
            Self::TimedOut => "the RTMP server did not answer in time",
        })
    }
}
