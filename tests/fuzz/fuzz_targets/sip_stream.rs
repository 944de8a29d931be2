//! libFuzzer's way into [`sipcast_fuzz::sip::stream`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sipcast_fuzz::sip::stream(data));
