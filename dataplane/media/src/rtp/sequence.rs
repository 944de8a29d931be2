//! Sequence numbers beyond 16 bits and RTP timestamps beyond 32 (RFC 3550 §6.4.1, A.1).
//! Takes: the numbers as they stand in headers. Gives: numbers that do not wrap, and whether one belongs to the
//! stream at all. Leaves out: what is done about a jump (`receiver`).

use sipcast_contract::limits::REORDER_PACKETS_MAX;

/// The highest sequence number so far, extended by the count of wraps.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedSequence {
    highest: u64,
}

/// Where a sequence number lies, seen from the highest one so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Above the highest, by less than `MAX_DROPOUT`.
    Ahead(u64),
    /// The highest again, or below it by at most `MAX_MISORDER`.
    Behind(u64),
    /// Too far away to be of the same run.
    Jump,
}

impl ExtendedSequence {
    /// Begins with `first`. The count of wraps starts at 1, so that numbers below the first stay positive.
    pub const fn new(first: u16) -> Self {
        Self { highest: CYCLE + first as u64 }
    }

    /// Extends `sequence_number`; the highest one stays as it is until [`ExtendedSequence::record`].
    pub const fn place(&self, sequence_number: u16) -> Place {
        let ahead = sequence_number.wrapping_sub(self.highest as u16);
        let behind = ahead.wrapping_neg();
        if behind <= MAX_MISORDER {
            Place::Behind(self.highest - behind as u64)
        } else if ahead < MAX_DROPOUT {
            Place::Ahead(self.highest + ahead as u64)
        } else {
            Place::Jump
        }
    }

    /// Takes `extended` as the highest if it is.
    pub const fn record(&mut self, extended: u64) {
        if extended > self.highest {
            self.highest = extended;
        }
    }

    /// The highest number so far; at least 65 536.
    pub const fn highest(&self) -> u64 {
        self.highest
    }
}

/// RTP time that does not wrap: each timestamp is taken as the one nearest to its predecessor.
#[derive(Clone, Copy, Debug)]
pub struct UnwrappedTime {
    last: i64,
}

impl UnwrappedTime {
    /// Begins with `first`, whose unwrapped value is itself.
    pub const fn new(first: u32) -> Self {
        Self { last: first as i64 }
    }

    /// The unwrapped value of `timestamp`, less than 2^31 away from the last one.
    pub const fn near(&self, timestamp: u32) -> i64 {
        // The difference as a signed 32-bit number is the shorter way around the circle.
        self.last.wrapping_add(timestamp.wrapping_sub(self.last as u32) as i32 as i64)
    }

    /// As [`UnwrappedTime::near`], and the next one is measured from here.
    pub const fn unwrap(&mut self, timestamp: u32) -> i64 {
        self.last = self.near(timestamp);
        self.last
    }
}

const CYCLE: u64 = 1 << 16;
/// RFC 3550 A.1.
const MAX_DROPOUT: u16 = 3000;
/// RFC 3550 A.1 has 100, an example. The jitter buffer still waits for packets this far back, and a burst of
/// large pictures that is reordered must not pass for a restart.
const MAX_MISORDER: u16 = REORDER_PACKETS_MAX as u16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_are_counted_from_near_the_edge() {
        let mut sequence = ExtendedSequence::new(65_533);
        for (index, number) in [65_534, 65_535, 0, 1, 2].into_iter().enumerate() {
            let Place::Ahead(extended) = sequence.place(number) else { panic!("{number}") };
            assert_eq!(extended, CYCLE + 65_534 + index as u64);
            sequence.record(extended);
        }
        assert_eq!(sequence.place(65_535), Place::Behind(2 * CYCLE - 1));
        sequence.record(2 * CYCLE - 1);
        assert_eq!(sequence.highest(), 2 * CYCLE + 2);
    }

    #[test]
    fn dropout_and_misorder_just_inside_and_just_outside() {
        for highest in [0u16, 50, 32_768, 65_533] {
            let sequence = ExtendedSequence::new(highest);
            let at = |offset: i32| sequence.place((i32::from(highest) + offset) as u16);
            let extended = |offset: i64| (CYCLE as i64 + i64::from(highest) + offset) as u64;
            assert_eq!(at(0), Place::Behind(extended(0)));
            assert_eq!(at(2999), Place::Ahead(extended(2999)));
            assert_eq!(at(3000), Place::Jump);
            assert_eq!(at(-256), Place::Behind(extended(-256)));
            assert_eq!(at(-257), Place::Jump);
        }
    }

    #[test]
    fn time_unwraps_both_ways_across_2_32() {
        let mut time = UnwrappedTime::new(u32::MAX - 2);
        assert_eq!(time.unwrap(3), i64::from(u32::MAX) + 4);
        assert_eq!(time.unwrap(u32::MAX), i64::from(u32::MAX));
        assert_eq!(time.near(0), i64::from(u32::MAX) + 1);
        let mut early = UnwrappedTime::new(1);
        assert_eq!(early.unwrap(u32::MAX), -1);
    }

    #[test]
    fn a_day_of_pictures_never_goes_back() {
        let mut time = UnwrappedTime::new(u32::MAX - 5);
        let mut raw = u32::MAX - 5;
        let mut last = i64::from(raw);
        for _ in 0..100_000 {
            raw = raw.wrapping_add(90_000);
            let now = time.unwrap(raw);
            assert_eq!(now - last, 90_000);
            last = now;
        }
    }
}
