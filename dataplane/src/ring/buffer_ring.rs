//! The provided buffer ring: pool slots lent to the kernel, one per datagram it will receive.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use sipcast_contract::limits::SLOTS_IN_KERNEL;
use sipcast_pool::{Lease, Pool};

/// The one buffer group of a ring.
pub const GROUP: u16 = 0;

/// Fewest slots that are lent, unless the pool is small: a train of packets of a few IDR pictures.
const LENT_MIN: u16 = 256;

/// What is read of each datagram: what the kernel wrote before its payload, and the RTP header.
const HEADERS_LEN: usize = 128;

/// Slots lent to the kernel. They are used in turn, so no more are lent than what comes asks for: few enough stay in the
/// core's own cache from one datagram to the next. Entries are ours to write until the tail that covers them is published.
pub struct BufferRing {
    entries: NonNull<BufRingEntry>,
    /// Entries, a power of two.
    len: u16,
    /// How many the kernel shall hold, `len` at most.
    wanted: u16,
    tail: u16,
    pool: Pool,
    /// Times the kernel found no slot.
    pub ran_dry: u64,
}

impl BufferRing {
    /// Registers a ring of [`SLOTS_IN_KERNEL`] slots (fewer for a small pool) and lends the first of them.
    pub fn register(ring: &IoUring, pool: Pool) -> io::Result<Self> {
        let part = u16::try_from(pool.slots() / 4).unwrap_or(u16::MAX).max(1);
        let len = SLOTS_IN_KERNEL.min(1 << part.ilog2());
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty, since `len` is at least 1.
        let Some(entries) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let wanted = len.min(LENT_MIN);
        let buffers = Self { entries: entries.cast(), len, wanted, tail: 0, pool, ran_dry: 0 };
        // SAFETY: the memory is page aligned, holds `len` entries, and is freed only after the ring is closed
        // (field order of `Ring`).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, len, GROUP, 0)?;
        }
        let mut buffers = buffers;
        buffers.refill();
        Ok(buffers)
    }

    /// Has the kernel hold about so many from the next [`BufferRing::refill`] on.
    pub fn want(&mut self, slots: u64) {
        let wanted = u16::try_from(slots).unwrap_or(u16::MAX);
        self.wanted = wanted.max(LENT_MIN).min(self.len);
    }

    /// Lends slots until the kernel holds as many as it shall, or the pool is empty.
    pub fn refill(&mut self) {
        let before = self.tail;
        while self.pool.lent() < u32::from(self.wanted) {
            let Some(slot) = self.pool.lend() else { break };
            let index = usize::from(self.tail & (self.len - 1));
            // SAFETY: `index` is below `len`. The kernel reads an entry only between head and tail; at most `len`
            // slots are lent, so the entry at the tail is not in use.
            let entry = unsafe { &mut *self.entries.as_ptr().add(index) };
            entry.set_addr(self.pool.slot_address(slot) as u64);
            entry.set_len(self.pool.slot_len() as u32);
            entry.set_bid(slot);
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            // SAFETY: the tail lies in the first entry's reserved field, aligned for u16 and shared with the
            // kernel, which only reads it.
            let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// Whether the kernel holds at least an eighth of what it shall.
    pub fn is_stocked(&self) -> bool {
        self.pool.lent() >= u32::from(self.wanted / 8).max(1)
    }

    /// How many slots the kernel may hold.
    pub fn slots_max(&self) -> u32 {
        u32::from(self.len)
    }

    /// The kernel reported slot `id` as filled (or given back) by a completion just reaped.
    pub fn take(&mut self, id: u16) -> Lease {
        // SAFETY: the kernel names only buffers it was given, each once; they all come from `pool.lend`.
        unsafe { self.pool.received(id) }
    }

    /// Has the headers in slot `id` fetched into the core's cache.
    pub fn prefetch(&self, id: u16) {
        self.pool.prefetch(id, HEADERS_LEN);
    }

    /// Keeps the memory for ever: the kernel may still write to it.
    pub fn leak(&mut self) {
        std::mem::forget(self.pool.clone());
        self.entries = NonNull::dangling();
        self.len = 0;
    }

    fn layout(len: u16) -> Layout {
        Layout::array::<BufRingEntry>(usize::from(len))
            .and_then(|layout| layout.align_to(4096))
            .expect("32768 entries of 16 bytes fit an isize")
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `register` with this layout; the ring that used it is closed.
            unsafe { dealloc(self.entries.as_ptr().cast(), Self::layout(self.len)) }
        }
    }
}
