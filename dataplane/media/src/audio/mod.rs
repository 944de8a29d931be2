//! Audio: RTP payloads of the call in, AAC frames on one gapless timeline out.
//! Takes: payloads of all codecs with RTP time and arrival, losses, time. Gives: AAC frames with their position in samples.
//! Leaves out: RTP reordering (`rtp`), FLV tags (`flv`), which targets are muted (`pipeline`).

mod clip;
mod decoder;
mod format;
mod frame_encoder;
mod lines_out;
mod mixer;
mod payload_encoder;
mod pcm_queue;
mod position;
mod silence;
mod transcoder;

pub use clip::encode_clip;
pub use lines_out::LinesOut;
pub use mixer::Mixer;
pub(crate) use mixer::{EXCESS, LEAD};
pub use payload_encoder::{PAYLOAD_MAX, PayloadEncoder};
pub use silence::{SILENT_PAYLOAD_MAX, silent_payload};
pub use transcoder::{AacFrame, Placed, Transcoder, TranscoderError};
