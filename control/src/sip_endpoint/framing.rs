//! Cuts a byte stream into SIP messages (RFC 3261 §18.3) and keep-alives (RFC 5626 §3.5.1).
//! Takes: bytes as they arrive. Gives: whole messages, pings. Leaves out: what a message says, reading and answering
//! (`stream`).
//!
//! The stack has a framing of its own. Its faults are why this one stands in front of it: a message that it cannot
//! parse ends the connection and with it every call that shares it, and a length near 2^64 overflows its sum.

/// What the stream holds next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// One message, head and body.
    Message(Vec<u8>),
    /// A keep-alive that wants a CRLF in return.
    Ping,
}

/// The stream cannot be followed any further: nobody knows where the next message begins, or it is beyond the limits.
/// Holds the head, to answer it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unframable {
    /// No end of the head within [`HEAD_MAX`] bytes.
    EndlessHead,
    /// Content-Length is no number, or there are two that differ.
    BadLength(Vec<u8>),
    /// A body of more than [`BODY_MAX`] bytes.
    LongBody(Vec<u8>),
}

/// The bytes that are not a whole message yet. Holds `HEAD_MAX + BODY_MAX` bytes and one push more at most, as long as
/// [`Framer::poll`] is called until `None` after each push.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are taken already.
    start: usize,
    /// Bytes after `start` in which no end of the head begins.
    searched: usize,
    /// One of the two line ends of a ping has come.
    half_ping: bool,
}

impl Framer {
    /// Takes what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether no message has begun.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Whether a lone line end has come since the last message or ping: the answer to a ping of ours (RFC 5626 §4.4.1).
    /// It does not count towards a ping of the peer's then.
    pub fn take_pong(&mut self) -> bool {
        std::mem::take(&mut self.half_ping)
    }

    /// The next message or ping; `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`Unframable`]: give the stream up.
    pub fn poll(&mut self) -> Result<Option<Frame>, Unframable> {
        // RFC 3261 §7.5: line ends before a message mean nothing, but for two of them (RFC 5626 §4.4.1).
        while self.buffer[self.start..].starts_with(b"\r\n") {
            self.start += 2;
            self.half_ping = !self.half_ping;
            if !self.half_ping {
                return Ok(Some(Frame::Ping));
            }
        }
        let rest = &self.buffer[self.start..];
        let Some(end) = find(&rest[self.searched..], HEAD_END).map(|at| at + self.searched) else {
            self.searched = rest.len().saturating_sub(HEAD_END.len() - 1);
            return if rest.len() > HEAD_MAX { Err(Unframable::EndlessHead) } else { Ok(None) };
        };
        self.searched = end;
        let head = &rest[..end + HEAD_END.len()];
        if head.len() > HEAD_MAX {
            return Err(Unframable::EndlessHead);
        }
        let body = match content_length(head) {
            Ok(length) if length <= BODY_MAX as u64 => length as usize,
            Ok(_) => return Err(Unframable::LongBody(head.to_vec())),
            Err(BadLength) => return Err(Unframable::BadLength(head.to_vec())),
        };
        let Some(message) = rest.get(..head.len() + body) else { return Ok(None) };
        let message = message.to_vec();
        self.start += message.len();
        self.searched = 0;
        self.half_ping = false;
        Ok(Some(Frame::Message(message)))
    }
}

/// The length that a head announces; 0 without one, as peers of old do for messages without a body.
fn content_length(head: &[u8]) -> Result<u64, BadLength> {
    let mut found: Option<Vec<u8>> = None;
    let mut announced = None;
    let mut lines =
        head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).skip(1);
    loop {
        let line = lines.next();
        // RFC 3261 §7.3.1: a line that begins with a space continues the one before.
        if let (Some(value), Some(more)) =
            (&mut found, line.filter(|line| line.starts_with(b" ") || line.starts_with(b"\t")))
        {
            value.extend_from_slice(more);
            continue;
        }
        if let Some(value) = found.take() {
            let length = number(value.trim_ascii())?;
            if announced.is_some_and(|earlier| earlier != length) {
                return Err(BadLength);
            }
            announced = Some(length);
        }
        let Some(line) = line else { return Ok(announced.unwrap_or(0)) };
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = line[..colon].trim_ascii_end();
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            found = Some(line[colon + 1..].to_vec());
        }
    }
}

/// Digits; a number past `u64` is its largest.
fn number(digits: &[u8]) -> Result<u64, BadLength> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadLength);
    }
    Ok(digits
        .iter()
        .fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Not a Content-Length.
#[derive(Debug)]
struct BadLength;

const HEAD_END: &[u8] = b"\r\n\r\n";
/// Bytes of start line and headers. SIP has no limit; half a datagram's is far beyond what proxies add.
pub(super) const HEAD_MAX: usize = 32 * 1024;
/// Bytes of a body. Session descriptions have a few thousand.
pub(super) const BODY_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8], step: usize) -> Result<Vec<Frame>, Unframable> {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        for chunk in bytes.chunks(step) {
            framer.push(chunk);
            while let Some(frame) = framer.poll()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn message(text: &str) -> Frame {
        Frame::Message(text.as_bytes().to_vec())
    }

    #[test]
    fn messages_and_pings_come_out_whole_however_they_arrive() {
        let first = "INVITE sip:a@b SIP/2.0\r\nContent-Length: 5\r\nVia: x\r\n\r\nhello";
        let second = "SIP/2.0 200 OK\r\nl : 2\r\n\r\nhi";
        let third = "OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n\r\n";
        let folded = "INFO sip:a@b SIP/2.0\r\nCONTENT-LENGTH:\r\n 3\r\nVia: x\r\n\r\nabc";
        let wire = format!("\r\n\r\n{first}\r\n{second}{third}\r\n\r\n\r\n\r\n{folded}");
        let expected = [
            Frame::Ping,
            message(first),
            message(second),
            message(third),
            Frame::Ping,
            Frame::Ping,
            message(folded),
        ];
        for step in 1..wire.len() {
            assert_eq!(frames(wire.as_bytes(), step).expect("sound"), expected, "{step}");
        }
    }

    #[test]
    fn a_lone_line_end_between_messages_is_no_ping() {
        let text = "OPTIONS sip:a@b SIP/2.0\r\n\r\n";
        let wire = format!("{text}\r\n{text}\r\n{text}");
        assert_eq!(frames(wire.as_bytes(), 7).expect("sound"), [message(text), message(text), message(text)]);
    }

    #[test]
    fn lengths_that_cannot_be_are_told() {
        for length in ["-1", "+5", "5x", "", "0x5", "5\r\nContent-Length: 6", "5\r\nl: 4"] {
            let wire = format!("INVITE sip:a@b SIP/2.0\r\nContent-Length: {length}\r\n\r\n");
            assert!(matches!(frames(wire.as_bytes(), 9), Err(Unframable::BadLength(_))), "{length}");
        }
        for length in ["65537", "4294967296", "18446744073709551615", "99999999999999999999999999"] {
            let wire = format!("INVITE sip:a@b SIP/2.0\r\nContent-Length: {length}\r\n\r\n");
            assert!(matches!(frames(wire.as_bytes(), 9), Err(Unframable::LongBody(_))), "{length}");
        }
        let wire = "BYE sip:a@b SIP/2.0\r\nContent-Length: 1\r\nl: 01\r\n\r\nx";
        assert_eq!(frames(wire.as_bytes(), 9).expect("the same twice"), [message(wire)]);
    }

    #[test]
    fn heads_and_bodies_have_limits_just_inside_and_just_outside() {
        let head = |length: usize| {
            let start = "OPTIONS sip:a@b SIP/2.0\r\nX: ";
            format!("{start}{}\r\n\r\n", "a".repeat(length - start.len() - 4))
        };
        assert_eq!(frames(head(HEAD_MAX).as_bytes(), 4096).expect("inside").len(), 1);
        assert_eq!(frames(head(HEAD_MAX + 1).as_bytes(), 4096), Err(Unframable::EndlessHead));
        assert_eq!(frames(&vec![b'A'; HEAD_MAX + 1], 4096), Err(Unframable::EndlessHead));
        let body = |length: usize| format!("A sip:a@b SIP/2.0\r\nl: {length}\r\n\r\n{}", "a".repeat(length));
        assert_eq!(frames(body(BODY_MAX).as_bytes(), 4096).expect("inside").len(), 1);
        assert!(frames(body(BODY_MAX + 1).as_bytes(), 4096).is_err());
    }
}
