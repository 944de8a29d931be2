//! One codec's payloads to PCM, and what takes the place of payloads that are missing.
//! Takes: payloads in order, lengths of gaps. Gives: PCM, interleaved. Leaves out: where it lies on the timeline.

use sipcast_codec::g722::{self, G722Decoder};
use sipcast_codec::opus::{self, OpusDecoder};
use sipcast_codec::speex::{self, SpeexBand, SpeexDecoder};
use sipcast_codec::substitution::Substitution;
use sipcast_codec::{Malformed, g711};
use sipcast_contract::media::AudioCodec;

use super::format::Format;

/// Longest payload in samples: what a slot holds of G.722, [`speex::FRAMES_MAX`] frames of 32 kHz, 120 ms of Opus in
/// two channels.
pub(super) const PAYLOAD_SAMPLES_MAX: usize = 640 * speex::FRAMES_MAX;

/// A decoder of one codec.
pub(super) struct Decoder {
    codec: AudioCodec,
    format: Format,
    state: State,
}

enum State {
    Pcmu(Substitution),
    Pcma(Substitution),
    G722(Box<G722Decoder>, Substitution),
    Speex(SpeexDecoder),
    Opus(OpusDecoder),
}

impl Decoder {
    /// `channels` are those wanted of codecs that have more than one.
    pub(super) fn new(codec: AudioCodec, channels: u8) -> Self {
        let state = match codec {
            AudioCodec::Pcmu => State::Pcmu(Substitution::new(g711::SAMPLE_RATE_HZ)),
            AudioCodec::Pcma => State::Pcma(Substitution::new(g711::SAMPLE_RATE_HZ)),
            AudioCodec::G722 => State::G722(Box::default(), Substitution::new(g722::SAMPLE_RATE_HZ)),
            AudioCodec::SpeexNarrowband => State::Speex(SpeexDecoder::new(SpeexBand::Narrow)),
            AudioCodec::SpeexWideband => State::Speex(SpeexDecoder::new(SpeexBand::Wide)),
            AudioCodec::SpeexUltraWideband => State::Speex(SpeexDecoder::new(SpeexBand::UltraWide)),
            AudioCodec::Opus => State::Opus(OpusDecoder::new(channels)),
        };
        Self { codec, format: Format::of(codec, channels), state }
    }

    pub(super) const fn codec(&self) -> AudioCodec {
        self.codec
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// Decodes a payload into `pcm`, of [`PAYLOAD_SAMPLES_MAX`], and says how many samples a channel it gave.
    pub(super) fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, Malformed> {
        match &mut self.state {
            // One loop a codec, so that no call through a pointer stands in it.
            State::Pcmu(substitution) => {
                let pcm = pcm.get_mut(..payload.len()).ok_or(Malformed)?;
                for (sample, &octet) in pcm.iter_mut().zip(payload) {
                    *sample = g711::decode_mu_law(octet);
                }
                substitution.take(pcm);
                Ok(pcm.len())
            }
            State::Pcma(substitution) => {
                let pcm = pcm.get_mut(..payload.len()).ok_or(Malformed)?;
                for (sample, &octet) in pcm.iter_mut().zip(payload) {
                    *sample = g711::decode_a_law(octet);
                }
                substitution.take(pcm);
                Ok(pcm.len())
            }
            State::G722(decoder, substitution) => {
                let pcm = pcm.get_mut(..payload.len() * g722::OCTET_SAMPLES).ok_or(Malformed)?;
                for (samples, &octet) in pcm.chunks_exact_mut(g722::OCTET_SAMPLES).zip(payload) {
                    samples.copy_from_slice(&decoder.decode(octet));
                }
                substitution.take(pcm);
                Ok(pcm.len())
            }
            State::Speex(decoder) => decoder.decode(payload, pcm),
            State::Opus(decoder) => decoder.decode(payload, pcm),
        }
    }

    /// Fills `pcm` with what may follow the latest sound, and says how many samples a channel were filled: the codec's
    /// own concealment or comfort noise, else a substitute of 60 ms at most. What is left is for silence.
    pub(super) fn conceal(&mut self, pcm: &mut [i16]) -> usize {
        match &mut self.state {
            State::Pcmu(substitution) | State::Pcma(substitution) | State::G722(_, substitution) => {
                let len = pcm.len().min(substitution.samples_max());
                substitution.conceal(&mut pcm[..len]);
                len
            }
            State::Speex(decoder) => decoder.conceal(pcm),
            State::Opus(decoder) => {
                let channels = decoder.channels();
                let mut filled = 0;
                // libopus conceals 120 ms at the most in one call.
                while let Some(room) = pcm.get_mut(filled * channels..) {
                    let samples = decoder.conceal(room);
                    if samples == 0 {
                        break;
                    }
                    filled += samples;
                }
                filled
            }
        }
    }

    /// As [`Decoder::conceal`], helped by what `next`, the payload after the loss, tells of it (RFC 6716 §2.1.7).
    pub(super) fn recover(&mut self, next: &[u8], pcm: &mut [i16]) -> usize {
        match &mut self.state {
            State::Opus(decoder) => decoder.recover(next, pcm).unwrap_or(0),
            _ => self.conceal(pcm),
        }
    }

    /// Whether pauses are filled by the codec itself.
    pub(super) const fn fills_pauses(&self) -> bool {
        matches!(self.state, State::Speex(_) | State::Opus(_))
    }

    /// Forgets the stream.
    pub(super) fn reset(&mut self) {
        match &mut self.state {
            State::Pcmu(substitution) | State::Pcma(substitution) => substitution.reset(),
            State::G722(decoder, substitution) => {
                **decoder = G722Decoder::new();
                substitution.reset();
            }
            State::Speex(decoder) => decoder.reset(),
            State::Opus(decoder) => decoder.reset(),
        }
    }
}

/// Samples a channel that a payload decodes to, as far as can be told without decoding it.
pub(super) fn payload_samples(codec: AudioCodec, payload: &[u8]) -> usize {
    let speex = |band: SpeexBand| speex::frames(payload, band) * band.frame_samples();
    match codec {
        AudioCodec::Pcmu | AudioCodec::Pcma => payload.len(),
        AudioCodec::G722 => payload.len() * g722::OCTET_SAMPLES,
        AudioCodec::SpeexNarrowband => speex(SpeexBand::Narrow),
        AudioCodec::SpeexWideband => speex(SpeexBand::Wide),
        AudioCodec::SpeexUltraWideband => speex(SpeexBand::UltraWide),
        AudioCodec::Opus => opus::packet_samples(payload).unwrap_or(0),
    }
}
