//! sipp as callee, by a scenario file of `tests/interop/sipp`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::ports;
use super::process::{Process, directory};

/// A running sipp that serves one call.
pub struct Sipp {
    /// Its SIP port.
    pub port: u16,
    process: Process,
}

impl Sipp {
    /// Starts `scenario` with `keys` as its `-key` values; `[media_port]` is a free port pair.
    pub fn start(scenario: &str, keys: &[(&str, &str)]) -> Self {
        Self::start_on(ports::free(1), scenario, keys)
    }

    /// Starts `scenario` on a port chosen before.
    pub fn start_on(port: u16, scenario: &str, keys: &[(&str, &str)]) -> Self {
        let directory = directory("sipp");
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/sipp").join(format!("{scenario}.xml"));
        let mut command = Command::new("sipp");
        command
            .current_dir(&directory)
            .arg("-sf")
            .arg(file)
            .args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-m", "1", "-nostdin"])
            .args(["-p", &port.to_string(), "-mp", &ports::free(4).to_string()])
            .args(["-timeout", "60s", "-timeout_error", "-trace_err", "-error_file", "errors.log"])
            .args(["-trace_msg", "-message_file", "messages.log"]);
        for (key, value) in keys {
            command.args(["-key", key, value]);
        }
        let process = Process::start("sipp", &directory, &mut command);
        super::wait_for("sipp's port", Duration::from_secs(10), || {
            std::net::UdpSocket::bind(("127.0.0.1", port)).is_err().then_some(())
        });
        Self { port, process }
    }

    /// Waits until the scenario is over and asserts that every message was as it demands.
    pub fn assert_passed(mut self) {
        let status = self.process.wait_for_end(Duration::from_secs(60));
        assert!(status.success(), "sipp ended with {status}: {}", self.process.output());
    }
}
