//! Use-cases by a broadcast's name, as `/v1` and gRPC have them: show broadcasts; add, show, mute and remove targets.
//! Takes: names and orders as clients wrote them. Gives: views. Leaves out: starting and ending (`broadcast`), what
//! adding a target means (`push`), HTTP and gRPC.

use sipcast_contract::{BroadcastId, TargetId};
use sipcast_sip::event::CallStatus;

use crate::broadcast::Broadcasts;
use crate::conformity::ConformityReport;
use crate::hooks::HookRefusal;
use crate::order::{FieldFault, TargetRequest};
use crate::push::{PushChangeError, PushError};
use crate::registry::{Push, Registry};
use crate::view::{self, AccountView, BroadcastView, TargetView};

/// Which broadcasts to show; all that are set must fit.
#[derive(Default)]
pub(crate) struct BroadcastFilter {
    pub(crate) status: Option<CallStatus>,
    pub(crate) callee: Option<String>,
    pub(crate) app_key: Option<String>,
    /// Only those with a higher number: the last of the page before.
    pub(crate) after: u64,
    /// As many at most.
    pub(crate) limit: usize,
}

/// A page of broadcasts.
pub(crate) struct BroadcastPage {
    /// Oldest first.
    pub(crate) broadcasts: Vec<BroadcastView>,
    /// `after` of the next page, if there is one.
    pub(crate) next: Option<u64>,
    /// ID of the latest event that the page shows the outcome of.
    pub(crate) last_event_id: u64,
}

/// Why a target of a broadcast is not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddTargetError {
    /// A field is wrong.
    Field(FieldFault),
    /// The order is right, yet cannot be taken. [`PushError::NoSuchStream`]: no live broadcast has this name.
    Push(PushError),
}

/// Why a target of a broadcast is not shown or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetError {
    /// No broadcast has this name.
    NoSuchBroadcast,
    /// The broadcast has no such target, or it has ended.
    NoSuchTarget,
    /// The shard's mailbox is full.
    Busy,
    /// The call's app does not agree.
    Hook(HookRefusal),
}

impl Broadcasts {
    /// A broadcast, live or within its grace time.
    pub(crate) fn broadcast(&self, call_id: &str) -> Option<BroadcastView> {
        let registry = self.shared.registry();
        registry.call(call_id).map(|b| BroadcastView::of(b, self.events().last_id()))
    }

    /// The broadcasts that fit `filter`, oldest first.
    pub(crate) fn list(&self, filter: &BroadcastFilter) -> BroadcastPage {
        let registry = self.shared.registry();
        let last_event_id = self.events().last_id();
        let mut fitting = registry.iter().filter(|b| {
            b.is_call()
                && b.id.0 > filter.after
                && filter.status.is_none_or(|status| status == b.status)
                && filter.callee.as_ref().is_none_or(|callee| *callee == b.callee)
                && filter.app_key.as_ref().is_none_or(|key| b.app_key.as_ref() == Some(key))
        });
        let broadcasts: Vec<_> =
            fitting.by_ref().take(filter.limit).map(|b| BroadcastView::of(b, last_event_id)).collect();
        let next = fitting.next().and(broadcasts.last()).map(|last| last.broadcast);
        BroadcastPage { broadcasts, next, last_event_id }
    }

    /// The registrations of SIP accounts that calls use, and those that failed lately.
    pub(crate) fn accounts(&self) -> Vec<AccountView> {
        self.registrations().into_iter().map(AccountView::from).collect()
    }

    /// The targets of a broadcast, the latest of the ended ones among them; `None`: no broadcast has this name.
    pub(crate) fn targets(&self, call_id: &str) -> Option<Vec<TargetView>> {
        self.shared.registry().call(call_id).map(view::targets)
    }

    /// One target of a broadcast.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) fn target(&self, call_id: &str, target_id: &str) -> Result<TargetView, TargetError> {
        let targets = self.targets(call_id).ok_or(TargetError::NoSuchBroadcast)?;
        targets.into_iter().find(|target| target.target_id == target_id).ok_or(TargetError::NoSuchTarget)
    }

    /// How a live target keeps to what its service demands.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) fn target_conformity(
        &self,
        call_id: &str,
        target_id: &str,
    ) -> Result<ConformityReport, TargetError> {
        let reports = self.conformity(call_id).ok_or(TargetError::NoSuchBroadcast)?;
        let report = reports.into_iter().find(|(id, _)| id.to_string() == target_id);
        report.map(|(_, report)| report).ok_or(TargetError::NoSuchTarget)
    }

    /// Adds a target to a live broadcast, if its app agrees.
    ///
    /// # Errors
    /// [`AddTargetError`]: nothing was added.
    pub(crate) async fn add_target(
        &self,
        call_id: &str,
        mut request: TargetRequest,
    ) -> Result<TargetView, AddTargetError> {
        let contracts = &self.shared.options.contracts;
        // What is wrong is told before the call's app is bothered.
        request.clone().validate("", contracts).map_err(AddTargetError::Field)?;
        let agreed = self.ask_before_publishing(call_id, &mut request).await;
        agreed.map_err(|refusal| AddTargetError::Push(PushError::Hook(refusal)))?;
        let order = request.validate("", contracts).map_err(AddTargetError::Field)?;
        let no_such = AddTargetError::Push(PushError::NoSuchStream);
        let (id, shown_name) = {
            let registry = self.shared.registry();
            let broadcast = registry.call(call_id).filter(|b| b.takes_targets()).ok_or(no_such.clone())?;
            let name = broadcast.to_stream.as_deref().unwrap_or(call_id);
            (broadcast.id, self.shared.options.stream_prefix.published(name))
        };
        let push = Push::new(shown_name, order.url_as_ordered.clone());
        let target_id = self.add_target_to(id, order, push, None).await.map_err(AddTargetError::Push)?;
        self.target(call_id, &target_id.0.to_string()).map_err(|_| no_such)
    }

    /// Takes a target off the air, if the call's app agrees.
    ///
    /// # Errors
    /// [`TargetError`]: nothing changed.
    pub(crate) async fn remove_target(&self, call_id: &str, target_id: &str) -> Result<(), TargetError> {
        let session = {
            let registry = self.shared.registry();
            let (id, target_id) = live_target(&registry, call_id, target_id)?;
            let target = registry.get(id).and_then(|broadcast| broadcast.targets.get(&target_id));
            target.and_then(|target| Some(target.push.as_ref()?.media_session_id.clone()))
        };
        let agreed = self.ask_before_unpublishing(call_id, session.as_deref()).await;
        agreed.map_err(TargetError::Hook)?;
        let mut registry = self.shared.registry();
        let (id, target_id) = live_target(&registry, call_id, target_id)?;
        Ok(self.remove_target_of(&mut registry, id, target_id)?)
    }

    /// Replaces a target's sound by silence, or ends that.
    ///
    /// # Errors
    /// [`TargetError`]: nothing changed.
    pub(crate) fn set_target_muted(
        &self,
        call_id: &str,
        target_id: &str,
        muted: bool,
    ) -> Result<TargetView, TargetError> {
        {
            let mut registry = self.shared.registry();
            let (id, target_id) = live_target(&registry, call_id, target_id)?;
            self.set_target_muted_of(&mut registry, id, target_id, muted)?;
        }
        self.target(call_id, target_id)
    }
}

impl From<PushChangeError> for TargetError {
    fn from(error: PushChangeError) -> Self {
        match error {
            PushChangeError::NoSuchSession => Self::NoSuchTarget,
            PushChangeError::Busy => Self::Busy,
            PushChangeError::Hook(refusal) => Self::Hook(refusal),
        }
    }
}

fn live_target(
    registry: &Registry,
    call_id: &str,
    target_id: &str,
) -> Result<(BroadcastId, TargetId), TargetError> {
    let broadcast = registry.call(call_id).ok_or(TargetError::NoSuchBroadcast)?;
    let id = target_id.parse().map(TargetId).map_err(|_| TargetError::NoSuchTarget)?;
    if broadcast.targets.contains_key(&id) { Ok((broadcast.id, id)) } else { Err(TargetError::NoSuchTarget) }
}
