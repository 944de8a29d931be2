//! Receiving the RTP of many calls, way by way.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{cqueue, opcode, squeue};

use super::kernel::{self, Buffers};

/// A way to receive.
#[derive(Clone, Copy)]
pub struct Receive {
    pub setup: Setup,
    pub operation: Operation,
    pub has_fixed_files: bool,
    /// Arrival times and drop counts come with each datagram.
    pub has_control: bool,
    pub sockets: Sockets,
    /// Trains of packets leave in one piece (UDP_SEGMENT) and arrive in one (UDP_GRO).
    pub sends_segmented: bool,
    /// Time between two turns.
    pub gather: Duration,
    /// Each wait has a time limit of its own, for which the kernel starts and ends a timer; else an operation in the
    /// ring keeps one, until it is due.
    pub has_wait_limit: bool,
}

/// Flags of the ring.
#[derive(Clone, Copy)]
pub struct Setup {
    pub is_deferred: bool,
    pub has_array: bool,
    pub is_registered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    MultishotMessage,
    Multishot,
    Epoll,
}

/// Which datagrams share a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    PerStream,
    WithRtcp,
    PerCall,
    Shared,
}

/// What was received, and for how much.
pub struct Cost {
    pub cpu: Duration,
    pub wall: Duration,
    pub packets: u64,
}

/// Packets of a picture of 1 Mbit/s and their length, and the length of 20 ms of G.711.
const PICTURE_PACKETS: usize = 4;
const PICTURE_PACKET_LEN: usize = 1112;
const SOUND_LEN: usize = 172;
const PICTURE_TIME: Duration = Duration::from_nanos(33_333_333);
const SOUND_TIME: Duration = Duration::from_millis(20);

/// Receives `calls` calls for as long as `time`.
pub fn measure(case: &Receive, calls: usize, time: Duration) -> Cost {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let (pictures_out, sound_out) = (bind(), bind());
    let mut sockets = Vec::new();
    let mut streams = Vec::new();
    for call in 0..calls {
        let first = sockets.len();
        let (picture, sound) = match case.sockets {
            Sockets::PerStream => (first, first + 1),
            Sockets::WithRtcp => (first, first + 2),
            Sockets::PerCall => (first, first),
            Sockets::Shared => (0, 1),
        };
        let wanted = match case.sockets {
            Sockets::PerStream => first + 2,
            Sockets::WithRtcp => first + 4,
            Sockets::PerCall => first + 1,
            Sockets::Shared => 2,
        };
        sockets.resize_with(wanted.max(sockets.len()), bind);
        streams.push((call, picture, sound));
    }
    for (index, socket) in sockets.iter().enumerate() {
        kernel::set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 1 << 20);
        if case.has_control && case.operation != Operation::Epoll {
            kernel::set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
            kernel::set_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        }
        if case.sends_segmented {
            kernel::set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        if case.operation == Operation::Multishot {
            let peer = if streams.iter().any(|(_, picture, _)| *picture == index) {
                &pictures_out
            } else {
                &sound_out
            };
            socket.connect(peer.local_addr().expect("bound")).expect("loopback");
        }
        if case.operation == Operation::Epoll {
            socket.set_nonblocking(true).expect("a descriptor of ours");
        }
    }
    if case.sends_segmented {
        kernel::set_option(
            &pictures_out,
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            PICTURE_PACKET_LEN as libc::c_int,
        );
    }
    let addresses: Vec<SocketAddr> =
        sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let (stop, is_segmented) = (stop.clone(), case.sends_segmented);
        std::thread::spawn(move || send(&pictures_out, &sound_out, &streams, &addresses, is_segmented, &stop))
    };
    let cost = match case.operation {
        Operation::Epoll => by_epoll(case, &sockets, time),
        Operation::MultishotMessage | Operation::Multishot => by_ring(case, &sockets, time),
    };
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("the sender only sends");
    cost
}

/// Sends each stream on time until told to stop.
fn send(
    pictures_out: &UdpSocket,
    sound_out: &UdpSocket,
    streams: &[(usize, usize, usize)],
    addresses: &[SocketAddr],
    is_segmented: bool,
    stop: &AtomicBool,
) {
    let start = Instant::now();
    // Spread evenly by the golden ratio.
    let phase = |call: usize| (call as f64 * 0.618_033_988_749_895).fract();
    let mut next: Vec<(Duration, Duration)> = streams
        .iter()
        .map(|(call, ..)| (PICTURE_TIME.mul_f64(phase(*call)), SOUND_TIME.mul_f64(phase(*call))))
        .collect();
    let (mut pictures, mut sound) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let now = start.elapsed();
        for ((_, picture, audio), (picture_due, sound_due)) in streams.iter().zip(&mut next) {
            while *picture_due <= now {
                *picture_due += PICTURE_TIME;
                match is_segmented {
                    true => pictures.push((addresses[*picture], PICTURE_PACKETS * PICTURE_PACKET_LEN)),
                    false => pictures.extend([(addresses[*picture], PICTURE_PACKET_LEN); PICTURE_PACKETS]),
                }
            }
            while *sound_due <= now {
                *sound_due += SOUND_TIME;
                sound.push((addresses[*audio], SOUND_LEN));
            }
        }
        kernel::send_many(pictures_out, &pictures);
        kernel::send_many(sound_out, &sound);
        pictures.clear();
        sound.clear();
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn by_ring(case: &Receive, sockets: &[UdpSocket], time: Duration) -> Cost {
    let mut ring = kernel::ring(case.setup.is_deferred, case.setup.has_array);
    // SAFETY: a msghdr is plain data; all zero means no name, no iovec, no control.
    let mut template: libc::msghdr = unsafe { std::mem::zeroed() };
    template.msg_namelen = 32;
    template.msg_controllen = if case.has_control { 56 } else { 0 };
    let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let (mut submitter, mut queue, mut completions) = ring.split();
    if case.setup.is_registered {
        submitter.register_ring_fd().expect("Linux 5.18");
    }
    if case.has_fixed_files {
        submitter.register_files(&descriptors).expect("fewer files than the limit");
    }
    let (count, len) = if case.sends_segmented { (1024, 65_536) } else { (1024, 2048) };
    let mut buffers = Buffers::register(&submitter, count, len);
    let arm = |index: usize| -> squeue::Entry {
        let entry = match (case.operation, case.has_fixed_files) {
            (Operation::Multishot, true) => opcode::RecvMulti::new(Fixed(index as u32), 0).build(),
            (Operation::Multishot, false) => opcode::RecvMulti::new(Fd(descriptors[index]), 0).build(),
            (_, true) => opcode::RecvMsgMulti::new(Fixed(index as u32), &raw const template, 0).build(),
            (_, false) => opcode::RecvMsgMulti::new(Fd(descriptors[index]), &raw const template, 0).build(),
        };
        entry.user_data(index as u64)
    };
    let mut to_arm: Vec<usize> = (0..sockets.len()).collect();
    let mut cost = Cost { cpu: Duration::ZERO, wall: Duration::ZERO, packets: 0 };
    let (mut began, mut cpu) = (None::<Instant>, Duration::ZERO);
    let timeout = Timespec::from(Duration::from_millis(100));
    let mut is_timer_due = !case.has_wait_limit;
    loop {
        if std::mem::take(&mut is_timer_due) {
            let entry = opcode::Timeout::new(&raw const timeout).build().user_data(TIMER);
            // SAFETY: the time lives as long as this function; the queue was emptied by the turn before.
            unsafe { queue.push(&entry) }.expect("room in the queue");
        }
        while let Some(index) = to_arm.pop() {
            // SAFETY: template, buffers and descriptors outlive the ring's use in this function.
            while unsafe { queue.push(&arm(index)) }.is_err() {
                queue.sync();
                submitter.submit().expect("room in the queue");
                queue.sync();
            }
        }
        queue.sync();
        let mut args = SubmitArgs::new();
        if case.has_wait_limit {
            args = args.timespec(&timeout);
        }
        let want = if case.gather.is_zero() {
            1
        } else {
            args = args.min_wait_usec(case.gather.as_micros() as u32);
            4096
        };
        let _ = submitter.submit_with_args(want, &args);
        queue.sync();
        completions.sync();
        for completion in &mut completions {
            if let Some(id) = cqueue::buffer_select(completion.flags()) {
                buffers.take(id);
                let trains = case.sends_segmented && completion.result() > 2048;
                cost.packets += if trains { PICTURE_PACKETS as u64 } else { 1 };
            }
            if completion.user_data() == TIMER {
                is_timer_due = true;
            } else if !cqueue::more(completion.flags()) {
                to_arm.push(completion.user_data() as usize);
            }
        }
        buffers.publish();
        if turn(&mut began, &mut cpu, &mut cost, time) {
            break;
        }
    }
    drop((submitter, queue, completions));
    drop(ring);
    cost
}

fn by_epoll(case: &Receive, sockets: &[UdpSocket], time: Duration) -> Cost {
    // SAFETY: epoll_create1(2) takes flags only.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    for (index, socket) in sockets.iter().enumerate() {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
        // SAFETY: both descriptors are open, `event` is read.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
    }
    let mut memory = Box::new([[0; 2048]; 64]);
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    let mut cost = Cost { cpu: Duration::ZERO, wall: Duration::ZERO, packets: 0 };
    let (mut began, mut cpu) = (None, Duration::ZERO);
    loop {
        std::thread::sleep(case.gather);
        // SAFETY: `events` has room for as many as are asked for.
        let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 1024, 100) };
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            cost.packets += kernel::receive_many(&sockets[event.u64 as usize], &mut memory) as u64;
        }
        if turn(&mut began, &mut cpu, &mut cost, time) {
            break;
        }
    }
    // SAFETY: opened above, used by nobody else.
    unsafe { libc::close(epoll) };
    cost
}

/// After each turn: measuring begins when 200 ms have gone, and ends `time` later (`true`).
fn turn(began: &mut Option<Instant>, cpu: &mut Duration, cost: &mut Cost, time: Duration) -> bool {
    let Some(start) = *began else {
        *began = Some(Instant::now() + WARM_UP);
        return false;
    };
    if *cpu == Duration::ZERO {
        if Instant::now() >= start {
            *began = Some(Instant::now());
            *cpu = kernel::thread_cpu();
            cost.packets = 0;
        }
        return false;
    }
    cost.wall = start.elapsed();
    cost.cpu = kernel::thread_cpu() - *cpu;
    cost.wall >= time
}

const WARM_UP: Duration = Duration::from_millis(200);
const TIMER: u64 = u64::MAX;
