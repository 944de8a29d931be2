//! `sendmmsg(2)`: many datagrams to many places in one call. The only unsafe code of this crate.
//! Takes: a socket and datagrams as header and payload. Gives: how many the kernel took.
//! Leaves out: what to do when the kernel takes fewer (`sender`).

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use socket2::SockAddr;

use super::encoder::RTP_HEADER_LEN;

/// Datagrams of one call; more go with the next.
pub(super) const DATAGRAMS_MAX: usize = 64;

/// One RTP packet on its way out.
pub(super) struct Outgoing<'a> {
    pub to: SockAddr,
    pub header: [u8; RTP_HEADER_LEN],
    pub payload: &'a [u8],
}

/// Sends the first [`DATAGRAMS_MAX`] of `datagrams` from `socket` and says how many the kernel took.
///
/// # Errors
/// What the kernel says about the first datagram; later failures show as a lower count.
pub(super) fn send_many(socket: &UdpSocket, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let count = datagrams.len().min(DATAGRAMS_MAX);
    // SAFETY: `iovec` and `mmsghdr` are plain C structures of integers and pointers, for which all-zero is valid.
    let (mut slices, mut messages): ([libc::iovec; 2 * DATAGRAMS_MAX], [libc::mmsghdr; DATAGRAMS_MAX]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    for ((datagram, pair), message) in datagrams.iter().zip(slices.chunks_exact_mut(2)).zip(&mut messages) {
        pair[0] =
            libc::iovec { iov_base: datagram.header.as_ptr().cast_mut().cast(), iov_len: RTP_HEADER_LEN };
        pair[1] = libc::iovec {
            iov_base: datagram.payload.as_ptr().cast_mut().cast(),
            iov_len: datagram.payload.len(),
        };
        message.msg_hdr.msg_name = datagram.to.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_namelen = datagram.to.len();
        message.msg_hdr.msg_iov = pair.as_mut_ptr();
        message.msg_hdr.msg_iovlen = 2;
    }
    // SAFETY: sendmmsg(2) argument by argument: the descriptor is open, borrowed for the call; `messages` holds
    // `count` <= DATAGRAMS_MAX initialised headers that the kernel writes `msg_len` into; each header's name and two
    // iovecs point into `datagrams` and `slices`, which live until the call returns; the kernel only reads the octets
    // behind them on a send, so casting away const is sound; no control messages are set.
    let taken =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, 0) };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_arrives_whole_and_in_order() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let payloads: Vec<Vec<u8>> = (0..70_u8).map(|octet| vec![octet; usize::from(octet)]).collect();
        let datagrams: Vec<Outgoing<'_>> = payloads
            .iter()
            .map(|payload| Outgoing {
                to: receiver.local_addr().unwrap().into(),
                header: [payload.len() as u8; RTP_HEADER_LEN],
                payload,
            })
            .collect();
        assert_eq!(send_many(&sender, &datagrams).unwrap(), DATAGRAMS_MAX);
        assert_eq!(send_many(&sender, &datagrams[DATAGRAMS_MAX..]).unwrap(), 6);
        assert_eq!(send_many(&sender, &[]).unwrap(), 0);
        let mut buffer = [0; 256];
        for payload in &payloads {
            let len = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..RTP_HEADER_LEN], &[payload.len() as u8; RTP_HEADER_LEN]);
            assert_eq!(&buffer[RTP_HEADER_LEN..len], payload);
        }
    }
}
