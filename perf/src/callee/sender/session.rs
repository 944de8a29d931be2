//! One call's media as its sender keeps it: what was agreed, where both streams are, and when they are due.
//! Takes: plans, time. Gives: RTP headers, due times.
//! Leaves out: sending (`send_queue`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::SockAddr;

use super::super::audio::{AudioCodec, AudioRecording, PACKETS_PER_SECOND};
use super::super::encoder::{PictureEncoder, RTP_HEADER_LEN};
use super::super::network::Path;
use super::super::packetizer::PacketizationMode;
use super::super::sdp::{MediaPlan, Route};
use super::super::telephone_event::TelephoneEventReceiver;
use crate::call_clock::CallMoments;

/// One of the two streams of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Medium {
    Audio,
    Video,
}

/// One RTP stream out.
pub struct Stream {
    pub ssrc: u32,
    sequence_number: u16,
    pub first_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
    pub lost_reported: i32,
    /// Where its packets go, as the kernel takes it.
    pub to: Option<SockAddr>,
    pub path: Path,
    /// When its latest packet leaves the network: none may overtake it unless the network reorders.
    pub latest_leave: Instant,
}

impl Stream {
    fn new(path: Path, now: Instant) -> Self {
        Self {
            ssrc: random_u32(),
            sequence_number: random_u32() as u16,
            first_timestamp: random_u32(),
            packets: 0,
            octets: 0,
            lost_reported: 0,
            to: None,
            path,
            latest_leave: now,
        }
    }

    // RFC 3550 §5.1.
    pub fn header(
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

    /// When a packet that is sent at `now` leaves the network; `None` when it is lost there.
    pub fn leave(&mut self, now: Instant) -> Option<Instant> {
        let leave = now + self.path.next()?;
        let leave = if self.path.reorders() { leave } else { leave.max(self.latest_leave) };
        self.latest_leave = self.latest_leave.max(leave);
        Some(leave)
    }
}

/// What a session is made of.
pub struct SessionParts {
    pub id: u64,
    pub number: u32,
    pub call_id: String,
    pub called: String,
    pub profile: usize,
    pub plan: MediaPlan,
    pub start: Instant,
    pub sound: Option<(AudioCodec, Arc<AudioRecording>)>,
    pub moments: Option<Arc<CallMoments>>,
    pub paths: [Path; 2],
}

/// One call's media.
pub struct Session {
    pub id: u64,
    /// Its place in the order in which calls began.
    pub number: u32,
    pub call_id: String,
    /// The user part that was called.
    pub called: String,
    pub profile: usize,
    pub plan: MediaPlan,
    pub start: Instant,
    /// Time since the Unix epoch at `start`: the one clock behind both streams' sender reports.
    pub wall: Duration,
    pub audio: Stream,
    pub video: Stream,
    pub next_audio: u64,
    pub next_frame: u64,
    /// Frames the content is ahead of the frame count, after jumps to an IDR picture of the recording.
    pub content_shift: u64,
    pub audio_begun: bool,
    pub idr_wanted: bool,
    pub next_report: Instant,
    /// Sends no RTP any more, because the call is about to end.
    pub muted: bool,
    pub sound: Option<(AudioCodec, Arc<AudioRecording>)>,
    pub encoder: Option<(PacketizationMode, PictureEncoder)>,
    pub events: TelephoneEventReceiver,
    pub latest_fir: Option<u8>,
    pub moments: Option<Arc<CallMoments>>,
}

impl Session {
    pub fn new(parts: SessionParts) -> Self {
        let start = parts.start;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
            + start.saturating_duration_since(Instant::now());
        let [audio, video] = parts.paths;
        let mut session = Self {
            id: parts.id,
            number: parts.number,
            call_id: parts.call_id,
            called: parts.called,
            profile: parts.profile,
            plan: parts.plan,
            start,
            wall,
            audio: Stream::new(audio, start),
            video: Stream::new(video, start),
            next_audio: 0,
            next_frame: 0,
            content_shift: 0,
            audio_begun: false,
            idr_wanted: false,
            next_report: start,
            muted: false,
            sound: parts.sound,
            encoder: None,
            events: TelephoneEventReceiver::default(),
            latest_fir: None,
            moments: parts.moments,
        };
        session.set_plan(parts.plan);
        session
    }

    pub fn set_plan(&mut self, plan: MediaPlan) {
        self.plan = plan;
        self.audio.to = plan.audio.map(|audio| audio.route.rtp.into());
        self.video.to = plan.video.map(|video| video.route.rtp.into());
    }

    /// When the next packet of sound is due.
    pub fn audio_due(&self) -> Instant {
        let packet = self.next_audio.saturating_add(1);
        self.start + Duration::from_nanos(packet.saturating_mul(1_000_000_000 / PACKETS_PER_SECOND))
    }

    /// When the next picture is due.
    pub fn frame_due(&self, frame_rate: u32) -> Instant {
        self.start + frame_time(self.next_frame, frame_rate)
    }

    pub fn stream(&self, medium: Medium) -> &Stream {
        match medium {
            Medium::Audio => &self.audio,
            Medium::Video => &self.video,
        }
    }

    /// The addresses that its peer sends from.
    pub fn sources(&self) -> impl Iterator<Item = SocketAddr> {
        self.plan.routes().flat_map(|route| [route.rtp, route.rtcp])
    }
}

impl MediaPlan {
    pub(super) fn routes(&self) -> impl Iterator<Item = Route> + use<> {
        self.audio.map(|audio| audio.route).into_iter().chain(self.video.map(|video| video.route))
    }

    /// Whether no stream is wanted by the peer.
    pub fn held(&self) -> bool {
        self.routes().all(|route| !route.sending)
    }
}

/// From the start to frame `frame`.
pub fn frame_time(frame: u64, frame_rate: u32) -> Duration {
    Duration::from_nanos((u128::from(frame) * 1_000_000_000 / u128::from(frame_rate)) as u64)
}

/// Random octets for SSRCs and first sequence numbers (RFC 3550 §5.1); the clock when the system has none.
pub fn random_u32() -> u32 {
    getrandom::u32().unwrap_or_else(|_| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u32)
    })
}
