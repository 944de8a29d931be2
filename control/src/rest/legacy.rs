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
use super::responses::{
    AppRefuses, BusyOrUnanswered, Malformed, NoRoom, NothingMatches, OrderDenied, Taken, TooManyOrders,
};
use super::value::Fields;
use crate::broadcast::{Broadcasts, CallFilter};
use crate::order;

/// All paths below `/RESTCall`.
pub(super) fn routes() -> Router<Broadcasts> {
    Router::new()
        .route("/call", post(startup))
        .route("/getStatus", post(status))
        .route("/sendDTMF", post(send_dtmf))
        .route("/hangup", post(hang_up))
        .route("/getCalls", get(calls).post(calls))
}

/// `POST /RESTCall/call`.
#[utoipa::path(
    post,
    path = "/RESTCall/call",
    tag = "compatible",
    request_body(content = Object, description = "The fields of `/rest-api/call/startup`; those of the account may stand in an object `connection`"),
    responses(
        Taken, Malformed, OrderDenied, NoRoom, TooManyOrders, BusyOrUnanswered,
    ),
)]
pub(super) async fn startup(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    call::startup(State(broadcasts), fields.with_nested("connection")?).await
}

/// `POST /RESTCall/getStatus`. The page prints whatever text comes and stops polling at an error.
#[utoipa::path(
    post,
    path = "/RESTCall/getStatus",
    tag = "compatible",
    request_body(content = Object, description = "`callId`"),
    responses(
        (status = 200, description = "The call's status, a word", body = String, content_type = "text/plain"),
        Malformed, NothingMatches,
    ),
)]
pub(super) async fn status(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<impl IntoResponse, Problem> {
    let call_id = Some(fields.required_text("callId", order::CALL_ID)?);
    let found = broadcasts.find_calls(&CallFilter { call_id, ..CallFilter::default() });
    let call = found.first().ok_or_else(error::no_such_call)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], call.status.as_str()))
}

/// `POST /RESTCall/sendDTMF`.
#[utoipa::path(
    post,
    path = "/RESTCall/sendDTMF",
    tag = "compatible",
    request_body(content = Object, description = "`callId`, `dtmf`, `type`"),
    responses(
        Taken, Malformed, AppRefuses, NothingMatches, NoRoom, BusyOrUnanswered,
    ),
)]
pub(super) async fn send_dtmf(broadcasts: State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    call::send_dtmf(broadcasts, fields).await
}

/// `POST /RESTCall/hangup`.
#[utoipa::path(
    post,
    path = "/RESTCall/hangup",
    tag = "compatible",
    request_body(content = Object, description = "`callId`"),
    responses(
        Taken, Malformed, AppRefuses, NothingMatches, BusyOrUnanswered,
    ),
)]
pub(super) async fn hang_up(broadcasts: State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    call::terminate(broadcasts, fields).await
}

/// `GET` or `POST /RESTCall/getCalls`. No calls are an empty list: this page's predecessors parse what comes.
#[utoipa::path(
    method(get, post),
    path = "/RESTCall/getCalls",
    tag = "compatible",
    responses(
        (status = 200, description = "All calls, which may be none", body = Vec<Call>),
    ),
)]
pub(super) async fn calls(State(broadcasts): State<Broadcasts>) -> Json<Vec<Call>> {
    Json(broadcasts.find_calls(&CallFilter::default()).into_iter().map(Call::from).collect())
}
