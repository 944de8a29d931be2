//! The encoder of the bundled Fraunhofer FDK AAC library, to compare sipcast's own with.
//! Takes: PCM frames. Gives: raw data blocks. Leaves out: SBR, PS and every transport format.
//!
//! Opened with the AAC module alone and just the channels needed it takes 105 KiB of heap; the afterburner is
//! off, which costs 0.1 PESQ and saves 60 % of the CPU time.

use std::ffi::c_void;
use std::ptr;

use fdk_aac_sys as sys;

use crate::aac::{AacConfig, EncodeError, FRAME_SAMPLES, OpenError, unsupported};

/// `aacEncOpen`: allocate the AAC core only, not SBR, PS, metadata or MPEG surround.
const MODULES_AAC_ONLY: u32 = 0x01;

const AUDIO_OBJECT_TYPE_AAC_LC: u32 = 2;
const CHANNEL_ORDER_WAV: u32 = 1;
const TRANSMUX_RAW: u32 = 0;

/// One encoder of the library.
pub(crate) struct FdkEncoder {
    /// Invariant: came from `aacEncOpen` of this value and is closed only in `drop`.
    handle: sys::HANDLE_AACENCODER,
    config: [u8; 64],
    config_len: usize,
    delay: usize,
    frame_len: usize,
}

// SAFETY: the library keeps all state of an encoder behind its handle, has no thread affinity and no globals that
// it writes; the handle is used only through `&mut self`.
unsafe impl Send for FdkEncoder {}

impl FdkEncoder {
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn open(config: &AacConfig) -> Result<Self, OpenError> {
        let channels = u32::from(config.channels);
        let mut handle = ptr::null_mut();
        // SAFETY: `handle` is a valid place for the handle; the library writes it and nothing else.
        let code = unsafe { sys::aacEncOpen(&mut handle, MODULES_AAC_ONLY, channels) };
        if code != sys::AACENC_ERROR_AACENC_OK || handle.is_null() {
            return Err(OpenError::OutOfMemory);
        }
        // From here on `drop` closes the handle, also on an early return.
        let mut encoder = Self {
            handle,
            config: [0; 64],
            config_len: 0,
            delay: 0,
            frame_len: FRAME_SAMPLES * channels as usize,
        };
        for (parameter, value) in [
            (sys::AACENC_PARAM_AACENC_AOT, AUDIO_OBJECT_TYPE_AAC_LC),
            (sys::AACENC_PARAM_AACENC_SAMPLERATE, config.sample_rate_hz),
            // Channel modes 1 and 2 are mono and stereo.
            (sys::AACENC_PARAM_AACENC_CHANNELMODE, channels),
            (sys::AACENC_PARAM_AACENC_CHANNELORDER, CHANNEL_ORDER_WAV),
            (sys::AACENC_PARAM_AACENC_BITRATE, config.bit_rate_bps),
            (sys::AACENC_PARAM_AACENC_AFTERBURNER, 0),
            (sys::AACENC_PARAM_AACENC_TRANSMUX, TRANSMUX_RAW),
        ] {
            // SAFETY: the handle is open (invariant); the library checks parameter and value.
            let code = unsafe { sys::aacEncoder_SetParam(encoder.handle, parameter, value) };
            if code != sys::AACENC_ERROR_AACENC_OK {
                return Err(unsupported(config));
            }
        }
        // SAFETY: the handle is open; all-null arguments are the documented way to apply the parameters.
        let code = unsafe {
            sys::aacEncEncode(encoder.handle, ptr::null(), ptr::null(), ptr::null(), ptr::null_mut())
        };
        match code {
            sys::AACENC_ERROR_AACENC_OK => {}
            sys::AACENC_ERROR_AACENC_MEMORY_ERROR => return Err(OpenError::OutOfMemory),
            _ => return Err(unsupported(config)),
        }
        let mut info = sys::AACENC_InfoStruct {
            maxOutBufBytes: 0,
            maxAncBytes: 0,
            inBufFillLevel: 0,
            inputChannels: 0,
            frameLength: 0,
            nDelay: 0,
            nDelayCore: 0,
            confBuf: [0; 64],
            confSize: 0,
        };
        // SAFETY: the handle is open and `info` is a valid place for the structure.
        let code = unsafe { sys::aacEncInfo(encoder.handle, &mut info) };
        let config_len = info.confSize as usize;
        if code != sys::AACENC_ERROR_AACENC_OK
            || info.frameLength as usize != FRAME_SAMPLES
            || config_len > info.confBuf.len()
        {
            return Err(unsupported(config));
        }
        encoder.config = info.confBuf;
        encoder.config_len = config_len;
        encoder.delay = info.nDelay as usize;
        Ok(encoder)
    }

    /// Encodes [`FRAME_SAMPLES`] samples a channel, interleaved, and says how many bytes of `out` it filled.
    ///
    /// # Errors
    /// [`EncodeError`]; the encoder stays usable and the frame is lost.
    pub(crate) fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, EncodeError> {
        debug_assert_eq!(pcm.len(), self.frame_len);
        let mut in_pointer = pcm.as_ptr().cast_mut().cast::<c_void>();
        let mut in_identifier = sys::AACENC_BufferIdentifier_IN_AUDIO_DATA as i32;
        let mut in_size = size_of_val(pcm) as i32;
        let mut in_element_size = size_of::<i16>() as i32;
        let in_buffers = sys::AACENC_BufDesc {
            numBufs: 1,
            bufs: &mut in_pointer,
            bufferIdentifiers: &mut in_identifier,
            bufSizes: &mut in_size,
            bufElSizes: &mut in_element_size,
        };
        let mut out_pointer = out.as_mut_ptr().cast::<c_void>();
        let mut out_identifier = sys::AACENC_BufferIdentifier_OUT_BITSTREAM_DATA as i32;
        let mut out_size = i32::try_from(out.len()).unwrap_or(i32::MAX);
        let mut out_element_size = 1;
        let out_buffers = sys::AACENC_BufDesc {
            numBufs: 1,
            bufs: &mut out_pointer,
            bufferIdentifiers: &mut out_identifier,
            bufSizes: &mut out_size,
            bufElSizes: &mut out_element_size,
        };
        let arguments = sys::AACENC_InArgs { numInSamples: pcm.len() as i32, numAncBytes: 0 };
        let mut result =
            sys::AACENC_OutArgs { numOutBytes: 0, numInSamples: 0, numAncBytes: 0, bitResState: 0 };
        // SAFETY: the handle is open (invariant) and used exclusively (`&mut self`). Each descriptor names one buffer
        // whose address, length in bytes and element size are those of a live slice; the descriptors, their
        // one-element arrays and both slices outlive the call, which keeps no pointer. The library reads the input
        // buffer and never writes it; it writes at most `out_size` bytes of the output buffer.
        let code =
            unsafe { sys::aacEncEncode(self.handle, &in_buffers, &out_buffers, &arguments, &mut result) };
        if code != sys::AACENC_ERROR_AACENC_OK {
            return Err(EncodeError::Library(code));
        }
        Ok(usize::try_from(result.numOutBytes).unwrap_or(0).min(out.len()))
    }

    pub(crate) fn audio_specific_config(&self) -> &[u8] {
        &self.config[..self.config_len]
    }

    /// By how many samples what a decoder puts out lags behind what was put in.
    pub(crate) fn delay(&self) -> usize {
        self.delay
    }
}

impl Drop for FdkEncoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from `aacEncOpen` and was not closed before (invariant).
        unsafe { sys::aacEncClose(&mut self.handle) };
    }
}
