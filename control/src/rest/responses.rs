//! Responses that several operations of the compatible API have, as the OpenAPI document describes them: the words of
//! each stand here once. Leaves out: the answers themselves (`error`).
#![expect(dead_code, reason = "these types describe, and nothing is ever made of them")]

use utoipa::IntoResponses;

use super::error::Body;

/// Taken; the body is empty
#[derive(IntoResponses)]
#[response(status = 200)]
pub(super) struct Taken;

/// A field is missing or malformed
#[derive(IntoResponses)]
#[response(status = 400)]
pub(super) struct Malformed(Body<'static>);

/// A field is missing or malformed, or the file cannot be played
#[derive(IntoResponses)]
#[response(status = 400)]
pub(super) struct Unplayable(Body<'static>);

/// The host must not be reached
#[derive(IntoResponses)]
#[response(status = 403)]
pub(super) struct HostDenied(Body<'static>);

/// A field names a host that must not be reached, or the call's app refuses
#[derive(IntoResponses)]
#[response(status = 403)]
pub(super) struct OrderDenied(Body<'static>);

/// The call's app refuses
#[derive(IntoResponses)]
#[response(status = 403)]
pub(super) struct AppRefuses(Body<'static>);

/// Nothing matches
#[derive(IntoResponses)]
#[response(status = 404)]
pub(super) struct NothingMatches(Body<'static>);

/// A name is taken, or there is no room
#[derive(IntoResponses)]
#[response(status = 409)]
pub(super) struct NoRoom(Body<'static>);

/// Too many orders; Retry-After says when again
#[derive(IntoResponses)]
#[response(status = 429)]
pub(super) struct TooManyOrders(Body<'static>);

/// Too busy, full or stopping
#[derive(IntoResponses)]
#[response(status = 503)]
pub(super) struct Busy(Body<'static>);

/// Too busy, full or stopping, or the call's app does not answer
#[derive(IntoResponses)]
#[response(status = 503)]
pub(super) struct BusyOrUnanswered(Body<'static>);
