//! Free ports of loopback. Handed out once per test run, so that scenarios running side by side do not collide.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// First port of the range that is handed out, below the kernel's ephemeral range.
const FIRST: u16 = 12_000;

/// One past the last.
const END: u16 = 32_000;

/// `count` free ports in a row (UDP and TCP), the first even.
pub fn free(count: u16) -> u16 {
    // Runs side by side begin at different places; behind the end it goes on at the first port.
    let start = std::process::id() % 97 * 200;
    for _ in 0..2000 {
        let offset = NEXT.fetch_add(u32::from(count + count % 2), Ordering::Relaxed);
        let within = start.wrapping_add(offset) % u32::from(END - FIRST);
        let first = (FIRST + within as u16) & !1;
        if first >= END - count {
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
