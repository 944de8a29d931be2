//! Challenges to calls and registrations: 401 and 407, MD5 and SHA-256, stale nonces, wrong passwords.

mod peer;

use std::time::Duration;

use peer::{Caller, Message, Peer, TAG, endpoint, options};
use sipcast_contract::Secret;
use sipcast_control::EventKind;
use sipcast_control::events::Subscription;
use sipcast_control::sip_endpoint::{SipEndpoint, SipOptions};
use sipcast_sip::digest::{Expected, verify};
use sipcast_sip::{CallEvent, CallStatus};

fn check(request: &Message, header: &str, nonce: &str) {
    let password = Secret::new("s3cret".to_owned());
    let expected = Expected {
        method: request.method(),
        body: request.body.as_bytes(),
        username: "caster-auth",
        realm: "pbx",
        nonce,
        password: &password,
    };
    let verified = verify(request.header(header), &expected).expect("right credentials");
    assert_eq!(verified.uri, request.uri(), "for the Request-URI as it is on the wire");
}

/// MD5 by hand, so that the digest is not only checked by its own crate.
#[tokio::test]
async fn the_response_is_the_one_of_rfc_2617() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let _call = endpoint.call(peer.order());
    let invite = peer.expect("INVITE").await;
    peer.reply(&invite, "401 Unauthorized", &["WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\""], "")
        .await;
    let again = peer.expect("INVITE").await;
    let digest = rsip::services::DigestGenerator {
        username: "caster-auth",
        password: "s3cret",
        algorithm: rsip::headers::auth::Algorithm::Md5,
        nonce: "n1",
        method: &rsip::Method::Invite,
        qop: None,
        uri: &rsip::Uri::try_from(again.uri()).expect("a URI"),
        realm: "pbx",
    };
    assert_eq!(again.digest("Authorization", "response"), digest.compute());
}

#[tokio::test]
async fn a_server_and_a_proxy_ask_in_turn() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let first = peer.expect("INVITE").await;
    let proxy =
        "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"p1\", qop=\"auth,auth-int\", algorithm=MD5";
    peer.reply(&first, "407 Proxy Authentication Required", &[proxy], "").await;
    let second = peer.expect("INVITE").await;
    check(&second, "Proxy-Authorization", "p1");
    assert_eq!(second.digest("Proxy-Authorization", "nc"), "00000001");
    assert_eq!(second.sequence(), first.sequence() + 1);
    assert_eq!(second.header("Call-ID"), first.header("Call-ID"));
    assert_eq!(second.header("From"), first.header("From"));
    let both = [
        "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"s1\", qop=\"auth\", algorithm=MD5",
        "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"s2\", qop=\"auth\", algorithm=SHA-256",
    ];
    peer.reply(&second, "401 Unauthorized", &both, "").await;
    let third = peer.expect("INVITE").await;
    check(&third, "Proxy-Authorization", "p1");
    check(&third, "Authorization", "s2");
    assert_eq!(third.digest("Authorization", "algorithm"), "SHA-256");
    let stale =
        ["WWW-Authenticate: Digest realm=\"pbx\", nonce=\"s3\", qop=\"auth\", algorithm=SHA-256, stale=true"];
    peer.reply(&third, "401 Unauthorized", &stale, "").await;
    let fourth = peer.expect("INVITE").await;
    check(&fourth, "Authorization", "s3");
    peer.reply(&fourth, "200 OK", &[], &peer::answer(&fourth.body, "sendrecv")).await;
    peer.expect("ACK").await;
    call.until_established().await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    check(&bye, "Authorization", "s3");
    peer.reply(&bye, "401 Unauthorized", &[&stale[0].replace("s3", "s4")], "").await;
    check(&peer.expect("BYE").await, "Authorization", "s4");
}

#[tokio::test]
async fn a_wrong_password_ends_the_call_after_few_attempts() {
    let (endpoint, mut peer) = (endpoint().await, Peer::udp().await);
    let mut call = Caller::new(endpoint.call(peer.order()));
    let challenged = async {
        for attempt in 0.. {
            let Ok(invite) =
                tokio::time::timeout(std::time::Duration::from_secs(1), peer.expect("INVITE")).await
            else {
                return attempt;
            };
            let challenge =
                format!("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n{attempt}\", qop=\"auth\"");
            peer.reply(&invite, "401 Unauthorized", &[&challenge], "").await;
        }
        unreachable!()
    };
    let (attempts, end) = tokio::join!(challenged, call.end());
    assert!((2..=4).contains(&attempts), "{attempts}");
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 401));
    assert!(!end.reason.contains("s3cret"));
}

#[tokio::test]
async fn an_account_is_registered_refreshed_shared_and_unregistered() {
    let options = SipOptions { register_expires_s: 3600, ..options() };
    let mut events = options.events.subscribe();
    let endpoint = SipEndpoint::bind(options).await.expect("binds");
    let mut peer = Peer::udp().await;
    let mut order = peer.order();
    order.account.register = true;
    let mut first = Caller::new(endpoint.call(order.clone()));
    let register = peer.expect("REGISTER").await;
    assert_eq!(register.uri(), format!("sip:{}", peer.address()));
    assert_eq!(register.header("Expires"), "3600");
    peer.reply(
        &register,
        "401 Unauthorized",
        &["WWW-Authenticate: Digest realm=\"pbx\", nonce=\"r1\", qop=\"auth\""],
        "",
    )
    .await;
    let register = peer.expect("REGISTER").await;
    check(&register, "Authorization", "r1");
    peer.reply(&register, "423 Interval Too Brief", &["Min-Expires: 7200"], "").await;
    let register = peer.expect("REGISTER").await;
    assert_eq!(register.header("Expires"), "7200");
    // Granted so briefly that the refresh comes within the test.
    let contact = format!("Contact: {};expires=8", register.header("Contact"));
    peer.reply(&register, "200 OK", &[&contact], "").await;
    peer.establish(&mut first, &[]).await;
    assert!(matches!(first.past[0], CallEvent::Progress { status: CallStatus::Pending, .. }));
    // The second call uses the same registration.
    let mut second = Caller::new(endpoint.call(order));
    peer.establish(&mut second, &[]).await;
    let refresh = peer.expect("REGISTER").await;
    assert_eq!(refresh.header("Call-ID"), register.header("Call-ID"));
    assert!(refresh.sequence() > register.sequence());
    peer.reply(&refresh, "200 OK", &["Expires: 3600"], "").await;
    first.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    first.end().await;
    second.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    second.end().await;
    let last = peer.expect("REGISTER").await;
    assert_eq!(last.header("Expires"), "0");
    peer.reply(&last, "200 OK", &[], "").await;
    for (state, sip_status, is_bound) in [
        ("registering", 0, false),
        ("registered", 200, true),
        ("registered", 200, true),
        ("unregistered", 200, false),
    ] {
        let told = registration(&mut events).await;
        assert_eq!((told.0, told.1, told.2.is_some()), (state, sip_status, is_bound));
    }
    let _ = TAG;
}

#[tokio::test]
async fn a_refused_registration_ends_the_call_undialled() {
    let options = options();
    let mut events = options.events.subscribe();
    let (endpoint, mut peer) = (SipEndpoint::bind(options).await.expect("a free port"), Peer::udp().await);
    let mut order = peer.order();
    order.account.register = true;
    let mut call = Caller::new(endpoint.call(order));
    let register = peer.expect("REGISTER").await;
    peer.reply(&register, "403 Forbidden", &[], "").await;
    let end = call.end().await;
    assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 403));
    assert!(end.reason.contains("registration"), "{}", end.reason);
    assert_eq!(registration(&mut events).await, ("registering", 0, None));
    assert_eq!(registration(&mut events).await, ("failed", 403, None));
}

/// The next event: state of the registration, status, seconds granted.
async fn registration(events: &mut Subscription) -> (&'static str, u16, Option<u32>) {
    let event = tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("in time");
    match event.expect("none is missed").kind.clone() {
        EventKind::Registration { account, state, sip_status, expires_s } => {
            assert!(account.starts_with("caster@"), "{account}");
            (state, sip_status, expires_s)
        }
        other => panic!("{other:?}"),
    }
}
