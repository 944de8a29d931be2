//! `perf compare`: its options, its output, its exit code.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use sipcast_perf::compare::{self, CompareOptions, Comparison, System, Thresholds};
use sipcast_perf::load::options;

/// Options of `perf compare`.
#[derive(Args)]
pub(crate) struct Compare {
    /// Calls at the same time.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,10,20,100")]
    calls: Vec<u16>,
    /// Numbers of calls above this one are left to sipcast and the floor.
    #[arg(long, value_name = "N", default_value_t = 20)]
    peer_calls_max: u16,
    /// Systems: sipcast, floor, ffmpeg, ffmpeg-fast, gstreamer, gstreamer-one.
    #[arg(
        long,
        value_name = "NAME,NAME,…",
        value_delimiter = ',',
        default_value = "sipcast,floor,ffmpeg,ffmpeg-fast,gstreamer,gstreamer-one"
    )]
    only: Vec<System>,
    /// Seconds of each measurement.
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
    /// Rounds.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
    /// Video bits a second and call, with k or M.
    #[arg(long, value_name = "RATE", default_value = "1000k", value_parser = options::bit_rate)]
    bit_rate: u32,
    /// Publish to this RTMP server instead of the embedded sink; pictures and latency are not seen then.
    #[arg(long, value_name = "rtmp://HOST[:PORT]/APP", value_parser = rtmp_server)]
    target: Option<(SocketAddr, String)>,
    /// The sipcast program; the default is built and found beside this one.
    #[arg(long, value_name = "BIN")]
    sipcast: Option<PathBuf>,
    /// Do not install peers that are missing.
    #[arg(long)]
    no_install: bool,
    /// Write everything to this file as JSON; `-` writes it to stdout instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw CPU and latency against calls.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Fail when sipcast takes more than so many times the floor.
    #[arg(long, value_name = "RATIO")]
    max_ratio_floor: Option<f64>,
    /// Fail when a peer at its best takes less than so many times what sipcast takes.
    #[arg(long, value_name = "RATIO")]
    min_ratio_peers: Option<f64>,
    /// Fail when sipcast's added latency is higher, 99th percentile.
    #[arg(long, value_name = "TIME", value_parser = options::milliseconds)]
    max_latency_p99: Option<f64>,
    /// Fail when the kernel drops more packets on sipcast's sockets.
    #[arg(long, value_name = "N")]
    max_dropped: Option<u64>,
}

fn rtmp_server(text: &str) -> Result<(SocketAddr, String), String> {
    let parts = text.strip_prefix("rtmp://").and_then(|rest| rest.split_once('/'));
    let (host, app) = parts
        .filter(|(_, app)| !app.is_empty() && !app.contains('/'))
        .ok_or("expected rtmp://HOST[:PORT]/APP, such as rtmp://127.0.0.1/live")?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:1935") };
    let address = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?.next();
    Ok((address.ok_or_else(|| format!("{host} has no address"))?, app.to_owned()))
}

impl Compare {
    fn options(&self) -> CompareOptions {
        CompareOptions {
            systems: self.only.clone(),
            calls: self.calls.clone(),
            peer_calls_max: self.peer_calls_max,
            duration: Duration::from_secs(self.seconds),
            repeat: self.repeat,
            bit_rate_bps: self.bit_rate,
            sipcast: self.sipcast.clone(),
            server: self.target.clone(),
            may_install: !self.no_install,
        }
    }

    fn write(&self, comparison: &Comparison) -> anyhow::Result<()> {
        if let Some(path) = &self.svg {
            write_file(path, &comparison.svg())?;
        }
        let json = serde_json::to_string_pretty(&comparison.json()?)? + "\n";
        match &self.json {
            Some(path) if path.as_os_str() == "-" => print!("{json}"),
            Some(path) => {
                write_file(path, &json)?;
                print!("{}", comparison.table());
            }
            None => print!("{}", comparison.table()),
        }
        Ok(())
    }
}

/// Compares, writes what was found, and judges it.
///
/// # Errors
/// When nothing could be compared or the outcome not be written.
pub(crate) async fn run(arguments: Compare, interrupt: impl Future<Output = ()>) -> anyhow::Result<ExitCode> {
    let comparison = compare::run(&arguments.options(), |step| eprintln!("perf: {step}"), interrupt).await?;
    arguments.write(&comparison)?;
    let broken = comparison.broken(&Thresholds {
        max_ratio_floor: arguments.max_ratio_floor,
        min_ratio_peers: arguments.min_ratio_peers,
        max_latency_p99_ms: arguments.max_latency_p99,
        max_dropped: arguments.max_dropped,
    });
    for line in &broken {
        eprintln!("perf: {line}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_an_address_and_an_application() {
        let port = |text| rtmp_server(text).map(|(address, app)| (address.port(), app));
        assert_eq!(port("rtmp://127.0.0.1/live"), Ok((1_935, "live".to_owned())));
        assert_eq!(port("rtmp://127.0.0.1:19350/a"), Ok((19_350, "a".to_owned())));
        for wrong in
            ["http://127.0.0.1/live", "rtmp://127.0.0.1", "rtmp://127.0.0.1/", "rtmp://127.0.0.1/a/b"]
        {
            assert!(rtmp_server(wrong).unwrap_err().contains("expected rtmp://"), "{wrong}");
        }
    }
}
