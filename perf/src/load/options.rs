//! What a load is: how many calls of what kind, for how long, against which sipcast.
//! Takes: the texts of the command line. Gives: checked options.
//! Leaves out: carrying them out (`run`), limits on the outcome (`thresholds`).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::mix::Mix;
use crate::callee::NetworkProfile;

/// Calls of one run at most: more SIP users and RTP ports than one machine has for them.
pub const CALLS_MAX: usize = 5_000;
/// Runs of one series.
pub const RUNS_MAX: usize = 32;

/// What to run.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Calls at the same time, one run each.
    pub calls: Vec<usize>,
    /// How long each run measures.
    pub duration: Duration,
    /// What kinds of calls there are.
    pub mix: Mix,
    /// Orders a second until all calls are made.
    pub ramp_per_second: f64,
    /// Calls that are ended and ordered anew while measuring, a second; 0: none.
    pub churn_per_second: f64,
    /// What the network does to RTP packets on their way to sipcast.
    pub network: NetworkProfile,
    /// Gives the kernel the packets of a picture in one piece (UDP GSO).
    pub segmentation: bool,
    /// What the calls carry and the targets get.
    pub media: MediaChoice,
    /// The sipcast under load.
    pub sipcast: SipcastChoice,
    /// Where calls are published: an RTMP URL without a stream name; a sink of our own when not given.
    pub target: Option<String>,
    /// The address that callees and sink have for sipcast.
    pub address: IpAddr,
    /// SIP over TCP instead of UDP.
    pub tcp: bool,
}

/// The sipcast under load.
#[derive(Clone, Debug)]
pub enum SipcastChoice {
    /// A process of our own.
    Own(OwnSipcast),
    /// One that runs already.
    Elsewhere(SipcastElsewhere),
}

/// How to start a sipcast.
#[derive(Clone, Debug, Default)]
pub struct OwnSipcast {
    /// The program; built and found beside our own when not given.
    pub program: Option<PathBuf>,
    /// Dataplane shards.
    pub shards: u16,
    /// Settings beside those that the load needs.
    pub settings: Vec<Setting>,
    /// Show its log.
    pub log: bool,
}

/// Where a sipcast runs.
#[derive(Clone)]
pub struct SipcastElsewhere {
    /// `http://host:port` of its REST interface.
    pub rest: String,
    /// A key of its `rest.api_keys`.
    pub api_key: Option<String>,
}

impl fmt::Debug for SipcastElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipcastElsewhere")
            .field("rest", &self.rest)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .finish()
    }
}

impl LoadOptions {
    /// Checks what no parser of a single option can.
    ///
    /// # Errors
    /// Names the option and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.calls.is_empty(), "--calls: at least one number");
        anyhow::ensure!(self.calls.len() <= RUNS_MAX, "--calls: at most {RUNS_MAX} numbers");
        anyhow::ensure!(
            self.calls.iter().all(|calls| (1..=CALLS_MAX).contains(calls)),
            "--calls: from 1 to {CALLS_MAX}"
        );
        anyhow::ensure!(!self.duration.is_zero(), "--seconds: at least 1");
        anyhow::ensure!(
            self.media.video || self.media.audio.is_some(),
            "--no-audio and --no-video together leave nothing to send"
        );
        if let Some(target) = &self.target {
            let rest = target.strip_prefix("rtmp://").or_else(|| target.strip_prefix("rtmps://"));
            anyhow::ensure!(
                rest.is_some_and(|rest| rest
                    .split_once('/')
                    .is_some_and(|(host, app)| !host.is_empty() && !app.is_empty())),
                "--target: expected rtmp://host[:port]/app or rtmps://host[:port]/app, without a stream name"
            );
        }
        let fewest = self.calls.iter().copied().min().unwrap_or_default() as f64;
        anyhow::ensure!(
            self.churn_per_second <= fewest,
            "--churn: at most one change a second for each call, {fewest}/s for the fewest calls of the series"
        );
        Ok(())
    }
}

/// What the calls carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaChoice {
    /// Pictures.
    pub video: bool,
    /// Sound, and how it is published.
    pub audio: Option<PublishedAudio>,
}

impl Default for MediaChoice {
    fn default() -> Self {
        Self { video: true, audio: Some(PublishedAudio::Aac) }
    }
}

/// How sipcast publishes the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedAudio {
    /// Transcoded to AAC.
    Aac,
    /// As the call sends it, where FLV has a format for that.
    Source,
}

impl PublishedAudio {
    /// The word of `rtmpAudio` in an order.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Source => "source",
        }
    }
}

/// One key of sipcast's configuration file, its value as TOML text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The table.
    pub section: String,
    /// The key in it.
    pub key: String,
    /// TOML.
    pub value: String,
}

/// Reads `media.gather_ms=0`.
///
/// # Errors
/// Says what the form is.
pub fn setting(text: &str) -> Result<Setting, String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name.rsplit_once('.')?, value)));
    match parts {
        Some(((section, key), value)) if is_name(section) && is_name(key) && !value.contains('\n') => {
            Ok(Setting { section: section.to_owned(), key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected SECTION.KEY=VALUE in TOML, such as media.gather_ms=0".to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'.'))
}

/// Reads a bit rate: digits with `k` or `M`.
///
/// # Errors
/// Says what the form is.
pub fn bit_rate(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let value: u32 = digits.parse().map_err(|_| "expected a number with k or M, such as 1000k".to_owned())?;
    value.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

/// Reads a rate a second: `10/s` or `10`.
///
/// # Errors
/// Says what the form is.
pub fn rate(text: &str) -> Result<f64, String> {
    let value: f64 =
        text.strip_suffix("/s").unwrap_or(text).parse().map_err(|_| "expected N/s, such as 10/s")?;
    if value.is_finite() && (0.001..=10_000.0).contains(&value) {
        Ok(value)
    } else {
        Err("must be from 0.001/s to 10000/s".to_owned())
    }
}

/// Reads a time in milliseconds: `12ms`, `1.5s` or `12` (ms).
///
/// # Errors
/// Says what the form is.
pub fn milliseconds(text: &str) -> Result<f64, String> {
    let (digits, factor) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1.0)
    } else if let Some(digits) = text.strip_suffix('s') {
        (digits, 1_000.0)
    } else {
        (text, 1.0)
    };
    let value: f64 = digits.parse().map_err(|_| "expected a time such as 12ms or 1.5s".to_owned())?;
    if value.is_finite() && (0.0..=3_600_000.0).contains(&value) {
        Ok(value * factor)
    } else {
        Err("must be from 0 to an hour".to_owned())
    }
}

/// Reads a share in percent: `1%` or `1`.
///
/// # Errors
/// Says what the form is.
pub fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text
        .strip_suffix('%')
        .unwrap_or(text)
        .parse()
        .map_err(|_| "expected a percentage such as 1%".to_owned())?;
    if (0.0..=100.0).contains(&value) { Ok(value) } else { Err("must be from 0% to 100%".to_owned()) }
}

/// Reads an amount of memory in KiB: `512KiB`, `1MiB`, or a plain number of KiB.
///
/// # Errors
/// Says what the form is.
pub fn kib(text: &str) -> Result<u64, String> {
    let (digits, factor) = if let Some(digits) = text.strip_suffix("MiB") {
        (digits, 1_024)
    } else {
        (text.strip_suffix("KiB").unwrap_or(text), 1)
    };
    let value: u64 =
        digits.trim().parse().map_err(|_| "expected memory such as 1MiB or 512KiB".to_owned())?;
    value.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nonsense_is_named() {
        assert_eq!(
            (bit_rate("500k"), bit_rate("2M"), bit_rate("64000")),
            (Ok(500_000), Ok(2_000_000), Ok(64_000))
        );
        assert!(bit_rate("5000M").unwrap_err().contains("too large"));
        assert!(bit_rate("fast").unwrap_err().contains("1000k"));
        assert_eq!((rate("10/s"), rate("0.5")), (Ok(10.0), Ok(0.5)));
        assert!(rate("0").is_err() && rate("inf").is_err() && rate("-1/s").is_err());
        assert_eq!(
            (milliseconds("12ms"), milliseconds("1.5s"), milliseconds("3")),
            (Ok(12.0), Ok(1_500.0), Ok(3.0))
        );
        assert!(milliseconds("soon").is_err() && milliseconds("-1ms").is_err());
        assert_eq!((percent("1%"), percent("0.5")), (Ok(1.0), Ok(0.5)));
        assert!(percent("101%").is_err() && percent("NaN").is_err());
        assert_eq!((kib("1MiB"), kib("512KiB"), kib("7")), (Ok(1_024), Ok(512), Ok(7)));
        assert!(kib("1GB").is_err());
    }

    #[test]
    fn settings_name_section_and_key() {
        let expected = Setting { section: "media".into(), key: "gather_ms".into(), value: "0".into() };
        assert_eq!(setting("media.gather_ms=0"), Ok(expected));
        for wrong in ["gather_ms=0", "media.gather_ms", "media.=1", "a b.c=1", "a.b=1\n[c]"] {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }
}
