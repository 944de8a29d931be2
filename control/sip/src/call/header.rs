//! Headers of a message in the form the driver gives them: names as they came, compact or long, in order.

use crate::multipart::{self, MultipartFault};

/// Compact forms (RFC 3261 §7.3.3, RFC 4028 §4) beside the long names.
pub(super) fn is_named(name: &str, wanted: &str) -> bool {
    let compact = match wanted {
        "Contact" => "m",
        "Content-Type" => "c",
        "Supported" => "k",
        "Session-Expires" => "x",
        "To" => "t",
        "From" => "f",
        _ => "",
    };
    name.eq_ignore_ascii_case(wanted) || (!compact.is_empty() && name.eq_ignore_ascii_case(compact))
}

pub(super) fn all<'a>(
    headers: &'a [(&'a str, &'a str)],
    wanted: &'static str,
) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(name, _)| is_named(name, wanted)).map(|(_, value)| *value)
}

pub(super) fn first<'a>(headers: &'a [(&'a str, &'a str)], wanted: &'static str) -> Option<&'a str> {
    all(headers, wanted).next()
}

/// Whether a comma-separated list header names `item`.
pub(super) fn lists(headers: &[(&str, &str)], wanted: &'static str, item: &str) -> bool {
    all(headers, wanted).flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(item))
}

pub(super) fn tag(headers: &[(&str, &str)]) -> Option<String> {
    tag_of(headers, "To")
}

pub(super) fn tag_of(headers: &[(&str, &str)], name: &'static str) -> Option<String> {
    let address = first(headers, name)?;
    let parameters = address.rsplit('>').next()?;
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("tag").then(|| value.trim().to_owned())
    })
}

/// The session description in a message's body.
pub(super) fn description<'a>(
    headers: &[(&str, &str)],
    body: &'a [u8],
) -> Result<Option<&'a [u8]>, MultipartFault> {
    multipart::description(first(headers, "Content-Type"), body)
}

/// Whether a request's body has a part that must be understood and is not.
pub(super) fn demands_more(headers: &[(&str, &str)], body: &[u8]) -> bool {
    // What cannot be read at all, `description` says.
    !body.is_empty() && multipart::demands_more(first(headers, "Content-Type"), body).unwrap_or(false)
}
