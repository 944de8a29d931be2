//! Which lost packets are asked for again, and when (Generic NACK, RFC 4585 §6.2.1).
//! Takes: gaps in the sequence numbers, packets that fill them, time. Gives: sequence numbers to ask for, and how long
//! a gap is worth waiting for. Leaves out: RTCP bytes (`rtcp::writer`), order (`jitter_buffer`).

use std::time::Duration;

use sipcast_contract::Timestamp;

/// Asks for the missing packets of one RTP stream. Poll after each gap and at each timeout.
///
/// | a packet is | asked for |
/// | --- | --- |
/// | missing | at once |
/// | missing, asked for | again after a round trip, five times in all |
/// | here, or given up | no more |
#[derive(Clone, Debug)]
pub struct RetransmissionRequest {
    is_agreed: bool,
    /// In order of their numbers, at most [`MISSING_MAX`].
    missing: Vec<Missing>,
    /// From asking to arrival, smoothed.
    round_trip: Duration,
    /// Packets in a row that were asked for in vain.
    in_vain: u32,
    nacked: u64,
    retransmitted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    extended: u64,
    asked: u8,
    /// When it was last asked for, or found missing.
    latest: Timestamp,
}

/// One entry of a Generic NACK: a packet, and which of the 16 behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NackEntry {
    /// Sequence number of the first packet (PID).
    pub first: u16,
    /// Bit n: packet `first + n + 1`, too (BLP).
    pub following: u16,
}

/// Entries of one Generic NACK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NackEntries {
    entries: [NackEntry; ENTRIES_MAX],
    len: usize,
}

impl RetransmissionRequest {
    /// Asks for nothing until it was agreed on.
    pub const fn new() -> Self {
        Self {
            is_agreed: false,
            missing: Vec::new(),
            round_trip: ROUND_TRIP_FIRST,
            in_vain: 0,
            nacked: 0,
            retransmitted: 0,
        }
    }

    /// Takes what a new offer and answer agreed on.
    pub fn set_agreed(&mut self, is_agreed: bool) {
        self.is_agreed = is_agreed;
        match is_agreed {
            // Here, so that no packet allocates.
            true => self.missing.reserve(MISSING_MAX),
            false => self.missing.clear(),
        }
    }

    /// Packets `from..to` are missing. A gap so long that an IDR picture is the better cure is not asked for.
    pub fn handle_gap(&mut self, from: u64, to: u64, now: Timestamp) {
        let count = to.saturating_sub(from);
        if self.is_agreed && count <= (MISSING_MAX - self.missing.len()) as u64 {
            let missing = |extended| Missing { extended, asked: 0, latest: now };
            self.missing.extend((from..to).map(missing));
        }
    }

    /// A packet came out of order: perhaps one that was asked for.
    pub fn handle_packet(&mut self, extended: u64, now: Timestamp) {
        let Ok(index) = self.missing.binary_search_by_key(&extended, |missing| missing.extended) else {
            return;
        };
        let missing = self.missing.remove(index);
        if missing.asked == 0 {
            return;
        }
        self.retransmitted += 1;
        self.in_vain = 0;
        // Which request was answered is known only if there was one (Karn).
        if missing.asked == 1 {
            self.round_trip = (self.round_trip * 7 + (now - missing.latest)) / 8;
        }
    }

    /// Packets before `next` are given up.
    pub fn handle_given_up(&mut self, next: u64) {
        let given_up = self.missing.partition_point(|missing| missing.extended < next);
        let in_vain = self.missing.drain(..given_up).filter(|missing| missing.asked > 0).count();
        self.in_vain = self.in_vain.saturating_add(in_vain as u32);
    }

    /// The stream ends, or begins anew.
    pub fn restart(&mut self) {
        self.missing.clear();
    }

    /// How long a gap is held open: `reorder_wait`, or longer while a retransmission may come. A sender that never
    /// answers is not waited for.
    pub fn wait(&self, reorder_wait: Duration) -> Duration {
        if !self.is_agreed || self.in_vain >= IN_VAIN_MAX {
            return reorder_wait;
        }
        (self.round_trip * 3).clamp(reorder_wait.min(WAIT_MAX), WAIT_MAX).max(reorder_wait)
    }

    /// What to ask for now; poll until it is empty.
    pub fn poll(&mut self, now: Timestamp) -> NackEntries {
        let pause = self.round_trip.max(REPEAT_MIN);
        let mut entries = NackEntries::default();
        for missing in self.missing.iter_mut().filter(|missing| missing.is_due(pause, now)) {
            // Truncation is wanted: a sequence number is the lower 16 bits.
            if !entries.push(missing.extended as u16) {
                break;
            }
            missing.asked += 1;
            missing.latest = now;
            self.nacked += 1;
        }
        entries
    }

    /// When to poll again.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let pause = self.round_trip.max(REPEAT_MIN);
        self.missing.iter().filter_map(|missing| missing.next(pause)).min()
    }

    /// Packets asked for so far, repetitions counted.
    pub const fn nacked(&self) -> u64 {
        self.nacked
    }

    /// Packets that came after they were asked for.
    pub const fn retransmitted(&self) -> u64 {
        self.retransmitted
    }
}

impl Default for RetransmissionRequest {
    fn default() -> Self {
        Self::new()
    }
}

impl Missing {
    fn next(&self, pause: Duration) -> Option<Timestamp> {
        match self.asked {
            0 => Some(self.latest),
            asked => (asked < ASKS_MAX).then(|| self.latest + pause),
        }
    }

    fn is_due(&self, pause: Duration, now: Timestamp) -> bool {
        self.next(pause).is_some_and(|at| at <= now)
    }
}

impl NackEntries {
    /// The entries.
    pub fn as_slice(&self) -> &[NackEntry] {
        &self.entries[..self.len]
    }

    /// Whether there is nothing to ask for.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes numbers in rising order; `false` when there is no room.
    fn push(&mut self, sequence_number: u16) -> bool {
        if let Some(last) = self.entries[..self.len].last_mut() {
            let behind = sequence_number.wrapping_sub(last.first);
            if (1..=16).contains(&behind) {
                last.following |= 1 << (behind - 1);
                return true;
            }
        }
        let Some(entry) = self.entries.get_mut(self.len) else { return false };
        *entry = NackEntry { first: sequence_number, following: 0 };
        self.len += 1;
        true
    }
}

/// Packets asked for side by side.
const MISSING_MAX: usize = 64;
/// Entries of one Generic NACK; what does not fit goes with the next.
pub const ENTRIES_MAX: usize = 16;
/// Until one was measured.
const ROUND_TRIP_FIRST: Duration = Duration::from_millis(100);
const REPEAT_MIN: Duration = Duration::from_millis(20);
const ASKS_MAX: u8 = 5;
/// How long the picture stands still at most for a packet that may still come.
const WAIT_MAX: Duration = Duration::from_millis(300);
/// After so many the sender is taken for one that does not retransmit, whatever was agreed on.
const IN_VAIN_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: u64) -> Timestamp {
        Timestamp::from_millis(at)
    }

    fn agreed() -> RetransmissionRequest {
        let mut request = RetransmissionRequest::new();
        request.set_agreed(true);
        request
    }

    fn asked(request: &mut RetransmissionRequest, at: u64) -> Vec<(u16, u16)> {
        request.poll(ms(at)).as_slice().iter().map(|entry| (entry.first, entry.following)).collect()
    }

    #[test]
    fn a_gap_is_asked_for_at_once_then_each_round_trip_five_times_in_all() {
        let mut request = agreed();
        request.handle_gap(65_535, 65_539, ms(0));
        let mut times = Vec::new();
        while let Some(at) = request.next_timeout() {
            assert_eq!(asked(&mut request, at.as_millis()), [(65_535, 0b111)]);
            times.push(at.as_millis());
        }
        assert_eq!(times, [0, 100, 200, 300, 400]);
        assert_eq!((request.nacked(), request.retransmitted()), (20, 0));
    }

    #[test]
    fn what_comes_is_asked_for_no_more_and_tells_the_round_trip() {
        let mut request = agreed();
        request.handle_gap(10, 12, ms(0));
        assert_eq!(asked(&mut request, 0), [(10, 1)]);
        assert_eq!(asked(&mut request, 0), []);
        for _ in 0..100 {
            request.handle_packet(10, ms(20));
            request.handle_packet(11, ms(20));
            request.handle_gap(10, 12, ms(0));
            request.poll(ms(0));
        }
        assert!(request.round_trip < Duration::from_millis(25), "{:?}", request.round_trip);
        assert!(request.wait(Duration::from_millis(10)) < Duration::from_millis(75));
        assert_eq!(request.wait(Duration::from_millis(500)), Duration::from_millis(500));
        request.handle_given_up(12);
        assert_eq!(request.next_timeout(), None);
    }

    #[test]
    fn entries_hold_seventeen_packets_each_and_the_rest_goes_with_the_next() {
        let mut request = agreed();
        for first in [0, 18, 36] {
            request.handle_gap(first, first + 18, ms(0));
        }
        assert_eq!(
            asked(&mut request, 0),
            [(0, 0xffff), (17, 0xffff), (34, 0xffff), (51, 0b11)],
            "17 packets each"
        );
        let mut request = agreed();
        for first in (0..64).map(|n| n * 100) {
            request.handle_gap(first, first + 1, ms(0));
        }
        request.handle_gap(9000, 9001, ms(0));
        let counts: Vec<usize> = (0..5).map(|_| asked(&mut request, 0).len()).collect();
        assert_eq!(counts, [16, 16, 16, 16, 0], "the 65th is not asked for");
    }

    #[test]
    fn a_sender_that_never_answers_is_not_waited_for_until_it_does() {
        let mut request = agreed();
        let wait = Duration::from_millis(60);
        for number in 0..8 {
            assert_eq!(request.wait(wait), WAIT_MAX, "{number}");
            request.handle_gap(number, number + 1, ms(0));
            request.poll(ms(0));
            request.handle_given_up(number + 1);
        }
        assert_eq!(request.wait(wait), wait);
        request.handle_gap(9, 10, ms(0));
        assert_eq!(asked(&mut request, 0), [(9, 0)], "asked all the same");
        request.handle_packet(9, ms(50));
        assert!(request.wait(wait) > wait);
    }

    #[test]
    fn without_agreement_nothing_is_asked_for() {
        let mut request = RetransmissionRequest::new();
        request.handle_gap(1, 5, ms(0));
        assert_eq!((request.next_timeout(), request.wait(WAIT_MAX)), (None, WAIT_MAX));
        let mut request = agreed();
        request.handle_gap(1, 5, ms(0));
        request.set_agreed(false);
        assert_eq!(request.next_timeout(), None);
    }
}
