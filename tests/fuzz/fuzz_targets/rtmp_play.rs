//! libFuzzer's way into [`sipcast_fuzz::rtmp::player_input`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sipcast_fuzz::rtmp::player_input(data));
