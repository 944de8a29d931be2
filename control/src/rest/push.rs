//! `/rest-api/push/*` (wcs-api 1.3): translates, then calls the use-cases.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use sipcast_contract::RtmpUrl;

use super::error::Problem;
use super::value::{Fields, Text};
use super::{RTMP_URL, STREAM_NAME, bad_rtmp_url};
use crate::broadcast::Broadcasts;
use crate::ordered_url::OrderedUrl;
use crate::push::{PushFilter, PushOrder, PushView};

/// `POST /push/startup`: answers with the transponder.
pub(crate) async fn startup(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Transponder>, Problem> {
    let view = broadcasts.push(push_order(&fields)?).await?;
    Ok(Json(view.into()))
}

/// `POST /push/find`.
pub(crate) async fn find(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Vec<Transponder>>, Problem> {
    let filter = PushFilter {
        stream: fields.text("streamName", STREAM_NAME)?,
        rtmp_url: fields.text("rtmpUrl", RTMP_URL)?,
    };
    found(&broadcasts, &filter)
}

/// `GET` or `POST /push/find_all`.
pub(crate) async fn find_all(
    State(broadcasts): State<Broadcasts>,
) -> Result<Json<Vec<Transponder>>, Problem> {
    found(&broadcasts, &PushFilter::default())
}

/// `POST /push/terminate`.
pub(crate) async fn terminate(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    broadcasts.terminate_push(&fields.required_text("mediaSessionId", MEDIA_SESSION_ID)?)?;
    Ok(StatusCode::OK)
}

/// `POST /push/mute`.
pub(crate) async fn mute(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    set_muted(&broadcasts, &fields, true)
}

/// `POST /push/unmute`.
pub(crate) async fn unmute(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    set_muted(&broadcasts, &fields, false)
}

/// A target on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transponder {
    media_session_id: String,
    stream_name: String,
    rtmp_url: String,
    width: u16,
    height: u16,
    muted: bool,
    sound_enabled: bool,
    options: Value,
}

impl From<PushView> for Transponder {
    fn from(view: PushView) -> Self {
        Self {
            media_session_id: view.media_session_id,
            stream_name: view.stream_name,
            rtmp_url: view.rtmp_url,
            width: view.width,
            height: view.height,
            muted: view.muted,
            sound_enabled: false,
            options: view.options,
        }
    }
}

fn found(broadcasts: &Broadcasts, filter: &PushFilter) -> Result<Json<Vec<Transponder>>, Problem> {
    let found: Vec<Transponder> = broadcasts.find_pushes(filter).into_iter().map(Transponder::from).collect();
    if found.is_empty() { Err(Problem::not_found(None, "no push matches")) } else { Ok(Json(found)) }
}

fn set_muted(broadcasts: &Broadcasts, fields: &Fields, muted: bool) -> Result<StatusCode, Problem> {
    broadcasts.set_push_muted(&fields.required_text("mediaSessionId", MEDIA_SESSION_ID)?, muted)?;
    Ok(StatusCode::OK)
}

fn push_order(fields: &Fields) -> Result<PushOrder, Problem> {
    let stream = fields.required_text("streamName", STREAM_NAME)?;
    let text = fields.required_text("rtmpUrl", RTMP_URL)?;
    let (url, name_in_url) = if fields.boolean("rtmpTransponderFullUrl")?.unwrap_or(false) {
        let (url, name) = RtmpUrl::parse_with_stream(&text).map_err(bad_rtmp_url)?;
        (url, Some(name))
    } else {
        (RtmpUrl::parse(&text).map_err(bad_rtmp_url)?, None)
    };
    let options = fields.object("options")?;
    let muted = match options.get("action") {
        None | Some(Value::Null) => false,
        Some(Value::String(action)) if action.is_empty() => false,
        Some(Value::String(action)) if action == "mute" => true,
        Some(_) => {
            return Err(Problem::invalid("options.action", "is no known action", "mute, or no action"));
        }
    };
    Ok(PushOrder {
        stream,
        url,
        url_as_ordered: match &name_in_url {
            Some(_) => OrderedUrl::with_stream(text),
            None => OrderedUrl::new(text),
        },
        name_in_url,
        flash_version: fields.text("rtmpFlashVersion", FLASH_VERSION)?,
        muted,
        options: Value::Object(options),
    })
}

const MEDIA_SESSION_ID: Text = Text::word(128, "the mediaSessionId that /push/startup gave");
const FLASH_VERSION: Text = Text::free(128, "up to 128 printable characters");
