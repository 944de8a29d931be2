//! The RTMP targets of one broadcast: who gets each message, who is muted, who has ended.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sipcast_contract::limits::TARGETS_PER_BROADCAST_MAX;
use sipcast_contract::statistics::TargetStatistics;
use sipcast_contract::{TargetId, TargetState, Timestamp};
use sipcast_pool::Segment;

use crate::message::{Message, MessageKind};
use crate::rtmp::{Target, TargetAction, Tracks};

/// The targets, in the order they were added. One that was removed stays until it has said goodbye.
#[derive(Debug, Default)]
pub(super) struct Targets {
    entries: Vec<Entry>,
    is_closing: bool,
}

#[derive(Debug)]
struct Entry {
    id: TargetId,
    target: Target,
    is_removed: bool,
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
        self.entries.push(Entry { id, target, is_removed: false });
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

    pub(super) fn set_tracks(&mut self, tracks: &Rc<Tracks>, now: Timestamp) {
        for entry in &mut self.entries {
            entry.target.set_tracks(tracks, now);
        }
    }

    /// Gives `message` to all. Muted ones get `silence` in the place of audio.
    pub(super) fn push(&mut self, message: &Message<'_>, silence: &[Segment]) {
        let silent = Message { body: silence, ..*message };
        for entry in &mut self.entries {
            let is_silent = message.kind == MessageKind::Audio && entry.target.muted();
            entry.target.push(if is_silent { &silent } else { message });
        }
    }

    pub(super) fn is_any_muted(&self) -> bool {
        self.entries.iter().any(|entry| entry.target.muted())
    }

    pub(super) fn is_any_publishing(&self) -> bool {
        self.entries.iter().any(|entry| entry.target.state() == TargetState::Publishing)
    }

    pub(super) fn wants_keyframe(&self) -> bool {
        self.entries.iter().any(|entry| entry.target.wants_keyframe())
    }

    /// The shortest time between IDR pictures that a target which publishes, or will, demands.
    pub(super) fn keyframe_interval_max(&self) -> Option<Duration> {
        let live = self.entries.iter().filter(|entry| !matches!(entry.target.state(), TargetState::Ended(_)));
        live.filter_map(|entry| entry.target.rules().keyframe_interval_max).min()
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
