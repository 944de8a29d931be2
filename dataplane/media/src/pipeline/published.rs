//! What a broadcast publishes, measured: bit rates, time between IDR pictures, gaps in the sound.
//! Takes: messages and changes of the tracks, before any target drops something. Gives: plain figures.
//! Leaves out: what a service demands of them (control plane), what one target lost (`rtmp::target`).
//!
//! Times are media times, so that a burst after a stall of the network does not look like a high bit rate. No
//! allocation; payload is read only as far as the first slice header.

use sipcast_contract::statistics::PublishedMedia;
use sipcast_pool::Segment;

use super::publication::{AudioTrack, VideoTrack};
use crate::message::{Message, MessageKind};

/// The figures of one broadcast.
#[derive(Debug, Default)]
pub(super) struct Published {
    figures: PublishedMedia,
    video: Window,
    audio: Window,
    source: Window,
    /// Media time of the last IDR picture, in ms.
    last_idr: Option<u32>,
    /// Time between the last two IDR pictures, in ms.
    gop: u32,
    last_audio: Option<u32>,
    /// Size and profile last published.
    picture: Option<(u16, u16, [u8; 3])>,
}

impl Published {
    pub(super) fn push_picture(&mut self, message: &Message<'_>) {
        let bytes = len(message);
        let at = message.timestamp_ms;
        self.video.push(at, bytes);
        let figures = &mut self.figures;
        figures.video_bytes += bytes;
        figures.picture_bytes_max = figures.picture_bytes_max.max(u32::try_from(bytes).unwrap_or(u32::MAX));
        figures.b_pictures +=
            u64::from(message.kind == MessageKind::Picture && begins_with_b_slice(message.body));
        let since_idr = self.last_idr.map_or(0, |last| elapsed(last, at));
        figures.gop_max_ms = figures.gop_max_ms.max(since_idr);
        if message.kind == MessageKind::IdrPicture {
            if self.last_idr.is_some() {
                self.gop = since_idr;
            }
            self.last_idr = Some(at);
            figures.gop_last_ms = self.gop;
        } else {
            figures.gop_last_ms = self.gop.max(since_idr);
        }
    }

    /// The call's own sound.
    pub(super) fn push_source(&mut self, message: &Message<'_>) {
        let bytes = len(message);
        self.source.push(message.timestamp_ms, bytes);
        self.figures.source_bytes += bytes;
    }

    pub(super) fn push_sound(&mut self, message: &Message<'_>) {
        let bytes = len(message);
        let at = message.timestamp_ms;
        self.audio.push(at, bytes);
        self.figures.audio_bytes += bytes;
        let gap = self.last_audio.map_or(0, |last| elapsed(last, at));
        if u128::from(gap) >= PublishedMedia::GAP_MIN.as_millis() {
            self.figures.audio_gaps += 1;
        }
        self.figures.audio_gap_max_ms = self.figures.audio_gap_max_ms.max(gap);
        self.last_audio = Some(at);
    }

    pub(super) fn set_video(&mut self, track: Option<&VideoTrack>) {
        let Some(track) = track else {
            // On hold no IDR picture is due.
            self.last_idr = None;
            return;
        };
        // AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1): version, then profile, compatibility, level.
        let profile = track.config.get(1..4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        let picture = (track.picture.width, track.picture.height, profile);
        self.figures.profile = profile;
        self.figures.picture_changes += u64::from(self.picture.is_some_and(|before| before != picture));
        self.picture = Some(picture);
    }

    pub(super) fn set_audio(&mut self, track: Option<&AudioTrack>) {
        self.figures.audio_sample_rate_hz = track.map_or(0, |track| track.options.sample_rate_hz);
        self.figures.audio_channels = track.map_or(0, |track| track.options.channels);
    }

    /// `sample_rate_hz`: 0 where FLV cannot carry the call's own sound.
    pub(super) fn set_source(&mut self, sample_rate_hz: u32) {
        self.figures.source_sample_rate_hz = sample_rate_hz;
    }

    pub(super) fn figures(&self) -> PublishedMedia {
        let (video, audio) = (self.video.rates(), self.audio.rates());
        PublishedMedia {
            video_bit_rate_bps: video.bits_per_second,
            frame_rate_millis: video.messages_per_1000_s,
            audio_bit_rate_bps: audio.bits_per_second,
            source_bit_rate_bps: self.source.rates().bits_per_second,
            ..self.figures
        }
    }
}

/// Bytes and messages of the last whole seconds of media time.
#[derive(Debug, Default)]
struct Window {
    seconds: [Second; SECONDS],
    /// How many of `seconds` are filled.
    filled: usize,
    /// Where the next whole second goes.
    next: usize,
    open: Second,
    /// Media time that `open` began at, in ms.
    began: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    bytes: u64,
    messages: u32,
    ms: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rates {
    bits_per_second: u32,
    messages_per_1000_s: u32,
}

impl Window {
    fn push(&mut self, at: u32, bytes: u64) {
        let began = *self.began.get_or_insert(at);
        let ms = elapsed(began, at);
        if ms >= 1000 {
            self.seconds[self.next] = Second { ms, ..self.open };
            self.next = (self.next + 1) % SECONDS;
            self.filled = (self.filled + 1).min(SECONDS);
            self.open = Second::default();
            self.began = Some(at);
        }
        self.open.bytes += bytes;
        self.open.messages += 1;
    }

    fn rates(&self) -> Rates {
        let filled = &self.seconds[..self.filled];
        let ms: u64 = filled.iter().map(|second| u64::from(second.ms)).sum();
        if ms == 0 {
            return Rates::default();
        }
        let bytes: u64 = filled.iter().map(|second| second.bytes).sum();
        let messages: u64 = filled.iter().map(|second| u64::from(second.messages)).sum();
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Rates {
            bits_per_second: narrow(bytes * 8_000 / ms),
            messages_per_1000_s: narrow(messages * 1_000_000 / ms),
        }
    }
}

fn len(message: &Message<'_>) -> u64 {
    message.body.iter().map(|segment| segment.len() as u64).sum()
}

/// Media time from `from` to `to` in ms, 0 when it goes back; RTMP time wraps at 2^32.
const fn elapsed(from: u32, to: u32) -> u32 {
    let ms = to.wrapping_sub(from);
    if ms < 1 << 31 { ms } else { 0 }
}

/// Whether the first slice of a picture is a B slice (ITU-T H.264 §7.3.3: `first_mb_in_slice`, `slice_type`, both
/// `ue(v)`). What cannot be read is none.
fn begins_with_b_slice(body: &[Segment]) -> bool {
    let mut bytes = Cursor { body, at: 0 };
    bytes.skip(VIDEO_HEADER_LEN);
    for _ in 0..NAL_UNITS_READ_MAX {
        let Some(length) = bytes.take::<4>() else { return false };
        let Some([header]) = bytes.take::<1>() else { return false };
        if matches!(header & 0x1f, 1 | 5) {
            return bytes.take::<8>().is_some_and(|start| {
                let mut bits = u64::from_be_bytes(start);
                read_ue(&mut bits);
                matches!(read_ue(&mut bits), Some(1 | 6))
            });
        }
        bytes.skip(u32::from_be_bytes(length).saturating_sub(1) as usize);
    }
    false
}

/// An Exp-Golomb code (ITU-T H.264 §9.1) from the top of `bits`, which is shifted past it.
fn read_ue(bits: &mut u64) -> Option<u64> {
    let zeros = bits.leading_zeros();
    let len = 2 * zeros + 1;
    if len > 32 {
        return None;
    }
    let code = (*bits >> (64 - len)) - 1;
    *bits <<= len;
    Some(code)
}

/// Reads on over segments.
struct Cursor<'a> {
    body: &'a [Segment],
    at: usize,
}

impl Cursor<'_> {
    fn skip(&mut self, mut count: usize) {
        while let Some((first, rest)) = self.body.split_first() {
            let left = first.len() - self.at;
            if count < left {
                self.at += count;
                return;
            }
            count -= left;
            self.at = 0;
            self.body = rest;
        }
    }

    /// The next `N` bytes, filled up with zeros past the end of the last segment; `None` at the end.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut out = [0; N];
        let mut filled = 0;
        while filled < N {
            let Some(first) = self.body.first() else { break };
            let available = &first[self.at..];
            let count = available.len().min(N - filled);
            out[filled..filled + count].copy_from_slice(&available[..count]);
            filled += count;
            self.skip(count);
        }
        (filled > 0).then_some(out)
    }
}

/// Whole seconds of the window.
const SECONDS: usize = PublishedMedia::WINDOW.as_secs() as usize;
/// FLV VideoTagHeader of AVC (FLV 10.1 §E.4.3.1): frame and codec, packet type, composition time.
const VIDEO_HEADER_LEN: usize = 5;
/// NAL units that are looked at for a slice; delimiters, parameter sets and SEI come first.
const NAL_UNITS_READ_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use sipcast_contract::Timestamp;
    use sipcast_pool::Pool;

    use super::*;

    fn segment(pool: &Pool, bytes: &[u8]) -> Segment {
        let mut lease = pool.claim().expect("a free slot");
        lease[..bytes.len()].copy_from_slice(bytes);
        lease.freeze(0..bytes.len())
    }

    fn message(kind: MessageKind, timestamp_ms: u32, body: &[Segment]) -> Message<'_> {
        Message { kind, timestamp_ms, body, arrival: Timestamp::ZERO }
    }

    #[test]
    fn rates_and_the_time_between_idr_pictures_follow_media_time() {
        let pool = Pool::new(4, 2048);
        let body = [segment(&pool, &[0; 1000])];
        let mut published = Published::default();
        // Near the wrap of RTMP time.
        let start = u32::MAX - 5_000;
        for n in 0..500u32 {
            let kind = if n % 50 == 0 { MessageKind::IdrPicture } else { MessageKind::Picture };
            published.push_picture(&message(kind, start.wrapping_add(n * 40), &body));
        }
        let figures = published.figures();
        assert_eq!((figures.gop_last_ms, figures.gop_max_ms), (2000, 2000));
        assert_eq!((figures.video_bit_rate_bps, figures.frame_rate_millis), (200_000, 25_000));
        assert_eq!(figures.video_bytes, 500_000);
        for n in 500..600u32 {
            published.push_picture(&message(MessageKind::Picture, start.wrapping_add(n * 40), &body));
        }
        assert_eq!(
            published.figures().gop_last_ms,
            599 * 40 - 450 * 40,
            "an overdue IDR picture shows at once"
        );
    }

    #[test]
    fn gaps_in_the_sound_are_counted() {
        let pool = Pool::new(4, 2048);
        let body = [segment(&pool, &[0; 100])];
        let mut published = Published::default();
        for at in [0, 21, 42, 62, 261, 462, 482] {
            published.push_sound(&message(MessageKind::Audio, at, &body));
        }
        let figures = published.figures();
        assert_eq!((figures.audio_gaps, figures.audio_gap_max_ms, figures.audio_bytes), (1, 201, 700));
    }

    #[test]
    fn b_slices_are_found_behind_other_nal_units_and_across_segments() {
        let pool = Pool::new(16, 2048);
        // first_mb_in_slice 0 is `1`; slice_type 0 (P) is `1`, 1 (B) `010`, 6 (B) `00111`.
        for (slice, expected) in [(0b1100_0000, false), (0b1010_0000, true), (0b1001_1100, true)] {
            let bytes =
                [&[0x27, 1, 0, 0, 0][..], &[0, 0, 0, 2, 9, 0xf0], &[0, 0, 0, 3, 0x41, slice, 0]].concat();
            for cut in 1..bytes.len() {
                let body = [segment(&pool, &bytes[..cut]), segment(&pool, &bytes[cut..])];
                assert_eq!(begins_with_b_slice(&body), expected, "cut at {cut}");
            }
        }
        assert!(!begins_with_b_slice(&[]));
        assert!(!begins_with_b_slice(&[segment(&pool, &[0x27, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])]));
    }
}
