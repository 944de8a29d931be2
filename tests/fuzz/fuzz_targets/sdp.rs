//! libFuzzer's way into [`sipcast_fuzz::sdp::descriptions`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sipcast_fuzz::sdp::descriptions(data));
