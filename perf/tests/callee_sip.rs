//! How the callee behaves as a user agent server.

mod caller;

use std::time::Duration;

use caller::{Caller, receive_rtp};
use md5::{Digest, Md5};
use sipcast_perf::callee::{Callee, CalleeEvent, CalleeOptions, SipTransport};

async fn callee(options: CalleeOptions) -> Callee {
    Callee::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_udp_from_invite_to_bye() {
    let callee = callee(CalleeOptions::default()).await;
    let mut events = callee.events();
    let mut caller = Caller::udp(callee.local_addr()).await;
    let offer = caller.offer("", "1");
    let invite = caller.request("INVITE", "Content-Type: application/sdp\r\n", &offer);
    caller.send(&invite).await;
    for status in [100, 180, 200] {
        assert_eq!(caller.receive().await.status, status);
    }
    // A retransmitted INVITE gets the latest response again; so does a caller that keeps its ACK back.
    caller.send(&invite).await;
    let again = caller.receive().await;
    assert_eq!(again.status, 200);
    let repeated = caller.receive().await;
    assert_eq!(repeated.text, again.text);
    caller.remote_tag = again.header("To").split("tag=").nth(1).unwrap().to_owned();
    caller.acknowledge().await;
    assert!(matches!(events.recv().await.unwrap(), CalleeEvent::Answered { .. }));
    assert_eq!(caller.exchange("OPTIONS", "", "").await.status, 200);
    assert_eq!(callee.statistics().calls_active, 1);
    assert_eq!(caller.exchange("BYE", "", "").await.status, 200);
    assert_eq!(caller.exchange("BYE", "", "").await.status, 481);
    let statistics = callee.statistics();
    assert_eq!((statistics.calls_answered, statistics.byes_received, statistics.calls_active), (1, 1, 0));
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tcp_in_pieces_and_a_bye_from_the_callee() {
    let callee = callee(CalleeOptions { transport: SipTransport::Tcp, ..CalleeOptions::default() }).await;
    let mut events = callee.events();
    let mut caller = Caller::tcp(callee.local_addr()).await;
    let offer = caller.offer("", "1");
    let invite = caller.request("INVITE", "Content-Type: application/sdp\r\n", &offer);
    caller.send("\r\n\r\n").await;
    for piece in invite.as_bytes().chunks(97) {
        caller.send(std::str::from_utf8(piece).unwrap()).await;
    }
    let answer = caller.final_answer().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.header("Contact").contains("transport=tcp"));
    caller.remote_tag = answer.header("To").split("tag=").nth(1).unwrap().to_owned();
    caller.acknowledge().await;
    assert!(matches!(events.recv().await.unwrap(), CalleeEvent::Answered { .. }));
    receive_rtp(&caller.audio).await;

    let farewell = tokio::spawn(callee.shutdown());
    let bye = caller.receive().await;
    assert!(bye.text.starts_with("BYE sip:caller@"), "{}", bye.text);
    let copied: String = bye
        .text
        .lines()
        .filter(|line| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
        })
        .fold(String::new(), |text, line| text + line + "\r\n");
    caller.send(&format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n")).await;
    farewell.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_while_it_rings() {
    let callee =
        callee(CalleeOptions { answer_after: Duration::from_secs(60), ..CalleeOptions::default() }).await;
    let mut caller = Caller::udp(callee.local_addr()).await;
    let offer = caller.offer("", "1");
    let invite = caller.request("INVITE", "Content-Type: application/sdp\r\n", &offer);
    caller.send(&invite).await;
    assert_eq!(caller.receive().await.status, 100);
    assert_eq!(caller.receive().await.status, 180);
    let cancel = caller.request("CANCEL", "", "");
    caller.send(&cancel).await;
    let answers = [caller.final_answer().await, caller.final_answer().await];
    let statuses = answers.each_ref().map(|answer| (answer.status, answer.header("CSeq").to_owned()));
    assert_eq!(statuses, [(200, "1 CANCEL".to_owned()), (487, "1 INVITE".to_owned())]);
    let ack = caller.request("ACK", "", "");
    caller.send(&ack).await;
    assert_eq!(callee.statistics().calls_active, 0);
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for_and_checked() {
    let auth = Some(("alice".to_owned(), "secret".to_owned()));
    let options = CalleeOptions { auth, ..CalleeOptions::default() };
    assert!(!format!("{options:?}").contains("secret"));
    let callee = callee(options).await;
    let mut caller = Caller::udp(callee.local_addr()).await;
    let offer = caller.offer("", "1");
    let hash =
        |text: String| Md5::digest(text).iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let mut authorization = String::new();
    for (password, status) in [("wrong", 401), ("secret", 401), ("", 200)] {
        let headers = format!("{authorization}Content-Type: application/sdp\r\n");
        let answer = caller.exchange("INVITE", &headers, &offer).await;
        assert_eq!(answer.status, status);
        if status == 401 {
            let ack = caller.request("ACK", "", "");
            caller.send(&ack).await;
        }
        // The credentials for the next turn.
        let nonce = answer.header("WWW-Authenticate").split('"').nth(3).unwrap_or_default();
        let secret = hash(format!("alice:sipcast-callee:{password}"));
        let request = hash("INVITE:sip:callee@127.0.0.1".to_owned());
        let response = hash(format!("{secret}:{nonce}:00000001:c:auth:{request}"));
        authorization = format!(
            "Authorization: Digest username=\"alice\", realm=\"sipcast-callee\", nonce=\"{nonce}\", \
             uri=\"sip:callee@127.0.0.1\", response=\"{response}\", qop=auth, nc=00000001, cnonce=\"c\"\r\n"
        );
    }
    assert_eq!(callee.statistics().challenges, 2);
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_without_an_offer_gets_one() {
    let callee = callee(CalleeOptions::default()).await;
    let mut caller = Caller::udp(callee.local_addr()).await;
    let answer = caller.exchange("INVITE", "", "").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body().contains("H264/90000") && answer.body().contains("sprop-parameter-sets=Z0"),
        "{}",
        answer.text
    );
    caller.remote_tag = answer.header("To").split("tag=").nth(1).unwrap().to_owned();
    let own = caller.offer("", "1").replace(" 97", " 96").replace(":97", ":96");
    caller.branch += 1;
    let ack = caller.request("ACK", "Content-Type: application/sdp\r\n", &own);
    caller.send(&ack).await;
    receive_rtp(&caller.audio).await;
    assert_eq!(receive_rtp(&caller.video).await.payload_type, 96);
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_registrations() {
    let callee = callee(CalleeOptions { calls_max: 1, ..CalleeOptions::default() }).await;
    let mut caller = Caller::udp(callee.local_addr()).await;
    let vp8 = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    assert_eq!(caller.exchange("INVITE", "", vp8).await.status, 488);
    let ack = caller.request("ACK", "", "");
    caller.send(&ack).await;
    assert_eq!(caller.exchange("INVITE", "", "not sdp").await.status, 400);
    let ack = caller.request("ACK", "", "");
    caller.send(&ack).await;
    assert_eq!(caller.exchange("MESSAGE", "", "").await.status, 405);
    assert_eq!(caller.exchange("OPTIONS", "", "").await.status, 200);
    let registered = caller.exchange("REGISTER", "Expires: 600\r\n", "").await;
    assert_eq!((registered.status, registered.header("Expires")), (200, "600"));
    caller.call("", "1").await;

    let mut second = Caller::udp(callee.local_addr()).await;
    let offer = second.offer("", "1");
    assert_eq!(second.exchange("INVITE", "", &offer).await.status, 486);
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_timer_is_agreed_on_and_refreshed_by_update() {
    let callee = callee(CalleeOptions::default()).await;
    let mut caller = Caller::udp(callee.local_addr()).await;
    let offer = caller.offer("", "1");
    let headers = "Supported: timer\r\nSession-Expires: 120\r\nContent-Type: application/sdp\r\n";
    let answer = caller.exchange("INVITE", headers, &offer).await;
    assert_eq!(answer.header("Session-Expires"), "120;refresher=uac");
    assert_eq!(answer.header("Require"), "timer");
    caller.remote_tag = answer.header("To").split("tag=").nth(1).unwrap().to_owned();
    caller.acknowledge().await;
    let answer = caller.exchange("UPDATE", "Supported: timer\r\nSession-Expires: 120\r\n", "").await;
    assert_eq!(
        (answer.status, answer.header("Session-Expires"), answer.body()),
        (200, "120;refresher=uac", "")
    );
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_are_counted_and_the_next_call_goes_through() {
    let callee = callee(CalleeOptions::default()).await;
    let mut caller = Caller::udp(callee.local_addr()).await;
    let offer = caller.offer("", "1");
    let invite =
        caller.request("INVITE", "Content-Type: application/sdp\r\n", &offer).replace("INVITE", "OPTIONS");
    for len in (1..invite.len() - 1).step_by(7) {
        caller.send(&invite[..len]).await;
    }
    caller.send(&invite.replace("OPTIONS", "NONSENSE")).await;
    caller.send(&invite.replace("Via:", "Vla:")).await;
    caller.send(&invite.replace("CSeq: 1 OPTIONS", "CSeq: 99999999999 OPTIONS")).await;
    let mut other = Caller::udp(callee.local_addr()).await;
    other.call("", "1").await;
    receive_rtp(&other.audio).await;
    assert!(callee.statistics().sip_malformed > 10);
    callee.shutdown().await;

    let callee = Callee::start(CalleeOptions { transport: SipTransport::Tcp, ..CalleeOptions::default() })
        .await
        .unwrap();
    let mut hostile = Caller::tcp(callee.local_addr()).await;
    hostile.send("INVITE sip:x SIP/2.0\r\nContent-Length: 4000000000\r\n\r\n").await;
    let mut other = Caller::tcp(callee.local_addr()).await;
    other.call("", "1").await;
    drop(other);
    callee.shutdown().await;
}
