//! DTMF out as telephone-events (RFC 4733).
//! Takes: digits and pauses, time. Gives: whole RTP packets. Leaves out: sockets, the digits' text form
//! (`contract::dtmf`), SIP INFO (control plane).

use std::collections::VecDeque;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::dtmf::{Digit, DtmfStep};
use sipcast_contract::limits::DTMF_QUEUE_MAX;
use sipcast_contract::media::TelephoneEvent;

use super::random::SplitMix64;

/// Sends digits one after the other. Poll until `None` after each push and at each timeout.
///
/// | state | timeout |
/// | --- | --- |
/// | idle | next step of the queue: tone (first packet, marker) or pause |
/// | tone | before its end: update, longer duration; at its end: end bit, three times |
/// | pause | idle |
#[derive(Clone, Debug)]
pub struct TelephoneEventSender {
    format: TelephoneEvent,
    tone_len: Duration,
    queue: VecDeque<DtmfStep>,
    state: State,
    ssrc: u32,
    sequence_number: u16,
    /// RTP time at `epoch`.
    timestamp_base: u32,
    epoch: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Tone(Tone),
    Pause { until: Timestamp },
}

#[derive(Clone, Copy, Debug)]
struct Tone {
    digit: Digit,
    began: Timestamp,
    next_packet: Timestamp,
    first: bool,
    ends_sent: u8,
}

/// An RTP header and one event, ready to be sent:
///
/// ```text
/// |V=2|0|0|   0   |M|     PT      |       sequence number         |
/// |               timestamp: when the tone began                  |
/// |                             SSRC                              |
/// |     event     |E|R| volume    |          duration             |
/// ```
pub type EventPacket = [u8; 16];

/// The queue would hold more than `DTMF_QUEUE_MAX` steps; none of the order was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many DTMF digits are waiting")]
pub struct QueueFull;

impl TelephoneEventSender {
    /// Idle. SSRC, first sequence number and RTP time come from `seed` (RFC 3550 §5.1).
    pub fn new(format: TelephoneEvent, seed: u64, now: Timestamp) -> Self {
        let mut random = SplitMix64::new(seed);
        Self {
            format,
            tone_len: TONE,
            queue: VecDeque::new(),
            state: State::Idle,
            ssrc: random.next_u64() as u32,
            sequence_number: random.next_u64() as u16,
            timestamp_base: random.next_u64() as u32,
            epoch: now,
        }
    }

    /// Sets how long a digit sounds: brought to 100 ms ..= 1 s, so that a receiver hears it and the 16 bits of a
    /// duration hold it at any clock rate up to 48 kHz.
    pub fn set_tone_len(&mut self, tone_len: Duration) {
        self.tone_len = tone_len.clamp(TONE_MIN, TONE_MAX);
    }

    /// Takes what a new offer and answer agreed on; RTP time goes on.
    pub fn set_format(&mut self, format: TelephoneEvent, now: Timestamp) {
        self.timestamp_base = self.timestamp(now);
        self.epoch = now;
        self.format = format;
    }

    /// Appends `steps`.
    ///
    /// # Errors
    /// [`QueueFull`] when they do not all fit.
    pub fn push(&mut self, steps: &[DtmfStep]) -> Result<(), QueueFull> {
        if self.queue.len() + steps.len() > DTMF_QUEUE_MAX {
            return Err(QueueFull);
        }
        self.queue.extend(steps);
        Ok(())
    }

    /// The next packet that is due.
    pub fn poll(&mut self, now: Timestamp) -> Option<EventPacket> {
        loop {
            match self.state {
                State::Tone(tone) if now >= tone.next_packet => return Some(self.sound(tone, now)),
                State::Pause { until } if now >= until => self.state = State::Idle,
                State::Tone(_) | State::Pause { .. } => return None,
                State::Idle => {
                    self.state = match self.queue.pop_front()? {
                        DtmfStep::Pause(pause) => State::Pause { until: now + pause },
                        DtmfStep::Digit(digit) => State::Tone(Tone {
                            digit,
                            began: now,
                            next_packet: now,
                            first: true,
                            ends_sent: 0,
                        }),
                    }
                }
            }
        }
    }

    /// The header of another packet of this RTP stream, without marker: what keeps the way open shares SSRC,
    /// sequence numbers and RTP time with the events, so that the peer sees one stream.
    pub fn header(&mut self, payload_type: u8, now: Timestamp) -> [u8; 12] {
        let sequence_number = self.sequence_number;
        self.sequence_number = sequence_number.wrapping_add(1);
        let mut out = [0; 12];
        out[0] = 0x80;
        out[1] = payload_type & 0x7f;
        out[2..4].copy_from_slice(&sequence_number.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp(now).to_be_bytes());
        out[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        out
    }

    /// When to poll again; `None` when idle. After a push, poll at once.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Idle => None,
            State::Tone(tone) => Some(tone.next_packet),
            State::Pause { until } => Some(until),
        }
    }

    /// Whether everything pushed is sent, the last digit's pause included.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.queue.is_empty()
    }

    /// Its SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    fn sound(&mut self, mut tone: Tone, now: Timestamp) -> EventPacket {
        // RFC 4733 §2.5.1.2: a packet covers the tone up to the next update. The first never ends the event,
        // even when it comes late, since its marker and a first report belong together.
        let covered = (now - tone.began + UPDATE).min(self.tone_len);
        let ended = !tone.first && now - tone.began >= self.tone_len;
        let packet = self.packet(&tone, if ended { self.tone_len } else { covered }, ended);
        tone.first = false;
        tone.ends_sent += u8::from(ended);
        let end = tone.began + self.tone_len;
        tone.next_packet = match ended {
            true => now + UPDATE,
            false => (now + UPDATE).min(end.max(now + UPDATE_MIN)),
        };
        self.state = match tone.ends_sent < END_PACKETS {
            true => State::Tone(tone),
            false => State::Pause { until: (end + DIGIT_PAUSE).max(now + UPDATE) },
        };
        packet
    }

    fn packet(&mut self, tone: &Tone, duration: Duration, ended: bool) -> EventPacket {
        let sequence_number = self.sequence_number;
        self.sequence_number = sequence_number.wrapping_add(1);
        let units = u16::try_from(self.units(duration)).unwrap_or(u16::MAX);
        let mut out = [0; 16];
        out[0] = 0x80;
        out[1] = u8::from(tone.first) << 7 | (self.format.payload_type & 0x7f);
        out[2..4].copy_from_slice(&sequence_number.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp(tone.began).to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        out[12] = tone.digit.event();
        out[13] = u8::from(ended) << 7 | VOLUME;
        out[14..16].copy_from_slice(&units.to_be_bytes());
        out
    }

    /// RFC 3550 §5.1: RTP time runs on by the wall clock between events.
    fn timestamp(&self, at: Timestamp) -> u32 {
        self.timestamp_base.wrapping_add(self.units(at - self.epoch) as u32)
    }

    fn units(&self, duration: Duration) -> u64 {
        (duration.as_nanos() * u128::from(self.format.clock_rate_hz) / 1_000_000_000) as u64
    }
}

/// What telephones send; receivers need 40 ms (ITU-T Q.24) and gateways round up to their own packets.
const TONE: Duration = Duration::from_millis(160);
const TONE_MIN: Duration = Duration::from_millis(100);
const TONE_MAX: Duration = Duration::from_secs(1);
/// RFC 4733 §2.5.1.2: updates come once a packetization interval; 20 ms is that of the audio.
const UPDATE: Duration = Duration::from_millis(20);
/// A late turn does not make updates bunch.
const UPDATE_MIN: Duration = Duration::from_millis(5);
/// RFC 4733 §2.5.1.4: the end is sent three times.
const END_PACKETS: u8 = 3;
/// Silence between two digits.
const DIGIT_PAUSE: Duration = Duration::from_millis(80);
/// RFC 4733 §2.3.4: power in dBm0 with its sign dropped.
const VOLUME: u8 = 10;

#[cfg(test)]
mod tests {
    use sipcast_contract::dtmf;

    use super::*;

    const FORMAT: TelephoneEvent = TelephoneEvent { payload_type: 101, clock_rate_hz: 8000 };

    fn ms(at: u64) -> Timestamp {
        Timestamp::from_millis(at)
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Sent {
        at: u64,
        marker: bool,
        event: u8,
        end: bool,
        duration: u16,
    }

    fn run(sender: &mut TelephoneEventSender, start: u64) -> Vec<(Sent, EventPacket)> {
        let mut sent = Vec::new();
        let mut at = start;
        loop {
            while let Some(p) = sender.poll(ms(at)) {
                let duration = u16::from_be_bytes([p[14], p[15]]);
                let this =
                    Sent { at, marker: p[1] & 0x80 != 0, event: p[12], end: p[13] & 0x80 != 0, duration };
                sent.push((this, p));
            }
            match sender.next_timeout() {
                Some(next) => at = next.as_millis(),
                None => return sent,
            }
        }
    }

    fn timestamp(packet: &EventPacket) -> u32 {
        u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
    }

    #[test]
    fn two_digits_with_a_pause_between() {
        let mut sender = TelephoneEventSender::new(FORMAT, 1, ms(0));
        (sender.sequence_number, sender.timestamp_base, sender.ssrc) = (65_533, u32::MAX - 799, 0x0102_0304);
        sender.push(&dtmf::parse("5,#").expect("valid")).expect("room");
        assert!(!sender.is_idle());
        let sent = run(&mut sender, 100);
        assert!(sender.is_idle());
        let digit = |start: u64, event| {
            let updates = (0..8).map(move |n| (start + 20 * n, n == 0, false, 160 * (n as u16 + 1)));
            let ends = [160, 180, 200].into_iter().map(move |offset| (start + offset, false, true, 1280));
            updates.chain(ends).map(move |(at, marker, end, duration)| Sent {
                at,
                marker,
                event,
                end,
                duration,
            })
        };
        // 80 ms after the tone's end comes the pause of a second.
        let expected: Vec<_> = digit(100, 5).chain(digit(1340, 11)).collect();
        assert_eq!(sent.iter().map(|(s, _)| s).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        for (index, (_, packet)) in sent.iter().enumerate() {
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(sequence, 65_533u16.wrapping_add(index as u16));
            // 100 ms and 1340 ms after the epoch, across the wrap of RTP time.
            assert_eq!(timestamp(packet), if index < 11 { 0 } else { 9920 });
        }
        assert_eq!(sent[0].1, [0x80, 0xe5, 0xff, 0xfd, 0, 0, 0, 0, 1, 2, 3, 4, 5, 10, 0, 160]);
    }

    #[test]
    fn a_late_turn_still_sends_a_whole_event() {
        let mut sender = TelephoneEventSender::new(FORMAT, 1, ms(0));
        sender.push(&dtmf::parse("1").expect("valid")).expect("room");
        let mut packets = Vec::new();
        for at in (0..5).map(|turn| ms(turn * 400)) {
            packets.extend(std::iter::from_fn(|| sender.poll(at)));
        }
        let ends = packets.iter().filter(|p| p[13] & 0x80 != 0).count();
        assert_eq!((packets.len(), ends), (4, 3));
        assert!(packets.iter().all(|p| timestamp(p) == timestamp(&packets[0])));
        sender.poll(ms(3000));
        assert!(sender.is_idle());
    }

    #[test]
    fn the_queue_is_full_just_outside_its_limit() {
        let mut sender = TelephoneEventSender::new(FORMAT, 1, ms(0));
        let steps = dtmf::parse(&"1".repeat(DTMF_QUEUE_MAX)).expect("valid");
        assert_eq!(sender.push(&steps), Ok(()));
        assert_eq!(sender.push(&steps[..1]), Err(QueueFull));
        assert_eq!(run(&mut sender, 0).len(), 11 * DTMF_QUEUE_MAX);
    }

    #[test]
    fn tone_length_is_bounded_and_scales_with_the_clock() {
        let format = TelephoneEvent { payload_type: 126, clock_rate_hz: 48_000 };
        for (wanted, units) in [(1, 4800), (100, 4800), (250, 12_000), (9000, 48_000)] {
            let mut sender = TelephoneEventSender::new(format, 1, ms(0));
            sender.set_tone_len(Duration::from_millis(wanted));
            sender.push(&dtmf::parse("D").expect("valid")).expect("room");
            let sent = run(&mut sender, 0);
            assert_eq!(sent.last().map(|(s, _)| (s.duration, s.event)), Some((units, 15)));
        }
    }

    #[test]
    fn a_new_format_keeps_rtp_time_running() {
        let mut sender = TelephoneEventSender::new(FORMAT, 1, ms(0));
        let before = sender.timestamp(ms(500));
        sender.set_format(TelephoneEvent { payload_type: 96, clock_rate_hz: 48_000 }, ms(500));
        assert_eq!(sender.timestamp(ms(500)), before);
        assert_eq!(sender.timestamp(ms(501)), before.wrapping_add(48));
    }
}
