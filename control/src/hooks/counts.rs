//! What became of what apps were asked and told, for metrics. Holds nothing that an app said.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Apps;
use super::policy::HookName;
use crate::delivery::DeliveryCounts;

/// What came of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The app agreed, and the order stayed as it was.
    Agreed,
    /// The app agreed, and its answer took the place of fields of the order.
    Overwritten,
    /// The app said no, and its policy is FAIL.
    Refused,
    /// The app gave no answer that can be used, and its policy is FAIL.
    Unanswered,
    /// Either of both, but its policy is LOG: the order was carried out.
    PassedOver,
}

impl Outcome {
    /// Its label.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Overwritten => "overwritten",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::PassedOver => "passed_over",
        }
    }
}

/// Answers of one app so far.
#[derive(Default)]
pub(super) struct Answers(Mutex<AnswerCounts>);

/// By hook and outcome; what never occurred is not in it.
pub(crate) type AnswerCounts = BTreeMap<(HookName, Outcome), u64>;

impl Answers {
    /// Counts one. Once per order, so a lock costs nothing.
    pub(super) fn count(&self, hook: HookName, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((hook, outcome)).or_default() += 1;
    }

    fn counts(&self) -> AnswerCounts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Figures of one app.
#[derive(Debug)]
pub(crate) struct AppCounts {
    /// As it stands in the configuration.
    pub(crate) app_key: String,
    /// What it was told.
    pub(crate) told: DeliveryCounts,
    /// What it was asked.
    pub(crate) asked: AnswerCounts,
}

impl Apps {
    /// What became of everything so far, in order of the apps' keys.
    pub(crate) fn counts(&self) -> Vec<AppCounts> {
        let of = |(app_key, app): (&String, &super::App)| AppCounts {
            app_key: app_key.clone(),
            told: app.delivery.counts(),
            asked: app.answers.counts(),
        };
        self.0.iter().map(of).collect()
    }
}
