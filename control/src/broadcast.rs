//! Use-cases of a broadcast's call: start it, find it, send digits, end it, take figures, drain all.
//! Takes: orders whose parts are valid. Gives: what the API shows.
//! Leaves out: what happens to one broadcast in time (`course`), further targets (`push`), HTTP (`rest`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sipcast_contract::options::AacOptions;
use sipcast_contract::report::Refusal;
use sipcast_contract::statistics::ShardStatistics;
use sipcast_contract::{BroadcastId, Command, CommandSender, MediaWanted, RtmpUrl, TargetState};
use sipcast_sip::dial_script::DialScriptOn;
use sipcast_sip::event::CallStatus;
use sipcast_sip::order::{Account, MediaSecurity};
use tokio::sync::{Notify, oneshot};

use crate::ControlOptions;
use crate::course::Course;
use crate::dialer::Dialer;
pub(crate) use crate::digits::{DtmfOrder, DtmfWay};
use crate::events::{EventKind, Events};
use crate::faces::{Faces, RefusalCause};
use crate::hooks::{Apps, HookPolicies, HookRefusal};
use crate::idempotency::{Answers, Key, Known};
use crate::joining::Joining;
use crate::order::{DtmfRequest, FieldFault, OrderRequest, TargetOrder};
use crate::registry::{Broadcast, NewBroadcast, Publication, Push, Registry, Signals, Taken, Target};
use crate::resolve::{self, LookupError};
use crate::sip_endpoint::{LadderView, RegistrationView};
use crate::statistics::{Statistics, Totals};
use crate::view::BroadcastView;

/// All broadcasts of this process. Cheap to clone; every clone is the same set.
#[derive(Clone)]
pub(crate) struct Broadcasts {
    pub(crate) shared: Arc<Shared>,
}

/// What use-cases, tasks and the report thread work on.
pub(crate) struct Shared {
    pub(crate) options: ControlOptions,
    pub(crate) dialer: Box<dyn Dialer>,
    pub(crate) shards: Vec<CommandSender>,
    pub(crate) counters: Counters,
    pub(crate) started_at: Instant,
    /// Woken whenever a broadcast or a shard ends.
    pub(crate) ended: Notify,
    pub(crate) stopping: AtomicBool,
    pub(crate) faces: Faces,
    /// Who is told and asked of calls.
    pub(crate) apps: Apps,
    /// Of orders that may arrive again.
    answers: Answers,
    registry: Mutex<Registry>,
    figures: Mutex<Figures>,
}

/// How calls went since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Orders taken.
    pub(crate) ordered: AtomicU64,
    /// Calls answered.
    pub(crate) established: AtomicU64,
    /// Calls that ended by BYE or by order.
    pub(crate) finished: AtomicU64,
    /// Calls that found the callee busy.
    pub(crate) busy: AtomicU64,
    /// Calls that failed.
    pub(crate) failed: AtomicU64,
    /// Orders refused because of a limit.
    pub(crate) refused: AtomicU64,
}

/// What the shards last told of themselves.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By shard, in order of their numbers.
    pub(crate) shards: std::collections::BTreeMap<u16, Box<ShardStatistics>>,
    /// Sums over broadcasts that are closed.
    pub(crate) closed: Totals,
    /// Slots missing, by shard that has stopped.
    pub(crate) stopped: std::collections::BTreeMap<u16, u32>,
}

/// The shard's answer to `Open`: ports of audio and video.
pub(crate) type OpenAnswer = Result<(Option<u16>, Option<u16>), Refusal>;

/// A call to place. Its parts are valid and within their limits.
pub(crate) struct StartOrder {
    pub(crate) call_id: String,
    pub(crate) callee: String,
    pub(crate) account: Account,
    pub(crate) wanted: MediaWanted,
    /// `None`: as configured.
    pub(crate) security: Option<MediaSecurity>,
    /// What its app wants to be asked, where it said so.
    pub(crate) hook_policies: Option<Arc<HookPolicies>>,
    /// How it joins a meeting.
    pub(crate) joining: Joining,
    pub(crate) app_key: Option<String>,
    /// The target that is part of the call (`/rest-api`); its stream name is as ordered, without or with prefix.
    pub(crate) direct: Option<TargetOrder>,
    /// Targets from the start, published by the names they have; their hosts are looked up.
    pub(crate) targets: Vec<TargetOrder>,
    pub(crate) to_stream: Option<String>,
    /// Sound that all targets take, once the order is settled; `None`: the configured one.
    pub(crate) sound: Option<AacOptions>,
    /// What the most demanding target wants the peer to send, in bits per second.
    pub(crate) video_bit_rate_wanted: Option<u32>,
}

/// Which calls to find; all that are set must fit.
#[derive(Default)]
pub(crate) struct CallFilter {
    pub(crate) call_id: Option<String>,
    pub(crate) callee: Option<String>,
    pub(crate) rtmp_url: Option<String>,
    pub(crate) status: Option<CallStatus>,
}

/// Why a call is not placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// Another live broadcast has it.
    Taken(Taken),
    /// What this field of a target says is being published already.
    Published(Cow<'static, str>),
    /// The process drains.
    Stopping,
    /// More orders come than may; when to come again.
    TooMany(Duration),
    /// This field names a host that must not be reached.
    Denied(&'static str),
}

/// Why an order of any face is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderError {
    /// A field is wrong.
    Field(FieldFault),
    /// The order is right, yet cannot be taken now.
    Start(StartError),
    /// The idempotency key was used for another order.
    KeyReused,
    /// An order with this idempotency key is being handled.
    KeyInUse,
    /// The order's app does not agree.
    Hook(HookRefusal),
}

/// Why digits are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DtmfError {
    /// No live call has this ID.
    NoSuchCall,
    /// More than `limits::DTMF_QUEUE_MAX` steps would wait.
    QueueFull,
    /// The shard's mailbox is full.
    Busy,
    /// The peer agreed on no telephone-event and its service passes INFO over.
    NoWay,
    /// The call's app does not agree.
    Hook(HookRefusal),
}

/// Why a call is not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndError {
    /// No live call has this ID.
    NoSuchCall,
    /// The call's app does not agree.
    Hook(HookRefusal),
}

/// A call as the API shows it: a snapshot.
pub(crate) struct CallView {
    pub(crate) call_id: String,
    pub(crate) app_key: Option<String>,
    pub(crate) status: CallStatus,
    pub(crate) sip_status: u16,
    pub(crate) reason: Option<String>,
    pub(crate) rtmp_url: Option<String>,
    pub(crate) rtmp_stream: Option<String>,
    pub(crate) rtmp_stream_status: Option<&'static str>,
    pub(crate) caller: String,
    pub(crate) callee: String,
    pub(crate) visible_name: String,
    pub(crate) has_audio: bool,
    pub(crate) has_video: bool,
    pub(crate) sdp: Option<String>,
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Broadcasts that were live when the drain began.
    pub ended: usize,
    /// Broadcasts that were still live at the deadline; their resources end with their shards.
    pub left: usize,
}

impl Broadcasts {
    /// No broadcasts yet.
    pub(crate) fn new(
        options: ControlOptions,
        dialer: Box<dyn Dialer>,
        shards: Vec<CommandSender>,
        faces: Faces,
        apps: Apps,
    ) -> Self {
        let registry = Registry::new(shards.len(), options.broadcasts_max);
        let shared = Shared {
            options,
            dialer,
            shards,
            counters: Counters::default(),
            started_at: Instant::now(),
            ended: Notify::new(),
            stopping: AtomicBool::new(false),
            faces,
            apps,
            answers: Answers::default(),
            registry: Mutex::new(registry),
            figures: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What happens, for subscribers.
    pub(crate) fn events(&self) -> &Events {
        &self.shared.options.events
    }

    /// Takes an order once, however often it arrives with the same `key`; `fingerprint` tells orders apart.
    ///
    /// # Errors
    /// [`OrderError`]: nothing was started by this call.
    pub(crate) async fn order_once(
        &self,
        key: Option<Key>,
        fingerprint: u64,
        request: OrderRequest,
    ) -> Result<BroadcastView, OrderError> {
        let Some(key) = key else { return self.order(request).await };
        match self.shared.answers.take(key, fingerprint, Instant::now()) {
            Known::New(place) => {
                let view = self.order(request).await?;
                place.fill(view.clone());
                Ok(view)
            }
            Known::Answered(view) => Ok(*view),
            Known::Reused => Err(OrderError::KeyReused),
            Known::InUse => Err(OrderError::KeyInUse),
        }
    }

    /// Takes an order as a client wrote it and its app agrees to it, with its targets' hosts looked up first, so that
    /// nothing is begun that must fail. A name is made up where the order has none.
    ///
    /// # Errors
    /// [`OrderError`]: nothing was started.
    pub(crate) async fn order(&self, mut request: OrderRequest) -> Result<BroadcastView, OrderError> {
        request.call_id = request.call_id.filter(|id| !id.is_empty()).or_else(|| Some(random_id()));
        let hook_policies = self.ask_before_call(&mut request).await.map_err(OrderError::Hook)?;
        let order = request
            .validate(&self.shared.options.profiles, &self.shared.options.contracts)
            .map_err(OrderError::Field)?;
        self.admit(StartOrder { hook_policies, ..order }).await
    }

    /// Takes a checked order if its targets' services take what it asks for and their hosts have addresses; the direct
    /// target's is looked up while the call is placed.
    ///
    /// # Errors
    /// [`OrderError`]: nothing was started.
    async fn admit(&self, mut order: StartOrder) -> Result<BroadcastView, OrderError> {
        order.settle(&self.shared.options).map_err(OrderError::Field)?;
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(OrderError::Start(StartError::Stopping));
        }
        let look_ups = order.targets.iter_mut().map(async |target| {
            let found = self.shared.addresses_of(&target.url).await;
            target.addresses = found.map_err(|error| target.unresolvable(error))?;
            Ok(())
        });
        futures_util::future::try_join_all(look_ups).await.map_err(OrderError::Field)?;
        self.start(order).map_err(OrderError::Start)
    }

    /// Takes a settled order: the call is findable when this returns and goes its course from then on.
    ///
    /// # Errors
    /// [`StartError`]: nothing was started.
    fn start(&self, mut order: StartOrder) -> Result<BroadcastView, StartError> {
        let shared = &self.shared;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(StartError::Stopping);
        }
        shared.check_access(&order).map_err(StartError::Denied)?;
        shared.faces.admit_order().map_err(StartError::TooMany)?;
        let (opened, opened_answer) = oneshot::channel();
        let (closed, closed_answer) = oneshot::channel();
        let signals = Arc::new(Signals::default());
        let mut broadcast = Broadcast::new(order.call_id.clone(), Arc::clone(&signals), opened, closed);
        broadcast.account = Some(format!("{}@{}", order.account.login, order.account.domain));
        broadcast.hook_policies = order.hook_policies.take();
        broadcast.caller.clone_from(&order.account.login);
        broadcast.callee.clone_from(&order.callee);
        let visible_name = order.account.visible_name.as_ref().unwrap_or(&order.account.login);
        broadcast.visible_name.clone_from(visible_name);
        broadcast.app_key.clone_from(&order.app_key);
        broadcast.has_audio = order.wanted.audio;
        broadcast.has_video = order.wanted.video;
        broadcast.direct = order.direct.as_ref().map(|d| (d.url_as_ordered.clone(), d.stream.clone()));
        broadcast.to_stream.clone_from(&order.to_stream);
        broadcast.sound = order.sound.unwrap_or(shared.options.media.aac);
        broadcast.digits.set_policy(order.joining.dtmf);
        if !order.joining.steps.is_empty() {
            let script = DtmfOrder {
                steps: std::mem::take(&mut order.joining.steps),
                way: None,
                early: order.joining.on == DialScriptOn::EarlyMedia,
            };
            broadcast.digits.push(script).expect("a script has no more steps than an empty queue takes");
        }
        let ordered = EventKind::Ordered {
            caller: broadcast.caller.clone(),
            callee: broadcast.callee.clone(),
            has_audio: broadcast.has_audio,
            has_video: broadcast.has_video,
        };
        let prefix = &shared.options.stream_prefix;
        let targets = std::mem::take(&mut order.targets);
        let url_fields: Vec<_> = targets.iter().map(|target| target.url_field.clone()).collect();
        let shown_name = prefix.published(&order.call_id);
        let targets = targets.into_iter().map(|target| {
            let push = Push::new(shown_name.clone(), target.url_as_ordered.clone());
            let contract = target.contract.clone();
            Target { contract, ..Target::new(target.into_spec(&shared.options), Some(push)) }
        });
        let targets = targets.collect();
        let publication = order.direct.as_ref().map(|d| Publication::new(&d.url, &d.published_name(prefix)));
        let source = order.to_stream.as_deref().map(|name| prefix.bare(name).to_owned());
        let new = NewBroadcast { broadcast, publication, source, targets };
        let (id, view) = {
            let mut registry = shared.registry();
            let id = registry.insert(new).map_err(|taken| {
                if matches!(taken, Taken::Full | Taken::Busy) {
                    shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                }
                match taken {
                    Taken::Target(n) => StartError::Published(url_fields[n].clone()),
                    taken => StartError::Taken(taken),
                }
            })?;
            let broadcast = registry.get_mut(id).expect("just inserted, and the lock is held");
            // Told under the lock: subscribers hear the order first.
            shared.tell(broadcast, ordered);
            broadcast.targets.iter().for_each(|(id, target)| shared.tell(broadcast, target.event(*id)));
            (id, BroadcastView::of(broadcast, shared.options.events.last_id()))
        };
        shared.counters.ordered.fetch_add(1, Ordering::Relaxed);
        // Debug format: the text is the client's and must not forge log lines.
        tracing::info!(broadcast = %id, call_id = ?order.call_id, callee = ?order.callee, "call ordered");
        let terminate = signals.terminate.clone();
        Course::new(self.clone(), id, order, signals, opened_answer, closed_answer).spawn();
        // A drain that began after the question above may have passed this broadcast over.
        if shared.stopping.load(Ordering::Acquire) {
            terminate.cancel();
        }
        Ok(view)
    }

    /// Checks digits as a client wrote them and sends them now, or when the call is answered.
    ///
    /// # Errors
    /// The field that is wrong, or why they are not sent.
    pub(crate) async fn order_dtmf(
        &self,
        call_id: &str,
        mut request: DtmfRequest,
    ) -> Result<(), Result<DtmfError, FieldFault>> {
        // What is wrong is told before the call's app is bothered.
        request.clone().validate().map_err(Err)?;
        self.ask_before_dtmf(call_id, &mut request).await.map_err(|refusal| Ok(DtmfError::Hook(refusal)))?;
        let order = request.validate().map_err(Err)?;
        self.send_dtmf(call_id, order).map_err(Ok)
    }

    /// The calls that fit `filter`, oldest first, those within their grace time included.
    pub(crate) fn find_calls(&self, filter: &CallFilter) -> Vec<CallView> {
        let fits = |b: &&Broadcast| {
            b.is_call()
                && filter.call_id.as_ref().is_none_or(|id| *id == b.call_id)
                && filter.callee.as_ref().is_none_or(|callee| *callee == b.callee)
                && filter.status.is_none_or(|status| status == b.status)
                && filter
                    .rtmp_url
                    .as_ref()
                    .is_none_or(|url| b.direct.as_ref().is_some_and(|(own, _)| own.is(url)))
        };
        self.shared.registry().iter().filter(fits).map(view).collect()
    }

    /// Ends a call if its app agrees.
    ///
    /// # Errors
    /// [`EndError`]: it goes on.
    pub(crate) async fn order_end(&self, call_id: &str) -> Result<(), EndError> {
        self.ask_before_hangup(call_id).await.map_err(EndError::Hook)?;
        if self.terminate(call_id) { Ok(()) } else { Err(EndError::NoSuchCall) }
    }

    /// Ends a call. `false`: no live call has this ID.
    fn terminate(&self, call_id: &str) -> bool {
        let mut registry = self.shared.registry();
        let Some(broadcast) = registry.live_call_mut(call_id) else { return false };
        broadcast.signals.terminate.cancel();
        true
    }

    /// Sends digits now, or when the call is answered.
    ///
    /// # Errors
    /// [`DtmfError`]: nothing is sent.
    pub(crate) fn send_dtmf(&self, call_id: &str, order: DtmfOrder) -> Result<(), DtmfError> {
        let mut registry = self.shared.registry();
        let broadcast = registry
            .live_call_mut(call_id)
            .filter(|b| !b.signals.terminate.is_cancelled())
            .ok_or(DtmfError::NoSuchCall)?;
        if broadcast.digits.lack_a_way(broadcast.telephone_event) {
            return Err(DtmfError::NoWay);
        }
        let told = EventKind::Dtmf { steps: order.steps.len(), sent: false };
        // Digits keep their order: while earlier ones wait, later ones queue behind them.
        broadcast.digits.push(order).map_err(|_| DtmfError::QueueFull)?;
        if let Err(way) = self.shared.send_digits(broadcast) {
            if broadcast.digits.take_back().is_some() {
                return Err(if way == DtmfWay::Events { DtmfError::Busy } else { DtmfError::QueueFull });
            }
            // Earlier ones stand in the way; the task tries again.
            broadcast.signals.digits.notify_one();
        }
        self.shared.tell(broadcast, told);
        Ok(())
    }

    /// Every SIP message of a call so far, without secrets, also within its grace time; `None`: no call has this ID.
    pub(crate) fn ladder(&self, call_id: &str) -> Option<LadderView> {
        let line = {
            let registry = self.shared.registry();
            let broadcast = registry.iter().filter(|b| b.call_id == call_id).last()?;
            broadcast.ladder_of.clone()
        };
        Some(line.map(|line| line.ladder()).unwrap_or_default())
    }

    /// The SIP registrations that calls use, and those that failed lately.
    pub(crate) fn registrations(&self) -> Vec<RegistrationView> {
        self.shared.dialer.registrations()
    }

    /// Figures of this moment.
    pub(crate) fn statistics(&self) -> Statistics {
        let registry = self.shared.registry();
        let figures = self.shared.figures();
        Statistics::gather(&self.shared, &registry, &figures)
    }

    /// Refuses new orders, ends every call and waits until all are closed, for at most `deadline`;
    /// then lets the SIP side un-register and close.
    pub(crate) async fn drain(&self, deadline: Duration) -> Drained {
        let until = tokio::time::Instant::now() + deadline;
        self.shared.stopping.store(true, Ordering::Release);
        let ended = {
            let registry = self.shared.registry();
            registry.iter_live().for_each(|b| b.signals.terminate.cancel());
            registry.live()
        };
        let all_closed = self.wait_until(|shared| shared.registry().live() == 0);
        // Running out of time is told by `left`.
        let _ = tokio::time::timeout_at(until, all_closed).await;
        let left = self.shared.registry().live();
        if tokio::time::timeout_at(until + SIP_SHUTDOWN_MIN, self.shared.dialer.shutdown()).await.is_err() {
            tracing::warn!("the SIP side did not shut down in time");
        }
        Drained { ended, left }
    }

    /// Ends every shard and waits for their `Stopped`, for at most `deadline`. `Ok` holds the number of pool slots
    /// that did not come home; `Err` the number of shards that did not answer.
    pub(crate) async fn stop_shards(&self, deadline: Duration) -> Result<u32, usize> {
        let shared = &self.shared;
        let stop_all = async {
            for shard in &shared.shards {
                shared.send_patiently(shard, || Command::Stop).await;
            }
            self.wait_until(|shared| shared.figures().stopped.len() >= shared.shards.len()).await;
        };
        let in_time = tokio::time::timeout(deadline, stop_all).await;
        let figures = shared.figures();
        match in_time {
            Ok(()) => Ok(figures.stopped.values().sum()),
            Err(_) => Err(shared.shards.len() - figures.stopped.len()),
        }
    }

    /// Waits until `holds` is true; it is asked whenever something ended.
    async fn wait_until(&self, holds: impl Fn(&Shared) -> bool) {
        loop {
            let ended = self.shared.ended.notified();
            tokio::pin!(ended);
            // Registered before the question, so that no end is missed in between.
            ended.as_mut().enable();
            if holds(&self.shared) {
                return;
            }
            ended.await;
        }
    }
}

impl Shared {
    /// The registry. Held only for short, never across an await.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The figures; taken after the registry where both are needed.
    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of an RTMP host that may be reached.
    ///
    /// # Errors
    /// [`LookupError`].
    pub(crate) async fn addresses_of(&self, url: &RtmpUrl) -> Result<Vec<SocketAddr>, LookupError> {
        let found = resolve::addresses(url, &self.options.rtmp_access).await;
        if found == Err(LookupError::Denied) {
            self.faces.count(RefusalCause::RtmpTarget);
        }
        found
    }

    /// Whether the hosts that an order names may be reached, before any is looked up. `Err`: the field that names one
    /// that must not.
    fn check_access(&self, order: &StartOrder) -> Result<(), &'static str> {
        let account = &order.account;
        let of_callee = order.callee.rsplit_once('@').map(|(_, host)| ("callee", host));
        let of_proxy = account.outbound_proxy.as_deref().map(|proxy| ("sipOutboundProxy", proxy));
        let hosts = [Some(("sipDomain", account.domain.as_str())), of_proxy, of_callee];
        let rules = &self.options.sip_access;
        if let Some((field, _)) =
            hosts.into_iter().flatten().find(|(_, text)| !rules.admit_host(host_of(text)))
        {
            self.faces.count(RefusalCause::SipDestination);
            return Err(field);
        }
        match &order.direct {
            Some(direct) if !self.options.rtmp_access.admit_host(direct.url.host()) => {
                self.faces.count(RefusalCause::RtmpTarget);
                Err("rtmpUrl")
            }
            _ => Ok(()),
        }
    }

    /// Tells subscribers what happened to a broadcast. Called with the registry locked, so that events have the
    /// order in which things were noted.
    pub(crate) fn tell(&self, broadcast: &Broadcast, kind: EventKind) {
        self.options.events.tell(broadcast.subject(), kind);
    }

    /// The same, by the broadcast's number.
    pub(crate) fn tell_of(&self, id: BroadcastId, kind: EventKind) {
        if let Some(broadcast) = self.registry().get_mut(id) {
            self.tell(broadcast, kind);
        }
    }

    /// Hands over the digits that may go now. `Err`: the way that is too busy to take what is next.
    pub(crate) fn send_digits(&self, broadcast: &mut Broadcast) -> Result<(), DtmfWay> {
        while let Some((way, steps)) = broadcast.digits.next(broadcast.telephone_event) {
            let steps = steps.to_vec();
            let taken = match way {
                DtmfWay::Events => {
                    let command = Command::SendDtmf { broadcast: broadcast.id, steps };
                    self.shards[broadcast.shard].send(command).is_ok()
                }
                DtmfWay::Info => broadcast.line.as_ref().is_none_or(|line| line.send_dtmf_info(steps)),
            };
            if !taken {
                return Err(way);
            }
            broadcast.digits.note_handed_over(way);
        }
        Ok(())
    }

    /// Sends a command that must not be lost: waits while the mailbox is full, for at most [`MAILBOX_PATIENCE`].
    /// `false`: it was not sent.
    pub(crate) async fn send_patiently(&self, shard: &CommandSender, command: impl Fn() -> Command) -> bool {
        let until = tokio::time::Instant::now() + MAILBOX_PATIENCE;
        while shard.send(command()).is_err() {
            if tokio::time::Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(MAILBOX_RETRY).await;
        }
        true
    }
}

/// The host in `[sip:|sips:]host[:port][;parameters]`.
fn host_of(text: &str) -> &str {
    let text = match text.split_once(':') {
        Some((scheme, rest)) if ["sip", "sips"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => rest,
        _ => text,
    };
    let text = text.split([';', '?', '>']).next().unwrap_or(text);
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => text.split(':').next().unwrap_or(text),
    }
}

/// 128 random bits in hexadecimal, in the grouping of a UUID.
pub(crate) fn random_id() -> String {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the operating system gives random bytes once it has booted");
    let hex: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn view(b: &Broadcast) -> CallView {
    CallView {
        call_id: b.call_id.clone(),
        app_key: b.app_key.clone(),
        status: b.status,
        sip_status: b.sip_status,
        reason: b.reason.clone(),
        rtmp_url: b.direct.as_ref().map(|(url, _)| url.shown().to_owned()),
        rtmp_stream: b.direct.as_ref().map(|(_, stream)| stream.reveal().clone()),
        rtmp_stream_status: b.direct.as_ref().map(|_| rtmp_stream_status(b)),
        caller: b.caller.clone(),
        callee: b.callee.clone(),
        visible_name: b.visible_name.clone(),
        has_audio: b.has_audio,
        has_video: b.has_video,
        sdp: b.sdp.clone(),
    }
}

/// The word of the stream statuses (wcs-api 1.4) for a direct publication.
fn rtmp_stream_status(b: &Broadcast) -> &'static str {
    let direct = b.direct_state;
    match direct.target {
        _ if direct.failed => "FAILED",
        // A call that ended before it was on the air failed as a stream, unless it was ended by order.
        _ if b.status.is_final() && !direct.published && b.status != CallStatus::Finish => "FAILED",
        _ if b.status.is_final() => "UNPUBLISHED",
        Some(TargetState::Publishing) => "PUBLISHING",
        Some(TargetState::Ended(_)) => "UNPUBLISHED",
        // Being tried again is waiting, not the end.
        Some(TargetState::Connecting | TargetState::Reconnecting(_)) => "PENDING",
        None => "PENDING",
    }
}

/// How long a command that must not be lost waits for room in a mailbox.
const MAILBOX_PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two tries; a shard empties its mailbox once a turn, every few milliseconds.
const MAILBOX_RETRY: Duration = Duration::from_millis(5);

/// What the SIP side gets beyond the deadline to un-register, so that late calls do not cost it its turn.
const SIP_SHUTDOWN_MIN: Duration = Duration::from_secs(2);
