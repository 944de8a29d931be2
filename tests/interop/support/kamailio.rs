//! Kamailio as registrar and proxy: digest authentication for REGISTER and INVITE, Record-Route on every call.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::ports;
use super::process::{Process, directory, run};

/// A running Kamailio.
pub struct Kamailio {
    /// Its SIP port, UDP and TCP.
    pub port: u16,
    process: Process,
}

impl Kamailio {
    /// Starts one in which every user has `password`.
    pub fn start(password: &str) -> Self {
        let port = ports::free(1);
        let directory = directory("kamailio");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/kamailio/kamailio.cfg");
        let configuration = std::fs::read_to_string(file)
            .expect("part of the repository")
            .replace("@PORT@", &port.to_string())
            .replace("@PASSWORD@", password);
        let path = directory.join("kamailio.cfg");
        std::fs::write(&path, configuration).expect("a writable directory");
        let mut command = Command::new("kamailio");
        command
            .arg("-f")
            .arg(&path)
            .args(["-DD", "-E", "-m", "32", "-M", "8", "-w"])
            .arg(&directory)
            .arg("-Y")
            .arg(&directory);
        let process = Process::start("kamailio", &directory, &mut command);
        super::wait_for("Kamailio", Duration::from_secs(15), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { port, process }
    }

    /// What it logged.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        if self.process.is_running() {
            // Its children end with the main process only when that one is asked.
            run(Command::new("kill").arg(self.process.id().to_string()));
        }
    }
}
