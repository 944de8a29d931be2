//! What a target's service demands of a publication, as far as the shard enforces it while the broadcast is live.
//! Which service demands what is data of the control plane; here are only the numbers that follow from it.

use std::time::Duration;

/// Rules of one target. The default is that of a server that demands nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetRules {
    /// An IDR picture is asked for when none came for this long, although the broadcast itself would wait longer;
    /// `None`: as the broadcast has it.
    pub keyframe_interval_max: Option<Duration>,
    /// Longest RTMP message the server takes, in bytes. A longer picture is dropped, and all that follow up to the
    /// next IDR picture, which is asked for: a server that closes the connection would cost more.
    pub message_bytes_max: usize,
    /// What happens when the picture's size or profile changes in mid-call.
    pub on_picture_change: PictureChange,
}

impl TargetRules {
    /// nginx-rtmp's `max_message`, and more than the largest access unit that is taken at all.
    pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
}

/// What a target does when its picture becomes another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PictureChange {
    /// Send a new sequence header: most servers go on.
    #[default]
    PassOn,
    /// Unpublish and publish again under the same name, so that no publication ever changes: for services that end
    /// a broadcast whose settings change.
    Republish,
}

impl Default for TargetRules {
    fn default() -> Self {
        Self {
            keyframe_interval_max: None,
            message_bytes_max: Self::MESSAGE_BYTES_MAX,
            on_picture_change: PictureChange::PassOn,
        }
    }
}
