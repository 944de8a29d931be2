//! `onMetaData` (Annex E.5) as a publisher sends it: wrapped in `@setDataFrame`.

use super::audio::SoundFormat;
use crate::rtmp::amf0;

/// What `onMetaData` says. Members of a kind of media that is missing are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metadata {
    /// The picture.
    pub video: Option<VideoMetadata>,
    /// The sound.
    pub audio: Option<AudioMetadata>,
}

/// H.264 picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoMetadata {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Pictures per second; 0 leaves it out.
    pub frame_rate: f64,
}

/// Sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioMetadata {
    /// How it is coded.
    pub format: SoundFormat,
    /// Hz.
    pub sample_rate_hz: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Bits per second.
    pub bit_rate_bps: u32,
}

/// Appends `@setDataFrame`, `onMetaData` and its members: those that OBS and ffmpeg send.
pub fn write_set_data_frame(out: &mut Vec<u8>, metadata: &Metadata) {
    amf0::write_string(out, "@setDataFrame");
    amf0::write_string(out, "onMetaData");
    let frame_rate = metadata.video.map(|video| video.frame_rate).filter(|rate| rate.is_normal());
    let members = 2
        + if metadata.video.is_some() { 4 } else { 0 }
        + usize::from(frame_rate.is_some())
        + if metadata.audio.is_some() { 6 } else { 0 };
    amf0::begin_ecma_array(out, members);
    amf0::write_number_member(out, "duration", 0.0);
    if let Some(video) = &metadata.video {
        amf0::write_number_member(out, "width", f64::from(video.width));
        amf0::write_number_member(out, "height", f64::from(video.height));
        amf0::write_number_member(out, "videocodecid", VIDEO_CODEC_AVC);
        // The callee's bit rate is not known beforehand; ffmpeg writes 0 for copied streams too.
        amf0::write_number_member(out, "videodatarate", 0.0);
    }
    if let Some(frame_rate) = frame_rate {
        amf0::write_number_member(out, "framerate", frame_rate);
    }
    if let Some(audio) = &metadata.audio {
        amf0::write_number_member(out, "audiocodecid", f64::from(audio.format as u8));
        amf0::write_number_member(out, "audiodatarate", f64::from(audio.bit_rate_bps) / 1000.0);
        amf0::write_number_member(out, "audiosamplerate", f64::from(audio.sample_rate_hz));
        amf0::write_number_member(out, "audiosamplesize", 16.0);
        amf0::write_number_member(out, "audiochannels", f64::from(audio.channels));
        amf0::write_name(out, "stereo");
        amf0::write_boolean(out, audio.channels == 2);
    }
    amf0::write_string_member(out, "encoder", concat!("sipcast/", env!("CARGO_PKG_VERSION")));
    amf0::end_object(out);
}

/// `videocodecid` of AVC (E.4.3.1).
const VIDEO_CODEC_AVC: f64 = 7.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::amf0::Value;

    fn members(metadata: &Metadata) -> Vec<(String, Value)> {
        let mut out = Vec::new();
        write_set_data_frame(&mut out, metadata);
        // The count of an ECMA array stands behind the two names and the marker.
        let count = u32::from_be_bytes(out[30..34].try_into().expect("4 bytes")) as usize;
        let values = amf0::decode_all(&out).expect("valid");
        assert_eq!((values[0].as_str(), values[1].as_str()), (Some("@setDataFrame"), Some("onMetaData")));
        let Value::EcmaArray(members) = &values[2] else { panic!("an ECMA array") };
        assert_eq!(members.len(), count);
        members.clone()
    }

    #[test]
    fn says_what_it_was_told() {
        let video = VideoMetadata { width: 640, height: 360, frame_rate: 30.0 };
        let audio = AudioMetadata {
            format: SoundFormat::Aac,
            sample_rate_hz: 48_000,
            channels: 1,
            bit_rate_bps: 64_000,
        };
        let all = Value::EcmaArray(members(&Metadata { video: Some(video), audio: Some(audio) }));
        let number = |name| all.get(name).and_then(Value::as_number);
        assert_eq!(
            (number("width"), number("height"), number("framerate")),
            (Some(640.0), Some(360.0), Some(30.0))
        );
        assert_eq!((number("audiocodecid"), number("audiodatarate")), (Some(10.0), Some(64.0)));
        assert_eq!(all.get("stereo"), Some(&Value::Boolean(false)));
    }

    #[test]
    fn leaves_out_what_is_missing() {
        let video = VideoMetadata { width: 640, height: 360, frame_rate: 0.0 };
        assert_eq!(members(&Metadata { video: Some(video), audio: None }).len(), 6);
        assert_eq!(members(&Metadata { video: None, audio: None }).len(), 2);
    }
}
