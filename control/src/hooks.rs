//! REST hooks: what happens to calls and streams of an app, told to the app's URL as the original tells it (wcs-api 1.6).
//! Takes: the events of `events`, the registry. Gives: POSTs to `<url>/CallStatusEvent` and `<url>/StreamStatusEvent`,
//! in order for each app and tried again (`delivery`). Leaves out: HTTP; waiting for answers, which change nothing here:
//! the policy is the original's `restOnError=LOG`, so no call fails or waits because of an app.

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::broadcast::{Broadcasts, CallFilter};
use crate::delivery::{Delivery, DeliveryOptions, DeliverySetupError, Post};
use crate::events::{Event, EventKind, TargetStateName};
use crate::rest;
use crate::rest::local::StreamObject;

/// An app and where it is told.
#[derive(Clone, Debug)]
pub struct HookOptions {
    /// Its calls are those with this `appKey`.
    pub app_key: String,
    /// Where to; the hook's name is put behind the path.
    pub delivery: DeliveryOptions,
}

/// Tells an app from now on. Must be called within a tokio runtime.
///
/// # Errors
/// [`DeliverySetupError`] with what to change.
pub(crate) fn start(broadcasts: &Broadcasts, options: HookOptions) -> Result<Delivery, DeliverySetupError> {
    let delivery = Delivery::start(options.delivery)?;
    let (told, broadcasts) = (delivery.clone(), broadcasts.clone());
    let mut subscription = broadcasts.events().subscribe();
    tokio::spawn(async move {
        loop {
            let cursor = subscription.cursor();
            match subscription.next().await {
                Ok(event) if event.app_key.as_ref() == Some(&options.app_key) => {
                    let Some((name, body)) = hook(&broadcasts, &event) else { continue };
                    // A full queue is counted there.
                    told.post(Post {
                        id: event.id.to_string(),
                        path: format!("/{name}"),
                        body: Bytes::from(body.to_string()),
                    });
                }
                Ok(_) => {}
                // This task was starved for thousands of events.
                Err(missed) => told.note_dropped(missed.resume_at.saturating_sub(cursor)),
            }
        }
    });
    Ok(delivery)
}

/// Name and body of the hook that an event is, if it is one.
fn hook(broadcasts: &Broadcasts, event: &Event) -> Option<(&'static str, Value)> {
    match &event.kind {
        // The end is a status, too, and told as one before.
        EventKind::Status { status, sip_status, .. } => {
            let call_id = event.call_id.clone();
            let call = broadcasts.find_calls(&CallFilter { call_id, ..CallFilter::default() }).pop();
            let mut body = match call {
                Some(call) => serde_json::to_value(rest::call::Call::from(call)).ok()?,
                // Gone by now: what the event itself knows.
                None => json!({ "callId": event.call_id, "appKey": event.app_key }),
            };
            // The call may have gone on since.
            body["status"] = (*status).into();
            body["sipStatus"] = (*sip_status).into();
            Some(("CallStatusEvent", body))
        }
        EventKind::Target { target, state, fault, .. } => {
            let status = match (state, fault) {
                (TargetStateName::Connecting | TargetStateName::Reconnecting, _) => "PENDING",
                (TargetStateName::Publishing, _) => "PUBLISHING",
                (TargetStateName::Ended, None) => "UNPUBLISHED",
                (TargetStateName::Ended, Some(_)) => "FAILED",
            };
            let stream =
                broadcasts.target_stream(event.call_id.as_deref()?, *target, status, fault.clone())?;
            Some(("StreamStatusEvent", serde_json::to_value(stream).ok()?))
        }
        _ => None,
    }
}

impl Broadcasts {
    /// What an RTMP output of a call is as a stream of the original; `None`: it is gone.
    fn target_stream(
        &self,
        call_id: &str,
        target: u64,
        status: &'static str,
        info: Option<String>,
    ) -> Option<StreamObject> {
        let registry = self.shared.registry();
        let broadcast = registry.iter().filter(|b| b.call_id == call_id).last()?;
        let live = broadcast.targets.iter();
        let past = broadcast.past_targets.iter().map(|(id, target)| (id, target));
        let (_, target) = live.chain(past).find(|(id, _)| id.0 == target)?;
        let push = target.push.as_ref();
        let direct = broadcast.direct.as_ref().map(|(_, name)| name.reveal().clone());
        let mut view =
            crate::local_streams::stream_view_of(broadcast, push.map(|p| p.stream_name.clone()).or(direct)?);
        if let Some(push) = push {
            view.media_session_id.clone_from(&push.media_session_id);
        }
        Some(StreamObject::of_target(view, status, info, target.muted))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use sipcast_sip::event::CallStatus;

    use super::*;
    use crate::ControlOptions;
    use crate::delivery::tests::{hasty, receiver};
    use crate::rest::tests::bench::{Bench, capture, options, within};

    #[tokio::test]
    async fn an_app_hears_of_its_calls_and_streams_in_order() {
        // The second post fails first, and holds up those behind it.
        let (url, mut got) = receiver([200, 500]).await;
        let hooks = vec![HookOptions { app_key: "defaultApp".to_owned(), delivery: hasty(&url) }];
        let mut bench = Bench::with(ControlOptions { hooks, ..options() }, None);
        tokio::task::yield_now().await;
        let mut other = capture("other", "elsewhere");
        other["appKey"] = "otherApp".into();
        let other = bench.place(other).await;
        let call = bench.place(capture("a", "hall")).await;
        other.answer().await;
        call.progress(CallStatus::Ring, 180).await;
        call.answer().await;
        bench.call_with_status("a", "ESTABLISHED").await;
        let push = json!({"streamName": "hall", "rtmpUrl": "rtmp://127.0.0.1/live", "options": {}});
        assert_eq!(bench.post("push/startup", push).await.status, 200);
        let mut heard: Vec<(String, Value)> = Vec::new();
        while heard.last().is_none_or(|(_, body)| body["status"] != "PUBLISHING") {
            let (path, headers, body) = within(got.recv()).await.expect("open");
            assert_eq!(headers["content-type"], "application/json");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["appKey"], "defaultApp");
            heard.push((path.path().to_owned(), body));
        }
        let calls: Vec<&Value> = heard
            .iter()
            .filter(|(path, _)| path.ends_with("/CallStatusEvent"))
            .map(|(_, body)| body)
            .collect();
        let words: Vec<&str> = calls.iter().filter_map(|call| call["status"].as_str()).collect();
        assert_eq!(words, ["RING", "ESTABLISHED", "ESTABLISHED"], "once again because it failed");
        assert_eq!(calls[0].as_object().map(serde_json::Map::len), Some(25), "the Call object");
        let (path, stream) = heard.last().expect("some");
        assert!(path.ends_with("/StreamStatusEvent"), "{path}");
        assert_eq!((&stream["name"], &stream["published"]), (&json!("rtmp_hall"), &json!(true)));
        assert!(stream["mediaSessionId"].is_string());
        assert!(bench.control.hooks_settled(Duration::from_secs(10)).await);
    }
}
