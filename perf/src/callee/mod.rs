//! A SIP user agent server on loopback that answers calls with a real picture and real sound: the other side of the
//! demo, of tests, and of the load harness. Its SIP stands on the rsip crate and on transactions and dialogs of its
//! own, so that it is independent of what it calls for.
//!
//! Takes: INVITE, re-INVITE, UPDATE, BYE, CANCEL, OPTIONS, INFO, REGISTER over UDP or TCP; RTP, RTCP.
//! Gives: H.264 with a flash each second, sound with a beep at each flash in the codec asked for, sender reports; counts
//! and events.
//! Leaves out: placing calls, SRTP, reliable provisional responses.

mod audio;
mod departures;
mod dialog;
mod digest;
mod encoder;
mod font;
mod media;
mod message;
mod network;
mod packetizer;
mod picture;
mod profile;
mod rtcp;
mod sdp;
mod sender;
mod sockets;
mod statistics;
#[allow(unsafe_code)]
mod syscall;
mod telephone_event;
mod transport;
mod unsignalled;
mod user_agent;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use audio::{AudioCodec, BEEP_SAMPLES};
pub use departures::{Departure, PICTURE_TAIL_LEN, PictureTail, picture_tails};
pub use encoder::VideoOptions;
pub use media::{PictureSource, THREAD_NAME};
pub use network::{JITTER_MAX, NetworkProfile};
pub use packetizer::PacketizationMode;
pub use picture::{FLASH_FRAMES, flash_region};
pub use profile::CallProfile;
pub use statistics::{CalleeEvent, CalleeStatistics, Lateness};
pub use unsignalled::UnsignalledCalls;

use digest::Authenticator;
use media::{Media, MediaOptions};
use sender::Command;
use statistics::Tally;
use transport::Endpoint;
use user_agent::{Policy, UserAgent};

use crate::call_clock::CallClock;

/// How SIP comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SipTransport {
    /// UDP.
    #[default]
    Udp,
    /// TCP, without delay.
    Tcp,
}

/// What the callee is like.
#[derive(Clone)]
pub struct CalleeOptions {
    /// Where SIP comes in; its address also carries the media. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// How SIP comes in.
    pub transport: SipTransport,
    /// The picture.
    pub video: VideoOptions,
    /// Whether pictures are encoded for each call or once for all.
    pub pictures: PictureSource,
    /// The codec of the sound to take when it is offered; else, and when `None`, the first G.711 of the offer.
    pub codec: Option<AudioCodec>,
    /// Kinds of calls beside that of `video` and `codec`, which they replace when there are any: a user part that
    /// begins with `pN-` gets number N, all others number 0.
    pub profiles: Vec<CallProfile>,
    /// What the network does to RTP packets on their way to the caller.
    pub network: NetworkProfile,
    /// Gives the kernel the packets of a picture in one piece (UDP GSO), which is cheaper.
    pub segmentation: bool,
    /// Where answers and pictures are told of when they leave.
    pub clock: Option<Arc<CallClock>>,
    /// User and password to ask for before a call or a registration is taken.
    pub auth: Option<(String, String)>,
    /// How long it rings before the answer.
    pub answer_after: Duration,
    /// Calls at once; further ones get 486.
    pub calls_max: usize,
}

impl Default for CalleeOptions {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            transport: SipTransport::Udp,
            video: VideoOptions::default(),
            pictures: PictureSource::Live,
            codec: None,
            profiles: Vec::new(),
            network: NetworkProfile::default(),
            segmentation: false,
            clock: None,
            auth: None,
            answer_after: Duration::ZERO,
            calls_max: 4_096,
        }
    }
}

impl fmt::Debug for CalleeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CalleeOptions")
            .field("bind", &self.bind)
            .field("transport", &self.transport)
            .field("video", &self.video)
            .field("pictures", &self.pictures)
            .field("codec", &self.codec)
            .field("profiles", &self.profiles)
            .field("network", &self.network)
            .field("segmentation", &self.segmentation)
            .field("auth", &self.auth.as_ref().map(|(user, _)| (user, "***")))
            .field("answer_after", &self.answer_after)
            .field("calls_max", &self.calls_max)
            .finish_non_exhaustive()
    }
}

/// A running callee. Dropping it ends its calls without waiting; [`shutdown`](Self::shutdown) waits.
pub struct Callee {
    local_addr: SocketAddr,
    tally: Arc<Tally>,
    commands: Option<std::sync::mpsc::Sender<Command>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Callee {
    /// Binds and begins to answer. Returns when the pictures are ready.
    ///
    /// # Errors
    /// When the address is taken, an option is out of range, or the codec fails; the text names which.
    pub async fn start(options: CalleeOptions) -> anyhow::Result<Self> {
        let endpoint = match options.transport {
            SipTransport::Udp => UdpSocket::bind(options.bind).await.map(Endpoint::Udp),
            SipTransport::Tcp => TcpListener::bind(options.bind).await.map(Endpoint::Tcp),
        }
        .with_context(|| format!("callee: SIP on {}", options.bind))?;
        let local_addr = endpoint.local_addr()?;
        let tally = Arc::new(Tally::new());
        let media = {
            let single = CallProfile { video: options.video, audio: options.codec };
            let media = MediaOptions {
                profiles: if options.profiles.is_empty() { vec![single] } else { options.profiles },
                source: options.pictures,
                network: options.network,
                segmentation: options.segmentation,
                clock: options.clock,
            };
            let tally = Arc::clone(&tally);
            tokio::task::spawn_blocking(move || Media::new(local_addr.ip(), media, tally))
                .await
                .context("callee: pictures")??
        };
        let policy = Policy {
            local: local_addr,
            tcp: options.transport == SipTransport::Tcp,
            calls_max: options.calls_max,
            answer_after: options.answer_after,
        };
        let authenticator = options.auth.map(|(user, password)| Authenticator::new(user, password));
        let commands = media.commands();
        let agent = UserAgent::new(policy, authenticator, media, Arc::clone(&tally));
        let stop = CancellationToken::new();
        let task = tokio::spawn(transport::serve(endpoint, agent, stop.clone()));
        Ok(Self { local_addr, tally, commands, stop, task: Some(task) })
    }

    /// Where SIP comes in.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counters as they are now.
    pub fn statistics(&self) -> CalleeStatistics {
        self.tally.snapshot()
    }

    /// How late packets left since the start or the last [`reset_lateness`](Self::reset_lateness).
    pub fn lateness(&self) -> Lateness {
        self.tally.lateness()
    }

    /// Begins a new measurement of lateness.
    pub fn reset_lateness(&self) {
        self.tally.reset_lateness();
    }

    /// Stops all RTP (`true`) and lets it go on (`false`) with an IDR picture; calls, clocks and RTCP go on meanwhile.
    /// While nothing is under way, what was sent and what was received can be compared to the packet.
    pub fn set_paused(&self, paused: bool) {
        self.tally.set_paused(paused);
    }

    /// Notes when the pictures of recorded calls leave from now on, up to `max` of them.
    pub fn note_departures(&self, max: usize) {
        self.tally.departures().begin(max);
    }

    /// Ends that and gives the notes.
    pub fn take_departures(&self) -> Vec<Departure> {
        self.tally.departures().take()
    }

    /// Stops the RTP of the call to this user part for good, as whoever hangs up does: what it sent can then arrive
    /// before its ports are closed. Only for recorded pictures.
    pub fn mute(&self, called: &str) {
        if let Some(commands) = &self.commands {
            // A sender that is gone sends nothing.
            let _ = commands.send(Command::Mute { called: called.to_owned() });
        }
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<CalleeEvent> {
        self.tally.subscribe()
    }

    /// Hangs up with BYE, waits up to two seconds for the answers, and stops all threads.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // The sender ends when nobody can command it any more.
        self.commands = None;
        if let Some(task) = self.task.take()
            && task.await.is_err()
        {
            tracing::error!("the callee's SIP task panicked");
        }
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
