//! One HTTP(S) endpoint of an operator: its address, what every request to it says, one exchange.
//! Takes: options, posts. Gives: connections and answers. Leaves out: trying again (`delivery`), waiting (`asker`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, USER_AGENT};
use axum::http::uri::{Authority, PathAndQuery, Uri};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sha2::Sha256;
use sipcast_contract::Secret;
use sipcast_trust::{Roots, ServerVerifier};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{DeliveryOptions, DeliverySetupError, Post};

/// Why an attempt failed. Holds nothing of the endpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("its host name cannot be resolved")]
    Unresolvable,
    #[error("it cannot be connected to")]
    Unreachable,
    #[error("TLS failed: is its certificate valid for its name, and its issuer trusted?")]
    Tls,
    #[error("the connection broke before the answer")]
    Broken,
    #[error("it did not answer in time")]
    TimedOut,
    #[error("it answered with status {0}")]
    Status(StatusCode),
}

/// Where to, and what every request says.
pub(super) struct Endpoint {
    authority: Authority,
    path: PathAndQuery,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    headers: HeaderMap,
    key: Option<Hmac<Sha256>>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `None`: it broke off, or is longer than [`ANSWER_MAX`].
    pub(super) body: Option<Bytes>,
    /// To be used again.
    pub(super) connection: Option<SendRequest<Full<Bytes>>>,
}

impl Endpoint {
    pub(super) fn new(options: &DeliveryOptions) -> Result<Self, DeliverySetupError> {
        let text = options.url.reveal();
        if text.len() > URL_LEN_MAX {
            return Err(DeliverySetupError::Url);
        }
        let parts = text.parse::<Uri>().map_err(|_| DeliverySetupError::Url)?.into_parts();
        let authority = parts.authority.ok_or(DeliverySetupError::Url)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(DeliverySetupError::Url);
        }
        let (tls, port) = match parts.scheme.as_ref().map(|scheme| scheme.as_str()) {
            Some("http") => (None, 80),
            Some("https") => {
                let host = bare(authority.host()).to_owned();
                let name = ServerName::try_from(host).map_err(|_| DeliverySetupError::Url)?;
                (Some((connector(&options.roots)?, name)), 443)
            }
            _ => return Err(DeliverySetupError::Url),
        };
        let port = match authority.port_u16() {
            Some(port) => port,
            // What is behind the host is no port number.
            None if authority.as_str() != authority.host() => return Err(DeliverySetupError::Url),
            None => port,
        };
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let key = options.signing_secret.as_ref().map(key).transpose()?;
        let headers = headers(&authority, options)?;
        Ok(Self { authority, path, port, tls, headers, key })
    }

    /// The path with `more` behind it.
    fn with(&self, more: &str) -> Option<PathAndQuery> {
        let path = self.path.path().trim_end_matches('/');
        let query = self.path.query().map(|query| format!("?{query}")).unwrap_or_default();
        let slash = if more.starts_with('/') { "" } else { "/" };
        format!("{path}{slash}{more}{query}").parse().ok()
    }

    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let stream = self.dial().await?;
        let Some((connector, name)) = &self.tls else { return speak(TokioIo::new(stream)).await };
        let stream = connector.connect(name.clone(), stream).await.map_err(|_| Fault::Tls)?;
        speak(TokioIo::new(stream)).await
    }

    async fn dial(&self) -> Result<TcpStream, Fault> {
        let host = bare(self.authority.host());
        let addresses = tokio::net::lookup_host((host, self.port)).await.map_err(|_| Fault::Unresolvable)?;
        for address in addresses.take(ADDRESSES_MAX) {
            if let Ok(Ok(stream)) = timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                // Posts are small; a delayed one is all that this could cost.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
        }
        Err(Fault::Unreachable)
    }

    /// Whom it is, for logs: no path, no query.
    pub(super) const fn host(&self) -> &Authority {
        &self.authority
    }

    /// Posts over a connection and reads the answer to its end, so that the connection can be used again; an endless
    /// body costs the connection.
    pub(super) async fn send(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        post: &Post,
    ) -> Result<Answer, Fault> {
        let request = self.request(post).ok_or(Fault::Broken)?;
        connection.ready().await.map_err(|_| Fault::Broken)?;
        let answer = connection.send_request(request).await.map_err(|_| Fault::Broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.ok();
        let connection = body.is_some().then_some(connection);
        Ok(Answer { status, body: body.map(|body| body.to_bytes()), connection })
    }

    /// `None`: the post's own path or ID cannot be sent.
    fn request(&self, post: &Post) -> Option<Request<Full<Bytes>>> {
        let target = match post.path.is_empty() {
            true => self.path.clone(),
            false => self.with(&post.path)?,
        };
        let mut request = Request::post(Uri::from(target)).body(Full::new(post.body.clone())).ok()?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(ID, HeaderValue::from_str(&post.id).ok()?);
        if let Some(key) = &self.key {
            // Of this attempt, so that the endpoint can refuse what was recorded and is played again.
            let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let timestamp = timestamp.to_string();
            let signature = signature(key, &post.id, &timestamp, &post.body);
            for (name, text) in [(TIMESTAMP, timestamp), (SIGNATURE, signature)] {
                request.headers_mut().insert(name, HeaderValue::from_str(&text).ok()?);
            }
        }
        Some(request)
    }
}

fn headers(authority: &Authority, options: &DeliveryOptions) -> Result<HeaderMap, DeliverySetupError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("sipcast/", env!("CARGO_PKG_VERSION"))));
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| DeliverySetupError::Url)?;
    headers.insert(HOST, host);
    if let Some(authorization) = &options.authorization {
        let mut value =
            HeaderValue::from_str(authorization.reveal()).map_err(|_| DeliverySetupError::Authorization)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// HTTP/1.1 over a connection; a task of its own moves its bytes until the other end of it is dropped.
async fn speak<T>(io: T) -> Result<SendRequest<Full<Bytes>>, Fault>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(io).await.map_err(|_| Fault::Broken)?;
    tokio::spawn(async move {
        // How it ends shows at `sender`.
        let _ = connection.await;
    });
    Ok(sender)
}

fn connector(roots: &Roots) -> Result<TlsConnector, DeliverySetupError> {
    const NONE: &str = "this system has no trusted roots: install ca-certificates, or name a file of roots";
    if roots.is_empty() {
        return Err(DeliverySetupError::Roots(NONE.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DeliverySetupError::Roots(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(ServerVerifier::of_roots(
            roots,
            rustls::Error::General(NONE.to_owned()),
        ))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

pub(super) fn key(secret: &Secret<String>) -> Result<Hmac<Sha256>, DeliverySetupError> {
    let text = secret.reveal();
    let bytes = match text.strip_prefix("whsec_") {
        Some(encoded) => BASE64.decode(encoded).map_err(|_| DeliverySetupError::Secret)?,
        None => text.clone().into_bytes(),
    };
    if bytes.len() < SECRET_LEN_MIN {
        return Err(DeliverySetupError::Secret);
    }
    Hmac::new_from_slice(&bytes).map_err(|_| DeliverySetupError::Secret)
}

/// `v1,` and HMAC-SHA256 over ID, time and body (Standard Webhooks, signature scheme).
pub(super) fn signature(key: &Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = key.clone();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Bytes of an answer's body that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// Bytes of a URL.
const URL_LEN_MAX: usize = 2048;

/// Bytes of a signing key.
const SECRET_LEN_MIN: usize = 16;

/// Addresses of the host that one attempt tries.
const ADDRESSES_MAX: usize = 8;

/// How long one address may take.
const CONNECT_MAX: Duration = Duration::from_secs(4);
