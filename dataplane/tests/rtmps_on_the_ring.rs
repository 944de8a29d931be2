//! RTMPS on the shard's own loop: both versions of TLS, each way in which it can fail, and its end.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;

use sipcast_contract::report::TargetFault;
use sipcast_contract::{TargetState, TlsTrust};
use support::tls_front::tls_front;
use support::{LOCALHOST, Node, origin, stream, wait_pictures};

fn reconnecting(fault: TargetFault) -> impl Fn(TargetState) -> bool {
    move |state| state == TargetState::Reconnecting(fault)
}

#[test]
fn publishes_in_both_versions_and_counts_what_is_sealed() {
    let server = origin(0);
    let mut node = Node::start(32_768);
    let _callee = node.open(1, 40);
    for (target, version) in [(1, &rustls::version::TLS12), (2, &rustls::version::TLS13)] {
        let front = tls_front(server.rtmp_address(), version);
        let name = format!("sealed{target}");
        node.add_rtmps_target(1, target, "localhost", front, &name, TlsTrust::AcceptAny);
        node.wait_publishing(1, target);
        let figures = wait_pictures(&server, &name, 60);
        assert!(figures.pictures >= 60);
    }
    node.wait_statistics("sealed bytes", |figures| {
        figures.sealed_bytes > 100_000 && figures.payload_bytes_copied == 0
    });
    node.close(1);
    support::until("the server sees the end", || {
        stream(&server, "sealed2").is_none_or(|s| !s.live).then_some(())
    });
    node.finish();
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = origin(0);
    let mut node = Node::start(4096);
    let _callee = node.open(1, 2);
    let front = tls_front(server.rtmp_address(), &rustls::version::TLS13);
    node.add_rtmps_target(1, 1, "localhost", front, "refused", TlsTrust::Verify);
    node.wait_state(1, 1, reconnecting(TargetFault::CertificateRefused));
    node.finish();
}

#[test]
fn tls_where_none_is_spoken_and_the_reverse_are_told_apart() {
    let server = origin(0);
    let mut node = Node::start(4096);
    let _callee = node.open(1, 2);
    // The embedded server waits for the rest of C1, or closes: either way no TLS answer comes.
    node.add_rtmps_target(1, 1, "localhost", server.rtmp_address(), "plain", TlsTrust::AcceptAny);
    node.wait_state(1, 1, reconnecting(TargetFault::NoTls));
    let front = tls_front(server.rtmp_address(), &rustls::version::TLS13);
    node.add_target(1, 2, front, "sealed");
    node.wait_state(1, 2, |state| {
        let seen = [TargetFault::NeedsTls, TargetFault::ClosedInHandshake];
        matches!(state, TargetState::Reconnecting(fault) if seen.contains(&fault))
    });
    node.finish();
}

#[test]
fn a_server_that_speaks_something_else_is_named() {
    let listener = TcpListener::bind((LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 100]);
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let mut node = Node::start(4096);
    let _callee = node.open(1, 2);
    node.add_rtmps_target(1, 1, "localhost", address, "http", TlsTrust::AcceptAny);
    node.wait_state(1, 1, reconnecting(TargetFault::NoTls));
    node.finish();
}
