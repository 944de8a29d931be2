//! `/v1`: broadcasts, their targets and accounts as resources, described by an OpenAPI 3.1 document that is made
//! from this code and can be read at `/docs` without a network.
//! Takes: requests. Gives: JSON; every refusal is a problem of RFC 9457 (`problem`).
//! Leaves out: the rules of orders (`order`) and what they do (`broadcast`, `targets`).

mod accounts;
mod body;
mod broadcasts;
mod events;
mod ladder;
mod problem;
mod responses;
mod targets;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::broadcast::Broadcasts;
use crate::events::Event;
use crate::rest::{call, inject, legacy, local, push};
pub(in crate::rest) use problem::Refusal;

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "sipcast",
        description = "Phones SIP callees and publishes their picture and sound live to RTMP targets.\n\n\
            A broadcast is one call in and any number of RTMP targets out. Fields have the names of the compatible \
            API under `/rest-api`, with native JSON types, and unknown fields are refused. Every refusal is \
            `application/problem+json` (RFC 9457) that names the `field` and what was `expected`.\n\n\
            Where the operator has set API keys, every request needs one as `Authorization: Bearer`, as `X-API-Key`, or \
            as password of Basic; without it the answer is 401. Too many requests are answered with 429.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "broadcasts", description = "Calls: order, watch, steer, end."),
        (name = "targets", description = "RTMP outputs of a broadcast; they come and go while it is live."),
        (name = "accounts", description = "SIP registrations."),
        (name = "events", description = "What happens, as it happens."),
        (name = "compatible", description = "The API of Web Call Server 5's \"SIP as RTMP\", read leniently: \
            values may be strings, unknown fields are ignored."),
    ),
    paths(
        call::startup, call::find, call::find_all, call::terminate, call::send_dtmf,
        inject::sound, inject::stream, inject::end_stream,
        push::startup, push::find, push::find_all, push::terminate, push::mute, push::unmute,
        push::sound_on, push::sound_off,
        local::pull, local::pulls, local::end_pull,
        local::start_mixer, local::add_to_mixer, local::remove_from_mixer, local::end_mixer, local::mixers,
        local::find_streams, local::all_streams, local::end_streams,
        legacy::startup, legacy::status, legacy::send_dtmf, legacy::hang_up, legacy::calls,
    ),
    components(schemas(Event)),
)]
struct Api;

/// Routes under `/v1`, and `/docs`.
pub(super) fn routes(broadcasts: &Broadcasts) -> Router<Broadcasts> {
    let (api, document) = described();
    let api = api
        .route("/v1", any(unknown_path))
        .route("/v1/", any(unknown_path))
        .route("/v1/{*path}", any(unknown_path))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(broadcasts.clone(), super::cross_origin_v1));
    let json = serde_json::to_string(&document).expect("a description is plain data");
    let served = get(|| async move { ([(CONTENT_TYPE, "application/json")], json) });
    let docs = SwaggerUi::new("/docs").config(
        Config::from("/v1/openapi.json").validator_url("none").try_it_out_enabled(true).use_base_layout(),
    );
    let docs = Router::<Broadcasts>::from(docs).layer(middleware::from_fn(only_from_here));
    Router::new().route("/v1/openapi.json", served).merge(api).merge(docs)
}

/// Routes and the document made from them.
fn described() -> (Router<Broadcasts>, Document) {
    let (router, mut document) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(broadcasts::create, broadcasts::list))
        .routes(routes!(broadcasts::show, broadcasts::end))
        .routes(routes!(broadcasts::send_dtmf))
        .routes(routes!(ladder::show))
        .routes(routes!(targets::list, targets::add))
        .routes(routes!(targets::show, targets::change, targets::remove))
        .routes(routes!(targets::conformity))
        .routes(routes!(accounts::list))
        .routes(routes!(events::listen))
        .split_for_parts();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    (router, document)
}

async fn unknown_path() -> Refusal {
    super::Problem::unknown_path().into()
}

async fn wrong_method(method: Method) -> Refusal {
    super::Problem::wrong_method_of_v1(&method).into()
}

/// Nothing of the page comes from elsewhere. Its script sets styles, and draws pictures from `data:`.
async fn only_from_here(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(DOCS_POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

const DOCS_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_openapi_3_1_and_describes_every_resource() {
        let (_, document) = described();
        let document = serde_json::to_value(&document).expect("plain data");
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        for (path, method) in [
            ("/v1/broadcasts", "post"),
            ("/v1/broadcasts", "get"),
            ("/v1/broadcasts/{callId}", "get"),
            ("/v1/broadcasts/{callId}", "delete"),
            ("/v1/broadcasts/{callId}/dtmf", "post"),
            ("/v1/broadcasts/{callId}/targets", "get"),
            ("/v1/broadcasts/{callId}/targets", "post"),
            ("/v1/broadcasts/{callId}/targets/{targetId}", "get"),
            ("/v1/broadcasts/{callId}/targets/{targetId}", "patch"),
            ("/v1/broadcasts/{callId}/targets/{targetId}", "delete"),
            ("/v1/broadcasts/{callId}/ladder", "get"),
            ("/v1/broadcasts/{callId}/targets/{targetId}/conformity", "get"),
            ("/v1/accounts", "get"),
            ("/v1/events", "get"),
            ("/rest-api/call/startup", "post"),
            ("/rest-api/push/unmute", "post"),
            ("/rest-api/call/find_all", "get"),
            ("/rest-api/call/find_all", "post"),
            ("/rest-api/pull/rtmp/pull", "post"),
            ("/rest-api/mixer/find_all", "get"),
            ("/rest-api/stream/terminate", "post"),
            ("/RESTCall/getStatus", "post"),
        ] {
            assert!(document["paths"][path][method].is_object(), "{method} {path}");
        }
        let order = &document["components"]["schemas"]["BroadcastOrder"];
        assert_eq!(order["additionalProperties"], false);
        assert!(order["properties"].get("toStream").is_none(), "only of /rest-api");
    }
}
