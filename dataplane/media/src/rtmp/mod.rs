//! RTMP (Adobe RTMP 1.0): the wire in both directions, a publisher for targets, a server session.
//!
//! Wire: [`handshake`], [`chunker`], [`dechunker`], [`amf0`], [`command`], [`control`]. Session: [`ServerSession`].

pub mod amf0;
pub mod chunker;
pub mod command;
pub mod control;
pub mod dechunker;
pub mod fault;
pub mod handshake;
pub mod message_type;
pub mod random;
pub mod server;

pub use chunker::{ChunkList, Chunker, MessageHeader};
pub use dechunker::{Dechunker, ReceivedMessage};
pub use fault::Fault;
pub use server::{MediaKind, ServerEvent, ServerSession};
