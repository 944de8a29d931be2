//! DTMF in, as RFC 4733 events in RTP and as SIP INFO bodies.
//! Takes: payloads with their RTP timestamp; INFO bodies. Gives: each digit once.
//! Leaves out: sending DTMF.

/// Reads telephone-event payloads; an event is the packets with one RTP timestamp (RFC 4733 §2.5.1.2).
#[derive(Default)]
pub(super) struct TelephoneEventReceiver {
    latest: Option<u32>,
}

impl TelephoneEventReceiver {
    /// The digit that `payload` begins; `None` for its repetitions and for what is no DTMF event.
    pub fn push(&mut self, timestamp: u32, payload: &[u8]) -> Option<char> {
        let [event, _, _, _] = *payload.first_chunk::<4>()?;
        let digit = digit(event)?;
        // Retransmitted end packets, and events that a late packet would reopen, are older or equal.
        if self.latest.is_some_and(|latest| timestamp.wrapping_sub(latest) as i32 <= 0) {
            return None;
        }
        self.latest = Some(timestamp);
        Some(digit)
    }
}

// RFC 4733 §3.2, table 3.
const fn digit(event: u8) -> Option<char> {
    match event {
        0..=9 => Some((b'0' + event) as char),
        10 => Some('*'),
        11 => Some('#'),
        12..=15 => Some((b'A' + event - 12) as char),
        _ => None,
    }
}

/// The digits in an INFO body of type `application/dtmf-relay` (`Signal=5`) or `application/dtmf` (`5`).
pub(super) fn info_digits(content_type: &str, body: &str) -> String {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let text = if media_type.eq_ignore_ascii_case("application/dtmf-relay") {
        body.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("signal"))
            .map(|(_, signal)| signal.trim())
    } else if media_type.eq_ignore_ascii_case("application/dtmf") {
        Some(body.trim())
    } else {
        None
    };
    let text = text.unwrap_or_default();
    let text = match text {
        "10" => "*",
        "11" => "#",
        text => text,
    };
    text.chars().filter(|digit| matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D')).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_once_however_often_it_is_repeated() {
        let mut receiver = TelephoneEventReceiver::default();
        assert_eq!(receiver.push(u32::MAX - 100, &[5, 0x0a, 0, 160]), Some('5'));
        assert_eq!(receiver.push(u32::MAX - 100, &[5, 0x8a, 3, 32]), None);
        assert_eq!(receiver.push(900, &[11, 0x0a, 0, 160]), Some('#'));
        assert_eq!(receiver.push(u32::MAX - 100, &[5, 0x8a, 3, 32]), None);
        assert_eq!(receiver.push(2_000, &[99, 0, 0, 0]), None);
        assert_eq!(receiver.push(3_000, &[1]), None);
    }

    #[test]
    fn info_bodies_of_both_kinds() {
        assert_eq!(info_digits("application/dtmf-relay", "Signal=5\r\nDuration=250\r\n"), "5");
        assert_eq!(info_digits("Application/DTMF-Relay; x=y", "signal= # \r\n"), "#");
        assert_eq!(info_digits("application/dtmf", "11"), "#");
        assert_eq!(info_digits("text/plain", "5"), "");
    }
}
