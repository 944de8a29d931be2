//! One TCP connection to an RTMP server: its socket and the operations it has in the ring.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use sipcast_contract::TargetId;
use sipcast_media::rtmp::target::ChunkList;

use crate::ring::{OperationId, Ring, socket_option};
use crate::shard::Tag;

/// Bytes read at once. A server sends acknowledgements and command answers, nothing large.
const RECEIVE_LEN: usize = 4096;

/// A connection. It leaves its table only when the kernel holds nothing of it any more.
pub struct Connection {
    /// The broadcast's slot.
    pub broadcast: u32,
    /// The target it serves.
    pub target: TargetId,
    /// Where it is on its way.
    pub phase: Phase,
    socket: Rc<OwnedFd>,
    connect: Option<OperationId>,
    receive: Option<OperationId>,
    send: Option<OperationId>,
    /// Bytes of the send in flight.
    sending: usize,
    buffer: Option<Box<[u8]>>,
}

/// Phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP is connecting.
    Connecting,
    /// Bytes may flow.
    Open,
    /// Given up; waits for its last completions.
    Closing,
}

impl Connection {
    /// Begins to connect.
    ///
    /// # Errors
    /// When no socket can be had; nothing was started.
    pub fn connect(
        ring: &mut Ring<Tag>,
        slot: u32,
        broadcast: u32,
        target: TargetId,
        to: SocketAddr,
    ) -> std::io::Result<Self> {
        let socket = Rc::new(socket_option::tcp_socket(&to)?);
        let connect = ring.connect(&socket, to, Tag::Connected(slot));
        Ok(Self {
            broadcast,
            target,
            phase: Phase::Connecting,
            socket,
            connect: Some(connect),
            receive: None,
            send: None,
            sending: 0,
            buffer: Some(vec![0; RECEIVE_LEN].into()),
        })
    }

    /// TCP connected: begins to read.
    pub fn connected(&mut self, ring: &mut Ring<Tag>, slot: u32) {
        self.connect = None;
        if self.phase == Phase::Connecting {
            self.phase = Phase::Open;
            self.read(ring, slot);
        }
    }

    /// TCP did not connect.
    pub fn connect_failed(&mut self) {
        self.connect = None;
    }

    /// Reads on, unless the connection is closing.
    pub fn read(&mut self, ring: &mut Ring<Tag>, slot: u32) {
        if self.phase == Phase::Open
            && let Some(buffer) = self.buffer.take()
        {
            self.receive = Some(ring.receive(&self.socket, buffer, Tag::Received(slot)));
        }
    }

    /// The read is over; `buffer` is ours again.
    pub fn received(&mut self, buffer: Option<Box<[u8]>>) {
        self.receive = None;
        self.buffer = buffer;
    }

    /// Whether a send may begin.
    pub fn may_send(&self) -> bool {
        self.phase == Phase::Open && self.send.is_none()
    }

    /// Sends all of `chunks`.
    pub fn send(&mut self, ring: &mut Ring<Tag>, slot: u32, chunks: &mut ChunkList) {
        self.sending = chunks.bytes;
        self.send = Some(ring.send(&self.socket, &mut chunks.segments, Tag::Sent(slot)));
    }

    /// The send is over with `taken` bytes; `Some` when that is all of them.
    pub fn sent(&mut self, taken: usize) -> Option<usize> {
        self.send = None;
        (taken == self.sending).then_some(taken)
    }

    /// Gives the connection up.
    pub fn close(&mut self, ring: &mut Ring<Tag>) {
        if self.phase != Phase::Closing {
            self.phase = Phase::Closing;
            for operation in [self.connect, self.receive, self.send].into_iter().flatten() {
                ring.cancel(operation);
            }
        }
    }

    /// Whether the kernel holds nothing of it and it may be dropped.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Closing
            && self.connect.is_none()
            && self.receive.is_none()
            && self.send.is_none()
    }
}
