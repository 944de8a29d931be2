//! How many frames a Speex payload holds, without decoding it.
//!
//! ```text
//! frame: narrowband layer, then a wideband layer for 16 kHz, then another for 32 kHz
//! layer: 0 | mode (4) | data        narrowband; modes 13 to 15 are no sound
//!        1 | mode (3) | data        wideband; missing where the band was not coded
//! ```
//! Modes 13 (application), 14 (in-band requests) go before a frame's layers; 15 ends the payload (RFC 5574 §3.3:
//! the padding 0 1111 ... stands for a terminator).

use super::SpeexBand;

/// Frames of one payload that are taken: 400 ms. RFC 5574 §3.2 leaves the count to the sender.
pub const FRAMES_MAX: usize = 20;

/// Whole frames of a payload, [`FRAMES_MAX`] at most. What comes after damage or is cut short is not counted.
pub fn frames(payload: &[u8], band: SpeexBand) -> usize {
    let mut bits = Bits { payload, position: 0 };
    (0..FRAMES_MAX).take_while(|_| bits.skip_frame(band).is_some()).count()
}

struct Bits<'a> {
    payload: &'a [u8],
    /// At most the payload's length in bits.
    position: usize,
}

impl Bits<'_> {
    fn skip_frame(&mut self, band: SpeexBand) -> Option<()> {
        loop {
            if self.take(1)? == 1 {
                // A layer of a wider band than ours, left over from the frame before (Speex manual, embedding).
                let mode = self.take(3)? as usize;
                self.skip(*WIDEBAND_BITS.get(mode)?)?;
                continue;
            }
            match self.take(4)? as usize {
                APPLICATION_REQUEST => {
                    let octets = self.take(4)? as usize;
                    self.skip(5 + 8 * octets)?;
                }
                IN_BAND_REQUEST => {
                    let request = self.take(4)? as usize;
                    self.skip(IN_BAND_BITS[request])?;
                }
                mode => {
                    self.skip(*NARROWBAND_BITS.get(mode)?)?;
                    break;
                }
            }
        }
        let layers = match band {
            SpeexBand::Narrow => 0,
            SpeexBand::Wide => 1,
            SpeexBand::UltraWide => 2,
        };
        for _ in 0..layers {
            if self.peek() == Some(1) {
                self.skip(1)?;
                let mode = self.take(3)? as usize;
                self.skip(*WIDEBAND_BITS.get(mode)?)?;
            }
        }
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        let octet = self.payload.get(self.position / 8)?;
        Some(octet >> (7 - self.position % 8) & 1)
    }

    fn take(&mut self, count: usize) -> Option<u8> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | self.peek()?;
            self.position += 1;
        }
        Some(value)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        let position = self.position + count;
        (position <= self.payload.len() * 8).then(|| self.position = position)
    }
}

const APPLICATION_REQUEST: usize = 13;
const IN_BAND_REQUEST: usize = 14;

/// Bits behind the mode of each narrowband mode 0 to 8 (Speex manual, table of narrowband modes, less 5 each).
const NARROWBAND_BITS: [usize; 9] = [0, 38, 114, 155, 215, 295, 359, 487, 74];
/// Bits behind the mode of each wideband mode 0 to 4 (Speex manual, table of wideband modes, less 4 each).
const WIDEBAND_BITS: [usize; 5] = [0, 32, 108, 188, 348];
/// Bits of each in-band request (Speex manual, table of in-band signalling codes).
const IN_BAND_BITS: [usize; 16] = [1, 1, 4, 4, 4, 4, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speex::{SpeexEncoder, SpeexEncoderConfig};

    #[test]
    fn counts_frames_of_every_band_and_quality() {
        for band in [SpeexBand::Narrow, SpeexBand::Wide, SpeexBand::UltraWide] {
            for quality in 0..=10 {
                for count in [1, 2, 3, 10] {
                    let config = SpeexEncoderConfig { quality, ..SpeexEncoderConfig::new(band) };
                    let mut encoder = SpeexEncoder::new(&config);
                    let pcm = crate::signal::speech(band.sample_rate_hz(), 0.02 * count as f64);
                    let mut out = [0; 2_000];
                    let len = encoder.encode(&pcm, &mut out).expect("whole frames");
                    assert_eq!(frames(&out[..len], band), count, "{band:?} {quality}");
                    assert!(frames(&out[..len - 2], band) < count, "{band:?} {quality} cut short");
                }
            }
        }
    }

    #[test]
    fn what_is_no_sound_is_passed_over() {
        // In-band request 9 (stereo) of 8 bits, a silent frame, the terminator.
        let bits = ["01110", "1001", "00000000", "00000", "01111", "00000"].concat();
        let octets: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|octet| octet.iter().fold(0, |value, bit| value << 1 | (bit - b'0')))
            .collect();
        assert_eq!(frames(&octets, SpeexBand::Narrow), 1);
        assert_eq!(frames(&[], SpeexBand::Wide), 0);
        assert_eq!(frames(&[0; 1_000], SpeexBand::Narrow), FRAMES_MAX);
        assert_eq!(frames(&[0xff; 1_000], SpeexBand::Narrow), 0);
    }
}
