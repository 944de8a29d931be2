//! Sound to RTP payloads of the codec that was agreed on (RFC 3551, RFC 5574, RFC 7587).
//! Takes: blocks of 20 ms at 48 kHz, one channel. Gives: payloads of one packet time each.
//! Leaves out: when they are sent, RTP headers.

use sipcast_codec::g722::G722Encoder;
use sipcast_codec::opus::{OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexEncoder, SpeexEncoderConfig};
use sipcast_codec::{Resampler, g711};
use sipcast_contract::media::AudioCodec;
use sipcast_contract::sound::{LINE_BLOCK, LINE_RATE_HZ};

use super::format::Format;

/// Longest payload in bytes: 60 ms of G.711 are 480, and Opus is kept below.
pub const PAYLOAD_MAX: usize = 512;

/// Samples that wait at most: a packet of 60 ms less one sample, and a block more.
const WAITING_MAX: usize = 4 * LINE_BLOCK;

/// One codec's encoder. Everything is allocated when it is made.
pub struct PayloadEncoder {
    codec: AudioCodec,
    packet_time_ms: u32,
    resampler: Resampler,
    inner: Inner,
    waiting: Box<[i16; WAITING_MAX]>,
    len: usize,
}

enum Inner {
    ALaw,
    MuLaw,
    G722(Box<G722Encoder>),
    Speex(SpeexEncoder),
    Opus(OpusEncoder),
}

impl PayloadEncoder {
    /// `packet_time_ms` is kept to 10..=60; Speex and Opus take 20 ms whatever is wanted, which every receiver takes.
    pub fn new(codec: AudioCodec, packet_time_ms: u16) -> Self {
        let rate_hz = Format::of(codec, 1).rate_hz;
        let speex = |band| Inner::Speex(SpeexEncoder::new(&SpeexEncoderConfig::new(band)));
        let inner = match codec {
            AudioCodec::Pcma => Inner::ALaw,
            AudioCodec::Pcmu => Inner::MuLaw,
            AudioCodec::G722 => Inner::G722(Box::default()),
            AudioCodec::SpeexNarrowband => speex(SpeexBand::Narrow),
            AudioCodec::SpeexWideband => speex(SpeexBand::Wide),
            AudioCodec::SpeexUltraWideband => speex(SpeexBand::UltraWide),
            AudioCodec::Opus => {
                Inner::Opus(OpusEncoder::new(&OpusEncoderConfig { voice: false, ..Default::default() }))
            }
        };
        let packet_time_ms = match inner {
            Inner::Speex(_) | Inner::Opus(_) => 20,
            _ => u32::from(packet_time_ms.clamp(10, 60)),
        };
        Self {
            codec,
            packet_time_ms,
            resampler: Resampler::new(LINE_RATE_HZ, rate_hz)
                .expect("every codec's rate has whole blocks, and so has the lines'"),
            inner,
            waiting: Box::new([0; WAITING_MAX]),
            len: 0,
        }
    }

    /// What it encodes.
    pub const fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Milliseconds of sound in each payload.
    pub const fn packet_time_ms(&self) -> u32 {
        self.packet_time_ms
    }

    /// Whether a block is needed for the next payload.
    pub fn wants_block(&self) -> bool {
        self.len < self.packet_samples()
    }

    /// Takes a block; only when one is wanted.
    pub fn push(&mut self, block: &[i16; LINE_BLOCK]) {
        debug_assert!(self.wants_block());
        let len = self.resampler.output_len();
        if let Some(out) = self.waiting.get_mut(self.len..self.len + len) {
            self.resampler.process(block, out);
            self.len += len;
        }
    }

    /// Writes the next payload to `out` and says how long it is; `None`: a block is wanted first.
    pub fn poll(&mut self, out: &mut [u8; PAYLOAD_MAX]) -> Option<usize> {
        if self.wants_block() {
            return None;
        }
        let samples = self.packet_samples();
        let pcm = &self.waiting[..samples];
        let written = match &mut self.inner {
            Inner::ALaw => octets(pcm, out, g711::encode_a_law),
            Inner::MuLaw => octets(pcm, out, g711::encode_mu_law),
            Inner::G722(encoder) => {
                for (octet, pair) in out.iter_mut().zip(pcm.chunks_exact(2)) {
                    *octet = encoder.encode([pair[0], pair[1]]);
                }
                samples / 2
            }
            Inner::Speex(encoder) => encoder.encode(pcm, out).unwrap_or(0),
            Inner::Opus(encoder) => encoder.encode(pcm, out).unwrap_or(0),
        };
        self.waiting.copy_within(samples..self.len, 0);
        self.len -= samples;
        Some(written)
    }

    /// Forgets what waits: what follows is other sound.
    pub fn restart(&mut self) {
        self.len = 0;
        self.resampler.reset();
    }

    fn packet_samples(&self) -> usize {
        self.resampler.output_len() * self.packet_time_ms as usize / 20
    }
}

impl std::fmt::Debug for PayloadEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} encoder", self.codec)
    }
}

fn octets(pcm: &[i16], out: &mut [u8], encode: impl Fn(i16) -> u8) -> usize {
    for (octet, &sample) in out.iter_mut().zip(pcm) {
        *octet = encode(sample);
    }
    pcm.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::decoder::{Decoder, PAYLOAD_SAMPLES_MAX};

    /// Power of one frequency within `samples`, relative to all of it (Goertzel).
    pub(super) fn share(samples: &[i16], rate_hz: f64, frequency: f64) -> f64 {
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, &sample) in samples.iter().enumerate() {
            let angle = std::f64::consts::TAU * frequency * n as f64 / rate_hz;
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
            all += f64::from(sample) * f64::from(sample);
        }
        2.0 * (re * re + im * im) / (all * samples.len() as f64)
    }

    #[test]
    fn a_tone_is_heard_in_every_codec_and_packet_time() {
        for (codec, packet_time) in crate::audio::transcoder::tests::CODECS
            .into_iter()
            .map(|codec| (codec, 20))
            .chain([(AudioCodec::Pcmu, 10), (AudioCodec::Pcma, 30), (AudioCodec::G722, 60)])
        {
            let mut encoder = PayloadEncoder::new(codec, packet_time);
            let mut decoder = Decoder::new(codec, 1);
            let mut heard = Vec::new();
            let (mut out, mut pcm) = ([0; PAYLOAD_MAX], [0; PAYLOAD_SAMPLES_MAX]);
            for n in 0..100 {
                let block: [i16; LINE_BLOCK] = std::array::from_fn(|at| {
                    let time = (n * LINE_BLOCK + at) as f64 / 48_000.0;
                    (10_000.0 * (std::f64::consts::TAU * 1000.0 * time).sin()) as i16
                });
                if encoder.wants_block() {
                    encoder.push(&block);
                }
                while let Some(len) = encoder.poll(&mut out) {
                    let samples = decoder.decode(&out[..len], &mut pcm).expect("decodes");
                    let rate_ms = decoder.format().rate_hz / 1000;
                    assert_eq!(samples as u32, rate_ms * encoder.packet_time_ms(), "{codec:?}");
                    heard.extend_from_slice(&pcm[..samples]);
                }
            }
            let rate = f64::from(decoder.format().rate_hz);
            let half = &heard[heard.len() / 2..];
            assert!(share(half, rate, 1000.0) > 0.9, "{codec:?}: {}", share(half, rate, 1000.0));
        }
    }
}
