//! Calls from INVITE to BYE over UDP, against a peer of its own.

mod peer;

use std::time::Duration;

use peer::{Caller, Peer, TAG, answer, endpoint, options};
use sipcast_control::sip_endpoint::SipEndpoint;
use sipcast_sip::{CallEvent, CallStatus};

#[tokio::test]
async fn a_call_rings_is_answered_and_ended_by_order() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    assert_eq!(invite.uri(), format!("sip:8801@{}", peer.address()));
    assert!(invite.header("From").starts_with("\"Town Hall\" <sip:caster@127.0.0.1>;tag="), "{invite:?}");
    assert!(invite.header("Call-ID").ends_with("@127.0.0.1"));
    assert!(invite.contact().ends_with(&endpoint.local_addr().port().to_string()));
    assert!(invite.header("Supported").contains("timer"));
    assert!(
        invite.body.contains("m=audio 40000") && invite.body.contains("m=video 40002"),
        "{}",
        invite.body
    );
    peer.reply(&invite, "100 Trying", &[], "").await;
    call.until_progress(CallStatus::Trying).await;
    peer.reply(&invite, "180 Ringing", &[], "").await;
    call.until_progress(CallStatus::Ring).await;
    peer.reply(&invite, "200 OK", &[], &answer(&invite.body, "sendrecv")).await;
    let ack = peer.expect("ACK").await;
    assert_eq!(ack.uri(), format!("sip:callee@{}", peer.address()));
    assert_eq!(ack.sequence(), invite.sequence());
    let media = call.until(|event| matches!(event, CallEvent::Media { .. })).await;
    let CallEvent::Media { media, sdp } = media else { unreachable!() };
    assert!(media.audio.is_some() && media.video.is_some());
    assert!(sdp.contains("m=video 50002"));
    call.until_established().await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    assert!(bye.header("To").ends_with(&format!(";tag={TAG}")));
    assert!(bye.sequence() > invite.sequence());
    peer.reply(&bye, "200 OK", &[], "").await;
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Finish, 200));
    endpoint.shutdown().await;
}

#[tokio::test]
async fn the_peers_bye_ends_the_call_and_is_answered_again_when_repeated() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    let branch = peer.request("BYE", &["Reason: Q.850;cause=16;text=\"Normal call clearing\""], "").await;
    assert_eq!(peer.expect_response("BYE").await.status(), 200);
    let end = call.end().await;
    assert_eq!(end.status, CallStatus::Finish);
    assert!(end.reason.contains("Normal call clearing"), "{}", end.reason);
    peer.request_as("BYE", 101, &branch, &[], "").await;
    assert_eq!(peer.expect_response("BYE").await.status(), 200);
    peer.request("BYE", &[], "").await;
    assert!(matches!(peer.expect_response("BYE").await.status(), 200 | 481));
}

#[tokio::test]
async fn busy_and_decline_end_the_call() {
    let endpoint = endpoint().await;
    for (line, status, code) in [
        ("486 Busy Here", CallStatus::Busy, 486),
        ("600 Busy Everywhere", CallStatus::Busy, 600),
        ("603 Decline", CallStatus::Failed, 603),
        ("404 Not Found", CallStatus::Failed, 404),
        ("401 Unauthorized", CallStatus::Failed, 401),
    ] {
        let mut peer = Peer::udp().await;
        let mut call = Caller::new(endpoint.call(peer.order()));
        let invite = peer.expect("INVITE").await;
        peer.reply(&invite, line, &[], "").await;
        peer.expect("ACK").await;
        let end = call.end().await;
        assert_eq!((end.status, end.sip_status), (status, code));
    }
}

#[tokio::test]
async fn hanging_up_while_it_rings_cancels() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "180 Ringing", &[], "").await;
    call.until_progress(CallStatus::Ring).await;
    call.handle.control.hang_up();
    let cancel = peer.expect("CANCEL").await;
    assert_eq!(cancel.branch(), invite.branch());
    assert_eq!(cancel.header("CSeq"), format!("{} CANCEL", invite.sequence()));
    peer.reply(&cancel, "200 OK", &[], "").await;
    peer.reply(&invite, "487 Request Terminated", &[], "").await;
    peer.expect("ACK").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
}

#[tokio::test]
async fn cancel_waits_for_the_first_response() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    call.handle.control.hang_up();
    assert_eq!(call.end().await.status, CallStatus::Finish);
    peer.reply(&invite, "180 Ringing", &[], "").await;
    let cancel = peer.expect("CANCEL").await;
    assert_eq!(cancel.branch(), invite.branch());
}

#[tokio::test]
async fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "180 Ringing", &[], "").await;
    call.until_progress(CallStatus::Ring).await;
    call.handle.control.hang_up();
    peer.expect("CANCEL").await;
    peer.reply(&invite, "200 OK", &[], &answer(&invite.body, "sendrecv")).await;
    peer.expect("ACK").await;
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
}

#[tokio::test]
async fn nobody_answering_ends_as_408_and_cancels() {
    let options =
        sipcast_control::sip_endpoint::SipOptions { ring_timeout: Duration::from_millis(300), ..options() };
    let endpoint = SipEndpoint::bind(options).await.expect("binds");
    let mut peer = Peer::udp().await;
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "180 Ringing", &[], "").await;
    peer.expect("CANCEL").await;
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 408));
}

#[tokio::test]
async fn early_media_is_told_before_the_answer() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "183 Session Progress", &[], &answer(&invite.body, "sendrecv")).await;
    call.until(|event| matches!(event, CallEvent::Media { .. })).await;
    call.until_progress(CallStatus::RingMedia).await;
    peer.reply(&invite, "200 OK", &[], "").await;
    peer.expect("ACK").await;
    call.until_established().await;
    let media = call.past.iter().filter(|event| matches!(event, CallEvent::Media { .. })).count();
    assert_eq!(media, 1, "the same media is told once");
}

#[tokio::test]
async fn reliable_provisional_responses_are_acknowledged() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    let reliable = ["Require: 100rel", "RSeq: 4711"];
    peer.reply(&invite, "183 Session Progress", &reliable, &answer(&invite.body, "sendrecv")).await;
    let prack = peer.expect("PRACK").await;
    assert_eq!(prack.header("RAck"), format!("4711 {} INVITE", invite.sequence()));
    assert!(prack.header("To").ends_with(&format!(";tag={TAG}")));
    peer.reply(&prack, "200 OK", &[], "").await;
    // RFC 3262 §4: a repetition, and one that comes out of order, is passed over.
    let description = answer(&invite.body, "sendrecv");
    for sequence in ["RSeq: 4711", "RSeq: 4713", "RSeq: 4712"] {
        let reliable = ["Require: 100rel", sequence];
        peer.reply(&invite, "183 Session Progress", &reliable, &description).await;
    }
    let prack = peer.expect("PRACK").await;
    assert_eq!(prack.header("RAck"), format!("4712 {} INVITE", invite.sequence()));
    peer.reply(&prack, "200 OK", &[], "").await;
    peer.reply(&invite, "200 OK", &[], "").await;
    peer.expect("ACK").await;
    call.until_established().await;
    call.handle.control.hang_up();
    assert!(peer.expect("BYE").await.sequence() > prack.sequence());
}

#[tokio::test]
async fn a_repeated_200_is_acknowledged_again() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    let answer = answer(&invite.body, "sendrecv");
    for _ in 0..3 {
        peer.reply(&invite, "200 OK", &[], &answer).await;
        let ack = peer.expect("ACK").await;
        assert_eq!(ack.sequence(), invite.sequence());
    }
    call.until_established().await;
}

#[tokio::test]
async fn the_second_fork_to_answer_is_hung_up() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.establish(&mut call, &[]).await;
    peer.reply_as(&invite, "other", "200 OK", &[], &answer(&invite.body, "sendrecv")).await;
    let ack = peer.expect("ACK").await;
    assert!(ack.header("To").ends_with(";tag=other"));
    let bye = peer.expect("BYE").await;
    assert!(bye.header("To").ends_with(";tag=other"));
    peer.reply(&bye, "200 OK", &[], "").await;
    call.handle.control.hang_up();
    assert!(peer.expect("BYE").await.header("To").ends_with(&format!(";tag={TAG}")));
}

#[tokio::test]
async fn an_answer_without_common_media_is_acknowledged_and_ended() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    let refused = answer(&invite.body, "sendrecv")
        .replace(" 0\r\na=rtpmap:0 PCMU/8000", " 18\r\na=rtpmap:18 G729/8000")
        .replace("m=video 50002", "m=video 0");
    peer.reply(&invite, "200 OK", &[], &refused).await;
    peer.expect("ACK").await;
    peer.expect("BYE").await;
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 488));
}

#[tokio::test]
async fn a_redirect_is_followed_and_a_loop_ends() {
    let (endpoint, mut first, mut second) = (endpoint().await, Peer::udp().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(first.order()));
    let invite = first.expect("INVITE").await;
    let contact = format!("Contact: <sip:8802@{}>", second.address());
    first.reply(&invite, "302 Moved Temporarily", &[&contact], "").await;
    first.expect("ACK").await;
    let redirected = second.expect("INVITE").await;
    assert_eq!(redirected.uri(), format!("sip:8802@{}", second.address()));
    assert_eq!(redirected.header("Call-ID"), invite.header("Call-ID"));
    assert_eq!(redirected.header("To"), invite.header("To"));
    let back = format!("Contact: <sip:8801@{}>", first.address());
    second.reply(&redirected, "302 Moved Temporarily", &[&back], "").await;
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 302));
}

#[tokio::test]
async fn an_outbound_proxy_is_a_loose_route_and_record_routes_are_obeyed() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.account.domain = "pbx.invalid".into();
    order.account.outbound_proxy = Some(peer.address().to_string());
    let mut call = Caller::new(endpoint.call(order));
    let invite = peer.expect("INVITE").await;
    assert_eq!(invite.uri(), "sip:8801@pbx.invalid");
    assert_eq!(invite.header("Route"), format!("<sip:{};lr>", peer.address()));
    let record = [
        format!("Record-Route: <sip:far.invalid;lr>, <sip:{};lr>", peer.address()),
        "Contact: <sip:callee@unreachable.invalid>".to_owned(),
    ];
    let lines: Vec<&str> = record.iter().map(String::as_str).collect();
    peer.reply(&invite, "200 OK", &lines, &answer(&invite.body, "sendrecv")).await;
    let ack = peer.expect("ACK").await;
    assert_eq!(ack.uri(), "sip:callee@unreachable.invalid");
    call.until_established().await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    assert_eq!(bye.uri(), "sip:callee@unreachable.invalid");
    assert_eq!(bye.all("Route"), [format!("<sip:{};lr>", peer.address()).as_str(), "<sip:far.invalid;lr>"]);
}

#[tokio::test]
async fn what_cannot_be_dialled_ends_as_failed() {
    let (endpoint, peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.account.domain = "no-such-host.invalid".into();
    assert_eq!(Caller::new(endpoint.call(order)).end().await.status, CallStatus::Failed);
    let mut order = peer.order();
    order.callee = "a\r\nX: y".into();
    assert_eq!(Caller::new(endpoint.call(order)).end().await.status, CallStatus::Failed);
}

#[tokio::test]
async fn shutdown_hangs_up() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut call, &[]).await;
    let (_, ()) = tokio::join!(
        async {
            let bye = peer.expect("BYE").await;
            peer.reply(&bye, "200 OK", &[], "").await;
            call.end().await
        },
        endpoint.shutdown()
    );
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let endpoint = endpoint().await;
    let port = endpoint.local_addr().port();
    let error =
        SipEndpoint::bind(sipcast_control::sip_endpoint::SipOptions { port, ..options() }).await.err();
    let text = error.expect("taken").to_string();
    assert!(text.contains("127.0.0.1") && text.contains(&port.to_string()), "{text}");
}

#[tokio::test]
async fn an_answer_with_an_unreadable_contact_is_acknowledged_where_it_came_from() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "200 OK", &["Contact: <sip:["], &answer(&invite.body, "sendrecv")).await;
    peer.expect("ACK").await;
    call.until_established().await;
    call.handle.control.hang_up();
    assert_eq!(peer.expect("BYE").await.uri(), format!("sip:{}", peer.address()));
}
