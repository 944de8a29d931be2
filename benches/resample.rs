//! Resampling telephone sound (`sipcast_codec::resampler`). An iteration is a block of 20 ms.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_codec::Resampler;
use support::traffic::{PACKET_SAMPLES, sound};
use support::{Stage, allocation};

fn main() {
    let mut stage = Stage::new("resample");
    let samples: Vec<i16> = sound().collect();
    for rate_hz in [48_000, 44_100, 16_000] {
        let before = allocation::live_bytes();
        let mut resampler = Resampler::new(8_000, rate_hz).expect("offered");
        let memory = allocation::live_bytes() - before;
        let mut output = vec![0; resampler.output_len()];
        let mut blocks = samples.chunks_exact(PACKET_SAMPLES).cycle();
        let throughput = Throughput::Elements(PACKET_SAMPLES as u64);
        stage.bench(&format!("20 ms from 8000 to {rate_hz} Hz"), throughput, || {
            resampler.process(blocks.next().expect("endless"), &mut output);
            black_box(&output);
        });
        println!("memory of a resampler to {rate_hz} Hz: {memory} bytes\n");
    }
    stage.finish();
}
