//! One broadcast as the control plane knows it: what was ordered, how it stands, what it waits for.
//! Takes: what the course of the call and the shard's reports say. Gives: its state, and commands to its shard.
//! Leaves out: names that must be unique among broadcasts (`registry`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use sipcast_contract::options::AacOptions;
use sipcast_contract::sound::LineId;
use sipcast_contract::statistics::BroadcastStatistics;
use sipcast_contract::{BroadcastId, Command, CommandSender, RtmpUrl, Secret, TargetId, TargetState};
use sipcast_sip::event::CallStatus;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::Target;
use crate::broadcast::{OpenAnswer, random_id};
use crate::dialer::CallLine;
use crate::digits::Digits;
use crate::events::Subject;
use crate::hooks::HookPolicies;
use crate::ordered_url::OrderedUrl;

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
    /// Address of record that it is placed from, `user@domain`; `None`: no call.
    pub account: Option<String>,
    /// What its app wants to be asked, where it said so when the call was ordered.
    pub hook_policies: Option<Arc<HookPolicies>>,
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
    /// Its callee is to see pictures of that stream, too.
    pub sees: bool,
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
            sees: false,
            waiting: Vec::new(),
            call_id,
            account: None,
            hook_policies: None,
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

    /// The callee sees pictures from now on, or none any more: its line is told, now or once it is there.
    pub(crate) fn set_sees(&mut self, sees: bool) {
        if self.sees != sees {
            self.sees = sees;
            if let Some(line) = &self.line {
                line.set_sends_pictures(sees);
            }
        }
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

/// Commands that wait for media of one call.
const WAITING_MAX: usize = 64;

/// Ended targets that a broadcast shows.
const PAST_TARGETS_MAX: usize = 32;
