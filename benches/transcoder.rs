//! The transcoder (`sipcast_media::audio`): packets of 20 ms of each codec to AAC of 48 kHz, 64 kbit/s. An iteration is
//! a packet; 15 frames come of 16 packets. Beside it the encoder alone, to tell its share.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::Throughput;
use sipcast_codec::aac::{self, AacConfig, FRAME_BYTES_MAX, PcmFormat};
use sipcast_codec::g722::G722Encoder;
use sipcast_codec::opus::{OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexEncoder, SpeexEncoderConfig};
use sipcast_codec::{Resampler, g711};
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

    for (name, codec) in CODECS {
        let payloads = payloads(codec);
        let mut packets = payloads.iter().cycle();
        let mut transcoder = Transcoder::new(&options, START).expect("offered");
        let mut number = 0_u64;
        stage.bench(name, throughput.clone(), || {
            let rtp_timestamp = number * u64::from(codec.clock_rate_hz()) / PACKETS as u64;
            let now = START + Duration::from_millis(number * 20);
            number += 1;
            transcoder.push(codec, rtp_timestamp as i64, packets.next().expect("endless"), now);
            while let Some(frame) = transcoder.poll_frame(&mut arena) {
                black_box(frame);
            }
        });
        assert_eq!((transcoder.refused(), transcoder.silence_samples()), (0, 0), "{name}");
    }

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
    for (name, _) in CODECS {
        stage.print_ratio(name, SOUND, 1.0);
    }
    stage.finish();
}

/// Samples into a packet's payload: how many octets it takes.
type Encode = Box<dyn FnMut(&[i16], &mut [u8]) -> usize>;

/// A second of the same sound in packets of 20 ms, at the codec's own rate.
fn payloads(codec: AudioCodec) -> Vec<Vec<u8>> {
    let rate_hz = if codec == AudioCodec::G722 { 16_000 } else { codec.clock_rate_hz() };
    let mut resampler = Resampler::new(8_000, rate_hz).ok();
    let narrow: Vec<i16> = sound().take(8_000).collect();
    let speex = |band| SpeexEncoder::new(&SpeexEncoderConfig::new(band));
    let mut encode: Encode = match codec {
        AudioCodec::Pcmu => Box::new(|pcm, out| each(pcm, out, g711::encode_mu_law)),
        AudioCodec::Pcma => Box::new(|pcm, out| each(pcm, out, g711::encode_a_law)),
        AudioCodec::G722 => {
            let mut encoder = G722Encoder::new();
            Box::new(move |pcm, out| {
                for (octet, pair) in out.iter_mut().zip(pcm.chunks_exact(2)) {
                    *octet = encoder.encode([pair[0], pair[1]]);
                }
                pcm.len() / 2
            })
        }
        AudioCodec::SpeexNarrowband | AudioCodec::SpeexWideband | AudioCodec::SpeexUltraWideband => {
            let mut encoder = speex(match codec {
                AudioCodec::SpeexNarrowband => SpeexBand::Narrow,
                AudioCodec::SpeexWideband => SpeexBand::Wide,
                _ => SpeexBand::UltraWide,
            });
            Box::new(move |pcm, out| encoder.encode(pcm, out).expect("encodes"))
        }
        AudioCodec::Opus => {
            let mut encoder =
                OpusEncoder::new(&OpusEncoderConfig { channels: 1, ..OpusEncoderConfig::default() });
            Box::new(move |pcm, out| encoder.encode(pcm, out).expect("encodes"))
        }
    };
    narrow
        .chunks_exact(PACKET_SAMPLES)
        .map(|block| {
            let mut pcm = block.to_vec();
            if let Some(resampler) = &mut resampler {
                pcm.resize(resampler.output_len(), 0);
                resampler.process(block, &mut pcm);
            }
            let mut out = [0; 1_500];
            let len = encode(&pcm, &mut out);
            out[..len].to_vec()
        })
        .collect()
}

fn each(pcm: &[i16], out: &mut [u8], encode: impl Fn(i16) -> u8) -> usize {
    out.iter_mut().zip(pcm).for_each(|(octet, &sample)| *octet = encode(sample));
    pcm.len()
}

const CODECS: [(&str, AudioCodec); 7] = [
    ("packet of PCMU", AudioCodec::Pcmu),
    ("packet of PCMA", AudioCodec::Pcma),
    ("packet of G.722", AudioCodec::G722),
    ("packet of Speex 8 kHz", AudioCodec::SpeexNarrowband),
    ("packet of Speex 16 kHz", AudioCodec::SpeexWideband),
    ("packet of Speex 32 kHz", AudioCodec::SpeexUltraWideband),
    ("packet of Opus", AudioCodec::Opus),
];

/// Packets of a second.
const PACKETS: usize = 50;

const SOUND: &str = "packet of sound";
const ENCODER: &str = "encoder alone";
