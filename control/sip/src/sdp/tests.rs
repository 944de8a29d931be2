//! Tests of `sdp`: plain RTP here, protection and devices below.

mod devices;
mod security;

use super::*;
use sipcast_contract::Direction;
use sipcast_contract::media::{AudioCodec, VideoFeedback};

fn local() -> LocalMedia {
    LocalMedia { address: "192.0.2.10".parse().unwrap(), audio_port: Some(40_000), video_port: Some(40_002) }
}

/// Bytes that never repeat within a test run.
fn counting(bytes: &mut [u8]) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for chunk in bytes.chunks_mut(8) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        chunk.copy_from_slice(&number[8 - chunk.len()..]);
    }
    true
}

fn negotiation() -> Negotiation {
    with(MediaSecurity::Off, OfferOptions::default())
}

fn with(security: MediaSecurity, options: OfferOptions) -> Negotiation {
    Negotiation::new(local(), options).protected(security, counting)
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
        "m=audio 40000 RTP/AVP 107 9 108 109 0 8 110 101 102 103 104",
        "a=rtpmap:107 opus/48000/2",
        "a=fmtp:107 useinbandfec=1;usedtx=0",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:108 speex/16000",
        "a=fmtp:108 vbr=on",
        "a=rtpmap:102 telephone-event/48000",
        "a=maxptime:60",
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
        "a=rtcp-fb:* nack",
        "a=rtcp-fb:* nack pli",
        "a=rtcp-fb:* ccm tmmbr",
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
    for (nothing, is_refused) in [
        ("m=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n", true),
        ("m=audio 0 RTP/AVP 0\r\nm=video 5002 RTP/AVP 33\r\n", false),
        ("m=audio 5000 TCP/RTP/AVP 0\r\n", false),
        ("", false),
    ] {
        match offered().handle_answer(format!("v=0\r\n{nothing}").as_bytes()).unwrap_err() {
            SdpError::AllRefused { .. } => assert!(is_refused, "{nothing}"),
            SdpError::NothingInCommon { .. } => assert!(!is_refused, "{nothing}"),
            other => panic!("{other}"),
        }
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
            "m=audio 40000 RTP/AVP 9 0 8 102",
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
    assert_eq!(video.feedback, VideoFeedback { pli: true, fir: true, tmmbr: true, nack: false });
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
    let text = error.to_string();
    assert!(text.contains("UDP/TLS/RTP/SAVPF") && text.contains("DTLS"), "{text}");
    let offer = "v=0\r\nc=IN IP4 1.2.3.4\r\nm=video 5000 RTP/SAVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let text = negotiation().answer(offer.as_bytes()).unwrap_err().to_string();
    assert!(text.contains("RTP/SAVP") && text.contains("security is off"), "{text}");
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
                let theirs = RemoteDescription::parse(agreement.description.as_bytes()).unwrap().media.len();
                assert_eq!(ours, theirs);
                negotiation.offer().unwrap();
            }
        });
    }
}
