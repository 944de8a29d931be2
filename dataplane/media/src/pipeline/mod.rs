//! One broadcast: joins the stages, and is the only place that knows them all.
//!
//! ```text
//! datagram -> RtpStream -> video: Depacketizer -> VideoTimeline -> FLV body \
//!                       -> audio: Transcoder ---------------------> FLV body -> Publication -> Targets
//!          <- reports, NACK, PLI, FIR, TMMBR, keep-alives, DTMF             (tracks, start)
//! ```
//! Takes: datagrams with their arrival, agreed media, targets, time. Gives: datagrams to send, events; its
//! targets give RTMP bytes. Leaves out: sockets, buffers' origin, the call itself.
//!
//! Rule of use: after each `handle_*`, `set_*` or target operation, poll until `None`, unless `handle_datagram` says that it
//! waits.

mod audio;
mod departure;
mod early;
mod keep_alive;
mod picture_playback;
mod playback;
mod protection;
mod publication;
mod published;
mod service;
mod sound_lot;
mod stream;
mod studio;
mod targets;
mod video;
mod workspace;

use std::mem::offset_of;
use std::net::SocketAddr;
use std::sync::Arc;

use sipcast_contract::dtmf::DtmfStep;
use sipcast_contract::picture::{PictureReceiver, PictureSender};
use sipcast_contract::sound::{AacClip, LineId, LineReceiver, LineSender, PcmClip};
use sipcast_contract::statistics::BroadcastStatistics;
use sipcast_contract::{MediaOptions, MediaWanted, NegotiatedMedia, RtmpTarget, TargetId, Timestamp};
use sipcast_pool::Segment;

use self::audio::AudioPath;
use self::early::{EarlyMedia, Incoming};
use self::publication::Publication;
use self::service::Service;
use self::sound_lot::SoundLot;
use self::studio::{Pull, Shown, Studio};
use self::video::VideoPath;
use crate::rtmp::{Target, TargetAction};
use crate::rtp::{Demultiplexed, demultiplex};

pub use self::audio::DtmfRefused;
pub use self::targets::TargetRefused;
pub use self::workspace::Workspace;

/// A local port of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// RTP of the audio description; also its RTCP with rtcp-mux.
    AudioRtp,
    /// RTCP of the audio description.
    AudioRtcp,
    /// RTP of the video description; also its RTCP with rtcp-mux.
    VideoRtp,
    /// RTCP of the video description.
    VideoRtcp,
}

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// From which port.
    pub port: Port,
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub payload: Segment,
}

/// What a broadcast tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The peer's first picture or sound was published to some target.
    MediaStarted,
    /// The picture's size became known or changed.
    PictureSize {
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
    /// PLI and FIR bring no IDR picture: ask by SIP INFO (RFC 5168).
    KeyframeOverdue,
    /// All DTMF steps that were waiting are sent.
    DtmfSent,
    /// The file that a target had instead of the call's sound is over.
    SoundEnded(TargetId),
    /// What was played to the callee came to its end.
    PlayEnded,
    /// A target wants something done, or changed its state.
    Target(TargetId, TargetAction),
}

/// One broadcast.
// What every datagram needs comes first, so that it can be fetched in one piece: `Pipeline::HOT_LEN`.
#[derive(Debug)]
#[repr(C)]
pub struct Pipeline {
    now: Timestamp,
    /// Start of the broadcast's timeline: the first media agreed on.
    start: Option<Timestamp>,
    /// What came before anything was agreed on.
    early: EarlyMedia,
    audio_service: Service,
    video_service: Service,
    /// A target was given something, or told something, since [`Pipeline::take_send_due`].
    is_send_due: bool,
    /// Sound that the next picture takes along.
    sound_lot: SoundLot,
    video: VideoPath,
    audio: AudioPath,
    publication: Publication,
    /// Of a broadcast that has no call.
    studio: Option<Studio>,
    options: MediaOptions,
    wanted: MediaWanted,
    seed: u64,
    targets_added: u64,
}

impl Pipeline {
    /// Bytes at its start that are worth to be fetched into the core's cache for a datagram on its way.
    pub const HOT_LEN: usize = offset_of!(Pipeline, video);

    /// A broadcast with nothing agreed on yet. `seed` gives its SSRCs, CNAME and jitters.
    pub fn new(options: &MediaOptions, wanted: MediaWanted, seed: u64, now: Timestamp) -> Self {
        Self {
            audio: AudioPath::new(options, seed, now),
            video: VideoPath::new(options, seed, now),
            publication: Publication::new(options.sound_wait),
            studio: None,
            audio_service: Service::default(),
            video_service: Service::default(),
            is_send_due: false,
            options: options.clone(),
            early: EarlyMedia::default(),
            sound_lot: SoundLot::default(),
            start: None,
            wanted,
            seed,
            targets_added: 0,
            now,
        }
    }

    /// Takes what offer and answer agreed on, first and after each re-INVITE or UPDATE. The first one starts
    /// the broadcast's timeline.
    pub fn set_media(&mut self, media: &NegotiatedMedia, now: Timestamp, ws: &mut Workspace) {
        self.touch(now);
        // It came by what was agreed on before.
        self.take_sound_lot(ws);
        self.drop_stale_early();
        // What came just before is published from its own beginning.
        let start = *self.start.get_or_insert(self.early.since().unwrap_or(self.now));
        // What was not ordered has no ports, whatever was agreed on.
        let audio = media.audio.as_ref().filter(|_| self.wanted.audio);
        let video = media.video.as_ref().filter(|_| self.wanted.video);
        self.audio.set_media(audio, start, self.now, &mut self.publication);
        self.video.set_media(video, start, self.now, &mut self.publication);
        self.publication.begin(video.is_some(), self.now);
    }

    /// Publishes to one more target.
    ///
    /// # Errors
    /// [`TargetRefused`]: nothing was added.
    pub fn add_target(
        &mut self,
        id: TargetId,
        spec: RtmpTarget,
        now: Timestamp,
    ) -> Result<(), TargetRefused> {
        self.touch(now);
        self.targets_added += 1;
        // Each target draws other jitter; the odd constant (2^64 / golden ratio) spreads small counts.
        let seed = self.seed ^ self.targets_added.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.publication.add_target(id, spec, seed, self.now)
    }

    /// Unpublishes one target; it is gone once it has ended and its last action was polled.
    pub fn remove_target(&mut self, id: TargetId, now: Timestamp) {
        self.touch(now);
        self.publication.targets.remove(id, self.now);
    }

    /// Gives a target fresh addresses.
    pub fn set_addresses(&mut self, id: TargetId, addresses: Vec<SocketAddr>, now: Timestamp) {
        self.touch(now);
        if let Some(pull) = self.pulling().filter(|pull| pull.id == id) {
            return pull.source.set_addresses(addresses, now);
        }
        self.publication.targets.set_addresses(id, addresses, self.now);
    }

    /// Replaces one target's sound by silence, or ends that.
    pub fn set_muted(&mut self, id: TargetId, muted: bool) {
        if let Some(target) = self.publication.targets.get_mut(id) {
            target.set_muted(muted);
        }
    }

    /// Gives one target a file's sound instead of the call's, from its start, or ends that. `false`: there is no such
    /// target.
    pub fn set_sound(&mut self, id: TargetId, clip: Option<Arc<AacClip>>, is_looped: bool) -> bool {
        self.publication.targets.set_clip(id, clip, is_looped)
    }

    /// Plays a file to the callee, in place of what is played.
    pub fn play_clip(&mut self, clip: Arc<PcmClip>, now: Timestamp) {
        self.touch(now);
        self.audio.playback().play_clip(clip, self.now);
    }

    /// Plays what comes over a line to the callee, in place of what is played; `None`: nothing more.
    pub fn play_line(&mut self, line: Option<LineReceiver>, now: Timestamp) {
        self.touch(now);
        match line {
            Some(line) => self.audio.playback().play_line(line, self.now),
            None => self.audio.playback().stop(),
        }
    }

    /// Shows the pictures of another broadcast to the callee, in place of what it sees; `None`: nothing more.
    pub fn play_pictures(&mut self, receiver: Option<PictureReceiver>, now: Timestamp) {
        self.touch(now);
        self.video.playback().show(receiver, self.now);
    }

    /// The callee wants an IDR picture of what it is shown.
    pub fn refresh_picture(&mut self, now: Timestamp) {
        self.touch(now);
        self.video.playback().request_keyframe(self.now);
    }

    /// Sends the sound of the broadcast over a line; `without` is a mixer's input that is left out. `false`: it has as
    /// many lines as it may.
    pub fn add_line(&mut self, id: LineId, sender: LineSender, without: Option<LineId>) -> bool {
        match &mut self.studio {
            Some(Studio::Mixer { mixer, .. }) => mixer.add_line(id, sender, without),
            Some(Studio::Pull(_)) | None => self.audio.lines.add(id, sender),
        }
    }

    /// Ends a line.
    pub fn remove_line(&mut self, id: LineId) {
        self.publication.remove_pictures(id);
        match &mut self.studio {
            Some(Studio::Mixer { mixer, .. }) => mixer.remove_line(id),
            Some(Studio::Pull(_)) | None => self.audio.lines.remove(id),
        }
    }

    /// Makes a broadcast without call a mixer.
    pub fn mix(&mut self, now: Timestamp) {
        self.touch(now);
        if self.studio.is_none() {
            self.studio = Studio::mixer(&self.options.aac, self.now, &mut self.publication);
        }
    }

    /// Gives a mixer one more input. `false`: it is none, or has as many as it may.
    pub fn add_input(&mut self, id: LineId, receiver: LineReceiver) -> bool {
        match &mut self.studio {
            Some(Studio::Mixer { mixer, .. }) => mixer.add_input(id, receiver),
            Some(Studio::Pull(_)) | None => false,
        }
    }

    /// Takes an input out of a mixer.
    pub fn remove_input(&mut self, id: LineId) {
        if let Some(Studio::Mixer { mixer, .. }) = &mut self.studio {
            mixer.remove_input(id);
        }
    }

    /// Sends the broadcast's pictures to another one, too.
    pub fn add_pictures(&mut self, id: LineId, sender: PictureSender, now: Timestamp) {
        self.touch(now);
        self.publication.add_pictures(id, sender);
        self.video.request_keyframe(self.now);
    }

    /// Has a mixer publish the pictures of one input; `None`: of none.
    pub fn show_pictures(&mut self, receiver: Option<PictureReceiver>, now: Timestamp) {
        self.touch(now);
        if let Some(Studio::Mixer { shown, .. }) = &mut self.studio {
            if receiver.is_none() {
                self.publication.set_video(None, self.now);
            }
            let interval = self.options.keyframe_interval_max;
            *shown = receiver.map(|receiver| Box::new(Shown::new(receiver, interval, self.now)));
        }
    }

    /// Makes a broadcast without call publish what an RTMP server plays.
    pub fn pull(&mut self, id: TargetId, spec: RtmpTarget, now: Timestamp) {
        self.touch(now);
        if self.studio.is_none() {
            self.studio = Some(Studio::Pull(Box::new(Pull::new(id, spec, self.seed, self.now))));
        }
    }

    /// Queues DTMF steps to be sent as RFC 4733 events.
    ///
    /// # Errors
    /// [`DtmfRefused`]: nothing was queued; when no telephone-event was agreed on, SIP INFO is the way.
    pub fn send_dtmf(&mut self, steps: &[DtmfStep], now: Timestamp) -> Result<(), DtmfRefused> {
        self.touch(now);
        self.audio.send_dtmf(steps)
    }

    /// Takes a datagram that came in on `port` at `arrival`; before anything is agreed on, the first of them wait. With
    /// SRTP it is decrypted in its slot, on which it must be the only claim.
    ///
    /// Gives when [`Pipeline::handle_timeout`] is to be called for it at the latest, if it is sound that waits for a
    /// picture: then nothing needs to be polled for it.
    pub fn handle_datagram(
        &mut self,
        port: Port,
        from: SocketAddr,
        datagram: Segment,
        arrival: Timestamp,
        ws: &mut Workspace,
    ) -> Option<Timestamp> {
        self.advance(arrival);
        let incoming = Incoming { port, from, datagram, arrival };
        if self.start.is_none() && demultiplex(&incoming.datagram) == Demultiplexed::Rtp {
            self.hold(incoming);
            return None;
        }
        let was_early = self.is_early_due();
        self.take_early(ws);
        // What was early is to be polled for.
        if let Some(until) = self.waits_for_picture(port, arrival).filter(|_| !was_early) {
            return Some(departure::at_the_latest(self.sound_lot.push(incoming, until)));
        }
        self.sound_lot.prefetch();
        self.take(incoming, ws);
        None
    }

    /// Until when a datagram of sound may wait as it came, where its sound would wait for a picture anyway.
    fn waits_for_picture(&self, port: Port, arrival: Timestamp) -> Option<Timestamp> {
        let is_sound = matches!(port, Port::AudioRtp | Port::AudioRtcp);
        // Who listens to the call itself waits for no picture.
        let may_wait = is_sound && self.sound_lot.has_room(arrival) && self.audio.lines.is_empty();
        self.publication.departure.may_wait(arrival).filter(|_| may_wait)
    }

    fn take_sound_lot(&mut self, ws: &mut Workspace) {
        if !self.sound_lot.is_empty() {
            for incoming in self.sound_lot.take() {
                self.take_sound(incoming, ws);
            }
        }
    }

    fn take_sound(&mut self, incoming: Incoming, ws: &mut Workspace) {
        let Incoming { from, datagram, arrival, .. } = incoming;
        self.audio.handle_datagram(from, datagram, arrival);
        // By its own time, not by what time it is now: what came in time behind it may wait still.
        self.audio.serve(arrival, ws, &mut self.publication);
        self.audio_service.touch();
    }

    fn take(&mut self, incoming: Incoming, ws: &mut Workspace) {
        match incoming.port {
            Port::AudioRtp | Port::AudioRtcp => {
                self.take_sound_lot(ws);
                self.take_sound(incoming, ws);
            }
            Port::VideoRtp | Port::VideoRtcp => {
                let Incoming { from, datagram, arrival, .. } = incoming;
                self.video.handle_datagram(from, datagram, arrival);
                // Before the picture that it came before.
                self.take_sound_lot(ws);
                self.video.serve(arrival, self.now, ws, &self.audio, &mut self.publication);
                self.video_service.touch();
            }
        }
    }

    /// Does what is due; call when [`Pipeline::next_timeout`] is reached.
    pub fn handle_timeout(&mut self, now: Timestamp, ws: &mut Workspace) {
        self.touch(now);
        self.take_early(ws);
        self.take_sound_lot(ws);
        self.publication.handle_timeout(self.now);
        self.audio.handle_timeout(self.now);
        self.audio.serve(self.now, ws, &mut self.publication);
        self.video.handle_timeout(self.now, ws);
        self.video.serve(self.now, self.now, ws, &self.audio, &mut self.publication);
        self.serve_studio(now, ws);
    }

    /// Publishes what came over the connection of a broadcast that pulls; does nothing for others.
    pub fn serve_studio(&mut self, now: Timestamp, ws: &mut Workspace) {
        self.advance(now);
        if let Some(studio) = &mut self.studio {
            studio.serve(self.now, ws, &mut self.audio.lines, &mut self.publication);
        }
    }

    /// When [`Pipeline::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if self.is_early_due() {
            return Some(self.now);
        }
        let studio = self.studio.as_ref().and_then(Studio::next_timeout);
        let audio = self.audio_service.next_timeout(|| self.audio.next_timeout());
        let video = self.video_service.next_timeout(|| self.video.next_timeout(self.now));
        let sound_lot = self.sound_lot.until().map(departure::at_the_latest);
        [audio, video, self.publication.next_timeout(), sound_lot, studio].into_iter().flatten().min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, ws: &mut Workspace) -> Option<Transmit> {
        let arena = &mut ws.arena;
        if self.audio_service.is_due(self.now) {
            if let Some(transmit) = self.audio.poll_transmit(self.now, arena) {
                return Some(transmit);
            }
            self.audio_service.settle(self.audio.next_timeout());
        }
        if self.video_service.is_due(self.now) {
            if let Some(transmit) = self.video.poll_transmit(self.now, arena, &self.publication) {
                return Some(transmit);
            }
            self.video_service.settle(self.video.next_timeout(self.now));
        }
        None
    }

    /// Whether a target may have something to send that it had not when this was last asked.
    pub fn take_send_due(&mut self) -> bool {
        if std::mem::take(&mut self.is_send_due) {
            self.publication.departure.push();
        }
        self.publication.departure.take(self.now)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some((width, height)) = self.publication.take_picture_size() {
            return Some(Event::PictureSize { width, height });
        }
        if self.publication.take_media_started() {
            return Some(Event::MediaStarted);
        }
        if self.video.take_keyframe_overdue() {
            return Some(Event::KeyframeOverdue);
        }
        if self.audio_service.has_events() {
            if self.audio.take_dtmf_sent() {
                return Some(Event::DtmfSent);
            }
            if self.audio.playback().take_over() {
                return Some(Event::PlayEnded);
            }
            self.audio_service.events_taken();
        }
        if let Some(id) = self.publication.targets.take_clip_over() {
            return Some(Event::SoundEnded(id));
        }
        if let Some(pull) = self.pulling()
            && let Some(action) = pull.poll_action()
        {
            return Some(Event::Target(pull.id, action));
        }
        while let Some((id, action)) = self.publication.targets.poll_action() {
            match action {
                TargetAction::RequestKeyframe => {
                    self.video.request_keyframe(self.now);
                    self.video_service.touch();
                    if let Some(Studio::Mixer { shown: Some(shown), .. }) = &mut self.studio {
                        shown.request_keyframe(self.now);
                    }
                }
                action => return Some(Event::Target(id, action)),
            }
        }
        None
    }

    /// A target, to tell it of its connection.
    pub fn target_mut(&mut self, id: TargetId) -> Option<&mut Target> {
        self.is_send_due = true;
        self.sending_target_mut(id)
    }

    /// A send of a target is whole. Gives whether the broadcast has to be served for it: most targets have nothing more to
    /// say then.
    pub fn handle_sent(&mut self, id: TargetId, bytes: usize, now: Timestamp) -> bool {
        let Some(target) = self.sending_target_mut(id) else { return false };
        target.handle_sent(bytes, now);
        let wants_service = target.wants_service();
        self.is_send_due |= wants_service;
        wants_service
    }

    /// A target, to take what it sends.
    pub fn sending_target_mut(&mut self, id: TargetId) -> Option<&mut Target> {
        if let Some(Studio::Pull(pull)) = &mut self.studio
            && pull.id == id
        {
            return Some(&mut pull.source);
        }
        self.publication.targets.get_mut(id)
    }

    /// All targets that are not gone.
    pub fn target_ids(&self) -> impl Iterator<Item = TargetId> {
        self.publication.targets.ids()
    }

    /// The target with the most segments waiting, and how many, for the driver to pick one to [`Target::shed`] when
    /// the pool runs low.
    pub fn longest_queue(&self) -> Option<(TargetId, usize)> {
        self.publication.targets.longest_queue()
    }

    /// Ends the broadcast: says BYE to the peer's RTP (RFC 3550 §6.6) and unpublishes all targets.
    pub fn close(&mut self, now: Timestamp, ws: &mut Workspace) {
        self.touch(now);
        self.take_sound_lot(ws);
        self.publication.departure.close();
        self.publication.targets.close(self.now);
        if let Some(Studio::Pull(pull)) = &mut self.studio {
            pull.source.stop(now);
        }
        self.early.clear();
        self.audio.close();
        self.video.close();
    }

    /// Whether all targets have ended.
    pub fn is_ended(&self) -> bool {
        let is_pulling = matches!(&self.studio, Some(Studio::Pull(pull))
            if !matches!(pull.source.state(), sipcast_contract::TargetState::Ended(_)));
        !is_pulling && self.publication.targets.are_ended()
    }

    /// Its figures.
    pub fn statistics(&self) -> BroadcastStatistics {
        let picture = self.publication.picture();
        let (played_pictures, played_pictures_dropped) = self.video.played_pictures();
        BroadcastStatistics {
            played_pictures,
            played_pictures_dropped,
            audio: self.audio.stream_statistics(),
            video: self.video.stream_statistics(),
            width: picture.map_or(0, |picture| picture.width),
            height: picture.map_or(0, |picture| picture.height),
            access_units: self.publication.access_units,
            idr_pictures: self.publication.idr_pictures,
            access_units_dropped: self.video.access_units_dropped(),
            aac_frames: self.publication.aac_frames,
            silence_samples: self.audio.silence_samples(),
            reordered_pictures: self.video.reordered_pictures(),
            concealed_samples: self.audio.concealed_samples(),
            pli_sent: self.video.pli_sent(),
            fir_sent: self.video.fir_sent(),
            tmmbr_sent: self.video.bit_rate_request().sent(),
            bit_rate_bound_bps: self.video.bit_rate_request().bound_bps().unwrap_or(0),
            skew_ms: self.video.skew_ms(),
            published: self.publication.published.figures(),
            targets: self.publication.targets.statistics(self.now),
        }
    }

    fn hold(&mut self, incoming: Incoming) {
        self.drop_stale_early();
        let port = incoming.port;
        if !self.early.hold(incoming) {
            self.count_unagreed(port);
        }
    }

    fn drop_stale_early(&mut self) {
        while let Some(port) = self.early.pop_stale(self.now) {
            self.count_unagreed(port);
        }
    }

    /// A datagram came long before anything was agreed on.
    fn count_unagreed(&mut self, port: Port) {
        match port {
            Port::AudioRtp | Port::AudioRtcp => self.audio.count_unagreed(),
            Port::VideoRtp | Port::VideoRtcp => self.video.count_unagreed(),
        }
    }

    fn is_early_due(&self) -> bool {
        self.start.is_some() && !self.early.is_empty()
    }

    /// Takes what came before anything was agreed on.
    fn take_early(&mut self, ws: &mut Workspace) {
        if !self.is_early_due() {
            return;
        }
        while let Some(incoming) = self.early.pop() {
            self.take(incoming, ws);
        }
    }

    fn pulling(&mut self) -> Option<&mut Pull> {
        match &mut self.studio {
            Some(Studio::Pull(pull)) => Some(pull),
            Some(Studio::Mixer { .. }) | None => None,
        }
    }

    /// Something changed that may concern everything.
    fn touch(&mut self, now: Timestamp) {
        self.advance(now);
        self.audio_service.touch();
        self.video_service.touch();
        self.is_send_due = true;
    }

    /// Time never goes back, whatever order arrivals are handed in.
    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }
}
