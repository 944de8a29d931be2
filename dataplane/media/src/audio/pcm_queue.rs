//! Decoded samples and runs of silence, in order, until a whole block can be taken.
//! Takes: samples, silence of any length. Gives: blocks of a fixed length.
//! Leaves out: where on the timeline they lie (`position`).

use std::collections::VecDeque;

/// Samples that wait at most: a second of telephone audio, more than any datagram holds. What does not fit is
/// refused whole, and the gap it leaves is filled with silence later.
const SAMPLES_MAX: usize = 8_000;

/// Runs that wait at most; the caller drains after each input, so two are usual.
const RUNS_MAX: usize = 16;

/// The bound is reached: the caller did not drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A queue of PCM in which silence takes no room.
#[derive(Debug)]
pub(super) struct PcmQueue {
    runs: VecDeque<Run>,
    /// The samples of all `Run::Samples`, in order.
    samples: VecDeque<i16>,
    /// Length of all runs.
    len: u64,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Silence(u64),
    Samples(usize),
}

impl PcmQueue {
    pub(super) fn new() -> Self {
        Self {
            runs: VecDeque::with_capacity(RUNS_MAX),
            samples: VecDeque::with_capacity(SAMPLES_MAX),
            len: 0,
        }
    }

    /// Appends `silence` samples of silence, then `samples`; all or nothing.
    pub(super) fn push(
        &mut self,
        silence: u64,
        samples: impl ExactSizeIterator<Item = i16>,
    ) -> Result<(), Full> {
        let count = samples.len();
        if self.runs.len() + 2 > RUNS_MAX || self.samples.len() + count > SAMPLES_MAX {
            return Err(Full);
        }
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
        self.len += silence + count as u64;
        Ok(())
    }

    /// Fills `block` if there is enough for it.
    pub(super) fn take(&mut self, block: &mut [i16]) -> bool {
        if self.len < block.len() as u64 {
            return false;
        }
        self.len -= block.len() as u64;
        let mut filled = 0;
        while filled < block.len() {
            let room = &mut block[filled..];
            let run = self.runs.front_mut().expect("the runs' lengths add up to `len`");
            let (taken, left) = match run {
                Run::Silence(run) => {
                    let taken = usize::try_from(*run).unwrap_or(usize::MAX).min(room.len());
                    room[..taken].fill(0);
                    *run -= taken as u64;
                    (taken, *run > 0)
                }
                Run::Samples(run) => {
                    let taken = (*run).min(room.len());
                    for (sample, queued) in room.iter_mut().zip(self.samples.drain(..taken)) {
                        *sample = queued;
                    }
                    *run -= taken;
                    (taken, *run > 0)
                }
            };
            filled += taken;
            if !left {
                self.runs.pop_front();
            }
        }
        true
    }

    /// Silence that lies at the front.
    pub(super) fn silence_ahead(&self) -> u64 {
        match self.runs.front() {
            Some(&Run::Silence(run)) => run,
            _ => 0,
        }
    }

    /// Takes `count` samples of silence off the front, of which there are more.
    pub(super) fn skip_silence(&mut self, count: u64) {
        if let Some(Run::Silence(run)) = self.runs.front_mut()
            && *run > count
        {
            *run -= count;
            self.len -= count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cross_runs_in_order() {
        let mut queue = PcmQueue::new();
        queue.push(2, [1, 2, 3].into_iter()).expect("room");
        queue.push(0, [4].into_iter()).expect("room");
        queue.push(3, [].into_iter()).expect("room");
        let mut block = [9; 4];
        assert!(queue.take(&mut block));
        assert_eq!(block, [0, 0, 1, 2]);
        assert!(queue.take(&mut block));
        assert_eq!(block, [3, 4, 0, 0]);
        assert!(!queue.take(&mut block));
        queue.push(0, [5, 6, 7].into_iter()).expect("room");
        assert!(queue.take(&mut block));
        assert_eq!(block, [0, 5, 6, 7]);
        assert!(queue.runs.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut queue = PcmQueue::new();
        queue.push(5, std::iter::repeat_n(1, SAMPLES_MAX)).expect("just fits");
        assert_eq!(queue.push(7, [1].into_iter()), Err(Full));
        assert_eq!(queue.len, SAMPLES_MAX as u64 + 5);
        let mut queue = PcmQueue::new();
        let pushed = (0..RUNS_MAX).take_while(|_| queue.push(1, [1].into_iter()).is_ok()).count();
        assert_eq!(pushed, RUNS_MAX / 2);
    }
}
