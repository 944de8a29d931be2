//! Calls over TLS: who is trusted, who is not, and that the operator is told what to change.

mod peer;

use std::time::{Duration, Instant};

use peer::authority::{Authority, Demands};
use peer::{Caller, LOCALHOST, Peer, options};
use sipcast_control::sip_endpoint::{SipEndpoint, SipOptions, TlsOptions, TlsRoots, TlsVersion};
use sipcast_sip::{Account, CallEnd, CallOrder, CallStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn endpoint(tls: TlsOptions) -> SipEndpoint {
    SipEndpoint::bind(SipOptions { tls: TlsOptions { port: 0, ..tls }, ..options() })
        .await
        .expect("a free port")
}

fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions { roots: authority.roots(), ..TlsOptions::default() }
}

/// The end of a call that TLS prevents.
async fn prevented(tls: TlsOptions, mut peer: Peer) -> CallEnd {
    let endpoint = endpoint(tls).await;
    let order = peer.order();
    let mut call = Caller::new(endpoint.call(order));
    tokio::select! {
        end = call.end() => {
            assert_eq!((end.status, end.sip_status), (CallStatus::Failed, 503), "{}", end.reason);
            end
        }
        message = async { tokio::spawn(async move { peer.receive().await }).await.ok() } => match message {
            Some(message) => panic!("nothing may be sent: {message:?}"),
            // The peer's end of the handshake failed, too.
            None => call.end().await,
        },
    }
}

#[tokio::test]
async fn a_call_over_tls_keeps_its_connection() {
    let authority = Authority::new();
    let endpoint = endpoint(trusting(&authority)).await;
    let issued = authority.issue(&["127.0.0.1"]);
    let mut peer = Peer::tls(authority.acceptor(&issued, Demands::default())).await;
    let mut call = Caller::new(endpoint.call(peer.order()));
    let invite = peer.establish(&mut call, &[]).await;
    assert!(invite.header("Via").starts_with("SIP/2.0/TLS 127.0.0.1:"), "{}", invite.header("Via"));
    assert!(invite.header("Via").contains(";alias"), "{}", invite.header("Via"));
    assert!(invite.uri().ends_with(";transport=tls"), "{}", invite.uri());
    assert!(invite.contact().ends_with(";transport=tls"), "{}", invite.contact());
    // RFC 5923: requests of the peer's come back over the connection that we opened.
    peer.request("OPTIONS", &[], "").await;
    assert_eq!(peer.expect_response("OPTIONS").await.status(), 200);
    let mut second = Caller::new(endpoint.call(peer.order()));
    peer.establish(&mut second, &[]).await;
    call.handle.control.hang_up();
    let bye = peer.expect("BYE").await;
    peer.reply(&bye, "200 OK", &[], "").await;
    assert_eq!(call.end().await.status, CallStatus::Finish);
}

#[tokio::test]
async fn a_sips_callee_is_called_over_tls_with_sips_addresses() {
    let authority = Authority::new();
    let endpoint = endpoint(trusting(&authority)).await;
    let issued = authority.issue(&["127.0.0.1"]);
    let mut peer = Peer::tls(authority.acceptor(&issued, Demands::default())).await;
    let account = Account { transport: None, ..peer.account() };
    let order = CallOrder { account, callee: format!("sips:8801@{}", peer.address()), ..peer.order() };
    let _call = endpoint.call(order);
    let invite = peer.expect("INVITE").await;
    assert_eq!(invite.uri(), format!("sips:8801@{}", peer.address()));
    assert!(invite.contact().starts_with("sips:caster@127.0.0.1:"), "{}", invite.contact());
    assert!(invite.header("Via").starts_with("SIP/2.0/TLS "));
}

#[tokio::test]
async fn a_name_in_the_certificate_is_what_counts() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let mut peer = Peer::tls(authority.acceptor(&issued, Demands::default())).await;
    let trusting = trusting(&authority);
    let endpoint = endpoint(trusting.clone()).await;
    let account = Account { domain: "localhost".into(), ..peer.account() };
    let _call = endpoint.call(CallOrder { account, ..peer.order() });
    assert_eq!(
        peer.expect("INVITE").await.uri(),
        format!("sip:8801@localhost:{};transport=tls", peer.address().port())
    );

    let peer = Peer::tls(authority.acceptor(&issued, Demands::default())).await;
    let end = prevented(trusting.clone(), peer).await;
    assert!(end.reason.contains("is not for 127.0.0.1"), "{}", end.reason);

    let mut peer = Peer::tls(authority.acceptor(&issued, Demands::default())).await;
    let named = TlsOptions { server_name: Some("localhost".into()), ..trusting };
    let endpoint = self::endpoint(named).await;
    let _call = endpoint.call(peer.order());
    peer.expect("INVITE").await;
}

#[tokio::test]
async fn who_is_not_trusted_gets_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let issued = stranger.issue(&["127.0.0.1"]);
    let peer = Peer::tls(stranger.acceptor(&issued, Demands::default())).await;
    let end = prevented(trusting(&authority), peer).await;
    assert!(end.reason.contains("unknown issuer") && end.reason.contains("sip.tls_roots"), "{}", end.reason);

    let expired = authority.issue_expired(&["127.0.0.1"]);
    let peer = Peer::tls(authority.acceptor(&expired, Demands::default())).await;
    let end = prevented(trusting(&authority), peer).await;
    assert!(end.reason.contains("has expired"), "{}", end.reason);

    // Unless the operator wants it so.
    let mut peer = Peer::tls(stranger.acceptor(&issued, Demands::default())).await;
    let endpoint = endpoint(TlsOptions { roots: TlsRoots::Unverified, ..TlsOptions::default() }).await;
    let _call = endpoint.call(peer.order());
    peer.expect("INVITE").await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_demanded() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let demands = Demands { client_certificate: true, only_tls_1_2: true };
    let peer = Peer::tls(authority.acceptor(&issued, demands)).await;
    let end = prevented(trusting(&authority), peer).await;
    assert!(end.reason.contains("sip.tls_client_certificate"), "{}", end.reason);

    for only_tls_1_2 in [true, false] {
        let mut peer = Peer::tls(authority.acceptor(&issued, Demands { only_tls_1_2, ..demands })).await;
        let identity = authority.issue(&["caster.example"]).identity();
        let endpoint = endpoint(TlsOptions { client_identity: Some(identity), ..trusting(&authority) }).await;
        let _call = endpoint.call(peer.order());
        peer.expect("INVITE").await;
    }
}

#[tokio::test]
async fn tls_1_2_is_spoken_unless_it_is_ruled_out() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let demands = Demands { only_tls_1_2: true, ..Demands::default() };
    let mut peer = Peer::tls(authority.acceptor(&issued, demands)).await;
    let endpoint = endpoint(trusting(&authority)).await;
    let _call = endpoint.call(peer.order());
    peer.expect("INVITE").await;

    let peer = Peer::tls(authority.acceptor(&issued, demands)).await;
    let end = prevented(TlsOptions { version_min: TlsVersion::V1_3, ..trusting(&authority) }, peer).await;
    assert!(end.reason.contains("sip.tls_version_min"), "{}", end.reason);
}

#[tokio::test]
async fn a_handshake_that_hangs_is_given_up() {
    let authority = Authority::new();
    // Accepts in the kernel and never says a word.
    let silent = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.expect("a free port");
    let peer = Peer::tls(authority.acceptor(&authority.issue(&["127.0.0.1"]), Demands::default())).await;
    let handshake_max = Duration::from_millis(300);
    let endpoint = endpoint(TlsOptions { handshake_max, ..trusting(&authority) }).await;
    let port = silent.local_addr().expect("bound").port();
    let account = Account { port, ..peer.account() };
    let begun = Instant::now();
    let end = Caller::new(endpoint.call(CallOrder { account, ..peer.order() })).end().await;
    assert!(end.reason.contains("did not finish the TLS handshake"), "{}", end.reason);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_peer_without_tls_is_named_as_such() {
    let authority = Authority::new();
    let plain = tokio::net::TcpListener::bind((LOCALHOST, 0)).await.expect("a free port");
    let port = plain.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut stream = plain.accept().await.expect("accepts").0;
        stream.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n").await.expect("writes");
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let peer = Peer::tls(authority.acceptor(&authority.issue(&["127.0.0.1"]), Demands::default())).await;
    let endpoint = endpoint(trusting(&authority)).await;
    let account = Account { port, ..peer.account() };
    let end = Caller::new(endpoint.call(CallOrder { account, ..peer.order() })).end().await;
    assert!(end.reason.contains("does not speak TLS at this port"), "{}", end.reason);
}

#[tokio::test]
async fn peers_connect_to_us_over_tls_when_there_is_a_certificate() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]).identity();
    let tls = TlsOptions {
        server_identity: Some(identity),
        client_roots: Some(authority.client_roots()),
        handshake_max: Duration::from_millis(500),
        ..trusting(&authority)
    };
    let endpoint = endpoint(tls).await;
    let ours = (LOCALHOST, endpoint.tls_port().expect("listens"));
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("an address");
    let request = "OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKt1\r\nFrom: <sip:a@b>;tag=1\r\n\
                   To: <sip:x@y>\r\nCall-ID: tls-1\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let guest = authority.issue(&["guest.example"]);
    let stream = TcpStream::connect(ours).await.expect("listens");
    let mut stream =
        authority.connector(Some(&guest)).connect(name.clone(), stream).await.expect("a handshake");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut chunk = [0; 4096];
    let length = stream.read(&mut chunk).await.expect("reads");
    assert!(chunk[..length].starts_with(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS "));

    // Without a certificate: nothing, and who says nothing is not waited for.
    let stream = TcpStream::connect(ours).await.expect("listens");
    if let Ok(mut stream) = authority.connector(None).connect(name, stream).await {
        let _ = stream.write_all(request.as_bytes()).await;
        assert!(!matches!(stream.read(&mut chunk).await, Ok(1..)));
    }
    let mut silent = TcpStream::connect(ours).await.expect("listens");
    let end = tokio::time::timeout(Duration::from_secs(3), silent.read(&mut chunk)).await.expect("closes");
    assert!(!matches!(end, Ok(1..)));
}

#[tokio::test]
async fn whom_peers_certificates_must_be_of_can_be_replaced() {
    let (ours, former, latter) = (Authority::new(), Authority::new(), Authority::new());
    let roots = former.client_roots();
    let tls = TlsOptions {
        server_identity: Some(ours.issue(&["127.0.0.1"]).identity()),
        client_roots: Some(roots.clone()),
        ..trusting(&ours)
    };
    let endpoint = endpoint(tls).await;
    let address = (LOCALHOST, endpoint.tls_port().expect("listens"));
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("an address");
    let is_heard = async |guest: &Authority| {
        let stream = TcpStream::connect(address).await.expect("listens");
        let issued = guest.issue(&["guest.example"]);
        let Ok(mut stream) = ours.connector(Some(&issued)).connect(name.clone(), stream).await else {
            return false;
        };
        let _ = stream.write_all(b"\r\n\r\n").await;
        matches!(stream.read(&mut [0; 64]).await, Ok(1..))
    };
    assert_eq!((is_heard(&former).await, is_heard(&latter).await), (true, false));
    std::fs::copy(latter.client_roots(), &roots).expect("writable");
    for files in endpoint.tls_files() {
        files.reload().expect("sound");
    }
    assert_eq!((is_heard(&former).await, is_heard(&latter).await), (false, true));
    // What cannot be read changes nothing.
    std::fs::write(&roots, "no PEM").expect("writable");
    assert!(endpoint.tls_files().iter().any(|files| files.reload().is_err()));
    assert!(is_heard(&latter).await);
}
