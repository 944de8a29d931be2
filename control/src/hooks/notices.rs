//! What apps are told of: statuses of calls, states of RTMP outputs and of the registrations that calls use.
//! Takes: the events of `events`, the registry. Gives: bodies in the original's form, in order for each app.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::policy::HookName;
use crate::broadcast::{Broadcasts, CallFilter};
use crate::events::{Event, EventKind, TargetStateName};
use crate::registry::Broadcast;
use crate::rest;
use crate::rest::local::StreamObject;

/// Tells apps from now on, until the process ends. Must be called within a tokio runtime.
pub(crate) fn start(broadcasts: Broadcasts) {
    if broadcasts.shared.apps.is_empty() {
        return;
    }
    let mut subscription = broadcasts.events().subscribe();
    tokio::spawn(async move {
        loop {
            let cursor = subscription.cursor();
            match subscription.next().await {
                Ok(event) => broadcasts.tell_apps(&event),
                // This task was starved for thousands of events.
                Err(missed) => {
                    broadcasts.shared.apps.note_dropped(missed.resume_at.saturating_sub(cursor));
                }
            }
        }
    });
}

impl Broadcasts {
    fn tell_apps(&self, event: &Event) {
        if let EventKind::Registration { account, state, sip_status, .. } = &event.kind {
            return self.tell_of_registration(event, account, state, *sip_status);
        }
        let Some(app_key) = event.app_key.as_deref() else { return };
        if self.shared.apps.policies(Some(app_key)).is_none() {
            return;
        }
        let Some((hook, body)) = self.notice(event) else { return };
        let policy = self.policies_of(event.call_id.as_deref(), app_key).of(hook);
        self.shared.apps.tell(app_key, hook, &policy, event.id.to_string(), body);
    }

    /// Name and body of the hook that an event is, if it is one.
    fn notice(&self, event: &Event) -> Option<(HookName, Value)> {
        match &event.kind {
            // The end is a status, too, and told as one before.
            EventKind::Status { status, sip_status, .. } => {
                let call_id = event.call_id.clone();
                let call = self.find_calls(&CallFilter { call_id, ..CallFilter::default() }).pop();
                let mut body = match call {
                    Some(call) => serde_json::to_value(rest::call::Call::from(call)).ok()?,
                    // Gone by now: what the event itself knows.
                    None => json!({ "callId": event.call_id, "appKey": event.app_key }),
                };
                // The call may have gone on since.
                body["status"] = (*status).into();
                body["sipStatus"] = (*sip_status).into();
                Some((HookName::CallStatusEvent, body))
            }
            EventKind::Target { target, state, fault, .. } => {
                let status = match (state, fault) {
                    (TargetStateName::Connecting | TargetStateName::Reconnecting, _) => "PENDING",
                    (TargetStateName::Publishing, _) => "PUBLISHING",
                    (TargetStateName::Ended, None) => "UNPUBLISHED",
                    (TargetStateName::Ended, Some(_)) => "FAILED",
                };
                let call_id = event.call_id.as_deref()?;
                let stream = self.target_stream(call_id, *target, status, fault.clone())?;
                Some((HookName::StreamStatusEvent, serde_json::to_value(stream).ok()?))
            }
            _ => None,
        }
    }

    /// An account is shared by calls, maybe of several apps: each app with a call that uses it is told once.
    fn tell_of_registration(&self, event: &Event, account: &str, state: &str, sip_status: u16) {
        let apps: BTreeSet<String> = {
            let registry = self.shared.registry();
            let users = registry.iter().filter(|b| b.account.as_deref() == Some(account));
            users.filter_map(|b| b.app_key.clone()).collect()
        };
        // The session statuses of the original's client (wcs-api 1.4).
        let status = match state {
            "registered" => "REGISTERED",
            "unregistered" => "UNREGISTERED",
            "failed" => "FAILED",
            _ => "PENDING",
        };
        let (login, domain) = account.split_once('@').unwrap_or((account, ""));
        for app_key in apps {
            let Some(policies) = self.shared.apps.policies(Some(&app_key)) else { continue };
            let policy = policies.of(HookName::RegistrationStatusEvent);
            let body = json!({
                "nodeId": null, "appKey": app_key, "sessionId": null, "sipLogin": login, "sipDomain": domain,
                "status": status, "sipStatus": sip_status,
            });
            let id = event.id.to_string();
            self.shared.apps.tell(&app_key, HookName::RegistrationStatusEvent, &policy, id, body);
        }
    }

    /// What an RTMP output of a call is as a stream of the original; `None`: it is gone.
    fn target_stream(
        &self,
        call_id: &str,
        target: u64,
        status: &'static str,
        info: Option<String>,
    ) -> Option<StreamObject> {
        let registry = self.shared.registry();
        let broadcast: &Broadcast = registry.iter().filter(|b| b.call_id == call_id).last()?;
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
