//! Audio: RTP payloads of the call in, AAC frames on one gapless timeline out.
//! Takes: G.711 payloads with RTP time and arrival, time. Gives: AAC frames with their position in samples.
//! Leaves out: RTP reordering (`rtp`), FLV tags (`flv`), which targets are muted (`pipeline`).

mod frame_encoder;
mod pcm_queue;
mod position;
mod transcoder;

pub use transcoder::{AacFrame, Transcoder, TranscoderError};
