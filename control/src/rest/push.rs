//! `/rest-api/push/*` (wcs-api 1.3): translates, then calls the use-cases.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::{Body, Problem};
use super::responses::{
    AppRefuses, Busy, BusyOrUnanswered, Malformed, NoRoom, NothingMatches, OrderDenied, Taken, Unplayable,
};
use super::target_request;
use super::value::Fields;
use crate::broadcast::Broadcasts;
use crate::order::{self, TargetRequest, Text};
use crate::push::{PushFilter, PushOrder, PushView};
use crate::sounds::SOUND_FILE;

/// `POST /push/startup`: answers with the transponder.
#[utoipa::path(
    post,
    path = "/rest-api/push/startup",
    tag = "compatible",
    request_body(content = Object, description = "`streamName`, `rtmpUrl` and more; see docs/api.md"),
    responses(
        (status = 200, description = "Added", body = Transponder),
        Malformed, OrderDenied, NothingMatches, NoRoom, BusyOrUnanswered,
    ),
)]
pub(crate) async fn startup(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Transponder>, Problem> {
    let view = broadcasts.push(push_order(&broadcasts, &fields)?).await?;
    Ok(Json(view.into()))
}

/// `POST /push/find`.
#[utoipa::path(
    post,
    path = "/rest-api/push/find",
    tag = "compatible",
    request_body(content = Object, description = "`streamName`, `rtmpUrl`: all that are given must fit"),
    responses(
        (status = 200, description = "What fits", body = Vec<Transponder>),
        Malformed, NothingMatches,
    ),
)]
pub(crate) async fn find(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Vec<Transponder>>, Problem> {
    let filter = PushFilter {
        stream: fields.text("streamName", order::STREAM_NAME)?,
        rtmp_url: fields.text("rtmpUrl", order::RTMP_URL)?,
    };
    found(&broadcasts, &filter)
}

/// `GET` or `POST /push/find_all`.
#[utoipa::path(
    method(get, post),
    path = "/rest-api/push/find_all",
    tag = "compatible",
    responses(
        (status = 200, description = "All pushes", body = Vec<Transponder>),
        NothingMatches,
    ),
)]
pub(crate) async fn find_all(
    State(broadcasts): State<Broadcasts>,
) -> Result<Json<Vec<Transponder>>, Problem> {
    found(&broadcasts, &PushFilter::default())
}

/// `POST /push/terminate`.
#[utoipa::path(
    post,
    path = "/rest-api/push/terminate",
    tag = "compatible",
    request_body(content = Object, description = "`mediaSessionId`"),
    responses(
        Taken, Malformed, AppRefuses, NothingMatches, BusyOrUnanswered,
    ),
)]
pub(crate) async fn terminate(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    broadcasts.terminate_push(&fields.required_text("mediaSessionId", MEDIA_SESSION_ID)?).await?;
    Ok(StatusCode::OK)
}

/// `POST /push/mute`.
#[utoipa::path(
    post,
    path = "/rest-api/push/mute",
    tag = "compatible",
    request_body(content = Object, description = "`mediaSessionId`"),
    responses(
        Taken, Malformed, NothingMatches, Busy,
    ),
)]
pub(crate) async fn mute(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    set_muted(&broadcasts, &fields, true)
}

/// `POST /push/unmute`.
#[utoipa::path(
    post,
    path = "/rest-api/push/unmute",
    tag = "compatible",
    request_body(content = Object, description = "`mediaSessionId`"),
    responses(
        Taken, Malformed, NothingMatches, Busy,
    ),
)]
pub(crate) async fn unmute(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    set_muted(&broadcasts, &fields, false)
}

/// `POST /push/sound_on`: a file instead of the stream's sound.
#[utoipa::path(
    post,
    path = "/rest-api/push/sound_on",
    tag = "compatible",
    request_body(content = Object, description = "`mediaSessionId`, `soundFile`, `loop`"),
    responses(
        Taken, Unplayable,
        (status = 404, description = "No such target or file", body = Body),
        (status = 409, description = "The target's sound cannot be replaced", body = Body),
        Busy,
    ),
)]
pub(crate) async fn sound_on(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let session = fields.required_text("mediaSessionId", MEDIA_SESSION_ID)?;
    let name = fields.required_text("soundFile", SOUND_FILE)?;
    let looped = fields.boolean("loop")?.unwrap_or(false);
    let switched = broadcasts.push_sound_on(&session, name, looped).await;
    switched.map_err(|error| Problem::of_sound("soundFile", error))?;
    Ok(StatusCode::OK)
}

/// `POST /push/sound_off`: the stream's own sound again.
#[utoipa::path(
    post,
    path = "/rest-api/push/sound_off",
    tag = "compatible",
    request_body(content = Object, description = "`mediaSessionId`"),
    responses(
        Taken, Malformed, NothingMatches, Busy,
    ),
)]
pub(crate) async fn sound_off(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let session = fields.required_text("mediaSessionId", MEDIA_SESSION_ID)?;
    broadcasts.push_sound_off(&session).map_err(|error| Problem::of_sound("soundFile", error))?;
    Ok(StatusCode::OK)
}

/// A target on the wire.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transponder {
    media_session_id: String,
    stream_name: String,
    rtmp_url: String,
    width: u16,
    height: u16,
    muted: bool,
    sound_enabled: bool,
    #[schema(value_type = Object)]
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
            sound_enabled: view.sound_enabled,
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

fn push_order(broadcasts: &Broadcasts, fields: &Fields) -> Result<PushOrder, Problem> {
    let stream = fields.required_text("streamName", order::STREAM_NAME)?;
    let url = fields.required_text("rtmpUrl", order::RTMP_URL)?;
    let options = fields.object("options")?;
    let expected = "mute, sound_on with a soundFile, or no action";
    let text = |field: &str| match options.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(()),
    };
    let bad = |()| Problem::invalid("options.action", "is no known action", expected);
    let file = text("soundFile")
        .map_err(|()| Problem::invalid("options.soundFile", "is no text", SOUND_FILE.expected))?;
    let (muted, sound) = match text("action").map_err(bad)?.as_deref() {
        None => (false, None),
        Some("mute") => (true, None),
        Some("sound_on") => {
            let name = SOUND_FILE.required("options.soundFile", file)?;
            (false, Some((name, is_true(options.get("loop")))))
        }
        Some(_) => return Err(bad(())),
    };
    // Beside the other actions of a push, for pages that can give options only.
    let audio = text("audio")
        .map_err(|()| Problem::invalid("options.audio", "is no text", order::RTMP_AUDIO.expected))?;
    let audio = order::target_audio("options.audio", audio)?;
    let name = match fields.boolean("rtmpTransponderFullUrl")?.unwrap_or(false) {
        true => None,
        false => Some(broadcasts.shared.options.stream_prefix.published(&stream)),
    };
    let request =
        TargetRequest { rtmp_stream: name, muted: Some(muted), ..target_request(fields, Some(url))? };
    let is_said = request.rtmp_audio.is_some();
    let mut target = request.clone().validate("", &broadcasts.shared.options.contracts)?;
    if let (Some(audio), false) = (audio, is_said) {
        target.audio = audio;
    }
    Ok(PushOrder { stream, target, request, sound, options: Value::Object(options) })
}

/// `true` as JSON or as text, as pages send it.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

const MEDIA_SESSION_ID: Text = Text::word(128, "the mediaSessionId that /push/startup gave");
