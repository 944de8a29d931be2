//! `/rest-api/{pull/rtmp,mixer,stream}/*` (wcs-api 1.5): streams that live in this process. Translates, then calls the
//! use-cases. `find_all` of mixers and pulls answers an empty list with 200: pages parse what comes.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Serialize;
use sipcast_contract::RtmpUrl;
use utoipa::ToSchema;

use super::error::Problem;
use super::responses::{Busy, HostDenied, Malformed, NoRoom, NothingMatches, Taken};
use super::value::Fields;
use crate::broadcast::Broadcasts;
use crate::local_streams::{MIXER_SCHEME, StreamFilter, StreamView};
use crate::order::{self, Text};

/// All paths below `/pull/rtmp`.
pub(super) fn pull_routes() -> Router<Broadcasts> {
    Router::new()
        .route("/pull", post(pull))
        .route("/startup", post(pull))
        .route("/find_all", get(pulls).post(pulls))
        .route("/terminate", post(end_pull))
}

/// All paths below `/mixer`.
pub(super) fn mixer_routes() -> Router<Broadcasts> {
    Router::new()
        .route("/startup", post(start_mixer))
        .route("/add", post(add_to_mixer))
        .route("/remove", post(remove_from_mixer))
        .route("/terminate", post(end_mixer))
        .route("/find_all", get(mixers).post(mixers))
}

/// All paths below `/stream`.
pub(super) fn stream_routes() -> Router<Broadcasts> {
    Router::new()
        .route("/find", post(find_streams))
        .route("/find_all", get(all_streams).post(all_streams))
        .route("/terminate", post(end_streams))
}

/// A pulled stream on the wire.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pulled {
    local_media_session_id: String,
    local_stream_name: String,
    uri: String,
    status: &'static str,
    has_audio: bool,
    has_video: bool,
    record: bool,
}

/// A mixer on the wire.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mixer {
    uri: String,
    local_stream_name: String,
    status: &'static str,
    media_sessions: Vec<String>,
    has_audio: bool,
    has_video: bool,
    record: bool,
}

/// A local stream on the wire: the keys of the original's StreamStatusEvent (wcs-api 1.6), unset ones `null` or 0.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamObject {
    node_id: Option<String>,
    app_key: Option<String>,
    session_id: Option<String>,
    media_session_id: String,
    name: String,
    published: bool,
    has_video: bool,
    has_audio: bool,
    status: &'static str,
    audio_codec: Option<&'static str>,
    video_codec: Option<&'static str>,
    record: bool,
    width: u16,
    height: u16,
    bitrate: u32,
    min_bitrate: u32,
    max_bitrate: u32,
    quality: u32,
    history: bool,
    gop: u32,
    fps: u32,
    audio_bitrate: u32,
    codec_impl: Option<&'static str>,
    transport: Option<&'static str>,
    cvo_extension: bool,
    create_date: u64,
    media_type: &'static str,
    audio_state: Muted,
    video_state: Muted,
    media_provider: &'static str,
    /// Why it is not on the air; only in hooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<String>,
}

/// Whether one of a stream's media is replaced by nothing.
#[derive(Serialize, ToSchema)]
pub(crate) struct Muted {
    muted: bool,
}

impl StreamObject {
    /// As an RTMP output of a call is told: where it stands, why, and whether it is silent.
    pub(crate) fn of_target(
        view: StreamView,
        status: &'static str,
        info: Option<String>,
        muted: bool,
    ) -> Self {
        Self { status, info, audio_state: Muted { muted }, ..Self::from(view) }
    }
}

impl From<StreamView> for StreamObject {
    fn from(view: StreamView) -> Self {
        Self {
            node_id: None,
            app_key: view.app_key,
            session_id: None,
            media_session_id: view.media_session_id,
            name: view.name,
            published: true,
            has_video: view.has_video,
            has_audio: view.has_audio,
            status: view.status,
            audio_codec: None,
            video_codec: view.has_video.then_some("H264"),
            record: false,
            width: view.width,
            height: view.height,
            bitrate: 0,
            min_bitrate: 0,
            max_bitrate: 0,
            quality: 0,
            history: false,
            gop: 0,
            fps: 0,
            audio_bitrate: 0,
            codec_impl: None,
            transport: None,
            cvo_extension: false,
            create_date: view.create_date_ms,
            media_type: "publish",
            audio_state: Muted { muted: false },
            video_state: Muted { muted: false },
            media_provider: view.media_provider,
            info: None,
        }
    }
}

/// `POST /pull/rtmp/pull` and `/pull/rtmp/startup`: plays a stream from another server.
#[utoipa::path(
    post,
    path = "/rest-api/pull/rtmp/pull",
    tag = "compatible",
    request_body(content = Object, description = "`uri`, `localStreamName`; the same at `/rest-api/pull/rtmp/startup`"),
    responses(
        Taken, Malformed, HostDenied, NoRoom, Busy,
    ),
)]
pub(super) async fn pull(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let text = fields.required_text("uri", PULL_URI)?;
    let (url, stream) = RtmpUrl::parse_with_stream(&text)
        .map_err(|error| Problem::invalid("uri", error.to_string(), PULL_URI.expected))?;
    if fields.boolean("record")? == Some(true) {
        return Err(Problem::invalid(
            "record",
            "is true, and nothing is recorded here",
            "false, or no record",
        ));
    }
    let name = fields.text("localStreamName", order::STREAM_NAME)?;
    let pulled = broadcasts.start_pull(text, url, stream, name).await;
    pulled.map_err(|error| Problem::of_local("uri", error))?;
    Ok(StatusCode::OK)
}

/// `GET` or `POST /pull/rtmp/find_all`.
#[utoipa::path(
    method(get, post),
    path = "/rest-api/pull/rtmp/find_all",
    tag = "compatible",
    responses(
        (status = 200, description = "All pulled streams, which may be none", body = Vec<Pulled>),
    ),
)]
pub(super) async fn pulls(State(broadcasts): State<Broadcasts>) -> Json<Vec<Pulled>> {
    let shown = broadcasts.pulls().into_iter().map(|view| Pulled {
        local_media_session_id: view.session,
        local_stream_name: view.local_stream_name,
        uri: view.uri,
        status: view.status,
        has_audio: true,
        has_video: view.has_video,
        record: false,
    });
    Json(shown.collect())
}

/// `POST /pull/rtmp/terminate`.
#[utoipa::path(
    post,
    path = "/rest-api/pull/rtmp/terminate",
    tag = "compatible",
    request_body(content = Object, description = "`uri`"),
    responses(
        Taken, Malformed, NothingMatches,
    ),
)]
pub(super) async fn end_pull(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let uri = fields.required_text("uri", PULL_URI)?;
    broadcasts.terminate_local(&uri, false).map_err(|error| Problem::of_local("uri", error))?;
    Ok(StatusCode::OK)
}

/// `POST /mixer/startup`: a stream that is the sum of others.
#[utoipa::path(
    post,
    path = "/rest-api/mixer/startup",
    tag = "compatible",
    request_body(content = Object, description = "`uri` (`mixer://name`), `localStreamName`"),
    responses(
        Taken, Malformed, NoRoom, Busy,
    ),
)]
pub(super) async fn start_mixer(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let uri = mixer_uri(&fields)?;
    let name = fields.text("localStreamName", order::STREAM_NAME)?;
    let name = name.unwrap_or_else(|| uri[MIXER_SCHEME.len()..].to_owned());
    broadcasts.start_mixer(uri, &name).map_err(|error| Problem::of_local("uri", error))?;
    Ok(StatusCode::OK)
}

/// `POST /mixer/add`.
#[utoipa::path(
    post,
    path = "/rest-api/mixer/add",
    tag = "compatible",
    request_body(content = Object, description = "`uri`, `remoteStreamName`"),
    responses(
        Taken, Malformed, NothingMatches, NoRoom, Busy,
    ),
)]
pub(super) async fn add_to_mixer(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let (uri, stream) = mixer_input(&fields)?;
    broadcasts.add_to_mixer(&uri, &stream).map_err(|error| Problem::of_local("remoteStreamName", error))?;
    Ok(StatusCode::OK)
}

/// `POST /mixer/remove`.
#[utoipa::path(
    post,
    path = "/rest-api/mixer/remove",
    tag = "compatible",
    request_body(content = Object, description = "`uri`, `remoteStreamName`"),
    responses(
        Taken, Malformed, NothingMatches, Busy,
    ),
)]
pub(super) async fn remove_from_mixer(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let (uri, stream) = mixer_input(&fields)?;
    let removed = broadcasts.remove_from_mixer(&uri, &stream);
    removed.map_err(|error| Problem::of_local("remoteStreamName", error))?;
    Ok(StatusCode::OK)
}

/// `POST /mixer/terminate`.
#[utoipa::path(
    post,
    path = "/rest-api/mixer/terminate",
    tag = "compatible",
    request_body(content = Object, description = "`uri`"),
    responses(
        Taken, Malformed, NothingMatches,
    ),
)]
pub(super) async fn end_mixer(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let uri = mixer_uri(&fields)?;
    broadcasts.terminate_local(&uri, true).map_err(|error| Problem::of_local("uri", error))?;
    Ok(StatusCode::OK)
}

/// `GET` or `POST /mixer/find_all`.
#[utoipa::path(
    method(get, post),
    path = "/rest-api/mixer/find_all",
    tag = "compatible",
    responses(
        (status = 200, description = "All mixers, which may be none", body = Vec<Mixer>),
    ),
)]
pub(super) async fn mixers(State(broadcasts): State<Broadcasts>) -> Json<Vec<Mixer>> {
    let shown = broadcasts.mixers().into_iter().map(|view| Mixer {
        uri: view.uri,
        local_stream_name: view.local_stream_name,
        status: "PROCESSED_LOCAL",
        media_sessions: view.media_sessions,
        has_audio: true,
        has_video: view.has_video,
        record: false,
    });
    Json(shown.collect())
}

/// `POST /stream/find`.
#[utoipa::path(
    post,
    path = "/rest-api/stream/find",
    tag = "compatible",
    request_body(content = Object, description = "`mediaSessionId`, `mediaSessionIds`, `name`, `status`, `published`: all that are given must fit"),
    responses(
        (status = 200, description = "What fits", body = Vec<StreamObject>),
        Malformed, NothingMatches,
    ),
)]
pub(super) async fn find_streams(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Vec<StreamObject>>, Problem> {
    found(&broadcasts, &stream_filter(&fields)?)
}

/// `GET` or `POST /stream/find_all`.
#[utoipa::path(
    method(get, post),
    path = "/rest-api/stream/find_all",
    tag = "compatible",
    responses(
        (status = 200, description = "All local streams", body = Vec<StreamObject>),
        NothingMatches,
    ),
)]
pub(super) async fn all_streams(
    State(broadcasts): State<Broadcasts>,
) -> Result<Json<Vec<StreamObject>>, Problem> {
    found(&broadcasts, &StreamFilter::default())
}

/// `POST /stream/terminate`: ends what fits, and the calls that these streams come from.
#[utoipa::path(
    post,
    path = "/rest-api/stream/terminate",
    tag = "compatible",
    request_body(content = Object, description = "`mediaSessionId`, `mediaSessionIds`, `name`, `status`, `published`: all that are given must fit"),
    responses(
        Taken, Malformed, NothingMatches,
    ),
)]
pub(super) async fn end_streams(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    match broadcasts.terminate_streams(&stream_filter(&fields)?) {
        0 => Err(Problem::not_found(None, "no stream matches")),
        _ => Ok(StatusCode::OK),
    }
}

fn found(broadcasts: &Broadcasts, filter: &StreamFilter) -> Result<Json<Vec<StreamObject>>, Problem> {
    let found: Vec<StreamObject> = broadcasts.streams(filter).into_iter().map(Into::into).collect();
    if found.is_empty() { Err(Problem::not_found(None, "no stream matches")) } else { Ok(Json(found)) }
}

fn stream_filter(fields: &Fields) -> Result<StreamFilter, Problem> {
    let one = fields.text("mediaSessionId", SESSION)?;
    Ok(StreamFilter {
        media_session_ids: fields.texts("mediaSessionIds", SESSION)?.into_iter().chain(one).collect(),
        name: fields.text("name", order::STREAM_NAME)?,
        status: fields.text("status", STREAM_STATUS)?,
        published: fields.boolean("published")?,
    })
}

fn mixer_uri(fields: &Fields) -> Result<String, Problem> {
    let uri = fields.required_text("uri", MIXER_URI)?;
    if uri.len() > MIXER_SCHEME.len() && uri.starts_with(MIXER_SCHEME) {
        Ok(uri)
    } else {
        Err(Problem::invalid("uri", "is no mixer's URI", MIXER_URI.expected))
    }
}

fn mixer_input(fields: &Fields) -> Result<(String, String), Problem> {
    Ok((mixer_uri(fields)?, fields.required_text("remoteStreamName", order::STREAM_NAME)?))
}

const PULL_URI: Text = Text::word(RtmpUrl::LEN_MAX, "rtmp[s]://[user:password@]host[:port]/app/stream");
const MIXER_URI: Text = Text::word(256, "mixer://name");
const SESSION: Text = Text::word(128, "a mediaSessionId that /stream/find gave");
const STREAM_STATUS: Text = Text::word(32, "PENDING or PUBLISHING");
