//! From SIP responses to call statuses.
//! Takes: status codes, reason phrases, Reason and Warning values. Gives: [`CallStatus`] and [`CallEnd`].
//! Leaves out: when a response counts (`call`).

use crate::event::{CallEnd, CallStatus};

/// Characters of a reason that are kept.
pub const REASON_CHARACTERS_MAX: usize = 200;

/// Status shown for a provisional response.
pub const fn of_provisional(sip_status: u16, has_media: bool) -> CallStatus {
    match (sip_status, has_media) {
        (100, _) => CallStatus::Trying,
        (_, true) => CallStatus::RingMedia,
        (180, false) => CallStatus::Ring,
        (_, false) => CallStatus::SessionProgress,
    }
}

/// Status shown for a final failure. `cancelled`: we had sent CANCEL, so that 487, and any refusal that crossed it,
/// is what was ordered.
pub const fn of_final(sip_status: u16, cancelled: bool) -> CallStatus {
    match sip_status {
        _ if cancelled => CallStatus::Finish,
        // 600 is busy everywhere (RFC 3261 §21.6.1).
        486 | 600 => CallStatus::Busy,
        _ => CallStatus::Failed,
    }
}

/// What a final failure response says beside its status.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailureText<'a> {
    /// The reason phrase of the status line.
    pub phrase: &'a str,
    /// Reason header (RFC 3326), the first.
    pub reason: Option<&'a str>,
    /// Warning header (RFC 3261 §20.43), the first.
    pub warning: Option<&'a str>,
}

/// The end of a call that a final failure response makes.
pub fn end_of_failure(sip_status: u16, text: FailureText<'_>, cancelled: bool) -> CallEnd {
    let phrase = sanitized(text.phrase);
    let mut reason = if phrase.is_empty() { default_phrase(sip_status).to_owned() } else { phrase };
    for further in
        [text.reason.and_then(reason_text), text.warning.and_then(quoted_text)].into_iter().flatten()
    {
        if !further.is_empty() && !reason.contains(&further) {
            reason.push_str("; ");
            reason.push_str(&further);
        }
    }
    CallEnd { status: of_final(sip_status, cancelled), sip_status, reason: sanitized(&reason) }
}

/// The end that the peer's BYE makes. `last_sip_status` is the last response before it.
pub fn end_of_bye(last_sip_status: u16, reason: Option<&str>) -> CallEnd {
    let reason = reason.and_then(reason_text).filter(|text| !text.is_empty());
    let reason =
        reason.map_or_else(|| "ended by the peer".to_owned(), |text| format!("ended by the peer; {text}"));
    CallEnd { status: CallStatus::Finish, sip_status: last_sip_status, reason }
}

/// The end that the order makes.
pub fn end_of_order(last_sip_status: u16) -> CallEnd {
    CallEnd { status: CallStatus::Finish, sip_status: last_sip_status, reason: "ended by order".to_owned() }
}

/// An end without a response from the peer: transport, timeout, our own refusal.
pub fn end_of_trouble(sip_status: u16, reason: &str) -> CallEnd {
    CallEnd { status: CallStatus::Failed, sip_status, reason: sanitized(reason) }
}

/// Text from the network for people: one line, no control or format characters, bounded.
pub fn sanitized(text: &str) -> String {
    // Bidirectional overrides and zero-width characters can make a log line lie.
    let shown = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.trim().chars().filter(shown).take(REASON_CHARACTERS_MAX).collect()
}

/// `text=` of a Reason value, else its protocol and cause: `Q.850 16`.
fn reason_text(value: &str) -> Option<String> {
    if let Some(at) = value.to_ascii_lowercase().find("text=") {
        let text = &value[at + "text=".len()..];
        let text = if text.trim_start().starts_with('"') {
            quoted_text(text)?
        } else {
            sanitized(text.split([';', ',']).next().unwrap_or(""))
        };
        return Some(text);
    }
    let protocol = value.split(';').next()?.trim();
    let cause = value.split(';').find_map(|part| {
        let (name, cause) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("cause").then(|| cause.trim())
    });
    Some(sanitized(&format!("{protocol} {}", cause.unwrap_or(""))))
}

/// The first quoted-string of a value, unescaped.
fn quoted_text(value: &str) -> Option<String> {
    let (_, string) = value.split_once('"')?;
    let mut text = String::new();
    let mut characters = string.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
        if text.len() > 4 * REASON_CHARACTERS_MAX {
            break;
        }
    }
    Some(sanitized(&text))
}

/// Phrases of RFC 3261 §21 and its successors for responses that bring none.
pub const fn default_phrase(sip_status: u16) -> &'static str {
    match sip_status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match sip_status / 100 {
            3 => "Redirected",
            4 => "Request Failure",
            5 => "Server Failure",
            6 => "Global Failure",
            _ => "No Response",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_word() {
        for (status, media, word) in [
            (100, false, "TRYING"),
            (180, false, "RING"),
            (180, true, "RING_MEDIA"),
            (181, false, "SESSION_PROGRESS"),
            (183, false, "SESSION_PROGRESS"),
            (183, true, "RING_MEDIA"),
        ] {
            assert_eq!(of_provisional(status, media).as_str(), word, "{status}");
        }
        for (status, word) in
            [(486, "BUSY"), (600, "BUSY"), (487, "FAILED"), (408, "FAILED"), (603, "FAILED")]
        {
            assert_eq!(of_final(status, false).as_str(), word, "{status}");
            assert_eq!(of_final(status, true).as_str(), "FINISH", "{status}");
        }
        for status in 300..700 {
            assert!(of_final(status, false).is_final());
            assert!(!default_phrase(status).is_empty());
        }
    }

    #[test]
    fn reasons_are_readable_and_safe() {
        let text = FailureText {
            phrase: "Busy\r\nX-Evil: 1\u{202e}",
            reason: Some("Q.850;cause=17;text=\"User \\\"busy\\\"\""),
            warning: Some("399 gw \"line down\""),
        };
        let end = end_of_failure(486, text, false);
        assert_eq!(end.reason, "BusyX-Evil: 1; User \"busy\"; line down");
        assert_eq!(end_of_failure(480, FailureText::default(), false).reason, "Temporarily Unavailable");
        assert_eq!(end_of_bye(200, Some("Q.850;cause=16")).reason, "ended by the peer; Q.850 16");
        assert_eq!(end_of_bye(200, None).status, CallStatus::Finish);
        let long = "é".repeat(5_000);
        assert_eq!(sanitized(&long).chars().count(), REASON_CHARACTERS_MAX);
    }

    #[test]
    fn mutated_headers_never_panic() {
        crate::mutation::for_each("Q.850;cause=16;text=\"ü\\\"x\"; İtext=".as_bytes(), 5_000, |bytes| {
            let value = String::from_utf8_lossy(bytes);
            let text = FailureText { phrase: &value, reason: Some(&value), warning: Some(&value) };
            assert!(!end_of_failure(500, text, false).reason.contains(['\r', '\n']));
        });
    }
}
