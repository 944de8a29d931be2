//! `/rest-api/{pull/rtmp,mixer,stream}/*` (wcs-api 1.5): streams that live in this process. Translates, then calls the
//! use-cases. `find_all` of mixers and pulls answers an empty list with 200: pages parse what comes.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Value, json};
use sipcast_contract::RtmpUrl;

use super::error::Problem;
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    local_media_session_id: String,
    local_stream_name: String,
    uri: String,
    status: &'static str,
    has_audio: bool,
    has_video: bool,
    record: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mixer {
    uri: String,
    local_stream_name: String,
    status: &'static str,
    media_sessions: Vec<String>,
    has_audio: bool,
    has_video: bool,
    record: bool,
}

async fn pull(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
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

async fn pulls(State(broadcasts): State<Broadcasts>) -> Json<Vec<Pulled>> {
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

async fn end_pull(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    let uri = fields.required_text("uri", PULL_URI)?;
    broadcasts.terminate_local(&uri, false).map_err(|error| Problem::of_local("uri", error))?;
    Ok(StatusCode::OK)
}

async fn start_mixer(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    let uri = mixer_uri(&fields)?;
    let name = fields.text("localStreamName", order::STREAM_NAME)?;
    let name = name.unwrap_or_else(|| uri[MIXER_SCHEME.len()..].to_owned());
    broadcasts.start_mixer(uri, &name).map_err(|error| Problem::of_local("uri", error))?;
    Ok(StatusCode::OK)
}

async fn add_to_mixer(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    let (uri, stream) = mixer_input(&fields)?;
    broadcasts.add_to_mixer(&uri, &stream).map_err(|error| Problem::of_local("remoteStreamName", error))?;
    Ok(StatusCode::OK)
}

async fn remove_from_mixer(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let (uri, stream) = mixer_input(&fields)?;
    let removed = broadcasts.remove_from_mixer(&uri, &stream);
    removed.map_err(|error| Problem::of_local("remoteStreamName", error))?;
    Ok(StatusCode::OK)
}

async fn end_mixer(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    let uri = mixer_uri(&fields)?;
    broadcasts.terminate_local(&uri, true).map_err(|error| Problem::of_local("uri", error))?;
    Ok(StatusCode::OK)
}

async fn mixers(State(broadcasts): State<Broadcasts>) -> Json<Vec<Mixer>> {
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

async fn find_streams(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Vec<Value>>, Problem> {
    found(&broadcasts, &stream_filter(&fields)?)
}

async fn all_streams(State(broadcasts): State<Broadcasts>) -> Result<Json<Vec<Value>>, Problem> {
    found(&broadcasts, &StreamFilter::default())
}

async fn end_streams(State(broadcasts): State<Broadcasts>, fields: Fields) -> Result<StatusCode, Problem> {
    match broadcasts.terminate_streams(&stream_filter(&fields)?) {
        0 => Err(Problem::not_found(None, "no stream matches")),
        _ => Ok(StatusCode::OK),
    }
}

fn found(broadcasts: &Broadcasts, filter: &StreamFilter) -> Result<Json<Vec<Value>>, Problem> {
    let found: Vec<Value> = broadcasts.streams(filter).iter().map(stream_object).collect();
    if found.is_empty() { Err(Problem::not_found(None, "no stream matches")) } else { Ok(Json(found)) }
}

/// The keys of the original's StreamStatusEvent (wcs-api 1.6).
pub(crate) fn stream_object(view: &StreamView) -> Value {
    json!({
        "nodeId": null, "appKey": view.app_key, "sessionId": null, "mediaSessionId": view.media_session_id,
        "name": view.name, "published": true, "hasVideo": view.has_video, "hasAudio": view.has_audio,
        "status": view.status, "audioCodec": null, "videoCodec": if view.has_video { Some("H264") } else { None },
        "record": false, "width": view.width, "height": view.height, "bitrate": 0, "minBitrate": 0,
        "maxBitrate": 0, "quality": 0, "history": false, "gop": 0, "fps": 0, "audioBitrate": 0,
        "codecImpl": null, "transport": null, "cvoExtension": false, "createDate": view.create_date_ms,
        "mediaType": "publish", "audioState": { "muted": false }, "videoState": { "muted": false },
        "mediaProvider": view.media_provider,
    })
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
