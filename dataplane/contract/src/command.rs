//! What the control plane tells a shard.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::dtmf::DtmfStep;
use crate::picture::{PictureReceiver, PictureSender};
use crate::sound::{AacClip, LineId, LineReceiver, LineSender, PcmClip};
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
    /// Give one target a file's sound instead of the call's, or end that.
    SetSound {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Which target.
        target: TargetId,
        /// The file, in the format that the broadcast publishes; `None`: the call's own sound again.
        clip: Option<Arc<AacClip>>,
        /// Begin anew at its end, instead of going back to the call's sound (`Report::SoundEnded`).
        looped: bool,
    },
    /// Play a file to the callee, in place of what is played to it already.
    PlaySound {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// The file.
        clip: Arc<PcmClip>,
    },
    /// Play what comes over a line to the callee, in place of what is played to it already; `None`: nothing more.
    PlayLine {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// The line's reading end.
        line: Option<LineReceiver>,
    },
    /// Show the pictures that come from another broadcast to the callee, in place of what it sees already; `None`:
    /// nothing more. Without a description that lets us send them they are dropped.
    PlayPictures {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// The reading end.
        pictures: Option<PictureReceiver>,
    },
    /// The callee wants an IDR picture of what it is shown, and has said so by SIP INFO (RFC 5168).
    RefreshPicture {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// Send the broadcast's sound over a line, up to `RemoveLine` or until nobody reads it.
    AddLine {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Name of the line.
        line: LineId,
        /// Its writing end.
        sender: LineSender,
        /// The mixer's input that is left out; of no meaning elsewhere.
        without: Option<LineId>,
    },
    /// End a line out of the broadcast.
    RemoveLine {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Name of the line.
        line: LineId,
    },
    /// Make the broadcast, which was opened without media, a mixer: it publishes the sum of its inputs.
    Mix {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// Give a mixer one more input.
    AddInput {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Name of the line.
        line: LineId,
        /// Its reading end.
        receiver: LineReceiver,
    },
    /// Take an input out of a mixer.
    RemoveInput {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Name of the line.
        line: LineId,
    },
    /// Send the broadcast's pictures to another one, too, up to `RemoveLine` or until nobody reads them.
    AddPictures {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Name of the line that they go with.
        line: LineId,
        /// The writing end.
        sender: PictureSender,
    },
    /// Have a mixer publish the pictures of one input; `None`: of none.
    ShowPictures {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// The reading end.
        receiver: Option<PictureReceiver>,
    },
    /// Make the broadcast, which was opened without media, publish what an RTMP server plays.
    Pull {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Name of the connection, by which its state is reported.
        target: TargetId,
        /// Which stream of which server.
        spec: Box<RtmpTarget>,
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
