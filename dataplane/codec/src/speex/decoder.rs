//! One Speex stream in receive.

use std::ffi::{c_int, c_void};

use super::{SpeexBand, payload, sys};
use crate::Malformed;

/// A Speex decoder.
pub struct SpeexDecoder {
    /// Invariant: came from `speex_decoder_init` for `band` and is destroyed only in `drop`.
    state: *mut c_void,
    band: SpeexBand,
    /// One frame as the library gives it, in 16-bit scale.
    frame: Box<[f32]>,
}

// SAFETY: all state lies behind the pointer, which is used only through `&mut self`; the library keeps none else.
unsafe impl Send for SpeexDecoder {}

impl SpeexDecoder {
    /// A decoder for one band.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn new(band: SpeexBand) -> Self {
        Self { state: open(band), band, frame: vec![0.0; band.frame_samples()].into() }
    }

    /// Decodes all frames of a payload and says how many samples `pcm` now holds. In-band requests are passed over,
    /// as RFC 5574 §3.3 lets a receiver do; a frame that is cut short is not decoded.
    ///
    /// # Errors
    /// [`Malformed`] when the payload holds no frame, or `pcm` has no room for all of them.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, Malformed> {
        let frames = payload::frames(payload, self.band);
        let frame_samples = self.band.frame_samples();
        if frames == 0 || pcm.len() < frames * frame_samples {
            return Err(Malformed);
        }
        let mut bits = bits();
        let len = c_int::try_from(payload.len()).map_err(|_| Malformed)?;
        // SAFETY: `len` readable bytes that outlive `bits`. Reading functions alone are given these bits; they stay
        // within `len` and write nothing.
        unsafe { sys::speex_bits_set_bit_buffer(&mut bits, payload.as_ptr().cast_mut().cast(), len) };
        let mut samples = 0;
        for frame in pcm.chunks_exact_mut(frame_samples).take(frames) {
            if !self.decode_frame(&mut bits, frame) {
                break;
            }
            samples += frame_samples;
        }
        if samples == 0 { Err(Malformed) } else { Ok(samples) }
    }

    /// Fills the whole frames of `pcm` by concealment, which fades; with comfort noise where the sender has paused
    /// (DTX). Gives the samples filled.
    pub fn conceal(&mut self, pcm: &mut [i16]) -> usize {
        let mut samples = 0;
        for frame in pcm.chunks_exact_mut(self.band.frame_samples()) {
            self.decode_frame(std::ptr::null_mut(), frame);
            samples += frame.len();
        }
        samples
    }

    /// Forgets the stream.
    pub fn reset(&mut self) {
        // SAFETY: the state is open (invariant); this request takes no argument.
        unsafe { sys::speex_decoder_ctl(self.state, sys::RESET_STATE, std::ptr::null_mut()) };
    }

    /// What it decodes.
    pub const fn band(&self) -> SpeexBand {
        self.band
    }

    /// Decodes one frame of `bits`, which are null or set to a readable buffer, and says whether there was one.
    fn decode_frame(&mut self, bits: *mut sys::Bits, pcm: &mut [i16]) -> bool {
        // SAFETY: the state is open (invariant); the bits are null for a lost frame or set, and the library reads
        // within their buffer; `frame` has room for the samples of one frame of this band.
        let code = unsafe { sys::speex_decode(self.state, bits, self.frame.as_mut_ptr()) };
        if self.frame.iter().any(|sample| !sample.is_finite()) {
            // Only a payload that no encoder makes drives the filters there, and they would stay there; the
            // library's own reset leaves some of them as they are.
            self.frame.fill(0.0);
            // SAFETY: open (invariant); replaced at once by a fresh one.
            unsafe { sys::speex_decoder_destroy(self.state) };
            self.state = open(self.band);
        }
        for (sample, &wide) in pcm.iter_mut().zip(&self.frame) {
            // `as` saturates.
            *sample = wide.round() as i16;
        }
        code == 0
    }
}

fn open(band: SpeexBand) -> *mut c_void {
    // SAFETY: the mode is one of the library's constants.
    let state = unsafe { sys::speex_decoder_init(band.mode()) };
    assert!(!state.is_null(), "no memory for a Speex decoder");
    state
}

impl Drop for SpeexDecoder {
    fn drop(&mut self) {
        // SAFETY: opened in `new` and not destroyed before (invariant).
        unsafe { sys::speex_decoder_destroy(self.state) }
    }
}

impl std::fmt::Debug for SpeexDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeexDecoder").field("band", &self.band).finish_non_exhaustive()
    }
}

/// Bits of no buffer yet.
pub(super) const fn bits() -> sys::Bits {
    sys::Bits {
        chars: std::ptr::null_mut(),
        bit_count: 0,
        char_position: 0,
        bit_position: 0,
        owner: 0,
        overflow: 0,
        buffer_size: 0,
        reserved1: 0,
        reserved2: std::ptr::null_mut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal;
    use crate::speex::{SpeexEncoder, SpeexEncoderConfig};

    const BANDS: [SpeexBand; 3] = [SpeexBand::Narrow, SpeexBand::Wide, SpeexBand::UltraWide];

    fn payloads(config: &SpeexEncoderConfig, pcm: &[i16], frames: usize) -> (Vec<Vec<u8>>, usize) {
        let mut encoder = SpeexEncoder::new(config);
        let payloads = pcm
            .chunks_exact(config.band.frame_samples() * frames)
            .map(|chunk| {
                let mut out = [0; 1_500];
                let len = encoder.encode(chunk, &mut out).expect("encodes");
                out[..len].to_vec()
            })
            .collect();
        (payloads, encoder.delay())
    }

    #[test]
    fn speech_comes_back_in_every_band_mode_and_packing() {
        for band in BANDS {
            let sent = signal::speech(band.sample_rate_hz(), 2.0);
            for quality in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] {
                let frames = 1 + quality as usize % 3;
                let config = SpeexEncoderConfig { quality, ..SpeexEncoderConfig::new(band) };
                let (payloads, encoder_delay) = payloads(&config, &sent, frames);
                let mut decoder = SpeexDecoder::new(band);
                let mut pcm = [0; 640 * 3];
                let mut heard = Vec::new();
                for payload in &payloads {
                    let samples = decoder.decode(payload, &mut pcm).expect("decodes");
                    assert_eq!(samples, frames * band.frame_samples());
                    heard.extend_from_slice(&pcm[..samples]);
                }
                let (correlation, delay) = signal::correlation(&sent, &heard, 1_000);
                // Quality 1 in narrowband is a vocoder: it does not follow the waveform (Speex manual, §10).
                let expected = if band == SpeexBand::Narrow && quality < 2 { 0.3 } else { 0.84 };
                assert!(correlation > expected, "{band:?} {quality}: {correlation}");
                // Besides the encoder's look-ahead the decoder's filters delay by about 5 ms.
                let decoder_delay = delay - encoder_delay;
                assert!(decoder_delay.abs_diff(band.frame_samples() / 4) < 10, "{band:?}: {decoder_delay}");
            }
        }
    }

    #[test]
    fn variable_bit_rate_and_pauses_come_back() {
        for band in BANDS {
            let mut sent = signal::speech(band.sample_rate_hz(), 1.0);
            sent.extend(signal::noise(band.sample_rate_hz() as usize, 30.0));
            let config = SpeexEncoderConfig { vbr: true, dtx: true, ..SpeexEncoderConfig::new(band) };
            let (payloads, _) = payloads(&config, &sent, 1);
            let lengths: std::collections::BTreeSet<usize> = payloads.iter().map(Vec::len).collect();
            assert!(lengths.len() > 2, "{band:?}: {lengths:?}");
            let mut decoder = SpeexDecoder::new(band);
            let mut pcm = [0; 640];
            let mut heard = Vec::new();
            for payload in &payloads {
                let samples = decoder.decode(payload, &mut pcm).expect("decodes");
                heard.extend_from_slice(&pcm[..samples]);
            }
            let second = band.sample_rate_hz() as usize;
            assert!(signal::correlation(&sent[..second], &heard[..second], 1_000).0 > 0.8);
            let level = signal::rms(&heard[heard.len() - second / 2..]);
            assert!(level < 300.0, "{band:?}: {level}");
        }
    }

    #[test]
    fn a_lost_frame_is_concealed_better_than_by_silence() {
        for band in BANDS {
            let sent = signal::speech(band.sample_rate_hz(), 3.0);
            let (payloads, _) = payloads(&SpeexEncoderConfig::new(band), &sent, 1);
            let (mut whole, mut lossy) = (SpeexDecoder::new(band), SpeexDecoder::new(band));
            let (mut expected, mut pcm) = ([0; 640], [0; 640]);
            let len = band.frame_samples();
            let (mut by_concealment, mut by_silence) = (0.0, 0.0);
            for (index, payload) in payloads.iter().enumerate() {
                whole.decode(payload, &mut expected).expect("decodes");
                if index % 10 == 9 {
                    assert_eq!(lossy.conceal(&mut pcm[..len]), len);
                    by_concealment += signal::difference(&pcm[..len], &expected[..len]);
                    by_silence += signal::energy(&expected[..len]);
                } else {
                    lossy.decode(payload, &mut pcm).expect("decodes");
                }
            }
            assert!(by_concealment < 0.8 * by_silence, "{band:?}: {by_concealment} {by_silence}");
            for _ in 0..20 {
                lossy.conceal(&mut pcm[..len]);
            }
            assert!(signal::rms(&pcm[..len]) < 20.0, "it fades");
        }
    }

    #[test]
    fn hostile_payloads_are_refused_or_bounded() {
        let mut random = signal::Random::new(11);
        for band in BANDS {
            let sent = signal::speech(band.sample_rate_hz(), 1.0);
            let (payloads, _) = payloads(&SpeexEncoderConfig::new(band), &sent, 2);
            let mut decoder = SpeexDecoder::new(band);
            let mut pcm = vec![0; payload::FRAMES_MAX * band.frame_samples()];
            for round in 0..5_000_usize {
                let mut payload = payloads[round % payloads.len()].clone();
                for _ in 0..1 + random.below(8) {
                    match random.below(4) {
                        0 => payload.truncate(random.below(payload.len() + 1)),
                        1 => payload.insert(0, random.next() as u8),
                        _ if !payload.is_empty() => {
                            let at = random.below(payload.len());
                            payload[at] = random.next() as u8;
                        }
                        _ => payload.push(random.next() as u8),
                    }
                }
                let expected = payload::frames(&payload, band) * band.frame_samples();
                let samples = decoder.decode(&payload, &mut pcm).unwrap_or(0);
                assert!(samples <= expected, "{samples} {expected}");
                if round % 7 == 0 {
                    decoder.conceal(&mut pcm[..band.frame_samples()]);
                }
            }
            let lowest = vec![0; 1_400];
            assert_eq!(decoder.decode(&lowest, &mut pcm), Ok(pcm.len()));
            assert_eq!(decoder.decode(&[], &mut pcm), Err(Malformed));
            assert_eq!(decoder.decode(&payloads[0], &mut pcm[..10]), Err(Malformed));
            // Whatever it went through, it serves again.
            decoder.reset();
            let loudest = payloads.iter().fold(0.0_f64, |loudest, payload| {
                let samples = decoder.decode(payload, &mut pcm).expect("decodes");
                loudest.max(signal::rms(&pcm[..samples]))
            });
            assert!(loudest > 1_000.0, "{band:?}: {loudest}");
        }
    }
}
