//! Once warm, a shard's thread takes datagrams from the kernel and hands RTMP and RTMPS to it without allocating.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use sipcast_contract::TlsTrust;
use support::tls_front::tls_front;
use support::{Node, origin, wait_pictures};

struct Counting;

/// Kernel's number of the shard's thread; 0: nothing is counted.
static COUNTED_THREAD: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    let counted = COUNTED_THREAD.load(Ordering::Relaxed);
    // SAFETY: gettid(2) has no arguments and cannot fail.
    if counted != 0 && counted == unsafe { libc::gettid() } {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator with its arguments unchanged; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The thread named `name`.
fn thread(name: &str) -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let mut found = tasks.flatten().filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    });
    let id = found.next().and_then(|task| task.file_name().to_str()?.parse().ok());
    id.expect("the shard's thread")
}

/// A report of figures once a second is boxed, with its histogram, its list of broadcasts, and a list of targets
/// for each of them: it goes to another thread, which drops it.
const ALLOCATIONS_PER_REPORT: u64 = 5;

/// A machine that stutters lets more gather in one turn than ever before, and lists grow once more.
const GROWTH: u64 = 16;

#[test]
fn a_warm_shard_allocates_for_its_reports_only() {
    let server = origin(0);
    let mut node = Node::start(32_768);
    let callee = node.open(1, 40);
    node.add_target(1, 1, server.rtmp_address(), "warm");
    node.wait_publishing(1, 1);
    // Two of them: TLS 1.2 and 1.3 lay records out in different ways.
    for (target, version) in [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)] {
        let front = tls_front(server.rtmp_address(), version);
        node.add_rtmps_target(1, target, "localhost", front, &format!("warm{target}"), TlsTrust::AcceptAny);
        node.wait_publishing(1, target);
    }
    wait_pictures(&server, "warm", 120);
    wait_pictures(&server, "warm3", 60);

    let packets = callee.packets();
    COUNTED_THREAD.store(thread("shard-0"), Ordering::Relaxed);
    let begin = std::time::Instant::now();
    wait_pictures(&server, "warm", 60);
    wait_pictures(&server, "warm2", 1);
    wait_pictures(&server, "warm3", 1);
    let seconds = begin.elapsed().as_secs();
    COUNTED_THREAD.store(0, Ordering::Relaxed);
    let packets = callee.packets() - packets;
    assert!(packets >= 1000, "{packets} packets");
    let (allocations, reports) = (ALLOCATIONS.load(Ordering::Relaxed), seconds + 2);
    assert!(
        allocations <= reports * ALLOCATIONS_PER_REPORT + GROWTH,
        "{allocations} allocations for {packets} packets and at most {reports} reports"
    );
    node.finish();
}
