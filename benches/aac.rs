//! AAC-LC encoding (`sipcast_aac`) beside fdk with a resampler in front, which it took the place of: the same speech to
//! the same rate. An iteration is a second of sound.

mod support;

use std::f64::consts::TAU;
use std::hint::black_box;

use criterion::Throughput;
use sipcast_codec::aac::{self, AacConfig, AacEncoder, FRAME_BYTES_MAX, PcmFormat};
use support::{Stage, allocation};

/// Source rate and channels, output rate and channels, bit rate.
const CASES: [(u32, usize, u32, u8, u32); 5] = [
    (8_000, 1, 48_000, 1, 64_000),
    (16_000, 1, 48_000, 1, 64_000),
    (8_000, 1, 44_100, 1, 64_000),
    (8_000, 1, 48_000, 2, 64_000),
    (48_000, 2, 48_000, 2, 128_000),
];

fn main() {
    let mut stage = Stage::new("aac");
    for (rate_hz, inputs, sample_rate_hz, channels, bit_rate_bps) in CASES {
        let config = AacConfig { sample_rate_hz, channels, bit_rate_bps };
        let format = PcmFormat { rate_hz, channels: inputs };
        let pcm = speech(format, 8.0);
        let name = |encoder: &str| {
            format!(
                "{encoder}: {rate_hz} Hz x {inputs} to {sample_rate_hz} Hz x {channels}, {} kbit/s",
                bit_rate_bps / 1000
            )
        };
        for (encoder, open) in [("own", aac::open as Open), ("fdk", aac::open_fdk)] {
            let before = (allocation::live_bytes(), allocation::c_heap_bytes());
            let mut opened = open(&config).expect("offered");
            opened.prepare(format);
            let memory = (allocation::live_bytes() - before.0, allocation::c_heap_bytes() - before.1);
            let mut blocks = pcm.chunks_exact(format.block_samples() * inputs).cycle();
            stage.bench_prepared(
                &name(encoder),
                Throughput::Elements(1),
                4,
                |(): &mut ()| {},
                |()| blocks.by_ref().take(50).for_each(|block| encode(&mut *opened, format, block)),
            );
            println!("memory of one encoder, {encoder}: {} bytes, {} with C's\n", memory.0, memory.1);
        }
        stage.print_ratio(&name("fdk"), &name("own"), 1.0);
    }
    stage.finish();
}

type Open = fn(&AacConfig) -> Result<Box<dyn AacEncoder>, aac::OpenError>;

fn encode(encoder: &mut dyn AacEncoder, format: PcmFormat, block: &[i16]) {
    let mut out = [0; FRAME_BYTES_MAX];
    assert!(encoder.push(format, black_box(block)));
    while let Some(len) = encoder.poll(&mut out) {
        black_box(&out[..len.expect("encodes")]);
    }
}

/// Voiced sound of gliding pitch in syllables, with a noise between them that no codec leaves out; on the right a little
/// later than on the left.
fn speech(format: PcmFormat, seconds: f64) -> Vec<i16> {
    let rate = f64::from(format.rate_hz);
    let mut noise = 1_u32;
    (0..(rate * seconds) as usize)
        .flat_map(|n| {
            let time = n as f64 / rate;
            let sound = |time: f64| {
                let phase = 130.0 * time + 6.0 * (TAU * 0.8 * time).sin();
                let sway = (TAU * 1.3 * time).sin();
                let centres = [500.0 + 220.0 * sway, 1_400.0 - 350.0 * sway, 2_500.0 + 150.0 * sway];
                let harmonics = (1..(0.45 * rate / 180.0) as u32).map(|k| {
                    let hz = 130.0 * f64::from(k);
                    let colour: f64 = centres.iter().map(|c| 1.0 / (1.0 + ((hz - c) / 150.0).powi(2))).sum();
                    (colour + 0.01) * (TAU * phase * f64::from(k)).sin()
                });
                5_000.0 * (0.5 - 0.5 * (TAU * 3.1 * time).cos()) * harmonics.sum::<f64>()
            };
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let hiss = f64::from(noise >> 16) / 65_536.0 * 60.0 - 30.0;
            (0..format.channels).map(move |channel| {
                (sound(time - 0.0004 * channel as f64) + hiss).clamp(-32_000.0, 32_000.0) as i16
            })
        })
        .collect()
}
