//! libFuzzer's way into [`sipcast_fuzz::order::json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sipcast_fuzz::order::json(data));
