//! libFuzzer's way into [`sipcast_fuzz::srtp::packets`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sipcast_fuzz::srtp::packets(data));
