//! What the kernel's part of a call costs by each way to ask for it: variants beside each other on loopback, so that
//! `docs/ARCHITECTURE.md` can say which of them the driver uses and why.
//!
//! Figures are CPU time of the receiving (or sending) thread alone, user and system, which other load on the machine
//! disturbs less than wall time does. Variants take turns, and the least of all rounds counts. Everything is a ratio
//! to the first line of its table: what the driver does.
//!
//! `cargo bench -p sipcast-dataplane --bench ring`, or a part: `-- receive`, `-- sockets`, `-- gather`, `-- send`.

mod kernel;
mod receive;
mod send;

use std::time::Duration;

use receive::{Operation, Receive, Setup, Sockets};
use send::{Send, Way};

/// Calls of 1 Mbit/s that are received or sent together.
const CALLS: usize = 100;
/// How often each variant is measured.
const ROUNDS: usize = 5;
/// How long each time.
const ROUND: Duration = Duration::from_millis(1500);
/// The driver's default.
const GATHER: Duration = Duration::from_millis(5);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    if is_wanted("receive") {
        table("receive: us of CPU a packet, 100 calls", &receive_variants(), |case| {
            let cost = receive::measure(case, CALLS, ROUND);
            cost.cpu.as_secs_f64() * 1e6 / cost.packets as f64
        });
    }
    if is_wanted("sockets") {
        table("sockets: us of CPU a packet, 100 calls", &socket_variants(), |case| {
            let cost = receive::measure(case, CALLS, ROUND);
            cost.cpu.as_secs_f64() * 1e6 / cost.packets as f64
        });
    }
    if is_wanted("gather") {
        for calls in [1, 4, 20, 100] {
            let title = format!("gather: us of CPU for a second of a call, {calls} calls");
            table(&title, &gather_variants(), |case| {
                let cost = receive::measure(case, calls, ROUND);
                cost.cpu.as_secs_f64() * 1e6 / cost.wall.as_secs_f64() / calls as f64
            });
        }
    }
    if is_wanted("send") {
        table("send: us of CPU for a second of a call, 100 calls", &send_variants(), |case| {
            let cost = send::measure(case, CALLS, ROUND);
            cost.cpu.as_secs_f64() * 1e6 / cost.wall.as_secs_f64() / CALLS as f64
        });
    }
}

fn table<T>(title: &str, variants: &[(&str, T)], mut measure: impl FnMut(&T) -> f64) {
    let mut least = vec![f64::INFINITY; variants.len()];
    for _ in 0..ROUNDS {
        for ((_, variant), least) in variants.iter().zip(&mut least) {
            *least = least.min(measure(variant));
        }
    }
    println!("\n{title}");
    for ((name, _), cost) in variants.iter().zip(&least) {
        println!("  {cost:8.3}  {:5.2}  {name}", cost / least[0]);
    }
}

/// What the driver does.
const DRIVER: Receive = Receive {
    setup: Setup { is_deferred: true, has_array: true, is_registered: false },
    operation: Operation::MultishotMessage,
    has_fixed_files: false,
    has_control: true,
    sockets: Sockets::PerStream,
    sends_segmented: false,
    gather: GATHER,
    has_wait_limit: true,
};

fn receive_variants() -> Vec<(&'static str, Receive)> {
    let setup = DRIVER.setup;
    vec![
        ("multishot recvmsg, provided buffers, DEFER_TASKRUN (the driver)", DRIVER),
        ("+ registered files", Receive { has_fixed_files: true, ..DRIVER }),
        ("+ registered ring", Receive { setup: Setup { is_registered: true, ..setup }, ..DRIVER }),
        ("+ NO_SQARRAY", Receive { setup: Setup { has_array: false, ..setup }, ..DRIVER }),
        (
            "COOP_TASKRUN in place of DEFER",
            Receive { setup: Setup { is_deferred: false, ..setup }, ..DRIVER },
        ),
        ("without time stamps and drop counts", Receive { has_control: false, ..DRIVER }),
        (
            "connected sockets, multishot recv: no address, no stamps",
            Receive { operation: Operation::Multishot, has_control: false, ..DRIVER },
        ),
        ("sender's GSO, receiver's GRO, 64 KiB buffers", Receive { sends_segmented: true, ..DRIVER }),
        ("epoll and recvmmsg", Receive { operation: Operation::Epoll, ..DRIVER }),
        ("a wake for each packet", Receive { gather: Duration::ZERO, ..DRIVER }),
    ]
}

fn socket_variants() -> Vec<(&'static str, Receive)> {
    vec![
        ("a socket for each stream (the driver)", DRIVER),
        (
            "a socket for each stream, and one for its RTCP that is polled",
            Receive { sockets: Sockets::WithRtcp, ..DRIVER },
        ),
        ("a socket for each call", Receive { sockets: Sockets::PerCall, ..DRIVER }),
        ("one socket for all pictures, one for all sound", Receive { sockets: Sockets::Shared, ..DRIVER }),
    ]
}

fn gather_variants() -> Vec<(&'static str, Receive)> {
    let gather = |ms| Receive { gather: Duration::from_millis(ms), ..DRIVER };
    vec![
        ("5 ms between turns (the driver)", gather(5)),
        ("a turn for each arrival", gather(0)),
        ("a turn for each arrival, a timer in the ring", Receive { has_wait_limit: false, ..gather(0) }),
        ("5 ms, a timer in the ring", Receive { has_wait_limit: false, ..gather(5) }),
        ("1 ms", gather(1)),
        ("2 ms", gather(2)),
        ("10 ms", gather(10)),
        ("20 ms", gather(20)),
    ]
}

fn send_variants() -> Vec<(&'static str, Send)> {
    let driver = Send { way: Way::SendMessage, has_fixed_files: false, audio_rides: false };
    vec![
        ("sendmsg on the ring, one for each picture and each AAC frame", driver),
        ("+ registered files", Send { has_fixed_files: true, ..driver }),
        ("zero-copy sendmsg", Send { way: Way::ZeroCopy, ..driver }),
        ("writev(2)", Send { way: Way::Writev, ..driver }),
        ("sendmsg on the ring, sound rides with the next picture", Send { audio_rides: true, ..driver }),
    ]
}
