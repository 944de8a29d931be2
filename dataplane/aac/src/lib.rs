//! AAC-LC (ISO/IEC 14496-3) made for telephone sound: an encoder that never computes what is known to be zero.
//! Takes: blocks of PCM as calls have them, 8 to 48 kHz. Gives: raw data blocks (no ADTS) at the rate that is published.
//! Leaves out: timestamps, and what fills a gap.
//!
//! | step | module |
//! | --- | --- |
//! | from the source's rate to a quarter, a half or all of the output's | `source`, `interpolator`, `rates` |
//! | long or short windows | `block_switching` |
//! | window and transform, of as few lines as hold sound | `window`, `mdct`, `fft` |
//! | where noise may lie, how many bits that takes, which gain meets them | `allocation`, `rate_control` |
//! | values, code books, sections | `quantizer`, `channel`, `codebook` |
//! | bits | `syntax`, `bit_writer` |
#![forbid(unsafe_code)]

mod allocation;
mod bands;
mod bit_writer;
mod block_switching;
mod channel;
mod codebook;
#[cfg(test)]
mod decoded;
mod encoder;
mod fft;
mod frame;
mod interpolator;
mod layout;
mod log2;
mod mdct;
mod mid_side;
mod quantizer;
mod rate_control;
mod rates;
#[cfg(test)]
mod signal;
mod source;
mod spectrum;
mod syntax;
mod vectors;
mod window;

pub use encoder::{Config, EncodeError, Encoder, Unsupported};
pub use rates::{OUTPUT_RATES_HZ, SOURCE_RATES_HZ};
pub use source::BLOCKS_PER_SECOND;

/// Samples a channel of one frame (ISO/IEC 14496-3 §4.5.1.1).
pub const FRAME_SAMPLES: usize = mdct::LINES_MAX;

/// PCM that is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Hz, one of [`SOURCE_RATES_HZ`].
    pub rate_hz: u32,
    /// 1 or 2, interleaved.
    pub channels: usize,
}

impl Format {
    /// Samples a channel of one block, 20 ms.
    pub const fn block_samples(self) -> usize {
        (self.rate_hz / BLOCKS_PER_SECOND) as usize
    }
}
