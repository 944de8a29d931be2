//! Kamailio as registrar and proxy: digest authentication for REGISTER and INVITE, Record-Route on every call.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::authority::Identity;
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
        Self::start_on(ports::free(1), password, |configuration| configuration)
    }

    /// Starts one that listens for TLS only.
    pub fn start_tls(password: &str, identity: &Identity) -> Self {
        let port = ports::free(1);
        Self::start_on(port, password, |configuration| {
            let udp = format!("listen=udp:127.0.0.1:{port}\n");
            let module =
                "enable_tls=yes\nloadmodule \"tls.so\"\nmodparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n";
            let files = format!(
                "modparam(\"tls\", \"certificate\", \"{}\")\nmodparam(\"tls\", \"private_key\", \"{}\")\n",
                identity.certificate.display(),
                identity.key.display()
            );
            assert!(configuration.contains(&udp));
            configuration.replace(&udp, "").replace("listen=tcp:", "listen=tls:").replacen(
                "loadmodule",
                &format!("{module}{files}loadmodule"),
                1,
            )
        })
    }

    /// Starts one that sends every call to all of these ports of loopback at once.
    pub fn start_forking(password: &str, ports: &[u16]) -> Self {
        Self::start_on(ports::free(1), password, |configuration| {
            let lookup = "if (!lookup(\"location\")) {";
            let branches: String = ports[1..]
                .iter()
                .map(|port| format!("append_branch(\"sip:callee@127.0.0.1:{port}\");\n"))
                .collect();
            let fork = format!("$ru = \"sip:callee@127.0.0.1:{}\";\n{branches}if (0) {{", ports[0]);
            assert!(configuration.contains(lookup));
            configuration.replace(lookup, &fork).replacen(
                "loadmodule",
                "loadmodule \"corex.so\"\nloadmodule",
                1,
            )
        })
    }

    fn start_on(port: u16, password: &str, change: impl FnOnce(String) -> String) -> Self {
        let directory = directory("kamailio");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/kamailio/kamailio.cfg");
        let configuration = std::fs::read_to_string(file)
            .expect("part of the repository")
            .replace("@PORT@", &port.to_string())
            .replace("@PASSWORD@", password);
        let path = directory.join("kamailio.cfg");
        std::fs::write(&path, change(configuration)).expect("a writable directory");
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
