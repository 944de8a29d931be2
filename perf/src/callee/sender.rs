//! One thread that sends the media of its calls on time and reads what comes back.
//! Takes: commands from the call's dialog. Gives: RTP and RTCP on the wire, digits and keyframe requests to the tally.
//! Leaves out: SIP (`user_agent`), the pictures themselves (`encoder`).
//!
//! Pacing is open loop: each packet has a time it is due at, counted from the start of its call, and lateness is
//! recorded against it. A call's start is moved by a fraction of a frame so that many calls are spread evenly.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::departures::Departure;
use super::encoder::{PictureEncoder, RTP_HEADER_LEN, Recording, VideoOptions};
use super::packetizer::PacketizationMode;
use super::rtcp::{self, Feedback, SenderReport};
use super::sdp::{MediaPlan, Route};
use super::sockets::Sockets;
use super::statistics::{CalleeEvent, CalleeStatistics, Tally};
use super::syscall::{DATAGRAMS_MAX, Outgoing, send_many};
use super::telephone_event::TelephoneEventReceiver;
use super::tone::{Law, PACKET_SAMPLES, SAMPLE_RATE_HZ, Tone};

/// RTP clock of video (RFC 6184 §8.1).
const VIDEO_CLOCK_HZ: u64 = 90_000;
/// One audio packet.
const PACKET_TIME: Duration = Duration::from_millis(20);
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
/// Wait between attempts when the kernel has no room for a datagram, and their number.
const RETRY: (Duration, usize) = (Duration::from_micros(200), 20);

/// The recordings by packetization mode; a mode that is first asked for during a call appears when it is encoded.
pub(super) type Recordings = Arc<[OnceLock<Arc<Recording>>; 2]>;

/// Index of a mode's recording.
pub(super) const fn mode_index(mode: PacketizationMode) -> usize {
    match mode {
        PacketizationMode::SingleNalUnit => 0,
        PacketizationMode::NonInterleaved => 1,
    }
}

/// What a dialog tells its sender.
pub(super) enum Command {
    /// Media begins.
    Start { session: u64, call_id: String, plan: MediaPlan },
    /// Offer and answer agreed anew.
    Update { session: u64, plan: MediaPlan },
    /// An IDR picture is wanted.
    RequestIdr { session: u64 },
    /// The call is over.
    Stop { session: u64 },
}

/// Where pictures come from.
pub(super) enum Pictures {
    /// Each call encodes its own.
    Live,
    /// All calls send the same recording.
    Recorded(Recordings),
}

/// One RTP stream out.
struct Stream {
    ssrc: u32,
    sequence_number: u16,
    first_timestamp: u32,
    packets: u32,
    octets: u32,
    lost_reported: i32,
}

impl Stream {
    fn new() -> Self {
        Self {
            ssrc: random_u32(),
            sequence_number: random_u32() as u16,
            first_timestamp: random_u32(),
            packets: 0,
            octets: 0,
            lost_reported: 0,
        }
    }

    // RFC 3550 §5.1.
    fn header(
        &mut self,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload_len: usize,
    ) -> [u8; RTP_HEADER_LEN] {
        let mut header = [0; RTP_HEADER_LEN];
        header[0] = 0x80;
        header[1] = payload_type | if marker { 0x80 } else { 0 };
        header[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        header[4..8].copy_from_slice(&self.first_timestamp.wrapping_add(timestamp).to_be_bytes());
        header[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload_len as u32);
        header
    }
}

/// One call's media.
struct Session {
    call_id: String,
    /// Its place in the order in which calls began.
    number: u32,
    plan: MediaPlan,
    start: Instant,
    /// Time since the Unix epoch at `start`: the one clock behind both streams' sender reports.
    wall: Duration,
    audio: Stream,
    video: Stream,
    next_audio: u64,
    next_frame: u64,
    /// Frames the content is ahead of the frame count, after jumps to an IDR picture of the recording.
    content_shift: u64,
    audio_begun: bool,
    idr_wanted: bool,
    next_report: Instant,
    encoder: Option<(PacketizationMode, PictureEncoder)>,
    events: TelephoneEventReceiver,
    latest_fir: Option<u8>,
}

impl Session {
    fn audio_due(&self) -> Instant {
        self.start
            + PACKET_TIME.saturating_mul(self.next_audio.saturating_add(1).min(u64::from(u32::MAX)) as u32)
    }

    fn frame_due(&self, frame_rate: u32) -> Instant {
        self.start + frame_time(self.next_frame, frame_rate)
    }
}

fn frame_time(frame: u64, frame_rate: u32) -> Duration {
    Duration::from_nanos((u128::from(frame) * 1_000_000_000 / u128::from(frame_rate)) as u64)
}

/// The thread's state.
pub(super) struct Sender {
    sockets: Arc<Sockets>,
    video: VideoOptions,
    pictures: Pictures,
    tones: [Tone; 2],
    commands: Receiver<Command>,
    tally: Arc<Tally>,
    sessions: HashMap<u64, Session>,
    sources: HashMap<SocketAddr, u64>,
    started: u64,
    late_us: Vec<u64>,
    departed: Vec<Departure>,
    counted: CalleeStatistics,
    cname: String,
}

impl Sender {
    pub fn new(
        sockets: Arc<Sockets>,
        video: VideoOptions,
        pictures: Pictures,
        commands: Receiver<Command>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            cname: format!("callee-{:08x}@{}", random_u32(), sockets.ports.address),
            sockets,
            video,
            pictures,
            tones: [Tone::new(Law::Pcmu), Tone::new(Law::Pcma)],
            commands,
            tally,
            sessions: HashMap::new(),
            sources: HashMap::new(),
            started: 0,
            late_us: Vec::new(),
            departed: Vec::new(),
            counted: CalleeStatistics::default(),
        }
    }

    /// Runs until the commands end.
    pub fn run(mut self) {
        let mut next_receive = Instant::now();
        loop {
            if !self.take_commands() {
                break;
            }
            let now = Instant::now();
            if now >= next_receive {
                self.receive();
                next_receive = now + RECEIVE_INTERVAL;
            }
            self.send_audio(now);
            self.send_reports(now);
            self.send_video();
            self.publish_counts();
            let due = self.next_due().map_or(next_receive, |due| due.min(next_receive));
            std::thread::sleep(due.saturating_duration_since(Instant::now()).max(TURN_MIN));
        }
        let sessions: Vec<u64> = self.sessions.keys().copied().collect();
        sessions.into_iter().for_each(|session| self.stop(session));
        self.publish_counts();
    }

    /// Takes what is waiting; an idle sender waits here. Returns whether to go on.
    fn take_commands(&mut self) -> bool {
        if self.sessions.is_empty() {
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
            Command::Start { session, call_id, plan } => self.start(session, call_id, plan),
            Command::Update { session, plan } => {
                if let Some(state) = self.sessions.get_mut(&session) {
                    state.plan = plan;
                    // Who was on hold has nothing to predict from.
                    state.idr_wanted = true;
                }
                self.relearn_sources();
            }
            Command::RequestIdr { session } => {
                if let Some(state) = self.sessions.get_mut(&session) {
                    state.idr_wanted = true;
                }
            }
            Command::Stop { session } => self.stop(session),
        }
    }

    fn start(&mut self, session: u64, call_id: String, plan: MediaPlan) {
        // Multiples of the golden ratio are spread evenly over the frame for every number of calls.
        let phase = (self.started as f64 * 0.618_033_988_749_895).fract();
        let now = Instant::now();
        let offset = match self.pictures {
            Pictures::Live => Duration::ZERO,
            Pictures::Recorded(_) => frame_time(1, self.video.frame_rate).mul_f64(phase),
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + offset;
        let state = Session {
            call_id,
            number: self.started as u32,
            plan,
            start: now + offset,
            wall,
            audio: Stream::new(),
            video: Stream::new(),
            next_audio: 0,
            next_frame: 0,
            content_shift: 0,
            audio_begun: false,
            idr_wanted: false,
            next_report: now + offset,
            encoder: None,
            events: TelephoneEventReceiver::default(),
            latest_fir: None,
        };
        self.started += 1;
        self.sessions.insert(session, state);
        self.relearn_sources();
    }

    fn stop(&mut self, session: u64) {
        let Some(state) = self.sessions.remove(&session) else { return };
        self.counted.lost_reported -=
            i64::from(state.audio.lost_reported) + i64::from(state.video.lost_reported);
        if let Some(audio) = state.plan.audio {
            let socket = if audio.route.rtcp_mux { &self.sockets.audio } else { &self.sockets.audio_rtcp };
            let _ = socket.send_to(&rtcp::bye(state.audio.ssrc, &self.cname), audio.route.rtcp);
        }
        if let Some(video) = state.plan.video {
            let socket = if video.route.rtcp_mux { &self.sockets.video } else { &self.sockets.video_rtcp };
            let _ = socket.send_to(&rtcp::bye(state.video.ssrc, &self.cname), video.route.rtcp);
        }
        self.relearn_sources();
    }

    fn relearn_sources(&mut self) {
        self.sources.clear();
        for (session, state) in &self.sessions {
            for route in state.plan.routes() {
                self.sources.insert(route.rtp, *session);
                self.sources.insert(route.rtcp, *session);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let due = |session: &Session| {
            let frame = session.frame_due(self.video.frame_rate);
            session.audio_due().min(frame).min(session.next_report)
        };
        self.sessions.values().map(due).min()
    }

    fn send_audio(&mut self, now: Instant) {
        let paused = self.tally.paused();
        let mut batch = Vec::new();
        for session in self.sessions.values_mut() {
            while session.audio_due() <= now {
                let due = session.audio_due();
                let sample = session.next_audio * PACKET_SAMPLES as u64;
                session.next_audio += 1;
                let Some(audio) = session.plan.audio.filter(|audio| audio.route.sending && !paused) else {
                    session.audio_begun = false;
                    continue;
                };
                let shift = session.content_shift * SAMPLE_RATE_HZ / u64::from(self.video.frame_rate);
                let payload = self.tones[audio.law as usize].packet(sample + shift);
                // RFC 3551 §4.1: the first packet of a talkspurt has the marker.
                let marker = !session.audio_begun;
                session.audio_begun = true;
                let header = session.audio.header(audio.payload_type, marker, sample as u32, payload.len());
                batch.push(Outgoing { to: audio.route.rtp.into(), header, payload });
                self.late_us.push(microseconds_since(due));
            }
        }
        let sent = send_all(&self.sockets.audio, &batch, &mut self.counted);
        self.counted.audio_packets += sent;
        self.counted.octets += sent * PACKET_SAMPLES as u64;
    }

    fn send_reports(&mut self, now: Instant) {
        for session in self.sessions.values_mut().filter(|session| session.next_report <= now) {
            session.next_report += REPORT_INTERVAL;
            let elapsed = now.saturating_duration_since(session.start);
            let streams = [
                (
                    session.plan.audio.map(|audio| audio.route),
                    &session.audio,
                    SAMPLE_RATE_HZ,
                    &self.sockets.audio,
                    &self.sockets.audio_rtcp,
                ),
                (
                    session.plan.video.map(|video| video.route),
                    &session.video,
                    VIDEO_CLOCK_HZ,
                    &self.sockets.video,
                    &self.sockets.video_rtcp,
                ),
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
        }
    }

    fn send_video(&mut self) {
        match &self.pictures {
            Pictures::Live => self.send_live(),
            Pictures::Recorded(recordings) => {
                let recordings = Arc::clone(recordings);
                self.send_recorded(&recordings);
            }
        }
    }

    fn send_recorded(&mut self, recordings: &Recordings) {
        let now = Instant::now();
        let paused = self.tally.paused();
        let mut batch = Vec::new();
        for session in self.sessions.values_mut() {
            while session.frame_due(self.video.frame_rate) <= now {
                let due = session.frame_due(self.video.frame_rate);
                let frame = session.next_frame;
                session.next_frame += 1;
                let Some(video) = session.plan.video.filter(|video| video.route.sending && !paused) else {
                    session.idr_wanted = true;
                    continue;
                };
                let Some(recording) = recordings[mode_index(video.mode)].get() else { continue };
                if now.saturating_duration_since(due) > LATENESS_MAX {
                    self.counted.pictures_skipped += 1;
                    // What follows was predicted from the picture left out.
                    session.idr_wanted = true;
                    continue;
                }
                let len = recording.access_units.len();
                let mut content = ((frame + session.content_shift) % len as u64) as usize;
                if std::mem::take(&mut session.idr_wanted) {
                    let idr = recording.next_idr(content);
                    session.content_shift += ((idr + len - content) % len) as u64;
                    content = idr;
                }
                let access_unit = &recording.access_units[content];
                if access_unit.is_empty() {
                    continue;
                }
                let timestamp = (frame * VIDEO_CLOCK_HZ / u64::from(self.video.frame_rate)) as u32;
                let last = access_unit.len().saturating_sub(1);
                for (place, payload) in access_unit.iter().enumerate() {
                    let header =
                        session.video.header(video.payload_type, place == last, timestamp, payload.len());
                    batch.push(Outgoing { to: video.route.rtp.into(), header, payload });
                }
                self.counted.pictures += 1;
                self.counted.idr_pictures += u64::from(access_unit.idr);
                self.counted.octets += access_unit.octets() as u64;
                self.late_us.push(microseconds_since(due));
                self.departed.push(Departure { call: session.number, picture: content as u32, at: now });
            }
        }
        self.counted.video_packets += send_all(&self.sockets.video, &batch, &mut self.counted);
    }

    fn send_live(&mut self) {
        let paused = self.tally.paused();
        for session in self.sessions.values_mut() {
            let now = Instant::now();
            let due = session.frame_due(self.video.frame_rate);
            if due > now {
                continue;
            }
            if now - due > LATENESS_MAX {
                let elapsed = now.saturating_duration_since(session.start).as_nanos();
                let present = (elapsed * u128::from(self.video.frame_rate) / 1_000_000_000) as u64;
                self.counted.pictures_skipped += present.saturating_sub(session.next_frame);
                session.next_frame = session.next_frame.max(present);
            }
            let frame = session.next_frame;
            session.next_frame += 1;
            let Some(video) = session.plan.video.filter(|video| video.route.sending && !paused) else {
                session.idr_wanted = true;
                continue;
            };
            if session.encoder.as_ref().is_none_or(|(mode, _)| *mode != video.mode) {
                match PictureEncoder::new(self.video, video.mode) {
                    Ok(encoder) => session.encoder = Some((video.mode, encoder)),
                    Err(error) => {
                        tracing::warn!(%error, "no encoder, the call stays without picture");
                        session.plan.video = None;
                        continue;
                    }
                }
            }
            let Some((_, encoder)) = &mut session.encoder else { continue };
            let captured = session.wall + frame_time(frame, self.video.frame_rate);
            let access_unit = match encoder.encode(frame, captured, std::mem::take(&mut session.idr_wanted)) {
                Ok(access_unit) => access_unit,
                Err(error) => {
                    tracing::warn!(%error, "picture not encoded");
                    session.idr_wanted = true;
                    continue;
                }
            };
            if access_unit.is_empty() {
                continue;
            }
            let timestamp = (frame * VIDEO_CLOCK_HZ / u64::from(self.video.frame_rate)) as u32;
            let last = access_unit.len() - 1;
            let mut batch = Vec::with_capacity(access_unit.len());
            for (place, payload) in access_unit.iter().enumerate() {
                let header =
                    session.video.header(video.payload_type, place == last, timestamp, payload.len());
                batch.push(Outgoing { to: video.route.rtp.into(), header, payload });
            }
            self.counted.pictures += 1;
            self.counted.idr_pictures += u64::from(access_unit.idr);
            self.counted.octets += access_unit.octets() as u64;
            self.late_us.push(microseconds_since(due));
            self.counted.video_packets += send_all(&self.sockets.video, &batch, &mut self.counted);
        }
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
        let only = if self.sessions.len() == 1 { self.sessions.keys().next() } else { None };
        let known = self.sources.get(&from).or(only).copied();
        let Some(session) = known.and_then(|session| self.sessions.get_mut(&session)) else {
            self.counted.datagrams_refused += 1;
            return;
        };
        let taken = match datagram {
            // RFC 5761 §4: packet types 192 to 223 are RTCP.
            [first, 192..=223, ..] if first >> 6 == 2 => {
                handle_rtcp(session, datagram, &mut self.counted, &self.tally)
            }
            [first, ..] if first >> 6 == 2 => handle_rtp(session, datagram, &mut self.counted, &self.tally),
            _ => None,
        };
        if taken.is_none() {
            self.counted.datagrams_refused += 1;
        }
    }

    fn publish_counts(&mut self) {
        if self.counted != CalleeStatistics::default() {
            let counted = std::mem::take(&mut self.counted);
            self.tally.count(|total| add(total, &counted));
        }
        if !self.late_us.is_empty() {
            self.tally.record_lateness(self.late_us.drain(..));
        }
        if !self.departed.is_empty() {
            self.tally.departures().note(&mut self.departed);
        }
    }
}

fn handle_rtcp(
    session: &mut Session,
    datagram: &[u8],
    counted: &mut CalleeStatistics,
    tally: &Tally,
) -> Option<()> {
    let feedback = rtcp::parse(datagram)?;
    counted.rtcp_received += 1;
    for message in feedback {
        match message {
            Feedback::PictureLoss => counted.plis += 1,
            Feedback::FullIntraRequest(number) => {
                // RFC 5104 §4.3.1.1: the same number again is the same command.
                if session.latest_fir.replace(number) == Some(number) {
                    continue;
                }
                counted.firs += 1;
            }
            Feedback::Reception { ssrc, lost } => {
                for stream in [&mut session.audio, &mut session.video] {
                    if stream.ssrc == ssrc {
                        counted.lost_reported += i64::from(lost) - i64::from(stream.lost_reported);
                        stream.lost_reported = lost;
                    }
                }
                continue;
            }
            Feedback::Bye => continue,
        }
        session.idr_wanted = true;
        tally.announce(CalleeEvent::KeyframeRequested { call_id: session.call_id.clone() });
    }
    Some(())
}

fn handle_rtp(
    session: &mut Session,
    datagram: &[u8],
    counted: &mut CalleeStatistics,
    tally: &Tally,
) -> Option<()> {
    let header = datagram.first_chunk::<RTP_HEADER_LEN>()?;
    counted.rtp_received += 1;
    let payload_type = header[1] & 0x7f;
    if session.plan.audio.and_then(|audio| audio.telephone_event) != Some(payload_type) {
        return Some(());
    }
    let mut payload = datagram.get(RTP_HEADER_LEN + 4 * usize::from(header[0] & 0x0f)..)?;
    if header[0] & 0x10 != 0 {
        let extension = payload.first_chunk::<4>()?;
        payload = payload.get(4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]))..)?;
    }
    let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    if let Some(digit) = session.events.push(timestamp, payload) {
        counted.digits += 1;
        tally.announce(CalleeEvent::Digit { call_id: session.call_id.clone(), digit });
    }
    Some(())
}

impl MediaPlan {
    fn routes(&self) -> impl Iterator<Item = Route> {
        self.audio.map(|audio| audio.route).into_iter().chain(self.video.map(|video| video.route))
    }

    /// Whether no stream is wanted by the peer.
    pub fn held(&self) -> bool {
        self.routes().all(|route| !route.sending)
    }
}

/// Sends everything, waiting a little when the kernel has no room; returns how many packets left.
fn send_all(socket: &UdpSocket, mut batch: &[Outgoing<'_>], counted: &mut CalleeStatistics) -> u64 {
    let mut sent = 0;
    let mut attempts = 0;
    while !batch.is_empty() {
        let chunk = &batch[..batch.len().min(DATAGRAMS_MAX)];
        match send_many(socket, chunk) {
            Ok(taken) => {
                sent += taken as u64;
                batch = &batch[taken..];
                attempts = 0;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && attempts < RETRY.1 => {
                attempts += 1;
                std::thread::sleep(RETRY.0);
            }
            // This datagram cannot go (no route, say); the others may.
            Err(_) => {
                counted.send_failures += 1;
                batch = &batch[1..];
            }
        }
    }
    sent
}

fn add(total: &mut CalleeStatistics, counted: &CalleeStatistics) {
    total.video_packets += counted.video_packets;
    total.audio_packets += counted.audio_packets;
    total.octets += counted.octets;
    total.pictures += counted.pictures;
    total.idr_pictures += counted.idr_pictures;
    total.pictures_skipped += counted.pictures_skipped;
    total.send_failures += counted.send_failures;
    total.sender_reports += counted.sender_reports;
    total.plis += counted.plis;
    total.firs += counted.firs;
    total.rtp_received += counted.rtp_received;
    total.rtcp_received += counted.rtcp_received;
    total.datagrams_refused += counted.datagrams_refused;
    total.digits += counted.digits;
    total.lost_reported += counted.lost_reported;
}

fn microseconds_since(due: Instant) -> u64 {
    due.elapsed().as_micros() as u64
}

/// Random octets for SSRCs and first sequence numbers (RFC 3550 §5.1); the clock when the system has none.
pub(super) fn random_u32() -> u32 {
    getrandom::u32().unwrap_or_else(|_| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u32)
    })
}
