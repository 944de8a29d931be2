//! What happens to broadcasts, as one schema for webhooks, Server-Sent Events and gRPC.
//! Takes: facts from the use-cases, as they are noted. Gives: numbered events to any number of subscribers, the
//! latest of them again to those that come back (`Last-Event-ID`).
//! Leaves out: how they travel (`rest`, `grpc`). No event holds a secret: no password, key, digit or description.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use sipcast_contract::{BroadcastId, NegotiatedMedia, TargetState};
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// One event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Rises with every event, also over restarts; below 2^53.
    pub id: u64,
    /// When (RFC 3339, UTC).
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: SystemTime,
    /// The broadcast's number, as in the log and the statistics; absent for registrations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<u64>,
    /// The broadcast's name in the API; absent for registrations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// As ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_key: Option<String>,
    /// What happened: `type` and `data`.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", content = "data", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum EventKind {
    /// The broadcast was ordered.
    Ordered {
        /// SIP login.
        caller: String,
        /// As ordered.
        callee: String,
        /// Audio is offered.
        has_audio: bool,
        /// Video is offered.
        has_video: bool,
    },
    /// The call has another status.
    Status {
        /// The word of `CallStatus`.
        status: &'static str,
        /// Last SIP status code, 0 before the first.
        sip_status: u16,
        /// For people, where there is more to say.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Offer and answer agreed on media, for the first time or anew.
    MediaAgreed {
        /// The preferred audio codec; absent: no audio.
        #[serde(skip_serializing_if = "Option::is_none")]
        audio: Option<String>,
        /// There is video.
        video: bool,
        /// RTP is protected (SRTP).
        protected: bool,
    },
    /// The first picture or sound was published to some target.
    MediaStarted,
    /// The picture's size became known or changed.
    PictureSize {
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
    /// The peer put the call on hold or took it back.
    Hold {
        /// It holds.
        held: bool,
    },
    /// A target was added or has another state.
    Target {
        /// Its number, as in the log and the statistics.
        target: u64,
        /// Where it publishes: no credentials, no query, no stream name.
        url: String,
        /// Where it stands.
        state: TargetStateName,
        /// Why it is not on the air.
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// A target's sound was replaced by silence, or that ended.
    TargetMuted {
        /// Its number.
        target: u64,
        /// Silence instead of sound.
        muted: bool,
    },
    /// Digits were ordered or are sent; which ones may be a secret.
    Dtmf {
        /// Digits and pauses that were ordered; 0 when it tells that all are sent.
        steps: usize,
        /// All that were waiting are sent (RFC 4733 events only).
        sent: bool,
    },
    /// An account's registration has another state.
    Registration {
        /// Address of record, `user@domain`.
        account: String,
        /// `registering`, `registered`, `failed` or `unregistered`.
        state: &'static str,
        /// Last SIP status code, 0 before the first.
        sip_status: u16,
        /// Seconds that the registrar granted.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_s: Option<u32>,
    },
    /// The broadcast is over; nothing follows for it.
    Ended {
        /// `FINISH`, `BUSY` or `FAILED`.
        status: &'static str,
        /// Last SIP status code, 0 when none came.
        sip_status: u16,
        /// For people, if it did not end as ordered.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What it did.
        totals: EndTotals,
    },
}

impl EventKind {
    /// All values of `type`.
    pub const NAMES: [&'static str; 11] = [
        "ordered",
        "status",
        "mediaAgreed",
        "mediaStarted",
        "pictureSize",
        "hold",
        "target",
        "targetMuted",
        "dtmf",
        "registration",
        "ended",
    ];

    /// The value of `type`, also the name of the Server-Sent Event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ordered { .. } => "ordered",
            Self::Status { .. } => "status",
            Self::MediaAgreed { .. } => "mediaAgreed",
            Self::MediaStarted => "mediaStarted",
            Self::PictureSize { .. } => "pictureSize",
            Self::Hold { .. } => "hold",
            Self::Target { .. } => "target",
            Self::TargetMuted { .. } => "targetMuted",
            Self::Dtmf { .. } => "dtmf",
            Self::Registration { .. } => "registration",
            Self::Ended { .. } => "ended",
        }
    }

    pub(crate) fn media_agreed(media: &NegotiatedMedia) -> Self {
        let audio = media.audio.as_ref();
        let video = media.video.as_ref();
        let transports = audio.map(|a| &a.transport).into_iter().chain(video.map(|v| &v.transport));
        Self::MediaAgreed {
            audio: audio.and_then(|a| a.formats.first()).map(|format| format!("{:?}", format.codec)),
            video: video.is_some(),
            protected: transports
                .fold(None, |all: Option<bool>, t| Some(all.unwrap_or(true) && t.srtp.is_some()))
                == Some(true),
        }
    }
}

/// Where a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TargetStateName {
    /// Connecting, shaking hands or waiting for the call's media.
    Connecting,
    /// On the air.
    Publishing,
    /// The connection was lost or refused; tried again after a pause.
    Reconnecting,
    /// Ended by order, with its call, or for good.
    Ended,
}

impl TargetStateName {
    /// In metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Publishing => "publishing",
            Self::Reconnecting => "reconnecting",
            Self::Ended => "ended",
        }
    }

    /// The name of a state, and its fault for people.
    pub fn of(state: TargetState) -> (Self, Option<String>) {
        match state {
            TargetState::Connecting => (Self::Connecting, None),
            TargetState::Publishing => (Self::Publishing, None),
            TargetState::Reconnecting(fault) => (Self::Reconnecting, Some(fault.to_string())),
            TargetState::Ended(fault) => (Self::Ended, fault.map(|fault| fault.to_string())),
        }
    }
}

/// What a broadcast did from its order to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndTotals {
    /// From order to end, in ms.
    pub duration_ms: u64,
    /// Audio RTP packets taken.
    pub audio_packets: u64,
    /// Audio RTP packets that never came.
    pub audio_lost: u64,
    /// Video RTP packets taken.
    pub video_packets: u64,
    /// Video RTP packets that never came.
    pub video_lost: u64,
    /// Pictures published.
    pub access_units: u64,
    /// Bytes that RTMP servers took, over all targets that were left at the end.
    pub bytes_sent: u64,
}

/// Whom an event is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) broadcast: BroadcastId,
    pub(crate) call_id: String,
    pub(crate) app_key: Option<String>,
}

/// The bus: one per process. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    live: broadcast::Sender<Arc<Event>>,
}

/// The latest events. Invariant: ids are consecutive and `next_id` follows the last.
struct Ring {
    next_id: u64,
    latest: VecDeque<Arc<Event>>,
    tally: Tally,
}

/// How often what happened, since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Events by type.
    pub(crate) by_type: BTreeMap<&'static str, u64>,
    /// Ended broadcasts by final status and last SIP status.
    pub(crate) ended: BTreeMap<(&'static str, u16), u64>,
    /// Progress of calls by SIP status.
    pub(crate) sip_statuses: BTreeMap<u16, u64>,
    /// States that targets came to.
    pub(crate) target_states: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn note(&mut self, kind: &EventKind) {
        *self.by_type.entry(kind.name()).or_default() += 1;
        // A peer chooses the status, yet only among those of RFC 3261.
        let sip = |status: u16| if (100..700).contains(&status) { status } else { 0 };
        match kind {
            EventKind::Status { sip_status, .. } => {
                *self.sip_statuses.entry(sip(*sip_status)).or_default() += 1;
            }
            EventKind::Ended { status, sip_status, .. } => {
                *self.ended.entry((status, sip(*sip_status))).or_default() += 1;
            }
            EventKind::Target { state, .. } => *self.target_states.entry(state.name()).or_default() += 1,
            _ => {}
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        // Microseconds since 1970: above every ID of an earlier run, as no run averages a million events a second.
        let start = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros());
        let ring = Ring {
            next_id: u64::try_from(start).unwrap_or(1),
            latest: VecDeque::new(),
            tally: Tally::default(),
        };
        let (live, _) = broadcast::channel(LIVE_MAX);
        Self { shared: Arc::new(Shared { ring: Mutex::new(ring), live }) }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("last_id", &self.last_id()).finish()
    }
}

impl Events {
    /// Tells something about a broadcast.
    pub(crate) fn tell(&self, subject: Subject, kind: EventKind) {
        self.publish(Some(subject.broadcast.0), Some(subject.call_id), subject.app_key, kind);
    }

    /// Tells something that is about no broadcast: a registration.
    pub fn tell_of_account(&self, kind: EventKind) {
        self.publish(None, None, None, kind);
    }

    /// How often what happened.
    pub(crate) fn tally(&self) -> Tally {
        self.ring().tally.clone()
    }

    /// The ID of the latest event, or one that no event has and all will exceed.
    pub fn last_id(&self) -> u64 {
        self.ring().next_id - 1
    }

    /// Everything from now on.
    pub fn subscribe(&self) -> Subscription {
        let ring = self.ring();
        Subscription { events: self.clone(), cursor: ring.next_id - 1, live: self.shared.live.subscribe() }
    }

    /// Everything after event `last_id`, as a subscriber that was away asks for. What the ring no longer holds is
    /// told by [`Missed`] from the first [`Subscription::next`].
    pub fn subscribe_after(&self, last_id: u64) -> Subscription {
        let ring = self.ring();
        // An ID from the future is another machine's: it means no more than now.
        let cursor = last_id.min(ring.next_id - 1);
        Subscription { events: self.clone(), cursor, live: self.shared.live.subscribe() }
    }

    fn publish(
        &self,
        broadcast: Option<u64>,
        call_id: Option<String>,
        app_key: Option<String>,
        kind: EventKind,
    ) {
        let at = SystemTime::now();
        let mut ring = self.ring();
        ring.tally.note(&kind);
        let event = Arc::new(Event { id: ring.next_id, at, broadcast, call_id, app_key, kind });
        ring.next_id += 1;
        if ring.latest.len() == REPLAY_MAX {
            ring.latest.pop_front();
        }
        ring.latest.push_back(Arc::clone(&event));
        // Under the lock, so that subscribers see rising IDs. Nobody listening is no fault.
        let _ = self.shared.live.send(event);
    }

    /// The oldest kept event after `cursor`; `Err`: some in between are gone.
    fn after(&self, cursor: u64) -> Result<Option<Arc<Event>>, Missed> {
        let ring = self.ring();
        let Some(first) = ring.latest.front() else {
            return if cursor + 1 < ring.next_id {
                Err(Missed { resume_at: ring.next_id - 1 })
            } else {
                Ok(None)
            };
        };
        match (cursor + 1).checked_sub(first.id) {
            Some(index) => Ok(usize::try_from(index).ok().and_then(|index| ring.latest.get(index)).cloned()),
            None => Err(Missed { resume_at: first.id - 1 }),
        }
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events in between are no longer kept; the next call goes on behind `resume_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The last ID that cannot be told any more.
    pub resume_at: u64,
}

/// One listener's place in the row of events. It holds no queue: a slow one reads from the ring what it missed,
/// and is told when even that is too late.
pub struct Subscription {
    events: Events,
    cursor: u64,
    live: broadcast::Receiver<Arc<Event>>,
}

impl Subscription {
    /// ID of the last event that was given, or of the last before the subscription.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The next event; waits for it.
    ///
    /// # Errors
    /// [`Missed`]: the listener was away or slow for longer than events are kept. It may go on.
    pub async fn next(&mut self) -> Result<Arc<Event>, Missed> {
        loop {
            match self.events.after(self.cursor) {
                Ok(Some(event)) => {
                    self.cursor = event.id;
                    return Ok(event);
                }
                Err(missed) => {
                    self.cursor = missed.resume_at;
                    return Err(missed);
                }
                Ok(None) => {}
            }
            // Only a wake-up: what it brings is in the ring, and a lag means that there is something to read. The
            // sender lives in `events`, so the channel does not close.
            let _ = self.live.recv().await;
        }
    }
}

/// RFC 3339 in UTC.
pub(crate) fn rfc3339_text(at: SystemTime) -> String {
    prost_types::Timestamp::from(at).to_string()
}

pub(crate) fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339_text(*at))
}

/// Events that are kept for subscribers that come back: some seconds of a full load of calls.
pub const REPLAY_MAX: usize = 4096;

/// Wake-ups that may wait for one subscriber; what they stand for is in the ring.
const LIVE_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(events: &Events, n: u16) {
        let subject = Subject { broadcast: BroadcastId(7), call_id: "a".to_owned(), app_key: None };
        events.tell(subject, EventKind::Status { status: "RING", sip_status: n, reason: None });
    }

    fn sip_status(event: &Event) -> u16 {
        match event.kind {
            EventKind::Status { sip_status, .. } => sip_status,
            _ => unreachable!("only these are told"),
        }
    }

    #[tokio::test]
    async fn subscribers_hear_what_follows_in_order() {
        let events = Events::default();
        tell(&events, 1);
        let mut subscription = events.subscribe();
        (2..200).for_each(|n| tell(&events, n));
        let mut last = subscription.cursor();
        for n in 2..200 {
            let event = subscription.next().await.expect("kept");
            assert_eq!((sip_status(&event), event.id), (n, last + 1));
            last = event.id;
        }
        let waiting = tokio::spawn(async move { subscription.next().await.map(|event| sip_status(&event)) });
        tokio::task::yield_now().await;
        tell(&events, 200);
        assert_eq!(waiting.await.expect("ends"), Ok(200));
    }

    #[tokio::test]
    async fn who_comes_back_hears_what_was_missed_while_it_is_kept() {
        let events = Events::default();
        let before = events.last_id();
        (0..3).for_each(|n| tell(&events, n));
        let mut back = events.subscribe_after(before + 1);
        assert_eq!(back.next().await.map(|event| sip_status(&event)), Ok(1));
        (0..REPLAY_MAX as u16).for_each(|n| tell(&events, n));
        let missed = back.next().await.expect_err("too late");
        assert_eq!(missed.resume_at, before + 3);
        assert_eq!(back.next().await.map(|event| event.id), Ok(missed.resume_at + 1));
        let mut future = events.subscribe_after(u64::MAX);
        tell(&events, 9);
        assert_eq!(future.next().await.map(|event| sip_status(&event)), Ok(9));
        let mut ancient = events.subscribe_after(0);
        assert!(ancient.next().await.is_err());
        assert!(ancient.next().await.is_ok());
    }

    #[test]
    fn an_event_has_one_form_in_json() {
        let event = Event {
            id: 5,
            at: UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123),
            broadcast: Some(1),
            call_id: Some("a".to_owned()),
            app_key: None,
            kind: EventKind::Target {
                target: 2,
                url: "rtmp://cdn/live".to_owned(),
                state: TargetStateName::Publishing,
                fault: None,
            },
        };
        let expected = serde_json::json!({
            "id": 5, "at": "2023-11-14T22:13:20.123Z", "broadcast": 1, "callId": "a", "type": "target",
            "data": { "target": 2, "url": "rtmp://cdn/live", "state": "PUBLISHING" },
        });
        assert_eq!(serde_json::to_value(&event).expect("plain data"), expected);
        assert_eq!(event.kind.name(), "target");
    }
}
