//! The protocol of an `m=` line (RFC 8866 §5.14) as far as it is RTP over UDP.
//! Takes: the line's third word. Gives: whether it is protected, and whether feedback may be sent at any time.
//! Leaves out: keys (`crypto`) and feedback messages (`feedback`).

/// What protects the RTP of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Nothing, unless `a=crypto` says otherwise (RFC 8643).
    Plain,
    /// SRTP with keys in the description (RFC 4568).
    Sdes,
    /// SRTP keyed by DTLS (RFC 5764), which we do not speak.
    Dtls,
}

/// An RTP profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtpProfile {
    pub(crate) protection: Protection,
    /// RTP/AVPF or RTP/SAVPF (RFC 4585, RFC 5124).
    pub(crate) feedback: bool,
}

impl RtpProfile {
    /// `None`: no RTP, or not over UDP.
    pub(crate) fn parse(proto: &str) -> Option<Self> {
        PROFILES.iter().find(|(name, _)| proto.eq_ignore_ascii_case(name)).map(|(_, profile)| *profile)
    }

    /// Its name in an `m=` line.
    pub(crate) const fn name(self) -> &'static str {
        match (self.protection, self.feedback) {
            (Protection::Plain, false) => "RTP/AVP",
            (Protection::Plain, true) => "RTP/AVPF",
            (Protection::Sdes, false) => "RTP/SAVP",
            (Protection::Sdes, true) => "RTP/SAVPF",
            (Protection::Dtls, false) => "UDP/TLS/RTP/SAVP",
            (Protection::Dtls, true) => "UDP/TLS/RTP/SAVPF",
        }
    }
}

const fn profile(protection: Protection, feedback: bool) -> RtpProfile {
    RtpProfile { protection, feedback }
}

const PROFILES: [(&str, RtpProfile); 6] = [
    ("RTP/AVP", profile(Protection::Plain, false)),
    ("RTP/AVPF", profile(Protection::Plain, true)),
    ("RTP/SAVP", profile(Protection::Sdes, false)),
    ("RTP/SAVPF", profile(Protection::Sdes, true)),
    ("UDP/TLS/RTP/SAVP", profile(Protection::Dtls, false)),
    ("UDP/TLS/RTP/SAVPF", profile(Protection::Dtls, true)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (name, profile) in PROFILES {
            assert_eq!(RtpProfile::parse(&name.to_ascii_lowercase()), Some(profile));
            assert_eq!(profile.name(), name);
        }
        for other in ["", "UDP/BFCP", "TCP/RTP/AVP", "udptl", "RTP/AVP/TCP"] {
            assert_eq!(RtpProfile::parse(other), None, "{other}");
        }
    }
}
