//! Where audio lies on the broadcast's timeline, in units of a rate that all codecs' clocks divide, since its start.
//! Takes: RTP time and arrival of each packet. Gives: how much silence goes before it and how much of it is late.
//! Leaves out: the samples themselves.
//!
//! RTP time rules as long as it is plausible: within a second of arrival. Arrival anchors it at first, after a
//! restart and after a jump. A slow drift is followed in small steps, so that both clocks stay together.

use std::time::Duration;

use sipcast_contract::Timestamp;

/// An RTP timestamp that differs more than this from its arrival is a new timeline, not jitter.
const DEVIATION_MAX: Duration = Duration::from_secs(1);

/// Drift that is left alone; players do not notice it, and jitter does not reach it for a whole window.
const DRIFT_MAX: Duration = Duration::from_millis(200);

/// How long all packets must have drifted before one step is made.
const DRIFT_WINDOW: Duration = Duration::from_secs(1);

/// One step against drift: 2 % of a window, where crystals differ by 0.01 %.
const DRIFT_STEP: Duration = Duration::from_millis(20);

/// How long packets may come wholly in the past before RTP time is taken to have stood still meanwhile.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// How far the first packet on another clock may be from its arrival and still join on to the one before.
const CLOCK_CHANGE_MAX: Duration = Duration::from_millis(100);

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Samples of silence to put before it.
    pub(super) silence: u64,
    /// Samples at its start that are already past; at most its length.
    pub(super) late: usize,
}

/// The write position and its relation to RTP time.
#[derive(Debug)]
pub(super) struct Position {
    start: Timestamp,
    rate_hz: u32,
    /// Anchors are multiples of it, so that whole samples of every codec fit between them.
    grid: i64,
    /// Samples laid down so far.
    end: u64,
    /// Position minus RTP time, unwrapped; `None` until a packet anchors it.
    offset: Option<i64>,
    /// How far the latest packet lay behind its arrival, in samples, never negative.
    lag: i64,
    behind_since: Option<Timestamp>,
    drift: DriftWindow,
}

/// Extremes of position minus arrival over one window, in samples.
#[derive(Clone, Copy, Debug)]
struct DriftWindow {
    since: Timestamp,
    least: i64,
    most: i64,
}

impl DriftWindow {
    const fn open(since: Timestamp) -> Self {
        Self { since, least: i64::MAX, most: i64::MIN }
    }
}

impl Position {
    /// Position 0 is at `start`.
    pub(super) const fn new(rate_hz: u32, grid: i64, start: Timestamp) -> Self {
        Self {
            start,
            rate_hz,
            grid,
            end: 0,
            offset: None,
            lag: 0,
            behind_since: None,
            drift: DriftWindow::open(start),
        }
    }

    /// Finds the place of `len` samples. Nothing is laid down until [`Position::advance`].
    pub(super) fn place(&mut self, rtp_timestamp: i64, len: usize, arrival: Timestamp) -> Place {
        let heard = self.at(arrival);
        let deviation_max = self.samples(DEVIATION_MAX);
        let position = match self.offset.map(|offset| rtp_timestamp.saturating_add(offset)) {
            Some(position)
                if position.saturating_sub(heard).saturating_abs() <= deviation_max
                    && !self.stood_still(position.saturating_add(len as i64), arrival) =>
            {
                position
            }
            _ => self.anchor(rtp_timestamp, heard, arrival),
        };
        self.follow_drift(position - heard, arrival);
        self.lag = (heard - position).max(0);
        let end = self.end as i64;
        if position - heard > deviation_max {
            // More sound than time, for longer than jitter explains: what is too much is not kept, or the sound
            // would run away from the picture, and cost as much to encode as a peer cares to send.
            return Place { silence: 0, late: len };
        }
        Place {
            silence: u64::try_from(position - end).unwrap_or(0),
            late: usize::try_from(end - position).unwrap_or(0).min(len),
        }
    }

    /// Silence that is missing now, if everything up to `age` ago must be there.
    pub(super) fn missing(&self, now: Timestamp, age: Duration) -> u64 {
        let due = self.at(now) - self.samples(age) - self.lag;
        u64::try_from(due - self.end as i64).unwrap_or(0)
    }

    /// `samples` more were laid down.
    pub(super) fn advance(&mut self, samples: u64) {
        self.end += samples;
    }

    /// Forgets RTP time: the next packet is placed by its arrival.
    pub(super) fn restart(&mut self) {
        self.offset = None;
        self.lag = 0;
    }

    /// RTP time goes on in other units (another codec's clock): the next packet joins on to the last one, if that
    /// is where its arrival puts it.
    pub(super) fn change_clock(&mut self, rtp_timestamp: i64, arrival: Timestamp) {
        let end = self.end as i64;
        let apart = (self.at(arrival) - self.lag).saturating_sub(end).saturating_abs();
        self.restart();
        if end > 0 && apart <= self.samples(CLOCK_CHANGE_MAX) {
            self.offset = Some(end.saturating_sub(rtp_timestamp));
            self.behind_since = None;
            self.drift = DriftWindow::open(arrival);
        }
    }

    /// Where the next sample is laid down.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Where RTP time lies; `None` before the first packet, and for times before the start.
    pub(super) fn presentation(&self, rtp_timestamp: i64) -> Option<Duration> {
        let position = u64::try_from(rtp_timestamp.checked_add(self.offset?)?).ok()?;
        let rate = u64::from(self.rate_hz);
        let nanos = position % rate * 1_000_000_000 / rate;
        Some(Duration::from_secs(position / rate) + Duration::from_nanos(nanos))
    }

    fn anchor(&mut self, rtp_timestamp: i64, heard: i64, arrival: Timestamp) -> i64 {
        // Time never goes back: what was filled with silence meanwhile stays.
        let position = heard.max(self.end as i64);
        // One below the end would leave the rest of a sample over.
        let position = position.saturating_add((self.grid - position % self.grid) % self.grid);
        self.offset = Some(position.saturating_sub(rtp_timestamp));
        self.behind_since = None;
        self.drift = DriftWindow::open(arrival);
        position
    }

    /// Whether packets that end at `packet_end` have been wholly in the past for too long.
    fn stood_still(&mut self, packet_end: i64, arrival: Timestamp) -> bool {
        if packet_end > self.end as i64 {
            self.behind_since = None;
            return false;
        }
        // A burst that was held up in the network is also in the past, but it comes all at once.
        let since = *self.behind_since.get_or_insert(arrival);
        arrival - since > BEHIND_MAX
    }

    fn follow_drift(&mut self, deviation: i64, arrival: Timestamp) {
        let window = &mut self.drift;
        window.least = window.least.min(deviation);
        window.most = window.most.max(deviation);
        if arrival - window.since < DRIFT_WINDOW {
            return;
        }
        let DriftWindow { least, most, .. } = *window;
        *window = DriftWindow::open(arrival);
        let (drift_max, step) = (self.samples(DRIFT_MAX), self.samples(DRIFT_STEP));
        let Some(offset) = &mut self.offset else { return };
        if most < -drift_max {
            // The sender is slow: the next packet comes after a little silence.
            *offset = offset.saturating_add(step);
        } else if least > drift_max {
            // The sender is fast: the start of the next packet is late.
            *offset = offset.saturating_sub(step);
        }
    }

    /// Position that belongs to a point in time; before the start it is 0.
    fn at(&self, time: Timestamp) -> i64 {
        self.samples(time - self.start)
    }

    fn samples(&self, duration: Duration) -> i64 {
        let nanos = u64::from(duration.subsec_nanos()) * u64::from(self.rate_hz) / 1_000_000_000;
        let whole = duration.as_secs().saturating_mul(u64::from(self.rate_hz));
        i64::try_from(whole).unwrap_or(i64::MAX).saturating_add(nanos as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 160;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    fn position() -> Position {
        Position::new(8_000, 1, ms(0))
    }

    /// Places a packet and lays it down, as the transcoder does.
    fn lay(position: &mut Position, rtp_timestamp: i64, at_ms: u64) -> Place {
        let place = position.place(rtp_timestamp, PACKET, ms(at_ms));
        position.advance(place.silence + (PACKET - place.late) as u64);
        place
    }

    #[test]
    fn rtp_time_places_packets_whatever_their_arrival() {
        let mut position = position();
        assert_eq!(lay(&mut position, 5_000, 0), Place { silence: 0, late: 0 });
        assert_eq!(lay(&mut position, 5_160, 90), Place { silence: 0, late: 0 });
        assert_eq!(lay(&mut position, 5_480, 91), Place { silence: 160, late: 0 }, "one was lost");
        assert_eq!(lay(&mut position, 5_560, 92), Place { silence: 0, late: 80 }, "half of it is there");
        assert_eq!(position.presentation(5_000 + 8_000), Some(Duration::from_secs(1)));
        assert_eq!(position.presentation(4_999), None);
    }

    #[test]
    fn the_first_packet_is_placed_by_arrival() {
        let mut position = position();
        assert_eq!(lay(&mut position, i64::from(u32::MAX) - 3, 100), Place { silence: 800, late: 0 });
        assert_eq!(lay(&mut position, i64::from(u32::MAX) - 3 + 160, 120), Place { silence: 0, late: 0 });
    }

    #[test]
    fn a_peer_that_sends_more_sound_than_time_loses_what_is_too_much() {
        let mut position = position();
        for n in 0..5_000 {
            lay(&mut position, n * 160, n as u64 * 2);
            let heard = n as u64 * 16;
            assert!(position.end <= heard + 8_000 + PACKET as u64, "packet {n}");
        }
        // 10 s were heard. Back at its pace it is taken again.
        let late: Vec<usize> =
            (0..100).map(|n| lay(&mut position, 800_000 + n * 160, 10_000 + n as u64 * 20).late).collect();
        let lost: usize = late.iter().sum();
        assert!(lost <= 2 * PACKET, "steps against drift only: {late:?}");
    }

    #[test]
    fn a_second_is_jitter_and_more_is_a_new_timeline() {
        for (jump, silence) in [(8_000, 8_000), (8_001, 0)] {
            let mut position = position();
            lay(&mut position, 0, 0);
            let place = lay(&mut position, 160 + jump, 20);
            assert_eq!(place, Place { silence, late: 0 }, "jump of {jump}");
        }
        let mut position = position();
        for packet in 0..100 {
            lay(&mut position, packet * 160, packet as u64 * 20);
        }
        assert_eq!(lay(&mut position, -1_000_000, 2_000), Place { silence: 0, late: 0 });
        for hostile in [i64::MAX, i64::MIN, 0, i64::MIN, i64::MAX] {
            assert_eq!(lay(&mut position, hostile, 2_000).silence, 0);
        }
    }

    #[test]
    fn a_restart_continues_by_arrival_and_never_goes_back() {
        let mut position = position();
        lay(&mut position, 0, 0);
        position.restart();
        assert_eq!(position.presentation(0), None);
        assert_eq!(lay(&mut position, 777_777, 10), Place { silence: 0, late: 0 });
        position.restart();
        assert_eq!(lay(&mut position, 3, 140), Place { silence: 100 * 8, late: 0 });
    }

    #[test]
    fn silence_is_missing_up_to_an_age_and_keeps_the_senders_lag() {
        let mut position = position();
        let age = Duration::from_millis(100);
        assert_eq!(position.missing(ms(100), age), 0);
        assert_eq!(position.missing(ms(250), age), 1_200);
        lay(&mut position, 0, 0);
        lay(&mut position, 160, 70);
        assert_eq!(position.missing(ms(300), age), (300 - 100 - 50 - 40) * 8);
    }

    #[test]
    fn rtp_time_that_stood_still_is_followed_after_a_moment() {
        let mut position = position();
        lay(&mut position, 0, 0);
        position.advance(800 * 8);
        let lates: Vec<usize> =
            (1..=10).map(|n| lay(&mut position, n * 160, 880 + n as u64 * 20).late).collect();
        assert_eq!(lates, [160, 160, 160, 160, 160, 160, 0, 0, 0, 0]);
    }

    #[test]
    fn a_burst_that_was_held_up_keeps_its_time() {
        let mut position = position();
        lay(&mut position, 0, 0);
        position.advance(180 * 8);
        let lates: Vec<usize> = (1..=15).map(|n| lay(&mut position, n * 160, 300).late).collect();
        assert_eq!(
            (lates.iter().sum::<usize>(), position.presentation(160)),
            (1_440, Some(Duration::from_millis(20)))
        );
    }

    #[test]
    fn drift_is_bounded_both_ways() {
        for (sender_hz, slow) in [(7_996_u64, true), (8_004, false)] {
            let mut position = position();
            let mut place = Place { silence: 0, late: 0 };
            let (mut silence, mut late) = (0, 0);
            for packet in 0..30_000_u64 {
                // One packet of 160 samples takes the sender 160 / sender_hz seconds.
                let arrival = ms(0) + Duration::from_nanos(packet * 160 * 1_000_000_000 / sender_hz);
                place = position.place(packet as i64 * 160, PACKET, arrival);
                position.advance(place.silence + (PACKET - place.late) as u64);
                silence += place.silence;
                late += place.late;
                let apart = position.end as i64 - position.at(arrival);
                assert!(apart.abs() < 8 * 250, "{apart} samples after {packet} packets");
            }
            assert_eq!((silence > 0, late > 0), (slow, !slow), "{place:?}");
        }
    }

    #[test]
    fn jitter_alone_never_moves_the_anchor() {
        let mut position = position();
        for packet in 0..5_000_u64 {
            let jitter = [0, 15, 190, 60, 300, 5][packet as usize % 6];
            let place = lay(&mut position, packet as i64 * 160, packet * 20 + jitter);
            assert_eq!(place, Place { silence: 0, late: 0 });
        }
    }
}
