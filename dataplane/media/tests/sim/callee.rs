//! The callee: H.264 with random slices, PCMU, sender reports; honours PLI and FIR. Starts near every wrap.

use std::net::SocketAddr;
use std::time::Duration;

use sipcast_contract::{SrtpSession, Timestamp};
use sipcast_media::pipeline::Port;
use sipcast_media::rtp::rtcp::{self, RtcpPacket};
use sipcast_media::srtp::{SrtpReceiver, SrtpSender, TRAILER_LEN_MAX};

use super::{AUDIO, Random, VIDEO, address};

/// 640x360 at 30 pictures/s.
pub const SPS_640X360: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
    0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
];
/// 320x240, no VUI.
pub const SPS_320X240: &[u8] = &[0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xe4];
pub const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];

pub type NalUnits = Vec<Vec<u8>>;

pub struct Callee {
    random: Random,
    pub is_sending: bool,
    pub sends_video: bool,
    pub sends_audio: bool,
    pub sends_reports: bool,
    pub honours_requests: bool,
    pub sets_marker: bool,
    pub packetization_mode: u8,
    pub sps: &'static [u8],
    pub sends_parameter_sets: bool,
    /// Every second picture is displayed after the one that follows it.
    pub reorders_pictures: bool,
    pub video_ssrc: u32,
    pub video_from: SocketAddr,
    pub audio_from: SocketAddr,
    pub sequence_number: u16,
    pub rtp_base: u32,
    audio_sequence_number: u16,
    wants_idr: bool,
    start: Timestamp,
    next_picture: Timestamp,
    next_audio: Timestamp,
    next_report: Timestamp,
    /// All access units, as they were sent.
    pub pictures: Vec<NalUnits>,
    pub idr_interval: u64,
    /// Length of slices in bytes, random below.
    pub slice_len_max: u64,
    /// Contexts of the audio and the video description; empty: plain RTP.
    srtp: Vec<(SrtpSender, SrtpReceiver)>,
    /// Whether it answers Generic NACKs.
    pub retransmits: bool,
    /// Video RTP as it was sent, the latest last.
    history: Vec<(u16, Vec<u8>)>,
}

impl Callee {
    pub fn new(seed: u64, now: Timestamp) -> Self {
        Self {
            random: Random(seed ^ 0x4341_4c4c),
            is_sending: true,
            sends_video: true,
            sends_audio: true,
            sends_reports: true,
            honours_requests: true,
            sets_marker: true,
            packetization_mode: 1,
            sps: SPS_640X360,
            sends_parameter_sets: true,
            reorders_pictures: false,
            video_ssrc: 0x1111_2222,
            video_from: address(VIDEO),
            audio_from: address(AUDIO),
            sequence_number: 65_533,
            rtp_base: u32::MAX - 30_000,
            audio_sequence_number: 65_530,
            wants_idr: true,
            start: now,
            next_picture: now,
            next_audio: now,
            next_report: now + Duration::from_millis(700),
            pictures: Vec::new(),
            idr_interval: u64::MAX,
            slice_len_max: 5000,
            srtp: Vec::new(),
            retransmits: false,
            history: Vec::new(),
        }
    }

    /// Protects with what sipcast receives with, and the reverse; both descriptions alike.
    pub fn begin_srtp(&mut self, session: &SrtpSession) {
        let context = || {
            let sender = SrtpSender::new(session.suite, &session.receive);
            (sender, SrtpReceiver::new(session.suite, &session.send))
        };
        self.srtp = vec![context(), context()];
    }

    /// Changes the keys of both directions, indices going on.
    pub fn change_keys(&mut self, session: &SrtpSession, now: Timestamp) {
        for (sender, receiver) in &mut self.srtp {
            sender.set_keys(session.suite, &session.receive);
            receiver.set_keys(session.suite, &session.send, now);
        }
    }

    /// What goes on the wire for a datagram of ours.
    pub fn protect(&mut self, port: Port, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some((sender, _)) = self.srtp.get_mut(description(port)) {
            let len = bytes.len();
            bytes.resize(len + TRAILER_LEN_MAX, 0);
            let protected = match is_rtcp(&bytes) {
                true => sender.protect_rtcp(&mut bytes, len),
                false => sender.protect_rtp(&mut bytes, len),
            };
            bytes.truncate(protected.expect("protected"));
        }
        if port == Port::VideoRtp {
            self.history.push((u16::from_be_bytes([bytes[2], bytes[3]]), bytes.clone()));
        }
        bytes
    }

    /// What sipcast sent, in plain; it must be authentic.
    pub fn unprotect(&mut self, port: Port, mut bytes: Vec<u8>, now: Timestamp) -> Vec<u8> {
        if let Some((_, receiver)) = self.srtp.get_mut(description(port)) {
            let len = match is_rtcp(&bytes) {
                true => receiver.unprotect_rtcp(&mut bytes, now),
                false => receiver.unprotect_rtp(&mut bytes, now),
            };
            bytes.truncate(len.expect("authentic"));
        }
        bytes
    }

    /// The packets that a datagram from sipcast asks for again.
    pub fn asked_again(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for sequence_number in nacked(bytes).into_iter().filter(|_| self.retransmits) {
            let sent = self.history.iter().rev().find(|(number, _)| *number == sequence_number);
            out.extend(sent.map(|(_, bytes)| bytes.clone()));
        }
        out
    }

    pub fn keyframe_asked(&mut self) {
        self.wants_idr |= self.honours_requests;
    }

    /// Datagrams due by `now`.
    pub fn poll(&mut self, now: Timestamp) -> Vec<(Port, SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        if self.next_picture <= now {
            self.next_picture = now + Duration::from_micros(33_333);
            if self.is_sending && self.sends_video {
                let is_ahead = self.reorders_pictures && self.pictures.len() % 2 == 1;
                let rtp = self.video_time(now).wrapping_add(if is_ahead { 6_000 } else { 0 });
                let picture = self.picture();
                for bytes in self.packets(&picture, rtp) {
                    out.push((Port::VideoRtp, self.video_from, bytes));
                }
                self.pictures.push(picture);
            }
        }
        if self.next_audio <= now {
            self.next_audio = now + Duration::from_millis(20);
            if self.is_sending && self.sends_audio {
                out.push((Port::AudioRtp, self.audio_from, self.sound(now)));
            }
        }
        if self.next_report <= now {
            self.next_report = now + Duration::from_secs(1);
            if self.is_sending && self.sends_reports {
                let video = report(self.video_ssrc, now, self.video_time(now));
                let audio = report(AUDIO_SSRC, now, self.audio_time(now));
                let beside = |from: SocketAddr| SocketAddr::new(from.ip(), from.port() + 1);
                out.push((Port::VideoRtcp, beside(self.video_from), video));
                out.push((Port::AudioRtcp, beside(self.audio_from), audio));
            }
        }
        out
    }

    /// The next access unit; an IDR picture when one was asked for.
    pub fn picture(&mut self) -> NalUnits {
        let is_idr =
            self.wants_idr || self.pictures.len() as u64 % self.idr_interval == self.idr_interval - 1;
        self.wants_idr = false;
        let mut units = NalUnits::new();
        if is_idr && self.sends_parameter_sets {
            units.extend([self.sps.to_vec(), PPS.to_vec(), vec![6, 5, 1, 0x80]]);
        }
        for slice in 0..1 + self.random.below(3) {
            let room = if self.packetization_mode == 0 { 1100 } else { self.slice_len_max };
            let len = 20 + self.random.below(room) as usize;
            let mut unit = vec![if is_idr { 0x65 } else { 0x41 }, if slice == 0 { 0x88 } else { 0x48 }];
            unit.extend((self.pictures.len() as u32).to_be_bytes());
            unit.extend((0..len).map(|_| self.random.next() as u8));
            units.push(unit);
        }
        units
    }

    pub fn packets(&mut self, picture: &NalUnits, rtp: u32) -> Vec<Vec<u8>> {
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        let mut aggregate = vec![24];
        for unit in picture {
            if self.packetization_mode == 1 && unit.len() < 100 {
                aggregate.extend((unit.len() as u16).to_be_bytes());
                aggregate.extend(unit);
                continue;
            }
            if aggregate.len() > 1 {
                payloads.push(std::mem::replace(&mut aggregate, vec![24]));
            }
            // RFC 6184 §5.8: what would be one fragment is none.
            if unit.len() <= MTU + 1 {
                payloads.push(unit.clone());
                continue;
            }
            let count = unit[1..].chunks(MTU).count();
            for (index, fragment) in unit[1..].chunks(MTU).enumerate() {
                let flags = u8::from(index == 0) << 7 | u8::from(index == count - 1) << 6;
                let mut payload = vec![unit[0] & 0xe0 | 28, flags | unit[0] & 0x1f];
                payload.extend(fragment);
                payloads.push(payload);
            }
        }
        if aggregate.len() > 1 {
            payloads.push(aggregate);
        }
        let last = payloads.len() - 1;
        let packet = |(index, payload): (usize, Vec<u8>)| {
            let marker = self.sets_marker && index == last;
            self.sequence_number = self.sequence_number.wrapping_add(1);
            rtp_packet(96, marker, self.sequence_number, rtp, self.video_ssrc, &payload)
        };
        payloads.into_iter().enumerate().map(packet).collect()
    }

    fn sound(&mut self, now: Timestamp) -> Vec<u8> {
        self.audio_sequence_number = self.audio_sequence_number.wrapping_add(1);
        let payload: Vec<u8> = (0..160).map(|_| self.random.next() as u8).collect();
        rtp_packet(0, false, self.audio_sequence_number, self.audio_time(now), AUDIO_SSRC, &payload)
    }

    fn video_time(&self, now: Timestamp) -> u32 {
        self.rtp_base.wrapping_add(((now - self.start).as_micros() * 9 / 100) as u32)
    }

    fn audio_time(&self, now: Timestamp) -> u32 {
        (u32::MAX - 4000).wrapping_add(((now - self.start).as_micros() / 125) as u32)
    }
}

pub fn rtp_packet(
    payload_type: u8,
    marker: bool,
    sequence_number: u16,
    timestamp: u32,
    ssrc: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type | u8::from(marker) << 7];
    bytes.extend(sequence_number.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A sender report without blocks.
fn report(ssrc: u32, now: Timestamp, rtp: u32) -> Vec<u8> {
    let micros = now.as_micros();
    let ntp = ((3_900_000_000 + micros / 1_000_000) << 32) | (((micros % 1_000_000) << 32) / 1_000_000);
    let mut bytes = vec![0x80, 200, 0, 6];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(ntp.to_be_bytes());
    bytes.extend(rtp.to_be_bytes());
    bytes.extend([0; 8]);
    bytes
}

fn description(port: Port) -> usize {
    usize::from(matches!(port, Port::VideoRtp | Port::VideoRtcp))
}

fn is_rtcp(bytes: &[u8]) -> bool {
    (192..=223).contains(&bytes[1])
}

/// Sequence numbers of Generic NACKs.
pub fn nacked(bytes: &[u8]) -> Vec<u16> {
    if !is_rtcp(bytes) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for packet in rtcp::parse(bytes).flatten() {
        let RtcpPacket::Feedback(feedback) = packet else { continue };
        for entry in feedback.nack_entries() {
            out.push(entry.first);
            let following = (0..16).filter(|bit| entry.following & 1 << bit != 0);
            out.extend(following.map(|bit| entry.first.wrapping_add(bit + 1)));
        }
    }
    out
}

pub fn asks_for_keyframe(bytes: &[u8]) -> bool {
    (200..=207).contains(bytes.get(1).unwrap_or(&0))
        && rtcp::parse(bytes).flatten().any(|packet| match packet {
            RtcpPacket::Feedback(feedback) => {
                feedback.is_picture_loss_indication() || feedback.full_intra_requests().next().is_some()
            }
            _ => false,
        })
}

pub const AUDIO_SSRC: u32 = 0x3333_4444;
const MTU: usize = 1200;
