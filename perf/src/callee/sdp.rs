//! Session descriptions as the callee reads and writes them (RFC 8866, RFC 3264, RFC 6184 §8.2).
//! Takes: an offer (or the answer to ours). Gives: the answer, and per stream what to send where.
//! Leaves out: sockets (`media`), dialogs (`user_agent`).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::audio::AudioCodec;
use super::packetizer::PacketizationMode;

/// Octets of the longest session description we read.
const DESCRIPTION_LEN_MAX: usize = 32 * 1024;
/// Media descriptions of one session; the rest of the text is not read.
const MEDIA_MAX: usize = 16;

/// A session description that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SdpError {
    /// Not UTF-8, too long, or a line that breaks the grammar.
    Malformed,
    /// No media description we could answer.
    NothingInCommon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    // RFC 3264 §6.1: what one side sends the other receives.
    const fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            other => other,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn parse(attribute: &str) -> Option<Self> {
        match attribute {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

struct Media<'a> {
    kind: &'a str,
    port: u16,
    protocol: &'a str,
    formats: Vec<&'a str>,
    connection: Option<IpAddr>,
    direction: Direction,
    rtpmap: Vec<(u8, &'a str)>,
    fmtp: Vec<(u8, &'a str)>,
    rtcp_port: Option<u16>,
    rtcp_mux: bool,
    mid: Option<&'a str>,
    feedback: bool,
}

/// The ports of our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalPorts {
    pub address: IpAddr,
    pub audio: u16,
    pub audio_rtcp: u16,
    pub video: u16,
    pub video_rtcp: u16,
}

/// Where a stream goes, and whether it goes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    pub rtcp_mux: bool,
    /// Whether the peer wants to receive: not on hold.
    pub sending: bool,
}

/// The audio stream as agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AudioPlan {
    pub route: Route,
    pub codec: AudioCodec,
    pub payload_type: u8,
    pub telephone_event: Option<u8>,
}

/// The video stream as agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VideoPlan {
    pub route: Route,
    pub payload_type: u8,
    pub mode: PacketizationMode,
}

/// What offer and answer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaPlan {
    pub audio: Option<AudioPlan>,
    pub video: Option<VideoPlan>,
}

/// What we put into every description.
pub(super) struct Capabilities<'a> {
    pub ports: LocalPorts,
    pub mode: PacketizationMode,
    /// The codec to take when it is offered, wherever it stands; else the first G.711.
    pub codec: Option<AudioCodec>,
    /// Base64 of SPS and PPS, joined by a comma.
    pub sprop_parameter_sets: &'a str,
    pub session_id: u64,
    pub version: u64,
}

/// Answers `offer`: the text to send and what was agreed.
///
/// # Errors
/// `Malformed` for text that is no session description, `NothingInCommon` when every stream had to be refused.
pub(super) fn answer(offer: &[u8], local: &Capabilities<'_>) -> Result<(String, MediaPlan), SdpError> {
    let media = parse(offer)?;
    let mut text = session_part(local);
    let mut plan = MediaPlan::default();
    for description in &media {
        let start = text.len();
        let taken = match description.kind {
            "audio" if plan.audio.is_none() => {
                plan.audio = answer_audio(description, local, &mut text);
                plan.audio.is_some()
            }
            "video" if plan.video.is_none() => {
                plan.video = answer_video(description, local, &mut text);
                plan.video.is_some()
            }
            _ => false,
        };
        if !taken {
            text.truncate(start);
            // RFC 3264 §6: a refused stream keeps its place with port zero.
            let _ = write!(text, "m={} 0 {}", description.kind, description.protocol);
            description.formats.iter().for_each(|format| {
                let _ = write!(text, " {format}");
            });
            text.push_str("\r\n");
        }
    }
    if plan == MediaPlan::default() { Err(SdpError::NothingInCommon) } else { Ok((text, plan)) }
}

/// Our own offer, for an INVITE that came without one.
pub(super) fn offer(local: &Capabilities<'_>) -> String {
    let mut text = session_part(local);
    let _ = write!(
        text,
        "m=audio {} RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n\
         m=video {} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 profile-level-id=42e01f;packetization-mode={};sprop-parameter-sets={}\r\n\
         a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=sendrecv\r\n",
        local.ports.audio,
        local.ports.video,
        mode_number(local.mode),
        local.sprop_parameter_sets
    );
    text
}

/// Reads the answer to [`offer`].
///
/// # Errors
/// As for [`answer`].
pub(super) fn accept(answer_text: &[u8], local: &Capabilities<'_>) -> Result<MediaPlan, SdpError> {
    answer(answer_text, local).map(|(_, plan)| plan)
}

fn session_part(local: &Capabilities<'_>) -> String {
    let address = local.ports.address;
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=callee {} {} IN {family} {address}\r\ns=sipcast test callee\r\nc=IN {family} {address}\r\nt=0 0\r\n",
        local.session_id, local.version
    )
}

const fn mode_number(mode: PacketizationMode) -> u8 {
    match mode {
        PacketizationMode::SingleNalUnit => 0,
        PacketizationMode::NonInterleaved => 1,
    }
}

fn answer_audio(offer: &Media<'_>, local: &Capabilities<'_>, text: &mut String) -> Option<AudioPlan> {
    let route = offer.route()?;
    let codecs: Vec<(u8, AudioCodec)> = offer
        .payload_types()
        .filter_map(|payload_type| Some((payload_type, offer.codec(payload_type)?)))
        .collect();
    let preferred = codecs.iter().find(|(_, codec)| Some(*codec) == local.codec);
    // RFC 3264 §6.1: the offerer's order of formats is its preference.
    let first = codecs.iter().find(|(_, codec)| matches!(codec, AudioCodec::Pcmu | AudioCodec::Pcma));
    let (payload_type, codec) = preferred.or(first).copied()?;
    // RFC 4733 §2.1: events have the clock of the sound they belong to.
    let event = |clock_hz: u64| {
        let name = format!("telephone-event/{clock_hz}");
        let is_event =
            |number: &u8| offer.encoding(*number).is_some_and(|encoding| encoding_is(encoding, &name));
        offer.payload_types().find(is_event).map(|number| (number, clock_hz))
    };
    let telephone_event = event(codec.clock_hz()).or_else(|| event(8_000));
    let _ = write!(text, "m=audio {} {} {payload_type}", local.ports.audio, offer.protocol);
    if let Some((event, _)) = telephone_event {
        let _ = write!(text, " {event}");
    }
    let _ = write!(text, "\r\na=rtpmap:{payload_type} {}\r\na=ptime:20\r\n", codec.rtpmap());
    if let Some((event, clock)) = telephone_event {
        let _ = write!(text, "a=rtpmap:{event} telephone-event/{clock}\r\na=fmtp:{event} 0-15\r\n");
    }
    offer.answer_common(local.ports.audio_rtcp, text);
    let telephone_event = telephone_event.map(|(event, _)| event);
    Some(AudioPlan { route, codec, payload_type, telephone_event })
}

fn answer_video(offer: &Media<'_>, local: &Capabilities<'_>, text: &mut String) -> Option<VideoPlan> {
    let route = offer.route()?;
    let candidates: Vec<(u8, PacketizationMode, Option<&str>)> = offer
        .payload_types()
        .filter(|payload_type| {
            offer.encoding(*payload_type).is_some_and(|encoding| encoding_is(encoding, "H264/90000"))
        })
        .filter_map(|payload_type| {
            let mode = match offer.parameter(payload_type, "packetization-mode") {
                None | Some("0") => PacketizationMode::SingleNalUnit,
                Some("1") => PacketizationMode::NonInterleaved,
                Some(_) => return None,
            };
            Some((payload_type, mode, offer.parameter(payload_type, "profile-level-id")))
        })
        .collect();
    let is_baseline =
        |profile: &Option<&str>| profile.is_none_or(|id| id.to_ascii_lowercase().starts_with("42"));
    let (payload_type, mode, profile) = candidates
        .iter()
        .find(|(_, mode, profile)| *mode == local.mode && is_baseline(profile))
        .or_else(|| candidates.iter().find(|(_, mode, _)| *mode == local.mode))
        .or_else(|| candidates.iter().find(|(_, _, profile)| is_baseline(profile)))
        .or(candidates.first())
        .copied()?;
    // RFC 6184 §8.2.2: profile and packetization mode are symmetric, so the answer repeats what was offered.
    let profile = profile.filter(|id| id.len() == 6 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let _ = write!(
        text,
        "m=video {} {} {payload_type}\r\na=rtpmap:{payload_type} H264/90000\r\n\
         a=fmtp:{payload_type} profile-level-id={};packetization-mode={};sprop-parameter-sets={}\r\n",
        local.ports.video,
        offer.protocol,
        profile.unwrap_or("42e01f"),
        mode_number(mode),
        local.sprop_parameter_sets
    );
    if offer.feedback {
        let _ = write!(text, "a=rtcp-fb:{payload_type} nack pli\r\na=rtcp-fb:{payload_type} ccm fir\r\n");
    }
    offer.answer_common(local.ports.video_rtcp, text);
    Some(VideoPlan { route, payload_type, mode })
}

impl<'a> Media<'a> {
    fn route(&self) -> Option<Route> {
        let address = self.connection?;
        let protocol_known = matches!(self.protocol, "RTP/AVP" | "RTP/AVPF");
        if self.port == 0 || !protocol_known {
            return None;
        }
        let rtcp_port =
            if self.rtcp_mux { self.port } else { self.rtcp_port.unwrap_or(self.port.wrapping_add(1)) };
        Some(Route {
            rtp: SocketAddr::new(address, self.port),
            rtcp: SocketAddr::new(address, rtcp_port),
            rtcp_mux: self.rtcp_mux,
            // An unspecified address is the old way to hold (RFC 3264 §8.4).
            sending: !address.is_unspecified()
                && matches!(self.direction, Direction::SendRecv | Direction::RecvOnly),
        })
    }

    fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats
            .iter()
            .filter_map(|format| format.parse().ok())
            .filter(|payload_type| *payload_type < 128)
    }

    fn encoding(&self, payload_type: u8) -> Option<&'a str> {
        self.rtpmap.iter().find(|(number, _)| *number == payload_type).map(|(_, encoding)| *encoding)
    }

    fn codec(&self, payload_type: u8) -> Option<AudioCodec> {
        let Some(encoding) = self.encoding(payload_type) else {
            // RFC 3551 §6: static payload types need no rtpmap.
            return match payload_type {
                0 => Some(AudioCodec::Pcmu),
                8 => Some(AudioCodec::Pcma),
                9 => Some(AudioCodec::G722),
                _ => None,
            };
        };
        AudioCodec::ALL.into_iter().find(|codec| encoding_is(encoding, codec.rtpmap()))
    }

    fn parameter(&self, payload_type: u8, name: &str) -> Option<&'a str> {
        let (_, parameters) = self.fmtp.iter().find(|(number, _)| *number == payload_type)?;
        parameters
            .split(';')
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    fn answer_common(&self, rtcp_port: u16, text: &mut String) {
        if self.rtcp_mux {
            text.push_str("a=rtcp-mux\r\n");
        } else {
            let _ = write!(text, "a=rtcp:{rtcp_port}\r\n");
        }
        if let Some(mid) = self.mid {
            let _ = write!(text, "a=mid:{mid}\r\n");
        }
        let _ = write!(text, "a={}\r\n", self.direction.mirrored().as_str());
    }
}

/// Whether `encoding` has the name and the clock of `expected`; how many channels does not matter.
fn encoding_is(encoding: &str, expected: &str) -> bool {
    let (mut parts, mut wanted) = (encoding.split('/'), expected.split('/'));
    let mut same = || match (parts.next(), wanted.next()) {
        (Some(part), Some(wanted)) => part.eq_ignore_ascii_case(wanted),
        _ => false,
    };
    same() && same()
}

fn parse(description: &[u8]) -> Result<Vec<Media<'_>>, SdpError> {
    if description.len() > DESCRIPTION_LEN_MAX {
        return Err(SdpError::Malformed);
    }
    let text = std::str::from_utf8(description).map_err(|_| SdpError::Malformed)?;
    let mut connection = None;
    let mut direction = Direction::SendRecv;
    let mut media: Vec<Media<'_>> = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let (kind, value) = line.split_once('=').ok_or(SdpError::Malformed)?;
        if kind == "m" {
            if media.len() == MEDIA_MAX {
                break;
            }
            media.push(parse_media(value, connection, direction).ok_or(SdpError::Malformed)?);
            continue;
        }
        match (kind, media.last_mut()) {
            ("c", None) => connection = parse_connection(value),
            ("c", Some(current)) => current.connection = parse_connection(value),
            ("a", None) => direction = Direction::parse(value).unwrap_or(direction),
            ("a", Some(current)) => current.attribute(value),
            _ => {}
        }
    }
    Ok(media)
}

fn parse_media(value: &str, connection: Option<IpAddr>, direction: Direction) -> Option<Media<'_>> {
    let mut words = value.split_ascii_whitespace();
    Some(Media {
        kind: words.next()?,
        port: words.next()?.split('/').next()?.parse().ok()?,
        protocol: words.next()?,
        formats: words.take(64).collect(),
        connection,
        direction,
        rtpmap: Vec::new(),
        fmtp: Vec::new(),
        rtcp_port: None,
        rtcp_mux: false,
        mid: None,
        feedback: false,
    })
}

fn parse_connection(value: &str) -> Option<IpAddr> {
    value.split_ascii_whitespace().nth(2)?.split('/').next()?.parse().ok()
}

impl<'a> Media<'a> {
    fn attribute(&mut self, attribute: &'a str) {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let numbered = || {
            let (number, rest) = value.split_once(' ')?;
            Some((number.parse::<u8>().ok()?, rest.trim()))
        };
        match name {
            "rtpmap" if self.rtpmap.len() < 64 => self.rtpmap.extend(numbered()),
            "fmtp" if self.fmtp.len() < 64 => self.fmtp.extend(numbered()),
            "rtcp" => {
                self.rtcp_port = value.split_ascii_whitespace().next().and_then(|port| port.parse().ok())
            }
            "rtcp-mux" => self.rtcp_mux = true,
            "rtcp-fb" => self.feedback = true,
            "mid" => self.mid = Some(value),
            _ => self.direction = Direction::parse(attribute).unwrap_or(self.direction),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
        m=video 4002 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=42e01f\r\n\
        a=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1; profile-level-id=42C01E\r\na=rtcp-fb:* nack pli\r\n";

    fn capabilities(mode: PacketizationMode) -> Capabilities<'static> {
        let ports = LocalPorts {
            address: IpAddr::from([127, 0, 0, 1]),
            audio: 1,
            audio_rtcp: 2,
            video: 3,
            video_rtcp: 4,
        };
        Capabilities {
            ports,
            mode,
            codec: None,
            sprop_parameter_sets: "Z0I=,aM4=",
            session_id: 1,
            version: 1,
        }
    }

    fn plan(offer: &str) -> MediaPlan {
        answer(offer.as_bytes(), &capabilities(PacketizationMode::NonInterleaved)).unwrap().1
    }

    #[test]
    fn picks_the_first_codec_and_the_preferred_mode() {
        let (text, agreed) =
            answer(OFFER.as_bytes(), &capabilities(PacketizationMode::NonInterleaved)).unwrap();
        let audio = agreed.audio.unwrap();
        assert_eq!(
            (audio.codec, audio.payload_type, audio.telephone_event),
            (AudioCodec::Pcma, 8, Some(101))
        );
        let video = agreed.video.unwrap();
        assert_eq!((video.payload_type, video.mode), (97, PacketizationMode::NonInterleaved));
        assert_eq!(video.route.rtcp.port(), 4003);
        assert!(text.contains("profile-level-id=42C01E;packetization-mode=1"), "{text}");
        assert!(text.contains("a=rtcp-fb:97 ccm fir"), "{text}");

        let local =
            Capabilities { codec: Some(AudioCodec::Pcmu), ..capabilities(PacketizationMode::SingleNalUnit) };
        let (_, agreed) = answer(OFFER.as_bytes(), &local).unwrap();
        assert_eq!(agreed.audio.unwrap().payload_type, 0);
        assert_eq!(agreed.video.unwrap().payload_type, 96);
    }

    #[test]
    fn takes_the_codec_it_is_told_to_if_it_is_offered_and_g711_else() {
        let offer = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 107 9 108 0 101 102\r\n\
            a=rtpmap:107 opus/48000/2\r\na=rtpmap:108 speex/16000\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=rtpmap:102 telephone-event/48000\r\n";
        let agreed = |codec| {
            let local = Capabilities { codec, ..capabilities(PacketizationMode::NonInterleaved) };
            let (text, plan) = answer(offer.as_bytes(), &local).unwrap();
            let audio = plan.audio.unwrap();
            (audio.codec, audio.payload_type, audio.telephone_event, text)
        };
        let (codec, payload_type, event, text) = agreed(Some(AudioCodec::Opus));
        assert_eq!((codec, payload_type, event), (AudioCodec::Opus, 107, Some(102)));
        assert!(text.contains("a=rtpmap:107 opus/48000/2\r\n"), "{text}");
        assert!(text.contains("a=rtpmap:102 telephone-event/48000\r\n"), "{text}");
        let of = |codec| {
            let (codec, payload_type, event, _) = agreed(codec);
            (codec, payload_type, event)
        };
        assert_eq!(of(Some(AudioCodec::G722)), (AudioCodec::G722, 9, Some(101)));
        assert_eq!(of(Some(AudioCodec::SpeexWideband)), (AudioCodec::SpeexWideband, 108, Some(101)));
        assert_eq!(of(Some(AudioCodec::SpeexNarrowband)), (AudioCodec::Pcmu, 0, Some(101)));
        assert_eq!(of(None), (AudioCodec::Pcmu, 0, Some(101)));
    }

    #[test]
    fn hold_mux_and_explicit_rtcp_port() {
        let held = OFFER.replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n");
        assert!(!plan(&held).audio.unwrap().route.sending);
        let held = OFFER.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
        assert!(!plan(&held).video.unwrap().route.sending);
        let muxed = format!("{OFFER}a=rtcp-mux\r\n");
        assert_eq!(plan(&muxed).video.unwrap().route.rtcp.port(), 4002);
        let explicit = format!("{OFFER}a=rtcp:5999 IN IP4 127.0.0.1\r\n");
        assert_eq!(plan(&explicit).video.unwrap().route.rtcp.port(), 5999);
        let received = OFFER.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n");
        assert!(plan(&received).audio.unwrap().route.sending);
    }

    #[test]
    fn refused_streams_keep_their_place() {
        let secured = OFFER.replace("m=audio 4000 RTP/AVP", "m=audio 4000 RTP/SAVP");
        let (text, agreed) =
            answer(secured.as_bytes(), &capabilities(PacketizationMode::NonInterleaved)).unwrap();
        assert!(text.contains("m=audio 0 RTP/SAVP 8 0 101\r\n"), "{text}");
        assert_eq!(agreed.audio, None);
        let only_vp8 = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
        assert_eq!(
            answer(only_vp8.as_bytes(), &capabilities(PacketizationMode::NonInterleaved)),
            Err(SdpError::NothingInCommon)
        );
    }

    #[test]
    fn an_own_offer_is_answerable() {
        let local = capabilities(PacketizationMode::NonInterleaved);
        let plan = accept(offer(&local).as_bytes(), &local).unwrap();
        assert!(plan.audio.is_some() && plan.video.is_some());
    }

    #[test]
    fn hostile_text_is_refused_at_every_cut() {
        let local = capabilities(PacketizationMode::NonInterleaved);
        for len in 0..OFFER.len() {
            let _ = answer(&OFFER.as_bytes()[..len], &local);
        }
        assert_eq!(answer(&[0xff, 0xfe], &local), Err(SdpError::Malformed));
        assert_eq!(answer(b"m=audio 70000 RTP/AVP 0\r\n", &local), Err(SdpError::Malformed));
        assert_eq!(answer(&vec![b'a'; 40_000], &local), Err(SdpError::Malformed));
    }
}
