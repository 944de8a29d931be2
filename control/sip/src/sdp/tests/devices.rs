//! What rooms, services, servers and softphones describe, answered line by line (`tests/data/sdp`).

use super::*;
use sipcast_contract::media::AudioMedia;

/// One description and what becomes of it.
struct Device {
    name: &'static str,
    text: &'static str,
    /// Its `m=` lines as we answer them when security is opportunistic.
    lines: &'static [&'static str],
    /// Codec and telephone-event (payload type, Hz) that are used.
    sound: (AudioCodec, Option<(u8, u32)>),
    /// Payload types and packetization modes of pictures.
    pictures: &'static [(u8, u8)],
    is_protected: bool,
}

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/sdp/", $name, ".sdp"))
    };
}

const DEVICES: &[Device] = &[
    Device {
        name: "polycom",
        text: text!("polycom_group"),
        lines: &[
            "m=audio 40000 RTP/AVP 9 0 8 101",
            "m=video 40002 RTP/AVP 109 110 111",
            "m=video 0 RTP/AVP 109 110 34",
            "m=application 0 TCP/BFCP *",
            "m=application 0 RTP/AVP 100",
        ],
        sound: (AudioCodec::G722, Some((101, 8_000))),
        pictures: &[(109, 0), (110, 1), (111, 1)],
        is_protected: false,
    },
    Device {
        name: "cisco",
        text: text!("cisco_sx20"),
        lines: &[
            "m=audio 40000 RTP/AVP 9 8 0 101",
            "m=video 40002 RTP/AVP 97 126",
            "m=application 0 UDP/BFCP *",
            "m=video 0 RTP/AVP 97 126",
            "m=application 0 RTP/AVP 100",
        ],
        sound: (AudioCodec::G722, Some((101, 8_000))),
        pictures: &[(97, 0), (126, 1)],
        is_protected: true,
    },
    Device {
        name: "lifesize",
        text: text!("lifesize_icon"),
        lines: &[
            "m=audio 40000 RTP/AVP 9 0 8 120",
            "m=video 40002 RTP/AVP 96 97",
            "m=application 0 UDP/BFCP *",
        ],
        sound: (AudioCodec::G722, Some((120, 8_000))),
        pictures: &[(96, 1), (97, 0)],
        is_protected: false,
    },
    Device {
        name: "zoom",
        text: text!("zoom_crc"),
        lines: &[
            "m=audio 40000 RTP/AVP 9 8 0 101",
            "m=video 40002 RTP/AVP 96",
            "m=video 0 RTP/AVP 96",
            "m=application 0 UDP/BFCP *",
        ],
        sound: (AudioCodec::G722, Some((101, 8_000))),
        pictures: &[(96, 1)],
        is_protected: false,
    },
    Device {
        name: "twilio",
        text: text!("twilio_secure"),
        lines: &["m=audio 40000 RTP/SAVP 0 101"],
        sound: (AudioCodec::Pcmu, Some((101, 8_000))),
        pictures: &[],
        is_protected: true,
    },
    Device {
        name: "vidyo",
        text: text!("vidyo_gateway"),
        lines: &[
            "m=audio 40000 RTP/AVP 107 9 0 8 100 101",
            "m=video 40002 RTP/AVP 99",
            "m=video 0 RTP/AVP 99",
            "m=application 0 RTP/AVP 110",
        ],
        sound: (AudioCodec::SpeexWideband, Some((101, 8_000))),
        pictures: &[(99, 1)],
        is_protected: false,
    },
    Device {
        name: "bluejeans",
        text: text!("bluejeans"),
        lines: &[
            "m=audio 40000 RTP/AVP 115 9 0 8 101",
            "m=video 40002 RTP/AVP 97 96",
            "m=application 0 TCP/BFCP *",
        ],
        sound: (AudioCodec::Opus, Some((101, 8_000))),
        pictures: &[(97, 1), (96, 1)],
        is_protected: false,
    },
    Device {
        name: "asterisk",
        text: text!("asterisk_pjsip"),
        lines: &["m=audio 40000 RTP/AVP 107 9 0 8 110 117 119 101 102", "m=video 40002 RTP/AVP 99"],
        sound: (AudioCodec::Opus, Some((101, 48_000))),
        pictures: &[(99, 0)],
        is_protected: false,
    },
    Device {
        name: "freeswitch",
        text: text!("freeswitch"),
        lines: &["m=audio 40000 RTP/SAVP 102 9 0 8 13 103 101", "m=video 40002 RTP/SAVP 105"],
        sound: (AudioCodec::Opus, Some((103, 48_000))),
        pictures: &[(105, 0)],
        is_protected: true,
    },
    Device {
        name: "rtpengine",
        text: text!("rtpengine"),
        lines: &["m=audio 40000 RTP/AVPF 96 8 97", "m=video 40002 RTP/AVPF 98"],
        sound: (AudioCodec::Opus, Some((97, 48_000))),
        pictures: &[(98, 1)],
        is_protected: true,
    },
    Device {
        name: "linphone",
        text: text!("linphone"),
        lines: &["m=audio 40000 RTP/SAVPF 96 97 98 0 8 99 100 101", "m=video 40002 RTP/SAVPF 96"],
        sound: (AudioCodec::Opus, Some((99, 48_000))),
        pictures: &[(96, 1)],
        is_protected: true,
    },
    Device {
        name: "bria",
        text: text!("bria"),
        lines: &["m=audio 40000 RTP/AVP 9 8 0 84 101", "m=video 40002 RTP/AVP 123"],
        sound: (AudioCodec::G722, Some((101, 8_000))),
        pictures: &[(123, 0)],
        // Its video has no key, and RFC 8643 lets each line be what it is.
        is_protected: true,
    },
    Device {
        name: "sloppy gateway",
        text: text!("sloppy_gateway"),
        lines: &[
            "m=audio 40000 rtp/avp 0 101",
            "m=image 0 udptl t38",
            "m=video 40002 RTP/AVP 104",
            "m=text 0 RTP/AVP 98",
            "m=message 0 TCP/MSRP *",
        ],
        sound: (AudioCodec::Pcmu, Some((101, 8_000))),
        pictures: &[(104, 1)],
        is_protected: false,
    },
];

fn event(audio: &AudioMedia) -> Option<(u8, u32)> {
    audio.telephone_event.map(|event| (event.payload_type, event.clock_rate_hz))
}

#[test]
fn every_line_is_answered_at_its_place() {
    for device in DEVICES {
        let mut negotiation = with(MediaSecurity::Opportunistic, OfferOptions::default());
        let (text, agreement) = negotiation.answer(device.text.as_bytes()).unwrap();
        let lines: Vec<_> = text.split("\r\n").filter(|line| line.starts_with("m=")).collect();
        assert_eq!(lines, device.lines, "{}\n{text}", device.name);
        let audio = agreement.media.audio.unwrap();
        assert_eq!((audio.formats[0].codec, event(&audio)), device.sound, "{}", device.name);
        assert_eq!(audio.transport.srtp.is_some(), device.is_protected, "{}", device.name);
        let video = agreement.media.video;
        let pictures: Vec<_> = video.iter().flat_map(|video| &video.formats).collect();
        let pictures: Vec<_> = pictures.iter().map(|f| (f.payload_type, f.packetization_mode)).collect();
        assert_eq!(pictures, device.pictures, "{}", device.name);
        for foreign in ["ice", "candidate", "fingerprint", "setup", "mid:", "content", "floor", "label"] {
            assert!(!text.contains(&format!("a={foreign}")), "{} {foreign}", device.name);
        }
        // A later offer of ours keeps order, count, protocols and numbers (RFC 3264 §8).
        let offer = negotiation.offer().unwrap();
        let later: Vec<_> = offer.split("\r\n").filter(|line| line.starts_with("m=")).collect();
        assert_eq!(later[..lines.len()], lines, "{}", device.name);
        if let [_, video] = &later[lines.len() - 1..]
            && lines.len() == 1
        {
            assert!(
                video.starts_with("m=video 40002 RTP/SAVP"),
                "a new line is protected like the others: {video}"
            );
        }
        assert_eq!(version(&offer), version(&text) + u64::from(offer != text), "{}", device.name);
    }
}

#[test]
fn descriptions_without_opportunism() {
    for device in DEVICES {
        let is_savp = device.text.contains("/SAVP");
        let mut off = with(MediaSecurity::Off, OfferOptions::default());
        assert_eq!(off.answer(device.text.as_bytes()).is_err(), is_savp, "{}", device.name);
        let mut mandatory = with(MediaSecurity::Mandatory, OfferOptions::default());
        let answered = mandatory.answer(device.text.as_bytes());
        assert_eq!(answered.is_ok(), device.is_protected, "{}", device.name);
        if let Ok((_, agreement)) = answered {
            let video = agreement.media.video;
            assert!(video.is_none_or(|video| video.transport.srtp.is_some()), "{}", device.name);
        }
    }
}

#[test]
fn slides_are_not_the_main_picture() {
    let slides_first = "v=0\r\nc=IN IP4 203.0.113.9\r\nm=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
        a=content:slides\r\nm=video 5002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=content:main,speaker\r\n";
    let (text, agreement) = negotiation().answer(slides_first.as_bytes()).unwrap();
    assert!(
        text.contains("m=video 0 RTP/AVP 96\r\n") && text.contains("m=video 40002 RTP/AVP 97\r\n"),
        "{text}"
    );
    let video = agreement.media.video.unwrap();
    assert_eq!(video.transport.remote_rtp, Some("203.0.113.9:5002".parse().unwrap()));
    // Alone they are better than nothing.
    let alone = slides_first.split("m=video 5002").next().unwrap();
    assert!(negotiation().answer(alone.as_bytes()).unwrap().1.media.video.is_some());
}

#[test]
fn later_offers_may_add_remove_and_reorder_lines() {
    let mut negotiation = offered();
    negotiation.handle_answer(ANSWER.as_bytes()).unwrap();
    // Polycom adds content and floor control when a presentation begins.
    let more = format!(
        "{ANSWER}m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=content:slides\r\nm=application 5006 UDP/BFCP *\r\n"
    );
    let (text, agreement) = negotiation.answer(more.as_bytes()).unwrap();
    assert_eq!(text.matches("m=").count(), 4);
    assert!(text.ends_with("m=video 0 RTP/AVP 96\r\nm=application 0 UDP/BFCP *\r\n"), "{text}");
    assert!(agreement.media.audio.is_some() && agreement.media.video.is_some());
    // Fewer lines, against RFC 3264 §8, and then the other way round.
    let (text, _) = negotiation.answer(ANSWER.as_bytes()).unwrap();
    assert_eq!(text.matches("m=").count(), 2);
    let (head, media) = ANSWER.split_once("m=audio").unwrap();
    let (audio, video) = media.split_once("m=video").unwrap();
    let turned = format!("{head}m=video{video}m=audio{audio}");
    let (text, agreement) = negotiation.answer(turned.as_bytes()).unwrap();
    assert!(text.find("m=video 40002") < text.find("m=audio 40000"), "{text}");
    assert!(agreement.media.audio.is_some() && agreement.media.video.is_some());
    // Switched off and on again at its place.
    let off = turned.replace("m=video 5002", "m=video 0");
    let (text, agreement) = negotiation.answer(off.as_bytes()).unwrap();
    assert!(text.contains("m=video 0 ") && agreement.media.video.is_none());
    assert!(negotiation.answer(turned.as_bytes()).unwrap().1.media.video.is_some());
}

#[test]
fn answers_with_one_codec_bring_its_events() {
    for (formats, codec, wanted) in [
        ("107 102", AudioCodec::Opus, Some((102, 48_000))),
        ("108 101 103", AudioCodec::SpeexWideband, Some((103, 16_000))),
        ("9 101", AudioCodec::G722, Some((101, 8_000))),
        ("110", AudioCodec::SpeexNarrowband, None),
        ("109 101", AudioCodec::SpeexUltraWideband, Some((101, 8_000))),
    ] {
        // Without any rtpmap: the numbers mean what our offer said.
        let text = format!("v=0\nc=IN IP4 203.0.113.9\nm=audio 5000 RTP/AVP {formats}\na=ptime:40\n");
        let audio = offered().handle_answer(text.as_bytes()).unwrap().media.audio.unwrap();
        assert_eq!((audio.formats[0].codec, event(&audio)), (codec, wanted), "{formats}");
        assert_eq!(audio.packet_time_ms, 40);
    }
    // A number of ours that the peer gives to something else is not taken for ours.
    let text = "v=0\nc=IN IP4 203.0.113.9\nm=audio 5000 RTP/AVP 111 107\na=rtpmap:111 opus/48000/2\n\
        a=rtpmap:107 telephone-event/48000\n";
    let audio = offered().handle_answer(text.as_bytes()).unwrap().media.audio.unwrap();
    let numbers: Vec<_> = audio.formats.iter().map(|format| format.payload_type).collect();
    assert_eq!((numbers, event(&audio)), (vec![111], Some((107, 48_000))));
}

#[test]
fn sound_is_sent_with_the_numbers_of_the_answer() {
    for (formats, sent) in [
        // RFC 3264 §6.1: 107 is our number for Opus, which the peer may send with; what it takes is 120.
        ("120 101\na=rtpmap:120 opus/48000/2\na=rtpmap:101 telephone-event/8000", (120, AudioCodec::Opus)),
        ("8 0", (8, AudioCodec::Pcma)),
        ("107", (107, AudioCodec::Opus)),
    ] {
        let text = format!("v=0\nc=IN IP4 203.0.113.9\nm=audio 5000 RTP/AVP {formats}\n");
        let audio = offered().handle_answer(text.as_bytes()).unwrap().media.audio.unwrap();
        let taken = audio.taken.unwrap();
        assert_eq!((taken.payload_type, taken.codec), sent, "{formats}");
    }
}

#[test]
fn options_shape_the_offer() {
    let options = OfferOptions {
        audio_codecs: "pcma, opus".parse().unwrap(),
        comfort_noise: true,
        packet_time_ms: 40,
        opus_stereo: true,
        feedback_profile: true,
        h264_main: true,
        h264_high: false,
        ..OfferOptions::default()
    };
    let mut negotiation = with(MediaSecurity::Off, options);
    let offer = negotiation.offer().unwrap();
    for line in [
        "m=audio 40000 RTP/AVPF 8 107 13 101 102",
        "a=fmtp:107 useinbandfec=1;usedtx=0;stereo=1",
        "a=rtpmap:13 CN/8000",
        "a=ptime:40",
        "m=video 40002 RTP/AVPF 96 97 99",
    ] {
        assert!(offer.split("\r\n").any(|have| have == line), "{line}\n{offer}");
    }
    assert!(offer.contains("a=fmtp:99 profile-level-id=4d001f;packetization-mode=1;"));
    // Codecs that are switched off are not answered either.
    let error = negotiation.answer(b"v=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 5000 RTP/AVP 0\r\n").unwrap_err();
    assert!(error.to_string().contains("(pcma, opus)"), "{error}");
}

#[test]
fn mutated_devices_never_panic() {
    for device in DEVICES {
        crate::mutation::for_each(device.text.as_bytes(), 300, |bytes| {
            let mut negotiation = with(MediaSecurity::Opportunistic, OfferOptions::default());
            let offer = negotiation.offer().unwrap();
            assert!(offer.len() < DESCRIPTION_BYTES_MAX);
            let _ = negotiation.handle_answer(bytes);
            if let Ok((text, _)) = negotiation.answer(bytes) {
                Session::parse(text.as_bytes()).expect("we write what can be read");
                negotiation.offer().unwrap();
            }
        });
    }
}
