//! One thread that sends the media of its calls on time and reads what comes back.
//! Takes: commands from the call's dialog. Gives: RTP and RTCP on the wire, digits and keyframe requests to the tally.
//! Leaves out: SIP (`user_agent`), the pictures themselves (`encoder`).
//!
//! Pacing is open loop: each packet has a time it is due at, counted from the start of its call, and lateness is
//! recorded against it. A call's start is moved by a fraction of a frame so that many calls are spread evenly.

mod incoming;
mod schedule;
mod send_queue;
mod session;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub(super) use session::random_u32;

use super::audio::{AudioCodec, AudioRecording};
use super::departures::Departure;
use super::encoder::{PictureEncoder, Recording};
use super::network::Path;
use super::packetizer::PacketizationMode;
use super::profile::CallProfile;
use super::rtcp::{self, SenderReport};
use super::sdp::MediaPlan;
use super::sockets::Sockets;
use super::statistics::{CalleeStatistics, Tally};
use crate::call_clock::CallClock;
use schedule::{Due, Schedule, Task};
use send_queue::{Packet, Payload, SendQueue};
use session::{Medium, Session, SessionParts, frame_time};

/// RTP clock of video (RFC 6184 §8.1).
const VIDEO_CLOCK_HZ: u64 = 90_000;
/// The unit of positions in sound: samples at 8 kHz, whatever the codec.
const POSITION_HZ: u64 = 8_000;
/// Units of position in one packet of sound.
const PACKET_POSITIONS: u64 = POSITION_HZ / super::audio::PACKETS_PER_SECOND;
/// From one sender report to the next; the first goes with the first packet.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the sockets are read.
const RECEIVE_INTERVAL: Duration = Duration::from_millis(5);
/// Shortest sleep: packets due closer together leave together.
const TURN_MIN: Duration = Duration::from_millis(1);
/// A sender this late leaves pictures out instead of sending old ones in a burst.
const LATENESS_MAX: Duration = Duration::from_millis(250);
/// Datagrams read from one socket in one turn; the rest waits for the next.
const RECEIVE_MAX: usize = 256;

/// Recorded pictures by profile and packetization mode; those that are first asked for during a call appear when they
/// are encoded.
pub(super) type Recordings = Arc<[[OnceLock<Arc<Recording>>; 2]]>;

/// Recorded sound by codec.
pub(super) type Sounds = Arc<HashMap<AudioCodec, Arc<AudioRecording>>>;

/// Index of a mode's recording.
pub(super) const fn mode_index(mode: PacketizationMode) -> usize {
    match mode {
        PacketizationMode::SingleNalUnit => 0,
        PacketizationMode::NonInterleaved => 1,
    }
}

/// A call as its sender is told of it.
pub(super) struct Call {
    pub session: u64,
    pub call_id: String,
    /// The user part that was called.
    pub called: String,
    pub profile: usize,
    /// When its 200 was sent.
    pub answered: Instant,
    pub plan: MediaPlan,
}

/// What a dialog, or the harness, tells the sender.
pub(super) enum Command {
    /// Media begins.
    Start(Box<Call>),
    /// Offer and answer agreed anew.
    Update { session: u64, plan: Box<MediaPlan> },
    /// An IDR picture is wanted.
    RequestIdr { session: u64 },
    /// The call that was made to this user sends no RTP any more.
    Mute { called: String },
    /// The call is over.
    Stop { session: u64 },
}

/// Where pictures come from.
pub(super) enum Pictures {
    /// Each call encodes its own.
    Live,
    /// All calls of a profile send the same recording.
    Recorded(Recordings),
}

/// What all senders of a callee share.
#[derive(Clone)]
pub(super) struct SenderContext {
    pub profiles: Arc<[CallProfile]>,
    pub sounds: Sounds,
    pub tally: Arc<Tally>,
    pub clock: Option<Arc<CallClock>>,
    pub network: super::network::NetworkProfile,
    pub segmentation: bool,
}

/// The thread's state.
pub(super) struct Sender {
    context: SenderContext,
    sockets: Arc<Sockets>,
    pictures: Pictures,
    commands: Receiver<Command>,
    sessions: Vec<Option<Session>>,
    slots: HashMap<u64, usize>,
    sources: HashMap<SocketAddr, usize>,
    schedule: Schedule,
    queue: SendQueue,
    started: u64,
    late_us: Vec<u64>,
    departed: Vec<Departure>,
    counted: CalleeStatistics,
    cname: String,
}

impl Sender {
    pub fn new(
        context: SenderContext,
        sockets: Arc<Sockets>,
        pictures: Pictures,
        commands: Receiver<Command>,
    ) -> Self {
        Self {
            cname: format!("callee-{:08x}@{}", random_u32(), sockets.ports.address),
            queue: SendQueue::new(context.segmentation),
            context,
            sockets,
            pictures,
            commands,
            sessions: Vec::new(),
            slots: HashMap::new(),
            sources: HashMap::new(),
            schedule: Schedule::default(),
            started: 0,
            late_us: Vec::new(),
            departed: Vec::new(),
            counted: CalleeStatistics::default(),
        }
    }

    /// Runs until the commands end.
    pub fn run(mut self) {
        let mut next_receive = Instant::now();
        while self.take_commands() {
            let now = Instant::now();
            if now >= next_receive {
                self.receive();
                next_receive = now + RECEIVE_INTERVAL;
            }
            while let Some(due) = self.schedule.pop(now) {
                self.perform(due, now);
            }
            self.queue.flush(
                &self.sessions,
                &self.sockets,
                self.context.clock.as_deref(),
                &mut self.counted,
                &mut self.late_us,
            );
            self.publish_counts();
            let due = [self.schedule.next(), self.queue.next()];
            let due = due.into_iter().flatten().fold(next_receive, Instant::min);
            std::thread::sleep(due.saturating_duration_since(Instant::now()).max(TURN_MIN));
        }
        let sessions: Vec<u64> = self.slots.keys().copied().collect();
        sessions.into_iter().for_each(|session| self.stop(session));
        self.publish_counts();
    }

    /// Takes what is waiting; an idle sender waits here. Returns whether to go on.
    fn take_commands(&mut self) -> bool {
        if self.slots.is_empty() {
            match self.commands.recv_timeout(Duration::from_secs(3_600)) {
                Ok(command) => self.handle(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.handle(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Start(call) => self.start(*call),
            Command::Update { session, plan } => self.update(session, *plan),
            Command::RequestIdr { session } => {
                if let Some(session) = self.session_mut(session) {
                    session.idr_wanted = true;
                }
            }
            Command::Mute { called } => {
                let sessions = self.sessions.iter_mut().flatten();
                sessions.filter(|session| session.called == called).for_each(|session| session.muted = true);
            }
            Command::Stop { session } => self.stop(session),
        }
    }

    fn session_mut(&mut self, session: u64) -> Option<&mut Session> {
        self.sessions.get_mut(*self.slots.get(&session)?)?.as_mut()
    }

    fn start(&mut self, call: Call) {
        // Multiples of the golden ratio are spread evenly over the frame for every number of calls.
        let phase = (self.started as f64 * 0.618_033_988_749_895).fract();
        let frame_rate = self.context.profiles[call.profile].video.frame_rate;
        let offset = match self.pictures {
            Pictures::Live => Duration::ZERO,
            Pictures::Recorded(_) => frame_time(1, frame_rate).mul_f64(phase),
        };
        let network = self.context.network;
        let paths = [0, 1].map(|stream| Path::new(network, 2 * self.started + stream));
        self.started += 1;
        let recording = call.plan.video.and_then(|video| self.recording(call.profile, video.mode));
        let moments = self.context.clock.as_ref().map(|clock| {
            let index = recording.map(|recording| Arc::clone(&recording.index)).unwrap_or_default();
            clock.answered(&call.called, clock.at(call.answered), index)
        });
        let codec = call.plan.audio.map(|audio| audio.codec);
        let sound = codec.and_then(|codec| Some((codec, Arc::clone(self.context.sounds.get(&codec)?))));
        let session = Session::new(SessionParts {
            id: call.session,
            number: (self.started - 1) as u32,
            call_id: call.call_id,
            called: call.called,
            profile: call.profile,
            plan: call.plan,
            start: Instant::now() + offset,
            sound,
            moments,
            paths,
        });
        let slot = self.sessions.iter().position(Option::is_none).unwrap_or(self.sessions.len());
        for task in [Task::Sound, Task::Picture, Task::Report] {
            let at = match task {
                Task::Sound => session.audio_due(),
                Task::Picture | Task::Report => session.start,
            };
            self.schedule.push(Due { at, slot, session: session.id, task });
        }
        self.sources.extend(session.sources().map(|source| (source, slot)));
        self.slots.insert(session.id, slot);
        if slot == self.sessions.len() {
            self.sessions.push(Some(session));
        } else {
            self.sessions[slot] = Some(session);
        }
    }

    fn update(&mut self, session: u64, plan: MediaPlan) {
        let Some(&slot) = self.slots.get(&session) else { return };
        let Some(session) = &mut self.sessions[slot] else { return };
        for source in session.sources() {
            self.sources.remove(&source);
        }
        let codec = plan.audio.map(|audio| audio.codec);
        session.sound = codec.and_then(|codec| Some((codec, Arc::clone(self.context.sounds.get(&codec)?))));
        session.set_plan(plan);
        // Who was on hold has nothing to predict from.
        session.idr_wanted = true;
        self.sources.extend(session.sources().map(|source| (source, slot)));
    }

    fn stop(&mut self, session: u64) {
        let Some(slot) = self.slots.remove(&session) else { return };
        let Some(session) = self.sessions.get_mut(slot).and_then(Option::take) else { return };
        self.counted.lost_reported -=
            i64::from(session.audio.lost_reported) + i64::from(session.video.lost_reported);
        if let Some(audio) = session.plan.audio {
            let socket = if audio.route.rtcp_mux { &self.sockets.audio } else { &self.sockets.audio_rtcp };
            let _ = socket.send_to(&rtcp::bye(session.audio.ssrc, &self.cname), audio.route.rtcp);
        }
        if let Some(video) = session.plan.video {
            let socket = if video.route.rtcp_mux { &self.sockets.video } else { &self.sockets.video_rtcp };
            let _ = socket.send_to(&rtcp::bye(session.video.ssrc, &self.cname), video.route.rtcp);
        }
        for source in session.sources() {
            self.sources.remove(&source);
        }
    }

    fn recording(&self, profile: usize, mode: PacketizationMode) -> Option<&Arc<Recording>> {
        match &self.pictures {
            Pictures::Live => None,
            Pictures::Recorded(recordings) => recordings.get(profile)?[mode_index(mode)].get(),
        }
    }

    fn perform(&mut self, due: Due, now: Instant) {
        let Some(session) = self.sessions.get(due.slot).and_then(Option::as_ref) else { return };
        if session.id != due.session {
            return;
        }
        let at = match due.task {
            Task::Sound => self.send_sound(due.slot),
            Task::Picture => match &self.pictures {
                // One a turn: encoding takes time, in which a wish for an IDR picture may have come.
                Pictures::Live => self.send_live(due.slot, now).map(|at| at.max(now + TURN_MIN)),
                Pictures::Recorded(_) => self.send_recorded(due.slot, now),
            },
            Task::Report => self.send_reports(due.slot, now),
        };
        if let Some(at) = at {
            self.schedule.push(Due { at, ..due });
        }
    }

    /// Puts a packet of sound on its way; gives the next one's time.
    fn send_sound(&mut self, slot: usize) -> Option<Instant> {
        let session = self.sessions.get_mut(slot)?.as_mut()?;
        let due = session.audio_due();
        let number = session.next_audio;
        session.next_audio += 1;
        let next = Some(session.audio_due());
        let silent = session.muted || self.context.tally.paused();
        let audio = session.plan.audio.filter(|audio| audio.route.sending && !silent);
        let (Some(audio), Some((codec, recording))) = (audio, &session.sound) else {
            session.audio_begun = false;
            return next;
        };
        let frame_rate = u64::from(self.context.profiles[session.profile].video.frame_rate);
        let position = number * PACKET_POSITIONS + session.content_shift * POSITION_HZ / frame_rate;
        let payload = Payload::Sound { recording: Arc::clone(recording), position };
        let len = recording.payload(position).len();
        // RFC 3551 §4.1: the first packet of a talkspurt has the marker.
        let marker = !session.audio_begun;
        session.audio_begun = true;
        let timestamp = number * (codec.clock_hz() / super::audio::PACKETS_PER_SECOND);
        let header = session.audio.header(audio.payload_type, marker, timestamp as u32, len);
        let packet = Packet { slot, session: session.id, medium: Medium::Audio, header, payload, due };
        self.depart(packet);
        next
    }

    /// Puts a recorded picture on its way; gives the next one's time.
    fn send_recorded(&mut self, slot: usize, now: Instant) -> Option<Instant> {
        let paused = self.context.tally.paused();
        let session = self.sessions.get_mut(slot)?.as_mut()?;
        let profile = session.profile;
        let frame_rate = self.context.profiles[profile].video.frame_rate;
        let due = session.frame_due(frame_rate);
        let frame = session.next_frame;
        session.next_frame += 1;
        let next = Some(session.frame_due(frame_rate));
        let silent = session.muted || paused;
        let Some(video) = session.plan.video.filter(|video| video.route.sending && !silent) else {
            session.idr_wanted = true;
            return next;
        };
        let recording = match &self.pictures {
            Pictures::Recorded(recordings) => recordings.get(profile)?[mode_index(video.mode)].get(),
            Pictures::Live => None,
        };
        let Some(recording) = recording.map(Arc::clone) else { return next };
        if now.saturating_duration_since(due) > LATENESS_MAX {
            self.counted.pictures_skipped += 1;
            // What follows was predicted from the picture left out.
            session.idr_wanted = true;
            return next;
        }
        let len = recording.access_units.len() as u64;
        let mut content = (frame + session.content_shift) % len;
        if std::mem::take(&mut session.idr_wanted) {
            let idr = recording.next_idr(content as usize) as u64;
            session.content_shift += (idr + len - content) % len;
            content = idr;
        }
        let access_unit = &recording.access_units[content as usize];
        if access_unit.is_empty() {
            return next;
        }
        self.counted.pictures += 1;
        self.counted.idr_pictures += u64::from(access_unit.idr);
        self.departed.push(Departure { call: session.number, picture: content as u32, at: now });
        let timestamp = (frame * VIDEO_CLOCK_HZ / u64::from(frame_rate)) as u32;
        let last = access_unit.len() - 1;
        for (part, payload) in access_unit.iter().enumerate() {
            let session = self.sessions.get_mut(slot)?.as_mut()?;
            let header = session.video.header(video.payload_type, part == last, timestamp, payload.len());
            let payload = Payload::Picture {
                recording: Arc::clone(&recording),
                picture: content as u32,
                part: part as u32,
            };
            let session = session.id;
            self.depart(Packet { slot, session, medium: Medium::Video, header, payload, due });
        }
        next
    }

    /// Encodes a picture and puts it on its way; gives the next one's time.
    fn send_live(&mut self, slot: usize, now: Instant) -> Option<Instant> {
        let paused = self.context.tally.paused();
        let session = self.sessions.get_mut(slot)?.as_mut()?;
        let options = self.context.profiles[session.profile].video;
        let mut due = session.frame_due(options.frame_rate);
        if now.saturating_duration_since(due) > LATENESS_MAX {
            let elapsed = now.saturating_duration_since(session.start).as_nanos();
            let present = (elapsed * u128::from(options.frame_rate) / 1_000_000_000) as u64;
            self.counted.pictures_skipped += present.saturating_sub(session.next_frame);
            session.next_frame = session.next_frame.max(present);
            due = session.frame_due(options.frame_rate);
        }
        let frame = session.next_frame;
        session.next_frame += 1;
        let next = Some(session.frame_due(options.frame_rate));
        let silent = session.muted || paused;
        let Some(video) = session.plan.video.filter(|video| video.route.sending && !silent) else {
            session.idr_wanted = true;
            return next;
        };
        if session.encoder.as_ref().is_none_or(|(mode, _)| *mode != video.mode) {
            match PictureEncoder::new(options, video.mode) {
                Ok(encoder) => session.encoder = Some((video.mode, encoder)),
                Err(error) => {
                    tracing::warn!(%error, "no encoder, the call stays without picture");
                    session.plan.video = None;
                    return next;
                }
            }
        }
        let (_, encoder) = session.encoder.as_mut()?;
        let captured = session.wall + frame_time(frame, options.frame_rate);
        let access_unit = match encoder.encode(frame, captured, std::mem::take(&mut session.idr_wanted)) {
            Ok(access_unit) => access_unit,
            Err(error) => {
                tracing::warn!(%error, "picture not encoded");
                session.idr_wanted = true;
                return next;
            }
        };
        if access_unit.is_empty() {
            return next;
        }
        self.counted.pictures += 1;
        self.counted.idr_pictures += u64::from(access_unit.idr);
        let timestamp = (frame * VIDEO_CLOCK_HZ / u64::from(options.frame_rate)) as u32;
        let last = access_unit.len() - 1;
        let id = session.id;
        let mut batch = Vec::with_capacity(access_unit.len());
        for (part, payload) in access_unit.iter().enumerate() {
            let header = session.video.header(video.payload_type, part == last, timestamp, payload.len());
            let payload = Payload::Own(payload.into());
            batch.push(Packet { slot, session: id, medium: Medium::Video, header, payload, due });
        }
        batch.into_iter().for_each(|packet| self.depart(packet));
        next
    }

    /// Through the network: at once, later, or never.
    fn depart(&mut self, packet: Packet) {
        if self.context.network.is_perfect() {
            self.queue.push(packet);
            return;
        }
        let Some(Some(session)) = self.sessions.get_mut(packet.slot) else { return };
        let stream = match packet.medium {
            Medium::Audio => &mut session.audio,
            Medium::Video => &mut session.video,
        };
        let held = match stream.leave(packet.due) {
            Some(due) => self.queue.hold(Packet { due, ..packet }),
            None => false,
        };
        self.counted.packets_lost_on_purpose += u64::from(!held);
    }

    /// Sends the reports of both streams; gives the next ones' time.
    fn send_reports(&mut self, slot: usize, now: Instant) -> Option<Instant> {
        let session = self.sessions.get_mut(slot)?.as_mut()?;
        session.next_report += REPORT_INTERVAL;
        let elapsed = now.saturating_duration_since(session.start);
        let clock_hz = session.plan.audio.map_or(POSITION_HZ, |audio| audio.codec.clock_hz());
        let sockets = &self.sockets;
        let audio = session.plan.audio.map(|audio| audio.route);
        let video = session.plan.video.map(|video| video.route);
        let streams = [
            (audio, &session.audio, clock_hz, &sockets.audio, &sockets.audio_rtcp),
            (video, &session.video, VIDEO_CLOCK_HZ, &sockets.video, &sockets.video_rtcp),
        ];
        for (route, stream, clock, rtp, rtcp) in streams {
            let Some(route) = route else { continue };
            let ticks = (elapsed.as_nanos() * u128::from(clock) / 1_000_000_000) as u32;
            let report = SenderReport {
                ssrc: stream.ssrc,
                wall: session.wall + elapsed,
                rtp_timestamp: stream.first_timestamp.wrapping_add(ticks),
                packets: stream.packets,
                octets: stream.octets,
            };
            let socket = if route.rtcp_mux { rtp } else { rtcp };
            if socket.send_to(&report.compound(&self.cname), route.rtcp).is_ok() {
                self.counted.sender_reports += 1;
            }
        }
        Some(session.next_report)
    }

    fn receive(&mut self) {
        let sockets = Arc::clone(&self.sockets);
        let mut datagram = [0; 2_048];
        for socket in [&sockets.audio, &sockets.audio_rtcp, &sockets.video, &sockets.video_rtcp] {
            for _ in 0..RECEIVE_MAX {
                match socket.recv_from(&mut datagram) {
                    Ok((len, from)) => self.handle_datagram(&datagram[..len], from),
                    Err(_) => break,
                }
            }
        }
    }

    fn handle_datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        // A sender with one call has ports of its own: whoever finds them is its peer, behind a NAT too.
        let only = if self.slots.len() == 1 { self.slots.values().next() } else { None };
        let slot = self.sources.get(&from).or(only).copied();
        let session = slot.and_then(|slot| self.sessions.get_mut(slot)?.as_mut());
        let taken = session
            .and_then(|session| incoming::handle(session, datagram, &mut self.counted, &self.context.tally));
        if taken.is_none() {
            self.counted.datagrams_refused += 1;
        }
    }

    fn publish_counts(&mut self) {
        if self.counted != CalleeStatistics::default() {
            let counted = std::mem::take(&mut self.counted);
            self.context.tally.count(|total| total.add(&counted));
        }
        if !self.late_us.is_empty() {
            self.context.tally.record_lateness(self.late_us.drain(..));
        }
        if !self.departed.is_empty() {
            self.context.tally.departures().note(&mut self.departed);
        }
    }
}
