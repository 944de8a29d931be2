//! Masks what must not be seen in a SIP message that is kept to show: credentials, keys, passcodes, digits.
//! Takes: a message as text, the secrets of its call. Gives: the same message with [`MASK`] in their place.
//! Leaves out: keeping it (`sipcast-control`, `sip_endpoint::ladder`).
//!
//! Masking happens before a message is kept, so that no view of it can forget to.

use sipcast_contract::Secret;

/// Stands for what is masked.
pub const MASK: &str = "***";
/// Secrets shorter than this are looked for in user parts of URIs only: `1` stands everywhere in a message.
const ANYWHERE_LEN_MIN: usize = 4;
/// Parameters of Authorization that say who asks and how, but prove nothing (RFC 7616 §3.4).
const SHOWN_PARAMETERS: [&str; 7] = ["username", "realm", "uri", "algorithm", "qop", "nc", "stale"];
/// Headers whose value proves an identity.
const CREDENTIALS: [&str; 4] =
    ["Authorization", "Proxy-Authorization", "Authentication-Info", "Proxy-Authentication-Info"];
/// SRTP keys (RFC 4567 §3, RFC 4566 §5.12) and the password of ICE (RFC 8839 §5.4); `a=crypto` is masked in part.
const KEY_LINES: [&str; 3] = ["a=key-mgmt:", "k=", "a=ice-pwd:"];

/// `message` (head, empty line, body) without secrets. `secrets` are passcodes and passwords of the call.
pub fn masked(message: &str, secrets: &[Secret<String>]) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let mut shown = String::with_capacity(message.len());
    let mut is_digits = false;
    for (number, line) in head.split("\r\n").enumerate() {
        if number > 0 {
            shown.push_str("\r\n");
        }
        match line.split_once(':') {
            Some((name, value)) if number > 0 => {
                let name = name.trim();
                if name.eq_ignore_ascii_case("Content-Type") || name.eq_ignore_ascii_case("c") {
                    let kind = value.split(';').next().unwrap_or("").trim();
                    is_digits = kind.eq_ignore_ascii_case("application/dtmf");
                }
                if CREDENTIALS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                    shown.push_str(name);
                    shown.push_str(": ");
                    shown.push_str(&without(&masked_credentials(value.trim()), secrets));
                } else {
                    shown.push_str(&masked_uris(&without(line, secrets), secrets));
                }
            }
            _ => shown.push_str(&masked_uris(&without(line, secrets), secrets)),
        }
    }
    shown.push_str("\r\n\r\n");
    if is_digits && !body.is_empty() {
        shown.push_str(MASK);
        return shown;
    }
    for line in body.split_inclusive('\n') {
        shown.push_str(&without(&masked_body_line(line), secrets));
    }
    shown
}

/// `text` without the secrets, for reasons and phrases that a peer may have made of what we sent.
pub fn without(text: &str, secrets: &[Secret<String>]) -> String {
    let mut shown = text.to_owned();
    for secret in secrets.iter().map(Secret::reveal).filter(|secret| secret.len() >= ANYWHERE_LEN_MIN) {
        if shown.contains(secret.as_str()) {
            shown = shown.replace(secret.as_str(), MASK);
        }
    }
    shown
}

/// A digest keeps what names user and realm and loses what proves anything; other schemes lose all.
fn masked_credentials(value: &str) -> String {
    let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
    let (scheme, rest) = if scheme.contains('=') { ("", value) } else { (scheme, rest) };
    if !scheme.is_empty() && !scheme.eq_ignore_ascii_case("Digest") {
        return format!("{scheme} {MASK}");
    }
    let parameters: Vec<String> = split_unquoted(rest)
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = name.trim();
            let shown = SHOWN_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known));
            let value = if shown { value.trim() } else { MASK };
            format!("{name}={}", masked_uris(value, &[]))
        })
        .collect();
    let separator = if scheme.is_empty() { "" } else { " " };
    format!("{scheme}{separator}{}", parameters.join(", "))
}

/// Parts between commas that stand outside quotes.
fn split_unquoted(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

/// `sip:user:password@` loses its password (RFC 3261 §19.1.1), and a user part every secret, however short.
fn masked_uris(line: &str, secrets: &[Secret<String>]) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = scheme_end(rest) {
        let (before, after) = rest.split_at(at);
        shown.push_str(before);
        let end = after.find(['>', ' ', '"', ',', '\t', '<']).unwrap_or(after.len());
        let Some(length) = after[..end].rfind('@') else {
            rest = after;
            continue;
        };
        let (user, password) = match after[..length].split_once(':') {
            Some((user, _)) => (user, true),
            None => (&after[..length], false),
        };
        let mut user = user.to_owned();
        for secret in secrets.iter().map(Secret::reveal).filter(|secret| !secret.is_empty()) {
            user = user.replace(secret.as_str(), MASK);
        }
        shown.push_str(&user);
        if password {
            shown.push(':');
            shown.push_str(MASK);
        }
        rest = &after[length..];
    }
    shown.push_str(rest);
    shown
}

/// Where the first `sip:` or `sips:` ends.
fn scheme_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find_map(|at| {
        ["sip:", "sips:"].iter().find_map(|scheme| {
            let end = at + scheme.len();
            bytes.get(at..end).is_some_and(|word| word.eq_ignore_ascii_case(scheme.as_bytes())).then_some(end)
        })
    })
}

fn masked_body_line(line: &str) -> String {
    let trimmed = line.trim_start();
    let starts =
        |prefix: &str| trimmed.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let end = if line.ends_with("\r\n") {
        "\r\n"
    } else if line.ends_with('\n') {
        "\n"
    } else {
        ""
    };
    if let Some(prefix) = KEY_LINES.iter().find(|prefix| starts(prefix)) {
        return format!("{prefix}{MASK}{end}");
    }
    if starts("a=crypto:") {
        // RFC 4568 §4: tag, suite, key parameters, session parameters; the suite is of use, the keys are not.
        let words: Vec<&str> = trimmed.trim_end().splitn(3, ' ').take(2).collect();
        return format!("{} {MASK}{end}", words.join(" "));
    }
    // application/dtmf-relay; the digits may be a passcode.
    if starts("signal")
        && let Some((name, _)) = trimmed.split_once('=')
    {
        return format!("{name}={MASK}{end}");
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(texts: &[&str]) -> Vec<Secret<String>> {
        texts.iter().map(|text| Secret::new((*text).to_owned())).collect()
    }

    #[test]
    fn credentials_say_who_and_prove_nothing() {
        let shown = masked(
            "REGISTER sip:pbx SIP/2.0\r\nAuthorization: Digest username=\"a, b\", realm=\"r\", nonce=\"n1\", \
             uri=\"sip:pbx\", response=\"0123\", cnonce=\"c\", nc=00000001\r\nproxy-authorization: Bearer abc\r\n\r\n",
            &[],
        );
        assert_eq!(
            shown,
            "REGISTER sip:pbx SIP/2.0\r\nAuthorization: Digest username=\"a, b\", realm=\"r\", nonce=***, \
             uri=\"sip:pbx\", response=***, cnonce=***, nc=00000001\r\nproxy-authorization: Bearer ***\r\n\r\n"
        );
    }

    #[test]
    fn keys_digits_and_passcodes_are_masked_wherever_they_stand() {
        let sdp = "INVITE sip:123.4567@x SIP/2.0\r\nTo: \"4567\" <sip:123.4567:pw@x>;tag=1\r\n\r\n\
                   v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20 UNENCRYPTED_SRTCP\r\nk=clear:KEY\r\n\
                   a=ice-pwd:KEY\r\na=sendrecv\r\n";
        assert_eq!(
            masked(sdp, &secrets(&["4567"])),
            "INVITE sip:123.***@x SIP/2.0\r\nTo: \"***\" <sip:123.***:***@x>;tag=1\r\n\r\n\
             v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 ***\r\nk=***\r\na=ice-pwd:***\r\na=sendrecv\r\n"
        );
        // A short one is looked for where passcodes stand.
        assert_eq!(
            masked("INVITE sip:22.1@h1 SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n", &secrets(&["1"])),
            "INVITE sip:22.***@h1 SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let info =
            "INFO sip:x SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=5\r\nDuration=160\r\n";
        assert!(masked(info, &[]).ends_with("Signal=***\r\nDuration=160\r\n"));
        let info = "INFO sip:x SIP/2.0\r\nc: application/dtmf ;x\r\n\r\n5";
        assert!(masked(info, &[]).ends_with("\r\n\r\n***"));
        assert_eq!(without("no meeting 4567", &secrets(&["4567", ""])), "no meeting ***");
    }

    #[test]
    fn mutated_messages_never_panic_and_plain_ones_stay() {
        let plain = "SIP/2.0 200 OK\r\nFrom: <sip:a@b>;tag=1\r\nContact: sip:c@d\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n";
        assert_eq!(masked(plain, &secrets(&["hidden"])), plain);
        crate::mutation::for_each(
            b"INVITE sip:1:2@x SIP/2.0\r\nAuthorization: Digest a=\"b\\\"\", c=d\r\n\r\na=crypto:1 X inline:y\r\nSignal=1",
            3_000,
            |bytes| drop(masked(&String::from_utf8_lossy(bytes), &secrets(&["1"]))),
        );
    }
}
