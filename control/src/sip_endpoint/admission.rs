//! What may reach the SIP stack from outside, and how often.
//! Takes: raw datagrams before the stack's parser, parsed messages before its transactions. Gives: pass, drop or answer.
//! Leaves out: requests that are let in (`dispatch`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rsipstack::sip::headers::Contact;
use rsipstack::sip::{Header, HeadersExt, Method, SipMessage, StatusCodeKind, ToTypedHeader, Uri};
use rsipstack::transport::{SipAddr, TransportEvent};

use super::dispatch::Dialogs;

/// What happens to a datagram.
pub(super) enum Screening {
    Pass,
    Drop,
    /// Sent back without state (RFC 3261 §8.2.7).
    Answer(Vec<u8>),
}

/// Catches what the stack's parser drops without a word: unknown methods (501) and versions (505).
pub(super) fn screen(datagram: &[u8], from: SocketAddr, user_agent: &str) -> Screening {
    let Some(line) = datagram.split(|&byte| byte == b'\n').next() else { return Screening::Drop };
    let Ok(line) = std::str::from_utf8(line) else { return Screening::Drop };
    let line = line.trim_end_matches('\r');
    if line.starts_with("SIP/") || line.is_empty() {
        return Screening::Pass;
    }
    let mut words = line.split(' ');
    let (Some(method), Some(_uri), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Screening::Drop;
    };
    let status = if !version.starts_with("SIP/") {
        return Screening::Drop;
    } else if version != "SIP/2.0" {
        "505 Version Not Supported"
    } else if method.parse::<Method>().is_err() {
        "501 Not Implemented"
    } else {
        return Screening::Pass;
    };
    refusal(datagram, from, status, user_agent).map_or(Screening::Drop, Screening::Answer)
}

/// A response to a request that cannot be parsed: the headers RFC 3261 §8.2.6.2 wants, copied as they are. `None` for
/// what is no request, is an ACK, which is never answered (§17), or names nobody to answer to.
pub(super) fn refusal(message: &[u8], from: SocketAddr, status: &str, user_agent: &str) -> Option<Vec<u8>> {
    // A body need not be text.
    let length = message.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(message.len());
    let head = std::str::from_utf8(&message[..length]).ok()?;
    let is_ack = head.get(..4).is_some_and(|method| method.eq_ignore_ascii_case("ACK "));
    if is_ack || head.starts_with("SIP/") {
        return None;
    }
    let mut answer = format!("SIP/2.0 {status}\r\n");
    let mut vias = 0;
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(':')?;
        match name.trim().to_ascii_lowercase().as_str() {
            "via" | "v" => {
                vias += 1;
                answer.push_str("Via: ");
                answer.push_str(value.trim());
                if vias == 1 {
                    answer.push_str(&format!(";received={}", from.ip()));
                }
            }
            "to" | "t" => {
                answer.push_str("To: ");
                answer.push_str(value.trim());
                if !value.contains("tag=") {
                    answer.push_str(";tag=0");
                }
            }
            "from" | "f" => answer.push_str(&format!("From: {}", value.trim())),
            "call-id" | "i" => answer.push_str(&format!("Call-ID: {}", value.trim())),
            "cseq" => answer.push_str(&format!("CSeq: {}", value.trim())),
            _ => continue,
        }
        answer.push_str("\r\n");
    }
    if vias == 0 {
        return None;
    }
    answer.push_str(&format!(
        "Allow: {}\r\nUser-Agent: {user_agent}\r\nContent-Length: 0\r\n\r\n",
        sipcast_sip::call::ALLOW
    ));
    Some(answer.into_bytes())
}

/// Sits between the stack's transports and its transactions. The stack keeps an answered transaction for 32 s, so
/// without a bound on requests a flood would be paid for in memory.
pub(super) struct Admission {
    dialogs: Arc<Dialogs>,
    strangers: Mutex<TokenBucket>,
}

impl Admission {
    pub fn new(dialogs: Arc<Dialogs>) -> Self {
        Self { dialogs, strangers: Mutex::new(TokenBucket::new(STRANGERS_PER_S, STRANGERS_BURST)) }
    }

    /// The message as the stack shall see it, if it may pass.
    pub fn admit(&self, message: SipMessage, from: &SipAddr) -> Option<SipMessage> {
        self.admits(&message).then(|| with_contact(message, from))
    }

    fn admits(&self, message: &SipMessage) -> bool {
        let SipMessage::Request(request) = message else { return true };
        // ACK only ever meets a transaction that exists. CANCEL would too, but is answered even if it does not.
        if request.method == Method::Ack {
            return true;
        }
        let Ok(call_id) = request.call_id_header() else { return false };
        match self.dialogs.admits(call_id.value()) {
            Some(admitted) => admitted,
            None => self.strangers.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

/// [`Admission`] of what the stack receives by itself: datagrams.
pub(super) struct Inspector(pub Arc<Admission>);

#[async_trait::async_trait]
impl rsipstack::transaction::endpoint::TransportEventInspector for Inspector {
    async fn handle(&self, event: TransportEvent) -> Option<TransportEvent> {
        match event {
            TransportEvent::Incoming(message, connection, from) => {
                let message = self.0.admit(message, &from)?;
                Some(TransportEvent::Incoming(message, connection, from))
            }
            other => Some(other),
        }
    }
}

/// The stack cannot acknowledge a 2xx whose Contact is missing or unreadable; such answers exist. Where the answer came
/// from is the best remaining remote target.
fn with_contact(mut message: SipMessage, from: &SipAddr) -> SipMessage {
    let SipMessage::Response(response) = &mut message else { return message };
    let of_invite =
        response.cseq_header().and_then(|cseq| cseq.method()).is_ok_and(|method| method == Method::Invite);
    if of_invite
        && response.status_code.kind() == StatusCodeKind::Successful
        && response.contact_header().and_then(|contact| contact.typed()).is_err()
    {
        response.headers.retain(|header| !matches!(header, Header::Contact(_)));
        response.headers.push(Header::Contact(Contact::new(format!("<{}>", Uri::from(from)))));
    }
    message
}

/// A rate with a burst.
pub(super) struct TokenBucket {
    tokens: f64,
    per_second: f64,
    burst: f64,
    filled: Instant,
}

impl TokenBucket {
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { tokens: burst, per_second, burst, filled: Instant::now() }
    }

    /// Whether one more is within the rate.
    pub fn take(&mut self) -> bool {
        let now = Instant::now();
        let gained = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Requests outside our dialogs that are looked at, all peers together; the rest is dropped.
const STRANGERS_PER_S: f64 = 100.0;
const STRANGERS_BURST: f64 = 200.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(datagram: &str) -> Option<String> {
        match screen(datagram.as_bytes(), "192.0.2.7:5070".parse().expect("address"), "test") {
            Screening::Answer(bytes) => Some(String::from_utf8(bytes).expect("text")),
            _ => None,
        }
    }

    #[test]
    fn an_unknown_method_is_answered_501_with_allow() {
        let text = answer(
            "FETCH sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n\
             Call-ID: x\r\nCSeq: 1 FETCH\r\n\r\n",
        )
        .expect("answered");
        assert!(text.starts_with(
            "SIP/2.0 501 Not Implemented\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;received=192.0.2.7\r\n"
        ));
        assert!(text.contains("\r\nAllow: INVITE"));
    }

    #[test]
    fn a_foreign_version_is_answered_505() {
        let text = answer("INVITE sip:a@b SIP/7.0\r\nVia: SIP/2.0/UDP h\r\n\r\n").expect("answered");
        assert!(text.starts_with("SIP/2.0 505"));
    }

    #[test]
    fn noise_is_dropped_and_never_answered() {
        for noise in [
            "",
            "GET / HTTP/1.1\r\n\r\n",
            "\u{fffd}",
            "FETCH x SIP/2.0\r\n\r\n",
            "FETCH x SIP/2.0\r\nbroken",
            "ACK sip:a@b SIP/7.0\r\nVia: SIP/2.0/UDP h\r\n\r\n",
        ] {
            assert!(answer(noise).is_none(), "{noise:?}");
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(0.0, 2.0);
        assert_eq!([bucket.take(), bucket.take(), bucket.take()], [true, true, false]);
    }
}
