//! Reading the peer's answer, and answering its offer (RFC 3264 §6-§8).
//! Takes: a `RemoteDescription`, the negotiation so far. Gives: [`Agreement`]s and our answer.
//! Leaves out: text and versions (`sdp`).

use bytes::Bytes;
use sdp_types::Session;
use sipcast_contract::media::{
    AudioCodec, AudioFormat, AudioMedia, H264Format, MediaTransport, TelephoneEvent, VideoMedia,
};
use sipcast_contract::{Direction, NegotiatedMedia};

use super::media::{AgreedFormats, Encoding, Kind, RemoteDescription, RemoteMedia};
use super::offer::{describe, natural_direction, offered_formats, port_of, refused};
use super::{Agreement, Negotiation, SdpError, Slot};

/// H.264 payload types that one answer of ours names.
const H264_FORMATS_MAX: usize = 8;
/// Audio payload types that one answer of ours names.
const AUDIO_FORMATS_MAX: usize = 8;

/// Reads the answer to our offer.
pub(crate) fn read(negotiation: &mut Negotiation, remote: &RemoteDescription) -> Result<Agreement, SdpError> {
    if !negotiation.offer_pending {
        return Err(SdpError::UnexpectedAnswer);
    }
    let mut media = NegotiatedMedia::default();
    let mut slots = negotiation.slots.clone();
    let mut listens = None;
    for (index, slot) in slots.iter_mut().enumerate() {
        let Some(ours) =
            port_of(negotiation, slot.kind).map(|_| natural_direction(&negotiation.options, slot.kind))
        else {
            continue;
        };
        let Some(theirs) = answering(remote, index, slot.kind) else { continue };
        let offered = offered_formats(slot);
        let direction = direction_of_answer(ours, theirs.direction);
        if slot.kind == Kind::Audio {
            let (answered, mut may_send) = read_audio(theirs, &offered);
            if answered.audio.is_empty() {
                continue;
            }
            listens = Some(theirs.listens());
            may_send.transport = theirs.transport(direction, theirs.rtcp_mux);
            media.audio = Some(may_send);
            slot.agreed = answered;
        } else {
            let (answered, mut may_send) = read_video(theirs, &offered);
            if answered.h264.is_empty() {
                continue;
            }
            if listens.is_none() {
                listens = Some(theirs.direction != Direction::Inactive && !theirs.is_address_zero);
            }
            may_send.transport = theirs.transport(direction, theirs.rtcp_mux);
            media.video = Some(may_send);
            slot.agreed = answered;
        }
    }
    if media.audio.is_none() && media.video.is_none() {
        return Err(SdpError::NothingInCommon { peer: remote.summary() });
    }
    negotiation.slots = slots;
    let held = negotiation.held(listens, remote);
    Ok(Agreement { media, held, description: remote.text.clone() })
}

/// The media description that answers ours at `index`. RFC 3264 §6 wants the same order; some peers leave lines
/// out or change the order, so the first of the kind does where the place holds another kind.
fn answering(remote: &RemoteDescription, index: usize, kind: Kind) -> Option<&RemoteMedia> {
    remote
        .media
        .get(index)
        .filter(|media| media.kind == kind)
        .or_else(|| remote.media.iter().find(|media| media.kind == kind && !media.is_refused))
        .filter(|media| !media.is_refused && media.is_plain_rtp)
}

/// Ours after the answer. A peer that mirrors our `recvonly` has copied the attribute: expecting media from it
/// costs nothing.
fn direction_of_answer(ours: Direction, theirs: Direction) -> Direction {
    if ours == Direction::RecvOnly && theirs == Direction::RecvOnly {
        return Direction::RecvOnly;
    }
    limited(ours, theirs)
}

/// What we do of `ours` when the peer does `theirs` (RFC 3264 §6.1).
const fn limited(ours: Direction, theirs: Direction) -> Direction {
    let send = matches!(ours, Direction::SendRecv | Direction::SendOnly) && theirs.receives();
    let receive = ours.receives() && matches!(theirs, Direction::SendRecv | Direction::SendOnly);
    match (send, receive) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

/// What the answer names, and what the peer may send: RFC 3264 §6.1 makes it send with *our* payload types, yet
/// peers that renumber also send with theirs.
fn read_audio(theirs: &RemoteMedia, offered: &AgreedFormats) -> (AgreedFormats, AudioMedia) {
    let mut answered = AgreedFormats::default();
    let mut formats: Vec<AudioFormat> = Vec::new();
    for (payload_type, encoding) in &theirs.formats {
        let payload_type = *payload_type;
        match encoding {
            Encoding::Audio(codec) => take_audio(payload_type, *codec, offered, &mut answered, &mut formats),
            Encoding::TelephoneEvent { clock_rate_hz } => {
                take_event(&mut answered, payload_type, *clock_rate_hz);
            }
            Encoding::ComfortNoise => answered.comfort_noise = Some(payload_type),
            Encoding::Unnamed => {
                if let Some((_, codec)) = offered.audio.iter().find(|(known, _)| *known == payload_type) {
                    take_audio(payload_type, *codec, offered, &mut answered, &mut formats);
                } else if let Some((known, rate)) = offered.telephone_event
                    && known == payload_type
                {
                    take_event(&mut answered, payload_type, rate);
                }
            }
            Encoding::H264 { .. } | Encoding::Unknown => {}
        }
    }
    let media = AudioMedia {
        transport: theirs.transport(Direction::Inactive, false),
        formats,
        telephone_event: answered
            .telephone_event
            .map(|(payload_type, clock_rate_hz)| TelephoneEvent { payload_type, clock_rate_hz }),
        comfort_noise: answered.comfort_noise,
        packet_time_ms: 20,
    };
    (answered, media)
}

fn take_audio(
    payload_type: u8,
    codec: AudioCodec,
    offered: &AgreedFormats,
    answered: &mut AgreedFormats,
    formats: &mut Vec<AudioFormat>,
) {
    if answered.audio.len() >= AUDIO_FORMATS_MAX {
        return;
    }
    answered.audio.push((payload_type, codec));
    let as_offered = offered.audio.iter().find(|(_, known)| *known == codec).map(|(number, _)| *number);
    for number in as_offered.into_iter().chain([payload_type]) {
        if !formats.iter().any(|format| format.payload_type == number) {
            formats.push(AudioFormat { payload_type: number, codec });
        }
    }
}

/// 8000 Hz goes with our audio codecs; another rate only if nothing else is there.
const fn take_event(answered: &mut AgreedFormats, payload_type: u8, clock_rate_hz: u32) {
    match answered.telephone_event {
        Some((_, known)) if known == 8_000 || clock_rate_hz != 8_000 => {}
        _ => answered.telephone_event = Some((payload_type, clock_rate_hz)),
    }
}

fn read_video(theirs: &RemoteMedia, offered: &AgreedFormats) -> (AgreedFormats, VideoMedia) {
    let mut answered = AgreedFormats::default();
    let mut formats: Vec<H264Format> = Vec::new();
    for (payload_type, encoding) in &theirs.formats {
        let payload_type = *payload_type;
        let as_offered = offered.h264.iter().find(|(known, ..)| *known == payload_type);
        let (mode, profile, parameter_sets) = match encoding {
            Encoding::H264 { packetization_mode, parameters } => {
                // RFC 6184 §8.2.2: the mode is the same in both directions, so a missing one is what we offered
                // under that number; a lone one is 0.
                let mode = packetization_mode.or(as_offered.map(|(_, mode, _)| *mode)).unwrap_or(0);
                let profile = parameters.profile_level_id.map(|id| id.0).or(as_offered.map(|offer| offer.2));
                (mode, profile, parameters.parameter_sets.clone())
            }
            Encoding::Unnamed => match as_offered {
                Some((_, mode, profile)) => (*mode, Some(*profile), Vec::new()),
                None => continue,
            },
            _ => continue,
        };
        // Interleaved (mode 2) was not offered and cannot be received.
        if mode > 1 || answered.h264.len() >= H264_FORMATS_MAX {
            continue;
        }
        answered.h264.push((payload_type, mode, profile.unwrap_or([0x42, 0xe0, 0x1f])));
        take_video(&mut formats, payload_type, mode, &parameter_sets);
    }
    // By the book (see `read_audio`) whoever takes H.264 sends it with a number of ours, and a peer that renumbers
    // does not say with which: baresip answers 97 and 98 and sends 96. All of them carry what we can read.
    let parameter_sets = formats.first().map(|format| format.parameter_sets.clone());
    if let Some(parameter_sets) = parameter_sets {
        for (payload_type, mode, _) in &offered.h264 {
            take_video(&mut formats, *payload_type, *mode, &parameter_sets);
        }
    }
    let media = VideoMedia {
        transport: theirs.transport(Direction::Inactive, false),
        formats,
        feedback: theirs.feedback,
    };
    (answered, media)
}

fn take_video(formats: &mut Vec<H264Format>, payload_type: u8, packetization_mode: u8, sets: &[Bytes]) {
    if !formats.iter().any(|format| format.payload_type == payload_type) {
        formats.push(H264Format { payload_type, packetization_mode, parameter_sets: sets.to_vec() });
    }
}

/// Answers the peer's offer: each media description at its place (RFC 3264 §6), the first usable audio and video
/// taken, all others refused with port 0.
pub(crate) fn build(
    negotiation: &mut Negotiation,
    remote: &RemoteDescription,
) -> Result<(Session, Vec<Slot>, Agreement), SdpError> {
    let mut session = negotiation.blank();
    let mut slots = Vec::with_capacity(remote.media.len());
    let mut media = NegotiatedMedia::default();
    let mut listens = None;
    for theirs in &remote.media {
        let (description, slot) = match theirs.kind {
            Kind::Audio if media.audio.is_none() => {
                let (description, slot, taken) = answer_audio(negotiation, theirs);
                if taken.is_some() {
                    listens = Some(theirs.listens());
                }
                media.audio = taken;
                (description, slot)
            }
            Kind::Video if media.video.is_none() => {
                let (description, slot, taken) = answer_video(negotiation, theirs);
                if taken.is_some() && listens.is_none() {
                    listens = Some(theirs.direction != Direction::Inactive && !theirs.is_address_zero);
                }
                media.video = taken;
                (description, slot)
            }
            _ => refuse(theirs),
        };
        session.medias.push(description);
        slots.push(slot);
    }
    // RFC 3264 §8: media descriptions are never removed. A peer that drops some from a later offer breaks that;
    // its own count is what the answer must match, so nothing is added back.
    let all_off = !remote.media.is_empty() && remote.media.iter().all(|media| media.is_refused);
    if media.audio.is_none() && media.video.is_none() && !all_off {
        return Err(SdpError::NothingInCommon { peer: remote.summary() });
    }
    let held = negotiation.held(listens, remote);
    let agreement = Agreement { media, held, description: remote.text.clone() };
    Ok((session, slots, agreement))
}

fn refuse(theirs: &RemoteMedia) -> (sdp_types::Media, Slot) {
    let slot = Slot {
        kind: Kind::Other,
        name: theirs.name.clone(),
        proto: theirs.proto.clone(),
        refused_formats: theirs.formats_text.clone(),
        agreed: AgreedFormats::default(),
    };
    (refused(&slot.name, &slot.proto, &slot.refused_formats), slot)
}

/// A place that the peer switched off but that we could use: a later offer of ours may switch it on.
fn switched_off(negotiation: &Negotiation, theirs: &RemoteMedia) -> (sdp_types::Media, Slot) {
    let (description, mut slot) = refuse(theirs);
    if theirs.is_refused && theirs.is_plain_rtp && port_of(negotiation, theirs.kind).is_some() {
        slot.kind = theirs.kind;
    }
    (description, slot)
}

/// The direction of our answer (RFC 3264 §6.1); `c=0.0.0.0` is an older `sendonly` (§8.4).
fn answer_direction(ours: Direction, theirs: &RemoteMedia) -> Direction {
    let peer = match theirs.direction {
        Direction::SendRecv if theirs.is_address_zero => Direction::SendOnly,
        Direction::RecvOnly if theirs.is_address_zero => Direction::Inactive,
        other => other,
    };
    limited(ours, peer)
}

fn answer_audio(
    negotiation: &Negotiation,
    theirs: &RemoteMedia,
) -> (sdp_types::Media, Slot, Option<AudioMedia>) {
    // Numbers are the offer's (RFC 3264 §6.1), so there is nothing of ours to map them to.
    let (agreed, media) = read_audio(theirs, &AgreedFormats::default());
    let in_common = !agreed.audio.is_empty();
    let wanted = negotiation.options.audio_direction;
    let (description, slot, transport) = accept(negotiation, theirs, agreed, in_common, wanted);
    (description, slot, transport.map(|transport| AudioMedia { transport, ..media }))
}

fn answer_video(
    negotiation: &Negotiation,
    theirs: &RemoteMedia,
) -> (sdp_types::Media, Slot, Option<VideoMedia>) {
    let (agreed, media) = read_video(theirs, &AgreedFormats::default());
    let in_common = !agreed.h264.is_empty();
    let wanted = negotiation.options.video_direction;
    let (description, slot, transport) = accept(negotiation, theirs, agreed, in_common, wanted);
    (description, slot, transport.map(|transport| VideoMedia { transport, ..media }))
}

/// Describes what was agreed on, with its transport; without one it cannot be taken, and is switched off.
fn accept(
    negotiation: &Negotiation,
    theirs: &RemoteMedia,
    agreed: AgreedFormats,
    in_common: bool,
    wanted: Direction,
) -> (sdp_types::Media, Slot, Option<MediaTransport>) {
    let usable = !theirs.is_refused && theirs.is_plain_rtp && in_common;
    let Some(port) = port_of(negotiation, theirs.kind).filter(|_| usable) else {
        let (description, slot) = switched_off(negotiation, theirs);
        return (description, slot, None);
    };
    let direction = answer_direction(wanted, theirs);
    let description = describe(
        theirs.kind,
        port,
        &theirs.proto,
        &agreed,
        &negotiation.options,
        direction,
        theirs.feedback,
        theirs.rtcp_mux,
    );
    let slot = Slot { kind: theirs.kind, agreed, ..refuse(theirs).1 };
    (description, slot, Some(theirs.transport(direction, theirs.rtcp_mux)))
}

impl Negotiation {
    /// Whether the peer holds us. A peer whose first description was already send-only (a camera, an announcement
    /// server) does not hold us by staying so.
    fn held(&mut self, listens: Option<bool>, remote: &RemoteDescription) -> bool {
        let Some(listens) = listens else {
            // Everything switched off by port 0.
            return true;
        };
        let is_address_zero = remote.media.iter().any(|media| media.is_address_zero && !media.is_refused);
        let never = *self.peer_never_listened.get_or_insert(!listens && !is_address_zero);
        if listens {
            self.peer_never_listened = Some(false);
        }
        !listens && (!never || is_address_zero)
    }
}
