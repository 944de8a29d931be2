//! Free ports of loopback. Handed out once per test run, so that scenarios running side by side do not collide.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(0);

/// First port of the range that is handed out, below the kernel's ephemeral range.
const FIRST: u16 = 12_000;

/// One past the last.
const END: u16 = 32_000;

/// `count` free ports in a row (UDP and TCP), the first even.
pub fn free(count: u16) -> u16 {
    let start = FIRST + (std::process::id() as u16 % 97) * 200;
    for _ in 0..2000 {
        let offset = NEXT.fetch_add(count + count % 2, Ordering::Relaxed);
        let first = start.wrapping_add(offset) & !1;
        if first < FIRST || first >= END - count {
            continue;
        }
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
