//! `/v1/events`: what happens, as Server-Sent Events (WHATWG HTML §9.2), with the events of webhooks and gRPC.
//! Takes: which events, and the last one that the client has. Gives: the stream.
//! A client that reads nothing is let go; one that was away for longer than events are kept gets a `gap` first.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::body::Asked;
use super::problem::{Details, Refusal};
use crate::broadcast::Broadcasts;
use crate::events::{Event, EventKind, Missed, Subscription};
use crate::faces::RefusalCause;
use crate::order::FieldFault;
use crate::rest::error::Problem;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Only of the broadcast of this name.
    #[param(min_length = 1, max_length = 128)]
    call_id: Option<String>,
    /// Only of these types, at commas.
    #[param(max_length = 256, example = "status,ended")]
    types: Option<String>,
    /// The last event that the client has, if it cannot send `Last-Event-ID`.
    #[param(minimum = 0)]
    last_event_id: Option<u64>,
}

/// Listen to what happens.
///
/// `id` is the event's ID, `event` its type, `data` the event as JSON. After `Last-Event-ID` the events since then come
/// first; an event `gap` with `data` `{"resumeAt": ID}` says that those up to that ID are lost.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(
        EventQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that the client has", max_length = 20),
    ),
    responses(
        (status = 200, description = "The stream; it ends with the process", body = Event,
            content_type = "text/event-stream"),
        (status = 400, description = "The query is malformed", body = Details,
            content_type = "application/problem+json"),
        (status = 422, description = "A parameter cannot be fulfilled", body = Details,
            content_type = "application/problem+json"),
        (status = 503, description = "As many clients listen as may", body = Details,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn listen(
    State(broadcasts): State<Broadcasts>,
    Asked(query): Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let types = query.types.as_deref().map(types).transpose()?.unwrap_or_default();
    // An ID that is none of ours is as good as no ID (WHATWG HTML §9.2.4 lets a client send what it got, which are
    // numbers).
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let faces = &broadcasts.shared.faces;
    let place = faces.event_streams.clone().try_acquire_owned().map_err(|_| {
        faces.count(RefusalCause::EventStreams);
        Refusal::from(Problem::too_many_listeners())
    })?;
    let subscription = match header.or(query.last_event_id) {
        Some(id) => broadcasts.events().subscribe_after(id),
        None => broadcasts.events().subscribe(),
    };
    let (out, stream) = mpsc::channel(AHEAD_MAX);
    let listener = Listener { call_id: query.call_id, types, out, _place: place };
    let ending = faces.ending.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = ending.cancelled() => {}
            () = listener.run(subscription) => {}
        }
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("");
    Ok(Sse::new(ReceiverStream::new(stream).map(Ok::<Frame, Infallible>)).keep_alive(keep_alive))
}

struct Listener {
    call_id: Option<String>,
    /// Empty: all.
    types: Vec<&'static str>,
    out: mpsc::Sender<Frame>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// Until the client is gone or reads nothing.
    async fn run(self, mut subscription: Subscription) {
        loop {
            let next = tokio::select! {
                next = subscription.next() => next,
                () = self.out.closed() => return,
            };
            let frame = match next {
                Ok(event) if self.concerns(&event) => frame(&event),
                Ok(_) => continue,
                Err(missed) => gap(missed),
            };
            if self.out.send_timeout(frame, STALL_MAX).await.is_err() {
                return;
            }
        }
    }

    fn concerns(&self, event: &Event) -> bool {
        self.call_id.as_ref().is_none_or(|id| event.call_id.as_ref() == Some(id))
            && (self.types.is_empty() || self.types.contains(&event.kind.name()))
    }
}

fn types(list: &str) -> Result<Vec<&'static str>, FieldFault> {
    let known = |word: &str| EventKind::NAMES.into_iter().find(|name| *name == word.trim());
    list.split(',').filter(|word| !word.trim().is_empty()).map(known).collect::<Option<_>>().ok_or_else(
        || {
            FieldFault::new(
                "types",
                "names an unknown type",
                format!("some of {}", EventKind::NAMES.join(", ")),
            )
        },
    )
}

fn frame(event: &Event) -> Frame {
    // An event is plain data, so this always is JSON, on one line.
    let json = serde_json::to_string(event).unwrap_or_default();
    Frame::default().id(event.id.to_string()).event(event.kind.name()).data(json)
}

fn gap(missed: Missed) -> Frame {
    let json = json!({ "resumeAt": missed.resume_at }).to_string();
    Frame::default().id(missed.resume_at.to_string()).event("gap").data(json)
}

/// Events that wait for the connection to take them.
const AHEAD_MAX: usize = 64;

/// How long a client may take nothing while [`AHEAD_MAX`] events wait for it.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Pause between comments that keep proxies from closing a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_ones() {
        assert_eq!(types("status, ended,").ok(), Some(vec!["status", "ended"]));
        assert!(types("").is_ok_and(|all| all.is_empty()));
        assert!(types("nonsense").is_err_and(|fault| fault.expected.contains("mediaStarted")));
    }

    #[test]
    fn every_type_has_its_name_in_the_list() {
        assert!(EventKind::NAMES.contains(&EventKind::MediaStarted.name()));
        assert!(EventKind::NAMES.contains(&EventKind::Hold { held: true }.name()));
    }
}
