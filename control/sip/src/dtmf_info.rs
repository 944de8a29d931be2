//! Bodies of in-dialog INFO requests: DTMF for peers without telephone-event, and the keyframe request.
//! Takes: a digit and its duration. Gives: content type and body; reads the same from peers.
//! Leaves out: RFC 4733 events (dataplane).

use std::time::Duration;

use sipcast_contract::dtmf::Digit;

/// Content type of [`relay_body`].
pub const RELAY_CONTENT_TYPE: &str = "application/dtmf-relay";
/// Content type of [`PICTURE_FAST_UPDATE`].
pub const MEDIA_CONTROL_CONTENT_TYPE: &str = "application/media_control+xml";
/// Asks the peer for an IDR picture (RFC 5168 §7.1), for peers that take no PLI and no FIR.
pub const PICTURE_FAST_UPDATE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\r\n<media_control>\r\n\
     <vc_primitive>\r\n<to_encoder>\r\n<picture_fast_update/>\r\n</to_encoder>\r\n</vc_primitive>\r\n</media_control>\r\n";

/// Shortest and longest duration written, in ms: below 40 exchanges do not hear the digit (ITU-T Q.24).
const DURATION_MS: std::ops::RangeInclusive<u128> = 40..=5_000;

/// Body of `application/dtmf-relay` for one digit.
pub fn relay_body(digit: Digit, duration: Duration) -> String {
    let duration_ms = duration.as_millis().clamp(*DURATION_MS.start(), *DURATION_MS.end());
    format!("Signal={}\r\nDuration={duration_ms}\r\n", digit.as_char())
}

/// Reads such a body from a peer; `None` without a legal signal. A missing duration is 100 ms.
pub fn parse_relay_body(body: &[u8]) -> Option<(Digit, Duration)> {
    let text = std::str::from_utf8(body.get(..body.len().min(1024))?).ok()?;
    let get = |wanted: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(name, value)| name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim()))
    };
    let value = get("Signal")?;
    let mut characters = value.chars();
    let digit = match (characters.next(), characters.next()) {
        (Some(digit), None) => Digit::from_char(digit)?,
        // Some peers write the event number.
        _ if value == "10" => Digit::from_char('*')?,
        _ if value == "11" => Digit::from_char('#')?,
        _ => return None,
    };
    let duration_ms = get("Duration").and_then(|value| value.parse().ok()).unwrap_or(100_u64).min(5_000);
    Some((digit, Duration::from_millis(duration_ms)))
}

/// Whether an INFO body of a peer asks us for a picture (RFC 5168 §4).
pub fn is_picture_fast_update(body: &[u8]) -> bool {
    body.windows(b"picture_fast_update".len()).take(16 * 1024).any(|part| part == b"picture_fast_update")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_round_trip() {
        for name in "0123456789*#ABCD".chars() {
            let digit = Digit::from_char(name).unwrap();
            let body = relay_body(digit, Duration::from_millis(160));
            assert_eq!(body, format!("Signal={name}\r\nDuration=160\r\n"));
            assert_eq!(parse_relay_body(body.as_bytes()), Some((digit, Duration::from_millis(160))));
        }
        assert_eq!(relay_body(Digit::from_char('a').unwrap(), Duration::ZERO), "Signal=A\r\nDuration=40\r\n");
        assert_eq!(parse_relay_body(b"signal = 11").unwrap().0, Digit::from_char('#').unwrap());
        assert_eq!(parse_relay_body(b"Signal=12"), None);
        assert!(is_picture_fast_update(PICTURE_FAST_UPDATE.as_bytes()));
        assert!(!is_picture_fast_update(b"picture_fast"));
    }

    #[test]
    fn mutated_bodies_never_panic() {
        crate::mutation::for_each(b"Signal=5\r\nDuration=160\r\n", 2_000, |bytes| {
            let _ = parse_relay_body(bytes);
        });
    }
}
