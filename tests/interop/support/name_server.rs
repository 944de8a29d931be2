//! NSD with one zone.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::process::{Process, directory, run};
use super::{ports, wait_for};

/// A running name server.
pub struct NameServer {
    /// UDP and TCP.
    pub address: SocketAddr,
    process: Process,
}

impl NameServer {
    /// Starts one with the zone `sipcast.test` that holds these records beside those of the server itself.
    pub fn start(records: &str) -> Self {
        Self::start_zone("sipcast.test", records)
    }

    /// The same with another zone.
    pub fn start_zone(name: &str, records: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free(1)));
        let directory = directory("nsd");
        let path = directory.display();
        let configuration = format!(
            "server:\n server-count: 1\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{path}\"\n \
             database: \"\"\n pidfile: \"{path}/nsd.pid\"\n xfrdfile: \"{path}/xfrd.state\"\n \
             zonelistfile: \"{path}/zone.list\"\n logfile: \"{path}/messages.log\"\n\
             remote-control:\n control-enable: no\nzone:\n name: {name}\n zonefile: zone\n",
            address.ip(),
            address.port()
        );
        let zone = format!(
            "$ORIGIN {name}.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n{records}"
        );
        std::fs::write(directory.join("nsd.conf"), configuration).expect("a writable directory");
        std::fs::write(directory.join("zone"), zone).expect("a writable directory");
        let mut command = Command::new("nsd");
        command.arg("-d").arg("-c").arg(directory.join("nsd.conf"));
        let process = Process::start("nsd", &directory, &mut command);
        wait_for("nsd", Duration::from_secs(10), || std::net::TcpStream::connect(address).ok());
        Self { address, process }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if self.process.is_running() {
            // Its children end with the main process only when that one is asked.
            run(Command::new("kill").arg(self.process.id().to_string()));
        }
    }
}
