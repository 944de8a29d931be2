//! A whole sound as AAC frames, for targets that have it instead of the call's.
//! Takes: PCM at 48 kHz. Gives: every frame that holds some of it. Leaves out: files. Not for the packet path.

use sipcast_codec::aac::FRAME_SAMPLES;
use sipcast_contract::limits::SLOT_LEN;
use sipcast_contract::options::AacOptions;
use sipcast_contract::sound::{AacClip, LINE_BLOCK, LINE_RATE_HZ};
use sipcast_pool::{Arena, Pool};

use super::format::Format;
use super::frame_encoder::FrameEncoder;
use super::transcoder::TranscoderError;

/// Encodes `samples`, `channels` (1 or 2) interleaved, at 48 kHz; the last frame is filled up with silence.
///
/// # Errors
/// [`TranscoderError`] when the options name no AAC-LC stream that can be produced.
pub fn encode_clip(
    samples: &[i16],
    channels: usize,
    options: &AacOptions,
) -> Result<AacClip, TranscoderError> {
    let format = Format { rate_hz: LINE_RATE_HZ, channels: channels.clamp(1, 2) };
    let mut encoder = FrameEncoder::new(options)?;
    encoder.prepare(format);
    // A frame leaves its slot at once.
    let mut arena = Arena::new(Pool::new(4, SLOT_LEN));
    let per_channel = samples.len() as u64 / format.channels as u64;
    let wanted = (per_channel * u64::from(options.sample_rate_hz))
        .div_ceil(u64::from(LINE_RATE_HZ) * FRAME_SAMPLES as u64) as usize;
    let mut frames: Vec<Box<[u8]>> = Vec::with_capacity(wanted);
    let mut rest = samples;
    while frames.len() < wanted {
        if let Some((frame, _)) = encoder.poll(&mut arena) {
            frames.push(frame.to_vec().into());
        } else if encoder.wants_block() {
            let mut block = [0; 2 * LINE_BLOCK];
            let block = &mut block[..LINE_BLOCK * format.channels];
            let (taken, after) = rest.split_at(rest.len().min(block.len()));
            block[..taken.len()].copy_from_slice(taken);
            rest = after;
            encoder.push_block(format, block);
        }
    }
    Ok(AacClip { options: *options, frames: frames.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_codec::aac_decoder::AacDecoder;

    #[test]
    fn a_tone_comes_back_at_every_rate_and_width() {
        for (sample_rate_hz, out_channels, in_channels) in [(44_100, 2, 1), (48_000, 1, 2), (48_000, 2, 2)] {
            let options = AacOptions { sample_rate_hz, channels: out_channels, bit_rate_bps: 96_000 };
            let samples: Vec<i16> = (0..48_000 * in_channels)
                .map(|n| {
                    let time = (n / in_channels) as f64 / 48_000.0;
                    (8_000.0 * (std::f64::consts::TAU * 500.0 * time).sin()) as i16
                })
                .collect();
            let clip = encode_clip(&samples, in_channels, &options).expect("an encoder");
            let expected = (sample_rate_hz as usize).div_ceil(FRAME_SAMPLES);
            assert_eq!(clip.frames.len(), expected);
            let config =
                crate::flv::audio::audio_specific_config(sample_rate_hz, out_channels).expect("known");
            let mut decoder = AacDecoder::open(&config).expect("a decoder");
            let mut heard = Vec::new();
            let mut pcm = [0; 2 * FRAME_SAMPLES];
            for frame in &clip.frames {
                let len = decoder.decode(frame, &mut pcm).expect("whole frames");
                heard.extend(pcm[..len].chunks_exact(usize::from(out_channels)).map(|all| all[0]));
            }
            let rms = |samples: &[i16]| {
                let sum: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
                (sum / samples.len() as f64).sqrt()
            };
            let level = rms(&heard[heard.len() / 4..heard.len() / 2]);
            assert!((5_000.0..6_300.0).contains(&level), "{level}");
        }
        assert!(encode_clip(&[], 1, &AacOptions::default()).expect("an encoder").frames.is_empty());
    }
}
