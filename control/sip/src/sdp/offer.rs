//! Our offer (RFC 3264 §5), and the media descriptions that offer and answer both write.
//! Takes: ports, options, the offer's shape, what was agreed before. Gives: a description to send.
//! Leaves out: versions (`sdp`), which shape is tried when (`offer_ladder`) and what the peer says (`answer`).

use sdp_types::{Attribute, Bandwidth, BandwidthType, Media, Session};
use sipcast_contract::Direction;
use sipcast_contract::media::{AudioCodec, VideoFeedback};

use super::crypto::{CryptoLine, Keys};
use super::media::{AgreedFormats, Kind, direction_name};
use super::options::OfferOptions;
use super::rtp_profile::{Protection, RtpProfile};
use super::{Negotiation, SdpError, Slot, audio_format, feedback};
use crate::offer_ladder::{KeyOffer, OfferShape};

/// Level 3.1 of each profile: what every H.264 endpoint has. `max-fs` and `max-mbps` allow more than the level does.
pub(crate) const CONSTRAINED_BASELINE: [u8; 3] = [0x42, 0xe0, 0x1f];
const MAIN: [u8; 3] = [0x4d, 0x00, 0x1f];
const HIGH: [u8; 3] = [0x64, 0x00, 0x1f];

/// What we offer when nothing was agreed before.
fn default_formats(kind: Kind, options: &OfferOptions, shape: OfferShape) -> AgreedFormats {
    match kind {
        Kind::Audio => audio_formats(options, shape),
        Kind::Video => video_formats(options, shape),
        Kind::Other => AgreedFormats::default(),
    }
}

fn audio_formats(options: &OfferOptions, shape: OfferShape) -> AgreedFormats {
    let is_basic = |codec: &AudioCodec| matches!(codec, AudioCodec::Pcmu | AudioCodec::Pcma);
    let mut codecs: Vec<AudioCodec> = options.audio_codecs.iter().collect();
    // Without G.711 among the codecs wanted there is nothing to reduce to.
    if !shape.all_formats && codecs.iter().any(is_basic) {
        codecs.retain(is_basic);
    }
    // RFC 4733 §2.1: events have the clock of the sound they stand in. 8 kHz in any case, and first: some devices
    // look at one only.
    let mut clock_rates_hz = vec![8_000];
    for codec in &codecs {
        if !clock_rates_hz.contains(&codec.clock_rate_hz()) {
            clock_rates_hz.push(codec.clock_rate_hz());
        }
    }
    let event = |rate| (audio_format::event_payload_type(rate), rate);
    AgreedFormats {
        audio: codecs.into_iter().map(|codec| (audio_format::payload_type(codec), codec)).collect(),
        telephone_events: clock_rates_hz.into_iter().map(event).collect(),
        comfort_noise: (options.comfort_noise && shape.all_formats).then_some(audio_format::COMFORT_NOISE),
        ..AgreedFormats::default()
    }
}

/// Both packetization modes, because a peer may have one of them only (RFC 6184 §8.2.2).
fn video_formats(options: &OfferOptions, shape: OfferShape) -> AgreedFormats {
    let further = |wanted: bool| wanted && shape.all_formats;
    let formats = [
        (true, (96, 1, CONSTRAINED_BASELINE)),
        (true, (97, 0, CONSTRAINED_BASELINE)),
        (further(options.h264_high), (98, 1, HIGH)),
        (further(options.h264_main), (99, 1, MAIN)),
    ];
    let h264 = formats.into_iter().filter_map(|(wanted, format)| wanted.then_some(format)).collect();
    AgreedFormats { h264, ..AgreedFormats::default() }
}

/// The whole offer; adds the slots it needs.
pub(crate) fn build(negotiation: &mut Negotiation) -> Result<Session, SdpError> {
    let mut slots = negotiation.slots.clone();
    for kind in [Kind::Audio, Kind::Video] {
        if port_of(negotiation, kind).is_some() && !slots.iter().any(|slot| slot.kind == kind) {
            slots.push(Slot::new(kind));
        }
    }
    let mut session = negotiation.blank();
    let mut is_empty = true;
    let is_agreed = |slot: &&Slot| slot.agreed != AgreedFormats::default();
    let profile_in_use = slots.iter().find(is_agreed).and_then(|slot| RtpProfile::parse(&slot.proto));
    for slot in &mut slots {
        let media = match port_of(negotiation, slot.kind) {
            Some(port) => {
                is_empty = false;
                prepare(slot, negotiation, profile_in_use)?;
                let is_full = negotiation.shape().all_formats;
                describe(
                    &Live {
                        kind: slot.kind,
                        port,
                        proto: &slot.proto,
                        formats: &offered_formats(negotiation, slot),
                        direction: natural_direction(&negotiation.options, slot.kind),
                        feedback: if is_full {
                            negotiation.options.video_feedback
                        } else {
                            VideoFeedback::default()
                        },
                        rtcp_mux: is_full,
                        crypto: &slot.keys.ours,
                        is_full,
                    },
                    &negotiation.options,
                )
            }
            None => refused(&slot.name, &slot.proto, &slot.refused_formats),
        };
        session.medias.push(media);
    }
    if is_empty {
        return Err(SdpError::NothingOffered);
    }
    negotiation.slots = slots;
    Ok(session)
}

/// Gives a slot the protocol and the keys of the offer. What was agreed on goes on, and a new line is like those;
/// otherwise the shape decides.
fn prepare(
    slot: &mut Slot,
    negotiation: &Negotiation,
    profile_in_use: Option<RtpProfile>,
) -> Result<(), SdpError> {
    let shape = negotiation.shape();
    let is_agreed = slot.agreed != AgreedFormats::default();
    let mut keys = shape.keys;
    if !is_agreed {
        let protection = if shape.secure_profile { Protection::Sdes } else { Protection::Plain };
        let shaped = RtpProfile { protection, feedback: shape.feedback_profile };
        let profile = profile_in_use.unwrap_or(shaped);
        if profile.protection == Protection::Sdes && keys == KeyOffer::None {
            keys = KeyOffer::AllSuites;
        }
        slot.proto = profile.name().to_owned();
    }
    let suites = match keys {
        _ if is_agreed && slot.keys.theirs.is_none() => &[],
        KeyOffer::None => &[],
        KeyOffer::AllSuites => negotiation.options.srtp_suites.as_slice(),
        KeyOffer::OneSuite => negotiation.options.srtp_suites.commonest(),
    };
    slot.keys.ours = slot.keys.offer(suites, negotiation.random).ok_or(SdpError::NoRandomness)?;
    Ok(())
}

impl Slot {
    /// A place of ours that nothing was agreed on yet.
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            name: kind.name().to_owned(),
            proto: String::new(),
            refused_formats: String::new(),
            agreed: AgreedFormats::default(),
            keys: Keys::default(),
        }
    }
}

/// What an offer at this place names: what was agreed there, else all we have.
pub(crate) fn offered_formats(negotiation: &Negotiation, slot: &Slot) -> AgreedFormats {
    if slot.agreed == AgreedFormats::default() {
        default_formats(slot.kind, &negotiation.options, negotiation.shape())
    } else {
        slot.agreed.clone()
    }
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
pub(crate) struct Live<'a> {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) proto: &'a str,
    pub(crate) formats: &'a AgreedFormats,
    pub(crate) direction: Direction,
    pub(crate) feedback: VideoFeedback,
    pub(crate) rtcp_mux: bool,
    pub(crate) crypto: &'a [CryptoLine],
    /// With the parameters that came after the first days of RFC 3264.
    pub(crate) is_full: bool,
}

/// Writes it.
pub(crate) fn describe(live: &Live<'_>, options: &OfferOptions) -> Media {
    let mut media = refused(live.kind.name(), live.proto, &payload_types(live.formats));
    media.port = live.port;
    let attributes = &mut media.attributes;
    for line in live.crypto {
        push(attributes, "crypto", line.value());
    }
    push_audio_formats(attributes, live.formats, options);
    for (payload_type, mode, profile) in &live.formats.h264 {
        push(attributes, "rtpmap", format!("{payload_type} H264/90000"));
        let limits = if live.is_full { h264_limits(options) } else { String::new() };
        push(attributes, "fmtp", format!("{payload_type} {}{limits}", h264_format(*mode, *profile)));
    }
    if live.kind == Kind::Audio {
        push(attributes, "ptime", options.packet_time_ms.to_string());
        if live.is_full {
            push(attributes, "maxptime", audio_format::PACKET_TIME_MS.end().to_string());
        }
    }
    if live.kind == Kind::Video {
        let bps = options.video_bit_rate_bps_max;
        // RFC 3890 §6.2: TIAS counts payload only; AS counts RTP, UDP and IP too, some 40 bytes in 1000.
        let with_headers_kbps = u64::from(bps) * 104 / 100 / 1000;
        media.bandwidths.push(Bandwidth::new(BandwidthType::As, with_headers_kbps.max(1)));
        if live.is_full {
            media.bandwidths.push(Bandwidth { bwtype: "TIAS".to_owned(), bandwidth: u64::from(bps) });
        }
        for value in feedback::values(live.feedback) {
            push(attributes, "rtcp-fb", value.to_owned());
        }
    }
    if live.rtcp_mux {
        attributes.push(Attribute::new("rtcp-mux"));
    }
    if let Some(rtcp_port) = live.port.checked_add(1) {
        push(attributes, "rtcp", rtcp_port.to_string());
    }
    attributes.push(Attribute::new(direction_name(live.direction)));
    media
}

fn push_audio_formats(attributes: &mut Vec<Attribute>, formats: &AgreedFormats, options: &OfferOptions) {
    for (payload_type, codec) in &formats.audio {
        push(attributes, "rtpmap", format!("{payload_type} {}", audio_format::rtpmap(*codec)));
        if let Some(parameters) = audio_format::parameters(*codec, options) {
            push(attributes, "fmtp", format!("{payload_type} {parameters}"));
        }
    }
    if let Some(payload_type) = formats.comfort_noise {
        push(attributes, "rtpmap", format!("{payload_type} CN/8000"));
    }
    for (payload_type, clock_rate_hz) in &formats.telephone_events {
        push(attributes, "rtpmap", format!("{payload_type} telephone-event/{clock_rate_hz}"));
        push(attributes, "fmtp", format!("{payload_type} {}", audio_format::EVENTS));
    }
}

fn push(attributes: &mut Vec<Attribute>, name: &str, value: String) {
    attributes.push(Attribute { attribute: name.to_owned(), value: Some(value) });
}

fn payload_types(formats: &AgreedFormats) -> String {
    let audio = formats.audio.iter().map(|(payload_type, _)| *payload_type);
    let video = formats.h264.iter().map(|(payload_type, ..)| *payload_type);
    let events = formats.telephone_events.iter().map(|(payload_type, _)| *payload_type);
    let all: Vec<String> = audio
        .chain(video)
        .chain(formats.comfort_noise)
        .chain(events)
        .map(|number| number.to_string())
        .collect();
    all.join(" ")
}

/// RFC 6184 §8.1.
fn h264_format(mode: u8, [idc, flags, level]: [u8; 3]) -> String {
    format!("profile-level-id={idc:02x}{flags:02x}{level:02x};packetization-mode={mode}")
}

/// What we take beyond the level (RFC 6184 §8.1). `max-br` is in 1000 bit/s and must not be below the level's own
/// 14000 (H.264 table A-1).
fn h264_limits(options: &OfferOptions) -> String {
    format!(
        ";level-asymmetry-allowed=1;max-mbps={};max-fs={};max-br={}",
        options.video_macroblocks_per_s_max,
        options.video_macroblocks_max,
        (options.video_bit_rate_bps_max / 1000).max(14_000),
    )
}
