//! Every codec in every packet time, whole and with loss: what comes out as AAC is what was sent, in its place.
//! Compared by correlation and delay, not by presence.

use std::f64::consts::TAU;
use std::time::Duration;

use sipcast_codec::aac_decoder::AacDecoder;
use sipcast_codec::g711;
use sipcast_codec::g722::G722Encoder;
use sipcast_codec::opus::{OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexEncoder, SpeexEncoderConfig};
use sipcast_contract::Timestamp;
use sipcast_contract::media::AudioCodec;
use sipcast_contract::options::AacOptions;
use sipcast_media::audio::Transcoder;
use sipcast_pool::{Arena, Pool};

const START: Timestamp = Timestamp::from_millis(5_000_000);

const CODECS: [AudioCodec; 7] = [
    AudioCodec::Pcmu,
    AudioCodec::Pcma,
    AudioCodec::G722,
    AudioCodec::SpeexNarrowband,
    AudioCodec::SpeexWideband,
    AudioCodec::SpeexUltraWideband,
    AudioCodec::Opus,
];

/// Speech-like sound within the telephone band: harmonics of a gliding pitch, in syllables.
fn sound(seconds: f64) -> f64 {
    let phase = 140.0 * seconds + 2.0 * (TAU * 0.8 * seconds).sin();
    let harmonics: f64 = (3..20).map(|k| (TAU * phase * f64::from(k)).sin() / f64::from(k)).sum();
    9_000.0 * harmonics * (0.55 - 0.45 * (TAU * 3.1 * seconds).cos())
}

const fn rate_hz(codec: AudioCodec) -> u32 {
    match codec {
        AudioCodec::G722 => 16_000,
        codec => codec.clock_rate_hz(),
    }
}

enum Encoder {
    MuLaw,
    ALaw,
    G722(Box<G722Encoder>),
    Speex(SpeexEncoder),
    Opus(OpusEncoder),
}

impl Encoder {
    fn new(codec: AudioCodec) -> Self {
        let speex = |band| Self::Speex(SpeexEncoder::new(&SpeexEncoderConfig::new(band)));
        match codec {
            AudioCodec::Pcmu => Self::MuLaw,
            AudioCodec::Pcma => Self::ALaw,
            AudioCodec::G722 => Self::G722(Box::default()),
            AudioCodec::SpeexNarrowband => speex(SpeexBand::Narrow),
            AudioCodec::SpeexWideband => speex(SpeexBand::Wide),
            AudioCodec::SpeexUltraWideband => speex(SpeexBand::UltraWide),
            AudioCodec::Opus => Self::Opus(OpusEncoder::new(&OpusEncoderConfig {
                loss_percent: 10,
                ..OpusEncoderConfig::default()
            })),
        }
    }

    fn encode(&mut self, pcm: &[i16]) -> Vec<u8> {
        let mut out = [0; 1_500];
        let len = match self {
            Self::MuLaw => return pcm.iter().map(|&sample| g711::encode_mu_law(sample)).collect(),
            Self::ALaw => return pcm.iter().map(|&sample| g711::encode_a_law(sample)).collect(),
            Self::G722(encoder) => {
                return pcm.chunks_exact(2).map(|pair| encoder.encode([pair[0], pair[1]])).collect();
            }
            Self::Speex(encoder) => encoder.encode(pcm, &mut out),
            Self::Opus(encoder) => encoder.encode(pcm, &mut out),
        };
        out[..len.expect("encodes")].to_vec()
    }
}

/// A transcoder and what a viewer hears of it, at 48 kHz.
struct Listener {
    transcoder: Transcoder,
    arena: Arena,
    decoder: AacDecoder,
    heard: Vec<i16>,
}

impl Listener {
    fn new() -> Self {
        let transcoder = Transcoder::new(&AacOptions::default(), START).expect("offered");
        let decoder = AacDecoder::open(transcoder.audio_specific_config()).expect("its own configuration");
        Self { transcoder, arena: Arena::new(Pool::new(8, 2048)), decoder, heard: Vec::new() }
    }

    fn push(&mut self, codec: AudioCodec, rtp_timestamp: i64, payload: &[u8], at_ms: u64) {
        self.transcoder.push(codec, rtp_timestamp, payload, START + Duration::from_millis(at_ms));
        while let Some(frame) = self.transcoder.poll_frame(&mut self.arena) {
            assert_eq!(frame.position, self.heard.len() as u64, "no gap, no step back");
            let mut pcm = [0; 1_024];
            let samples = self.decoder.decode(&frame.data, &mut pcm).expect("its own frame");
            self.heard.extend_from_slice(&pcm[..samples]);
        }
    }

    /// Greatest correlation with what was sent between two times, and the delay in ms at which it is.
    fn correlation(&self, from_s: f64, to_s: f64) -> (f64, f64) {
        let range = (from_s * 48_000.0) as usize..(to_s * 48_000.0) as usize;
        // From 30 ms before the range on.
        let sent: Vec<f64> = (0..range.len() + DELAY_MAX)
            .map(|n| sound((range.start + n) as f64 / 48_000.0 - DELAY_MAX as f64 / 48_000.0))
            .collect();
        let mut best = (f64::MIN, 0.0);
        for delay in (0..DELAY_MAX).step_by(2) {
            let (mut product, mut sent_energy, mut heard_energy) = (0.0, 1.0, 1.0);
            for n in range.clone().step_by(3) {
                let sent = sent[n - range.start + DELAY_MAX - delay];
                let heard = f64::from(self.heard[n]);
                product += sent * heard;
                sent_energy += sent * sent;
                heard_energy += heard * heard;
            }
            let correlation = product / (sent_energy * heard_energy).sqrt();
            if correlation > best.0 {
                best = (correlation, delay as f64 / 48.0);
            }
        }
        best
    }
}

/// Sends two seconds in packets of `ptime_ms`; every `nth` is lost (0: none).
fn send(listener: &mut Listener, codec: AudioCodec, ptime_ms: u64, nth: u64, is_told: bool) {
    let mut encoder = Encoder::new(codec);
    let len = u64::from(rate_hz(codec)) * ptime_ms / 1_000;
    for packet in 0..2_000 / ptime_ms {
        let pcm: Vec<i16> = (packet * len..(packet + 1) * len)
            .map(|n| sound(n as f64 / f64::from(rate_hz(codec))) as i16)
            .collect();
        let payload = encoder.encode(&pcm);
        if nth > 0 && packet % nth == nth - 1 {
            if is_told {
                listener.transcoder.note_lost();
            }
            continue;
        }
        let rtp_timestamp = packet * ptime_ms * u64::from(codec.clock_rate_hz()) / 1_000;
        listener.push(codec, rtp_timestamp as i64, &payload, packet * ptime_ms);
    }
}

fn packet_times(codec: AudioCodec) -> &'static [u64] {
    match codec {
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 => &[10, 20, 30, 40, 50, 60],
        // RFC 5574 §2: frames of 20 ms.
        AudioCodec::SpeexNarrowband | AudioCodec::SpeexWideband | AudioCodec::SpeexUltraWideband => {
            &[20, 40, 60]
        }
        AudioCodec::Opus => &[10, 20, 40, 60],
    }
}

/// Longest delay that is looked for, in samples of 48 kHz.
const DELAY_MAX: usize = 1_440;

/// Delay of codec filters and look-ahead, in ms.
const DELAY_MS_MAX: f64 = 17.0;

#[test]
fn every_codec_is_heard_in_its_place_in_every_packet_time() {
    for codec in CODECS {
        for &ptime_ms in packet_times(codec) {
            let mut listener = Listener::new();
            send(&mut listener, codec, ptime_ms, 0, true);
            let (correlation, delay_ms) = listener.correlation(0.3, 1.5);
            let least = if codec == AudioCodec::SpeexNarrowband { 0.8 } else { 0.9 };
            assert!(correlation > least, "{codec:?} {ptime_ms} ms: {correlation}");
            assert!(delay_ms < DELAY_MS_MAX, "{codec:?} {ptime_ms} ms: late by {delay_ms} ms");
            let transcoder = &listener.transcoder;
            let put_in = (transcoder.silence_samples(), transcoder.concealed_samples(), transcoder.refused());
            assert_eq!(put_in, (0, 0, 0), "{codec:?} {ptime_ms} ms");
        }
    }
}

#[test]
fn a_loss_is_concealed_and_all_after_it_stays_in_place() {
    for codec in CODECS {
        let mut concealed = Listener::new();
        send(&mut concealed, codec, 20, 10, true);
        assert!(concealed.transcoder.concealed_samples() >= 8 * 960, "{codec:?}");
        let (with, delay_ms) = concealed.correlation(0.3, 1.5);
        assert!(with > 0.75 && delay_ms < DELAY_MS_MAX, "{codec:?}: {with}, {delay_ms} ms");
        if matches!(codec, AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722) {
            // Untold of losses these codecs fill with silence: the worse.
            let mut silent = Listener::new();
            send(&mut silent, codec, 20, 10, false);
            assert_eq!(silent.transcoder.concealed_samples(), 0);
            let (without, _) = silent.correlation(0.3, 1.5);
            assert!(with > without, "{codec:?}: {with} {without}");
        }
    }
}

#[test]
fn the_codec_changes_in_mid_call() {
    for (first, second) in [
        (AudioCodec::Pcmu, AudioCodec::G722),
        (AudioCodec::Opus, AudioCodec::Pcma),
        (AudioCodec::SpeexWideband, AudioCodec::Opus),
    ] {
        let mut listener = Listener::new();
        let mut rtp_timestamp = 4_000_000_000_i64;
        for (codec, packets) in [(first, 0..50_u64), (second, 50..100)] {
            let mut encoder = Encoder::new(codec);
            let len = u64::from(rate_hz(codec)) / 50;
            for packet in packets {
                let pcm: Vec<i16> = (packet * len..(packet + 1) * len)
                    .map(|n| sound(n as f64 / f64::from(rate_hz(codec))) as i16)
                    .collect();
                listener.push(codec, rtp_timestamp, &encoder.encode(&pcm), packet * 20);
                rtp_timestamp += i64::from(codec.clock_rate_hz() / 50);
            }
        }
        for (from_s, to_s) in [(0.3, 0.9), (1.15, 1.7)] {
            let (correlation, delay_ms) = listener.correlation(from_s, to_s);
            assert!(correlation > 0.9, "{first:?} to {second:?}: {correlation} from {from_s} s");
            assert!(delay_ms < DELAY_MS_MAX, "{first:?} to {second:?}: late by {delay_ms} ms");
        }
    }
}

#[test]
fn comfort_noise_fills_a_pause_at_its_level() {
    let mut listener = Listener::new();
    let mut encoder = Encoder::new(AudioCodec::Pcmu);
    let mut send = |listener: &mut Listener, packet: u64| {
        let pcm: Vec<i16> =
            (packet * 160..(packet + 1) * 160).map(|n| sound(n as f64 / 8_000.0) as i16).collect();
        listener.push(AudioCodec::Pcmu, packet as i64 * 160, &encoder.encode(&pcm), packet * 20);
    };
    for packet in 0..50 {
        send(&mut listener, packet);
    }
    // RFC 3389: noise of -50 dBov for a second, in which nothing else comes.
    let at = |ms: u64| START + Duration::from_millis(ms);
    listener.transcoder.push_comfort_noise(50 * 160, &[50], at(1_000));
    for now_ms in (1_000..2_000).step_by(10) {
        listener.transcoder.handle_timeout(at(now_ms));
    }
    for packet in 100..125 {
        send(&mut listener, packet);
    }
    let noise = &listener.heard[48_000 * 5 / 4..48_000 * 7 / 4];
    let rms = (noise.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / noise.len() as f64).sqrt();
    let level_db = 20.0 * (rms / 32_768.0).log10();
    assert!((level_db + 50.0).abs() < 3.0, "{level_db} dBov");
}

#[test]
fn nothing_is_decoded_while_nobody_listens_and_time_goes_on() {
    let mut listener = Listener::new();
    listener.transcoder.set_listened(false);
    send(&mut listener, AudioCodec::Opus, 20, 0, true);
    assert!(listener.heard.len() > 80_000 && listener.heard.iter().all(|&sample| sample == 0));
}
