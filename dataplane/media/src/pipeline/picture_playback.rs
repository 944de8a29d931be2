//! What the callee sees: the pictures of another broadcast as our RTP stream, packets spread over time.
//! Takes: pictures, the payload types that the callee takes, wishes for IDR pictures, time. Gives: payloads with what
//! their RTP headers say. Leaves out: RTP headers, SRTP (`stream`), whose pictures these are (control plane).
//!
//! Nothing is transcoded: the callee gets what the source sends, parameter sets in front of each IDR picture.

use std::ops::Range;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::media::{H264Taken, VideoFeedback};
use sipcast_contract::picture::{Picture, PictureReceiver};

use crate::audio::LEAD;
use crate::flv;
use crate::h264::packetizer::{PAYLOAD_LEN_MAX, Packetizer};
use crate::h264::{NalUnitHeader, NalUnitType};
use crate::rtp::sequence::UnwrappedTime;
use crate::rtp::{KeyframeAction, KeyframeRequest};
use crate::timeline::VideoTimeline;

/// What is shown to one callee. Costs nothing while nothing is.
#[derive(Debug, Default)]
pub(super) struct PicturePlayback {
    source: Option<Box<Source>>,
    pictures: u64,
    dropped: u64,
}

/// The pictures of one broadcast.
#[derive(Debug)]
struct Source {
    receiver: PictureReceiver,
    /// Its clock against ours.
    time: Option<UnwrappedTime>,
    timeline: VideoTimeline,
    start: Timestamp,
    awaits_idr: bool,
    /// An IDR picture came since pictures were let go because nothing might be sent.
    is_begun: bool,
    /// Spreads the wishes of the callee and our own.
    keyframes: KeyframeRequest,
    picture: Option<Outgoing>,
    /// NAL units of `picture`; kept warm.
    units: Vec<Unit>,
    /// Packets that may still go before `next_tick`.
    budget: usize,
    next_tick: Timestamp,
}

/// A picture on its way out.
#[derive(Debug)]
struct Outgoing {
    picture: Picture,
    packetizer: Packetizer,
    payload_type: u8,
    /// When it is to be displayed.
    at: Timestamp,
}

/// Where a NAL unit lies: in the picture's body or in its configuration.
#[derive(Debug)]
struct Unit {
    is_parameter_set: bool,
    range: Range<usize>,
}

/// A payload to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PicturePayload {
    /// Bytes of the buffer that are filled.
    pub(super) len: usize,
    pub(super) payload_type: u8,
    /// It ends the picture.
    pub(super) is_last: bool,
    /// When the picture is to be displayed.
    pub(super) at: Timestamp,
}

impl PicturePlayback {
    /// Shows other pictures from now on; `None`: none.
    pub(super) fn show(&mut self, receiver: Option<PictureReceiver>, now: Timestamp) {
        self.source = receiver.map(|receiver| Box::new(Source::new(receiver, now)));
    }

    /// Whether there are pictures to show.
    pub(super) const fn is_playing(&self) -> bool {
        self.source.is_some()
    }

    /// The callee wants an IDR picture.
    pub(super) fn request_keyframe(&mut self, now: Timestamp) {
        if let Some(source) = &mut self.source {
            source.keyframes.request(now);
        }
    }

    /// When [`PicturePlayback::poll`] is wanted next.
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.source.as_ref().map(|source| source.next_tick)
    }

    /// Pictures that were sent whole, and pictures that were not sent because the callee takes nothing like them, or
    /// because what they refer to was not sent. What comes before the first IDR picture is neither.
    pub(super) const fn counts(&self) -> (u64, u64) {
        (self.pictures, self.dropped)
    }

    /// The next payload that is due. `taken`: payload types of the callee; `None`: nothing may be sent to it, and what
    /// comes meanwhile is let go.
    pub(super) fn poll(
        &mut self,
        taken: Option<&[H264Taken]>,
        now: Timestamp,
        out: &mut [u8; PAYLOAD_LEN_MAX],
    ) -> Option<PicturePayload> {
        let source = self.source.as_mut()?;
        source.tick(taken.is_some(), now);
        let Some(taken) = taken else {
            source.let_go();
            return None;
        };
        while source.picture.is_none() {
            let Some(picture) = source.receiver.pull() else {
                if source.receiver.is_abandoned() {
                    self.source = None;
                }
                return None;
            };
            source.is_begun |= picture.is_idr;
            let is_left_out = !source.take(picture, taken, now);
            // Up to the first IDR picture nothing was begun that it belongs to.
            self.dropped += u64::from(is_left_out && source.is_begun);
        }
        if source.budget == 0 {
            return None;
        }
        source.budget -= 1;
        let payload = source.write(out)?;
        self.pictures += u64::from(payload.is_last);
        Some(payload)
    }
}

impl Source {
    fn new(receiver: PictureReceiver, now: Timestamp) -> Self {
        Self {
            receiver,
            time: None,
            timeline: VideoTimeline::new(now),
            start: now,
            awaits_idr: true,
            is_begun: false,
            keyframes: KeyframeRequest::new(VideoFeedback::default(), Duration::ZERO, now),
            picture: None,
            units: Vec::new(),
            budget: 0,
            next_tick: now,
        }
    }

    fn tick(&mut self, may_send: bool, now: Timestamp) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.budget = BURST;
        match may_send {
            true if self.awaits_idr => self.keyframes.request(now),
            true => {}
            // Nobody is asked for pictures that nobody sees.
            false => self.keyframes.cancel(now),
        }
        while let Some(action) = self.keyframes.poll(now) {
            if let KeyframeAction::Send { .. } = action {
                self.receiver.wish_idr();
            }
        }
    }

    /// Drops what waits; what follows must begin with an IDR picture.
    fn let_go(&mut self) {
        self.picture = None;
        while self.receiver.pull().is_some() {}
        self.awaits_idr = true;
        self.is_begun = false;
    }

    /// Takes a picture up. `false`: it cannot be sent, and neither can what refers to it.
    fn take(&mut self, picture: Picture, taken: &[H264Taken], now: Timestamp) -> bool {
        self.awaits_idr &= !picture.is_idr;
        let format = if self.awaits_idr { None } else { format_for(&picture, taken) };
        let Some(format) = format.filter(|format| self.find_units(&picture, format)) else {
            self.awaits_idr = true;
            return false;
        };
        if picture.is_idr {
            self.keyframes.handle_idr_picture(now);
        }
        let time = self.time.get_or_insert_with(|| UnwrappedTime::new(picture.timestamp_ms));
        let ms = self.timeline.place(time.unwrap(picture.timestamp_ms) * RTP_PER_MS, now);
        // RFC 6184 §5.1: RTP time is that of display. The source's sound is held back for as long.
        let shown_after = u64::try_from(flv::video::composition_time_ms(&picture.body)).unwrap_or(0);
        let at = self.start + Duration::from_millis(ms + LEAD as u64 * 20 + shown_after);
        self.picture = Some(Outgoing {
            packetizer: Packetizer::new(format.packetization_mode),
            payload_type: format.payload_type,
            picture,
            at,
        });
        true
    }

    /// Lists the NAL units to send. `false`: there is none, or one that cannot be sent in the format's mode.
    fn find_units(&mut self, picture: &Picture, format: &H264Taken) -> bool {
        self.units.clear();
        let is_wanted = |unit: &[u8]| {
            // Delimiters and filler are of no use to a receiver of RTP, which has the marker bit.
            let kind = unit.first().map(|&header| NalUnitHeader(header).unit_type());
            kind.is_some_and(|kind| kind != NalUnitType::ACCESS_UNIT_DELIMITER && kind != NalUnitType::FILLER)
        };
        let has_own_sets = flv::video::nal_units(&picture.config, &picture.body)
            .any(|range| NalUnitHeader(picture.body[range.start]).unit_type() == NalUnitType::SPS);
        if picture.is_idr && !has_own_sets {
            let sets = flv::video::parameter_sets(&picture.config);
            self.units.extend(sets.map(|range| Unit { is_parameter_set: true, range }));
        }
        let slices = flv::video::nal_units(&picture.config, &picture.body);
        let slices = slices.filter(|range| is_wanted(&picture.body[range.clone()]));
        self.units.extend(slices.map(|range| Unit { is_parameter_set: false, range }));
        let mode = format.packetization_mode;
        !self.units.is_empty() && self.units.iter().all(|unit| Packetizer::takes(mode, unit.range.len()))
    }

    fn write(&mut self, out: &mut [u8; PAYLOAD_LEN_MAX]) -> Option<PicturePayload> {
        let Self { picture, units, .. } = self;
        let outgoing = picture.as_mut()?;
        let (config, body) = (&outgoing.picture.config, &outgoing.picture.body);
        let unit = |n: usize| {
            let unit = units.get(n)?;
            Some(&(if unit.is_parameter_set { &config[..] } else { &body[..] })[unit.range.clone()])
        };
        let payload = outgoing.packetizer.poll(unit, out)?;
        let (payload_type, at) = (outgoing.payload_type, outgoing.at);
        if payload.is_last {
            *picture = None;
        }
        Some(PicturePayload { len: payload.len, payload_type, is_last: payload.is_last, at })
    }
}

/// The payload type to send a picture with: one that has fragments, for its profile if there is one. Peers decode more
/// profiles than they name; the level is not looked at.
fn format_for<'a>(picture: &Picture, taken: &'a [H264Taken]) -> Option<&'a H264Taken> {
    // AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1): version, then the profile.
    let profile = picture.config.get(1);
    taken
        .iter()
        .min_by_key(|format| (format.packetization_mode != 1, Some(&format.profile_level_id[0]) != profile))
}

/// How often pictures are looked for, and packets go out.
const TICK: Duration = Duration::from_millis(5);
/// Packets of one tick: a burst of 38 kB that sockets and routers take; 60 Mbit/s.
const BURST: usize = 32;
/// RFC 6184 §8.1: 90 kHz.
const RTP_PER_MS: i64 = 90;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sipcast_contract::picture::{PictureSender, picture_line};

    const SPS: &[u8] = &[0x67, 0x4d, 0x00, 0x1f, 0xaa];
    const PPS: &[u8] = &[0x68, 0xce];

    fn taken(payload_type: u8, packetization_mode: u8, profile: u8) -> H264Taken {
        H264Taken { payload_type, packetization_mode, profile_level_id: [profile, 0, 0x1f] }
    }

    fn picture(is_idr: bool, timestamp_ms: u32, units: &[&[u8]]) -> Picture {
        let config = flv::video::avc_decoder_configuration_record(&[SPS], &[PPS]).expect("valid");
        let mut body = flv::video::nal_units_header(is_idr, 0).to_vec();
        for unit in units {
            body.extend((unit.len() as u32).to_be_bytes());
            body.extend_from_slice(unit);
        }
        Picture { is_idr, timestamp_ms, config: Bytes::from(config), body: body.into() }
    }

    fn begun() -> (PictureSender, PicturePlayback) {
        let (sender, receiver) = picture_line();
        let mut playback = PicturePlayback::default();
        playback.show(Some(receiver), Timestamp::ZERO);
        (sender, playback)
    }

    fn poll_all(
        playback: &mut PicturePlayback,
        taken: Option<&[H264Taken]>,
        ms: u64,
    ) -> Vec<(PicturePayload, Vec<u8>)> {
        let mut out = [0; PAYLOAD_LEN_MAX];
        std::iter::from_fn(|| {
            let payload = playback.poll(taken, Timestamp::from_millis(ms), &mut out)?;
            Some((payload, out[..payload.len].to_vec()))
        })
        .collect()
    }

    #[test]
    fn parameter_sets_lead_each_idr_picture_and_the_profile_chooses_the_payload_type() {
        let (mut sender, mut playback) = begun();
        let formats = [taken(97, 0, 0x4d), taken(98, 1, 0x42), taken(99, 1, 0x4d)];
        sender.push(picture(true, 1000, &[&[0x09, 0xf0], &[0x65, 1, 2]]));
        let mut sent = poll_all(&mut playback, Some(&formats), 0);
        sender.push(picture(false, 1040, &[&[0x41, 3], &[0x0c, 0xff]]));
        sent.extend(poll_all(&mut playback, Some(&formats), 40));
        assert_eq!(sent.len(), 2);
        let stap_a = [&[0x78, 0, 5][..], SPS, &[0, 2], PPS, &[0, 3, 0x65, 1, 2]].concat();
        assert_eq!((sent[0].0.payload_type, sent[0].0.is_last, &sent[0].1), (99, true, &stap_a));
        assert_eq!((sent[1].0.is_last, &sent[1].1[..]), (true, &[0x41, 3][..]));
        assert_eq!((sent[1].0.at - sent[0].0.at).as_millis(), 40);
        let own: &[&[u8]] = &[SPS, PPS, &[0x65, 1]];
        sender.push(picture(true, 1080, own));
        let sent = poll_all(&mut playback, Some(&formats[..1]), 80);
        assert_eq!(sent.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>(), own, "mode 0, no set twice");
        assert_eq!(playback.counts(), (3, 0));
    }

    #[test]
    fn what_cannot_be_sent_is_left_out_up_to_the_next_idr_picture() {
        let (mut sender, mut playback) = begun();
        let long = vec![0x41; PAYLOAD_LEN_MAX + 1];
        sender.push(picture(true, 0, &[&[0x65, 1]]));
        sender.push(picture(false, 40, &[&long]));
        sender.push(picture(false, 80, &[&[0x41, 3]]));
        let only_whole = [taken(97, 0, 0x42)];
        assert_eq!(poll_all(&mut playback, Some(&only_whole), 0).len(), 3, "two sets and a slice");
        assert_eq!(playback.counts(), (1, 2));
        assert!(sender.takes_idr_wish(), "for the first one");
        poll_all(&mut playback, Some(&only_whole), 249);
        assert!(!sender.takes_idr_wish());
        poll_all(&mut playback, Some(&only_whole), 254);
        assert!(sender.takes_idr_wish(), "another one is asked for");
        // On hold everything is let go.
        sender.push(picture(true, 120, &[&[0x65, 1]]));
        assert!(poll_all(&mut playback, None, 260).is_empty());
        sender.push(picture(false, 160, &[&[0x41, 1]]));
        assert!(poll_all(&mut playback, Some(&only_whole), 265).is_empty());
        assert_eq!(playback.counts(), (1, 2), "what follows those that were let go is let go, too");
        drop(sender);
        assert!(
            poll_all(&mut playback, Some(&only_whole), 270).is_empty() && playback.next_timeout().is_none()
        );
    }

    #[test]
    fn a_large_picture_is_spread_over_ticks_and_wishes_are_rare() {
        let (mut sender, mut playback) = begun();
        let formats = [taken(96, 1, 0x4d)];
        let large = vec![0x65; 100 * PAYLOAD_LEN_MAX];
        sender.push(picture(true, 0, &[&large]));
        let mut sent = Vec::new();
        for ms in 0..20 {
            let payloads = poll_all(&mut playback, Some(&formats), ms);
            assert!(payloads.len() <= BURST);
            sent.extend(payloads);
        }
        assert_eq!(sent.len(), 102, "the parameter sets, and fragments");
        assert!(sent.iter().all(|(payload, _)| payload.at == sent[0].0.at));
        let mut wishes = 0;
        for ms in 20..1_020 {
            playback.request_keyframe(Timestamp::from_millis(ms));
            poll_all(&mut playback, Some(&formats), ms);
            if sender.takes_idr_wish() {
                wishes += 1;
                sender.push(picture(true, ms as u32, &[&[0x65]]));
            }
        }
        assert!((3..=5).contains(&wishes), "{wishes} in a second");
    }

    #[test]
    fn any_body_and_configuration_are_survived() {
        let (mut sender, mut playback) = begun();
        let whole = picture(true, 0, &[&[0x65; 40], &[]]);
        for len in 0..whole.body.len() {
            let mut cut = picture(true, len as u32, &[]);
            cut.body = whole.body[..len].into();
            sender.push(cut);
            poll_all(&mut playback, Some(&[taken(96, 1, 0x42)]), 5 * len as u64);
        }
        for len in 0..whole.config.len() {
            let mut cut = picture(true, len as u32, &[&[0x65, 1]]);
            cut.config = whole.config.slice(..len);
            sender.push(cut);
            poll_all(&mut playback, Some(&[taken(96, 1, 0x42)]), 1_000 + 5 * len as u64);
        }
        assert!(playback.counts().0 > 0);
    }
}
