//! `/rest-api/call/*` (wcs-api 1.2): translates, then calls the use-cases.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::error::Problem;
use super::responses::{
    AppRefuses, BusyOrUnanswered, Malformed, NoRoom, NothingMatches, OrderDenied, Taken, TooManyOrders,
};
use super::target_request;
use super::value::Fields;
use crate::broadcast::{Broadcasts, CallFilter, CallView};
use crate::joining;
use crate::order::{self, DtmfRequest, OrderRequest, TargetRequest};

/// `POST /call/startup`: 200 with an empty body as soon as the order is taken.
#[utoipa::path(
    post,
    path = "/rest-api/call/startup",
    tag = "compatible",
    request_body(content = Object, description = "`callId`, `callee`, `sipLogin`, `sipDomain` and more; see docs/api.md"),
    responses(
        Taken, Malformed, OrderDenied, NoRoom, TooManyOrders, BusyOrUnanswered,
    ),
)]
pub(crate) async fn startup(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    broadcasts.order(order_request(&fields)?).await?;
    Ok(StatusCode::OK)
}

/// `POST /call/find`.
#[utoipa::path(
    post,
    path = "/rest-api/call/find",
    tag = "compatible",
    request_body(content = Object, description = "`callId`, `callee`, `rtmpUrl`, `status`: all that are given must fit"),
    responses(
        (status = 200, description = "What fits", body = Vec<Call>),
        Malformed, NothingMatches,
    ),
)]
pub(crate) async fn find(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<Json<Vec<Call>>, Problem> {
    let filter = CallFilter {
        call_id: fields.text("callId", order::CALL_ID)?,
        callee: fields.text("callee", order::CALLEE)?,
        rtmp_url: fields.text("rtmpUrl", order::RTMP_URL)?,
        status: fields.text("status", order::STATUS)?.map(|word| order::status(&word)).transpose()?,
    };
    found(&broadcasts, &filter)
}

/// `GET` or `POST /call/find_all`.
#[utoipa::path(
    method(get, post),
    path = "/rest-api/call/find_all",
    tag = "compatible",
    responses(
        (status = 200, description = "All calls", body = Vec<Call>),
        NothingMatches,
    ),
)]
pub(crate) async fn find_all(State(broadcasts): State<Broadcasts>) -> Result<Json<Vec<Call>>, Problem> {
    found(&broadcasts, &CallFilter::default())
}

/// `POST /call/terminate`.
#[utoipa::path(
    post,
    path = "/rest-api/call/terminate",
    tag = "compatible",
    request_body(content = Object, description = "`callId`"),
    responses(
        Taken, Malformed, AppRefuses, NothingMatches, BusyOrUnanswered,
    ),
)]
pub(crate) async fn terminate(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let call_id = fields.required_text("callId", order::CALL_ID)?;
    broadcasts.order_end(&call_id).await?;
    Ok(StatusCode::OK)
}

/// `POST /call/send_dtmf`; digits ordered before the answer wait for it.
#[utoipa::path(
    post,
    path = "/rest-api/call/send_dtmf",
    tag = "compatible",
    request_body(content = Object, description = "`callId`, `dtmf`, `type`"),
    responses(
        Taken, Malformed, AppRefuses, NothingMatches, NoRoom, BusyOrUnanswered,
    ),
)]
pub(crate) async fn send_dtmf(
    State(broadcasts): State<Broadcasts>,
    fields: Fields,
) -> Result<StatusCode, Problem> {
    let call_id = fields.required_text("callId", order::CALL_ID)?;
    let request = DtmfRequest {
        dtmf: Some(fields.required_text("dtmf", order::DTMF)?),
        kind: fields.text("type", order::DTMF_TYPE)?,
    };
    broadcasts.order_dtmf(&call_id, request).await?;
    Ok(StatusCode::OK)
}

/// A call on the wire: 25 keys in this order, unset ones `null`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Call {
    #[schema(value_type = Object)]
    custom: Map<String, Value>,
    node_id: Option<String>,
    app_key: Option<String>,
    session_id: Option<String>,
    call_id: String,
    parent_call_id: Option<String>,
    incoming: bool,
    status: &'static str,
    sip_status: u16,
    rtmp_url: Option<String>,
    rtmp_stream: Option<String>,
    stream_name: Option<String>,
    rtmp_stream_status: Option<&'static str>,
    caller: String,
    callee: String,
    has_audio: bool,
    has_video: bool,
    sdp: Option<String>,
    visible_name: String,
    #[schema(value_type = Option<Object>)]
    invite_parameters: Option<Map<String, Value>>,
    media_provider: &'static str,
    sip_message_raw: Option<String>,
    is_msrp: bool,
    target: Option<String>,
    hold_for_transfer: bool,
}

impl From<CallView> for Call {
    fn from(view: CallView) -> Self {
        // The original has no key for why a call ended; `custom` is an object of free form and `{}` otherwise.
        let custom = view.reason.into_iter().map(|reason| ("reason".to_owned(), reason.into())).collect();
        Self {
            custom,
            node_id: None,
            app_key: view.app_key,
            session_id: None,
            call_id: view.call_id,
            parent_call_id: None,
            incoming: false,
            status: view.status.as_str(),
            sip_status: view.sip_status,
            rtmp_url: view.rtmp_url,
            rtmp_stream: view.rtmp_stream,
            stream_name: None,
            rtmp_stream_status: view.rtmp_stream_status,
            caller: view.caller,
            callee: view.callee,
            has_audio: view.has_audio,
            has_video: view.has_video,
            sdp: view.sdp,
            visible_name: view.visible_name,
            invite_parameters: None,
            media_provider: "Flash",
            sip_message_raw: None,
            is_msrp: false,
            target: None,
            hold_for_transfer: false,
        }
    }
}

fn found(broadcasts: &Broadcasts, filter: &CallFilter) -> Result<Json<Vec<Call>>, Problem> {
    let calls: Vec<Call> = broadcasts.find_calls(filter).into_iter().map(Call::from).collect();
    if calls.is_empty() { Err(Problem::not_found(None, "no call matches")) } else { Ok(Json(calls)) }
}

fn order_request(fields: &Fields) -> Result<OrderRequest, Problem> {
    let to_stream = fields.text("toStream", order::STREAM_NAME)?;
    Ok(OrderRequest {
        call_id: Some(fields.required_text("callId", order::CALL_ID)?),
        callee: fields.text("callee", order::CALLEE)?,
        has_audio: fields.boolean("hasAudio")?,
        has_video: fields.boolean("hasVideo")?,
        sip_login: fields.text("sipLogin", order::SIP_LOGIN)?,
        sip_authentication_name: fields.text("sipAuthenticationName", order::SIP_NAME)?,
        sip_password: fields.text("sipPassword", order::SIP_PASSWORD)?,
        sip_domain: fields.text("sipDomain", order::SIP_DOMAIN)?,
        sip_outbound_proxy: fields.text("sipOutboundProxy", order::SIP_PROXY)?,
        sip_port: fields.port("sipPort")?,
        sip_transport: fields.text("sipTransport", order::SIP_TRANSPORT)?,
        sip_register_required: fields.boolean("sipRegisterRequired")?,
        visible_name: fields.text("visibleName", order::VISIBLE_NAME)?,
        media_security: fields.text("mediaSecurity", order::MEDIA_SECURITY)?,
        sip_profile: fields.text("sipProfile", joining::SIP_PROFILE)?,
        meeting_id: fields.text("meetingId", joining::MEETING_ID)?,
        passcode: fields.text("passcode", joining::PASSCODE)?,
        dial_script: fields.text("dialScript", joining::DIAL_SCRIPT)?,
        dial_script_on: fields.text("dialScriptOn", joining::DIAL_SCRIPT_ON)?,
        dtmf_type: fields.text("dtmfType", joining::DTMF_TYPE)?,
        app_key: fields.text("appKey", order::APP_KEY)?,
        targets: None,
        direct: direct(fields, to_stream.as_deref())?,
        to_stream,
    })
}

fn direct(fields: &Fields, to_stream: Option<&str>) -> Result<Option<TargetRequest>, Problem> {
    let stream = fields.text("rtmpStream", order::STREAM_NAME)?;
    let url = fields.text("rtmpUrl", order::RTMP_URL)?;
    let is_ordered = url.is_some() || fields.text("rtmpService", order::RTMP_SERVICE)?.is_some();
    if !is_ordered {
        return match stream {
            None => Ok(None),
            Some(_) => Err(Problem::invalid(
                "rtmpUrl",
                "is missing although rtmpStream is given",
                order::RTMP_URL.expected,
            )),
        };
    }
    // Clients that send toStream and rtmpUrl mean one name for both (wcs-api 1.9).
    let stream = stream.or_else(|| to_stream.map(str::to_owned)).ok_or_else(|| {
        Problem::invalid("rtmpStream", "is missing although rtmpUrl is given", order::STREAM_NAME.expected)
    })?;
    Ok(Some(TargetRequest { rtmp_stream: Some(stream), ..target_request(fields, url)? }))
}
