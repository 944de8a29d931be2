//! The one way into all gRPC services: keys, rates and places (`faces`), as for HTTP, and what is counted of calls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::methods::Methods;
use crate::broadcast::Broadcasts;
use crate::faces::{Peer, Refused};

/// A service behind the guard.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    broadcasts: Broadcasts,
    methods: Arc<Methods>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, broadcasts: Broadcasts, methods: Arc<Methods>) -> Self {
        Self { inner, broadcasts, methods }
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut count = Count {
            broadcasts: self.broadcasts.clone(),
            method: self.methods.name(request.uri().path()),
            code: Code::Cancelled as i32,
        };
        let faces = &self.broadcasts.shared.faces;
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        match faces.admit(request.headers(), peer, false) {
            Ok(place) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let answer = answer.await?;
                    drop(place);
                    Ok(counted(answer, count))
                })
            }
            Err(refused) => {
                let status = status(refused);
                count.code = status.code() as i32;
                let answer = status.into_http();
                Box::pin(async move { Ok(answer) })
            }
        }
    }
}

/// Counts one call when it is over, or given up by its client.
struct Count {
    broadcasts: Broadcasts,
    method: Arc<str>,
    code: i32,
}

impl Count {
    fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok()) {
            self.code = code;
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.broadcasts.shared.faces.count_grpc_answer(&self.method, self.code);
    }
}

/// The status stands in the trailers, or in the headers of an answer that has nothing else.
fn counted(answer: Response<Body>, mut count: Count) -> Response<Body> {
    count.note(answer.headers());
    answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(trailers) = frame.trailers_ref() {
                count.note(trailers);
            }
            frame
        }))
    })
}

fn status(refused: Refused) -> Status {
    match refused {
        Refused::Key => Status::unauthenticated(
            "the request has no API key, or an unknown one: expected authorization: Bearer and a key of [rest] api_keys",
        ),
        Refused::Rate(wait) => {
            let ms = wait.max(Duration::from_millis(1)).as_millis();
            Status::resource_exhausted(format!("too many requests: again in {ms} ms"))
        }
        Refused::Busy => Status::unavailable("sipcast is too busy for this request; try again shortly"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::ServiceExt;

    use super::*;
    use crate::faces::FaceLimits;
    use crate::rest::tests::bench::{Bench, options};
    use crate::{ApiKeys, ControlOptions};

    /// What the service answers, by the last part of the path: an answer in headers alone, or with trailers.
    async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        if request.uri().path().ends_with("/Get") {
            return Ok(Status::not_found("no such broadcast").into_http());
        }
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let frames = [Ok::<_, Status>(hyper::body::Frame::trailers(trailers))];
        Ok(Response::new(Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))))
    }

    #[tokio::test]
    async fn calls_are_counted_by_method_and_code_also_refused_and_given_up_ones() {
        let keys = ApiKeys::new(["0123456789abcdef"]).unwrap();
        let limits = FaceLimits::default();
        let bench = Bench::with(ControlOptions { api_keys: keys, limits, ..options() }, None);
        let broadcasts = bench.control.broadcasts.clone();
        let methods = Arc::new(Methods::of([super::super::DESCRIPTION]));
        let service = Guarded::new(tower::service_fn(answer), broadcasts.clone(), methods);
        let ask = async |path: &str, key: &str| {
            let request = Request::post(path).header("x-api-key", key).body(Body::empty()).unwrap();
            service.clone().oneshot(request).await.unwrap()
        };
        let key = "0123456789abcdef";
        ask("/sipcast.v1.Broadcasts/List", key).await.into_body().collect().await.unwrap();
        drop(ask("/sipcast.v1.Broadcasts/List", key).await);
        ask("/sipcast.v1.Broadcasts/Get", key).await;
        ask("/sipcast.v1.Broadcasts/Get", "wrong").await;
        ask("/made/up", key).await.into_body().collect().await.unwrap();
        let counted = broadcasts.shared.faces.grpc_answered();
        let counted: Vec<(&str, i32, u64)> = counted.iter().map(|((m, c), n)| (&**m, *c, *n)).collect();
        let expected = [
            ("/sipcast.v1.Broadcasts/Get", Code::NotFound as i32, 1),
            ("/sipcast.v1.Broadcasts/Get", Code::Unauthenticated as i32, 1),
            ("/sipcast.v1.Broadcasts/List", Code::Ok as i32, 1),
            ("/sipcast.v1.Broadcasts/List", Code::Cancelled as i32, 1),
            ("other", Code::Ok as i32, 1),
        ];
        assert_eq!(counted, expected);
        let text = crate::metrics::text(&broadcasts).unwrap();
        let line = r#"sipcast_grpc_requests_total{method="/sipcast.v1.Broadcasts/Get",code="NOT_FOUND"} 1"#;
        assert!(text.contains(line), "{text}");
    }
}
