//! Silence as each codec codes it: to keep the way open (RFC 6263), and for muted targets.

use sipcast_codec::g711;
use sipcast_codec::g722::G722Encoder;
use sipcast_codec::opus::{OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexEncoder, SpeexEncoderConfig};
use sipcast_contract::media::AudioCodec;

/// Longest payload of 20 ms that [`silent_payload`] gives, in bytes.
pub const SILENT_PAYLOAD_MAX: usize = 512;

/// 20 ms of silence, [`SILENT_PAYLOAD_MAX`] bytes at the most. Not for the packet path: it runs an encoder.
pub fn silent_payload(codec: AudioCodec) -> Box<[u8]> {
    match codec {
        AudioCodec::Pcmu => [g711::encode_mu_law(0); OCTETS].into(),
        AudioCodec::Pcma => [g711::encode_a_law(0); OCTETS].into(),
        AudioCodec::G722 => {
            let mut encoder = G722Encoder::new();
            settled(|out| {
                out[..OCTETS].fill_with(|| encoder.encode([0; 2]));
                OCTETS
            })
        }
        AudioCodec::SpeexNarrowband => speex(SpeexBand::Narrow),
        AudioCodec::SpeexWideband => speex(SpeexBand::Wide),
        AudioCodec::SpeexUltraWideband => speex(SpeexBand::UltraWide),
        AudioCodec::Opus => {
            let mut encoder = OpusEncoder::new(&OpusEncoderConfig::default());
            settled(|out| encoder.encode(&[0; 960], out).unwrap_or(0))
        }
    }
}

fn speex(band: SpeexBand) -> Box<[u8]> {
    let mut encoder = SpeexEncoder::new(&SpeexEncoderConfig::new(band));
    let frame = vec![0; band.frame_samples()];
    settled(|out| encoder.encode(&frame, out).unwrap_or(0))
}

/// The last of some frames: the first ones carry what the encoder's filters begin with.
fn settled(mut encode: impl FnMut(&mut [u8]) -> usize) -> Box<[u8]> {
    let mut out = [0; SILENT_PAYLOAD_MAX];
    let len = (0..5).fold(0, |_, _| encode(&mut out));
    out[..len].into()
}

/// Octets of 20 ms of G.711 and G.722.
const OCTETS: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::decoder::{Decoder, PAYLOAD_SAMPLES_MAX};

    #[test]
    fn it_is_a_packet_of_20_ms_and_silent() {
        for codec in crate::audio::transcoder::tests::CODECS {
            let payload = silent_payload(codec);
            let mut decoder = Decoder::new(codec, 1);
            let mut pcm = [0; PAYLOAD_SAMPLES_MAX];
            for _ in 0..5 {
                let samples = decoder.decode(&payload, &mut pcm).expect("decodes");
                assert_eq!(samples, decoder.format().block_samples(), "{codec:?}");
                assert!(pcm[..samples].iter().all(|sample| sample.abs() < 64), "{codec:?}");
            }
        }
    }
}
