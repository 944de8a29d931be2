//! Whether what a target is given is what its service demands: a verdict per rule, with what was measured.
//! Takes: a contract, the figures that a shard told. Gives: a report. Leaves out: enforcing (the shard), and what is
//! known before dialling (`target_contract::check`).

use std::time::Duration;

use serde::Serialize;
use sipcast_contract::TargetAudio;
use sipcast_contract::statistics::{BroadcastStatistics, TargetStatistics};

use crate::broadcast::Broadcasts;
use crate::registry::{Broadcast, Target};
use crate::target_contract::{Profile, TargetContract};

/// How one target's publication keeps to its service's contract.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConformityReport {
    /// The contract's name; `None`: the target has none.
    pub service: Option<String>,
    /// Every rule that could be judged is kept; `None`: none could be.
    pub conforms: Option<bool>,
    /// What was measured.
    pub measured: Measured,
    /// One per rule of the contract.
    pub verdicts: Vec<Verdict>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its name in the contract.
    pub rule: &'static str,
    /// For people.
    pub demanded: String,
    /// For people.
    pub measured: String,
    /// Whether it is kept; `None`: nothing to judge by yet.
    pub ok: Option<bool>,
}

/// What a target is given: over the last 10 s, or since the call's first media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Over the last 10 s.
    pub video_bit_rate_bps: u32,
    /// Over the last 10 s.
    pub frame_rate: f64,
    /// Pixels; 0: no picture yet.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// `baseline`, `main`, `high`, or none of these.
    pub profile: Option<&'static str>,
    /// Ten times the level: 31 is 3.1 (ITU-T H.264 Annex A.3).
    pub level_idc: u8,
    /// Seconds between the last two IDR pictures, or since the last one when that is longer.
    pub gop_last_seconds: f64,
    /// The longest, since the call's first picture.
    pub gop_max_seconds: f64,
    /// Pictures that refer to later ones.
    pub b_pictures: u64,
    /// Times the picture's size or profile changed.
    pub picture_changes: u64,
    /// Bytes.
    pub picture_bytes_max: u32,
    /// Pictures not sent because they are longer than the server takes.
    pub oversized: u64,
    /// Times the target was published anew because the picture changed.
    pub republished: u64,
    /// Hz; 0: no sound.
    pub audio_sample_rate_hz: u32,
    /// 0: no sound.
    pub audio_channels: u8,
    /// Over the last 10 s.
    pub audio_bit_rate_bps: u32,
    /// Times no sound followed for 200 ms or more.
    pub audio_gaps: u64,
    /// Milliseconds.
    pub audio_gap_max_ms: u32,
    /// Seconds since publish was accepted; 0 while it is not.
    pub publishing_for_seconds: f64,
    /// Pictures not sent because the server was slow.
    pub access_units_dropped: u64,
    /// Sound not sent because the server was slow.
    pub audio_frames_dropped: u64,
}

impl Broadcasts {
    /// A report for each target of a broadcast, live or within its grace time; `None`: no broadcast has this name.
    pub(crate) fn conformity(&self, call_id: &str) -> Option<Vec<(u64, ConformityReport)>> {
        let registry = self.shared.registry();
        let broadcast = registry.call(call_id)?;
        let report = |target: &Target| ConformityReport::of(broadcast, target);
        Some(broadcast.targets.iter().map(|(id, target)| (id.0, report(target))).collect())
    }
}

impl ConformityReport {
    /// The report of a target as the registry holds it.
    pub(crate) fn of(broadcast: &Broadcast, target: &Target) -> Self {
        Self::new(target.contract.as_deref(), &broadcast.statistics, &target.statistics, target.spec.audio)
    }

    /// The report of one target.
    pub(crate) fn new(
        contract: Option<&TargetContract>,
        broadcast: &BroadcastStatistics,
        target: &TargetStatistics,
        audio: TargetAudio,
    ) -> Self {
        let measured = Measured::new(broadcast, target, audio);
        let verdicts = contract.map(|contract| verdicts(contract, &measured)).unwrap_or_default();
        let judged: Vec<bool> = verdicts.iter().filter_map(|verdict| verdict.ok).collect();
        Self {
            service: contract.map(|contract| contract.name.clone()),
            conforms: (!judged.is_empty()).then(|| judged.iter().all(|ok| *ok)),
            measured,
            verdicts,
        }
    }
}

impl Measured {
    fn new(broadcast: &BroadcastStatistics, target: &TargetStatistics, audio: TargetAudio) -> Self {
        let published = &broadcast.published;
        // What FLV has no format for goes out as AAC there, too.
        let is_source = audio == TargetAudio::Source && published.source_sample_rate_hz > 0;
        let (audio_sample_rate_hz, audio_channels, audio_bit_rate_bps) = match is_source {
            true => (published.source_sample_rate_hz, 1, published.source_bit_rate_bps),
            false => (published.audio_sample_rate_hz, published.audio_channels, published.audio_bit_rate_bps),
        };
        let [profile_idc, _, level_idc] = published.profile;
        Self {
            video_bit_rate_bps: published.video_bit_rate_bps,
            frame_rate: f64::from(published.frame_rate_millis) / 1000.0,
            width: broadcast.width,
            height: broadcast.height,
            profile: Profile::of(profile_idc).map(Profile::as_str),
            level_idc,
            gop_last_seconds: f64::from(published.gop_last_ms) / 1000.0,
            gop_max_seconds: f64::from(published.gop_max_ms) / 1000.0,
            b_pictures: published.b_pictures,
            picture_changes: published.picture_changes,
            picture_bytes_max: published.picture_bytes_max,
            oversized: target.oversized,
            republished: target.republished,
            audio_sample_rate_hz,
            audio_channels,
            audio_bit_rate_bps,
            audio_gaps: published.audio_gaps,
            audio_gap_max_ms: published.audio_gap_max_ms,
            publishing_for_seconds: target.publishing_for.as_secs_f64(),
            access_units_dropped: target.access_units_dropped,
            audio_frames_dropped: target.audio_frames_dropped,
        }
    }

    fn has_picture(&self) -> bool {
        self.height > 0
    }

    fn has_sound(&self) -> bool {
        self.audio_sample_rate_hz > 0
    }

    /// A window is full enough to judge by.
    const fn has_video_rate(&self) -> bool {
        self.video_bit_rate_bps > 0
    }
}

fn verdicts(contract: &TargetContract, m: &Measured) -> Vec<Verdict> {
    let mut out = Vec::new();
    let mut judge = |rule, demanded: String, measured: String, ok| {
        out.push(Verdict { rule, demanded, measured, ok });
    };
    let has_begun = m.publishing_for_seconds >= BEGUN_AFTER.as_secs_f64();
    if contract.video {
        judge("video", "pictures".to_owned(), present(m.has_picture()), has_begun.then(|| m.has_picture()));
    }
    if contract.audio {
        judge("audio", "sound".to_owned(), present(m.has_sound()), has_begun.then(|| m.has_sound()));
    }
    if contract.gop_min_s.is_some() || contract.gop_max_s.is_some() {
        let (min, max) = (contract.gop_min_s.map(f64::from), contract.gop_max_s.map(f64::from));
        // An encoder that answers a request within a second keeps the rule as far as services look.
        let is_kept = |max: f64| m.gop_last_seconds <= max + GOP_TOLERANCE_S;
        let ok = max.is_none_or(is_kept) && min.is_none_or(|min| m.gop_last_seconds + GOP_TOLERANCE_S >= min);
        let is_known = m.gop_last_seconds > 0.0;
        judge(
            "gop",
            range(min, max, "s"),
            format!("{:.1} s last, {:.1} s longest", m.gop_last_seconds, m.gop_max_seconds),
            is_known.then_some(ok),
        );
    }
    if contract.video_bit_rate_min_bps.is_some() || contract.video_bit_rate_max_bps.is_some() {
        let (min, max) = (contract.video_bit_rate_min_bps, contract.video_bit_rate_max_bps);
        judge(
            "videoBitRate",
            range(min, max, "bit/s"),
            format!("{} bit/s", m.video_bit_rate_bps),
            m.has_video_rate().then(|| within(m.video_bit_rate_bps, min, max)),
        );
    }
    if contract.frame_rate_min.is_some() || contract.frame_rate_max.is_some() {
        let (min, max) = (contract.frame_rate_min, contract.frame_rate_max);
        // Rounded: 60 pictures a second are never exactly that.
        let rounded = m.frame_rate.round() as u32;
        judge(
            "frameRate",
            range(min, max, "pictures/s"),
            format!("{:.1} pictures/s", m.frame_rate),
            m.has_video_rate().then(|| within(rounded, min, max)),
        );
    }
    if let Some(max) = contract.height_max {
        judge(
            "height",
            format!("at most {max} lines"),
            format!("{}x{}", m.width, m.height),
            // Upright pictures are turned ones.
            m.has_picture().then(|| m.height.min(m.width) <= max),
        );
    }
    if !contract.profiles.is_empty() {
        let names: Vec<&str> = contract.profiles.iter().map(|profile| profile.as_str()).collect();
        let measured = m.profile.unwrap_or("another");
        let ok = m.has_picture().then(|| names.contains(&measured));
        judge("profile", names.join(" or "), measured.to_owned(), ok);
    }
    if contract.b_pictures == Some(false) {
        let ok = m.has_picture().then_some(m.b_pictures == 0);
        judge("bPictures", "none".to_owned(), m.b_pictures.to_string(), ok);
    }
    if contract.settings_may_change == Some(false) {
        let ok = m.has_picture().then_some(m.picture_changes == 0 || m.republished >= m.picture_changes);
        let measured = format!("{} changes, {} published anew", m.picture_changes, m.republished);
        judge("settings", "one size and profile per publication".to_owned(), measured, ok);
    }
    if let Some(max) = contract.message_bytes_max {
        let measured = format!("{} bytes, {} too long and not sent", m.picture_bytes_max, m.oversized);
        judge(
            "messageBytes",
            format!("at most {max} bytes"),
            measured,
            m.has_picture().then_some(m.oversized == 0),
        );
    }
    if !contract.audio_sample_rates_hz.is_empty() {
        let rates: Vec<String> = contract.audio_sample_rates_hz.iter().map(u32::to_string).collect();
        let ok = m.has_sound().then(|| contract.audio_sample_rates_hz.contains(&m.audio_sample_rate_hz));
        judge(
            "audioSampleRate",
            format!("{} Hz", rates.join(" or ")),
            format!("{} Hz", m.audio_sample_rate_hz),
            ok,
        );
    }
    if !contract.audio_channels.is_empty() {
        let counts: Vec<String> = contract.audio_channels.iter().map(u8::to_string).collect();
        let ok = m.has_sound().then(|| contract.audio_channels.contains(&m.audio_channels));
        judge("audioChannels", counts.join(" or "), m.audio_channels.to_string(), ok);
    }
    if contract.audio_bit_rate_min_bps.is_some() || contract.audio_bit_rate_max_bps.is_some() {
        let (min, max) = (contract.audio_bit_rate_min_bps, contract.audio_bit_rate_max_bps);
        // AAC takes fewer bits for silence than it was set to: what a service counts is the setting.
        let least = min.map(|min| min / 4 * 3);
        judge(
            "audioBitRate",
            range(min, max, "bit/s"),
            format!("{} bit/s", m.audio_bit_rate_bps),
            (m.audio_bit_rate_bps > 0)
                .then(|| within(m.audio_bit_rate_bps, least, max.map(|max| max / 4 * 5))),
        );
    }
    if let Some(hours) = contract.duration_max_h {
        let seconds = m.publishing_for_seconds;
        let ok = seconds <= f64::from(hours) * 3600.0;
        judge(
            "duration",
            format!("at most {hours} h"),
            format!("{:.1} h", seconds / 3600.0),
            (seconds > 0.0).then_some(ok),
        );
    }
    out
}

fn present(is_present: bool) -> String {
    if is_present { "there" } else { "none" }.to_owned()
}

fn within(value: u32, min: Option<u32>, max: Option<u32>) -> bool {
    min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
}

fn range<T: std::fmt::Display>(min: Option<T>, max: Option<T>, unit: &str) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max} {unit}"),
        (Some(min), None) => format!("at least {min} {unit}"),
        (None, Some(max)) => format!("at most {max} {unit}"),
        (None, None) => String::new(),
    }
}

/// A publication this old must have what it must have.
const BEGUN_AFTER: Duration = Duration::from_secs(5);
/// What an answered request for an IDR picture may take beyond the rule.
const GOP_TOLERANCE_S: f64 = 0.5;

#[cfg(test)]
mod tests {
    use sipcast_contract::statistics::PublishedMedia;

    use super::*;
    use crate::target_contract::tests::contract;

    fn figures() -> (BroadcastStatistics, TargetStatistics) {
        let published = PublishedMedia {
            video_bit_rate_bps: 1_500_000,
            frame_rate_millis: 29_970,
            gop_last_ms: 2_100,
            gop_max_ms: 9_000,
            profile: [66, 0xc0, 31],
            picture_bytes_max: 90_000,
            audio_bit_rate_bps: 96_500,
            audio_sample_rate_hz: 48_000,
            audio_channels: 1,
            ..PublishedMedia::default()
        };
        let broadcast =
            BroadcastStatistics { published, width: 1280, height: 720, ..BroadcastStatistics::default() };
        let target =
            TargetStatistics { publishing_for: Duration::from_secs(60), ..TargetStatistics::default() };
        (broadcast, target)
    }

    fn broken(report: &ConformityReport) -> Vec<&'static str> {
        report
            .verdicts
            .iter()
            .filter(|verdict| verdict.ok == Some(false))
            .map(|verdict| verdict.rule)
            .collect()
    }

    #[test]
    fn a_call_that_keeps_to_the_contract_conforms() {
        let (broadcast, target) = figures();
        for name in ["youtube", "facebook", "aws-ivs", "aws-ivs-real-time", "twitch", "nginx-rtmp"] {
            let report = ConformityReport::new(Some(&contract(name)), &broadcast, &target, TargetAudio::Aac);
            assert_eq!((report.conforms, broken(&report)), (Some(true), vec![]), "{name}");
            assert_eq!(report.service.as_deref(), Some(name));
        }
        let none = ConformityReport::new(None, &broadcast, &target, TargetAudio::Aac);
        assert_eq!((none.conforms, none.verdicts.len(), none.measured.height), (None, 0, 720));
    }

    #[test]
    fn each_breach_is_named() {
        let (mut broadcast, target) = figures();
        let report = ConformityReport::new(
            Some(&contract("cloudflare-stream")),
            &broadcast,
            &target,
            TargetAudio::Aac,
        );
        assert_eq!((report.conforms, broken(&report)), (Some(false), vec!["videoBitRate"]));
        assert_eq!(report.verdicts[1].demanded, "2000000 to 14000000 bit/s");
        let published = &mut broadcast.published;
        published.gop_last_ms = 5_000;
        published.picture_changes = 1;
        published.profile[0] = 100;
        published.b_pictures = 3;
        published.audio_bit_rate_bps = 64_000;
        let report = ConformityReport::new(Some(&contract("aws-ivs")), &broadcast, &target, TargetAudio::Aac);
        assert_eq!(broken(&report), ["gop", "settings", "audioBitRate"]);
        let report = ConformityReport::new(
            Some(&contract("aws-ivs-real-time")),
            &broadcast,
            &target,
            TargetAudio::Aac,
        );
        assert_eq!(broken(&report), ["gop", "profile", "bPictures"]);
        let republished = TargetStatistics { republished: 1, ..target };
        let report =
            ConformityReport::new(Some(&contract("facebook")), &broadcast, &republished, TargetAudio::Aac);
        assert_eq!(broken(&report), ["gop"]);
    }

    #[test]
    fn the_calls_own_sound_is_judged_by_its_own_figures() {
        let (mut broadcast, target) = figures();
        broadcast.published.source_bit_rate_bps = 64_400;
        let measured = |broadcast: &BroadcastStatistics, audio| {
            let m = ConformityReport::new(Some(&contract("wowza")), broadcast, &target, audio).measured;
            (m.audio_sample_rate_hz, m.audio_bit_rate_bps)
        };
        assert_eq!(measured(&broadcast, TargetAudio::Source), (48_000, 96_500), "not to be had: AAC");
        broadcast.published.source_sample_rate_hz = 8_000;
        assert_eq!(measured(&broadcast, TargetAudio::Source), (8_000, 64_400));
        assert_eq!(measured(&broadcast, TargetAudio::Aac), (48_000, 96_500));
    }

    #[test]
    fn nothing_is_judged_before_there_is_something_to_judge() {
        let report = ConformityReport::new(
            Some(&contract("facebook")),
            &BroadcastStatistics::default(),
            &TargetStatistics::default(),
            TargetAudio::Aac,
        );
        assert_eq!((report.conforms, broken(&report)), (None, vec![]));
        let late = TargetStatistics { publishing_for: BEGUN_AFTER, ..TargetStatistics::default() };
        let report = ConformityReport::new(
            Some(&contract("facebook")),
            &BroadcastStatistics::default(),
            &late,
            TargetAudio::Aac,
        );
        assert_eq!(broken(&report), ["video", "audio"]);
    }

    #[test]
    fn the_report_is_plain_json() {
        let (broadcast, target) = figures();
        let report = ConformityReport::new(Some(&contract("twitch")), &broadcast, &target, TargetAudio::Aac);
        let json = serde_json::to_value(&report).expect("plain data");
        assert_eq!(json["measured"]["gopMaxSeconds"], 9.0);
        assert_eq!(json["verdicts"][0]["rule"], "audio");
        assert_eq!(json["conforms"], true);
    }
}
