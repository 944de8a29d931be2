//! What a play connection hears: messages of the server, bounded until the pipeline takes them (Adobe RTMP 1.0 §7.2.2.1).
//! Takes: whole messages of any type. Gives: audio and video bodies in order.
//! Leaves out: the connection itself (`publisher`), which shakes hands for both directions alike.

use std::collections::VecDeque;

use bytes::Bytes;

use super::dechunker::ReceivedMessage;
use super::message_type;

/// One FLV tag body that the server plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayedMessage {
    /// The server's time in ms; wraps at 2^32.
    pub timestamp_ms: u32,
    /// Picture, else sound.
    pub is_video: bool,
    /// The body.
    pub payload: Bytes,
}

/// Messages that wait for the pipeline, which takes them in the turn they come in.
#[derive(Debug, Default)]
pub(super) struct Played {
    messages: VecDeque<PlayedMessage>,
    bytes: usize,
}

impl Played {
    /// Keeps audio and video. `false`: too much waits.
    pub(super) fn take(&mut self, message: &ReceivedMessage) -> bool {
        let is_video = match message.type_id {
            message_type::AUDIO => false,
            message_type::VIDEO => true,
            message_type::AGGREGATE => return self.take_aggregate(message),
            _ => return true,
        };
        self.keep(message.timestamp_ms, is_video, message.payload.clone())
    }

    pub(super) fn next(&mut self) -> Option<PlayedMessage> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// §7.1.6: FLV tags, whose times count from the first one's.
    fn take_aggregate(&mut self, message: &ReceivedMessage) -> bool {
        let mut rest = message.payload.clone();
        let mut first_ms = None;
        while rest.len() >= FLV_TAG_HEADER_LEN {
            let header = rest.split_to(FLV_TAG_HEADER_LEN);
            let len = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
            let ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
            if rest.len() < len {
                return true;
            }
            let body = rest.split_to(len);
            let _ = rest.split_to(rest.len().min(BACK_POINTER_LEN));
            let since = ms.wrapping_sub(*first_ms.get_or_insert(ms));
            let is_video = match header[0] {
                message_type::AUDIO => false,
                message_type::VIDEO => true,
                _ => continue,
            };
            if !self.keep(message.timestamp_ms.wrapping_add(since), is_video, body) {
                return false;
            }
        }
        true
    }

    fn keep(&mut self, timestamp_ms: u32, is_video: bool, payload: Bytes) -> bool {
        self.bytes += payload.len();
        self.messages.push_back(PlayedMessage { timestamp_ms, is_video, payload });
        self.bytes <= WAITING_BYTES_MAX && self.messages.len() <= WAITING_MAX
    }
}

/// FLV 10.1 §E.4.1.
const FLV_TAG_HEADER_LEN: usize = 11;
/// Before the next tag (§7.1.6).
const BACK_POINTER_LEN: usize = 4;
/// Bytes that wait at most: a picture of the largest size and what comes with it in one receive.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Messages that wait at most; a receive of 4 KiB holds fewer.
const WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(type_id: u8, payload: Vec<u8>) -> ReceivedMessage {
        ReceivedMessage { timestamp_ms: 1000, type_id, message_stream: 1, payload: payload.into() }
    }

    #[test]
    fn sound_and_pictures_come_in_order_also_out_of_aggregates() {
        let mut played = Played::default();
        assert!(played.take(&message(message_type::AUDIO, vec![0xaf, 1, 2])));
        assert!(played.take(&message(message_type::DATA_AMF0, vec![2])));
        let mut aggregate = Vec::new();
        for (kind, ms) in [(9_u8, 40_u8), (8, 63)] {
            aggregate.extend([kind, 0, 0, 2, 0, 0, ms, 0, 0, 0, 0, 0x17, 1, 0, 0, 0, 13]);
        }
        assert!(played.take(&message(message_type::AGGREGATE, aggregate.clone())));
        let times: Vec<_> = std::iter::from_fn(|| played.next())
            .map(|m| (m.timestamp_ms, m.is_video, m.payload.len()))
            .collect();
        assert_eq!(times, [(1000, false, 3), (1000, true, 2), (1023, false, 2)]);
        for len in 0..aggregate.len() {
            assert!(played.take(&message(message_type::AGGREGATE, aggregate[..len].to_vec())));
        }
    }

    #[test]
    fn what_waits_has_a_bound() {
        let mut played = Played::default();
        let large = message(message_type::VIDEO, vec![0; 1 << 20]);
        assert_eq!((0..8).take_while(|_| played.take(&large)).count(), 4);
        while played.next().is_some() {}
        assert!(played.take(&large));
    }
}
