//! Opus (RFC 6716) at 48 kHz, by the vendored libopus.
//! Takes: RTP payloads of RFC 7587 (one Opus packet each), lengths of gaps. Gives: PCM, one or two channels.
//! Leaves out: which gap is a loss and which is silence (`sipcast-media`, `audio`).
//!
//! The states lie in memory of this crate, so libopus allocates nothing; its scratch memory is on the stack.

mod decoder;
mod encoder;
mod sys;

pub use decoder::{OpusDecoder, packet_samples};
pub use encoder::{OpusEncoder, OpusEncoderConfig};

/// Rate that is decoded to, in Hz, whatever the packets hold (RFC 7587 §4.1: the RTP clock's).
pub const SAMPLE_RATE_HZ: u32 = 48_000;

/// Samples a channel of the longest packet: 120 ms (RFC 6716 §3.2).
pub const PACKET_SAMPLES_MAX: usize = 5_760;

/// Concealment comes in multiples of 2.5 ms (`opus.h`, `opus_decode`).
pub const CONCEALMENT_SAMPLES: usize = 120;

/// libopus aligns its parts to 8 bytes and wants the start aligned so.
type State = Box<[u64]>;

fn state(bytes: i32) -> State {
    let words = usize::try_from(bytes).unwrap_or(0).div_ceil(size_of::<u64>());
    vec![0; words].into()
}
