//! One broadcast in its shard: the pipeline that decides, the RTP sockets and RTMP connections that carry it out.

use std::mem::offset_of;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use sipcast_contract::report::Refusal;
use sipcast_contract::{BroadcastId, MediaOptions, MediaWanted, NegotiatedMedia, TargetId, Timestamp};
use sipcast_media::pipeline::{Pipeline, Port, Workspace};
use smallvec::SmallVec;

use crate::ring::{OperationId, Ring};
use crate::rtp_ports::RtpPorts;
use crate::shard::Tag;

/// A broadcast. It leaves its table only when the kernel holds nothing of it any more.
// What every datagram needs comes first, so that it can be fetched in one piece: `HOT_LEN`.
#[repr(C)]
pub struct Broadcast {
    /// It is on the list of those to be served this turn.
    pub touched: bool,
    /// Datagrams came since figures were last reported.
    pub had_media: bool,
    /// A receive of its ended and is to begin again.
    pub wants_listening: bool,
    /// A receive of its ended for want of slots; it is on the list of those to begin again.
    pub is_dry: bool,
    /// Datagrams on their way out.
    transmits: u32,
    /// When its deadline fires.
    pub scheduled: Option<Timestamp>,
    sockets: [Option<RtpSocket>; PORTS.len()],
    /// What decides.
    pub pipeline: Pipeline,
    /// Its name.
    pub id: BroadcastId,
    /// Its RTMP connections, by the slot of their table.
    pub connections: SmallVec<[(TargetId, u32); 2]>,
    /// Being closed, at the latest by then.
    pub closing: Option<Timestamp>,
}

/// Bytes of a broadcast that are worth to be fetched for a datagram on its way.
pub const HOT_LEN: usize = offset_of!(Broadcast, pipeline) + Pipeline::HOT_LEN;

struct RtpSocket {
    socket: Rc<OwnedFd>,
    receive: Option<OperationId>,
    /// RTCP comes with RTP: nothing is awaited here. It stays bound, because an offer of the peer may part the two.
    is_unused: bool,
    dropped: u32,
}

impl RtpSocket {
    fn new(socket: Rc<OwnedFd>) -> Self {
        Self { socket, receive: None, is_unused: false, dropped: 0 }
    }
}

/// RTP ports of the two descriptions.
#[derive(Clone, Copy, Debug, Default)]
pub struct BoundPorts {
    /// Audio RTP.
    pub audio: Option<u16>,
    /// Video RTP.
    pub video: Option<u16>,
}

const PORTS: [Port; 4] = [Port::AudioRtp, Port::AudioRtcp, Port::VideoRtp, Port::VideoRtcp];

const fn index(port: Port) -> usize {
    match port {
        Port::AudioRtp => 0,
        Port::AudioRtcp => 1,
        Port::VideoRtp => 2,
        Port::VideoRtcp => 3,
    }
}

impl Broadcast {
    /// Binds the ports that are wanted. Nothing listens yet.
    ///
    /// # Errors
    /// [`Refusal`] of the port range; nothing stays bound.
    pub fn open(
        id: BroadcastId,
        wanted: MediaWanted,
        bind: IpAddr,
        options: &MediaOptions,
        ports: &mut RtpPorts,
        now: Timestamp,
    ) -> Result<(Self, BoundPorts), Refusal> {
        let mut sockets = [const { None }; PORTS.len()];
        let mut bound = BoundPorts::default();
        for (wanted, rtp, rtcp, port) in [
            (wanted.audio, Port::AudioRtp, Port::AudioRtcp, &mut bound.audio),
            (wanted.video, Port::VideoRtp, Port::VideoRtcp, &mut bound.video),
        ] {
            if wanted {
                let pair = ports.bind(bind)?;
                *port = Some(pair.port);
                sockets[index(rtp)] = Some(RtpSocket::new(pair.rtp));
                sockets[index(rtcp)] = Some(RtpSocket::new(pair.rtcp));
            }
        }
        let seed = seed(id, &bound, now);
        let pipeline = Pipeline::new(options, wanted, seed, now);
        let broadcast = Self {
            id,
            pipeline,
            connections: SmallVec::new(),
            touched: false,
            had_media: false,
            wants_listening: false,
            is_dry: false,
            scheduled: None,
            closing: None,
            sockets,
            transmits: 0,
        };
        Ok((broadcast, bound))
    }

    /// Listens on every port that does not.
    pub fn listen(&mut self, ring: &mut Ring<Tag>, slot: u32) {
        if self.closing.is_some() {
            return;
        }
        for port in PORTS {
            if let Some(socket) = &mut self.sockets[index(port)]
                && socket.receive.is_none()
                && !socket.is_unused
            {
                let tag = Tag::Datagram { broadcast: slot, port };
                socket.receive = Some(ring.receive_datagrams(&socket.socket, tag));
            }
        }
    }

    /// Listens to RTCP where `media` have it: where both sides multiplex it with RTP (RFC 5761), not at its own port.
    pub fn set_media(&mut self, media: &NegotiatedMedia, ring: &mut Ring<Tag>, slot: u32) {
        for (rtcp, transport) in [
            (Port::AudioRtcp, media.audio.as_ref().map(|audio| &audio.transport)),
            (Port::VideoRtcp, media.video.as_ref().map(|video| &video.transport)),
        ] {
            let Some(socket) = &mut self.sockets[index(rtcp)] else { continue };
            socket.is_unused = transport.is_some_and(|transport| transport.rtcp_mux);
            if let Some(receive) = socket.receive.filter(|_| socket.is_unused) {
                ring.cancel(receive);
            }
        }
        self.listen(ring, slot);
    }

    /// The receive on `port` ended.
    pub fn listen_ended(&mut self, port: Port) {
        if let Some(socket) = &mut self.sockets[index(port)] {
            socket.receive = None;
        }
    }

    /// Takes the kernel's drop counter of `port`; gives how many were dropped since the last one.
    pub fn count_dropped(&mut self, port: Port, dropped: u32) -> u32 {
        let Some(socket) = &mut self.sockets[index(port)] else { return 0 };
        let since = dropped.wrapping_sub(socket.dropped);
        socket.dropped = dropped;
        since
    }

    /// The socket of `port`, with one more datagram on its way out.
    pub fn transmit_on(&mut self, port: Port) -> Option<&Rc<OwnedFd>> {
        let socket = self.sockets[index(port)].as_ref()?;
        self.transmits += 1;
        Some(&socket.socket)
    }

    /// A datagram is out.
    pub fn transmitted(&mut self) {
        self.transmits -= 1;
    }

    /// When it wants to be served next, whatever comes.
    pub fn next_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let closing = self.closing.filter(|deadline| *deadline > now);
        [self.pipeline.next_timeout(), closing].into_iter().flatten().min()
    }

    /// Stops listening and ends all targets, at the latest by `deadline`.
    pub fn close(
        &mut self,
        ring: &mut Ring<Tag>,
        now: Timestamp,
        deadline: Timestamp,
        workspace: &mut Workspace,
    ) {
        if self.closing.is_none() {
            self.closing = Some(deadline);
            self.pipeline.close(now, workspace);
            self.stop_listening(ring);
        }
    }

    /// Ends every receive. Doing it again does no harm.
    pub fn stop_listening(&self, ring: &mut Ring<Tag>) {
        for receive in self.sockets.iter().flatten().filter_map(|socket| socket.receive) {
            ring.cancel(receive);
        }
    }

    /// Whether it is closed and the kernel holds nothing of it.
    pub fn is_over(&self) -> bool {
        self.closing.is_some()
            && self.connections.is_empty()
            && self.transmits == 0
            && self.sockets.iter().flatten().all(|socket| socket.receive.is_none())
    }
}

/// Different for every broadcast and start of the process; only random identifiers hang on it, no secrets.
fn seed(id: BroadcastId, bound: &BoundPorts, now: Timestamp) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(id.0);
    hasher.write_u64(now.as_nanos());
    hasher.write_u16(bound.audio.or(bound.video).unwrap_or(0));
    hasher.finish()
}
