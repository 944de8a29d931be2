//! Use-cases of further RTMP targets (the API's transponders): one call fanned out to any number of them.
//! Takes: orders whose parts are valid. Gives: transponders as the API shows them.
//! Leaves out: the call itself (`broadcast`), HTTP (`rest`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use sipcast_contract::{BroadcastId, Command, MediaWanted, RtmpUrl, TargetAudio, TargetId, limits};

use crate::broadcast::Broadcasts;
use crate::events::EventKind;
use crate::hooks::HookRefusal;
use crate::order::{FieldFault, TargetOrder, TargetRequest};
use crate::registry::{Broadcast, Publication, Push, Registry, Target, TargetSound};
use crate::sounds::SoundError;

/// One more target for a call.
pub(crate) struct PushOrder {
    /// Source stream: a `toStream` or a published name, with or without prefix.
    pub(crate) stream: String,
    pub(crate) target: TargetOrder,
    /// The same as it was written; an app may change it.
    pub(crate) request: TargetRequest,
    /// A file's name, and whether it begins anew: sound to begin with, instead of the stream's.
    pub(crate) sound: Option<(String, bool)>,
    /// As ordered, an object.
    pub(crate) options: serde_json::Value,
}

/// A target as the API shows it.
pub(crate) struct PushView {
    pub(crate) media_session_id: String,
    pub(crate) stream_name: String,
    pub(crate) rtmp_url: String,
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) muted: bool,
    pub(crate) sound_enabled: bool,
    pub(crate) options: serde_json::Value,
}

/// Which targets to find; all that are set must fit.
#[derive(Default)]
pub(crate) struct PushFilter {
    pub(crate) stream: Option<String>,
    pub(crate) rtmp_url: Option<String>,
}

/// Why a target is not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// No live call has this stream.
    NoSuchStream,
    /// This stream is pushed to this URL already.
    Duplicate,
    /// This stream name is published to the URL that this field gives.
    Published(Cow<'static, str>),
    /// The call has `limits::TARGETS_PER_BROADCAST_MAX` targets.
    TooMany,
    /// The shard's mailbox is full.
    Busy,
    /// The process drains.
    Stopping,
    /// The sound to begin with cannot be had.
    Sound(SoundError),
    /// Its service does not take that, or its host has no address.
    Field(FieldFault),
    /// The call's app does not agree.
    Hook(HookRefusal),
}

/// Why a target is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushChangeError {
    /// No live target has this `mediaSessionId`.
    NoSuchSession,
    /// The shard's mailbox is full.
    Busy,
    /// The call's app does not agree.
    Hook(HookRefusal),
}

impl Broadcasts {
    /// Adds a target to the call that `order.stream` names.
    ///
    /// # Errors
    /// [`PushError`]: nothing was added.
    pub(crate) async fn push(&self, mut order: PushOrder) -> Result<PushView, PushError> {
        let shared = &self.shared;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(PushError::Stopping);
        }
        let call_id = {
            let registry = shared.registry();
            self.source(&registry, &order.stream).ok_or(PushError::NoSuchStream)?.call_id.clone()
        };
        if self.ask_before_publishing(&call_id, &mut order.request).await.map_err(PushError::Hook)? {
            let audio = order.target.audio;
            let changed = order.request.clone().validate("", &shared.options.contracts);
            order.target = TargetOrder { audio, ..changed.map_err(PushError::Field)? };
        }
        let stream_name = shared.options.stream_prefix.published(&order.stream);
        // Asked before the look-up, so that a wrong order is answered at once, and again by `insert_target`.
        let (id, sound, is_pulled) = {
            let registry = shared.registry();
            let source = self.source(&registry, &order.stream).ok_or(PushError::NoSuchStream)?;
            let pushed_already = |t: &Target| {
                t.push.as_ref().is_some_and(|p| {
                    p.stream_name == stream_name && p.rtmp_url == order.target.url_as_ordered
                })
            };
            if source.targets.values().any(pushed_already) {
                return Err(PushError::Duplicate);
            }
            (source.id, source.sound, source.is_pulled())
        };
        let sound = match order.sound {
            Some(_) if is_pulled || order.target.audio == TargetAudio::Source => {
                return Err(PushError::Sound(SoundError::NotTranscoded));
            }
            Some((name, looped)) => {
                Some(self.load_sound(name, looped, sound).await.map_err(PushError::Sound)?)
            }
            None => None,
        };
        let push =
            Push { options: order.options, ..Push::new(stream_name, order.target.url_as_ordered.clone()) };
        let target_id = self.add_target_to(id, order.target, push, sound).await?;
        let mut registry = shared.registry();
        let broadcast = registry.get_mut(id).ok_or(PushError::NoSuchStream)?;
        let (width, height) = (broadcast.width, broadcast.height);
        let added = broadcast.targets.get(&target_id).and_then(|t| view(t, width, height));
        added.ok_or(PushError::NoSuchStream)
    }

    /// Adds a target to a broadcast, as `push` shows it, and its backup as a push of its own. `sound`: what both begin
    /// with instead of the broadcast's.
    ///
    /// # Errors
    /// [`PushError`]: nothing was added.
    pub(crate) async fn add_target_to(
        &self,
        id: BroadcastId,
        mut order: TargetOrder,
        push: Push,
        sound: Option<TargetSound>,
    ) -> Result<TargetId, PushError> {
        let shared = &self.shared;
        let (wanted, published) = {
            let mut registry = shared.registry();
            let broadcast = registry.get_mut(id).ok_or(PushError::NoSuchStream)?;
            (MediaWanted { audio: broadcast.has_audio, video: broadcast.has_video }, broadcast.sound)
        };
        let backup = order.settle_later(&shared.options, wanted, &published).map_err(PushError::Field)?;
        let stream_name = push.stream_name.clone();
        let target_id = self.insert_target(id, order, push, sound.clone()).await?;
        if let Some(backup) = backup {
            let push = Push::new(stream_name, backup.url_as_ordered.clone());
            if let Err(error) = self.insert_target(id, backup, push, sound).await {
                // The primary alone is not what was ordered. Should the shard be too busy for this, too, it is listed
                // and can be taken off by its name.
                let _ = self.remove_target_of(&mut shared.registry(), id, target_id);
                return Err(error);
            }
        }
        Ok(target_id)
    }

    async fn insert_target(
        &self,
        id: BroadcastId,
        mut order: TargetOrder,
        push: Push,
        sound: Option<TargetSound>,
    ) -> Result<TargetId, PushError> {
        let shared = &self.shared;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(PushError::Stopping);
        }
        if shared.registry().is_published(&Publication::new(&order.url, order.stream.reveal())) {
            return Err(PushError::Published(order.url_field));
        }
        let found = shared.addresses_of(&order.url).await;
        order.addresses = found.map_err(|error| PushError::Field(order.unresolvable(error)))?;

        let mut registry = shared.registry();
        let source = registry.get_mut(id).filter(|b| b.takes_targets()).ok_or(PushError::NoSuchStream)?;
        if source.targets.len() >= limits::TARGETS_PER_BROADCAST_MAX {
            return Err(PushError::TooMany);
        }
        let (contract, url_field) = (order.contract.clone(), order.url_field.clone());
        let spec = order.into_spec(&shared.options);
        let target = Target { contract, sound, ..Target::new(spec, Some(push)) };
        let target_id = registry.add_target(id, target).ok_or(PushError::Published(url_field))?;
        let broadcast = registry.get_mut(id).ok_or(PushError::NoSuchStream)?;
        if broadcast.hand_over_targets(&shared.shards[broadcast.shard]).is_err() {
            let refused = broadcast.targets.remove(&target_id);
            refused.iter().for_each(|target| registry.release_target(target));
            return Err(PushError::Busy);
        }
        if let Some(target) = broadcast.targets.get(&target_id) {
            shared.tell(broadcast, target.event(target_id));
        }
        Ok(target_id)
    }

    /// The targets that fit `filter`, oldest first.
    pub(crate) fn find_pushes(&self, filter: &PushFilter) -> Vec<PushView> {
        let prefix = &self.shared.options.stream_prefix;
        let fits = |target: &Target| {
            target.push.as_ref().is_some_and(|push| {
                filter.stream.as_ref().is_none_or(|name| prefix.same(name, &push.stream_name))
                    && filter.rtmp_url.as_ref().is_none_or(|url| push.rtmp_url.is(url))
            })
        };
        let registry = self.shared.registry();
        let mut found: Vec<(TargetId, PushView)> = registry
            .iter_live()
            .flat_map(|b| b.targets.iter().map(move |(&id, target)| (b, id, target)))
            .filter(|(.., target)| fits(target))
            .filter_map(|(b, id, target)| Some((id, view(target, b.width, b.height)?)))
            .collect();
        found.sort_by_key(|(id, _)| *id);
        found.into_iter().map(|(_, push)| push).collect()
    }

    /// Takes a target off the air, if its call's app agrees.
    ///
    /// # Errors
    /// [`PushChangeError`]: nothing changed.
    pub(crate) async fn terminate_push(&self, media_session_id: &str) -> Result<(), PushChangeError> {
        let call_id = {
            let registry = self.shared.registry();
            let (id, _) = registry.session(media_session_id).ok_or(PushChangeError::NoSuchSession)?;
            registry.get(id).map(|broadcast| broadcast.call_id.clone()).unwrap_or_default()
        };
        let agreed = self.ask_before_unpublishing(&call_id, Some(media_session_id)).await;
        agreed.map_err(PushChangeError::Hook)?;
        let mut registry = self.shared.registry();
        let (id, target_id) = registry.session(media_session_id).ok_or(PushChangeError::NoSuchSession)?;
        self.remove_target_of(&mut registry, id, target_id)
    }

    /// Replaces a target's sound by silence, or ends that.
    ///
    /// # Errors
    /// [`PushChangeError`]: nothing changed.
    pub(crate) fn set_push_muted(&self, media_session_id: &str, muted: bool) -> Result<(), PushChangeError> {
        let mut registry = self.shared.registry();
        let (id, target_id) = registry.session(media_session_id).ok_or(PushChangeError::NoSuchSession)?;
        self.set_target_muted_of(&mut registry, id, target_id, muted)
    }

    /// Takes a target off the air, whether direct or pushed.
    ///
    /// # Errors
    /// [`PushChangeError`]: nothing changed.
    pub(crate) fn remove_target_of(
        &self,
        registry: &mut Registry,
        id: BroadcastId,
        target_id: TargetId,
    ) -> Result<(), PushChangeError> {
        let broadcast = registry.get_mut(id).ok_or(PushChangeError::NoSuchSession)?;
        let target = broadcast.targets.get(&target_id).ok_or(PushChangeError::NoSuchSession)?;
        if target.handed_over {
            self.send(broadcast, Command::RemoveTarget { broadcast: id, target: target_id })?;
        }
        if let Some(target) = broadcast.remove_target(target_id) {
            if target.push.is_none() {
                broadcast.direct_state.target = Some(target.state);
            }
            self.shared.tell(broadcast, target.event(target_id));
            registry.release_target(&target);
        }
        Ok(())
    }

    /// Replaces the sound of a target, direct or pushed, by silence, or ends that.
    ///
    /// # Errors
    /// [`PushChangeError`]: nothing changed.
    pub(crate) fn set_target_muted_of(
        &self,
        registry: &mut Registry,
        id: BroadcastId,
        target_id: TargetId,
        muted: bool,
    ) -> Result<(), PushChangeError> {
        let broadcast = registry.get_mut(id).ok_or(PushChangeError::NoSuchSession)?;
        let target = broadcast.targets.get(&target_id).ok_or(PushChangeError::NoSuchSession)?;
        let news = target.muted != muted;
        if target.handed_over {
            self.send(broadcast, Command::SetMuted { broadcast: id, target: target_id, muted })?;
        }
        if let Some(target) = broadcast.targets.get_mut(&target_id) {
            target.muted = muted;
        }
        if news {
            self.shared.tell(broadcast, EventKind::TargetMuted { target: target_id.0, muted });
        }
        Ok(())
    }

    /// The live call that a stream name means: first by `toStream`, else the oldest with that published name.
    pub(crate) fn source<'a>(&self, registry: &'a Registry, stream: &str) -> Option<&'a Broadcast> {
        let prefix = &self.shared.options.stream_prefix;
        registry.source(prefix.bare(stream)).filter(|b| b.takes_targets()).or_else(|| {
            registry
                .iter_live()
                .filter(|b| b.takes_targets())
                .find(|b| b.direct.as_ref().is_some_and(|(_, name)| prefix.same(name.reveal(), stream)))
        })
    }

    fn send(&self, broadcast: &Broadcast, command: Command) -> Result<(), PushChangeError> {
        self.shared.shards[broadcast.shard].send(command).map_err(|_| PushChangeError::Busy)
    }
}

/// Looks up a reconnecting target's host once more and tells the shard; one look-up per target at a time.
pub(crate) async fn look_up_again(
    broadcasts: Broadcasts,
    id: BroadcastId,
    target_id: TargetId,
    url: RtmpUrl,
) {
    let found = broadcasts.shared.addresses_of(&url).await;
    let mut registry = broadcasts.shared.registry();
    let Some(broadcast) = registry.get_mut(id).filter(|b| b.is_live()) else { return };
    let shard = broadcast.shard;
    let Some(target) = broadcast.targets.get_mut(&target_id) else { return };
    target.looking_up = false;
    match found {
        // The same addresses in another order are no news, and would send the shard back to the first of them.
        Ok(addresses) if !same_set(&addresses, &target.spec.addresses) => {
            target.spec.addresses.clone_from(&addresses);
            let command = Command::SetAddresses { broadcast: id, target: target_id, addresses };
            if broadcasts.shared.shards[shard].send(command).is_err() {
                // The next failure asks again.
                tracing::warn!(broadcast = %id, target = %target_id, "the shard is too busy to take new addresses");
            }
        }
        Ok(_) => {}
        Err(error) => {
            tracing::debug!(broadcast = %id, target = %target_id, %error, "the RTMP host keeps its old addresses");
        }
    }
}

fn view(target: &Target, width: u16, height: u16) -> Option<PushView> {
    target.push.as_ref().map(|push| PushView {
        media_session_id: push.media_session_id.clone(),
        stream_name: push.stream_name.clone(),
        rtmp_url: push.rtmp_url.shown().to_owned(),
        width,
        height,
        muted: target.muted,
        sound_enabled: target.sound.is_some(),
        options: push.options.clone(),
    })
}

fn same_set(a: &[SocketAddr], b: &[SocketAddr]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

#[cfg(test)]
mod tests {
    use crate::broadcast::random_id;

    #[test]
    fn session_ids_differ() {
        let (a, b) = (random_id(), random_id());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
    }
}
