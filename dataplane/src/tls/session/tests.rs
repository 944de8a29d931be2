use std::io::{Read, Write};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, SupportedProtocolVersion};
use sipcast_contract::TlsTrust;

use super::*;
use crate::tls::{TlsClient, TlsRoots};

/// A certificate authority, with a file that clients take it from.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    client: TlsClient,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random bytes");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("a key that can sign");
        let path = std::env::temp_dir().join(format!("sipcast-{name}-{}.pem", std::process::id()));
        std::fs::write(&path, issuer.pem()).expect("a writable temporary directory");
        let roots = TlsRoots::load(Some(&path)).expect("just written");
        std::fs::remove_file(&path).expect("just written");
        Self { issuer, client: TlsClient::new(&roots) }
    }

    fn server(
        &self,
        name: &str,
        year: i32,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("random bytes");
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a key that can sign");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("suites for it")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a key that fits");
        Arc::new(config)
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A session and the server it talks to.
struct Pair {
    session: Session,
    server: ServerConnection,
    plain: Vec<u8>,
}

impl Pair {
    fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Self {
        let session = Session::new(client, "rtmp.example").expect("a host name");
        let server = ServerConnection::new(server.clone()).expect("valid settings");
        Self { session, server, plain: Vec::new() }
    }

    /// A handshake that is done.
    fn open(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Self {
        let mut pair = Self::new(client, server);
        pair.exchange().expect("a handshake");
        assert!(pair.session.is_open() && !pair.server.is_handshaking());
        pair
    }

    /// Carries bytes to and fro until nobody has more.
    fn exchange(&mut self) -> Result<Heard, TargetFault> {
        let mut all = Heard::default();
        loop {
            let mut bytes = Vec::new();
            self.session.take_outgoing(&mut bytes);
            self.give_server(&bytes);
            let mut answer = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut answer).expect("a Vec takes everything");
            }
            if answer.is_empty() {
                return Ok(all);
            }
            // In pieces of no use, as TCP may cut them.
            for piece in answer.chunks(7) {
                let heard = self.session.handle_input(piece, &mut self.plain)?;
                all.opened |= heard.opened;
                all.closed |= heard.closed;
            }
        }
    }

    fn give_server(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.server.read_tls(&mut bytes).expect("a slice gives everything");
            let _ = self.server.process_new_packets();
        }
    }

    /// What the server decrypts of these pieces.
    fn send(&mut self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.seal(pieces.iter().copied(), &mut out).expect("open");
        let mut got = Vec::new();
        // The server's buffer of decrypted bytes has an end.
        for part in out.chunks(4096) {
            self.give_server(part);
            let mut part = vec![0; 1 << 16];
            if let Ok(len) = self.server.reader().read(&mut part) {
                got.extend_from_slice(&part[..len]);
            }
        }
        got
    }
}

#[test]
fn data_goes_both_ways_in_each_version_and_suite() {
    let authority = Authority::new("both-ways");
    for suite in aws_lc_rs::ALL_CIPHER_SUITES {
        if suite.suite().as_str().is_some_and(|name| name.contains("RSA")) {
            continue; // The certificate's key is none.
        }
        let version = suite.version();
        let mut server = (*authority.server("rtmp.example", 4000, &[version])).clone_with(*suite);
        server.max_fragment_size = Some(4000);
        let mut pair = Pair::open(authority.client.settings(TlsTrust::Verify), &Arc::new(server));
        let long: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
        let sent: [&[u8]; 5] = [b"head", &long[..3], b"", &long, b"tail"];
        assert_eq!(pair.send(&sent), sent.concat(), "{suite:?}");
        pair.server.writer().write_all(&long[..50_000]).expect("room");
        pair.exchange().expect("valid");
        assert_eq!(pair.plain, &long[..50_000], "{suite:?}");
        pair.server.send_close_notify();
        assert!(pair.exchange().expect("valid").closed);
        let mut farewell = Vec::new();
        pair.session.close(&mut farewell);
        pair.give_server(&farewell);
        assert_eq!(pair.server.reader().read(&mut [0]).ok(), Some(0), "close_notify came: {suite:?}");
    }
}

trait CloneWith {
    fn clone_with(&self, suite: rustls::SupportedCipherSuite) -> ServerConfig;
}

impl CloneWith for ServerConfig {
    /// The same with one suite only.
    fn clone_with(&self, suite: rustls::SupportedCipherSuite) -> ServerConfig {
        let mut provider = (**self.crypto_provider()).clone();
        provider.cipher_suites = vec![suite];
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[suite.version()])
            .expect("a suite for it")
            .with_no_client_auth()
            .with_cert_resolver(self.cert_resolver.clone());
        config.session_storage = self.session_storage.clone();
        config
    }
}

#[test]
fn a_second_connection_resumes_the_first() {
    let authority = Authority::new("resumption");
    for version in BOTH {
        let server = authority.server("rtmp.example", 4000, &[version]);
        let client = authority.client.settings(TlsTrust::Verify);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut pair = Pair::open(client, &server);
            assert_eq!(pair.server.handshake_kind(), Some(expected), "{version:?}");
            assert_eq!(pair.send(&[b"x"]), b"x");
        }
        // A ticket of a server that was checked is none for one that need not be, and the other way round.
        let unchecked = Pair::open(authority.client.settings(TlsTrust::AcceptAny), &server);
        assert_eq!(unchecked.server.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
    }
}

#[test]
fn certificates_that_do_not_hold_are_named() {
    let authority = Authority::new("trust");
    let stranger = Authority::new("stranger");
    let verify = authority.client.settings(TlsTrust::Verify);
    for (server, fault) in [
        (stranger.server("rtmp.example", 4000, &BOTH), TargetFault::CertificateRefused),
        (authority.server("else.example", 4000, &BOTH), TargetFault::CertificateForAnotherHost),
        (authority.server("rtmp.example", 2001, &BOTH), TargetFault::CertificateExpired),
    ] {
        let mut pair = Pair::new(verify, &server);
        assert_eq!(pair.exchange(), Err(fault));
        let mut alert = Vec::new();
        pair.session.close(&mut alert);
        assert!(!alert.is_empty(), "the server is told");
        let mut bytes = &alert[..];
        pair.server.read_tls(&mut bytes).expect("a slice gives everything");
        assert!(matches!(pair.server.process_new_packets(), Err(Error::AlertReceived(_))), "{fault:?}");
        Pair::open(authority.client.settings(TlsTrust::AcceptAny), &server);
    }
}

#[test]
fn keys_are_updated_by_either_side() {
    let authority = Authority::new("update");
    let server = authority.server("rtmp.example", 4000, &[&rustls::version::TLS13]);
    let mut pair = Pair::open(authority.client.settings(TlsTrust::Verify), &server);
    for round in 0..3u8 {
        pair.server.refresh_traffic_keys().expect("TLS 1.3");
        pair.server.writer().write_all(&[round]).expect("room");
        pair.exchange().expect("valid");
        assert_eq!(pair.plain.pop(), Some(round));
        assert_eq!(pair.send(&[&[round]]), [round]);
        let State::Open(open) = &mut pair.session.state else { panic!("open") };
        open.update_tx(&mut pair.session.outgoing).expect("TLS 1.3");
        assert_eq!(pair.send(&[b"after"]), b"after");
    }
}

#[test]
fn what_is_no_tls_is_told_at_once() {
    let authority = Authority::new("no-tls");
    for first in [&[3u8, 0, 0, 0][..], b"HTTP/1.1 400 Bad Request"] {
        let mut session =
            Session::new(authority.client.settings(TlsTrust::Verify), "127.0.0.1").expect("an address");
        assert_eq!(session.handle_input(first, &mut Vec::new()), Err(TargetFault::NoTls));
    }
    // A server that wants no such client.
    let mut session = Session::new(authority.client.settings(TlsTrust::Verify), "h").expect("a host");
    assert_eq!(session.handle_input(&[21, 3, 3, 0, 2, 2, 40], &mut Vec::new()), Err(TargetFault::Tls));
}

#[test]
fn garbage_ends_the_session() {
    let authority = Authority::new("garbage");
    for version in BOTH {
        let server = authority.server("rtmp.example", 4000, &[version]);
        for garbage in [&[23, 3, 3, 0, 20][..], &[23, 3, 3, 0xff, 0xff], &[3; 40], &[20, 3, 3, 0, 1, 1]] {
            let mut pair = Pair::open(authority.client.settings(TlsTrust::Verify), &server);
            let mut bytes = garbage.to_vec();
            bytes.resize(64, 7);
            assert_eq!(pair.session.handle_input(&bytes, &mut Vec::new()), Err(TargetFault::Tls));
        }
        // Any byte of the handshake changed: an error or a handshake that is not done, never a panic.
        for at in (0..400).step_by(3) {
            let mut pair = Pair::new(authority.client.settings(TlsTrust::Verify), &server);
            let mut hello = Vec::new();
            pair.session.take_outgoing(&mut hello);
            pair.give_server(&hello);
            let mut answer = Vec::new();
            while pair.server.wants_write() {
                pair.server.write_tls(&mut answer).expect("a Vec takes everything");
            }
            if let Some(byte) = answer.get_mut(at) {
                *byte ^= 0x41;
            }
            let _ = pair.session.handle_input(&answer, &mut Vec::new());
        }
    }
}
