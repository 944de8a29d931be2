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
pub(super) const DATAGRAMS_MAX: usize = 128;
/// Octets of all segments of one message: less than the longest UDP payload.
const SEGMENTS_LEN_MAX: usize = 60_000;
/// The kernel's limit of segments was 64 before it was raised (UDP_MAX_SEGMENTS).
const SEGMENTS_MAX: usize = 64;

/// One RTP packet on its way out.
pub(super) struct Outgoing<'a> {
    pub to: &'a SockAddr,
    pub header: [u8; RTP_HEADER_LEN],
    pub payload: &'a [u8],
}

impl Outgoing<'_> {
    const fn len(&self) -> usize {
        RTP_HEADER_LEN + self.payload.len()
    }
}

/// The control message `UDP_SEGMENT` (udp(7)), laid out as cmsg(3) says: its header is a multiple of the alignment long.
#[repr(C)]
#[derive(Clone, Copy)]
struct SegmentLength {
    header: libc::cmsghdr,
    octets: u16,
    padding: [u8; 6],
}

/// How many datagrams at the front of `datagrams` make one message: all but the last of the same length, the last no
/// longer, all to the same address.
fn segments(datagrams: &[Outgoing<'_>]) -> usize {
    let Some(first) = datagrams.first() else { return 0 };
    let mut len = first.len();
    let mut count = 1;
    for datagram in datagrams[1..].iter().take(SEGMENTS_MAX - 1) {
        len += datagram.len();
        let fits = datagram.len() <= first.len() && len <= SEGMENTS_LEN_MAX;
        if !fits || datagram.to != first.to {
            break;
        }
        count += 1;
        if datagram.len() < first.len() {
            break;
        }
    }
    count
}

/// Sends the first [`DATAGRAMS_MAX`] of `datagrams` from `socket` and says how many the kernel took. With `segmentation`
/// the kernel gets neighbours to one address in one piece and cuts them itself.
///
/// # Errors
/// What the kernel says about the first message; later failures show as a lower count.
pub(super) fn send_many(
    socket: &UdpSocket,
    datagrams: &[Outgoing<'_>],
    segmentation: bool,
) -> io::Result<usize> {
    let datagrams = &datagrams[..datagrams.len().min(DATAGRAMS_MAX)];
    // SAFETY: `iovec`, `mmsghdr` and `cmsghdr` are plain C structures of integers and pointers, for which all-zero is
    // valid.
    let (mut slices, mut messages, mut lengths): (
        [libc::iovec; 2 * DATAGRAMS_MAX],
        [libc::mmsghdr; DATAGRAMS_MAX],
        [SegmentLength; DATAGRAMS_MAX],
    ) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
    for (datagram, pair) in datagrams.iter().zip(slices.chunks_exact_mut(2)) {
        pair[0] =
            libc::iovec { iov_base: datagram.header.as_ptr().cast_mut().cast(), iov_len: RTP_HEADER_LEN };
        pair[1] = libc::iovec {
            iov_base: datagram.payload.as_ptr().cast_mut().cast(),
            iov_len: datagram.payload.len(),
        };
    }
    let mut counts = [0_usize; DATAGRAMS_MAX];
    let (mut begun, mut used) = (0, 0);
    while begun < datagrams.len() {
        let count = if segmentation { segments(&datagrams[begun..]) } else { 1 };
        let header = &mut messages[used].msg_hdr;
        header.msg_name = datagrams[begun].to.as_ptr().cast_mut().cast();
        header.msg_namelen = datagrams[begun].to.len();
        header.msg_iov = slices[2 * begun..].as_mut_ptr();
        header.msg_iovlen = 2 * count;
        if count > 1 {
            let length = &mut lengths[used];
            length.header.cmsg_level = libc::SOL_UDP;
            length.header.cmsg_type = libc::UDP_SEGMENT;
            length.header.cmsg_len = mem::size_of::<libc::cmsghdr>() + mem::size_of::<u16>();
            length.octets = datagrams[begun].len() as u16;
            header.msg_control = std::ptr::from_mut(length).cast();
            header.msg_controllen = mem::size_of::<SegmentLength>();
        }
        counts[used] = count;
        used += 1;
        begun += count;
    }
    // SAFETY: sendmmsg(2) argument by argument: the descriptor is open, borrowed for the call; `messages` holds
    // `used` <= DATAGRAMS_MAX initialised headers that the kernel writes `msg_len` into; each header's name and its
    // `2 * count` slices point into `datagrams` and `slices`, and its control message, if any, into `lengths`, all of
    // which live until the call returns; the slices of one message are neighbours, because they were filled in the
    // order of `datagrams`; the kernel only reads the octets behind them on a send, so casting away const is sound.
    let taken = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), used as libc::c_uint, 0) };
    let taken = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
    Ok(counts[..taken].iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_arrives_whole_and_in_order_cut_by_the_kernel_or_not() {
        for segmentation in [false, true] {
            let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
            receiver.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = SockAddr::from(receiver.local_addr().unwrap());
            // Runs of equal lengths with a shorter one behind them, as pictures have, and a longer one after that.
            let lens = [200, 200, 200, 70, 9, 300, 300, 1].into_iter().cycle().take(DATAGRAMS_MAX + 7);
            let payloads: Vec<Vec<u8>> =
                lens.enumerate().map(|(place, len)| vec![place as u8; len]).collect();
            let datagrams: Vec<Outgoing<'_>> = payloads
                .iter()
                .map(|payload| Outgoing { to: &to, header: [payload[0]; RTP_HEADER_LEN], payload })
                .collect();
            assert_eq!(send_many(&sender, &datagrams, segmentation).unwrap(), DATAGRAMS_MAX);
            assert_eq!(send_many(&sender, &datagrams[DATAGRAMS_MAX..], segmentation).unwrap(), 7);
            assert_eq!(send_many(&sender, &[], segmentation).unwrap(), 0);
            let mut buffer = [0; 512];
            for payload in &payloads {
                let len = receiver.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..RTP_HEADER_LEN], &[payload[0]; RTP_HEADER_LEN]);
                assert_eq!(&buffer[RTP_HEADER_LEN..len], payload);
            }
        }
    }

    #[test]
    fn only_neighbours_that_the_kernel_can_cut_go_together() {
        let [here, there] =
            [1, 2].map(|port| SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], port))));
        let octets = [0; 1_400];
        let of = |parts: &[(&SockAddr, usize)]| -> usize {
            let datagrams: Vec<Outgoing<'_>> = parts
                .iter()
                .map(|(to, len)| Outgoing { to, header: [0; RTP_HEADER_LEN], payload: &octets[..*len] })
                .collect();
            segments(&datagrams)
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[(&here, 9), (&here, 9), (&here, 3), (&here, 9)]), 3);
        assert_eq!(of(&[(&here, 9), (&here, 10)]), 1);
        assert_eq!(of(&[(&here, 9), (&there, 9)]), 1);
        assert_eq!(of(&[(&here, 1_400); 64]), SEGMENTS_LEN_MAX / 1_412);
        assert_eq!(of(&[(&here, 1); 100]), SEGMENTS_MAX);
    }
}
