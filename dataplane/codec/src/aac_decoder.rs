//! AAC-LC decoding: of pulled streams whose sound goes to callees and mixers, and for those who check what was
//! published: tests, the callee's and the load harness's meters.
//! Takes: an AudioSpecificConfig, raw data blocks. Gives: PCM, without any delay of its own.

use fdk_aac_sys as sys;

use crate::aac::FRAME_SAMPLES;

/// Raw access units without transport (`TT_MP4_RAW`).
const TRANSPORT_RAW: sys::TRANSPORT_TYPE = 0;

/// One decoder of the bundled FDK library.
pub struct AacDecoder {
    /// Invariant: came from `aacDecoder_Open` and is closed only in `drop`.
    handle: sys::HANDLE_AACDECODER,
}

/// Why nothing was decoded: the library's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AAC decoder failed with code {0:#x}")]
pub struct DecodeError(pub u32);

// SAFETY: as for the encoder: all state lies behind the handle, which is used only through `&mut self`.
unsafe impl Send for AacDecoder {}

impl AacDecoder {
    /// A decoder for streams of this AudioSpecificConfig.
    ///
    /// # Errors
    /// [`DecodeError`] when the configuration cannot be read or there is no memory.
    pub fn open(audio_specific_config: &[u8]) -> Result<Self, DecodeError> {
        // SAFETY: no pointers; one layer.
        let handle = unsafe { sys::aacDecoder_Open(TRANSPORT_RAW, 1) };
        if handle.is_null() {
            return Err(DecodeError(sys::AAC_DECODER_ERROR_AAC_DEC_OUT_OF_MEMORY));
        }
        let decoder = Self { handle };
        // The limiter and the default concealment (by interpolation) each delay the output.
        for parameter in [sys::AACDEC_PARAM_AAC_PCM_LIMITER_ENABLE, sys::AACDEC_PARAM_AAC_CONCEAL_METHOD] {
            // SAFETY: the handle is open (invariant); the library checks parameter and value.
            done(unsafe { sys::aacDecoder_SetParam(decoder.handle, parameter, 0) })?;
        }
        let mut configuration = audio_specific_config.as_ptr().cast_mut();
        let len = u32::try_from(audio_specific_config.len()).unwrap_or(0);
        // SAFETY: one configuration of `len` bytes, alive during the call, which only reads it.
        done(unsafe { sys::aacDecoder_ConfigRaw(decoder.handle, &mut configuration, &len) })?;
        Ok(decoder)
    }

    /// Decodes one raw data block into interleaved samples and says how many `pcm` now holds.
    ///
    /// # Errors
    /// [`DecodeError`] when the block is damaged or `pcm` is too short.
    pub fn decode(&mut self, frame: &[u8], pcm: &mut [i16]) -> Result<usize, DecodeError> {
        let mut source = frame.as_ptr().cast_mut();
        let len = u32::try_from(frame.len()).unwrap_or(0);
        let mut left = len;
        // SAFETY: one buffer of `len` bytes, alive during the call, which copies what it takes.
        done(unsafe { sys::aacDecoder_Fill(self.handle, &mut source, &len, &mut left) })?;
        let room = i32::try_from(pcm.len()).unwrap_or(i32::MAX);
        // SAFETY: the library writes at most `room` samples to `pcm`.
        done(unsafe { sys::aacDecoder_DecodeFrame(self.handle, pcm.as_mut_ptr(), room, 0) })?;
        // SAFETY: the handle is open; the library returns null or a structure that lives as long as the handle and
        // is not written before the next call.
        let channels =
            unsafe { sys::aacDecoder_GetStreamInfo(self.handle).as_ref() }.map_or(0, |i| i.numChannels);
        Ok((usize::try_from(channels).unwrap_or(0) * FRAME_SAMPLES).min(pcm.len()))
    }
}

impl std::fmt::Debug for AacDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AacDecoder")
    }
}

impl Drop for AacDecoder {
    fn drop(&mut self) {
        // SAFETY: opened in `open` and not closed before (invariant).
        unsafe { sys::aacDecoder_Close(self.handle) }
    }
}

const fn done(code: u32) -> Result<(), DecodeError> {
    if code == 0 { Ok(()) } else { Err(DecodeError(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_input_is_an_error() {
        assert!(AacDecoder::open(&[0xff; 2]).is_err());
        let mut decoder = AacDecoder::open(&[0x11, 0x88]).expect("48 kHz mono");
        let mut pcm = [0; 2 * FRAME_SAMPLES];
        assert!(decoder.decode(&[], &mut pcm).is_err());
        for seed in 0..200_u8 {
            let noise: Vec<u8> =
                (0..100).map(|n: u8| n.wrapping_mul(seed).wrapping_add(seed ^ 0x5a)).collect();
            let _ = decoder.decode(&noise, &mut pcm);
        }
    }
}
