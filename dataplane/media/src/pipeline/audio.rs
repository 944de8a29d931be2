//! The sound of one broadcast: RTP in order to AAC in FLV tag bodies, silence where there is none, DTMF out.
//! Takes: datagrams of the audio ports, the agreed description, time. Gives: messages to the publication,
//! datagrams to send, and where a moment of the peer's clock lies on the broadcast's timeline.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sipcast_contract::dtmf::DtmfStep;
use sipcast_contract::media::{AudioCodec, AudioFormat, AudioMedia};
use sipcast_contract::statistics::StreamStatistics;
use sipcast_contract::{Direction, MediaOptions, Timestamp};
use sipcast_pool::{Arena, Exhausted, Segment};

use super::playback::Playback;
use super::publication::{AudioTrack, Publication};
use super::stream::{Agreed, Ports, Requests, RtpStream, TransportChange};
use super::targets::Sound;
use super::{Port, Transmit, Workspace};
use crate::audio::{AacFrame, LinesOut, PAYLOAD_MAX, Placed, SILENT_PAYLOAD_MAX, Transcoder, silent_payload};
use crate::flv;
use crate::flv::audio::SoundFormat;
use crate::message::{Message, MessageKind};
use crate::rtp::{QueueFull, Received, Receiver, RtpPacket, RtpSender, SenderClock, TelephoneEventSender};
use crate::timeline::audio_ms;

/// The audio description and what comes of it.
#[derive(Debug)]
pub(super) struct AudioPath {
    options: MediaOptions,
    stream: RtpStream,
    media: Option<AudioMedia>,
    /// Begun with the first media of the call; `None` also when the broadcast is to have no sound.
    transcoder: Option<Transcoder>,
    /// The peer has sent sound.
    is_heard: bool,
    /// Made with the first description that agreed on it.
    dtmf: Option<TelephoneEventSender>,
    was_sending_dtmf: bool,
    /// The body for muted targets, kept warm.
    silent_body: Vec<Segment>,
    /// To other broadcasts.
    pub(super) lines: LinesOut,
    /// What the callee hears.
    playback: Playback,
    /// Codec and 20 ms of its silence, for the way that is kept open.
    silence: Option<(AudioCodec, Box<[u8]>)>,
    /// The same for muted targets that take the call's own sound.
    source_silence: Option<(AudioCodec, Box<[u8]>)>,
}

/// Why DTMF steps were not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtmfRefused {
    /// No telephone-event payload type was agreed on; SIP INFO is the way.
    #[error("no telephone-event was agreed on")]
    NotAgreed,
    /// More than [`sipcast_contract::limits::DTMF_QUEUE_MAX`] steps would wait.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
}

impl AudioPath {
    pub(super) fn new(options: &MediaOptions, seed: u64, now: Timestamp) -> Self {
        let ports = Ports { rtp: Port::AudioRtp, rtcp: Port::AudioRtcp };
        let receiver = Receiver::new(AudioCodec::Pcmu.clock_rate_hz(), options.reorder_wait);
        let seed = seed.rotate_left(17) ^ AUDIO_SEED;
        let stream = RtpStream::new(ports, receiver, AudioCodec::Pcmu.clock_rate_hz(), seed, now);
        Self {
            options: options.clone(),
            dtmf: None,
            stream,
            media: None,
            transcoder: None,
            is_heard: false,
            was_sending_dtmf: false,
            silent_body: Vec::new(),
            lines: LinesOut::default(),
            playback: Playback::default(),
            silence: None,
            source_silence: None,
        }
    }

    /// `start` is that of the broadcast's timeline.
    pub(super) fn set_media(
        &mut self,
        media: Option<&AudioMedia>,
        start: Timestamp,
        now: Timestamp,
        publication: &mut Publication,
    ) {
        let change = self.stream.set_transport(media.map(|media| &media.transport), now);
        self.media = media.cloned();
        if let Some(format) = media.and_then(|media| media.telephone_event) {
            match &mut self.dtmf {
                Some(dtmf) => dtmf.set_format(format),
                None => self.dtmf = Some(TelephoneEventSender::new(format)),
            }
        }
        if let Some(format) = media.and_then(|media| media.taken) {
            self.stream.sender_mut().set_clock_rate(format.codec.clock_rate_hz(), now);
        }
        if self.transcoder.is_none() && (media.is_some() || self.options.silent_audio) {
            // Options that name no AAC stream were refused with the order; without an encoder the picture still
            // goes out alone.
            self.transcoder = Transcoder::new(&self.options.aac, start).ok();
        }
        if let Some(transcoder) = &mut self.transcoder
            && change != TransportChange::None
        {
            transcoder.restart();
        }
        let preferred = media.and_then(|media| media.formats.first()).map(|format| format.codec);
        if let (Some(codec), Some(transcoder)) = (preferred, &mut self.transcoder) {
            transcoder.prepare(codec);
            if self.silence.as_ref().is_none_or(|(held, _)| *held != codec) {
                self.silence = Some((codec, silent_payload(codec)));
            }
        }
        publication.set_source(preferred.and_then(source_format), now);
        publication.set_audio(self.track(), now);
    }

    pub(super) fn handle_datagram(&mut self, from: SocketAddr, datagram: Segment, arrival: Timestamp) {
        let media = self.media.as_ref();
        self.stream.handle_datagram(from, datagram, arrival, |payload_type| {
            media.map_or(Agreed::No, |media| agreed(media, payload_type))
        });
    }

    /// Takes what came and what is due to the publication.
    pub(super) fn serve(&mut self, now: Timestamp, ws: &mut Workspace, publication: &mut Publication) {
        while let Some(received) = self.stream.poll(now) {
            match received {
                Received::Packet { packet, timestamp } => {
                    self.take(&packet, timestamp, now, ws, publication);
                    self.publish(ws, publication);
                }
                // The gap in RTP time is concealed when the next packet comes.
                Received::Lost { .. } => {
                    if let Some(transcoder) = &mut self.transcoder {
                        transcoder.note_lost();
                    }
                }
                Received::Restarted => {
                    if let Some(transcoder) = &mut self.transcoder {
                        transcoder.restart();
                    }
                }
            }
        }
        self.publish(ws, publication);
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.handle_timeout(now);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        let transcoder = self.transcoder.as_ref().and_then(Transcoder::next_timeout);
        let dtmf = self.dtmf.as_ref().and_then(TelephoneEventSender::next_timeout);
        // Before media is agreed on there is no codec to play in.
        let is_agreed = self.media.as_ref().is_some_and(|media| !media.formats.is_empty());
        let playback = self.playback.next_timeout().filter(|_| is_agreed);
        [self.stream.next_timeout(), transcoder, dtmf, playback].into_iter().flatten().min()
    }

    pub(super) fn poll_transmit(&mut self, now: Timestamp, arena: &mut Arena) -> Option<Transmit> {
        self.stream
            .poll_report(Requests::default(), now, arena)
            .or_else(|| self.poll_dtmf(now, arena))
            .or_else(|| self.poll_playback(now, arena))
            .or_else(|| self.poll_keep_alive(now, arena))
    }

    pub(super) fn send_dtmf(&mut self, steps: &[DtmfStep]) -> Result<(), DtmfRefused> {
        let is_agreed = self.media.as_ref().is_some_and(|media| media.telephone_event.is_some());
        let dtmf = self.dtmf.as_mut().filter(|_| is_agreed).ok_or(DtmfRefused::NotAgreed)?;
        dtmf.push(steps)?;
        self.was_sending_dtmf = true;
        Ok(())
    }

    /// What the callee hears.
    pub(super) fn playback(&mut self) -> &mut Playback {
        &mut self.playback
    }

    /// `true` once, when the last waiting step is sent.
    pub(super) fn take_dtmf_sent(&mut self) -> bool {
        let is_idle = self.dtmf.as_ref().is_none_or(TelephoneEventSender::is_idle);
        is_idle && std::mem::take(&mut self.was_sending_dtmf)
    }

    /// The peer's clock of this stream, and where its moments lie on the broadcast's timeline.
    pub(super) fn sender_clock(&self) -> Option<SenderClock> {
        self.stream.sender_clock()
    }

    /// Where an RTP time of this stream lies on the broadcast's timeline.
    pub(super) fn presentation(&self, timestamp: i64) -> Option<Duration> {
        self.transcoder.as_ref()?.presentation(timestamp)
    }

    pub(super) fn close(&mut self) {
        self.stream.close();
    }

    /// A datagram came long before anything was agreed on.
    pub(super) fn count_unagreed(&mut self) {
        self.stream.count_unagreed();
    }

    pub(super) fn stream_statistics(&self) -> StreamStatistics {
        self.stream.statistics()
    }

    pub(super) fn concealed_samples(&self) -> u64 {
        self.transcoder.as_ref().map_or(0, Transcoder::concealed_samples)
    }

    pub(super) fn silence_samples(&self) -> u64 {
        self.transcoder.as_ref().map_or(0, Transcoder::silence_samples)
    }

    fn track(&self) -> Option<AudioTrack> {
        let transcoder = self.transcoder.as_ref()?;
        Some(AudioTrack {
            config: Bytes::copy_from_slice(transcoder.audio_specific_config()),
            options: self.options.aac,
        })
    }

    /// Takes one packet in order. The peer's telephone-events are no sound here: their gap becomes silence.
    fn take(
        &mut self,
        packet: &RtpPacket,
        timestamp: i64,
        now: Timestamp,
        ws: &mut Workspace,
        publication: &mut Publication,
    ) {
        let (Some(media), Some(transcoder)) = (&self.media, &mut self.transcoder) else { return };
        let Some(codec) = codec(media, packet.payload_type) else {
            if media.comfort_noise == Some(packet.payload_type) {
                transcoder.push_comfort_noise(timestamp, &packet.payload, packet.arrival);
            }
            return;
        };
        let source = source_format(codec);
        publication.set_source(source, now);
        // While all targets take the call's own sound nothing is decoded.
        transcoder.set_listened(source.is_none() || !publication.is_source_all() || !self.lines.is_empty());
        let placed = transcoder.push(codec, timestamp, &packet.payload, packet.arrival);
        self.is_heard = true;
        if let (Some(format), Some(placed)) = (source, placed)
            && publication.is_started()
            && publication.targets.is_wanted(Sound::Source)
        {
            self.publish_source(codec, format, packet, placed, ws, publication);
        }
    }

    /// Publishes one packet's sound as it came.
    fn publish_source(
        &mut self,
        codec: AudioCodec,
        format: SoundFormat,
        packet: &RtpPacket,
        placed: Placed,
        ws: &mut Workspace,
        publication: &mut Publication,
    ) {
        // An octet of G.711 is a sample; what is past of other formats cannot be cut off.
        let (payload, presentation) = match format {
            SoundFormat::ALaw | SoundFormat::MuLaw => {
                let late = (placed.late.as_micros() / 125) as usize;
                (
                    packet.payload.slice(late.min(packet.payload.len())..packet.payload.len()),
                    placed.presentation,
                )
            }
            SoundFormat::Speex | SoundFormat::Aac => {
                (packet.payload.clone(), placed.presentation.saturating_sub(placed.late))
            }
        };
        if publication.targets.is_any_muted(Sound::Source) {
            if self.source_silence.as_ref().is_none_or(|(held, _)| *held != codec) {
                self.source_silence = Some((codec, silent_payload(codec)));
            }
            if let Some((_, silence)) = &self.source_silence {
                // G.711 is as silent for any length; a Speex frame of silence stands for the whole packet.
                let written = match format {
                    SoundFormat::ALaw | SoundFormat::MuLaw => ws.arena.write_with(payload.len(), |out| {
                        out.fill(silence[0]);
                        out.len()
                    }),
                    SoundFormat::Speex | SoundFormat::Aac => ws.arena.write(silence),
                };
                if let (Ok(header), Ok(body)) = (ws.arena.write(&format.header()), written) {
                    self.silent_body.extend([header, body]);
                }
            }
        }
        if let Ok(header) = ws.arena.write(&format.header()) {
            ws.body.extend([header, payload]);
            // RTMP's 32 bits wrap after 49 days; truncation is wanted.
            let timestamp_ms = presentation.as_millis() as u32;
            let kind = MessageKind::Audio;
            let message = Message { kind, timestamp_ms, body: &ws.body, arrival: packet.arrival };
            publication.push_source(&message, &self.silent_body);
        }
        ws.body.clear();
        self.silent_body.clear();
    }

    fn publish(&mut self, ws: &mut Workspace, publication: &mut Publication) {
        let Some(transcoder) = &mut self.transcoder else { return };
        while let Some(frame) = transcoder.poll_frame_with(&mut ws.arena, &mut self.lines) {
            let rate_hz = self.options.aac.sample_rate_hz;
            publish_frame(frame, rate_hz, transcoder.silent_frame(), self.is_heard, ws, publication);
        }
    }

    /// The next packet of what the callee hears. It moves on while the peer is on hold or digits are sent, unheard.
    fn poll_playback(&mut self, now: Timestamp, arena: &mut Arena) -> Option<Transmit> {
        if !self.playback.is_playing() {
            return None;
        }
        let media = self.media.as_ref()?;
        let format = media.taken?;
        let may_send = matches!(media.transport.direction, Direction::SendRecv | Direction::SendOnly);
        let packet_time_ms = media.packet_time_ms;
        let is_sending_digits = self.dtmf.as_ref().is_some_and(|dtmf| !dtmf.is_idle());
        let mut out = [0; PAYLOAD_MAX];
        while let Some(payload) = self.playback.poll(format.codec, packet_time_ms, now, &mut out) {
            let Some(to) = self.stream.rtp_destination().filter(|_| may_send && !is_sending_digits) else {
                continue;
            };
            let sender = self.stream.sender_mut();
            sender.set_clock_rate(format.codec.clock_rate_hz(), payload.at);
            let timestamp = sender.timestamp(payload.at);
            let header = sender.header(format.payload_type, payload.is_first, timestamp);
            let mut packet = [0; RtpSender::HEADER_LEN + PAYLOAD_MAX];
            packet[..header.len()].copy_from_slice(&header);
            let end = header.len() + payload.len;
            packet[header.len()..end].copy_from_slice(&out[..payload.len]);
            return self.stream.transmit_rtp(to, &packet[..end], now, arena);
        }
        None
    }

    fn poll_dtmf(&mut self, now: Timestamp, arena: &mut Arena) -> Option<Transmit> {
        let dtmf = self.dtmf.as_mut().filter(|dtmf| !dtmf.is_idle())?;
        // RFC 4733 §2.1 wants the clock of the sound; peers that agree on another one read events in that.
        let clock_rate_hz =
            self.media.as_ref().and_then(|media| media.telephone_event).map(|e| e.clock_rate_hz);
        if let Some(clock_rate_hz) = clock_rate_hz {
            self.stream.sender_mut().set_clock_rate(clock_rate_hz, now);
        }
        let packet = dtmf.poll(self.stream.sender_mut(), now)?;
        // On hold there is nobody to hear the digits; they pass all the same.
        let to = self.stream.rtp_destination()?;
        // RFC 4733 §2.5.1.2: a lost update is made good by the next one.
        self.stream.transmit_rtp(to, &packet, now, arena)
    }

    /// 20 ms of silence (RFC 6263 §4.2 has comfort noise, which fewer phones know).
    fn poll_keep_alive(&mut self, now: Timestamp, arena: &mut Arena) -> Option<Transmit> {
        let to = self.stream.poll_keep_alive(now)?;
        let format = self.media.as_ref()?.taken?;
        let sender = self.stream.sender_mut();
        sender.set_clock_rate(format.codec.clock_rate_hz(), now);
        let timestamp = sender.timestamp(now);
        let header = sender.header(format.payload_type, false, timestamp);
        let silence = self.silence.as_ref().filter(|(codec, _)| *codec == format.codec);
        let silence = silence.map_or(&[][..], |(_, payload)| payload);
        let mut packet = [0; RtpSender::HEADER_LEN + SILENT_PAYLOAD_MAX];
        packet[..header.len()].copy_from_slice(&header);
        let end = header.len() + silence.len();
        packet[header.len()..end].copy_from_slice(silence);
        self.stream.transmit_rtp(to, &packet[..end], now, arena)
    }
}

/// Publishes one AAC frame, or what targets have instead. `silence`: a frame of it for muted targets.
pub(super) fn publish_frame(
    frame: AacFrame,
    sample_rate_hz: u32,
    silence: &[u8],
    is_heard: bool,
    ws: &mut Workspace,
    publication: &mut Publication,
) {
    if !publication.is_started() {
        return;
    }
    // RTMP's 32 bits wrap after 49 days; truncation is wanted.
    let timestamp_ms = audio_ms(frame.position, sample_rate_hz) as u32;
    let Workspace { arena, body, silent_body, .. } = ws;
    // An exhausted pool drops the frame: the positions of the others stay right.
    if write_body(frame.data, arena, body).is_ok()
        && write_silent_body(silence, publication, arena, silent_body).is_ok()
    {
        let message = Message { kind: MessageKind::Audio, timestamp_ms, body, arrival: frame.arrival };
        publication.push_sound(&message, silent_body, is_heard);
        if publication.targets.has_clips() {
            silent_body.clear();
            publication.targets.push_clips(&message, arena, silent_body);
        }
    }
    body.clear();
    silent_body.clear();
}

/// The FLV tag body of one AAC frame.
fn write_body(frame: Segment, arena: &mut Arena, body: &mut Vec<Segment>) -> Result<(), Exhausted> {
    body.push(arena.write(&flv::audio::RAW_HEADER)?);
    body.push(frame);
    Ok(())
}

/// The same with silence, if some target wants it.
fn write_silent_body(
    silence: &[u8],
    publication: &Publication,
    arena: &mut Arena,
    body: &mut Vec<Segment>,
) -> Result<(), Exhausted> {
    if publication.targets.is_any_muted(Sound::Aac) {
        body.push(arena.write(&flv::audio::RAW_HEADER)?);
        body.push(arena.write(silence)?);
    }
    Ok(())
}

/// What FLV calls a codec that it can carry (E.4.2.1).
const fn source_format(codec: AudioCodec) -> Option<SoundFormat> {
    match codec {
        AudioCodec::Pcmu => Some(SoundFormat::MuLaw),
        AudioCodec::Pcma => Some(SoundFormat::ALaw),
        AudioCodec::SpeexWideband => Some(SoundFormat::Speex),
        AudioCodec::G722
        | AudioCodec::SpeexNarrowband
        | AudioCodec::SpeexUltraWideband
        | AudioCodec::Opus => None,
    }
}

fn agreed(media: &AudioMedia, payload_type: u8) -> Agreed {
    let is_beside = media.comfort_noise == Some(payload_type)
        || media.telephone_event.is_some_and(|event| event.payload_type == payload_type);
    match codec(media, payload_type) {
        Some(codec) => Agreed::Media { clock_rate_hz: codec.clock_rate_hz() },
        None if is_beside => Agreed::Beside,
        None => Agreed::No,
    }
}

fn codec(media: &AudioMedia, payload_type: u8) -> Option<AudioCodec> {
    let format = media.formats.iter().find(|format: &&AudioFormat| format.payload_type == payload_type);
    format.map(|format| format.codec)
}

/// Draws other numbers than the video stream does.
const AUDIO_SEED: u64 = 0x4155_4449_4f5f_5254;
