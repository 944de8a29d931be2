//! Use-cases of streams that live in this process: mixers, pulled RTMP streams, and one broadcast's sound for another's
//! callee. All of them, and calls, are broadcasts: they can be pushed alike.
//! Takes: orders whose parts are valid. Gives: commands to the shards, views. Leaves out: HTTP (`rest`), media (shards).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sipcast_contract::picture::picture_line;
use sipcast_contract::sound::{LineId, MIXER_INPUTS_MAX, line};
use sipcast_contract::{
    BroadcastId, Command, MediaWanted, RtmpTarget, RtmpUrl, Secret, TargetId, TargetState,
};
use sipcast_sip::event::CallStatus;
use tokio::sync::oneshot;

use crate::broadcast::{Broadcasts, Shared, StartError};
use crate::ordered_url::OrderedUrl;
use crate::registry::{Broadcast, MixerInput, NewBroadcast, Registry, Signals, Source, Taken};
use crate::resolve::LookupError;

/// A mixer as the API shows it.
pub(crate) struct MixerView {
    pub(crate) uri: String,
    pub(crate) local_stream_name: String,
    pub(crate) has_video: bool,
    /// One text for each input; that of a call holds its call ID.
    pub(crate) media_sessions: Vec<String>,
}

/// A pulled stream as the API shows it.
pub(crate) struct PullView {
    pub(crate) session: String,
    pub(crate) local_stream_name: String,
    pub(crate) uri: String,
    pub(crate) status: &'static str,
    pub(crate) has_video: bool,
}

/// A local stream as the API shows it.
pub(crate) struct StreamView {
    pub(crate) media_session_id: String,
    pub(crate) app_key: Option<String>,
    pub(crate) name: String,
    pub(crate) status: &'static str,
    pub(crate) has_audio: bool,
    pub(crate) has_video: bool,
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) create_date_ms: u64,
    pub(crate) media_provider: &'static str,
}

/// Which local streams are meant; all that are set must fit.
#[derive(Default)]
pub(crate) struct StreamFilter {
    /// Any of these; empty: all.
    pub(crate) media_session_ids: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) published: Option<bool>,
}

/// Why something of a local stream is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LocalError {
    /// There is no mixer or pulled stream of this URI.
    NoSuchUri,
    /// No live broadcast has this stream.
    NoSuchStream,
    /// No live call has this ID.
    NoSuchCall,
    /// The stream is none of the mixer's inputs.
    NoSuchInput,
    /// The stream is an input of this mixer already, or the mixer itself.
    Duplicate,
    /// The mixer has as many inputs as it may.
    TooMany,
    /// A call cannot hear itself.
    Own,
    /// The URL's host has no address.
    Unresolvable(LookupError),
    /// The URI or the stream's name is taken, or there is no room.
    Start(StartError),
    /// The shard's mailbox is full.
    Busy,
}

impl Broadcasts {
    /// Starts a mixer, which is silent until it has inputs.
    ///
    /// # Errors
    /// [`LocalError::Start`].
    pub(crate) fn start_mixer(&self, uri: String, local_stream_name: &str) -> Result<(), LocalError> {
        let source = Source::Mixer { inputs: Vec::new(), shown: None };
        self.start_local(uri, local_stream_name, source, |broadcast| Command::Mix { broadcast })?;
        Ok(())
    }

    /// Ends a mixer or a pulled stream.
    ///
    /// # Errors
    /// [`LocalError::NoSuchUri`].
    pub(crate) fn terminate_local(&self, uri: &str, is_mixer: bool) -> Result<(), LocalError> {
        let registry = self.shared.registry();
        let mut fitting = registry.iter_live().filter(|b| match &b.source {
            Source::Mixer { .. } => is_mixer && b.call_id == uri,
            Source::Pull { uri: own, .. } => !is_mixer && own.is(uri),
            Source::Call => false,
        });
        let broadcast = fitting.next().ok_or(LocalError::NoSuchUri)?;
        broadcast.signals.terminate.cancel();
        Ok(())
    }

    /// Adds the sound of a stream to a mixer.
    ///
    /// # Errors
    /// [`LocalError`]: nothing changed.
    pub(crate) fn add_to_mixer(&self, uri: &str, stream: &str) -> Result<(), LocalError> {
        let mut registry = self.shared.registry();
        let mixer = mixer(&registry, uri)?;
        let (mixer_id, mixer_shard) = (mixer.id, mixer.shard);
        let source = self.source(&registry, stream).ok_or(LocalError::NoSuchStream)?;
        let source_id = source.id;
        let inputs = live_inputs(&registry, mixer);
        if source_id == mixer_id || inputs.iter().any(|input| input.of == source_id) {
            return Err(LocalError::Duplicate);
        }
        if inputs.len() >= MIXER_INPUTS_MAX {
            return Err(LocalError::TooMany);
        }
        let id = registry.next_line();
        let (sender, receiver) = line();
        let broadcast = registry.get_mut(source_id).ok_or(LocalError::NoSuchStream)?;
        let command = Command::AddLine { broadcast: source_id, line: id, sender, without: None };
        broadcast
            .send_or_wait(&self.shared.shards[broadcast.shard], command)
            .map_err(|()| LocalError::Busy)?;
        let command = Command::AddInput { broadcast: mixer_id, line: id, receiver };
        // A line that nobody reads ends by itself.
        self.shared.shards[mixer_shard].send(command).map_err(|_| LocalError::Busy)?;
        let stream = self.shared.options.stream_prefix.bare(stream).to_owned();
        if let Some(Source::Mixer { inputs: held, .. }) = registry.get_mut(mixer_id).map(|b| &mut b.source) {
            *held = inputs;
            held.push(MixerInput { stream, of: source_id, line: id });
        }
        self.shared.choose_picture(&mut registry, mixer_id);
        Ok(())
    }

    /// Takes the sound of a stream out of a mixer.
    ///
    /// # Errors
    /// [`LocalError`]: nothing changed.
    pub(crate) fn remove_from_mixer(&self, uri: &str, stream: &str) -> Result<(), LocalError> {
        let mut registry = self.shared.registry();
        let mixer_id = mixer(&registry, uri)?.id;
        let prefix = &self.shared.options.stream_prefix;
        let broadcast = registry.get_mut(mixer_id).ok_or(LocalError::NoSuchUri)?;
        let shard = broadcast.shard;
        let Source::Mixer { inputs, .. } = &mut broadcast.source else { return Err(LocalError::NoSuchUri) };
        let at = inputs.iter().position(|input| prefix.same(&input.stream, stream));
        let at = at.ok_or(LocalError::NoSuchInput)?;
        let line = inputs[at].line;
        // The other end ends with it.
        self.shared.shards[shard]
            .send(Command::RemoveInput { broadcast: mixer_id, line })
            .map_err(|_| LocalError::Busy)?;
        inputs.remove(at);
        self.shared.choose_picture(&mut registry, mixer_id);
        Ok(())
    }

    /// All mixers, oldest first.
    pub(crate) fn mixers(&self) -> Vec<MixerView> {
        let registry = self.shared.registry();
        let mixers = registry.iter_live().filter(|b| matches!(b.source, Source::Mixer { .. }));
        mixers
            .map(|b| MixerView {
                uri: b.call_id.clone(),
                local_stream_name: b.to_stream.clone().unwrap_or_default(),
                has_video: matches!(b.source, Source::Mixer { shown: Some(_), .. }),
                media_sessions: live_inputs(&registry, b)
                    .iter()
                    .filter_map(|input| Some(format!("{}/{}", input.stream, registry.get(input.of)?.call_id)))
                    .collect(),
            })
            .collect()
    }

    /// Begins to pull a stream from an RTMP server.
    ///
    /// # Errors
    /// [`LocalError`]: nothing was started.
    pub(crate) async fn start_pull(
        &self,
        text: String,
        url: RtmpUrl,
        stream: Secret<String>,
        local_stream_name: Option<String>,
    ) -> Result<(), LocalError> {
        let addresses = self.shared.addresses_of(&url).await.map_err(LocalError::Unresolvable)?;
        let name = local_stream_name.unwrap_or_else(|| {
            let name = stream.reveal();
            name.split_once('?').map_or(name.as_str(), |(name, _)| name).to_owned()
        });
        let uri = OrderedUrl::new(text);
        let spec = RtmpTarget {
            plays: true,
            flash_version: PLAYER_VERSION.to_owned(),
            tls: self.shared.options.tls,
            ..RtmpTarget::new(url, stream, addresses)
        };
        let target = self.shared.registry().next_target();
        let key = uri.shown().to_owned();
        let state = TargetState::Connecting;
        let source = Source::Pull { uri, url: spec.url.clone(), target, state };
        self.start_local(key, &name, source, move |broadcast| Command::Pull {
            broadcast,
            target,
            spec: Box::new(spec.clone()),
        })?;
        Ok(())
    }

    /// All pulled streams, oldest first.
    pub(crate) fn pulls(&self) -> Vec<PullView> {
        let registry = self.shared.registry();
        let view = |b: &Broadcast| {
            let Source::Pull { uri, state, .. } = &b.source else { return None };
            Some(PullView {
                session: b.session.clone(),
                local_stream_name: b.to_stream.clone().unwrap_or_default(),
                uri: uri.shown().to_owned(),
                status: pull_status(*state),
                has_video: b.width > 0,
            })
        };
        registry.iter_live().filter_map(view).collect()
    }

    /// Looks up a pulled stream's host once more and tells the shard.
    pub(crate) async fn look_up_pull_again(self, id: BroadcastId, target: TargetId, url: RtmpUrl) {
        // Without an answer the connection keeps its old addresses.
        let Ok(addresses) = self.shared.addresses_of(&url).await else { return };
        let registry = self.shared.registry();
        let Some(broadcast) = registry.get(id).filter(|b| b.is_live()) else { return };
        let command = Command::SetAddresses { broadcast: id, target, addresses };
        // A full mailbox: the next failure asks again.
        let _ = self.shared.shards[broadcast.shard].send(command);
    }

    /// Notes what a shard told of a pulled stream's connection. `false`: the broadcast pulls none by this name.
    pub(crate) fn note_pull(
        registry: &mut Registry,
        id: BroadcastId,
        of: TargetId,
        now: TargetState,
    ) -> bool {
        let Some(broadcast) = registry.get_mut(id) else { return false };
        let Source::Pull { target, state, .. } = &mut broadcast.source else { return false };
        if *target != of {
            return false;
        }
        *state = now;
        if matches!(now, TargetState::Ended(_)) {
            broadcast.signals.terminate.cancel();
        }
        true
    }

    /// Plays the sound of a stream to a call's callee, and shows its pictures where both have video, now or as soon as
    /// media is agreed on.
    ///
    /// # Errors
    /// [`LocalError`]: nothing is played.
    pub(crate) fn inject_stream(&self, call_id: &str, stream: &str) -> Result<(), LocalError> {
        let mut registry = self.shared.registry();
        let callee = registry.live_call_mut(call_id).ok_or(LocalError::NoSuchCall)?.id;
        let (source, without) = self.audible(&registry, stream).ok_or(LocalError::NoSuchStream)?;
        if source == callee {
            return Err(LocalError::Own);
        }
        let id = registry.next_line();
        let (sender, receiver) = line();
        let shards = &self.shared.shards;
        let broadcast = registry.get_mut(source).ok_or(LocalError::NoSuchStream)?;
        let command = Command::AddLine { broadcast: source, line: id, sender, without };
        broadcast.send_or_wait(&shards[broadcast.shard], command).map_err(|()| LocalError::Busy)?;
        let broadcast = registry.get_mut(callee).ok_or(LocalError::NoSuchCall)?;
        let command = Command::PlayLine { broadcast: callee, line: Some(receiver) };
        // Should this fail, nobody reads the line, and it ends by itself.
        broadcast.send_or_wait(&shards[broadcast.shard], command).map_err(|()| LocalError::Busy)?;
        broadcast.heard = Some(stream.to_owned());
        self.shared.show_pictures(&mut registry, callee, source, without);
        Ok(())
    }

    /// Ends what is played to a call's callee. `stream`: only if it is this one.
    ///
    /// # Errors
    /// [`LocalError`]: nothing changed.
    pub(crate) fn end_injection(&self, call_id: &str, stream: Option<&str>) -> Result<(), LocalError> {
        let mut registry = self.shared.registry();
        let prefix = &self.shared.options.stream_prefix;
        let broadcast = registry.live_call_mut(call_id).ok_or(LocalError::NoSuchCall)?;
        let fits = |heard: &String| stream.is_none_or(|stream| prefix.same(heard, stream));
        if !broadcast.heard.as_ref().is_some_and(fits) {
            return Err(LocalError::NoSuchStream);
        }
        let command = Command::PlayLine { broadcast: broadcast.id, line: None };
        broadcast
            .send_or_wait(&self.shared.shards[broadcast.shard], command)
            .map_err(|()| LocalError::Busy)?;
        broadcast.heard = None;
        self.shared.hide_pictures(broadcast);
        Ok(())
    }

    /// The local streams that fit, oldest first: of calls with `toStream` or a direct publication, of mixers and of
    /// pulled streams.
    pub(crate) fn streams(&self, filter: &StreamFilter) -> Vec<StreamView> {
        let registry = self.shared.registry();
        let views = registry.iter_live().filter_map(stream_view);
        views.filter(|view| self.fits(filter, view)).collect()
    }

    /// Ends the local streams that fit, and the calls that they come from. Gives how many.
    pub(crate) fn terminate_streams(&self, filter: &StreamFilter) -> usize {
        let registry = self.shared.registry();
        let fitting = registry
            .iter_live()
            .filter(|b| stream_view(b).is_some_and(|view| self.fits(filter, &view)))
            .inspect(|b| b.signals.terminate.cancel());
        fitting.count()
    }

    fn fits(&self, filter: &StreamFilter, view: &StreamView) -> bool {
        let prefix = &self.shared.options.stream_prefix;
        (filter.media_session_ids.is_empty() || filter.media_session_ids.contains(&view.media_session_id))
            && filter.name.as_ref().is_none_or(|name| prefix.same(name, &view.name))
            && filter.status.as_ref().is_none_or(|status| status.eq_ignore_ascii_case(view.status))
            // All of them are what a client would call published.
            && filter.published != Some(false)
    }

    /// The broadcast whose sound a stream's name means, and the mixer's input that is left out of it:
    /// `<mixer>-<stream>` is what the others of that mixer say.
    fn audible(&self, registry: &Registry, stream: &str) -> Option<(BroadcastId, Option<LineId>)> {
        if let Some(source) = self.source(registry, stream) {
            return Some((source.id, None));
        }
        let prefix = &self.shared.options.stream_prefix;
        registry.iter_live().find_map(|b| {
            let Source::Mixer { inputs, .. } = &b.source else { return None };
            let uri_name = b.call_id.strip_prefix(MIXER_SCHEME);
            let names = uri_name.into_iter().chain(b.to_stream.as_deref());
            let rest = names.filter_map(|name| stream.strip_prefix(name)?.strip_prefix('-'));
            let mut inputs = rest.filter_map(|rest| inputs.iter().find(|i| prefix.same(&i.stream, rest)));
            inputs.next().map(|input| (b.id, Some(input.line)))
        })
    }

    /// Starts a broadcast without call; `begin` follows its `Open`.
    fn start_local(
        &self,
        key: String,
        local_stream_name: &str,
        source: Source,
        begin: impl FnOnce(BroadcastId) -> Command,
    ) -> Result<(), LocalError> {
        let shared = &self.shared;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(LocalError::Start(StartError::Stopping));
        }
        let (opened, _) = oneshot::channel();
        let (closed, closed_answer) = oneshot::channel();
        let signals = Arc::new(Signals::default());
        let mut broadcast = Broadcast::new(key, Arc::clone(&signals), opened, closed);
        broadcast.to_stream = Some(local_stream_name.to_owned());
        broadcast.source = source;
        broadcast.has_audio = true;
        broadcast.has_video = broadcast.is_pulled();
        broadcast.sound = shared.options.media.aac;
        broadcast.status = CallStatus::Established;
        let bare = shared.options.stream_prefix.bare(local_stream_name).to_owned();
        let new = NewBroadcast { broadcast, publication: None, source: Some(bare), targets: Vec::new() };
        let mut registry = shared.registry();
        let id = registry.insert(new).map_err(|taken| LocalError::Start(StartError::Taken(taken)))?;
        let broadcast = registry.get_mut(id).expect("just inserted, and the lock is held");
        let shard = &shared.shards[broadcast.shard];
        let open = Command::Open {
            broadcast: id,
            wanted: MediaWanted { audio: false, video: false },
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            options: Box::new(shared.options.media.clone()),
        };
        let sent = shard.send(open).and_then(|()| shard.send(begin(id)));
        if sent.is_err() {
            registry.finish(id, CallStatus::Failed, 0, None);
            registry.forget(id);
            return Err(LocalError::Busy);
        }
        broadcast.media_agreed = true;
        drop(registry);
        tokio::spawn(end_local(self.clone(), id, signals, closed_answer));
        Ok(())
    }
}

impl Shared {
    /// Sees to it that a mixer shows the pictures of its first input that has some, as long as it lives.
    pub(crate) fn choose_picture(&self, registry: &mut Registry, mixer_id: BroadcastId) {
        let Some(mixer) = registry.get(mixer_id).filter(|b| b.is_live()) else { return };
        let Source::Mixer { shown, .. } = &mixer.source else { return };
        let (shown, mixer_shard) = (*shown, mixer.shard);
        let inputs = live_inputs(registry, mixer);
        if shown.is_some_and(|shown| inputs.iter().any(|input| input.line == shown)) {
            return;
        }
        let has_video = |input: &&MixerInput| registry.get(input.of).is_some_and(|b| b.has_video);
        let next = inputs.iter().find(has_video).map(|input| (input.of, input.line));
        if next.is_none() && shown.is_none() {
            return;
        }
        let receiver = next.and_then(|(of, line)| {
            let (sender, receiver) = picture_line();
            let broadcast = registry.get_mut(of)?;
            let command = Command::AddPictures { broadcast: of, line, sender };
            broadcast.send_or_wait(&self.shards[broadcast.shard], command).ok().map(|()| receiver)
        });
        let now_shown = next.filter(|_| receiver.is_some()).map(|(_, line)| line);
        let command = Command::ShowPictures { broadcast: mixer_id, receiver };
        if self.shards[mixer_shard].send(command).is_err() {
            // The next change of its inputs tries again.
            return;
        }
        if let Some(Source::Mixer { shown, .. }) = registry.get_mut(mixer_id).map(|b| &mut b.source) {
            *shown = now_shown;
        }
    }

    /// Shows a stream's pictures to a callee, in place of those of another one. `without`: the mixer's input that is left
    /// out. Without pictures, or without room for them, the callee hears the stream only.
    fn show_pictures(
        &self,
        registry: &mut Registry,
        callee: BroadcastId,
        source: BroadcastId,
        without: Option<LineId>,
    ) {
        let pictured = self.pictured(registry, source, without).filter(|of| *of != callee);
        let wants = registry.get(callee).is_some_and(|b| b.has_video);
        let receiver = pictured.filter(|_| wants).and_then(|of| {
            let line = registry.next_line();
            let (sender, receiver) = picture_line();
            let broadcast = registry.get_mut(of)?;
            let command = Command::AddPictures { broadcast: of, line, sender };
            broadcast.send_or_wait(&self.shards[broadcast.shard], command).ok().map(|()| receiver)
        });
        let Some(broadcast) = registry.get_mut(callee) else { return };
        let Some(pictures) = receiver else { return self.hide_pictures(broadcast) };
        let command = Command::PlayPictures { broadcast: callee, pictures: Some(pictures) };
        if broadcast.send_or_wait(&self.shards[broadcast.shard], command).is_ok() {
            broadcast.set_sees(true);
        }
    }

    /// Shows no pictures to a callee any more.
    pub(crate) fn hide_pictures(&self, broadcast: &mut Broadcast) {
        if broadcast.sees {
            let command = Command::PlayPictures { broadcast: broadcast.id, pictures: None };
            // A shard that is too busy goes on until the source ends.
            let _ = broadcast.send_or_wait(&self.shards[broadcast.shard], command);
            broadcast.set_sees(false);
        }
    }

    /// The broadcast whose pictures go with a stream's sound: its own; of a mixer without one of its inputs those of the
    /// first other one that has some, so that nobody sees himself.
    fn pictured(
        &self,
        registry: &Registry,
        source: BroadcastId,
        without: Option<LineId>,
    ) -> Option<BroadcastId> {
        let broadcast = registry.get(source)?;
        let Source::Mixer { .. } = &broadcast.source else { return broadcast.has_video.then_some(source) };
        let Some(without) = without else { return Some(source) };
        let inputs = live_inputs(registry, broadcast);
        let mut others = inputs.iter().filter(|input| input.line != without).map(|input| input.of);
        others.find(|of| registry.get(*of).is_some_and(|b| b.has_video))
    }

    /// A broadcast is over: mixers that showed its pictures show another's.
    pub(crate) fn choose_pictures(&self, registry: &mut Registry) {
        let is_mixer = |b: &&Broadcast| matches!(b.source, Source::Mixer { .. });
        let mixers: Vec<BroadcastId> = registry.iter_live().filter(is_mixer).map(|b| b.id).collect();
        mixers.into_iter().for_each(|mixer| self.choose_picture(registry, mixer));
    }
}

/// Waits until a broadcast without call is to end, and closes it.
async fn end_local(
    broadcasts: Broadcasts,
    id: BroadcastId,
    signals: Arc<Signals>,
    closed: oneshot::Receiver<()>,
) {
    signals.terminate.cancelled().await;
    let shared = &broadcasts.shared;
    let shard = {
        let mut registry = shared.registry();
        let Some(broadcast) = registry.get_mut(id) else { return };
        broadcast.closing = true;
        broadcast.shard
    };
    let sent = shared.send_patiently(&shared.shards[shard], || Command::Close { broadcast: id }).await;
    if !sent || tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
        tracing::warn!(broadcast = %id, "the shard did not close the stream in time");
    }
    {
        let mut registry = shared.registry();
        registry.finish(id, CallStatus::Finish, 0, None);
        registry.forget(id);
        shared.choose_pictures(&mut registry);
    }
    shared.ended.notify_waiters();
}

fn mixer<'a>(registry: &'a Registry, uri: &str) -> Result<&'a Broadcast, LocalError> {
    registry
        .iter_live()
        .find(|b| matches!(b.source, Source::Mixer { .. }) && b.call_id == uri && b.takes_targets())
        .ok_or(LocalError::NoSuchUri)
}

/// The inputs of a mixer whose broadcasts still live.
fn live_inputs(registry: &Registry, mixer: &Broadcast) -> Vec<MixerInput> {
    let Source::Mixer { inputs, .. } = &mixer.source else { return Vec::new() };
    let is_live = |input: &&MixerInput| registry.get(input.of).is_some_and(Broadcast::is_live);
    inputs.iter().filter(is_live).cloned().collect()
}

fn stream_view(b: &Broadcast) -> Option<StreamView> {
    let direct = b.direct.as_ref().map(|(_, name)| name.reveal());
    Some(stream_view_of(b, b.to_stream.as_ref().or(direct)?.clone()))
}

/// A broadcast as a stream with this name.
pub(crate) fn stream_view_of(b: &Broadcast, name: String) -> StreamView {
    let (status, media_provider) = match &b.source {
        Source::Call if b.media_agreed => ("PUBLISHING", "SIP"),
        Source::Call => ("PENDING", "SIP"),
        Source::Mixer { .. } => ("PUBLISHING", "MIXER"),
        Source::Pull { state: TargetState::Publishing, .. } => ("PUBLISHING", "Flash"),
        Source::Pull { .. } => ("PENDING", "Flash"),
    };
    let since = b.ordered_at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    StreamView {
        media_session_id: b.session.clone(),
        app_key: b.app_key.clone(),
        name,
        status,
        has_audio: b.has_audio,
        has_video: b.has_video,
        width: b.width,
        height: b.height,
        create_date_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        media_provider,
    }
}

/// The word for a pulled stream (wcs-api 1.4).
const fn pull_status(state: TargetState) -> &'static str {
    match state {
        TargetState::Connecting => "PENDING",
        TargetState::Publishing => "PROCESSED_REMOTE",
        TargetState::Reconnecting(_) => "PLAYBACK_PROBLEM",
        TargetState::Ended(None) => "STOPPED",
        TargetState::Ended(Some(_)) => "FAILED",
    }
}

impl From<StartError> for LocalError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl LocalError {
    /// The stream's name or the URI is taken.
    pub(crate) const fn is_taken(&self) -> bool {
        matches!(self, Self::Start(StartError::Taken(Taken::CallId | Taken::Source)))
    }
}

/// Of a mixer's URI.
pub(crate) const MIXER_SCHEME: &str = "mixer://";

/// `flashVer` of players, as a browser's plug-in named itself.
const PLAYER_VERSION: &str = "LNX 9,0,124,2";

/// How long a shard may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
