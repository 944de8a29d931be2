//! Use-cases of further RTMP targets (the API's transponders): one call fanned out to any number of them.
//! Takes: orders whose parts are valid. Gives: transponders as the API shows them.
//! Leaves out: the call itself (`broadcast`), HTTP (`rest`).

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use sipcast_contract::statistics::TargetStatistics;
use sipcast_contract::{BroadcastId, Command, RtmpTarget, RtmpUrl, Secret, TargetId, TargetState, limits};

use crate::broadcast::Broadcasts;
use crate::ordered_url::OrderedUrl;
use crate::registry::{Broadcast, Publication, Push, Registry, Target};
use crate::resolve::{self, LookupError};

/// One more target for a call.
pub(crate) struct PushOrder {
    /// Source stream: a `toStream` or a published name, with or without prefix.
    pub(crate) stream: String,
    pub(crate) url: RtmpUrl,
    /// The URL as it was ordered, to show.
    pub(crate) url_as_ordered: OrderedUrl,
    /// The name that a complete URL ends in (`rtmpTransponderFullUrl`); `None`: the source's name with prefix.
    pub(crate) name_in_url: Option<Secret<String>>,
    pub(crate) flash_version: Option<String>,
    /// Begin with silence.
    pub(crate) muted: bool,
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
    pub(crate) options: serde_json::Value,
}

/// Which targets to find; all that are set must fit.
#[derive(Default)]
pub(crate) struct PushFilter {
    pub(crate) stream: Option<String>,
    pub(crate) rtmp_url: Option<String>,
}

/// Why a target is not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// No live call has this stream.
    NoSuchStream,
    /// This stream name is published to this URL already.
    Duplicate,
    /// The call has `limits::TARGETS_PER_BROADCAST_MAX` targets.
    TooMany,
    /// The URL's host has no address.
    Unresolvable(LookupError),
    /// The shard's mailbox is full.
    Busy,
    /// The process drains.
    Stopping,
}

/// Why a target is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushChangeError {
    /// No live target has this `mediaSessionId`.
    NoSuchSession,
    /// The shard's mailbox is full.
    Busy,
}

impl Broadcasts {
    /// Adds a target to the call that `order.stream` names.
    ///
    /// # Errors
    /// [`PushError`]: nothing was added.
    pub(crate) async fn push(&self, order: PushOrder) -> Result<PushView, PushError> {
        let shared = &self.shared;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(PushError::Stopping);
        }
        let prefix = &shared.options.stream_prefix;
        let stream_name = prefix.published(&order.stream);
        let spec_name = order.name_in_url.unwrap_or_else(|| Secret::new(stream_name.clone()));
        let publication = Publication::new(&order.url, spec_name.reveal());
        // Asked before the look-up, so that a wrong order is answered at once, and again by `add_target`.
        {
            let registry = shared.registry();
            let source = self.source(&registry, &order.stream).ok_or(PushError::NoSuchStream)?;
            let pushed_already = |t: &Target| {
                t.push
                    .as_ref()
                    .is_some_and(|p| p.stream_name == stream_name && p.rtmp_url == order.url_as_ordered)
            };
            if registry.is_published(&publication) || source.targets.values().any(pushed_already) {
                return Err(PushError::Duplicate);
            }
        }
        let addresses = resolve::addresses(&order.url).await.map_err(PushError::Unresolvable)?;

        let mut registry = shared.registry();
        let source = self.source(&registry, &order.stream).ok_or(PushError::NoSuchStream)?;
        if source.targets.len() >= limits::TARGETS_PER_BROADCAST_MAX {
            return Err(PushError::TooMany);
        }
        let id = source.id;
        let flash_version = order.flash_version.unwrap_or_else(|| shared.options.flash_version.clone());
        let muted = order.muted;
        let target = Target {
            spec: RtmpTarget { muted, flash_version, ..RtmpTarget::new(order.url, spec_name, addresses) },
            publication,
            push: Some(Push {
                media_session_id: session_id(),
                stream_name,
                rtmp_url: order.url_as_ordered,
                options: order.options,
            }),
            state: TargetState::Connecting,
            handed_over: false,
            muted,
            looking_up: false,
            statistics: TargetStatistics::default(),
        };
        let target_id = registry.add_target(id, target).ok_or(PushError::Duplicate)?;
        let broadcast = registry.get_mut(id).ok_or(PushError::NoSuchStream)?;
        if broadcast.hand_over_targets(&shared.shards[broadcast.shard]).is_err() {
            let refused = broadcast.targets.remove(&target_id);
            refused.iter().for_each(|target| registry.release_target(target));
            return Err(PushError::Busy);
        }
        let (width, height) = (broadcast.width, broadcast.height);
        let added = broadcast.targets.get(&target_id).and_then(|t| view(t, width, height));
        added.ok_or(PushError::NoSuchStream)
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

    /// Takes a target off the air.
    ///
    /// # Errors
    /// [`PushChangeError`]: nothing changed.
    pub(crate) fn terminate_push(&self, media_session_id: &str) -> Result<(), PushChangeError> {
        let mut registry = self.shared.registry();
        let (id, target_id) = registry.session(media_session_id).ok_or(PushChangeError::NoSuchSession)?;
        let broadcast = registry.get_mut(id).ok_or(PushChangeError::NoSuchSession)?;
        let handed_over = broadcast.targets.get(&target_id).is_some_and(|t| t.handed_over);
        if handed_over {
            self.send(broadcast, Command::RemoveTarget { broadcast: id, target: target_id })?;
        }
        if let Some(target) = broadcast.targets.remove(&target_id) {
            registry.release_target(&target);
        }
        Ok(())
    }

    /// Replaces a target's sound by silence, or ends that.
    ///
    /// # Errors
    /// [`PushChangeError`]: nothing changed.
    pub(crate) fn set_push_muted(&self, media_session_id: &str, muted: bool) -> Result<(), PushChangeError> {
        let mut registry = self.shared.registry();
        let (id, target_id) = registry.session(media_session_id).ok_or(PushChangeError::NoSuchSession)?;
        let broadcast = registry.get_mut(id).ok_or(PushChangeError::NoSuchSession)?;
        if broadcast.targets.get(&target_id).is_some_and(|t| t.handed_over) {
            self.send(broadcast, Command::SetMuted { broadcast: id, target: target_id, muted })?;
        }
        if let Some(target) = broadcast.targets.get_mut(&target_id) {
            target.muted = muted;
        }
        Ok(())
    }

    /// The live call that a stream name means: first by `toStream`, else the oldest with that published name.
    fn source<'a>(&self, registry: &'a Registry, stream: &str) -> Option<&'a Broadcast> {
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
    let found = resolve::addresses(&url).await;
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
        options: push.options.clone(),
    })
}

fn same_set(a: &[SocketAddr], b: &[SocketAddr]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

/// 128 random bits in hexadecimal, in the grouping of a UUID.
fn session_id() -> String {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the operating system gives random bytes once it has booted");
    let hex: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_differ() {
        let (a, b) = (session_id(), session_id());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
    }
}
