//! One message of a publisher, with what the origin must know of it (Adobe FLV 10.1 Annex E.4).
//! Takes: an FLV tag body. Gives: its role. Leaves out: everything behind the first two bytes.

use bytes::Bytes;
use sipcast_media::rtmp::MediaKind;

/// A message as it is kept and queued; cloning shares the body.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: MediaKind,
    pub(crate) role: Role,
    /// As the publisher gave it; wraps at 2^32.
    pub(crate) timestamp_ms: u32,
    /// FLV tag body.
    pub(crate) body: Bytes,
}

/// What a message means to one who joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `onMetaData` or a sequence header: needed before anything else.
    Header,
    /// A picture at which decoding can start.
    IdrPicture,
    /// Anything else.
    Continuation,
}

impl Message {
    pub(crate) fn new(kind: MediaKind, timestamp_ms: u32, body: Bytes) -> Self {
        let role = match kind {
            MediaKind::Metadata => Role::Header,
            MediaKind::Audio => audio_role(&body),
            MediaKind::Video => video_role(&body),
        };
        Self { kind, role, timestamp_ms, body }
    }
}

fn audio_role(body: &[u8]) -> Role {
    match body {
        // E.4.2.1: SoundFormat 10 is AAC, AACPacketType 0 its sequence header.
        [format, 0, ..] if format >> 4 == 10 => Role::Header,
        // Enhanced RTMP: SoundFormat 9, AudioPacketType SequenceStart.
        [format, ..] if format >> 4 == 9 && format & 0x0f == 0 => Role::Header,
        _ => Role::Continuation,
    }
}

fn video_role(body: &[u8]) -> Role {
    let Some(&first) = body.first() else { return Role::Continuation };
    let keyframe = (first >> 4) & 7 == 1;
    let packet_type = if first & 0x80 != 0 {
        // Enhanced RTMP: the low nibble is the packet type; 3 is coded frames without composition time.
        match first & 0x0f {
            3 => 1,
            packet_type => packet_type,
        }
    } else if first & 0x0f == 7 || first & 0x0f == 12 {
        // E.4.3.1: CodecID 7 is AVC (12 is in use for HEVC), followed by AVCPacketType.
        body.get(1).copied().unwrap_or(u8::MAX)
    } else {
        1
    };
    match packet_type {
        0 => Role::Header,
        1 if keyframe => Role::IdrPicture,
        _ => Role::Continuation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_by_the_first_bytes() {
        for (kind, body, role) in [
            (MediaKind::Video, &[0x17, 0, 0, 0, 0][..], Role::Header),
            (MediaKind::Video, &[0x17, 1, 0, 0, 0], Role::IdrPicture),
            (MediaKind::Video, &[0x17, 2, 0, 0, 0], Role::Continuation),
            (MediaKind::Video, &[0x27, 1, 0, 0, 0], Role::Continuation),
            (MediaKind::Video, &[0x17], Role::Continuation),
            (MediaKind::Video, &[0x90, b'h', b'v', b'c', b'1'], Role::Header),
            (MediaKind::Video, &[0x93, b'h', b'v', b'c', b'1'], Role::IdrPicture),
            (MediaKind::Video, &[0xa1, b'h', b'v', b'c', b'1'], Role::Continuation),
            (MediaKind::Video, &[0x12, 9], Role::IdrPicture),
            (MediaKind::Video, &[], Role::Continuation),
            (MediaKind::Audio, &[0xaf, 0, 0x11, 0x88], Role::Header),
            (MediaKind::Audio, &[0xaf, 1, 0x21], Role::Continuation),
            (MediaKind::Audio, &[0x2f, 0], Role::Continuation),
            (MediaKind::Metadata, &[2, 0], Role::Header),
        ] {
            assert_eq!(Message::new(kind, 0, Bytes::copy_from_slice(body)).role, role, "{body:x?}");
        }
    }
}
