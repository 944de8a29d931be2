//! RTMPS: what TLS adds to a second of a call for each target (`sipcast_dataplane::tls`): gathering a vectored send into
//! records and encrypting them. Plain RTMP does nothing in this place: its segments go to the kernel as they lie.
//! A further target costs the same again, as each has keys of its own.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::Throughput;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, SupportedCipherSuite};
use sipcast_contract::TlsTrust;
use sipcast_dataplane::TlsRoots;
use sipcast_dataplane::tls::{SEALED_LEN_MAX, Session, TlsClient};
use support::Stage;

/// A picture of 5,000 bytes, as the chunker lays it out: headers in between, slices of datagrams.
const PICTURE: [usize; 10] = [18, 1190, 1, 1190, 4, 1190, 1, 1190, 4, 240];
/// A frame of AAC of 64 kbit/s.
const AUDIO_FRAME: [usize; 2] = [14, 170];
const PICTURES: usize = 25;
const AUDIO_FRAMES: usize = 47;

fn main() {
    let mut stage = Stage::new("rtmps");
    for suite in rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES {
        // The server's key is of an elliptic curve.
        let name = suite.suite().as_str().unwrap_or("?");
        if name.contains("RSA") {
            continue;
        }
        let mut session = open_session(*suite);
        let bytes = vec![7; 2048];
        let mut out = Vec::with_capacity(SEALED_LEN_MAX);
        let mut send = |pieces: &[usize]| {
            out.clear();
            session.seal(pieces.iter().map(|&len| &bytes[..len]), &mut out).expect("keys that last");
            black_box(&out);
        };
        let second =
            PICTURES * PICTURE.iter().sum::<usize>() + AUDIO_FRAMES * AUDIO_FRAME.iter().sum::<usize>();
        stage.bench(name, Throughput::Bytes(second as u64), || {
            (0..PICTURES).for_each(|_| send(&PICTURE));
            (0..AUDIO_FRAMES).for_each(|_| send(&AUDIO_FRAME));
        });
    }
    stage.finish();
}

/// A session after its handshake with a server that knows this suite only.
fn open_session(suite: SupportedCipherSuite) -> Session {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("random bytes");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .expect("a suite for it")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("a key that fits");
    let mut server = ServerConnection::new(Arc::new(config)).expect("valid settings");
    let client = TlsClient::new(&TlsRoots::none());
    let mut session = Session::new(client.settings(TlsTrust::AcceptAny), "localhost").expect("a host name");
    loop {
        let mut bytes = Vec::new();
        session.take_outgoing(&mut bytes);
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).expect("a slice gives everything");
            server.process_new_packets().expect("valid");
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).expect("a Vec takes everything");
        }
        if answer.is_empty() {
            assert!(session.is_open());
            return session;
        }
        session.handle_input(&answer, &mut Vec::new()).expect("valid");
    }
}
