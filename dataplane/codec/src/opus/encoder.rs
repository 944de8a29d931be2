//! One Opus stream to send: silence that keeps the way open, callees, tests.

use std::ffi::c_int;

use super::{SAMPLE_RATE_HZ, State, sys};
use crate::Malformed;

/// An Opus encoder for 48 kHz.
pub struct OpusEncoder {
    /// Invariant: `opus_encoder_init` has initialised it for `channels`.
    state: State,
    channels: usize,
}

/// What is to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusEncoderConfig {
    /// 1 or 2, else 1.
    pub channels: u8,
    /// Bits per second, 6000 to 510000 (RFC 7587 §3.1.1).
    pub bit_rate_bps: u32,
    /// Loss to be prepared for: above 0 packets carry redundancy of the packet before (in-band FEC).
    pub loss_percent: u8,
    /// Pause while there is no speech (RFC 7587 §3.1.3).
    pub dtx: bool,
    /// For speech; else for any sound.
    pub voice: bool,
}

impl Default for OpusEncoderConfig {
    fn default() -> Self {
        Self { channels: 1, bit_rate_bps: 32_000, loss_percent: 0, dtx: false, voice: true }
    }
}

impl OpusEncoder {
    /// An encoder.
    pub fn new(config: &OpusEncoderConfig) -> Self {
        let channels: c_int = if config.channels == 2 { 2 } else { 1 };
        let application = if config.voice { sys::APPLICATION_VOIP } else { sys::APPLICATION_AUDIO };
        // SAFETY: no pointers; the count of channels is one that libopus has a size for.
        let mut state = super::state(unsafe { sys::opus_encoder_get_size(channels) });
        // SAFETY: the memory is as large as libopus asked for with the same argument, and aligned to 8 bytes.
        let code = unsafe {
            sys::opus_encoder_init(state.as_mut_ptr().cast(), SAMPLE_RATE_HZ as i32, channels, application)
        };
        assert_eq!(code, 0, "48 kHz, one or two channels and both applications are always offered");
        let mut encoder = Self { state, channels: channels as usize };
        encoder.set(
            sys::SET_BITRATE,
            c_int::try_from(config.bit_rate_bps.clamp(6_000, 510_000)).unwrap_or(6_000),
        );
        encoder.set(sys::SET_INBAND_FEC, c_int::from(config.loss_percent > 0));
        encoder.set(sys::SET_PACKET_LOSS_PERC, c_int::from(config.loss_percent.min(100)));
        encoder.set(sys::SET_DTX, c_int::from(config.dtx));
        encoder
    }

    /// Encodes one frame of 2.5, 5, 10, 20, 40 or 60 ms, interleaved, and says how many bytes of `out` it filled.
    /// One or two bytes need not be sent when pausing is on.
    ///
    /// # Errors
    /// [`Malformed`] when `pcm` is no such frame or `out` is too short.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Malformed> {
        let frame_size = c_int::try_from(pcm.len() / self.channels).map_err(|_| Malformed)?;
        let room = i32::try_from(out.len()).unwrap_or(i32::MAX);
        // SAFETY: the state is initialised (invariant). libopus reads `frame_size` samples for each channel, which
        // `pcm` holds, and writes at most `room` bytes to `out`.
        let len = unsafe {
            sys::opus_encode(self.state.as_mut_ptr().cast(), pcm.as_ptr(), frame_size, out.as_mut_ptr(), room)
        };
        usize::try_from(len).map_err(|_| Malformed)
    }

    /// By how many samples a decoder's output lags behind the input.
    pub fn delay(&mut self) -> usize {
        let mut samples: i32 = 0;
        // SAFETY: the state is initialised (invariant); this request writes one 32-bit integer to its argument.
        unsafe {
            sys::opus_encoder_ctl(
                self.state.as_mut_ptr().cast(),
                sys::GET_LOOKAHEAD,
                std::ptr::from_mut(&mut samples),
            )
        };
        usize::try_from(samples).unwrap_or(0)
    }

    fn set(&mut self, request: c_int, value: c_int) {
        // SAFETY: the state is initialised (invariant); these requests take one integer, which libopus checks.
        unsafe { sys::opus_encoder_ctl(self.state.as_mut_ptr().cast(), request, value) };
    }
}

impl std::fmt::Debug for OpusEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpusEncoder").field("channels", &self.channels).finish_non_exhaustive()
    }
}
