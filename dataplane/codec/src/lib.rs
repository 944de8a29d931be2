//! Audio codecs behind a safe face.
//! Takes: encoded telephone audio, PCM. Gives: PCM, resampled PCM, AAC-LC frames.
//! Leaves out: RTP, timelines and what fills a gap (`sipcast-media`, `audio`).
//!
//! PCM is linear 16 bit, one `i16` a sample. Nothing here allocates once it is constructed.

pub mod aac;
#[cfg(feature = "fdk-aac")]
pub mod aac_decoder;
pub mod comfort_noise;
#[cfg(feature = "fdk-aac-encoder")]
mod fdk;
pub mod g711;
pub mod g722;
pub mod opus;
#[cfg(feature = "fdk-aac-encoder")]
mod resampled;
pub mod resampler;
#[cfg(test)]
mod signal;
pub mod speex;
pub mod substitution;

pub use aac::{AacConfig, AacEncoder, EncodeError, OpenError};
pub use resampler::Resampler;

/// A payload that its format does not allow, or for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed audio payload")]
pub struct Malformed;
