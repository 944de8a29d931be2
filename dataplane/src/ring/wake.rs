//! An eventfd, by which other threads wake a shard (eventfd(2)).

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A new eventfd, counter 0. It must block: a ring's read of a non-blocking descriptor fails with EAGAIN at once
/// instead of waiting. Its writers never block in practice, since the shard empties the counter.
///
/// # Errors
/// When the process has no descriptor left.
pub fn eventfd() -> io::Result<File> {
    // SAFETY: eventfd(2) takes a count and flags, and touches no memory of ours.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}
