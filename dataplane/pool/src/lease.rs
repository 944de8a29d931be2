//! The one claim on a slot that may write it.

use std::ops::Range;
use std::rc::Rc;

use crate::Segment;
use crate::slab::{Slab, SlotId};

/// Exclusive use of one slot.
#[derive(Debug)]
pub struct Lease {
    slab: Rc<Slab>,
    slot: SlotId,
}

impl Lease {
    /// Invariant: the caller owns the only claim on `slot`.
    pub(crate) fn new(slab: Rc<Slab>, slot: SlotId) -> Self {
        Self { slab, slot }
    }

    /// Gives up writing: a counted, read-only range of the slot.
    ///
    /// # Panics
    /// When `range` is not inside the slot.
    pub fn freeze(self, range: Range<usize>) -> Segment {
        assert!(range.start <= range.end && range.end <= self.slab.slot_len());
        // The claim moves into the segment: count it again before this lease drops its own.
        self.slab.claim_again(self.slot);
        // Lengths fit: the pool refuses slots above 65535 bytes.
        Segment::new(self.slab.clone(), self.slot, range.start as u16, (range.end - range.start) as u16)
    }

    /// Hands the claim to the arena, which releases it itself.
    pub(crate) fn into_slot(self) -> SlotId {
        self.slab.claim_again(self.slot);
        self.slot
    }
}

impl std::ops::Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the slot is inside the slab, initialised at allocation, and this lease is its only claim.
        unsafe { std::slice::from_raw_parts(self.slab.address(self.slot), self.slab.slot_len()) }
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.slab.address(self.slot), self.slab.slot_len()) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slab.release(self.slot);
    }
}
