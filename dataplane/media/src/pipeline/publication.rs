//! What goes out: tracks, the start of publishing, messages to all targets.
//! Takes: messages, changes of the tracks. Gives: them to the targets in an order that keeps `onMetaData`
//! true. Leaves out: where pictures and sound come from (`video`, `audio`), RTMP (`rtmp`).

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sipcast_contract::options::AacOptions;
use sipcast_contract::picture::{Picture, PictureSender};
use sipcast_contract::sound::{LINES_OUT_MAX, LineId};
use sipcast_contract::{RtmpTarget, TargetAudio, TargetId, Timestamp};
use sipcast_pool::Segment;

use super::departure::Departure;
use super::published::Published;
use super::targets::{Sound, TargetRefused, Targets};
use crate::flv::audio::SoundFormat;
use crate::h264::PictureFormat;
use crate::message::{Message, MessageKind};
use crate::rtmp::{Target, Tracks};

/// One broadcast's way out.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) targets: Targets,
    tracks: Rc<Tracks>,
    /// The same with the call's own sound, while FLV has a format for that.
    source_tracks: Option<Rc<Tracks>>,
    start: Start,
    video: Option<VideoTrack>,
    audio: Option<AudioTrack>,
    source: Option<SoundFormat>,
    pub(super) access_units: u64,
    pub(super) idr_pictures: u64,
    pub(super) aac_frames: u64,
    pub(super) published: Published,
    pub(super) departure: Departure,
    media_started: Announcement,
    picture_size: Announcement,
    /// To other broadcasts; usually none.
    pictures: Vec<(LineId, PictureSender)>,
}

/// A picture's configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct VideoTrack {
    /// AVCDecoderConfigurationRecord.
    pub(super) config: Bytes,
    pub(super) picture: PictureFormat,
}

/// The sound's configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AudioTrack {
    /// AudioSpecificConfig.
    pub(super) config: Bytes,
    pub(super) options: AacOptions,
}

/// Whether messages go out yet.
///
/// | state   | first media      | first IDR picture | time is over |
/// |---------|------------------|-------------------|--------------|
/// | Idle    | Held, or Started without video | - | - |
/// | Held    | -                | Started           | Started      |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// No media was agreed on.
    Idle,
    /// Sound waits until the picture's size is known, so that `onMetaData` is true from the start.
    Held { until: Timestamp },
    /// Messages go out.
    Started,
}

/// Something that is told once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Announcement {
    #[default]
    Silent,
    Due,
    Told,
}

impl Publication {
    /// `sound_wait`: as [`MediaOptions::sound_wait`](sipcast_contract::MediaOptions).
    pub(super) fn new(sound_wait: Duration) -> Self {
        Self {
            targets: Targets::default(),
            tracks: Rc::new(tracks(None, None)),
            start: Start::Idle,
            video: None,
            audio: None,
            source: None,
            source_tracks: None,
            access_units: 0,
            idr_pictures: 0,
            aac_frames: 0,
            published: Published::default(),
            departure: Departure::new(sound_wait),
            media_started: Announcement::Silent,
            picture_size: Announcement::Silent,
            pictures: Vec::new(),
        }
    }

    /// Sends pictures to another broadcast, too, in place of the line that has this name.
    pub(super) fn add_pictures(&mut self, id: LineId, sender: PictureSender) {
        self.remove_pictures(id);
        if self.pictures.len() < LINES_OUT_MAX {
            self.pictures.push((id, sender));
        }
    }

    /// Whether a target or another broadcast can do nothing with pictures until an IDR picture comes.
    pub(super) fn wants_keyframe(&self) -> bool {
        // Each wish is taken, none is passed over for the one before it.
        let is_wished =
            self.pictures.iter().fold(false, |wished, (_, sender)| sender.takes_idr_wish() | wished);
        is_wished || self.targets.wants_keyframe()
    }

    /// Ends that.
    pub(super) fn remove_pictures(&mut self, id: LineId) {
        self.pictures.retain(|(held, sender)| *held != id && !sender.is_abandoned());
    }

    /// Media was agreed on: begins to publish, at once when no video is to come.
    pub(super) fn begin(&mut self, has_video: bool, now: Timestamp) {
        match self.start {
            Start::Idle | Start::Held { .. } if !has_video => self.open(now),
            Start::Idle => self.start = Start::Held { until: now + PICTURE_WAIT },
            Start::Held { .. } | Start::Started => {}
        }
    }

    pub(super) fn add_target(
        &mut self,
        id: TargetId,
        spec: RtmpTarget,
        seed: u64,
        now: Timestamp,
    ) -> Result<(), TargetRefused> {
        let mut target = Target::new(spec, seed, now);
        if self.start == Start::Started {
            let source = self.source_tracks.as_ref().filter(|_| target.audio() == TargetAudio::Source);
            target.set_tracks(source.unwrap_or(&self.tracks), now);
        }
        self.targets.add(id, target)
    }

    /// Sets or ends the picture's configuration.
    pub(super) fn set_video(&mut self, video: Option<VideoTrack>, now: Timestamp) {
        if self.video == video {
            return;
        }
        let size = |track: &Option<VideoTrack>| track.as_ref().map(|t| (t.picture.width, t.picture.height));
        if video.is_some() && size(&self.video) != size(&video) {
            self.picture_size = Announcement::Due;
        }
        self.published.set_video(video.as_ref());
        self.video = video;
        self.update_tracks(now);
    }

    /// Sets or ends the sound's configuration.
    pub(super) fn set_audio(&mut self, audio: Option<AudioTrack>, now: Timestamp) {
        if self.audio != audio {
            self.published.set_audio(audio.as_ref());
            self.audio = audio;
            self.update_tracks(now);
        }
    }

    /// Sets or ends the format in which the call's own sound goes out.
    pub(super) fn set_source(&mut self, source: Option<SoundFormat>, now: Timestamp) {
        if self.source != source {
            self.source = source;
            self.published.set_source(source.map_or(0, |format| source_rates(format).0));
            self.update_tracks(now);
        }
    }

    /// Whether there are targets and all of them take the call's own sound.
    pub(super) fn is_source_all(&self) -> bool {
        self.targets.is_wanted(Sound::Source) && !self.targets.is_wanted(Sound::Aac)
    }

    /// Takes one packet's sound as the call sent it.
    pub(super) fn push_source(&mut self, message: &Message<'_>, silence: &[Segment]) {
        if self.start == Start::Started {
            self.published.push_source(message);
            self.targets.push_sound(Sound::Source, message, silence);
            self.departure.push_sound(message.arrival);
            self.note_started(true);
        }
    }

    pub(super) fn push_picture(&mut self, message: &Message<'_>, now: Timestamp) {
        if self.start != Start::Started {
            self.open(now);
        }
        self.access_units += 1;
        self.idr_pictures += u64::from(message.kind == MessageKind::IdrPicture);
        self.published.push_picture(message);
        if !self.pictures.is_empty() {
            self.copy_picture(message);
        }
        self.targets.push_picture(message);
        self.departure.push_picture(message.arrival);
        self.note_started(true);
    }

    /// `silence` takes the place of the body for muted targets. `is_real`: sound came from the peer.
    pub(super) fn push_sound(&mut self, message: &Message<'_>, silence: &[Segment], is_real: bool) {
        if self.start == Start::Started {
            self.aac_frames += 1;
            self.published.push_sound(message);
            self.targets.push_sound(Sound::Aac, message, silence);
            self.departure.push_sound(message.arrival);
            self.note_started(is_real);
        }
    }

    /// Whether sound would go out; else it need not be wrapped.
    pub(super) fn is_started(&self) -> bool {
        self.start == Start::Started
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        if let Start::Held { until } = self.start
            && until <= now
        {
            self.open(now);
        }
        self.targets.handle_timeout(now);
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        let held_until = match self.start {
            Start::Held { until } => Some(until),
            Start::Idle | Start::Started => None,
        };
        [held_until, self.departure.next_timeout(), self.targets.next_timeout()].into_iter().flatten().min()
    }

    /// `true` once, when the first picture or sound of the peer was published to some target.
    pub(super) fn take_media_started(&mut self) -> bool {
        self.media_started.take()
    }

    /// The picture's size once after each change, in pixels.
    pub(super) fn take_picture_size(&mut self) -> Option<(u16, u16)> {
        let picture = self.picture()?;
        self.picture_size.take().then_some((picture.width, picture.height))
    }

    pub(super) fn picture(&self) -> Option<PictureFormat> {
        self.video.as_ref().map(|track| track.picture)
    }

    fn copy_picture(&mut self, message: &Message<'_>) {
        let Some(track) = &self.video else { return };
        let is_idr = message.kind == MessageKind::IdrPicture;
        for (_, sender) in self.pictures.iter_mut().filter(|(_, sender)| sender.wants(is_idr)) {
            let mut body: Vec<u8> =
                Vec::with_capacity(message.body.iter().map(|segment| segment.len()).sum());
            for segment in message.body {
                let at = body.len();
                body.resize(at + segment.len(), 0);
                segment.copy_to_slice(&mut body[at..]);
            }
            let (config, timestamp_ms) = (track.config.clone(), message.timestamp_ms);
            sender.push(Picture { is_idr, timestamp_ms, config, body: body.into() });
        }
        self.pictures.retain(|(_, sender)| !sender.is_abandoned());
    }

    fn open(&mut self, now: Timestamp) {
        self.start = Start::Started;
        self.update_tracks(now);
    }

    fn update_tracks(&mut self, now: Timestamp) {
        if self.start == Start::Started {
            self.tracks = Rc::new(tracks(self.video.as_ref(), self.audio.as_ref()));
            self.source_tracks = self.source.map(|format| Rc::new(source_tracks(&self.tracks, format)));
            self.targets.set_tracks(&self.tracks, self.source_tracks.as_ref(), now);
            self.departure.push();
        }
    }

    fn note_started(&mut self, is_real: bool) {
        if is_real && self.media_started == Announcement::Silent && self.targets.is_any_publishing() {
            self.media_started = Announcement::Due;
        }
    }
}

impl Announcement {
    fn take(&mut self) -> bool {
        let is_due = *self == Self::Due;
        if is_due {
            *self = Self::Told;
        }
        is_due
    }
}

fn tracks(video: Option<&VideoTrack>, audio: Option<&AudioTrack>) -> Tracks {
    Tracks {
        avc_config: video.map(|track| track.config.clone()),
        audio_config: audio.map(|track| track.config.clone()),
        audio_format: SoundFormat::Aac,
        width: video.map_or(0, |track| track.picture.width),
        height: video.map_or(0, |track| track.picture.height),
        frame_rate: video.and_then(|track| track.picture.frame_rate).unwrap_or(0.0),
        audio_sample_rate_hz: audio.map_or(0, |track| track.options.sample_rate_hz),
        audio_channels: audio.map_or(0, |track| track.options.channels),
        audio_bit_rate_bps: audio.map_or(0, |track| track.options.bit_rate_bps),
        has_video: video.is_some(),
        has_audio: audio.is_some(),
    }
}

/// Sampling rate and nominal bit rate of the call's own sound.
const fn source_rates(format: SoundFormat) -> (u32, u32) {
    match format {
        // RFC 5574 §2: wideband takes 4 to 44 kbit/s; 27.8 are those of quality 8, the usual one.
        SoundFormat::Speex => (16_000, 27_800),
        SoundFormat::ALaw | SoundFormat::MuLaw | SoundFormat::Aac => (8_000, 64_000),
    }
}

/// The same picture with the call's own sound.
fn source_tracks(tracks: &Tracks, format: SoundFormat) -> Tracks {
    let (audio_sample_rate_hz, audio_bit_rate_bps) = source_rates(format);
    Tracks {
        audio_config: None,
        audio_format: format,
        audio_sample_rate_hz,
        audio_channels: 1,
        audio_bit_rate_bps,
        has_audio: true,
        ..tracks.clone()
    }
}

/// How long sound waits for the first IDR picture. Longer, and players give up on the stream.
const PICTURE_WAIT: Duration = Duration::from_secs(2);
