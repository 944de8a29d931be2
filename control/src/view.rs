//! Broadcasts and targets as `/v1` and gRPC show them: one shape for both.
//! Takes: what the registry holds. Gives: snapshots without secrets. Leaves out: the compatible API's shapes (`rest`).

use std::time::SystemTime;

use serde::Serialize;
use sipcast_contract::{TargetAudio, TargetId, TlsTrust};
use utoipa::ToSchema;

use crate::events::TargetStateName;
use crate::registry::{Broadcast, Target};
use crate::sip_endpoint::RegistrationView;

/// A broadcast: one call in and its RTMP targets.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Broadcast)]
pub(crate) struct BroadcastView {
    /// Its name, as ordered or made up.
    pub(crate) call_id: String,
    /// Its number, as in the log and the statistics.
    pub(crate) broadcast: u64,
    /// As ordered.
    pub(crate) app_key: Option<String>,
    /// Where the call stands.
    #[schema(value_type = CallStatusName)]
    pub(crate) status: &'static str,
    /// Last SIP status code, 0 before the first.
    pub(crate) sip_status: u16,
    /// Why it ended, if not as ordered.
    pub(crate) reason: Option<String>,
    /// SIP login.
    pub(crate) caller: String,
    /// As ordered.
    pub(crate) callee: String,
    /// Display name of the From header.
    pub(crate) visible_name: String,
    /// Audio was ordered.
    pub(crate) has_audio: bool,
    /// Video was ordered.
    pub(crate) has_video: bool,
    /// When it was ordered (RFC 3339, UTC).
    #[serde(serialize_with = "crate::events::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) ordered_at: SystemTime,
    /// Width of the picture in pixels, 0 until known.
    pub(crate) width: u16,
    /// Height of the picture in pixels, 0 until known.
    pub(crate) height: u16,
    /// ID of an event that this snapshot is not older than: listen from there on to miss nothing.
    pub(crate) last_event_id: u64,
    /// Nothing more will happen to it.
    #[serde(skip)]
    pub(crate) is_over: bool,
    /// Its targets, oldest first, with the latest of those that have ended.
    pub(crate) targets: Vec<TargetView>,
}

/// An RTMP target of a broadcast.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Target)]
pub(crate) struct TargetView {
    /// Its name: a number, as in the log, the statistics and events.
    #[schema(example = "1")]
    pub(crate) target_id: String,
    /// Its name in the compatible API; absent for the target that is part of a call from there.
    pub(crate) media_session_id: Option<String>,
    /// Where it publishes: no credentials, no query, no stream name.
    pub(crate) url: String,
    /// TLS: `none`, `verified`, or `unverified` for a server whose certificate is not checked.
    #[schema(example = "none")]
    pub(crate) tls: &'static str,
    /// Where it stands.
    pub(crate) state: TargetStateName,
    /// Why it is not on the air.
    pub(crate) fault: Option<String>,
    /// Silence instead of sound.
    pub(crate) muted: bool,
    /// Sound as ordered: `aac` or `source`.
    #[schema(example = "aac")]
    pub(crate) rtmp_audio: &'static str,
    /// Bytes that the RTMP server took.
    pub(crate) bytes_sent: u64,
    /// Pictures sent.
    pub(crate) access_units: u64,
    /// Pictures dropped because the server was slow.
    pub(crate) access_units_dropped: u64,
    /// Times the connection was lost and tried again.
    pub(crate) reconnects: u64,
    /// Media time waiting, in ms.
    pub(crate) queue_ms: u32,
}

/// A registration of a SIP account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
pub(crate) struct AccountView {
    /// Address of record, `sip:login@domain`.
    pub(crate) account: String,
    /// Where REGISTER goes, `host:port`.
    pub(crate) registrar: String,
    /// `registering`, `registered`, `unregistering` or `failed`.
    pub(crate) state: &'static str,
    /// Seconds until the binding expires unless it is refreshed.
    pub(crate) expires_in_s: Option<u64>,
    /// Last SIP status code, 408 for no answer, 0 before the first.
    pub(crate) sip_status: u16,
    /// Why the last REGISTER failed.
    pub(crate) reason: Option<String>,
    /// Calls that use it.
    pub(crate) calls: usize,
}

/// Statuses of a call; the last three are final.
// Only described, never made: `CallStatus` belongs to the SIP side, which knows of no documents.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(dead_code, missing_docs, reason = "a description for the OpenAPI document")]
pub(crate) enum CallStatusName {
    New,
    Pending,
    Trying,
    Ring,
    RingMedia,
    SessionProgress,
    Established,
    Hold,
    Finish,
    Busy,
    Failed,
}

impl From<RegistrationView> for AccountView {
    fn from(registration: RegistrationView) -> Self {
        Self {
            account: registration.account,
            registrar: registration.registrar,
            state: registration.state.as_str(),
            expires_in_s: registration.expires_in_s,
            sip_status: registration.last_status,
            reason: registration.reason,
            calls: registration.calls,
        }
    }
}

impl BroadcastView {
    pub(crate) fn of(b: &Broadcast, last_event_id: u64) -> Self {
        Self {
            call_id: b.call_id.clone(),
            broadcast: b.id.0,
            app_key: b.app_key.clone(),
            status: b.status.as_str(),
            sip_status: b.sip_status,
            reason: b.reason.clone(),
            caller: b.caller.clone(),
            callee: b.callee.clone(),
            visible_name: b.visible_name.clone(),
            has_audio: b.has_audio,
            has_video: b.has_video,
            ordered_at: b.ordered_at,
            width: b.width,
            height: b.height,
            last_event_id,
            is_over: b.status.is_final(),
            targets: targets(b),
        }
    }
}

/// The targets of a broadcast, oldest first.
pub(crate) fn targets(b: &Broadcast) -> Vec<TargetView> {
    let past = b.past_targets.iter().map(|(id, target)| (*id, target));
    let live = b.targets.iter().map(|(id, target)| (*id, target));
    let mut targets: Vec<(TargetId, &Target)> = past.chain(live).collect();
    targets.sort_by_key(|(id, _)| *id);
    targets.into_iter().map(|(id, target)| TargetView::of(id, target)).collect()
}

impl TargetView {
    pub(crate) fn of(id: TargetId, target: &Target) -> Self {
        let (state, fault) = TargetStateName::of(target.state);
        let s = &target.statistics;
        Self {
            target_id: id.0.to_string(),
            media_session_id: target.push.as_ref().map(|push| push.media_session_id.clone()),
            url: target.spec.url.to_string(),
            tls: match target.spec.tls {
                _ if !target.spec.url.is_tls() => "none",
                TlsTrust::Verify => "verified",
                TlsTrust::AcceptAny => "unverified",
            },
            state,
            fault,
            muted: target.muted,
            rtmp_audio: match target.spec.audio {
                TargetAudio::Aac => "aac",
                TargetAudio::Source => "source",
            },
            bytes_sent: s.bytes_sent,
            access_units: s.access_units,
            access_units_dropped: s.access_units_dropped,
            reconnects: s.reconnects,
            queue_ms: s.queue_ms,
        }
    }
}
