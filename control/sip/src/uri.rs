//! SIP URIs and name-addrs (RFC 3261 §19.1, §20.10).
//! Takes: text of people and peers. Gives: checked parts, and their form on the wire.
//! Leaves out: what a call is addressed by (`addresses`). Every text that reaches a header passes here or through
//! [`check_header_text`], so that no order can add a header of its own.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::order::Transport;

/// Bytes of a URI or display name; longer ones are refused.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Port of SIP over UDP and TCP (RFC 3261 §18.2.1).
pub const DEFAULT_PORT: u16 = 5060;

/// Refuses text that would end a header line or hide in one.
///
/// # Errors
/// [`UriError`] naming `field` if `text` is too long or holds control characters.
pub fn check_header_text(field: &'static str, text: &str) -> Result<(), UriError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(UriError { field, problem: Problem::TooLong });
    }
    if text.chars().any(char::is_control) {
        return Err(UriError { field, problem: Problem::ControlCharacter });
    }
    Ok(())
}

/// A host of a URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to be resolved, lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A host with an optional port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port; `None`: the transport's default, or by SRV.
    pub port: Option<u16>,
}

impl HostPort {
    /// Reads `host`, `host:port`, `[v6]:port` or a bare IPv6 address.
    ///
    /// # Errors
    /// [`UriError`] naming `field`.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, UriError> {
        check_header_text(field, text)?;
        let text = text.trim();
        let bad = |problem| UriError { field, problem };
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { host: Host::Address(IpAddr::V6(address)), port: None });
        }
        let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
            let (address, rest) = inner.split_once(']').ok_or(bad(Problem::Host))?;
            let address: Ipv6Addr = address.parse().map_err(|_| bad(Problem::Host))?;
            (Host::Address(IpAddr::V6(address)), rest)
        } else {
            let end = text.find(':').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            (host_name(name).ok_or(bad(Problem::Host))?, rest)
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return Err(bad(Problem::Host)),
            Some(digits) => Some(port_number(digits).ok_or(bad(Problem::Port))?),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip()), port: Some(address.port()) }
    }
}

fn host_name(name: &str) -> Option<Host> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(Host::Address(address));
    }
    // Underscores are no host names by RFC 1123, yet container networks use them.
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let dots_right = !name.starts_with('.') && !name.contains("..");
    (!name.is_empty() && name.len() <= 253 && dots_right && name.bytes().all(legal))
        .then(|| Host::Name(name.to_ascii_lowercase()))
}

fn port_number(digits: &str) -> Option<u16> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0)
}

/// A `sip:` or `sips:` URI without password and headers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SipUri {
    /// `sips:`.
    pub secure: bool,
    /// User part, escaped as it is written.
    pub user: Option<String>,
    /// Host and port.
    pub host_port: HostPort,
    /// Parameters in order, escaped as they are written.
    pub parameters: Vec<(String, Option<String>)>,
}

impl SipUri {
    /// `sip:user@host_port` from an unescaped user part.
    ///
    /// # Errors
    /// [`UriError`] naming `field`.
    pub fn new(field: &'static str, user: Option<&str>, host_port: HostPort) -> Result<Self, UriError> {
        let user = match user {
            None | Some("") => None,
            Some(user) => {
                check_header_text(field, user)?;
                Some(escape_user(user))
            }
        };
        Ok(Self { secure: false, user, host_port, parameters: Vec::new() })
    }

    /// Reads a `sip:` or `sips:` URI.
    ///
    /// # Errors
    /// [`UriError`] naming `field`. A password (RFC 3261 §19.1.1 advises against it) and `?headers` are refused:
    /// the first would show in logs, the second would add headers to our request.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, UriError> {
        check_header_text(field, text)?;
        let bad = |problem| UriError { field, problem };
        let (scheme, rest) = text.trim().split_once(':').ok_or(bad(Problem::Scheme))?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("sip") => false,
            _ if scheme.eq_ignore_ascii_case("sips") => true,
            _ => return Err(bad(Problem::Scheme)),
        };
        // The user part may hold ';' and '?', so the host part begins after the last '@'.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if rest.contains('?') {
            return Err(bad(Problem::Headers));
        }
        let user = match user {
            None => None,
            Some("") => return Err(bad(Problem::User)),
            Some(user) if user.contains(':') => return Err(bad(Problem::Password)),
            Some(user) => Some(escape_user(user)),
        };
        let mut parts = rest.split(';');
        let host_port = HostPort::parse(field, parts.next().unwrap_or(""))?;
        let mut parameters = Vec::new();
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (parameter, None),
            };
            let legal = |text: &str| !text.is_empty() && text.bytes().all(is_parameter_character);
            if !legal(name) || value.is_some_and(|value| !legal(value)) {
                return Err(bad(Problem::Parameter));
            }
            parameters.push((name.to_owned(), value.map(str::to_owned)));
        }
        Ok(Self { secure, user, host_port, parameters })
    }

    /// Value of a parameter; `Some("")` for one without value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_deref().unwrap_or(""))
    }

    /// The transport that the URI asks for; `None`: none named, or one that we lack.
    pub fn transport(&self) -> Option<Transport> {
        Transport::parse(self.parameter("transport")?)
    }

    /// Adds `;transport=` unless one is there. UDP is the default and is not written (RFC 3261 §19.1.2); `sips:` says
    /// TLS by itself, and `transport=tls` beside it is barred (RFC 5630 §3.1.4).
    pub(crate) fn with_transport(mut self, transport: Option<Transport>) -> Self {
        if let Some(transport @ (Transport::Tcp | Transport::Tls)) = transport
            && !self.secure
            && self.parameter("transport").is_none()
        {
            self.parameters.push(("transport".to_owned(), Some(transport.name().to_owned())));
        }
        self
    }

    /// The same at another place of ours: host, port and transport.
    pub fn moved(mut self, local: SocketAddr, transport: Transport) -> Self {
        self.host_port = HostPort::from(local);
        self.parameters.retain(|(name, _)| !name.eq_ignore_ascii_case("transport"));
        self.with_transport(Some(transport))
    }

    /// Without what RFC 3261 §19.1.1 (table 1) bars from From and To: port, transport, lr, maddr, ttl, method.
    pub(crate) fn as_address_of_record(&self) -> Self {
        const BARRED: [&str; 5] = ["transport", "lr", "maddr", "ttl", "method"];
        let parameters = self
            .parameters
            .iter()
            .filter(|(name, _)| !BARRED.iter().any(|barred| name.eq_ignore_ascii_case(barred)))
            .cloned()
            .collect();
        let host_port = HostPort { host: self.host_port.host.clone(), port: None };
        Self { secure: self.secure, user: self.user.clone(), host_port, parameters }
    }

    /// Whether two URIs name the same target (RFC 3261 §19.1.4, without default ports being equal to none).
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.user == other.user
            && self.host_port == other.host_port
            && ["transport", "maddr", "user"].iter().all(|name| {
                let ours = self.parameter(name).map(str::to_ascii_lowercase);
                ours == other.parameter(name).map(str::to_ascii_lowercase)
            })
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", self.host_port)?;
        for (name, value) in &self.parameters {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for SipUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse("uri", text)
    }
}

/// Escapes what may not stand in a user part (RFC 3261 §25.1: unreserved / user-unreserved); `%xx` stays.
fn escape_user(user: &str) -> String {
    let bytes = user.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    for (index, byte) in bytes.iter().copied().enumerate() {
        let is_escape = byte == b'%'
            && bytes.get(index + 1).is_some_and(u8::is_ascii_hexdigit)
            && bytes.get(index + 2).is_some_and(u8::is_ascii_hexdigit);
        if is_escape || byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    out
}

/// paramchar (RFC 3261 §25.1).
fn is_parameter_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$%".contains(&byte)
}

/// A name-addr: `"Name" <uri>`, the name quoted and escaped (RFC 3261 §20.10).
///
/// # Errors
/// [`UriError`] naming `field` if the name holds control characters or is too long.
pub fn name_address(field: &'static str, name: Option<&str>, uri: &SipUri) -> Result<String, UriError> {
    match name {
        None | Some("") => Ok(format!("<{uri}>")),
        Some(name) => {
            check_header_text(field, name)?;
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            Ok(format!("\"{name}\" <{uri}>"))
        }
    }
}

/// A text of an order that cannot be dialled. `field` is its name in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct UriError {
    /// Which text.
    pub field: &'static str,
    /// What is wrong and what to change.
    pub problem: Problem,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Over [`TEXT_BYTES_MAX`].
    #[error("longer than 1024 bytes")]
    TooLong,
    /// CR, LF, NUL and the like.
    #[error("holds a control character: remove it")]
    ControlCharacter,
    /// Neither name nor address.
    #[error("not a host name, IPv4 address or [IPv6 address]")]
    Host,
    /// No number from 1 to 65535.
    #[error("port is not a number from 1 to 65535")]
    Port,
    /// Not `sip:` or `sips:`.
    #[error("not a sip: or sips: URI")]
    Scheme,
    /// No user part.
    #[error("user part is empty")]
    User,
    /// `user:password@`.
    #[error("holds a password: use the account's password field")]
    Password,
    /// `?Header=value`.
    #[error("holds URI headers after '?': remove them")]
    Headers,
    /// A parameter with characters that are not allowed.
    #[error("URI parameter is empty or holds illegal characters")]
    Parameter,
    /// No telephone number.
    #[error("not a telephone number")]
    Number,
}
