//! Resampling of mono PCM in blocks of 20 ms, exact in both counts (FFT, overlap and add).
//! Takes: 20 ms of samples at the input rate. Gives: 20 ms at the output rate, late by `delay`.
//! Leaves out: collecting samples into blocks, taking the delay off again.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// Blocks in a second: every rate that is offered has a whole number of samples in 20 ms.
pub const BLOCKS_PER_SECOND: u32 = 50;

/// Silent blocks after which the filter's memory is silent too: the overlap of one block.
const SETTLED_BLOCKS: u8 = 2;

/// One channel from one rate to another. Equal rates pass through without delay.
pub struct Resampler {
    /// `None`: the rates are equal.
    fft: Option<Box<Fft<f32>>>,
    input: Box<[f32]>,
    output: Box<[f32]>,
    delay: usize,
    silent_blocks: u8,
}

/// A pair of rates that cannot be converted in whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot resample from {input_hz} Hz to {output_hz} Hz in blocks of 20 ms")]
pub struct UnsupportedRates {
    /// Input rate in Hz.
    pub input_hz: u32,
    /// Output rate in Hz.
    pub output_hz: u32,
}

impl Resampler {
    /// A resampler from `input_hz` to `output_hz`.
    ///
    /// # Errors
    /// [`UnsupportedRates`] when 20 ms are not a whole number of samples at both rates.
    pub fn new(input_hz: u32, output_hz: u32) -> Result<Self, UnsupportedRates> {
        let unsupported = UnsupportedRates { input_hz, output_hz };
        let whole = |rate_hz: u32| rate_hz > 0 && rate_hz.is_multiple_of(BLOCKS_PER_SECOND);
        if !whole(input_hz) || !whole(output_hz) {
            return Err(unsupported);
        }
        let input_len = (input_hz / BLOCKS_PER_SECOND) as usize;
        let output_len = (output_hz / BLOCKS_PER_SECOND) as usize;
        let fft = if input_hz == output_hz {
            None
        } else {
            let fft = Fft::new_custom(
                input_hz as usize,
                output_hz as usize,
                input_len,
                1,
                1,
                WindowFunction::BlackmanHarris2,
                FixedSync::Both,
            )
            .map_err(|_| unsupported)?;
            if (fft.input_frames_next(), fft.output_frames_next()) != (input_len, output_len) {
                return Err(unsupported);
            }
            Some(Box::new(fft))
        };
        Ok(Self {
            delay: fft.as_ref().map_or(0, |fft| fft.output_delay()),
            fft,
            input: vec![0.0; input_len].into(),
            output: vec![0.0; output_len].into(),
            silent_blocks: SETTLED_BLOCKS,
        })
    }

    /// Resamples one block.
    ///
    /// # Panics
    /// When `input` or `output` is not [`Resampler::input_len`] or [`Resampler::output_len`] long.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) {
        assert!(input.len() == self.input.len() && output.len() == self.output.len());
        let Some(fft) = &mut self.fft else {
            output.copy_from_slice(input);
            return;
        };
        let silent = input.iter().all(|&sample| sample == 0);
        if silent && self.silent_blocks >= SETTLED_BLOCKS {
            // Silence through a filter that holds nothing but silence: no need to transform it.
            output.fill(0);
            return;
        }
        self.silent_blocks = if silent { self.silent_blocks + 1 } else { 0 };
        for (wide, &sample) in self.input.iter_mut().zip(input) {
            *wide = f32::from(sample);
        }
        let (input_len, output_len) = (self.input.len(), self.output.len());
        let source =
            InterleavedSlice::new(&self.input[..], 1, input_len).expect("one channel of its own length");
        let mut sink = InterleavedSlice::new_mut(&mut self.output[..], 1, output_len)
            .expect("one channel of its own length");
        fft.process_into_buffer(&source, &mut sink, None).expect("block lengths were checked in `new`");
        for (sample, &wide) in output.iter_mut().zip(&self.output) {
            // `as` saturates: a peak that the filter overshoots is clipped, never wrapped.
            *sample = wide.round() as i16;
        }
    }

    /// Forgets what it holds: the next block begins anew, as after `new`.
    pub fn reset(&mut self) {
        if let Some(fft) = &mut self.fft {
            fft.reset();
        }
        self.silent_blocks = SETTLED_BLOCKS;
    }

    /// Samples of one input block.
    pub fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Samples of one output block.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// By how many output samples the output lags behind the input.
    pub fn delay(&self) -> usize {
        self.delay
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler")
            .field("input_len", &self.input.len())
            .field("output_len", &self.output.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate_hz: u32, samples: usize, shift: f64) -> Vec<f64> {
        let step = std::f64::consts::TAU * 1_000.0 / f64::from(rate_hz);
        (0..samples).map(|n| 10_000.0 * (step * (n as f64 - shift)).sin()).collect()
    }

    #[test]
    fn a_tone_keeps_its_shape_at_every_rate() {
        for output_hz in [48_000, 44_100, 32_000, 24_000, 16_000, 8_000] {
            let mut resampler = Resampler::new(8_000, output_hz).expect("offered");
            let input: Vec<i16> = tone(8_000, 8_000, 0.0).iter().map(|&s| s.round() as i16).collect();
            let mut output = Vec::new();
            for block in input.chunks(resampler.input_len()) {
                let mut resampled = vec![0; resampler.output_len()];
                resampler.process(block, &mut resampled);
                output.extend(resampled);
            }
            assert_eq!(output.len(), output_hz as usize, "a second is a second");
            let expected = tone(output_hz, output.len(), resampler.delay() as f64);
            let settled = 2 * resampler.output_len()..output.len();
            let error: f64 =
                settled.clone().map(|n| (f64::from(output[n]) - expected[n]).powi(2)).sum::<f64>()
                    / settled.len() as f64;
            assert!(error.sqrt() < 2.0, "{output_hz} Hz: {}", error.sqrt());
        }
    }

    #[test]
    fn silence_after_sound_rings_out_and_stays_silent() {
        let mut resampler = Resampler::new(8_000, 48_000).expect("offered");
        let mut output = [0; 960];
        resampler.process(&[12_000; 160], &mut output);
        resampler.process(&[0; 160], &mut output);
        assert!(output.iter().any(|&sample| sample != 0), "the filter's tail");
        for _ in 0..4 {
            resampler.process(&[0; 160], &mut output);
            assert!(output.iter().all(|&sample| sample == 0));
        }
        resampler.process(&[12_000; 160], &mut output);
        assert!(output.iter().any(|&sample| sample != 0));
    }

    #[test]
    fn full_scale_is_clipped_not_wrapped() {
        let mut resampler = Resampler::new(8_000, 48_000).expect("offered");
        let mut output = [0; 960];
        for block in 0..10 {
            let square: Vec<i16> =
                (0..160).map(|n| if (block * 160 + n) / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
            resampler.process(&square, &mut output);
        }
        let jump = output.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max();
        assert!(jump < Some(40_000), "{jump:?}");
    }

    #[test]
    fn rates_without_whole_blocks_are_refused() {
        assert!(Resampler::new(8_000, 11_025).is_err());
        assert!(Resampler::new(0, 48_000).is_err());
    }
}
