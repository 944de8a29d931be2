//! The slab: equal slots in one allocation, a count per slot, a free list.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::{Lease, prefetch};

/// Index of a slot; also its buffer id in a provided-buffer ring.
pub type SlotId = u16;

/// No slot is free. The caller drops what it was about to hold and counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no free slot in the packet pool")
    }
}

impl std::error::Error for Exhausted {}

/// A shard's packet memory. Cloning gives another name for the same slab.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(crate) slab: Rc<Slab>,
}

#[derive(Debug)]
pub(crate) struct Slab {
    memory: NonNull<u8>,
    slot_len: usize,
    /// Claims per slot; 0: on the free list. Invariant: `free.len()` slots have count 0.
    claims: Box<[Cell<u32>]>,
    /// Free slots, the most recently used on top, so that warm memory is used again first.
    free: RefCell<Vec<SlotId>>,
    lent: Cell<u32>,
    copied: Cell<u64>,
}

impl Pool {
    /// Allocates `slots` slots of `slot_len` bytes each.
    ///
    /// # Panics
    /// When `slots` is 0 or `slot_len` is 0 or above 65535: both are settings of ours, never the network's.
    pub fn new(slots: u16, slot_len: usize) -> Self {
        assert!(slots > 0 && slot_len > 0 && slot_len <= usize::from(u16::MAX));
        let layout = Slab::layout(usize::from(slots), slot_len);
        // SAFETY: the layout's size is not zero by the assertion above.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self {
            slab: Rc::new(Slab {
                memory,
                slot_len,
                claims: (0..slots).map(|_| Cell::new(0)).collect(),
                free: RefCell::new((0..slots).rev().collect()),
                lent: Cell::new(0),
                copied: Cell::new(0),
            }),
        }
    }

    /// Claims a free slot.
    ///
    /// # Errors
    /// [`Exhausted`] when none is free.
    pub fn claim(&self) -> Result<Lease, Exhausted> {
        let slot = self.slab.take_free().ok_or(Exhausted)?;
        Ok(Lease::new(self.slab.clone(), slot))
    }

    /// Takes a slot out of the pool for the kernel: nobody may touch it until [`Pool::received`] or
    /// [`Pool::take_back`].
    pub fn lend(&self) -> Option<SlotId> {
        let slot = self.slab.take_free()?;
        self.slab.lent.set(self.slab.lent.get() + 1);
        Some(slot)
    }

    /// The kernel filled `slot`, which was lent to it: it becomes a lease.
    ///
    /// # Safety
    /// `slot` was returned by [`Pool::lend`] of this pool, the kernel has reported its completion, and it has
    /// not been received or taken back since.
    pub unsafe fn received(&self, slot: SlotId) -> Lease {
        debug_assert_eq!(self.slab.claims[usize::from(slot)].get(), 1);
        self.slab.lent.set(self.slab.lent.get() - 1);
        Lease::new(self.slab.clone(), slot)
    }

    /// The kernel no longer holds `slot` and has put nothing into it.
    ///
    /// # Safety
    /// As for [`Pool::received`].
    pub unsafe fn take_back(&self, slot: SlotId) {
        // SAFETY: the same contract, passed on by the caller.
        drop(unsafe { self.received(slot) });
    }

    /// First byte of `slot`, for the kernel.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn slot_address(&self, slot: SlotId) -> *mut u8 {
        assert!(usize::from(slot) < self.slab.claims.len());
        self.slab.address(slot)
    }

    /// Has what belongs to `slot` fetched into the core's cache, and so many of its first bytes.
    pub fn prefetch(&self, slot: SlotId, bytes: usize) {
        if let Some(claims) = self.slab.claims.get(usize::from(slot)) {
            prefetch(claims, size_of_val(claims));
            prefetch(self.slab.address(slot), bytes);
        }
    }

    /// Bytes in a slot.
    pub fn slot_len(&self) -> usize {
        self.slab.slot_len
    }

    /// Slots in all.
    pub fn slots(&self) -> u32 {
        self.slab.claims.len() as u32
    }

    /// Slots that are neither free nor lent to the kernel.
    pub fn held(&self) -> u32 {
        self.slots() - self.slab.free.borrow().len() as u32 - self.slab.lent.get()
    }

    /// Slots lent to the kernel.
    pub fn lent(&self) -> u32 {
        self.slab.lent.get()
    }

    /// Bytes ever copied out of segments by [`crate::Segment::copy_to_slice`] and
    /// [`crate::Segment::to_vec`], the only copies there are. Stays zero for video payload.
    pub fn bytes_copied(&self) -> u64 {
        self.slab.copied.get()
    }
}

impl Slab {
    fn layout(slots: usize, slot_len: usize) -> Layout {
        // Page alignment: slots of 2 KiB never straddle a page.
        Layout::from_size_align(slots * slot_len, 4096).expect("65535 slots of 65535 bytes fit an isize")
    }

    fn take_free(&self) -> Option<SlotId> {
        let slot = self.free.borrow_mut().pop()?;
        let claims = &self.claims[usize::from(slot)];
        debug_assert_eq!(claims.get(), 0);
        claims.set(1);
        Some(slot)
    }

    pub(crate) fn claim_again(&self, slot: SlotId) {
        let claims = &self.claims[usize::from(slot)];
        // A wrapped count would free a slot in use; 2^32 segments of one slot do not fit in memory.
        claims.set(claims.get().checked_add(1).expect("claims of one slot fit 32 bits"));
    }

    pub(crate) fn is_sole_claim(&self, slot: SlotId) -> bool {
        self.claims[usize::from(slot)].get() == 1
    }

    pub(crate) fn release(&self, slot: SlotId) {
        let claims = &self.claims[usize::from(slot)];
        let left = claims.get() - 1;
        claims.set(left);
        if left == 0 {
            self.free.borrow_mut().push(slot);
        }
    }

    pub(crate) fn address(&self, slot: SlotId) -> *mut u8 {
        // SAFETY: every slot id handed out is below `claims.len()`, so the offset stays inside the allocation.
        unsafe { self.memory.as_ptr().add(usize::from(slot) * self.slot_len) }
    }

    pub(crate) fn slot_len(&self) -> usize {
        self.slot_len
    }

    pub(crate) fn count_copy(&self, bytes: usize) {
        self.copied.set(self.copied.get() + bytes as u64);
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated in `Pool::new` with this very layout; the last `Rc` is going away, so no lease,
        // segment or arena is left. The driver ends its ring before it drops the pool.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.claims.len(), self.slot_len)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_home_and_run_out() {
        let pool = Pool::new(2, 64);
        let first = pool.claim().expect("free");
        let second = pool.claim().expect("free");
        assert_eq!(pool.held(), 2);
        assert_eq!(pool.claim().err(), Some(Exhausted));
        drop(first);
        assert_eq!(pool.held(), 1);
        let segment = second.freeze(0..10);
        let clone = segment.clone();
        drop(segment);
        assert_eq!(pool.held(), 1);
        drop(clone);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn a_lent_slot_is_not_held_until_it_is_received() {
        let pool = Pool::new(1, 64);
        let slot = pool.lend().expect("free");
        assert_eq!((pool.lent(), pool.held(), pool.lend()), (1, 0, None));
        // SAFETY: lent above, and there is no kernel behind this test.
        let lease = unsafe { pool.received(slot) };
        assert_eq!((pool.lent(), pool.held()), (0, 1));
        drop(lease);
        assert_eq!(pool.held(), 0);
    }
}
