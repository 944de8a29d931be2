//! REST hooks: an app is told what happens to its calls and streams, and asked before orders where its policy says so
//! (wcs-api 1.6).
//! Takes: events, bodies of orders. Gives: POSTs to `<url>/<hook>`: what tells goes in order and is tried again
//! (`delivery`), what asks waits for one answer, for a bounded time.
//! Leaves out: which orders ask what (`orders`), which events tell what (`notices`), the policies' words (`policy`).

pub(crate) mod counts;
mod notices;
mod orders;
pub mod policy;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Map, Value};

use crate::broadcast::random_id;
use crate::delivery::{AskError, Asker, Delivery, DeliveryOptions, DeliverySetupError, Post};
use counts::{Answers, Outcome};
pub(crate) use notices::start as tell_of_events;
use policy::{HookName, HookPolicy};
pub use policy::{HookPolicies, HookPolicyError, HookPolicyText};

/// An app and where it is told and asked.
#[derive(Clone, Debug)]
pub struct HookOptions {
    /// Its calls are those with this `appKey`.
    pub app_key: String,
    /// Where to; the hook's name is put behind the path.
    pub delivery: DeliveryOptions,
    /// How long an order waits for the app's answer.
    pub answer_max: Duration,
    /// Where the app is asked, and what it may change.
    pub policies: HookPolicies,
}

/// Why an order is refused on behalf of an app. Holds nothing that the app said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookRefusal {
    /// The app said no: any status but 2xx.
    Refused,
    /// It gave no answer that can be used, in time.
    Unanswered,
}

/// All apps of this process.
#[derive(Default)]
pub(crate) struct Apps(BTreeMap<String, App>);

struct App {
    delivery: Delivery,
    asker: Asker,
    policies: Arc<HookPolicies>,
    answers: Answers,
}

impl Apps {
    /// Starts their deliveries. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The app's key, and what to change.
    pub(crate) fn start(options: Vec<HookOptions>) -> Result<Self, (String, DeliverySetupError)> {
        let started = options.into_iter().map(|options| {
            let HookOptions { app_key, delivery, answer_max, policies } = options;
            let named = |error| (app_key.clone(), error);
            let app = App {
                asker: Asker::new(&delivery, answer_max).map_err(named)?,
                delivery: Delivery::start(delivery).map_err(named)?,
                policies: Arc::new(policies),
                answers: Answers::default(),
            };
            Ok((app_key, app))
        });
        Ok(Self(started.collect::<Result<_, _>>()?))
    }

    /// Whether nobody is told anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policies of an app; `None`: there is no such app.
    pub(crate) fn policies(&self, app_key: Option<&str>) -> Option<&Arc<HookPolicies>> {
        Some(&self.0.get(app_key?)?.policies)
    }

    /// Tells what has happened, without waiting. A full queue is counted there.
    fn tell(&self, app_key: &str, hook: HookName, policy: &HookPolicy, id: String, body: Value) {
        if let Some(app) = self.0.get(app_key) {
            app.delivery.post(post(hook, policy, id, body));
        }
    }

    /// Tells, or asks if the policy says so, before an order is carried out, and counts what comes of the question.
    /// `read` puts the answer of an app that was asked into the order, and says whether that changed it; `None`: the
    /// answer cannot be used. `true`: the order is changed.
    ///
    /// # Errors
    /// [`HookRefusal`], only where the policy is FAIL.
    async fn before(
        &self,
        app_key: &str,
        hook: HookName,
        policy: &HookPolicy,
        body: Value,
        read: impl FnOnce(&Map<String, Value>) -> Option<bool>,
    ) -> Result<bool, HookRefusal> {
        let Some(app) = self.0.get(app_key) else { return Ok(false) };
        let post = post(hook, policy, random_id(), body);
        if !policy.is_asked() {
            app.delivery.post(post);
            return Ok(false);
        }
        let answer = match app.asker.ask(&post).await {
            Ok(answer) => object_of(&answer).ok_or(HookRefusal::Unanswered),
            Err(AskError::Refused(_)) => Err(HookRefusal::Refused),
            Err(AskError::Unanswered) => Err(HookRefusal::Unanswered),
        };
        let (outcome, result) = match answer.and_then(|answer| read(&answer).ok_or(HookRefusal::Unanswered)) {
            Ok(true) => (Outcome::Overwritten, Ok(true)),
            Ok(false) => (Outcome::Agreed, Ok(false)),
            Err(HookRefusal::Refused) if policy.fails => (Outcome::Refused, Err(HookRefusal::Refused)),
            Err(HookRefusal::Unanswered) if policy.fails => {
                (Outcome::Unanswered, Err(HookRefusal::Unanswered))
            }
            Err(_) => (Outcome::PassedOver, Ok(false)),
        };
        app.answers.count(hook, outcome);
        if !matches!(outcome, Outcome::Agreed | Outcome::Overwritten) {
            tracing::warn!(app = ?app_key, hook = hook.as_str(), "an app did not agree: {}", outcome.name());
        }
        result
    }

    /// Waits until what apps were told of is delivered, for at most `deadline`. `false`: something is not.
    pub(crate) async fn settled(&self, deadline: Duration) -> bool {
        let all = self.0.values().map(|app| app.delivery.settled(deadline));
        futures_util::future::join_all(all).await.into_iter().all(|settled| settled)
    }

    /// Counts what could not even be told.
    fn note_dropped(&self, posts: u64) {
        self.0.values().for_each(|app| app.delivery.note_dropped(posts));
    }
}

/// An answer's fields; none if it says nothing. `None`: it is no JSON object.
fn object_of(answer: &[u8]) -> Option<Map<String, Value>> {
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Some(Map::new());
    }
    serde_json::from_slice(answer).ok()
}

fn post(hook: HookName, policy: &HookPolicy, id: String, mut body: Value) -> Post {
    if let Value::Object(fields) = &mut body {
        fields.retain(|name, _| !policy.exclude.iter().any(|excluded| excluded == name));
    }
    Post { id, path: format!("/{}", hook.as_str()), body: Bytes::from(body.to_string()) }
}

#[cfg(test)]
mod tests;
