//! Which broadcasts there are, which shard holds each, and the indexes that keep their names unique.
//! Takes: orders to insert, events to note. Gives: the broadcasts themselves, by any of their names.
//! Leaves out: waiting, sending, deciding (`broadcast`, `push`, `course`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use sipcast_contract::options::AacOptions;
use sipcast_contract::sound::{AacClip, LineId};
use sipcast_contract::statistics::{BroadcastStatistics, TargetStatistics};
use sipcast_contract::{
    BroadcastId, Command, CommandSender, RtmpTarget, RtmpUrl, Secret, TargetId, TargetState,
};
use sipcast_sip::event::CallStatus;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::broadcast::{OpenAnswer, random_id};
use crate::dialer::CallLine;
use crate::digits::Digits;
use crate::events::{EventKind, Subject, TargetStateName};
use crate::ordered_url::OrderedUrl;
use crate::target_contract::TargetContract;

/// All broadcasts of this process, and the load of each shard. Invariants: `by_call_id`, `publications`, `sources`
/// and `sessions` name only broadcasts that are in `broadcasts`; the last three only live ones; the sum of `loads`
/// is the number of live broadcasts.
pub(crate) struct Registry {
    broadcasts: BTreeMap<BroadcastId, Broadcast>,
    by_call_id: HashMap<String, BroadcastId>,
    publications: HashMap<Publication, BroadcastId>,
    sources: HashMap<String, BroadcastId>,
    sessions: HashMap<String, (BroadcastId, TargetId)>,
    finished: VecDeque<BroadcastId>,
    loads: Vec<usize>,
    /// By shard: it did not answer lately.
    silent: Vec<bool>,
    live_max: usize,
    next_broadcast: u64,
    next_target: u64,
    next_line: u64,
}

/// One call in and its RTMP targets.
pub(crate) struct Broadcast {
    /// Its name between the planes.
    pub id: BroadcastId,
    /// Index of the shard that holds it.
    pub shard: usize,
    /// Where its media comes from.
    pub source: Source,
    /// Call ID of the API; the URI of a broadcast without call.
    pub call_id: String,
    /// `mediaSessionId` of its local stream.
    pub session: String,
    /// SIP login, shown as caller.
    pub caller: String,
    /// As ordered.
    pub callee: String,
    /// From display name.
    pub visible_name: String,
    /// As ordered.
    pub app_key: Option<String>,
    /// Audio was ordered.
    pub has_audio: bool,
    /// Video was ordered.
    pub has_video: bool,
    /// Direct publication as ordered: URL and stream name.
    pub direct: Option<(OrderedUrl, Secret<String>)>,
    /// State of the direct publication.
    pub direct_state: DirectState,
    /// Name that pushes take this call by.
    pub to_stream: Option<String>,
    /// Where the call stands.
    pub status: CallStatus,
    /// Last SIP status code, 0 before the first.
    pub sip_status: u16,
    /// Why it ended, if not as ordered.
    pub reason: Option<String>,
    /// The peer's session description.
    pub sdp: Option<String>,
    /// Offer and answer agreed on media: targets may be handed to the shard.
    pub media_agreed: bool,
    /// The peer takes RFC 4733 events.
    pub telephone_event: bool,
    /// The call was answered: digits may go out.
    pub answered: bool,
    /// Digits that wait or are under way.
    pub digits: Digits,
    /// Whose ladder is shown, also when the call is over.
    pub ladder_of: Option<Arc<dyn CallLine>>,
    /// When it was ordered.
    pub ordered_at: SystemTime,
    /// RTMP targets that are not yet over.
    pub targets: BTreeMap<TargetId, Target>,
    /// The latest of those that are, to show; at most [`PAST_TARGETS_MAX`].
    pub past_targets: VecDeque<(TargetId, Target)>,
    /// The sound that it publishes.
    pub sound: AacOptions,
    /// Picture size, 0 until known.
    pub width: u16,
    /// Picture size, 0 until known.
    pub height: u16,
    /// Latest figures.
    pub statistics: BroadcastStatistics,
    /// Steers the call once it is placed.
    pub line: Option<Arc<dyn CallLine>>,
    /// The stream that is played to its callee.
    pub heard: Option<String>,
    /// What the shard is told once media is agreed on; at most [`WAITING_MAX`].
    pub waiting: Vec<Command>,
    /// Wakes the broadcast's task.
    pub signals: Arc<Signals>,
    /// The shard was, or is about to be, told to close: it takes nothing more.
    pub closing: bool,
    opened: Option<oneshot::Sender<OpenAnswer>>,
    closed: Option<oneshot::Sender<()>>,
}

/// Where a broadcast's media comes from.
pub(crate) enum Source {
    /// A SIP call.
    Call,
    /// The sum of other broadcasts' sound.
    Mixer {
        /// In the order they were added; some may have ended.
        inputs: Vec<MixerInput>,
        /// The input whose pictures are shown.
        shown: Option<LineId>,
    },
    /// An RTMP server that plays.
    Pull {
        /// As ordered.
        uri: OrderedUrl,
        /// Of the server.
        url: RtmpUrl,
        /// Name of the connection.
        target: TargetId,
        /// As the shard last told.
        state: TargetState,
    },
}

/// One input of a mixer.
#[derive(Clone)]
pub(crate) struct MixerInput {
    /// Its stream, without prefix.
    pub stream: String,
    /// Whose sound it is.
    pub of: BroadcastId,
    /// The line between them.
    pub line: LineId,
}

/// A file's sound that a target has instead of the call's.
#[derive(Clone)]
pub(crate) struct TargetSound {
    /// In the format that the broadcast publishes.
    pub clip: Arc<AacClip>,
    /// It begins anew at its end.
    pub looped: bool,
}

/// How others reach a broadcast's task.
#[derive(Default)]
pub(crate) struct Signals {
    /// The call shall end.
    pub terminate: CancellationToken,
    /// The shard wants an IDR picture by SIP INFO.
    pub keyframe: Notify,
    /// Digits may go out that could not before.
    pub digits: Notify,
}

/// State of a direct publication, kept after its target is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DirectState {
    /// As the shard last told; `None` while the target is not handed over.
    pub target: Option<TargetState>,
    /// It was on the air at least once.
    pub published: bool,
    /// It failed for good before or after it was handed over.
    pub failed: bool,
}

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

/// Why a broadcast cannot be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A live call has this call ID.
    CallId,
    /// A live target publishes this stream name to this URL.
    Publication,
    /// The same of the target with this index in the order's list.
    Target(usize),
    /// A live call has this `toStream`.
    Source,
    /// As many broadcasts as may be.
    Full,
}

/// What an insertion needs besides the order itself.
pub(crate) struct NewBroadcast {
    /// Everything but `id` and `shard`, which the registry fills in.
    pub broadcast: Broadcast,
    /// What the direct publication occupies.
    pub publication: Option<Publication>,
    /// `toStream` without prefix.
    pub source: Option<String>,
    /// Targets from the start.
    pub targets: Vec<Target>,
}

impl Broadcast {
    /// A broadcast as ordered, with the ends by which its task hears from the shard.
    pub(crate) fn new(
        call_id: String,
        signals: Arc<Signals>,
        opened: oneshot::Sender<OpenAnswer>,
        closed: oneshot::Sender<()>,
    ) -> Self {
        Self {
            id: BroadcastId(0),
            shard: 0,
            source: Source::Call,
            session: random_id(),
            heard: None,
            waiting: Vec::new(),
            call_id,
            caller: String::new(),
            callee: String::new(),
            visible_name: String::new(),
            app_key: None,
            has_audio: false,
            has_video: false,
            direct: None,
            direct_state: DirectState::default(),
            to_stream: None,
            status: CallStatus::Pending,
            sip_status: 0,
            reason: None,
            sdp: None,
            media_agreed: false,
            telephone_event: false,
            answered: false,
            digits: Digits::default(),
            ladder_of: None,
            ordered_at: SystemTime::now(),
            targets: BTreeMap::new(),
            past_targets: VecDeque::new(),
            sound: AacOptions::default(),
            width: 0,
            height: 0,
            statistics: BroadcastStatistics::default(),
            line: None,
            signals,
            closing: false,
            opened: Some(opened),
            closed: Some(closed),
        }
    }

    /// Whether it is a SIP call.
    pub(crate) fn is_call(&self) -> bool {
        matches!(self.source, Source::Call)
    }

    /// Whether its media comes from an RTMP server, as it is.
    pub(crate) fn is_pulled(&self) -> bool {
        matches!(self.source, Source::Pull { .. })
    }

    /// Sends a command, or keeps it until media is agreed on. `Err`: the shard is too busy, or too much waits.
    pub(crate) fn send_or_wait(&mut self, shard: &CommandSender, command: Command) -> Result<(), ()> {
        if self.media_agreed {
            return shard.send(command).map_err(|_| ());
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(());
        }
        self.waiting.push(command);
        Ok(())
    }

    /// Whether the call is not over.
    pub(crate) fn is_live(&self) -> bool {
        !self.status.is_final()
    }

    /// Whom events of this broadcast are about.
    pub(crate) fn subject(&self) -> Subject {
        Subject { broadcast: self.id, call_id: self.call_id.clone(), app_key: self.app_key.clone() }
    }

    /// Takes a target out that is over, and keeps it to show.
    pub(crate) fn remove_target(&mut self, id: TargetId) -> Option<Target> {
        let mut target = self.targets.remove(&id)?;
        if !matches!(target.state, TargetState::Ended(_)) {
            target.state = TargetState::Ended(None);
        }
        if self.past_targets.len() == PAST_TARGETS_MAX {
            self.past_targets.pop_front();
        }
        self.past_targets.push_back((id, target.clone()));
        Some(target)
    }

    /// Whether further targets may be added: the call is neither over nor about to be.
    pub(crate) fn takes_targets(&self) -> bool {
        self.is_live() && !self.closing && !self.signals.terminate.is_cancelled()
    }

    /// Hands the shard's answer to `Open` to the task.
    pub(crate) fn answer_open(&mut self, answer: OpenAnswer) {
        if let Some(opened) = self.opened.take() {
            // The task may have given up waiting: then the answer is of no use.
            let _ = opened.send(answer);
        }
    }

    /// Tells the task that the shard has closed everything.
    pub(crate) fn note_closed(&mut self) {
        if let Some(closed) = self.closed.take() {
            let _ = closed.send(());
        }
    }

    /// Whether the shard has told its last figures.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_none()
    }

    /// Hands every target that waits for media to the shard. Stops at a full mailbox and says so; the rest waits
    /// for the next call.
    pub(crate) fn hand_over_targets(&mut self, shard: &CommandSender) -> Result<(), ()> {
        if !self.media_agreed {
            return Ok(());
        }
        for command in self.waiting.drain(..) {
            if shard.send(command).is_err() {
                tracing::warn!(broadcast = %self.id, "the shard is too busy for what waited for media");
            }
        }
        for (&target, waiting) in self.targets.iter_mut().filter(|(_, t)| !t.handed_over) {
            let mut spec = Box::new(waiting.spec.clone());
            spec.muted = waiting.muted;
            shard.send(Command::AddTarget { broadcast: self.id, target, spec }).map_err(|_| ())?;
            waiting.handed_over = true;
            if let Some(sound) = &waiting.sound {
                let (clip, looped) = (Some(Arc::clone(&sound.clip)), sound.looped);
                let command = Command::SetSound { broadcast: self.id, target, clip, looped };
                if shard.send(command).is_err() {
                    waiting.sound = None;
                    tracing::warn!(broadcast = %self.id, %target, "the shard is too busy to take the sound file");
                }
            }
            if waiting.push.is_none() {
                self.direct_state.target = Some(TargetState::Connecting);
            }
        }
        Ok(())
    }

    /// Notes what the shard told of a target. `true`: the target is over and was taken out of `targets`;
    /// the caller frees what it occupied.
    pub(crate) fn note_target_state(&mut self, id: TargetId, state: TargetState) -> Option<Target> {
        let target = self.targets.get_mut(&id)?;
        target.state = state;
        if target.push.is_none() {
            self.direct_state.target = Some(state);
            self.direct_state.published |= state == TargetState::Publishing;
            self.direct_state.failed |= matches!(state, TargetState::Ended(Some(_)));
        }
        if matches!(state, TargetState::Ended(_)) { self.remove_target(id) } else { None }
    }
}

impl Registry {
    /// An empty registry for `shards` shards and at most `live_max` live broadcasts.
    pub(crate) fn new(shards: usize, live_max: usize) -> Self {
        Self {
            broadcasts: BTreeMap::new(),
            by_call_id: HashMap::new(),
            publications: HashMap::new(),
            sources: HashMap::new(),
            sessions: HashMap::new(),
            finished: VecDeque::new(),
            loads: vec![0; shards],
            silent: vec![false; shards],
            live_max,
            next_broadcast: 1,
            next_target: 1,
            next_line: 1,
        }
    }

    /// Inserts a broadcast on the least loaded shard, on a silent one only if all are.
    pub(crate) fn insert(&mut self, new: NewBroadcast) -> Result<BroadcastId, Taken> {
        let NewBroadcast { mut broadcast, publication, source, targets } = new;
        let previous = self.by_call_id.get(&broadcast.call_id).copied();
        if previous.and_then(|id| self.broadcasts.get(&id)).is_some_and(Broadcast::is_live) {
            return Err(Taken::CallId);
        }
        if publication.as_ref().is_some_and(|p| self.publications.contains_key(p)) {
            return Err(Taken::Publication);
        }
        for (n, target) in targets.iter().enumerate() {
            let same = |p: &Publication| *p == target.publication;
            if self.publications.contains_key(&target.publication)
                || publication.as_ref().is_some_and(same)
                || targets[..n].iter().any(|other| same(&other.publication))
            {
                return Err(Taken::Target(n));
            }
        }
        if source.as_ref().is_some_and(|s| self.sources.contains_key(s)) {
            return Err(Taken::Source);
        }
        let shards = self.loads.iter().zip(&self.silent).enumerate();
        // A shard that has ended carries nothing, so it would be the least loaded for ever.
        let least_loaded = shards.min_by_key(|(_, (load, silent))| (**silent, **load));
        let Some((shard, _)) = least_loaded.filter(|_| self.live() < self.live_max) else {
            return Err(Taken::Full);
        };
        // A finished call that is still shown gives its name to the new one.
        if let Some(previous) = previous {
            self.forget(previous);
        }
        let id = BroadcastId(self.next_broadcast);
        self.next_broadcast += 1;
        self.loads[shard] += 1;
        broadcast.id = id;
        broadcast.shard = shard;
        self.by_call_id.insert(broadcast.call_id.clone(), id);
        if let Some(publication) = publication {
            self.publications.insert(publication, id);
        }
        if let Some(source) = source {
            self.sources.insert(source, id);
        }
        self.broadcasts.insert(id, broadcast);
        for target in targets {
            // Asked above, so none is refused.
            self.add_target(id, target);
        }
        Ok(id)
    }

    /// Marks a broadcast as over: its names are free again, it is shown until [`Registry::forget`].
    pub(crate) fn finish(
        &mut self,
        id: BroadcastId,
        status: CallStatus,
        sip_status: u16,
        reason: Option<String>,
    ) {
        let Some(broadcast) = self.broadcasts.get_mut(&id).filter(|b| b.is_live()) else { return };
        debug_assert!(status.is_final());
        broadcast.status = status;
        broadcast.sip_status = sip_status;
        broadcast.reason = reason;
        broadcast.line = None;
        broadcast.heard = None;
        broadcast.waiting.clear();
        broadcast.digits.clear();
        while let Some(target) = broadcast.targets.keys().next().copied() {
            broadcast.remove_target(target);
        }
        self.loads[broadcast.shard] -= 1;
        self.publications.retain(|_, holder| *holder != id);
        self.sources.retain(|_, holder| *holder != id);
        self.sessions.retain(|_, (holder, _)| *holder != id);
        self.finished.push_back(id);
        // A flood of failing calls within the grace time must not grow memory.
        while self.finished.len() > self.live_max.max(FINISHED_SHOWN_MIN) {
            if let Some(oldest) = self.finished.front().copied() {
                self.forget(oldest);
            }
        }
    }

    /// Takes a finished broadcast out.
    pub(crate) fn forget(&mut self, id: BroadcastId) {
        self.finished.retain(|finished| *finished != id);
        let Some(broadcast) = self.broadcasts.remove(&id) else { return };
        if self.by_call_id.get(&broadcast.call_id) == Some(&id) {
            self.by_call_id.remove(&broadcast.call_id);
        }
    }

    /// Adds a target to a live broadcast; `None` if its publication is taken or the broadcast is over.
    pub(crate) fn add_target(&mut self, id: BroadcastId, target: Target) -> Option<TargetId> {
        let broadcast = self.broadcasts.get_mut(&id).filter(|b| b.is_live())?;
        let holder = self.publications.get(&target.publication);
        // The direct publication was reserved when its broadcast was inserted.
        if holder.is_some_and(|holder| *holder != id || target.push.is_some()) {
            return None;
        }
        let target_id = TargetId(self.next_target);
        self.next_target += 1;
        self.publications.insert(target.publication.clone(), id);
        if let Some(push) = &target.push {
            self.sessions.insert(push.media_session_id.clone(), (id, target_id));
        }
        broadcast.targets.insert(target_id, target);
        Some(target_id)
    }

    /// Frees what a target occupied that is no longer in its broadcast.
    pub(crate) fn release_target(&mut self, target: &Target) {
        self.publications.remove(&target.publication);
        if let Some(push) = &target.push {
            self.sessions.remove(&push.media_session_id);
        }
    }

    /// A name for a line.
    pub(crate) fn next_line(&mut self) -> LineId {
        self.next_line += 1;
        LineId(self.next_line)
    }

    /// A name for a connection that is no target.
    pub(crate) fn next_target(&mut self) -> TargetId {
        self.next_target += 1;
        TargetId(self.next_target - 1)
    }

    /// A broadcast, live or shown after its end.
    pub(crate) fn get(&self, id: BroadcastId) -> Option<&Broadcast> {
        self.broadcasts.get(&id)
    }

    /// A broadcast, live or shown after its end.
    pub(crate) fn get_mut(&mut self, id: BroadcastId) -> Option<&mut Broadcast> {
        self.broadcasts.get_mut(&id)
    }

    /// The live broadcast with this call ID.
    pub(crate) fn live_call_mut(&mut self, call_id: &str) -> Option<&mut Broadcast> {
        let id = self.by_call_id.get(call_id)?;
        self.broadcasts.get_mut(id).filter(|b| b.is_live() && b.is_call())
    }

    /// The call with this call ID, live or shown after its end.
    pub(crate) fn call(&self, call_id: &str) -> Option<&Broadcast> {
        self.broadcasts.get(self.by_call_id.get(call_id)?).filter(|b| b.is_call())
    }

    /// The live broadcast that `toStream` gave this name (without prefix).
    pub(crate) fn source(&self, bare_name: &str) -> Option<&Broadcast> {
        self.broadcasts.get(self.sources.get(bare_name)?)
    }

    /// The push with this `mediaSessionId`.
    pub(crate) fn session(&self, media_session_id: &str) -> Option<(BroadcastId, TargetId)> {
        self.sessions.get(media_session_id).copied()
    }

    /// Whether a live target publishes this.
    pub(crate) fn is_published(&self, publication: &Publication) -> bool {
        self.publications.contains_key(publication)
    }

    /// All broadcasts, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Broadcast> {
        self.broadcasts.values()
    }

    /// All live broadcasts, oldest first.
    pub(crate) fn iter_live(&self) -> impl Iterator<Item = &Broadcast> {
        self.iter().filter(|b| b.is_live())
    }

    /// Notes whether a shard answers.
    pub(crate) fn note_silent(&mut self, shard: usize, silent: bool) {
        if let Some(known) = self.silent.get_mut(shard) {
            *known = silent;
        }
    }

    /// How many broadcasts are live.
    pub(crate) fn live(&self) -> usize {
        self.loads.iter().sum()
    }

    /// Live broadcasts per shard.
    pub(crate) fn loads(&self) -> &[usize] {
        &self.loads
    }
}

/// Finished broadcasts that are shown even when fewer may be live.
const FINISHED_SHOWN_MIN: usize = 64;

/// Commands that wait for media of one call.
const WAITING_MAX: usize = 64;

/// Ended targets that a broadcast shows.
const PAST_TARGETS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn new(call_id: &str) -> NewBroadcast {
        let (opened, _) = oneshot::channel();
        let (closed, _) = oneshot::channel();
        let broadcast = Broadcast::new(call_id.to_owned(), Arc::default(), opened, closed);
        NewBroadcast { broadcast, publication: None, source: None, targets: Vec::new() }
    }

    fn publication(text: &str, name: &str) -> Publication {
        Publication::new(&RtmpUrl::parse(text).expect("valid"), name)
    }

    fn target(publication: Publication) -> Target {
        let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
        let spec =
            RtmpTarget::new(url, Secret::new("x".to_owned()), vec!["127.0.0.1:1935".parse().expect("valid")]);
        let ordered = OrderedUrl::new("rtmp://127.0.0.1/live".to_owned());
        let push = Push { media_session_id: "session".to_owned(), ..Push::new("rtmp_x".to_owned(), ordered) };
        Target { publication, ..Target::new(spec, Some(push)) }
    }

    #[test]
    fn broadcasts_go_to_the_least_loaded_shard() {
        let mut registry = Registry::new(3, 10);
        let ids: Vec<_> = (0..6).map(|n| registry.insert(new(&n.to_string())).expect("room")).collect();
        assert_eq!(registry.loads(), [2, 2, 2]);
        let freed = registry.get_mut(ids[1]).expect("live").shard;
        registry.finish(ids[1], CallStatus::Finish, 200, None);
        let next = registry.insert(new("next")).expect("room");
        assert_eq!(registry.get_mut(next).expect("live").shard, freed);
    }

    #[test]
    fn a_shard_that_does_not_answer_is_passed_over_until_it_does() {
        let mut registry = Registry::new(2, 10);
        registry.note_silent(0, true);
        registry.note_silent(7, true);
        for n in 0..3 {
            let id = registry.insert(new(&n.to_string())).expect("room");
            assert_eq!(registry.get_mut(id).expect("live").shard, 1);
        }
        registry.note_silent(1, true);
        let id = registry.insert(new("any")).expect("room");
        assert_eq!(registry.get_mut(id).expect("live").shard, 0, "both are silent");
        registry.note_silent(0, false);
        registry.insert(new("back")).expect("room");
        assert_eq!(registry.loads(), [2, 3]);
    }

    #[test]
    fn live_names_are_unique_and_free_again_at_the_end() {
        let mut registry = Registry::new(1, 10);
        let mut first = new("a");
        first.publication = Some(publication("rtmp://CDN/live", "rtmp_s"));
        first.source = Some("s".to_owned());
        let id = registry.insert(first).expect("room");
        assert_eq!(registry.insert(new("a")), Err(Taken::CallId));
        let mut second = new("b");
        second.publication = Some(publication("rtmp://cdn:1935/live/", "rtmp_s"));
        assert_eq!(registry.insert(second), Err(Taken::Publication));
        let mut third = new("c");
        third.source = Some("s".to_owned());
        assert_eq!(registry.insert(third), Err(Taken::Source));

        registry.finish(id, CallStatus::Busy, 486, None);
        let mut again = new("a");
        again.publication = Some(publication("rtmp://cdn/live", "rtmp_s"));
        again.source = Some("s".to_owned());
        let again = registry.insert(again).expect("names are free");
        assert!(registry.get_mut(id).is_none(), "the finished call gave way");
        registry.forget(id);
        assert!(registry.live_call_mut("a").is_some_and(|b| b.id == again));
    }

    #[test]
    fn no_more_live_broadcasts_than_allowed_and_no_more_finished_than_shown() {
        let mut registry = Registry::new(2, 2);
        for _ in 0..(FINISHED_SHOWN_MIN + 10) {
            let id = registry.insert(new("x")).expect("room");
            registry.finish(id, CallStatus::Failed, 500, None);
        }
        for n in 0..FINISHED_SHOWN_MIN + 10 {
            let id = registry.insert(new(&n.to_string())).expect("room");
            registry.finish(id, CallStatus::Failed, 500, None);
        }
        assert_eq!((registry.iter().count(), registry.live()), (FINISHED_SHOWN_MIN, 0));
        registry.insert(new("p")).expect("room");
        registry.insert(new("q")).expect("room");
        assert_eq!(registry.insert(new("r")), Err(Taken::Full));
    }

    #[test]
    fn a_target_holds_its_publication_until_it_is_over() {
        let mut registry = Registry::new(1, 2);
        let id = registry.insert(new("a")).expect("room");
        let taken = publication("rtmp://h/live", "rtmp_x");
        let target_id = registry.add_target(id, target(taken.clone())).expect("free");
        assert!(registry.add_target(id, target(taken.clone())).is_none());
        assert_eq!(registry.session("session"), Some((id, target_id)));
        let broadcast = registry.get_mut(id).expect("live");
        let over = broadcast.note_target_state(target_id, TargetState::Ended(None)).expect("over");
        registry.release_target(&over);
        assert!(!registry.is_published(&taken));
        assert_eq!(registry.session("session"), None);
    }
}
