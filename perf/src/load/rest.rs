//! sipcast's REST interface as the harness uses it.
//! Takes: where it is, a key. Gives: answers.
//! Leaves out: starting sipcast (`product`), what answers mean (`report`).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::options::{MediaChoice, PublishedAudio};

/// Largest answer read.
const ANSWER_LEN_MAX: usize = 64 * 1024 * 1024;
/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// A client of one sipcast.
pub(crate) struct Rest {
    /// `http://host:port`, without a slash at its end.
    base: String,
    key: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Rest {
    /// Of the sipcast at `base`.
    ///
    /// # Errors
    /// When `base` is no `http` URL of a host, or the key holds what no header can.
    pub fn new(base: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/');
        let uri: Uri = base.parse().with_context(|| format!("{base}: no URL"))?;
        anyhow::ensure!(
            uri.scheme_str() == Some("http") && uri.host().is_some(),
            "{base}: expected http://host:port (for HTTPS, a tunnel that ends here)"
        );
        let key = key.map(|key| {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                .map_err(|_| anyhow::anyhow!("the API key holds what an HTTP header cannot"))?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { base: base.to_owned(), key: key.transpose()?, client })
    }

    /// `GET /statistics`.
    ///
    /// # Errors
    /// When the request fails or the answer is no JSON.
    pub async fn statistics(&self) -> anyhow::Result<Value> {
        let (status, body) = self.request(Method::GET, "/statistics", None).await?;
        anyhow::ensure!(status == StatusCode::OK, "GET /statistics: {status}");
        serde_json::from_slice(&body).context("GET /statistics")
    }

    /// `GET /metrics`.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let (status, body) = self.request(Method::GET, "/metrics", None).await?;
        anyhow::ensure!(status == StatusCode::OK, "GET /metrics: {status}");
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Orders a broadcast.
    ///
    /// # Errors
    /// When the request fails or is refused; the text holds the answer.
    pub async fn order(&self, order: &Order<'_>) -> anyhow::Result<()> {
        let (status, body) =
            self.request(Method::POST, "/rest-api/call/startup", Some(order.as_json())).await?;
        anyhow::ensure!(
            status == StatusCode::OK,
            "call/startup: {status} {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }

    /// Ends a broadcast; one that is over already is fine.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn terminate(&self, call_id: &str) -> anyhow::Result<()> {
        let (status, _) = self
            .request(Method::POST, "/rest-api/call/terminate", Some(json!({ "callId": call_id })))
            .await?;
        anyhow::ensure!(matches!(status, StatusCode::OK | StatusCode::NOT_FOUND), "call/terminate: {status}");
        Ok(())
    }

    /// The IDs of established calls, and for each whether its stream is being published.
    ///
    /// # Errors
    /// When the request fails or the answer is no array.
    pub async fn established(&self) -> anyhow::Result<Vec<(String, bool)>> {
        let filter = json!({ "status": "ESTABLISHED" });
        let (code, body) = self.request(Method::POST, "/rest-api/call/find", Some(filter)).await?;
        if code == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        anyhow::ensure!(code == StatusCode::OK, "call/find: {code}");
        let calls: Vec<Value> = serde_json::from_slice(&body).context("call/find")?;
        let call = |call: &Value| {
            let is_published = call.get("rtmpStreamStatus").and_then(Value::as_str) == Some("PUBLISHING");
            Some((call.get("callId")?.as_str()?.to_owned(), is_published))
        };
        Ok(calls.iter().filter_map(call).collect())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        if let Some(key) = &self.key {
            request.headers_mut().insert(AUTHORIZATION, key.clone());
        }
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            anyhow::ensure!(
                !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                "{path}: {status} (is --api-key-env the name of a variable with a key of this sipcast?)"
            );
            anyhow::Ok((status, body))
        };
        timeout(REQUEST_TIME, exchange).await.with_context(|| format!("{path}: no answer in time"))?
    }
}

/// One call to be made.
pub(crate) struct Order<'a> {
    /// Names the call, the user to phone, and the stream.
    pub name: &'a str,
    pub callee: SocketAddr,
    pub tcp: bool,
    pub rtmp_url: &'a str,
    pub media: MediaChoice,
}

impl Order<'_> {
    fn as_json(&self) -> Value {
        let audio = self.media.audio;
        json!({
            "callId": self.name,
            "callee": self.name,
            "rtmpUrl": self.rtmp_url,
            "rtmpStream": format!("rtmp_{}", self.name),
            "rtmpAudio": audio.unwrap_or(PublishedAudio::Aac).as_str(),
            "hasAudio": audio.is_some(),
            "hasVideo": self.media.video,
            "sipLogin": "load",
            "sipAuthenticationName": "load",
            "sipPassword": "load",
            "sipDomain": self.callee.ip().to_string(),
            "sipPort": self.callee.port(),
            "sipTransport": if self.tcp { "tcp" } else { "udp" },
            "sipRegisterRequired": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_taken_and_keys_are_not_shown() {
        assert!(Rest::new("http://host:8081/", None).is_ok());
        for wrong in ["host:8081", "https://host", "rtmp://host", "", "http://"] {
            assert!(Rest::new(wrong, None).is_err(), "{wrong}");
        }
        let error = Rest::new("http://host", Some("secret\n")).err().unwrap();
        assert!(!format!("{error:#}").contains("secret"));
    }
}
