//! The system's allocator, counting: allocations per thread, and bytes in use.
//! Leaves out: what C libraries take from `malloc` themselves, which [`c_heap_bytes`] shows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Allocations of this thread since it began.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Calls that gave memory, growing included.
    pub allocations: u64,
    /// Bytes asked for by them.
    pub bytes: u64,
}

/// Allocations of this thread so far.
pub fn count() -> Count {
    Count { allocations: ALLOCATIONS.get(), bytes: BYTES.get() }
}

/// Bytes that this thread took and has not given back.
pub fn live_bytes() -> i64 {
    LIVE.get()
}

/// Bytes in use in glibc's main heap: those of Rust and of C libraries, with the allocator's own overhead. Only
/// differences mean anything, and only on the main thread.
pub fn c_heap_bytes() -> i64 {
    // SAFETY: the function takes no argument, and returns its figures by value.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

fn took(size: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    BYTES.set(BYTES.get() + size as u64);
    LIVE.set(LIVE.get() + size as i64);
}

fn gave_back(size: usize) {
    LIVE.set(LIVE.get() - size as i64);
}

// SAFETY: every call goes to the system's allocator with its arguments unchanged; the counters are plain
// thread-local integers, which need no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave_back(layout.size());
        // SAFETY: as above; the pointer came from `System`, which all methods here pass on to.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        gave_back(layout.size());
        took(size);
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
