//! What the control plane asks of the SIP side: one call, from whom, to whom, with which media ports.

use std::net::IpAddr;

use sipcast_contract::Secret;

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
    /// Which transport to use.
    pub transport: Transport,
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
