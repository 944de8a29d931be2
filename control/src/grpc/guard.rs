//! The one way into all gRPC services: keys, rates and places (`faces`), as for HTTP.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::broadcast::Broadcasts;
use crate::faces::{Peer, Refused};

/// A service behind the guard.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    broadcasts: Broadcasts,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, broadcasts: Broadcasts) -> Self {
        Self { inner, broadcasts }
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
        let faces = &self.broadcasts.shared.faces;
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        match faces.admit(request.headers(), peer, false) {
            Ok(place) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let answer = answer.await;
                    drop(place);
                    answer
                })
            }
            Err(refused) => {
                let answer = status(refused).into_http();
                Box::pin(async move { Ok(answer) })
            }
        }
    }
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
