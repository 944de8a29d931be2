//! Noise and floods: neither stops the endpoint nor costs it more than a bounded amount.

mod peer;

use std::time::Duration;

use peer::{Caller, LOCALHOST, Peer, endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn options_request(peer: &Peer, number: usize) -> String {
    format!(
        "OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{number};rport\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:x@y>\r\nCall-ID: flood-{number}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        peer.address()
    )
}

#[tokio::test]
async fn a_flood_of_strangers_is_answered_up_to_a_rate_and_calls_go_on() {
    let (endpoint, mut flood, mut peer) = (endpoint().await, Peer::udp().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    for number in 0..2_000 {
        let text = options_request(&flood, number);
        flood.send_to(endpoint.local_addr(), text).await;
        tokio::task::yield_now().await;
    }
    let mut answers = 0;
    while let Ok(message) = tokio::time::timeout(Duration::from_millis(200), flood.receive()).await {
        assert_eq!(message.status(), 200);
        answers += 1;
    }
    assert!((1..=400).contains(&answers), "{answers}");
    peer.request("OPTIONS", &[], "").await;
    assert_eq!(peer.expect_response("OPTIONS").await.status(), 200);
}

#[tokio::test]
async fn noise_over_udp_is_passed_over() {
    let (endpoint, mut noise, mut peer) = (endpoint().await, Peer::udp().await, Peer::udp().await);
    let whole = options_request(&noise, 1);
    for length in 0..whole.len() {
        noise.send_to(endpoint.local_addr(), whole[..length].to_owned()).await;
    }
    for text in [
        "\r\n\r\n".to_owned(),
        "SIP/2.0 200 OK\r\n\r\n".to_owned(),
        "SIP/2.0 999999 X\r\nVia: x\r\n\r\n".to_owned(),
        "INVITE sip:x@y SIP/2.0\r\nContent-Length: 18446744073709551615\r\n\r\n".to_owned(),
        "\u{0}\u{1}\u{2}".repeat(1000),
        "A".repeat(60_000),
    ] {
        noise.send_to(endpoint.local_addr(), text).await;
    }
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
}

/// Reads until `wanted` has arrived, or the end.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !text.contains(wanted) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut chunk)).await;
        match read.expect("an answer or the end in time") {
            Ok(length @ 1..) => text.push_str(std::str::from_utf8(&chunk[..length]).expect("text")),
            // Closed with data of ours unread is a reset.
            _ => return text,
        }
    }
    text
}

fn tcp_request(method: &str, number: usize, extra: &str) -> String {
    format!(
        "{method} sip:x@y SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKt{number}\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:x@y>\r\nCall-ID: tcp-{number}\r\nCSeq: {number} {method}\r\n{extra}\r\n"
    )
}

#[tokio::test]
async fn a_tcp_peer_that_talks_nonsense_is_cut_off_and_others_are_served() {
    let (endpoint, mut peer) = (endpoint().await, Peer::tcp().await);
    let address = endpoint.local_addr();
    assert_eq!(address.ip(), LOCALHOST);
    for text in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "A".repeat(100_000)] {
        let mut stream = TcpStream::connect(address).await.expect("accepts");
        // Cut off half-way, writing fails.
        let _ = stream.write_all(text.as_bytes()).await;
        assert_eq!(read_until(&mut stream, "anything").await, "");
    }
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
}

#[tokio::test]
async fn requests_over_tcp_that_cannot_be_parsed_are_refused_and_the_connection_goes_on() {
    let endpoint = endpoint().await;
    let mut stream = TcpStream::connect(endpoint.local_addr()).await.expect("accepts");
    let broken = tcp_request("OPTIONS", 2, "").replace("sip:x@y SIP", "sip: SIP");
    for (text, wanted) in [
        (tcp_request("FETCH", 1, "Content-Length: 3\r\n") + "abc", "SIP/2.0 501 Not Implemented\r\n"),
        (broken, "SIP/2.0 400 Bad Request\r\n"),
        ("\r\n\r\n".to_owned(), "\r\n"),
        (tcp_request("OPTIONS", 3, "Content-Length: 0\r\n"), "SIP/2.0 200 OK\r\n"),
    ] {
        stream.write_all(text.as_bytes()).await.expect("writes");
        let answer = read_until(&mut stream, if text.len() > 4 { "\r\n\r\n" } else { wanted }).await;
        assert!(answer.starts_with(wanted), "{wanted:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_length_that_cannot_be_is_refused_and_ends_the_connection() {
    let endpoint = endpoint().await;
    for (length, wanted) in [
        ("18446744073709551615", "SIP/2.0 513 "),
        ("18446744073709551300", "SIP/2.0 513 "),
        ("70000", "SIP/2.0 513 "),
        ("minus one", "SIP/2.0 400 "),
    ] {
        let mut stream = TcpStream::connect(endpoint.local_addr()).await.expect("accepts");
        let text = tcp_request("INVITE", 1, &format!("Content-Length: {length}\r\n"));
        stream.write_all(text.as_bytes()).await.expect("writes");
        let answer = read_until(&mut stream, "nothing more").await;
        assert!(answer.starts_with(wanted), "{length}: {answer:?}");
    }
}

#[tokio::test]
async fn a_tcp_peer_that_does_not_read_is_cut_off_and_stalls_nobody() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut deaf = TcpStream::connect(endpoint.local_addr()).await.expect("accepts");
    // Each of them is answered at once, from the task that serves all calls.
    let deafness = tokio::spawn(async move {
        for number in 0.. {
            let mut text = tcp_request("FETCH", number, &format!("X: {}\r\n", "a".repeat(4000)));
            text += &tcp_request("CANCEL", number, "");
            let written = tokio::time::timeout(Duration::from_secs(1), deaf.write_all(text.as_bytes())).await;
            if !matches!(written, Ok(Ok(()))) {
                return deaf;
            }
        }
        unreachable!("endless")
    });
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    let _deaf = deafness.await.expect("stuck or cut off");
    peer.request("OPTIONS", &[], "").await;
    assert_eq!(peer.expect_response("OPTIONS").await.status(), 200);
}

#[tokio::test]
async fn many_calls_at_once_each_reach_their_end() {
    let endpoint = endpoint().await;
    let mut calls = Vec::new();
    for _ in 0..50 {
        let mut peer = Peer::udp().await;
        let mut call = Caller::new(endpoint.call(peer.order()));
        calls.push(tokio::spawn(async move {
            peer.establish(&mut call, &[]).await;
            call.handle.control.hang_up();
            let bye = peer.expect("BYE").await;
            peer.reply(&bye, "200 OK", &[], "").await;
            call.end().await
        }));
    }
    for call in calls {
        assert_eq!(call.await.expect("passes").sip_status, 200);
    }
    tokio::time::timeout(Duration::from_secs(6), endpoint.shutdown()).await.expect("ends");
}

#[tokio::test]
async fn a_dropped_handle_hangs_up() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    drop(call);
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
}
