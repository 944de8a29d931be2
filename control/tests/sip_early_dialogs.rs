//! Before the answer: reliable provisional responses, forks, UPDATE and INFO in early dialogs.

mod peer;

use std::time::Duration;

use peer::{Caller, Message, Peer, answer, answer_at, endpoint};
use sipcast_contract::dtmf;
use sipcast_sip::{CallEvent, CallStatus};

const REQUIRE: &str = "Require: 100rel";

async fn ring_reliably(peer: &mut Peer, invite: &Message, tag: &str, sequence: u32, body: &str) {
    let sequence = format!("RSeq: {sequence}");
    peer.reply_as(invite, tag, "183 Session Progress", &[REQUIRE, &sequence], body).await;
}

fn audio_port(event: &CallEvent) -> u16 {
    let CallEvent::Media { media, .. } = event else { panic!("{event:?}") };
    media.audio.as_ref().expect("audio").transport.remote_rtp.expect("an address").port()
}

#[tokio::test]
async fn pracks_go_in_order_and_a_gap_is_not_looked_at() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    assert!(invite.all("Supported").iter().any(|value| value.contains("100rel")));
    let body = answer(&invite.body, "sendrecv");
    ring_reliably(&mut peer, &invite, "a", 7, "").await;
    let first = peer.expect("PRACK").await;
    assert_eq!(first.header("RAck"), format!("7 {} INVITE", invite.sequence()));
    assert!(first.header("To").ends_with(";tag=a"));
    peer.reply(&first, "200 OK", &[], "").await;
    // 9 before 8: passed over with its description, until it is repeated.
    ring_reliably(&mut peer, &invite, "a", 9, &body.replace("50000", "59000")).await;
    ring_reliably(&mut peer, &invite, "a", 8, &body).await;
    let second = peer.expect("PRACK").await;
    assert!(second.header("RAck").starts_with("8 "), "{second:?}");
    assert!(second.sequence() > first.sequence());
    peer.reply(&second, "200 OK", &[], "").await;
    let media = call.until(|event| matches!(event, CallEvent::Media { .. })).await;
    assert_eq!(audio_port(&media), 50_000);
    // A repetition is no new PRACK.
    ring_reliably(&mut peer, &invite, "a", 8, &body).await;
    peer.expect_silence(Duration::from_millis(300)).await;
    peer.reply_as(&invite, "a", "200 OK", &[], "").await;
    peer.expect("ACK").await;
    call.until_established().await;
}

#[tokio::test]
async fn a_challenged_prack_is_repeated_with_credentials() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let _call = endpoint.call(peer.order());
    let invite = peer.expect("INVITE").await;
    ring_reliably(&mut peer, &invite, "a", 1, "").await;
    let bare = peer.expect("PRACK").await;
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
    peer.reply(&bare, "407 Proxy Authentication Required", &[challenge], "").await;
    let signed = peer.expect("PRACK").await;
    assert_eq!(signed.header("RAck"), bare.header("RAck"));
    assert_eq!(signed.digest("Proxy-Authorization", "realm"), "r");
    assert!(signed.sequence() > bare.sequence());
}

#[tokio::test]
async fn media_follows_the_fork_that_answers_and_the_others_are_ended() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    let body = answer(&invite.body, "sendrecv");
    let other = body.replace("50000", "52000");
    peer.reply_as(&invite, "a", "183 Session Progress", &[], &body).await;
    assert_eq!(audio_port(&call.until(|event| matches!(event, CallEvent::Media { .. })).await), 50_000);
    ring_reliably(&mut peer, &invite, "b", 1, &other).await;
    let prack = peer.expect("PRACK").await;
    assert!(prack.header("To").ends_with(";tag=b"));
    peer.reply(&prack, "200 OK", &[], "").await;
    assert_eq!(audio_port(&call.until(|event| matches!(event, CallEvent::Media { .. })).await), 52_000);
    peer.reply_as(&invite, "a", "200 OK", &[], &body).await;
    let ack = peer.expect("ACK").await;
    assert!(ack.header("To").ends_with(";tag=a"));
    assert_eq!(audio_port(&call.until(|event| matches!(event, CallEvent::Media { .. })).await), 50_000);
    call.until_established().await;
    peer.reply_as(&invite, "b", "200 OK", &[], &other).await;
    let bye = peer.expect("BYE").await;
    assert!(bye.header("To").ends_with(";tag=b"));
    peer.reply(&bye, "200 OK", &[], "").await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    assert!(bye.header("To").ends_with(";tag=a"));
    assert!(bye.sequence() > prack.sequence(), "numbers of the forks are not used again");
}

#[tokio::test]
async fn an_early_update_moves_the_media() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    let body = answer(&invite.body, "sendrecv");
    ring_reliably(&mut peer, &invite, peer::TAG, 1, &body).await;
    let prack = peer.expect("PRACK").await;
    peer.reply(&prack, "200 OK", &[], "").await;
    call.until(|event| matches!(event, CallEvent::Media { .. })).await;
    let moved = answer_at(&invite.body, "sendrecv", "127.0.0.1", 2).replace("50000", "53000");
    peer.request("UPDATE", &[], &moved).await;
    let response = peer.expect_response("UPDATE").await;
    assert_eq!(response.status(), 200);
    assert!(response.body.contains("m=audio 40000") && response.get("Contact").is_some());
    assert_eq!(audio_port(&call.until(|event| matches!(event, CallEvent::Media { .. })).await), 53_000);
    peer.reply(&invite, "200 OK", &[], "").await;
    peer.expect("ACK").await;
    call.until_established().await;
    // What was said in the early dialog counts for the order of requests in the confirmed one (RFC 3261 §12.2.2).
    peer.request_as("UPDATE", 50, "z9hG4bKlate", &[], "").await;
    let late = loop {
        let message = peer.receive().await;
        if message.get("CSeq") == Some("50 UPDATE") {
            break message;
        }
    };
    assert_eq!(late.status(), 500);
}

#[tokio::test]
async fn digits_by_info_go_in_the_early_dialog_and_are_told_when_sent() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    assert!(call.handle.control.send_dtmf_info(dtmf::parse("4#").expect("digits")));
    let body = answer(&invite.body, "sendrecv");
    peer.reply(&invite, "183 Session Progress", &[], &body).await;
    for signal in ["4", "#"] {
        let info = peer.expect("INFO").await;
        assert!(info.header("To").ends_with(peer::TAG));
        assert!(info.body.starts_with(&format!("Signal={signal}\r\n")));
        peer.reply(&info, "200 OK", &[], "").await;
    }
    call.until(|event| *event == CallEvent::DtmfSent(2)).await;
    call.handle.control.hang_up();
    let cancel = peer.expect("CANCEL").await;
    peer.reply(&cancel, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
}

#[tokio::test]
async fn replaces_and_refer_are_refused_as_they_ask() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let address = endpoint.local_addr();
    for (extra, status) in [
        ("Require: replaces\r\nReplaces: x;to-tag=1;from-tag=2", 420),
        ("Replaces: x;to-tag=1;from-tag=2", 403),
    ] {
        let text = format!(
            "INVITE sip:x@{address} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{status};rport\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:x@y>\r\nCall-ID: replaces-{status}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n{extra}\r\nContent-Length: 0\r\n\r\n",
            peer.address()
        );
        peer.send_to(address, text).await;
        let response = loop {
            let response = peer.receive().await;
            if response.header("Call-ID") == format!("replaces-{status}") {
                break response;
            }
        };
        assert_eq!(response.status(), status);
        assert_eq!(response.get("Unsupported"), (status == 420).then_some("replaces"));
    }
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    peer.request("REFER", &["Refer-To: <sip:x@y>"], "").await;
    let response = peer.expect_response("REFER").await;
    assert_eq!(response.status(), 405);
    let allow = response.header("Allow");
    assert!(allow.contains("UPDATE") && !allow.contains("REFER") && !allow.contains("PRACK"), "{allow}");
}
