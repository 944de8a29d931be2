//! nginx with its rtmp module, recording what is published to it; with its stream module it takes RTMPS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::process::{Process, directory};
use super::{ports, wait_for};

/// A running nginx-rtmp.
pub struct Nginx {
    /// RTMP port.
    pub port: u16,
    /// RTMPS port, 0 without.
    pub tls_port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

impl Nginx {
    /// Starts one that records every publication of application `live`.
    pub fn start() -> Self {
        Self::start_in(directory("nginx"), 0, "")
    }

    /// Starts one that takes TLS besides, with a certificate for `host` from an authority of its own.
    pub fn start_with_tls(host: &str) -> Self {
        let (port, directory) = (ports::free(1), directory("nginx"));
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("random bytes"))
            .expect("a key that can sign");
        let key = KeyPair::generate().expect("random bytes");
        let parameters = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let certificate = parameters.signed_by(&key, &issuer).expect("a key that can sign");
        for (file, text) in
            [(ROOTS, issuer.pem()), ("server.pem", certificate.pem()), ("server.key", key.serialize_pem())]
        {
            std::fs::write(directory.join(file), text).expect("a writable directory");
        }
        let path = directory.display().to_string();
        let server = format!(
            "listen 127.0.0.1:{port} ssl; ssl_certificate {path}/server.pem; \
             ssl_certificate_key {path}/server.key;"
        );
        Self::start_in(directory, port, &server)
    }

    /// `tls`: what its TLS server listens to.
    fn start_in(directory: PathBuf, tls_port: u16, tls: &str) -> Self {
        let port = ports::free(1);
        let path = directory.display();
        let (module, stream) = match tls {
            "" => ("", String::new()),
            tls => (
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n",
                format!("stream {{ server {{ {tls} proxy_pass 127.0.0.1:{port}; }} }}\n"),
            ),
        };
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n{module}\
             daemon off; master_process off; worker_processes 1; user root;\n\
             pid {path}/nginx.pid; error_log stderr info;\n\
             events {{ worker_connections 256; }}\n\
             rtmp {{ server {{ listen 127.0.0.1:{port};\n\
               application live {{ live on; wait_key on; wait_video on; record all; record_path {path}; record_unique on; }}\n\
               application sound {{ live on; }} }} }}\n\
             {stream}"
        );
        std::fs::write(directory.join("nginx.conf"), configuration).expect("a writable directory");
        let mut nginx = Self { port, tls_port, directory, process: None };
        nginx.restart();
        nginx
    }

    /// Certificate of its authority (PEM).
    pub fn roots(&self) -> PathBuf {
        self.directory.join(ROOTS)
    }

    /// URL of its application.
    pub fn url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    /// URL of its application for streams without pictures; `live` holds sound back until one comes.
    pub fn sound_url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/sound", self.port)
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("runs").signal(name);
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

const ROOTS: &str = "roots.pem";

fn recordings(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("our directory")
        .map(|entry| entry.expect("our directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "flv"))
        .collect();
    files.sort_by_key(|path| path.metadata().and_then(|m| m.modified()).expect("a file system with times"));
    files
}
