//! What only the thread itself can ask the kernel: its CPU time, its core.

use std::io;
use std::time::Duration;

use sipcast_contract::cores::CORE_MAX;

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

/// Cores that the calling thread may run on (sched_getaffinity(2)).
pub fn allowed_cores() -> Vec<u16> {
    // SAFETY: a set of cores is plain data.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours to write and as long as said; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: every number is below CPU_SETSIZE.
    (0..CORE_MAX).filter(|&core| unsafe { libc::CPU_ISSET(usize::from(core), &set) }).collect()
}

/// Keeps the calling thread on `core` (sched_setaffinity(2)).
///
/// # Errors
/// The process may not use that core, or there is none of that number.
pub fn run_on(core: u16) -> io::Result<()> {
    if core >= CORE_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of cores is plain data.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(usize::from(core), &mut set) };
    // SAFETY: `set` is read only and as long as said; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_its_core() {
        std::thread::spawn(|| {
            let core = *allowed_cores().last().expect("a core");
            run_on(core).expect("a core that is allowed");
            assert_eq!(allowed_cores(), [core]);
            assert!(run_on(CORE_MAX - 1).is_err() && run_on(CORE_MAX).is_err());
        })
        .join()
        .expect("the thread");
    }
}
