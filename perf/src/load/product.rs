//! The sipcast under test: built when asked for, started as a child with a configuration of its own, spoken to over
//! REST, and ended politely.
//! Takes: the program. Gives: its answers. Leaves out: measuring (`process`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::options::{LoadOptions, MediaChoice, PublishedAudio, Setting};

/// Largest answer read.
const ANSWER_LEN_MAX: usize = 64 * 1024 * 1024;
/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How long the program may take to answer its first request, and to end.
const START_TIME: Duration = Duration::from_secs(20);
const END_TIME: Duration = Duration::from_secs(10);

/// A running sipcast.
pub(super) struct Product {
    child: Child,
    pid: u32,
    rest: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    config: PathBuf,
}

impl Product {
    /// Starts `program serve` and waits until its REST interface answers.
    ///
    /// # Errors
    /// When it does not start, ends at once, or does not answer in time.
    pub async fn start(program: &Path, options: &LoadOptions) -> anyhow::Result<Self> {
        let rest = free_tcp_port()?;
        let sip = free_udp_port()?;
        let config = std::env::temp_dir().join(format!("sipcast-load-{}.toml", std::process::id()));
        let text = configuration(rest, sip, options.shards, &options.settings);
        std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .kill_on_drop(true)
            .stdin(std::process::Stdio::null());
        // A group of its own: Ctrl-C is ours to pass on, after the calls are ended.
        command.process_group(0);
        if !options.log {
            command.stdout(std::process::Stdio::null());
        }
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let pid = child.id().context("sipcast ended at once")?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut product = Self { child, pid, rest, client, config };
        product.wait_until_ready().await?;
        Ok(product)
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START_TIME;
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("sipcast ended while starting: {status}");
            }
            match self.statistics().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error.context("sipcast does not answer")),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// `GET /statistics`.
    ///
    /// # Errors
    /// When the request fails or the answer is no JSON.
    pub async fn statistics(&self) -> anyhow::Result<Value> {
        let (status, body) = self.request(Method::GET, "/statistics", None).await?;
        anyhow::ensure!(status == StatusCode::OK, "GET /statistics: {status}");
        serde_json::from_slice(&body).context("GET /statistics")
    }

    /// Orders a broadcast.
    ///
    /// # Errors
    /// When the request fails or is refused; the text holds the answer.
    pub async fn order(&self, order: &Order<'_>) -> anyhow::Result<()> {
        let (status, body) =
            self.request(Method::POST, "/rest-api/call/startup", Some(order.as_json())).await?;
        anyhow::ensure!(
            status == StatusCode::OK,
            "call/startup: {status} {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }

    /// Ends a broadcast; one that is over already is fine.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn terminate(&self, call_id: &str) -> anyhow::Result<()> {
        let (status, _) = self
            .request(Method::POST, "/rest-api/call/terminate", Some(json!({ "callId": call_id })))
            .await?;
        anyhow::ensure!(matches!(status, StatusCode::OK | StatusCode::NOT_FOUND), "call/terminate: {status}");
        Ok(())
    }

    /// How many calls have `status`.
    ///
    /// # Errors
    /// When the request fails or the answer is no array.
    pub async fn calls_with_status(&self, status: &str) -> anyhow::Result<usize> {
        let filter = json!({ "status": status });
        let (code, body) = self.request(Method::POST, "/rest-api/call/find", Some(filter)).await?;
        if code == StatusCode::NOT_FOUND {
            return Ok(0);
        }
        anyhow::ensure!(code == StatusCode::OK, "call/find: {code}");
        let calls: Vec<Value> = serde_json::from_slice(&body).context("call/find")?;
        Ok(calls.len())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.rest))
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            anyhow::Ok((status, body))
        };
        timeout(REQUEST_TIME, exchange).await.with_context(|| format!("{path}: no answer in time"))?
    }

    /// Asks the process to end, and makes it when it does not.
    ///
    /// # Errors
    /// When it did not end by itself with success.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // There is no safe call for it in the standard library; kill(1) is POSIX.
        let asked = Command::new("kill").arg("-TERM").arg(self.pid.to_string()).status().await;
        let ended = match asked {
            Ok(status) if status.success() => timeout(END_TIME, self.child.wait()).await.ok(),
            _ => None,
        };
        let _ = std::fs::remove_file(&self.config);
        match ended {
            Some(status) => {
                let status = status?;
                anyhow::ensure!(status.success(), "sipcast ended with {status}");
                Ok(())
            }
            None => {
                self.child.kill().await?;
                anyhow::bail!("sipcast did not end in {END_TIME:?} and was killed")
            }
        }
    }
}

/// One call to be made.
pub(super) struct Order<'a> {
    pub call_id: &'a str,
    pub callee: SocketAddr,
    pub tcp: bool,
    pub rtmp_url: &'a str,
    pub media: MediaChoice,
}

impl Order<'_> {
    fn as_json(&self) -> Value {
        let audio = self.media.audio;
        json!({
            "callId": self.call_id,
            "callee": self.call_id,
            "rtmpUrl": self.rtmp_url,
            "rtmpStream": format!("rtmp_{}", self.call_id),
            "rtmpAudio": audio.unwrap_or(PublishedAudio::Aac).as_str(),
            "hasAudio": audio.is_some(),
            "hasVideo": self.media.video,
            "sipLogin": "load",
            "sipAuthenticationName": "load",
            "sipPassword": "load",
            "sipDomain": self.callee.ip().to_string(),
            "sipPort": self.callee.port(),
            "sipTransport": if self.tcp { "tcp" } else { "udp" },
            "sipRegisterRequired": false,
        })
    }
}

/// The configuration file: what a load needs, `settings` over it.
fn configuration(rest: SocketAddr, sip: SocketAddr, shards: u16, settings: &[Setting]) -> String {
    let mut tables: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (section, key, value) in [
        ("rest", "listen", format!("\"{rest}\"")),
        ("sip", "listen", format!("\"{sip}\"")),
        ("media", "address", "\"127.0.0.1\"".to_owned()),
        ("media", "port_min", "10000".to_owned()),
        ("media", "port_max", "31999".to_owned()),
        ("media", "shards", shards.to_string()),
        ("media", "broadcasts_per_shard_max", "2000".to_owned()),
        ("origin", "enabled", "false".to_owned()),
        ("log", "level", "\"warn\"".to_owned()),
    ] {
        tables.entry(section).or_default().insert(key, value);
    }
    for setting in settings {
        tables.entry(&setting.section).or_default().insert(&setting.key, setting.value.clone());
    }
    tables.iter().fold(String::new(), |mut text, (section, keys)| {
        let _ = writeln!(text, "[{section}]");
        for (key, value) in keys {
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    })
}

/// The program to test: `given`, or the one beside our own, built if it is not there.
///
/// # Errors
/// When cargo cannot build it.
pub(super) async fn find_program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(program) = given {
        anyhow::ensure!(program.is_file(), "{} is no file", program.display());
        return Ok(program);
    }
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("sipcast");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    if manifest.is_file() {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "sipcast", "--manifest-path"]).arg(manifest);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.status().await.context("cargo build --bin sipcast")?;
        anyhow::ensure!(status.success(), "cargo build --bin sipcast: {status}");
    }
    anyhow::ensure!(beside.is_file(), "no sipcast beside {}: give --sipcast", own.display());
    Ok(beside)
}

fn free_tcp_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn free_udp_port() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_what_a_load_sets_and_add_to_it() {
        let setting = |section: &str, key: &str, value: &str| Setting {
            section: section.into(),
            key: key.into(),
            value: value.into(),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_081));
        let settings = [setting("media", "shards", "2"), setting("media", "gather_ms", "0")];
        let text = configuration(address, address, 1, &settings);
        assert!(text.contains("shards = 2\n") && !text.contains("shards = 1\n"), "{text}");
        assert!(text.contains("gather_ms = 0\n"), "{text}");
        assert_eq!(text.matches("[media]").count(), 1);
    }
}
