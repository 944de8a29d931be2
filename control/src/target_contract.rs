//! What RTMP services demand of a publisher, as data: read once, chosen by name or by host.
//! Takes: TOML, the built-in one and the operator's. Gives: typed contracts, and the rules that a shard enforces.
//! Leaves out: comparing an order with them (`check`), comparing what was published with them (`conformity`).

pub(crate) mod check;
mod settle;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sipcast_contract::options::AacOptions;
use sipcast_contract::{PictureChange, RtmpUrl, TargetRules};

use crate::order::FieldFault;

/// All contracts of this process, in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct TargetContracts(Arc<[Arc<TargetContract>]>);

/// What one service demands. `None` and empty: nothing.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct TargetContract {
    /// Name in orders.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Hosts that mean this service: exact, or `*.suffix`.
    pub hosts: Vec<String>,
    /// Where to publish when an order names only the service.
    pub url: Option<String>,
    /// The service's backup for that.
    pub backup_url: Option<String>,
    /// `rtmps://` or `rtmp://` is demanded.
    pub tls: Option<bool>,
    /// The only application.
    pub app: Option<String>,
    /// The stream name is a key and has no prefix.
    pub key: bool,
    /// Shortest key, in bytes.
    pub key_length_min: usize,
    /// Primary and backup must not be the same server and application.
    pub backup_differs: bool,
    /// Sound must be there.
    pub audio: bool,
    /// Pictures must be there.
    pub video: bool,
    /// The sound must be AAC; absent: it must where `audio_sample_rates_hz` says which.
    pub aac: Option<bool>,
    /// Rates that are taken, in Hz.
    pub audio_sample_rates_hz: Vec<u32>,
    /// Numbers of channels that are taken.
    pub audio_channels: Vec<u8>,
    /// Lowest bit rate of the sound.
    pub audio_bit_rate_min_bps: Option<u32>,
    /// Highest bit rate of the sound.
    pub audio_bit_rate_max_bps: Option<u32>,
    /// Seconds after which an IDR picture is asked for.
    pub keyframe_interval_s: Option<u32>,
    /// Fewest seconds between IDR pictures.
    pub gop_min_s: Option<u32>,
    /// Most seconds between IDR pictures.
    pub gop_max_s: Option<u32>,
    /// Lowest bit rate of the pictures.
    pub video_bit_rate_min_bps: Option<u32>,
    /// Highest bit rate of the pictures.
    pub video_bit_rate_max_bps: Option<u32>,
    /// Fewest pictures per second.
    pub frame_rate_min: Option<u32>,
    /// Most pictures per second.
    pub frame_rate_max: Option<u32>,
    /// Most lines of a picture.
    pub height_max: Option<u16>,
    /// H.264 profiles that are taken.
    pub profiles: Vec<Profile>,
    /// `false`: no pictures that refer to later ones.
    pub b_pictures: Option<bool>,
    /// Longest RTMP message, in bytes.
    pub message_bytes_max: Option<usize>,
    /// `false`: the picture's size and profile must stay.
    pub settings_may_change: Option<bool>,
    /// Publish anew when they do not.
    pub republish: bool,
    /// Longest publication, in hours.
    pub duration_max_h: Option<u32>,
}

/// H.264 profiles as services name them (ITU-T H.264 Annex A.2).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Baseline and Constrained Baseline: `profile_idc` 66.
    Baseline,
    /// Main: 77.
    Main,
    /// High: 100.
    High,
}

/// Why contracts cannot be read; names the contract and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractsError {
    /// No TOML, an unknown key or a wrong value; the text names line and column.
    #[error("{0}")]
    Syntax(String),
    /// A value is out of its range.
    #[error("contract {name:?}: {problem}")]
    Value {
        /// Of the contract.
        name: String,
        /// For people.
        problem: &'static str,
    },
}

/// No contract has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownService;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    contract: Vec<TargetContract>,
}

impl Default for TargetContracts {
    /// The built-in ones.
    fn default() -> Self {
        let contracts = read(BUILT_IN).expect("the built-in contracts are tested to be valid");
        Self(contracts.into_iter().map(Arc::new).collect())
    }
}

impl TargetContracts {
    /// The built-in contracts with the operator's `text` before them; one of the same name is replaced.
    ///
    /// # Errors
    /// [`ContractsError`].
    pub fn with_own(text: &str) -> Result<Self, ContractsError> {
        let own = read(text)?;
        let replaced: HashSet<String> = own.iter().map(|contract| plain(&contract.name)).collect();
        let built_in = Self::default();
        let kept = built_in.0.iter().filter(|contract| !replaced.contains(&plain(&contract.name))).cloned();
        Ok(Self(own.into_iter().map(Arc::new).chain(kept).collect()))
    }

    /// The contract that an order means: by the service's name where it gives one (`none`: no contract), else by the
    /// host of its URL.
    pub(crate) fn choose(
        &self,
        service: Option<&str>,
        url: Option<&RtmpUrl>,
    ) -> Result<Option<Arc<TargetContract>>, UnknownService> {
        match service {
            Some(name) if plain(name) == "none" => Ok(None),
            Some(name) => {
                let found = self.0.iter().find(|contract| plain(&contract.name) == plain(name));
                found.cloned().map(Some).ok_or(UnknownService)
            }
            None => Ok(url.and_then(|url| self.by_host(url.host()))),
        }
    }

    /// The contract that the service's name in an order means; `none`: no contract.
    pub(crate) fn of_service(&self, name: &str) -> Result<Option<Arc<TargetContract>>, FieldFault> {
        self.choose(Some(name), None).map_err(|UnknownService| {
            FieldFault::new("rtmpService", "is no known service", format!("{}, or none", self.names()))
        })
    }

    /// All names, for people.
    fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|contract| contract.name.as_str()).collect();
        names.join(", ")
    }

    fn by_host(&self, host: &str) -> Option<Arc<TargetContract>> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_exact = |pattern: &String| *pattern == host;
        let is_suffix = |pattern: &String| {
            pattern
                .strip_prefix('*')
                .is_some_and(|suffix| host.len() > suffix.len() && host.ends_with(suffix))
        };
        let exact = self.0.iter().find(|contract| contract.hosts.iter().any(is_exact));
        exact.or_else(|| self.0.iter().find(|contract| contract.hosts.iter().any(is_suffix))).cloned()
    }
}

impl TargetContract {
    /// What the shard enforces.
    pub(crate) fn rules(&self) -> TargetRules {
        let defaults = TargetRules::default();
        TargetRules {
            keyframe_interval_max: self.keyframe_interval_s.map(|s| Duration::from_secs(s.into())),
            message_bytes_max: self.message_bytes_max.unwrap_or(defaults.message_bytes_max),
            on_picture_change: if self.republish { PictureChange::Republish } else { PictureChange::PassOn },
        }
    }

    /// `aac` or, where the service does not take that, what is nearest to it and taken.
    pub(crate) fn adapt(&self, aac: AacOptions) -> AacOptions {
        let rates = &self.audio_sample_rates_hz;
        let sample_rate_hz = match rates.iter().max() {
            Some(_) if rates.contains(&aac.sample_rate_hz) => aac.sample_rate_hz,
            Some(highest) => *highest,
            None => aac.sample_rate_hz,
        };
        let channels = match self.audio_channels.iter().max() {
            Some(most) if !self.audio_channels.contains(&aac.channels) => *most,
            _ => aac.channels,
        };
        let floor = self.audio_bit_rate_min_bps.unwrap_or(0);
        let ceiling = self.audio_bit_rate_max_bps.unwrap_or(u32::MAX);
        AacOptions { sample_rate_hz, channels, bit_rate_bps: aac.bit_rate_bps.max(floor).min(ceiling) }
    }

    fn check(&self) -> Result<(), &'static str> {
        let ordered =
            |low: Option<u32>, high: Option<u32>| low.zip(high).is_none_or(|(low, high)| low <= high);
        let rates = &self.audio_sample_rates_hz;
        let is_url = |url: &Option<String>| url.as_deref().is_none_or(|url| RtmpUrl::parse(url).is_ok());
        let rules = [
            (!plain(&self.name).is_empty() && plain(&self.name) != "none", "needs a name, which is not none"),
            (is_url(&self.url), "url is no RTMP URL"),
            (is_url(&self.backup_url), "backup_url is no RTMP URL"),
            (
                rates.iter().all(|rate| AacOptions::SAMPLE_RATES_HZ.contains(rate)),
                "audio_sample_rates_hz: expected 48000, 44100, 32000, 24000, 16000 or 8000",
            ),
            (self.audio_channels.iter().all(|n| (1..=2).contains(n)), "audio_channels: expected 1 or 2"),
            (
                ordered(self.audio_bit_rate_min_bps, self.audio_bit_rate_max_bps),
                "audio_bit_rate_min_bps is above audio_bit_rate_max_bps",
            ),
            (ordered(self.gop_min_s, self.gop_max_s), "gop_min_s is above gop_max_s"),
            (
                ordered(self.video_bit_rate_min_bps, self.video_bit_rate_max_bps),
                "video_bit_rate_min_bps is above video_bit_rate_max_bps",
            ),
            (ordered(self.frame_rate_min, self.frame_rate_max), "frame_rate_min is above frame_rate_max"),
            (self.keyframe_interval_s != Some(0), "keyframe_interval_s: expected at least 1"),
            (ordered(self.keyframe_interval_s, self.gop_max_s), "keyframe_interval_s is above gop_max_s"),
            (
                self.message_bytes_max.is_none_or(|max| max >= 65_536),
                "message_bytes_max: expected at least 65536",
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, problem)| Err(problem))
    }
}

impl Profile {
    /// Of a `profile_idc`; `None`: none that services name.
    pub(crate) const fn of(profile_idc: u8) -> Option<Self> {
        match profile_idc {
            66 => Some(Self::Baseline),
            77 => Some(Self::Main),
            100 => Some(Self::High),
            _ => None,
        }
    }

    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Main => "main",
            Self::High => "high",
        }
    }
}

fn read(text: &str) -> Result<Vec<TargetContract>, ContractsError> {
    let file: File = toml::from_str(text).map_err(|error| ContractsError::Syntax(error.to_string()))?;
    let mut names = HashSet::new();
    for contract in &file.contract {
        let wrong = |problem| ContractsError::Value { name: contract.name.clone(), problem };
        contract.check().map_err(wrong)?;
        if !names.insert(plain(&contract.name)) {
            return Err(wrong("there are two of this name"));
        }
    }
    let lower = |mut contract: TargetContract| {
        contract.hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
        contract
    };
    Ok(file.contract.into_iter().map(lower).collect())
}

/// A name as it compares: `AWS IVS`, `aws-ivs` and `aws_ivs` are one.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

const BUILT_IN: &str = include_str!("target_contract/contracts.toml");

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn contract(name: &str) -> Arc<TargetContract> {
        let chosen = TargetContracts::default().choose(Some(name), None).expect("built in");
        chosen.expect("not none")
    }

    fn by_url(contracts: &TargetContracts, url: &str) -> Option<String> {
        let url = RtmpUrl::parse(url).expect("valid");
        contracts.choose(None, Some(&url)).expect("no name").map(|contract| contract.name.clone())
    }

    #[test]
    fn every_named_service_is_built_in() {
        for name in [
            "YouTube",
            "Twitch",
            "Facebook",
            "Cloudflare Stream",
            "AWS IVS",
            "AWS MediaLive",
            "Akamai",
            "Wowza",
            "Adobe Media Server",
            "nginx-rtmp",
            "SRS",
            "sipcast",
        ] {
            assert!(!contract(name).title.is_empty(), "{name}");
        }
        assert_eq!(TargetContracts::default().choose(Some("myspace"), None), Err(UnknownService));
        assert_eq!(TargetContracts::default().choose(Some("None"), None), Ok(None));
    }

    #[test]
    fn a_host_names_its_service_and_the_exact_one_goes_first() {
        let contracts = TargetContracts::default();
        let by_url = |url| by_url(&contracts, url);
        assert_eq!(by_url("rtmp://A.rtmp.YouTube.com/live2").as_deref(), Some("youtube"));
        assert_eq!(by_url("rtmp://live-api-s.facebook.com/rtmp").as_deref(), Some("facebook"));
        assert_eq!(by_url("rtmps://ingest.global-contribute.live-video.net/app").as_deref(), Some("twitch"));
        assert_eq!(by_url("rtmps://ab12.global-contribute.live-video.net/app").as_deref(), Some("aws-ivs"));
        for none in
            ["rtmp://127.0.0.1/live", "rtmp://facebook.com.example/rtmp", "rtmp://evil-facebook.com/rtmp"]
        {
            assert_eq!(by_url(none), None, "{none}");
        }
        let youtube = RtmpUrl::parse("rtmp://a.rtmp.youtube.com/live2").expect("valid");
        assert_eq!(contracts.choose(Some("none"), Some(&youtube)), Ok(None));
    }

    #[test]
    fn the_operators_contracts_add_and_replace() {
        let own =
            "[[contract]]\nname = \"YOUTUBE\"\n[[contract]]\nname = \"ours\"\nhosts = [\"*.Ours.example\"]\n";
        let contracts = TargetContracts::with_own(own).expect("valid");
        assert_eq!(by_url(&contracts, "rtmp://in.ours.example/live").as_deref(), Some("ours"));
        assert_eq!(by_url(&contracts, "rtmp://a.rtmp.youtube.com/live2"), None);
        assert_eq!(by_url(&contracts, "rtmp://live.twitch.tv/app").as_deref(), Some("twitch"));
        for (wrong, named) in [
            ("[[contract]]\nname = \"x\"\nhots = []\n", "hots"),
            ("[[contract]]\nname = \"x\"\ngop_min_s = 3\ngop_max_s = 2\n", "gop_min_s"),
            ("[[contract]]\nname = \"none\"\n", "name"),
            ("[[contract]]\nname = \"x\"\naudio_sample_rates_hz = [11025]\n", "44100"),
            ("[[contract]]\nname = \"x\"\n[[contract]]\nname = \"X\"\n", "two"),
        ] {
            let error = TargetContracts::with_own(wrong).expect_err("wrong").to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn sound_is_chosen_so_that_the_service_takes_it() {
        let configured = AacOptions { sample_rate_hz: 16_000, channels: 1, bit_rate_bps: 32_000 };
        let adapted = contract("aws-ivs").adapt(configured);
        assert_eq!(adapted, AacOptions { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 96_000 });
        assert_eq!(contract("aws-ivs").adapt(adapted), adapted);
        assert_eq!(contract("nginx-rtmp").adapt(configured), configured);
        let loud = AacOptions { bit_rate_bps: 320_000, ..AacOptions::default() };
        assert_eq!(contract("facebook").adapt(loud).bit_rate_bps, 256_000);
    }

    #[test]
    fn rules_for_the_shard_follow_from_the_contract() {
        let facebook = contract("facebook").rules();
        assert_eq!(facebook.keyframe_interval_max, Some(Duration::from_secs(2)));
        assert_eq!(facebook.on_picture_change, PictureChange::Republish);
        assert_eq!(contract("nginx-rtmp").rules().message_bytes_max, 1 << 20);
        assert_eq!(contract("sipcast").rules(), TargetRules::default());
    }
}
