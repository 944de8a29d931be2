//! Playback in browsers: FLV over HTTP and over WebSocket, on `/{app}/{stream}.flv`.
//! Takes: GET requests. Gives: an FLV file without end, or 404 and 503 with a JSON body.
//! Leaves out: the HTTP server, which mounts the router and bounds idle connections.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{
    Message as Frame, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt, stream};
use tokio::time::timeout;

use crate::flv;
use crate::player_queue::Tag;
use crate::registry::{PlayRefused, Registry};
use crate::stream::Player;
use crate::stream_name::StreamName;

/// Routes of the players.
pub(crate) fn router(registry: Arc<Registry>) -> Router {
    Router::new().route("/{app}/{file}", get(play).options(preflight)).with_state(registry)
}

async fn play(
    State(registry): State<Arc<Registry>>,
    Path((app, file)): Path<(String, String)>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let mut response = match (open(&registry, &app, &file), upgrade) {
        (Err(refused), _) => refusal(refused),
        (Ok(player), Ok(upgrade)) => {
            upgrade.on_upgrade(move |socket| play_websocket(socket, player, registry))
        }
        (Ok(_), Err(rejection)) if headers.contains_key(header::SEC_WEBSOCKET_VERSION) => {
            rejection.into_response()
        }
        (Ok(player), Err(_)) => play_http(player, registry),
    };
    allow_all_origins(response.headers_mut());
    response
}

async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    allow_all_origins(headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    response
}

fn open(registry: &Registry, app: &str, file: &str) -> Result<Player, PlayRefused> {
    let stream = file.strip_suffix(".flv").ok_or(PlayRefused::NotLive)?;
    let name = StreamName::new(app, stream).map_err(|_| PlayRefused::NotLive)?;
    registry.play(&name)
}

fn refusal(refused: PlayRefused) -> Response {
    let (status, body) = match refused {
        PlayRefused::NotLive => (
            StatusCode::NOT_FOUND,
            r#"{"status":404,"error":"stream not live","message":"No such stream is live; expected /{app}/{stream}.flv of a stream that is being published."}"#,
        ),
        PlayRefused::TooMany => (
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{"status":503,"error":"too many players","message":"The origin has no place for another player; try again later."}"#,
        ),
    };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache, no-store")];
    (status, headers, body).into_response()
}

fn allow_all_origins(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

fn play_http(player: Player, registry: Arc<Registry>) -> Response {
    let body = stream::unfold(FlvStream::new(player, registry), |mut flv| async move {
        let bytes = flv.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(bytes), flv))
    });
    let headers = [(header::CONTENT_TYPE, "video/x-flv"), (header::CACHE_CONTROL, "no-cache, no-store")];
    (headers, Body::from_stream(body)).into_response()
}

async fn play_websocket(socket: WebSocket, player: Player, registry: Arc<Registry>) {
    let stall_timeout = registry.options.stall_timeout;
    let (mut sink, mut source) = socket.split();
    let mut flv = FlvStream::new(player, registry);
    loop {
        let bytes = tokio::select! {
            bytes = flv.next() => bytes,
            // Reading answers pings; what a player says does not matter, only that it leaves.
            frame = source.next() => match frame {
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let end = bytes.is_none();
        let frame = bytes.map_or(Frame::Close(None), Frame::Binary);
        let sent = timeout(stall_timeout, sink.send(frame)).await;
        if end || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// The bytes of one player's FLV file.
struct FlvStream {
    player: Player,
    registry: Arc<Registry>,
    tags: Vec<Tag>,
    begun: bool,
}

impl FlvStream {
    const fn new(player: Player, registry: Arc<Registry>) -> Self {
        Self { player, registry, tags: Vec::new(), begun: false }
    }

    /// The next part; `None` at the end. May be dropped while it waits: nothing is lost.
    async fn next(&mut self) -> Option<Bytes> {
        let more = tokio::select! {
            more = self.player.take(&mut self.tags) => more,
            () = self.registry.stop.cancelled() => false,
        };
        if !more {
            return None;
        }
        let len: usize = self.tags.iter().map(|tag| tag.body.len() + flv::TAG_OVERHEAD).sum();
        let mut out = BytesMut::with_capacity(len + flv::TAG_OVERHEAD);
        if !self.begun {
            self.begun = true;
            flv::write_header(self.player.tracks(), &mut out);
        }
        for Tag { kind, timestamp_ms, body } in self.tags.drain(..) {
            flv::write_tag(kind, timestamp_ms, &body, &mut out);
        }
        Some(out.freeze())
    }
}
