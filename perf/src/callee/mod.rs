//! A SIP user agent server on loopback that answers calls with a real picture and real sound: the other side of the
//! demo, of tests, and of the load harness. Its SIP stands on the rsip crate and on transactions and dialogs of its
//! own, so that it is independent of what it calls for.
//!
//! Takes: INVITE, re-INVITE, UPDATE, BYE, CANCEL, OPTIONS, INFO, REGISTER over UDP or TCP; RTP, RTCP.
//! Gives: H.264 with a flash each second, G.711 with a beep at each flash, sender reports; counts and events.
//! Leaves out: placing calls, SRTP, reliable provisional responses.

mod departures;
mod dialog;
mod digest;
mod encoder;
mod font;
mod media;
mod message;
mod packetizer;
mod picture;
mod rtcp;
mod sdp;
mod sender;
mod sockets;
mod statistics;
#[allow(unsafe_code)]
mod syscall;
mod telephone_event;
mod tone;
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

pub use departures::{Departure, PICTURE_TAIL_LEN, PictureTail, picture_tails};
pub use encoder::VideoOptions;
pub use media::PictureSource;
pub use packetizer::PacketizationMode;
pub use picture::{FLASH_FRAMES, flash_region};
pub use statistics::{CalleeEvent, CalleeStatistics, Lateness};
pub use tone::{BEEP_SAMPLES, Law};
pub use unsignalled::UnsignalledCalls;

use digest::Authenticator;
use media::Media;
use statistics::Tally;
use transport::Endpoint;
use user_agent::{Policy, UserAgent};

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
    /// The law of G.711 to take when it is offered; `None` takes the first of the offer.
    pub law: Option<Law>,
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
            law: None,
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
            .field("law", &self.law)
            .field("auth", &self.auth.as_ref().map(|(user, _)| (user, "***")))
            .field("answer_after", &self.answer_after)
            .field("calls_max", &self.calls_max)
            .finish()
    }
}

/// A running callee. Dropping it ends its calls without waiting; [`shutdown`](Self::shutdown) waits.
pub struct Callee {
    local_addr: SocketAddr,
    tally: Arc<Tally>,
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
            let (tally, video, pictures) = (Arc::clone(&tally), options.video, options.pictures);
            tokio::task::spawn_blocking(move || Media::new(local_addr.ip(), video, pictures, tally))
                .await
                .context("callee: pictures")??
        };
        let policy = Policy {
            local: local_addr,
            tcp: options.transport == SipTransport::Tcp,
            calls_max: options.calls_max,
            law: options.law,
            answer_after: options.answer_after,
        };
        let authenticator = options.auth.map(|(user, password)| Authenticator::new(user, password));
        let agent = UserAgent::new(policy, authenticator, media, Arc::clone(&tally));
        let stop = CancellationToken::new();
        let task = tokio::spawn(transport::serve(endpoint, agent, stop.clone()));
        Ok(Self { local_addr, tally, stop, task: Some(task) })
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

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<CalleeEvent> {
        self.tally.subscribe()
    }

    /// Hangs up with BYE, waits up to two seconds for the answers, and stops all threads.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
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
