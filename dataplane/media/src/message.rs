//! An RTMP message to publish: an FLV tag body as a list of pool segments, still without chunk headers.

use sipcast_contract::Timestamp;
use sipcast_pool::Segment;

/// One message as the pipeline lends it to each target; a target that keeps it clones the segments.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it carries.
    pub kind: MessageKind,
    /// Media time in ms since the broadcast began; wraps at 2^32. Never goes back within a kind.
    pub timestamp_ms: u32,
    /// The FLV tag body, in order.
    pub body: &'a [Segment],
    /// When the last datagram of it arrived: start of the added latency.
    pub arrival: Timestamp,
}

/// What a message carries, as far as queues must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// One AAC frame.
    Audio,
    /// One access unit that begins with an IDR picture.
    IdrPicture,
    /// Any other access unit.
    Picture,
}
