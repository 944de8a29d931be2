//! Sound that does not come from the call: files that are played, and lines that carry one broadcast's sound to
//! another, also across shards.
//!
//! A line is a bounded lock-free queue of PCM with one writer and one reader. Neither side waits for the other: what
//! finds no room is dropped, what is missing is silence.

use std::fmt;

use crate::options::AacOptions;

/// Samples a second of a line and of a [`PcmClip`], one channel.
pub const LINE_RATE_HZ: u32 = 48_000;

/// Samples of 20 ms, the unit in which both ends work.
pub const LINE_BLOCK: usize = 960;

/// Samples that wait in a line at most: 500 ms.
pub const LINE_SAMPLES_MAX: usize = 25 * LINE_BLOCK;

/// Lines out of one broadcast at most.
pub const LINES_OUT_MAX: usize = 32;

/// Inputs of one mixer at most.
pub const MIXER_INPUTS_MAX: usize = 32;

/// Name of a line between the planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(pub u64);

/// A file as targets take it: AAC frames of 1024 samples a channel, encoded once.
pub struct AacClip {
    /// What the frames are.
    pub options: AacOptions,
    /// Raw data blocks in order, without ADTS.
    pub frames: Box<[Box<[u8]>]>,
}

impl fmt::Debug for AacClip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} AAC frames", self.frames.len())
    }
}

/// A file as callees hear it: PCM at [`LINE_RATE_HZ`], one channel.
pub struct PcmClip {
    /// All of it.
    pub samples: Box<[i16]>,
}

impl fmt::Debug for PcmClip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples", self.samples.len())
    }
}

/// The writing end of a line.
pub struct LineSender(rtrb::Producer<i16>);

/// The reading end of a line.
pub struct LineReceiver(rtrb::Consumer<i16>);

/// A line and its two ends.
pub fn line() -> (LineSender, LineReceiver) {
    let (sender, receiver) = rtrb::RingBuffer::new(LINE_SAMPLES_MAX);
    (LineSender(sender), LineReceiver(receiver))
}

impl LineSender {
    /// Appends samples; all or nothing. `false`: there was no room, nothing was appended.
    pub fn push(&mut self, samples: &[i16]) -> bool {
        let Ok(mut chunk) = self.0.write_chunk(samples.len()) else { return false };
        let (first, second) = chunk.as_mut_slices();
        let (head, tail) = samples.split_at(first.len());
        first.copy_from_slice(head);
        second.copy_from_slice(tail);
        chunk.commit_all();
        true
    }

    /// Whether nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

impl LineReceiver {
    /// How many samples wait.
    pub fn waiting(&self) -> usize {
        self.0.slots()
    }

    /// Fills `out`; all or nothing. `false`: not enough waits, `out` is as it was.
    pub fn pull(&mut self, out: &mut [i16]) -> bool {
        let Ok(chunk) = self.0.read_chunk(out.len()) else { return false };
        let (first, second) = chunk.as_slices();
        let (head, tail) = out.split_at_mut(first.len());
        head.copy_from_slice(first);
        tail.copy_from_slice(second);
        chunk.commit_all();
        true
    }

    /// Drops the oldest samples until `keep` are left.
    pub fn trim(&mut self, keep: usize) {
        let excess = self.waiting().saturating_sub(keep);
        if excess > 0
            && let Ok(chunk) = self.0.read_chunk(excess)
        {
            chunk.commit_all();
        }
    }

    /// Whether nobody writes any more. What was written may still be pulled.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

impl fmt::Debug for LineSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineSender")
    }
}

impl fmt::Debug for LineReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineReceiver({} waiting)", self.waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_order_across_its_end_and_has_a_bound() {
        let (mut sender, mut receiver) = line();
        let block: Vec<i16> = (0..LINE_BLOCK as i16).collect();
        let mut heard = vec![0; LINE_BLOCK];
        for _ in 0..60 {
            assert!(sender.push(&block) && receiver.pull(&mut heard));
            assert_eq!(heard, block);
        }
        assert!(!receiver.pull(&mut heard), "nothing waits");
        let taken = (0..).take_while(|_| sender.push(&block)).count();
        assert_eq!(taken, LINE_SAMPLES_MAX / LINE_BLOCK);
        receiver.trim(LINE_BLOCK + 1);
        assert_eq!(receiver.waiting(), LINE_BLOCK + 1);
        drop(receiver);
        assert!(sender.is_abandoned());
    }
}
