//! `/rest-api/call/inject_*` (wcs-api 1.2): what a callee hears.

use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Body, Problem};
use super::responses::{Busy, Malformed, Taken, Unplayable};
use super::value::Fields;
use crate::broadcast::Broadcasts;
use crate::order;
use crate::sounds::SOUND_FILE;

/// `POST /call/inject_sound`: plays a file once.
#[utoipa::path(
    post,
    path = "/rest-api/call/inject_sound",
    tag = "compatible",
    request_body(content = Object, description = "`callId`, `fileName`"),
    responses(
        Taken, Unplayable,
        (status = 404, description = "No such call or file", body = Body),
        Busy,
    ),
)]
pub(crate) async fn sound(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let call_id = fields.required_text("callId", order::CALL_ID)?;
    let name = fields.required_text("fileName", SOUND_FILE)?;
    let played = broadcasts.inject_sound(&call_id, name).await;
    played.map_err(|error| Problem::of_sound("fileName", error))?;
    Ok(StatusCode::OK)
}

/// `POST /call/inject_stream` and `/call/inject_stream/startup`: plays the sound of a stream until it ends, or until
/// something else is played.
#[utoipa::path(
    post,
    path = "/rest-api/call/inject_stream",
    tag = "compatible",
    request_body(content = Object, description = "`callId`, `streamName`"),
    responses(
        Taken, Malformed,
        (status = 404, description = "No such call or stream", body = Body),
        Busy,
    ),
)]
pub(crate) async fn stream(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let call_id = fields.required_text("callId", order::CALL_ID)?;
    let stream = fields.required_text("streamName", order::STREAM_NAME)?;
    broadcasts.inject_stream(&call_id, &stream).map_err(|error| Problem::of_local("streamName", error))?;
    Ok(StatusCode::OK)
}

/// `POST /call/inject_stream/terminate`.
#[utoipa::path(
    post,
    path = "/rest-api/call/inject_stream/terminate",
    tag = "compatible",
    request_body(content = Object, description = "`callId`, `streamName`"),
    responses(
        Taken, Malformed,
        (status = 404, description = "No such call, or it does not hear this stream", body = Body),
        Busy,
    ),
)]
pub(crate) async fn end_stream(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let call_id = fields.required_text("callId", order::CALL_ID)?;
    let stream = fields.text("streamName", order::STREAM_NAME)?;
    broadcasts
        .end_injection(&call_id, stream.as_deref())
        .map_err(|error| Problem::of_local("streamName", error))?;
    Ok(StatusCode::OK)
}
