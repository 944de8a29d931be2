//! Jitter buffer: puts packets back in order and decides how long a gap is waited for (RFC 7005 §3).
//! Takes: packets with extended sequence numbers, time. Gives: packets in order, and gaps that were given up.
//! Leaves out: playout delay (there is none: packets in order pass at once), SSRCs, statistics (`receiver`).

use std::time::Duration;

use sipcast_contract::{Timestamp, limits::REORDER_PACKETS_MAX};

use super::RtpPacket;

/// Reorders one run of sequence numbers. Pop until `None` after each insert.
#[derive(Debug)]
pub struct JitterBuffer {
    reorder_wait: Duration,
    /// The sequence number that is due.
    next: u64,
    /// The packet with number `next`, when it came in order: it never sees the ring.
    front: Option<RtpPacket>,
    /// Slot `n % REORDER_PACKETS_MAX` holds packet n, next <= n < next + REORDER_PACKETS_MAX. Empty until the
    /// first gap, since most calls on a good network never have one; allocated once then.
    ring: Box<[Option<RtpPacket>]>,
    /// Packets in `ring`.
    held: usize,
    /// A packet beyond the ring; gaps are given up until it fits.
    beyond: Option<(u64, RtpPacket)>,
    /// When the gap at `next` is given up; known while the gap was looked at.
    gap_until: Option<Timestamp>,
    /// Bit n % REORDER_PACKETS_MAX: whether packet n < next was delivered, not given up.
    delivered: [u64; REORDER_PACKETS_MAX / 64],
}

/// What leaves the buffer.
#[derive(Debug)]
pub enum Popped {
    /// The packet that was due.
    Packet(RtpPacket),
    /// This many packets were given up; what follows comes after the gap.
    Lost(u64),
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untimely {
    /// It is here or was delivered already.
    Duplicate,
    /// Its place was given up, or lies before the first packet.
    Late,
    /// The caller did not pop until `None`.
    Undrained,
}

impl JitterBuffer {
    /// Begins with sequence number `first`; a gap is held open for `reorder_wait`.
    pub fn new(first: u64, reorder_wait: Duration) -> Self {
        Self {
            reorder_wait,
            next: first,
            front: None,
            ring: Box::default(),
            held: 0,
            beyond: None,
            gap_until: None,
            delivered: [0; REORDER_PACKETS_MAX / 64],
        }
    }

    /// Begins again with `first`; drops what is held and keeps the memory.
    pub fn restart(&mut self, first: u64) {
        self.ring.fill_with(|| None);
        *self = Self { ring: std::mem::take(&mut self.ring), ..Self::new(first, self.reorder_wait) };
    }

    /// Holds gaps open for `reorder_wait` from now on, an open one included.
    pub fn set_reorder_wait(&mut self, reorder_wait: Duration) {
        if self.reorder_wait != reorder_wait {
            self.reorder_wait = reorder_wait;
            self.gap_until = None;
        }
    }

    /// The sequence number that is due.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Puts `packet`, whose number is `extended`, in its place.
    ///
    /// # Errors
    /// [`Untimely`] when its place is taken or past.
    pub fn insert(&mut self, extended: u64, packet: RtpPacket) -> Result<(), Untimely> {
        if extended < self.next {
            return Err(self.past(extended));
        }
        if extended - self.next < REORDER_PACKETS_MAX as u64 {
            return self.place(extended, packet);
        }
        match self.beyond {
            Some((held, _)) if held == extended => Err(Untimely::Duplicate),
            Some(_) => Err(Untimely::Undrained),
            None => {
                self.beyond = Some((extended, packet));
                Ok(())
            }
        }
    }

    /// The next packet in order, or a gap whose time is up. `flush` gives up every gap at once.
    pub fn pop(&mut self, now: Timestamp, flush: bool) -> Option<Popped> {
        if let Some((extended, packet)) =
            self.beyond.take_if(|(n, _)| *n - self.next < REORDER_PACKETS_MAX as u64)
        {
            // The place is free: numbers this high were outside the ring until now.
            let _ = self.place(extended, packet);
        }
        if let Some(packet) = self.take_next() {
            return Some(Popped::Packet(packet));
        }
        if self.held == 0 {
            // A leap of more than the ring: nothing is held that could close the gap piece by piece.
            let (extended, packet) = self.beyond.take()?;
            self.front = Some(packet);
            return Some(self.give_up_to(extended));
        }
        let until = self.gap_end();
        self.gap_until = Some(until);
        if !(flush || self.beyond.is_some() || now >= until) {
            return None;
        }
        let first = (self.next..self.next + REORDER_PACKETS_MAX as u64)
            .find(|n| self.ring[slot(*n)].is_some())
            .expect("held counts the packets in the ring");
        Some(self.give_up_to(first))
    }

    /// When the gap in front is given up; `None` while nothing waits behind a gap.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        (self.held > 0).then(|| self.gap_end())
    }

    fn past(&self, extended: u64) -> Untimely {
        let remembered = self.next - extended <= REORDER_PACKETS_MAX as u64;
        let (word, bit) = history(extended);
        match remembered && self.delivered[word] & bit != 0 {
            true => Untimely::Duplicate,
            false => Untimely::Late,
        }
    }

    fn place(&mut self, extended: u64, packet: RtpPacket) -> Result<(), Untimely> {
        if extended == self.next {
            if self.front.is_some() || self.ring.get(slot(extended)).is_some_and(Option::is_some) {
                return Err(Untimely::Duplicate);
            }
            self.front = Some(packet);
            return Ok(());
        }
        if self.ring.is_empty() {
            self.ring = (0..REORDER_PACKETS_MAX).map(|_| None).collect();
        }
        let place = &mut self.ring[slot(extended)];
        if place.is_some() {
            return Err(Untimely::Duplicate);
        }
        self.gap_until = self.gap_until.map(|until| until.min(packet.arrival + self.reorder_wait));
        *place = Some(packet);
        self.held += 1;
        Ok(())
    }

    fn take_next(&mut self) -> Option<RtpPacket> {
        let packet = match self.front.take() {
            Some(packet) => packet,
            None => {
                let packet = self.ring.get_mut(slot(self.next))?.take()?;
                self.held -= 1;
                packet
            }
        };
        let (word, bit) = history(self.next);
        self.delivered[word] |= bit;
        self.next += 1;
        self.gap_until = None;
        Some(packet)
    }

    fn give_up_to(&mut self, extended: u64) -> Popped {
        let lost = extended - self.next;
        if lost >= REORDER_PACKETS_MAX as u64 {
            self.delivered = Default::default();
        } else {
            for number in self.next..extended {
                let (word, bit) = history(number);
                self.delivered[word] &= !bit;
            }
        }
        self.next = extended;
        self.gap_until = None;
        Popped::Lost(lost)
    }

    /// The gap opened when the first of the packets behind it arrived.
    fn gap_end(&self) -> Timestamp {
        self.gap_until.unwrap_or_else(|| {
            let opened = self.ring.iter().flatten().map(|packet| packet.arrival).min();
            opened.unwrap_or_default() + self.reorder_wait
        })
    }
}

const fn slot(extended: u64) -> usize {
    (extended % REORDER_PACKETS_MAX as u64) as usize
}

const fn history(extended: u64) -> (usize, u64) {
    (slot(extended) / 64, 1 << (slot(extended) % 64))
}

#[cfg(test)]
mod tests {
    use sipcast_pool::Pool;

    use super::super::fixture;
    use super::*;

    const WAIT: Duration = Duration::from_millis(60);
    const FIRST: u64 = 65_536 + 65_533;

    struct Bench {
        pool: Pool,
        buffer: JitterBuffer,
    }

    impl Bench {
        fn new() -> Self {
            Self { pool: Pool::new(1024, 16), buffer: JitterBuffer::new(FIRST, WAIT) }
        }

        fn insert(&mut self, offset: u64, at_ms: u64) -> Result<(), Untimely> {
            let number = FIRST + offset;
            let arrival = Timestamp::from_millis(at_ms);
            let packet = fixture::packet(&self.pool, fixture::SSRC, number as u16, 0, arrival);
            self.buffer.insert(number, packet)
        }

        /// Offsets of the packets that come out; a loss of n reads as -n.
        fn drain(&mut self, at_ms: u64) -> Vec<i64> {
            self.drain_with(at_ms, false)
        }

        fn drain_with(&mut self, at_ms: u64, flush: bool) -> Vec<i64> {
            let mut out = Vec::new();
            while let Some(popped) = self.buffer.pop(Timestamp::from_millis(at_ms), flush) {
                out.push(match popped {
                    Popped::Packet(packet) => i64::from(packet.sequence_number.wrapping_sub(FIRST as u16)),
                    Popped::Lost(n) => -(n as i64),
                });
            }
            out
        }

        fn timeout_ms(&self) -> Option<u64> {
            self.buffer.next_timeout().map(Timestamp::as_millis)
        }
    }

    #[test]
    fn packets_in_order_pass_at_once_and_need_no_ring() {
        let mut bench = Bench::new();
        for offset in 0..600 {
            assert_eq!(bench.insert(offset, offset), Ok(()));
            assert_eq!(bench.drain(offset), [offset as i64]);
            assert_eq!(bench.timeout_ms(), None);
        }
        assert!(bench.buffer.ring.is_empty());
        assert_eq!(bench.pool.held(), 0);
    }

    #[test]
    fn a_gap_waits_for_reorder_wait_and_not_longer() {
        let mut bench = Bench::new();
        bench.insert(0, 0).expect("new");
        bench.drain(0);
        bench.insert(2, 10).expect("new");
        bench.insert(4, 20).expect("new");
        assert_eq!(bench.drain(20), []);
        assert_eq!(bench.timeout_ms(), Some(70));
        assert_eq!(bench.drain(69), []);
        assert_eq!(bench.drain(70), [-1, 2]);
        assert_eq!(bench.timeout_ms(), Some(80), "the next gap opened when packet 4 came");
        assert_eq!(bench.insert(1, 71), Err(Untimely::Late));
        assert_eq!(bench.insert(2, 71), Err(Untimely::Duplicate));
        assert_eq!(bench.insert(4, 71), Err(Untimely::Duplicate));
        bench.insert(3, 79).expect("in time");
        assert_eq!(bench.drain(79), [3, 4]);
        assert_eq!((bench.timeout_ms(), bench.pool.held()), (None, 0));
    }

    #[test]
    fn a_gap_opens_with_the_earliest_packet_behind_it() {
        let mut bench = Bench::new();
        bench.insert(3, 5).expect("new");
        bench.insert(2, 30).expect("new");
        assert_eq!(bench.drain(30), []);
        assert_eq!(bench.timeout_ms(), Some(65));
        bench.insert(0, 31).expect("new");
        assert_eq!(bench.drain(31), [0]);
        assert_eq!(bench.timeout_ms(), Some(65));
        assert_eq!(bench.drain(65), [-1, 2, 3]);
    }

    #[test]
    fn a_full_ring_gives_up_the_oldest_gap_just_outside() {
        let mut bench = Bench::new();
        let len = REORDER_PACKETS_MAX as u64;
        for offset in (1..len).filter(|n| *n != 5) {
            bench.insert(offset, 0).expect("room");
            assert_eq!(bench.drain(0), [], "{offset}");
        }
        bench.insert(len, 0).expect("beyond");
        assert_eq!(bench.insert(len, 0), Err(Untimely::Duplicate));
        assert_eq!(bench.insert(len + 1, 0), Err(Untimely::Undrained));
        assert_eq!(bench.drain(0), [-1, 1, 2, 3, 4]);
        bench.insert(5, 1).expect("the second gap is still open");
        assert_eq!(bench.drain(1), (5..=len as i64).collect::<Vec<_>>());
        assert_eq!(bench.pool.held(), 0);
    }

    #[test]
    fn a_leap_beyond_the_ring_does_not_wait() {
        let mut bench = Bench::new();
        bench.insert(2000, 0).expect("new");
        assert_eq!(bench.drain(0), [-2000, 2000]);
        assert_eq!(bench.insert(1999, 0), Err(Untimely::Late));
        assert_eq!(bench.insert(2000, 0), Err(Untimely::Duplicate));
    }

    #[test]
    fn flush_gives_up_all_gaps_and_restart_begins_anew() {
        let mut bench = Bench::new();
        for offset in [1, 3, 300] {
            bench.insert(offset, 0).expect("new");
        }
        assert_eq!(bench.drain_with(0, true), [-1, 1, -1, 3, -296, 300]);
        bench.insert(400, 0).expect("new");
        bench.buffer.restart(FIRST);
        assert_eq!((bench.pool.held(), bench.timeout_ms()), (0, None));
        bench.insert(0, 0).expect("new");
        assert_eq!(bench.drain(0), [0]);
    }
}
