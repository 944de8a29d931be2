//! Messages of the .proto files from and to what the use-cases have. Only names and number types differ.

use std::time::SystemTime;

use prost_types::Timestamp;

use super::proto;
use crate::conformity::{ConformityReport, Measured};
use crate::events::{Event, EventKind, TargetStateName};
use crate::order::{FieldFault, OrderRequest, PORT_EXPECTED, TargetRequest};
use crate::sip_endpoint::LadderView;
use crate::view::{AccountView, BroadcastView, TargetView};

impl TryFrom<proto::BroadcastOrder> for OrderRequest {
    type Error = FieldFault;

    fn try_from(order: proto::BroadcastOrder) -> Result<Self, FieldFault> {
        let port = order.sip_port.map(u16::try_from).transpose();
        Ok(Self {
            call_id: order.call_id,
            callee: order.callee,
            has_audio: order.has_audio,
            has_video: order.has_video,
            sip_login: order.sip_login,
            sip_authentication_name: order.sip_authentication_name,
            sip_password: order.sip_password,
            sip_domain: order.sip_domain,
            sip_outbound_proxy: order.sip_outbound_proxy,
            sip_port: port.map_err(|_| FieldFault::new("sipPort", "is not a port number", PORT_EXPECTED))?,
            sip_transport: order.sip_transport,
            sip_register_required: order.sip_register_required,
            visible_name: order.visible_name,
            media_security: order.media_security,
            sip_profile: order.sip_profile,
            meeting_id: order.meeting_id,
            passcode: order.passcode,
            dial_script: order.dial_script,
            dial_script_on: order.dial_script_on,
            dtmf_type: order.dtmf_type,
            app_key: order.app_key,
            targets: Some(order.targets.into_iter().map(TargetRequest::from).collect()),
            to_stream: None,
            direct: None,
        })
    }
}

impl From<proto::TargetOrder> for TargetRequest {
    fn from(order: proto::TargetOrder) -> Self {
        Self {
            rtmp_url: order.rtmp_url,
            rtmp_stream: order.rtmp_stream,
            rtmp_flash_version: order.rtmp_flash_version,
            muted: order.muted,
            rtmp_audio: order.rtmp_audio,
            rtmp_service: order.rtmp_service,
            rtmp_backup_url: order.rtmp_backup_url,
            rtmp_user: order.rtmp_user,
            rtmp_password: order.rtmp_password,
            rtmp_tc_url: order.rtmp_tc_url,
            rtmp_page_url: order.rtmp_page_url,
            rtmp_swf_url: order.rtmp_swf_url,
            rtmp_tls_verify: order.rtmp_tls_verify,
        }
    }
}

impl From<BroadcastView> for proto::Broadcast {
    fn from(view: BroadcastView) -> Self {
        Self {
            call_id: view.call_id,
            broadcast: view.broadcast,
            app_key: view.app_key,
            status: view.status.to_owned(),
            sip_status: view.sip_status.into(),
            reason: view.reason,
            caller: view.caller,
            callee: view.callee,
            visible_name: view.visible_name,
            has_audio: view.has_audio,
            has_video: view.has_video,
            ordered_at: Some(timestamp(view.ordered_at)),
            width: view.width.into(),
            height: view.height.into(),
            last_event_id: view.last_event_id,
            targets: view.targets.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<TargetView> for proto::Target {
    fn from(view: TargetView) -> Self {
        Self {
            target_id: view.target_id,
            media_session_id: view.media_session_id,
            url: view.url,
            tls: view.tls.to_owned(),
            state: proto::TargetState::from(view.state).into(),
            fault: view.fault,
            muted: view.muted,
            rtmp_audio: view.rtmp_audio.to_owned(),
            bytes_sent: view.bytes_sent,
            access_units: view.access_units,
            access_units_dropped: view.access_units_dropped,
            reconnects: view.reconnects,
            queue_ms: view.queue_ms,
        }
    }
}

impl From<TargetStateName> for proto::TargetState {
    fn from(state: TargetStateName) -> Self {
        match state {
            TargetStateName::Connecting => Self::Connecting,
            TargetStateName::Publishing => Self::Publishing,
            TargetStateName::Reconnecting => Self::Reconnecting,
            TargetStateName::Ended => Self::Ended,
        }
    }
}

impl From<AccountView> for proto::Account {
    fn from(view: AccountView) -> Self {
        Self {
            account: view.account,
            registrar: view.registrar,
            state: view.state.to_owned(),
            expires_in_s: view.expires_in_s,
            sip_status: view.sip_status.into(),
            reason: view.reason,
            calls: view.calls as u64,
        }
    }
}

impl From<LadderView> for proto::GetLadderResponse {
    fn from(view: LadderView) -> Self {
        let messages = view.entries.into_iter().map(|entry| proto::SipMessage {
            at_ms: entry.at_ms,
            direction: entry.direction.as_str().to_owned(),
            transport: entry.transport,
            peer: entry.peer,
            start_line: entry.start_line,
            text: entry.text,
            is_repetition: entry.is_repetition,
        });
        Self { began_unix_ms: view.began_unix_ms, messages: messages.collect(), left_out: view.left_out }
    }
}

impl From<ConformityReport> for proto::GetConformityResponse {
    fn from(report: ConformityReport) -> Self {
        let verdicts = report.verdicts.into_iter().map(|verdict| proto::Verdict {
            rule: verdict.rule.to_owned(),
            demanded: verdict.demanded,
            measured: verdict.measured,
            ok: verdict.ok,
        });
        Self {
            service: report.service,
            conforms: report.conforms,
            verdicts: verdicts.collect(),
            measured: Some(report.measured.into()),
        }
    }
}

impl From<Measured> for proto::Measured {
    fn from(measured: Measured) -> Self {
        Self {
            video_bit_rate_bps: measured.video_bit_rate_bps,
            frame_rate: measured.frame_rate,
            width: measured.width.into(),
            height: measured.height.into(),
            profile: measured.profile.map(str::to_owned),
            level_idc: measured.level_idc.into(),
            gop_last_seconds: measured.gop_last_seconds,
            gop_max_seconds: measured.gop_max_seconds,
            b_pictures: measured.b_pictures,
            picture_changes: measured.picture_changes,
            picture_bytes_max: measured.picture_bytes_max,
            oversized: measured.oversized,
            republished: measured.republished,
            audio_sample_rate_hz: measured.audio_sample_rate_hz,
            audio_channels: measured.audio_channels.into(),
            audio_bit_rate_bps: measured.audio_bit_rate_bps,
            audio_gaps: measured.audio_gaps,
            audio_gap_max_ms: measured.audio_gap_max_ms,
            publishing_for_seconds: measured.publishing_for_seconds,
            access_units_dropped: measured.access_units_dropped,
            audio_frames_dropped: measured.audio_frames_dropped,
        }
    }
}

impl From<&Event> for proto::Event {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id,
            at: Some(timestamp(event.at)),
            broadcast: event.broadcast,
            call_id: event.call_id.clone(),
            app_key: event.app_key.clone(),
            kind: Some((&event.kind).into()),
        }
    }
}

impl From<&EventKind> for proto::event::Kind {
    fn from(kind: &EventKind) -> Self {
        use proto::event as e;
        match kind.clone() {
            EventKind::Ordered { caller, callee, has_audio, has_video } => {
                Self::Ordered(e::Ordered { caller, callee, has_audio, has_video })
            }
            EventKind::Status { status, sip_status, reason } => {
                Self::Status(e::Status { status: status.to_owned(), sip_status: sip_status.into(), reason })
            }
            EventKind::MediaAgreed { audio, video, protected } => {
                Self::MediaAgreed(e::MediaAgreed { audio, video, protected })
            }
            EventKind::MediaStarted => Self::MediaStarted(e::MediaStarted {}),
            EventKind::PictureSize { width, height } => {
                Self::PictureSize(e::PictureSize { width: width.into(), height: height.into() })
            }
            EventKind::Hold { held } => Self::Hold(e::Hold { held }),
            EventKind::Target { target, url, state, fault } => {
                let state = proto::TargetState::from(state).into();
                Self::Target(e::TargetChanged { target_id: target.to_string(), url, state, fault })
            }
            EventKind::TargetMuted { target, muted } => {
                Self::TargetMuted(e::TargetMuted { target_id: target.to_string(), muted })
            }
            EventKind::Dtmf { steps, sent } => Self::Dtmf(e::Dtmf { steps: steps as u64, sent }),
            EventKind::Registration { account, state, sip_status, expires_s } => {
                let (state, sip_status) = (state.to_owned(), sip_status.into());
                Self::Registration(e::Registration { account, state, sip_status, expires_s })
            }
            EventKind::Ended { status, sip_status, reason, totals } => Self::Ended(e::Ended {
                status: status.to_owned(),
                sip_status: sip_status.into(),
                reason,
                duration_ms: totals.duration_ms,
                audio_packets: totals.audio_packets,
                audio_lost: totals.audio_lost,
                video_packets: totals.video_packets,
                video_lost: totals.video_lost,
                access_units: totals.access_units,
                bytes_sent: totals.bytes_sent,
            }),
        }
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::from(at)
}
