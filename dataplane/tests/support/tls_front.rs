//! A TLS server in front of an RTMP server: takes TLS off and carries bytes to and fro.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::KeyPair;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::LOCALHOST;

/// Listens until the process ends; gives its address. The certificate is self-signed, for `localhost`.
pub fn tls_front(server: SocketAddr, version: &'static SupportedProtocolVersion) -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("random bytes");
    let key: &KeyPair = &signed.signing_key;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("suites for it")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("a key that fits");
    let config = Arc::new(config);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (config, server) = (config.clone(), TcpStream::connect(server));
            thread::spawn(move || relay(client, server.expect("the RTMP server"), config));
        }
    });
    address
}

fn relay(mut client: TcpStream, mut server: TcpStream, config: Arc<ServerConfig>) {
    let mut tls = ServerConnection::new(config).expect("valid settings");
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("not zero");
    }
    let mut bytes = vec![0; 1 << 16];
    loop {
        while tls.wants_write() {
            if tls.write_tls(&mut client).is_err() {
                return;
            }
        }
        match tls.read_tls(&mut client) {
            Ok(0) => return,
            Ok(_) if tls.process_new_packets().is_err() => {
                let _ = tls.write_tls(&mut client);
                return;
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        while let Ok(len) = tls.reader().read(&mut bytes) {
            if len == 0 || server.write_all(&bytes[..len]).is_err() {
                return;
            }
        }
        match server.read(&mut bytes) {
            Ok(0) => return,
            Ok(len) => tls.writer().write_all(&bytes[..len]).expect("room"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
