//! `/v1/broadcasts`: translates, then calls the use-cases.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use axum::http::header::{HeaderMap, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{Asked, Body, Named};
use super::problem::{Details, Refusal};
use super::responses::{
    AppRefuses, BodyMalformed, BusyOrUnanswered, NoBroadcast, NoLiveBroadcast, NotJson, OrderDenied,
    PathMalformed, TooLarge, TooManyOrders,
};
use crate::broadcast::Broadcasts;
use crate::idempotency::{Key, KeyError};
use crate::order::{self, DtmfRequest, OrderRequest};
use crate::rest::error::Problem;
use crate::targets::BroadcastFilter;
use crate::view::{BroadcastView, CallStatusName};

/// Which broadcasts to list; all that are given must fit.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those with this status.
    #[param(inline, value_type = Option<CallStatusName>)]
    status: Option<String>,
    /// Only those with this callee, as ordered.
    #[param(max_length = 256)]
    callee: Option<String>,
    /// Only those of this application.
    #[param(max_length = 128)]
    app_key: Option<String>,
    /// Broadcasts on a page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u16>,
    /// `next` of the page before.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    after: Option<u64>,
}

/// A page of broadcasts.
#[derive(Serialize, ToSchema)]
pub(super) struct BroadcastList {
    /// Oldest first.
    broadcasts: Vec<BroadcastView>,
    /// `after` of the next page; `null`: this is the last one.
    next: Option<u64>,
}

/// Order a broadcast.
///
/// It is taken, and findable, when the answer comes; the call goes its course from then on. The hosts of its targets
/// are looked up first. With an `Idempotency-Key` a repetition of the same order gets the same answer and starts
/// nothing.
#[utoipa::path(
    post,
    path = "/v1/broadcasts",
    tag = "broadcasts",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$",
        description = "Any text of visible ASCII characters that the client made up for this order; kept for an hour")),
    request_body = OrderRequest,
    responses(
        (status = 201, description = "Taken", body = BroadcastView,
            headers(("Location" = String, description = "Path of the broadcast"))),
        (status = 400, description = "The body or a header is malformed", body = Details,
            content_type = "application/problem+json"),
        OrderDenied,
        (status = 409, description = "A name is taken, or an order with this key is being handled", body = Details,
            content_type = "application/problem+json"),
        TooLarge, NotJson,
        (status = 422, description = "A field cannot be fulfilled, or the key was used for another order",
            body = Details, content_type = "application/problem+json"),
        TooManyOrders,
        (status = 503, description = "As many calls are live as may be, the order's app does not answer, or sipcast is stopping", body = Details,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    State(broadcasts): State<Broadcasts>,
    headers: HeaderMap,
    order: Body<OrderRequest>,
) -> Result<Response, Refusal> {
    let key = match headers.get("idempotency-key") {
        Some(text) => Some(Key::new("v1", text.as_bytes()).map_err(|KeyError| Problem::bad_key())?),
        None => None,
    };
    let view = broadcasts.order_once(key, FINGERPRINT.hash_one(&order.bytes), order.value).await?;
    let location = HeaderValue::try_from(format!("/v1/broadcasts/{}", percent_encoded(&view.call_id)))
        .expect("what is not unreserved is encoded");
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(view)).into_response())
}

/// List broadcasts.
///
/// Live ones, and for some seconds those that have ended.
#[utoipa::path(
    get,
    path = "/v1/broadcasts",
    tag = "broadcasts",
    params(ListQuery),
    responses(
        (status = 200, description = "A page, which may be empty", body = BroadcastList),
        (status = 400, description = "A parameter is malformed", body = Details,
            content_type = "application/problem+json"),
        (status = 422, description = "A parameter holds what no broadcast has", body = Details,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(broadcasts): State<Broadcasts>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<BroadcastList>, Refusal> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid("limit", "is out of range", "a number from 1 to 500").into());
    }
    let after = query.after.unwrap_or(0);
    if after > AFTER_MAX {
        return Err(Problem::invalid("after", "is out of range", "the number that next was").into());
    }
    let status = query.status.map(|word| order::status(&word)).transpose()?;
    let filter = BroadcastFilter {
        status,
        callee: order::CALLEE.optional("callee", query.callee)?,
        app_key: order::APP_KEY.optional("appKey", query.app_key)?,
        after,
        limit: usize::from(limit),
    };
    let page = broadcasts.list(&filter);
    Ok(Json(BroadcastList { broadcasts: page.broadcasts, next: page.next }))
}

/// Show a broadcast.
#[utoipa::path(
    get,
    path = "/v1/broadcasts/{callId}",
    tag = "broadcasts",
    params(("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128)),
    responses(
        (status = 200, description = "As it stands", body = BroadcastView),
        PathMalformed, NoBroadcast,
    ),
)]
pub(super) async fn show(
    State(broadcasts): State<Broadcasts>,
    Named(call_id): Named<String>,
) -> Result<Json<BroadcastView>, Refusal> {
    broadcasts.broadcast(&call_id).map(Json).ok_or_else(no_such_broadcast)
}

/// End a broadcast.
///
/// The call ends with BYE or CANCEL and its targets are unpublished; until then and for some seconds after it is
/// still shown.
#[utoipa::path(
    delete,
    path = "/v1/broadcasts/{callId}",
    tag = "broadcasts",
    params(("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128)),
    responses(
        (status = 204, description = "It is ending"),
        PathMalformed, AppRefuses, NoLiveBroadcast, BusyOrUnanswered,
    ),
)]
pub(super) async fn end(
    State(broadcasts): State<Broadcasts>,
    Named(call_id): Named<String>,
) -> Result<StatusCode, Refusal> {
    broadcasts.order_end(&call_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send digits.
///
/// Digits ordered before the answer wait for it.
#[utoipa::path(
    post,
    path = "/v1/broadcasts/{callId}/dtmf",
    tag = "broadcasts",
    params(("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128)),
    request_body = DtmfRequest,
    responses(
        (status = 204, description = "They are sent, or wait to be"),
        BodyMalformed, AppRefuses, NoLiveBroadcast,
        (status = 409, description = "Too many digits wait", body = Details,
            content_type = "application/problem+json"),
        TooLarge, NotJson,
        (status = 422, description = "A field is wrong", body = Details,
            content_type = "application/problem+json"),
        BusyOrUnanswered,
    ),
)]
pub(super) async fn send_dtmf(
    State(broadcasts): State<Broadcasts>,
    Named(call_id): Named<String>,
    digits: Body<DtmfRequest>,
) -> Result<StatusCode, Refusal> {
    broadcasts.order_dtmf(&call_id, digits.value).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_broadcast() -> Refusal {
    crate::targets::TargetError::NoSuchBroadcast.into()
}

/// A path segment (RFC 3986 §2.1, §2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Tells one body from another, with a key of this process, so that nobody can make two alike.
static FINGERPRINT: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Broadcasts on a page.
const LIMIT_DEFAULT: u16 = 100;
const LIMIT_MAX: u16 = 500;

/// The largest number that every reader of JSON keeps exactly (RFC 8259 §6).
const AFTER_MAX: u64 = (1 << 53) - 1;
