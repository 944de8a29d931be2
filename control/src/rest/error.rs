//! What goes wrong, as HTTP: a status and a JSON body `{"field", "problem", "expected"}` that names the field, what
//! is wrong with it, and what would be right. `field` and `expected` are `null` where they make no sense.
//! No value of a request is repeated: it may be a password or a stream key.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sipcast_contract::limits;
use sipcast_contract::sound::MIXER_INPUTS_MAX;
use utoipa::ToSchema;

use super::BODY_MAX;
use crate::broadcast::{DtmfError, EndError, OrderError, StartError};
use crate::hooks::HookRefusal;
use crate::local_streams::LocalError;
use crate::order::FieldFault;
use crate::push::{PushChangeError, PushError};
use crate::registry::Taken;
use crate::resolve::LookupError;
use crate::sounds::{SOUND_FILE, SoundError, SoundFault};

/// An answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) field: Option<Cow<'static, str>>,
    pub(crate) problem: Cow<'static, str>,
    pub(crate) expected: Option<Cow<'static, str>>,
    /// When the same may be asked again (RFC 9110 §10.2.3).
    pub(crate) retry_after: Option<Duration>,
}

/// Why a request under `/rest-api` is not fulfilled.
#[derive(Serialize, ToSchema)]
#[schema(as = CompatibleProblem)]
pub(super) struct Body<'a> {
    /// The field that is wrong.
    field: Option<&'a str>,
    /// What is wrong, for people.
    problem: &'a str,
    /// What would be right, for people.
    expected: Option<&'a str>,
}

impl Problem {
    fn new(status: StatusCode, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { status, field: None, problem: problem.into(), expected: None, retry_after: None }
    }

    fn of(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    fn expecting(mut self, expected: impl Into<Cow<'static, str>>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// 401.
    pub(crate) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "the request has no API key, or an unknown one").expecting(
            "a key of [rest] api_keys as Authorization: Bearer, as X-API-Key, or as password of Authorization: Basic",
        )
    }

    /// 429.
    pub(crate) fn too_often(problem: &'static str, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, problem) }
            .expecting("the same again after Retry-After seconds")
    }

    /// 403: a field names a host that must not be reached.
    pub(crate) fn denied(field: &'static str) -> Self {
        FieldFault::forbidden(field).into()
    }

    /// 503: as many listen to events as may.
    pub(crate) fn too_many_listeners() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "as many clients listen to events as may")
    }

    /// 400: a field is missing or malformed.
    pub(crate) fn invalid(
        field: &'static str,
        problem: impl Into<Cow<'static, str>>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, problem).of(field).expecting(expected)
    }

    /// 400: the body is no JSON.
    pub(crate) fn malformed(error: &serde_json::Error) -> Self {
        let problem =
            format!("the body is not JSON: error at line {}, column {}", error.line(), error.column());
        Self::new(StatusCode::BAD_REQUEST, problem).expecting("a JSON object")
    }

    /// 400: the body is JSON but no object.
    pub(crate) fn no_object() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the body is not a JSON object").expecting("a JSON object")
    }

    /// 400: the body is JSON, but a field has another type than described, or is unknown.
    pub(crate) fn of_wrong_shape(
        field: Option<String>,
        problem: &'static str,
        expected: Option<String>,
    ) -> Self {
        let expected = expected.map_or(Cow::Borrowed("what /v1/openapi.json describes"), Cow::Owned);
        Self {
            field: field.map(Cow::Owned),
            ..Self::new(StatusCode::BAD_REQUEST, problem).expecting(expected)
        }
    }

    /// 400: the query string cannot be read.
    pub(crate) fn bad_query() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "a query parameter is unknown or of the wrong type")
            .expecting("the parameters that /v1/openapi.json describes")
    }

    /// 400: a path segment is no text.
    pub(crate) fn bad_path() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the path is not UTF-8")
    }

    /// 400: the header Idempotency-Key is no key.
    pub(crate) fn bad_key() -> Self {
        Self::invalid("Idempotency-Key", "is no key", "1 to 255 visible ASCII characters")
    }

    /// 409: the first order with this key has no answer yet.
    pub(crate) fn key_in_use() -> Self {
        Self::new(StatusCode::CONFLICT, "an order with this Idempotency-Key is being handled")
            .of("Idempotency-Key")
            .expecting("the same order again after its answer came")
    }

    /// 422: the key has the answer of another order.
    pub(crate) fn key_reused() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "this Idempotency-Key was used for another order")
            .of("Idempotency-Key")
            .expecting("a new key for a new order")
    }

    /// 400: the body ended early.
    pub(crate) fn body_broken() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the body could not be read to its end")
    }

    /// 404: nothing matches.
    pub(crate) fn not_found(field: Option<&'static str>, problem: &'static str) -> Self {
        Self { field: field.map(Cow::Borrowed), ..Self::new(StatusCode::NOT_FOUND, problem) }
    }

    /// 404: no such path.
    pub(crate) fn unknown_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this path").expecting(
            "/rest-api/{call,push,pull/rtmp,mixer,stream}/{startup,find_all,terminate and others}, \
             /RESTCall/{call,getStatus,sendDTMF,hangup,getCalls}, or what /docs describes",
        )
    }

    /// 405.
    pub(crate) fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
            .expecting("POST, or GET for find_all")
    }

    /// 405 of `/v1`.
    pub(crate) fn wrong_method_of_v1(method: &Method) -> Self {
        // A method's name is a token of ASCII; a long one is cut as it may be anything.
        let name: String = method.as_str().chars().take(16).collect();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this path does not take {name}"))
            .expecting("a method of the Allow header")
    }

    /// 408.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")
    }

    /// 413.
    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
            .expecting(format!("at most {BODY_MAX} bytes"))
    }

    /// 415.
    pub(crate) fn wrong_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is a form with parts, not JSON")
            .expecting("Content-Type: application/json")
    }

    /// 415 of `/v1`.
    pub(crate) fn not_json() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not announced as JSON")
            .expecting("Content-Type: application/json")
    }

    /// 403.
    pub(crate) fn foreign_origin() -> Self {
        Self::new(StatusCode::FORBIDDEN, "pages of this origin may not order")
            .expecting("the origin that Access-Control-Allow-Origin names")
    }

    pub(crate) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "sipcast is too busy for this order; try again shortly")
    }

    fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "sipcast is stopping")
    }

    fn no_such_call() -> Self {
        Self::not_found(Some("callId"), "no live call has this callId")
    }

    /// Why a file is not played, which `field` names.
    pub(crate) fn of_sound(field: &'static str, error: SoundError) -> Self {
        match error {
            SoundError::File(SoundFault::NotFound) => {
                Self::new(StatusCode::NOT_FOUND, SoundFault::NotFound.to_string())
                    .of(field)
                    .expecting(SOUND_FILE.expected)
            }
            SoundError::File(fault) => Self::invalid(field, fault.to_string(), SOUND_FILE.expected),
            SoundError::NoSuchSession => PushChangeError::NoSuchSession.into(),
            SoundError::NoSuchCall => Self::no_such_call(),
            SoundError::NotTranscoded => Self::new(
                StatusCode::CONFLICT,
                "this target takes sound as it comes from the call or the pulled stream: it cannot be replaced",
            )
            .of("mediaSessionId"),
            SoundError::Busy => Self::busy(),
        }
    }

    /// Why something of a local stream is not done; `field` names it.
    pub(crate) fn of_local(field: &'static str, error: LocalError) -> Self {
        if error.is_taken() {
            return Self::new(StatusCode::CONFLICT, "this URI or local stream name is taken")
                .of(field)
                .expecting("a URI and a localStreamName that no live stream has");
        }
        match error {
            LocalError::NoSuchUri => Self::not_found(Some("uri"), "nothing live has this uri"),
            LocalError::NoSuchStream => Self::not_found(Some(field), "no live stream has this name"),
            LocalError::NoSuchCall => Self::no_such_call(),
            LocalError::NoSuchInput => Self::not_found(Some(field), "this stream is no input of the mixer"),
            LocalError::Duplicate => {
                Self::new(StatusCode::CONFLICT, "this stream is in the mixer already, or is the mixer")
                    .of(field)
            }
            LocalError::TooMany => Self::new(StatusCode::CONFLICT, "the mixer has as many inputs as it may")
                .of(field)
                .expecting(format!("at most {MIXER_INPUTS_MAX} inputs")),
            LocalError::Own => {
                Self::invalid(field, "is the call's own stream", "the name of another live stream")
            }
            LocalError::Unresolvable(LookupError::Denied) => Self::denied(field),
            LocalError::Unresolvable(error) => {
                Self::invalid(field, error.to_string(), "an rtmp:// URL whose host resolves")
            }
            LocalError::Start(error) => error.into(),
            LocalError::Busy => Self::busy(),
        }
    }

    /// Sets the header Retry-After, in whole seconds.
    pub(crate) fn put_retry_after(&self, response: &mut Response) {
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
        }
    }

    /// The target of a URL that `field` gives is being published.
    fn published(field: Cow<'static, str>) -> Self {
        Self::new(StatusCode::CONFLICT, "this stream name is being published to this URL already")
            .of(field)
            .expecting("a URL and stream name that no live target publishes")
    }

    /// The HTTP status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body =
            Body { field: self.field.as_deref(), problem: &self.problem, expected: self.expected.as_deref() };
        let mut response = (self.status, Json(body)).into_response();
        self.put_retry_after(&mut response);
        response
    }
}

impl From<FieldFault> for Problem {
    fn from(fault: FieldFault) -> Self {
        let status = if fault.forbidden { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        Self::new(status, fault.problem).of(fault.field).expecting(fault.expected)
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Field(fault) => fault.into(),
            OrderError::Start(error) => error.into(),
            OrderError::KeyReused => Self::key_reused(),
            OrderError::KeyInUse => Self::key_in_use(),
            OrderError::Hook(refusal) => refusal.into(),
        }
    }
}

impl From<Result<DtmfError, FieldFault>> for Problem {
    fn from(error: Result<DtmfError, FieldFault>) -> Self {
        error.map_or_else(Self::from, Self::from)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let conflict = |problem| Self::new(StatusCode::CONFLICT, problem);
        match error {
            StartError::Taken(Taken::CallId) => conflict("a live call has this callId")
                .of("callId")
                .expecting("a callId that no live call has"),
            StartError::Taken(Taken::Publication) => {
                conflict("this rtmpUrl and rtmpStream are being published already")
                    .of("rtmpStream")
                    .expecting("a pair of rtmpUrl and rtmpStream that no live call publishes")
            }
            StartError::Published(field) => Self::published(field),
            // Orders have names for their targets; what has none names no field.
            StartError::Taken(Taken::Target(_)) => Self::published("rtmpUrl".into()),
            StartError::Taken(Taken::Source) => conflict("a live call has this toStream")
                .of("toStream")
                .expecting("a toStream that no live call has"),
            StartError::Taken(Taken::Full) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "as many calls are live as sipcast may carry")
            }
            StartError::Taken(Taken::Busy) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the cores of sipcast's shards can bear no further call beside those in progress",
            )
            .expecting(
                "more shards (media.shards, one a core), fewer transcoded calls or targets, or another machine; \
                 GET /statistics shows broadcastsMax and broadcastCpuMicros of each shard",
            ),
            StartError::Stopping => Self::stopping(),
            StartError::TooMany(wait) => Self::too_often("too many orders", wait),
            StartError::Denied(field) => Self::denied(field),
        }
    }
}

impl From<DtmfError> for Problem {
    fn from(error: DtmfError) -> Self {
        match error {
            DtmfError::NoSuchCall => Self::no_such_call(),
            DtmfError::QueueFull => {
                Self::new(StatusCode::CONFLICT, "too many digits of this call wait to be sent")
                    .of("dtmf")
                    .expecting(format!("at most {} digits and pauses waiting", limits::DTMF_QUEUE_MAX))
            }
            DtmfError::Busy => Self::busy(),
            DtmfError::Hook(refusal) => refusal.into(),
            DtmfError::NoWay => Self::new(
                StatusCode::CONFLICT,
                "the peer agreed on no telephone-event, and its service takes no INFO",
            )
            .of("dtmf"),
        }
    }
}

impl From<PushError> for Problem {
    fn from(error: PushError) -> Self {
        match error {
            PushError::NoSuchStream => Self::not_found(Some("streamName"), "no live call has this stream"),
            PushError::Duplicate => {
                Self::new(StatusCode::CONFLICT, "this stream is pushed to this rtmpUrl already")
                    .of("rtmpUrl")
                    .expecting("an rtmpUrl that this stream is not pushed to")
            }
            PushError::Published(field) => Self::published(field),
            PushError::TooMany => {
                Self::new(StatusCode::CONFLICT, "this stream has as many targets as it may")
                    .of("streamName")
                    .expecting(format!("at most {} targets per call", limits::TARGETS_PER_BROADCAST_MAX))
            }
            PushError::Busy => Self::busy(),
            PushError::Stopping => Self::stopping(),
            PushError::Sound(error) => Self::of_sound("options.soundFile", error),
            PushError::Field(fault) => fault.into(),
            PushError::Hook(refusal) => refusal.into(),
        }
    }
}

impl From<PushChangeError> for Problem {
    fn from(error: PushChangeError) -> Self {
        match error {
            PushChangeError::NoSuchSession => {
                Self::not_found(Some("mediaSessionId"), "no live target has this mediaSessionId")
            }
            PushChangeError::Busy => Self::busy(),
            PushChangeError::Hook(refusal) => refusal.into(),
        }
    }
}

impl From<EndError> for Problem {
    fn from(error: EndError) -> Self {
        match error {
            EndError::NoSuchCall => Self::no_such_call(),
            EndError::Hook(refusal) => refusal.into(),
        }
    }
}

impl From<HookRefusal> for Problem {
    fn from(refusal: HookRefusal) -> Self {
        match refusal {
            HookRefusal::Refused => {
                Self::new(StatusCode::FORBIDDEN, "the app that appKey names refuses this")
            }
            HookRefusal::Unanswered => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the app that appKey names gave no answer that can be used, and its hook is restOnError=FAIL",
            ),
        }
    }
}

/// 404 of `/call/terminate`.
pub(crate) fn no_such_call() -> Problem {
    Problem::no_such_call()
}
