//! `/v1/broadcasts/{callId}/targets`: translates, then calls the use-cases.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, Named};
use super::problem::{Details, Refusal};
use super::responses::{
    AppRefuses, BodyMalformed, Busy, BusyOrUnanswered, NoBroadcast, NoLiveBroadcast, NoLiveTarget, NotJson,
    OrderDenied, PathMalformed, TooLarge,
};
use crate::broadcast::Broadcasts;
use crate::conformity::ConformityReport;
use crate::order::{FieldFault, TargetRequest};
use crate::targets::TargetError;
use crate::view::TargetView;

/// All targets of a broadcast.
#[derive(Serialize, ToSchema)]
pub(super) struct TargetList {
    /// Oldest first, the latest of those that have ended among them.
    targets: Vec<TargetView>,
}

/// What to change of a target.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetChange {
    /// Silence instead of sound.
    #[schema(required, nullable = false)]
    muted: Option<bool>,
}

/// List a broadcast's targets.
#[utoipa::path(
    get,
    path = "/v1/broadcasts/{callId}/targets",
    tag = "targets",
    params(("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128)),
    responses(
        (status = 200, description = "Its targets", body = TargetList),
        PathMalformed, NoBroadcast,
    ),
)]
pub(super) async fn list(
    State(broadcasts): State<Broadcasts>,
    Named(call_id): Named<String>,
) -> Result<Json<TargetList>, Refusal> {
    let targets = broadcasts.targets(&call_id).ok_or(TargetError::NoSuchBroadcast)?;
    Ok(Json(TargetList { targets }))
}

/// Add a target to a live broadcast.
///
/// Its host is looked up first; publishing begins as soon as the call has media.
#[utoipa::path(
    post,
    path = "/v1/broadcasts/{callId}/targets",
    tag = "targets",
    params(("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128)),
    request_body = TargetRequest,
    responses(
        (status = 201, description = "Added", body = TargetView),
        BodyMalformed, OrderDenied, NoLiveBroadcast,
        (status = 409, description = "It is being published there already, or it has as many targets as it may",
            body = Details, content_type = "application/problem+json"),
        TooLarge, NotJson,
        (status = 422, description = "A field cannot be fulfilled", body = Details,
            content_type = "application/problem+json"),
        BusyOrUnanswered,
    ),
)]
pub(super) async fn add(
    State(broadcasts): State<Broadcasts>,
    Named(call_id): Named<String>,
    target: Body<TargetRequest>,
) -> Result<(StatusCode, Json<TargetView>), Refusal> {
    let added = broadcasts.add_target(&call_id, target.value).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Show a target.
#[utoipa::path(
    get,
    path = "/v1/broadcasts/{callId}/targets/{targetId}",
    tag = "targets",
    params(
        ("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128),
        ("targetId" = String, Path, description = "Its `targetId`", min_length = 1, max_length = 20),
    ),
    responses(
        (status = 200, description = "As it stands", body = TargetView),
        PathMalformed,
        (status = 404, description = "No such broadcast or target", body = Details,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn show(
    State(broadcasts): State<Broadcasts>,
    Named((call_id, target_id)): Named<(String, String)>,
) -> Result<Json<TargetView>, Refusal> {
    Ok(Json(broadcasts.target(&call_id, &target_id)?))
}

/// Mute a target, or end that.
#[utoipa::path(
    patch,
    path = "/v1/broadcasts/{callId}/targets/{targetId}",
    tag = "targets",
    params(
        ("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128),
        ("targetId" = String, Path, description = "Its `targetId`", min_length = 1, max_length = 20),
    ),
    request_body = TargetChange,
    responses(
        (status = 200, description = "As it stands now", body = TargetView),
        BodyMalformed, NoLiveTarget, TooLarge, NotJson,
        (status = 422, description = "There is nothing to change", body = Details,
            content_type = "application/problem+json"),
        Busy,
    ),
)]
pub(super) async fn change(
    State(broadcasts): State<Broadcasts>,
    Named((call_id, target_id)): Named<(String, String)>,
    change: Body<TargetChange>,
) -> Result<Json<TargetView>, Refusal> {
    let muted = change.value.muted.ok_or(FieldFault::new("muted", "is missing", "true or false"))?;
    Ok(Json(broadcasts.set_target_muted(&call_id, &target_id, muted)?))
}

/// Take a target off the air.
#[utoipa::path(
    delete,
    path = "/v1/broadcasts/{callId}/targets/{targetId}",
    tag = "targets",
    params(
        ("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128),
        ("targetId" = String, Path, description = "Its `targetId`", min_length = 1, max_length = 20),
    ),
    responses(
        (status = 204, description = "It is unpublished"),
        PathMalformed, AppRefuses, NoLiveTarget, BusyOrUnanswered,
    ),
)]
pub(super) async fn remove(
    State(broadcasts): State<Broadcasts>,
    Named((call_id, target_id)): Named<(String, String)>,
) -> Result<StatusCode, Refusal> {
    broadcasts.remove_target(&call_id, &target_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show how a target keeps to what its service demands.
///
/// Judged by what it is given, rule by rule; only while it is not over.
#[utoipa::path(
    get,
    path = "/v1/broadcasts/{callId}/targets/{targetId}/conformity",
    tag = "targets",
    params(
        ("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128),
        ("targetId" = String, Path, description = "Its `targetId`", min_length = 1, max_length = 20),
    ),
    responses(
        (status = 200, description = "`service`, `conforms`, `measured` and `verdicts`", body = Object),
        PathMalformed, NoLiveTarget,
    ),
)]
pub(super) async fn conformity(
    State(broadcasts): State<Broadcasts>,
    Named((call_id, target_id)): Named<(String, String)>,
) -> Result<Json<ConformityReport>, Refusal> {
    Ok(Json(broadcasts.target_conformity(&call_id, &target_id)?))
}
