//! One second of G.711: a 1 kHz beep of 60 ms at its start, a quiet tone after it (ITU-T G.711).
//! Takes: a law. Gives: 8000 octets to loop over, cut by sample position.
//! Leaves out: packets and their times (`media`).

use std::f64::consts::TAU;

/// Samples a second of G.711.
pub const SAMPLE_RATE_HZ: u64 = 8_000;
/// Samples of the beep: 60 ms.
pub const BEEP_SAMPLES: usize = 480;
/// Samples of one packet: 20 ms (RFC 3551 §4.2).
pub const PACKET_SAMPLES: usize = 160;

/// The two laws of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// mu-law, static payload type 0.
    Pcmu,
    /// A-law, static payload type 8.
    Pcma,
}

impl Law {
    /// One 16-bit linear sample as an octet.
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Pcmu => encode_mu_law(sample),
            Self::Pcma => encode_a_law(sample),
        }
    }
}

/// One second of sound, looped.
pub struct Tone {
    octets: Vec<u8>,
}

impl Tone {
    /// The test tone in `law`.
    pub fn new(law: Law) -> Self {
        let second: Vec<u8> = (0..SAMPLE_RATE_HZ as usize).map(|at| law.encode(sample(at))).collect();
        // One packet of the beginning again, so that a packet over the seam is one slice.
        let octets = [&second[..], &second[..PACKET_SAMPLES]].concat();
        Self { octets }
    }

    /// One packet of octets from `position` (in samples since the beep of second 0) on.
    pub fn packet(&self, position: u64) -> &[u8] {
        let start = (position % SAMPLE_RATE_HZ) as usize;
        &self.octets[start..start + PACKET_SAMPLES]
    }
}

fn sample(at: usize) -> i16 {
    let time = at as f64 / SAMPLE_RATE_HZ as f64;
    let (frequency, amplitude) = if at < BEEP_SAMPLES { (1_000.0, 16_000.0) } else { (250.0, 250.0) };
    ((TAU * frequency * time).sin() * amplitude) as i16
}

const fn encode_mu_law(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (sample as i32).abs();
    let magnitude = if magnitude > CLIP { CLIP } else { magnitude } + BIAS;
    let exponent = 31 - (magnitude as u32).leading_zeros() as i32 - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) | mantissa) as u8
}

const fn encode_a_law(sample: i16) -> u8 {
    let (sign, magnitude) = if sample >= 0 { (0x80, sample as i32) } else { (0, -(sample as i32) - 1) };
    let magnitude = magnitude >> 4;
    // The first two segments have the same step, so there the magnitude is the code.
    let code = if magnitude < 32 {
        magnitude
    } else {
        let segment = 31 - (magnitude as u32).leading_zeros() as i32 - 3;
        (segment << 4) | ((magnitude >> (segment - 1)) & 0x0f)
    };
    ((sign | code) ^ 0x55) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_give_the_golden_octets() {
        for (sample, mu, a) in
            [(0, 0xff, 0xd5), (-1, 0x7f, 0x55), (32_767, 0x80, 0xaa), (-32_768, 0x00, 0x2a)]
        {
            assert_eq!((Law::Pcmu.encode(sample), Law::Pcma.encode(sample)), (mu, a), "sample {sample}");
        }
        assert_eq!(Law::Pcmu.encode(1_000), 0xce);
        assert_eq!(Law::Pcma.encode(1_000), 0xfa);
    }

    #[test]
    fn the_loop_has_no_seam() {
        let tone = Tone::new(Law::Pcmu);
        let packet = tone.packet(SAMPLE_RATE_HZ - 80);
        assert_eq!(packet[..80], tone.octets[7_920..8_000]);
        assert_eq!(packet[80..], tone.octets[..80]);
    }
}
