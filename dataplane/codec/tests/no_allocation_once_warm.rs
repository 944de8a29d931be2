//! Decoding, concealment, resampling and encoding allocate nothing after the first second. What C libraries allocate by
//! themselves is not counted here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sipcast_codec::aac::{self, AacConfig, FRAME_BYTES_MAX, PcmFormat};
use sipcast_codec::comfort_noise::ComfortNoise;
use sipcast_codec::g722::{G722Decoder, G722Encoder};
use sipcast_codec::opus::{OpusDecoder, OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexDecoder, SpeexEncoder, SpeexEncoderConfig};
use sipcast_codec::substitution::Substitution;
use sipcast_codec::{Resampler, g711};

struct Counting;

thread_local! {
    /// Of this thread alone: the test harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator with its arguments unchanged; counting has no other effect.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs one second of sound twice; the second one must allocate nothing.
fn assert_warm(what: &str, mut second: impl FnMut()) {
    second();
    let before = ALLOCATIONS.get();
    second();
    assert_eq!(ALLOCATIONS.get(), before, "{what}");
}

/// A second of a sound that is never the same twice.
fn sound(rate_hz: usize) -> Vec<i16> {
    let wave = |n: usize, hz: f64| (std::f64::consts::TAU * hz * n as f64 / rate_hz as f64).sin();
    (0..rate_hz).map(|n| (6_000.0 * (wave(n, 220.0) + wave(n, 1_330.0) * wave(n, 3.0))) as i16).collect()
}

#[test]
fn no_allocation_once_warm() {
    encoding();
    g711_and_g722();
    speex();
    opus();
}

fn encoding() {
    let mut resampler = Resampler::new(8_000, 48_000).expect("offered");
    let config = AacConfig { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 64_000 };
    let mut encoder = aac::open(&config).expect("offered");
    let mut block = [0; 960];
    let mut out = [0; FRAME_BYTES_MAX];
    let formats =
        [(8_000, 1), (16_000, 1), (48_000, 1)].map(|(rate_hz, channels)| PcmFormat { rate_hz, channels });
    assert!(formats.iter().all(|&format| encoder.prepare(format)));
    let mut from = 0;
    assert_warm("resampler and AAC encoder", || {
        for n in 0..50 {
            let input: [i16; 160] =
                std::array::from_fn(|i| g711::decode_a_law((from + n * 7 + i as u32) as u8));
            resampler.process(&input, &mut block);
            // The codec changes in mid-call, and silence comes between.
            let format = formats[n as usize / 10 % 3];
            let samples = &mut block[..format.block_samples()];
            if n % 25 > 15 {
                samples.fill(0);
            }
            assert!(encoder.push(format, samples));
            while let Some(len) = encoder.poll(&mut out) {
                len.expect("encodes");
            }
        }
        from += 1;
    });
}

/// With the substitute for what is lost, and comfort noise.
fn g711_and_g722() {
    let mut pcm = [0_i16; 160];
    let mut substitution = Substitution::new(8_000);
    let mut noise = ComfortNoise::default();
    let sent = sound(8_000);
    assert_warm("G.711, substitution, comfort noise", || {
        for (n, packet) in sent.chunks_exact(160).enumerate() {
            for (sample, &before) in pcm.iter_mut().zip(packet) {
                *sample = g711::decode_mu_law(g711::encode_mu_law(before));
            }
            substitution.take(&mut pcm);
            if n % 5 == 4 {
                substitution.conceal(&mut pcm);
                noise.update(&[50, 30, 20]);
                noise.fill(&mut pcm);
            }
        }
    });
    let mut encoder = G722Encoder::new();
    let pcm = sound(16_000);
    let octets: Vec<u8> = pcm.chunks_exact(2).map(|pair| encoder.encode([pair[0], pair[1]])).collect();
    let mut decoder = G722Decoder::new();
    assert_warm("G.722", || {
        let heard = octets.iter().fold(0_i32, |sum, &octet| sum + i32::from(decoder.decode(octet)[0]));
        std::hint::black_box(heard);
    });
}

fn speex() {
    for band in [SpeexBand::Narrow, SpeexBand::Wide, SpeexBand::UltraWide] {
        let len = band.frame_samples();
        let mut encoder = SpeexEncoder::new(&SpeexEncoderConfig::new(band));
        let packets: Vec<Vec<u8>> = sound(len * 50)
            .chunks_exact(len)
            .map(|frame| {
                let mut out = [0; 512];
                let len = encoder.encode(frame, &mut out).expect("encodes");
                out[..len].to_vec()
            })
            .collect();
        let mut decoder = SpeexDecoder::new(band);
        let mut pcm = vec![0; len];
        assert_warm(&format!("Speex {band:?}"), || {
            for (n, packet) in packets.iter().enumerate() {
                if n % 5 == 4 {
                    decoder.conceal(&mut pcm);
                }
                decoder.decode(packet, &mut pcm).expect("decodes");
            }
        });
    }
}

fn opus() {
    for channels in [1, 2] {
        let config = OpusEncoderConfig { channels, loss_percent: 10, ..OpusEncoderConfig::default() };
        let mut encoder = OpusEncoder::new(&config);
        let len = 960 * usize::from(channels);
        let packets: Vec<Vec<u8>> = sound(len * 50)
            .chunks_exact(len)
            .map(|frame| {
                let mut out = [0; 1_500];
                let len = encoder.encode(frame, &mut out).expect("encodes");
                out[..len].to_vec()
            })
            .collect();
        let mut decoder = OpusDecoder::new(channels);
        let mut pcm = vec![0; len];
        assert_warm(&format!("Opus, {channels} channels"), || {
            for (n, packet) in packets.iter().enumerate() {
                if n % 5 == 4 {
                    decoder.conceal(&mut pcm);
                }
                if n % 7 == 6 {
                    decoder.recover(packet, &mut pcm).expect("whole");
                }
                decoder.decode(packet, &mut pcm).expect("decodes");
            }
        });
    }
}
