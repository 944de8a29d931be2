//! The sipcast process: configuration, start, status line, end.
#![forbid(unsafe_code)]

mod config;
mod demo;
mod node;
mod reload;
mod sounds;
mod telemetry;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use config::Config;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Phones a SIP callee and publishes its picture live to RTMP.
#[derive(Parser)]
#[command(
    name = "sipcast",
    version,
    about,
    max_term_width = 100,
    after_help = "\
Every setting of the configuration file but [[apps]] and [[webhooks]] can also come from the environment, SIPCAST_<SECTION>_<KEY>, \
for example SIPCAST_SIP_LISTEN=127.0.0.1:5070. Flags beat the environment, the environment beats the file."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broadcaster: REST API, page, SIP user agent, dataplane, embedded RTMP server.
    Serve(Settings),
    /// Run the same on loopback with a test callee, and order a broadcast of it.
    Demo {
        #[command(flatten)]
        settings: Settings,
        /// Address and port of the test callee's SIP.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5070")]
        callee_listen: SocketAddr,
    },
    /// Print the example configuration file, which documents every key.
    ExampleConfig,
}

#[derive(Args)]
struct Settings {
    /// Configuration file (TOML); see `sipcast example-config`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port of the REST API and the page [rest.listen].
    #[arg(long, value_name = "ADDRESS:PORT")]
    rest_listen: Option<SocketAddr>,
    /// Address and port of the SIP user agent [sip.listen].
    #[arg(long, value_name = "ADDRESS:PORT")]
    sip_listen: Option<SocketAddr>,
    /// Address and port of the embedded RTMP server [origin.listen].
    #[arg(long, value_name = "ADDRESS:PORT")]
    origin_listen: Option<SocketAddr>,
    /// Threads of the dataplane, 0 for one per core [media.shards].
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// What to log: error, warn, info, debug or a filter [log.level].
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Any setting, as section.key=value; may be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

impl Settings {
    fn load(self, defaults: &[(&str, &str)]) -> Result<Config, config::ConfigError> {
        let flags = [
            ("rest.listen", self.rest_listen.map(|a| a.to_string())),
            ("sip.listen", self.sip_listen.map(|a| a.to_string())),
            ("origin.listen", self.origin_listen.map(|a| a.to_string())),
            ("media.shards", self.shards.map(|n| n.to_string())),
            ("log.level", self.log),
        ];
        let named = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let settings: Vec<_> = self.set.into_iter().chain(named).collect();
        Config::load(defaults, self.config.as_deref(), std::env::vars(), &settings)
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected section.key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::ExampleConfig => {
            print!("{}", config::EXAMPLE);
            return ExitCode::SUCCESS;
        }
        Command::Serve(settings) => settings.load(&[]).map_err(Into::into).and_then(node::serve),
        Command::Demo { settings, callee_listen } => settings
            .load(&demo::DEFAULTS)
            .map_err(Into::into)
            .and_then(|config| demo::run(config, callee_listen)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sipcast: {}", told_once(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, leaving out a cause that the text before it names already.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.contains(&cause) => told,
        cause if told.is_empty() => cause,
        cause => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::told_once;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("in use").context("port 1: in use").context("choose another");
        assert_eq!(told_once(&error), "choose another: port 1: in use");
    }
}
