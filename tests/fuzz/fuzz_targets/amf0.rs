//! libFuzzer's way into [`sipcast_fuzz::amf0::values`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sipcast_fuzz::amf0::values(data));
