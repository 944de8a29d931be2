//! Media that comes before anything is agreed on: packets may overtake the answer that announces them (RFC 3264 §5.1),
//! and the first of them hold the IDR picture that all others refer to.
//! Takes: datagrams as they came. Gives: the latest of them, in their order, once there is an agreement.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_pool::Segment;

use super::Port;

/// A datagram as it came in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) port: Port,
    pub(super) from: SocketAddr,
    pub(super) datagram: Segment,
    pub(super) arrival: Timestamp,
}

/// Datagrams that wait for an agreement. Holds no memory once it was there.
#[derive(Debug, Default)]
pub(super) struct EarlyMedia {
    waiting: VecDeque<Incoming>,
}

impl EarlyMedia {
    /// Keeps a datagram. `false`: too many wait; the first ones hold the IDR picture, so this one goes.
    pub(super) fn hold(&mut self, incoming: Incoming) -> bool {
        let has_room = self.waiting.len() < DATAGRAMS_MAX;
        if has_room {
            self.waiting.push_back(incoming);
        }
        has_room
    }

    /// Lets the oldest one go if its answer should have followed by now, and tells where it came in.
    pub(super) fn pop_stale(&mut self, now: Timestamp) -> Option<Port> {
        self.waiting.front().filter(|early| now > early.arrival + AGE_MAX)?;
        self.waiting.pop_front().map(|early| early.port)
    }

    /// When the oldest one came.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.waiting.front().map(|early| early.arrival)
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<Incoming> {
        let incoming = self.waiting.pop_front();
        if incoming.is_none() && self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
        incoming
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Nothing will be agreed on any more.
    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }
}

/// Datagrams of one broadcast that wait: an IDR picture of 60 kB and the sound beside it.
const DATAGRAMS_MAX: usize = 64;
/// How long an answer may be on its way behind the media; what is older belongs to ringing.
const AGE_MAX: Duration = Duration::from_millis(500);
