//! AAC-LC encoding (ISO/IEC 14496-3) as the dataplane sees it, whichever encoder does it.
//! Takes: blocks of PCM of any call. Gives: raw data blocks (no ADTS), the AudioSpecificConfig.
//! Leaves out: timestamps. The first frame is heard when the first block is: delays are taken off here.

use thiserror::Error;

pub use sipcast_aac::{Format as PcmFormat, SOURCE_RATES_HZ};

/// Samples a channel in one AAC-LC frame (ISO/IEC 14496-3 §4.5.1.1).
pub const FRAME_SAMPLES: usize = sipcast_aac::FRAME_SAMPLES;

/// Largest raw data block of one channel in bytes: 6144 bits (ISO/IEC 14496-3 §4.5.3.2).
pub const CHANNEL_BYTES_MAX: usize = 768;

/// Largest raw data block of two channels in bytes: what `out` of [`AacEncoder::poll`] must hold.
pub const FRAME_BYTES_MAX: usize = 2 * CHANNEL_BYTES_MAX;

/// What is to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// Sampling rate in Hz, one of [`sipcast_aac::OUTPUT_RATES_HZ`].
    pub sample_rate_hz: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Bit rate in bits per second. Above what the standard allows at this rate it is lowered to that.
    pub bit_rate_bps: u32,
}

/// One AAC-LC encoder. Take all frames that are ready after each block. Frame n is heard from sample
/// n * [`FRAME_SAMPLES`] of what was put in on.
pub trait AacEncoder: Send {
    /// Makes ready for a format, so that its first block allocates nothing. `false`: it is not offered.
    fn prepare(&mut self, format: PcmFormat) -> bool;

    /// Takes a block of 20 ms, interleaved, while no frame is ready. Its format may be another one than before. `false`:
    /// it was dropped, as the format is not offered or the length is not that of a block.
    fn push(&mut self, format: PcmFormat, block: &[i16]) -> bool;

    /// Whether there is a frame to take.
    fn is_ready(&self) -> bool;

    /// Writes the next frame to the front of `out` and says how long it is; `None`: none is ready.
    ///
    /// # Errors
    /// [`EncodeError`]: the frame is lost, the next one keeps its place.
    fn poll(&mut self, out: &mut [u8]) -> Option<Result<usize, EncodeError>>;

    /// The AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) that a decoder needs.
    fn audio_specific_config(&self) -> &[u8];

    /// A frame of silence that may stand for any frame.
    fn silent_frame(&self) -> &[u8];
}

/// Why no encoder could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The combination of rate, channels and bit rate is not AAC-LC, or not offered.
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
}

/// Why a frame could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// `out` is too short.
    #[error("no room for a frame")]
    NoRoom,
    /// The library failed; its code.
    #[error("AAC encoder failed with code {0:#x}")]
    Library(u32),
}

/// Opens the encoder of sipcast's own (`sipcast-aac`).
///
/// # Errors
/// [`OpenError::Unsupported`].
pub fn open(config: &AacConfig) -> Result<Box<dyn AacEncoder>, OpenError> {
    let &AacConfig { sample_rate_hz, channels, bit_rate_bps } = config;
    let encoder = sipcast_aac::Encoder::new(&sipcast_aac::Config { sample_rate_hz, channels, bit_rate_bps });
    Ok(Box::new(encoder.map_err(|_| unsupported(config))?))
}

/// Opens fdk's encoder with a resampler in front, to compare with.
///
/// # Errors
/// [`OpenError`].
#[cfg(feature = "fdk-aac-encoder")]
pub fn open_fdk(config: &AacConfig) -> Result<Box<dyn AacEncoder>, OpenError> {
    // The library takes more channels than this face knows, and a bit rate of 0 as one of its own choice.
    if !(1..=2).contains(&config.channels) || config.bit_rate_bps == 0 || config.sample_rate_hz == 0 {
        return Err(unsupported(config));
    }
    Ok(Box::new(crate::resampled::ResampledEncoder::open(config)?))
}

impl AacEncoder for sipcast_aac::Encoder {
    fn prepare(&mut self, format: PcmFormat) -> bool {
        self.prepare(format)
    }

    fn push(&mut self, format: PcmFormat, block: &[i16]) -> bool {
        self.push(format, block)
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn poll(&mut self, out: &mut [u8]) -> Option<Result<usize, EncodeError>> {
        Some(self.poll(out)?.map_err(|_| EncodeError::NoRoom))
    }

    fn audio_specific_config(&self) -> &[u8] {
        self.audio_specific_config()
    }

    fn silent_frame(&self) -> &[u8] {
        self.silent_frame()
    }
}

pub(crate) fn unsupported(config: &AacConfig) -> OpenError {
    let &AacConfig { sample_rate_hz, channels, bit_rate_bps } = config;
    OpenError::Unsupported { sample_rate_hz, channels, bit_rate_bps }
}

#[cfg(all(test, feature = "fdk-aac"))]
mod tests {
    use super::*;
    use crate::aac_decoder::AacDecoder;

    /// Tones whose swell fits nowhere but at its own place, different on both sides.
    fn sound(format: PcmFormat, n: usize) -> Vec<i16> {
        let t = n as f64 / f64::from(format.rate_hz);
        let tone = |channel: usize| {
            let swell = 0.5 + 0.5 * (std::f64::consts::TAU * 1.7 * t).sin();
            let hz = 440.0 + 150.0 * channel as f64;
            (8_000.0 * swell * (std::f64::consts::TAU * hz * t).sin()) as i16
        };
        (0..format.channels).map(tone).collect()
    }

    /// What a decoder makes of two seconds that `encoder` is given block by block.
    fn heard(mut encoder: Box<dyn AacEncoder>, format: PcmFormat, channels: usize) -> (Vec<i16>, usize) {
        let mut decoder = AacDecoder::open(encoder.audio_specific_config()).expect("its own configuration");
        let (mut heard, mut bytes) = (Vec::new(), 0);
        let mut out = [0; FRAME_BYTES_MAX];
        for block in 0..100 {
            let len = format.block_samples();
            let pcm: Vec<i16> = (0..len).flat_map(|n| sound(format, block * len + n)).collect();
            assert!(encoder.push(format, &pcm));
            while let Some(len) = encoder.poll(&mut out) {
                let len = len.expect("encodes");
                assert!(len > 0 && len <= CHANNEL_BYTES_MAX * channels);
                bytes += len;
                let mut pcm = [0; 2 * FRAME_SAMPLES];
                let samples = decoder.decode(&out[..len], &mut pcm).expect("its own frame");
                assert_eq!(samples, FRAME_SAMPLES * channels);
                heard.extend_from_slice(&pcm[..samples]);
            }
        }
        (heard, bytes)
    }

    type Open = fn(&AacConfig) -> Result<Box<dyn AacEncoder>, OpenError>;

    fn encoders() -> Vec<(&'static str, Open, f64)> {
        vec![
            ("own", open, 30.0),
            #[cfg(feature = "fdk-aac-encoder")]
            ("fdk", open_fdk, 20.0),
        ]
    }

    #[test]
    fn sound_is_heard_in_its_place_at_every_rate() {
        for (name, open, least_db) in encoders() {
            for sample_rate_hz in sipcast_aac::OUTPUT_RATES_HZ {
                for (rate_hz, inputs, channels) in [8_000, 16_000, 32_000, 48_000]
                    .into_iter()
                    .flat_map(|hz| [(hz, 1, 1), (hz, 1, 2), (hz, 2, 2)])
                {
                    let config = AacConfig { sample_rate_hz, channels, bit_rate_bps: 96_000 };
                    let format = PcmFormat { rate_hz, channels: inputs };
                    let channels = usize::from(channels);
                    let (heard, _) = heard(open(&config).expect("offered"), format, channels);
                    let heard: Vec<&[i16]> = heard.chunks_exact(channels).collect();
                    let wide = PcmFormat { rate_hz: sample_rate_hz, channels: inputs };
                    let (mut signal, mut noise) = (0.0, 0.0);
                    // Frames are longer at low rates: what the first one overlaps with is left out.
                    let end = heard.len() - 1_500.min(heard.len() / 4);
                    for (n, heard) in heard.iter().enumerate().take(end).skip(FRAME_SAMPLES + 200) {
                        let expected = sound(wide, n);
                        for channel in 0..channels {
                            let expected = f64::from(expected[channel.min(inputs - 1)]);
                            signal += expected.powi(2);
                            noise += (f64::from(heard[channel]) - expected).powi(2);
                        }
                    }
                    let ratio_db = 10.0 * f64::log10(signal / noise);
                    assert!(ratio_db > least_db, "{name}: {format:?} to {config:?}: {ratio_db} dB");
                }
            }
        }
    }

    #[test]
    fn the_audio_specific_config_names_rate_and_channels() {
        for (name, open, _) in encoders() {
            for (sample_rate_hz, channels, expected) in
                [(48_000, 1, [0x11, 0x88]), (44_100, 2, [0x12, 0x10]), (8_000, 1, [0x15, 0x88])]
            {
                let config = AacConfig { sample_rate_hz, channels, bit_rate_bps: 32_000 };
                assert_eq!(open(&config).expect("offered").audio_specific_config(), expected, "{name}");
            }
        }
    }

    #[test]
    fn the_bit_rate_is_kept() {
        for bit_rate_bps in [24_000, 64_000, 128_000] {
            for rate_hz in [8_000, 16_000, 48_000] {
                let config = AacConfig { sample_rate_hz: 48_000, channels: 1, bit_rate_bps };
                let format = PcmFormat { rate_hz, channels: 1 };
                let (heard, bytes) = heard(open(&config).expect("offered"), format, 1);
                let actual = bytes as f64 * 8.0 * 48_000.0 / heard.len() as f64;
                // Two seconds only, of which the reservoir may hold one part back.
                let reservoir = 6_144.0 * 48_000.0 / heard.len() as f64;
                assert!(actual < 1.01 * f64::from(bit_rate_bps), "{bit_rate_bps}: {actual}");
                assert!(actual + reservoir > 0.99 * f64::from(bit_rate_bps), "{bit_rate_bps}: {actual}");
            }
        }
    }

    #[test]
    fn what_is_no_aac_is_refused() {
        for (sample_rate_hz, channels, bit_rate_bps) in
            [(48_000, 3, 64_000), (48_000, 0, 64_000), (12_345, 1, 64_000), (48_000, 1, 0)]
        {
            let config = AacConfig { sample_rate_hz, channels, bit_rate_bps };
            for (_, open, _) in encoders() {
                assert_eq!(open(&config).err(), Some(unsupported(&config)));
            }
        }
    }

    #[test]
    fn blocks_that_are_none_and_rooms_that_are_too_small_are_refused() {
        let config = AacConfig { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 64_000 };
        let format = PcmFormat { rate_hz: 8_000, channels: 1 };
        for (_, open, _) in encoders() {
            let mut encoder = open(&config).expect("offered");
            assert!(!encoder.push(format, &[0; 159]));
            assert!(!encoder.push(PcmFormat { rate_hz: 11_025, ..format }, &[0; 220]));
            assert!(!encoder.prepare(PcmFormat { channels: 3, ..format }));
            assert_eq!(encoder.poll(&mut [0; FRAME_BYTES_MAX]), None);
            while !encoder.is_ready() {
                assert!(encoder.push(format, &[1_000; 160]));
            }
            assert!(encoder.poll(&mut []).expect("ready").is_err());
            while !encoder.is_ready() {
                assert!(encoder.push(format, &[1_000; 160]));
            }
            assert!(encoder.poll(&mut [0; FRAME_BYTES_MAX]).expect("ready").is_ok());
        }
    }
}
