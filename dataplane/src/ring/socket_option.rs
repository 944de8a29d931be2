//! Socket options that the standard library does not know (socket(7)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Receive buffer asked for on each RTP socket, in bytes: one large IDR picture of burst. The kernel caps it at
/// `net.core.rmem_max`.
const RECEIVE_BUFFER_LEN: libc::c_int = 1 << 20;

/// The same on each RTCP socket: reports are small and rare, and while RTCP comes with RTP nobody reads here.
const RTCP_RECEIVE_BUFFER_LEN: libc::c_int = 1 << 14;

/// How long what was sent to an RTMP server may stay unacknowledged, in ms: else a server that is gone is noticed
/// only when the kernel's send buffer is full, a minute of media later (tcp(7), TCP_USER_TIMEOUT).
const UNACKNOWLEDGED_MS_MAX: libc::c_int = 15_000;

/// Lets the kernel say when a datagram arrived and how many it dropped, and hold a burst of RTP.
///
/// # Errors
/// An errno of setsockopt(2).
pub fn prepare_rtp(socket: &OwnedFd) -> io::Result<()> {
    prepare(socket, RECEIVE_BUFFER_LEN)
}

/// The same for RTCP, which comes in no bursts.
///
/// # Errors
/// An errno of setsockopt(2).
pub fn prepare_rtcp(socket: &OwnedFd) -> io::Result<()> {
    prepare(socket, RTCP_RECEIVE_BUFFER_LEN)
}

fn prepare(socket: &OwnedFd, receive_buffer_len: libc::c_int) -> io::Result<()> {
    set(socket, libc::SO_TIMESTAMPNS, 1)?;
    set(socket, libc::SO_RXQ_OVFL, 1)?;
    set(socket, libc::SO_RCVBUF, receive_buffer_len)
}

/// A TCP socket for `to`'s address family that sends without delay (no Nagle: a picture is one send).
///
/// # Errors
/// An errno of socket(2) or setsockopt(2).
pub fn tcp_socket(to: &std::net::SocketAddr) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: socket(2) takes three integers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_at(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_at(&socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)?;
    Ok(socket)
}

fn set(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_at(socket, libc::SOL_SOCKET, option, value)
}

fn set_at(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call; `value` is read, as long as a c_int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
