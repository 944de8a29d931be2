//! DTMF out as telephone-events (RFC 4733).
//! Takes: digits and pauses, time. Gives: whole RTP packets. Leaves out: sockets, the digits' text form
//! (`contract::dtmf`), SIP INFO (control plane).

use std::collections::VecDeque;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::dtmf::{Digit, DtmfStep};
use sipcast_contract::limits::DTMF_QUEUE_MAX;
use sipcast_contract::media::TelephoneEvent;

use super::RtpSender;

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
    /// Idle.
    pub const fn new(format: TelephoneEvent) -> Self {
        Self { format, tone_len: TONE, queue: VecDeque::new(), state: State::Idle }
    }

    /// Sets how long a digit sounds: brought to 100 ms ..= 1 s, so that a receiver hears it and the 16 bits of a
    /// duration hold it at any clock rate up to 48 kHz.
    pub fn set_tone_len(&mut self, tone_len: Duration) {
        self.tone_len = tone_len.clamp(TONE_MIN, TONE_MAX);
    }

    /// Takes what a new offer and answer agreed on.
    pub fn set_format(&mut self, format: TelephoneEvent) {
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

    /// The next packet that is due, of the RTP stream of `rtp`, whose clock runs at the format's rate.
    pub fn poll(&mut self, rtp: &mut RtpSender, now: Timestamp) -> Option<EventPacket> {
        loop {
            match self.state {
                State::Tone(tone) if now >= tone.next_packet => return Some(self.sound(tone, rtp, now)),
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

    fn sound(&mut self, mut tone: Tone, rtp: &mut RtpSender, now: Timestamp) -> EventPacket {
        // RFC 4733 §2.5.1.2: a packet covers the tone up to the next update. The first never ends the event,
        // even when it comes late, since its marker and a first report belong together.
        let covered = (now - tone.began + UPDATE).min(self.tone_len);
        let ended = !tone.first && now - tone.began >= self.tone_len;
        let packet = self.packet(&tone, rtp, if ended { self.tone_len } else { covered }, ended);
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

    fn packet(&self, tone: &Tone, rtp: &mut RtpSender, duration: Duration, ended: bool) -> EventPacket {
        let units = u16::try_from(self.units(duration)).unwrap_or(u16::MAX);
        let timestamp = rtp.timestamp(tone.began);
        let mut out = [0; 16];
        out[..12].copy_from_slice(&rtp.header(self.format.payload_type, tone.first, timestamp));
        out[12] = tone.digit.event();
        out[13] = u8::from(ended) << 7 | VOLUME;
        out[14..16].copy_from_slice(&units.to_be_bytes());
        out
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

    fn rtp() -> RtpSender {
        RtpSender::new(8000, 1, ms(0))
    }

    fn run(sender: &mut TelephoneEventSender, rtp: &mut RtpSender, start: u64) -> Vec<(Sent, EventPacket)> {
        let mut sent = Vec::new();
        let mut at = start;
        loop {
            while let Some(p) = sender.poll(rtp, ms(at)) {
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
        let mut sender = TelephoneEventSender::new(FORMAT);
        let mut rtp = rtp();
        let (base, ssrc) = (rtp.timestamp(ms(0)), rtp.ssrc());
        sender.push(&dtmf::parse("5,#").expect("valid")).expect("room");
        assert!(!sender.is_idle());
        let sent = run(&mut sender, &mut rtp, 100);
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
            let sequence = |packet: &EventPacket| u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(sequence(packet), sequence(&sent[0].1) + index as u16);
            // 100 ms and 1340 ms after the epoch.
            assert_eq!(timestamp(packet).wrapping_sub(base), if index < 11 { 800 } else { 10_720 });
            assert_eq!(packet[8..12], ssrc.to_be_bytes());
        }
        assert_eq!(sent[0].1[..2], [0x80, 0xe5]);
        assert_eq!(sent[0].1[12..], [5, 10, 0, 160]);
    }

    #[test]
    fn a_late_turn_still_sends_a_whole_event() {
        let mut sender = TelephoneEventSender::new(FORMAT);
        sender.push(&dtmf::parse("1").expect("valid")).expect("room");
        let (mut packets, mut rtp) = (Vec::new(), rtp());
        for at in (0..5).map(|turn| ms(turn * 400)) {
            packets.extend(std::iter::from_fn(|| sender.poll(&mut rtp, at)));
        }
        let ends = packets.iter().filter(|p| p[13] & 0x80 != 0).count();
        assert_eq!((packets.len(), ends), (4, 3));
        assert!(packets.iter().all(|p| timestamp(p) == timestamp(&packets[0])));
        sender.poll(&mut rtp, ms(3000));
        assert!(sender.is_idle());
    }

    #[test]
    fn the_queue_is_full_just_outside_its_limit() {
        let mut sender = TelephoneEventSender::new(FORMAT);
        let steps = dtmf::parse(&"1".repeat(DTMF_QUEUE_MAX)).expect("valid");
        assert_eq!(sender.push(&steps), Ok(()));
        assert_eq!(sender.push(&steps[..1]), Err(QueueFull));
        assert_eq!(run(&mut sender, &mut rtp(), 0).len(), 11 * DTMF_QUEUE_MAX);
    }

    #[test]
    fn tone_length_is_bounded_and_scales_with_the_clock() {
        let format = TelephoneEvent { payload_type: 126, clock_rate_hz: 48_000 };
        for (wanted, units) in [(1, 4800), (100, 4800), (250, 12_000), (9000, 48_000)] {
            let mut sender = TelephoneEventSender::new(format);
            sender.set_tone_len(Duration::from_millis(wanted));
            sender.push(&dtmf::parse("D").expect("valid")).expect("room");
            let sent = run(&mut sender, &mut rtp(), 0);
            assert_eq!(sent.last().map(|(s, _)| (s.duration, s.event)), Some((units, 15)));
        }
    }
}
