//! Protocol control messages (Adobe RTMP 1.0 §5.4) and user control messages (§6.2, §7.1.7).
//! All travel on chunk stream 2, message stream 0.

use super::chunker::{Chunker, MessageHeader};
use super::message_type;

/// A control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Largest chunk the sender will send, in bytes.
    SetChunkSize(u32),
    /// Give up the message begun on this chunk stream.
    Abort(u32),
    /// Bytes received so far; wraps at 2^32.
    Acknowledgement(u32),
    /// Acknowledge after this many bytes.
    WindowAcknowledgementSize(u32),
    /// Limit of what may be sent without acknowledgement; limit type 0 hard, 1 soft, 2 dynamic.
    SetPeerBandwidth(u32, u8),
    /// Stream Begin: message stream ID.
    StreamBegin(u32),
    /// Stream EOF: message stream ID.
    StreamEof(u32),
    /// Set Buffer Length: message stream ID and ms.
    SetBufferLength(u32, u32),
    /// Ping Request: the server's time in ms.
    PingRequest(u32),
    /// Ping Response: the time of the request.
    PingResponse(u32),
    /// Another user control event; its payload is of no use here.
    OtherEvent(u16),
}

/// A control message that is too short, or whose value cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too short or out of range")]
pub struct BadControl;

impl Control {
    /// Reads a message of type 1 to 6; `None` for any other type.
    ///
    /// # Errors
    /// [`BadControl`]. A payload that is too long is taken: servers pad.
    pub fn decode(type_id: u8, payload: &[u8]) -> Result<Option<Self>, BadControl> {
        let u32_at = |at: usize| {
            let bytes = payload.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(BadControl)?;
            Ok(u32::from_be_bytes(*bytes))
        };
        Ok(Some(match type_id {
            // §5.4.1: 1 at least, the most significant bit is zero.
            message_type::SET_CHUNK_SIZE => match u32_at(0)? {
                0 | 0x8000_0000.. => return Err(BadControl),
                size => Self::SetChunkSize(size),
            },
            message_type::ABORT => Self::Abort(u32_at(0)?),
            message_type::ACKNOWLEDGEMENT => Self::Acknowledgement(u32_at(0)?),
            message_type::WINDOW_ACKNOWLEDGEMENT_SIZE => Self::WindowAcknowledgementSize(u32_at(0)?),
            message_type::SET_PEER_BANDWIDTH => {
                // Some servers leave the limit type out.
                Self::SetPeerBandwidth(u32_at(0)?, payload.get(4).copied().unwrap_or(LIMIT_DYNAMIC))
            }
            message_type::USER_CONTROL => {
                let event = payload.first_chunk::<2>().ok_or(BadControl)?;
                match u16::from_be_bytes(*event) {
                    0 => Self::StreamBegin(u32_at(2)?),
                    1 => Self::StreamEof(u32_at(2)?),
                    3 => Self::SetBufferLength(u32_at(2)?, u32_at(6)?),
                    6 => Self::PingRequest(u32_at(2)?),
                    7 => Self::PingResponse(u32_at(2)?),
                    other => Self::OtherEvent(other),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Appends the message in chunks.
    pub fn write(&self, chunker: &mut Chunker, out: &mut Vec<u8>) {
        let mut payload = [0; 10];
        let (type_id, len) = self.encode(&mut payload);
        let header =
            MessageHeader { chunk_stream: CHUNK_STREAM, timestamp_ms: 0, type_id, message_stream: 0 };
        chunker.write(&header, &payload[..len], out);
    }

    /// Writes the payload; gives type ID and length.
    fn encode(&self, out: &mut [u8; 10]) -> (u8, usize) {
        let mut plain = |type_id, value: u32| {
            out[..4].copy_from_slice(&value.to_be_bytes());
            (type_id, 4)
        };
        match *self {
            Self::SetChunkSize(size) => plain(message_type::SET_CHUNK_SIZE, size),
            Self::Abort(chunk_stream) => plain(message_type::ABORT, chunk_stream),
            Self::Acknowledgement(bytes) => plain(message_type::ACKNOWLEDGEMENT, bytes),
            Self::WindowAcknowledgementSize(size) => plain(message_type::WINDOW_ACKNOWLEDGEMENT_SIZE, size),
            Self::SetPeerBandwidth(size, limit) => {
                out[..4].copy_from_slice(&size.to_be_bytes());
                out[4] = limit;
                (message_type::SET_PEER_BANDWIDTH, 5)
            }
            Self::StreamBegin(stream) => event(out, 0, stream),
            Self::StreamEof(stream) => event(out, 1, stream),
            Self::SetBufferLength(stream, ms) => {
                out[6..].copy_from_slice(&ms.to_be_bytes());
                (event(out, 3, stream).0, 10)
            }
            Self::PingRequest(time) => event(out, 6, time),
            Self::PingResponse(time) => event(out, 7, time),
            Self::OtherEvent(code) => event(out, code, 0),
        }
    }
}

fn event(out: &mut [u8; 10], code: u16, value: u32) -> (u8, usize) {
    out[..2].copy_from_slice(&code.to_be_bytes());
    out[2..6].copy_from_slice(&value.to_be_bytes());
    (message_type::USER_CONTROL, 6)
}

/// Limit type "dynamic" of Set Peer Bandwidth.
pub const LIMIT_DYNAMIC: u8 = 2;

/// §5.4: control messages travel on chunk stream 2.
pub const CHUNK_STREAM: u8 = 2;

/// Counts received bytes and says when to acknowledge them (§5.4.3).
#[derive(Clone, Copy, Debug)]
pub struct AcknowledgementWindow {
    window: u32,
    received: u32,
    acknowledged: u32,
}

impl AcknowledgementWindow {
    /// Until the peer says otherwise: what SRS and others announce.
    pub const DEFAULT: u32 = 2_500_000;

    /// Nothing received.
    pub const fn new() -> Self {
        Self { window: Self::DEFAULT, received: 0, acknowledged: 0 }
    }

    /// The peer's Window Acknowledgement Size.
    pub fn set_window(&mut self, window: u32) {
        self.window = window.max(1);
    }

    /// Counts `bytes`; gives the acknowledgement when half a window is open, so that a peer which stops at a
    /// whole one never has to.
    pub fn received(&mut self, bytes: usize) -> Option<Control> {
        // The count wraps at 2^32 by design.
        self.received = self.received.wrapping_add(bytes as u32);
        if self.received.wrapping_sub(self.acknowledged) < self.window.div_ceil(2) {
            return None;
        }
        self.acknowledged = self.received;
        Some(Control::Acknowledgement(self.received))
    }
}

impl Default for AcknowledgementWindow {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Control; 11] = [
        Control::SetChunkSize(60_000),
        Control::Abort(5),
        Control::Acknowledgement(u32::MAX),
        Control::WindowAcknowledgementSize(2_500_000),
        Control::SetPeerBandwidth(5_000_000, 1),
        Control::StreamBegin(1),
        Control::StreamEof(1),
        Control::SetBufferLength(1, 3000),
        Control::PingRequest(77),
        Control::PingResponse(78),
        Control::OtherEvent(31),
    ];

    #[test]
    fn each_survives_a_round_trip_and_a_cut_is_an_error() {
        for control in ALL {
            let mut payload = [0; 10];
            let (type_id, len) = control.encode(&mut payload);
            assert_eq!(Control::decode(type_id, &payload[..len]), Ok(Some(control)));
            let needed = match control {
                Control::SetPeerBandwidth(..) => 4,
                Control::OtherEvent(_) => 2,
                _ => len,
            };
            for cut in 0..needed {
                assert_eq!(Control::decode(type_id, &payload[..cut]), Err(BadControl), "{control:?} {cut}");
            }
        }
        assert_eq!(Control::decode(message_type::VIDEO, &[]), Ok(None));
    }

    #[test]
    fn a_ping_on_the_wire() {
        let mut out = Vec::new();
        Control::PingRequest(0x0102_0304).write(&mut Chunker::new(), &mut out);
        assert_eq!(out, [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4]);
    }

    #[test]
    fn chunk_sizes_at_the_edges() {
        for (size, valid) in [(0u32, false), (1, true), (0x7fff_ffff, true), (0x8000_0000, false)] {
            let decoded = Control::decode(message_type::SET_CHUNK_SIZE, &size.to_be_bytes());
            assert_eq!(decoded.is_ok(), valid, "{size}");
        }
    }

    #[test]
    fn acknowledgements_come_at_half_a_window_and_wrap() {
        let mut window = AcknowledgementWindow::new();
        window.set_window(1000);
        assert_eq!(window.received(499), None);
        assert_eq!(window.received(1), Some(Control::Acknowledgement(500)));
        window.received = u32::MAX - 10;
        window.acknowledged = window.received;
        assert_eq!(window.received(511), Some(Control::Acknowledgement(500)));
    }
}
