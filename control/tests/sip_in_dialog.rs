//! Requests inside a call: hold, refresh, INFO, offerless re-INVITE, session timers, what we refuse.

mod peer;

use std::time::Duration;

use peer::{Caller, Peer, answer, answer_at, endpoint, options};
use sipcast_contract::dtmf;
use sipcast_control::sip_endpoint::{SipEndpoint, SipOptions};
use sipcast_sip::{CallEvent, CallStatus};

#[tokio::test]
async fn a_reinvite_holds_and_resumes() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.establish(&mut call, &[]).await;
    for (direction, address, ours, hold, version) in
        [("sendonly", "127.0.0.1", "recvonly", true, 2), ("sendrecv", "127.0.0.1", "sendrecv", false, 3)]
    {
        peer.request("INVITE", &[], &answer_at(&invite.body, direction, address, version)).await;
        let response = peer.expect_response("INVITE").await;
        assert_eq!(response.status(), 200);
        assert!(response.get("Contact").is_some());
        let audio = response.body.split("m=video").next().expect("audio first");
        assert!(audio.contains(&format!("a={ours}")), "{}", response.body);
        peer.acknowledge("").await;
        call.until(|event| *event == CallEvent::Hold(hold)).await;
    }
    // The old way to hold, and another port on the way back.
    peer.request("INVITE", &[], &answer_at(&invite.body, "sendrecv", "0.0.0.0", 4)).await;
    assert_eq!(peer.expect_response("INVITE").await.status(), 200);
    peer.acknowledge("").await;
    call.until(|event| *event == CallEvent::Hold(true)).await;
    let moved = answer_at(&invite.body, "sendrecv", "127.0.0.1", 5).replace("50002", "51002");
    peer.request("INVITE", &[], &moved).await;
    assert_eq!(peer.expect_response("INVITE").await.status(), 200);
    peer.acknowledge("").await;
    let media = call.until(|event| matches!(event, CallEvent::Media { .. })).await;
    let CallEvent::Media { media, .. } = media else { unreachable!() };
    let video = media.video.expect("video").transport.remote_rtp.expect("an address");
    assert_eq!(video.port(), 51_002);
}

#[tokio::test]
async fn an_unanswered_200_to_a_reinvite_is_repeated_until_the_ack() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.establish(&mut call, &[]).await;
    peer.request("INVITE", &[], &answer_at(&invite.body, "sendrecv", "127.0.0.1", 2)).await;
    let first = peer.expect_response("INVITE").await;
    let second = peer.expect_response("INVITE").await;
    assert_eq!(first.body, second.body);
    peer.acknowledge("").await;
    peer.request("OPTIONS", &[], "").await;
    let options = peer.expect_response("OPTIONS").await;
    assert_eq!(options.status(), 200);
    assert!(options.header("Allow").contains("UPDATE"));
}

#[tokio::test]
async fn an_offerless_reinvite_gets_our_offer_and_the_ack_answers() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    peer.request("INVITE", &[], "").await;
    let response = peer.expect_response("INVITE").await;
    assert!(response.body.contains("m=audio 40000") && response.body.contains("m=video 40002"));
    let reply = answer(&response.body, "sendrecv").replace("50000", "52000");
    peer.acknowledge(&reply).await;
    let media = call.until(|event| matches!(event, CallEvent::Media { .. })).await;
    let CallEvent::Media { media, .. } = media else { unreachable!() };
    assert_eq!(media.audio.expect("audio").transport.remote_rtp.expect("an address").port(), 52_000);
}

#[tokio::test]
async fn a_second_offer_before_the_ack_meets_491() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.establish(&mut call, &[]).await;
    peer.request("INVITE", &[], "").await;
    assert_eq!(peer.expect_response("INVITE").await.status(), 200);
    peer.request("UPDATE", &[], &answer_at(&invite.body, "sendrecv", "127.0.0.1", 2)).await;
    assert_eq!(peer.expect_response("UPDATE").await.status(), 491);
}

#[tokio::test]
async fn an_update_refreshes_and_an_unusable_offer_is_refused() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.establish(&mut call, &[]).await;
    peer.request("UPDATE", &["Supported: timer", "Session-Expires: 120;refresher=uac"], "").await;
    let response = peer.expect_response("UPDATE").await;
    assert_eq!((response.status(), response.header("Session-Expires")), (200, "120;refresher=uac"));
    assert_eq!(response.header("Require"), "timer");
    peer.request("UPDATE", &["Supported: timer", "Session-Expires: 20"], "").await;
    let response = peer.expect_response("UPDATE").await;
    assert_eq!((response.status(), response.header("Min-SE")), (422, "90"));
    let useless = answer_at(&invite.body, "sendrecv", "127.0.0.1", 9).replace("RTP/AVP", "UDP/TLS/X");
    peer.request("INVITE", &[], &useless).await;
    assert_eq!(peer.expect_response("INVITE").await.status(), 488);
    peer.request("INVITE", &[], "this is no description").await;
    assert_eq!(peer.expect_response("INVITE").await.status(), 400);
    // The call stands all the same.
    peer.request("UPDATE", &[], &answer_at(&invite.body, "sendrecv", "127.0.0.1", 10)).await;
    assert_eq!(peer.expect_response("UPDATE").await.status(), 200);
}

#[tokio::test]
async fn other_requests_get_the_right_refusal() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    for (method, extra, status) in [
        ("INFO", "X: y", 200),
        ("REFER", "Refer-To: <sip:x@y>", 405),
        ("MESSAGE", "X: y", 405),
        ("FETCH", "X: y", 501),
        ("UPDATE", "Require: precondition", 420),
    ] {
        peer.request(method, &[extra], "").await;
        let response = peer.expect_response(method).await;
        assert_eq!(response.status(), status, "{method}");
        if matches!(status, 405 | 501) {
            assert!(response.header("Allow").contains("INVITE"));
        }
    }
    // Late: a sequence number that was passed.
    peer.request_as("INFO", 50, "z9hG4bKlate", &[], "").await;
    let late = loop {
        let message = peer.receive().await;
        if message.get("CSeq") == Some("50 INFO") {
            break message;
        }
    };
    assert_eq!(late.status(), 500);
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let address = endpoint.local_addr();
    for (method, to, status) in [
        ("OPTIONS", "<sip:x@y>", 200),
        ("INVITE", "<sip:x@y>", 403),
        ("REGISTER", "<sip:x@y>", 405),
        ("BYE", "<sip:x@y>;tag=none", 481),
        ("FETCH", "<sip:x@y>", 501),
    ] {
        let text = format!(
            "{method} sip:x@{address} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{method};rport\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: {to}\r\nCall-ID: stranger-{method}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            peer.address()
        );
        peer.send_to(address, text).await;
        let response = peer.receive().await;
        assert_eq!(response.status(), status, "{method}");
        if method == "INVITE" {
            let ack = format!(
                "ACK sip:x@{address} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKINVITE;rport\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: {}\r\nCall-ID: stranger-INVITE\r\nCSeq: 1 ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                peer.address(),
                response.header("To"),
            );
            peer.send_to(address, ack).await;
        }
    }
    peer.send_to(address, "INVITE sip:x SIP/7.0\r\nVia: SIP/2.0/UDP h\r\n\r\n".into()).await;
    assert_eq!(peer.receive().await.status(), 505);
}

#[tokio::test]
async fn dtmf_goes_out_one_info_after_another_with_its_pauses() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    let pause = dtmf::DtmfStep::Pause(Duration::from_millis(400));
    let mut steps = dtmf::parse("5#").expect("digits");
    steps.insert(1, pause);
    assert!(call.handle.control.send_dtmf_info(steps));
    let first = peer.expect("INFO").await;
    assert_eq!(first.header("Content-Type"), "application/dtmf-relay");
    assert!(first.body.starts_with("Signal=5\r\n"), "{}", first.body);
    let begun = std::time::Instant::now();
    peer.reply(&first, "200 OK", &[], "").await;
    let second = peer.expect("INFO").await;
    assert!(second.body.starts_with("Signal=#\r\n"), "{}", second.body);
    assert!(begun.elapsed() >= Duration::from_millis(400));
    peer.reply(&second, "200 OK", &[], "").await;
    call.handle.control.request_keyframe();
    let picture = peer.expect("INFO").await;
    assert_eq!(picture.header("Content-Type"), "application/media_control+xml");
    assert!(picture.body.contains("picture_fast_update"));
    peer.reply(&picture, "481 Call/Transaction Does Not Exist", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Failed);
}

#[tokio::test]
async fn we_refresh_the_session_by_update() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let timer = ["Session-Expires: 4;refresher=uac", "Require: timer", "Allow: INVITE, ACK, BYE, UPDATE"];
    let invite = peer.establish(&mut call, &timer).await;
    assert_eq!(invite.header("Session-Expires"), "1800");
    let update = peer.expect("UPDATE").await;
    assert!(update.header("Session-Expires").ends_with(";refresher=uac"));
    assert!(update.body.is_empty());
    peer.reply(&update, "405 Method Not Allowed", &[], "").await;
    let again = peer.expect("INVITE").await;
    assert_eq!(again.body, invite.body, "byte for byte what we said last");
    peer.reply(&again, "200 OK", &["Session-Expires: 1800;refresher=uac"], &answer(&again.body, "sendrecv"))
        .await;
    peer.expect("ACK").await;
    peer.request("BYE", &[], "").await;
    assert_eq!(peer.expect_response("BYE").await.status(), 200);
    assert_eq!(call.end().await.status, CallStatus::Finish);
}

#[tokio::test]
async fn a_session_that_the_peer_does_not_refresh_ends() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &["Session-Expires: 3;refresher=uas"]).await;
    peer.expect("BYE").await;
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 408));
}

#[tokio::test]
async fn an_interval_that_is_too_small_is_raised() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let _call = endpoint.call(peer.order());
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "422 Session Interval Too Small", &["Min-SE: 3600"], "").await;
    let again = peer.expect("INVITE").await;
    assert_eq!((again.header("Session-Expires"), again.header("Min-SE")), ("3600", "3600"));
}

#[tokio::test]
async fn a_peer_that_is_gone_ends_a_call_without_session_timer() {
    let options = SipOptions { t1: Duration::from_millis(5), ..options() };
    let endpoint = SipEndpoint::bind(options).await.expect("a free port");
    let mut peer = Peer::udp().await;
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    // Any answer shows that the peer is there.
    let probe = peer.expect("OPTIONS").await;
    peer.reply(&probe, "501 Not Implemented", &[], "").await;
    let probe = peer.expect("OPTIONS").await;
    assert!(probe.header("To").contains(";tag="));
    drop(peer);
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 408));
}
