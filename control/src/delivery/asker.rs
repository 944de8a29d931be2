//! Asking an operator's endpoint: one POST, one answer, in bounded time.
//! Takes: posts. Gives: the answer's body. Leaves out: what is asked (`hooks`).

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::{DeliveryOptions, DeliverySetupError, Post};

/// An endpoint that is asked.
pub(crate) struct Asker {
    endpoint: Endpoint,
    answer_max: Duration,
    places: Semaphore,
}

/// There is no answer that agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    /// The endpoint answered with another status than 2xx.
    Refused(StatusCode),
    /// No whole answer came in time.
    Unanswered,
}

impl Asker {
    /// `answer_max`: how long one question may take, from look-up to answer, and the wait for a place among others.
    ///
    /// # Errors
    /// [`DeliverySetupError`] with what to change.
    pub(crate) fn new(options: &DeliveryOptions, answer_max: Duration) -> Result<Self, DeliverySetupError> {
        Ok(Self { endpoint: Endpoint::new(options)?, answer_max, places: Semaphore::new(QUESTIONS_MAX) })
    }

    /// Asks.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn ask(&self, post: &Post) -> Result<Bytes, AskError> {
        let answer = async {
            let _place = self.places.acquire().await.ok()?;
            let connection = self.endpoint.connect().await.ok()?;
            let answer = self.endpoint.send(connection, post).await.ok()?;
            Some((answer.status, answer.body?))
        };
        let answer = timeout(self.answer_max, answer).await.ok().flatten();
        match answer.ok_or(AskError::Unanswered)? {
            (status, body) if status.is_success() => Ok(body),
            (status, _) => Err(AskError::Refused(status)),
        }
    }
}

/// Questions to one endpoint at the same time; further ones wait.
const QUESTIONS_MAX: usize = 64;
