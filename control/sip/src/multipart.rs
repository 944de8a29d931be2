//! Session descriptions in bodies of several parts (RFC 5621 §3, RFC 2046 §5.1; RFC 3261 §7.4).
//! Takes: Content-Type and body of a message. Gives: the session description in it, if there is one.
//! Leaves out: what the other parts say (ISUP, locations, recording metadata).

use thiserror::Error;

/// Parts of one body that are looked at; a body with more is refused.
pub const PARTS_MAX: usize = 32;
/// Bodies of several parts within each other; one that is deeper is refused.
pub const DEPTH_MAX: usize = 4;
/// Bytes of one part's headers; a part with more is refused.
pub const PART_HEADER_BYTES_MAX: usize = 4096;
/// Bytes of a boundary (RFC 2046 §5.1.1).
pub const BOUNDARY_BYTES_MAX: usize = 70;

/// Media types that we take in bodies: value of Accept.
pub const ACCEPT: &str = "application/sdp, multipart/mixed, multipart/alternative";

/// Why a body of several parts cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MultipartFault {
    /// No boundary in Content-Type, or none that can be one.
    #[error("Content-Type multipart has no boundary of 1 to 70 characters")]
    Boundary,
    /// The boundary does not stand in the body.
    #[error("the boundary of Content-Type does not stand in the body")]
    NoPart,
    /// The last boundary, with two hyphens behind it, is missing.
    #[error("the body ends before its last boundary")]
    Unclosed,
    /// A part without an empty line, or with too many headers.
    #[error("the headers of a part do not end")]
    PartHeaders,
    /// Over [`PARTS_MAX`] or [`DEPTH_MAX`].
    #[error("the body has too many parts, or parts within parts too deep")]
    TooMuch,
    /// The description is encoded.
    #[error("the session description has a Content-Transfer-Encoding other than binary, 8bit or 7bit")]
    Encoding,
}

/// The session description of a message; `None`: its body is something else, or it has none. A body without
/// Content-Type is taken for one, since devices leave it out.
///
/// # Errors
/// [`MultipartFault`].
pub fn description<'a>(
    content_type: Option<&str>,
    body: &'a [u8],
) -> Result<Option<&'a [u8]>, MultipartFault> {
    if body.is_empty() {
        return Ok(None);
    }
    match content_type {
        None => Ok(Some(body)),
        Some(kind) if is(kind, "application/sdp") => Ok(Some(body)),
        Some(kind) => of_parts(kind, body, DEPTH_MAX),
    }
}

/// Whether a request's body of several parts has one that its sender demands to be understood (`handling=required`,
/// RFC 5621 §8.4) and that is no session description. Parts that say nothing are optional here, although RFC 3261 §20.11
/// takes them for required: devices and SBCs add locations, ISUP and recording metadata to calls that are sound without.
///
/// # Errors
/// [`MultipartFault`].
pub fn demands_more(content_type: Option<&str>, body: &[u8]) -> Result<bool, MultipartFault> {
    content_type.map_or(Ok(false), |kind| part_demands_more(kind, body, DEPTH_MAX))
}

fn part_demands_more(kind: &str, body: &[u8], depth: usize) -> Result<bool, MultipartFault> {
    // RFC 5621 §8.3: what the parts of a choice say of themselves does not count.
    if !is_multipart(kind) || is(kind, "multipart/alternative") {
        return Ok(false);
    }
    let Some(depth) = depth.checked_sub(1) else { return Err(MultipartFault::TooMuch) };
    for part in parts(boundary(kind)?, body)? {
        let (headers, content) = split(part)?;
        let kind = header(headers, "Content-Type").unwrap_or("text/plain");
        let is_understood = match is_multipart(kind) {
            true => !is(kind, "multipart/alternative") || of_parts(kind, content, depth)?.is_some(),
            false => is(kind, "application/sdp") && is_session(headers),
        };
        if !is_understood && says_handling(headers, "required") {
            return Ok(true);
        }
        // RFC 5621 §8.2: what is required within an optional body is so for who makes use of that body.
        let is_unused = says_handling(headers, "optional") && of_parts(kind, content, depth)?.is_none();
        if !is_unused && part_demands_more(kind, content, depth)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first session description of `multipart/mixed` and the like; of `multipart/alternative` the last, which is the
/// one that the sender likes best (RFC 2046 §5.1.4).
fn of_parts<'a>(kind: &str, body: &'a [u8], depth: usize) -> Result<Option<&'a [u8]>, MultipartFault> {
    if !is_multipart(kind) {
        return Ok(None);
    }
    let Some(depth) = depth.checked_sub(1) else { return Err(MultipartFault::TooMuch) };
    let is_choice = is(kind, "multipart/alternative");
    let mut found = None;
    for part in parts(boundary(kind)?, body)? {
        let (headers, content) = split(part)?;
        let described = match header(headers, "Content-Type") {
            Some(kind) if is(kind, "application/sdp") && is_session(headers) => {
                check_encoding(headers)?;
                Some(content)
            }
            Some(kind) => of_parts(kind, content, depth)?,
            // RFC 2046 §5.1: text without a word about it.
            None => None,
        };
        found = if is_choice { described.or(found) } else { found.or(described) };
    }
    Ok(found)
}

/// What stands between the boundaries. A boundary begins a line; the line break before it belongs to it
/// (RFC 2046 §5.1.1). Bare LF is understood.
fn parts<'a>(boundary: &str, body: &'a [u8]) -> Result<Vec<&'a [u8]>, MultipartFault> {
    let mut parts = Vec::new();
    let mut begin: Option<usize> = None;
    let mut at = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let start = at;
        at += line.len();
        let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()))
        else {
            continue;
        };
        let is_last = rest.starts_with(b"--");
        if !is_last && !rest.iter().all(u8::is_ascii_whitespace) {
            // A longer boundary of a part within begins alike.
            continue;
        }
        if let Some(begin) = begin {
            let part = &body[begin..start];
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            parts.push(part.strip_suffix(b"\r").unwrap_or(part));
        }
        if is_last {
            return if parts.is_empty() { Err(MultipartFault::NoPart) } else { Ok(parts) };
        }
        if parts.len() >= PARTS_MAX {
            return Err(MultipartFault::TooMuch);
        }
        begin = Some(at);
    }
    Err(if begin.is_some() { MultipartFault::Unclosed } else { MultipartFault::NoPart })
}

/// Headers and content of a part. One without headers begins with the empty line.
fn split(part: &[u8]) -> Result<(&str, &[u8]), MultipartFault> {
    let mut at = 0;
    for line in part.split_inclusive(|byte| *byte == b'\n') {
        if line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            let headers = std::str::from_utf8(&part[..at]).map_err(|_| MultipartFault::PartHeaders)?;
            return Ok((headers, &part[at + line.len()..]));
        }
        at += line.len();
        if at > PART_HEADER_BYTES_MAX {
            break;
        }
    }
    Err(MultipartFault::PartHeaders)
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// RFC 3261 §20.11: the disposition of application/sdp is `session` unless another is named, such as `early-session`
/// (RFC 3959) or `recording-session`.
fn is_session(headers: &str) -> bool {
    header(headers, "Content-Disposition").is_none_or(|disposition| is(disposition, "session"))
}

/// Whether Content-Disposition has `handling=` with this value (RFC 3204 §6).
fn says_handling(headers: &str, wanted: &str) -> bool {
    let disposition = header(headers, "Content-Disposition").unwrap_or_default();
    disposition.split(';').skip(1).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("handling")
            && value.trim().trim_matches('"').eq_ignore_ascii_case(wanted)
    })
}

fn check_encoding(headers: &str) -> Result<(), MultipartFault> {
    let encoding = header(headers, "Content-Transfer-Encoding").unwrap_or("binary");
    let is_plain = ["binary", "8bit", "7bit"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain));
    if is_plain { Ok(()) } else { Err(MultipartFault::Encoding) }
}

/// The parameter `boundary`, with or without quotes. Semicolons may stand within quotes.
fn boundary(kind: &str) -> Result<&str, MultipartFault> {
    const NAME: &str = "boundary";
    let mut rest = kind;
    while let Some(at) = rest.find(';') {
        rest = rest[at + 1..].trim_start();
        let is_it = rest.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
        let Some(value) =
            rest.get(NAME.len()..).filter(|_| is_it).and_then(|value| value.trim_start().strip_prefix('='))
        else {
            continue;
        };
        let value = value.trim_start();
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or(quoted),
            None => value.split(';').next().unwrap_or(value).trim_end(),
        };
        let is_legal = (1..=BOUNDARY_BYTES_MAX).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        return if is_legal { Ok(value) } else { Err(MultipartFault::Boundary) };
    }
    Err(MultipartFault::Boundary)
}

fn is_multipart(kind: &str) -> bool {
    media_type(kind).get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

fn is(value: &str, wanted: &str) -> bool {
    media_type(value).eq_ignore_ascii_case(wanted)
}

fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or(value).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\nm=audio 5000 RTP/AVP 0\r\n";
    const MIXED: &str = "multipart/mixed;boundary=\"b 1\"";

    fn mixed(parts: &[(&str, &str)]) -> String {
        let part = |(headers, content): &(&str, &str)| format!("--b 1\r\n{headers}\r\n{content}\r\n");
        parts.iter().map(part).collect::<String>() + "--b 1--\r\n"
    }

    #[test]
    fn a_description_stands_alone_or_among_other_parts() {
        let found = |kind: Option<&str>, body: &str| {
            description(kind, body.as_bytes())
                .map(|found| found.map(|sdp| String::from_utf8_lossy(sdp).into_owned()))
        };
        let sdp = Ok(Some(SDP.to_owned()));
        assert_eq!(found(None, SDP), sdp);
        assert_eq!(found(Some("Application/SDP;charset=utf-8"), SDP), sdp);
        assert_eq!(found(Some("text/plain"), SDP), Ok(None));
        assert_eq!(found(Some(MIXED), ""), Ok(None));
        let isup = (
            "Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n",
            "\u{1}\u{2}",
        );
        let ours =
            ("Content-Type: application/sdp\r\nContent-Disposition: session;handling=required\r\n", SDP);
        let early = ("content-type:application/sdp\r\ncontent-disposition: early-session\r\n", "v=1");
        assert_eq!(found(Some(MIXED), &mixed(&[isup, ours])), sdp);
        assert_eq!(found(Some(MIXED), &mixed(&[early, ours, isup])), sdp, "RFC 3959 is another session");
        assert_eq!(found(Some(MIXED), &("a preamble\r\n".to_owned() + &mixed(&[ours]) + "an epilogue")), sdp);
        assert_eq!(found(Some(MIXED), &mixed(&[isup, ("", "text")])), Ok(None));
        let bare = mixed(&[isup, ours]).replace("\r\n", "\n");
        assert_eq!(
            found(Some("MULTIPART/Mixed; x=y ; Boundary=\"b 1\""), &bare),
            Ok(Some(SDP.replace("\r\n", "\n")))
        );
    }

    #[test]
    fn parts_that_must_be_understood_are_told_from_others() {
        let sdp =
            ("Content-Type: application/sdp\r\nContent-Disposition: session;handling=required\r\n", SDP);
        let with = |headers: &str| mixed(&[sdp, (headers, "x")]);
        let demands = |body: &str| demands_more(Some(MIXED), body.as_bytes());
        let isup = "Content-Type: application/ISUP\r\nContent-Disposition: signal";
        for (headers, expected) in [
            (format!("{isup};handling=required\r\n"), true),
            (format!("{isup} ; Handling = \"REQUIRED\"\r\n"), true),
            (format!("{isup};handling=optional\r\n"), false),
            (format!("{isup}\r\n"), false),
            ("Content-Disposition: render;handling=required\r\n".to_owned(), true),
            (
                "Content-Type: application/sdp\r\nContent-Disposition: early-session;handling=required\r\n"
                    .to_owned(),
                true,
            ),
        ] {
            assert_eq!(demands(&with(&headers)), Ok(expected), "{headers}");
        }
        let within = format!("--in\r\n{isup};handling=required\r\n\r\nx\r\n--in--");
        let inner = |kind: &str| format!("Content-Type: multipart/{kind};boundary=in\r\n");
        let handled =
            |kind: &str, how: &str| format!("{}Content-Disposition: render;handling={how}\r\n", inner(kind));
        assert_eq!(demands(&mixed(&[sdp, (&inner("mixed"), &within)])), Ok(true));
        assert_eq!(demands(&mixed(&[sdp, (&inner("alternative"), &within)])), Ok(false));
        assert_eq!(demands(&mixed(&[sdp, (&handled("mixed", "required"), &within)])), Ok(true));
        assert_eq!(demands(&mixed(&[sdp, (&handled("mixed", "optional"), &within)])), Ok(false));
        assert_eq!(demands(&mixed(&[sdp, (&handled("alternative", "required"), &within)])), Ok(true));
        let used = format!("--in\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n{within}");
        assert_eq!(demands(&mixed(&[(&handled("mixed", "optional"), &used)])), Ok(true), "it is made use of");
        assert_eq!(demands(&mixed(&[(&handled("alternative", "required"), &used)])), Ok(false));
        assert_eq!(demands_more(Some("application/sdp"), SDP.as_bytes()), Ok(false));
        assert_eq!(demands_more(None, SDP.as_bytes()), Ok(false));
        assert_eq!(demands("--c--"), Err(MultipartFault::NoPart));
    }

    #[test]
    fn parts_within_parts_and_choices() {
        let choice = "--in\r\nContent-Type: application/sdp\r\n\r\nv=poor\r\n--in\r\nContent-Type: application/sdp\r\n\r\nv=best\r\n--in--";
        let inner = ("Content-Type: multipart/alternative;boundary=in\r\n", choice);
        let body = mixed(&[inner]);
        assert_eq!(description(Some(MIXED), body.as_bytes()), Ok(Some(&b"v=best"[..])));
        let mut body = SDP.to_owned();
        for depth in 0..=DEPTH_MAX {
            let kind = if depth == 0 {
                "application/sdp".to_owned()
            } else {
                format!("multipart/mixed;boundary=b{}", depth - 1)
            };
            body = format!("--b{depth}\r\nContent-Type: {kind}\r\n\r\n{body}\r\n--b{depth}--\r\n");
            let outer = format!("multipart/mixed;boundary=b{depth}");
            let found = description(Some(&outer), body.as_bytes());
            assert_eq!(found.is_ok(), depth < DEPTH_MAX, "{depth}: {found:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let ours = ("Content-Type: application/sdp\r\n", SDP);
        let good = mixed(&[ours]);
        let many = mixed(&[("", "x"); PARTS_MAX + 1]);
        let long = format!("X: {}\r\n", "y".repeat(PART_HEADER_BYTES_MAX));
        let too_long = format!("multipart/mixed;boundary={}", "b".repeat(BOUNDARY_BYTES_MAX + 1));
        for (kind, body, fault) in [
            ("multipart/mixed", good.as_str(), MultipartFault::Boundary),
            ("multipart/mixed;boundary=", &good, MultipartFault::Boundary),
            (&too_long, &good, MultipartFault::Boundary),
            ("multipart/mixed;boundary=other", &good, MultipartFault::NoPart),
            (MIXED, "--b 1--", MultipartFault::NoPart),
            (MIXED, good.strip_suffix("--b 1--\r\n").unwrap(), MultipartFault::Unclosed),
            (MIXED, "--b 1\r\nContent-Type: application/sdp\r\n--b 1--", MultipartFault::PartHeaders),
            (MIXED, &mixed(&[(&long, SDP)]), MultipartFault::PartHeaders),
            (MIXED, &many, MultipartFault::TooMuch),
            (
                MIXED,
                &mixed(&[("Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n", "dj0w")]),
                MultipartFault::Encoding,
            ),
        ] {
            assert_eq!(description(Some(kind), body.as_bytes()), Err(fault), "{kind} {body}");
        }
        assert!(description(Some(MIXED), mixed(&[("", "x"); PARTS_MAX]).as_bytes()).is_ok());
    }

    #[test]
    fn mutated_bodies_never_panic() {
        let seed =
            mixed(&[("Content-Type: text/plain\r\n", "x"), ("Content-Type: application/sdp\r\n", SDP)]);
        crate::mutation::for_each(seed.as_bytes(), 5_000, |bytes| {
            if let Ok(Some(found)) = description(Some(MIXED), bytes) {
                assert!(found.len() <= bytes.len());
            }
            let _ = demands_more(Some(MIXED), bytes);
        });
        crate::mutation::for_each(MIXED.as_bytes(), 2_000, |bytes| {
            let _ = description(Some(&String::from_utf8_lossy(bytes)), seed.as_bytes());
        });
    }
}
