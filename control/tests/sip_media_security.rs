//! Calls whose media are protected, and offers that a callee refuses, against a peer of its own.

mod peer;

use peer::{Caller, Peer, answer, endpoint};
use sipcast_sip::{CallEvent, CallStatus, MediaSecurity};

/// An answer that takes the first `a=crypto` of each media description, with a key of the peer's.
fn protected(offer: &str) -> String {
    let proto = if offer.contains("RTP/SAVP") { "RTP/SAVP" } else { "RTP/AVP" };
    let crypto =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^31\r\n";
    format!(
        "v=0\r\no=peer 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 50000 {proto} 0\r\n{crypto}m=video 50002 {proto} 96\r\na=rtpmap:96 H264/90000\r\n{crypto}a=sendonly\r\n"
    )
}

#[tokio::test]
async fn a_mandatory_call_gets_keys_and_shows_none() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.security = MediaSecurity::Mandatory;
    let mut call = Caller::new(endpoint.call(order));
    let invite = peer.expect("INVITE").await;
    assert_eq!(invite.body.matches(" RTP/SAVP ").count(), 2, "{}", invite.body);
    peer.reply(&invite, "200 OK", &[], &protected(&invite.body)).await;
    peer.expect("ACK").await;
    let CallEvent::Media { media, sdp } = call.until(|event| matches!(event, CallEvent::Media { .. })).await
    else {
        unreachable!()
    };
    assert!(media.audio.as_ref().is_some_and(|audio| audio.transport.srtp.is_some()));
    assert!(media.video.as_ref().is_some_and(|video| video.transport.srtp.is_some()));
    assert!(sdp.contains("inline:***") && !sdp.contains("d0Rmdmcm"), "{sdp}");
    call.until_established().await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn an_unprotected_answer_to_a_mandatory_call_is_acknowledged_and_ended() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.security = MediaSecurity::Mandatory;
    let mut call = Caller::new(endpoint.call(order));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "200 OK", &[], &answer(&invite.body, "sendrecv")).await;
    peer.expect("ACK").await;
    let bye = peer.expect("BYE").await;
    assert!(bye.header("Reason").contains("488"));
    peer.reply(&bye, "200 OK", &[], "").await;
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 488));
    assert!(end.reason.contains("cannot be protected"), "{}", end.reason);
    endpoint.shutdown().await;
}

/// An answer with port 0 in every line.
fn without_media(offer: &str) -> String {
    let proto = if offer.contains("RTP/SAVP") { "RTP/SAVP" } else { "RTP/AVP" };
    format!(
        "v=0\r\no=peer 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 0 {proto} 0\r\nm=video 0 {proto} 96\r\n"
    )
}

#[tokio::test]
async fn a_peer_that_refuses_keys_by_port_0_is_called_anew() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.security = MediaSecurity::Opportunistic;
    let mut call = Caller::new(endpoint.call(order));
    let first = peer.expect("INVITE").await;
    peer.reply(&first, "200 OK", &[], &without_media(&first.body)).await;
    peer.expect("ACK").await;
    let bye = peer.expect("BYE").await;
    assert!(bye.header("Reason").contains("488"));
    assert_eq!(bye.header("Call-ID"), first.header("Call-ID"));
    // The peer asks who we are, and hangs up by itself meanwhile.
    peer.request("BYE", &[], "").await;
    assert_eq!(peer.expect_response("BYE").await.status(), 200);
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256";
    peer.reply(&bye, "401 Unauthorized", &[challenge], "").await;
    let bye = peer.expect("BYE").await;
    assert_eq!(bye.digest("Authorization", "nc"), "00000001");
    peer.reply(&bye, "200 OK", &[], "").await;

    let second = peer.expect("INVITE").await;
    assert!(second.body.contains(" RTP/SAVP "), "{}", second.body);
    assert!(second.all("To").iter().all(|to| !to.contains("tag=")), "outside of any dialog");
    assert_ne!(second.header("Call-ID"), first.header("Call-ID"));
    assert_ne!(second.header("From"), first.header("From"));
    assert_eq!(second.digest("Authorization", "nc"), "00000002", "the nonce is counted on");
    peer.reply(&second, "200 OK", &[], &protected(&second.body)).await;
    peer.expect("ACK").await;
    call.until_established().await;
    let answers = call.past.iter().filter(|event| matches!(event, CallEvent::Media { .. })).count();
    assert_eq!(answers, 1, "{:?}", call.past);
    // Both dialogs are on the ladder.
    let ladder = call.handle.control.ladder();
    let invites = ladder.entries.iter().filter(|entry| entry.start_line.starts_with("INVITE")).count();
    assert_eq!(invites, 2, "{:?}", ladder.entries);
    // A 2xx of another fork of the former INVITE is ended in its own dialog.
    peer.reply_as(&first, "other", "200 OK", &[], &without_media(&first.body)).await;
    let of_fork = peer.expect("BYE").await;
    assert!(of_fork.header("To").contains("tag=other"), "{of_fork:?}");
    peer.reply(&of_fork, "200 OK", &[], "").await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    assert_eq!(bye.header("Call-ID"), second.header("Call-ID"));
    peer.reply(&bye, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_call_that_is_ended_between_two_offers_dials_no_more() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.security = MediaSecurity::Opportunistic;
    let mut call = Caller::new(endpoint.call(order));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "200 OK", &[], &without_media(&invite.body)).await;
    peer.expect("ACK").await;
    let bye = peer.expect("BYE").await;
    call.handle.control.hang_up();
    assert_eq!(call.end().await.status, CallStatus::Finish);
    peer.reply(&bye, "200 OK", &[], "").await;
    peer.expect_silence(std::time::Duration::from_millis(500)).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_refuses_keys_is_called_without_them() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.security = MediaSecurity::Opportunistic;
    let mut call = Caller::new(endpoint.call(order));
    let first = peer.expect("INVITE").await;
    assert!(first.body.contains(" RTP/AVP ") && first.body.contains("a=crypto:1 "), "{}", first.body);
    peer.reply(&first, "488 Not Acceptable Here", &[], "").await;
    peer.expect("ACK").await;
    let second = peer.expect("INVITE").await;
    assert!(second.body.contains(" RTP/SAVP "), "{}", second.body);
    assert_eq!(second.header("Call-ID"), first.header("Call-ID"));
    assert!(second.sequence() > first.sequence());
    peer.reply(&second, "488 Not Acceptable Here", &[], "").await;
    peer.expect("ACK").await;
    let third = peer.expect("INVITE").await;
    assert!(third.body.contains(" RTP/AVP ") && !third.body.contains("a=crypto"), "{}", third.body);
    peer.reply(&third, "200 OK", &[], &answer(&third.body, "sendrecv")).await;
    peer.expect("ACK").await;
    call.until_established().await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
    endpoint.shutdown().await;
}
