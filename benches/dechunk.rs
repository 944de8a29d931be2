//! The RTMP chunk stream in receive (`sipcast_media::rtmp::Dechunker`), as the origin uses it. An iteration is the
//! message of a picture. Each message leaves as memory of its own, which players share: that is its allocation.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_media::rtmp::{Chunker, Dechunker, MessageHeader, message_type};
use support::Stage;

fn main() {
    let mut stage = Stage::new("dechunk");
    for (name, len, piece_len) in [
        ("message of 4 KiB, whole", 4096, usize::MAX),
        ("message of 4 KiB, in pieces of 1448 bytes", 4096, 1448),
        ("message of 130 KiB, whole", 133_120, usize::MAX),
    ] {
        let mut dechunker = Dechunker::new(4 << 20);
        let message = repeatable_message(len, &mut dechunker);
        stage.bench(name, Throughput::Bytes(len as u64), || {
            for mut piece in black_box(&message).chunks(piece_len) {
                while let Some(message) = dechunker.next_message(&mut piece).expect("valid") {
                    black_box(message);
                }
            }
        });
    }
    stage.finish();
}

/// A message that may follow itself, once `dechunker` has taken what comes before it.
fn repeatable_message(len: usize, dechunker: &mut Dechunker) -> Vec<u8> {
    let mut chunker = Chunker::new();
    let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
    let header = |timestamp_ms| MessageHeader {
        chunk_stream: 6,
        timestamp_ms,
        type_id: message_type::VIDEO,
        message_stream: 1,
    };
    let mut before = Vec::new();
    chunker.announce(&mut before);
    chunker.write(&header(0), &payload, &mut before);
    let mut input = &before[..];
    assert!(dechunker.next_message(&mut input).expect("valid").is_some() && input.is_empty());
    // The same length and a step in time from now on: the header says nothing but the step.
    let mut message = Vec::new();
    chunker.write(&header(33), &payload, &mut message);
    message
}
