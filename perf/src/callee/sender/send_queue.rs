//! Packets on their way out: those that leave now in as few system calls as they fit in, and those that the network
//! holds back.
//! Takes: packets with their due times. Gives: datagrams to the kernel, counts, lateness.
//! Leaves out: which packets there are (`sender`), what the network does (`network`).

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::audio::AudioRecording;
use super::super::encoder::{RTP_HEADER_LEN, Recording};
use super::super::sockets::Sockets;
use super::super::statistics::CalleeStatistics;
use super::super::syscall::{DATAGRAMS_MAX, Outgoing, send_many};
use super::session::{Medium, Session};
use crate::call_clock::CallClock;

/// Wait between attempts when the kernel has no room for a datagram, and their number.
const RETRY: (Duration, usize) = (Duration::from_micros(200), 20);
/// Packets held back by the network; further ones are lost there. Enough for a second of jitter on 1000 calls.
const HELD_MAX: usize = 200_000;

/// What a packet carries.
pub enum Payload {
    /// Part of a recorded picture.
    Picture { recording: Arc<Recording>, picture: u32, part: u32 },
    /// 20 ms of recorded sound.
    Sound { recording: Arc<AudioRecording>, position: u64 },
    /// Part of a picture of its own.
    Own(Box<[u8]>),
}

impl Payload {
    fn octets(&self) -> &[u8] {
        match self {
            Self::Picture { recording, picture, part } => {
                recording.access_units[*picture as usize].payload(*part as usize)
            }
            Self::Sound { recording, position } => recording.payload(*position),
            Self::Own(octets) => octets,
        }
    }

    /// Which picture of the recording it is part of.
    const fn picture(&self) -> Option<u32> {
        match self {
            Self::Picture { picture, .. } => Some(*picture),
            Self::Sound { .. } | Self::Own(_) => None,
        }
    }
}

/// One packet.
pub struct Packet {
    pub slot: usize,
    pub session: u64,
    pub medium: Medium,
    pub header: [u8; RTP_HEADER_LEN],
    pub payload: Payload,
    /// When it should leave.
    pub due: Instant,
}

/// All packets on their way.
pub struct SendQueue {
    ready: [Vec<Packet>; 2],
    held: BinaryHeap<Held>,
    order: u64,
    segmentation: bool,
}

/// A packet that the network holds back.
struct Held {
    order: u64,
    packet: Packet,
}

impl Held {
    const fn key(&self) -> (Instant, u64) {
        (self.packet.due, self.order)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    // The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl SendQueue {
    /// `segmentation`: the kernel cuts the datagrams of one picture from one piece (UDP GSO).
    pub fn new(segmentation: bool) -> Self {
        Self { ready: [Vec::new(), Vec::new()], held: BinaryHeap::new(), order: 0, segmentation }
    }

    /// A packet to leave now.
    pub fn push(&mut self, packet: Packet) {
        self.ready[packet.medium as usize].push(packet);
    }

    /// A packet to leave when it is due; returns whether there is room.
    pub fn hold(&mut self, packet: Packet) -> bool {
        if self.held.len() >= HELD_MAX {
            return false;
        }
        self.order += 1;
        self.held.push(Held { order: self.order, packet });
        true
    }

    /// When the next packet that is held back leaves.
    pub fn next(&self) -> Option<Instant> {
        self.held.peek().map(|held| held.packet.due)
    }

    /// Sends what is ready and what need not be held any longer.
    pub fn flush(
        &mut self,
        sessions: &[Option<Session>],
        sockets: &Sockets,
        clock: Option<&CallClock>,
        counted: &mut CalleeStatistics,
        late_us: &mut Vec<u64>,
    ) {
        let now = Instant::now();
        while self.held.peek().is_some_and(|held| held.packet.due <= now) {
            let Some(held) = self.held.pop() else { break };
            self.push(held.packet);
        }
        for (medium, socket) in [(Medium::Audio, &sockets.audio), (Medium::Video, &sockets.video)] {
            let ready = std::mem::take(&mut self.ready[medium as usize]);
            for chunk in ready.chunks(DATAGRAMS_MAX) {
                self.send(medium, socket, chunk, sessions, clock, counted, late_us);
            }
            self.ready[medium as usize] = ready;
            self.ready[medium as usize].clear();
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the sender's parts, borrowed one by one")]
    fn send(
        &mut self,
        medium: Medium,
        socket: &UdpSocket,
        packets: &[Packet],
        sessions: &[Option<Session>],
        clock: Option<&CallClock>,
        counted: &mut CalleeStatistics,
        late_us: &mut Vec<u64>,
    ) {
        let now = Instant::now();
        let moment = clock.map(|clock| clock.at(now));
        let mut batch = Vec::with_capacity(packets.len());
        let mut octets = 0;
        for packet in packets {
            // A call that ended while the network held its packet has no use for it.
            let session = sessions.get(packet.slot).and_then(Option::as_ref);
            let Some(session) = session.filter(|session| session.id == packet.session) else { continue };
            let Some(to) = &session.stream(medium).to else { continue };
            let payload = packet.payload.octets();
            octets += payload.len() as u64;
            batch.push(Outgoing { to, header: packet.header, payload });
            late_us.push(now.saturating_duration_since(packet.due).as_micros() as u64);
            if let (Some(moments), Some(picture), Some(moment)) =
                (&session.moments, packet.payload.picture(), moment)
            {
                moments.sent(picture, moment);
            }
        }
        let sent = self.send_all(socket, &batch, counted);
        match medium {
            Medium::Audio => counted.audio_packets += sent,
            Medium::Video => counted.video_packets += sent,
        }
        counted.octets += octets;
    }

    /// Sends everything, waiting a little when the kernel has no room; returns how many packets left.
    fn send_all(
        &mut self,
        socket: &UdpSocket,
        mut batch: &[Outgoing<'_>],
        counted: &mut CalleeStatistics,
    ) -> u64 {
        let mut sent = 0;
        let mut attempts = 0;
        while !batch.is_empty() {
            match send_many(socket, batch, self.segmentation) {
                Ok(taken) => {
                    sent += taken as u64;
                    batch = &batch[taken..];
                    attempts = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && attempts < RETRY.1 => {
                    attempts += 1;
                    std::thread::sleep(RETRY.0);
                }
                // A device or a path without room for segments: one datagram a message from now on.
                Err(_) if self.segmentation => self.segmentation = false,
                // This datagram cannot go (no route, say); the others may.
                Err(_) => {
                    counted.send_failures += 1;
                    batch = &batch[1..];
                }
            }
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(due: Instant, mark: u8) -> Packet {
        Packet {
            slot: 0,
            session: 0,
            medium: Medium::Audio,
            header: [mark; RTP_HEADER_LEN],
            payload: Payload::Own(Box::new([])),
            due,
        }
    }

    #[test]
    fn what_is_held_leaves_by_its_time_and_in_order() {
        let now = Instant::now();
        let mut queue = SendQueue::new(false);
        for (milliseconds, mark) in [(20, 1), (10, 2), (20, 3), (5, 4)] {
            assert!(queue.hold(packet(now + Duration::from_millis(milliseconds), mark)));
        }
        assert_eq!(queue.next(), Some(now + Duration::from_millis(5)));
        let order: Vec<u8> =
            std::iter::from_fn(|| queue.held.pop()).map(|held| held.packet.header[0]).collect();
        assert_eq!(order, [4, 2, 1, 3]);
    }
}
