//! Which way a request takes: address families, size, what fails, pings.

mod peer;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use peer::{Caller, LOCALHOST, Peer, endpoint, options};
use sipcast_control::sip_endpoint::{SipEndpoint, SipOptions};
use sipcast_sip::{Account, CallOrder, CallStatus, LocalMedia, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LOCALHOST_6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((LOCALHOST_6, 0)).is_ok()
}

/// An order that names no transport.
fn free(peer: &Peer) -> CallOrder {
    let account = Account { transport: None, ..peer.account() };
    CallOrder { account, ..peer.order() }
}

/// The same with an INVITE that is too large for a datagram.
fn large(peer: &Peer) -> CallOrder {
    let order = free(peer);
    let account = Account { visible_name: Some("n".repeat(1000)), ..order.account };
    CallOrder { account, ..order }
}

/// A UDP and a TCP peer at one port.
async fn twins() -> (Peer, Peer) {
    loop {
        let udp = Peer::udp().await;
        let address = udp.address();
        if let Ok(probe) = std::net::TcpListener::bind(address) {
            drop(probe);
            return (udp, Peer::listening(address, None).await);
        }
    }
}

#[tokio::test]
async fn one_endpoint_calls_over_both_address_families() {
    if !has_ipv6() {
        return;
    }
    let both = SipOptions { bind_also: Some(LOCALHOST_6), ..options() };
    let endpoint = SipEndpoint::bind(both).await.expect("a free port");
    for transport in [Transport::Udp, Transport::Tcp] {
        for address in [LOCALHOST, LOCALHOST_6] {
            let mut peer = match transport {
                Transport::Udp => Peer::udp_at((address, 0).into()).await,
                _ => Peer::listening((address, 0).into(), None).await,
            };
            let local = endpoint.resolve_local_address_towards(&peer.account()).await.expect("a route");
            assert_eq!(local, address, "media of the family of the signalling");
            let media = LocalMedia { address: local, audio_port: Some(40_000), video_port: Some(40_002) };
            let mut call = Caller::new(endpoint.call(CallOrder { media, ..peer.order() }));
            let invite = peer.establish(&mut call, &[]).await;
            let (ours, family) = match address {
                IpAddr::V4(_) => ("127.0.0.1:".to_owned(), "IP4 127.0.0.1"),
                IpAddr::V6(_) => ("[::1]:".to_owned(), "IP6 ::1"),
            };
            assert!(invite.header("Via").contains(&format!(" {ours}")), "{}", invite.header("Via"));
            assert!(invite.contact().contains(&format!("@{ours}")), "{}", invite.contact());
            assert!(invite.body.contains(&format!("c=IN {family}\r\n")), "{}", invite.body);
            // The peer's requests come in by the same family.
            peer.request("OPTIONS", &[], "").await;
            assert_eq!(peer.expect_response("OPTIONS").await.status(), 200);
            call.handle.control.hang_up();
            let bye = peer.expect("BYE").await;
            peer.reply(&bye, "200 OK", &[], "").await;
            assert_eq!(call.end().await.status, CallStatus::Finish);
        }
    }
}

#[tokio::test]
async fn a_family_without_socket_is_told() {
    let endpoint = endpoint().await;
    let peer = Peer::udp().await;
    let account = Account { domain: "[::1]".into(), ..peer.account() };
    let end = Caller::new(endpoint.call(CallOrder { account, ..peer.order() })).end().await;
    assert!(end.reason.contains("no address that the SIP sockets can reach"), "{}", end.reason);
}

#[tokio::test]
async fn a_large_request_goes_over_tcp_and_the_call_stays_there() {
    let endpoint = endpoint().await;
    let (mut udp, mut tcp) = twins().await;
    let mut call = Caller::new(endpoint.call(large(&udp)));
    let invite = tcp.establish(&mut call, &[]).await;
    assert!(invite.header("Via").starts_with("SIP/2.0/TCP "));
    assert!(invite.contact().ends_with(";transport=tcp"), "{}", invite.contact());
    call.handle.control.hang_up();
    tcp.expect("BYE").await;
    udp.expect_silence(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_small_request_and_a_pinned_one_go_over_udp() {
    let endpoint = endpoint().await;
    let (mut udp, _tcp) = twins().await;
    // Without video the offer is small.
    let media =
        LocalMedia { address: IpAddr::V4(Ipv4Addr::LOCALHOST), audio_port: Some(40_000), video_port: None };
    let order = CallOrder { media, ..free(&udp) };
    let _small = endpoint.call(order);
    let invite = udp.expect("INVITE").await;
    assert!(invite.header("Via").starts_with("SIP/2.0/UDP "));
    let mut order = large(&udp);
    order.account.transport = Some(Transport::Udp);
    let _pinned = endpoint.call(order);
    udp.expect("INVITE").await;
}

#[tokio::test]
async fn a_large_request_goes_over_udp_to_who_has_no_tcp() {
    let endpoint = endpoint().await;
    let mut udp = Peer::udp().await;
    let mut call = Caller::new(endpoint.call(large(&udp)));
    let invite = udp.establish(&mut call, &[]).await;
    assert!(invite.header("Via").starts_with("SIP/2.0/UDP "));
}

#[tokio::test]
async fn a_connection_that_breaks_before_an_answer_leads_back_to_udp() {
    let endpoint = endpoint().await;
    let (mut udp, mut tcp) = twins().await;
    let mut call = Caller::new(endpoint.call(large(&udp)));
    let first = tcp.expect("INVITE").await;
    tcp.hang_up();
    let second = udp.establish(&mut call, &[]).await;
    assert_eq!(first.header("Call-ID"), second.header("Call-ID"));
    assert_eq!(first.sequence(), second.sequence());
    assert_ne!(first.branch(), second.branch(), "a transaction of its own");
    assert!(!second.contact().contains("transport"), "{}", second.contact());
}

#[tokio::test]
async fn registrars_are_pinged_over_udp_while_a_call_lasts() {
    let quick = SipOptions { keep_alive_udp: Some(Duration::from_millis(50)), ..options() };
    let endpoint = SipEndpoint::bind(quick).await.expect("a free port");
    let peer = tokio::net::UdpSocket::bind((LOCALHOST, 0)).await.expect("a free port");
    let port = peer.local_addr().expect("bound").port();
    let template = Peer::udp().await;
    let account = Account { outbound_proxy: Some(format!("127.0.0.1:{port}")), ..template.account() };
    let call = endpoint.call(CallOrder { account, ..template.order() });
    let mut buffer = [0; 8192];
    let ping = async {
        loop {
            let length = peer.recv(&mut buffer).await.expect("receives");
            if &buffer[..length] == b"\r\n\r\n" {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ping).await.expect("a ping");
    drop(call);
}

#[tokio::test]
async fn a_stream_peer_that_stops_answering_pings_is_given_up() {
    let quick = SipOptions { keep_alive_stream: Some(Duration::from_millis(50)), ..options() };
    let endpoint = SipEndpoint::bind(quick).await.expect("a free port");
    let listener = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let template = Peer::tcp().await;
    let account = Account { port, ..template.account() };
    let _call = endpoint.call(CallOrder { account, ..template.order() });
    let mut stream = listener.accept().await.expect("accepts").0;
    let mut chunk = [0; 8192];
    let mut pings = 0;
    let ended = async {
        loop {
            let length = stream.read(&mut chunk).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            if chunk[..length].ends_with(b"\r\n\r\n") && chunk[..length].len() == 4 {
                pings += 1;
                if pings <= 2 {
                    stream.write_all(b"\r\n").await.expect("writes");
                }
            }
        }
    };
    // RFC 5626 §4.4.1: ten seconds after a ping that is not answered.
    tokio::time::timeout(Duration::from_secs(15), ended).await.expect("is given up");
    assert!(pings >= 3, "{pings}");
}
