//! AAC-LC encoding (ISO/IEC 14496-3) as the dataplane sees it, whichever library does it.
//! Takes: frames of 1024 samples a channel. Gives: raw data blocks (no ADTS), the AudioSpecificConfig.
//! Leaves out: timestamps; the encoder's delay is told, not taken off.

use thiserror::Error;

/// Samples a channel in one AAC-LC frame (ISO/IEC 14496-3 §4.5.1.1).
pub const FRAME_SAMPLES: usize = 1024;

/// Largest raw data block of one channel in bytes: 6144 bits (ISO/IEC 14496-3 §4.5.3.2).
pub const CHANNEL_BYTES_MAX: usize = 768;

/// Largest raw data block of two channels in bytes: what `out` of [`AacEncoder::encode`] must hold.
pub const FRAME_BYTES_MAX: usize = 2 * CHANNEL_BYTES_MAX;

/// What is to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// Sampling rate in Hz, one of ISO/IEC 14496-3 table 1.18.
    pub sample_rate_hz: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Bit rate in bits per second. Above what the standard allows at this rate it is lowered to that.
    pub bit_rate_bps: u32,
}

/// One AAC-LC encoder.
pub trait AacEncoder {
    /// Encodes [`FRAME_SAMPLES`] samples a channel, interleaved, and says how many bytes of `out` it filled.
    ///
    /// # Errors
    /// [`EncodeError`]; the encoder stays usable and the frame is lost.
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, EncodeError>;

    /// The AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) that a decoder needs.
    fn audio_specific_config(&self) -> &[u8];

    /// By how many samples what a decoder puts out lags behind what was put in: sample 0 of the input comes out
    /// `delay` samples after the first sample that the first frame decodes to.
    fn delay(&self) -> usize;
}

/// Why no encoder could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The combination of rate, channels and bit rate is not AAC-LC.
    #[error("no AAC-LC encoder for {sample_rate_hz} Hz, {channels} channel(s), {bit_rate_bps} bit/s")]
    Unsupported {
        /// Sampling rate in Hz.
        sample_rate_hz: u32,
        /// Channels.
        channels: u8,
        /// Bit rate in bits per second.
        bit_rate_bps: u32,
    },
    /// The library has no memory left.
    #[error("no memory for an AAC encoder")]
    OutOfMemory,
    /// Built without any encoder.
    #[error("built without an AAC encoder (cargo feature `fdk-aac`)")]
    NoEncoder,
}

/// Why a frame could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// `pcm` is not one frame.
    #[error("not one frame of 1024 samples a channel")]
    NotOneFrame,
    /// The library failed or `out` was too short; its code.
    #[error("AAC encoder failed with code {0:#x}")]
    Library(u32),
}

/// Opens the encoder that this build has.
///
/// # Errors
/// [`OpenError`].
pub fn open(config: &AacConfig) -> Result<Box<dyn AacEncoder>, OpenError> {
    if !(1..=2).contains(&config.channels) || config.bit_rate_bps == 0 || config.sample_rate_hz == 0 {
        return Err(unsupported(config));
    }
    #[cfg(feature = "fdk-aac")]
    return Ok(Box::new(crate::fdk::FdkEncoder::open(config)?));
    #[cfg(not(feature = "fdk-aac"))]
    Err(OpenError::NoEncoder)
}

pub(crate) fn unsupported(config: &AacConfig) -> OpenError {
    let &AacConfig { sample_rate_hz, channels, bit_rate_bps } = config;
    OpenError::Unsupported { sample_rate_hz, channels, bit_rate_bps }
}
