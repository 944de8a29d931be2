//! Sending the RTMP of many calls over TCP, way by way.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::kernel;
use super::receive::Cost;

/// A way to send.
#[derive(Clone, Copy)]
pub struct Send {
    pub way: Way,
    pub has_fixed_files: bool,
    /// Sound waits for the next picture.
    pub audio_rides: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    SendMessage,
    ZeroCopy,
    Writev,
}

const TURN: Duration = Duration::from_millis(5);
const PICTURE_TIME: Duration = Duration::from_nanos(33_333_333);
const SOUND_TIME: Duration = Duration::from_micros(21_333);
/// Chunk header and FLV header, then a length and a slice for each of four packets.
const PICTURE: [usize; 9] = [17, 4, 1100, 4, 1100, 4, 1100, 4, 1100];
/// Headers, then a frame of AAC of 64 kbit/s.
const SOUND: [usize; 2] = [14, 170];

/// Sends `calls` calls for as long as `time` to a reader that reads and forgets.
pub fn measure(case: &Send, calls: usize, time: Duration) -> Cost {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let reader = std::thread::spawn(move || read(&listener, calls));
    let connections: Vec<TcpStream> = (0..calls)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("loopback");
            stream.set_nodelay(true).expect("TCP");
            stream
        })
        .collect();
    let cost = send(case, &connections, time);
    drop(connections);
    reader.join().expect("the reader only reads");
    cost
}

/// Reads everything of all connections, by epoll, until they are closed.
fn read(listener: &TcpListener, calls: usize) {
    // SAFETY: epoll_create1(2) takes flags only.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    let mut streams = Vec::new();
    for index in 0..calls {
        let (stream, _) = listener.accept().expect("connections of ours");
        stream.set_nonblocking(true).expect("a descriptor of ours");
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
        // SAFETY: both descriptors are open, `event` is read.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &raw mut event) };
        streams.push(stream);
    }
    let mut open = calls;
    let mut memory = vec![0; 1 << 16];
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    while open > 0 {
        // Batches, so that the sender has the machine to itself.
        std::thread::sleep(TURN);
        // SAFETY: `events` has room for as many as are asked for.
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 256, 1000) };
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            let index = event.u64 as usize;
            if matches!(streams[index].read(&mut memory), Ok(0)) {
                open -= 1;
                let fd = streams[index].as_raw_fd();
                // SAFETY: both descriptors are open; no event is read when one is removed.
                unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
            }
        }
    }
    // SAFETY: opened above, used by nobody else.
    unsafe { libc::close(epoll) };
}

/// One message header with its iovecs, as the kernel wants them; the payload is shared.
struct Message {
    header: libc::msghdr,
    slices: Vec<libc::iovec>,
}

impl Message {
    fn new(lens: &[usize]) -> Box<Self> {
        static PAYLOAD: [u8; 2048] = [0x5a; 2048];
        let slices = lens
            .iter()
            .map(|len| libc::iovec { iov_base: PAYLOAD.as_ptr().cast_mut().cast(), iov_len: *len })
            .collect();
        // SAFETY: a msghdr is plain data, for which all zero is valid.
        let mut message = Box::new(Self { header: unsafe { std::mem::zeroed() }, slices });
        message.header.msg_iov = message.slices.as_mut_ptr();
        message.header.msg_iovlen = message.slices.len() as _;
        message
    }
}

fn send(case: &Send, connections: &[TcpStream], time: Duration) -> Cost {
    let mut ring = kernel::ring(true, true);
    let descriptors: Vec<RawFd> = connections.iter().map(AsRawFd::as_raw_fd).collect();
    if case.has_fixed_files {
        ring.submitter().register_files(&descriptors).expect("fewer files than the limit");
    }
    let (picture, sound) = (Message::new(&PICTURE), Message::new(&SOUND));
    let both = Message::new(&[&SOUND[..], &PICTURE[..]].concat());
    let both_and_more = Message::new(&[&SOUND[..], &SOUND[..], &PICTURE[..]].concat());
    let phase = |call: usize| (call as f64 * 0.618_033_988_749_895).fract();
    let mut next: Vec<(Duration, Duration, usize)> = (0..connections.len())
        .map(|call| (PICTURE_TIME.mul_f64(phase(call)), SOUND_TIME.mul_f64(phase(call)), 0))
        .collect();
    let mut to_send: Vec<(usize, &Message)> = Vec::new();
    let mut cost = Cost { cpu: Duration::ZERO, wall: Duration::ZERO, packets: 0 };
    let (start, cpu) = (Instant::now(), kernel::thread_cpu());
    while start.elapsed() < time {
        std::thread::sleep(TURN);
        let now = start.elapsed();
        for (call, (picture_due, sound_due, waiting)) in next.iter_mut().enumerate() {
            while *sound_due <= now {
                *sound_due += SOUND_TIME;
                *waiting += 1;
            }
            let is_picture_due = *picture_due <= now;
            if is_picture_due {
                *picture_due += PICTURE_TIME;
            }
            let message = match (is_picture_due, *waiting) {
                (true, 0) => &picture,
                (true, 1) => &both,
                (true, _) => &both_and_more,
                (false, 1..) if !case.audio_rides => &sound,
                (false, _) => continue,
            };
            *waiting = 0;
            to_send.push((call, message));
        }
        cost.packets += to_send.len() as u64;
        match case.way {
            Way::Writev => to_send.drain(..).for_each(|(call, message)| writev(descriptors[call], message)),
            Way::SendMessage | Way::ZeroCopy => submit(case, &mut ring, &descriptors, &to_send),
        }
        to_send.clear();
    }
    cost.wall = start.elapsed();
    cost.cpu = kernel::thread_cpu() - cpu;
    cost
}

fn writev(descriptor: RawFd, message: &Message) {
    // SAFETY: the descriptor is open; the iovecs point to static memory that is only read.
    let sent = unsafe { libc::writev(descriptor, message.slices.as_ptr(), message.slices.len() as i32) };
    assert!(sent > 0, "writev: {}", std::io::Error::last_os_error());
}

/// Submits all together, and takes all completions.
fn submit(case: &Send, ring: &mut IoUring, descriptors: &[RawFd], messages: &[(usize, &Message)]) {
    let flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
    for (call, message) in messages {
        let header = &raw const message.header;
        let entry: squeue::Entry = match (case.way, case.has_fixed_files) {
            (Way::ZeroCopy, _) => opcode::SendMsgZc::new(Fd(descriptors[*call]), header).flags(flags).build(),
            (_, true) => opcode::SendMsg::new(Fixed(*call as u32), header).flags(flags).build(),
            (_, false) => opcode::SendMsg::new(Fd(descriptors[*call]), header).flags(flags).build(),
        };
        // SAFETY: headers and payload outlive the ring; a full queue of 1024 does not come about with 200 messages.
        unsafe { ring.submission().push(&entry) }.expect("room in the queue");
    }
    // A zero-copy send completes twice: taken, and let go.
    let mut open = messages.len();
    while open > 0 {
        ring.submit_and_wait(1).expect("sends");
        for completion in ring.completion() {
            assert!(completion.result() >= 0, "a send failed: {}", completion.result());
            open -= usize::from(!cqueue::more(completion.flags()));
        }
    }
}
