//! What ends an RTMP session: the peer broke the protocol, or asks for more than we hold.

use super::amf0::Amf0Error;
use super::control::BadControl;
use super::dechunker::DechunkError;
use super::handshake::HandshakeError;

/// Why a session cannot go on; the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The handshake is broken (§5.2).
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The chunk stream is broken (§5.3).
    #[error("chunk stream: {0}")]
    Chunk(#[from] DechunkError),
    /// A command or data message is no AMF0.
    #[error("AMF0: {0}")]
    Amf0(#[from] Amf0Error),
    /// A protocol control or user control message is too short or absurd (§5.4, §6.2).
    #[error("control message: {0}")]
    Control(#[from] BadControl),
    /// A command lacks what it must hold, or comes where it may not (§7.2).
    #[error("a command that is incomplete or comes out of order")]
    Command,
}
