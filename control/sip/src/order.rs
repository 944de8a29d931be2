//! What the control plane asks of the SIP side: one call, from whom, to whom, with which media ports.

use std::net::IpAddr;

use sipcast_contract::Secret;

use crate::sdp::SrtpSuites;

/// The identity a call is placed from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// User part of the address of record (RFC 3261 §10).
    pub login: String,
    /// User name for digest authentication.
    pub authentication_name: String,
    /// Password for digest authentication.
    pub password: Secret<String>,
    /// Host part of the address of record.
    pub domain: String,
    /// SIP server port, on the domain or the outbound proxy.
    pub port: u16,
    /// Where requests go first, `host[:port]`; `None`: the domain itself.
    pub outbound_proxy: Option<String>,
    /// Which transport to use; `None`: the one that the server's records name, else UDP, and TCP for what is too
    /// large for it (RFC 3263 §4.1, RFC 3261 §18.1.1).
    pub transport: Option<Transport>,
    /// REGISTER before the INVITE and un-register at the end.
    pub register: bool,
    /// Display name of the From header.
    pub visible_name: Option<String>,
}

/// SIP transport (RFC 3261 §18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// Reads the value of a `transport` parameter; `None`: a transport that we lack.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|transport| transport.name().eq_ignore_ascii_case(word))
    }

    /// The value of a `transport` parameter (RFC 3261 §19.1.1); in capitals the one of Via.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Port without a word about it (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// Whether messages need a connection.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

/// Whether RTP is protected (SRTP keyed by RFC 4568).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MediaSecurity {
    /// Plain RTP.
    #[default]
    Off,
    /// SRTP where the peer takes it, plain RTP where it does not (RFC 8643).
    Opportunistic,
    /// SRTP or no call.
    Mandatory,
}

/// One call to place.
#[derive(Clone, Debug)]
pub struct CallOrder {
    /// From whom.
    pub account: Account,
    /// User part, `user@host`, or a whole `sip:` URI to dial.
    pub callee: String,
    /// Our media addresses for the offer.
    pub media: LocalMedia,
    /// Whether RTP is protected.
    pub security: MediaSecurity,
    /// How this call departs from the configuration.
    pub preferences: Preferences,
}

impl CallOrder {
    /// What must not be seen in anything that is shown or logged of this call. The account's password is none of it:
    /// it never stands in a message.
    pub fn secrets(&self) -> Vec<Secret<String>> {
        self.preferences.secrets.clone()
    }
}

/// How one call departs from what is configured for all, as its service demands. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Preferences {
    /// Text that is masked wherever it stands: a meeting's passcode.
    pub secrets: Vec<Secret<String>>,
    /// Session interval to ask for, in seconds; `Some(0)`: no session timer.
    pub session_expires_s: Option<u32>,
    /// Offer AVPF and the video feedback of RFC 4585 and RFC 5104; `None`: as configured.
    pub avpf: Option<bool>,
    /// Feedback on video that is offered: PLI and FIR; `None`: both.
    pub keyframe_feedback: Option<KeyframeFeedback>,
    /// SRTP suites to offer and take, best first; `None`: as configured.
    pub srtp_suites: Option<SrtpSuites>,
    /// Names of audio encodings to offer, best first, as `rtpmap` has them; empty: as configured.
    pub audio_codecs: Vec<String>,
}

/// Ways to ask a sender for an IDR picture over RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyframeFeedback {
    /// Picture loss indication (RFC 4585 §6.3.1).
    pub pli: bool,
    /// Full intra request (RFC 5104 §4.3.1).
    pub fir: bool,
}

/// Where we listen for RTP; the shard has bound these ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// Address for `c=`.
    pub address: IpAddr,
    /// RTP port of audio, RTCP on the next; `None`: audio is not offered.
    pub audio_port: Option<u16>,
    /// RTP port of video, RTCP on the next; `None`: video is not offered.
    pub video_port: Option<u16>,
}
