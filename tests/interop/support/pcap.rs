//! Records loopback with tcpdump; reads UDP (pcap 2.4, Ethernet, IPv4) itself and leaves TCP to tshark.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::Process;

/// A running capture.
pub struct Capture {
    process: Process,
    file: PathBuf,
}

/// One captured UDP datagram.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// UDP destination port.
    pub to: u16,
    /// UDP payload.
    pub payload: Vec<u8>,
}

impl Capture {
    /// Captures datagrams to ports `first..=last` of loopback.
    pub fn start(directory: &Path, first: u16, last: u16) -> Self {
        Self::start_with(directory, &format!("udp dst portrange {first}-{last}"))
    }

    /// Captures both directions of every TCP connection to `port` of loopback.
    pub fn start_tcp(directory: &Path, port: u16) -> Self {
        Self::start_with(directory, &format!("tcp port {port}"))
    }

    fn start_with(directory: &Path, filter: &str) -> Self {
        let file = directory.join("capture.pcap");
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", "lo", "-n", "-U", "-B", "16384", "-s", "0", "--immediate-mode", "-Z", "root", "-w"])
            .arg(&file)
            .arg(filter);
        let mut process = Process::start("tcpdump", directory, &mut command);
        process.wait_for_output("listening on lo", Duration::from_secs(10));
        Self { process, file }
    }

    /// Ends it and reads what it holds; fails if the kernel dropped any of it.
    pub fn stop(self) -> Vec<Datagram> {
        read(&std::fs::read(self.stop_file()).expect("tcpdump's file"))
    }

    /// Ends it and gives its file; fails if the kernel dropped any of it.
    pub fn stop_file(mut self) -> PathBuf {
        self.process.signal("INT");
        self.process.wait_for_end(Duration::from_secs(10));
        let log = self.process.output();
        assert!(log.contains("0 packets dropped by kernel"), "{log}");
        self.file
    }
}

fn read(file: &[u8]) -> Vec<Datagram> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
    assert_eq!(word(file), 0xa1b2_c3d4, "little endian");
    let mut rest = &file[24..];
    let mut datagrams = Vec::new();
    while rest.len() >= 16 {
        let len = word(&rest[8..]) as usize;
        let Some(frame) = rest.get(16..16 + len) else { break };
        // Ethernet 14, IPv4 20 (no options on loopback), UDP 8.
        if frame.len() >= 42 && frame[12..14] == [8, 0] && frame[14] == 0x45 && frame[23] == 17 {
            let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let end = 34 + usize::from(port(38));
            datagrams.push(Datagram { to: port(36), payload: frame[42..end.min(frame.len())].to_vec() });
        }
        rest = &rest[16 + len..];
    }
    datagrams
}
