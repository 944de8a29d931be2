//! Session descriptions (RFC 8866) and the offer/answer model (RFC 3264) for one call.
//! Takes: our ports, the peer's descriptions as bytes. Gives: our descriptions, [`NegotiatedMedia`].
//! Leaves out: when to send which (`call`), the media itself.

pub mod answer;
pub mod feedback;
pub mod fmtp;
pub mod media;
pub mod offer;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use sdp_types::{Origin, Session};
use sipcast_contract::{Direction, NegotiatedMedia};
use thiserror::Error;

use crate::order::LocalMedia;
use media::{Kind, RemoteDescription};

/// Bytes of a description that are read; a longer one is refused.
pub const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;
/// Lines of a description that are read; one with more is refused.
pub const DESCRIPTION_LINES_MAX: usize = 1_024;
/// Media descriptions (`m=`) of one description; one with more is refused.
pub const MEDIA_DESCRIPTIONS_MAX: usize = 16;

/// What our offers ask for beside the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferOptions {
    /// Direction of audio. `SendRecv` by default: we do send keep-alives and DTMF, and many IVRs, PBXs and rooms
    /// treat `recvonly` audio as hold or play music into it.
    pub audio_direction: Direction,
    /// Direction of video. `RecvOnly` by default: it is the truth, so a room does not keep a black tile for us,
    /// and every H.264 endpoint looked at sends to `recvonly`. `SendRecv` for the peer that does not.
    pub video_direction: Direction,
    /// Largest picture in macroblocks (`max-fs`, RFC 6184 §8.1): 3600 is 1280x720, 8192 covers 1920x1080.
    pub video_macroblocks_max: u32,
    /// Macroblocks per second (`max-mbps`): 108000 is 720p at 30 Hz, 245760 is 1080p at 30 Hz.
    pub video_macroblocks_per_s_max: u32,
    /// Bandwidth of video in bit/s (`b=TIAS`, and `b=AS` with the packet overhead).
    pub video_bit_rate_bps_max: u32,
}

impl Default for OfferOptions {
    fn default() -> Self {
        Self {
            audio_direction: Direction::SendRecv,
            video_direction: Direction::RecvOnly,
            video_macroblocks_max: 8_192,
            video_macroblocks_per_s_max: 245_760,
            video_bit_rate_bps_max: 4_000_000,
        }
    }
}

/// What one offer and its answer agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// For the dataplane.
    pub media: NegotiatedMedia,
    /// The peer has put us on hold: it takes no media, by direction or by `c=0.0.0.0`.
    pub held: bool,
    /// The peer's description, repaired where it was not UTF-8, for inspection.
    pub description: String,
}

/// The offer/answer state of one dialog (RFC 3264): what we said last, at which version, and which media
/// description stands at which place. After an error the state is what it was before, as RFC 3264 §4 asks.
#[derive(Clone, Debug)]
pub struct Negotiation {
    pub(crate) local: LocalMedia,
    pub(crate) options: OfferOptions,
    session_id: u64,
    version: u64,
    /// What we sent last, with its version.
    sent: Option<Session>,
    /// One per media description, in the order of the first offer (RFC 3264 §8).
    pub(crate) slots: Vec<Slot>,
    /// An offer of ours waits for its answer.
    offer_pending: bool,
    /// The peer's very first description already sent only, so that later is no hold.
    pub(crate) peer_never_listened: Option<bool>,
}

/// What stands at one place of the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// What we do with it.
    pub(crate) kind: Kind,
    /// `m=` line's media, protocol and formats, to be mirrored with port 0 when we have no use for it.
    pub(crate) name: String,
    pub(crate) proto: String,
    pub(crate) refused_formats: String,
    /// Payload types agreed on, which later offers of ours keep (RFC 3264 §8.3.2).
    pub(crate) agreed: media::AgreedFormats,
}

impl Negotiation {
    /// For one call. `local` are our ports, `options` the shape of our offers.
    pub fn new(local: LocalMedia, options: OfferOptions) -> Self {
        // RFC 8866 §5.2: sess-id need only be unlikely to repeat. The standard library's keys are random.
        let random = RandomState::new().hash_one(0_u8);
        // 62 bits: some readers take it as a signed number.
        let session_id = (random >> 2) | 1;
        Self {
            local,
            options,
            session_id,
            version: session_id,
            sent: None,
            slots: Vec::new(),
            offer_pending: false,
            peer_never_listened: None,
        }
    }

    /// Our offer: first in the INVITE, later in the 200 to a re-INVITE without one. It offers all we have at the
    /// places agreed before, and our own directions, so that it also ends a hold (RFC 6337 §5.2.5).
    ///
    /// # Errors
    /// [`SdpError::NothingOffered`] if neither audio nor video has a port.
    pub fn offer(&mut self) -> Result<String, SdpError> {
        let session = offer::build(self)?;
        self.offer_pending = true;
        self.send(session)
    }

    /// What we said last, byte for byte, for a session refresh (RFC 4028 §7.4); `None` before the first offer
    /// or answer. The peer answers it: pass that to [`Self::handle_answer`].
    pub fn refresh(&mut self) -> Option<String> {
        let sent = self.sent.as_ref()?;
        self.offer_pending = true;
        text_of(sent).ok()
    }

    /// Whether an offer of ours waits for its answer.
    pub fn offer_pending(&self) -> bool {
        self.offer_pending
    }

    /// The offer was refused (a failure response): the earlier agreement stays.
    pub fn handle_offer_refused(&mut self) {
        self.offer_pending = false;
    }

    /// Takes up the last offer again for a further answer: the responses to one INVITE may each bring one, early and
    /// final, from one fork or from several.
    pub fn reopen_offer(&mut self) {
        for slot in &mut self.slots {
            slot.agreed = media::AgreedFormats::default();
        }
        self.offer_pending = true;
    }

    /// Reads the peer's answer to our offer.
    ///
    /// # Errors
    /// [`SdpError`]; the offer then still waits, and the caller ends the call or the transaction.
    pub fn handle_answer(&mut self, body: &[u8]) -> Result<Agreement, SdpError> {
        let remote = RemoteDescription::parse(body)?;
        let agreement = answer::read(self, &remote)?;
        self.offer_pending = false;
        Ok(agreement)
    }

    /// Answers the peer's offer.
    ///
    /// # Errors
    /// [`SdpError`]: answer 488 (400 for one that is not a description), the earlier agreement stays.
    pub fn answer(&mut self, body: &[u8]) -> Result<(String, Agreement), SdpError> {
        let remote = RemoteDescription::parse(body)?;
        let (session, slots, agreement) = answer::build(self, &remote)?;
        let text = self.send(session)?;
        self.slots = slots;
        Ok((text, agreement))
    }

    /// An empty description of ours at the current version.
    pub(crate) fn blank(&self) -> Session {
        let mut origin = Origin::with_ip_addr(self.session_id, self.version, self.local.address);
        origin.set_username("-");
        let mut session = Session::new(origin, "-");
        session.connection = Some(sdp_types::Connection::from_ip_addr(self.local.address));
        session
    }

    /// RFC 3264 §8: the version rises by one if, and only if, the description changed.
    fn send(&mut self, mut session: Session) -> Result<String, SdpError> {
        session.origin.sess_version = self.version;
        if let Some(sent) = &self.sent
            && *sent != session
        {
            self.version += 1;
            session.origin.sess_version = self.version;
        }
        let text = text_of(&session)?;
        self.sent = Some(session);
        Ok(text)
    }
}

fn text_of(session: &Session) -> Result<String, SdpError> {
    let mut bytes = Vec::with_capacity(1024);
    session.write(&mut bytes).map_err(|_| SdpError::Unwritable)?;
    String::from_utf8(bytes).map_err(|_| SdpError::Unwritable)
}

/// Why a description cannot be used; the text says what to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Over one of the limits of this module.
    #[error("session description is over the limit of {limit} {unit}")]
    TooLong {
        /// The limit.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// Not a session description.
    #[error("session description cannot be read: {0}")]
    Malformed(String),
    /// No media description that we can take part in.
    #[error(
        "no media in common: peer has {peer}; we take RTP/AVP or RTP/AVPF audio (PCMU, PCMA) and video (H264), \
         without SRTP: enable one of these on the peer"
    )]
    NothingInCommon {
        /// The peer's media descriptions in short.
        peer: String,
    },
    /// The order has neither audio nor video.
    #[error("nothing to offer: enable audio or video in the order")]
    NothingOffered,
    /// An answer came and we had not offered.
    #[error("answer without an offer")]
    UnexpectedAnswer,
    /// Our own description could not be written.
    #[error("our session description cannot be written")]
    Unwritable,
}

impl SdpError {
    /// The status to refuse an offer with (RFC 3261 §13.3.1.3, §21.4.1).
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLong { .. } => 413,
            Self::Malformed(_) => 400,
            Self::NothingInCommon { .. } | Self::NothingOffered | Self::UnexpectedAnswer => 488,
            Self::Unwritable => 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::media::{AudioCodec, VideoFeedback};

    fn local() -> LocalMedia {
        LocalMedia {
            address: "192.0.2.10".parse().unwrap(),
            audio_port: Some(40_000),
            video_port: Some(40_002),
        }
    }

    fn negotiation() -> Negotiation {
        Negotiation::new(local(), OfferOptions::default())
    }

    fn offered() -> Negotiation {
        let mut negotiation = negotiation();
        negotiation.offer().unwrap();
        negotiation
    }

    fn version(text: &str) -> u64 {
        Session::parse(text.as_bytes()).unwrap().origin.sess_version
    }

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
        m=audio 5000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
        m=video 5002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 profile-level-id=42801F;packetization-mode=1;sprop-parameter-sets=Z0KAH5WoFAFuQA==,aM48gA==\r\n\
        a=rtcp-fb:* nack pli\r\na=sendonly\r\n";

    #[test]
    fn offer_names_all_we_have() {
        let text = negotiation().offer().unwrap();
        for line in [
            "c=IN IP4 192.0.2.10",
            "t=0 0",
            "m=audio 40000 RTP/AVP 0 8 101",
            "a=rtpmap:0 PCMU/8000",
            "a=fmtp:101 0-16",
            "a=ptime:20",
            "a=rtcp:40001",
            "a=sendrecv",
            "m=video 40002 RTP/AVP 96 97 98",
            "b=AS:4160",
            "b=TIAS:4000000",
            "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1;\
             max-mbps=245760;max-fs=8192;max-br=14000",
            "a=rtcp-fb:* nack pli",
            "a=rtcp-fb:* ccm fir",
            "a=rtcp-mux",
            "a=recvonly",
        ] {
            assert!(text.split("\r\n").any(|have| have == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\r\n"));
        let none = LocalMedia { audio_port: None, video_port: None, ..local() };
        assert_eq!(Negotiation::new(none, OfferOptions::default()).offer(), Err(SdpError::NothingOffered));
        let v6 = LocalMedia { address: "2001:db8::1".parse().unwrap(), audio_port: None, ..local() };
        let text = Negotiation::new(v6, OfferOptions::default()).offer().unwrap();
        assert!(text.contains("c=IN IP6 2001:db8::1\r\n") && !text.contains("m=audio"));
    }

    #[test]
    fn answer_becomes_media() {
        let agreement = offered().handle_answer(ANSWER.as_bytes()).unwrap();
        assert!(!agreement.held);
        let audio = agreement.media.audio.unwrap();
        assert_eq!(audio.transport.remote_rtp, Some("198.51.100.7:5000".parse().unwrap()));
        assert_eq!(audio.transport.remote_rtcp, Some("198.51.100.7:5001".parse().unwrap()));
        assert_eq!(audio.transport.direction, Direction::SendRecv);
        assert_eq!(audio.formats.len(), 1);
        assert_eq!(audio.formats[0].codec, AudioCodec::Pcmu);
        assert_eq!(audio.telephone_event.unwrap().payload_type, 101);
        let video = agreement.media.video.unwrap();
        assert_eq!(video.transport.direction, Direction::RecvOnly);
        let types: Vec<_> = video.formats.iter().map(|f| (f.payload_type, f.packetization_mode)).collect();
        assert_eq!(types, [(96, 1), (97, 0), (98, 1)], "the answer's first, then all that were offered");
        assert_eq!(video.formats[0].parameter_sets.len(), 2);
        assert_eq!(video.feedback, VideoFeedback { pli: true, ..VideoFeedback::default() });
    }

    #[test]
    fn odd_answers_are_read() {
        // LF only, no o=, s=, t=, no final newline, m-line level address, mux, a=rtcp, static types, junk lines.
        let text = "v=0\nnonsense\nb=AS\nm=audio 5000 RTP/AVP 8 0\nc=IN IP4 10.0.0.1\na=rtcp:6001 IN IP4 10.0.0.2\n\
            m=video 5002 RTP/AVP 96 97\nc=IN IP6 2001:db8::7\na=fmtp:97 profile-level-id=xx;packetization-mode=0\n\
            a=rtpmap:97 h264/90000\na=rtcp-mux\na=recvonly\nm=application 7000 UDP/BFCP *";
        let media = offered().handle_answer(text.as_bytes()).unwrap().media;
        let (audio, video) = (media.audio.unwrap(), media.video.unwrap());
        assert_eq!(audio.formats[0].codec, AudioCodec::Pcma, "the peer's preference");
        assert_eq!(audio.transport.remote_rtcp, Some("10.0.0.2:6001".parse().unwrap()));
        assert!(audio.telephone_event.is_none());
        assert_eq!(video.transport.remote_rtp, Some("[2001:db8::7]:5002".parse().unwrap()));
        assert_eq!(video.transport.remote_rtcp, video.transport.remote_rtp);
        assert!(video.transport.rtcp_mux);
        assert_eq!(video.transport.direction, Direction::RecvOnly, "mirrored recvonly");
        let modes: Vec<_> = video.formats.iter().map(|f| (f.payload_type, f.packetization_mode)).collect();
        assert_eq!(modes, [(96, 1), (97, 0), (98, 1)]);
    }

    #[test]
    fn renumbered_and_partial_answers() {
        let text = ANSWER.replace("RTP/AVP 96", "RTP/AVP 109").replace(":96 ", ":109 ");
        let video = offered().handle_answer(text.as_bytes()).unwrap().media.video.unwrap();
        let types: Vec<_> = video.formats.iter().map(|f| f.payload_type).collect();
        assert_eq!(types, [109, 96, 97, 98], "theirs and, by the book, ours");
        // Video refused; then left out; then audio refused.
        let text = ANSWER.replace("m=video 5002", "m=video 0");
        assert!(offered().handle_answer(text.as_bytes()).unwrap().media.video.is_none());
        let text = ANSWER.split("m=video").next().unwrap();
        assert!(offered().handle_answer(text.as_bytes()).unwrap().media.video.is_none());
        let text = ANSWER.replace("m=audio 5000", "m=audio 0");
        assert!(offered().handle_answer(text.as_bytes()).unwrap().media.audio.is_none());
        for nothing in ["m=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n", "m=audio 5000 RTP/SAVP 0\r\n", ""]
        {
            let error = offered().handle_answer(format!("v=0\r\n{nothing}").as_bytes()).unwrap_err();
            assert!(matches!(error, SdpError::NothingInCommon { .. }), "{nothing}");
        }
        assert_eq!(negotiation().handle_answer(ANSWER.as_bytes()), Err(SdpError::UnexpectedAnswer));
    }

    #[test]
    fn version_rises_only_on_change() {
        let mut negotiation = negotiation();
        let first = negotiation.offer().unwrap();
        assert_eq!(negotiation.refresh().unwrap(), first);
        assert_eq!(negotiation.offer().unwrap(), first);
        negotiation.handle_answer(ANSWER.as_bytes()).unwrap();
        let (answer, agreement) = negotiation.answer(ANSWER.as_bytes()).unwrap();
        assert!(!agreement.held);
        assert_eq!(version(&answer), version(&first) + 1, "fewer formats: changed");
        assert_eq!(negotiation.answer(ANSWER.as_bytes()).unwrap().0, answer, "unchanged");
        let hold = ANSWER.replace("m=video", "a=sendonly\r\nm=video");
        let (held, agreement) = negotiation.answer(hold.as_bytes()).unwrap();
        assert_eq!(version(&held), version(&first) + 2);
        assert!(agreement.held);
        assert_eq!(agreement.media.audio.unwrap().transport.direction, Direction::RecvOnly);
        assert!(held.contains("a=recvonly"));
        // A refused offer leaves everything as it was.
        assert!(negotiation.answer(b"v=0\r\nm=audio 1 RTP/SAVP 0\r\n").is_err());
        assert_eq!(negotiation.refresh().unwrap(), held);
        let (resumed, agreement) = negotiation.answer(ANSWER.as_bytes()).unwrap();
        assert_eq!(version(&resumed), version(&first) + 3);
        assert!(!agreement.held);
    }

    #[test]
    fn holds_of_every_kind() {
        for (from, to, direction) in [
            ("m=video", "a=inactive\r\nm=video", "a=inactive"),
            ("c=IN IP4 198.51.100.7", "c=IN IP4 0.0.0.0", "a=recvonly"),
        ] {
            let mut negotiation = offered();
            negotiation.handle_answer(ANSWER.as_bytes()).unwrap();
            let (text, agreement) = negotiation.answer(ANSWER.replacen(from, to, 1).as_bytes()).unwrap();
            assert!(agreement.held, "{to}");
            assert!(text.split("m=video").next().unwrap().contains(direction), "{text}");
            if to.contains("0.0.0.0") {
                assert_eq!(agreement.media.audio.unwrap().transport.remote_rtp, None);
            }
            // An offerless re-INVITE ends the hold: our offer is for both directions again.
            let offer = negotiation.offer().unwrap();
            assert!(offer.contains("a=sendrecv"), "{offer}");
            assert!(!negotiation.handle_answer(ANSWER.as_bytes()).unwrap().held);
        }
        // Always send-only: an announcement server does not hold us.
        let camera = ANSWER.replace("m=video", "a=sendonly\r\nm=video");
        let mut negotiation = offered();
        assert!(!negotiation.handle_answer(camera.as_bytes()).unwrap().held);
        assert!(!negotiation.answer(camera.as_bytes()).unwrap().1.held);
        assert!(!negotiation.answer(ANSWER.as_bytes()).unwrap().1.held);
        assert!(negotiation.answer(camera.as_bytes()).unwrap().1.held);
    }

    /// Shape of a Polycom room system's offer: wide-band audio first, three H.264 numbers, BFCP, far-end camera
    /// control, slides as second video.
    const ROOM: &str = "v=0\r\no=HDX 1 2 IN IP4 203.0.113.4\r\ns=-\r\nc=IN IP4 203.0.113.4\r\nb=AS:1920\r\nt=0 0\r\n\
        m=audio 49250 RTP/AVP 115 99 9 0 8 102\r\na=rtpmap:115 G7221/32000\r\na=fmtp:115 bitrate=48000\r\n\
        a=rtpmap:99 SIREN14/16000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:102 telephone-event/8000\r\na=fmtp:102 0-15\r\n\
        m=video 49252 RTP/AVP 109 110 111 96 34\r\nb=TIAS:1920000\r\na=rtpmap:109 H264/90000\r\n\
        a=fmtp:109 profile-level-id=42801f;max-mbps=108000;max-fs=3600;packetization-mode=1\r\n\
        a=rtpmap:110 H264/90000\r\na=fmtp:110 profile-level-id=42801f; max-mbps=108000\r\n\
        a=rtpmap:111 H264/90000\r\na=fmtp:111 profile-level-id=64001f;packetization-mode=2\r\n\
        a=rtpmap:96 H263-1998/90000\r\na=rtcp-fb:* ccm fir tmmbr\r\na=rtcp-fb:109 nack pli\r\n\
        m=application 49260 RTP/AVP 100\r\na=rtpmap:100 H224/4800\r\n\
        m=video 49254 RTP/AVP 109\r\na=content:slides\r\na=rtpmap:109 H264/90000\r\n\
        m=application 3238 TCP/BFCP *\r\na=floorctrl:c-s\r\na=setup:passive\r\n";

    #[test]
    fn room_systems_are_answered_line_by_line() {
        let mut negotiation = negotiation();
        let (text, agreement) = negotiation.answer(ROOM.as_bytes()).unwrap();
        let lines: Vec<_> = text.split("\r\n").filter(|line| line.starts_with("m=")).collect();
        assert_eq!(
            lines,
            [
                "m=audio 40000 RTP/AVP 0 8 102",
                "m=video 40002 RTP/AVP 109 110",
                "m=application 0 RTP/AVP 100",
                "m=video 0 RTP/AVP 109",
                "m=application 0 TCP/BFCP *",
            ]
        );
        assert!(text.contains("a=fmtp:109 profile-level-id=42801f;packetization-mode=1;"), "{text}");
        assert!(!text.contains("a=rtcp-mux"), "was not offered");
        let video = agreement.media.video.unwrap();
        let modes: Vec<_> = video.formats.iter().map(|f| (f.payload_type, f.packetization_mode)).collect();
        assert_eq!(modes, [(109, 1), (110, 0)]);
        assert_eq!(video.feedback, VideoFeedback { pli: true, fir: true, ..VideoFeedback::default() });
        assert_eq!(video.transport.direction, Direction::RecvOnly);
        // Our later offer keeps order, count and numbers.
        let offer = negotiation.offer().unwrap();
        let later: Vec<_> = offer.split("\r\n").filter(|line| line.starts_with("m=")).collect();
        assert_eq!(later, lines);
    }

    #[test]
    fn secure_profiles_and_absent_media_are_refused_with_reason() {
        let offer =
            "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000 UDP/TLS/RTP/SAVPF 0 111\r\nm=video 5000 RTP/SAVP 96\r\n";
        let error = negotiation().answer(offer.as_bytes()).unwrap_err();
        assert_eq!(error.status(), 488);
        assert!(
            error.to_string().contains("UDP/TLS/RTP/SAVPF") && error.to_string().contains("SRTP"),
            "{error}"
        );
        // RFC 8643: crypto under plain AVP may be ignored.
        let offer = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000 RTP/AVPF 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n";
        let (text, _) = negotiation().answer(offer.as_bytes()).unwrap();
        assert!(text.contains("m=audio 40000 RTP/AVPF 0\r\n") && !text.contains("crypto"));
        // Everything switched off for a while is legal.
        let (text, agreement) = negotiation().answer(b"v=0\r\nm=audio 0 RTP/AVP 0\r\n").unwrap();
        assert!(text.contains("m=audio 0 RTP/AVP 0\r\n") && agreement.held);
    }

    #[test]
    fn limits_hold() {
        let long = vec![b'a'; DESCRIPTION_BYTES_MAX + 1];
        assert_eq!(negotiation().answer(&long).unwrap_err().status(), 413);
        let many = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(MEDIA_DESCRIPTIONS_MAX + 1));
        assert!(matches!(negotiation().answer(many.as_bytes()), Err(SdpError::TooLong { .. })));
        let lines = format!("v=0\r\n{}", "a=x\r\n".repeat(DESCRIPTION_LINES_MAX + 1));
        assert!(matches!(negotiation().answer(lines.as_bytes()), Err(SdpError::TooLong { .. })));
        assert_eq!(negotiation().answer(b"GET / HTTP/1.1\r\n").unwrap_err().status(), 400);
        assert_eq!(negotiation().answer(b"").unwrap_err().status(), 400);
        // An m= line that cannot be read keeps its place.
        let (text, _) = negotiation().answer(b"v=0\r\nm=\r\nm=video 99999 X\r\nm=audio 5 RTP/AVP 0").unwrap();
        assert_eq!(text.matches("m=").count(), 3, "{text}");
    }

    #[test]
    fn mutated_descriptions_never_panic() {
        for seed in [ROOM, ANSWER] {
            crate::mutation::for_each(seed.as_bytes(), 3_000, |bytes| {
                let mut negotiation = offered();
                let _ = negotiation.handle_answer(bytes);
                if let Ok((text, agreement)) = negotiation.answer(bytes) {
                    let again = Session::parse(text.as_bytes()).expect("we write what can be read");
                    let ours: usize = again.medias.len();
                    let theirs =
                        RemoteDescription::parse(agreement.description.as_bytes()).unwrap().media.len();
                    assert_eq!(ours, theirs);
                    negotiation.offer().unwrap();
                }
            });
        }
    }
}
