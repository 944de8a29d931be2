//! SIP (RFC 3261): a stream's bytes through framing, screening and parsing; and a call that is fed whatever its peer
//! may say, in any order.

use std::time::Duration;

use sipcast_contract::{Secret, Timestamp};
use sipcast_sip::call::{Action, Call, CallOptions, PeerRequest, Response};
use sipcast_sip::event::CallEvent;
use sipcast_sip::order::Preferences;
use sipcast_sip::{Account, CallOrder, MediaSecurity};

use crate::input::Input;
use crate::sdp;

/// Bytes of one connection.
pub fn stream(data: &[u8]) {
    let whole = sipcast_control::sip_endpoint::fuzz::stream(data, data.len().max(1));
    let in_pieces = sipcast_control::sip_endpoint::fuzz::stream(data, 7);
    assert_eq!(whole, in_pieces, "how bytes arrive changes nothing");
}

/// Messages of a peer, each a byte (what it is to the call, time) and a counted text.
pub fn call(data: &[u8]) {
    let mut input = Input::new(data);
    let mut call = Call::new(&order(), CallOptions::default()).expect("the order is valid");
    let mut now = Timestamp::from_millis(1000);
    call.start(now);
    drain_events(&mut call);
    let mut is_over = call.is_ended();
    while !input.is_empty() {
        let op = input.byte();
        now = now + Duration::from_millis(u64::from(op >> 4) * 500);
        let text = input.counted(4096);
        let (start_line, headers, body) = split(text);
        match op & 7 {
            0 => call.handle_hangup(now),
            1 => call.handle_ack(&headers, body),
            2 => call.handle_failure(503, "no way"),
            kind => {
                let mut words = start_line.splitn(3, ' ');
                let (first, second, phrase) = (words.next(), words.next(), words.next().unwrap_or(""));
                let status =
                    second.and_then(|word| word.parse().ok()).filter(|status| (100..700).contains(status));
                match (first, status) {
                    (Some("SIP/2.0"), Some(status)) => {
                        let response = Response { status, phrase, headers: &headers, body };
                        match kind {
                            3 => call.handle_refresh_response(&response, now),
                            _ => call.handle_response(&response, now),
                        }
                    }
                    (Some(method), _) => {
                        let request = PeerRequest { id: 1, method, headers: &headers, body };
                        call.handle_request(&request, now);
                    }
                    _ => {}
                }
            }
        }
        if call.next_timeout().is_some_and(|at| at <= now) {
            call.handle_timeout(now);
        }
        let told = drain_events(&mut call);
        assert!(!(is_over && told), "nothing follows the end");
        is_over = call.is_ended();
    }
}

/// Takes all actions; whether an event was among them.
fn drain_events(call: &mut Call) -> bool {
    let (mut count, mut told) = (0, false);
    while let Some(action) = call.poll_action() {
        count += 1;
        assert!(count < 100, "actions come to an end");
        match action {
            Action::SendInvite { headers, .. }
            | Action::Bye { headers }
            | Action::SendRefresh { headers, .. }
            | Action::Answer { headers, .. } => {
                for (name, value) in headers {
                    assert!(!value.contains(['\r', '\n']), "{name}: a header was broken into two");
                }
            }
            Action::Event(event) => {
                told = true;
                assert!(!format!("{event:?}").contains("hunter2"), "an event holds no password");
                if let CallEvent::Ended(end) = event {
                    assert!(end.status.is_final(), "an end is final");
                }
            }
            _ => {}
        }
    }
    told
}

fn split(text: &[u8]) -> (&str, Vec<(&str, &str)>, &[u8]) {
    let end = text.windows(4).position(|end| end == b"\r\n\r\n");
    let (head, body) = end.map_or((text, &[][..]), |end| (&text[..end], &text[end + 4..]));
    let Ok(head) = std::str::from_utf8(head) else { return ("", Vec::new(), body) };
    let mut lines = head.split("\r\n");
    let start_line = lines.next().unwrap_or("");
    let headers =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
    (start_line, headers.collect(), body)
}

fn order() -> CallOrder {
    CallOrder {
        account: Account {
            login: "1000".to_owned(),
            authentication_name: "1000".to_owned(),
            password: Secret::new("hunter2".to_owned()),
            domain: "pbx.example".to_owned(),
            port: 5060,
            outbound_proxy: None,
            transport: None,
            register: false,
            visible_name: None,
        },
        callee: "8801".to_owned(),
        media: sdp::local(),
        security: MediaSecurity::Off,
        preferences: Preferences::default(),
    }
}
