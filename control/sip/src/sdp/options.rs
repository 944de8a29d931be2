//! What our offers ask for beside ports and keys.
//! Takes: settings of the process or of one order. Gives: [`OfferOptions`], plain data.
//! Leaves out: how each becomes a line (`offer`), and what is offered after a refusal (`offer_ladder`).

use std::fmt;
use std::str::FromStr;

use sipcast_contract::Direction;
use sipcast_contract::media::{AudioCodec, VideoFeedback};

use super::SrtpSuites;
use crate::order::Preferences;

/// What our offers ask for beside the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferOptions {
    /// Direction of audio. `SendRecv` by default: we do send keep-alives and DTMF, and many IVRs, PBXs and rooms
    /// treat `recvonly` audio as hold or play music into it.
    pub audio_direction: Direction,
    /// Direction of video. `RecvOnly` by default: it is the truth, so a room does not keep a black tile for us,
    /// and every H.264 endpoint looked at sends to `recvonly`. `SendRecv` for the peer that does not.
    pub video_direction: Direction,
    /// Audio codecs, the preferred one first; only these are offered and answered.
    pub audio_codecs: AudioCodecs,
    /// Offer comfort noise (RFC 3389). Off by default: it invites the peer to cut quiet passages out, and a
    /// broadcast wants them. A peer that names it is understood either way.
    pub comfort_noise: bool,
    /// Milliseconds of audio in one packet that we ask for (`a=ptime`), 10..=60.
    pub packet_time_ms: u16,
    /// Ask Opus senders for two channels (`stereo=1`, RFC 7587 §6.1).
    pub opus_stereo: bool,
    /// Offer RTP/AVPF and RTP/SAVPF instead of RTP/AVP and RTP/SAVP. Off by default: older devices refuse AVPF
    /// outright, newer ones honour the feedback attributes under AVP.
    pub feedback_profile: bool,
    /// RTCP feedback on video that is offered (`a=rtcp-fb`). All of it by default.
    pub video_feedback: VideoFeedback,
    /// Offer H.264 Main profile, beside Constrained Baseline, which is always offered.
    pub h264_main: bool,
    /// Offer H.264 High profile. On by default: it is passed on undecoded, and some rooms send nothing else.
    pub h264_high: bool,
    /// Largest picture in macroblocks (`max-fs`, RFC 6184 §8.1): 3600 is 1280x720, 8192 covers 1920x1080.
    pub video_macroblocks_max: u32,
    /// Macroblocks per second (`max-mbps`): 108000 is 720p at 30 Hz, 245760 is 1080p at 30 Hz.
    pub video_macroblocks_per_s_max: u32,
    /// Bandwidth of video in bit/s (`b=TIAS`, `b=AS` with the packet overhead, `max-br`).
    pub video_bit_rate_bps_max: u32,
    /// SRTP suites, the preferred one first; only these are offered and answered.
    pub srtp_suites: SrtpSuites,
}

impl Default for OfferOptions {
    fn default() -> Self {
        Self {
            audio_direction: Direction::SendRecv,
            video_direction: Direction::RecvOnly,
            audio_codecs: AudioCodecs::default(),
            comfort_noise: false,
            packet_time_ms: 20,
            opus_stereo: false,
            feedback_profile: false,
            video_feedback: VideoFeedback { pli: true, fir: true, nack: true, tmmbr: true },
            h264_main: false,
            h264_high: true,
            video_macroblocks_max: 8_192,
            video_macroblocks_per_s_max: 245_760,
            video_bit_rate_bps_max: 4_000_000,
            srtp_suites: SrtpSuites::default(),
        }
    }
}

impl OfferOptions {
    /// As one order wants it. Encodings that are not ours are passed over; if none is left, the codecs stay.
    #[must_use]
    pub fn preferring(mut self, preferences: &Preferences) -> Self {
        self.srtp_suites = preferences.srtp_suites.unwrap_or(self.srtp_suites);
        self.feedback_profile = preferences.avpf.unwrap_or(self.feedback_profile);
        if let Some(keyframe) = preferences.keyframe_feedback {
            self.video_feedback.pli = keyframe.pli;
            self.video_feedback.fir = keyframe.fir;
        }
        let named = |name: &String| AudioCodecs::named(name.trim()).collect::<Vec<_>>();
        let codecs: Vec<AudioCodec> = preferences.audio_codecs.iter().flat_map(named).collect();
        self.audio_codecs = AudioCodecs::new(&codecs).unwrap_or(self.audio_codecs);
        self
    }
}

/// Audio codecs in order of preference, each once, at least one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AudioCodecs {
    listed: [AudioCodec; Self::ALL.len()],
    /// 1..=`ALL.len()`; what lies behind it in `listed` does not count.
    len: usize,
}

impl AudioCodecs {
    /// All that sipcast decodes, best sound first: 48 kHz with error correction, then 16 kHz at 64 kbit/s, then
    /// Speex, which is wide but compressed hard, then telephone quality. Of the last, G.711 goes before Speex: it
    /// costs nothing to decode and was not compressed. Ultra-wideband Speex stands behind wideband, because peers
    /// implement it least well.
    pub const ALL: [AudioCodec; 7] = [
        AudioCodec::Opus,
        AudioCodec::G722,
        AudioCodec::SpeexWideband,
        AudioCodec::SpeexUltraWideband,
        AudioCodec::Pcmu,
        AudioCodec::Pcma,
        AudioCodec::SpeexNarrowband,
    ];

    /// The codecs of `wanted`, further mentions of one left out; `None` if there is none.
    pub fn new(wanted: &[AudioCodec]) -> Option<Self> {
        let mut codecs = Self { listed: Self::ALL, len: 0 };
        for codec in wanted {
            if !codecs.contains(*codec) {
                codecs.listed[codecs.len] = *codec;
                codecs.len += 1;
            }
        }
        (codecs.len > 0).then_some(codecs)
    }

    /// In order of preference.
    pub fn iter(&self) -> impl Iterator<Item = AudioCodec> + '_ {
        self.listed[..self.len].iter().copied()
    }

    /// Whether `codec` is one of them.
    pub fn contains(&self, codec: AudioCodec) -> bool {
        self.iter().any(|listed| listed == codec)
    }

    /// The codecs that a setting's word or an encoding name means; `speex` alone means all its sampling rates.
    pub fn named(name: &str) -> impl Iterator<Item = AudioCodec> + use<'_> {
        let encoding = |word: &'static str| word.split('/').next().unwrap_or(word);
        Self::ALL.into_iter().filter(move |codec| {
            let word = Self::word(*codec);
            word.eq_ignore_ascii_case(name) || encoding(word).eq_ignore_ascii_case(name)
        })
    }

    /// The word that settings use for a codec: its RTP name in lower case, with the sampling rate where one name
    /// has several.
    pub const fn word(codec: AudioCodec) -> &'static str {
        match codec {
            AudioCodec::Pcmu => "pcmu",
            AudioCodec::Pcma => "pcma",
            AudioCodec::G722 => "g722",
            AudioCodec::SpeexNarrowband => "speex/8000",
            AudioCodec::SpeexWideband => "speex/16000",
            AudioCodec::SpeexUltraWideband => "speex/32000",
            AudioCodec::Opus => "opus",
        }
    }
}

impl Default for AudioCodecs {
    fn default() -> Self {
        Self { listed: Self::ALL, len: Self::ALL.len() }
    }
}

impl fmt::Debug for AudioCodecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// As [`AudioCodecs::from_str`] reads it.
impl fmt::Display for AudioCodecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, codec) in self.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(Self::word(codec))?;
        }
        Ok(())
    }
}

/// A list of codecs that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("codecs must be a list of opus, g722, speex/16000, speex/32000, pcmu, pcma, speex/8000; found {0:?}")]
pub struct UnknownCodec(pub String);

impl FromStr for AudioCodecs {
    type Err = UnknownCodec;

    /// Words at commas, the preferred one first: `opus, g722, pcmu`.
    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        let mut codecs = Vec::new();
        for word in text.split(',').map(str::trim) {
            let before = codecs.len();
            codecs.extend(Self::named(word));
            if codecs.len() == before {
                return Err(UnknownCodec(word.to_owned()));
            }
        }
        Self::new(&codecs).ok_or_else(|| UnknownCodec(String::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_lists_are_read_and_written() {
        let all = AudioCodecs::default();
        assert_eq!(all.to_string().parse(), Ok(all));
        let few: AudioCodecs = "PCMA,opus , pcma,speex/8000".parse().unwrap();
        assert_eq!(few.to_string(), "pcma, opus, speex/8000");
        assert!(few.contains(AudioCodec::Opus) && !few.contains(AudioCodec::G722));
        for (wrong, found) in [("", ""), ("opus,", ""), ("speex/11025", "speex/11025"), ("g729,opus", "g729")]
        {
            assert_eq!(wrong.parse::<AudioCodecs>(), Err(UnknownCodec(found.to_owned())));
        }
        assert_eq!(AudioCodecs::new(&[]), None);
        assert_eq!("speex".parse::<AudioCodecs>().unwrap().iter().count(), 3);
    }

    #[test]
    fn an_order_may_want_it_otherwise() {
        let configured = OfferOptions::default();
        assert_eq!(configured.preferring(&Preferences::default()), configured);
        let preferences = Preferences {
            avpf: Some(true),
            keyframe_feedback: Some(crate::order::KeyframeFeedback { pli: false, fir: true }),
            audio_codecs: vec!["PCMU".into(), "G729".into(), "Opus".into()],
            ..Preferences::default()
        };
        let options = configured.preferring(&preferences);
        assert!(options.feedback_profile && !options.video_feedback.pli && options.video_feedback.nack);
        assert_eq!(options.audio_codecs.to_string(), "pcmu, opus");
        let unknown = Preferences { audio_codecs: vec!["G729".into()], ..Preferences::default() };
        assert_eq!(configured.preferring(&unknown), configured);
    }
}
