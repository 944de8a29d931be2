//! What is compared: systems that make RTMP of RTP, by the names that the command line and the report use.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A way to get calls to RTMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// The product, called by SIP.
    Sipcast,
    /// The kernel work and the AAC arithmetic alone ([`floor`](crate::floor)).
    Floor,
    /// ffmpeg, one process a call, `-aac_coder twoloop`.
    Ffmpeg,
    /// The same with `-aac_coder fast`: cheaper, worse sound.
    FfmpegFast,
    /// GStreamer, one process a call.
    Gstreamer,
    /// GStreamer, one process with a pipeline a call.
    GstreamerOne,
}

impl System {
    /// All, in the order of the report.
    pub const ALL: [Self; 6] =
        [Self::Sipcast, Self::Floor, Self::Ffmpeg, Self::FfmpegFast, Self::Gstreamer, Self::GstreamerOne];

    /// Its name on the command line and in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sipcast => "sipcast",
            Self::Floor => "floor",
            Self::Ffmpeg => "ffmpeg",
            Self::FfmpegFast => "ffmpeg-fast",
            Self::Gstreamer => "gstreamer",
            Self::GstreamerOne => "gstreamer-one",
        }
    }

    /// What it is, for people.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Sipcast => "sipcast, called by SIP",
            Self::Floor => "kernel work and AAC arithmetic alone",
            Self::Ffmpeg => "ffmpeg, a process a call, -aac_coder twoloop",
            Self::FfmpegFast => "ffmpeg, a process a call, -aac_coder fast",
            Self::Gstreamer => "GStreamer, a process a call, voaacenc",
            Self::GstreamerOne => "GStreamer, one process, a pipeline a call, voaacenc",
        }
    }

    /// Whether it is what users run today, neither the product nor the floor.
    pub const fn is_peer(self) -> bool {
        !matches!(self, Self::Sipcast | Self::Floor)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|system| system.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|system| system.name()).collect();
            format!("`{text}` is none of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for system in System::ALL {
            assert_eq!(system.to_string().parse(), Ok(system));
            assert_eq!(serde_json::to_value(system).unwrap(), system.name());
        }
        let refused = "ffmpg".parse::<System>().unwrap_err();
        assert!(refused.contains("ffmpg") && refused.contains("gstreamer-one"), "{refused}");
    }
}
