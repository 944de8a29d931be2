//! A counted, read-only range of a slot.

use std::ops::Range;
use std::rc::Rc;

use crate::slab::{Slab, SlotId};

/// Part of a slot; the slot stays claimed as long as any segment of it lives. 16 bytes.
#[derive(Debug)]
pub struct Segment {
    slab: Rc<Slab>,
    slot: SlotId,
    start: u16,
    len: u16,
}

impl Segment {
    /// Invariant: the caller hands over one claim on `slot`, and nothing writes to the range any more.
    pub(crate) fn new(slab: Rc<Slab>, slot: SlotId, start: u16, len: u16) -> Self {
        Self { slab, slot, start, len }
    }

    /// A part of this range, counted on its own.
    ///
    /// # Panics
    /// When `range` is not inside this segment: check against `len()` before.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len());
        self.slab.claim_again(self.slot);
        let start = self.start + range.start as u16;
        Self::new(self.slab.clone(), self.slot, start, (range.end - range.start) as u16)
    }

    /// Narrows this segment to a part of itself; costs no counting.
    ///
    /// # Panics
    /// As [`Segment::slice`].
    #[must_use]
    pub fn narrow(mut self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len());
        self.start += range.start as u16;
        self.len = (range.end - range.start) as u16;
        self
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its bytes for writing in place, while nothing else reads the slot: decryption. `None` as long as there is
    /// another claim on the slot, be it a segment, an arena that still fills it, or a send under way.
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        if !self.slab.is_sole_claim(self.slot) {
            return None;
        }
        // SAFETY: the range lies inside a slot of the slab (checked where segments are made) and is initialised.
        // This segment holds the slot's only claim: no other segment, lease or arena can reach the bytes, the
        // kernel holds a claim of its own for what it sends, and a slot that it fills is claimed by nobody else.
        // The slab is not `Sync`, and `&mut self` keeps this segment from being read or cloned meanwhile.
        Some(unsafe {
            std::slice::from_raw_parts_mut(
                self.slab.address(self.slot).add(usize::from(self.start)),
                usize::from(self.len),
            )
        })
    }

    /// Copies into `out` and counts it ([`crate::Pool::bytes_copied`]).
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn copy_to_slice(&self, out: &mut [u8]) {
        out.copy_from_slice(self);
        self.slab.count_copy(self.len());
    }

    /// Copies into a new vector and counts it ([`crate::Pool::bytes_copied`]).
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; self.len()];
        self.copy_to_slice(&mut out);
        out
    }
}

impl Clone for Segment {
    fn clone(&self) -> Self {
        self.slice(0..self.len())
    }
}

impl std::ops::Deref for Segment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies inside a slot of the slab (checked where segments are made), is initialised,
        // and nothing writes to it while a segment of it lives.
        unsafe {
            std::slice::from_raw_parts(
                self.slab.address(self.slot).add(usize::from(self.start)),
                usize::from(self.len),
            )
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.slab.release(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use crate::Pool;

    #[test]
    fn slices_share_the_slot_and_its_bytes() {
        let pool = Pool::new(1, 16);
        let mut lease = pool.claim().expect("free");
        lease[..4].copy_from_slice(b"abcd");
        let whole = lease.freeze(0..4);
        let tail = whole.slice(1..4).narrow(1..3);
        assert_eq!(&tail[..], b"cd");
        assert_eq!(tail.as_ptr(), whole[2..].as_ptr());
        drop(whole);
        assert_eq!((&tail[..], pool.held()), (&b"cd"[..], 1));
        assert_eq!(pool.bytes_copied(), 0);
        assert_eq!(tail.to_vec(), b"cd");
        assert_eq!(pool.bytes_copied(), 2);
        drop(tail);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn only_the_sole_claim_may_write() {
        let pool = Pool::new(2, 16);
        let mut lease = pool.claim().expect("free");
        lease[..4].copy_from_slice(b"abcd");
        let mut whole = lease.freeze(0..4);
        let tail = whole.slice(2..4);
        assert!(whole.get_mut().is_none(), "the tail would change under its reader");
        drop(tail);
        let mut whole = whole.narrow(1..4);
        whole.get_mut().expect("sole")[..2].copy_from_slice(b"xy");
        assert_eq!(&whole[..], b"xyd");
        assert_eq!(pool.bytes_copied(), 0);

        let mut arena = crate::Arena::new(pool.clone());
        let mut header = arena.write(b"ab").expect("room");
        assert!(header.get_mut().is_none(), "the arena still fills the slot");
        arena.close();
        header.get_mut().expect("sole").fill(b'z');
        assert_eq!(&header[..], b"zz");
        drop((whole, header));
        assert_eq!(pool.held(), 0);
    }

    #[test]
    #[should_panic(expected = "range.start <= range.end")]
    fn a_range_outside_is_a_bug() {
        let pool = Pool::new(1, 16);
        let segment = pool.claim().expect("free").freeze(0..4);
        let _ = segment.slice(2..5);
    }
}
