//! One broadcast's sound to other broadcasts: blocks of any format to PCM at 48 kHz, one channel, over lines.
//! Takes: blocks of 20 ms as they go to the encoder. Gives: the same to every line. Leaves out: who reads them.
//!
//! A line that nobody empties loses what is new; a line that nobody holds any more is let go.

use sipcast_codec::Resampler;
use sipcast_contract::sound::{LINE_BLOCK, LINE_RATE_HZ, LINES_OUT_MAX, LineId, LineSender};

/// The lines out of one broadcast.
#[derive(Default)]
pub struct LinesOut {
    lines: Vec<(LineId, LineSender)>,
    /// Of every rate that has come, made at its first block.
    resamplers: Vec<(u32, Resampler)>,
    blocks_lost: u64,
}

impl LinesOut {
    /// Adds a line, in place of the one that has its name. `false`: there are [`LINES_OUT_MAX`] already.
    pub fn add(&mut self, id: LineId, sender: LineSender) -> bool {
        self.remove(id);
        self.lines.retain(|(_, line)| !line.is_abandoned());
        let has_room = self.lines.len() < LINES_OUT_MAX;
        if has_room {
            self.lines.push((id, sender));
        }
        has_room
    }

    /// Ends a line.
    pub fn remove(&mut self, id: LineId) {
        self.lines.retain(|(held, _)| *held != id);
    }

    /// Whether nobody listens: then blocks need not be made.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes 20 ms of sound, `channels` interleaved.
    pub fn push_block(&mut self, rate_hz: u32, channels: usize, block: &[i16]) {
        if self.lines.is_empty() {
            return;
        }
        let samples = rate_hz as usize / 50;
        let mut mono = [0; LINE_BLOCK];
        let Some(mono) = mono.get_mut(..samples) else { return };
        for (sample, frame) in mono.iter_mut().zip(block.chunks_exact(channels.max(1))) {
            let sum: i32 = frame.iter().map(|&sample| i32::from(sample)).sum();
            // The mean of 16-bit samples has 16 bits.
            *sample = (sum / frame.len() as i32) as i16;
        }
        let mut out = [0; LINE_BLOCK];
        if rate_hz == LINE_RATE_HZ {
            out.copy_from_slice(mono);
        } else {
            let Some(resampler) = self.resampler(rate_hz) else { return };
            resampler.process(mono, &mut out);
        }
        self.push(&out);
    }

    /// Takes 20 ms in the lines' own format.
    pub fn push(&mut self, block: &[i16; LINE_BLOCK]) {
        let mut is_abandoned = false;
        for (_, line) in &mut self.lines {
            is_abandoned |= line.is_abandoned();
            self.blocks_lost += u64::from(!line.push(block));
        }
        if is_abandoned {
            self.lines.retain(|(_, line)| !line.is_abandoned());
        }
    }

    /// Blocks that found no room in a line.
    pub fn blocks_lost(&self) -> u64 {
        self.blocks_lost
    }

    fn resampler(&mut self, rate_hz: u32) -> Option<&mut Resampler> {
        let at = match self.resamplers.iter().position(|(held, _)| *held == rate_hz) {
            Some(at) => at,
            None => {
                self.resamplers.push((rate_hz, Resampler::new(rate_hz, LINE_RATE_HZ).ok()?));
                self.resamplers.len() - 1
            }
        };
        Some(&mut self.resamplers[at].1)
    }
}

impl std::fmt::Debug for LinesOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} lines out", self.lines.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::sound::{LINE_SAMPLES_MAX, line};

    #[test]
    fn every_rate_becomes_48_khz_and_a_full_line_loses_only_its_own() {
        let mut lines = LinesOut::default();
        let (slow, slow_end) = line();
        let (quick, mut quick_end) = line();
        assert!(lines.add(LineId(1), slow) && lines.add(LineId(2), quick));
        let mut heard = vec![0; LINE_BLOCK];
        let mut last = 0;
        for n in 0..40 {
            let (rate, channels) = [(8_000, 1), (16_000, 1), (48_000, 2), (44_100, 2)][n / 10];
            lines.push_block(rate, channels, &vec![1000; rate as usize / 50 * channels]);
            assert!(quick_end.pull(&mut heard));
            last = heard[LINE_BLOCK - 1];
        }
        assert!((900..1100).contains(&last), "{last}");
        assert_eq!(slow_end.waiting(), LINE_SAMPLES_MAX);
        assert_eq!(lines.blocks_lost(), 15);
        drop(slow_end);
        lines.push(&[0; LINE_BLOCK]);
        lines.remove(LineId(2));
        assert!(lines.is_empty(), "one was abandoned, one removed");
    }
}
