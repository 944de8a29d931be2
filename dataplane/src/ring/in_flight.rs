//! What the kernel holds: one slot per operation, freed only by the operation's last completion.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use sipcast_contract::limits::IOVECS_MAX;
use sipcast_pool::{Segment, prefetch};

use super::address;

/// Names an operation: slot and generation, never a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationId {
    slot: u32,
    generation: u32,
}

/// Operations between submission and last completion.
// The memory moves between slots and spares without moving in memory: the kernel knows it by its address.
#[allow(clippy::vec_box)]
pub struct InFlight<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// Send memory that came back, to be used again.
    spare_sends: Vec<Box<SendMemory>>,
    spare_datagrams: Vec<Box<DatagramMemory>>,
}

struct Slot<T> {
    generation: u32,
    operation: Option<(T, Held)>,
}

/// Memory and descriptor that an operation lends to the kernel.
pub enum Held {
    /// A multishot receive: its memory is the buffer ring.
    Datagrams { _socket: Rc<OwnedFd> },
    /// An address to connect to.
    Address { _socket: Rc<OwnedFd>, _address: Box<[u8; address::LEN_MAX]> },
    /// A buffer to read into.
    Buffer { _socket: Rc<OwnedFd>, buffer: Box<[u8]> },
    /// Bytes of one piece to send.
    Bytes { _socket: Rc<OwnedFd>, bytes: Vec<u8> },
    /// A vectored send.
    Send { _socket: Rc<OwnedFd>, memory: Box<SendMemory> },
    /// One datagram out.
    Datagram { _socket: Rc<OwnedFd>, memory: Box<DatagramMemory> },
}

/// Message header, iovecs and the segments they point into.
pub struct SendMemory {
    message: libc::msghdr,
    iovecs: Vec<libc::iovec>,
    segments: Vec<Segment>,
}

/// Message header, address and payload of one datagram.
pub struct DatagramMemory {
    message: libc::msghdr,
    iovec: libc::iovec,
    address: [u8; address::LEN_MAX],
    payload: Option<Segment>,
}

impl OperationId {
    pub(super) fn to_user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn from_user_data(user_data: u64) -> Self {
        Self { slot: user_data as u32, generation: (user_data >> 32) as u32 }
    }
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), spare_sends: Vec::new(), spare_datagrams: Vec::new() }
    }
}

impl<T: Copy> InFlight<T> {
    pub fn insert(&mut self, tag: T, held: Held) -> OperationId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, operation: None });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.operation = Some((tag, held));
        OperationId { slot, generation: entry.generation }
    }

    pub fn insert_connect(
        &mut self,
        tag: T,
        socket: Rc<OwnedFd>,
        to: SocketAddr,
    ) -> (OperationId, *const libc::sockaddr, libc::socklen_t) {
        let mut bytes = Box::new([0; address::LEN_MAX]);
        let len = address::write(to, &mut bytes);
        let pointer = bytes.as_ptr().cast();
        let id = self.insert(tag, Held::Address { _socket: socket, _address: bytes });
        (id, pointer, len as libc::socklen_t)
    }

    pub fn insert_buffer(
        &mut self,
        tag: T,
        socket: Rc<OwnedFd>,
        mut buffer: Box<[u8]>,
    ) -> (OperationId, *mut u8, u32) {
        let (pointer, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
        (self.insert(tag, Held::Buffer { _socket: socket, buffer }), pointer, len)
    }

    pub fn insert_bytes(
        &mut self,
        tag: T,
        socket: Rc<OwnedFd>,
        bytes: Vec<u8>,
    ) -> (OperationId, *const u8, u32) {
        // Moving the vector does not move what it holds; a send is far shorter than 4 GiB.
        let (pointer, len) = (bytes.as_ptr(), bytes.len() as u32);
        (self.insert(tag, Held::Bytes { _socket: socket, bytes }), pointer, len)
    }

    pub fn insert_send(
        &mut self,
        tag: T,
        socket: Rc<OwnedFd>,
        segments: &mut Vec<Segment>,
    ) -> (OperationId, *const libc::msghdr) {
        debug_assert!(segments.len() <= IOVECS_MAX);
        let mut memory = self.spare_sends.pop().unwrap_or_else(|| {
            Box::new(SendMemory { message: empty_message(), iovecs: Vec::new(), segments: Vec::new() })
        });
        std::mem::swap(&mut memory.segments, segments);
        memory.iovecs.clear();
        memory.iovecs.extend(memory.segments.iter().map(|segment| libc::iovec {
            // sendmsg(2) only reads through this pointer.
            iov_base: segment.as_ptr().cast_mut().cast(),
            iov_len: segment.len(),
        }));
        memory.message.msg_iov = memory.iovecs.as_mut_ptr();
        memory.message.msg_iovlen = memory.iovecs.len() as _;
        let pointer = &raw const memory.message;
        (self.insert(tag, Held::Send { _socket: socket, memory }), pointer)
    }

    pub fn insert_datagram(
        &mut self,
        tag: T,
        socket: Rc<OwnedFd>,
        to: SocketAddr,
        payload: Segment,
    ) -> (OperationId, *const libc::msghdr) {
        let mut memory = self.spare_datagrams.pop().unwrap_or_else(|| {
            Box::new(DatagramMemory {
                message: empty_message(),
                iovec: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
                address: [0; address::LEN_MAX],
                payload: None,
            })
        });
        memory.message.msg_namelen = address::write(to, &mut memory.address) as libc::socklen_t;
        memory.message.msg_name = memory.address.as_mut_ptr().cast();
        memory.iovec = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        memory.payload = Some(payload);
        memory.message.msg_iov = &raw mut memory.iovec;
        memory.message.msg_iovlen = 1;
        let pointer = &raw const memory.message;
        (self.insert(tag, Held::Datagram { _socket: socket, memory }), pointer)
    }

    /// The tag of a completed operation; with its last completion also what it held, segments already let go.
    /// `None` for an operation that is not in flight: the kernel never names one twice.
    pub fn complete(&mut self, id: OperationId, last: bool) -> Option<(T, Option<Held>)> {
        let entry = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        if !last {
            return entry.operation.as_ref().map(|(tag, _)| (*tag, None));
        }
        let (tag, held) = entry.operation.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(id.slot);
        let held = match held {
            Held::Send { mut memory, .. } => {
                memory.segments.clear();
                self.spare_sends.push(memory);
                None
            }
            Held::Datagram { mut memory, .. } => {
                memory.payload = None;
                self.spare_datagrams.push(memory);
                None
            }
            held => Some(held),
        };
        Some((tag, held))
    }

    /// Has an operation's slot fetched into the core's cache.
    pub fn prefetch(&self, id: OperationId) {
        if let Some(slot) = self.slots.get(id.slot as usize) {
            prefetch(slot, size_of_val(slot));
        }
    }

    /// The tag of an operation.
    pub fn tag(&self, id: OperationId) -> Option<T> {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.operation.as_ref().map(|(tag, _)| *tag)
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps everything for ever: the kernel may still use it.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.slots));
        self.free.clear();
    }
}

fn empty_message() -> libc::msghdr {
    // SAFETY: a msghdr is plain data; all zero means no name, no iovec, no control.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_slot_is_freed_by_the_last_completion_and_then_has_another_name() {
        let socket: Rc<OwnedFd> = Rc::new(File::open("/dev/null").expect("exists").into());
        let mut in_flight = InFlight::default();
        let id = in_flight.insert('a', Held::Datagrams { _socket: socket.clone() });
        assert_eq!(OperationId::from_user_data(id.to_user_data()), id);
        assert!(matches!(in_flight.complete(id, false), Some(('a', None))));
        assert_eq!((in_flight.len(), Rc::strong_count(&socket)), (1, 2));
        assert!(matches!(in_flight.complete(id, true), Some(('a', Some(Held::Datagrams { .. })))));
        assert_eq!((in_flight.len(), Rc::strong_count(&socket)), (0, 1));
        let again = in_flight.insert('b', Held::Datagrams { _socket: socket });
        assert_ne!(again, id);
        assert!(in_flight.complete(id, true).is_none());
        assert_eq!(in_flight.len(), 1);
    }
}
