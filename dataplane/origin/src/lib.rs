//! Embedded RTMP server: publishers in, RTMP, HTTP-FLV and WebSocket-FLV players out.
//! Takes: RTMP connections, HTTP requests for `/{app}/{stream}.flv`. Gives: the stream from its last IDR picture on.
//! Leaves out: the RTMP protocol itself (`sipcast_media::rtmp`), the HTTP server that the router is mounted in,
//! recording, transcoding, access control.
//!
//! One task serves one connection. A publisher's task hands each message to the queues of its players and never
//! waits for one of them; a player that is too slow loses pictures up to the next IDR picture.
#![forbid(unsafe_code)]

mod connection;
mod flv;
mod gop_cache;
mod headers;
mod http;
mod message;
mod options;
mod origin;
mod player_queue;
mod registry;
mod statistics;
mod stream;
mod stream_name;

pub use options::{Keep, Limits, OriginOptions};
pub use origin::{BindError, Origin};
pub use statistics::{OriginStatistics, StreamStatistics};
pub use stream_name::{BadStreamName, StreamName};
