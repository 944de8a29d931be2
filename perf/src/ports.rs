//! A block of UDP ports that are free now, below the range that the system gives out by itself.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Context;

/// Where the search begins and ends.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;
/// Ports of the longest block there can be.
pub const LEN_MAX: u16 = LAST - FIRST + 1;

/// The first of `len` free UDP ports of loopback, even.
///
/// # Errors
/// When there is no such block.
pub fn free_block(len: u16) -> anyhow::Result<u16> {
    // Not the same block for each process of this kind.
    let offset = (std::process::id() % u32::from(LAST - FIRST)) as u16 & !1;
    let starts = (FIRST..=LAST).step_by(2).cycle().skip(usize::from(offset / 2));
    let mut start = None;
    let mut run = 0;
    for port in starts.take(usize::from(LAST - FIRST)) {
        // The block must not run over the end of the range.
        if run > 0 && port == FIRST {
            run = 0;
        }
        let is_free = (port..=port + 1).all(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        run = if is_free { run + 2 } else { 0 };
        if run == 2 {
            start = Some(port);
        }
        if run >= len {
            break;
        }
    }
    start
        .filter(|_| run >= len)
        .with_context(|| format!("no {len} free UDP ports between {FIRST} and {LAST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_free_as_a_whole() {
        let first = free_block(40).unwrap();
        assert!(first.is_multiple_of(2));
        let taken: Vec<UdpSocket> =
            (first..first + 40).map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
        let second = free_block(2).unwrap();
        assert!(!(first..first + 40).contains(&second));
        drop(taken);
        assert!(free_block(u16::MAX).unwrap_err().to_string().contains("free UDP ports"));
    }
}
