//! A sipcast of our own: built when asked for, started as a child with a configuration of its own, and ended politely.
//! Takes: the program. Gives: a running process with its REST interface.
//! Leaves out: what is asked of it (`rest`), measuring (`process`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::options::{OwnSipcast, Setting};
use super::rest::Rest;

/// How long the program may take to answer its first request, and to end.
const START_TIME: Duration = Duration::from_secs(20);
const END_TIME: Duration = Duration::from_secs(10);

/// A running sipcast.
pub(crate) struct Product {
    child: Child,
    pid: u32,
    rest: Rest,
    config: PathBuf,
}

impl Product {
    /// Starts `program serve` and waits until its REST interface answers.
    ///
    /// # Errors
    /// When it does not start, ends at once, or does not answer in time.
    pub async fn start(program: &Path, options: &OwnSipcast, address: IpAddr) -> anyhow::Result<Self> {
        let (rest, held) = hold_tcp_port()?;
        // It looks for one itself that is free for UDP and TCP; callees learn it by its requests.
        let sip = SocketAddr::new(address, 0);
        // Several may be started by one process.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let config = std::env::temp_dir().join(format!("sipcast-load-{}-{number}.toml", std::process::id()));
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
        let mut product = Self { child, pid, rest: Rest::new(&format!("http://{rest}"), None)?, config };
        product.wait_until_ready().await?;
        drop(held);
        Ok(product)
    }

    pub const fn pid(&self) -> u32 {
        self.pid
    }

    pub const fn rest(&self) -> &Rest {
        &self.rest
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START_TIME;
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("sipcast ended while starting: {status}");
            }
            match self.rest.statistics().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error.context("sipcast does not answer")),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
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

/// The configuration file: what a load needs, `settings` over it.
fn configuration(rest: SocketAddr, sip: SocketAddr, shards: u16, settings: &[Setting]) -> String {
    let mut tables: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (section, key, value) in [
        ("rest", "listen", format!("\"{rest}\"")),
        ("sip", "listen", format!("\"{sip}\"")),
        ("media", "address", format!("\"{}\"", sip.ip())),
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
pub(crate) async fn find_program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
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

/// A TCP port of loopback that nobody else is given while the socket lives, though who asks for it by number may listen
/// there: bound for reuse and never listening (socket(7), `SO_REUSEADDR`).
fn hold_tcp_port() -> anyhow::Result<(SocketAddr, Socket)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket().context("a TCP socket has an address")?;
    Ok((address, socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_port_is_listened_at_by_who_names_it() {
        let (address, held) = hold_tcp_port().unwrap();
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        drop(held);
        let (dialled, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        assert_eq!(dialled.unwrap().local_addr().unwrap(), accepted.unwrap().1);
    }

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
