//! What the control plane tells a shard.

use std::net::{IpAddr, SocketAddr};

use crate::dtmf::DtmfStep;
use crate::{BroadcastId, MediaOptions, MediaWanted, NegotiatedMedia, RtmpTarget, TargetId};

/// One order to a shard. A command for a broadcast that the shard does not hold is ignored.
#[derive(Debug)]
pub enum Command {
    /// Bind RTP and RTCP ports and start to listen; answered by `Opened` or `Refused`.
    Open {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Descriptions to bind ports for.
        wanted: MediaWanted,
        /// Local address to bind.
        bind: IpAddr,
        /// How media is treated.
        options: Box<MediaOptions>,
    },
    /// Take what offer and answer agreed on; sent again after each re-INVITE or UPDATE. A changed
    /// remote address lets the shard latch anew.
    SetMedia {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// The agreed media.
        media: Box<NegotiatedMedia>,
    },
    /// Start to publish to one more target.
    AddTarget {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Name of the target from now on.
        target: TargetId,
        /// Where and as what.
        spec: Box<RtmpTarget>,
    },
    /// Addresses found by a fresh look-up after `TargetState::Reconnecting`.
    SetAddresses {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Which target.
        target: TargetId,
        /// Addresses to try in turn; not empty.
        addresses: Vec<SocketAddr>,
    },
    /// Unpublish and close one target.
    RemoveTarget {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Which target.
        target: TargetId,
    },
    /// Replace one target's audio by silence, or end that.
    SetMuted {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Which target.
        target: TargetId,
        /// Silence or sound.
        muted: bool,
    },
    /// Send digits as RFC 4733 events, after those already waiting.
    SendDtmf {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Digits and pauses in order.
        steps: Vec<DtmfStep>,
    },
    /// Unpublish all targets, close all sockets; answered by `Closed`.
    Close {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// Close every broadcast, then end the shard; answered by `Stopped`.
    Stop,
}
