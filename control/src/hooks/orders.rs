//! What apps are asked before orders of their calls: `connect` and `call`, `publishStream`, `sendDtmf`, `hangup`,
//! `unPublishStream`.
//! Takes: orders as clients wrote them. Gives: the same with the fields that an app overwrote, or its refusal. No body
//! holds a password or passcode.

use std::sync::Arc;

use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sipcast_sip::event::CallStatus;

use super::policy::{HookName, HookPolicies, HookPolicy};
use super::{Apps, HookRefusal};
use crate::broadcast::{Broadcasts, CallView};
use crate::faces::RefusalCause;
use crate::order::{DtmfRequest, OrderRequest, TargetRequest};
use crate::ordered_url::OrderedUrl;
use crate::rest::call::Call;

impl Broadcasts {
    /// The policies that are in force for a call: its own, else its app's.
    pub(super) fn policies_of(&self, call_id: Option<&str>, app_key: &str) -> Arc<HookPolicies> {
        let own =
            call_id.and_then(|id| self.shared.registry().call(id).and_then(|b| b.hook_policies.clone()));
        own.or_else(|| self.shared.apps.policies(Some(app_key)).cloned()).unwrap_or_default()
    }

    /// Asks the order's app whether the call may be placed, and with what. Gives the policies that its answer to
    /// `connect` puts into force for this call.
    ///
    /// # Errors
    /// [`HookRefusal`]: nothing is to be started.
    pub(crate) async fn ask_before_call(
        &self,
        order: &mut OrderRequest,
    ) -> Result<Option<Arc<HookPolicies>>, HookRefusal> {
        let Some(app_key) = order.app_key.clone() else { return Ok(None) };
        let Some(policies) = self.shared.apps.policies(Some(&app_key)).cloned() else { return Ok(None) };
        let connect = policies.of(HookName::Connect);
        let body = connect_body(order);
        let mut own = None;
        let read = |answer: &Map<String, Value>| {
            match HookPolicies::of_answer(&Value::Object(answer.clone())) {
                Ok(given) if given.is_empty() => {}
                Ok(given) => own = Some(Arc::new(policies.overlaid(given))),
                Err(error) => {
                    tracing::warn!(app = ?app_key, "restClientConfig of the answer to connect: {error}");
                    if connect.fails {
                        return None;
                    }
                }
            }
            overwrite(&connect, answer, |name, value| order.overwrite(name, value))
        };
        self.ask(&app_key, HookName::Connect, &connect, body, read).await?;
        let in_force = own.as_ref().unwrap_or(&policies);
        let call = in_force.of(HookName::Call);
        let body = call_body(order);
        let read = |answer: &_| overwrite(&call, answer, |name, value| order.overwrite(name, value));
        self.ask(&app_key, HookName::Call, &call, body, read).await?;
        let publish = in_force.of(HookName::PublishStream);
        let subject = Subject {
            app_key: &app_key,
            call_id: order.call_id.clone(),
            name: order.to_stream.clone(),
            has_audio: order.has_audio.unwrap_or(true),
            has_video: order.has_video.unwrap_or(true),
        };
        let targets = order.direct.iter_mut().chain(order.targets.iter_mut().flatten());
        let asked = targets.map(|target| self.ask_to_publish(&subject, &publish, target));
        try_join_all(asked).await?;
        Ok(own)
    }

    /// Asks a call's app before an RTMP output is added. `true`: the app changed the order.
    ///
    /// # Errors
    /// [`HookRefusal`]: nothing is to be added.
    pub(crate) async fn ask_before_publishing(
        &self,
        call_id: &str,
        target: &mut TargetRequest,
    ) -> Result<bool, HookRefusal> {
        let Some((subject_key, name, has_audio, has_video)) = ({
            let registry = self.shared.registry();
            registry
                .call(call_id)
                .and_then(|b| Some((b.app_key.clone()?, b.to_stream.clone(), b.has_audio, b.has_video)))
        }) else {
            return Ok(false);
        };
        let policy = self.policies_of(Some(call_id), &subject_key).of(HookName::PublishStream);
        let subject =
            Subject { app_key: &subject_key, call_id: Some(call_id.to_owned()), name, has_audio, has_video };
        self.ask_to_publish(&subject, &policy, target).await
    }

    /// Asks a call's app before digits are sent.
    ///
    /// # Errors
    /// [`HookRefusal`]: nothing is to be sent.
    pub(crate) async fn ask_before_dtmf(
        &self,
        call_id: &str,
        digits: &mut DtmfRequest,
    ) -> Result<(), HookRefusal> {
        let Some(app_key) = self.app_of(call_id) else { return Ok(()) };
        let policy = self.policies_of(Some(call_id), &app_key).of(HookName::SendDtmf);
        let kind = digits.kind.as_deref().unwrap_or("RFC2833");
        let body = json!({ "nodeId": null, "appKey": app_key, "sessionId": null, "callId": call_id,
            "dtmf": digits.dtmf, "type": kind });
        let set = |name: &str, value: &Value| match name {
            "dtmf" => text(value).map(|value| digits.dtmf = Some(value)),
            _ => text(value).map(|value| digits.kind = Some(value)),
        };
        let read = |answer: &_| overwrite(&policy, answer, set);
        self.ask(&app_key, HookName::SendDtmf, &policy, body, read).await.map(drop)
    }

    /// Asks a call's app before it is ended by order.
    ///
    /// # Errors
    /// [`HookRefusal`]: the call goes on.
    pub(crate) async fn ask_before_hangup(&self, call_id: &str) -> Result<(), HookRefusal> {
        let Some(app_key) = self.app_of(call_id) else { return Ok(()) };
        let policy = self.policies_of(Some(call_id), &app_key).of(HookName::Hangup);
        let body = json!({ "nodeId": null, "appKey": app_key, "sessionId": null, "callId": call_id });
        self.ask(&app_key, HookName::Hangup, &policy, body, |_| Some(false)).await.map(drop)
    }

    /// Asks a call's app before one of its RTMP outputs is taken off the air by order.
    ///
    /// # Errors
    /// [`HookRefusal`]: it stays.
    pub(crate) async fn ask_before_unpublishing(
        &self,
        call_id: &str,
        media_session_id: Option<&str>,
    ) -> Result<(), HookRefusal> {
        let Some(app_key) = self.app_of(call_id) else { return Ok(()) };
        let policy = self.policies_of(Some(call_id), &app_key).of(HookName::UnPublishStream);
        let body = json!({ "nodeId": null, "appKey": app_key, "sessionId": null, "callId": call_id,
            "mediaSessionId": media_session_id, "published": true });
        self.ask(&app_key, HookName::UnPublishStream, &policy, body, |_| Some(false)).await.map(drop)
    }

    async fn ask_to_publish(
        &self,
        subject: &Subject<'_>,
        policy: &HookPolicy,
        target: &mut TargetRequest,
    ) -> Result<bool, HookRefusal> {
        let body = json!({ "nodeId": null, "appKey": subject.app_key, "sessionId": null, "callId": subject.call_id,
            "mediaSessionId": null, "name": subject.name, "published": true, "record": false, "status": "PENDING",
            "hasAudio": subject.has_audio, "hasVideo": subject.has_video, "mediaProvider": "Flash",
            "rtmpUrl": target.rtmp_url.clone().map(|url| match target.rtmp_stream {
                Some(_) => shown_url(url),
                // The last part of its path is the stream name.
                None => OrderedUrl::with_stream(url).shown().to_owned(),
            }), "rtmpService": target.rtmp_service });
        let set = |name: &str, value: &Value| {
            let value = Some(text(value)?);
            match name {
                "rtmpUrl" => target.rtmp_url = value,
                "rtmpStream" => target.rtmp_stream = value,
                "rtmpUser" => target.rtmp_user = value,
                _ => target.rtmp_password = value,
            }
            Some(())
        };
        let read = |answer: &_| overwrite(policy, answer, set);
        self.ask(subject.app_key, HookName::PublishStream, policy, body, read).await
    }

    /// The app of a live call, if it is told anything.
    fn app_of(&self, call_id: &str) -> Option<String> {
        let apps: &Apps = &self.shared.apps;
        if apps.is_empty() {
            return None;
        }
        let mut registry = self.shared.registry();
        let app_key = registry.live_call_mut(call_id)?.app_key.clone();
        app_key.filter(|app_key| apps.policies(Some(app_key)).is_some())
    }

    async fn ask(
        &self,
        app_key: &str,
        hook: HookName,
        policy: &HookPolicy,
        body: Value,
        read: impl FnOnce(&Map<String, Value>) -> Option<bool>,
    ) -> Result<bool, HookRefusal> {
        let asked = self.shared.apps.before(app_key, hook, policy, body, read).await;
        asked.inspect_err(|_| self.shared.faces.count(RefusalCause::Hook))
    }
}

/// Whose RTMP output is asked about.
struct Subject<'a> {
    app_key: &'a str,
    call_id: Option<String>,
    name: Option<String>,
    has_audio: bool,
    has_video: bool,
}

impl OrderRequest {
    /// Sets a field by its name in `/rest-api`, as leniently as it is read there. `None`: the value is of another type.
    fn overwrite(&mut self, name: &str, value: &Value) -> Option<()> {
        match name {
            "hasAudio" => self.has_audio = Some(boolean(value)?),
            "hasVideo" => self.has_video = Some(boolean(value)?),
            "sipRegisterRequired" => self.sip_register_required = Some(boolean(value)?),
            "sipPort" => self.sip_port = Some(text(value)?.parse().ok()?),
            "rtmpUrl" => self.direct.get_or_insert_default().rtmp_url = Some(text(value)?),
            "rtmpStream" => self.direct.get_or_insert_default().rtmp_stream = Some(text(value)?),
            _ => {
                let field = match name {
                    "sipLogin" => &mut self.sip_login,
                    "sipAuthenticationName" => &mut self.sip_authentication_name,
                    "sipPassword" => &mut self.sip_password,
                    "sipDomain" => &mut self.sip_domain,
                    "sipOutboundProxy" => &mut self.sip_outbound_proxy,
                    "visibleName" => &mut self.visible_name,
                    "callee" => &mut self.callee,
                    "toStream" => &mut self.to_stream,
                    "meetingId" => &mut self.meeting_id,
                    "passcode" => &mut self.passcode,
                    "dialScript" => &mut self.dial_script,
                    _ => return None,
                };
                *field = Some(text(value)?);
            }
        }
        Some(())
    }
}

/// Puts the fields of an answer that the policy names into an order. `true`: there were some. `None`: a value has
/// another type than its field.
fn overwrite(
    policy: &HookPolicy,
    answer: &Map<String, Value>,
    mut set: impl FnMut(&str, &Value) -> Option<()>,
) -> Option<bool> {
    let mut changed = false;
    for name in &policy.overwrite {
        // Absent and null leave the field as it is.
        if let Some(value) = answer.get(*name).filter(|value| !value.is_null()) {
            set(name, value)?;
            changed = true;
        }
    }
    Some(changed)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection<'a> {
    node_id: Option<&'a str>,
    app_key: Option<&'a str>,
    session_id: Option<&'a str>,
    call_id: Option<&'a str>,
    sip_login: Option<&'a str>,
    sip_authentication_name: Option<&'a str>,
    sip_domain: Option<&'a str>,
    sip_outbound_proxy: Option<&'a str>,
    sip_port: Option<u16>,
    sip_register_required: bool,
    visible_name: Option<&'a str>,
}

fn connect_body(order: &OrderRequest) -> Value {
    let connection = Connection {
        node_id: None,
        app_key: order.app_key.as_deref(),
        session_id: None,
        call_id: order.call_id.as_deref(),
        sip_login: order.sip_login.as_deref(),
        sip_authentication_name: order.sip_authentication_name.as_deref(),
        sip_domain: order.sip_domain.as_deref(),
        sip_outbound_proxy: order.sip_outbound_proxy.as_deref(),
        sip_port: order.sip_port,
        sip_register_required: order.sip_register_required.unwrap_or(false),
        visible_name: order.visible_name.as_deref(),
    };
    serde_json::to_value(connection).unwrap_or_default()
}

/// The Call object as it would be shown, and `toStream` and `meetingId` beside it.
fn call_body(order: &OrderRequest) -> Value {
    let direct = order.direct.as_ref();
    let caller = order.sip_login.clone().unwrap_or_default();
    let call = Call::from(CallView {
        call_id: order.call_id.clone().unwrap_or_default(),
        app_key: order.app_key.clone(),
        status: CallStatus::New,
        sip_status: 0,
        reason: None,
        rtmp_url: direct.and_then(|direct| direct.rtmp_url.clone()).map(shown_url),
        rtmp_stream: direct.and_then(|direct| direct.rtmp_stream.clone()),
        rtmp_stream_status: None,
        visible_name: order.visible_name.clone().unwrap_or_else(|| caller.clone()),
        caller,
        callee: order.callee.clone().unwrap_or_default(),
        has_audio: order.has_audio.unwrap_or(true),
        has_video: order.has_video.unwrap_or(true),
        sdp: None,
    });
    let mut body = serde_json::to_value(call).unwrap_or_default();
    if let Value::Object(fields) = &mut body {
        fields.insert("toStream".to_owned(), order.to_stream.clone().into());
        fields.insert("meetingId".to_owned(), order.meeting_id.clone().into());
    }
    body
}

fn shown_url(url: String) -> String {
    OrderedUrl::new(url).shown().to_owned()
}

/// A text, or a number as its digits.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}
