//! `GET /calls/{callId}/ladder`: the SIP messages of a call, for the page and for people who look into a call.
//! Takes: a call ID. Gives: entries as JSON; they are masked already. Leaves out: recording (`sip_endpoint`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;

use super::error::{self, Problem};
use crate::broadcast::Broadcasts;
use crate::sip_endpoint::{LadderEntry, LadderView};

/// Headers of the answer: it changes with every message.
type Headers = [(HeaderName, &'static str); 2];

/// `GET /calls/{callId}/ladder`.
pub(crate) async fn json(
    State(broadcasts): State<Broadcasts>,
    Path(call_id): Path<String>,
) -> Result<(Headers, Json<Ladder>), Problem> {
    let view = broadcasts.ladder(&call_id).ok_or_else(error::no_such_call)?;
    Ok(([(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], Json(Ladder::new(call_id, view))))
}

/// A ladder on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ladder {
    call_id: String,
    /// When the call was ordered, ms since 1970; what `atMs` counts from.
    began_unix_ms: u64,
    /// Messages that were not kept, between the first and the latest ones.
    left_out: u64,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    at_ms: u64,
    direction: &'static str,
    transport: String,
    peer: String,
    start_line: String,
    /// Headers, an empty line and the body; absent for a repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    repetition: bool,
}

impl Ladder {
    /// Of the call with this ID.
    pub(crate) fn new(call_id: String, view: LadderView) -> Self {
        let entries = view.entries.into_iter().map(Entry::from).collect();
        Self { call_id, began_unix_ms: view.began_unix_ms, left_out: view.left_out, entries }
    }
}

impl From<LadderEntry> for Entry {
    fn from(entry: LadderEntry) -> Self {
        Self {
            at_ms: entry.at_ms,
            direction: entry.direction.as_str(),
            transport: entry.transport,
            peer: entry.peer,
            start_line: entry.start_line,
            text: (!entry.is_repetition).then_some(entry.text),
            repetition: entry.is_repetition,
        }
    }
}
