//! What a player needs before media: `onMetaData` and the sequence headers, the latest of each.
//! Takes: header messages. Gives: those a player lacks, which tracks there are.

use bytes::Bytes;
use sipcast_media::rtmp::MediaKind;
use sipcast_media::rtmp::amf0::{self, Value};

/// The latest header of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers {
    metadata: Option<Bytes>,
    video: Option<Bytes>,
    audio: Option<Bytes>,
    tracks: Tracks,
}

/// Tracks that a stream has or has announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracks {
    pub(crate) audio: bool,
    pub(crate) video: bool,
}

impl Headers {
    /// Takes a header; anything of a track shows that the track is there.
    pub(crate) fn set(&mut self, kind: MediaKind, body: &Bytes) {
        match kind {
            MediaKind::Metadata => {
                let announced = announced(body);
                self.tracks.audio |= announced.audio;
                self.tracks.video |= announced.video;
            }
            MediaKind::Audio => self.tracks.audio = true,
            MediaKind::Video => self.tracks.video = true,
        }
        *self.slot(kind) = Some(body.clone());
    }

    /// Notes that a track without sequence header (MP3, H.263) is there.
    pub(crate) fn note(&mut self, kind: MediaKind) {
        match kind {
            MediaKind::Audio => self.tracks.audio = true,
            MediaKind::Video => self.tracks.video = true,
            MediaKind::Metadata => {}
        }
    }

    pub(crate) fn tracks(&self) -> Tracks {
        self.tracks
    }

    /// Headers that `sent` has not, in the order in which they are to be sent.
    pub(crate) fn missing<'a>(&'a self, sent: &'a Self) -> impl Iterator<Item = (MediaKind, &'a Bytes)> {
        [
            (MediaKind::Metadata, &self.metadata, &sent.metadata),
            (MediaKind::Video, &self.video, &sent.video),
            (MediaKind::Audio, &self.audio, &sent.audio),
        ]
        .into_iter()
        .filter(|(_, ours, theirs)| ours != theirs)
        .filter_map(|(kind, ours, _)| Some((kind, ours.as_ref()?)))
    }

    fn slot(&mut self, kind: MediaKind) -> &mut Option<Bytes> {
        match kind {
            MediaKind::Metadata => &mut self.metadata,
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        }
    }
}

/// Tracks that `onMetaData` names. Publishers without a track leave its codec out.
fn announced(metadata: &[u8]) -> Tracks {
    let Ok(values) = amf0::decode_all(metadata) else { return Tracks::default() };
    let names = |name| values.iter().filter_map(|value: &Value| value.get(name)).next().is_some();
    Tracks { audio: names("audiocodecid"), video: names("videocodecid") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_announces_tracks_and_headers_come_once() {
        let mut metadata = Vec::new();
        amf0::write_string(&mut metadata, "onMetaData");
        amf0::begin_ecma_array(&mut metadata, 1);
        amf0::write_number_member(&mut metadata, "videocodecid", 7.0);
        amf0::end_object(&mut metadata);
        let mut headers = Headers::default();
        headers.set(MediaKind::Metadata, &metadata.into());
        assert_eq!(headers.tracks(), Tracks { audio: false, video: true });
        headers.set(MediaKind::Audio, &Bytes::from_static(&[0xaf, 0]));
        assert_eq!(headers.tracks(), Tracks { audio: true, video: true });
        let kinds = |sent: &Headers| headers.missing(sent).map(|(kind, _)| kind).collect::<Vec<_>>();
        assert_eq!(kinds(&Headers::default()), [MediaKind::Metadata, MediaKind::Audio]);
        assert_eq!(kinds(&headers.clone()), []);
        let mut older = headers.clone();
        older.set(MediaKind::Audio, &Bytes::from_static(&[0xaf, 0, 1]));
        assert_eq!(kinds(&older), [MediaKind::Audio]);
    }
}
