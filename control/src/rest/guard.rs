//! The one way into all routes: keys, rates and places (`faces`), and what is counted of requests.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::Problem;
use super::v1::Refusal;
use crate::broadcast::Broadcasts;
use crate::faces::{Peer, Refused};

/// Serves a request that may be served, and counts its answer.
pub(super) async fn guard(State(broadcasts): State<Broadcasts>, request: Request, next: Next) -> Response {
    let faces = &broadcasts.shared.faces;
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, in_v1) = (method(request.method()), request.uri().path().starts_with("/v1"));
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let is_open = request.method() == Method::OPTIONS || is_open(request.uri());
    let response = match faces.admit(request.headers(), peer, is_open) {
        // The place is free again when the answer begins: streams and players go on for hours.
        Ok(_place) => next.run(request).await,
        Err(refused) => {
            let problem = Problem::from(refused);
            let mut response =
                if in_v1 { Refusal::from(problem).into_response() } else { problem.into_response() };
            let headers = response.headers_mut();
            if refused == Refused::Key {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"sipcast\""));
            }
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            // So that a page of an allowed origin learns what is missing.
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, broadcasts.shared.options.cors.allow_origin.clone());
            response
        }
    };
    faces.count_answer(
        route.as_ref().map_or("other", |route| route.as_str()),
        method,
        response.status().as_u16(),
    );
    response
}

/// The page's files and descriptions of the API: nothing of the calls is in them.
fn is_open(uri: &Uri) -> bool {
    match uri.path() {
        // With a query it may be the statistics.
        "/" => uri.query().is_none_or(|query| !query.contains("action")),
        "/page.css" | "/page.js" | "/key.js" | "/ladder.js" | "/favicon.svg" | "/v1/openapi.json"
        | "/docs" => true,
        path => path.starts_with("/vendor/") || path.starts_with("/docs/"),
    }
}

/// Methods that are counted by name.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Key => Self::no_key(),
            Refused::Rate(wait) => Self::too_often("too many requests", wait),
            Refused::Busy => Self { retry_after: Some(Duration::from_secs(1)), ..Self::busy() },
        }
    }
}
