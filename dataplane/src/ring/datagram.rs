//! Reading what a multishot receive put into a slot: `io_uring_recvmsg_out`, source address, control messages,
//! payload, each at a fixed place (io_uring_prep_recvmsg_multishot(3)).

use std::net::SocketAddr;
use std::time::Duration;

use io_uring::types::RecvMsgOut;
use sipcast_pool::{Lease, Segment};

use super::address;

/// One datagram from the network.
#[derive(Debug)]
pub struct Datagram {
    /// Its source.
    pub from: SocketAddr,
    /// Its payload, a part of the slot it arrived in.
    pub payload: Segment,
    /// When the kernel took it in, since the UNIX epoch; `None` when it did not say.
    pub kernel_time: Option<Duration>,
}

/// Too long for a slot, or not from an IP address.
#[derive(Debug)]
pub struct Unreadable;

/// Room for any IP address, rounded up so that control messages are aligned.
const NAME_LEN: usize = 32;

/// Room for SO_TIMESTAMPNS (16 + 16 bytes) and SO_RXQ_OVFL (16 + 4, aligned to 24).
const CONTROL_LEN: usize = 56;

/// `struct cmsghdr` on 64-bit Linux: length, level, type.
const CONTROL_HEADER_LEN: usize = 16;

/// The message header that tells the kernel how much room to leave.
pub fn template() -> Box<libc::msghdr> {
    // SAFETY: a msghdr is plain data; all zero means no name, no iovec, no control.
    let mut template: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
    template.msg_namelen = NAME_LEN as libc::socklen_t;
    template.msg_controllen = CONTROL_LEN as _;
    template
}

impl Datagram {
    /// Reads the first `len` bytes of `slot`; also gives the socket's drop counter, if the kernel told it.
    pub fn read(slot: Lease, len: usize, template: &libc::msghdr) -> Result<(Self, Option<u32>), Unreadable> {
        let bytes = slot.get(..len).ok_or(Unreadable)?;
        let message = RecvMsgOut::parse(bytes, template).map_err(|()| Unreadable)?;
        if message.is_payload_truncated() {
            return Err(Unreadable);
        }
        let from = address::read(message.name_data()).ok_or(Unreadable)?;
        let (kernel_time, dropped) = read_control(message.control_data());
        let payload_len = message.payload_data().len();
        let start = len - payload_len;
        Ok((Self { from, payload: slot.freeze(start..len), kernel_time }, dropped))
    }
}

fn read_control(mut control: &[u8]) -> (Option<Duration>, Option<u32>) {
    let (mut time, mut dropped) = (None, None);
    while let Some((header, _)) = control.split_first_chunk::<CONTROL_HEADER_LEN>() {
        let len = usize::try_from(word(&header[..8])).unwrap_or(usize::MAX);
        if len < CONTROL_HEADER_LEN || len > control.len() {
            break;
        }
        let level = half_word(&header[8..12]) as libc::c_int;
        let kind = half_word(&header[12..16]) as libc::c_int;
        let data = &control[CONTROL_HEADER_LEN..len];
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if data.len() >= 16 => {
                time = Some(Duration::new(word(&data[..8]), word(&data[8..16]) as u32));
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) if data.len() >= 4 => dropped = Some(half_word(&data[..4])),
            _ => {}
        }
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    (time, dropped)
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().expect("callers pass eight bytes"))
}

fn half_word(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes.try_into().expect("callers pass four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control_message(kind: libc::c_int, data: &[u8]) -> Vec<u8> {
        let mut out = ((CONTROL_HEADER_LEN + data.len()) as u64).to_ne_bytes().to_vec();
        out.extend(libc::SOL_SOCKET.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    #[test]
    fn both_control_messages_are_read_in_any_order() {
        let time = [7u64.to_ne_bytes(), 9u64.to_ne_bytes()].concat();
        let time = control_message(libc::SCM_TIMESTAMPNS, &time);
        let drops = control_message(libc::SO_RXQ_OVFL, &3u32.to_ne_bytes());
        for control in [[time.clone(), drops.clone()].concat(), [drops, time].concat()] {
            assert_eq!(control.len(), CONTROL_LEN);
            assert_eq!(read_control(&control), (Some(Duration::new(7, 9)), Some(3)));
        }
    }

    #[test]
    fn a_cut_or_lying_control_message_is_ignored() {
        let whole = control_message(libc::SO_RXQ_OVFL, &3u32.to_ne_bytes());
        for end in 0..20 {
            assert_eq!(read_control(&whole[..end]), (None, None), "{end}");
        }
        assert_eq!(read_control(&[0xff; CONTROL_LEN]), (None, None));
        assert_eq!(read_control(&[0; CONTROL_LEN]), (None, None));
    }
}
