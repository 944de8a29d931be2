//! Decoding, resampling and encoding allocate nothing after the first second.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use sipcast_codec::aac::{self, AacConfig, FRAME_BYTES_MAX, PcmFormat};
use sipcast_codec::{Resampler, g711};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system allocator with its arguments unchanged; counting has no other effect.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

#[test]
fn no_allocation_once_warm() {
    let mut resampler = Resampler::new(8_000, 48_000).expect("offered");
    let config = AacConfig { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 64_000 };
    let mut encoder = aac::open(&config).expect("offered");
    let mut block = [0; 960];
    let mut out = [0; FRAME_BYTES_MAX];
    let formats =
        [(8_000, 1), (16_000, 1), (48_000, 1)].map(|(rate_hz, channels)| PcmFormat { rate_hz, channels });
    assert!(formats.iter().all(|&format| encoder.prepare(format)));
    let mut second = |from: u32| {
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
    };
    second(0);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    second(1);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
}
