//! The SIP side of an order: whom to dial, by way of whom, how protected.

use sipcast_sip::order::{MediaSecurity, Transport};

use super::{CALLEE, FieldFault, MEDIA_SECURITY, SIP_PROXY};

/// `None`: a service profile may know whom to dial.
pub(super) fn callee(text: Option<String>) -> Result<Option<String>, FieldFault> {
    let Some(callee) = CALLEE.optional("callee", text)? else { return Ok(None) };
    let address = match callee.split_once(':') {
        Some((scheme, address)) if ["sip", "sips", "tel"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => {
            address
        }
        _ => callee.as_str(),
    };
    // RFC 3261 §19.1.1 advises against passwords in URIs; this one would be shown and logged.
    if address.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err(FieldFault::new("callee", "holds a password", CALLEE.expected));
    }
    Ok(Some(callee))
}

/// `host[:port][;transport=udp|tcp|tls]`, a leading `sip:` or `sips:` and a trailing `;lr` as SIP people write them.
pub(super) fn outbound_proxy(text: &str) -> Result<(String, Option<Transport>), FieldFault> {
    let bad = |problem| FieldFault::new("sipOutboundProxy", problem, SIP_PROXY.expected);
    let text = text.get(..4).filter(|s| s.eq_ignore_ascii_case("sip:")).map_or(text, |_| &text[4..]);
    // `sips:` stays: it says that nothing but TLS will do (RFC 3261 §26.2.2).
    let (scheme, text) = without_sips(text);
    let mut parts = text.split(';');
    let host_port = parts.next().unwrap_or_default();
    let mut chosen = None;
    for parameter in parts {
        match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("transport") => {
                chosen = Some(Transport::parse(value).ok_or_else(|| bad("names an unknown transport"))?);
            }
            None if parameter.eq_ignore_ascii_case("lr") => {}
            _ => return Err(bad("has an unknown parameter")),
        }
    }
    let (host, port) = match host_port.rsplit_once(':') {
        // An IPv6 address ends in `]` when no port follows.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_port, None),
    };
    if !is_host(host) {
        return Err(bad("is no host name or address"));
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|p| p != 0)) {
        return Err(bad("has a bad port"));
    }
    Ok((format!("{scheme}{host_port}"), chosen))
}

pub(super) fn media_security(text: Option<String>) -> Result<Option<MediaSecurity>, FieldFault> {
    match MEDIA_SECURITY.optional("mediaSecurity", text)?.map(|word| word.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("off") => Ok(Some(MediaSecurity::Off)),
        Some("opportunistic") => Ok(Some(MediaSecurity::Opportunistic)),
        Some("mandatory") => Ok(Some(MediaSecurity::Mandatory)),
        Some(_) => {
            Err(FieldFault::new("mediaSecurity", "is no known media security", MEDIA_SECURITY.expected))
        }
    }
}

/// A leading `sips:`, and what follows it.
pub(super) fn without_sips(text: &str) -> (&'static str, &str) {
    match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("sips:") => ("sips:", &text[5..]),
        _ => ("", text),
    }
}

/// A host name, an IPv4 address or an IPv6 address in brackets.
pub(super) fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    // Underscores are no host characters, yet private networks have them.
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbound_proxies_as_people_write_them() {
        let read = |text| outbound_proxy(text).map_err(|fault| fault.field.into_owned());
        assert_eq!(read("pbx.example"), Ok(("pbx.example".to_owned(), None)));
        assert_eq!(
            read("sip:10.0.0.1:5070;transport=TCP;lr"),
            Ok(("10.0.0.1:5070".to_owned(), Some(Transport::Tcp)))
        );
        assert_eq!(read("[::1]:5070"), Ok(("[::1]:5070".to_owned(), None)));
        assert_eq!(read("[::1]"), Ok(("[::1]".to_owned(), None)));
        for bad in ["", ":5060", "a:0", "a:b", "a;x=y", "a;transport=ws", "[::1", "a/b"] {
            assert_eq!(read(bad), Err("sipOutboundProxy".to_owned()), "{bad}");
        }
    }
}
