//! Calls without SIP: the callee's recorded media to ports that are known beforehand, for gateways that take a session
//! description as a file.
//! Takes: where to send. Gives: RTP and RTCP, counts, the session description.
//! Leaves out: what comes back, but for keyframe requests by RTCP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use super::audio::AudioCodec;
use super::departures::Departure;
use super::encoder::VideoOptions;
use super::media::{Media, MediaOptions, MediaSession, PictureSource};
use super::network::NetworkProfile;
use super::profile::CallProfile;
use super::sdp::{AudioPlan, MediaPlan, Route, VideoPlan};
use super::statistics::{CalleeStatistics, Lateness, Tally};

/// Payload type of PCMU (RFC 3551 §6).
const PCMU: u8 = 0;
/// Dynamic payload type of the H.264.
const H264: u8 = 96;

/// Senders of media that nobody has to call. Dropping it ends them.
pub struct UnsignalledCalls {
    media: Option<Media>,
    video: VideoOptions,
    tally: Arc<Tally>,
    sessions: Vec<MediaSession>,
    begun: u32,
}

impl UnsignalledCalls {
    /// Prepares the recording, which takes a second or two.
    ///
    /// # Errors
    /// When an option is out of range, the codec fails, or no port is free.
    pub async fn prepare(video: VideoOptions) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::new());
        let shared = Arc::clone(&tally);
        let options = MediaOptions {
            profiles: vec![CallProfile { video, audio: Some(AudioCodec::Pcmu) }],
            source: PictureSource::Recorded,
            network: NetworkProfile::default(),
            segmentation: false,
            clock: None,
        };
        let media =
            tokio::task::spawn_blocking(move || Media::new(IpAddr::V4(Ipv4Addr::LOCALHOST), options, shared));
        let media = media.await.context("pictures")??;
        Ok(Self { media: Some(media), video, tally, sessions: Vec::new(), begun: 0 })
    }

    /// Begins a call: PCMU to `audio`, H.264 to `video`, RTCP to the ports above them.
    ///
    /// # Errors
    /// When there is no sender any more.
    pub fn begin(&mut self, audio: SocketAddr, video: SocketAddr) -> anyhow::Result<()> {
        let mut session = self.media.as_mut().context("the senders have ended")?.open(0)?;
        let route = |rtp: SocketAddr| Route {
            rtp,
            rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1),
            rtcp_mux: false,
            sending: true,
        };
        let plan = MediaPlan {
            audio: Some(AudioPlan {
                route: route(audio),
                codec: AudioCodec::Pcmu,
                payload_type: PCMU,
                telephone_event: None,
            }),
            video: Some(VideoPlan {
                route: route(video),
                mode: self.video.packetization_mode,
                payload_type: H264,
            }),
        };
        let name = format!("unsignalled-{}", self.begun);
        session.set_plan(&name, &name, plan, Instant::now());
        self.sessions.push(session);
        self.begun += 1;
        Ok(())
    }

    /// How many calls were begun so far: the number of the next one in [`Departure::call`].
    pub const fn begun(&self) -> u32 {
        self.begun
    }

    /// Ends all calls with RTCP BYE.
    pub fn end(&mut self) {
        self.sessions.clear();
    }

    /// The session description (RFC 8866) for whoever receives a call at these ports.
    pub fn session_description(&self, audio: SocketAddr, video: SocketAddr) -> String {
        let sets = self.media.as_ref().map_or("", |media| media.sprop_parameter_sets(0));
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=call\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {} RTP/AVP {PCMU}\r\na=rtpmap:{PCMU} PCMU/8000\r\n\
             m=video {} RTP/AVP {H264}\r\na=rtpmap:{H264} H264/90000\r\n\
             a=fmtp:{H264} packetization-mode={};sprop-parameter-sets={sets}\r\n",
            audio.port(),
            video.port(),
            self.video.packetization_mode as u8,
            ip = audio.ip(),
        )
    }

    /// The base64 of the parameter sets, with a comma between them (RFC 6184 §8.1).
    pub fn parameter_sets(&self) -> &str {
        self.media.as_ref().map_or("", |media| media.sprop_parameter_sets(0))
    }

    /// The counters as they are now.
    pub fn statistics(&self) -> CalleeStatistics {
        self.tally.snapshot()
    }

    /// How late packets left since the last [`reset_lateness`](Self::reset_lateness).
    pub fn lateness(&self) -> Lateness {
        self.tally.lateness()
    }

    /// Begins a new measurement of lateness.
    pub fn reset_lateness(&self) {
        self.tally.reset_lateness();
    }

    /// Notes when pictures leave from now on, up to `max` of them.
    pub fn note_departures(&self, max: usize) {
        self.tally.departures().begin(max);
    }

    /// Ends that and gives the notes.
    pub fn take_departures(&self) -> Vec<Departure> {
        self.tally.departures().take()
    }
}

impl Drop for UnsignalledCalls {
    fn drop(&mut self) {
        self.sessions.clear();
        if let Some(media) = self.media.take() {
            media.close();
        }
    }
}
