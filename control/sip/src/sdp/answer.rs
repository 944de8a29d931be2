//! Reading the peer's answer, and answering its offer (RFC 3264 §6-§8; keys: RFC 4568 §5.1, RFC 8643).
//! Takes: a `RemoteDescription`, the negotiation so far. Gives: [`Agreement`]s and our answer.
//! Leaves out: text and versions (`sdp`), what stands in one line of ours (`offer`).

use bytes::Bytes;
use sdp_types::Session;
use sipcast_contract::media::{
    AudioFormat, AudioMedia, H264Format, H264Taken, MediaTransport, TelephoneEvent, VideoMedia,
};
use sipcast_contract::{Direction, NegotiatedMedia, SrtpSession};

use super::crypto::{CryptoFault, CryptoLine, Keys};
use super::media::{AgreedFormats, Encoding, Kind, RemoteDescription, RemoteMedia};
use super::offer::{
    CONSTRAINED_BASELINE, Live, describe, natural_direction, offered_formats, port_of, refused,
};
use super::options::AudioCodecs;
use super::rtp_profile::Protection;
use super::{Agreement, Negotiation, SdpError, Slot};
use crate::order::MediaSecurity;

/// H.264 payload types that one answer of ours names.
const H264_FORMATS_MAX: usize = 8;
/// Audio payload types that one answer of ours names.
const AUDIO_FORMATS_MAX: usize = 8;
/// telephone-event payload types that one answer of ours names.
const EVENT_FORMATS_MAX: usize = 4;

/// Reads the answer to our offer.
pub(crate) fn read(negotiation: &mut Negotiation, remote: &RemoteDescription) -> Result<Agreement, SdpError> {
    if !negotiation.offer_pending {
        return Err(SdpError::UnexpectedAnswer);
    }
    let mut media = NegotiatedMedia::default();
    let mut slots = negotiation.slots.clone();
    let mut listens = None;
    let mut trouble = None;
    for (index, slot) in slots.iter_mut().enumerate() {
        if port_of(negotiation, slot.kind).is_none() {
            continue;
        }
        let Some(theirs) = answering(remote, index, slot.kind) else { continue };
        let keys = match keys_of_answer(negotiation.security, &slot.keys, theirs) {
            Ok(keys) => keys,
            Err(fault) => {
                let unprotected = SdpError::unprotected(slot.kind, theirs, fault);
                // All or nothing: the peer believes that this media flows, and it would flow unprotected.
                if negotiation.security == MediaSecurity::Mandatory {
                    return Err(unprotected);
                }
                trouble = trouble.or(Some(unprotected));
                continue;
            }
        };
        let (line, srtp) = keys.map_or((None, None), |(line, srtp)| (Some(line), Some(srtp)));
        let offered = offered_formats(negotiation, slot);
        let ours = natural_direction(&negotiation.options, slot.kind);
        let transport = theirs.transport(direction_of_answer(ours, theirs.direction), theirs.rtcp_mux, srtp);
        let answered = if slot.kind == Kind::Audio {
            let (answered, may_send) =
                read_audio(theirs, &offered, &negotiation.options.audio_codecs, transport);
            if answered.audio.is_empty() {
                continue;
            }
            listens = Some(theirs.listens());
            media.audio = Some(may_send);
            answered
        } else {
            let (answered, may_send) = read_video(theirs, &offered, transport);
            if answered.h264.is_empty() {
                continue;
            }
            if listens.is_none() {
                listens = Some(theirs.is_on());
            }
            media.video = Some(may_send);
            answered
        };
        slot.agreed = answered;
        slot.keys.theirs = line;
    }
    if media.audio.is_none() && media.video.is_none() {
        return Err(trouble.unwrap_or_else(|| negotiation.nothing_taken(remote)));
    }
    negotiation.slots = slots;
    let held = negotiation.held(listens, remote);
    Ok(Agreement { media, held, description: remote.text.clone() })
}

/// The peer's line that answers ours, and the keys of both; `None`: plain RTP was agreed on.
fn keys_of_answer(
    security: MediaSecurity,
    keys: &Keys,
    theirs: &RemoteMedia,
) -> Result<Option<(CryptoLine, Box<SrtpSession>)>, CryptoFault> {
    let is_due = is_protection_due(security, theirs)?;
    if keys.ours.is_empty() {
        // RFC 4568 §5.1.2: a=crypto that answers none of ours means nothing.
        return if is_due { Err(CryptoFault::Off) } else { Ok(None) };
    }
    // Lines that cannot be used are no plain RTP: who wrote them will protect.
    let lines = theirs.crypto.as_ref().map_err(|fault| *fault)?;
    if lines.is_empty() {
        // RFC 8643 §3.2: without a line in the answer the offer under RTP/AVP stands for plain RTP.
        return if is_due { Err(CryptoFault::Missing) } else { Ok(None) };
    }
    let (ours, line) = keys.matching(lines)?;
    Ok(Some((line.clone(), CryptoLine::session(ours, line))))
}

/// Whether media must be protected: by our order or by the peer's profile. DTLS is an error.
fn is_protection_due(security: MediaSecurity, theirs: &RemoteMedia) -> Result<bool, CryptoFault> {
    match theirs.profile.map(|profile| profile.protection) {
        Some(Protection::Dtls) => Err(CryptoFault::Dtls),
        Some(Protection::Sdes) => Ok(true),
        Some(Protection::Plain) | None => Ok(security == MediaSecurity::Mandatory),
    }
}

/// The media description that answers ours at `index`. RFC 3264 §6 wants the same order; some peers leave lines
/// out or change the order, so the first of the kind does where the place holds another kind.
fn answering(remote: &RemoteDescription, index: usize, kind: Kind) -> Option<&RemoteMedia> {
    remote
        .media
        .get(index)
        .filter(|media| media.kind == kind)
        .or_else(|| remote.media.iter().find(|media| media.kind == kind && !media.is_refused))
        .filter(|media| !media.is_refused && media.profile.is_some())
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
fn read_audio(
    theirs: &RemoteMedia,
    offered: &AgreedFormats,
    codecs: &AudioCodecs,
    transport: MediaTransport,
) -> (AgreedFormats, AudioMedia) {
    let mut answered = AgreedFormats::default();
    for (payload_type, encoding) in &theirs.formats {
        let payload_type = *payload_type;
        match encoding {
            Encoding::Audio(codec) => answered.audio.push((payload_type, *codec)),
            Encoding::TelephoneEvent { clock_rate_hz } => {
                answered.telephone_events.push((payload_type, *clock_rate_hz));
            }
            Encoding::ComfortNoise => answered.comfort_noise = answered.comfort_noise.or(Some(payload_type)),
            Encoding::Unnamed => {
                let is_it = |number: u8| number == payload_type;
                answered.audio.extend(offered.audio.iter().find(|(number, _)| is_it(*number)));
                let event = offered.telephone_events.iter().find(|(number, _)| is_it(*number));
                answered.telephone_events.extend(event);
            }
            Encoding::H264 { .. } | Encoding::Unknown => {}
        }
    }
    answered.audio.retain(|(_, codec)| codecs.contains(*codec));
    answered.audio.truncate(AUDIO_FORMATS_MAX);
    keep_fitting_events(&mut answered);
    let media = AudioMedia {
        transport,
        formats: audio_formats(theirs, offered, &answered),
        taken: answered.audio.first().map(|&(payload_type, codec)| AudioFormat { payload_type, codec }),
        telephone_event: event_for(&answered),
        comfort_noise: answered.comfort_noise,
        packet_time_ms: theirs.packet_time_ms,
    };
    (answered, media)
}

/// All payload types that the peer may send sound with: the answer's, and ours for the same codecs unless the
/// answer gives that number to something else.
fn audio_formats(
    theirs: &RemoteMedia,
    offered: &AgreedFormats,
    answered: &AgreedFormats,
) -> Vec<AudioFormat> {
    let is_free = |number: u8| !theirs.formats.iter().any(|(known, _)| *known == number);
    let mut formats: Vec<AudioFormat> = Vec::new();
    for (payload_type, codec) in &answered.audio {
        let as_offered = offered.audio.iter().find(|(number, known)| known == codec && is_free(*number));
        for number in as_offered.map(|(number, _)| *number).into_iter().chain([*payload_type]) {
            if !formats.iter().any(|format| format.payload_type == number) {
                formats.push(AudioFormat { payload_type: number, codec: *codec });
            }
        }
    }
    formats
}

/// RFC 4733 §2.1: events have the clock of the sound they stand in. One per clock rate of a codec, or the first
/// where none fits.
fn keep_fitting_events(answered: &mut AgreedFormats) {
    let first = answered.telephone_events.first().copied();
    let mut kept: Vec<(u8, u32)> = Vec::new();
    for event in &answered.telephone_events {
        let fits = answered.audio.iter().any(|(_, codec)| codec.clock_rate_hz() == event.1);
        if fits && !kept.iter().any(|known| known.1 == event.1) && kept.len() < EVENT_FORMATS_MAX {
            kept.push(*event);
        }
    }
    if kept.is_empty() {
        kept.extend(first);
    }
    answered.telephone_events = kept;
}

/// The event that goes with the preferred codec.
fn event_for(answered: &AgreedFormats) -> Option<TelephoneEvent> {
    let (_, codec) = answered.audio.first()?;
    let fits = |event: &&(u8, u32)| event.1 == codec.clock_rate_hz();
    let events = &answered.telephone_events;
    let (payload_type, clock_rate_hz) = *events.iter().find(fits).or_else(|| events.first())?;
    Some(TelephoneEvent { payload_type, clock_rate_hz })
}

fn read_video(
    theirs: &RemoteMedia,
    offered: &AgreedFormats,
    transport: MediaTransport,
) -> (AgreedFormats, VideoMedia) {
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
        answered.h264.push((payload_type, mode, profile.unwrap_or(CONSTRAINED_BASELINE)));
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
    // What we send bears the peer's own numbers.
    let taken = answered.h264.iter().map(|(payload_type, packetization_mode, profile_level_id)| H264Taken {
        payload_type: *payload_type,
        packetization_mode: *packetization_mode,
        profile_level_id: *profile_level_id,
    });
    let media = VideoMedia { transport, formats, taken: taken.collect(), feedback: theirs.feedback };
    (answered, media)
}

fn take_video(formats: &mut Vec<H264Format>, payload_type: u8, packetization_mode: u8, sets: &[Bytes]) {
    if !formats.iter().any(|format| format.payload_type == payload_type) {
        formats.push(H264Format { payload_type, packetization_mode, parameter_sets: sets.to_vec() });
    }
}

/// Answers the peer's offer: each media description at its place (RFC 3264 §6), the first usable audio and main
/// video taken, all others refused with port 0.
pub(crate) fn build(
    negotiation: &mut Negotiation,
    remote: &RemoteDescription,
) -> Result<(Session, Vec<Slot>, Agreement), SdpError> {
    let (audio, audio_trouble) = choose(negotiation, remote, Kind::Audio)?;
    let (video, video_trouble) = choose(negotiation, remote, Kind::Video)?;
    // RFC 3264 §8: media descriptions are never removed. A peer that drops some from a later offer breaks that;
    // its own count is what the answer must match, so nothing is added back.
    let all_off = !remote.media.is_empty() && remote.media.iter().all(|media| media.is_refused);
    if audio.is_none() && video.is_none() && !all_off {
        let trouble = audio_trouble.or(video_trouble);
        return Err(trouble.unwrap_or_else(|| negotiation.nothing_in_common(remote)));
    }
    let listens = match (&audio, &video) {
        (Some(audio), _) => Some(remote.media[audio.index].listens()),
        (None, Some(video)) => Some(remote.media[video.index].is_on()),
        (None, None) => None,
    };
    let mut session = negotiation.blank();
    let mut slots: Vec<Slot> = Vec::with_capacity(remote.media.len());
    for (index, theirs) in remote.media.iter().enumerate() {
        let taken = [&audio, &video].into_iter().flatten().find(|taken| taken.index == index);
        let slot = match taken {
            Some(taken) => taken.slot.clone(),
            None => {
                let mut slot = refuse(theirs);
                // A place that the peer switched off but that we could use: a later offer of ours may switch it on.
                let is_spare = theirs.is_refused
                    && theirs.profile.is_some()
                    && port_of(negotiation, theirs.kind).is_some()
                    && !slots.iter().any(|slot| slot.kind == theirs.kind)
                    && [&audio, &video].into_iter().flatten().all(|taken| taken.slot.kind != theirs.kind);
                if is_spare {
                    slot.kind = theirs.kind;
                }
                slot
            }
        };
        session.medias.push(match taken {
            Some(taken) => taken.description.clone(),
            None => refused(&slot.name, &slot.proto, &slot.refused_formats),
        });
        slots.push(slot);
    }
    let media = NegotiatedMedia {
        audio: audio.and_then(|taken| taken.media.audio),
        video: video.and_then(|taken| taken.media.video),
    };
    let held = negotiation.held(listens, remote);
    let agreement = Agreement { media, held, description: remote.text.clone() };
    Ok((session, slots, agreement))
}

/// A media description of the peer that we take part in.
struct Taken {
    index: usize,
    description: sdp_types::Media,
    slot: Slot,
    /// Holds this one only.
    media: NegotiatedMedia,
}

/// Something that may come of one of the peer's media descriptions.
type Choice = (Option<Taken>, Option<SdpError>);

/// The first usable description of a kind, main pictures before slides; otherwise why the first was none, if it was
/// for want of keys.
fn choose(negotiation: &Negotiation, remote: &RemoteDescription, kind: Kind) -> Result<Choice, SdpError> {
    let mut trouble = None;
    let Some(port) = port_of(negotiation, kind) else { return Ok((None, None)) };
    let candidates = |is_presentation: bool| {
        remote.media.iter().enumerate().filter(move |(_, theirs)| {
            theirs.kind == kind
                && theirs.is_presentation == is_presentation
                && !theirs.is_refused
                && theirs.profile.is_some()
        })
    };
    for (index, theirs) in candidates(false).chain(candidates(true)) {
        match keys_for_offer(negotiation, theirs) {
            Ok(keys) => {
                let keys = keys.map(|theirs| negotiation.answering_keys(kind, theirs)).transpose()?;
                if let Some(taken) = take(negotiation, index, theirs, port, keys.unwrap_or_default()) {
                    return Ok((Some(taken), None));
                }
            }
            Err(fault) => trouble = trouble.or(Some(SdpError::unprotected(kind, theirs, fault))),
        }
    }
    Ok((None, trouble))
}

/// The peer's line that we answer; `None`: plain RTP.
fn keys_for_offer<'a>(
    negotiation: &Negotiation,
    theirs: &'a RemoteMedia,
) -> Result<Option<&'a CryptoLine>, CryptoFault> {
    let is_due = is_protection_due(negotiation.security, theirs)?;
    match (negotiation.security, &theirs.crypto) {
        (MediaSecurity::Off, _) if is_due => Err(CryptoFault::Off),
        // RFC 8643 §3.1: keys under RTP/AVP may be passed over.
        (MediaSecurity::Off, _) => Ok(None),
        (_, Err(fault)) if is_due => Err(*fault),
        (_, Ok(lines)) if lines.is_empty() && is_due => Err(CryptoFault::Missing),
        (_, Err(_)) => Ok(None),
        // RFC 4568 §5.1.2: the first that is acceptable to us; the peer has put them in its order.
        (_, Ok(lines)) => {
            let allowed = lines.iter().find(|line| negotiation.options.srtp_suites.contains(line.suite));
            if allowed.is_none() && is_due { Err(CryptoFault::NotAllowed) } else { Ok(allowed) }
        }
    }
}

/// Describes what was agreed on; `None` if the peer has no format of ours.
fn take(
    negotiation: &Negotiation,
    index: usize,
    theirs: &RemoteMedia,
    port: u16,
    keys: Keys,
) -> Option<Taken> {
    let direction = answer_direction(natural_direction(&negotiation.options, theirs.kind), theirs);
    let srtp = keys.ours.first().zip(keys.theirs.as_ref());
    let srtp = srtp.map(|(ours, theirs)| CryptoLine::session(ours, theirs));
    let transport = theirs.transport(direction, theirs.rtcp_mux, srtp);
    // Numbers are the offer's (RFC 3264 §6.1), so there is nothing of ours to map them to.
    let offered = AgreedFormats::default();
    let mut media = NegotiatedMedia::default();
    let agreed = if theirs.kind == Kind::Audio {
        let (agreed, audio) = read_audio(theirs, &offered, &negotiation.options.audio_codecs, transport);
        media.audio = Some(audio);
        agreed
    } else {
        let (agreed, video) = read_video(theirs, &offered, transport);
        media.video = Some(video);
        agreed
    };
    if agreed.audio.is_empty() && agreed.h264.is_empty() {
        return None;
    }
    let live = Live {
        kind: theirs.kind,
        port,
        proto: &theirs.proto,
        formats: &agreed,
        direction,
        feedback: theirs.feedback,
        rtcp_mux: theirs.rtcp_mux,
        crypto: &keys.ours,
        is_full: true,
    };
    let description = describe(&live, &negotiation.options);
    let slot = Slot { kind: theirs.kind, agreed, keys, ..refuse(theirs) };
    Some(Taken { index, description, slot, media })
}

fn refuse(theirs: &RemoteMedia) -> Slot {
    Slot {
        kind: Kind::Other,
        name: theirs.name.clone(),
        proto: theirs.proto.clone(),
        refused_formats: theirs.formats_text.clone(),
        agreed: AgreedFormats::default(),
        keys: Keys::default(),
    }
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

impl Negotiation {
    /// Our key that answers `theirs`, kept from before where the peer kept its own.
    fn answering_keys(&self, kind: Kind, theirs: &CryptoLine) -> Result<Keys, SdpError> {
        let none = Keys::default();
        let before = self.slots.iter().find(|slot| slot.kind == kind).map_or(&none, |slot| &slot.keys);
        let ours = before.answer(theirs, self.random).ok_or(SdpError::NoRandomness)?;
        Ok(Keys { ours: vec![ours], theirs: Some(theirs.clone()) })
    }

    /// Why an answer agrees on nothing.
    fn nothing_taken(&self, remote: &RemoteDescription) -> SdpError {
        if remote.media.is_empty() || remote.media.iter().any(|media| !media.is_refused) {
            return self.nothing_in_common(remote);
        }
        SdpError::AllRefused { peer: remote.summary(), codecs: self.options.audio_codecs }
    }

    fn nothing_in_common(&self, remote: &RemoteDescription) -> SdpError {
        SdpError::NothingInCommon { peer: remote.summary(), codecs: self.options.audio_codecs }
    }

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
