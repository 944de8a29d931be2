//! The picture of one broadcast: RTP in order to H.264 in FLV tag bodies, and asking for IDR pictures.
//! Takes: datagrams of the video ports, the agreed description, time, where the sound lies. Gives: messages to
//! the publication, datagrams to send. Payload stays where the kernel put it: only lengths and headers are written.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sipcast_contract::media::{H264Format, H264Taken, VideoFeedback, VideoMedia};
use sipcast_contract::statistics::StreamStatistics;
use sipcast_contract::{MediaOptions, Timestamp};
use sipcast_pool::{Arena, Exhausted, Segment};

use super::audio::AudioPath;
use super::picture_playback::PicturePlayback;
use super::publication::{Publication, VideoTrack};
use super::stream::{Agreed, Ports, Requests, RtpStream, TransportChange};
use super::{Port, Transmit, Workspace};
use crate::flv;
use crate::h264::access_unit::LENGTH_FIELD_LEN;
use crate::h264::packetizer::PAYLOAD_LEN_MAX;
use crate::h264::parameter_set::PARAMETER_SET_LEN_MAX;
use crate::h264::{AccessUnit, Depacketizer, NalUnit, ParameterSets, Verdict};
use crate::message::{Message, MessageKind};
use crate::rtp::{
    BitRateRequest, KeyframeAction, KeyframeRequest, Received, Receiver, RtpSender, SenderClock,
};
use crate::timeline::VideoTimeline;

/// The video description and what comes of it.
#[derive(Debug)]
pub(super) struct VideoPath {
    stream: RtpStream,
    formats: Vec<H264Format>,
    /// Bit n: payload type n is one of `formats`. Read for every packet, where the list would be cold memory.
    payload_types: u128,
    /// What the callee takes; `None`: we may not send to it.
    taken: Option<Vec<H264Taken>>,
    /// What the callee sees.
    playback: PicturePlayback,
    /// Payload type of the latest packet, once there was one.
    payload_type: Option<u8>,
    /// The parameter sets that were last taken from a session description.
    described: Vec<Bytes>,
    parameter_sets: ParameterSets,
    /// The parameter sets changed since the publication was told.
    is_track_stale: bool,
    depacketizer: Depacketizer,
    /// The next picture has no RTP time in common with those before it.
    is_restarting: bool,
    /// Begun with the first media of the call.
    timeline: Option<VideoTimeline>,
    /// The sender clocks, of video and audio, that the timeline was last joined by.
    joined: Option<(SenderClock, SenderClock)>,
    keyframes: KeyframeRequest,
    /// Ask when no IDR picture came for this long, whatever the targets demand; zero: never.
    keyframe_interval_max: Duration,
    bit_rate: BitRateRequest,
    /// Asked for and not sent yet.
    requests: Requests,
    is_keyframe_overdue: bool,
    pli_sent: u64,
    fir_sent: u64,
    /// Whole access units that could not be published: no parameter sets, no room for headers.
    unpublishable: u64,
    /// Latest RTP time of a picture since the last restart.
    latest: Option<i64>,
    reordered_pictures: u64,
}

/// Why a whole access unit was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unpublishable {
    /// No picture can be decoded without parameter sets.
    NoParameterSets,
    /// The pool has no slot for its headers.
    Exhausted,
}

impl VideoPath {
    pub(super) fn new(options: &MediaOptions, seed: u64, now: Timestamp) -> Self {
        let ports = Ports { rtp: Port::VideoRtp, rtcp: Port::VideoRtcp };
        let receiver = Receiver::new(CLOCK_RATE_HZ, options.reorder_wait);
        Self {
            stream: RtpStream::new(ports, receiver, CLOCK_RATE_HZ, seed.rotate_left(31) ^ VIDEO_SEED, now),
            formats: Vec::new(),
            payload_types: 0,
            taken: None,
            playback: PicturePlayback::default(),
            payload_type: None,
            described: Vec::new(),
            parameter_sets: ParameterSets::default(),
            is_track_stale: false,
            depacketizer: Depacketizer::default(),
            is_restarting: false,
            timeline: None,
            joined: None,
            keyframes: KeyframeRequest::new(VideoFeedback::default(), options.keyframe_interval_max, now),
            keyframe_interval_max: options.keyframe_interval_max,
            bit_rate: BitRateRequest::new(options.video_bit_rate_wanted),
            requests: Requests::default(),
            is_keyframe_overdue: false,
            pli_sent: 0,
            fir_sent: 0,
            unpublishable: 0,
            latest: None,
            reordered_pictures: 0,
        }
    }

    /// `start` is that of the broadcast's timeline.
    pub(super) fn set_media(
        &mut self,
        media: Option<&VideoMedia>,
        start: Timestamp,
        now: Timestamp,
        publication: &mut Publication,
    ) {
        let change = self.stream.set_transport(media.map(|media| &media.transport), now);
        self.timeline.get_or_insert_with(|| VideoTimeline::new(start));
        self.formats = media.map(|media| media.formats.clone()).unwrap_or_default();
        self.payload_types = self.formats.iter().fold(0, |types, format| types | bit(format.payload_type));
        let sending = media.filter(|media| media.transport.direction.sends());
        self.taken = sending.map(|media| media.taken.clone());
        let feedback = media.map(|media| media.feedback).unwrap_or_default();
        self.keyframes.set_feedback(feedback);
        self.stream.set_retransmission(feedback.nack);
        self.bit_rate.set_agreed(feedback.tmmbr, now);
        match change {
            TransportChange::None => {}
            TransportChange::Held => self.keyframes.cancel(now),
            TransportChange::Resumed => {
                // The peer's encoder went on without us, or began anew: nothing it sends refers to what we have.
                self.depacketizer.wait_for_idr();
                self.is_restarting = true;
                self.keyframes.request(now);
            }
        }
        match self.formats.first().map(|format| format.payload_type) {
            Some(first) => self.take_described(self.payload_type.unwrap_or(first)),
            None => publication.set_video(None, now),
        }
    }

    pub(super) fn handle_datagram(&mut self, from: SocketAddr, datagram: Segment, arrival: Timestamp) {
        let payload_types = self.payload_types;
        self.stream.handle_datagram(from, datagram, arrival, |payload_type| {
            // RFC 6184 §8.2.1: the clock of H.264 is 90 kHz.
            match payload_types & bit(payload_type) != 0 {
                true => Agreed::Media { clock_rate_hz: CLOCK_RATE_HZ },
                false => Agreed::No,
            }
        });
        if self.stream.take_keyframe_wanted() {
            self.playback.request_keyframe(arrival);
        }
    }

    /// Takes what came until `arrival` to the publication.
    pub(super) fn serve(
        &mut self,
        arrival: Timestamp,
        now: Timestamp,
        ws: &mut Workspace,
        audio: &AudioPath,
        publication: &mut Publication,
    ) {
        while let Some(received) = self.stream.poll(arrival) {
            match received {
                Received::Packet { packet, timestamp } => {
                    if self.payload_type != Some(packet.payload_type) {
                        self.take_described(packet.payload_type);
                        self.payload_type = Some(packet.payload_type);
                    }
                    if self.depacketizer.push(packet, timestamp, &mut ws.units).is_err() {
                        self.stream.count_malformed();
                    }
                }
                Received::Lost { .. } => self.depacketizer.handle_loss(&mut ws.units),
                Received::Restarted => {
                    self.depacketizer.restart(&mut ws.units);
                    self.is_restarting = true;
                }
            }
            if !ws.units.is_empty() {
                self.join(audio);
                self.publish(now, ws, publication);
            }
        }
    }

    /// Gives up an access unit whose rest does not come, so that it holds no slots.
    pub(super) fn handle_timeout(&mut self, now: Timestamp, ws: &mut Workspace) {
        if self.abandon_at().is_some_and(|at| at <= now) {
            self.depacketizer.restart(&mut ws.units);
            ws.units.clear();
        }
    }

    /// `now`: of the latest input.
    pub(super) fn next_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let keyframes = if self.requests != Requests::default() {
            Some(now)
        } else if self.is_heard(now) {
            [self.keyframes.next_timeout(), self.bit_rate.next_timeout()].into_iter().flatten().min()
        } else {
            None
        };
        let playback = self.playback.next_timeout();
        [self.stream.next_timeout(), keyframes, self.abandon_at(), playback].into_iter().flatten().min()
    }

    /// Decides what to ask the peer for, and gives the next datagram to send.
    pub(super) fn poll_transmit(
        &mut self,
        now: Timestamp,
        arena: &mut Arena,
        publication: &Publication,
    ) -> Option<Transmit> {
        self.ask(now, publication);
        let requests = std::mem::take(&mut self.requests);
        if let Some(report) = self.stream.poll_report(requests, now, arena) {
            self.pli_sent += u64::from(requests.pli);
            self.fir_sent += u64::from(requests.fir.is_some());
            return Some(report);
        }
        self.poll_playback(now, arena).or_else(|| self.poll_keep_alive(now, arena))
    }

    /// What the callee sees.
    pub(super) fn playback(&mut self) -> &mut PicturePlayback {
        &mut self.playback
    }

    /// A target needs an IDR picture to begin with.
    pub(super) fn request_keyframe(&mut self, now: Timestamp) {
        self.keyframes.request(now);
        self.poll_keyframes(now);
    }

    /// `true` once, when PLI and FIR bring nothing.
    pub(super) fn take_keyframe_overdue(&mut self) -> bool {
        std::mem::take(&mut self.is_keyframe_overdue)
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

    pub(super) fn access_units_dropped(&self) -> u64 {
        self.depacketizer.dropped() + self.unpublishable
    }

    pub(super) const fn reordered_pictures(&self) -> u64 {
        self.reordered_pictures
    }

    /// Pictures that the callee was shown, and those it was not shown.
    pub(super) const fn played_pictures(&self) -> (u64, u64) {
        self.playback.counts()
    }

    pub(super) const fn pli_sent(&self) -> u64 {
        self.pli_sent
    }

    pub(super) const fn fir_sent(&self) -> u64 {
        self.fir_sent
    }

    /// What was asked of the sender, and what it said to it.
    pub(super) const fn bit_rate_request(&self) -> &BitRateRequest {
        &self.bit_rate
    }

    pub(super) fn skew_ms(&self) -> Option<i32> {
        self.timeline.as_ref()?.skew_ms()
    }

    /// Takes the parameter sets that a session description gives for `payload_type`, when they are news: those
    /// in band are newer than a description that was seen before.
    fn take_described(&mut self, payload_type: u8) {
        let Some(format) = self.formats.iter().find(|format| format.payload_type == payload_type) else {
            return;
        };
        if format.parameter_sets != self.described {
            self.described = format.parameter_sets.clone();
            self.is_track_stale |= self.parameter_sets.collect_all(&self.described);
        }
    }

    /// Lets video meet audio by a new pair of sender reports.
    fn join(&mut self, audio: &AudioPath) {
        let (Some(video_clock), Some(audio_clock)) = (self.stream.sender_clock(), audio.sender_clock())
        else {
            return;
        };
        if self.joined == Some((video_clock, audio_clock)) {
            return;
        }
        if let (Some(timeline), Some(at)) = (&mut self.timeline, audio.presentation(audio_clock.timestamp)) {
            timeline.join(video_clock, audio_clock, Some(at));
            self.joined = Some((video_clock, audio_clock));
        }
    }

    /// Publishes the access units that the last packet completed.
    fn publish(&mut self, now: Timestamp, ws: &mut Workspace, publication: &mut Publication) {
        let Workspace { units, arena, body, .. } = ws;
        // Set when a unit cannot be published although it is whole: what follows refers to it.
        let mut is_broken = false;
        for unit in units.iter() {
            self.collect_parameter_sets(unit);
            if unit.verdict == Verdict::Drop {
                continue;
            }
            if is_broken && !unit.is_idr() {
                self.unpublishable += 1;
                continue;
            }
            is_broken = self.publish_unit(unit, now, arena, body, publication).is_err();
            self.unpublishable += u64::from(is_broken);
            body.clear();
        }
        units.clear();
        if is_broken {
            self.depacketizer.wait_for_idr();
        }
    }

    fn publish_unit(
        &mut self,
        unit: &AccessUnit,
        now: Timestamp,
        arena: &mut Arena,
        body: &mut Vec<Segment>,
        publication: &mut Publication,
    ) -> Result<(), Unpublishable> {
        if self.is_track_stale || publication.picture().is_none() {
            publication.set_video(Some(self.track().ok_or(Unpublishable::NoParameterSets)?), now);
            self.is_track_stale = false;
        }
        let timeline = self.timeline.as_mut().ok_or(Unpublishable::NoParameterSets)?;
        write_body(unit, arena, body).map_err(|Exhausted| Unpublishable::Exhausted)?;
        let is_idr = unit.is_idr();
        let kind = if is_idr { MessageKind::IdrPicture } else { MessageKind::Picture };
        if std::mem::take(&mut self.is_restarting) {
            timeline.restart(unit.arrival);
            self.joined = None;
            self.latest = None;
        }
        // RFC 6184 §5.1: RTP time is that of display, packets come in decoding order.
        self.reordered_pictures += u64::from(self.latest.is_some_and(|latest| unit.timestamp < latest));
        self.latest = self.latest.max(Some(unit.timestamp));
        // RTMP's 32 bits wrap after 49 days; truncation is wanted.
        let timestamp_ms = timeline.place(unit.timestamp, unit.arrival) as u32;
        publication.push_picture(&Message { kind, timestamp_ms, body, arrival: unit.arrival }, now);
        if is_idr {
            self.keyframes.handle_idr_picture(now);
            self.requests = Requests { pli: false, fir: None, ..self.requests };
        }
        Ok(())
    }

    fn collect_parameter_sets(&mut self, unit: &AccessUnit) {
        for nal_unit in unit.nal_units() {
            if !nal_unit.header.unit_type().is_parameter_set() {
                continue;
            }
            let result = match unit.slices(nal_unit) {
                [whole] if !nal_unit.is_header_apart => self.parameter_sets.collect(whole),
                // In fragments only from senders that ignore the MTU, or fragment everything.
                fragments => {
                    let mut gathered = [0; PARAMETER_SET_LEN_MAX];
                    match gather(nal_unit, fragments, &mut gathered) {
                        Some(whole) => self.parameter_sets.collect(whole),
                        None => {
                            self.stream.count_malformed();
                            continue;
                        }
                    }
                }
            };
            match result {
                Ok(is_changed) => self.is_track_stale |= is_changed,
                Err(_) => self.stream.count_malformed(),
            }
        }
    }

    fn track(&self) -> Option<VideoTrack> {
        let sps: Vec<&[u8]> = self.parameter_sets.sps().map(|set| &set[..]).collect();
        let pps: Vec<&[u8]> = self.parameter_sets.pps().map(|set| &set[..]).collect();
        let record = flv::video::avc_decoder_configuration_record(&sps, &pps).ok()?;
        Some(VideoTrack { config: record.into(), picture: self.parameter_sets.picture()? })
    }

    /// Decides whether an IDR picture is wanted, and what is to be sent for it.
    fn ask(&mut self, now: Timestamp, publication: &Publication) {
        if !self.is_heard(now) {
            return;
        }
        let interval = publication.targets.keyframe_interval_within(self.keyframe_interval_max);
        self.keyframes.set_interval_max(interval);
        if let Some(ssrc) = self.stream.ssrc() {
            self.bit_rate.handle_source(ssrc, now);
        }
        if let Some(bound_bps) = self.stream.take_bit_rate_notified() {
            self.bit_rate.handle_notification(bound_bps);
        }
        self.requests.bit_rate_bps = self.bit_rate.poll(now).or(self.requests.bit_rate_bps);
        if self.depacketizer.is_waiting_for_idr() || publication.wants_keyframe() {
            self.keyframes.request(now);
        }
        self.poll_keyframes(now);
    }

    fn poll_keyframes(&mut self, now: Timestamp) {
        if !self.is_heard(now) {
            return;
        }
        while let Some(action) = self.keyframes.poll(now) {
            match action {
                KeyframeAction::Send { pli, fir } => {
                    self.requests.pli |= pli;
                    self.requests.fir = fir.or(self.requests.fir);
                }
                KeyframeAction::Overdue => self.is_keyframe_overdue = true,
            }
        }
    }

    /// Whether there is a sender to ask: not on hold, and packets come.
    fn is_heard(&self, now: Timestamp) -> bool {
        let is_alive = self.stream.last_arrival().is_some_and(|last| now < last + SILENCE_MAX);
        self.stream.is_receiving() && is_alive
    }

    fn abandon_at(&self) -> Option<Timestamp> {
        let last = self.stream.last_arrival().filter(|_| self.depacketizer.is_open())?;
        Some(last + OPEN_MAX)
    }

    /// The next packet of what the callee sees.
    fn poll_playback(&mut self, now: Timestamp, arena: &mut Arena) -> Option<Transmit> {
        if !self.playback.is_playing() {
            return None;
        }
        let mut packet = [0; RtpSender::HEADER_LEN + PAYLOAD_LEN_MAX];
        let (head, payload) = packet.split_first_chunk_mut()?;
        let to = self.stream.rtp_destination();
        let taken = self.taken.as_deref().filter(|_| to.is_some());
        let due = self.playback.poll(taken, now, payload.first_chunk_mut()?)?;
        let sender = self.stream.sender_mut();
        *head = sender.header(due.payload_type, due.is_last, sender.timestamp(due.at));
        self.stream.transmit_rtp(to?, &packet[..RtpSender::HEADER_LEN + due.len], now, arena)
    }

    /// An RTP packet without payload: what hardphones send, and nothing that a decoder could mistake.
    fn poll_keep_alive(&mut self, now: Timestamp, arena: &mut Arena) -> Option<Transmit> {
        let to = self.stream.poll_keep_alive(now)?;
        let payload_type = self.formats.first()?.payload_type;
        let sender = self.stream.sender_mut();
        let timestamp = sender.timestamp(now);
        let header = sender.header(payload_type, false, timestamp);
        self.stream.transmit_rtp(to, &header, now, arena)
    }
}

/// A NAL unit that came in fragments, header byte in front; `None` when it is longer than `out`.
fn gather<'a>(nal_unit: &NalUnit, fragments: &[Segment], out: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut len = usize::from(nal_unit.is_header_apart);
    *out.first_mut()? = nal_unit.header.0;
    for fragment in fragments {
        out.get_mut(len..len + fragment.len())?.copy_from_slice(fragment);
        len += fragment.len();
    }
    out.get(..len)
}

/// Writes the FLV tag body of `unit`: header and lengths into the arena, payload as the slices it came in.
fn write_body(unit: &AccessUnit, arena: &mut Arena, body: &mut Vec<Segment>) -> Result<(), Exhausted> {
    let flv_header = flv::video::nal_units_header(unit.is_idr(), 0);
    let mut in_front = &flv_header[..];
    for nal_unit in unit.nal_units() {
        let mut header = [0; flv::video::HEADER_LEN + LENGTH_FIELD_LEN + 1];
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            header[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        put(std::mem::take(&mut in_front));
        put(&nal_unit.len.to_be_bytes());
        if nal_unit.is_header_apart {
            put(&[nal_unit.header.0]);
        }
        body.push(arena.write(&header[..len])?);
        body.extend_from_slice(unit.slices(nal_unit));
    }
    Ok(())
}

/// RFC 3550 §5.1: a payload type has seven bits.
const fn bit(payload_type: u8) -> u128 {
    1 << (payload_type & 0x7f)
}

/// RFC 6184 §8.1.
const CLOCK_RATE_HZ: u32 = 90_000;
/// A sender that says nothing for so long is not asked for pictures: there would be no end to it.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long an access unit waits for its rest.
const OPEN_MAX: Duration = Duration::from_secs(2);
/// Draws other numbers than the audio stream does.
const VIDEO_SEED: u64 = 0x5649_4445_4f5f_5254;
