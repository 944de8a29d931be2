//! The page, its player and its configuration. Every file is in the binary: nothing is loaded from elsewhere, and
//! the content security policy forbids it.

use axum::Json;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};

use super::statistics;
use crate::PageDefaults;
use crate::broadcast::Broadcasts;

/// `/`, its files, and `/page-config.json`.
pub(crate) fn routes() -> Router<Broadcasts> {
    Router::new()
        .route("/", get(root))
        .route("/page.css", PAGE_CSS.route())
        .route("/page.js", PAGE_JS.route())
        .route("/key.js", KEY_JS.route())
        .route("/ladder.js", LADDER_JS.route())
        .route("/favicon.svg", FAVICON.route())
        .route("/vendor/mpegts.js/mpegts.js", PLAYER.route())
        .route("/vendor/mpegts.js/LICENSE.txt", PLAYER_LICENCE.route())
        .route("/page-config.json", get(config))
}

/// The page, or the statistics that the original gives at the same path.
async fn root(
    State(broadcasts): State<Broadcasts>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let wants_statistics = query.is_some_and(|query| query.split('&').any(|pair| pair == "action=stat"));
    if wants_statistics {
        let text = statistics::as_text(&broadcasts.statistics());
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store"), NO_SNIFFING];
        return (headers, text).into_response();
    }
    INDEX.answer(&headers)
}

async fn config(State(broadcasts): State<Broadcasts>) -> impl IntoResponse {
    let options = &broadcasts.shared.options;
    let config = json!({
        "originRtmpUrl": options.origin_rtmp_url,
        "streamPrefix": options.stream_prefix.as_str(),
        "defaults": options.page.as_ref().map(defaults),
    });
    ([(CACHE_CONTROL, "no-store"), NO_SNIFFING], Json(config))
}

fn defaults(page: &PageDefaults) -> Value {
    json!({
        "sipLogin": page.sip_login,
        "sipAuthenticationName": page.sip_authentication_name,
        "sipPassword": page.sip_password.reveal(),
        "sipDomain": page.sip_domain,
        "sipPort": page.sip_port,
        "sipOutboundProxy": page.sip_outbound_proxy,
        "sipRegisterRequired": page.sip_register_required,
        "hasAudio": page.has_audio,
        "hasVideo": page.has_video,
        "rtmpUrl": page.rtmp_url,
        "rtmpStream": page.rtmp_stream,
        "callee": page.callee,
    })
}

/// A file in the binary.
#[derive(Clone, Copy)]
struct File {
    content_type: &'static str,
    content: &'static [u8],
    /// Seconds that a browser may use it without asking.
    max_age_s: u32,
}

impl File {
    const fn new(content_type: &'static str, content: &'static [u8]) -> Self {
        // The page and its files belong together: after an upgrade of sipcast none may be an old one.
        Self { content_type, content, max_age_s: 0 }
    }

    fn route(self) -> MethodRouter<Broadcasts> {
        get(move |headers: HeaderMap| async move { self.answer(&headers) })
    }

    fn answer(self, request: &HeaderMap) -> Response {
        let tag = format!("\"{:016x}\"", fnv1a(self.content));
        let known = request.get_all(IF_NONE_MATCH).iter().any(|v| v.to_str().is_ok_and(|v| v.contains(&tag)));
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(CONTENT_TYPE, self.content_type)], self.content).into_response()
        };
        let headers = response.headers_mut();
        let mut insert = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        insert(ETAG, &tag);
        match self.max_age_s {
            0 => insert(CACHE_CONTROL, "no-cache"),
            seconds => insert(CACHE_CONTROL, &format!("public, max-age={seconds}")),
        }
        insert(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
        insert(REFERRER_POLICY, "no-referrer");
        insert(NO_SNIFFING.0, NO_SNIFFING.1);
        response
    }
}

/// FNV-1a, 64 bits: tells versions of a file apart, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

const INDEX: File = File::new("text/html; charset=utf-8", include_bytes!("../../web/index.html"));
const PAGE_CSS: File = File::new("text/css; charset=utf-8", include_bytes!("../../web/page.css"));
const PAGE_JS: File = File::new("text/javascript; charset=utf-8", include_bytes!("../../web/page.js"));
const KEY_JS: File = File::new("text/javascript; charset=utf-8", include_bytes!("../../web/key.js"));
const LADDER_JS: File = File::new("text/javascript; charset=utf-8", include_bytes!("../../web/ladder.js"));
const FAVICON: File = File::new("image/svg+xml", include_bytes!("../../web/favicon.svg"));
const PLAYER: File =
    File::new("text/javascript; charset=utf-8", include_bytes!("../../web/vendor/mpegts.js/mpegts.js"));
const PLAYER_LICENCE: File = File {
    max_age_s: 86_400,
    ..File::new("text/plain; charset=utf-8", include_bytes!("../../web/vendor/mpegts.js/LICENSE.txt"))
};

const NO_SNIFFING: (HeaderName, &str) = (X_CONTENT_TYPE_OPTIONS, "nosniff");

/// Own files only; the player feeds the video element by `blob:` URLs, and WebSocket-FLV needs `ws:`, which not every
/// browser counts as `'self'`.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self' blob:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";
