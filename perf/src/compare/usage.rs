//! What processes use: CPU time, wakes, memory, and datagrams that the kernel dropped on their sockets (proc(5)).
//! Takes: process IDs. Gives: snapshots, and what lies between two of them.
//! Leaves out: whose processes they are (`gateway`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

/// What every thread of some processes has used so far. By thread, because what an ended one has used is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    threads: HashMap<u32, Thread>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    /// User and system time.
    cpu: Duration,
    /// Times it slept of its own accord, and so times it was woken.
    wakes: u64,
}

/// What was used between two snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Used {
    pub cpu: Duration,
    pub wakes: u64,
}

impl Snapshot {
    /// Reads it.
    ///
    /// # Errors
    /// When one of the processes is gone.
    pub fn take(pids: &[u32]) -> anyhow::Result<Self> {
        let mut threads = HashMap::new();
        for pid in pids {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"));
            for task in tasks.with_context(|| format!("process {pid} is gone"))?.flatten() {
                let Some(id) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                // A thread may end between the listing and the reading.
                if let Some(thread) = read_thread(task.path()) {
                    threads.insert(id, thread);
                }
            }
            anyhow::ensure!(!threads.is_empty(), "process {pid} is gone");
        }
        Ok(Self { threads })
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Used {
        self.threads.iter().fold(Used::default(), |used, (id, now)| {
            let before = earlier.threads.get(id).copied().unwrap_or_default();
            Used {
                cpu: used.cpu + now.cpu.saturating_sub(before.cpu),
                wakes: used.wakes + now.wakes.saturating_sub(before.wakes),
            }
        })
    }
}

fn read_thread(task: PathBuf) -> Option<Thread> {
    let schedule = fs::read_to_string(task.join("schedstat")).ok()?;
    let status = fs::read_to_string(task.join("status")).ok()?;
    parse_thread(&schedule, &status)
}

/// `schedstat` begins with the nanoseconds on a processor; `/proc/<pid>/stat` has the same rounded to 10 ms.
fn parse_thread(schedule: &str, status: &str) -> Option<Thread> {
    let nanoseconds = schedule.split_ascii_whitespace().next()?.parse().ok()?;
    let wakes = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    Some(Thread { cpu: Duration::from_nanos(nanoseconds), wakes: wakes.trim().parse().ok()? })
}

/// Memory of `pids` in KiB, pages shared by several processes counted once in all (PSS).
///
/// # Errors
/// When one of the processes is gone.
pub(super) fn proportional_kib(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().try_fold(0, |sum, pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("process {pid} is gone"))?;
        let kib = parse_pss(&text).context("/proc/<pid>/smaps_rollup has no Pss")?;
        Ok(sum + kib)
    })
}

fn parse_pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Datagrams that the kernel dropped so far on the UDP sockets that `pids` have open.
///
/// # Errors
/// When one of the processes is gone.
pub(super) fn datagrams_dropped(pids: &[u32]) -> anyhow::Result<u64> {
    let mut inodes = HashSet::new();
    for pid in pids {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let files = files.with_context(|| format!("process {pid} is gone"))?;
        let names = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        inodes.extend(names.filter_map(|name| {
            let inode = name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse::<u64>().ok()
        }));
    }
    let tables =
        ["/proc/net/udp", "/proc/net/udp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    Ok(tables.iter().map(|table| parse_drops(table, &inodes)).sum())
}

/// Field 10 is the inode, field 13 the drops (Documentation/networking/proc_net_tcp.rst has the columns).
fn parse_drops(table: &str, inodes: &HashSet<u64>) -> u64 {
    let rows = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        Some((fields.get(9)?.parse().ok()?, fields.get(12)?.parse::<u64>().ok()?))
    });
    rows.filter(|(inode, _)| inodes.contains(inode)).map(|(_, drops)| drops).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn reads_what_proc_says() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n";
        let thread = parse_thread("1500000000 200 3\n", status).unwrap();
        assert_eq!((thread.cpu, thread.wakes), (Duration::from_millis(1_500), 42));
        assert!(parse_thread("", status).is_none());
        assert_eq!(
            parse_pss("00400000-7ffd [rollup]\nRss: 9 kB\nPss:     1234 kB\nPss_Dirty: 5 kB\n"),
            Some(1_234)
        );
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             77: 0100007F:2EE0 00000000:0000 07 00000000:00000000 00:00000000 00000000  0  0 555 2 0000000000000000 3\n\
             78: 0100007F:2EE2 00000000:0000 07 00000000:00000000 00:00000000 00000000  0  0 556 2 0000000000000000 9\n";
        assert_eq!(parse_drops(table, &HashSet::from([555])), 3);
        assert_eq!(parse_drops("", &HashSet::from([555])), 0);
    }

    #[test]
    fn threads_that_began_or_ended_in_between_do_no_harm() {
        let thread = |ms, wakes| Thread { cpu: Duration::from_millis(ms), wakes };
        let before = Snapshot { threads: HashMap::from([(1, thread(100, 5)), (2, thread(900, 9))]) };
        let after = Snapshot { threads: HashMap::from([(1, thread(150, 7)), (3, thread(30, 1))]) };
        assert_eq!(after.since(&before), Used { cpu: Duration::from_millis(80), wakes: 3 });
    }

    #[test]
    fn our_own_process_uses_something() {
        let own = [std::process::id()];
        let before = Snapshot::take(&own).unwrap();
        // The kernel books a running thread's time at its own ticks, so a little work may show as none.
        let until = Instant::now() + Duration::from_secs(10);
        while Snapshot::take(&own).unwrap().since(&before).cpu == Duration::ZERO {
            assert!(Instant::now() < until, "ten seconds of work are not seen");
        }
        assert!(proportional_kib(&own).unwrap() > 0);
    }

    #[test]
    fn what_does_not_fit_a_socket_is_seen_as_dropped() {
        let own = [std::process::id()];
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
        let before = datagrams_dropped(&own).unwrap();
        for _ in 0..200 {
            socket.send_to(&[0; 1_000], socket.local_addr().unwrap()).unwrap();
        }
        assert!(datagrams_dropped(&own).unwrap() >= before + 100);
    }
}
