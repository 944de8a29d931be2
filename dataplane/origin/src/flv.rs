//! FLV file bytes (Adobe FLV 10.1 Annex E.2, E.3, E.4).
//! Takes: tag bodies. Gives: the file header, tags.

use bytes::{BufMut, BytesMut};
use sipcast_media::rtmp::MediaKind;

use crate::headers::Tracks;

/// Bytes that a tag adds to its body: tag header and PreviousTagSize.
pub(crate) const TAG_OVERHEAD: usize = 15;

/// Appends the file header and the first PreviousTagSize (E.2, E.3). Browsers wait for each track it names.
pub(crate) fn write_header(tracks: Tracks, out: &mut BytesMut) {
    let flags = u8::from(tracks.audio) << 2 | u8::from(tracks.video);
    out.put_slice(&[b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]);
}

/// Appends one tag (E.4.1). Bodies are RTMP messages, whose length fits the tag's 24 bits.
pub(crate) fn write_tag(kind: MediaKind, timestamp_ms: u32, body: &[u8], out: &mut BytesMut) {
    let tag_type = match kind {
        MediaKind::Audio => 8,
        MediaKind::Video => 9,
        MediaKind::Metadata => 18,
    };
    out.put_u8(tag_type);
    out.put_uint(body.len() as u64, 3);
    // The upper eight bits of the timestamp follow the lower 24; the stream ID is always 0.
    out.put_uint(u64::from(timestamp_ms & 0x00ff_ffff), 3);
    out.put_u8((timestamp_ms >> 24) as u8);
    out.put_uint(0, 3);
    out.put_slice(body);
    out.put_u32(body.len() as u32 + 11);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut out = BytesMut::new();
        write_header(Tracks { audio: true, video: true }, &mut out);
        assert_eq!(&out[..], b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        out.clear();
        write_tag(MediaKind::Video, 0x0102_0304, &[0x17, 1], &mut out);
        assert_eq!(&out[..], [9, 0, 0, 2, 2, 3, 4, 1, 0, 0, 0, 0x17, 1, 0, 0, 0, 13]);
        assert_eq!(out.len(), 2 + TAG_OVERHEAD);
    }
}
