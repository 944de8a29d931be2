//! What Linux tells about processes: CPU time and resident memory (proc(5)).
//! Takes: a process ID. Gives: figures. Leaves out: what they mean (`report`).

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Clock ticks of /proc: USER_HZ is 100 on every architecture that Linux and Rust share.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time that process `pid` has used.
///
/// # Errors
/// When the process is gone.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    stat_cpu(&stat).context("/proc/<pid>/stat has another form than proc(5) says")
}

/// User and system time of our own threads named `name`.
pub(super) fn own_thread_cpu_time(name: &str) -> Duration {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    tasks
        .flatten()
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name))
        .filter_map(|task| stat_cpu(&fs::read_to_string(task.path().join("stat")).ok()?))
        .sum()
}

/// Resident memory of process `pid` in KiB.
///
/// # Errors
/// When the process is gone.
pub(super) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.split_ascii_whitespace().next()?.parse().ok())
        .context("/proc/<pid>/status has no VmRSS")
}

// proc(5): the name in parentheses may hold anything; utime and stime are fields 14 and 15.
fn stat_cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line_with_a_hostile_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(stat_cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(stat_cpu("7"), None);
        assert!(resident_kib(std::process::id()).unwrap() > 0);
        cpu_time(std::process::id()).unwrap();
    }
}
