//! Remux: an access unit to an FLV tag body and on to RTMP chunks, as a list of segments (`sipcast_media::flv`,
//! `sipcast_media::rtmp::Chunker`). An iteration is a picture. Beside it what a remux would pay that copies the
//! payload once.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_contract::limits::SLOT_LEN;
use sipcast_media::flv;
use sipcast_media::h264::access_unit::LENGTH_FIELD_LEN;
use sipcast_media::h264::{AccessUnit, AccessUnits};
use sipcast_media::rtmp::{ChunkList, Chunker, MessageHeader, message_type};
use sipcast_pool::{Arena, Pool, Segment};
use support::traffic::{PICTURES_PER_SECOND, Pictures, Video, pool};
use support::{Stage, TURN};

fn main() {
    let mut stage = Stage::new("remux");
    let pool = pool();
    for (rate, bit_rate_bps) in [("1 Mbit/s", 1_000_000), ("8 Mbit/s", 8_000_000)] {
        let throughput = Throughput::Bytes(bit_rate_bps as u64 / 8 / PICTURES_PER_SECOND);
        let (remux, copy) = (format!("picture of {rate}"), format!("copy of a picture of {rate}"));

        let mut pictures = Pictures::new(Video::new(&pool, bit_rate_bps));
        let mut remuxer = Remuxer::new();
        stage.bench_prepared(
            &remux,
            throughput.clone(),
            TURN,
            |units: &mut AccessUnits| pictures.access_unit(units),
            |units| {
                units.iter().for_each(|unit| remuxer.push(unit));
                units.clear();
            },
        );

        let mut pictures = Pictures::new(Video::new(&pool, bit_rate_bps));
        let mut copied = Vec::new();
        stage.bench_prepared(
            &copy,
            throughput,
            TURN,
            |units: &mut AccessUnits| pictures.access_unit(units),
            |units| {
                copied.clear();
                let slices = units
                    .iter()
                    .flat_map(|unit| unit.nal_units().iter().flat_map(|nal_unit| unit.slices(nal_unit)));
                slices.for_each(|slice| copied.extend_from_slice(slice));
                black_box(&copied);
                units.clear();
            },
        );
        stage.print_ratio(&remux, &copy, 1.0);
    }
    stage.finish();
}

/// Writes the body as the pipeline does: FLV header and NAL unit lengths into the arena, payload as it lies.
struct Remuxer {
    arena: Arena,
    chunker: Chunker,
    body: Vec<Segment>,
    chunks: ChunkList,
    timestamp_ms: u32,
}

impl Remuxer {
    fn new() -> Self {
        Self {
            arena: Arena::new(Pool::new(64, SLOT_LEN)),
            chunker: Chunker::announced(),
            body: Vec::new(),
            chunks: ChunkList::new(),
            timestamp_ms: 0,
        }
    }

    fn push(&mut self, unit: &AccessUnit) {
        self.write_body(unit);
        self.timestamp_ms = self.timestamp_ms.wrapping_add(33);
        let header = MessageHeader {
            chunk_stream: 6,
            timestamp_ms: self.timestamp_ms,
            type_id: message_type::VIDEO,
            message_stream: 1,
        };
        self.chunker.begin(&header, self.body.iter().map(Segment::len).sum());
        let mut segments = self.body.drain(..);
        while self.chunker.is_open() {
            self.chunker
                .fill(|| segments.next(), &mut self.arena, &mut self.chunks, usize::MAX)
                .expect("a free slot");
        }
        black_box(&self.chunks);
        self.chunks.clear();
    }

    fn write_body(&mut self, unit: &AccessUnit) {
        let flv_header = flv::video::nal_units_header(unit.is_idr(), 0);
        let mut in_front = &flv_header[..];
        for nal_unit in unit.nal_units() {
            let mut header = [0; flv::video::HEADER_LEN + LENGTH_FIELD_LEN + 1];
            let mut len = 0;
            let mut put = |bytes: &[u8]| {
                header[len..len + bytes.len()].copy_from_slice(bytes);
                len += bytes.len();
            };
            put(std::mem::take(&mut in_front));
            put(&nal_unit.len.to_be_bytes());
            if nal_unit.is_header_apart {
                put(&[nal_unit.header.0]);
            }
            self.body.push(self.arena.write(&header[..len]).expect("a free slot"));
            self.body.extend_from_slice(unit.slices(nal_unit));
        }
    }
}
