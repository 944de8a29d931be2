//! `/v1/broadcasts/{callId}/ladder`: the SIP messages of a call.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Named;
use super::problem::Refusal;
use super::responses::{NoBroadcast, PathMalformed};
use crate::broadcast::Broadcasts;
use crate::sip_endpoint::{LadderEntry, LadderView};
use crate::targets::TargetError;

/// The SIP messages of a call, in the order they went.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ladder {
    /// When the call was ordered, in ms since 1970; what messages count from.
    began_unix_ms: u64,
    /// Oldest first. Passwords, digests, keys and passcodes are masked.
    messages: Vec<SipMessage>,
    /// Messages in the middle that were not kept.
    left_out: u64,
}

/// One SIP message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SipMessage {
    /// ms since the call was ordered.
    at_ms: u64,
    /// `out` or `in`.
    direction: &'static str,
    /// `UDP`, `TCP` or `TLS`; empty when not known.
    transport: String,
    /// The other end, `host:port`; empty when not known.
    peer: String,
    /// Request line or status line.
    start_line: String,
    /// Headers, an empty line and the body, cut where they are very long; empty for a repetition.
    text: String,
    /// A retransmission.
    is_repetition: bool,
}

impl From<LadderView> for Ladder {
    fn from(view: LadderView) -> Self {
        let messages = view.entries.into_iter().map(SipMessage::from).collect();
        Self { began_unix_ms: view.began_unix_ms, messages, left_out: view.left_out }
    }
}

impl From<LadderEntry> for SipMessage {
    fn from(entry: LadderEntry) -> Self {
        Self {
            at_ms: entry.at_ms,
            direction: entry.direction.as_str(),
            transport: entry.transport,
            peer: entry.peer,
            start_line: entry.start_line,
            text: entry.text,
            is_repetition: entry.is_repetition,
        }
    }
}

/// Show the SIP messages of a broadcast's call.
#[utoipa::path(
    get,
    path = "/v1/broadcasts/{callId}/ladder",
    tag = "broadcasts",
    params(("callId" = String, Path, description = "Name of the broadcast", min_length = 1, max_length = 128)),
    responses(
        (status = 200, description = "So far", body = Ladder),
        PathMalformed, NoBroadcast,
    ),
)]
pub(super) async fn show(
    State(broadcasts): State<Broadcasts>,
    Named(call_id): Named<String>,
) -> Result<Json<Ladder>, Refusal> {
    let ladder = broadcasts.ladder(&call_id).ok_or(TargetError::NoSuchBroadcast)?;
    Ok(Json(ladder.into()))
}
