//! The io_uring of one shard behind a safe face: operations in, completions out.
//! Takes: sockets, buffers, addresses, each owned by its operation until its last completion. Gives: [`Completion`]s.
//! Leaves out: what a datagram or a connection means (`shard`, `broadcast`).

mod address;
mod buffer_ring;
mod datagram;
mod in_flight;
mod setup;
pub mod socket_option;
pub(crate) mod thread;
pub(crate) mod wake;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use sipcast_pool::{Pool, Segment};

use buffer_ring::BufferRing;
pub use datagram::Datagram;
pub use in_flight::OperationId;
use in_flight::{Held, InFlight};
pub use setup::SetupError;

/// One ring. `T` is the caller's name for an operation, given back with each of its completions.
pub struct Ring<T: Copy> {
    // Field order is drop order: the ring closes first, so that the kernel lets go of buffers and operations.
    ring: IoUring,
    buffers: BufferRing,
    in_flight: InFlight<T>,
    /// The next completions, while what they name is fetched from memory.
    ahead: VecDeque<cqueue::Entry>,
    /// `msg_namelen` and `msg_controllen` for every multishot receive; lives as long as the ring.
    template: Box<libc::msghdr>,
    wakes_min: bool,
}

/// What became of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// A datagram came. The receive goes on unless [`Completion::ended`].
    Datagram(Datagram),
    /// A datagram did not fit a slot, or the kernel gave something that is no IP datagram; it is gone.
    Truncated,
    /// Bytes came from a connection; its buffer returns with them. Zero bytes: the peer closed.
    Received(Box<[u8]>, usize),
    /// Bytes of one piece were sent, so many; their memory returns. Also when the send failed, with none.
    SentBytes(Vec<u8>, usize),
    /// Done, with the kernel's result (bytes for a send).
    Done(usize),
    /// Failed with this errno.
    Failed(i32),
}

/// One completion.
#[derive(Debug)]
pub struct Completion<T> {
    /// The caller's name for the operation.
    pub tag: T,
    /// What happened.
    pub outcome: Outcome,
    /// The operation is over and holds nothing any more.
    pub ended: bool,
    /// Datagrams the kernel dropped on that socket so far, where it said so.
    pub dropped_by_kernel: Option<u32>,
}

impl<T: Copy> Ring<T> {
    /// Sets a ring up with `pool` as the memory for datagrams. It belongs to the calling thread.
    ///
    /// # Errors
    /// [`SetupError`] says which kernel feature or limit is in the way.
    pub fn new(pool: Pool) -> Result<Self, SetupError> {
        let ring = setup::ring()?;
        let wakes_min = ring.params().is_feature_min_timeout();
        let buffers = BufferRing::register(&ring, pool).map_err(SetupError::from_buffers)?;
        Ok(Self {
            ring,
            buffers,
            in_flight: InFlight::default(),
            ahead: VecDeque::with_capacity(AHEAD),
            template: datagram::template(),
            wakes_min,
        })
    }

    /// Receives datagrams on `socket` until the operation ends.
    pub fn receive_datagrams(&mut self, socket: &Rc<OwnedFd>, tag: T) -> OperationId {
        let id = self.in_flight.insert(tag, Held::Datagrams { _socket: socket.clone() });
        let template: *const libc::msghdr = &raw const *self.template;
        let entry = opcode::RecvMsgMulti::new(Fd(socket.as_raw_fd()), template, buffer_ring::GROUP).build();
        self.push(entry, id);
        id
    }

    /// Sends one datagram.
    pub fn send_datagram(&mut self, socket: &Rc<OwnedFd>, to: SocketAddr, payload: Segment, tag: T) {
        let (id, message) = self.in_flight.insert_datagram(tag, socket.clone(), to, payload);
        self.push(opcode::SendMsg::new(Fd(socket.as_raw_fd()), message).build(), id);
    }

    /// Connects a TCP socket.
    pub fn connect(&mut self, socket: &Rc<OwnedFd>, to: SocketAddr, tag: T) -> OperationId {
        let (id, address, len) = self.in_flight.insert_connect(tag, socket.clone(), to);
        self.push(opcode::Connect::new(Fd(socket.as_raw_fd()), address, len).build(), id);
        id
    }

    /// Receives bytes from a connection or an eventfd into `buffer`, which comes back with the completion.
    pub fn receive(&mut self, socket: &Rc<OwnedFd>, buffer: Box<[u8]>, tag: T) -> OperationId {
        let (id, address, len) = self.in_flight.insert_buffer(tag, socket.clone(), buffer);
        // Read serves sockets and eventfds alike; offset -1 means the file has no position.
        let entry = opcode::Read::new(Fd(socket.as_raw_fd()), address, len).offset(u64::MAX).build();
        self.push(entry, id);
        id
    }

    /// Sends all of `segments`, taken out of the vector, in one vectored send. The completion comes when the
    /// kernel has taken every byte, or the connection failed.
    pub fn send(&mut self, socket: &Rc<OwnedFd>, segments: &mut Vec<Segment>, tag: T) -> OperationId {
        let (id, message) = self.in_flight.insert_send(tag, socket.clone(), segments);
        let flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
        self.push(opcode::SendMsg::new(Fd(socket.as_raw_fd()), message).flags(flags).build(), id);
        id
    }

    /// Sends `bytes`, which come back with the completion, when the kernel has taken every one of them or the
    /// connection failed. Not patient: when the kernel has no room for them at once, they are not sent.
    pub fn send_bytes(
        &mut self,
        socket: &Rc<OwnedFd>,
        bytes: Vec<u8>,
        is_patient: bool,
        tag: T,
    ) -> OperationId {
        let (id, address, len) = self.in_flight.insert_bytes(tag, socket.clone(), bytes);
        let patience = if is_patient { libc::MSG_WAITALL } else { libc::MSG_DONTWAIT };
        let flags = patience | libc::MSG_NOSIGNAL;
        self.push(opcode::Send::new(Fd(socket.as_raw_fd()), address, len).flags(flags).build(), id);
        id
    }

    /// Asks the kernel to end an operation; its last completion still comes.
    pub fn cancel(&mut self, id: OperationId) {
        let entry = opcode::AsyncCancel::new(id.to_user_data())
            .build()
            .user_data(CANCEL)
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push_entry(&entry);
    }

    /// Hands queued operations to the kernel without waiting. What completes at once, as sends do, can be reaped then;
    /// datagrams are left to the next [`Ring::wait`].
    ///
    /// # Errors
    /// An errno that no retry mends.
    pub fn submit(&mut self) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        if queued == 0 {
            return Ok(());
        }
        // Not `Submitter::submit`, which also runs the deferred work of receives.
        // SAFETY: io_uring_enter(2) argument by argument: `queued` entries are in the queue, whose addresses `push_entry`
        // answers for; no completion is waited for; no flags; no signal mask.
        tolerate(unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, 0, None) })
    }

    /// Waits until `want` completions are there, but no longer than `gather` once there is one, and at most
    /// `timeout` in all. Not at all while completions are there that were looked at already.
    ///
    /// # Errors
    /// An errno that no retry mends.
    pub fn wait(&mut self, want: usize, gather: Duration, timeout: Option<Duration>) -> io::Result<()> {
        self.buffers.refill();
        let timeout = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        let want = if !self.ahead.is_empty() {
            0
        } else if gather.is_zero() || !self.wakes_min {
            1
        } else {
            args = args.min_wait_usec(u32::try_from(gather.as_micros()).unwrap_or(u32::MAX));
            want
        };
        let result = match &timeout {
            Some(timeout) => {
                let args = args.timespec(timeout);
                self.ring.submitter().submit_with_args(want, &args)
            }
            None => self.ring.submitter().submit_with_args(want, &args),
        };
        tolerate(result)
    }

    /// Completions that are there.
    pub fn completions(&mut self) -> usize {
        self.ahead.len() + self.ring.completion().len()
    }

    /// Takes the next completion. One at a time, so that it is made where it is used: as a list they would be written and
    /// read once more. `None`: none is there, or it is one that says nothing.
    pub fn reap(&mut self) -> Option<Completion<T>> {
        while self.ahead.len() < AHEAD
            && let Some(entry) = self.ring.completion().next()
        {
            self.in_flight.prefetch(OperationId::from_user_data(entry.user_data()));
            if let Some(id) = cqueue::buffer_select(entry.flags()) {
                self.buffers.prefetch(id);
            }
            self.ahead.push_back(entry);
        }
        let entry = self.ahead.pop_front()?;
        self.complete(entry.user_data(), entry.result(), entry.flags())
    }

    /// The tag of a completion that is still to come; 0: of the next one. Those that are far off are not known.
    pub fn tag_ahead(&self, at: usize) -> Option<T> {
        self.in_flight.tag(OperationId::from_user_data(self.ahead.get(at)?.user_data()))
    }

    /// Lends about so many slots to the kernel from the next wait on.
    pub fn lend(&mut self, slots: u64) {
        self.buffers.want(slots);
    }

    /// Whether a receive that ended for want of slots is worth to begin again: the kernel has a good part of the
    /// slots it may hold. Begun with none it would end at once, and the next, without end.
    pub fn may_receive(&mut self) -> bool {
        self.buffers.refill();
        self.buffers.is_stocked()
    }

    /// Slots that the kernel holds when it holds as many as it may; at most a quarter of the pool.
    pub fn slots_for_kernel(&self) -> u32 {
        self.buffers.slots_max()
    }

    /// Operations whose last completion is still to come.
    pub fn operations(&self) -> usize {
        self.in_flight.len()
    }

    /// Times a receive ended because the kernel had no slot left.
    pub fn no_buffers(&self) -> u64 {
        self.buffers.ran_dry
    }

    fn complete(&mut self, user_data: u64, result: i32, flags: u32) -> Option<Completion<T>> {
        if user_data == CANCEL {
            return None; // The operation had ended by itself.
        }
        let ended = !cqueue::more(flags);
        let slot = cqueue::buffer_select(flags).map(|id| self.buffers.take(id));
        let (tag, held) = self.in_flight.complete(OperationId::from_user_data(user_data), ended)?;
        let mut dropped_by_kernel = None;
        let outcome = match (result, slot, held) {
            (result, _, Some(Held::Bytes { bytes, .. })) => Outcome::SentBytes(bytes, result.max(0) as usize),
            (errno, _, _) if errno < 0 => {
                self.buffers.ran_dry += u64::from(-errno == libc::ENOBUFS);
                Outcome::Failed(-errno)
            }
            (len, Some(lease), _) => match Datagram::read(lease, len as usize, &self.template) {
                Ok((datagram, dropped)) => {
                    dropped_by_kernel = dropped;
                    Outcome::Datagram(datagram)
                }
                Err(datagram::Unreadable) => Outcome::Truncated,
            },
            (len, None, Some(Held::Buffer { buffer, .. })) => Outcome::Received(buffer, len as usize),
            (len, None, _) => Outcome::Done(len as usize),
        };
        Some(Completion { tag, outcome, ended, dropped_by_kernel })
    }

    fn push(&mut self, entry: squeue::Entry, id: OperationId) {
        self.push_entry(&entry.user_data(id.to_user_data()));
    }

    fn push_entry(&mut self, entry: &squeue::Entry) {
        // SAFETY: every address in the entry belongs to the operation's slot in `in_flight` (or to `template`),
        // which lives until the operation's last completion; the descriptor is kept open there as well.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            // Full: the kernel takes all entries on submit, so this ends. An error that no retry mends leaves
            // the ring unusable, which the next `wait` reports.
            if tolerate(self.ring.submit()).is_err() {
                return;
            }
        }
    }
}

impl<T: Copy> Drop for Ring<T> {
    fn drop(&mut self) {
        // The shard has ended every operation before it lets the ring go; if it is unwinding instead, what the
        // kernel may still write to is leaked rather than freed.
        if self.in_flight.len() > 0 {
            self.in_flight.leak();
            self.buffers.leak();
            std::mem::forget(std::mem::replace(&mut self.template, datagram::template()));
        }
    }
}

/// How many completions are looked at before the first of them is served.
const AHEAD: usize = 4;

/// `user_data` of cancel requests; no operation has it, since slots stay far below 2^32 - 1.
const CANCEL: u64 = u64::MAX;

fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // Time is up, a signal came, or completions must be reaped first: the loop goes on.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
