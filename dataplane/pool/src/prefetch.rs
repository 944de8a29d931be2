//! A hint to the core that memory is about to be read, so that it is on its way while others are served.

/// Bytes that come at once.
const CACHE_LINE: usize = 64;

/// Has the first `bytes` at `address` fetched. Only a hint: any address will do, and nothing is read.
#[inline]
pub fn prefetch<T>(address: *const T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..bytes).step_by(CACHE_LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and faults on no address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>().wrapping_add(at)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, bytes, CACHE_LINE);
}
