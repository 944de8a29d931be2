//! Decoded samples and runs of silence, in order, until a whole block can be taken.
//! Takes: samples, silence of any length, changes of the format. Gives: blocks of 20 ms.
//! Leaves out: where on the timeline they lie (`position`).
//!
//! A format changes only between two blocks: [`PcmQueue::to_block_end`] says what is missing to one.

use std::collections::VecDeque;

use super::decoder::PAYLOAD_SAMPLES_MAX;
use super::format::Format;

/// Samples that wait at most, over all channels: the longest payload, a gap filled before it, a block. What does not
/// fit is refused whole, and the gap it leaves is filled with silence later.
const SAMPLES_MAX: usize = PAYLOAD_SAMPLES_MAX + GAP_SAMPLES_MAX + BLOCK_SAMPLES_MAX;

/// Longest gap that is filled with sound: 200 ms of two channels at 48 kHz.
pub(super) const GAP_SAMPLES_MAX: usize = 2 * 9_600;

/// 20 ms of two channels at 48 kHz.
pub(super) const BLOCK_SAMPLES_MAX: usize = 2 * 960;

/// Runs that wait at most; the caller drains after each input, so a few are usual.
const RUNS_MAX: usize = 16;

/// The bound is reached: the caller did not drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A queue of PCM in which silence takes no room.
#[derive(Debug)]
pub(super) struct PcmQueue {
    runs: VecDeque<Run>,
    /// The samples of all `Run::Samples`, in order, interleaved.
    samples: VecDeque<i16>,
    /// Of what is taken next.
    front: Format,
    /// Of what is pushed next.
    back: Format,
    /// Samples a channel since the last change of the format, taken ones too, modulo the block.
    back_len: u64,
}

/// Lengths are samples a channel.
#[derive(Clone, Copy, Debug)]
enum Run {
    Silence(u64),
    Samples(usize),
    Change(Format),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A block of this format.
    Block(Format),
    /// The next block has this format.
    Change(Format),
}

impl PcmQueue {
    pub(super) fn new() -> Self {
        Self {
            runs: VecDeque::with_capacity(RUNS_MAX),
            samples: VecDeque::with_capacity(SAMPLES_MAX),
            front: Format::INITIAL,
            back: Format::INITIAL,
            back_len: 0,
        }
    }

    /// The format of what is pushed.
    pub(super) const fn format(&self) -> Format {
        self.back
    }

    /// Samples a channel that are missing to a whole block.
    pub(super) fn to_block_end(&self) -> u64 {
        let block = self.back.block_samples() as u64;
        (block - self.back_len % block) % block
    }

    /// Changes the format, which is possible between two blocks.
    pub(super) fn change(&mut self, format: Format) -> Result<(), Full> {
        debug_assert_eq!(self.to_block_end(), 0);
        if self.runs.len() + 1 > RUNS_MAX {
            return Err(Full);
        }
        self.runs.push_back(Run::Change(format));
        self.back = format;
        self.back_len = 0;
        Ok(())
    }

    /// Appends `silence` samples of silence, then `samples` (interleaved); all or nothing.
    pub(super) fn push(&mut self, silence: u64, samples: &[i16]) -> Result<(), Full> {
        if self.runs.len() + 2 > RUNS_MAX || self.samples.len() + samples.len() > SAMPLES_MAX {
            return Err(Full);
        }
        let count = self.back.frames(samples.len());
        match self.runs.back_mut() {
            Some(Run::Silence(run)) => *run += silence,
            _ if silence > 0 => self.runs.push_back(Run::Silence(silence)),
            _ => {}
        }
        match self.runs.back_mut() {
            Some(Run::Samples(run)) => *run += count,
            _ if count > 0 => self.runs.push_back(Run::Samples(count)),
            _ => {}
        }
        self.samples.extend(samples);
        let block = self.back.block_samples() as u64;
        self.back_len += silence + count as u64;
        if self.back_len >= block {
            // As a rule it is one block, and a subtraction is all that is needed.
            self.back_len -= block;
            if self.back_len >= block {
                self.back_len %= block;
            }
        }
        Ok(())
    }

    /// Fills the start of `block`, which has room for the longest one, if there is enough for it.
    pub(super) fn take(&mut self, block: &mut [i16; BLOCK_SAMPLES_MAX]) -> Option<Taken> {
        if let Some(&Run::Change(format)) = self.runs.front() {
            self.runs.pop_front();
            self.front = format;
            return Some(Taken::Change(format));
        }
        let format = self.front;
        if !self.holds(format.block_samples() as u64) {
            return None;
        }
        let len = format.block_samples() * format.channels;
        let mut filled = 0;
        while filled < len {
            let room = &mut block[filled..len];
            let run = self.runs.front_mut().expect("the runs hold a block");
            let (taken, left) = match run {
                Run::Silence(run) => {
                    let taken = usize::try_from(*run).unwrap_or(usize::MAX).min(format.frames(room.len()));
                    room[..taken * format.channels].fill(0);
                    *run -= taken as u64;
                    (taken, *run > 0)
                }
                Run::Samples(run) => {
                    let taken = (*run).min(format.frames(room.len()));
                    take_front(&mut self.samples, &mut room[..taken * format.channels]);
                    *run -= taken;
                    (taken, *run > 0)
                }
                Run::Change(_) => unreachable!("formats change between blocks"),
            };
            filled += taken * format.channels;
            if !left {
                self.runs.pop_front();
            }
        }
        Some(Taken::Block(format))
    }

    /// Blocks of silence that lie at the front.
    pub(super) fn silent_blocks_ahead(&self) -> u64 {
        match self.runs.front() {
            Some(&Run::Silence(run)) => run / self.front.block_samples() as u64,
            _ => 0,
        }
    }

    /// Takes `count` blocks of silence off the front, of which there are more.
    pub(super) fn skip_silent_blocks(&mut self, count: u64) {
        let samples = count * self.front.block_samples() as u64;
        if let Some(Run::Silence(run)) = self.runs.front_mut()
            && *run > samples
        {
            *run -= samples;
        }
    }

    /// Whether there are `len` samples a channel before the next change of the format.
    fn holds(&self, len: u64) -> bool {
        let mut held = 0;
        for run in &self.runs {
            held += match *run {
                Run::Silence(run) => run,
                Run::Samples(run) => run as u64,
                Run::Change(_) => return held >= len,
            };
        }
        held >= len
    }
}

/// Moves as many samples as `out` has room for off the front of `queue`, which holds them.
fn take_front(queue: &mut VecDeque<i16>, out: &mut [i16]) {
    let (front, back) = queue.as_slices();
    let (first, second) = out.split_at_mut(front.len().min(out.len()));
    first.copy_from_slice(&front[..first.len()]);
    second.copy_from_slice(&back[..second.len()]);
    if out.len() < queue.len() {
        queue.drain(..out.len());
    } else {
        // Begins at the start of its memory again, which is warm; else it would go round through all of it.
        queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEREO: Format = Format { rate_hz: 48_000, channels: 2 };

    #[test]
    fn blocks_cross_runs_in_order() {
        let mut queue = PcmQueue::new();
        queue.push(2, &[1, 2, 3]).expect("room");
        queue.push(0, &[4]).expect("room");
        queue.push(153, &[]).expect("room");
        let mut block = [9; BLOCK_SAMPLES_MAX];
        assert_eq!(queue.take(&mut block), None);
        queue.push(0, &[5, 6, 7]).expect("room");
        assert_eq!(queue.take(&mut block), Some(Taken::Block(Format::INITIAL)));
        assert_eq!((&block[..7], block[159], block[160]), (&[0, 0, 1, 2, 3, 4, 0][..], 5, 9));
        assert_eq!(queue.to_block_end(), 158);
        queue.push(0, &[0; 158]).expect("room");
        assert_eq!(queue.take(&mut block), Some(Taken::Block(Format::INITIAL)));
        assert_eq!((block[0], block[1], block[2]), (6, 7, 0));
        assert!(queue.runs.is_empty() && queue.samples.is_empty());
    }

    #[test]
    fn formats_change_between_blocks() {
        let mut queue = PcmQueue::new();
        queue.push(0, &[1; 100]).expect("room");
        queue.push(queue.to_block_end(), &[]).expect("room");
        queue.change(STEREO).expect("room");
        queue.push(959, &[3, 4]).expect("room");
        let mut block = [9; BLOCK_SAMPLES_MAX];
        assert_eq!(queue.take(&mut block), Some(Taken::Block(Format::INITIAL)));
        assert_eq!(queue.take(&mut block), Some(Taken::Change(STEREO)));
        assert_eq!(queue.take(&mut block), Some(Taken::Block(STEREO)));
        assert_eq!(block[1_917..], [0, 3, 4]);
        assert_eq!(queue.take(&mut block), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut queue = PcmQueue::new();
        queue.push(5, &vec![1; SAMPLES_MAX]).expect("just fits");
        assert_eq!(queue.push(7, &[1]), Err(Full));
        assert_eq!(queue.to_block_end(), 160 - (SAMPLES_MAX as u64 + 5) % 160);
        let mut queue = PcmQueue::new();
        let pushed = (0..RUNS_MAX).take_while(|_| queue.push(1, &[1]).is_ok()).count();
        assert_eq!(pushed, RUNS_MAX / 2);
    }
}
