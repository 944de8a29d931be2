//! The transcoder (`sipcast_media::audio`): PCMU in packets of 20 ms to AAC of 48 kHz, 64 kbit/s. An iteration is
//! a packet; 15 frames come of 16 packets. Beside it the encoder alone, to tell its share.

mod support;

use std::hint::black_box;

use criterion::Throughput;
use sipcast_codec::aac::{self, AacConfig, FRAME_BYTES_MAX, PcmFormat};
use sipcast_contract::limits::SLOT_LEN;
use sipcast_contract::media::AudioCodec;
use sipcast_contract::options::AacOptions;
use sipcast_media::audio::Transcoder;
use sipcast_pool::{Arena, Pool};
use support::Stage;
use support::traffic::{Audio, PACKET_SAMPLES, START, sound};

fn main() {
    let mut stage = Stage::new("transcoder");
    let options = AacOptions::default();
    let pool = Pool::new(64, SLOT_LEN);
    let mut arena = Arena::new(pool.clone());
    let throughput = Throughput::Elements(PACKET_SAMPLES as u64);

    let mut audio = Audio::new(&pool);
    let mut transcoder = Transcoder::new(&options, START).expect("offered");
    stage.bench(SOUND, throughput.clone(), || {
        let (payload, rtp_timestamp, now) = audio.payload();
        transcoder.push(AudioCodec::Pcmu, rtp_timestamp, payload, now);
        while let Some(frame) = transcoder.poll_frame(&mut arena) {
            black_box(frame);
        }
    });
    assert_eq!((transcoder.refused(), transcoder.silence_samples()), (0, 0));

    let mut audio = Audio::new(&pool);
    let mut transcoder = Transcoder::new(&options, START).expect("offered");
    stage.bench("packet of digital silence", throughput, || {
        let (payload, rtp_timestamp, now) = audio.payload();
        transcoder.push(AudioCodec::Pcmu, rtp_timestamp, &[0xff; PACKET_SAMPLES][..payload.len()], now);
        while let Some(frame) = transcoder.poll_frame(&mut arena) {
            black_box(frame);
        }
    });

    let AacOptions { sample_rate_hz, channels, bit_rate_bps } = options;
    let mut encoder = aac::open(&AacConfig { sample_rate_hz, channels, bit_rate_bps }).expect("offered");
    let format = PcmFormat { rate_hz: 8_000, channels: 1 };
    let pcm: Vec<i16> = sound().collect();
    let mut blocks = pcm.chunks_exact(PACKET_SAMPLES).cycle();
    let mut out = [0; FRAME_BYTES_MAX];
    stage.bench(ENCODER, Throughput::Elements(PACKET_SAMPLES as u64), || {
        encoder.push(format, blocks.next().expect("endless"));
        while let Some(len) = encoder.poll(&mut out) {
            black_box(len.expect("encodes"));
        }
    });

    stage.print_ratio(SOUND, ENCODER, 1.0);
    stage.finish();
}

const SOUND: &str = "packet of sound";
const ENCODER: &str = "encoder alone";
