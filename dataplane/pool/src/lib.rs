//! Packet memory: one slab per shard, allocated once, handed out by the slot.
//!
//! A [`Lease`] is the only claim on a slot and may write it; [`Lease::freeze`] turns it into a [`Segment`],
//! a counted range that is read only and cheap to slice and clone; the sole segment of a slot may be written
//! again ([`Segment::get_mut`]). The slot is free again when the last segment is gone. An [`Arena`] packs many
//! small headers into one slot and hands each out as a segment, so that a message is nothing but a list of
//! segments. None of them is `Send`: a slab belongs to one thread.

#![deny(unsafe_op_in_unsafe_fn)]

mod arena;
mod lease;
mod prefetch;
mod segment;
mod slab;

pub use arena::Arena;
pub use lease::Lease;
pub use prefetch::prefetch;
pub use segment::Segment;
pub use slab::{Exhausted, Pool, SlotId};
