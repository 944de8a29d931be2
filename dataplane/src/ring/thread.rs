//! What only the thread itself can ask the kernel: its CPU time, its core.

use std::time::Duration;

/// CPU time of the calling thread, user and system (getrusage(2)).
pub fn cpu_time() -> Duration {
    // SAFETY: a rusage is plain data.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is ours to write and lives through the call.
    if unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } != 0 {
        return Duration::ZERO;
    }
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .sum()
}
