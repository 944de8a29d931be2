//! `/RESTCall/*`: the API of the original's first demo page (wcs-api 1.2, 1.9), on the same use-cases as `/rest-api`.
//! Takes: requests whose SIP fields are nested under `connection`. Gives: the status as a bare word, else as there.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use super::call::{self, Call};
use super::error::{self, Problem};
use super::value::Fields;
use crate::broadcast::{Broadcasts, CallFilter};
use crate::order;

/// All paths below `/RESTCall`.
pub(super) fn routes() -> Router<Broadcasts> {
    Router::new()
        .route("/call", post(startup))
        .route("/getStatus", post(status))
        .route("/sendDTMF", post(call::send_dtmf))
        .route("/hangup", post(call::terminate))
        .route("/getCalls", get(calls).post(calls))
}

async fn startup(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    call::startup(State(broadcasts), fields.with_nested("connection")?).await
}

/// The page prints whatever text comes and stops polling at an error.
async fn status(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<impl IntoResponse, Problem> {
    let call_id = Some(fields.required_text("callId", order::CALL_ID)?);
    let found = broadcasts.find_calls(&CallFilter { call_id, ..CallFilter::default() });
    let call = found.first().ok_or_else(error::no_such_call)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], call.status.as_str()))
}

/// No calls are an empty list: this page's predecessors parse what comes.
async fn calls(State(broadcasts): State<Broadcasts>) -> Json<Vec<Call>> {
    Json(broadcasts.find_calls(&CallFilter::default()).into_iter().map(Call::from).collect())
}
