//! Peers, process and readers that the scenarios share. Everything runs on loopback and on free ports, and ends
//! with the test that started it.

pub mod authority;
pub mod baresip;
pub mod callee;
pub mod flv;
pub mod h264;
pub mod http;
pub mod jami;
pub mod kamailio;
pub mod librtmp;
pub mod libsrtp;
pub mod linphone;
pub mod live_call;
pub mod name_server;
pub mod nginx;
pub mod node_media_server;
pub mod pcap;
pub mod playback;
pub mod ports;
pub mod process;
pub mod python;
pub mod room;
pub mod rtp;
pub mod sipcast;
pub mod sipp;
pub mod sound;
pub mod webdriver;

use std::time::{Duration, Instant};

/// Asks `ready` until it gives something; fails the test with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < limit, "no {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
