//! One TCP connection to an RTMP server: its socket, its TLS where the URL wants it, and the operations it has in
//! the ring.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use sipcast_contract::TargetId;
use sipcast_contract::report::TargetFault;
use sipcast_media::rtmp::target::ChunkList;

use crate::ring::{OperationId, Ring, socket_option};
use crate::shard::Tag;
use crate::tls::{Heard, SEALED_LEN_MAX, Session};

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
    tls: Option<Box<Session>>,
    connect: Option<OperationId>,
    receive: Option<OperationId>,
    send: Option<OperationId>,
    /// Bytes of the target in the send in flight; `None` when it holds only what TLS has to say.
    sending: Option<usize>,
    /// Bytes of the send in flight as they go to the kernel.
    sending_wire: usize,
    buffer: Option<Box<[u8]>>,
}

/// Phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP is connecting.
    Connecting,
    /// TLS shakes hands.
    Securing,
    /// Bytes of the target may flow.
    Open,
    /// Given up; waits for its last completions.
    Closing,
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel took all; so many bytes of the target were in it.
    Whole(Option<usize>),
    /// The connection broke.
    Cut,
}

/// Memory of encrypted sends that came back, to be used again: one for each send that was ever in flight at once.
#[derive(Default)]
pub struct SealedBuffers(Vec<Vec<u8>>);

impl SealedBuffers {
    /// An empty one, large enough for any send: it never grows, and pages that no send reached are never touched.
    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(SEALED_LEN_MAX))
    }

    /// Gives one back.
    pub fn put(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() >= SEALED_LEN_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

impl Connection {
    /// Begins to connect; `tls` then shakes hands.
    ///
    /// # Errors
    /// When no socket can be had; nothing was started.
    pub fn connect(
        ring: &mut Ring<Tag>,
        slot: u32,
        broadcast: u32,
        target: TargetId,
        to: SocketAddr,
        tls: Option<Session>,
    ) -> std::io::Result<Self> {
        let socket = Rc::new(socket_option::tcp_socket(&to)?);
        let connect = ring.connect(&socket, to, Tag::Connected(slot));
        Ok(Self {
            broadcast,
            target,
            phase: Phase::Connecting,
            socket,
            tls: tls.map(Box::new),
            connect: Some(connect),
            receive: None,
            send: None,
            sending: None,
            sending_wire: 0,
            buffer: Some(vec![0; RECEIVE_LEN].into()),
        })
    }

    /// TCP connected: begins to read, and to shake hands.
    pub fn connected(&mut self, ring: &mut Ring<Tag>, slot: u32) {
        self.connect = None;
        if self.phase == Phase::Connecting {
            self.phase = if self.tls.is_some() { Phase::Securing } else { Phase::Open };
            self.read(ring, slot);
            self.speak(ring, slot);
        }
    }

    /// TCP did not connect.
    pub fn connect_failed(&mut self) {
        self.connect = None;
    }

    /// Reads on, unless the connection is closing.
    pub fn read(&mut self, ring: &mut Ring<Tag>, slot: u32) {
        if matches!(self.phase, Phase::Securing | Phase::Open)
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

    /// Whether what comes is TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Decrypts what came; appends it to `plain`.
    ///
    /// # Errors
    /// What broke TLS; the connection is to be closed.
    pub fn decrypt(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Heard, TargetFault> {
        let Some(tls) = &mut self.tls else { return Ok(Heard::default()) };
        let heard = tls.handle_input(bytes, plain)?;
        if heard.opened && self.phase == Phase::Securing {
            self.phase = Phase::Open;
        }
        Ok(heard)
    }

    /// What it means that the connection broke before TLS stood.
    pub fn fault_when_lost(&self) -> Option<TargetFault> {
        let tls = self.tls.as_ref().filter(|_| self.phase == Phase::Securing)?;
        Some(if tls.has_heard() { TargetFault::Tls } else { TargetFault::NoTls })
    }

    /// Whether a send of the target may begin.
    pub fn may_send(&self) -> bool {
        self.phase == Phase::Open && self.send.is_none()
    }

    /// Sends all of `chunks`, in TLS through a buffer of `buffers`.
    ///
    /// # Errors
    /// TLS cannot go on; nothing was sent.
    pub fn send(
        &mut self,
        ring: &mut Ring<Tag>,
        slot: u32,
        chunks: &mut ChunkList,
        buffers: &mut SealedBuffers,
    ) -> Result<(), TargetFault> {
        self.sending = Some(chunks.bytes);
        let Some(tls) = &mut self.tls else {
            self.sending_wire = chunks.bytes;
            self.send = Some(ring.send(&self.socket, &mut chunks.segments, Tag::Sent(slot)));
            return Ok(());
        };
        let mut sealed = buffers.take();
        tls.seal(chunks.segments.iter().map(|segment| &segment[..]), &mut sealed)?;
        self.sending_wire = sealed.len();
        self.send = Some(ring.send_bytes(&self.socket, sealed, true, Tag::Sent(slot)));
        Ok(())
    }

    /// Sends what TLS has to say itself, once no other send is in flight.
    pub fn speak(&mut self, ring: &mut Ring<Tag>, slot: u32) {
        let may_speak = matches!(self.phase, Phase::Securing | Phase::Open) && self.send.is_none();
        let Some(tls) = self.tls.as_mut().filter(|tls| may_speak && tls.has_outgoing()) else { return };
        let mut bytes = Vec::new();
        tls.take_outgoing(&mut bytes);
        self.sending = None;
        self.sending_wire = bytes.len();
        self.send = Some(ring.send_bytes(&self.socket, bytes, true, Tag::Sent(slot)));
    }

    /// The send is over with `taken` bytes.
    pub fn sent(&mut self, taken: usize) -> Sent {
        self.send = None;
        if taken == self.sending_wire { Sent::Whole(self.sending.take()) } else { Sent::Cut }
    }

    /// Gives the connection up. TLS says so to the server if the kernel takes it at once.
    pub fn close(&mut self, ring: &mut Ring<Tag>, slot: u32) {
        if self.phase == Phase::Closing {
            return;
        }
        let was_up = matches!(self.phase, Phase::Securing | Phase::Open);
        self.phase = Phase::Closing;
        for operation in [self.connect, self.receive, self.send].into_iter().flatten() {
            ring.cancel(operation);
        }
        // Behind a part of a record it would be no record.
        if let Some(tls) = self.tls.as_mut().filter(|_| was_up && self.send.is_none()) {
            let mut bytes = Vec::new();
            tls.close(&mut bytes);
            if !bytes.is_empty() {
                self.send = Some(ring.send_bytes(&self.socket, bytes, false, Tag::Sent(slot)));
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
