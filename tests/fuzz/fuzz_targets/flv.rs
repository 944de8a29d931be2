//! libFuzzer's way into [`sipcast_fuzz::flv::bodies`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sipcast_fuzz::flv::bodies(data));
