//! Whatever is encoded, in whatever order of formats: every frame is one that a decoder takes, within the decoder's input
//! buffer, and the rate is kept.
#![cfg(feature = "fdk-aac")]

use sipcast_codec::aac::{self, AacConfig, CHANNEL_BYTES_MAX, FRAME_BYTES_MAX, FRAME_SAMPLES, PcmFormat};
use sipcast_codec::aac_decoder::AacDecoder;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

const CONFIGS: [(u32, u8, u32); 9] = [
    (48_000, 1, 64_000),
    (48_000, 2, 128_000),
    (44_100, 2, 64_000),
    (44_100, 1, 96_000),
    (32_000, 1, 32_000),
    (24_000, 2, 48_000),
    (16_000, 1, 10_000_000),
    (8_000, 1, 24_000),
    (48_000, 1, 6_000),
];

const KINDS: u64 = 9;

/// A block of one kind of sound.
fn fill(kind: u64, at: usize, random: &mut Random, block: &mut [i16]) {
    let period = 2 + random.below(200) as usize;
    let level = 1 << random.below(15);
    for (n, sample) in block.iter_mut().enumerate() {
        *sample = match kind {
            0 => 0,
            1 => random.next() as i16,
            2 => (random.next() as i16) / level,
            3 if ((at + n) / 40).is_multiple_of(2) => i16::MAX,
            3 => i16::MIN,
            4 => i16::MIN,
            5 if n == period => i16::MAX,
            5 => 0,
            6 => (f64::from(level) * ((at + n) as f64 * 0.4).sin()) as i16,
            7 if n % period == 0 => i16::MIN,
            7 => 1,
            // Full scale at half the sampling rate.
            _ if n % 2 == 0 => i16::MAX,
            _ => i16::MIN,
        };
    }
}

#[test]
fn every_frame_can_be_decoded_and_fits_the_decoders_buffer() {
    for (sample_rate_hz, channels, bit_rate_bps) in CONFIGS {
        for seed in 0..6 {
            let config = AacConfig { sample_rate_hz, channels, bit_rate_bps };
            let mut encoder = aac::open(&config).expect("offered");
            let mut decoder =
                AacDecoder::open(encoder.audio_specific_config()).expect("its own configuration");
            let mut random = Random(seed);
            let buffer = 6_144.0 * f64::from(channels);
            let frame_bits =
                (f64::from(bit_rate_bps) * FRAME_SAMPLES as f64 / f64::from(sample_rate_hz)).min(buffer);
            // What the decoder's buffer still has room for; at the start all of it.
            let mut reservoir = 0.0;
            let mut format = PcmFormat { rate_hz: 8_000, channels: 1 };
            let mut kind = 0;
            for block in 0..400 {
                if random.below(8) == 0 {
                    let rate_hz = aac::SOURCE_RATES_HZ[random.below(4) as usize];
                    format = PcmFormat { rate_hz, channels: 1 + random.below(2) as usize };
                }
                if random.below(6) == 0 {
                    kind = random.below(KINDS);
                }
                let mut pcm = vec![0; format.block_samples() * format.channels];
                fill(kind, block * pcm.len(), &mut random, &mut pcm);
                assert!(encoder.push(format, &pcm));
                let mut out = [0; FRAME_BYTES_MAX];
                while let Some(len) = encoder.poll(&mut out) {
                    let len = len.expect("room for the longest frame");
                    let context = format!("{config:?}, seed {seed}, block {block}, kind {kind}");
                    assert!(len <= CHANNEL_BYTES_MAX * usize::from(channels), "{context}: {len} bytes");
                    reservoir += frame_bits - 8.0 * len as f64;
                    assert!(reservoir > -1.0, "{context}: the decoder's buffer runs dry");
                    assert!(reservoir < buffer - frame_bits + 9.0, "{context}: it runs over: {reservoir}");
                    let mut pcm = [0; 2 * FRAME_SAMPLES];
                    let samples = decoder.decode(&out[..len], &mut pcm);
                    assert_eq!(samples, Ok(FRAME_SAMPLES * usize::from(channels)), "{context}");
                }
            }
        }
    }
}

#[test]
fn a_change_of_format_leaves_no_seam() {
    // A tone that goes on while the codec's rate changes each 60 ms.
    let config = AacConfig { sample_rate_hz: 44_100, channels: 1, bit_rate_bps: 96_000 };
    let tone = |seconds: f64| 9_000.0 * (std::f64::consts::TAU * 620.0 * seconds).sin();
    let mut encoder = aac::open(&config).expect("offered");
    let mut decoder = AacDecoder::open(encoder.audio_specific_config()).expect("its own configuration");
    let mut heard = Vec::new();
    for block in 0..150 {
        let rate_hz = aac::SOURCE_RATES_HZ[block / 3 % 4];
        let format = PcmFormat { rate_hz, channels: 1 };
        let start = block as f64 / 50.0;
        let pcm: Vec<i16> =
            (0..format.block_samples()).map(|n| tone(start + n as f64 / f64::from(rate_hz)) as i16).collect();
        assert!(encoder.push(format, &pcm));
        let mut out = [0; FRAME_BYTES_MAX];
        while let Some(len) = encoder.poll(&mut out) {
            let mut pcm = [0; FRAME_SAMPLES];
            decoder.decode(&out[..len.expect("encodes")], &mut pcm).expect("its own frame");
            heard.extend_from_slice(&pcm);
        }
    }
    // Sound above a rate's band cannot be: where a tone is cut off and another joins it, what is left is a click of a few
    // samples that their low-passes make. 2 ms around each change are not looked at.
    let (mut signal, mut noise) = (0.0, 0.0);
    for (n, sample) in heard.iter().enumerate().skip(FRAME_SAMPLES) {
        let seconds = n as f64 / 44_100.0;
        let to_change = (seconds / 0.06).round() * 0.06 - seconds;
        if to_change.abs() > 0.002 {
            signal += tone(seconds).powi(2);
            noise += (f64::from(*sample) - tone(seconds)).powi(2);
        }
    }
    let ratio_db = 10.0 * f64::log10(signal / noise);
    assert!(ratio_db > 25.0, "{ratio_db} dB");
}
