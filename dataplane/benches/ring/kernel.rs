//! The system calls of the bench behind a safe face: CPU time of a thread, a provided buffer ring, `sendmmsg(2)`.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, Submitter};

/// CPU time of the calling thread, user and system (clock_gettime(2)).
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write and lives through the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "every thread has a CPU clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Sets an integer option.
pub fn set_option(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open; `value` is read, as long as a c_int.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    assert_eq!(result, 0, "setsockopt: {}", std::io::Error::last_os_error());
}

/// Sends datagrams of `(to, len)`, in order, in one call for each 64.
pub fn send_many(socket: &UdpSocket, datagrams: &[(SocketAddr, usize)]) {
    static PAYLOAD: [u8; 65_536] = [0x5a; 65_536];
    for batch in datagrams.chunks(64) {
        let addresses: Vec<libc::sockaddr_in> = batch.iter().map(|(to, _)| address(*to)).collect();
        let mut slices: Vec<libc::iovec> = batch
            .iter()
            .map(|(_, len)| libc::iovec { iov_base: PAYLOAD.as_ptr().cast_mut().cast(), iov_len: *len })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = addresses
            .iter()
            .zip(&mut slices)
            .map(|(address, slice)| {
                // SAFETY: an mmsghdr is plain data, for which all zero is valid.
                let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                message.msg_hdr.msg_name = (&raw const *address).cast_mut().cast();
                message.msg_hdr.msg_namelen = size_of_val(address) as libc::socklen_t;
                message.msg_hdr.msg_iov = slice;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        // SAFETY: `messages` points into `addresses` and `slices`, which live through the call and are only read.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as libc::c_uint, 0)
        };
        assert_eq!(sent, batch.len() as i32, "sendmmsg: {}", std::io::Error::last_os_error());
    }
}

/// The bench stays on IPv4 loopback (ip(7)).
fn address(of: SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(of) = of else { panic!("IPv4 only") };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: of.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(of.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// Receives what waits on `socket`, at most 64 datagrams; gives how many.
pub fn receive_many(socket: &UdpSocket, memory: &mut [[u8; 2048]; 64]) -> usize {
    let mut slices: [libc::iovec; 64] = std::array::from_fn(|index| libc::iovec {
        iov_base: memory[index].as_mut_ptr().cast(),
        iov_len: memory[index].len(),
    });
    // SAFETY: an mmsghdr is plain data, for which all zero is valid.
    let mut messages: [libc::mmsghdr; 64] = unsafe { mem::zeroed() };
    for (message, slice) in messages.iter_mut().zip(&mut slices) {
        message.msg_hdr.msg_iov = slice;
        message.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: each header's iovec points to its own memory, which lives through the call; no time limit is given.
    let received = unsafe {
        let flags = libc::MSG_DONTWAIT;
        libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), 64, flags, std::ptr::null_mut())
    };
    usize::try_from(received).unwrap_or(0)
}

/// A provided buffer ring with its buffers. Every buffer is the kernel's or, between [`Buffers::take`] and
/// [`Buffers::publish`], the bench's.
pub struct Buffers {
    entries: *mut BufRingEntry,
    memory: Vec<u8>,
    buffer_len: usize,
    len: u16,
    tail: u16,
}

impl Buffers {
    /// Registers `len` buffers, a power of two, as group 0.
    pub fn register(submitter: &Submitter<'_>, len: u16, buffer_len: usize) -> Self {
        // SAFETY: the layout is not empty.
        let entries = unsafe { alloc_zeroed(Self::layout(len)) }.cast::<BufRingEntry>();
        let memory = vec![0; usize::from(len) * buffer_len];
        let mut buffers = Self { entries, memory, buffer_len, len, tail: 0 };
        // SAFETY: page aligned, `len` entries; the owner closes the ring before it drops the buffers.
        let registered = unsafe { submitter.register_buf_ring_with_flags(entries as u64, len, 0, 0) };
        registered.expect("provided buffer rings");
        (0..len).for_each(|id| buffers.take(id));
        buffers.publish();
        buffers
    }

    /// Buffer `id` came back filled: it is queued for the kernel again.
    pub fn take(&mut self, id: u16) {
        // SAFETY: the index is below `len`, and at most `len` buffers exist, so the entry at the tail is free.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail & (self.len - 1))) };
        entry.set_addr(self.memory[usize::from(id) * self.buffer_len..].as_ptr() as u64);
        entry.set_len(self.buffer_len as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel of all queued buffers.
    pub fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry, aligned, and is only read by the kernel.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn layout(len: u16) -> Layout {
        let entries =
            Layout::array::<BufRingEntry>(usize::from(len)).expect("at most 65535 entries of 16 bytes");
        entries.align_to(4096).expect("4096 is a power of two")
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `register` with this layout.
        unsafe { dealloc(self.entries.cast(), Self::layout(self.len)) }
    }
}

/// A ring for one thread.
pub fn ring(is_deferred: bool, has_array: bool) -> IoUring {
    let mut builder = IoUring::builder();
    builder.setup_submit_all().setup_cqsize(8192).dontfork();
    if is_deferred {
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    } else {
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    if !has_array {
        builder.setup_no_sqarray();
    }
    builder.build(1024).expect("an io_uring")
}
