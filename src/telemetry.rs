//! The log: to stderr, filtered so that no secret of the SIP stack's own messages reaches it.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// The SIP stack logs whole messages, Authorization headers included, at several levels.
const SECRETIVE: &str = "rsipstack";

/// Starts logging.
///
/// # Errors
/// When the level is no filter.
pub fn start(log: &Log) -> anyhow::Result<()> {
    anyhow::ensure!(
        !log.level.contains(SECRETIVE),
        "log.level names {SECRETIVE}: its messages hold credentials and are never logged"
    );
    let filter = EnvFilter::try_new(&log.level).with_context(|| {
        format!("log.level is {:?}: expected error, warn, info, debug or a filter", log.level)
    })?;
    let filter = filter.add_directive(format!("{SECRETIVE}=off").parse().context("the built-in log filter")?);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal();
    match log.format {
        LogFormat::Text => subscriber.with_ansi(colours).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
