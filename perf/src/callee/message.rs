//! SIP messages for the callee, on the rsip crate's parser and writer (RFC 3261 §7).
//! Takes: datagrams, or octets of a stream. Gives: messages with their body cut to length; responses to requests.
//! Leaves out: transactions and dialogs (`user_agent`).

use std::net::SocketAddr;

use rsip::headers::UntypedHeader;
use rsip::message::HeadersExt;
use rsip::{Header, Headers, Request, Response, SipMessage, StatusCode};

/// Octets of the longest message taken.
pub(super) const MESSAGE_LEN_MAX: usize = 64 * 1024;

/// Why octets are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageError {
    /// The start line, a header, or the Content-Length is wrong.
    Malformed,
    /// Longer than [`MESSAGE_LEN_MAX`].
    TooLong,
}

/// Reads one whole message.
///
/// # Errors
/// `Malformed` for anything that rsip refuses or whose body is shorter than its Content-Length.
pub(super) fn parse(octets: &[u8]) -> Result<SipMessage, MessageError> {
    if octets.len() > MESSAGE_LEN_MAX {
        return Err(MessageError::TooLong);
    }
    let mut message = SipMessage::try_from(octets).map_err(|_| MessageError::Malformed)?;
    let headers = match &message {
        SipMessage::Request(request) => &request.headers,
        SipMessage::Response(response) => &response.headers,
    };
    let len = headers.iter().find_map(|header| match header {
        Header::ContentLength(len) => Some(len.value().trim().parse::<usize>()),
        _ => None,
    });
    // RFC 3261 §18.3: octets behind the body are discarded, a short body is an error.
    match len {
        Some(Ok(len)) if len <= message.body().len() => message.body_mut().truncate(len),
        None => {}
        Some(_) => return Err(MessageError::Malformed),
    }
    Ok(message)
}

/// How many octets at the front of `buffer` make a message (RFC 3261 §18.3); `None` while it is incomplete.
///
/// # Errors
/// When no end can come: a header block or a body beyond the limit, a Content-Length that is no number.
pub(super) fn framed_len(buffer: &[u8]) -> Result<Option<usize>, MessageError> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buffer.len() > MESSAGE_LEN_MAX { Err(MessageError::TooLong) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&buffer[..end]).map_err(|_| MessageError::Malformed)?;
    let body_len = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| matches!(name.trim().to_ascii_lowercase().as_str(), "content-length" | "l"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>().map_err(|_| MessageError::Malformed))?;
    if body_len > MESSAGE_LEN_MAX {
        return Err(MessageError::TooLong);
    }
    let len = end + 4 + body_len;
    if len > MESSAGE_LEN_MAX {
        return Err(MessageError::TooLong);
    }
    Ok((buffer.len() >= len).then_some(len))
}

/// The value of the first header that rsip has no name of its own for.
pub(super) fn other_header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find_map(|header| match header {
        Header::Other(key, value) if key.eq_ignore_ascii_case(name) => Some(value.trim()),
        _ => None,
    })
}

/// A parameter of a header value such as `<sip:a@b>;tag=1`: only behind the address.
pub(super) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let behind = value.rfind('>').map_or(value, |at| &value[at + 1..]);
    behind
        .split(';')
        .skip(1)
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The URI inside a name-addr or addr-spec.
pub(super) fn address_uri(value: &str) -> &str {
    match (value.find('<'), value.find('>')) {
        (Some(start), Some(end)) if start < end => &value[start + 1..end],
        _ => value.split(';').next().unwrap_or(value).trim(),
    }
}

/// What a request needs for its answer and its transaction; all of it was present and readable.
pub(super) struct Envelope {
    pub call_id: String,
    pub from_tag: String,
    pub to_tag: Option<String>,
    pub cseq: u32,
    /// Branch and sent-by of the top Via: with the method, the transaction (RFC 3261 §17.2.3).
    pub branch: String,
    pub contact: Option<String>,
}

/// Reads what every request must have (RFC 3261 §8.1.1).
///
/// # Errors
/// When one of the headers is missing, cannot be read, or CSeq names another method.
pub(super) fn envelope(request: &Request) -> Result<Envelope, MessageError> {
    let malformed = |_| MessageError::Malformed;
    let from = request.from_header().map_err(malformed)?.value();
    let to = request.to_header().map_err(malformed)?.value();
    let via = request.via_header().map_err(malformed)?.value();
    let cseq = request.cseq_header().map_err(malformed)?.value();
    let (number, method) = cseq.trim().split_once(' ').ok_or(MessageError::Malformed)?;
    if method.trim() != request.method.to_string() {
        return Err(MessageError::Malformed);
    }
    let top = via.split(',').next().unwrap_or_default();
    let sent_by = top.split_ascii_whitespace().nth(1).and_then(|rest| rest.split(';').next());
    let branch = parameter(top, "branch").ok_or(MessageError::Malformed)?;
    Ok(Envelope {
        call_id: request.call_id_header().map_err(malformed)?.value().trim().to_owned(),
        from_tag: parameter(from, "tag").unwrap_or_default().to_owned(),
        to_tag: parameter(to, "tag").map(str::to_owned),
        cseq: number.trim().parse().map_err(|_| MessageError::Malformed)?,
        branch: format!("{branch} {}", sent_by.ok_or(MessageError::Malformed)?),
        contact: request.contact_header().ok().map(|contact| address_uri(contact.value()).to_owned()),
    })
}

/// Where responses go over UDP (RFC 3261 §18.2.2, RFC 3581 §4).
pub(super) fn response_address(request: &Request, source: SocketAddr) -> SocketAddr {
    let Ok(via) = request.via_header() else { return source };
    let top = via.value().split(',').next().unwrap_or_default();
    if parameter(top, "rport").is_some() {
        return source;
    }
    let sent_by =
        top.split_ascii_whitespace().nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default();
    let port = sent_by.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(5060);
    SocketAddr::new(source.ip(), port)
}

/// A response to `request` with the headers that RFC 3261 §8.2.6.2 asks to copy.
pub(super) fn response(
    request: &Request,
    status: u16,
    to_tag: Option<&str>,
    source: SocketAddr,
    extra: Vec<Header>,
    body: &str,
) -> Vec<u8> {
    let mut headers = Headers::default();
    let mut top_via = true;
    for header in request.headers.iter() {
        match header {
            Header::Via(via) if std::mem::replace(&mut top_via, false) => {
                headers.push(Header::Via(rsip::headers::Via::new(with_source(via.value(), source))));
            }
            Header::To(to) => {
                let value = match to_tag {
                    Some(tag) if parameter(to.value(), "tag").is_none() => {
                        format!("{};tag={tag}", to.value())
                    }
                    _ => to.value().to_owned(),
                };
                headers.push(Header::To(rsip::headers::To::new(value)));
            }
            Header::Via(_)
            | Header::From(_)
            | Header::CallId(_)
            | Header::CSeq(_)
            | Header::RecordRoute(_) => {
                headers.push(header.clone());
            }
            Header::Timestamp(_) if status == 100 => headers.push(header.clone()),
            _ => {}
        }
    }
    headers.extend(extra);
    headers.push(Header::Server(rsip::headers::Server::new("sipcast-callee")));
    headers.push(Header::ContentLength(rsip::headers::ContentLength::new(body.len().to_string())));
    Response {
        status_code: StatusCode::from(status),
        version: rsip::Version::V2,
        headers,
        body: body.as_bytes().to_vec(),
    }
    .into()
}

// RFC 3581 §4: the flag `rport` comes back with the port that was seen, and `received` with the address.
fn with_source(via: &str, source: SocketAddr) -> String {
    let (top, rest) = via.split_once(',').map_or((via, None), |(top, rest)| (top, Some(rest)));
    let mut value = String::with_capacity(via.len() + 48);
    let mut asked = false;
    for (place, part) in top.split(';').enumerate() {
        if place > 0 {
            value.push(';');
        }
        if place > 0 && part.trim().eq_ignore_ascii_case("rport") {
            asked = true;
            value.push_str(&format!("rport={}", source.port()));
        } else {
            value.push_str(part);
        }
    }
    if asked {
        value.push_str(&format!(";received={}", source.ip()));
    }
    if let Some(rest) = rest {
        value.push(',');
        value.push_str(rest);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:callee@127.0.0.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bKx;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:callee@127.0.0.1>\r\n\
        Call-ID: abc\r\nCSeq: 7 OPTIONS\r\nContent-Length: 2\r\n\r\nabXX";

    fn request() -> Request {
        match parse(OPTIONS.as_bytes()).unwrap() {
            SipMessage::Request(request) => request,
            SipMessage::Response(_) => panic!("a request"),
        }
    }

    #[test]
    fn a_response_copies_what_it_must_and_says_where_the_request_came_from() {
        let request = request();
        assert_eq!(request.body, b"ab");
        let envelope = envelope(&request).unwrap();
        assert_eq!((envelope.cseq, envelope.from_tag.as_str(), envelope.to_tag), (7, "1", None));
        let source = SocketAddr::from(([127, 0, 0, 1], 4321));
        let text = String::from_utf8(response(&request, 200, Some("t"), source, vec![], "")).unwrap();
        assert!(text.starts_with("SIP/2.0 200 OK\r\n"), "{text}");
        assert!(text.contains("branch=z9hG4bKx;rport=4321;received=127.0.0.1\r\n"), "{text}");
        assert!(text.contains("To: <sip:callee@127.0.0.1>;tag=t\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 0\r\n\r\n"), "{text}");
        assert_eq!(response_address(&request, source), source);
    }

    #[test]
    fn hostile_octets_are_refused() {
        for len in 0..OPTIONS.len() - 4 {
            let _ = parse(&OPTIONS.as_bytes()[..len]).map(|message| match message {
                SipMessage::Request(request) => envelope(&request).is_ok(),
                SipMessage::Response(_) => false,
            });
        }
        let long = OPTIONS.replace("Content-Length: 2", "Content-Length: 99");
        assert_eq!(parse(long.as_bytes()), Err(MessageError::Malformed));
        assert_eq!(
            framed_len(b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999999999\r\n\r\n"),
            Err(MessageError::TooLong)
        );
        assert_eq!(framed_len(b"X\r\nContent-Length: -1\r\n\r\n"), Err(MessageError::Malformed));
        assert_eq!(framed_len(&vec![b'x'; MESSAGE_LEN_MAX + 1]), Err(MessageError::TooLong));
    }

    #[test]
    fn frames_end_with_their_body() {
        let whole = OPTIONS.len() - 2;
        for len in 0..whole {
            assert_eq!(framed_len(&OPTIONS.as_bytes()[..len]), Ok(None));
        }
        assert_eq!(framed_len(OPTIONS.as_bytes()), Ok(Some(whole)));
    }
}
