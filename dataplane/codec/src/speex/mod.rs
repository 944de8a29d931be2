//! Speex (RFC 5574, the Speex manual) in narrowband, wideband and ultra-wideband, by the vendored libspeex.
//! Takes: RTP payloads (frames one after the other, then padding), gaps. Gives: PCM at 8, 16 or 32 kHz.
//! Leaves out: which gap is a loss and which is silence (`sipcast-media`, `audio`).
//!
//! libspeex allocates a state when it is made and nothing afterwards; its scratch memory is on the stack.

mod decoder;
mod encoder;
mod payload;
mod sys;

pub use decoder::SpeexDecoder;
pub use encoder::{SpeexEncoder, SpeexEncoderConfig};
pub use payload::{FRAMES_MAX, frames};

/// How much of the sound a stream holds (RFC 5574 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpeexBand {
    /// 8 kHz.
    Narrow,
    /// 16 kHz.
    Wide,
    /// 32 kHz.
    UltraWide,
}

impl SpeexBand {
    /// Sampling rate in Hz, also that of the RTP clock (RFC 5574 §3.1).
    pub const fn sample_rate_hz(self) -> u32 {
        match self {
            Self::Narrow => 8_000,
            Self::Wide => 16_000,
            Self::UltraWide => 32_000,
        }
    }

    /// Samples of one frame: 20 ms (RFC 5574 §2).
    pub const fn frame_samples(self) -> usize {
        self.sample_rate_hz() as usize / 50
    }

    /// The library's constant for this band.
    fn mode(self) -> *const sys::Mode {
        let mode = match self {
            Self::Narrow => 0,
            Self::Wide => 1,
            Self::UltraWide => 2,
        };
        // SAFETY: no pointers; 0 to 2 are the modes that the library has, and they are constants.
        unsafe { sys::speex_lib_get_mode(mode) }
    }
}
