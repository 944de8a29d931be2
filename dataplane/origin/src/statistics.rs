//! Counters of an origin as a load harness and the status line read them. Counters only rise; gauges say so.

use crate::StreamName;

/// The whole origin.
#[derive(Clone, Debug, Default)]
pub struct OriginStatistics {
    /// Gauge: RTMP connections.
    pub connections: usize,
    /// RTMP connections closed for a broken protocol.
    pub faults: u64,
    /// RTMP connections closed because there were too many.
    pub connections_refused: u64,
    /// Publishers refused: name taken or too many.
    pub publishers_refused: u64,
    /// Gauge: publishers.
    pub publishers: usize,
    /// Gauge: players of all kinds.
    pub players: usize,
    /// Messages of all streams that have ended.
    pub ended_messages: u64,
    /// Body bytes of all streams that have ended.
    pub ended_bytes: u64,
    /// Streams that are live or wait for their publisher, in no order.
    pub streams: Vec<StreamStatistics>,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct StreamStatistics {
    /// Its name.
    pub name: StreamName,
    /// Gauge: whether a publisher is connected.
    pub live: bool,
    /// Publishers so far; above 1 they have reconnected.
    pub publishers: u64,
    /// Gauge: players.
    pub players: usize,
    /// Messages with media: pictures and audio frames, no headers.
    pub messages: u64,
    /// Body bytes of all messages.
    pub bytes: u64,
    /// Pictures.
    pub pictures: u64,
    /// IDR pictures among them.
    pub idr_pictures: u64,
    /// Audio frames.
    pub audio_frames: u64,
    /// Metadata and sequence headers.
    pub headers: u64,
    /// Messages whose timestamp lies before that of the one before it of the same kind.
    pub timestamps_back: u64,
    /// Gauge: timestamp of the latest picture in ms.
    pub video_timestamp_ms: Option<u32>,
    /// Gauge: timestamp of the latest audio frame in ms.
    pub audio_timestamp_ms: Option<u32>,
    /// Messages that slow players lost.
    pub dropped: u64,
    /// Players disconnected because they took nothing.
    pub stalled: u64,
}

impl StreamStatistics {
    pub(crate) fn new(name: StreamName) -> Self {
        Self {
            name,
            live: true,
            publishers: 0,
            players: 0,
            messages: 0,
            bytes: 0,
            pictures: 0,
            idr_pictures: 0,
            audio_frames: 0,
            headers: 0,
            timestamps_back: 0,
            video_timestamp_ms: None,
            audio_timestamp_ms: None,
            dropped: 0,
            stalled: 0,
        }
    }
}

impl OriginStatistics {
    /// Messages ever taken.
    pub fn messages(&self) -> u64 {
        self.ended_messages + self.streams.iter().map(|stream| stream.messages).sum::<u64>()
    }

    /// Body bytes ever taken.
    pub fn bytes(&self) -> u64 {
        self.ended_bytes + self.streams.iter().map(|stream| stream.bytes).sum::<u64>()
    }
}
