//! The broadcast's timeline: where pictures and audio lie in ms since the broadcast began.
//! Takes: unwrapped RTP time and arrival of pictures, both streams' sender clocks (RFC 3550 §6.4.1) and where the
//! audio lies. Gives: ms that never go back, and the skew. Leaves out: the audio's own placement, which follows
//! its sample count (`audio::transcoder`); audio is the reference and video is moved towards it.

use std::time::Duration;

use sipcast_contract::Timestamp;

use crate::rtp::SenderClock;

/// Places pictures. Before both sender reports: by the arrival of the first picture, later by that of any picture
/// that came sooner than expected. After them: where its wall time lies on the audio's timeline.
///
/// | deviation of the placement | what is done |
/// | --- | --- |
/// | beyond 10 s from the present placement | the sender reports are nonsense: ignored |
/// | up to 3 ms | nothing |
/// | forward, more than 200 ms or within the first 2 s | at once |
/// | other | 1 ms a picture, 5 ms beyond 200 ms |
/// | more than 2 s ahead of arrival, or 2 s behind it for a second, against what the reports say | anchored anew |
#[derive(Clone, Debug)]
pub struct VideoTimeline {
    start: Timestamp,
    /// Broadcast time minus RTP time in µs, as pictures are placed now.
    offset_us: Option<i64>,
    /// What a restart gave as the arrival of the next picture.
    anchor: Option<Timestamp>,
    /// When the placement was anchored.
    anchored: Timestamp,
    /// The join by sender reports that rules, and one that is not yet looked at.
    joined: Option<Join>,
    proposed_us: Option<i64>,
    /// Since when pictures come more than 2 s late.
    behind_since: Option<Timestamp>,
    last_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Join {
    /// The offset that makes video meet audio.
    target_us: i64,
    /// How far this places a picture after its arrival; negative: before it.
    lead_us: i64,
}

impl VideoTimeline {
    /// A timeline whose 0 ms is at `start`.
    pub const fn new(start: Timestamp) -> Self {
        Self {
            start,
            offset_us: None,
            anchor: None,
            anchored: start,
            joined: None,
            proposed_us: None,
            behind_since: None,
            last_ms: None,
        }
    }

    /// The next picture has no common RTP time with those before it (new SSRC, jump, hold): it is placed by
    /// `arrival`, and sender reports must join it anew.
    pub fn restart(&mut self, arrival: Timestamp) {
        self.offset_us = None;
        self.anchor = Some(arrival);
        self.joined = None;
        self.proposed_us = None;
        self.behind_since = None;
    }

    /// Joins video to audio: `audio_presentation` is where the RTP time of `audio` lies on the broadcast's
    /// timeline, `None` while unknown. Takes effect with the next picture; call it after each sender report.
    pub fn join(&mut self, video: SenderClock, audio: SenderClock, audio_presentation: Option<Duration>) {
        let Some(audio_us) = audio_presentation.map(|at| i64::try_from(at.as_micros()).unwrap_or(i64::MAX))
        else {
            return;
        };
        let video_us = audio_us.saturating_add(video.ntp.micros_since(audio.ntp));
        self.proposed_us = Some(video_us.saturating_sub(micros(video.timestamp)));
    }

    /// Places a picture of unwrapped RTP time `timestamp` (90 kHz), of which the last packet came at `arrival`:
    /// ms since the start, at least 1 more than for the picture before.
    pub fn place(&mut self, timestamp: i64, arrival: Timestamp) -> u64 {
        let rtp_us = micros(timestamp);
        let arrival_us = self.since_start_us(arrival);
        let mut offset = match self.offset_us {
            Some(offset) => offset,
            None => {
                let anchor = self.anchor.take().map_or(arrival_us, |anchor| self.since_start_us(anchor));
                self.anchored = arrival;
                anchor.saturating_sub(rtp_us)
            }
        };
        self.consider_join(offset, rtp_us, arrival_us);
        let lead_us = self.joined.map_or(0, |join| join.lead_us);
        let by_arrival = arrival_us.saturating_add(lead_us).saturating_sub(rtp_us);
        if self.is_astray(offset.saturating_sub(by_arrival), arrival) {
            self.joined = None;
            self.behind_since = None;
            self.anchored = arrival;
            offset = arrival_us.saturating_sub(rtp_us);
        } else {
            offset = self.corrected(offset, by_arrival, arrival);
        }
        self.offset_us = Some(offset);
        self.advance(rtp_us.saturating_add(offset))
    }

    /// How far video leaves behind (+) or ahead of (-) the audio, in ms; `None` until both streams' sender
    /// reports were joined.
    pub fn skew_ms(&self) -> Option<i32> {
        let skew_us = self.offset_us?.saturating_sub(self.joined?.target_us);
        i32::try_from(skew_us / 1000).ok()
    }

    fn consider_join(&mut self, offset: i64, rtp_us: i64, arrival_us: i64) {
        let Some(target_us) = self.proposed_us.take() else { return };
        if target_us.saturating_sub(offset).unsigned_abs() > NONSENSE_US.unsigned_abs() {
            return;
        }
        let lead_us = rtp_us.saturating_add(target_us).saturating_sub(arrival_us);
        self.joined = Some(Join { target_us, lead_us });
    }

    /// Whether the placement lies `deviation` µs away from what arrival allows. Ahead at once, since nothing
    /// arrives before it is sent; behind only for a while, since packets do queue somewhere.
    fn is_astray(&mut self, deviation: i64, arrival: Timestamp) -> bool {
        // While a correction runs its course, the placement may still be on the way to the target.
        let allowed = match (self.joined, self.offset_us) {
            (Some(join), Some(offset)) => {
                ASTRAY_US.saturating_add(offset.saturating_sub(join.target_us).saturating_abs())
            }
            _ => ASTRAY_US,
        };
        if deviation >= -allowed {
            self.behind_since = None;
            return deviation > allowed;
        }
        arrival - *self.behind_since.get_or_insert(arrival) >= BEHIND_MAX
    }

    fn corrected(&self, offset: i64, by_arrival: i64, arrival: Timestamp) -> i64 {
        let target = match self.joined {
            Some(join) => join.target_us,
            // Without reports the soonest picture knows best how long the way is: the first ones often queue.
            None => by_arrival.min(offset),
        };
        let deviation = target.saturating_sub(offset);
        let size = deviation.saturating_abs();
        if size <= DEAD_BAND_US {
            return offset;
        }
        let fresh = arrival - self.anchored < SETTLING;
        if deviation > 0 && (fresh || size > LARGE_US) {
            return target;
        }
        let step = if size > LARGE_US { STEP_LARGE_US } else { STEP_US };
        offset.saturating_add(deviation.clamp(-step, step))
    }

    fn advance(&mut self, placed_us: i64) -> u64 {
        let placed_ms = u64::try_from(placed_us / 1000).unwrap_or(0);
        let ms = self.last_ms.map_or(placed_ms, |last| placed_ms.max(last + 1));
        self.last_ms = Some(ms);
        ms
    }

    fn since_start_us(&self, at: Timestamp) -> i64 {
        i64::try_from((at - self.start).as_micros()).unwrap_or(i64::MAX)
    }
}

/// Where an audio frame lies that begins with output sample `position`: ms since the start.
pub const fn audio_ms(position: u64, sample_rate_hz: u32) -> u64 {
    match sample_rate_hz {
        // The usual ones by constants, which takes no division.
        48_000 => position / 48,
        44_100 => position / 441 * 10 + position % 441 * 10 / 441,
        0 => position * 1000,
        rate_hz => {
            let rate = rate_hz as u64;
            position / rate * 1000 + position % rate * 1000 / rate
        }
    }
}

/// RTP time of 90 kHz in µs.
const fn micros(timestamp: i64) -> i64 {
    timestamp.saturating_mul(100) / 9
}

/// A deviation that no call has: the reports are broken.
const NONSENSE_US: i64 = 10_000_000;
/// The resolution of RTMP timestamps and of many senders' clocks.
const DEAD_BAND_US: i64 = 3_000;
const LARGE_US: i64 = 200_000;
const STEP_US: i64 = 1_000;
const STEP_LARGE_US: i64 = 5_000;
/// After anchoring, players have hardly begun: a jump forward costs nothing.
const SETTLING: Duration = Duration::from_secs(2);
const ASTRAY_US: i64 = 2_000_000;
const BEHIND_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::NtpTime;

    const PICTURE: i64 = 3000;

    fn ms(at: u64) -> Timestamp {
        Timestamp::from_millis(at)
    }

    fn clock(ntp_ms: u64, timestamp: i64) -> SenderClock {
        SenderClock { ntp: NtpTime((ntp_ms << 32) / 1000 + (4_000_000_000 << 32)), timestamp }
    }

    /// Pictures of 1/30 s that arrive `delay` ms after broadcast time `n / 30`.
    fn place(timeline: &mut VideoTimeline, n: i64, delay: i64) -> u64 {
        timeline.place(n * PICTURE, ms((10_000 + n * 100 / 3 + delay) as u64))
    }

    fn timeline() -> VideoTimeline {
        VideoTimeline::new(ms(10_000))
    }

    /// A join after which picture n belongs at `n / 30 + at` ms.
    fn join_at(timeline: &mut VideoTimeline, at: u64) {
        timeline.join(clock(4_000, 0), clock(5_000, 77), Some(Duration::from_millis(1000 + at)));
    }

    #[test]
    fn by_arrival_of_the_first_picture_until_reports_come() {
        let mut timeline = timeline();
        for n in 0..100 {
            let expected = (40 + n * 100 / 3) as u64;
            assert!(place(&mut timeline, n, 40).abs_diff(expected) <= 1, "{n}");
        }
        assert_eq!(timeline.skew_ms(), None);
    }

    #[test]
    fn a_queue_at_the_start_is_slewed_away() {
        let mut timeline = timeline();
        assert_eq!(place(&mut timeline, 0, 140), 140);
        for n in 1..150 {
            place(&mut timeline, n, 40);
        }
        let at = place(&mut timeline, 150, 40);
        assert!((5040..=5044).contains(&at), "{at}");
    }

    #[test]
    fn early_reports_move_video_forward_at_once() {
        let mut timeline = timeline();
        place(&mut timeline, 0, 40);
        join_at(&mut timeline, 1100);
        let at = place(&mut timeline, 1, 40);
        assert!(at.abs_diff(1133) <= 1, "{at}");
        assert_eq!(timeline.skew_ms(), Some(0));
    }

    #[test]
    fn late_reports_slew_small_deviations_and_jump_over_large_ones() {
        let mut timeline = timeline();
        for n in 0..90 {
            place(&mut timeline, n, 40);
        }
        // Forward by 100 ms: a millisecond a picture.
        let before = timeline.offset_us.expect("placed");
        join_at(&mut timeline, 140);
        place(&mut timeline, 90, 40);
        assert_eq!((timeline.offset_us, timeline.skew_ms()), (Some(before + 1000), Some(-99)));
        for n in 91..190 {
            place(&mut timeline, n, 40);
        }
        assert!(timeline.skew_ms().expect("joined").abs() <= 3);
        // Forward by a second: at once.
        join_at(&mut timeline, 1140);
        place(&mut timeline, 190, 40);
        assert_eq!(timeline.skew_ms(), Some(0));
        // Back by a second: slewed, and never backwards.
        join_at(&mut timeline, 140);
        let mut last = place(&mut timeline, 191, 40);
        assert_eq!(timeline.skew_ms(), Some(995));
        for n in 192..600 {
            let at = place(&mut timeline, n, 40);
            assert!(at > last);
            last = at;
        }
        assert!(timeline.skew_ms().expect("joined").abs() <= 3);
    }

    #[test]
    fn nonsense_is_ignored_just_outside_ten_seconds() {
        for (at, taken) in [(10_040, true), (10_042, false)] {
            let mut timeline = timeline();
            place(&mut timeline, 0, 40);
            join_at(&mut timeline, at);
            place(&mut timeline, 1, 40);
            assert_eq!(timeline.skew_ms().is_some(), taken, "{at}");
        }
        let mut timeline = timeline();
        timeline.join(clock(1, 1), clock(2, 2), None);
        place(&mut timeline, 0, 40);
        assert_eq!(timeline.skew_ms(), None);
    }

    #[test]
    fn a_join_far_from_arrival_stays() {
        let mut timeline = timeline();
        place(&mut timeline, 0, 40);
        join_at(&mut timeline, 5_000);
        for n in 1..300 {
            place(&mut timeline, n, 40);
        }
        assert_eq!(timeline.skew_ms(), Some(0));
    }

    #[test]
    fn a_clock_far_from_arrival_is_anchored_anew() {
        let mut timeline = timeline();
        place(&mut timeline, 0, 40);
        // RTP time leaps an hour ahead without a restart: never more than 2 s ahead of arrival.
        let at = timeline.place(3600 * 90_000, ms(10_100));
        assert_eq!(at, 100);
        // And back: for a second the placement crawls, then it is anchored.
        let mut last = at;
        for n in 0..40 {
            let at = timeline.place(n * PICTURE, ms(10_140 + n as u64 * 33));
            assert!(at > last);
            last = at;
        }
        assert!(last.abs_diff(140 + 39 * 33) <= 10, "{last}");
    }

    #[test]
    fn a_stall_that_is_made_up_for_changes_nothing() {
        let mut timeline = timeline();
        for n in 0..90 {
            place(&mut timeline, n, 40);
        }
        // Pictures 90 to 180 arrive together, three seconds late.
        for n in 90..180 {
            let at = timeline.place(n * PICTURE, ms(16_040));
            assert!(at.abs_diff((40 + n * 100 / 3) as u64) <= 1, "{n}: {at}");
        }
        let at = place(&mut timeline, 181, 40);
        assert!(at.abs_diff(40 + 181 * 100 / 3) <= 1, "{at}");
    }

    #[test]
    fn a_restart_anchors_by_arrival_and_never_goes_back() {
        let mut timeline = timeline();
        place(&mut timeline, 0, 40);
        join_at(&mut timeline, 540);
        let before = place(&mut timeline, 1, 40);
        timeline.restart(ms(10_100));
        assert_eq!(timeline.skew_ms(), None);
        let after = timeline.place(-5_000_000, ms(10_110));
        assert_eq!(after, before + 1, "100 ms would be back");
        assert_eq!(timeline.place(-5_000_000 + 90_000, ms(11_100)), 1100);
    }

    #[test]
    fn milliseconds_pass_2_32() {
        let mut timeline = VideoTimeline::new(ms(0));
        let edge = u64::from(u32::MAX);
        assert_eq!(timeline.place(0, ms(edge)), edge);
        assert_eq!(timeline.place(9000, ms(edge + 100)), edge + 100);
        assert_eq!(audio_ms(48_000 * 5_000_000 + 1024, 48_000), 5_000_000_021);
        assert_eq!(audio_ms(1024, 0), 1_024_000);
        for rate_hz in [48_000, 44_100, 32_000, 8_000] {
            for frame in (0..5_000).chain(1 << 32..(1 << 32) + 5_000) {
                let exact = u128::from(frame * 1024_u64) * 1000 / u128::from(rate_hz);
                assert_eq!(u128::from(audio_ms(frame * 1024, rate_hz)), exact, "{frame} of {rate_hz} Hz");
            }
        }
    }

    #[test]
    fn any_times_are_survived_and_stay_near_arrival() {
        for seed in 0..50u64 {
            let mut state = seed;
            let mut random = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 16
            };
            let mut timeline = timeline();
            let (mut now, mut last) = (10_000, None);
            for _ in 0..2000 {
                now += random() % 100;
                match random() % 20 {
                    0 => timeline.restart(ms(now)),
                    1 => timeline.join(
                        SenderClock { ntp: NtpTime(random() << 20), timestamp: random() as i64 },
                        SenderClock { ntp: NtpTime(random() << 20), timestamp: random() as i64 },
                        Some(Duration::from_millis(random())),
                    ),
                    _ => {}
                }
                let timestamp = (random() as i64) << (random() % 17);
                let at = timeline.place(if random() % 2 == 0 { timestamp } else { -timestamp }, ms(now));
                assert!(last.is_none_or(|last| at > last), "seed {seed}");
                assert!(at < now - 10_000 + 25_000 + 2000, "seed {seed}: {at}");
                last = Some(at);
            }
        }
    }
}
