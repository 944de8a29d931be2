//! `perf load`: its options, its output, its exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use sipcast_perf::load::options::{self, MediaChoice, PublishedAudio, Setting};
use sipcast_perf::load::{self, LoadOptions, Progress, Series, Thresholds};

/// The generator could not keep up: the run says nothing about sipcast.
const GENERATOR_WAS_THE_LIMIT: u8 = 3;

/// Options of `perf load`.
#[derive(Args)]
pub struct Load {
    /// Broadcasts at the same time; several numbers make a series, each with a sipcast of its own.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', required = true)]
    calls: Vec<usize>,
    /// Seconds to measure.
    #[arg(long, value_name = "S", default_value_t = 30)]
    seconds: u64,
    /// Video bits a second and call, with k or M.
    #[arg(long, value_name = "RATE", default_value = "1000k", value_parser = options::bit_rate)]
    bit_rate: u32,
    /// Orders a second.
    #[arg(long, value_name = "N/s", default_value = "10/s", value_parser = options::rate)]
    ramp: f64,
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
    fn options(&self) -> LoadOptions {
        let audio = match self.audio {
            _ if self.no_audio => None,
            Audio::Aac => Some(PublishedAudio::Aac),
            Audio::Source => Some(PublishedAudio::Source),
        };
        LoadOptions {
            calls: self.calls.clone(),
            duration: Duration::from_secs(self.seconds),
            bit_rate_bps: self.bit_rate,
            ramp_per_second: self.ramp,
            media: MediaChoice { video: !self.no_video, audio },
            sipcast: self.sipcast.clone(),
            shards: self.shards,
            settings: self.settings.clone(),
            tcp: self.tcp,
            log: self.log,
        }
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
    let series = load::run(&arguments.options(), &mut progress, interrupt).await?;
    progress.clear();
    arguments.write(&series)?;
    Ok(verdict(&series, &arguments.thresholds()))
}

/// 3 beats 1: thresholds that a starved generator broke, or kept, mean nothing.
fn verdict(series: &Series, thresholds: &Thresholds) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for report in &series.runs {
        for line in thresholds.broken(report) {
            eprintln!("perf: {} calls: {line}", report.calls);
            code = ExitCode::FAILURE;
        }
    }
    if let Some(error) = &series.broken_off {
        eprintln!("perf: {error}");
        code = ExitCode::FAILURE;
    }
    for line in series.runs.iter().filter_map(|report| thresholds.generator_was_the_limit(report)) {
        eprintln!("perf: the generator was the limit: {line}");
        code = ExitCode::from(GENERATOR_WAS_THE_LIMIT);
    }
    code
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
