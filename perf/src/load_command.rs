//! `perf load`: its options, its output, its exit code.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use sipcast_perf::callee::NetworkProfile;
use sipcast_perf::load::mix::{self, Mix};
use sipcast_perf::load::options::{
    self, MediaChoice, OwnSipcast, PublishedAudio, Setting, SipcastChoice, SipcastElsewhere,
};
use sipcast_perf::load::{self, LoadOptions, Outcome, Progress, Series, Thresholds};

/// The generator could not keep up: the run says nothing about sipcast.
const GENERATOR_WAS_THE_LIMIT: u8 = 3;

/// Options of `perf load`.
#[derive(Args)]
pub struct Load {
    /// Broadcasts at the same time; several numbers make a series, each with a sipcast of its own.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', required = true)]
    calls: Vec<usize>,
    /// Seconds to measure each.
    #[arg(long, value_name = "S", default_value_t = 30)]
    seconds: u64,
    /// Video bits a second and call, with k or M; the sound is G.711.
    #[arg(long, value_name = "RATE", default_value = "1000k", value_parser = options::bit_rate)]
    bit_rate: u32,
    /// Kinds of calls: video bit rate, codec of the sound (PCMU, PCMA, G722, opus, speex/8000, speex/16000, speex/32000), and
    /// how many of the kind for one of the others, such as 500k/PCMU,1M/opus*2.
    #[arg(long, value_name = "RATE[/CODEC][*N],…", value_parser = mix::mix, conflicts_with = "bit_rate")]
    mix: Option<Mix>,
    /// Orders a second until all calls are made.
    #[arg(long, value_name = "N/s", default_value = "10/s", value_parser = options::rate)]
    ramp: f64,
    /// Calls a second that are ended and ordered anew while measuring.
    #[arg(long, value_name = "N/s", value_parser = options::rate)]
    churn: Option<f64>,
    /// What targets get of the sound.
    #[arg(long, value_enum, default_value_t = Audio::Aac)]
    audio: Audio,
    /// Calls without sound: what pictures alone cost.
    #[arg(long, conflicts_with = "audio")]
    no_audio: bool,
    /// Calls without pictures: what sound alone costs.
    #[arg(long)]
    no_video: bool,
    /// SIP over TCP.
    #[arg(long)]
    tcp: bool,

    #[command(flatten)]
    network: Network,

    /// Where to publish: an RTMP URL without a stream name. By default a sink of the harness, which counts; with another
    /// server what arrives there, and latency as it is seen there, cannot be measured.
    #[arg(long, value_name = "rtmp://HOST/APP")]
    target: Option<String>,
    /// Address of this machine at which sipcast finds callees and sink.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    address: IpAddr,
    /// One datagram a system call's message, as from many phones, instead of a picture's datagrams in one piece.
    #[arg(long)]
    no_segmentation: bool,

    /// Drive a sipcast that runs already by its REST interface; its CPU and memory are read from its metrics.
    #[arg(long, value_name = "http://HOST:PORT", conflicts_with_all = ["sipcast", "shards", "settings", "log"], help_heading = "The sipcast under load")]
    rest: Option<String>,
    /// The environment variable that holds an API key for it.
    #[arg(long, value_name = "VARIABLE", requires = "rest", help_heading = "The sipcast under load")]
    api_key_env: Option<String>,
    /// The sipcast program; the default is built and found beside this one.
    #[arg(long, value_name = "BIN", help_heading = "The sipcast under load")]
    sipcast: Option<PathBuf>,
    /// Dataplane shards of sipcast.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "The sipcast under load")]
    shards: u16,
    /// A key of its configuration file, such as media.gather_ms=0; may be given again.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = options::setting, help_heading = "The sipcast under load")]
    settings: Vec<Setting>,
    /// Show what sipcast prints.
    #[arg(long, help_heading = "The sipcast under load")]
    log: bool,

    /// Write the figures to this file as JSON; `-` writes them to stdout instead of the table.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Write a plot of CPU and latency against calls to this file.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    svg: Option<PathBuf>,
    /// Tell nothing on the way.
    #[arg(long, help_heading = "Output")]
    quiet: bool,

    #[command(flatten)]
    limits: Limits,
}

/// What happens to RTP packets on their way to sipcast.
#[derive(Args)]
#[command(next_help_heading = "Network between callees and sipcast")]
struct Network {
    /// Share of packets lost.
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = options::percent)]
    loss: f64,
    /// Mean length of a burst of losses, in packets.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    loss_burst: f64,
    /// Packets are late by up to so much, evenly spread.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = options::milliseconds)]
    jitter: f64,
    /// Late packets are overtaken.
    #[arg(long)]
    reorder: bool,
    /// What losses and delays come from: the same seed, the same losses.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Thresholds; a run beyond one makes the exit code 1.
#[derive(Args)]
#[command(
    next_help_heading = "Thresholds (exit code 1: beyond one; 2: the load could not be run; 3: the generator was too slow to tell)"
)]
struct Limits {
    /// CPU of sipcast, percent of one core.
    #[arg(long, value_name = "PERCENT", value_parser = positive)]
    max_cpu_percent: Option<f64>,
    /// CPU of sipcast per call, percent of one core.
    #[arg(long, value_name = "PERCENT", value_parser = positive)]
    max_cpu_percent_per_call: Option<f64>,
    /// RTP packets lost by sipcast.
    #[arg(long, value_name = "N")]
    max_lost: Option<u64>,
    /// Added latency, 99th percentile.
    #[arg(long, value_name = "TIME", value_parser = options::milliseconds)]
    max_latency_p99: Option<f64>,
    /// From the order to the answer, 99th percentile.
    #[arg(long, value_name = "TIME", value_parser = options::milliseconds)]
    max_setup_p99: Option<f64>,
    /// Resident memory that a call adds to sipcast.
    #[arg(long, value_name = "SIZE", value_parser = options::kib)]
    max_memory_per_call: Option<u64>,
    /// Calls that do not come up or are lost.
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_failed: usize,
    /// Lateness of the generator's packets, 99th percentile: beyond it the run does not count.
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = options::milliseconds)]
    max_lateness_p99: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Audio {
    /// Transcoded to AAC.
    Aac,
    /// As the call sends it (G.711, Speex): what transcoding costs is the difference.
    Source,
}

fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("must be more than 0".to_owned()) }
}

impl Load {
    fn sipcast(&self) -> anyhow::Result<SipcastChoice> {
        let Some(rest) = &self.rest else {
            return Ok(SipcastChoice::Own(OwnSipcast {
                program: self.sipcast.clone(),
                shards: self.shards,
                settings: self.settings.clone(),
                log: self.log,
            }));
        };
        let key = |variable: &String| {
            std::env::var(variable).with_context(|| format!("--api-key-env {variable}: no such variable"))
        };
        let api_key = self.api_key_env.as_ref().map(key).transpose()?;
        Ok(SipcastChoice::Elsewhere(SipcastElsewhere { rest: rest.clone(), api_key }))
    }

    fn options(&self) -> anyhow::Result<LoadOptions> {
        let audio = match self.audio {
            _ if self.no_audio => None,
            Audio::Aac => Some(PublishedAudio::Aac),
            Audio::Source => Some(PublishedAudio::Source),
        };
        let network = NetworkProfile {
            loss: self.network.loss / 100.0,
            loss_burst: self.network.loss_burst,
            jitter: Duration::from_secs_f64(self.network.jitter / 1_000.0),
            reorder: self.network.reorder,
            seed: self.network.seed,
        };
        Ok(LoadOptions {
            calls: self.calls.clone(),
            duration: Duration::from_secs(self.seconds),
            mix: self.mix.clone().unwrap_or_else(|| Mix::of_bit_rate(self.bit_rate)),
            ramp_per_second: self.ramp,
            churn_per_second: self.churn.unwrap_or(0.0),
            network,
            segmentation: !self.no_segmentation,
            media: MediaChoice { video: !self.no_video, audio },
            sipcast: self.sipcast()?,
            target: self.target.clone(),
            address: self.address,
            tcp: self.tcp,
        })
    }

    fn thresholds(&self) -> Thresholds {
        let limits = &self.limits;
        Thresholds {
            cpu_percent_max: limits.max_cpu_percent,
            cpu_percent_per_call_max: limits.max_cpu_percent_per_call,
            lost_max: limits.max_lost,
            latency_p99_ms_max: limits.max_latency_p99,
            setup_p99_ms_max: limits.max_setup_p99,
            memory_per_call_kib_max: limits.max_memory_per_call,
            failed_max: limits.max_failed,
            lateness_p99_ms_max: limits.max_lateness_p99,
        }
    }

    fn write(&self, series: &Series) -> anyhow::Result<()> {
        if let Some(path) = &self.svg {
            write_file(path, &series.svg())?;
        }
        let to_stdout = self.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
        let json = serde_json::to_string_pretty(series)? + "\n";
        if to_stdout {
            print!("{json}");
        } else {
            if let Some(path) = &self.json {
                write_file(path, &json)?;
            }
            print!("{}", series.table());
        }
        Ok(())
    }
}

/// Runs the load, writes what was found, and judges it.
///
/// # Errors
/// When the load cannot be run or its outcome not be written.
pub async fn run(arguments: Load, interrupt: impl Future<Output = ()>) -> anyhow::Result<ExitCode> {
    let mut progress = if arguments.quiet { Progress::silent() } else { Progress::on_stderr() };
    let series = load::run(&arguments.options()?, &mut progress, interrupt).await?;
    progress.clear();
    arguments.write(&series)?;
    let (outcome, lines) = arguments.thresholds().judge(&series);
    for line in lines {
        eprintln!("perf: {line}");
    }
    Ok(match outcome {
        Outcome::Kept => ExitCode::SUCCESS,
        Outcome::Broken => ExitCode::FAILURE,
        Outcome::GeneratorWasTheLimit => ExitCode::from(GENERATOR_WAS_THE_LIMIT),
    })
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
