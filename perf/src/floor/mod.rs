//! The floor: what the kernel and the arithmetic of N calls cost at least. One thread and one ring receive the calls'
//! datagrams, put pictures and sound into RTMP messages, and send each target's with one vectored send a turn.
//!
//! Takes: RTP at known ports, H.264 in packetization mode 1 and PCMU, in order. Gives: one RTMP publication a call.
//! Leaves out, on purpose: SIP, RTCP, reordering, loss, timers, keyframe requests, a send queue's limits, reconnecting,
//! statistics. Whatever does not hold (a packet missing, a server that does not keep up) ends it with an error.
//!
//! It stands on the product's ring, pool and AAC encoder, so that the difference between the two is what the
//! product does itself.

mod picture;
mod publication;
mod sound;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use sipcast_contract::limits::{IOVECS_MAX, SLOT_LEN};
use sipcast_dataplane::ring::{Completion, Datagram, Outcome, Ring, socket_option};
use sipcast_pool::{Arena, Pool, Segment};

use picture::Pictures;
use publication::Publication;
use sound::Sound;

/// UDP ports of one call: audio, its RTCP, video, its RTCP. Nobody listens on the RTCP ports.
pub const PORTS_PER_CALL: u16 = 4;
/// From a call's first port to its video.
const VIDEO_PORT: u16 = 2;
/// Completions that end a wait before the deadline: only a burst does.
const WANT: usize = 2_048;
/// Slots of the pool: twice what the kernel holds, and room for an IDR picture and sound of each call.
const SLOTS: u16 = 2_048;
const SLOTS_PER_CALL: u16 = 64;
/// Segments of sound that wait for a picture.
const SOUND_SEGMENTS_MAX: usize = 24;
/// Longest wait without any datagram.
const IDLE: Duration = Duration::from_secs(1);
/// Octets of an RTP header without CSRCs and extension (RFC 3550 §5.1).
const RTP_HEADER_LEN: usize = 12;

/// What to carry.
#[derive(Clone, Debug)]
pub struct FloorOptions {
    /// Calls.
    pub calls: u16,
    /// First UDP port; call `n` has [`PORTS_PER_CALL`] from `first_port + n * PORTS_PER_CALL` on.
    pub first_port: u16,
    /// The RTMP server.
    pub server: SocketAddr,
    /// Application of the server.
    pub app: String,
    /// What stream names begin with; the call's number in five digits follows.
    pub stream_prefix: String,
    /// How long datagrams collect before they are served together.
    pub gather: Duration,
}

/// Publishes all calls, calls `ready`, then carries media until something breaks.
///
/// # Errors
/// Names what broke: a port that is taken, a server that refuses, a packet missing.
pub fn run(options: &FloorOptions, ready: impl FnOnce()) -> anyhow::Result<()> {
    let mut floor = Floor::new(options)?;
    ready();
    loop {
        floor.turn()?;
    }
}

#[derive(Clone, Copy)]
enum Tag {
    Audio(u16),
    Video(u16),
    Sent(u16),
}

struct Call {
    target: Rc<OwnedFd>,
    audio: Rc<OwnedFd>,
    video: Rc<OwnedFd>,
    pictures: Pictures,
    sound: Sound,
    /// Messages for the next send.
    out: Vec<Segment>,
    is_sending: bool,
    /// A picture waits to be sent, or much sound.
    is_due: bool,
    is_touched: bool,
}

struct Floor {
    // Packet memory goes in this order: who holds segments first, the ring before the pool.
    calls: Vec<Call>,
    arena: Arena,
    ring: Ring<Tag>,
    touched: Vec<u16>,
    /// Receives to be begun again when there are slots.
    ended: Vec<Tag>,
    gather: Duration,
}

impl Floor {
    fn new(options: &FloorOptions) -> anyhow::Result<Self> {
        let ports = options.calls.checked_mul(PORTS_PER_CALL);
        ports
            .and_then(|ports| options.first_port.checked_add(ports))
            .with_context(|| format!("--calls: {} do not fit above --first-port", options.calls))?;
        let slots = SLOTS + options.calls.saturating_mul(SLOTS_PER_CALL).min(u16::MAX - SLOTS);
        let pool = Pool::new(slots, SLOT_LEN);
        let mut ring = Ring::new(pool.clone())?;
        let calls = (0..options.calls)
            .map(|number| open_call(options, number))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for (number, call) in calls.iter().enumerate() {
            ring.receive_datagrams(&call.audio, Tag::Audio(number as u16));
            ring.receive_datagrams(&call.video, Tag::Video(number as u16));
        }
        ring.submit()?;
        Ok(Self {
            calls,
            arena: Arena::new(pool),
            ring,
            touched: Vec::new(),
            ended: Vec::new(),
            gather: options.gather,
        })
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        self.ring.wait(WANT, self.gather, Some(IDLE))?;
        for _ in 0..self.ring.completions() {
            if let Some(completion) = self.ring.reap() {
                self.complete(completion)?;
            }
        }
        while let Some(number) = self.touched.pop() {
            self.flush(number)?;
        }
        if !self.ended.is_empty() && self.ring.may_receive() {
            while let Some(tag) = self.ended.pop() {
                let (Tag::Audio(number) | Tag::Video(number) | Tag::Sent(number)) = tag;
                let call = &self.calls[usize::from(number)];
                let socket = if matches!(tag, Tag::Audio(_)) { &call.audio } else { &call.video };
                self.ring.receive_datagrams(socket, tag);
            }
        }
        self.ring.submit()?;
        Ok(())
    }

    fn complete(&mut self, completion: Completion<Tag>) -> anyhow::Result<()> {
        let (Tag::Audio(number) | Tag::Video(number) | Tag::Sent(number)) = completion.tag;
        let call = &mut self.calls[usize::from(number)];
        match (completion.tag, completion.outcome) {
            (Tag::Audio(_), Outcome::Datagram(Datagram { payload, .. })) => {
                call.sound.push(&payload, &mut self.arena, &mut call.out)?;
                // Sound goes with the next picture, if there is one.
                call.is_due |= call.out.len() > SOUND_SEGMENTS_MAX;
            }
            (Tag::Video(_), Outcome::Datagram(Datagram { payload, .. })) => {
                let before = call.out.len();
                call.pictures.push(payload, &mut self.arena, &mut call.out)?;
                call.is_due |= call.out.len() > before;
            }
            (Tag::Sent(_), Outcome::Done(_)) => call.is_sending = false,
            (Tag::Sent(_), outcome) => anyhow::bail!("call {number}: the send failed: {outcome:?}"),
            (Tag::Audio(_) | Tag::Video(_), Outcome::Failed(libc::ENOBUFS)) => {}
            (_, outcome) => anyhow::bail!("call {number}: receiving failed: {outcome:?}"),
        }
        if completion.ended && !matches!(completion.tag, Tag::Sent(_)) {
            self.ended.push(completion.tag);
        }
        if call.is_due && !std::mem::replace(&mut call.is_touched, true) {
            self.touched.push(number);
        }
        Ok(())
    }

    /// One vectored send of all that is ready.
    fn flush(&mut self, number: u16) -> anyhow::Result<()> {
        let call = &mut self.calls[usize::from(number)];
        call.is_touched = false;
        if call.is_sending {
            return Ok(());
        }
        anyhow::ensure!(call.out.len() <= IOVECS_MAX, "call {number}: the server does not keep up");
        self.ring.send(&call.target, &mut call.out, Tag::Sent(number));
        call.is_sending = true;
        call.is_due = false;
        Ok(())
    }
}

fn open_call(options: &FloorOptions, number: u16) -> anyhow::Result<Call> {
    let first = options.first_port + number * PORTS_PER_CALL;
    let bind = |port: u16| -> anyhow::Result<Rc<OwnedFd>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("--first-port: UDP port {port} of call {number}"))?;
        let socket = OwnedFd::from(socket);
        socket_option::prepare_rtp(&socket)?;
        Ok(Rc::new(socket))
    };
    let (audio, video) = (bind(first)?, bind(first + VIDEO_PORT)?);
    let name = format!("{}{number:05}", options.stream_prefix);
    let publication = Publication::open(options.server, &options.app, &name)
        .with_context(|| format!("publish {name} at {}", options.server))?;
    let Publication { socket, message_stream } = publication;
    Ok(Call {
        target: Rc::new(socket),
        audio,
        video,
        pictures: Pictures::new(message_stream),
        sound: Sound::new(message_stream)?,
        out: Vec::with_capacity(IOVECS_MAX),
        is_sending: false,
        is_due: false,
        is_touched: false,
    })
}

/// Marker, sequence number and timestamp of an RTP packet, and its payload.
///
/// # Errors
/// When it is none of what the floor expects.
fn parse_rtp(datagram: &[u8]) -> anyhow::Result<(bool, u16, u32)> {
    let header = datagram.first_chunk::<RTP_HEADER_LEN>().context("a datagram shorter than an RTP header")?;
    anyhow::ensure!(header[0] == 0x80, "RTP with padding, extension or CSRCs");
    let sequence_number = u16::from_be_bytes([header[2], header[3]]);
    let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    Ok((header[1] & 0x80 != 0, sequence_number, timestamp))
}

/// Octets of a type 0 chunk header on a one-octet chunk stream (Adobe RTMP 1.0 §5.3.1).
const CHUNK_HEADER_LEN: usize = 12;
/// Octets a chunk may have on the floor's connections: every message is one chunk.
const CHUNK_SIZE: u32 = 4 << 20;

fn chunk_header(
    chunk_stream: u8,
    timestamp_ms: u32,
    len: usize,
    kind: u8,
    message_stream: u32,
) -> [u8; CHUNK_HEADER_LEN] {
    let [_, t0, t1, t2] = timestamp_ms.to_be_bytes();
    let [_, l0, l1, l2] = (len as u32).to_be_bytes();
    let [s0, s1, s2, s3] = message_stream.to_le_bytes();
    [chunk_stream, t0, t1, t2, l0, l1, l2, kind, s0, s1, s2, s3]
}
