//! The machine that figures come from, so that they can be compared with those of others (proc(5)).

use std::fmt;
use std::fs;

use serde::Serialize;

/// What figures depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Model of the processor; empty when the system does not tell.
    pub processor: String,
    /// Release of the kernel.
    pub kernel: String,
}

impl Machine {
    /// The one we run on.
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map(|(_, model)| model.trim().to_owned())
            .unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        Self { cores, processor, kernel }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores, {}, Linux {}", self.cores, self.processor, self.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_this_machine() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && !machine.kernel.is_empty());
    }
}
