//! Which indices of one source were seen (RFC 3711 §3.3.2), and how a sequence number becomes an index (§3.3.1).

use sipcast_contract::limits::REORDER_PACKETS_MAX;

/// The highest index, and which of those close below it came.
#[derive(Clone, Debug)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// Bit `i % LEN` is that of index i, highest - LEN < i <= highest.
    seen: [u64; LEN as usize / 64],
}

impl ReplayWindow {
    /// Begins with the first index that was taken.
    pub(super) fn new(first: u64) -> Self {
        let mut window = Self { highest: first, seen: [0; LEN as usize / 64] };
        window.set(first, true);
        window
    }

    /// RFC 3711 §3.3.1, Appendix A: the index of `sequence_number`, taken as the one nearest to the highest. `None`
    /// before the beginning.
    pub(super) fn estimate(&self, sequence_number: u16) -> Option<u64> {
        let ahead = sequence_number.wrapping_sub(self.highest as u16);
        // Half the circle away: the appendix leaves the rollover counter as it is.
        let is_behind = ahead > HALF || (ahead == HALF && sequence_number < HALF);
        match is_behind {
            true => self.highest.checked_sub(u64::from(ahead.wrapping_neg())),
            false => Some(self.highest + u64::from(ahead)),
        }
    }

    /// Whether `index` came, or lies too far back to tell.
    pub(super) fn is_replayed(&self, index: u64) -> bool {
        if index > self.highest {
            return false;
        }
        let (word, bit) = place(index);
        self.highest - index >= LEN || self.seen[word] & bit != 0
    }

    /// Takes an index that was authenticated.
    pub(super) fn record(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= LEN {
                self.seen = Default::default();
            } else {
                for skipped in self.highest + 1..index {
                    self.set(skipped, false);
                }
            }
            self.highest = index;
        }
        self.set(index, true);
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    fn set(&mut self, index: u64, is_seen: bool) {
        let (word, bit) = place(index);
        match is_seen {
            true => self.seen[word] |= bit,
            false => self.seen[word] &= !bit,
        }
    }
}

const fn place(index: u64) -> (usize, u64) {
    ((index % LEN / 64) as usize, 1 << (index % 64))
}

const HALF: u16 = 1 << 15;
/// RFC 3711 §3.3.2 asks for 64 at least. What the jitter buffer still waits for must pass, retransmissions too.
const LEN: u64 = 2 * REORDER_PACKETS_MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_just_inside_and_just_outside() {
        let mut window = ReplayWindow::new(1000);
        assert!(window.is_replayed(1000) && !window.is_replayed(999) && !window.is_replayed(1001));
        window.record(1000 + LEN - 1);
        assert!(window.is_replayed(1000), "still remembered");
        assert!(!window.is_replayed(1001), "skipped, in the window");
        window.record(1001);
        assert!(window.is_replayed(1001));
        window.record(1000 + LEN);
        assert!(window.is_replayed(1000), "too old to tell");
        window.record(1000 + 5 * LEN);
        assert!(!window.is_replayed(1000 + 5 * LEN - 1) && window.is_replayed(1000 + 4 * LEN));
    }

    #[test]
    fn every_index_counts_once_in_any_order_within_the_window() {
        let mut window = ReplayWindow::new(0);
        let mut order: Vec<u64> = (1..20 * LEN).collect();
        for pair in order.chunks_mut(7) {
            pair.reverse();
        }
        for index in order {
            assert!(!window.is_replayed(index), "{index}");
            window.record(index);
            assert!(window.is_replayed(index), "{index}");
        }
    }

    #[test]
    fn the_rollover_counter_is_estimated_across_wraps() {
        let window = ReplayWindow::new(65_533);
        for (sequence_number, index) in
            [(65_534, Some(65_534)), (0, Some(65_536)), (32_764, Some(98_300)), (32_766, Some(32_766))]
        {
            assert_eq!(window.estimate(sequence_number), index, "{sequence_number}");
        }
        assert_eq!(window.estimate(32_765), Some(32_765), "half the circle: the counter stays");
        let window = ReplayWindow::new(3 << 16 | 2);
        assert_eq!(window.estimate(65_535), Some((3 << 16) - 1));
        assert_eq!(window.estimate(32_770), Some(3 << 16 | 32_770), "half the circle: the counter stays");
        assert_eq!(ReplayWindow::new(2).estimate(65_533), None, "before the beginning");
    }
}
