//! What is shown of a call's messages and of registrations: all of it, and no secret.

mod peer;

use std::time::Duration;

use peer::{Caller, Peer, answer, endpoint};
use sipcast_contract::{Secret, dtmf};
use sipcast_control::sip_endpoint::{CallControl, LadderDirection, SipEndpoint};

/// Waits until `registrations()` says so.
async fn registration_when(
    endpoint: &SipEndpoint,
    state: &str,
) -> sipcast_control::sip_endpoint::RegistrationView {
    let wait = async {
        loop {
            if let Some(view) = endpoint.registrations().into_iter().find(|view| view.state.as_str() == state)
            {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), wait).await.expect("in time")
}

#[tokio::test]
async fn a_ladder_has_every_message_and_no_secret() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.account.register = true;
    order.callee = format!("778899.{}@{}", "665544", peer.address());
    order.preferences.secrets = vec![Secret::new("665544".to_owned())];
    let mut call = Caller::new(endpoint.call(order));
    let register = peer.expect("REGISTER").await;
    assert_eq!(registration_when(&endpoint, "registering").await.calls, 1);
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\"";
    peer.reply(&register, "401 Unauthorized", &[challenge], "").await;
    let register = peer.expect("REGISTER").await;
    peer.reply(&register, "200 OK", &[&format!("Contact: <{}>;expires=300", register.contact())], "").await;
    let invite = peer.expect("INVITE").await;
    assert!(invite.uri().contains("778899.665544@"));
    let view = registration_when(&endpoint, "registered").await;
    assert_eq!(view.account, format!("sip:caster@{}", peer.address().ip()));
    assert_eq!((view.last_status, view.calls, view.reason.as_deref()), (200, 1, None));
    assert!(view.expires_in_s.is_some_and(|seconds| (290..=300).contains(&seconds)), "{view:?}");
    // Not answered at once: it is repeated.
    loop {
        let again = peer.receive().await;
        if again.method() == "INVITE" {
            break;
        }
    }
    let keyed =
        answer(&invite.body, "sendrecv") + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:VERYSECRETKEY\r\n";
    peer.reply(&invite, "200 OK", &[], &keyed).await;
    peer.expect("ACK").await;
    call.until_established().await;
    assert!(call.handle.control.send_dtmf_info(dtmf::parse("5").expect("a digit")));
    let info = peer.expect("INFO").await;
    peer.reply(&info, "200 OK", &[], "").await;
    let control = call.handle.control.clone();
    until_last(&control, "SIP/2.0 200 OK").await;
    control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 no more 665544", &[], "").await;
    call.end().await;
    until_last(&control, "SIP/2.0 200 no").await;
    let ladder = control.ladder();
    let story: Vec<_> = ladder
        .entries
        .iter()
        .map(|e| {
            let word = e.start_line.split(' ').find(|word| *word != "SIP/2.0").unwrap_or("");
            let way = if e.direction == LadderDirection::Out { ">" } else { "<" };
            format!("{way}{word}{}", if e.is_repetition { " again" } else { "" })
        })
        .collect();
    let wanted = [
        ">REGISTER",
        "<401",
        ">REGISTER",
        "<200",
        ">INVITE",
        ">INVITE again",
        "<200",
        ">ACK",
        ">INFO",
        "<200",
        ">BYE",
        "<200",
    ];
    // How often the INVITE is repeated is a question of time.
    let mut heard = story.clone();
    heard.dedup();
    assert_eq!(heard, wanted, "{story:?}");
    assert!(ladder.entries.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
    let shown = format!("{ladder:?}");
    for secret in ["665544", "s3cret", "VERYSECRETKEY", "Signal=5"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert!(shown.contains("778899.***@") && shown.contains("username=\\\"caster-auth\\\""), "{shown}");
    assert_eq!(ladder.entries[0].transport, "UDP");
    assert_eq!(ladder.entries[0].peer, peer.address().to_string());
}

/// Waits until the latest message of the ladder begins with `start`.
async fn until_last(control: &CallControl, start: &str) {
    let settled = async {
        while !control.ladder().entries.last().is_some_and(|entry| entry.start_line.starts_with(start)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), settled).await.unwrap_or_else(|_| panic!("no {start}"));
}

#[tokio::test]
async fn a_refused_registration_stays_visible() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut order = peer.order();
    order.account.register = true;
    let mut call = Caller::new(endpoint.call(order));
    let register = peer.expect("REGISTER").await;
    peer.reply(&register, "403 Not Here", &[], "").await;
    call.end().await;
    let view = registration_when(&endpoint, "failed").await;
    assert_eq!(
        (view.last_status, view.expires_in_s, view.reason.as_deref()),
        (403, None, Some("Not Here")),
        "{view:?}"
    );
    assert!(!format!("{view:?}").contains("s3cret"));
}
