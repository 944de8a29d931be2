//! One Speex stream to send: silence that keeps the way open, silence for muted targets, callees, tests.

use std::ffi::{c_int, c_void};

use super::decoder::bits;
use super::{SpeexBand, sys};
use crate::Malformed;

/// A Speex encoder.
pub struct SpeexEncoder {
    /// Invariant: came from `speex_encoder_init` for `band` and is destroyed only in `drop`.
    state: *mut c_void,
    band: SpeexBand,
    /// One frame; the library filters its input in place.
    frame: Box<[i16]>,
}

/// What is to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeexEncoderConfig {
    /// The band.
    pub band: SpeexBand,
    /// 0 to 10 (Speex manual, tables of quality against bit rate).
    pub quality: u8,
    /// Variable bit rate.
    pub vbr: bool,
    /// Pauses are coded as such.
    pub dtx: bool,
}

impl SpeexEncoderConfig {
    /// Quality 8 at a constant bit rate.
    pub const fn new(band: SpeexBand) -> Self {
        Self { band, quality: 8, vbr: false, dtx: false }
    }
}

// SAFETY: as for the decoder.
unsafe impl Send for SpeexEncoder {}

impl SpeexEncoder {
    /// An encoder.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn new(config: &SpeexEncoderConfig) -> Self {
        // SAFETY: the mode is one of the library's constants.
        let state = unsafe { sys::speex_encoder_init(config.band.mode()) };
        assert!(!state.is_null(), "no memory for a Speex encoder");
        let frame = vec![0; config.band.frame_samples()].into();
        let mut encoder = Self { state, band: config.band, frame };
        encoder.set(sys::SET_QUALITY, c_int::from(config.quality.min(10)));
        encoder.set(sys::SET_COMPLEXITY, 2);
        encoder.set(sys::SET_VBR, c_int::from(config.vbr));
        encoder.set(sys::SET_VAD, c_int::from(config.dtx));
        encoder.set(sys::SET_DTX, c_int::from(config.dtx));
        encoder
    }

    /// Encodes whole frames into one payload, with the padding of RFC 5574 §3.3, and says how many bytes of `out`
    /// it filled.
    ///
    /// # Errors
    /// [`Malformed`] when `pcm` is not whole frames or `out` may be too short for them.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, Malformed> {
        let frames = pcm.len() / self.frame.len();
        let is_whole = frames > 0 && pcm.len() == frames * self.frame.len();
        if !is_whole || out.len() < frames * FRAME_BYTES_MAX + 2 {
            return Err(Malformed);
        }
        let mut bits = bits();
        let room = c_int::try_from(out.len()).unwrap_or(c_int::MAX);
        // SAFETY: `room` writable bytes that outlive `bits`; the library does not write past them.
        unsafe { sys::speex_bits_init_buffer(&mut bits, out.as_mut_ptr().cast(), room) };
        for frame in pcm.chunks_exact(self.frame.len()) {
            self.frame.copy_from_slice(frame);
            // SAFETY: the state is open (invariant), the bits are set, and the library reads and filters in place
            // one frame's samples.
            unsafe { sys::speex_encode_int(self.state, self.frame.as_mut_ptr(), &mut bits) };
        }
        // SAFETY: the bits are set; there is room for a terminator and an octet behind it (checked above).
        unsafe {
            sys::speex_bits_insert_terminator(&mut bits);
            Ok(usize::try_from(sys::speex_bits_nbytes(&mut bits)).unwrap_or(0))
        }
    }

    /// By how many samples a decoder's output lags behind the input, the encoder's share of it.
    pub fn delay(&mut self) -> usize {
        let mut samples: i32 = 0;
        // SAFETY: the state is open (invariant); this request writes one 32-bit integer.
        unsafe {
            sys::speex_encoder_ctl(self.state, sys::GET_LOOKAHEAD, std::ptr::from_mut(&mut samples).cast())
        };
        usize::try_from(samples).unwrap_or(0)
    }

    /// What it encodes.
    pub const fn band(&self) -> SpeexBand {
        self.band
    }

    fn set(&mut self, request: c_int, mut value: i32) {
        // SAFETY: the state is open (invariant); these requests read one 32-bit integer.
        unsafe { sys::speex_encoder_ctl(self.state, request, std::ptr::from_mut(&mut value).cast()) };
    }
}

impl Drop for SpeexEncoder {
    fn drop(&mut self) {
        // SAFETY: opened in `new` and not destroyed before (invariant).
        unsafe { sys::speex_encoder_destroy(self.state) }
    }
}

impl std::fmt::Debug for SpeexEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeexEncoder").field("band", &self.band).finish_non_exhaustive()
    }
}

/// 44 kbit/s in ultra-wideband (RFC 5574 §2) are 110 octets a frame; in-band requests take the rest.
const FRAME_BYTES_MAX: usize = 120;
