//! Compares an order with what its service demands, before anything is dialled.
//! Takes: contracts, the parts of an order. Gives: the sound that all its targets take, or the first breach: field,
//! problem, what would be right. Leaves out: what only shows while live (`conformity`).

use std::borrow::Cow;

use sipcast_contract::options::AacOptions;
use sipcast_contract::{MediaWanted, RtmpUrl, TargetAudio};

use super::TargetContract;

/// An order asks for what its service does not take. No value of the order is repeated: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContractBreach {
    /// Of the order.
    pub(crate) field: &'static str,
    /// For people.
    pub(crate) problem: Cow<'static, str>,
    /// For people: what would be right.
    pub(crate) expected: Cow<'static, str>,
}

/// What a call publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishedMedia {
    /// As ordered.
    pub(crate) wanted: MediaWanted,
    /// Silence is published where the call has no sound.
    pub(crate) silent_audio: bool,
}

impl TargetContract {
    /// Whether the service takes a publication of `stream_name` (as it will be published) to `url`.
    pub(crate) fn check_target(&self, url: &RtmpUrl, stream_name: &str) -> Result<(), ContractBreach> {
        let title = &self.title;
        match self.tls {
            Some(true) if !url.is_tls() => {
                return Err(breach(
                    "rtmpUrl",
                    format!("is not encrypted; {title} takes only rtmps"),
                    "an rtmps:// URL",
                ));
            }
            Some(false) if url.is_tls() => {
                return Err(breach(
                    "rtmpUrl",
                    format!("is encrypted; {title} takes only rtmp"),
                    "an rtmp:// URL",
                ));
            }
            _ => {}
        }
        if let Some(app) = &self.app
            && app != url.app()
        {
            let problem = format!("names an application that {title} does not have");
            return Err(breach("rtmpUrl", problem, format!("the application {app}")));
        }
        if stream_name.len() < self.key_length_min {
            let problem = format!("is no stream key of {title}: too short");
            let expected =
                format!("the stream key that {title} shows, at least {} characters", self.key_length_min);
            return Err(breach("rtmpStream", problem, expected));
        }
        Ok(())
    }

    /// Whether `backup` may be the backup of `primary`.
    pub(crate) fn check_backup(&self, primary: &RtmpUrl, backup: &RtmpUrl) -> Result<(), ContractBreach> {
        let place = |url: &RtmpUrl| (url.host().to_ascii_lowercase(), url.port(), url.app_with_query());
        if self.backup_differs && place(primary) == place(backup) {
            let problem =
                format!("is the primary itself; {} has another entry point for the backup", self.title);
            let expected = match &self.backup_url {
                Some(url) => format!("the URL of the backup entry point, such as {url}"),
                None => "the URL of the backup entry point".to_owned(),
            };
            return Err(breach("rtmpBackupUrl", problem, expected));
        }
        Ok(())
    }

    /// Whether the service takes the media that a call publishes.
    pub(crate) fn check_media(&self, media: PublishedMedia) -> Result<(), ContractBreach> {
        let title = &self.title;
        if self.audio && !media.wanted.audio && !media.silent_audio {
            let problem =
                format!("is false, and audio.silent_when_absent too; {title} refuses pictures alone");
            return Err(breach("hasAudio", problem, "hasAudio true, or audio.silent_when_absent true"));
        }
        if self.video && !media.wanted.video {
            let problem = format!("is false; {title} refuses sound alone");
            return Err(breach("hasVideo", problem, "hasVideo true"));
        }
        Ok(())
    }

    /// Whether the service takes sound that is coded like this.
    pub(crate) fn check_coding(&self, audio: TargetAudio) -> Result<(), ContractBreach> {
        let demands_aac = self.aac.unwrap_or(!self.audio_sample_rates_hz.is_empty());
        if audio == TargetAudio::Source && demands_aac {
            let problem = format!("is source; {} takes only AAC", self.title);
            return Err(breach("rtmpAudio", problem, "aac, or no rtmpAudio"));
        }
        Ok(())
    }

    /// Whether the service takes the sound of a call.
    pub(crate) fn check_sound(&self, aac: &AacOptions) -> Result<(), ContractBreach> {
        let adapted = self.adapt(*aac);
        if adapted == *aac {
            return Ok(());
        }
        let problem =
            format!("is of {}, whose sound must not be that of this call ({})", self.title, describe(aac));
        let expected = format!(
            "a call ordered with rtmpService {}, or settings [audio] of {}",
            self.name,
            describe(&adapted)
        );
        Err(breach("rtmpUrl", problem, expected))
    }
}

/// The sound for a call to all these services: `configured` or, where one of them does not take that, the nearest that
/// all take.
///
/// # Errors
/// No sound suits all of them.
pub(crate) fn sound_for<'a>(
    contracts: impl Iterator<Item = &'a TargetContract> + Clone,
    configured: AacOptions,
) -> Result<AacOptions, ContractBreach> {
    // What one adapts the next may undo; two rounds show whether they come to terms.
    let adapt = |aac, contracts: &mut dyn Iterator<Item = &TargetContract>| {
        contracts.fold(aac, |aac, c| c.adapt(aac))
    };
    let first = adapt(configured, &mut contracts.clone());
    let aac = adapt(first, &mut contracts.clone());
    contracts.into_iter().try_for_each(|contract| contract.check_sound(&aac))?;
    Ok(aac)
}

/// The bit rate to ask the caller's encoder for: that of the most demanding service, no more than the weakest takes.
pub(crate) fn video_bit_rate_for<'a>(
    contracts: impl Iterator<Item = &'a TargetContract> + Clone,
) -> Option<u32> {
    let floor = contracts.clone().filter_map(|contract| contract.video_bit_rate_min_bps).max()?;
    let ceiling = contracts.filter_map(|contract| contract.video_bit_rate_max_bps).min().unwrap_or(u32::MAX);
    // The sound and the headers count for the service, and encoders stay below what they are asked for.
    Some((floor + floor / 4).min(ceiling))
}

fn breach(
    field: &'static str,
    problem: impl Into<Cow<'static, str>>,
    expected: impl Into<Cow<'static, str>>,
) -> ContractBreach {
    ContractBreach { field, problem: problem.into(), expected: expected.into() }
}

fn describe(aac: &AacOptions) -> String {
    let channels = if aac.channels == 1 { "mono" } else { "stereo" };
    format!("AAC {} Hz, {channels}, {} bit/s", aac.sample_rate_hz, aac.bit_rate_bps)
}

#[cfg(test)]
mod tests {
    use super::super::tests::contract;
    use super::*;

    const KEY: &str = "0123456789abcdef-key";

    fn url(text: &str) -> RtmpUrl {
        RtmpUrl::parse(text).expect("valid")
    }

    #[test]
    fn each_breach_names_field_problem_and_remedy() {
        let facebook = contract("facebook");
        let plain = facebook.check_target(&url("rtmp://rtmp-api.facebook.com/rtmp"), KEY).expect_err("plain");
        assert_eq!((plain.field, &*plain.expected), ("rtmpUrl", "an rtmps:// URL"));
        assert!(plain.problem.contains("Facebook"));
        let app = facebook.check_target(&url("rtmps://rtmp-api.facebook.com/live"), KEY).expect_err("app");
        assert_eq!((app.field, &*app.expected), ("rtmpUrl", "the application rtmp"));
        let key = contract("youtube")
            .check_target(&url("rtmp://a.rtmp.youtube.com/live2"), "hall")
            .expect_err("key");
        assert_eq!(key.field, "rtmpStream");
        assert!(!key.problem.contains("hall"));
        assert_eq!(facebook.check_target(&url("rtmps://rtmp-api.facebook.com:443/rtmp/"), KEY), Ok(()));
        assert!(contract("nginx-rtmp").check_target(&url("rtmps://h/live"), "x").is_err());
    }

    #[test]
    fn media_that_a_service_refuses_is_known_before_dialling() {
        let media = |audio, video, silent_audio| PublishedMedia {
            wanted: MediaWanted { audio, video },
            silent_audio,
        };
        let ivs = contract("aws-ivs");
        assert_eq!(ivs.check_media(media(true, false, true)).map_err(|b| b.field), Err("hasVideo"));
        assert_eq!(ivs.check_media(media(false, true, false)).map_err(|b| b.field), Err("hasAudio"));
        assert_eq!(ivs.check_media(media(false, true, true)), Ok(()), "silence stands in");
        assert_eq!(contract("cloudflare-stream").check_media(media(true, false, false)), Ok(()));
    }

    #[test]
    fn the_calls_own_sound_goes_only_where_more_than_aac_is_taken() {
        for name in ["youtube", "twitch", "facebook", "cloudflare-stream", "aws-ivs", "akamai", "huawei-live"]
        {
            let breach = contract(name).check_coding(TargetAudio::Source).expect_err(name);
            assert_eq!((breach.field, &*breach.expected), ("rtmpAudio", "aac, or no rtmpAudio"));
            assert_eq!(contract(name).check_coding(TargetAudio::Aac), Ok(()));
        }
        for name in ["wowza", "adobe-media-server", "nginx-rtmp", "srs", "sipcast"] {
            assert_eq!(contract(name).check_coding(TargetAudio::Source), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_backup_is_another_entry_point_where_the_service_has_one() {
        let primary = url("rtmps://a.rtmps.youtube.com:443/live2");
        let backup = url("rtmps://b.rtmps.youtube.com:443/live2?backup=1");
        let youtube = contract("youtube");
        assert_eq!(youtube.check_backup(&primary, &backup), Ok(()));
        assert_eq!(youtube.check_backup(&primary, &primary).map_err(|b| b.field), Err("rtmpBackupUrl"));
        assert_eq!(contract("srs").check_backup(&primary, &primary), Ok(()));
    }

    #[test]
    fn one_sound_suits_all_services_of_a_call_or_none_does() {
        let services = [contract("aws-ivs"), contract("facebook"), contract("akamai")];
        let sound = sound_for(services.iter().map(|c| &**c), AacOptions::default()).expect("there is one");
        assert_eq!(sound, AacOptions { bit_rate_bps: 96_000, ..AacOptions::default() });
        let low = TargetContract {
            name: "low".to_owned(),
            title: "Low".to_owned(),
            audio_bit_rate_max_bps: Some(48_000),
            ..TargetContract::default()
        };
        let ivs = contract("aws-ivs");
        let breach = sound_for([&*ivs, &low].into_iter(), AacOptions::default()).expect_err("none");
        assert!(breach.problem.contains("AWS IVS"), "{breach:?}");
        let later = ivs.check_sound(&AacOptions::default()).expect_err("64 kbit/s");
        assert!(later.expected.contains("96000 bit/s"), "{later:?}");
    }

    #[test]
    fn the_most_demanding_service_says_what_bit_rate_is_asked_for() {
        let services = |names: &[&str]| names.iter().map(|name| contract(name)).collect::<Vec<_>>();
        let asked = |names: &[&str]| video_bit_rate_for(services(names).iter().map(|c| &**c));
        assert_eq!(asked(&["cloudflare-stream", "twitch"]), Some(2_500_000));
        assert_eq!(asked(&["twitch", "srs"]), None);
        assert_eq!(asked(&[]), None);
    }
}
