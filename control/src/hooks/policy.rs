//! How an app wants to be told and asked: the original's `restClientConfig` (wcs-api 1.6), one policy per hook.
//! Takes: JSON of an app or texts of the configuration. Gives: [`HookPolicies`]. Leaves out: HTTP (`hooks`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What an app is told of, or asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookName {
    /// A call is ordered: with which account.
    Connect,
    /// A call is ordered: whom to dial, what to publish.
    Call,
    /// Digits are ordered.
    SendDtmf,
    /// The end of a call is ordered.
    Hangup,
    /// An RTMP output is ordered.
    PublishStream,
    /// The end of an RTMP output is ordered.
    UnPublishStream,
    /// A call has another status.
    CallStatusEvent,
    /// An RTMP output has another state.
    StreamStatusEvent,
    /// The registration of a call's account has another state.
    RegistrationStatusEvent,
}

impl HookName {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connect,
        Self::Call,
        Self::SendDtmf,
        Self::Hangup,
        Self::PublishStream,
        Self::UnPublishStream,
        Self::CallStatusEvent,
        Self::StreamStatusEvent,
        Self::RegistrationStatusEvent,
    ];

    /// The last part of the URL that is posted to.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Call => "call",
            Self::SendDtmf => "sendDtmf",
            Self::Hangup => "hangup",
            Self::PublishStream => "publishStream",
            Self::UnPublishStream => "unPublishStream",
            Self::CallStatusEvent => "CallStatusEvent",
            Self::StreamStatusEvent => "StreamStatusEvent",
            Self::RegistrationStatusEvent => "RegistrationStatusEvent",
        }
    }

    /// Whether an order waits for the app's answer where its policy says so; the others tell what has happened.
    pub const fn is_order(self) -> bool {
        !matches!(self, Self::CallStatusEvent | Self::StreamStatusEvent | Self::RegistrationStatusEvent)
    }

    /// Fields of the order that an answer may overwrite, by their names in `/rest-api`.
    pub const fn overwritable(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &[
                "sipLogin",
                "sipAuthenticationName",
                "sipPassword",
                "sipDomain",
                "sipOutboundProxy",
                "sipPort",
                "sipRegisterRequired",
                "visibleName",
            ],
            Self::Call => &[
                "callee",
                "visibleName",
                "hasAudio",
                "hasVideo",
                "rtmpUrl",
                "rtmpStream",
                "toStream",
                "meetingId",
                "passcode",
                "dialScript",
            ],
            Self::SendDtmf => &["dtmf", "type"],
            Self::PublishStream => &["rtmpUrl", "rtmpStream", "rtmpUser", "rtmpPassword"],
            _ => &[],
        }
    }
}

/// One hook's policy as it is written: in the configuration, and by an app that answers `connect`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HookPolicyText {
    /// `LOG` or `FAIL`.
    pub rest_on_error: Option<String>,
    /// `NOTIFY` or `OVERWRITE`.
    pub rest_policy: Option<String>,
    /// Fields that an answer overwrites, at commas.
    pub rest_overwrite: Option<String>,
    /// Fields that the app is not sent, at commas.
    pub rest_exclude: Option<String>,
    /// Fields that the original keeps from its clients; of no meaning here.
    pub client_exclude: Option<String>,
}

/// One hook's policy. The default tells and does not wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookPolicy {
    /// What the app refuses, or does not answer, is refused.
    pub fails: bool,
    /// Fields of the order that the app's answer overwrites.
    pub overwrite: Vec<&'static str>,
    /// Fields that the app is not sent.
    pub exclude: Vec<String>,
}

impl HookPolicy {
    /// Whether the order waits for the answer.
    pub fn is_asked(&self) -> bool {
        self.fails || !self.overwrite.is_empty()
    }
}

/// The policies of one app, or of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookPolicies(BTreeMap<HookName, HookPolicy>);

/// A policy that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("restClientConfig{at}: {problem}; expected {expected}")]
pub struct HookPolicyError {
    at: String,
    problem: &'static str,
    expected: String,
}

impl HookPolicies {
    /// Of texts by the names of hooks.
    ///
    /// # Errors
    /// [`HookPolicyError`] naming hook and key.
    pub fn new<'a>(
        texts: impl IntoIterator<Item = (&'a String, &'a HookPolicyText)>,
    ) -> Result<Self, HookPolicyError> {
        let policies = texts.into_iter().map(|(name, text)| {
            let hook = HookName::ALL.into_iter().find(|hook| hook.as_str() == name).ok_or_else(|| {
                let names = HookName::ALL.map(HookName::as_str).join(", ");
                HookPolicyError {
                    at: format!(".{}", shortened(name)),
                    problem: "is no hook",
                    expected: names,
                }
            })?;
            Ok((hook, policy(hook, text)?))
        });
        Ok(Self(policies.collect::<Result<_, _>>()?))
    }

    /// The object `restClientConfig` in the answer of an app to `connect`. Hooks that are not known here, of which the
    /// original has some, are passed over.
    ///
    /// # Errors
    /// As [`HookPolicies::new`].
    pub fn of_answer(answer: &Value) -> Result<Self, HookPolicyError> {
        let Some(config) = answer.get("restClientConfig").filter(|config| !config.is_null()) else {
            return Ok(Self::default());
        };
        let shape = |at: String| HookPolicyError {
            at,
            problem: "is not of the expected form",
            expected:
                "an object of restOnError, restPolicy, restOverwrite, restExclude and clientExclude per hook"
                    .to_owned(),
        };
        let hooks = config.as_object().ok_or_else(|| shape(String::new()))?;
        let known = hooks.iter().filter(|(name, _)| HookName::ALL.iter().any(|hook| hook.as_str() == *name));
        let texts = known.map(|(name, value)| {
            let text = HookPolicyText::deserialize(value).map_err(|_| shape(format!(".{name}")))?;
            Ok((name.clone(), text))
        });
        let texts: BTreeMap<String, HookPolicyText> = texts.collect::<Result<_, HookPolicyError>>()?;
        Self::new(&texts)
    }

    /// The policy of one hook.
    pub fn of(&self, hook: HookName) -> HookPolicy {
        self.0.get(&hook).cloned().unwrap_or_default()
    }

    /// These, with `over` in place of those that it names.
    #[must_use]
    pub fn overlaid(&self, over: Self) -> Self {
        let mut policies = self.0.clone();
        policies.extend(over.0);
        Self(policies)
    }

    /// Whether none differs from the default.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn policy(hook: HookName, text: &HookPolicyText) -> Result<HookPolicy, HookPolicyError> {
    let fault = |key: &str, problem: &'static str, expected: String| HookPolicyError {
        at: format!(".{}.{key}", hook.as_str()),
        problem,
        expected,
    };
    let word =
        |text: &Option<String>| text.as_deref().map(str::trim).unwrap_or_default().to_ascii_uppercase();
    let fails = match word(&text.rest_on_error).as_str() {
        "" | "LOG" => false,
        "FAIL" if hook.is_order() => true,
        "FAIL" => {
            let problem = "is FAIL, yet this hook tells what has happened already";
            return Err(fault("restOnError", problem, "LOG".to_owned()));
        }
        _ => return Err(fault("restOnError", "is no known word", "FAIL or LOG".to_owned())),
    };
    let overwrites = match word(&text.rest_policy).as_str() {
        "" | "NOTIFY" => false,
        "OVERWRITE" if !hook.overwritable().is_empty() => true,
        "OVERWRITE" => {
            let problem = "is OVERWRITE, yet nothing of this hook can be overwritten";
            return Err(fault("restPolicy", problem, "NOTIFY".to_owned()));
        }
        _ => return Err(fault("restPolicy", "is no known word", "NOTIFY or OVERWRITE".to_owned())),
    };
    let listed = |text: &Option<String>| -> Vec<String> {
        let words = text.as_deref().unwrap_or_default().split(',').map(str::trim);
        words.filter(|word| !word.is_empty()).take(FIELDS_MAX).map(str::to_owned).collect()
    };
    let named = listed(&text.rest_overwrite).into_iter().map(|name| {
        let known = hook.overwritable().iter().copied().find(|known| *known == name);
        let expected = || hook.overwritable().join(", ");
        known.ok_or_else(|| fault("restOverwrite", "names a field that cannot be overwritten", expected()))
    });
    let overwrite: Vec<&'static str> = named.collect::<Result<_, _>>()?;
    if overwrites && overwrite.is_empty() {
        let expected = hook.overwritable().join(", ");
        return Err(fault("restOverwrite", "is missing although restPolicy is OVERWRITE", expected));
    }
    let overwrite = if overwrites { overwrite } else { Vec::new() };
    Ok(HookPolicy { fails, overwrite, exclude: listed(&text.rest_exclude) })
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// Fields of one list that are looked at.
const FIELDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_are_read_as_the_original_writes_them() {
        let answer = json!({"restClientConfig": {
            "call": {"restExclude": "sdp, custom", "clientExclude": "x", "restOnError": "FAIL", "restPolicy": "OVERWRITE",
                     "restOverwrite": "callee,visibleName"},
            "hangup": {"restOnError": "log", "restPolicy": "notify", "restOverwrite": ""},
            "snapshot": {"whatever": 1}}});
        let policies = HookPolicies::of_answer(&answer).expect("valid");
        let call = policies.of(HookName::Call);
        assert!(call.fails && call.is_asked());
        assert_eq!(
            (call.overwrite, call.exclude),
            (vec!["callee", "visibleName"], vec!["sdp".into(), "custom".into()])
        );
        assert_eq!(policies.of(HookName::Hangup), HookPolicy::default());
        assert!(!policies.of(HookName::Connect).is_asked());
        assert!(HookPolicies::of_answer(&json!({"callee": 1})).expect("none").is_empty());
        let over = HookPolicies::of_answer(&json!({"restClientConfig": {"call": {}}})).expect("valid");
        assert!(!policies.overlaid(over).of(HookName::Call).is_asked());
    }

    #[test]
    fn policies_that_cannot_be_followed_name_hook_and_key() {
        for (hook, policy, at, expected) in [
            ("call", json!({"restOnError": "MAYBE"}), ".call.restOnError", "FAIL or LOG"),
            ("call", json!({"restPolicy": "MAYBE"}), ".call.restPolicy", "NOTIFY or OVERWRITE"),
            ("call", json!({"restPolicy": "OVERWRITE"}), ".call.restOverwrite", "callee"),
            (
                "call",
                json!({"restPolicy": "OVERWRITE", "restOverwrite": "callId"}),
                ".call.restOverwrite",
                "callee",
            ),
            ("hangup", json!({"restPolicy": "OVERWRITE"}), ".hangup.restPolicy", "NOTIFY"),
            ("CallStatusEvent", json!({"restOnError": "FAIL"}), ".CallStatusEvent.restOnError", "LOG"),
            ("call", json!({"restonerror": "FAIL"}), ".call", "restOnError"),
            ("call", json!(7), ".call", "an object"),
        ] {
            let answer = json!({"restClientConfig": {hook: policy}});
            let error = HookPolicies::of_answer(&answer).expect_err("wrong").to_string();
            assert!(error.contains(at) && error.contains(expected), "{error}");
        }
        let texts = BTreeMap::from([("snapshot".to_owned(), HookPolicyText::default())]);
        let error = HookPolicies::new(&texts).expect_err("not here").to_string();
        assert!(error.contains(".snapshot") && error.contains("unPublishStream"), "{error}");
    }
}
