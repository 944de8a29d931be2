//! SRTP by `a=crypto` through offers and answers (RFC 4568, RFC 8643).

use super::*;
use sipcast_contract::{Secret, SrtpMaster, SrtpSession, SrtpSuite};

/// Keys of the peer: base64 of 30 bytes, and of 28 for AEAD.
const KEY_A: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const KEY_B: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn secured(security: MediaSecurity) -> (Negotiation, String) {
    let mut negotiation = with(security, OfferOptions::default());
    let offer = negotiation.offer().unwrap();
    (negotiation, offer)
}

/// A description of the peer with these protocols and these lines in each media description.
fn description(proto: &str, lines: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
         m=audio 5000 {proto} 0\r\n{lines}m=video 5002 {proto} 96\r\na=rtpmap:96 H264/90000\r\n{lines}"
    )
}

fn crypto(tag: u32, suite: &str, key: &str) -> String {
    format!("a=crypto:{tag} {suite} inline:{key}\r\n")
}

fn keys(agreement: &Agreement) -> [Option<SrtpSession>; 2] {
    let audio = agreement.media.audio.as_ref().and_then(|audio| audio.transport.srtp.clone());
    let video = agreement.media.video.as_ref().and_then(|video| video.transport.srtp.clone());
    [audio, video].map(|session| session.map(|session| *session))
}

/// The master keys in a description of ours, in order.
fn written(text: &str) -> Vec<(u32, SrtpSuite, Secret<SrtpMaster>)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"))
        .map(|value| crypto::CryptoLine::parse(value).unwrap())
        .map(|line| (line.tag, line.suite, line.master))
        .collect()
}

#[test]
fn offers_follow_the_order() {
    for (security, proto, lines) in [
        (MediaSecurity::Off, "RTP/AVP", 0),
        (MediaSecurity::Opportunistic, "RTP/AVP", 6),
        (MediaSecurity::Mandatory, "RTP/SAVP", 6),
    ] {
        let (_, offer) = secured(security);
        assert_eq!(offer.matches(&format!(" {proto} ")).count(), 2, "{offer}");
        let keys = written(&offer);
        assert_eq!(keys.len(), lines);
        // RFC 4568 §6.1.1: no key twice.
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[..index].iter().all(|other| other.2 != one.2));
        }
        assert!(keys.iter().take(3).map(|key| key.0).eq((1..=3).take(lines.min(3))));
        let options = OfferOptions { feedback_profile: true, ..OfferOptions::default() };
        let offer = with(security, options).offer().unwrap();
        assert_eq!(offer.matches(&format!(" {proto}F ")).count(), 2, "{offer}");
    }
    let mut without =
        Negotiation::new(local(), OfferOptions::default()).protected(MediaSecurity::Mandatory, |_| false);
    assert_eq!(without.offer(), Err(SdpError::NoRandomness));
}

#[test]
fn an_answer_gives_both_keys() {
    for (security, proto) in
        [(MediaSecurity::Mandatory, "RTP/SAVP"), (MediaSecurity::Opportunistic, "RTP/AVP")]
    {
        let (mut negotiation, offer) = secured(security);
        let answer = description(proto, &crypto(3, "AES_CM_128_HMAC_SHA1_32", KEY_A));
        let agreement = negotiation.handle_answer(answer.as_bytes()).unwrap();
        let ours = written(&offer);
        let [audio, video] = keys(&agreement).map(Option::unwrap);
        assert_eq!(audio.suite, SrtpSuite::AesCm128HmacSha1_32);
        assert_eq!(audio.send, ours[2].2);
        assert_eq!(video.send, ours[5].2);
        assert_eq!(&audio.receive.reveal().key, b"wDfvg&T+)xG7@fb5");
        assert!(!agreement.description.contains(KEY_A) && agreement.description.contains("inline:***"));
        // Nothing that is printed holds a key.
        let shown = format!("{negotiation:?} {agreement:?}");
        assert!(!shown.contains("inline:") || !shown.contains(KEY_A));
        for line in offer.lines().filter_map(|line| line.split_once("inline:")) {
            assert!(!shown.contains(line.1));
        }
    }
}

#[test]
fn opportunistic_answers_may_be_plain() {
    let (mut negotiation, _) = secured(MediaSecurity::Opportunistic);
    let agreement = negotiation.handle_answer(description("RTP/AVP", "").as_bytes()).unwrap();
    assert_eq!(keys(&agreement), [None, None]);
    // What was agreed goes on: our later offer names no keys.
    let later = negotiation.offer().unwrap();
    assert!(!later.contains("a=crypto") && later.contains("RTP/AVP"), "{later}");
}

#[test]
fn a_mandatory_call_is_protected_or_fails_with_the_reason() {
    for (answer, wanted) in [
        (
            description("RTP/SAVP", ""),
            "audio (RTP/SAVP) cannot be protected: its media description has no a=crypto",
        ),
        (description("RTP/AVP", ""), "has no a=crypto"),
        (description("UDP/TLS/RTP/SAVP", ""), "DTLS"),
        (description("RTP/SAVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", &format!("{KEY_A}|2^31|1:4"))), "MKI"),
        (description("RTP/SAVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", "AAAA")), "length"),
        (description("RTP/SAVP", &crypto(1, "AES_256_CM_HMAC_SHA1_80", KEY_A)), "names no suite"),
        (
            description(
                "RTP/SAVP",
                &crypto(1, "AES_CM_128_HMAC_SHA1_80", &format!("{KEY_A} UNENCRYPTED_SRTP")),
            ),
            "session parameter",
        ),
        // All or nothing: the video line alone without keys.
        (
            description("RTP/SAVP", "").replacen(
                "m=video",
                &format!("{}m=video", crypto(1, "AES_CM_128_HMAC_SHA1_80", KEY_A)),
                1,
            ),
            "video (RTP/SAVP) cannot be protected",
        ),
    ] {
        let (mut negotiation, _) = secured(MediaSecurity::Mandatory);
        let error = negotiation.handle_answer(answer.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.status(), 488);
        assert!(!error.to_string().contains("inline"));
    }
    // Video switched off by the peer is no trouble.
    let (mut negotiation, _) = secured(MediaSecurity::Mandatory);
    let answer = description("RTP/SAVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", KEY_A)).replace("5002", "0");
    let agreement = negotiation.handle_answer(answer.as_bytes()).unwrap();
    assert!(matches!(keys(&agreement), [Some(_), None]));
    // So is a protected profile that the answer does not repeat, as long as there are keys.
    let (mut negotiation, _) = secured(MediaSecurity::Mandatory);
    let answer = description("RTP/AVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", KEY_A));
    assert!(matches!(keys(&negotiation.handle_answer(answer.as_bytes()).unwrap()), [Some(_), Some(_)]));
}

#[test]
fn offers_of_the_peer_are_answered_with_the_same_tag() {
    let gcm = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
    let lines = [
        crypto(1, "AES_256_CM_HMAC_SHA1_80", KEY_B),
        crypto(4, "AEAD_AES_128_GCM", gcm),
        crypto(5, "AES_CM_128_HMAC_SHA1_80", KEY_A),
    ]
    .concat();
    for (proto, security) in [
        ("RTP/SAVP", MediaSecurity::Mandatory),
        ("RTP/SAVPF", MediaSecurity::Opportunistic),
        ("RTP/AVP", MediaSecurity::Opportunistic),
        ("RTP/AVPF", MediaSecurity::Mandatory),
    ] {
        let mut negotiation = with(security, OfferOptions::default());
        let (text, agreement) = negotiation.answer(description(proto, &lines).as_bytes()).unwrap();
        assert_eq!(text.matches(&format!(" {proto} ")).count(), 2, "{text}");
        let ours = written(&text);
        assert!(ours.iter().all(|line| (line.0, line.1) == (4, SrtpSuite::AeadAes128Gcm)));
        assert_eq!(ours.len(), 2);
        let [audio, video] = keys(&agreement).map(Option::unwrap);
        assert_ne!(audio.send, video.send);
        assert_eq!((audio.send, video.send), (ours[0].2.clone(), ours[1].2.clone()));
    }
    // Off: keys under AVP are passed over, SAVP is refused.
    let (text, agreement) = negotiation().answer(description("RTP/AVP", &lines).as_bytes()).unwrap();
    assert!(!text.contains("crypto") && keys(&agreement) == [None, None]);
    assert!(negotiation().answer(description("RTP/SAVP", &lines).as_bytes()).is_err());
    // Mandatory: plain RTP is refused, and a plain line beside a protected one gets port 0.
    let mut mandatory = with(MediaSecurity::Mandatory, OfferOptions::default());
    let error = mandatory.answer(description("RTP/AVP", "").as_bytes()).unwrap_err();
    assert!(error.to_string().contains("no a=crypto"), "{error}");
    let half = description("RTP/AVP", "").replacen("m=video", &format!("{lines}m=video"), 1);
    let (text, agreement) = mandatory.answer(half.as_bytes()).unwrap();
    assert!(
        text.contains("m=audio 40000 RTP/AVP 0\r\n") && text.contains("m=video 0 RTP/AVP 96\r\n"),
        "{text}"
    );
    assert!(matches!(keys(&agreement), [Some(_), None]));
    // Keys that cannot be used, under AVP and opportunistically: plain RTP.
    let mut opportunistic = with(MediaSecurity::Opportunistic, OfferOptions::default());
    let bad = description("RTP/AVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", "AAAA"));
    let (text, _) = opportunistic.answer(bad.as_bytes()).unwrap();
    assert!(!text.contains("crypto") && text.contains("m=audio 40000"));
}

#[test]
fn keys_last_until_the_peer_changes_its_own() {
    let (mut negotiation, _) = secured(MediaSecurity::Mandatory);
    let first = description("RTP/SAVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", KEY_A));
    let agreed = negotiation.handle_answer(first.as_bytes()).unwrap();
    // The peer holds, with another tag: both keys stay.
    let hold = description("RTP/SAVP", &crypto(7, "AES_CM_128_HMAC_SHA1_80", KEY_A))
        .replace("0 0\r\nm=", "0 0\r\na=inactive\r\nm=");
    let (text, held) = negotiation.answer(hold.as_bytes()).unwrap();
    assert!(held.held && text.contains("a=crypto:7 "), "{text}");
    assert_eq!(keys(&held), keys(&agreed));
    // Our offer in the 200 to an offerless re-INVITE names the key in use first.
    let offer = negotiation.offer().unwrap();
    let [audio, _] = keys(&agreed).map(Option::unwrap);
    assert_eq!(written(&offer)[0], (1, SrtpSuite::AesCm128HmacSha1_80, audio.send.clone()));
    let again = negotiation.handle_answer(first.as_bytes()).unwrap();
    assert_eq!(keys(&again), keys(&agreed));
    // Re-keying: the peer's new key brings a new one of ours; another suite, too.
    let rekeyed = description("RTP/SAVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", KEY_B));
    let (_, changed) = negotiation.answer(rekeyed.as_bytes()).unwrap();
    let [new, _] = keys(&changed).map(Option::unwrap);
    assert!(new.send != audio.send && new.receive != audio.receive);
    let (text, same) = negotiation.answer(rekeyed.as_bytes()).unwrap();
    assert_eq!(keys(&same), keys(&changed));
    let (repeated, _) = negotiation.answer(rekeyed.as_bytes()).unwrap();
    assert_eq!(repeated, text, "nothing changed, so neither does the version");
    // A refused offer leaves the keys.
    assert!(negotiation.answer(description("RTP/AVP", "").as_bytes()).is_err());
    assert_eq!(keys(&negotiation.answer(rekeyed.as_bytes()).unwrap().1), keys(&changed));
}

#[test]
fn early_and_final_answers_may_choose_differently() {
    let (mut negotiation, offer) = secured(MediaSecurity::Opportunistic);
    let early = description("RTP/AVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", KEY_A));
    negotiation.handle_answer(early.as_bytes()).unwrap();
    negotiation.reopen_offer();
    let last =
        description("RTP/AVP", &crypto(2, "AEAD_AES_128_GCM", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw"));
    let agreement = negotiation.handle_answer(last.as_bytes()).unwrap();
    let [audio, _] = keys(&agreement).map(Option::unwrap);
    assert_eq!(audio.send, written(&offer)[1].2);
}

#[test]
fn refused_offers_come_in_another_form() {
    for (security, forms) in [
        (MediaSecurity::Off, &["RTP/AVP 107 9", "RTP/AVP 0 8 101"][..]),
        (
            MediaSecurity::Opportunistic,
            &["RTP/AVP 107 9+3", "RTP/SAVP 107 9+3", "RTP/AVP 107 9", "RTP/AVP 0 8 101"],
        ),
        (MediaSecurity::Mandatory, &["RTP/SAVP 107 9+3", "RTP/SAVP 0 8 101+1"]),
    ] {
        let mut negotiation = with(security, OfferOptions::default());
        let mut seen: Vec<Secret<SrtpMaster>> = Vec::new();
        for (index, form) in forms.iter().enumerate() {
            let offer = negotiation.offer().unwrap();
            let (line, count) = form.split_once('+').unwrap_or((form, "0"));
            assert!(offer.contains(&format!("m=audio 40000 {line}")), "{form}\n{offer}");
            let keys = written(&offer);
            assert_eq!(keys.len(), 2 * count.parse::<usize>().unwrap(), "{form}\n{offer}");
            assert!(keys.iter().all(|key| !seen.contains(&key.2)), "fresh keys for each try");
            seen.extend(keys.into_iter().map(|key| key.2));
            let is_last = index + 1 == forms.len();
            if is_last {
                assert!(!offer.contains("max-fs") && !offer.contains("rtcp-fb") && !offer.contains("TIAS"));
                assert!(offer.contains("packetization-mode=0") && offer.contains("packetization-mode=1"));
            }
            assert_eq!(negotiation.try_another_offer(488), !is_last);
        }
        negotiation.offer_afresh();
        assert!(negotiation.offer().unwrap().contains(forms[0].split('+').next().unwrap()));
    }
}

#[test]
fn mutated_protected_descriptions_never_panic() {
    let seed = description("RTP/SAVP", &crypto(1, "AES_CM_128_HMAC_SHA1_80", KEY_A));
    crate::mutation::for_each(seed.as_bytes(), 3_000, |bytes| {
        let (mut negotiation, _) = secured(MediaSecurity::Mandatory);
        if let Ok(agreement) = negotiation.handle_answer(bytes) {
            let media = &agreement.media;
            assert!(media.audio.as_ref().is_none_or(|audio| audio.transport.srtp.is_some()));
            assert!(media.video.as_ref().is_none_or(|video| video.transport.srtp.is_some()));
        }
        if let Ok((text, agreement)) = negotiation.answer(bytes) {
            assert!(agreement.media.video.is_none_or(|video| video.transport.srtp.is_some()));
            Session::parse(text.as_bytes()).expect("we write what can be read");
        }
    });
}

#[test]
fn suites_are_offered_in_the_order_wanted_and_no_others_taken() {
    let named = |text: &str| OfferOptions { srtp_suites: text.parse().unwrap(), ..OfferOptions::default() };
    let suites = |text: &str| written(text).into_iter().map(|line| line.1).collect::<Vec<_>>();
    let mut negotiation = with(MediaSecurity::Mandatory, named("AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80"));
    let pair = [SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80];
    assert_eq!(suites(&negotiation.offer().unwrap()), [pair, pair].concat());
    assert!(negotiation.try_another_offer(488), "for a peer that reads one line");
    assert_eq!(suites(&negotiation.offer().unwrap()), [SrtpSuite::AesCm128HmacSha1_80; 2]);
    // As answerer: the peer's first that may be used.
    let lines = crypto(1, "AES_CM_128_HMAC_SHA1_32", KEY_A) + &crypto(2, "AES_CM_128_HMAC_SHA1_80", KEY_B);
    let mut negotiation = with(MediaSecurity::Mandatory, named("AES_CM_128_HMAC_SHA1_80"));
    let (answer, _) = negotiation.answer(description("RTP/SAVP", &lines).as_bytes()).unwrap();
    assert!(answer.contains("a=crypto:2 AES_CM_128_HMAC_SHA1_80"), "{answer}");
    let mut negotiation = with(MediaSecurity::Mandatory, named("AEAD_AES_128_GCM"));
    let refused = negotiation.answer(description("RTP/SAVP", &lines).as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("media.srtp_suites"), "{refused}");
    let mut negotiation = with(MediaSecurity::Opportunistic, named("AEAD_AES_128_GCM"));
    let (answer, _) = negotiation.answer(description("RTP/AVP", &lines).as_bytes()).unwrap();
    assert!(!answer.contains("a=crypto"), "{answer}");
}
