//! nginx with its rtmp module, recording what is published to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Process, directory};
use super::{ports, wait_for};

/// A running nginx-rtmp.
pub struct Nginx {
    /// RTMP port.
    pub port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

impl Nginx {
    /// Starts one that records every publication of application `live`.
    pub fn start() -> Self {
        let port = ports::free(1);
        let directory = directory("nginx");
        let path = directory.display();
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
             daemon off; master_process off; worker_processes 1; user root;\n\
             pid {path}/nginx.pid; error_log stderr info;\n\
             events {{ worker_connections 256; }}\n\
             rtmp {{ server {{ listen 127.0.0.1:{port};\n\
               application live {{ live on; record all; record_path {path}; record_unique on; }} }} }}\n"
        );
        std::fs::write(directory.join("nginx.conf"), configuration).expect("a writable directory");
        let mut nginx = Self { port, directory, process: None };
        nginx.restart();
        nginx
    }

    /// URL of its application.
    pub fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("runs");
        process.signal("KILL");
        process.wait_for_end(Duration::from_secs(5));
    }

    /// Starts it (again).
    pub fn restart(&mut self) {
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&self.directory).arg("-c").arg(self.directory.join("nginx.conf"));
        let process = Process::start("nginx", &self.directory, &mut command);
        self.process = Some(process);
        wait_for("nginx", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// What it recorded, oldest first.
    pub fn recordings(&self) -> Vec<PathBuf> {
        recordings(&self.directory)
    }
}

fn recordings(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("our directory")
        .map(|entry| entry.expect("our directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "flv"))
        .collect();
    files.sort_by_key(|path| path.metadata().and_then(|m| m.modified()).expect("a file system with times"));
    files
}
