//! Responses that several operations of `/v1` have, as the OpenAPI document describes them: the words of each stand here
//! once. Leaves out: the answers themselves (`problem`).
#![expect(dead_code, reason = "these types describe, and nothing is ever made of them")]

use utoipa::IntoResponses;

use super::problem::Details;

/// The path is malformed
#[derive(IntoResponses)]
#[response(status = 400, content_type = "application/problem+json")]
pub(super) struct PathMalformed(Details<'static>);

/// The body or the path is malformed
#[derive(IntoResponses)]
#[response(status = 400, content_type = "application/problem+json")]
pub(super) struct BodyMalformed(Details<'static>);

/// A field names a host that must not be reached, or the broadcast's app refuses
#[derive(IntoResponses)]
#[response(status = 403, content_type = "application/problem+json")]
pub(super) struct OrderDenied(Details<'static>);

/// The broadcast's app refuses
#[derive(IntoResponses)]
#[response(status = 403, content_type = "application/problem+json")]
pub(super) struct AppRefuses(Details<'static>);

/// No broadcast has this name
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(super) struct NoBroadcast(Details<'static>);

/// No live broadcast has this name
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(super) struct NoLiveBroadcast(Details<'static>);

/// No such broadcast or live target
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(super) struct NoLiveTarget(Details<'static>);

/// The body is too large
#[derive(IntoResponses)]
#[response(status = 413, content_type = "application/problem+json")]
pub(super) struct TooLarge(Details<'static>);

/// The body is not JSON
#[derive(IntoResponses)]
#[response(status = 415, content_type = "application/problem+json")]
pub(super) struct NotJson(Details<'static>);

/// Too many orders; Retry-After says when again
#[derive(IntoResponses)]
#[response(status = 429, content_type = "application/problem+json")]
pub(super) struct TooManyOrders(Details<'static>);

/// Too busy; try again shortly
#[derive(IntoResponses)]
#[response(status = 503, content_type = "application/problem+json")]
pub(super) struct Busy(Details<'static>);

/// Too busy or stopping, or the broadcast's app does not answer
#[derive(IntoResponses)]
#[response(status = 503, content_type = "application/problem+json")]
pub(super) struct BusyOrUnanswered(Details<'static>);
