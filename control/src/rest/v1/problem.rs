//! Refusals of `/v1` in the form of RFC 9457: the same facts as under `/rest-api` (`super::super::error`), in
//! `application/problem+json`.

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::broadcast::{DtmfError, EndError, OrderError, StartError};
use crate::order::FieldFault;
use crate::rest::error::Problem;
use crate::targets::{AddTargetError, TargetError};

/// A request that is not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rest) struct Refusal(Problem);

/// Why a request is not fulfilled (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Details<'a> {
    /// Always `about:blank`: the status says which kind of problem it is (RFC 9457 §4.2.1).
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, for people. It repeats no value of the request.
    detail: &'a str,
    /// Path of the field that is wrong, such as `targets[1].rtmpUrl`.
    field: Option<&'a str>,
    /// What would be right, for people.
    expected: Option<&'a str>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Problem { status, field, problem, expected, .. } = &self.0;
        let details = Details {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: problem,
            field: field.as_deref(),
            expected: expected.as_deref(),
        };
        let mut response = (*status, Json(details)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.0.put_retry_after(&mut response);
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<FieldFault> for Refusal {
    /// 422: the JSON is right, what it says cannot be done.
    fn from(fault: FieldFault) -> Self {
        let status = if fault.forbidden { StatusCode::FORBIDDEN } else { StatusCode::UNPROCESSABLE_ENTITY };
        Self(Problem { status, ..Problem::from(fault) })
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        Self(error.into())
    }
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Field(fault) => fault.into(),
            error => Self(error.into()),
        }
    }
}

impl From<Result<DtmfError, FieldFault>> for Refusal {
    fn from(error: Result<DtmfError, FieldFault>) -> Self {
        match error {
            Ok(error) => Self(error.into()),
            Err(fault) => fault.into(),
        }
    }
}

impl From<EndError> for Refusal {
    fn from(error: EndError) -> Self {
        match error {
            EndError::NoSuchCall => TargetError::NoSuchBroadcast.into(),
            EndError::Hook(refusal) => Self(refusal.into()),
        }
    }
}

impl From<AddTargetError> for Refusal {
    fn from(error: AddTargetError) -> Self {
        match error {
            AddTargetError::Field(fault) => fault.into(),
            AddTargetError::Push(error) => {
                let problem = Problem::from(error);
                // The compatible API has 400 for a host that does not resolve.
                let status = match problem.status {
                    StatusCode::BAD_REQUEST => StatusCode::UNPROCESSABLE_ENTITY,
                    status => status,
                };
                // There the broadcast is named by a field of the body, here by the path.
                let field = problem.field.filter(|field| field != "streamName");
                Self(Problem { status, field, ..problem })
            }
        }
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Self {
        Self(match error {
            TargetError::NoSuchBroadcast => Problem::not_found(None, "there is no broadcast of this name"),
            TargetError::NoSuchTarget => Problem::not_found(None, "the broadcast has no such live target"),
            TargetError::Busy => Problem::busy(),
            TargetError::Hook(refusal) => refusal.into(),
        })
    }
}
