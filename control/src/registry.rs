//! Which broadcasts there are, which shard holds each, and the indexes that keep their names unique.
//! Takes: orders to insert, events to note. Gives: the broadcasts themselves, by any of their names.
//! Leaves out: waiting, sending, deciding (`broadcast`, `push`, `course`).

use std::collections::{BTreeMap, HashMap, VecDeque};

use sipcast_contract::sound::LineId;
use sipcast_contract::{BroadcastId, TargetId};
use sipcast_sip::event::CallStatus;

mod broadcast;
mod target;

pub(crate) use broadcast::{Broadcast, MixerInput, Signals, Source};
pub(crate) use target::{Publication, Push, Target, TargetSound};

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
    /// By shard: how many broadcasts it may carry, as it said last.
    limits: Vec<usize>,
    /// By shard: it did not answer lately.
    silent: Vec<bool>,
    live_max: usize,
    next_broadcast: u64,
    next_target: u64,
    next_line: u64,
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
    /// As many broadcasts as the shards' cores can bear.
    Busy,
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
            limits: vec![usize::MAX; shards],
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
        if self.live() >= self.live_max {
            return Err(Taken::Full);
        }
        let shard = self.shard_with_room().ok_or(Taken::Busy)?;
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

    /// The least loaded of the shards that may carry one more.
    fn shard_with_room(&self) -> Option<usize> {
        let with_room = (0..self.loads.len()).filter(|&shard| self.loads[shard] < self.limits[shard]);
        // A shard that has ended carries nothing, so it would be the least loaded for ever.
        with_room.min_by_key(|&shard| (self.silent[shard], self.loads[shard]))
    }

    /// A shard said how many broadcasts it may carry.
    pub(crate) fn note_limit(&mut self, shard: usize, limit: usize) {
        if let Some(known) = self.limits.get_mut(shard) {
            *known = limit;
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sipcast_contract::{RtmpTarget, RtmpUrl, Secret, TargetState};
    use tokio::sync::oneshot;

    use super::*;
    use crate::ordered_url::OrderedUrl;

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
    fn a_shard_takes_no_more_than_its_core_can_bear() {
        let mut registry = Registry::new(2, 10);
        registry.note_limit(0, 1);
        registry.note_limit(1, 2);
        registry.note_limit(7, 0);
        let ids: Vec<_> = (0..3).map(|n| registry.insert(new(&n.to_string())).expect("room")).collect();
        assert_eq!(registry.loads(), [1, 2]);
        assert_eq!(registry.insert(new("more")), Err(Taken::Busy));
        registry.note_limit(0, 2);
        registry.insert(new("cheaper")).expect("calls cost less than it seemed");
        registry.note_limit(1, 1);
        registry.finish(ids[0], CallStatus::Finish, 200, None);
        registry.insert(new("in its place")).expect("room on the first shard");
        assert_eq!(registry.insert(new("again")), Err(Taken::Busy), "nobody in progress is ended for it");
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
