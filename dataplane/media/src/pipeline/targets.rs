//! The RTMP targets of one broadcast: who gets each message, who is muted, who has ended.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sipcast_contract::limits::TARGETS_PER_BROADCAST_MAX;
use sipcast_contract::sound::AacClip;
use sipcast_contract::statistics::TargetStatistics;
use sipcast_contract::{TargetAudio, TargetId, TargetState, Timestamp};
use sipcast_pool::{Arena, Segment};

use crate::flv;
use crate::message::{Message, MessageKind};
use crate::rtmp::{Target, TargetAction, Tracks};

/// The targets, in the order they were added. One that was removed stays until it has said goodbye.
#[derive(Debug, Default)]
pub(super) struct Targets {
    entries: Vec<Entry>,
    is_closing: bool,
    /// The call's own sound goes out beside AAC, to targets that want it.
    has_source: bool,
}

#[derive(Debug)]
struct Entry {
    id: TargetId,
    target: Target,
    is_removed: bool,
    /// Plays instead of the call's sound.
    clip: Option<Clip>,
    /// The clip came to its end and nobody has been told yet.
    is_clip_over: bool,
    /// RTMP time of the latest sound. AAC comes later than the call's own sound: when one follows the other, time must
    /// not go back.
    sound_ms: Option<u32>,
}

#[derive(Debug)]
struct Clip {
    clip: Arc<AacClip>,
    /// Index of the next frame. Invariant: `< clip.frames.len()`.
    next: usize,
    is_looped: bool,
}

/// Which of the two ways of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    /// Transcoded.
    Aac,
    /// As the call sends it.
    Source,
}

/// A broadcast has [`TARGETS_PER_BROADCAST_MAX`] targets, is closing, or has one of that name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broadcast takes no further target")]
pub struct TargetRefused;

impl Targets {
    pub(super) fn add(&mut self, id: TargetId, target: Target) -> Result<(), TargetRefused> {
        if self.is_closing
            || self.entries.len() >= TARGETS_PER_BROADCAST_MAX
            || self.ids().any(|held| held == id)
        {
            return Err(TargetRefused);
        }
        self.entries.push(Entry {
            id,
            target,
            is_removed: false,
            clip: None,
            is_clip_over: false,
            sound_ms: None,
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, id: TargetId, now: Timestamp) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.is_removed = true;
            entry.target.stop(now);
        }
    }

    pub(super) fn close(&mut self, now: Timestamp) {
        self.is_closing = true;
        for entry in &mut self.entries {
            entry.target.stop(now);
        }
    }

    pub(super) fn get_mut(&mut self, id: TargetId) -> Option<&mut Target> {
        self.entries.iter_mut().find(|entry| entry.id == id).map(|entry| &mut entry.target)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = TargetId> {
        self.entries.iter().map(|entry| entry.id)
    }

    pub(super) fn set_addresses(&mut self, id: TargetId, addresses: Vec<SocketAddr>, now: Timestamp) {
        if let Some(target) = self.get_mut(id) {
            target.set_addresses(addresses, now);
        }
    }

    /// `source` is for targets that want the call's own sound.
    pub(super) fn set_tracks(&mut self, aac: &Rc<Tracks>, source: Option<&Rc<Tracks>>, now: Timestamp) {
        self.has_source = source.is_some();
        for entry in &mut self.entries {
            let tracks = source.filter(|_| entry.target.audio() == TargetAudio::Source).unwrap_or(aac);
            entry.target.set_tracks(tracks, now);
        }
    }

    /// Gives a picture to all.
    pub(super) fn push_picture(&mut self, message: &Message<'_>) {
        debug_assert_ne!(message.kind, MessageKind::Audio);
        for entry in &mut self.entries {
            entry.target.push(message);
        }
    }

    /// Gives a file's sound to a target in place of the call's, from its start, or ends that. `false`: there is no such
    /// target, or the file is empty.
    pub(super) fn set_clip(&mut self, id: TargetId, clip: Option<Arc<AacClip>>, is_looped: bool) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) else { return false };
        let was_asked = clip.is_some();
        entry.clip =
            clip.filter(|clip| !clip.frames.is_empty()).map(|clip| Clip { clip, next: 0, is_looped });
        entry.is_clip_over = false;
        entry.clip.is_some() == was_asked
    }

    /// A target whose clip came to its end, once.
    pub(super) fn take_clip_over(&mut self) -> Option<TargetId> {
        let over = self.entries.iter_mut().find(|entry| entry.is_clip_over)?;
        over.is_clip_over = false;
        Some(over.id)
    }

    /// Gives a frame of its clip to each target that has one; for each frame of the broadcast's own AAC, so that both
    /// have one timeline. Muted targets move on in their clip unheard.
    pub(super) fn push_clips(&mut self, message: &Message<'_>, arena: &mut Arena, body: &mut Vec<Segment>) {
        for entry in &mut self.entries {
            let Some(playing) = &mut entry.clip else { continue };
            let frame = &playing.clip.frames[playing.next];
            // An exhausted pool drops the frame: time moves on in the clip all the same.
            if !entry.target.muted()
                && let (Ok(header), Ok(frame)) = (arena.write(&flv::audio::RAW_HEADER), arena.write(frame))
            {
                body.extend([header, frame]);
                entry.sound_ms = Some(message.timestamp_ms);
                entry.target.push(&Message { body, ..*message });
                body.clear();
            }
            playing.next += 1;
            if playing.next == playing.clip.frames.len() {
                playing.next = 0;
                if !playing.is_looped {
                    entry.clip = None;
                    entry.is_clip_over = true;
                }
            }
        }
    }

    /// Whether any target has a clip.
    pub(super) fn has_clips(&self) -> bool {
        self.entries.iter().any(|entry| entry.clip.is_some())
    }

    /// Gives sound to those that want it in this way; to muted ones `silence`, if there is any. Those with a clip that
    /// are not muted have theirs by [`Targets::push_clips`].
    pub(super) fn push_sound(&mut self, sound: Sound, message: &Message<'_>, silence: &[Segment]) {
        let silent = Message { body: silence, ..*message };
        let has_source = self.has_source;
        for entry in self.entries.iter_mut().filter(|entry| entry.sound(has_source) == sound) {
            // Wrapping: RTMP time has 32 bits.
            let is_past = |latest: u32| (message.timestamp_ms.wrapping_sub(latest) as i32) < 0;
            if (entry.clip.is_some() && !entry.target.muted())
                || entry.sound_ms.is_some_and(is_past)
                || (entry.target.muted() && silence.is_empty())
            {
                continue;
            }
            entry.sound_ms = Some(message.timestamp_ms);
            entry.target.push(if entry.target.muted() { &silent } else { message });
        }
    }

    /// Whether any target wants sound in this way.
    pub(super) fn is_wanted(&self, sound: Sound) -> bool {
        self.entries.iter().any(|entry| entry.sound(self.has_source) == sound)
    }

    /// Whether any target that wants sound in this way is muted.
    pub(super) fn is_any_muted(&self, sound: Sound) -> bool {
        self.entries.iter().any(|entry| entry.target.muted() && entry.sound(self.has_source) == sound)
    }

    pub(super) fn is_any_publishing(&self) -> bool {
        self.entries.iter().any(|entry| entry.target.state() == TargetState::Publishing)
    }

    pub(super) fn wants_keyframe(&self) -> bool {
        self.entries.iter().any(|entry| entry.target.wants_keyframe())
    }

    /// The shortest time between IDR pictures that `own` or a target which publishes, or will, demands; zero: none
    /// does.
    pub(super) fn keyframe_interval_within(&self, own: Duration) -> Duration {
        let own = Some(own).filter(|interval| !interval.is_zero());
        let live = self.entries.iter().filter(|entry| !matches!(entry.target.state(), TargetState::Ended(_)));
        let demanded = live.filter_map(|entry| entry.target.rules().keyframe_interval_max);
        own.into_iter().chain(demanded).min().unwrap_or_default()
    }

    /// Whether none is left that has not ended.
    pub(super) fn are_ended(&self) -> bool {
        self.entries.iter().all(|entry| matches!(entry.target.state(), TargetState::Ended(_)))
    }

    /// The target that could let the most segments go, and how many.
    pub(super) fn longest_queue(&self) -> Option<(TargetId, usize)> {
        let queues = self.entries.iter().map(|entry| (entry.id, entry.target.segments_waiting()));
        queues.max_by_key(|(_, segments)| *segments)
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        for entry in &mut self.entries {
            if entry.target.next_timeout().is_some_and(|at| at <= now) {
                entry.target.handle_timeout(now);
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.entries.iter().filter_map(|entry| entry.target.next_timeout()).min()
    }

    /// The next action of any target. Removed targets that have ended and have nothing more to say are let go.
    pub(super) fn poll_action(&mut self) -> Option<(TargetId, TargetAction)> {
        for entry in &mut self.entries {
            if let Some(action) = entry.target.poll_action() {
                return Some((entry.id, action));
            }
        }
        self.entries
            .retain(|entry| !(entry.is_removed && matches!(entry.target.state(), TargetState::Ended(_))));
        None
    }

    pub(super) fn statistics(&self, now: Timestamp) -> Vec<(TargetId, TargetStatistics)> {
        self.entries.iter().map(|entry| (entry.id, entry.target.statistics(now))).collect()
    }
}

impl Entry {
    fn sound(&self, has_source: bool) -> Sound {
        if has_source && self.target.audio() == TargetAudio::Source { Sound::Source } else { Sound::Aac }
    }
}
