//! Node-Media-Server, recording what is published to it. `tests/run` installs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ports;
use super::process::{Process, directory};

/// A running Node-Media-Server.
pub struct NodeMediaServer {
    /// RTMP port.
    pub port: u16,
    directory: PathBuf,
    process: Process,
}

impl NodeMediaServer {
    /// Starts one.
    pub fn start() -> Self {
        let (port, http_port) = (ports::free(1), ports::free(1));
        let directory = directory("node-media-server");
        let target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory of the target directory");
        let modules = std::env::var_os("TEST_NODE").map_or(target.join("test-node"), PathBuf::from);
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", modules.join("node_modules"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/node/media_server.js"))
            .args([port.to_string(), http_port.to_string()])
            .arg(&directory);
        let mut process = Process::start("node", &directory, &mut command);
        process.wait_for_output("Rtmp Server listening", Duration::from_secs(30));
        Self { port, directory, process }
    }

    /// URL of an application.
    pub fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    /// What it recorded of a stream, one file a publication.
    pub fn recordings(&self, stream: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.directory.join("live").join(stream)) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("our directory").path()).collect();
        files.sort();
        files
    }

    /// What it logged.
    pub fn output(&self) -> String {
        self.process.output()
    }
}
