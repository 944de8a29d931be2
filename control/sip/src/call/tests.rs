//! Tests of `call`.

use super::*;
use crate::order::{Account, LocalMedia, MediaSecurity, Preferences, Transport};
use sipcast_contract::Secret;

const ANSWER: &str = "v=0\r\nc=IN IP4 198.51.100.7\r\nm=audio 5000 RTP/AVP 0\r\n\
    m=video 5002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=sendonly\r\n";
const TO: (&str, &str) = ("t", "<sip:8801@x>;tag=one");

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn call() -> Call {
    call_with(MediaSecurity::Off)
}

fn call_with(security: MediaSecurity) -> Call {
    let account = Account {
        login: "1000".into(),
        authentication_name: "1000".into(),
        password: Secret::new("pw".into()),
        domain: "pbx".into(),
        port: 5060,
        outbound_proxy: None,
        transport: Some(Transport::Udp),
        register: false,
        visible_name: None,
    };
    let media =
        LocalMedia { address: "192.0.2.1".parse().unwrap(), audio_port: Some(4000), video_port: Some(4002) };
    Call::new(
        &CallOrder { account, callee: "8801".into(), media, security, preferences: Preferences::default() },
        CallOptions::default(),
    )
    .unwrap()
}

fn started() -> Call {
    let mut call = call();
    call.start(at(0));
    drain(&mut call);
    call
}

fn actions(call: &mut Call) -> Vec<Action> {
    std::iter::from_fn(|| call.poll_action()).collect()
}

/// The actions in short, one word each.
fn drain(call: &mut Call) -> Vec<String> {
    std::iter::from_fn(|| call.poll_action())
        .map(|action| match action {
            Action::SendInvite { addresses, headers, .. } => {
                let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
                let signed = names.iter().any(|name| name.ends_with("Authorization"));
                format!("invite {}{}", addresses.request_uri, if signed { " signed" } else { "" })
            }
            Action::Cancel => "cancel".into(),
            Action::Bye { .. } => "bye".into(),
            Action::Part { .. } => "part".into(),
            Action::ByeFork { to_tag } => format!("fork {to_tag}"),
            Action::SendRefresh { method, .. } => format!("refresh {}", method.as_str()),
            Action::Answer { status, body, .. } => {
                format!("answer {status}{}", if body.is_some() { " sdp" } else { "" })
            }
            Action::Event(CallEvent::Progress { status, .. }) => status.to_string(),
            Action::Event(CallEvent::Media { .. }) => "media".into(),
            Action::Event(CallEvent::Established) => "established".into(),
            Action::Event(CallEvent::Hold(held)) => format!("hold {held}"),
            Action::Event(CallEvent::PictureWanted) => "picture wanted".into(),
            Action::Event(CallEvent::DtmfSent(steps)) => format!("sent {steps}"),
            Action::Event(CallEvent::Ended(end)) => format!("ended {} {}", end.status, end.sip_status),
        })
        .collect()
}

fn respond(call: &mut Call, status: u16, headers: &[(&str, &str)], body: &str) -> Vec<String> {
    call.handle_response(&Response { status, phrase: "", headers, body: body.as_bytes() }, at(1));
    drain(call)
}

fn request(call: &mut Call, method: &str, headers: &[(&str, &str)], body: &str) -> Vec<String> {
    call.handle_request(&PeerRequest { id: 1, method, headers, body: body.as_bytes() }, at(2));
    drain(call)
}

fn established(headers: &[(&str, &str)]) -> Call {
    let mut call = started();
    let headers: Vec<_> = headers.iter().copied().chain([TO]).collect();
    assert_eq!(respond(&mut call, 200, &headers, ANSWER), ["media", "ESTABLISHED", "established"]);
    call
}

#[test]
fn rings_with_early_media_and_ends_by_order() {
    let mut call = call();
    call.start(at(0));
    assert_eq!(drain(&mut call), ["TRYING", "invite sip:8801@pbx"]);
    assert_eq!(respond(&mut call, 100, &[], ""), [""; 0]);
    assert_eq!(respond(&mut call, 180, &[], ""), ["RING"]);
    assert_eq!(respond(&mut call, 183, &[], ANSWER), ["media", "RING_MEDIA"]);
    assert_eq!(respond(&mut call, 180, &[], ""), [""; 0]);
    assert_eq!(respond(&mut call, 200, &[TO], ANSWER), ["ESTABLISHED", "established"]);
    assert_eq!(respond(&mut call, 200, &[TO], ANSWER), [""; 0]);
    assert_eq!(respond(&mut call, 200, &[("To", "<sip:x>;tag=two")], ANSWER), ["fork two"]);
    call.handle_hangup(at(9));
    assert_eq!(drain(&mut call), ["bye", "ended FINISH 200"]);
    call.handle_hangup(at(9));
    assert_eq!(request(&mut call, "INVITE", &[], ANSWER), ["answer 481"]);
}

#[test]
fn digest_redirect_and_interval_are_followed() {
    let mut call = started();
    let challenge = ("WWW-Authenticate", "Digest realm=\"r\", nonce=\"1\", algorithm=SHA-256");
    assert_eq!(respond(&mut call, 401, &[challenge], ""), ["invite sip:8801@pbx signed"]);
    assert_eq!(respond(&mut call, 422, &[("Min-SE", "3600")], ""), ["invite sip:8801@pbx signed"]);
    assert_eq!(respond(&mut call, 302, &[("m", "<sip:b@else:5070>")], ""), ["invite sip:b@else:5070 signed"]);
    assert_eq!(respond(&mut call, 302, &[("m", "<sip:b@else:5070>")], ""), ["ended FAILED 302"]);
    let mut call = started();
    respond(&mut call, 401, &[challenge], "");
    assert_eq!(respond(&mut call, 401, &[challenge], ""), ["ended FAILED 401"]);
    let mut call = started();
    assert_eq!(respond(&mut call, 401, &[], ""), ["ended FAILED 401"]);
    for (status, wanted) in [(486, "ended BUSY 486"), (600, "ended BUSY 600"), (603, "ended FAILED 603")] {
        assert_eq!(respond(&mut started(), status, &[], ""), [wanted]);
    }
}

#[test]
fn endless_retries_end() {
    let mut call = started();
    for number in 0..100 {
        let value = format!("Digest realm=\"{number}\", nonce=\"1\"");
        respond(&mut call, 407, &[("Proxy-Authenticate", &value)], "");
    }
    assert!(call.is_ended());
    assert_eq!(call.invites, INVITES_MAX);
}

#[test]
fn cancel_and_its_races() {
    let mut call = started();
    call.handle_hangup(at(1));
    assert_eq!(drain(&mut call), ["cancel"]);
    assert_eq!(respond(&mut call, 487, &[], ""), ["ended FINISH 487"]);
    let mut call = started();
    call.handle_hangup(at(1));
    drain(&mut call);
    assert_eq!(respond(&mut call, 200, &[TO], ANSWER), ["bye", "ended FINISH 200"]);
    let mut call = started();
    assert_eq!(call.next_timeout(), Some(at(120)));
    call.handle_timeout(at(120));
    assert_eq!(drain(&mut call), ["cancel"]);
    call.handle_timeout(at(152));
    assert_eq!(drain(&mut call), ["ended FAILED 408"]);
    assert_eq!(call.next_timeout(), None);
}

#[test]
fn answers_without_usable_media_end_with_bye() {
    for body in ["", "v=0\r\n", "v=0\r\nm=audio 9 RTP/AVP 77\r\nm=video 0 RTP/AVP 96\r\n", "garbage"] {
        assert_eq!(respond(&mut started(), 200, &[TO], body), ["bye", "ended FAILED 488"], "{body}");
    }
}

#[test]
fn hold_resume_and_late_offer() {
    let mut call = established(&[]);
    let hold = ANSWER.replace("m=video", "a=sendonly\r\nm=video");
    assert_eq!(request(&mut call, "INVITE", &[], &hold), ["answer 200 sdp", "media", "hold true"]);
    assert_eq!(request(&mut call, "UPDATE", &[], ""), ["answer 200"]);
    assert_eq!(request(&mut call, "INVITE", &[], ""), ["answer 200 sdp"]);
    assert_eq!(request(&mut call, "INVITE", &[], ANSWER), ["answer 491"], "an offer of ours is open");
    call.handle_ack(&[], ANSWER.as_bytes());
    assert_eq!(drain(&mut call), ["media", "hold false"]);
    assert_eq!(request(&mut call, "UPDATE", &[], ANSWER), ["answer 200 sdp"]);
    assert_eq!(request(&mut call, "INVITE", &[], "v=0\r\nm=audio 9 RTP/SAVP 0\r\n"), ["answer 488"]);
    assert_eq!(request(&mut call, "INVITE", &[("c", "text/plain")], "x"), ["answer 415"]);
    assert_eq!(request(&mut call, "OPTIONS", &[], ""), ["answer 200"]);
    assert_eq!(request(&mut call, "REFER", &[], ""), ["answer 405"]);
    assert_eq!(request(&mut call, "BYE", &[], ""), ["answer 200", "ended FINISH 200"]);
}

#[test]
fn sessions_are_refreshed_or_ended() {
    let mut call = established(&[("x", "100;refresher=uac"), ("Allow", "INVITE, UPDATE")]);
    assert_eq!(call.next_timeout(), Some(at(51)));
    call.handle_timeout(at(51));
    assert_eq!(drain(&mut call), ["refresh UPDATE"]);
    let refused = |status| Response { status, phrase: "", headers: &[], body: b"" };
    call.handle_refresh_response(&refused(405), at(51));
    assert_eq!(drain(&mut call), ["refresh INVITE"]);
    assert_eq!(request(&mut call, "INVITE", &[], ANSWER), ["answer 491"], "glare");
    call.handle_refresh_response(&refused(491), at(51));
    let retry_at = call.next_timeout().unwrap();
    let wait = retry_at.since(at(51));
    assert!((Duration::from_millis(2_100)..=Duration::from_secs(4)).contains(&wait), "{wait:?}");
    call.handle_timeout(retry_at);
    assert_eq!(drain(&mut call), ["refresh INVITE"]);
    let headers = [("Session-Expires", "100;refresher=uac")];
    let accepted = Response { status: 200, phrase: "", headers: &headers, body: ANSWER.as_bytes() };
    call.handle_refresh_response(&accepted, at(60));
    assert_eq!(drain(&mut call), ["media"], "a refresh offers only what was agreed on, so less may come");
    assert_eq!(call.next_timeout(), Some(at(110)));
    call.handle_timeout(at(110));
    drain(&mut call);
    call.handle_refresh_response(&refused(481), at(110));
    call.handle_timeout(at(110));
    assert_eq!(drain(&mut call), ["bye", "ended FAILED 408"]);
}

#[test]
fn too_small_interval_changes_nothing() {
    let mut call = established(&[]);
    let hold = ANSWER.replace("m=video", "a=sendonly\r\nm=video");
    let headers = [("Session-Expires", "20"), ("Supported", "timer")];
    assert_eq!(request(&mut call, "INVITE", &headers, &hold), ["answer 422"]);
    assert!(!call.held && !call.negotiation.offer_pending());
}

#[test]
fn mutated_answers_and_offers_never_panic() {
    crate::mutation::for_each(ANSWER.as_bytes(), 1_000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let headers = [("Contact", &*text), ("To", &*text), ("Session-Expires", &*text), ("Allow", &*text)];
        let mut call = started();
        for status in [183, 302, 422, 200] {
            call.handle_response(&Response { status, phrase: &text, headers: &headers, body: bytes }, at(1));
        }
        let mut call = established(&[]);
        for method in ["INVITE", "UPDATE", "INFO"] {
            call.handle_request(&PeerRequest { id: 1, method, headers: &headers, body: bytes }, at(2));
        }
        call.handle_ack(&[], bytes);
        call.handle_timeout(at(100_000));
    });
}

const FORK_A: (&str, &str) = ("To", "<sip:8801@x>;tag=a");
const FORK_B: (&str, &str) = ("To", "<sip:8801@x>;tag=b");

fn other(answer: &str) -> String {
    answer.replace("5000", "7000").replace("5002", "7002")
}

/// RTP port of the audio that was told last.
fn audio_port(call: &Call) -> u16 {
    call.media.as_ref().unwrap().audio.as_ref().unwrap().transport.remote_rtp.unwrap().port()
}

#[test]
fn media_follows_the_last_fork_and_in_the_end_the_answering_one() {
    let mut call = started();
    assert_eq!(respond(&mut call, 183, &[FORK_A], ANSWER), ["media", "RING_MEDIA"]);
    assert_eq!(respond(&mut call, 183, &[FORK_B], &other(ANSWER)), ["media"]);
    assert_eq!(audio_port(&call), 7000);
    // The first one again, with the same description.
    assert_eq!(respond(&mut call, 183, &[FORK_A], ANSWER), ["media"]);
    assert_eq!(audio_port(&call), 5000);
    // The other one answers, without saying again what it said reliably.
    assert_eq!(respond(&mut call, 200, &[FORK_B], ""), ["media", "ESTABLISHED", "established"]);
    assert_eq!(audio_port(&call), 7000);
    assert_eq!(respond(&mut call, 200, &[FORK_A], ANSWER), ["fork a"]);
    // What the answering fork agreed on is what goes on.
    assert_eq!(request(&mut call, "UPDATE", &[], &other(ANSWER))[0], "answer 200 sdp");
    assert_eq!(audio_port(&call), 7000);
}

#[test]
fn an_intermediary_that_changes_the_tag_keeps_its_early_answer() {
    let mut call = started();
    respond(&mut call, 183, &[FORK_A], ANSWER);
    assert_eq!(respond(&mut call, 200, &[FORK_B], ""), ["ESTABLISHED", "established"]);
    assert_eq!(audio_port(&call), 5000);
}

#[test]
fn forks_are_bounded_and_the_answer_still_counts() {
    let mut call = started();
    for number in 0..3 * FORKS_MAX {
        let to = format!("<sip:8801@x>;tag=f{number}");
        respond(&mut call, 183, &[("To", &to)], ANSWER);
        assert!(call.forks.len() < FORKS_MAX);
    }
    let to = format!("<sip:8801@x>;tag=f{}", 3 * FORKS_MAX);
    respond(&mut call, 200, &[("To", &to)], &other(ANSWER));
    assert_eq!(audio_port(&call), 7000);
}

#[test]
fn an_early_dialog_takes_an_update_once_our_offer_is_answered() {
    let mut call = started();
    let from = ("f", "<sip:8801@x>;tag=a");
    assert_eq!(request(&mut call, "UPDATE", &[from], ANSWER), ["answer 491"], "RFC 3311 §5.2");
    respond(&mut call, 183, &[FORK_A], ANSWER);
    assert_eq!(request(&mut call, "INVITE", &[from], ANSWER), ["answer 491"]);
    let moved = other(ANSWER);
    assert_eq!(request(&mut call, "UPDATE", &[from], &moved), ["answer 200 sdp", "media"]);
    assert_eq!(audio_port(&call), 7000);
    assert_eq!(request(&mut call, "UPDATE", &[from], ""), ["answer 200"]);
    assert_eq!(respond(&mut call, 200, &[FORK_A], ""), ["ESTABLISHED", "established"]);
    assert_eq!(audio_port(&call), 7000);
}

/// A call whose refresh by `allow` methods is out at 450 s.
fn refreshing(allow: &str) -> (Call, String) {
    let mut call = established(&[("Session-Expires", "900;refresher=uac"), ("Allow", allow)]);
    call.handle_timeout(at(451));
    let out = drain(&mut call).pop().unwrap();
    (call, out)
}

fn refresh_answer(call: &mut Call, status: u16, now: u64) -> Vec<String> {
    call.handle_refresh_response(&Response { status, phrase: "", headers: &[], body: b"" }, at(now));
    drain(call)
}

#[test]
fn glare_meets_491_both_ways_and_is_tried_again_in_time() {
    let (mut call, out) = refreshing("INVITE");
    assert_eq!(out, "refresh INVITE");
    assert_eq!(request(&mut call, "INVITE", &[], ANSWER), ["answer 491"]);
    assert_eq!(request(&mut call, "UPDATE", &[], ANSWER), ["answer 491"]);
    assert_eq!(refresh_answer(&mut call, 491, 452), [""; 0]);
    // RFC 3261 §14.1: the owner of the Call-ID waits 2.1 to 4 s.
    let again = call.next_timeout().unwrap();
    assert!(
        (Timestamp::from_millis(454_100)..=Timestamp::from_millis(456_000)).contains(&again),
        "{again:?}"
    );
    call.handle_timeout(again);
    assert_eq!(drain(&mut call), ["refresh INVITE"]);
}

/// Method and body of the refresh that is decided on next.
fn refresh(call: &mut Call) -> Option<(RefreshMethod, String)> {
    std::iter::from_fn(|| call.poll_action()).find_map(|action| match action {
        Action::SendRefresh { method, body, .. } => Some((method, body.unwrap_or_default())),
        _ => None,
    })
}

fn video_direction(description: &str) -> Option<&str> {
    let video = &description[description.find("m=video")?..];
    video.lines().find_map(|line| {
        let attribute = line.strip_prefix("a=")?;
        ["sendrecv", "sendonly", "recvonly", "inactive"].contains(&attribute).then_some(attribute)
    })
}

const BOTH_WAYS: &str = "v=0\r\nc=IN IP4 198.51.100.7\r\nm=audio 5000 RTP/AVP 0\r\n\
    m=video 5002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=sendrecv\r\n";

#[test]
fn pictures_for_the_peer_are_offered_by_re_invite_and_withdrawn() {
    let mut call = established(&[("Allow", "INVITE, UPDATE")]);
    call.set_sends_pictures(true);
    let (method, offer) = refresh(&mut call).expect("a re-INVITE");
    assert_eq!((method, video_direction(&offer)), (RefreshMethod::Invite, Some("sendrecv")));
    assert!(offer.contains("m=audio 4000 RTP/AVP 0\r\n"), "what was agreed on goes on: {offer}");
    assert_eq!(request(&mut call, "INVITE", &[], ANSWER), ["answer 491"], "glare");
    assert_eq!(refresh_answer(&mut call, 491, 10), [""; 0]);
    let retry_at = call.next_timeout().expect("tried again");
    call.handle_timeout(retry_at);
    assert_eq!(
        refresh(&mut call).and_then(|(_, offer)| video_direction(&offer).map(str::to_owned)),
        Some("sendrecv".into())
    );
    let accepted = Response { status: 200, phrase: "", headers: &[], body: BOTH_WAYS.as_bytes() };
    call.handle_refresh_response(&accepted, at(20));
    let sends = |call: &Call| {
        call.media.as_ref().and_then(|media| media.video.as_ref()).map(|v| v.transport.direction.sends())
    };
    assert_eq!((drain(&mut call), sends(&call)), (vec!["media".to_owned()], Some(true)));
    // Answers keep to it as well.
    call.handle_request(
        &PeerRequest { id: 1, method: "INVITE", headers: &[], body: BOTH_WAYS.as_bytes() },
        at(21),
    );
    assert!(sends(&call) == Some(true) && !drain(&mut call).is_empty());
    call.set_sends_pictures(true);
    assert_eq!(drain(&mut call), [""; 0], "it is so already");
    call.set_sends_pictures(false);
    let (_, offer) = refresh(&mut call).expect("a re-INVITE");
    assert_eq!(video_direction(&offer), Some("recvonly"));
    let accepted = Response { status: 200, phrase: "", headers: &[], body: ANSWER.as_bytes() };
    call.handle_refresh_response(&accepted, at(30));
    assert_eq!((drain(&mut call), sends(&call)), (vec!["media".to_owned()], Some(false)));
}

#[test]
fn a_peer_that_takes_no_pictures_is_asked_once_and_keeps_its_call() {
    let mut call = started();
    call.set_sends_pictures(true);
    assert_eq!(drain(&mut call), [""; 0], "not before the answer");
    respond(&mut call, 200, &[TO], ANSWER);
    assert_eq!(drain(&mut call), [""; 0]);
    let mut call = established(&[]);
    call.set_sends_pictures(true);
    assert_eq!(drain(&mut call), ["refresh INVITE"]);
    assert_eq!(refresh_answer(&mut call, 488, 10), [""; 0]);
    assert!(call.is_established());
    request(&mut call, "INVITE", &[], "");
    assert_eq!(call.negotiation.options.video_direction, sipcast_contract::Direction::RecvOnly);
    let audio = "v=0\r\nc=IN IP4 198.51.100.7\r\nm=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n";
    let mut call = started();
    respond(&mut call, 200, &[TO], audio);
    call.set_sends_pictures(true);
    assert_eq!(drain(&mut call), [""; 0], "without video there is nothing to ask");
}

#[test]
fn a_refresh_of_the_peer_saves_ours() {
    let (mut call, _) = refreshing("INVITE");
    refresh_answer(&mut call, 491, 452);
    assert_eq!(request(&mut call, "INVITE", &[("k", "timer")], ANSWER)[0], "answer 200 sdp");
    assert!(call.refresh.is_none());
}

#[test]
fn an_update_of_ours_has_no_offer_that_could_cross() {
    let (mut call, out) = refreshing("INVITE, UPDATE");
    assert_eq!(out, "refresh UPDATE");
    assert_eq!(request(&mut call, "INVITE", &[("k", "timer")], ANSWER)[0], "answer 200 sdp");
    assert_eq!(refresh_answer(&mut call, 200, 453), [""; 0]);
    assert!(call.is_established());
}

#[test]
fn info_packages_are_refused_and_older_info_is_taken() {
    let mut call = established(&[]);
    assert_eq!(request(&mut call, "INFO", &[("Info-Package", "trickle-ice")], "x"), ["answer 469"]);
    assert_eq!(
        request(&mut call, "INFO", &[("Content-Type", "application/media_control+xml")], "x"),
        ["answer 200"]
    );
    let update = crate::dtmf_info::PICTURE_FAST_UPDATE;
    assert_eq!(
        request(&mut call, "INFO", &[("Content-Type", "application/media_control+xml")], update),
        ["answer 200", "picture wanted"]
    );
    assert_eq!(request(&mut call, "REFER", &[("Refer-To", "<sip:x@y>")], ""), ["answer 405"]);
}

/// The first `m=` line of each INVITE that is out, and whether it names keys.
fn offers(call: &mut Call) -> Vec<String> {
    std::iter::from_fn(|| call.poll_action())
        .filter_map(|action| match action {
            Action::SendInvite { body, .. } => {
                let line = body.split("\r\n").find(|line| line.starts_with("m="))?;
                let proto = line.split(' ').nth(2)?.to_owned();
                let formats = line.split(' ').skip(3).count();
                let keys = body.matches("a=crypto").count();
                Some(format!(
                    "{proto} {}{}",
                    if formats > 5 { "all" } else { "few" },
                    if keys > 0 { " keys" } else { "" }
                ))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn refused_media_are_offered_in_other_forms_and_then_to_other_targets() {
    for (security, forms) in [
        (MediaSecurity::Off, &["RTP/AVP few"][..]),
        (MediaSecurity::Opportunistic, &["RTP/SAVP all keys", "RTP/AVP all", "RTP/AVP few"]),
        (MediaSecurity::Mandatory, &["RTP/SAVP few keys"]),
    ] {
        let mut call = call_with(security);
        call.start(at(0));
        let first = offers(&mut call).remove(0);
        call.handle_response(
            &Response { status: 302, phrase: "", headers: &[("m", "<sip:a@x>, <sip:b@x>")], body: b"" },
            at(1),
        );
        assert_eq!(offers(&mut call), std::slice::from_ref(&first));
        let refuse = |call: &mut Call, status| {
            call.handle_response(&Response { status, phrase: "", headers: &[], body: b"" }, at(1));
        };
        for (form, status) in forms.iter().zip([488, 606, 415]) {
            refuse(&mut call, status);
            assert_eq!(offers(&mut call), [*form], "{security:?}");
        }
        refuse(&mut call, 488);
        assert_eq!(offers(&mut call), [first], "the next target is offered everything");
        for _ in forms {
            refuse(&mut call, 488);
            assert_eq!(offers(&mut call).len(), 1);
        }
        refuse(&mut call, 488);
        assert_eq!(drain(&mut call), ["ended FAILED 488"]);
        assert!(!format!("{call:?}").contains("inline:"));
    }
}

/// An answer that refuses all that was offered (RFC 3264 §6).
const NO_MEDIA: &str = "v=0\r\nm=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n";

/// A call to a peer that has answered without media and knows of our BYE, or not yet.
fn refused_by_answer(knows: bool) -> Call {
    let mut call = call_with(MediaSecurity::Opportunistic);
    call.start(at(0));
    drain(&mut call);
    assert_eq!(respond(&mut call, 200, &[TO], NO_MEDIA), ["part"]);
    if knows {
        let authentication = call.authentication().clone();
        call.handle_parted(authentication, at(2));
    }
    call
}

#[test]
fn an_answer_without_media_is_followed_by_the_next_offer() {
    for (security, forms) in [
        (MediaSecurity::Off, &["RTP/AVP few"][..]),
        (MediaSecurity::Opportunistic, &["RTP/SAVP all keys", "RTP/AVP all", "RTP/AVP few"]),
        (MediaSecurity::Mandatory, &["RTP/SAVP few keys"]),
    ] {
        let mut call = call_with(security);
        call.start(at(0));
        assert_eq!(offers(&mut call).len(), 1);
        for form in forms {
            assert_eq!(respond(&mut call, 200, &[TO], NO_MEDIA), ["part"]);
            assert_eq!(offers(&mut call), [""; 0], "not before the peer has heard of the end");
            assert_eq!(respond(&mut call, 200, &[FORK_B], ANSWER), [""; 0], "of the former dialog");
            let authentication = call.authentication().clone();
            call.handle_parted(authentication, at(2));
            assert_eq!(offers(&mut call), [*form], "{security:?}");
            assert_eq!(call.next_timeout(), Some(at(122)), "it may ring anew");
        }
        call.handle_response(
            &Response { status: 200, phrase: "", headers: &[TO], body: NO_MEDIA.as_bytes() },
            at(3),
        );
        let actions = actions(&mut call);
        assert!(matches!(actions[0], Action::Bye { .. }), "{actions:?}");
        let Some(Action::Event(CallEvent::Ended(end))) = actions.last() else { panic!("{actions:?}") };
        assert!(end.reason.contains("refused all media (port 0)"), "{}", end.reason);
    }
    // One that takes one of the two has taken the offer.
    let half = ANSWER.replace("m=video 5002", "m=video 0");
    assert_eq!(respond(&mut started(), 200, &[TO], &half), ["media", "ESTABLISHED", "established"]);
    // So has one that agreed early and thinks better of it.
    let mut call = started();
    respond(&mut call, 183, &[TO], ANSWER);
    assert_eq!(respond(&mut call, 200, &[TO], NO_MEDIA), ["bye", "ended FAILED 488"]);
}

#[test]
fn the_next_offer_is_answered_like_the_first() {
    let mut call = refused_by_answer(true);
    drain(&mut call);
    assert_eq!(respond(&mut call, 488, &[], "").len(), 1, "the offer after that");
    assert_eq!(respond(&mut call, 200, &[FORK_B], ANSWER), ["media", "ESTABLISHED", "established"]);
}

#[test]
fn what_comes_between_two_offers_is_seen_to() {
    let mut call = refused_by_answer(false);
    call.handle_timeout(at(5));
    assert_eq!(drain(&mut call), [""; 0]);
    call.handle_timeout(at(6));
    assert_eq!(offers(&mut call), ["RTP/SAVP all keys"], "no answer to the BYE");
    let late = call.authentication().clone();
    call.handle_parted(late, at(7));
    assert_eq!(drain(&mut call), [""; 0], "once only");

    let mut call = refused_by_answer(false);
    call.handle_hangup(at(2));
    assert_eq!(drain(&mut call), ["ended FINISH 200"], "the BYE is out");
    assert!(call.next_timeout().is_none());

    let mut call = refused_by_answer(false);
    assert_eq!(request(&mut call, "INFO", &[], ""), ["answer 481"]);
    assert_eq!(request(&mut call, "BYE", &[], ""), ["answer 200"], "it crosses ours");
    assert!(!call.is_ended());

    let mut call = refused_by_answer(false);
    call.handle_failure(503, "no way");
    assert_eq!(drain(&mut call), ["ended FAILED 503"]);
}

#[test]
fn an_unprotected_answer_ends_a_mandatory_call_with_the_reason() {
    let mut call = call_with(MediaSecurity::Mandatory);
    call.start(at(0));
    drain(&mut call);
    call.handle_response(
        &Response { status: 200, phrase: "", headers: &[TO], body: ANSWER.as_bytes() },
        at(1),
    );
    let actions: Vec<_> = std::iter::from_fn(|| call.poll_action()).collect();
    assert!(matches!(actions[0], Action::Bye { .. }));
    let Some(Action::Event(CallEvent::Ended(end))) = actions.last() else { panic!("{actions:?}") };
    assert_eq!(end.sip_status, 488);
    assert!(end.reason.contains("audio (RTP/AVP) cannot be protected"), "{}", end.reason);
}

#[test]
fn descriptions_are_found_among_other_parts() {
    const MIXED: (&str, &str) = ("Content-Type", "multipart/mixed;boundary=b");
    let wrapped = |sdp: &str| {
        format!(
            "--b\r\nContent-Type: application/x\r\n\r\n\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b--"
        )
    };
    let answer = wrapped(ANSWER);
    let mut call = started();
    let early = Response { status: 183, phrase: "", headers: &[MIXED, TO], body: answer.as_bytes() };
    call.handle_response(&early, at(1));
    assert!(actions(&mut call).iter().any(|action| matches!(action, Action::Event(CallEvent::Media { .. }))));
    call.handle_response(&Response { status: 200, ..early }, at(2));
    assert!(call.is_established());
    actions(&mut call);
    let hold = wrapped(&ANSWER.replace("a=sendonly", "a=inactive"));
    let request = |body| PeerRequest { id: 1, method: "INVITE", headers: &[MIXED], body };
    call.handle_request(&request(hold.as_bytes()), at(3));
    let answered = |call: &mut Call| {
        actions(call).into_iter().find_map(|action| match action {
            Action::Answer { status, headers, body, .. } => Some((status, headers, body)),
            _ => None,
        })
    };
    let (status, _, body) = answered(&mut call).unwrap();
    assert!(status == 200 && body.is_some_and(|sdp| sdp.contains("a=inactive")));
    call.handle_ack(&[], b"");
    let demanding = hold
        .replace("application/x\r\n", "application/x\r\nContent-Disposition: signal;handling=required\r\n");
    call.handle_request(&request(demanding.as_bytes()), at(3));
    let (status, headers, _) = answered(&mut call).unwrap();
    assert!(status == 415 && headers.iter().any(|(name, _)| *name == "Accept"), "{headers:?}");
    // Cut short: what is wrong is said, and the session goes on as it was.
    call.handle_request(&request(&hold.as_bytes()[..hold.len() - 5]), at(4));
    let (status, headers, _) = answered(&mut call).unwrap();
    let warning = headers.iter().find(|(name, _)| *name == "Warning");
    assert!(status == 400 && warning.is_some_and(|(_, text)| text.contains("last boundary")), "{headers:?}");
    assert!(call.is_established());

    let mut call = started();
    let broken = Response { status: 200, phrase: "", headers: &[MIXED, TO], body: b"--c--" };
    call.handle_response(&broken, at(1));
    let end = actions(&mut call).into_iter().find_map(|action| match action {
        Action::Event(CallEvent::Ended(end)) => Some(end),
        _ => None,
    });
    assert!(end.is_some_and(|end| end.reason.contains("the answer cannot be read: the boundary")));
}
