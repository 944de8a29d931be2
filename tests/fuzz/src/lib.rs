//! Fuzz targets: each takes arbitrary bytes as what a peer or a client might send, runs the product's own code on them
//! and panics when an invariant breaks. What they look for: panics, endless loops, growth without bound.
//!
//! One function a target, so that libFuzzer (`fuzz_targets/`, feature `libfuzzer`) and the corpus test
//! (`tests/corpus.rs`, part of every `cargo test`) run the same code.
#![forbid(unsafe_code)]

pub mod amf0;
pub mod flv;
mod input;
pub mod order;
pub mod rtmp;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod srtp;

/// A target's name, which is also its folder under `corpus/`, and its code.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[FuzzTarget] = &[
    ("amf0", amf0::values),
    ("flv", flv::bodies),
    ("order", order::json),
    ("rtmp_chunks", rtmp::server_input),
    ("rtmp_play", rtmp::player_input),
    ("rtmp_server", rtmp::target_input),
    ("rtp", rtp::call),
    ("sdp", sdp::descriptions),
    ("sip_call", sip::call),
    ("sip_stream", sip::stream),
    ("srtp", srtp::packets),
];
