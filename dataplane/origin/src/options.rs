//! Settings of an origin, each bound with what happens when it is reached.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What an origin listens on and how much it holds.
#[derive(Clone, Debug)]
pub struct OriginOptions {
    /// Where RTMP is listened for; port 0 takes a free one.
    pub rtmp_bind: SocketAddr,
    /// Whether streams can be played.
    pub keep: Keep,
    /// How long players wait for a publisher whose connection broke. One that unpublished ends them at once.
    pub publisher_grace: Duration,
    /// A client must have asked to publish or play after this long; also the longest silence of a publisher, and
    /// the longest time one write to a client may take.
    pub client_timeout: Duration,
    /// A player that took nothing for this long is disconnected.
    pub stall_timeout: Duration,
    /// Bounds.
    pub limits: Limits,
}

/// What is done with a publisher's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The pictures since the last IDR picture are kept, and players are served.
    Playable,
    /// Messages are counted and dropped; there are no players. For load tests.
    CountOnly,
}

/// Bounds of an origin.
#[derive(Clone, Debug)]
pub struct Limits {
    /// RTMP connections; a further one is closed at once.
    pub connections_max: usize,
    /// Publishers; a further one gets `NetStream.Publish.BadName`.
    pub publishers_max: usize,
    /// Players of all kinds; a further one gets `NetStream.Play.Failed` or 503.
    pub players_max: usize,
    /// Bytes kept of one stream for those who join. A longer group of pictures is not kept; who joins then waits
    /// for the next IDR picture.
    pub gop_bytes_max: usize,
    /// Media time kept of one stream, in ms; same consequence. Bounds how late a joining player can be.
    pub gop_ms_max: u32,
    /// Bytes waiting for one player. Beyond it they are dropped and it continues at the next IDR picture.
    pub player_queue_bytes_max: usize,
    /// Media time waiting for one player, in ms; same consequence.
    pub player_queue_ms_max: u32,
}

impl Default for OriginOptions {
    fn default() -> Self {
        Self {
            rtmp_bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 1935)),
            keep: Keep::Playable,
            publisher_grace: Duration::from_secs(10),
            client_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            publishers_max: 2_048,
            players_max: 2_048,
            gop_bytes_max: 4 << 20,
            gop_ms_max: 6_000,
            player_queue_bytes_max: 8 << 20,
            player_queue_ms_max: 9_000,
        }
    }
}
