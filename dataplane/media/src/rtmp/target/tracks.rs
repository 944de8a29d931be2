//! What a broadcast publishes, as far as servers and players must be told.
//! Takes: configurations of both codecs and figures. Gives: what headers say. Leaves out: when they are sent
//! (`outgoing`).

use bytes::Bytes;

use crate::flv::audio;
use crate::flv::metadata::{AudioMetadata, Metadata, VideoMetadata};

/// What a broadcast publishes: headers for servers and players.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracks {
    /// AVCDecoderConfigurationRecord; pictures are held back without it.
    pub avc_config: Option<Bytes>,
    /// AudioSpecificConfig; AAC is held back without it.
    pub audio_config: Option<Bytes>,
    /// How sound is coded.
    pub audio_format: audio::SoundFormat,
    /// Pixels, 0 when unknown.
    pub width: u16,
    /// Pixels, 0 when unknown.
    pub height: u16,
    /// Pictures per second, 0 when unknown.
    pub frame_rate: f64,
    /// Hz.
    pub audio_sample_rate_hz: u32,
    /// 1 or 2.
    pub audio_channels: u8,
    /// Bits per second.
    pub audio_bit_rate_bps: u32,
    /// Whether pictures are published; then audio waits for the first IDR picture, for a while.
    pub has_video: bool,
    /// Whether audio is published.
    pub has_audio: bool,
}

/// What a service may take for the settings of a publication: size, profile, constraints, level.
pub(super) type Picture = (u16, u16, [u8; 3]);

impl Tracks {
    pub(super) fn picture(&self) -> Option<Picture> {
        // AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1): version, then profile, compatibility, level.
        let profile = self.avc_config.as_ref()?.get(1..4)?.try_into().ok()?;
        Some((self.width, self.height, profile))
    }

    /// Formats other than AAC need no header.
    pub(super) fn can_send_audio(&self) -> bool {
        self.audio_config.is_some() || self.audio_format != audio::SoundFormat::Aac
    }

    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            video: self.has_video.then_some(VideoMetadata {
                width: self.width,
                height: self.height,
                frame_rate: self.frame_rate,
            }),
            audio: self.has_audio.then_some(AudioMetadata {
                format: self.audio_format,
                sample_rate_hz: self.audio_sample_rate_hz,
                channels: self.audio_channels,
                bit_rate_bps: self.audio_bit_rate_bps,
            }),
        }
    }
}
