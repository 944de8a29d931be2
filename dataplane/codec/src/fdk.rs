//! The bundled Fraunhofer FDK AAC library, encoder only, behind [`AacEncoder`].
//! Takes: PCM frames. Gives: raw data blocks. Leaves out: SBR, PS and every transport format.
//!
//! Opened with the AAC module alone and just the channels needed it takes 105 KiB of heap; the afterburner is
//! off, which costs 0.1 PESQ and saves 60 % of the CPU time.

use std::ffi::c_void;
use std::ptr;

use fdk_aac_sys as sys;

use crate::aac::{AacConfig, AacEncoder, EncodeError, FRAME_SAMPLES, OpenError, unsupported};

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
}

impl AacEncoder for FdkEncoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, EncodeError> {
        if pcm.len() != self.frame_len {
            return Err(EncodeError::NotOneFrame);
        }
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

    fn audio_specific_config(&self) -> &[u8] {
        &self.config[..self.config_len]
    }

    fn delay(&self) -> usize {
        self.delay
    }
}

impl Drop for FdkEncoder {
    fn drop(&mut self) {
        // SAFETY: the handle came from `aacEncOpen` and was not closed before (invariant).
        unsafe { sys::aacEncClose(&mut self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aac::{self, CHANNEL_BYTES_MAX, FRAME_BYTES_MAX};
    use crate::aac_decoder::AacDecoder;

    fn tone(rate_hz: u32, n: usize) -> i16 {
        let t = n as f64 / f64::from(rate_hz);
        // A slow swell makes the tone's position unique, so that a wrong delay cannot hide in a period.
        let swell = 0.5 + 0.5 * (std::f64::consts::TAU * 1.7 * t).sin();
        (8_000.0 * swell * (std::f64::consts::TAU * 440.0 * t).sin()) as i16
    }

    #[test]
    fn what_is_decoded_is_what_was_encoded_later_by_the_delay() {
        for rate_hz in [48_000, 44_100, 32_000, 24_000, 16_000, 8_000] {
            for channels in [1, 2] {
                let config = AacConfig { sample_rate_hz: rate_hz, channels, bit_rate_bps: 64_000 };
                let mut encoder = aac::open(&config).expect("offered");
                let mut decoder =
                    AacDecoder::open(encoder.audio_specific_config()).expect("its own configuration");
                let mut decoded = Vec::new();
                let mut out = [0; FRAME_BYTES_MAX];
                let channels = usize::from(channels);
                for frame in 0..40 {
                    let pcm: Vec<i16> = (0..FRAME_SAMPLES)
                        .flat_map(|n| std::iter::repeat_n(tone(rate_hz, frame * FRAME_SAMPLES + n), channels))
                        .collect();
                    let len = encoder.encode(&pcm, &mut out).expect("encodes");
                    assert!(len > 0 && len <= CHANNEL_BYTES_MAX * channels);
                    let mut pcm = [0; 2 * FRAME_SAMPLES];
                    let samples = decoder.decode(&out[..len], &mut pcm).expect("its own frame");
                    assert_eq!(samples, FRAME_SAMPLES * channels);
                    decoded.extend_from_slice(&pcm[..samples]);
                }
                let (mut signal, mut noise) = (0.0, 0.0);
                for n in 0..30 * FRAME_SAMPLES {
                    let expected = f64::from(tone(rate_hz, n));
                    let sample = f64::from(decoded[(n + encoder.delay()) * channels]);
                    signal += expected.powi(2);
                    noise += (sample - expected).powi(2);
                }
                let ratio_db = 10.0 * f64::log10(signal / noise);
                assert!(ratio_db > 20.0, "{rate_hz} Hz, {channels} channels: {ratio_db} dB");
            }
        }
    }

    #[test]
    fn the_audio_specific_config_names_rate_and_channels() {
        for (sample_rate_hz, channels, expected) in
            [(48_000, 1, [0x11, 0x88]), (44_100, 2, [0x12, 0x10]), (8_000, 1, [0x15, 0x88])]
        {
            let config = AacConfig { sample_rate_hz, channels, bit_rate_bps: 32_000 };
            assert_eq!(aac::open(&config).expect("offered").audio_specific_config(), expected);
        }
    }

    #[test]
    fn the_bit_rate_is_kept() {
        for bit_rate_bps in [24_000, 64_000, 128_000] {
            let config = AacConfig { sample_rate_hz: 48_000, channels: 1, bit_rate_bps };
            let mut encoder = aac::open(&config).expect("offered");
            let mut out = [0; FRAME_BYTES_MAX];
            let mut bytes = 0;
            let frames = 94;
            for frame in 0..frames {
                let pcm: Vec<i16> =
                    (0..FRAME_SAMPLES).map(|n| tone(48_000, frame * FRAME_SAMPLES + n)).collect();
                bytes += encoder.encode(&pcm, &mut out).expect("encodes");
            }
            let actual = bytes as f64 * 8.0 * 48_000.0 / (frames * FRAME_SAMPLES) as f64;
            assert!((actual / f64::from(bit_rate_bps) - 1.0).abs() < 0.1, "{bit_rate_bps}: {actual}");
        }
    }

    #[test]
    fn what_is_no_aac_is_refused() {
        for (sample_rate_hz, channels, bit_rate_bps) in
            [(48_000, 3, 64_000), (48_000, 0, 64_000), (12_345, 1, 64_000), (48_000, 1, 0)]
        {
            let config = AacConfig { sample_rate_hz, channels, bit_rate_bps };
            assert_eq!(aac::open(&config).err(), Some(unsupported(&config)));
        }
        let config = AacConfig { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 64_000 };
        let mut encoder = aac::open(&config).expect("offered");
        assert_eq!(encoder.encode(&[0; 1023], &mut [0; FRAME_BYTES_MAX]), Err(EncodeError::NotOneFrame));
        assert!(encoder.encode(&[0; 1024], &mut [0; 0]).is_err());
        assert!(encoder.encode(&[0; 1024], &mut [0; FRAME_BYTES_MAX]).is_ok());
    }
}
