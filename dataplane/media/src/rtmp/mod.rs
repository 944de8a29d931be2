//! RTMP (Adobe RTMP 1.0): the wire in both directions, a publisher for targets, a server session.
//!
//! Wire: [`handshake`], [`chunker`], [`dechunker`], [`amf0`], [`command`], [`control`]. Sessions: [`Publisher`]
//! (client), [`ServerSession`]. One target with queue and reconnect: [`Target`].

pub mod amf0;
pub mod authentication;
pub mod back_off;
pub mod chunker;
pub mod command;
pub mod control;
pub mod dechunker;
pub mod fault;
pub mod handshake;
pub mod message_type;
pub mod player;
pub mod publisher;
pub mod random;
pub mod send_queue;
pub mod server;
pub mod target;

pub use chunker::{ChunkList, Chunker, MessageHeader};
pub use dechunker::{Dechunker, ReceivedMessage};
pub use fault::Fault;
pub use publisher::Publisher;
pub use server::{MediaKind, ServerEvent, ServerSession};
pub use target::{Target, TargetAction, Tracks};
