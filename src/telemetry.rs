//! The log: to stderr, filtered so that no secret of the SIP stack's own messages reaches it.

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat};

/// The SIP stack logs whole messages, Authorization headers included, below `error`.
const ALWAYS_QUIET: [&str; 1] = ["rsipstack=off"];

/// Starts logging.
///
/// # Errors
/// When the level is no filter.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let mut filter = EnvFilter::try_new(&log.level)
        .with_context(|| format!("log.level is {:?}: expected error, warn, info, debug or a filter", log.level))?;
    for directive in ALWAYS_QUIET {
        filter = filter.add_directive(directive.parse().context("the built-in log filter")?);
    }
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
