//! The HTTP server over real sockets: limits of connections and heads, HTTPS, keys of gRPC.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Version};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::bench::{Bench, options, within};
use crate::{ApiKeys, ControlOptions, FaceLimits, ServerTls};

const KEY: &str = "0123456789abcdef";

async fn serve(bench: &Bench, tls: Option<ServerTls>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let control = bench.control.clone();
    let router = control.router();
    tokio::spawn(async move { control.serve_http(listener, router, tls, std::future::pending()).await });
    address
}

fn with(limits: FaceLimits) -> Bench {
    Bench::with(ControlOptions { limits, ..options() }, None)
}

/// What the server says to these bytes until it closes.
async fn says(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    stream.write_all(bytes).await.expect("open");
    let mut text = Vec::new();
    // A reset is an end, too.
    let _ = within(stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn heads_are_limited_in_time_and_size() {
    let limits = FaceLimits { header_wait_max: Duration::from_millis(200), ..FaceLimits::default() };
    let address = serve(&with(limits), None).await;
    // Slowly or not at all: the server goes first.
    says(address, b"").await;
    says(address, b"GET /statistics HTTP/1.1\r\nHost: x\r\nX-Slow:").await;
    let answer = says(address, b"GET /statistics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let many: String = (0..65).map(|n| format!("X-{n}: 1\r\n")).collect();
    let answer = says(address, format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = "x".repeat(20_000);
    let answer =
        says(address, format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n").as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_peer_has_so_many_connections_and_no_more() {
    let bench = with(FaceLimits { connections_per_peer_max: 1, ..FaceLimits::default() });
    let address = serve(&bench, None).await;
    let mut first = TcpStream::connect(address).await.expect("listening");
    first.write_all(b"GET /favicon.svg HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
    within(first.read_u8()).await.expect("served");
    assert_eq!(says(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    assert!(bench.get("/metrics").await.body.contains("sipcast_refusals_total{cause=\"connections_max\"} 1"));
    drop(first);
    within(async {
        while !says(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
        {}
    })
    .await;
}

struct Files {
    directory: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("sipcast-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a writable temporary directory");
        Self { directory }
    }

    /// Writes a fresh self-signed certificate and its key, and gives the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(self.directory.join("cert.pem"), made.cert.pem()).expect("writable");
        std::fs::write(self.directory.join("key.pem"), made.signing_key.serialize_pem()).expect("writable");
        made.cert.der().clone()
    }

    fn load(&self) -> ServerTls {
        let at = |name| self.directory.join(name);
        ServerTls::load(at("cert.pem"), at("key.pem")).expect("sound files")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    alpn: &[u8],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test]
async fn https_serves_both_versions_of_http_and_takes_a_renewed_certificate() {
    let files = Files::new("https");
    let first = files.renew();
    let tls = files.load();
    let bench = Bench::new();
    let address = serve(&bench, Some(tls.clone())).await;
    let request =
        || Request::get("https://localhost/statistics").header("host", "localhost").body(Body::empty());

    let stream = connect(address, &first, b"http/1.1", &[&rustls::version::TLS12]).await.expect("TLS 1.2");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let answer = within(sender.send_request(request().expect("a request"))).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11));

    let stream = connect(address, &first, b"h2", &[&rustls::version::TLS13]).await.expect("TLS 1.3");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::get("https://localhost/statistics").body(Body::empty()).expect("a request");
    let answer = within(sender.send_request(request)).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));

    std::fs::write(files.directory.join("key.pem"), "nonsense").expect("writable");
    assert!(tls.files().reload().is_err());
    let v13: &[_] = &[&rustls::version::TLS13];
    assert!(connect(address, &first, b"h2", v13).await.is_ok(), "the former one stays");
    let second = files.renew();
    tls.files().reload().expect("sound files");
    assert!(connect(address, &first, b"h2", v13).await.is_err(), "replaced");
    assert!(connect(address, &second, b"h2", v13).await.is_ok());
    assert_eq!(
        says(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.find("200 OK"),
        None,
        "not without TLS"
    );
}

#[tokio::test]
async fn grpc_wants_the_same_keys_also_over_tls() {
    let files = Files::new("grpc");
    let certificate = files.renew();
    let api_keys = ApiKeys::new([KEY]).expect("a key");
    let bench = Bench::with(ControlOptions { api_keys, ..options() }, None);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (control, tls) = (bench.control.clone(), files.load());
    tokio::spawn(async move { control.serve_grpc(listener, Some(tls), std::future::pending()).await });
    let stream = connect(address, &certificate, b"h2", &[&rustls::version::TLS13]).await.expect("TLS");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    for (key, status) in [(None, "16"), (Some("Bearer wrong"), "16"), (Some("Bearer 0123456789abcdef"), "0")]
    {
        let mut request = Request::post("https://localhost/sipcast.v1.Broadcasts/List")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        // An empty message: not compressed, no bytes.
        let request = request.body(Body::from(vec![0_u8; 5])).expect("a request");
        let answer = within(sender.send_request(request)).await.expect("an answer");
        let head = answer.headers().get("grpc-status").cloned();
        let body = within(http_body_util::BodyExt::collect(answer.into_body())).await.expect("a body");
        let trailer = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
        assert_eq!(head.or(trailer).expect("a status"), status, "{key:?}");
    }
}
