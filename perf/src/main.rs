//! `perf`: the load harness and the test callee as a program.

mod compare_command;
mod floor_command;
mod load_command;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sipcast_perf::callee::{
    Callee, CalleeOptions, PacketizationMode, PictureSource, SipTransport, VideoOptions,
};
use sipcast_perf::load::options;

/// As for options that are wrong: nothing was found out.
const COULD_NOT_RUN: u8 = 2;

/// Load harness and test callee of sipcast.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Order broadcasts from a sipcast and measure what a call costs.
    Load(Box<load_command::Load>),
    /// Carry the same calls through sipcast, ffmpeg, GStreamer and the floor, and compare what a call costs each.
    Compare(Box<compare_command::Compare>),
    /// Carry calls without SIP at the least cost: what the kernel and the AAC arithmetic take, nothing else.
    Floor(floor_command::Floor),
    /// Answer calls with a test picture and sound until Ctrl-C; counts go to stdout as JSON at the end.
    Callee(CalleeArguments),
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
    #[arg(long, env = "CALLEE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Video bits a second, with k or M.
    #[arg(long, value_name = "RATE", default_value = "1000k", value_parser = options::bit_rate)]
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    let outcome = match CommandLine::parse().command {
        Command::Load(arguments) => load_command::run(*arguments, interrupted()).await,
        Command::Compare(arguments) => compare_command::run(*arguments, interrupted()).await,
        Command::Floor(arguments) => floor_command::run(arguments),
        Command::Callee(arguments) => run_callee(arguments).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("perf: {error:#}");
        ExitCode::from(COULD_NOT_RUN)
    })
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
