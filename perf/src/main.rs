//! `perf`: the load harness and the test callee as a program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sipcast_perf::callee::{
    Callee, CalleeOptions, PacketizationMode, PictureSource, SipTransport, VideoOptions,
};
use sipcast_perf::load::{self, Limits, LoadOptions};

/// Load harness and test callee of sipcast.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Order broadcasts from a sipcast of its own and measure what a call costs.
    Load(Load),
    /// Answer calls with a test picture and sound until Ctrl-C; counts go to stdout as JSON at the end.
    Callee(CalleeArguments),
}

#[derive(Args)]
struct Load {
    /// Broadcasts at the same time.
    #[arg(long, value_name = "N")]
    calls: usize,
    /// Seconds to measure.
    #[arg(long, value_name = "S")]
    seconds: u64,
    /// Video bits a second and call, with k or M.
    #[arg(long, value_name = "RATE", default_value = "1000k", value_parser = bit_rate)]
    bit_rate: u32,
    /// Orders a second.
    #[arg(long, value_name = "N/s", default_value = "10/s", value_parser = rate)]
    ramp: f64,
    /// Write the report to this file as JSON; `-` writes it to stdout instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The sipcast program; the default is built and found beside this one.
    #[arg(long, value_name = "BIN")]
    sipcast: Option<PathBuf>,
    /// Dataplane shards of sipcast.
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: u16,
    /// SIP over TCP.
    #[arg(long)]
    tcp: bool,
    /// Show what sipcast prints.
    #[arg(long)]
    log: bool,
    /// Fail when sipcast takes more of one core.
    #[arg(long, value_name = "PERCENT")]
    max_cpu_percent: Option<f64>,
    /// Fail when sipcast loses more RTP packets.
    #[arg(long, value_name = "N")]
    max_lost: Option<u64>,
}

#[derive(Args)]
struct CalleeArguments {
    /// Where SIP comes in.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5070")]
    listen: SocketAddr,
    /// SIP over TCP.
    #[arg(long)]
    tcp: bool,
    /// User to ask a digest for.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password that goes with it.
    #[arg(long, env = "SIPCAST_CALLEE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Video bits a second, with k or M.
    #[arg(long, value_name = "RATE", default_value = "1000k", value_parser = bit_rate)]
    bit_rate: u32,
    /// Prefer H.264 packetization mode 0.
    #[arg(long)]
    single_nal_unit: bool,
    /// Encode once and send the recording to all calls.
    #[arg(long)]
    recorded: bool,
    /// Milliseconds it rings.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    answer_after: u64,
}

fn bit_rate(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let value: u32 = digits.parse().map_err(|_| "expected a number with k or M, such as 1000k".to_owned())?;
    value.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let value: f64 =
        text.strip_suffix("/s").unwrap_or(text).parse().map_err(|_| "expected N/s, such as 10/s")?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("must be more than 0".to_owned()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    let outcome = match CommandLine::parse().command {
        Command::Load(arguments) => run_load(arguments).await,
        Command::Callee(arguments) => run_callee(arguments).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("perf: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run_load(arguments: Load) -> anyhow::Result<ExitCode> {
    let options = LoadOptions {
        calls: arguments.calls,
        duration: Duration::from_secs(arguments.seconds),
        bit_rate_bps: arguments.bit_rate,
        ramp_per_second: arguments.ramp,
        sipcast: arguments.sipcast,
        shards: arguments.shards,
        tcp: arguments.tcp,
        log: arguments.log,
    };
    let report = load::run(&options, interrupted()).await?;
    let text = serde_json::to_string_pretty(&report)?;
    match &arguments.json {
        Some(path) if path.as_os_str() == "-" => println!("{text}"),
        Some(path) => {
            std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
            print!("{}", report.table());
        }
        None => print!("{}", report.table()),
    }
    let limits = Limits { max_cpu_percent: arguments.max_cpu_percent, max_lost: arguments.max_lost };
    let broken = report.broken(limits);
    for line in &broken {
        eprintln!("perf: {line}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_callee(arguments: CalleeArguments) -> anyhow::Result<ExitCode> {
    let mode = if arguments.single_nal_unit {
        PacketizationMode::SingleNalUnit
    } else {
        PacketizationMode::NonInterleaved
    };
    let callee = Callee::start(CalleeOptions {
        bind: arguments.listen,
        transport: if arguments.tcp { SipTransport::Tcp } else { SipTransport::Udp },
        video: VideoOptions {
            bit_rate_bps: arguments.bit_rate,
            packetization_mode: mode,
            ..VideoOptions::default()
        },
        pictures: if arguments.recorded { PictureSource::Recorded } else { PictureSource::Live },
        auth: arguments.user.zip(arguments.password),
        answer_after: Duration::from_millis(arguments.answer_after),
        ..CalleeOptions::default()
    })
    .await?;
    eprintln!("callee: sip:callee@{}", callee.local_addr());
    interrupted().await;
    let statistics = callee.statistics();
    callee.shutdown().await;
    println!("{}", serde_json::to_string(&statistics)?);
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
