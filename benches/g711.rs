//! G.711 decoding (`sipcast_codec::g711`). An iteration is a payload of 20 ms: 160 octets.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_codec::g711;
use support::Stage;
use support::traffic::{PACKET_SAMPLES, sound};

fn main() {
    let mut stage = Stage::new("g711");
    let samples: Vec<i16> = sound().take(PACKET_SAMPLES).collect();
    let mu_law: Vec<u8> = samples.iter().map(|&sample| g711::encode_mu_law(sample)).collect();
    let a_law: Vec<u8> = samples.iter().map(|&sample| g711::encode_a_law(sample)).collect();
    let mut pcm = [0; PACKET_SAMPLES];
    let throughput = Throughput::Elements(PACKET_SAMPLES as u64);
    stage.bench("decode 20 ms of mu-law", throughput.clone(), || {
        for (sample, &octet) in pcm.iter_mut().zip(black_box(&mu_law)) {
            *sample = g711::decode_mu_law(octet);
        }
        black_box(&pcm);
    });
    stage.bench("decode 20 ms of A-law", throughput, || {
        for (sample, &octet) in pcm.iter_mut().zip(black_box(&a_law)) {
            *sample = g711::decode_a_law(octet);
        }
        black_box(&pcm);
    });
    stage.finish();
}
