//! What the callee hears: a file or the sound of another broadcast, paced by time, as our RTP stream.
//! Takes: clips, lines, the agreed codec, time. Gives: payloads with the time that each begins at.
//! Leaves out: RTP headers, SRTP (`stream`), digits (`audio`).

use std::sync::Arc;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::media::AudioCodec;
use sipcast_contract::sound::{LINE_BLOCK, LineReceiver, PcmClip};

use crate::audio::{EXCESS, LEAD, PAYLOAD_MAX, PayloadEncoder};

/// What is played to one callee. Costs nothing while nothing is.
#[derive(Debug, Default)]
pub(super) struct Playback {
    source: Option<Source>,
    /// Made for the codec that is agreed on, when something is played first.
    encoder: Option<PayloadEncoder>,
    /// When the next payload is due; `None`: nothing is played.
    next: Option<Timestamp>,
    /// The next payload follows a pause (RFC 3551 §4.1: the marker bit).
    is_talkspurt: bool,
    is_over: bool,
}

#[derive(Debug)]
enum Source {
    Clip { clip: Arc<PcmClip>, at: usize },
    Line { receiver: LineReceiver, is_playing: bool },
}

/// A payload to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload {
    /// Bytes of the buffer that are filled.
    pub(super) len: usize,
    /// When its first sample is to be heard.
    pub(super) at: Timestamp,
    /// It is the first after a pause.
    pub(super) is_first: bool,
}

impl Playback {
    /// Plays a file from its start, in place of what is played.
    pub(super) fn play_clip(&mut self, clip: Arc<PcmClip>, now: Timestamp) {
        self.begin(Source::Clip { clip, at: 0 }, now);
    }

    /// Plays what comes over a line, in place of what is played.
    pub(super) fn play_line(&mut self, receiver: LineReceiver, now: Timestamp) {
        self.begin(Source::Line { receiver, is_playing: false }, now);
    }

    /// Plays nothing more.
    pub(super) fn stop(&mut self) {
        self.source = None;
        self.next = None;
    }

    pub(super) const fn is_playing(&self) -> bool {
        self.source.is_some()
    }

    /// When the next payload is due.
    pub(super) const fn next_timeout(&self) -> Option<Timestamp> {
        self.next
    }

    /// `true` once, when what was played came to its end by itself.
    pub(super) fn take_over(&mut self) -> bool {
        std::mem::take(&mut self.is_over)
    }

    /// The next payload that is due, if there is sound in it, coded as agreed on.
    pub(super) fn poll(
        &mut self,
        codec: AudioCodec,
        packet_time_ms: u16,
        now: Timestamp,
        out: &mut [u8; PAYLOAD_MAX],
    ) -> Option<Payload> {
        // What a driver that slept has missed is not made good in a burst.
        if let Some(next) = &mut self.next
            && *next + LATE_MAX < now
        {
            *next = now;
        }
        while let Some(at) = self.next.filter(|at| *at <= now) {
            let encoder = match &mut self.encoder {
                Some(encoder) if encoder.codec() == codec => encoder,
                encoder => encoder.insert(PayloadEncoder::new(codec, packet_time_ms)),
            };
            self.next = Some(at + Duration::from_millis(u64::from(encoder.packet_time_ms())));
            let mut is_audible = true;
            while encoder.wants_block() {
                let mut block = [0; LINE_BLOCK];
                match self.source.as_mut().map(|source| source.pull(&mut block)) {
                    Some(Pulled::Sound) => encoder.push(&block),
                    Some(Pulled::Nothing) => {
                        is_audible = false;
                        break;
                    }
                    Some(Pulled::End) | None => {
                        self.stop();
                        self.is_over = true;
                        return None;
                    }
                }
            }
            if !is_audible {
                encoder.restart();
                self.is_talkspurt = true;
                continue;
            }
            if let Some(len) = encoder.poll(out).filter(|len| *len > 0) {
                return Some(Payload { len, at, is_first: std::mem::take(&mut self.is_talkspurt) });
            }
        }
        None
    }

    fn begin(&mut self, source: Source, now: Timestamp) {
        self.source = Some(source);
        // The pace of what was played goes on, so that RTP time has no jitter.
        self.next = self.next.or(Some(now));
        self.is_talkspurt = true;
        self.is_over = false;
        if let Some(encoder) = &mut self.encoder {
            encoder.restart();
        }
    }
}

enum Pulled {
    Sound,
    /// Not yet.
    Nothing,
    End,
}

impl Source {
    fn pull(&mut self, block: &mut [i16; LINE_BLOCK]) -> Pulled {
        match self {
            Self::Clip { clip, at } => {
                let left = clip.samples.get(*at..).unwrap_or_default();
                if left.is_empty() {
                    return Pulled::End;
                }
                // The last block is filled up with silence.
                let len = left.len().min(LINE_BLOCK);
                block[..len].copy_from_slice(&left[..len]);
                *at += len;
                Pulled::Sound
            }
            Self::Line { receiver, is_playing } => {
                let waiting = receiver.waiting();
                if waiting > EXCESS * LINE_BLOCK {
                    receiver.trim(LEAD * LINE_BLOCK);
                }
                *is_playing |= waiting >= LEAD * LINE_BLOCK;
                *is_playing = *is_playing && receiver.pull(block);
                match (*is_playing, receiver.is_abandoned()) {
                    (true, _) => Pulled::Sound,
                    (false, true) => Pulled::End,
                    (false, false) => Pulled::Nothing,
                }
            }
        }
    }
}

/// How late a payload may be sent.
const LATE_MAX: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::sound::line;

    fn run(playback: &mut Playback, from: u64, until: u64) -> Vec<(u64, usize, bool)> {
        let mut out = [0; PAYLOAD_MAX];
        let mut sent = Vec::new();
        for ms in from..until {
            let now = Timestamp::from_millis(ms);
            while let Some(payload) = playback.poll(AudioCodec::Pcmu, 20, now, &mut out) {
                sent.push((ms, payload.len, payload.is_first));
            }
        }
        sent
    }

    #[test]
    fn a_clip_goes_out_in_time_and_ends_once() {
        let mut playback = Playback::default();
        assert!(playback.next_timeout().is_none());
        let clip = Arc::new(PcmClip { samples: vec![1000; 48_000 / 10 + 1].into() });
        playback.play_clip(clip, Timestamp::from_millis(1000));
        let sent = run(&mut playback, 1000, 1300);
        let expected: Vec<_> = (0..6).map(|n| (1000 + 20 * n, 160, n == 0)).collect();
        assert_eq!(sent, expected);
        assert!(!playback.is_playing() && playback.next_timeout().is_none());
        assert!(playback.take_over() && !playback.take_over());
    }

    #[test]
    fn a_line_pauses_when_it_runs_dry_and_ends_with_its_writer() {
        let mut playback = Playback::default();
        let (mut sender, receiver) = line();
        playback.play_line(receiver, Timestamp::from_millis(0));
        assert_eq!(run(&mut playback, 0, 100), []);
        for _ in 0..4 {
            sender.push(&[500; LINE_BLOCK]);
        }
        let sent = run(&mut playback, 100, 300);
        assert_eq!(
            sent.iter().map(|s| (s.0, s.2)).collect::<Vec<_>>(),
            [(100, true), (120, false), (140, false), (160, false)]
        );
        drop(sender);
        assert_eq!(run(&mut playback, 300, 400), []);
        assert!(playback.take_over());
    }

    #[test]
    fn a_driver_that_slept_sends_no_burst() {
        let mut playback = Playback::default();
        let clip = Arc::new(PcmClip { samples: vec![1000; 48_000 * 5].into() });
        playback.play_clip(clip, Timestamp::from_millis(0));
        assert_eq!(run(&mut playback, 0, 1).len(), 1);
        assert_eq!(run(&mut playback, 3000, 3001).len(), 1);
    }
}
