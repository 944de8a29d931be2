//! Webhooks: what happens, told to operators' URLs.
//! Takes: the events of `events`. Gives: each one that an endpoint wants, as the JSON that Server-Sent Events and gRPC
//! have too, posted in order, signed and tried again (`delivery`).
//! Leaves out: HTTP. An endpoint that is away for long misses what its queue cannot hold; the events' IDs show it.

use axum::body::Bytes;

use crate::delivery::{Delivery, DeliveryCounts, DeliveryOptions, DeliverySetupError, Post};
use crate::events::{Event, EventKind, Events};

/// One endpoint.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// In metrics and logs.
    pub name: String,
    /// Where to.
    pub delivery: DeliveryOptions,
    /// Types of events to tell; none: all.
    pub events: Vec<String>,
    /// Only events of broadcasts with this `appKey`; `None`: all.
    pub app_key: Option<String>,
}

/// A webhook cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// There is no such type.
    #[error("{0:?} is no type of event: expected {names}", names = EventKind::NAMES.join(", "))]
    UnknownEvent(String),
    /// URL, secret or roots.
    #[error(transparent)]
    Delivery(#[from] DeliverySetupError),
}

/// A running endpoint.
pub(crate) struct Webhook {
    name: String,
    delivery: Delivery,
    feeder: tokio::task::JoinHandle<()>,
}

impl Webhook {
    /// Tells everything from now on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`WebhookError`] with what to change.
    pub(crate) fn start(options: WebhookOptions, events: &Events) -> Result<Self, WebhookError> {
        if let Some(unknown) = options.events.iter().find(|name| !EventKind::NAMES.contains(&name.as_str())) {
            return Err(WebhookError::UnknownEvent(unknown.clone()));
        }
        let delivery = Delivery::start(options.delivery.clone())?;
        let name = options.name.clone();
        let feeder = tokio::spawn(feed(options, events.clone(), delivery.clone()));
        Ok(Self { name, delivery, feeder })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn counts(&self) -> DeliveryCounts {
        self.delivery.counts()
    }

    /// Waits for what was told so far to be delivered, for at most `deadline`.
    pub(crate) async fn settled(&self, deadline: std::time::Duration) -> bool {
        self.delivery.settled(deadline).await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It holds a clone of the delivery, which would go on without an owner.
        self.feeder.abort();
    }
}

async fn feed(options: WebhookOptions, events: Events, delivery: Delivery) {
    let mut subscription = events.subscribe();
    loop {
        let cursor = subscription.cursor();
        match subscription.next().await {
            Ok(event) if wants(&options, &event) => {
                // An event is plain data, so this always is JSON.
                let Ok(body) = serde_json::to_vec(&*event) else { continue };
                let post = Post { id: event.id.to_string(), path: String::new(), body: Bytes::from(body) };
                delivery.post(post);
            }
            Ok(_) => {}
            // This task was starved for thousands of events.
            Err(missed) => delivery.note_dropped(missed.resume_at.saturating_sub(cursor)),
        }
    }
}

fn wants(options: &WebhookOptions, event: &Event) -> bool {
    let of_type = options.events.is_empty() || options.events.iter().any(|name| name == event.kind.name());
    of_type && options.app_key.as_ref().is_none_or(|key| event.app_key.as_ref() == Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::tests::{hasty, receiver};
    use crate::events::Subject;
    use sipcast_contract::{BroadcastId, Secret};
    use std::time::Duration;

    fn options(url: &str) -> WebhookOptions {
        WebhookOptions { name: "0".to_owned(), delivery: hasty(url), events: Vec::new(), app_key: None }
    }

    fn tell(events: &Events, app_key: Option<&str>, kind: EventKind) {
        let app_key = app_key.map(str::to_owned);
        events.tell(Subject { broadcast: BroadcastId(7), call_id: "a".to_owned(), app_key }, kind);
    }

    fn ring(n: u16) -> EventKind {
        EventKind::Status { status: "RING", sip_status: n, reason: None }
    }

    #[tokio::test]
    async fn events_arrive_in_order_signed_and_again_when_they_fail() {
        let (url, mut got) = receiver([500, 200, 429]).await;
        let mut options = options(&url);
        options.delivery.signing_secret = Some(Secret::new("0123456789abcdef".to_owned()));
        let events = Events::default();
        let webhook = Webhook::start(options, &events).expect("sound");
        // The feeder subscribes when it first runs.
        tokio::task::yield_now().await;
        (180..184).for_each(|n| tell(&events, None, ring(n)));
        let mut ids = Vec::new();
        while ids.len() < 6 {
            let next = tokio::time::timeout(Duration::from_secs(10), got.recv());
            let (_, headers, body) = next.await.expect("in time").expect("open");
            let event: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!((event["type"].as_str(), event["callId"].as_str()), (Some("status"), Some("a")));
            let text = |name: &str| headers[name].to_str().expect("text").to_owned();
            assert_eq!(text("webhook-id"), event["id"].to_string());
            assert!(text("webhook-signature").starts_with("v1,"));
            assert!(text("webhook-timestamp").parse::<u64>().is_ok());
            ids.push(event["data"]["sipStatus"].as_u64().expect("a number"));
        }
        assert_eq!(ids, [180, 180, 181, 181, 182, 183]);
        assert!(webhook.settled(Duration::from_secs(10)).await);
        assert_eq!(webhook.counts().delivered, 4);
    }

    #[tokio::test]
    async fn only_what_is_wanted_is_told() {
        let (url, mut got) = receiver([]).await;
        let wanted = vec!["mediaStarted".to_owned()];
        let events = Events::default();
        let options = WebhookOptions { events: wanted, app_key: Some("k".to_owned()), ..options(&url) };
        let webhook = Webhook::start(options, &events).expect("sound");
        tokio::task::yield_now().await;
        tell(&events, Some("k"), ring(180));
        tell(&events, Some("other"), EventKind::MediaStarted);
        tell(&events, None, EventKind::MediaStarted);
        tell(&events, Some("k"), EventKind::MediaStarted);
        let (_, headers, body) =
            tokio::time::timeout(Duration::from_secs(10), got.recv()).await.expect("in time").expect("open");
        assert!(String::from_utf8_lossy(&body).contains("mediaStarted"));
        assert!(!headers.contains_key("webhook-signature"), "no secret, no signature");
        assert!(webhook.settled(Duration::from_secs(10)).await);
        assert!(got.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_unknown_type_is_refused_with_the_known_ones() {
        let options = WebhookOptions { events: vec!["finished".to_owned()], ..options("http://h/") };
        let error = Webhook::start(options, &Events::default()).err().expect("no such type").to_string();
        assert!(error.contains("finished") && error.contains("ended"), "{error}");
    }
}
