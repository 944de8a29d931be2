//! Many small headers in one slot, each handed out as a segment.

use crate::Segment;
use crate::slab::{Exhausted, Pool, SlotId};

/// Bump allocator over pool slots. What was handed out is never written again.
#[derive(Debug)]
pub struct Arena {
    pool: Pool,
    /// The open slot and how many of its bytes are given out; the arena holds one claim on it.
    open: Option<(SlotId, usize)>,
}

impl Arena {
    /// An arena over `pool`; it claims its first slot when first written to.
    pub fn new(pool: Pool) -> Self {
        Self { pool, open: None }
    }

    /// Writes `bytes`, which stay readable as long as the segment lives.
    ///
    /// # Errors
    /// [`Exhausted`] when the pool has no slot left.
    ///
    /// # Panics
    /// When `bytes` is longer than a slot.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Segment, Exhausted> {
        self.write_with(bytes.len(), |out| {
            out.copy_from_slice(bytes);
            bytes.len()
        })
    }

    /// Lets `fill` write up to `len_max` bytes and say how many it wrote.
    ///
    /// # Errors
    /// [`Exhausted`] when the pool has no slot left.
    ///
    /// # Panics
    /// When `len_max` is longer than a slot, or `fill` says more than `len_max`.
    pub fn write_with(
        &mut self,
        len_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<Segment, Exhausted> {
        let slab = &self.pool.slab;
        assert!(len_max <= slab.slot_len());
        let (slot, used) = match self.open {
            Some((slot, used)) if used + len_max <= slab.slot_len() => (slot, used),
            _ => {
                self.close();
                let lease = self.pool.claim()?;
                // The arena takes over the lease's claim: a segment of no bytes, whose count is kept.
                let slot = lease.into_slot();
                self.open = Some((slot, 0));
                (slot, 0)
            }
        };
        let slab = &self.pool.slab;
        // SAFETY: the arena holds a claim on the slot, and bytes from `used` on were never handed out, so no
        // segment covers them; `used + len_max` lies inside the slot.
        let out = unsafe { std::slice::from_raw_parts_mut(slab.address(slot).add(used), len_max) };
        let written = fill(out);
        assert!(written <= len_max);
        self.open = Some((slot, used + written));
        slab.claim_again(slot);
        Ok(Segment::new(slab.clone(), slot, used as u16, written as u16))
    }

    /// Gives the open slot up; it is free once its segments are gone.
    pub fn close(&mut self) {
        if let Some((slot, _)) = self.open.take() {
            self.pool.slab.release(slot);
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_share_a_slot_until_it_is_full() {
        let pool = Pool::new(2, 16);
        let mut arena = Arena::new(pool.clone());
        let first = arena.write(b"0123456789").expect("room");
        let second = arena.write(b"abcdef").expect("room");
        assert_eq!(pool.held(), 1);
        let third = arena.write(b"x").expect("room");
        assert_eq!(pool.held(), 2);
        assert_eq!((&first[..], &second[..], &third[..]), (&b"0123456789"[..], &b"abcdef"[..], &b"x"[..]));
        drop((first, second));
        assert_eq!(pool.held(), 1);
        drop(third);
        assert_eq!(pool.held(), 1, "the open slot stays claimed");
        drop(arena);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn an_exhausted_pool_is_an_error_and_heals() {
        let pool = Pool::new(1, 16);
        let mut arena = Arena::new(pool.clone());
        let full = arena.write(&[7; 16]).expect("room");
        assert_eq!(arena.write(b"x").err(), Some(Exhausted));
        drop(full);
        assert!(arena.write(b"x").is_ok());
    }
}
