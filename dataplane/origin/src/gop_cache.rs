//! The messages since the last IDR picture, so that one who joins has a picture at once.
//! Takes: every message but headers. Gives: what to send first. Bounded in bytes and media time.

use sipcast_media::rtmp::MediaKind;

use crate::message::{Message, Role};
use crate::options::Limits;

/// Empty, or a list that begins with an IDR picture.
#[derive(Debug, Default)]
pub(crate) struct GopCache {
    messages: Vec<Message>,
    bytes: usize,
}

impl GopCache {
    pub(crate) fn push(&mut self, message: &Message, limits: &Limits) {
        if message.role == Role::IdrPicture {
            self.clear();
        } else if self.messages.is_empty() {
            return;
        }
        let begin_ms = self.messages.first().map_or(message.timestamp_ms, |first| first.timestamp_ms);
        // Audio may lie a little before the picture: then the difference is negative, and no reason to stop.
        let kept_ms = message.timestamp_ms.wrapping_sub(begin_ms).cast_signed();
        let full = self.bytes + message.body.len() > limits.gop_bytes_max
            || (message.kind == MediaKind::Video && i64::from(kept_ms) > i64::from(limits.gop_ms_max));
        if full || self.messages.len() >= MESSAGES_MAX {
            self.clear();
            return;
        }
        self.bytes += message.body.len();
        self.messages.push(message.clone());
    }

    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }
}

/// Messages kept at most: tiny ones must not add up to more than their bytes.
const MESSAGES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn picture(idr: bool, timestamp_ms: u32, len: usize) -> Message {
        let mut body = vec![0; len];
        body[..2].copy_from_slice(&[if idr { 0x17 } else { 0x27 }, 1]);
        Message::new(MediaKind::Video, timestamp_ms, Bytes::from(body))
    }

    #[test]
    fn it_begins_with_an_idr_picture_and_is_bounded() {
        let limits = Limits { gop_bytes_max: 1_000, gop_ms_max: 500, ..Limits::default() };
        let mut cache = GopCache::default();
        cache.push(&picture(false, 0, 10), &limits);
        assert!(cache.messages().is_empty());
        cache.push(&picture(true, u32::MAX - 10, 10), &limits);
        cache.push(&picture(false, 30, 10), &limits);
        assert_eq!(cache.messages().len(), 2);
        cache.push(&picture(true, 60, 10), &limits);
        assert_eq!(cache.messages().len(), 1);
        cache.push(&picture(false, 90, 990), &limits);
        assert_eq!(cache.messages().len(), 2, "just fits");
        cache.push(&picture(false, 120, 2), &limits);
        assert!(cache.messages().is_empty());
        cache.push(&picture(true, 200, 10), &limits);
        cache.push(&picture(false, 700, 10), &limits);
        assert_eq!(cache.messages().len(), 2);
        cache.push(&picture(false, 701, 10), &limits);
        assert!(cache.messages().is_empty());
    }
}
