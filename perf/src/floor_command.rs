//! `perf floor`: its options.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sipcast_perf::floor::{self, FloorOptions};

/// Options of `perf floor`.
#[derive(Args)]
pub(crate) struct Floor {
    /// Calls.
    #[arg(long, value_name = "N")]
    calls: u16,
    /// First of four UDP ports a call: audio on it, video on the next but one.
    #[arg(long, value_name = "PORT")]
    first_port: u16,
    /// The RTMP server.
    #[arg(long, value_name = "ADDRESS:PORT")]
    server: SocketAddr,
    /// Application of the RTMP server.
    #[arg(long, value_name = "NAME", default_value = "live")]
    app: String,
    /// What stream names begin with; the call's number follows.
    #[arg(long, value_name = "NAME", default_value = "floor-")]
    stream_prefix: String,
    /// Milliseconds for which datagrams collect.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    gather: u64,
}

/// Carries the calls until something breaks. Its turns block the thread, which has nothing else to do.
pub(crate) fn run(arguments: Floor) -> anyhow::Result<ExitCode> {
    let options = FloorOptions {
        calls: arguments.calls,
        first_port: arguments.first_port,
        server: arguments.server,
        app: arguments.app,
        stream_prefix: arguments.stream_prefix,
        gather: Duration::from_millis(arguments.gather),
    };
    floor::run(&options, || println!("ready"))?;
    Ok(ExitCode::SUCCESS)
}
