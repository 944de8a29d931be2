//! One RTMP target of a broadcast: connection attempts, publisher, queue, chunks.
//! Takes: messages and tracks of the pipeline, what the driver tells of the connection, time.
//! Gives: actions, vectored sends, state and figures. Leaves out: what goes into one send (`outgoing`), sockets,
//! other targets, what is muted.
//!
//! Rule of use: after each `handle_*`, `push`, `set_*` or `stop`, poll actions until `None`, and call
//! [`Target::fill_send`] when no send is in flight. After [`TargetAction::Disconnect`] the driver closes the
//! connection (or gives up connecting) and need not report it.
//!
//! | link       | connected | failed, lost | publish accepted | stop      | time is over            |
//! |------------|-----------|--------------|------------------|-----------|-------------------------|
//! | Waiting    | -         | -            | -                | Down      | Connecting              |
//! | Connecting | Up        | Waiting      | -                | Down      | Waiting (Unreachable)   |
//! | Up         | -         | Waiting      | Up, Publishing   | Closing¹  | Waiting (TimedOut)      |
//! | Closing    | -         | Down²        | -                | -         | Down²                   |
//!
//! ¹ Down when nothing is published yet. Closing sends what is queued, then FCUnpublish and deleteStream.
//! ² Waiting when it closes only to publish again ([`PictureChange::Republish`]).
//!
//! A server that takes nothing ends a send after [`SEND_TIMEOUT`]. One that takes too little makes the queue drop
//! pictures; when what it is sent stays older than [`STALE_AGE`] for [`STALE_MAX`], the connection is begun anew:
//! what waits in it is of no use to anybody, and never sent again.

mod outgoing;
mod tracks;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sipcast_contract::report::TargetFault;
use sipcast_contract::statistics::TargetStatistics;
use sipcast_contract::{
    PictureChange, RtmpTarget, TargetAudio, TargetRules, TargetState, Timestamp, TlsTrust,
};
use sipcast_pool::{Arena, Exhausted};

use super::authentication::{Authentication, Verdict};
use super::back_off::BackOff;
use super::publisher::{PHASE_TIMEOUT, Publisher};
use super::random::SplitMix64;
use super::send_queue::SendQueue;
use crate::message::{Message, MessageKind};
use outgoing::{Messages, Outgoing};

pub use super::chunker::ChunkList;
pub use super::player::PlayedMessage;
pub use tracks::Tracks;

/// What the target wants the driver to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetAction {
    /// Open a TCP connection.
    Connect(SocketAddr),
    /// Close the connection, or give up opening it.
    Disconnect,
    /// The state is another now.
    StateChanged(TargetState),
    /// An IDR picture is needed to go on.
    RequestKeyframe,
}

/// One target.
pub struct Target {
    spec: RtmpTarget,
    random: SplitMix64,
    authentication: Authentication,
    link: Link,
    state: TargetState,
    back_off: BackOff,
    attempts: usize,
    muted: bool,
    tracks: Option<Rc<Tracks>>,
    /// Whether `tracks` stands in the queue, on this connection.
    tracks_queued: bool,
    gate: Gate,
    /// Time of the IDR picture that opened the gate, in ms: a player's time begins there, so sound from before it,
    /// which leaves later because it is transcoded, would go back.
    begun_ms: Option<u32>,
    queue: SendQueue,
    outgoing: Outgoing,
    sending: Option<Sending>,
    /// The pool had no slot and nothing is in flight that would come back: then it is tried again.
    starved_until: Option<Timestamp>,
    /// Since when what is sent has been too old.
    stale_since: Option<Timestamp>,
    /// Closing only to publish again.
    republishes: bool,
    published_since: Option<Timestamp>,
    keyframe_requested: bool,
    actions: VecDeque<TargetAction>,
    statistics: TargetStatistics,
}

/// State of the connection.
#[derive(Debug)]
enum Link {
    Waiting {
        until: Timestamp,
    },
    /// Until TCP stands, and TLS where the URL wants it; `fault` is what it means that this takes too long.
    Connecting {
        until: Timestamp,
        fault: TargetFault,
    },
    Up(Box<Publisher>),
    Closing {
        publisher: Box<Publisher>,
        until: Timestamp,
        has_unpublished: bool,
    },
    Down,
}

/// Which messages may be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Nothing: not publishing.
    Shut,
    /// An IDR picture; audio from that time on too.
    AwaitsIdr { audio_from: Timestamp },
    /// An IDR picture, and audio.
    AudioOnly,
    /// Everything.
    Open,
}

/// The send in flight.
#[derive(Clone, Copy, Debug)]
struct Sending {
    since: Timestamp,
    messages: Messages,
}

impl Target {
    /// Begins to connect; `seed` makes handshake filler and back-off jitter.
    pub fn new(spec: RtmpTarget, seed: u64, now: Timestamp) -> Self {
        let mut random = SplitMix64::new(seed);
        let mut target = Self {
            muted: spec.muted,
            authentication: Authentication::new(spec.credentials.clone(), spec.url.app()),
            queue: SendQueue::new(spec.rules.message_bytes_max),
            spec,
            link: Link::Waiting { until: now },
            state: TargetState::Connecting,
            back_off: BackOff::new(random.next_u64()),
            random,
            attempts: 0,
            tracks: None,
            tracks_queued: false,
            gate: Gate::Shut,
            begun_ms: None,
            outgoing: Outgoing::new(),
            sending: None,
            starved_until: None,
            stale_since: None,
            republishes: false,
            published_since: None,
            keyframe_requested: false,
            actions: VecDeque::new(),
            statistics: TargetStatistics::default(),
        };
        target.connect(now);
        target
    }

    /// What is published from now on. Headers are sent before the next message, and only those that changed.
    pub fn set_tracks(&mut self, tracks: &Rc<Tracks>, now: Timestamp) {
        let is_other =
            self.outgoing.sent_picture().zip(tracks.picture()).is_some_and(|(sent, new)| sent != new);
        self.tracks = Some(tracks.clone());
        self.tracks_queued = false;
        if is_other && self.spec.rules.on_picture_change == PictureChange::Republish {
            self.republish(now);
        }
        self.request_keyframe();
    }

    /// Queues a message by clones of its segments; passed over while not publishing. See [`SendQueue`] for what is
    /// dropped when the target is slow.
    pub fn push(&mut self, message: &Message<'_>) {
        let Some(tracks) = &self.tracks else { return };
        match message.kind {
            MessageKind::Audio => {
                let waits_for_picture = matches!(self.gate, Gate::AwaitsIdr { .. }) && tracks.has_video;
                if self.gate == Gate::Shut || waits_for_picture || !tracks.can_send_audio() {
                    return;
                }
                // Wrapping: RTMP time has 32 bits.
                let precedes = |begun: u32| (message.timestamp_ms.wrapping_sub(begun) as i32) < 0;
                if self.begun_ms.is_some_and(precedes) {
                    return;
                }
                self.begun_ms = None;
            }
            MessageKind::Picture if self.gate != Gate::Open => return,
            MessageKind::Picture | MessageKind::IdrPicture => {
                if self.gate == Gate::Shut || tracks.avc_config.is_none() {
                    return;
                }
                if matches!(self.gate, Gate::AwaitsIdr { .. }) {
                    self.begun_ms = Some(message.timestamp_ms);
                }
                self.gate = Gate::Open;
            }
        }
        if !self.tracks_queued {
            self.queue.push_tracks(tracks.clone());
            self.tracks_queued = true;
        }
        self.queue.push(message);
        self.request_keyframe();
    }

    /// Addresses of a fresh look-up, for the next attempts. An empty list is passed over.
    pub fn set_addresses(&mut self, addresses: Vec<SocketAddr>, _now: Timestamp) {
        if !addresses.is_empty() && addresses != self.spec.addresses {
            self.spec.addresses = addresses;
            self.attempts = 0;
        }
    }

    /// Whether audio is to be silence; the pipeline obeys it.
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// How it wants sound to be coded; the pipeline obeys it.
    pub const fn audio(&self) -> TargetAudio {
        self.spec.audio
    }

    /// Whether audio is to be silence.
    pub const fn muted(&self) -> bool {
        self.muted
    }

    /// What its service demands.
    pub const fn rules(&self) -> &TargetRules {
        &self.spec.rules
    }

    /// Unpublishes and disconnects; [`TargetState::Ended`] follows within 2 s.
    pub fn stop(&mut self, now: Timestamp) {
        self.republishes = false;
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(publisher) if publisher.publishing().is_some() => {
                self.gate = Gate::Shut;
                let until = now + CLOSING_TIMEOUT;
                self.link = Link::Closing { publisher, until, has_unpublished: false };
            }
            Link::Up(_) | Link::Connecting { .. } => self.end(true, now),
            Link::Waiting { .. } => self.end(false, now),
            link @ (Link::Closing { .. } | Link::Down) => self.link = link,
        }
    }

    /// Host and trust for the TLS that the connection needs; `None`: plain TCP.
    pub fn tls(&self) -> Option<(&str, TlsTrust)> {
        self.spec.url.is_tls().then(|| (self.spec.url.host(), self.spec.tls))
    }

    /// TCP stands and TLS begins; [`Target::handle_connected`] follows when that stands too.
    pub fn handle_securing(&mut self, now: Timestamp) {
        if let Link::Connecting { until, fault } = &mut self.link {
            (*until, *fault) = (now + PHASE_TIMEOUT, TargetFault::NoTls);
        }
    }

    /// The server takes part in TLS.
    pub fn handle_tls_answer(&mut self) {
        if let Link::Connecting { fault, .. } = &mut self.link {
            *fault = TargetFault::Tls;
        }
    }

    /// The connection cannot be used, or not any more, because of `fault`; the driver has closed it.
    pub fn handle_refused(&mut self, fault: TargetFault, now: Timestamp) {
        match self.link {
            Link::Up(_) | Link::Connecting { .. } => self.fail(fault, false, now),
            Link::Closing { .. } => self.end(false, now),
            Link::Waiting { .. } | Link::Down => {}
        }
    }

    /// The next message of a server that plays ([`RtmpTarget::plays`]).
    pub fn take_played(&mut self) -> Option<PlayedMessage> {
        match &mut self.link {
            Link::Up(publisher) => publisher.take_played(),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Closing { .. } | Link::Down => None,
        }
    }

    /// Ends a connection that stands because of `fault`; the next attempt follows after a pause.
    pub fn give_up(&mut self, fault: TargetFault, now: Timestamp) {
        if let Link::Up(_) = self.link {
            self.fail(fault, true, now);
        }
    }

    /// The connection asked for stands.
    pub fn handle_connected(&mut self, now: Timestamp) {
        if let Link::Connecting { .. } = self.link {
            let seed = self.random.next_u64();
            let publisher = Publisher::new(&self.spec, self.authentication.query(), seed, now);
            self.link = Link::Up(Box::new(publisher));
        }
    }

    /// The connection asked for cannot be opened.
    pub fn handle_connect_failed(&mut self, now: Timestamp) {
        if let Link::Connecting { .. } = self.link {
            self.fail(TargetFault::Unreachable, false, now);
        }
    }

    /// Takes bytes of the server.
    pub fn handle_input(&mut self, bytes: &[u8], now: Timestamp) {
        match &mut self.link {
            Link::Up(publisher) => match publisher.handle_input(bytes, now) {
                Ok(()) if publisher.publishing().is_some() && self.gate == Gate::Shut => {
                    self.begin_publishing(now)
                }
                Ok(()) => {}
                Err(fault) => match publisher.take_refusal() {
                    Some(refusal) => self.connect_refused(refusal.reveal(), now),
                    None => self.fail(fault, true, now),
                },
            },
            Link::Closing { publisher, .. } => {
                if publisher.handle_input(bytes, now).is_err() {
                    self.end(true, now);
                }
            }
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Down => {}
        }
    }

    /// The send in flight is complete: the kernel took its `bytes`.
    pub fn handle_sent(&mut self, bytes: usize, now: Timestamp) {
        self.statistics.bytes_sent += bytes as u64;
        if let Some(sending) = self.sending.take() {
            self.outgoing.handle_sent(bytes, now - sending.since);
            self.statistics.access_units += sending.messages.pictures;
            self.statistics.audio_frames += sending.messages.audio_frames;
        }
        if matches!(self.link, Link::Closing { has_unpublished: true, .. }) && !self.wants_send() {
            self.end(true, now);
        }
    }

    /// The server closed the connection, or it broke.
    pub fn handle_disconnected(&mut self, now: Timestamp) {
        match &self.link {
            Link::Up(publisher) if !publisher.has_heard() => {
                self.fail(TargetFault::ClosedInHandshake, false, now);
            }
            Link::Up(_) => self.fail(TargetFault::ClosedByServer, false, now),
            Link::Connecting { .. } => self.fail(TargetFault::Unreachable, false, now),
            Link::Closing { .. } => self.end(false, now),
            Link::Waiting { .. } | Link::Down => {}
        }
    }

    /// Does what is due; call when [`Target::next_timeout`] is reached.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Gate::AwaitsIdr { audio_from } = self.gate
            && audio_from <= now
        {
            self.gate = Gate::AudioOnly;
        }
        // The send that is tried again is the one that follows each input.
        self.starved_until = self.starved_until.filter(|until| *until > now);
        let stalls = self.sending.is_some_and(|sending| sending.since + SEND_TIMEOUT <= now);
        let is_stale = self.stale_since.is_some_and(|since| since + STALE_MAX <= now);
        match &mut self.link {
            Link::Waiting { until } if *until <= now => {
                self.set_state(TargetState::Connecting);
                self.connect(now);
            }
            Link::Connecting { until, fault } if *until <= now => {
                let fault = *fault;
                self.fail(fault, true, now);
            }
            Link::Up(_) if stalls => self.fail(TargetFault::TimedOut, true, now),
            Link::Up(_) if is_stale => self.fail(TargetFault::TooSlow, true, now),
            Link::Up(publisher) => {
                if let Err(fault) = publisher.handle_timeout(now) {
                    self.fail(fault, true, now);
                }
            }
            Link::Closing { until, .. } if *until <= now => self.end(true, now),
            _ => {}
        }
    }

    /// When [`Target::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let link = match &self.link {
            Link::Waiting { until } | Link::Connecting { until, .. } | Link::Closing { until, .. } => {
                Some(*until)
            }
            Link::Up(publisher) => publisher.next_timeout(),
            Link::Down => None,
        };
        let gate = match self.gate {
            Gate::AwaitsIdr { audio_from } => Some(audio_from),
            _ => None,
        };
        let sending = match self.link {
            Link::Up(_) => self.sending.map(|sending| sending.since + SEND_TIMEOUT),
            _ => None,
        };
        let stale = match self.link {
            Link::Up(_) => self.stale_since.map(|since| since + STALE_MAX),
            _ => None,
        };
        [link, gate, sending, stale, self.starved_until].into_iter().flatten().min()
    }

    /// The next action.
    pub fn poll_action(&mut self) -> Option<TargetAction> {
        self.actions.pop_front()
    }

    /// Gathers the next vectored send into `out`, which is emptied first: at most `IOVECS_MAX` segments, nothing
    /// when there is nothing to send. Not to be called while a send is in flight.
    pub fn fill_send(&mut self, arena: &mut Arena, out: &mut ChunkList, now: Timestamp) {
        out.clear();
        if self.sending.is_some() {
            return;
        }
        let is_late = self.queue.oldest_arrival().is_some_and(|arrival| now - arrival >= STALE_AGE);
        self.stale_since = if is_late { self.stale_since.or(Some(now)) } else { None };
        let mut messages = Messages::default();
        // An exhausted pool ends the gathering; what is left goes with a later send.
        let mut is_exhausted = self.gather(arena, out, &mut messages, now).is_err();
        if is_exhausted && out.is_empty() {
            // No send will end and give slots back, and the slots may be those that wait here.
            self.queue.shed();
            is_exhausted = self.gather(arena, out, &mut messages, now).is_err();
        }
        self.starved_until = (is_exhausted && out.is_empty()).then(|| now + STARVED_RETRY);
        if !out.is_empty() {
            self.sending = Some(Sending { since: now, messages });
        }
        self.request_keyframe();
    }

    /// Segments that wait and could be dropped; those in flight are not among them.
    pub fn segments_waiting(&self) -> usize {
        self.queue.segments_waiting()
    }

    /// Drops what waits, up to the next IDR picture, because others need the slots.
    pub fn shed(&mut self) {
        self.queue.shed();
        self.request_keyframe();
    }

    /// Whether [`Target::fill_send`] would give something.
    pub fn wants_send(&self) -> bool {
        let (publisher, has_goodbye) = match &self.link {
            Link::Up(publisher) => (publisher, false),
            Link::Closing { publisher, has_unpublished, .. } => (publisher, !has_unpublished),
            Link::Waiting { .. } | Link::Connecting { .. } | Link::Down => return false,
        };
        has_goodbye || publisher.has_output() || self.outgoing.is_pending() || !self.queue.is_empty()
    }

    /// Whether it has something to send or to do, once a send is whole.
    pub fn wants_service(&self) -> bool {
        !self.actions.is_empty() || self.wants_send()
    }

    /// Its state.
    pub const fn state(&self) -> TargetState {
        self.state
    }

    /// Its figures.
    pub fn statistics(&self, now: Timestamp) -> TargetStatistics {
        let (access_units_dropped, audio_frames_dropped) = self.queue.dropped();
        TargetStatistics {
            state: self.state,
            access_units_dropped,
            audio_frames_dropped,
            queue_ms: self.queue.queued_ms(),
            oversized: self.queue.oversized(),
            publishing_for: self.published_since.map(|since| now - since).unwrap_or_default(),
            ..self.statistics
        }
    }

    /// Whether it can do nothing with pictures until an IDR picture comes.
    pub fn wants_keyframe(&self) -> bool {
        let has_video = self.tracks.as_ref().is_none_or(|tracks| tracks.has_video);
        let awaits_idr = matches!(self.gate, Gate::AwaitsIdr { .. } | Gate::AudioOnly);
        has_video && self.gate != Gate::Shut && (awaits_idr || self.queue.wants_idr())
    }

    fn gather(
        &mut self,
        arena: &mut Arena,
        out: &mut ChunkList,
        messages: &mut Messages,
        now: Timestamp,
    ) -> Result<(), Exhausted> {
        self.outgoing.gather(&mut self.link, &mut self.queue, arena, out, messages, now)
    }

    fn connect(&mut self, now: Timestamp) {
        let count = self.spec.addresses.len();
        let Some(&address) = self.spec.addresses.get(self.attempts % count.max(1)) else {
            return self.fail(TargetFault::Unreachable, false, now);
        };
        self.attempts = self.attempts.wrapping_add(1);
        self.link = Link::Connecting { until: now + PHASE_TIMEOUT, fault: TargetFault::Unreachable };
        self.actions.push_back(TargetAction::Connect(address));
    }

    fn begin_publishing(&mut self, now: Timestamp) {
        // Nothing goes to a server that plays.
        self.gate =
            if self.spec.plays { Gate::Open } else { Gate::AwaitsIdr { audio_from: now + PICTURE_WAIT } };
        self.back_off.handle_published(now);
        self.published_since = Some(now);
        self.set_state(TargetState::Publishing);
        self.request_keyframe();
    }

    /// `connect` was refused: perhaps only to be tried again at once, with an answer to what the server asks.
    fn connect_refused(&mut self, refusal: &str, now: Timestamp) {
        match self.authentication.handle_refusal(refusal, self.random.next_u64()) {
            Verdict::TryAgain => {
                self.reset(true);
                // The same server: another would ask something else.
                self.attempts = self.attempts.wrapping_sub(1);
                self.connect(now);
            }
            Verdict::Unrelated => self.fail(TargetFault::ConnectRefused, true, now),
            Verdict::Refused(fault) => self.fail(fault, true, now),
        }
    }

    /// The connection is gone or must go; the next attempt follows after a pause, unless
    /// [`TargetFault::is_final`].
    fn fail(&mut self, fault: TargetFault, disconnects: bool, now: Timestamp) {
        self.reset(disconnects);
        self.authentication.restart();
        if fault.is_final() {
            self.link = Link::Down;
            return self.set_state(TargetState::Ended(Some(fault)));
        }
        self.statistics.reconnects += 1;
        let pause = match fault {
            TargetFault::NameTaken => self.back_off.handle_name_taken(now),
            _ => self.back_off.handle_failure(now),
        };
        self.link = Link::Waiting { until: now + pause };
        self.set_state(TargetState::Reconnecting(fault));
    }

    fn end(&mut self, disconnects: bool, now: Timestamp) {
        self.reset(disconnects);
        if std::mem::take(&mut self.republishes) {
            self.statistics.republished += 1;
            self.link = Link::Waiting { until: now + REPUBLISH_PAUSE };
            self.set_state(TargetState::Reconnecting(TargetFault::PictureChanged));
        } else {
            self.link = Link::Down;
            self.set_state(TargetState::Ended(None));
        }
    }

    /// Ends this publication and begins another one: what waits still belongs to the old picture.
    fn republish(&mut self, now: Timestamp) {
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(publisher) if publisher.publishing().is_some() => {
                self.gate = Gate::Shut;
                self.republishes = true;
                let until = now + CLOSING_TIMEOUT;
                self.link = Link::Closing { publisher, until, has_unpublished: false };
            }
            link => self.link = link,
        }
    }

    /// Forgets all that belongs to the connection; leases go home.
    fn reset(&mut self, disconnects: bool) {
        if disconnects {
            self.actions.push_back(TargetAction::Disconnect);
        }
        self.gate = Gate::Shut;
        self.queue.clear();
        self.outgoing.reset();
        self.tracks_queued = false;
        self.sending = None;
        self.starved_until = None;
        self.stale_since = None;
        self.published_since = None;
        self.keyframe_requested = false;
    }

    fn set_state(&mut self, state: TargetState) {
        self.state = state;
        self.actions.push_back(TargetAction::StateChanged(state));
    }

    /// Asks once each time an IDR picture begins to be needed; whoever repeats it looks at `wants_keyframe`.
    fn request_keyframe(&mut self) {
        let wants = self.wants_keyframe();
        if wants && !self.keyframe_requested {
            self.actions.push_back(TargetAction::RequestKeyframe);
        }
        self.keyframe_requested = wants;
    }
}

/// Shows where to and the state only: the rest holds the stream name.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("url", &self.spec.url)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// How long audio waits for the first IDR picture on a connection.
const PICTURE_WAIT: Duration = Duration::from_secs(2);
/// How long one send may be in flight.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// When a target tries again that found no slot in the pool and has nothing in flight.
const STARVED_RETRY: Duration = Duration::from_millis(20);
/// Age of a message that is of no use to a live audience any more.
pub const STALE_AGE: Duration = Duration::from_secs(3);
/// How long all that is sent may be that old. Longer than a dip of the network, and a queue that drops down to the next
/// IDR picture is well below [`STALE_AGE`] in between.
pub const STALE_MAX: Duration = Duration::from_secs(20);
/// Between the goodbye of one publication and the next one of the same name.
const REPUBLISH_PAUSE: Duration = Duration::from_millis(200);
/// How long the end may take: the rest of the queue and the goodbye.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
#[cfg(test)]
mod tests;
