//! One RTMP target of a broadcast, and the publication that it occupies.

use std::sync::Arc;

use sipcast_contract::sound::AacClip;
use sipcast_contract::statistics::TargetStatistics;
use sipcast_contract::{RtmpTarget, RtmpUrl, Secret, TargetId, TargetState};

use crate::broadcast::random_id;
use crate::events::{EventKind, TargetStateName};
use crate::ordered_url::OrderedUrl;
use crate::target_contract::TargetContract;

/// One RTMP target.
#[derive(Clone)]
pub(crate) struct Target {
    /// What the shard is told.
    pub spec: RtmpTarget,
    /// What it occupies.
    pub publication: Publication,
    /// The push it belongs to; `None` for the call's direct publication.
    pub push: Option<Push>,
    /// As the shard last told.
    pub state: TargetState,
    /// `AddTarget` was sent.
    pub handed_over: bool,
    /// Silence instead of sound.
    pub muted: bool,
    /// A file's sound instead of the call's.
    pub sound: Option<TargetSound>,
    /// A look-up of its host is under way.
    pub looking_up: bool,
    /// Latest figures.
    pub statistics: TargetStatistics,
    /// What its service demands.
    pub contract: Option<Arc<TargetContract>>,
}

impl Target {
    /// A target that waits for the call's media.
    pub(crate) fn new(spec: RtmpTarget, push: Option<Push>) -> Self {
        let muted = spec.muted;
        Self {
            publication: Publication::new(&spec.url, spec.stream_name.reveal()),
            spec,
            push,
            state: TargetState::Connecting,
            handed_over: false,
            muted,
            looking_up: false,
            sound: None,
            statistics: TargetStatistics::default(),
            contract: None,
        }
    }

    /// What to tell of its state.
    pub(crate) fn event(&self, id: TargetId) -> EventKind {
        let (state, fault) = TargetStateName::of(self.state);
        EventKind::Target { target: id.0, url: self.spec.url.to_string(), state, fault }
    }
}

/// A file's sound that a target has instead of the call's.
#[derive(Clone)]
pub(crate) struct TargetSound {
    /// In the format that the broadcast publishes.
    pub clip: Arc<AacClip>,
    /// It begins anew at its end.
    pub looped: bool,
}

/// What `/push` shows of a target.
#[derive(Clone)]
pub(crate) struct Push {
    /// Key of later requests.
    pub media_session_id: String,
    /// Name with prefix.
    pub stream_name: String,
    /// As ordered.
    pub rtmp_url: OrderedUrl,
    /// As ordered, an object.
    pub options: serde_json::Value,
}

impl Push {
    /// A push with a new session ID and no options.
    pub(crate) fn new(stream_name: String, rtmp_url: OrderedUrl) -> Self {
        Self {
            media_session_id: random_id(),
            stream_name,
            rtmp_url,
            options: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

/// One stream name at one RTMP application: at most one target may publish it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Publication(Secret<String>);

impl Publication {
    /// What publishing `stream_name` to `url` occupies. Hosts compare without case (RFC 3986 §3.2.2).
    pub(crate) fn new(url: &RtmpUrl, stream_name: &str) -> Self {
        let host = url.host().to_ascii_lowercase();
        Self(Secret::new(format!("{host} {} {} {stream_name}", url.port(), url.app_with_query())))
    }
}
