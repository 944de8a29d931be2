//! The peer's session description, read into types that cannot be wrong.
//! Takes: bytes as peers send them. Gives: one `RemoteMedia` per `m=` line, in order.
//! Leaves out: what we make of it (`answer`). Lenient: a line that cannot be read is left out, and only what
//! offer/answer needs is read; an `m=` line is never lost, because its place must be answered (RFC 3264 §6).

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Session};
use sipcast_contract::media::{AudioCodec, MediaTransport, VideoFeedback};
use sipcast_contract::{Direction, SrtpSession};

use super::crypto::{CryptoFault, CryptoLine, usable, without_keys};
use super::fmtp::H264Parameters;
use super::rtp_profile::RtpProfile;
use super::{
    DESCRIPTION_BYTES_MAX, DESCRIPTION_LINES_MAX, MEDIA_DESCRIPTIONS_MAX, SdpError, audio_format, feedback,
};

/// Formats of one media description that are read; further ones are ignored.
const FORMATS_MAX: usize = 64;

/// What a media description is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Audio over RTP.
    Audio,
    /// Video over RTP.
    Video,
    /// Anything else: BFCP, data channels, far-end camera control, a second video.
    Other,
}

impl Kind {
    /// Its word in an `m=` line of ours.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Other => "application",
        }
    }
}

/// One payload type's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Audio(AudioCodec),
    TelephoneEvent {
        clock_rate_hz: u32,
    },
    ComfortNoise,
    H264 {
        packetization_mode: Option<u8>,
        parameters: H264Parameters,
    },
    /// A dynamic payload type without `rtpmap`: means what our offer said.
    Unnamed,
    Unknown,
}

/// Payload types agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgreedFormats {
    pub(crate) audio: Vec<(u8, AudioCodec)>,
    /// Payload type, clock rate in Hz; one for each clock rate at most.
    pub(crate) telephone_events: Vec<(u8, u32)>,
    pub(crate) comfort_noise: Option<u8>,
    /// Payload type, packetization mode, profile-level-id.
    pub(crate) h264: Vec<(u8, u8, [u8; 3])>,
}

/// The peer's description. `text` is for people: without its keys.
#[derive(Clone, Debug)]
pub(crate) struct RemoteDescription {
    pub(crate) text: String,
    pub(crate) media: Vec<RemoteMedia>,
}

/// One of its media descriptions.
#[derive(Clone, Debug)]
pub(crate) struct RemoteMedia {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) proto: String,
    pub(crate) formats_text: String,
    /// Refused or not usable: port 0.
    pub(crate) is_refused: bool,
    /// `None`: no RTP over UDP, so nothing of ours.
    pub(crate) profile: Option<RtpProfile>,
    /// Usable `a=crypto` lines in order, maybe none; or why those that are there cannot be used.
    pub(crate) crypto: Result<Vec<CryptoLine>, CryptoFault>,
    /// `a=content:slides` and the like (RFC 4796): not the main picture.
    pub(crate) is_presentation: bool,
    /// Milliseconds of sound it wants in one packet.
    pub(crate) packet_time_ms: u16,
    pub(crate) remote_rtp: Option<SocketAddr>,
    pub(crate) remote_rtcp: Option<SocketAddr>,
    pub(crate) rtcp_mux: bool,
    /// `c=0.0.0.0`: hold as RFC 2543 did it (RFC 3264 §8.4).
    pub(crate) is_address_zero: bool,
    /// As the peer says it.
    pub(crate) direction: Direction,
    pub(crate) formats: Vec<(u8, Encoding)>,
    pub(crate) feedback: VideoFeedback,
}

impl RemoteDescription {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, SdpError> {
        if body.len() > DESCRIPTION_BYTES_MAX {
            return Err(SdpError::TooLong { limit: DESCRIPTION_BYTES_MAX, unit: "bytes" });
        }
        let text = String::from_utf8_lossy(body).into_owned();
        let repaired = repaired(&text)?;
        let session =
            Session::parse(repaired.as_bytes()).map_err(|error| SdpError::Malformed(error.to_string()))?;
        if session.medias.len() > MEDIA_DESCRIPTIONS_MAX {
            return Err(SdpError::TooLong { limit: MEDIA_DESCRIPTIONS_MAX, unit: "media descriptions" });
        }
        let media = session.medias.iter().map(|media| RemoteMedia::read(media, &session)).collect();
        Ok(Self { text: without_keys(&text), media })
    }

    /// The media descriptions in short, for people.
    pub(crate) fn summary(&self) -> String {
        if self.media.is_empty() {
            return "no media".to_owned();
        }
        let lines: Vec<String> = self
            .media
            .iter()
            .map(|media| {
                let mut line = format!("{} {} {}", media.name, media.proto, media.formats_text);
                if media.is_refused {
                    line.push_str(" (port 0)");
                }
                line.chars().filter(|c| !c.is_control()).take(80).collect()
            })
            .collect();
        lines.join(", ")
    }
}

/// Keeps the lines that offer/answer needs, each in a form that the parser takes. Peers leave out `s=` and `t=`,
/// end lines with LF or CR alone, leave out the last line end, and write odd `o=` and `b=` lines.
fn repaired(text: &str) -> Result<String, SdpError> {
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str("v=0\r\n");
    let mut is_description = false;
    let mut has_session_connection = false;
    let mut in_media = false;
    let lines = text.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty());
    for (number, line) in lines.enumerate() {
        if number >= DESCRIPTION_LINES_MAX {
            return Err(SdpError::TooLong { limit: DESCRIPTION_LINES_MAX, unit: "lines" });
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        match key.trim() {
            "v" => is_description = true,
            "m" => {
                (is_description, in_media) = (true, true);
                push_line(&mut out, 'm', &repaired_media_line(value));
            }
            "c" if in_media || !has_session_connection => {
                let words: Vec<&str> = value.split_ascii_whitespace().take(3).collect();
                if words.len() < 3 {
                    continue;
                }
                has_session_connection |= !in_media;
                push_line(&mut out, 'c', &words.join(" "));
            }
            "a" if !value.is_empty() => push_line(&mut out, 'a', value),
            _ => {}
        }
    }
    if is_description { Ok(out) } else { Err(SdpError::Malformed("neither a v= nor an m= line".to_owned())) }
}

fn push_line(out: &mut String, key: char, value: &str) {
    out.push(key);
    out.push('=');
    out.extend(value.chars().filter(|c| !c.is_control()));
    out.push_str("\r\n");
}

/// An `m=` line that cannot be read keeps its place with port 0.
fn repaired_media_line(value: &str) -> String {
    let mut words = value.split_ascii_whitespace();
    let name = words.next().unwrap_or("application");
    let port = words.next().unwrap_or("0");
    let port = port.split('/').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    let proto = words.next().unwrap_or("RTP/AVP");
    let formats: Vec<&str> = words.collect();
    if formats.is_empty() {
        return format!("{name} 0 {proto} 0");
    }
    format!("{name} {port} {proto} {}", formats.join(" "))
}

impl RemoteMedia {
    fn read(media: &Media, session: &Session) -> Self {
        let kind = match media.media.as_str() {
            name if name.eq_ignore_ascii_case("audio") => Kind::Audio,
            name if name.eq_ignore_ascii_case("video") => Kind::Video,
            _ => Kind::Other,
        };
        let attributes = &media.attributes;
        let connection = media.connections.first().or(session.connection.as_ref());
        let address = connection.and_then(address_of);
        let is_address_zero = address.is_some_and(|address| address.is_unspecified());
        let address = address.filter(|address| !address.is_unspecified() && !address.is_multicast());
        let rtcp_mux = has_attribute(attributes, "rtcp-mux");
        let remote_rtp =
            address.filter(|_| media.port != 0).map(|address| SocketAddr::new(address, media.port));
        let remote_rtcp = match remote_rtp {
            Some(rtp) if rtcp_mux => Some(rtp),
            Some(rtp) => match attribute(attributes, "rtcp") {
                Some(value) => rtcp_address(value, rtp).or_else(|| next_port(rtp)),
                None => next_port(rtp),
            },
            None => None,
        };
        let formats = formats(media);
        let payload_types: Vec<u8> = formats.iter().map(|(payload_type, _)| *payload_type).collect();
        let mut taken = VideoFeedback::default();
        for value in values(attributes, "rtcp-fb") {
            feedback::add(&mut taken, value, &payload_types);
        }
        Self {
            kind,
            name: media.media.clone(),
            proto: media.proto.clone(),
            formats_text: media.fmt.clone(),
            is_refused: media.port == 0,
            profile: RtpProfile::parse(&media.proto),
            crypto: usable(values(attributes, "crypto")),
            is_presentation: is_presentation(attributes),
            packet_time_ms: audio_format::packet_time_ms(
                attribute(attributes, "ptime"),
                attribute(attributes, "maxptime"),
            ),
            remote_rtp,
            remote_rtcp,
            rtcp_mux,
            is_address_zero,
            direction: direction(attributes).or_else(|| direction(&session.attributes)).unwrap_or_default(),
            formats,
            feedback: taken,
        }
    }

    /// Whether the peer wants to hear or see us.
    pub(crate) const fn listens(&self) -> bool {
        self.direction.receives() && !self.is_address_zero
    }

    /// Whether it is no pause.
    pub(crate) fn is_on(&self) -> bool {
        self.direction != Direction::Inactive && !self.is_address_zero
    }

    /// Addresses, our direction and keys for the dataplane.
    pub(crate) fn transport(
        &self,
        direction: Direction,
        rtcp_mux: bool,
        srtp: Option<Box<SrtpSession>>,
    ) -> MediaTransport {
        let (remote_rtp, remote_rtcp) = (self.remote_rtp, self.remote_rtcp);
        MediaTransport { remote_rtp, remote_rtcp, rtcp_mux, direction, srtp }
    }
}

fn address_of(connection: &Connection) -> Option<IpAddr> {
    // A name instead of an address is legal yet not seen; the dataplane then latches to what arrives.
    let text = connection.connection_address.split('/').next()?;
    text.trim_matches(['[', ']']).parse().ok()
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605 §2.1).
fn rtcp_address(value: &str, rtp: SocketAddr) -> Option<SocketAddr> {
    let mut words = value.split_ascii_whitespace();
    let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
    let address = words.nth(2).and_then(|address| address.parse().ok()).unwrap_or(rtp.ip());
    Some(SocketAddr::new(address, port))
}

fn next_port(rtp: SocketAddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
}

fn has_attribute(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.attribute.eq_ignore_ascii_case(name))
}

/// The values of all attributes `name`, in order.
fn values<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute.eq_ignore_ascii_case(name))
        .filter_map(|attribute| attribute.value.as_deref())
}

fn attribute<'a>(attributes: &'a [Attribute], name: &'a str) -> Option<&'a str> {
    values(attributes, name).next()
}

/// RFC 4796 §5: `main` and `speaker` are the picture that one joins for; slides and sign language are not.
fn is_presentation(attributes: &[Attribute]) -> bool {
    attribute(attributes, "content").is_some_and(|contents| {
        !contents
            .split(',')
            .any(|content| matches!(content.trim().to_ascii_lowercase().as_str(), "main" | "speaker"))
    })
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| match attribute.attribute.to_ascii_lowercase().as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

/// The name of a direction's attribute.
pub(crate) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

fn formats(media: &Media) -> Vec<(u8, Encoding)> {
    let mut formats: Vec<(u8, Encoding)> = Vec::new();
    for word in media.fmt.split_ascii_whitespace().take(FORMATS_MAX) {
        let Ok(payload_type) = word.parse::<u8>() else { continue };
        if payload_type > 127 || formats.iter().any(|(known, _)| *known == payload_type) {
            continue;
        }
        formats.push((payload_type, encoding(payload_type, &media.attributes)));
    }
    formats
}

/// The text after the payload type in the first attribute `name` for it.
fn for_payload_type<'a>(attributes: &'a [Attribute], name: &str, payload_type: u8) -> Option<&'a str> {
    attributes.iter().filter(|attribute| attribute.attribute.eq_ignore_ascii_case(name)).find_map(
        |attribute| {
            let value = attribute.value.as_deref()?.trim_start();
            let end = value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len());
            (value[..end].parse::<u8>() == Ok(payload_type)).then(|| value[end..].trim())
        },
    )
}

fn encoding(payload_type: u8, attributes: &[Attribute]) -> Encoding {
    let Some(rtpmap) = for_payload_type(attributes, "rtpmap", payload_type) else {
        // RFC 3551 §6: static payload types need no rtpmap.
        return match (audio_format::static_codec(payload_type), payload_type) {
            (Some(codec), _) => Encoding::Audio(codec),
            (None, audio_format::COMFORT_NOISE) => Encoding::ComfortNoise,
            (None, 96..) => Encoding::Unnamed,
            _ => Encoding::Unknown,
        };
    };
    let mut parts = rtpmap.split('/').map(str::trim);
    let name = parts.next().unwrap_or("").to_ascii_uppercase();
    let clock_rate_hz: u32 = parts.next().and_then(|rate| rate.parse().ok()).unwrap_or(0);
    let channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1_u32);
    if let Some(codec) = audio_format::codec(&name, clock_rate_hz, channels) {
        return Encoding::Audio(codec);
    }
    match (name.as_str(), clock_rate_hz) {
        ("CN", 8_000) => Encoding::ComfortNoise,
        ("TELEPHONE-EVENT", 1..) => Encoding::TelephoneEvent { clock_rate_hz },
        // Some write the rate wrong or not at all; H.264 has no other (RFC 6184 §8.1).
        ("H264", _) => {
            let text = for_payload_type(attributes, "fmtp", payload_type).unwrap_or("");
            let parameters = H264Parameters::parse(text);
            Encoding::H264 { packetization_mode: parameters.packetization_mode, parameters }
        }
        _ => Encoding::Unknown,
    }
}
