//! What all broadcasts of a shard share while one of them is served: lists that stay warm, and the arena for
//! headers. Nothing of a broadcast is left in it between two turns but memory.

use sipcast_pool::{Arena, Pool, Segment};

use crate::h264::AccessUnits;
use crate::rtmp::ChunkList;

/// Scratch memory of one shard.
#[derive(Debug)]
pub struct Workspace {
    /// Headers: FLV tag bodies, RTMP chunks, RTCP.
    pub arena: Arena,
    /// The vectored send being gathered ([`crate::rtmp::Target::fill_send`]).
    pub chunks: ChunkList,
    /// Access units that the packet at hand completed.
    pub(super) units: AccessUnits,
    /// The FLV tag body at hand.
    pub(super) body: Vec<Segment>,
    /// The one for muted targets.
    pub(super) silent_body: Vec<Segment>,
}

impl Workspace {
    /// Scratch memory over `pool`.
    pub fn new(pool: Pool) -> Self {
        Self {
            arena: Arena::new(pool),
            chunks: ChunkList::default(),
            units: AccessUnits::default(),
            body: Vec::new(),
            silent_body: Vec::new(),
        }
    }

    /// Gives back the slot that the arena keeps open.
    pub fn close(&mut self) {
        self.units.clear();
        self.body.clear();
        self.silent_body.clear();
        self.arena.close();
    }
}
