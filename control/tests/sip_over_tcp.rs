//! Calls over TCP: one connection, no waiting for delayed acknowledgements.

mod peer;

use std::time::{Duration, Instant};

use peer::{Caller, Peer, endpoint};
use sipcast_sip::CallStatus;

#[tokio::test]
async fn a_call_over_tcp_keeps_its_connection() {
    let (endpoint, mut peer) = (endpoint().await, Peer::tcp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.establish(&mut call, &[]).await;
    assert!(invite.header("Via").starts_with("SIP/2.0/TCP "));
    assert!(invite.contact().ends_with(";transport=tcp"));
    // RFC 1122 §4.2.3.2 lets an acknowledgement wait for 40 ms and more; with Nagle's algorithm each exchange would.
    let begun = Instant::now();
    for _ in 0..20 {
        peer.request("OPTIONS", &[], "").await;
        assert_eq!(peer.expect_response("OPTIONS").await.status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
}

#[tokio::test]
async fn a_second_call_uses_the_same_connection() {
    let (endpoint, mut peer) = (endpoint().await, Peer::tcp().await);
    let mut first = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut first, &[]).await;
    // The peer accepts one connection only: this one would never arrive on another.
    let mut second = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut second, &[]).await;
}

#[tokio::test]
async fn a_refused_connection_fails_the_call() {
    let (endpoint, peer) = (endpoint().await, Peer::tcp().await);
    let order = peer.order();
    drop(peer);
    let end = Caller::new(endpoint.call(order)).end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 503));
}

#[tokio::test]
async fn a_connection_that_breaks_while_it_rings_fails_the_call() {
    let (endpoint, mut peer) = (endpoint().await, Peer::tcp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "180 Ringing", &[], "").await;
    call.until_progress(CallStatus::Ring).await;
    drop(peer);
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 503));
}

#[tokio::test]
async fn credentials_over_tcp_are_for_the_request_uri_as_sent() {
    let (endpoint, mut peer) = (endpoint().await, Peer::tcp().await);
    let _call = endpoint.call(peer.order());
    let invite = peer.expect("INVITE").await;
    let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"t1\", qop=\"auth\"";
    peer.reply(&invite, "401 Unauthorized", &[challenge], "").await;
    let again = peer.expect("INVITE").await;
    assert_eq!(again.uri(), format!("sip:8801@{};transport=tcp", peer.address()));
    assert_eq!(again.digest("Authorization", "uri"), again.uri());
    assert_eq!(again.digest("Authorization", "nc"), "00000001");
}
