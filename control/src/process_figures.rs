//! What this process has used, as Linux counts it (proc(5)).
//! Takes: nothing. Gives: CPU time, resident memory. Leaves out: what its shards used (`statistics`).

use std::fs;
use std::time::Duration;

/// USER_HZ, which is 100 on every Linux architecture that sipcast runs on (time(7)).
const CLOCK_TICKS_PER_SECOND: u64 = 100;

/// Figures of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessFigures {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// Memory that is resident.
    pub resident_bytes: u64,
}

impl ProcessFigures {
    /// Reads them; `None` where there is no /proc.
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Some(Self { cpu: cpu(&stat)?, resident_bytes: resident_bytes(&status)? })
    }
}

// The name in parentheses may hold anything; utime and stime are fields 14 and 15.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / CLOCK_TICKS_PER_SECOND))
}

fn resident_bytes(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_proc_says() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("7 (a"), None);
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t  20 kB\n"), Some(20_480));
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\n"), None);
        assert!(ProcessFigures::read().is_some_and(|figures| figures.resident_bytes > 0));
    }
}
