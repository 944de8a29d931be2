//! Our offer (RFC 3264 §5), and the media descriptions that offer and answer both write.
//! Takes: ports, options, what was agreed before. Gives: a description to send.
//! Leaves out: versions (`sdp`) and what the peer says (`answer`).

use sdp_types::{Attribute, Bandwidth, BandwidthType, Media, Session};
use sipcast_contract::Direction;
use sipcast_contract::media::{AudioCodec, VideoFeedback};

use super::media::{AgreedFormats, Kind, direction_name};
use super::{Negotiation, OfferOptions, SdpError, Slot, feedback};

/// RTP/AVP with feedback attributes instead of RTP/AVPF: older devices refuse AVPF outright, newer ones honour
/// the attributes under AVP.
pub(crate) const PROTO: &str = "RTP/AVP";
/// Milliseconds of audio in one packet.
pub(crate) const PTIME_MS: u32 = 20;

/// Constrained Baseline, level 3.1: what every H.264 endpoint has. `max-fs` and `max-mbps` allow more than the
/// level does. High, level 3.1, for those that send nothing else; it is passed on undecoded.
const CONSTRAINED_BASELINE: [u8; 3] = [0x42, 0xe0, 0x1f];
const HIGH: [u8; 3] = [0x64, 0x00, 0x1f];

/// What we offer when nothing was agreed before.
pub(crate) fn default_formats(kind: Kind) -> AgreedFormats {
    match kind {
        Kind::Audio => AgreedFormats {
            audio: vec![(0, AudioCodec::Pcmu), (8, AudioCodec::Pcma)],
            telephone_event: Some((101, 8_000)),
            ..AgreedFormats::default()
        },
        Kind::Video => AgreedFormats {
            h264: vec![(96, 1, CONSTRAINED_BASELINE), (97, 0, CONSTRAINED_BASELINE), (98, 1, HIGH)],
            ..AgreedFormats::default()
        },
        Kind::Other => AgreedFormats::default(),
    }
}

/// The whole offer; adds the slots it needs.
pub(crate) fn build(negotiation: &mut Negotiation) -> Result<Session, SdpError> {
    for kind in [Kind::Audio, Kind::Video] {
        if port_of(negotiation, kind).is_some() && !negotiation.slots.iter().any(|slot| slot.kind == kind) {
            let name = if kind == Kind::Audio { "audio" } else { "video" };
            negotiation.slots.push(Slot {
                kind,
                name: name.to_owned(),
                proto: PROTO.to_owned(),
                refused_formats: String::new(),
                agreed: AgreedFormats::default(),
            });
        }
    }
    let mut session = negotiation.blank();
    let mut is_empty = true;
    for slot in &negotiation.slots {
        let media = match port_of(negotiation, slot.kind) {
            Some(port) => {
                is_empty = false;
                let formats = offered_formats(slot);
                let taken = VideoFeedback { pli: true, fir: true, ..VideoFeedback::default() };
                let direction = natural_direction(&negotiation.options, slot.kind);
                describe(slot.kind, port, &slot.proto, &formats, &negotiation.options, direction, taken, true)
            }
            None => refused(&slot.name, &slot.proto, &slot.refused_formats),
        };
        session.medias.push(media);
    }
    if is_empty { Err(SdpError::NothingOffered) } else { Ok(session) }
}

/// What an offer at this place names: what was agreed there, else all we have.
pub(crate) fn offered_formats(slot: &Slot) -> AgreedFormats {
    if slot.agreed == AgreedFormats::default() { default_formats(slot.kind) } else { slot.agreed.clone() }
}

pub(crate) const fn port_of(negotiation: &Negotiation, kind: Kind) -> Option<u16> {
    match kind {
        Kind::Audio => negotiation.local.audio_port,
        Kind::Video => negotiation.local.video_port,
        Kind::Other => None,
    }
}

pub(crate) const fn natural_direction(options: &OfferOptions, kind: Kind) -> Direction {
    match kind {
        Kind::Audio => options.audio_direction,
        Kind::Video => options.video_direction,
        Kind::Other => Direction::Inactive,
    }
}

/// A media description with port 0 that mirrors the peer's (RFC 3264 §6).
pub(crate) fn refused(name: &str, proto: &str, formats: &str) -> Media {
    let formats = if formats.is_empty() { "0" } else { formats };
    Media {
        media: name.to_owned(),
        port: 0,
        num_ports: None,
        proto: proto.to_owned(),
        fmt: formats.to_owned(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

/// One live media description of ours.
#[allow(clippy::too_many_arguments, reason = "each is one line of the description")]
pub(crate) fn describe(
    kind: Kind,
    port: u16,
    proto: &str,
    formats: &AgreedFormats,
    options: &OfferOptions,
    direction: Direction,
    taken: VideoFeedback,
    rtcp_mux: bool,
) -> Media {
    let name = if kind == Kind::Video { "video" } else { "audio" };
    let mut media = refused(name, proto, &payload_types(formats));
    media.port = port;
    let attributes = &mut media.attributes;
    for (payload_type, codec) in &formats.audio {
        let name = match codec {
            AudioCodec::Pcmu => "PCMU",
            AudioCodec::Pcma => "PCMA",
            AudioCodec::G722 => "G722",
            AudioCodec::SpeexNarrowband | AudioCodec::SpeexWideband | AudioCodec::SpeexUltraWideband => {
                "speex"
            }
            AudioCodec::Opus => "opus",
        };
        push(attributes, "rtpmap", format!("{payload_type} {name}/{}", codec.clock_rate_hz()));
    }
    if let Some(payload_type) = formats.comfort_noise {
        push(attributes, "rtpmap", format!("{payload_type} CN/8000"));
    }
    if let Some((payload_type, clock_rate_hz)) = formats.telephone_event {
        push(attributes, "rtpmap", format!("{payload_type} telephone-event/{clock_rate_hz}"));
        // RFC 4733 §3.2: digits, *, #, A-D and flash.
        push(attributes, "fmtp", format!("{payload_type} 0-16"));
    }
    for (payload_type, mode, profile) in &formats.h264 {
        push(attributes, "rtpmap", format!("{payload_type} H264/90000"));
        push(attributes, "fmtp", format!("{payload_type} {}", h264_parameters(*mode, *profile, options)));
    }
    if kind == Kind::Audio {
        push(attributes, "ptime", PTIME_MS.to_string());
    }
    if kind == Kind::Video {
        let bps = options.video_bit_rate_bps_max;
        // RFC 3890 §6.2: TIAS counts payload only; AS counts RTP, UDP and IP too, some 40 bytes in 1000.
        let with_headers_kbps = u64::from(bps) * 104 / 100 / 1000;
        media.bandwidths.push(Bandwidth::new(BandwidthType::As, with_headers_kbps.max(1)));
        media.bandwidths.push(Bandwidth { bwtype: "TIAS".to_owned(), bandwidth: u64::from(bps) });
        for value in feedback::answered(taken) {
            push(attributes, "rtcp-fb", value.to_owned());
        }
    }
    if rtcp_mux {
        attributes.push(Attribute::new("rtcp-mux"));
    }
    if let Some(rtcp_port) = port.checked_add(1) {
        push(attributes, "rtcp", rtcp_port.to_string());
    }
    attributes.push(Attribute::new(direction_name(direction)));
    media
}

fn push(attributes: &mut Vec<Attribute>, name: &str, value: String) {
    attributes.push(Attribute { attribute: name.to_owned(), value: Some(value) });
}

fn payload_types(formats: &AgreedFormats) -> String {
    let audio = formats.audio.iter().map(|(payload_type, _)| *payload_type);
    let video = formats.h264.iter().map(|(payload_type, ..)| *payload_type);
    let events = formats.telephone_event.map(|(payload_type, _)| payload_type);
    let all: Vec<String> = audio
        .chain(video)
        .chain(formats.comfort_noise)
        .chain(events)
        .map(|number| number.to_string())
        .collect();
    all.join(" ")
}

/// RFC 6184 §8.1. `max-br` is in 1000 bit/s and must not be below the level's own 14000 (H.264 table A-1).
fn h264_parameters(mode: u8, [idc, flags, level]: [u8; 3], options: &OfferOptions) -> String {
    format!(
        "profile-level-id={idc:02x}{flags:02x}{level:02x};packetization-mode={mode};level-asymmetry-allowed=1;\
         max-mbps={};max-fs={};max-br={}",
        options.video_macroblocks_per_s_max,
        options.video_macroblocks_max,
        (options.video_bit_rate_bps_max / 1000).max(14_000),
    )
}
