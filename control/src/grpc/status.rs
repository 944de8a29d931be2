//! What goes wrong, as gRPC: a code, a message, and `google.rpc.BadRequest` details that name the field in the
//! spelling of the .proto files. The words are those of REST (`rest::error`).

use axum::http::StatusCode;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::broadcast::{DtmfError, EndError, OrderError, StartError};
use crate::hooks::HookRefusal;
use crate::order::FieldFault;
use crate::push::PushError;
use crate::rest::error::Problem;
use crate::targets::{AddTargetError, TargetError};

/// INVALID_ARGUMENT.
pub(super) fn of_field(fault: FieldFault) -> Status {
    let code = if fault.forbidden { Code::PermissionDenied } else { Code::InvalidArgument };
    status(code, fault.into())
}

/// Of `Start`.
pub(super) fn of_order(error: OrderError) -> Status {
    match error {
        OrderError::Field(fault) => of_field(fault),
        OrderError::Start(StartError::Taken(taken)) => {
            let problem = Problem::from(StartError::Taken(taken));
            let code = match problem.status {
                StatusCode::CONFLICT => Code::AlreadyExists,
                _ => Code::ResourceExhausted,
            };
            status(code, problem)
        }
        OrderError::Start(error @ StartError::TooMany(_)) => status(Code::ResourceExhausted, error.into()),
        OrderError::Start(error @ StartError::Denied(_)) => status(Code::PermissionDenied, error.into()),
        OrderError::Start(error @ StartError::Published(_)) => status(Code::AlreadyExists, error.into()),
        OrderError::Start(StartError::Stopping) => status(Code::Unavailable, StartError::Stopping.into()),
        OrderError::KeyReused => status(Code::InvalidArgument, Problem::key_reused()),
        OrderError::KeyInUse => status(Code::Aborted, Problem::key_in_use()),
        OrderError::Hook(refusal) => of_hook(refusal),
    }
}

/// Of `Terminate`.
pub(super) fn of_end(error: EndError) -> Status {
    match error {
        EndError::NoSuchCall => no_such_broadcast(),
        EndError::Hook(refusal) => of_hook(refusal),
    }
}

/// An app does not agree.
fn of_hook(refusal: HookRefusal) -> Status {
    let code = match refusal {
        HookRefusal::Refused => Code::PermissionDenied,
        HookRefusal::Unanswered => Code::Unavailable,
    };
    status(code, refusal.into())
}

/// Of `SendDtmf`.
pub(super) fn of_dtmf(error: Result<DtmfError, FieldFault>) -> Status {
    match error {
        Err(fault) => of_field(fault),
        Ok(DtmfError::NoSuchCall) => no_such_broadcast(),
        Ok(DtmfError::Hook(refusal)) => of_hook(refusal),
        Ok(error) => {
            let code = match error {
                DtmfError::QueueFull => Code::ResourceExhausted,
                DtmfError::Busy => Code::Unavailable,
                _ => Code::FailedPrecondition,
            };
            status(code, error.into())
        }
    }
}

/// Of `AddTarget`.
pub(super) fn of_new_target(error: AddTargetError) -> Status {
    match error {
        AddTargetError::Field(fault) => of_field(fault),
        AddTargetError::Push(PushError::NoSuchStream) => no_such_broadcast(),
        AddTargetError::Push(PushError::Hook(refusal)) => of_hook(refusal),
        AddTargetError::Push(error) => {
            let code = match &error {
                PushError::Duplicate | PushError::Published(_) => Code::AlreadyExists,
                PushError::TooMany => Code::ResourceExhausted,
                PushError::Busy | PushError::Stopping => Code::Unavailable,
                PushError::Field(fault) if fault.forbidden => Code::PermissionDenied,
                _ => Code::InvalidArgument,
            };
            status(code, error.into())
        }
    }
}

/// Of the other methods on targets.
pub(super) fn of_target(error: TargetError) -> Status {
    match error {
        TargetError::NoSuchBroadcast => no_such_broadcast(),
        TargetError::NoSuchTarget => Status::not_found("the broadcast has no such live target"),
        TargetError::Busy => status(Code::Unavailable, Problem::busy()),
        TargetError::Hook(refusal) => of_hook(refusal),
    }
}

/// NOT_FOUND.
pub(super) fn no_such_broadcast() -> Status {
    Status::not_found("there is no live broadcast of this name")
}

/// RESOURCE_EXHAUSTED.
pub(super) fn too_many_watchers() -> Status {
    Status::resource_exhausted("as many clients watch as may")
}

/// UNAVAILABLE.
pub(super) fn stopping() -> Status {
    Status::unavailable("sipcast is stopping")
}

fn status(code: Code, problem: Problem) -> Status {
    let expected = problem.expected.map(|e| format!(": expected {e}")).unwrap_or_default();
    let Some(field) = problem.field else {
        return Status::new(code, format!("{}{expected}", problem.problem));
    };
    let field = snake_case(&field);
    let described = format!("{}{expected}", problem.problem);
    let message = format!("{field} {described}");
    let details = ErrorDetails::with_bad_request_violation(field, described);
    Status::with_error_details(code, message, details)
}

/// `targets[0].rtmpUrl` is `targets[0].rtmp_url` in the .proto files, `Idempotency-Key` is `idempotency_key`.
fn snake_case(field: &str) -> String {
    let mut name = String::with_capacity(field.len() + 4);
    for c in field.chars() {
        if c.is_ascii_uppercase() {
            if name.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        } else {
            name.push(if c == '-' { '_' } else { c });
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_spelled_as_in_the_proto_files() {
        assert_eq!(snake_case("targets[0].rtmpUrl"), "targets[0].rtmp_url");
        assert_eq!(snake_case("sipPort"), "sip_port");
        assert_eq!(snake_case("Idempotency-Key"), "idempotency_key");
    }

    #[test]
    fn a_wrong_field_is_a_violation_in_the_details() {
        let status = of_field(FieldFault::new("sipPort", "is not a port number", "a number"));
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "sip_port is not a port number: expected a number")
        );
        let details = status.get_error_details();
        let violation = &details.bad_request().expect("details").field_violations[0];
        assert_eq!(violation.field, "sip_port");
    }
}
