//! Decoders (`sipcast_codec`): an iteration is 20 ms of sound, decoded or concealed. Fifty of them are a second of call.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_codec::g722::{G722Decoder, G722Encoder};
use sipcast_codec::opus::{OpusDecoder, OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexDecoder, SpeexEncoder, SpeexEncoderConfig};
use sipcast_codec::substitution::Substitution;
use support::Stage;
use support::traffic::sound;

/// A second of sound, in packets.
const PACKETS: usize = 50;

fn main() {
    let mut stage = Stage::new("decoders");
    let second = |rate_hz: usize| -> Vec<i16> {
        let samples: Vec<i16> = sound().collect();
        samples.into_iter().cycle().take(rate_hz).collect()
    };
    let mut pcm = [0; 2 * 960];

    let mut encoder = G722Encoder::new();
    let octets: Vec<u8> =
        second(16_000).chunks_exact(2).map(|pair| encoder.encode([pair[0], pair[1]])).collect();
    let mut packets = octets.chunks_exact(160).cycle();
    let mut decoder = G722Decoder::new();
    stage.bench("G.722", Throughput::Elements(320), || {
        let packet = packets.next().expect("endless");
        for (samples, &octet) in pcm.chunks_exact_mut(2).zip(packet) {
            samples.copy_from_slice(&decoder.decode(octet));
        }
        black_box(&pcm);
    });

    for (name, band) in [
        ("Speex 8 kHz", SpeexBand::Narrow),
        ("Speex 16 kHz", SpeexBand::Wide),
        ("Speex 32 kHz", SpeexBand::UltraWide),
    ] {
        let len = band.frame_samples();
        let mut encoder = SpeexEncoder::new(&SpeexEncoderConfig::new(band));
        let packets: Vec<Vec<u8>> = second(len * PACKETS)
            .chunks_exact(len)
            .map(|frame| {
                let mut out = [0; 512];
                let len = encoder.encode(frame, &mut out).expect("encodes");
                out[..len].to_vec()
            })
            .collect();
        let mut packets = packets.iter().cycle();
        let mut decoder = SpeexDecoder::new(band);
        stage.bench(name, Throughput::Elements(len as u64), || {
            decoder.decode(packets.next().expect("endless"), &mut pcm).expect("decodes");
            black_box(&pcm);
        });
    }

    for (name, channels) in [("Opus, mono", 1), ("Opus, stereo", 2)] {
        let config = OpusEncoderConfig { channels, loss_percent: 10, ..OpusEncoderConfig::default() };
        let mut encoder = OpusEncoder::new(&config);
        let len = 960 * usize::from(channels);
        let packets: Vec<Vec<u8>> = second(len * PACKETS)
            .chunks_exact(len)
            .map(|frame| {
                let mut out = [0; 1_500];
                let len = encoder.encode(frame, &mut out).expect("encodes");
                out[..len].to_vec()
            })
            .collect();
        let mut packets = packets.iter().cycle();
        let mut decoder = OpusDecoder::new(channels);
        stage.bench(name, Throughput::Elements(960), || {
            decoder.decode(packets.next().expect("endless"), &mut pcm).expect("decodes");
            black_box(&pcm);
        });
    }

    let mut substitution = Substitution::new(8_000);
    let mut heard = second(8_000);
    let mut packets = heard.chunks_exact_mut(160).collect::<Vec<_>>();
    let mut next = 0;
    stage.bench("substitute for a lost packet of G.711, and the next one", Throughput::Elements(160), || {
        substitution.conceal(&mut pcm[..160]);
        next = (next + 1) % PACKETS;
        substitution.take(packets[next]);
        black_box(&pcm);
    });
    stage.finish();
}
