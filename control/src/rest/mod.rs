//! HTTP: the compatible API under `/rest-api`, `/v1`, the statistics, the page. One file per resource, each translates and then
//! calls a use-case.
//! Takes: requests. Gives: answers; every refusal has a JSON body (`error`).

pub(crate) mod call;
pub(crate) mod error;
mod guard;
mod inject;
mod ladder;
mod legacy;
pub(crate) mod local;
mod page;
mod push;
mod responses;
mod statistics;
#[cfg(test)]
pub(crate) mod tests;
mod v1;
mod value;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL,
    CONTENT_TYPE, HOST, HeaderMap, ORIGIN,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};

use crate::CorsOptions;
use crate::broadcast::Broadcasts;
use crate::order::{self, TargetRequest};
use error::Problem;
use value::Fields;

/// All routes.
pub(crate) fn router(broadcasts: Broadcasts) -> Router {
    let calls = Router::new()
        .route("/startup", post(call::startup))
        .route("/find", post(call::find))
        .route("/find_all", get(call::find_all).post(call::find_all))
        .route("/terminate", post(call::terminate))
        .route("/send_dtmf", post(call::send_dtmf))
        .route("/inject_sound", post(inject::sound))
        .route("/inject_stream", post(inject::stream))
        .route("/inject_stream/startup", post(inject::stream))
        .route("/inject_stream/terminate", post(inject::end_stream));
    let pushes = Router::new()
        .route("/startup", post(push::startup))
        .route("/find", post(push::find))
        .route("/find_all", get(push::find_all).post(push::find_all))
        .route("/terminate", post(push::terminate))
        .route("/mute", post(push::mute))
        .route("/unmute", post(push::unmute))
        .route("/sound_on", post(push::sound_on))
        .route("/sound_off", post(push::sound_off));
    let api = Router::new()
        .nest("/call", calls)
        .nest("/push", pushes)
        .nest("/pull/rtmp", local::pull_routes())
        .nest("/mixer", local::mixer_routes())
        .nest("/stream", local::stream_routes())
        // A route of its own rather than a fallback: routes that are merged in later may begin with a variable.
        .route("/", any(unknown_path))
        .route("/{*path}", any(unknown_path))
        // Set before the layer, which then sees the preflights of these paths.
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(broadcasts.clone(), cross_origin));
    let legacy = legacy::routes()
        .route("/{*path}", any(unknown_path))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(broadcasts.clone(), cross_origin));
    Router::new()
        .nest("/rest-api", api)
        .nest("/RESTCall", legacy)
        .route("/statistics", get(statistics::json))
        .route("/metrics", get(metrics))
        .route("/calls/{call_id}/ladder", get(ladder::json))
        .merge(page::routes())
        .merge(v1::routes(&broadcasts))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(broadcasts.clone(), guard::guard))
        .with_state(broadcasts)
}

/// `GET /metrics`.
async fn metrics(State(broadcasts): State<Broadcasts>) -> Response {
    match crate::metrics::text(&broadcasts) {
        Some(text) => ([(CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn unknown_path() -> Problem {
    Problem::unknown_path()
}

async fn wrong_method() -> Problem {
    Problem::wrong_method()
}

/// Answers preflights, refuses orders from pages of other origins than the allowed ones, and marks every answer as
/// readable by those (wcs-api 1.1).
///
/// Orders are taken whatever their Content-Type, and some types a foreign page may post without a preflight. So the
/// origin itself is looked at, which browsers always name and pages cannot choose (Fetch §3.2). With `*`, the
/// original's default, every page may order, as it may there.
async fn cross_origin(State(broadcasts): State<Broadcasts>, request: Request, next: Next) -> Response {
    let cors = &broadcasts.shared.options.cors;
    let (headers, methods) = (&cors.allow_headers, &cors.allow_methods);
    across_origins(cors, headers, methods, request, next).await
}

/// The same for `/v1`, which has more methods and headers.
async fn cross_origin_v1(State(broadcasts): State<Broadcasts>, request: Request, next: Next) -> Response {
    let cors = &broadcasts.shared.options.cors;
    across_origins(cors, &V1_HEADERS, &V1_METHODS, request, next).await
}

async fn across_origins(
    cors: &CorsOptions,
    allow_headers: &HeaderValue,
    allow_methods: &HeaderValue,
    request: Request,
    next: Next,
) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else if request.method() != Method::GET && !may_order(request.headers(), &cors.allow_origin) {
        Problem::foreign_origin().into_response()
    } else {
        next.run(request).await
    };
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, cors.allow_origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allow_headers.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allow_methods.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the request comes from no page, a page of ours, or one of an allowed origin.
fn may_order(headers: &HeaderMap, allowed: &HeaderValue) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    if allowed == "*" || origin == allowed {
        return true;
    }
    let authority =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    authority.zip(own).is_some_and(|(authority, own)| authority.eq_ignore_ascii_case(own))
}

/// The fields of a target that `/call/startup` and `/push/startup` share.
fn target_request(fields: &Fields, rtmp_url: Option<String>) -> Result<TargetRequest, Problem> {
    Ok(TargetRequest {
        rtmp_url,
        rtmp_flash_version: fields.text("rtmpFlashVersion", order::FLASH_VERSION)?,
        rtmp_audio: fields.text("rtmpAudio", order::RTMP_AUDIO)?,
        rtmp_service: fields.text("rtmpService", order::RTMP_SERVICE)?,
        rtmp_backup_url: fields.text("rtmpBackupUrl", order::RTMP_URL)?,
        rtmp_user: fields.text("rtmpUser", order::RTMP_USER)?,
        rtmp_password: fields.text("rtmpPassword", order::RTMP_PASSWORD)?,
        rtmp_tc_url: fields.text("rtmpTcUrl", order::CONNECT_URL)?,
        rtmp_page_url: fields.text("rtmpPageUrl", order::CONNECT_URL)?,
        rtmp_swf_url: fields.text("rtmpSwfUrl", order::CONNECT_URL)?,
        rtmp_tls_verify: fields.boolean("rtmpTlsVerify")?,
        ..TargetRequest::default()
    })
}

/// What pages of other origins may send to `/v1`.
const V1_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization,content-type,idempotency-key,last-event-id,x-api-key");
const V1_METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PATCH,DELETE");

/// Bytes of a request body at most.
const BODY_MAX: usize = 64 * 1024;
