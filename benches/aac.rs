//! AAC-LC encoding (`sipcast_codec::aac`, by the FDK library). An iteration is a frame of 1024 samples a channel:
//! 21.3 ms at 48 kHz, 128 ms at 8 kHz.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_codec::Resampler;
use sipcast_codec::aac::{self, AacConfig, FRAME_BYTES_MAX, FRAME_SAMPLES};
use support::traffic::{PACKET_SAMPLES, sound};
use support::{Stage, allocation};

fn main() {
    let mut stage = Stage::new("aac");
    for (sample_rate_hz, channels, bit_rate_bps) in
        [(48_000, 1, 64_000), (48_000, 2, 128_000), (16_000, 1, 32_000), (8_000, 1, 24_000)]
    {
        let config = AacConfig { sample_rate_hz, channels, bit_rate_bps };
        let before = allocation::c_heap_bytes();
        let mut encoder = aac::open(&config).expect("offered");
        let memory = allocation::c_heap_bytes() - before;
        let pcm = pcm(sample_rate_hz, usize::from(channels));
        let mut frames = pcm.chunks_exact(FRAME_SAMPLES * usize::from(channels)).cycle();
        let mut out = [0; FRAME_BYTES_MAX];
        let name =
            format!("frame of {sample_rate_hz} Hz, {channels} channel(s), {} kbit/s", bit_rate_bps / 1000);
        stage.bench(&name, Throughput::Elements(FRAME_SAMPLES as u64), || {
            let frame = frames.next().expect("endless");
            black_box(encoder.encode(frame, &mut out).expect("encodes"));
        });
        println!("memory of an encoder of {sample_rate_hz} Hz, {channels} channel(s): {memory} bytes\n");
    }
    stage.finish();
}

/// Telephone sound at another rate, interleaved.
fn pcm(rate_hz: u32, channels: usize) -> Vec<i16> {
    let mut resampler = Resampler::new(8_000, rate_hz).expect("offered");
    let mut block = vec![0; resampler.output_len()];
    let samples: Vec<i16> = sound().collect();
    let mut pcm = Vec::new();
    for input in samples.chunks_exact(PACKET_SAMPLES) {
        resampler.process(input, &mut block);
        pcm.extend(block.iter().flat_map(|&sample| std::iter::repeat_n(sample, channels)));
    }
    pcm
}
