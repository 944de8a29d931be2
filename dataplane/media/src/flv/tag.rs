//! FLV file header and tags (Annex E.2 to E.4): for HTTP-FLV and files; RTMP needs only the bodies.
//!
//! ```text
//! file header (9) | PreviousTagSize0 (4) | tag header (11) | body | PreviousTagSize (4) | tag header ...
//! ```

/// Kind of a tag; its value is also the RTMP message type ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagType {
    /// Audio.
    Audio = 8,
    /// Video.
    Video = 9,
    /// Script data: AMF0, as `onMetaData`.
    Script = 18,
}

/// File header with PreviousTagSize0 (E.2).
pub const fn file_header(has_audio: bool, has_video: bool) -> [u8; 13] {
    let flags = (has_audio as u8) << 2 | has_video as u8;
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// Header of a tag whose body has `body_len` bytes, below 2^24 (E.4.1). The timestamp in ms goes in 24 bits and an
/// upper byte; the stream ID is 0.
pub const fn tag_header(kind: TagType, timestamp_ms: u32, body_len: u32) -> [u8; 11] {
    let [_, l0, l1, l2] = body_len.to_be_bytes();
    let [t3, t0, t1, t2] = timestamp_ms.to_be_bytes();
    [kind as u8, l0, l1, l2, t0, t1, t2, t3, 0, 0, 0]
}

/// PreviousTagSize behind a tag whose body has `body_len` bytes (E.3).
pub const fn previous_tag_size(body_len: u32) -> [u8; 4] {
    (body_len + 11).to_be_bytes()
}

/// Appends a whole tag.
pub fn write_tag(out: &mut Vec<u8>, kind: TagType, timestamp_ms: u32, body: &[u8]) {
    let len = body.len() as u32;
    out.reserve(body.len() + 15);
    out.extend_from_slice(&tag_header(kind, timestamp_ms, len));
    out.extend_from_slice(body);
    out.extend_from_slice(&previous_tag_size(len));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header_and_tag() {
        assert_eq!(file_header(true, true), *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        assert_eq!(file_header(false, true)[4], 1);
        let mut out = Vec::new();
        write_tag(&mut out, TagType::Video, 0x0123_4567, b"ab");
        assert_eq!(out, [9, 0, 0, 2, 0x23, 0x45, 0x67, 0x01, 0, 0, 0, b'a', b'b', 0, 0, 0, 13]);
    }
}
