//! Sources that are no call: a mixer of other broadcasts' sound, and a stream that an RTMP server plays.
//! Takes: lines, messages of the server, time. Gives: messages to the publication, sound over lines.
//! Leaves out: RTP, which such a broadcast has none of.

use std::time::Duration;

use bytes::Bytes;
use sipcast_codec::aac::FRAME_SAMPLES;
use sipcast_codec::aac_decoder::AacDecoder;
use sipcast_contract::media::VideoFeedback;
use sipcast_contract::options::AacOptions;
use sipcast_contract::picture::PictureReceiver;
use sipcast_contract::report::TargetFault;
use sipcast_contract::{RtmpTarget, TargetId, TargetState, Timestamp};
use sipcast_pool::{Arena, Segment};

use super::Workspace;
use super::audio::publish_frame;
use super::publication::{AudioTrack, Publication, VideoTrack};
use crate::audio::{LEAD, LinesOut, Mixer, Transcoder};
use crate::flv;
use crate::h264::ParameterSets;
use crate::message::{Message, MessageKind};
use crate::rtmp::target::PlayedMessage;
use crate::rtmp::{Target, TargetAction};
use crate::rtp::{KeyframeAction, KeyframeRequest};

/// Where the media of a broadcast without call comes from.
#[derive(Debug)]
pub(super) enum Studio {
    Mixer { mixer: Box<Mixer>, options: AacOptions, start: Timestamp, shown: Option<Box<Shown>> },
    Pull(Box<Pull>),
}

impl Studio {
    pub(super) fn mixer(options: &AacOptions, now: Timestamp, publication: &mut Publication) -> Option<Self> {
        // Options that name no AAC stream were refused with the configuration.
        let mixer = Mixer::new(options, now).ok()?;
        let config = Bytes::copy_from_slice(mixer.audio_specific_config());
        publication.set_audio(Some(AudioTrack { config, options: *options }), now);
        publication.begin(false, now);
        Some(Self::Mixer { mixer: Box::new(mixer), options: *options, start: now, shown: None })
    }

    /// Mixes what is due, publishes what came.
    pub(super) fn serve(
        &mut self,
        now: Timestamp,
        ws: &mut Workspace,
        lines: &mut LinesOut,
        publication: &mut Publication,
    ) {
        match self {
            Self::Mixer { mixer, options, start, shown } => {
                if let Some(shown) = shown {
                    shown.serve(*start, now, ws, publication);
                }
                while mixer.handle_timeout(now) {
                    while let Some(frame) = mixer.poll_frame(&mut ws.arena, now) {
                        let silence = mixer.silent_frame();
                        publish_frame(frame, options.sample_rate_hz, silence, true, ws, publication);
                    }
                }
            }
            Self::Pull(pull) => pull.serve(now, ws, lines, publication),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Mixer { mixer, .. } => Some(mixer.next_timeout()),
            Self::Pull(pull) => pull.next_timeout(),
        }
    }
}

/// The pictures of a mixer: those of one input, as they are.
#[derive(Debug)]
pub(super) struct Shown {
    receiver: PictureReceiver,
    config: Bytes,
    /// Added to the input's time; found by the first picture's arrival.
    offset_ms: Option<u32>,
    /// Spreads what the mixer's targets want of the input.
    keyframes: KeyframeRequest,
    /// Wish for an IDR picture when none came for this long, whatever the targets demand; zero: never.
    keyframe_interval_max: Duration,
}

impl Shown {
    pub(super) fn new(receiver: PictureReceiver, keyframe_interval_max: Duration, now: Timestamp) -> Self {
        let keyframes = KeyframeRequest::new(VideoFeedback::default(), keyframe_interval_max, now);
        Self { receiver, config: Bytes::new(), offset_ms: None, keyframes, keyframe_interval_max }
    }

    /// A target of the mixer needs an IDR picture to go on.
    pub(super) fn request_keyframe(&mut self, now: Timestamp) {
        self.keyframes.request(now);
    }

    /// Passes the wish for an IDR picture on to the input, where its callee is asked.
    fn ask(&mut self, now: Timestamp, publication: &Publication) {
        let interval = publication.targets.keyframe_interval_within(self.keyframe_interval_max);
        self.keyframes.set_interval_max(interval);
        if publication.wants_keyframe() {
            self.keyframes.request(now);
        }
        while let Some(action) = self.keyframes.poll(now) {
            // `Overdue` is the input's own to tell.
            if let KeyframeAction::Send { .. } = action {
                self.receiver.wish_idr();
            }
        }
    }

    fn serve(&mut self, start: Timestamp, now: Timestamp, ws: &mut Workspace, publication: &mut Publication) {
        while let Some(picture) = self.receiver.pull() {
            if self.config != picture.config {
                let Some(track) = video_track(&picture.config) else { continue };
                publication.set_video(Some(track), now);
                self.config = picture.config;
            }
            let offset_ms = *self.offset_ms.get_or_insert_with(|| {
                // The input's sound is held back for as long.
                let at = (now - start).as_millis() as u32 + LEAD as u32 * 20;
                at.wrapping_sub(picture.timestamp_ms)
            });
            if picture.is_idr {
                self.keyframes.handle_idr_picture(now);
            }
            let kind = if picture.is_idr { MessageKind::IdrPicture } else { MessageKind::Picture };
            let timestamp_ms = picture.timestamp_ms.wrapping_add(offset_ms);
            // An exhausted pool drops the picture; decoders recover with the next IDR picture.
            if write_all(&picture.body, &mut ws.arena, &mut ws.body) {
                publication.push_picture(&Message { kind, timestamp_ms, body: &ws.body, arrival: now }, now);
            }
            ws.body.clear();
        }
        self.ask(now, publication);
    }
}

/// A stream that comes from an RTMP server. Its messages go out as they came.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) id: TargetId,
    pub(super) source: Target,
    /// When the last message came, or the connection stood.
    heard: Option<Timestamp>,
    /// Added to the server's time, so that ours goes on over a reconnection.
    offset_ms: Option<u32>,
    latest_ms: u32,
    audio: Option<AudioTrack>,
    silence: Box<[u8]>,
    /// Made when the sound goes over a line first.
    decoder: Option<AacDecoder>,
    pcm: Vec<i16>,
    was_publishing: bool,
}

impl Pull {
    pub(super) fn new(id: TargetId, spec: RtmpTarget, seed: u64, now: Timestamp) -> Self {
        Self {
            id,
            source: Target::new(spec, seed, now),
            heard: None,
            offset_ms: None,
            latest_ms: 0,
            audio: None,
            silence: Box::default(),
            decoder: None,
            pcm: Vec::new(),
            was_publishing: false,
        }
    }

    /// The next action of the connection. A server that plays but sends nothing is given up.
    pub(super) fn poll_action(&mut self) -> Option<TargetAction> {
        loop {
            match self.source.poll_action()? {
                TargetAction::RequestKeyframe => {}
                action => return Some(action),
            }
        }
    }

    fn serve(
        &mut self,
        now: Timestamp,
        ws: &mut Workspace,
        lines: &mut LinesOut,
        publication: &mut Publication,
    ) {
        if self.source.next_timeout().is_some_and(|at| at <= now) {
            self.source.handle_timeout(now);
        }
        let is_publishing = self.source.state() == TargetState::Publishing;
        if is_publishing != self.was_publishing {
            self.was_publishing = is_publishing;
            self.heard = is_publishing.then_some(now);
            self.offset_ms = None;
        }
        while let Some(message) = self.source.take_played() {
            self.heard = Some(now);
            self.take(&message, now, ws, lines, publication);
        }
        if self.heard.is_some_and(|heard| heard + STALL_MAX <= now) && is_publishing {
            self.source.give_up(TargetFault::TimedOut, now);
        }
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        [self.source.next_timeout(), self.heard.map(|heard| heard + STALL_MAX)].into_iter().flatten().min()
    }

    fn take(
        &mut self,
        message: &PlayedMessage,
        now: Timestamp,
        ws: &mut Workspace,
        lines: &mut LinesOut,
        publication: &mut Publication,
    ) {
        let body = &message.payload;
        if message.is_video {
            // FLV 10.1 §E.4.3.1: only AVC is known here.
            if body.first().is_none_or(|first| first & 0x0f != 7) {
                return;
            }
            if flv::video::is_sequence_header(body) {
                if let Some(track) = video_track(body.get(VIDEO_HEADER_LEN..).unwrap_or_default()) {
                    publication.set_video(Some(track), now);
                }
                return;
            }
            if publication.picture().is_none() || body.get(1) != Some(&1) {
                return;
            }
            let is_idr = flv::video::is_key_frame(body);
            let kind = if is_idr { MessageKind::IdrPicture } else { MessageKind::Picture };
            let timestamp_ms = self.time(message.timestamp_ms);
            if write_all(body, &mut ws.arena, &mut ws.body) {
                publication.push_picture(&Message { kind, timestamp_ms, body: &ws.body, arrival: now }, now);
            }
            ws.body.clear();
            return;
        }
        if flv::audio::is_sequence_header(body) {
            self.configure(body.get(AUDIO_HEADER_LEN..).unwrap_or_default(), now, publication);
        } else if matches!(body.first(), Some(format) if format >> 4 == 10) && self.audio.is_some() {
            let timestamp_ms = self.time(message.timestamp_ms);
            let frame = body.get(AUDIO_HEADER_LEN..).unwrap_or_default();
            if publication.is_started() && write_all(body, &mut ws.arena, &mut ws.body) {
                let mut silence: [Option<Segment>; 2] = [None, None];
                if publication.targets.is_any_muted(super::targets::Sound::Aac) && !self.silence.is_empty() {
                    silence =
                        [ws.arena.write(&flv::audio::RAW_HEADER).ok(), ws.arena.write(&self.silence).ok()];
                }
                let silence = match silence {
                    [Some(header), Some(frame)] => vec![header, frame],
                    _ => Vec::new(),
                };
                let kind = MessageKind::Audio;
                let message = Message { kind, timestamp_ms, body: &ws.body, arrival: now };
                publication.push_sound(&message, &silence, true);
                if publication.targets.has_clips() {
                    let mut body = Vec::new();
                    publication.targets.push_clips(&message, &mut ws.arena, &mut body);
                }
            }
            ws.body.clear();
            if !lines.is_empty() {
                self.decode(frame, lines);
            }
        }
    }

    fn configure(&mut self, config: &[u8], now: Timestamp, publication: &mut Publication) {
        let Some((sample_rate_hz, channels)) = flv::audio::parse_audio_specific_config(config) else {
            return;
        };
        let options = AacOptions { sample_rate_hz, channels: channels.min(2), ..AacOptions::default() };
        let track = AudioTrack { config: Bytes::copy_from_slice(config), options };
        if self.audio.as_ref() != Some(&track) {
            self.silence = Transcoder::new(&options, now)
                .map(|transcoder| transcoder.silent_frame().into())
                .unwrap_or_default();
            self.decoder = None;
            publication.set_audio(Some(track.clone()), now);
            publication.begin(publication.picture().is_some(), now);
            self.audio = Some(track);
        }
    }

    /// The server's time on our timeline.
    fn time(&mut self, server_ms: u32) -> u32 {
        let latest = self.latest_ms;
        let offset = *self.offset_ms.get_or_insert_with(|| {
            // Two AAC frames after what was last: no two messages have one time, and none goes back.
            if latest == 0 { 0_u32.wrapping_sub(server_ms) } else { (latest + 42).wrapping_sub(server_ms) }
        });
        let ms = server_ms.wrapping_add(offset);
        if (ms.wrapping_sub(self.latest_ms) as i32) > 0 {
            self.latest_ms = ms;
        }
        ms
    }

    fn decode(&mut self, frame: &[u8], lines: &mut LinesOut) {
        let Some(track) = &self.audio else { return };
        let channels = usize::from(track.options.channels);
        let rate_hz = track.options.sample_rate_hz;
        if self.decoder.is_none() {
            self.decoder = AacDecoder::open(&track.config).ok();
        }
        let Some(decoder) = &mut self.decoder else { return };
        let mut out = [0; 2 * FRAME_SAMPLES * 2];
        // A damaged frame is left out: the line's reader conceals it as a late one.
        let Ok(len) = decoder.decode(frame, &mut out) else { return };
        self.pcm.extend_from_slice(&out[..len]);
        let block = rate_hz as usize / 50 * channels;
        let whole = self.pcm.len() / block.max(1) * block;
        for block in self.pcm[..whole].chunks_exact(block.max(1)) {
            lines.push_block(rate_hz, channels, block);
        }
        self.pcm.drain(..whole);
    }
}

/// Reads an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1).
fn video_track(record: &[u8]) -> Option<VideoTrack> {
    let mut sets = ParameterSets::default();
    for set in flv::video::parameter_sets(record) {
        // A broken set is left out; without a whole SPS there is no picture.
        let _ = sets.collect(&record[set]);
    }
    Some(VideoTrack { config: Bytes::copy_from_slice(record), picture: sets.picture()? })
}

/// Writes bytes of any length over as many slots as they need. `false`: the pool is exhausted.
fn write_all(bytes: &[u8], arena: &mut Arena, out: &mut Vec<Segment>) -> bool {
    bytes.chunks(SEGMENT_LEN).all(|chunk| arena.write(chunk).map(|segment| out.push(segment)).is_ok())
}

/// Bytes that are written to a slot at once; below its length.
const SEGMENT_LEN: usize = 1024;
/// A server that plays and sends nothing for so long is connected to anew.
const STALL_MAX: Duration = Duration::from_secs(15);
/// FLV VideoTagHeader of AVC (FLV 10.1 §E.4.3.1).
const VIDEO_HEADER_LEN: usize = 5;
/// FLV AudioTagHeader of AAC (§E.4.2.1).
const AUDIO_HEADER_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::{RtmpUrl, Secret};
    use sipcast_pool::Pool;

    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8];

    fn pull() -> Pull {
        let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
        let spec = RtmpTarget::new(url, Secret::new("talk".to_owned()), Vec::new());
        Pull::new(TargetId(1), RtmpTarget { plays: true, ..spec }, 1, Timestamp::ZERO)
    }

    fn played(is_video: bool, timestamp_ms: u32, payload: &[u8]) -> PlayedMessage {
        PlayedMessage { timestamp_ms, is_video, payload: Bytes::copy_from_slice(payload) }
    }

    #[test]
    fn time_goes_on_over_a_reconnection_and_the_wrap_of_the_server() {
        let mut pull = pull();
        assert_eq!([u32::MAX - 9, u32::MAX, 30].map(|at| pull.time(at)), [0, 9, 40]);
        pull.offset_ms = None;
        assert_eq!([7_000, 7_023].map(|at| pull.time(at)), [82, 105]);
        // Sound and picture are interleaved: a little back is no restart.
        assert_eq!(pull.time(7_010), 92);
    }

    #[test]
    fn any_bodies_are_survived_and_sound_goes_over_lines() {
        let mut pull = pull();
        let pool = Pool::new(256, 2048);
        let mut ws = Workspace::new(pool.clone());
        let (mut lines, mut publication) = (LinesOut::default(), Publication::new(Duration::ZERO));
        let (sender, receiver) = sipcast_contract::sound::line();
        assert!(lines.add(sipcast_contract::sound::LineId(1), sender));
        let mut bodies: Vec<(bool, Vec<u8>)> = vec![
            (false, vec![]),
            (true, vec![]),
            (false, vec![0xaf]),
            (false, vec![0xaf, 0]),
            (false, vec![0xaf, 0, 0x12]),
            (true, vec![0x17, 0, 0, 0, 0]),
            (true, vec![0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]),
            (true, vec![0x90, b'h', b'v', b'c', b'1']),
            (false, vec![0x2f, 1, 2]),
        ];
        let record = flv::video::avc_decoder_configuration_record(&[SPS], &[&[0x68, 0xce, 0x3c, 0x80]]);
        if let Ok(record) = record {
            for len in 0..record.len() {
                bodies.push((true, [&[0x17, 0, 0, 0, 0], &record[..len]].concat()));
            }
        }
        let mut encoder =
            Transcoder::new(&AacOptions::default(), Timestamp::ZERO).expect("the default options encode");
        bodies.push((false, [&[0xaf, 0], encoder.audio_specific_config()].concat()));
        encoder.handle_timeout(Timestamp::from_millis(1_000));
        while let Some(frame) = encoder.poll_frame(&mut ws.arena) {
            bodies.push((false, [&[0xaf, 1], &frame.data[..]].concat()));
        }
        for (n, (is_video, body)) in bodies.iter().enumerate() {
            let message = played(*is_video, n as u32 * 20, body);
            pull.take(&message, Timestamp::from_millis(n as u64), &mut ws, &mut lines, &mut publication);
        }
        assert!(publication.is_started() && receiver.waiting() > 24_000 / 4, "{receiver:?}");
        drop((encoder, publication, bodies));
        ws.close();
        assert_eq!(pool.held(), 0);
    }
}
