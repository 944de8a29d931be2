//! What offer and answer agreed on (RFC 3264), as the dataplane needs it.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::SrtpSession;

/// The media of one call after an answer. A description that was refused (port 0) is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NegotiatedMedia {
    /// The audio description.
    pub audio: Option<AudioMedia>,
    /// The video description.
    pub video: Option<VideoMedia>,
}

/// Where one RTP stream comes from and goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaTransport {
    /// The peer's RTP address; `None` while it is on hold with `c=0.0.0.0`.
    pub remote_rtp: Option<SocketAddr>,
    /// The peer's RTCP address (RTP port + 1, or `a=rtcp`, or the RTP address with rtcp-mux).
    pub remote_rtcp: Option<SocketAddr>,
    /// RTP and RTCP share one port (RFC 5761).
    pub rtcp_mux: bool,
    /// Our direction: `RecvOnly` and `SendRecv` expect media from the peer.
    pub direction: Direction,
    /// Keys of both directions; `None`: plain RTP.
    pub srtp: Option<Box<SrtpSession>>,
}

/// Direction of a media description, seen from us (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// We send and receive.
    #[default]
    SendRecv,
    /// We only send.
    SendOnly,
    /// We only receive.
    RecvOnly,
    /// Nothing flows.
    Inactive,
}

impl Direction {
    /// Whether the peer may send to us.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Whether we may send to the peer.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }
}

/// The audio that the peer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioMedia {
    /// Addresses and direction.
    pub transport: MediaTransport,
    /// Codecs the peer may send, each with its payload type; the first is preferred.
    pub formats: Vec<AudioFormat>,
    /// What we send sound as: the codec that the peer prefers, with the payload type that its own description gives it
    /// (RFC 3264 §6.1); `None`: nothing.
    pub taken: Option<AudioFormat>,
    /// telephone-event (RFC 4733) as we may send it.
    pub telephone_event: Option<TelephoneEvent>,
    /// Payload type of comfort noise (RFC 3389).
    pub comfort_noise: Option<u8>,
    /// Milliseconds of sound that the peer wants in one packet (`a=ptime`), 10..=60; 20 where it names none.
    pub packet_time_ms: u16,
}

/// One audio payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// RTP payload type, 0..=127.
    pub payload_type: u8,
    /// What it carries.
    pub codec: AudioCodec,
}

/// Audio codecs that sipcast decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// G.711 mu-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.722, sampled at 16 kHz (RFC 3551 §4.5.2: its RTP clock is 8 kHz all the same).
    G722,
    /// Speex narrowband, 8 kHz (RFC 5574).
    SpeexNarrowband,
    /// Speex wideband, 16 kHz.
    SpeexWideband,
    /// Speex ultra-wideband, 32 kHz.
    SpeexUltraWideband,
    /// Opus, RTP clock 48 kHz (RFC 7587).
    Opus,
}

impl AudioCodec {
    /// RTP clock rate in Hz (RFC 3551 §6).
    pub const fn clock_rate_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::SpeexNarrowband => 8_000,
            Self::SpeexWideband => 16_000,
            Self::SpeexUltraWideband => 32_000,
            Self::Opus => 48_000,
        }
    }
}

/// A telephone-event payload type (RFC 4733 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// RTP payload type, 96..=127.
    pub payload_type: u8,
    /// Clock rate in Hz, that of the audio it accompanies.
    pub clock_rate_hz: u32,
}

/// The video that the peer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoMedia {
    /// Addresses and direction.
    pub transport: MediaTransport,
    /// H.264 payload types the peer may send.
    pub formats: Vec<H264Format>,
    /// H.264 payload types that the peer takes, as its own description names them, the preferred one first.
    pub taken: Vec<H264Taken>,
    /// Feedback the peer takes.
    pub feedback: VideoFeedback,
}

/// One H.264 payload type (RFC 6184 §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H264Format {
    /// RTP payload type, 0..=127.
    pub payload_type: u8,
    /// 0 (single NAL unit) or 1 (non-interleaved).
    pub packetization_mode: u8,
    /// NAL units from `sprop-parameter-sets`, without start codes; may be empty.
    pub parameter_sets: Vec<Bytes>,
}

/// One H.264 payload type as we may send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H264Taken {
    /// RTP payload type, 0..=127.
    pub payload_type: u8,
    /// 0 (single NAL unit) or 1 (non-interleaved).
    pub packetization_mode: u8,
    /// profile_idc, constraint flags, level_idc (RFC 6184 §8.1).
    pub profile_level_id: [u8; 3],
}

/// RTCP feedback of a video description (RFC 4585, RFC 5104).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoFeedback {
    /// `a=rtcp-fb:* nack pli` was agreed.
    pub pli: bool,
    /// `a=rtcp-fb:* ccm fir` was agreed.
    pub fir: bool,
    /// `a=rtcp-fb:* nack` was agreed: lost packets may be asked for again (RFC 4585 §6.2.1).
    pub nack: bool,
    /// `a=rtcp-fb:* ccm tmmbr` was agreed: the bit rate may be asked for (RFC 5104 §4.2.1).
    pub tmmbr: bool,
}
