//! Contact header values (RFC 3261 §20.10) of redirects and REGISTER responses.
//! Takes: header values, several to one line or not. Gives: URIs with `q` and `expires`.
//! Leaves out: what they are used for (`redirect`, `registration`).

use crate::session_timer::delta_seconds;
use crate::uri::SipUri;

/// Contacts read from one response; further ones are ignored.
pub const CONTACTS_MAX: usize = 32;
/// Bytes of one header value that are read; a longer one is ignored.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Where.
    pub uri: SipUri,
    /// `q` in thousandths, 0 to 1000; 1000 when missing.
    pub q_permille: u16,
    /// `expires` in seconds.
    pub expires_s: Option<u32>,
}

/// Reads header values; `*`, other schemes and what cannot be read are left out.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Contact> {
    let values = values.into_iter().filter(|value| value.len() <= HEADER_BYTES_MAX).take(CONTACTS_MAX);
    values.flat_map(elements).filter_map(read).take(CONTACTS_MAX).collect()
}

/// Splits at commas outside quotes and angle brackets.
fn elements(value: &str) -> Vec<&str> {
    let (mut quoted, mut escaped, mut bracketed, mut start) = (false, false, false, 0);
    let mut elements = Vec::new();
    for (index, character) in value.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' if !quoted && !bracketed => {
                elements.push(&value[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    elements.push(&value[start..]);
    elements
}

fn read(element: &str) -> Option<Contact> {
    let (uri, parameters) = match after_display_name(element).split_once('<') {
        Some((_, rest)) => rest.split_once('>')?,
        // RFC 3261 §20.10: without brackets, parameters belong to the header.
        None => {
            let element = element.trim();
            element.split_at(element.find(';').unwrap_or(element.len()))
        }
    };
    // Headers of a redirect's URI would be put into our INVITE; they are left out.
    let uri = SipUri::parse("Contact", uri.split('?').next()?).ok()?;
    let mut contact = Contact { uri, q_permille: 1000, expires_s: None };
    for parameter in parameters.split(';') {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("q") {
            contact.q_permille = q_permille(value.trim()).unwrap_or(1000);
        } else if name.trim().eq_ignore_ascii_case("expires") {
            contact.expires_s = delta_seconds(value.trim().trim_matches('"'));
        }
    }
    Some(contact)
}

/// What follows a quoted display name, which may hold `<`.
fn after_display_name(element: &str) -> &str {
    let Some(name) = element.trim_start().strip_prefix('"') else { return element };
    let mut escaped = false;
    for (index, character) in name.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &name[index + 1..],
            _ => {}
        }
    }
    ""
}

fn q_permille(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u16 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let fraction: u16 = digits.parse().ok()?;
    Some(whole.min(1).saturating_mul(1000).saturating_add(fraction).min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let contacts = parse([
            r#""A, \"<b>" <sip:a@h;transport=tcp>;q=0.7;expires=60, sip:b@h;expires=3600;q=1"#,
            "*",
            "<mailto:x@y>, <sip:c@[::1]:5070?Subject=x>;q=.25",
            "<sip:cut",
        ]);
        let read: Vec<_> = contacts.iter().map(|c| (c.uri.to_string(), c.q_permille, c.expires_s)).collect();
        assert_eq!(
            read,
            [
                ("sip:a@h;transport=tcp".to_owned(), 700, Some(60)),
                ("sip:b@h".to_owned(), 1000, Some(3600)),
                ("sip:c@[::1]:5070".to_owned(), 250, None),
            ]
        );
        assert_eq!(parse(["sip:a@b,".repeat(500).as_str()]).len(), CONTACTS_MAX);
    }

    #[test]
    fn mutated_values_never_panic() {
        crate::mutation::for_each(br#""A \"<" <sip:a@h>;q=0.7;expires=60, sip:b@h"#, 10_000, |bytes| {
            parse([String::from_utf8_lossy(bytes).as_ref()]);
        });
    }
}
