//! The callee's sound in every codec that the product knows, coded once and sent by all calls.
//! Takes: a codec, a kind of sound. Gives: payloads by their place in time.
//! Leaves out: RTP headers and when packets are due (`sender`).
//!
//! Every second begins with a beep of 1 kHz, 60 ms long. What follows is a quiet tone, by which tests find the beep,
//! or sound with the spectrum and the pauses of speech, because an audio encoder's work depends on what it encodes.

use std::f64::consts::TAU;
use std::sync::Arc;

use anyhow::Context;
use sipcast_codec::g711::{encode_a_law, encode_mu_law};
use sipcast_codec::g722::G722Encoder;
use sipcast_codec::opus::{OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexEncoder, SpeexEncoderConfig};

/// Samples of the beep at 8000 a second: 60 ms.
pub const BEEP_SAMPLES: usize = 480;
/// Packets a second: 20 ms each (RFC 3551 §4.2).
pub(super) const PACKETS_PER_SECOND: u64 = 50;
/// Seconds until the sound begins again.
const LOOP_SECONDS: usize = 4;
/// Octets of the longest payload of 20 ms.
const PAYLOAD_LEN_MAX: usize = 1_275;

/// A codec of the callee's sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AudioCodec {
    /// G.711 mu-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s, static payload type 9.
    G722,
    /// Opus, mono, 32 kbit/s.
    Opus,
    /// Speex at 8 kHz.
    SpeexNarrowband,
    /// Speex at 16 kHz.
    SpeexWideband,
    /// Speex at 32 kHz.
    SpeexUltraWideband,
}

impl AudioCodec {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pcmu,
        Self::Pcma,
        Self::G722,
        Self::Opus,
        Self::SpeexNarrowband,
        Self::SpeexWideband,
        Self::SpeexUltraWideband,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
            Self::SpeexNarrowband => "speex/8000",
            Self::SpeexWideband => "speex/16000",
            Self::SpeexUltraWideband => "speex/32000",
        }
    }

    /// Reads a name in any case; `G.722` and `speex` (8 kHz) too.
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "g.722" => Some(Self::G722),
            "speex" => Some(Self::SpeexNarrowband),
            lower => Self::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(lower)),
        }
    }

    /// The encoding of its `a=rtpmap` (RFC 3551 §6, RFC 5574 §4.1, RFC 7587 §7).
    pub(super) const fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            // RFC 3551 §4.5.2: the clock runs at 8000 although it is sampled at 16000.
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
            Self::SpeexNarrowband => "speex/8000",
            Self::SpeexWideband => "speex/16000",
            Self::SpeexUltraWideband => "speex/32000",
        }
    }

    /// RTP clock.
    pub(super) const fn clock_hz(self) -> u64 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::SpeexNarrowband => 8_000,
            Self::SpeexWideband => 16_000,
            Self::SpeexUltraWideband => 32_000,
            Self::Opus => 48_000,
        }
    }

    const fn sample_rate_hz(self) -> usize {
        match self {
            Self::G722 => 16_000,
            _ => self.clock_hz() as usize,
        }
    }
}

/// What sounds between the beeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sound {
    /// A quiet tone.
    Tone,
    /// Like speech.
    Speech,
}

/// A few seconds of sound in one codec, looped.
pub(super) struct AudioRecording {
    octets: Vec<u8>,
    /// Where payloads begin and end; empty for G.711, which may be cut anywhere.
    ends: Vec<u32>,
}

impl AudioRecording {
    /// Codes the sound.
    ///
    /// # Errors
    /// When the codec library fails.
    pub fn new(codec: AudioCodec, sound: Sound) -> anyhow::Result<Arc<Self>> {
        let rate = codec.sample_rate_hz();
        // Twice, and the second time counts: codecs remember, and the end has to lead into the beginning.
        let pcm: Vec<i16> =
            (0..2 * LOOP_SECONDS * rate).map(|at| sample(at % (LOOP_SECONDS * rate), rate, sound)).collect();
        if let AudioCodec::Pcmu | AudioCodec::Pcma = codec {
            let encode = if codec == AudioCodec::Pcmu { encode_mu_law } else { encode_a_law };
            // One packet of the beginning again, so that a packet over the seam is one slice.
            let len = LOOP_SECONDS * rate + rate / PACKETS_PER_SECOND as usize;
            let octets = pcm[..len].iter().map(|sample| encode(*sample)).collect();
            return Ok(Arc::new(Self { octets, ends: Vec::new() }));
        }
        let frame = rate / PACKETS_PER_SECOND as usize;
        let mut encode = encoder(codec);
        let mut recording = Self { octets: Vec::new(), ends: Vec::new() };
        let mut payload = [0; PAYLOAD_LEN_MAX];
        for (place, samples) in pcm.chunks_exact(frame).enumerate() {
            let len = encode(samples, &mut payload).with_context(|| format!("encode {}", codec.name()))?;
            if place >= pcm.len() / frame / 2 {
                recording.octets.extend_from_slice(&payload[..len]);
                recording.ends.push(recording.octets.len() as u32);
            }
        }
        Ok(Arc::new(recording))
    }

    /// The payload of 20 ms that begins `position` (in 1/8000 s) after the beep of second 0; for codecs that cannot
    /// be cut, the nearest.
    pub fn payload(&self, position: u64) -> &[u8] {
        const PACKET: u64 = 8_000 / PACKETS_PER_SECOND;
        if self.ends.is_empty() {
            let start = (position % (LOOP_SECONDS as u64 * 8_000)) as usize;
            return &self.octets[start..start + PACKET as usize];
        }
        let place = ((position + PACKET / 2) / PACKET) as usize % self.ends.len();
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.octets[start as usize..self.ends[place] as usize]
    }
}

type Encode = Box<dyn FnMut(&[i16], &mut [u8]) -> anyhow::Result<usize>>;

fn encoder(codec: AudioCodec) -> Encode {
    let speex = |band| -> Encode {
        let mut encoder = SpeexEncoder::new(&SpeexEncoderConfig::new(band));
        Box::new(move |pcm, out| encoder.encode(pcm, out).map_err(|_| anyhow::anyhow!("speex")))
    };
    match codec {
        AudioCodec::SpeexNarrowband => speex(SpeexBand::Narrow),
        AudioCodec::SpeexWideband => speex(SpeexBand::Wide),
        AudioCodec::SpeexUltraWideband => speex(SpeexBand::UltraWide),
        AudioCodec::Opus => {
            let mut encoder = OpusEncoder::new(&OpusEncoderConfig::default());
            Box::new(move |pcm, out| encoder.encode(pcm, out).map_err(|_| anyhow::anyhow!("opus")))
        }
        AudioCodec::G722 | AudioCodec::Pcmu | AudioCodec::Pcma => {
            let mut encoder = G722Encoder::new();
            Box::new(move |pcm, out| {
                for (pair, octet) in pcm.chunks_exact(2).zip(out.iter_mut()) {
                    *octet = encoder.encode([pair[0], pair[1]]);
                }
                Ok(pcm.len() / 2)
            })
        }
    }
}

fn sample(at: usize, rate: usize, sound: Sound) -> i16 {
    let time = at as f64 / rate as f64;
    let within = time.fract();
    if within < BEEP_SAMPLES as f64 / 8_000.0 {
        return ((TAU * 1_000.0 * within).sin() * 16_000.0) as i16;
    }
    match sound {
        Sound::Tone => ((TAU * 250.0 * time).sin() * 250.0) as i16,
        Sound::Speech => speech(time) as i16,
    }
}

/// Harmonics of a gliding voice under three moving formants, in syllables of a quarter of a second, every fourth of them
/// a pause; a hiss at the end of each. Whole cycles in four seconds, so that the loop has no seam.
fn speech(time: f64) -> f64 {
    let syllable = (time * 4.0) as usize;
    let within = (time * 4.0).fract();
    if syllable % 4 == 3 {
        return 0.0;
    }
    let swell = (TAU / 2.0 * within).sin();
    // The phase is the integral of the pitch: 130 Hz, 25 Hz up and down twice in four seconds.
    let phase = TAU * 130.0 * time - 50.0 * (TAU * 0.5 * time).cos();
    let formants = [(500.0, 80.0), (1_500.0, 120.0), (2_600.0, 160.0)];
    let shift = 1.0 + 0.25 * (TAU * 0.75 * time).sin();
    let voiced: f64 = (1..28)
        .map(|harmonic| {
            let frequency = 130.0 * f64::from(harmonic);
            let gain: f64 = formants
                .iter()
                .map(|(centre, width)| 1.0 / (1.0 + ((frequency - centre * shift) / width).powi(2)))
                .sum();
            gain * (f64::from(harmonic) * phase).sin() / f64::from(harmonic).sqrt()
        })
        .sum();
    let hiss = if within > 0.8 { 500.0 * noise((time * 48_000.0) as u64) } else { 0.0 };
    (swell * 1_800.0 * voiced + hiss).clamp(-7_500.0, 7_500.0)
}

/// White noise by position (SplitMix64), from -1 to 1.
fn noise(at: u64) -> f64 {
    let mut state = at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state ^ (state >> 31)) as f64 / (u64::MAX as f64 / 2.0) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for codec in AudioCodec::ALL {
            assert_eq!(AudioCodec::parse(&codec.name().to_ascii_uppercase()), Some(codec));
        }
        assert_eq!(AudioCodec::parse("G.722"), Some(AudioCodec::G722));
        assert_eq!(AudioCodec::parse("Speex"), Some(AudioCodec::SpeexNarrowband));
        assert_eq!(AudioCodec::parse("mp3"), None);
    }

    #[test]
    fn the_loop_of_g711_has_no_seam() {
        let recording = AudioRecording::new(AudioCodec::Pcmu, Sound::Tone).unwrap();
        let len = LOOP_SECONDS as u64 * 8_000;
        let packet = recording.payload(len - 80);
        assert_eq!(packet[..80], recording.octets[len as usize - 80..len as usize]);
        assert_eq!(packet[80..], recording.octets[..80]);
        assert_eq!(recording.payload(len), recording.payload(0));
    }

    #[test]
    fn every_codec_has_a_payload_of_its_size_for_every_packet() {
        for (codec, lens) in [
            (AudioCodec::Pcma, 160..=160),
            (AudioCodec::G722, 160..=160),
            (AudioCodec::Opus, 3..=400),
            (AudioCodec::SpeexNarrowband, 10..=70),
            (AudioCodec::SpeexWideband, 10..=110),
            (AudioCodec::SpeexUltraWideband, 10..=120),
        ] {
            let recording = AudioRecording::new(codec, Sound::Speech).unwrap();
            for packet in 0..2 * LOOP_SECONDS as u64 * PACKETS_PER_SECOND {
                let len = recording.payload(packet * 160).len();
                assert!(lens.contains(&len), "{codec:?}: {len} octets");
            }
        }
    }

    #[test]
    fn the_beep_alone_is_loud_and_speech_pauses() {
        let loud = |sound| (0..32_000).filter(|at| sample(*at, 8_000, sound).unsigned_abs() > 8_000).count();
        assert!(loud(Sound::Tone) > 0);
        assert_eq!(loud(Sound::Tone), loud(Sound::Speech));
        let silent = (0..32_000).filter(|at| sample(*at, 8_000, Sound::Speech) == 0).count();
        assert!((6_000..10_000).contains(&silent), "{silent} of 32000 samples are silent");
    }
}
