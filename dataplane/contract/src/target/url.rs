//! An RTMP URL taken apart: `rtmp[s]://[user[:password]@]host[:port]/app[/instance][?query]`.
//! Takes: text of an order. Gives: its parts, or which of them is wrong. Leaves out: look-ups, the stream name's meaning.

use std::fmt;
use std::net::Ipv6Addr;

use super::Credentials;
use crate::Secret;

/// An `rtmp://` or `rtmps://` URL taken apart. Its `Display` and `Debug` leave out user, password and query.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RtmpUrl {
    is_tls: bool,
    host: String,
    port: u16,
    app: String,
    query: Secret<String>,
    credentials: Option<Secret<Credentials>>,
}

/// Why a text is no RTMP URL; says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtmpUrlError {
    /// The scheme is neither `rtmp://` nor `rtmps://`.
    Scheme,
    /// The scheme is one of a relative of RTMP that is not spoken here.
    OtherProtocol,
    /// User or password is not percent-encoded UTF-8.
    UserInfo,
    /// There is no host, or it is none.
    Host,
    /// The port is not a number in 1..=65535.
    Port,
    /// There is no application name after the host.
    App,
    /// Longer than [`RtmpUrl::LEN_MAX`] bytes, or holds a control character or a space.
    Characters,
}

impl fmt::Display for RtmpUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "must begin with rtmp:// or rtmps://",
            Self::OtherProtocol => {
                "names a protocol that is not spoken here (RTMPT, RTMPE, RTMFP, SRT): expected rtmp:// or rtmps://"
            }
            Self::UserInfo => {
                "holds a user or password that is not percent-encoded: write @ as %40, : as %3A, / as %2F, % as %25"
            }
            Self::Host => "names no host: expected rtmp://host[:port]/app, an IPv6 address in brackets",
            Self::Port => "has a bad port: expected a number from 1 to 65535 after the host",
            Self::App => "names no application: expected rtmp://host[:port]/app",
            Self::Characters => "is longer than 1024 bytes or holds spaces or control characters",
        })
    }
}

impl std::error::Error for RtmpUrlError {}

impl RtmpUrl {
    /// Longest URL taken, in bytes.
    pub const LEN_MAX: usize = 1024;

    /// Default RTMP port (IANA: macromedia-fcs).
    pub const PORT_DEFAULT: u16 = 1935;

    /// Default port of RTMP in TLS: what CDNs and encoders use.
    pub const PORT_DEFAULT_TLS: u16 = 443;

    /// Parses `rtmp[s]://[user[:password]@]host[:port]/app[/instance][?query]`. User and password are
    /// percent-decoded, everything else stays as it is: servers compare application and query byte for byte.
    ///
    /// # Errors
    /// One variant per part that is wrong.
    pub fn parse(text: &str) -> Result<Self, RtmpUrlError> {
        let text = text.trim();
        if text.len() > Self::LEN_MAX || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(RtmpUrlError::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(RtmpUrlError::Scheme)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "rtmp" => false,
            "rtmps" => true,
            "rtmpt" | "rtmpe" | "rtmpte" | "rtmpts" | "rtmfp" | "srt" => {
                return Err(RtmpUrlError::OtherProtocol);
            }
            _ => return Err(RtmpUrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => (Some(read_user_info(user_info)?), host_port),
            None => (None, authority),
        };
        let (host, port) = split_host_port(host_port)?;
        let port = port.unwrap_or(if is_tls { Self::PORT_DEFAULT_TLS } else { Self::PORT_DEFAULT });
        let (app, query) = path.split_once('?').unwrap_or((path, ""));
        let app = app.trim_matches('/');
        if app.is_empty() {
            return Err(RtmpUrlError::App);
        }
        Ok(Self {
            is_tls,
            host,
            port,
            app: app.to_owned(),
            query: Secret::new(query.to_owned()),
            credentials,
        })
    }

    /// Takes a URL whose last path part is the stream name (`rtmpTransponderFullUrl`) apart: `…/app/name`,
    /// `…/app/name?query of the name`, and `…/app?query of the app/name`.
    ///
    /// # Errors
    /// As [`RtmpUrl::parse`]; `App` also when there is no stream name.
    pub fn parse_with_stream(text: &str) -> Result<(Self, Secret<String>), RtmpUrlError> {
        let text = text.trim();
        let path_begin = text.find("://").map_or(0, |at| at + 3);
        let path_end = text.find('?').unwrap_or(text.len()).max(path_begin);
        // One slash is the one behind the host. Fewer than two: the name stands behind the application's query.
        let is_behind_query = text[path_begin..path_end].matches('/').count() < 2;
        let end = if is_behind_query { text.len() } else { path_end };
        let slash = text[..end].rfind('/').filter(|&slash| slash >= path_begin).ok_or(RtmpUrlError::App)?;
        let (base, name) = (&text[..slash], &text[slash + 1..]);
        // The whole is checked too: its length, and what is in the name.
        Self::parse(text)?;
        if name.is_empty() || name.starts_with('?') {
            return Err(RtmpUrlError::App);
        }
        Ok((Self::parse(base)?, Secret::new(name.to_owned())))
    }

    /// Whether RTMP travels in TLS (`rtmps://`).
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `app` of the connect command, without query.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// `app` of the connect command, with its query where there is one.
    pub fn app_with_query(&self) -> String {
        match self.query.reveal().as_str() {
            "" => self.app.clone(),
            query => format!("{}?{query}", self.app),
        }
    }

    /// User and password from the URL.
    pub const fn credentials(&self) -> Option<&Secret<Credentials>> {
        self.credentials.as_ref()
    }

    /// `tcUrl` of the connect command (§7.2.1.1): no credentials.
    pub fn tc_url(&self) -> String {
        format!("{}/{}", self.origin(), self.app_with_query())
    }

    /// Scheme, host and port where it is not the default.
    fn origin(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_tls, self.port) {
            (false, Self::PORT_DEFAULT) => format!("rtmp://{host}"),
            (true, Self::PORT_DEFAULT_TLS) => format!("rtmps://{host}"),
            (false, port) => format!("rtmp://{host}:{port}"),
            (true, port) => format!("rtmps://{host}:{port}"),
        }
    }
}

impl fmt::Display for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.origin(), self.app)
    }
}

impl fmt::Debug for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read_user_info(text: &str) -> Result<Secret<Credentials>, RtmpUrlError> {
    // RFC 3986 §3.2.1: the first colon ends the user; one in it is encoded.
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let credentials = Credentials { user: percent_decoded(user)?, password: percent_decoded(password)? };
    Ok(Secret::new(credentials))
}

/// RFC 3986 §2.1.
fn percent_decoded(text: &str) -> Result<String, RtmpUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(RtmpUrlError::UserInfo) };
        bytes.push((high << 4 | low) as u8);
        rest = &after[2..];
    }
    let decoded = String::from_utf8(bytes).map_err(|_| RtmpUrlError::UserInfo)?;
    if decoded.chars().any(char::is_control) { Err(RtmpUrlError::UserInfo) } else { Ok(decoded) }
}

fn split_host_port(text: &str) -> Result<(String, Option<u16>), RtmpUrlError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(RtmpUrlError::Host)?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(RtmpUrlError::Host);
        }
        match after.strip_prefix(':') {
            None if !after.is_empty() => return Err(RtmpUrlError::Port),
            port => (host, port),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    // Names in other scripts travel as their ASCII form (RFC 5890); underscores are in use inside networks.
    let is_host_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_host_byte) {
        return Err(RtmpUrlError::Host);
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok().filter(|&p| p != 0).ok_or(RtmpUrlError::Port)?),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user_and_password(text: &str) -> (String, String) {
        let url = RtmpUrl::parse(text).expect("valid");
        let Credentials { user, password } = url.credentials().expect("has them").reveal().clone();
        (user, password)
    }

    #[test]
    fn a_full_url_is_taken_apart_and_printed_without_its_secrets() {
        let url = RtmpUrl::parse("RTMP://bob:pw@cdn.example:1936/live/inst?key=s3cret").expect("valid");
        assert_eq!(
            (url.host(), url.port(), url.app(), url.is_tls()),
            ("cdn.example", 1936, "live/inst", false)
        );
        assert_eq!(url.app_with_query(), "live/inst?key=s3cret");
        assert_eq!(url.tc_url(), "rtmp://cdn.example:1936/live/inst?key=s3cret");
        assert_eq!(format!("{url} {url:?}"), ["rtmp://cdn.example:1936/live/inst"; 2].join(" "));
    }

    #[test]
    fn rtmps_has_a_port_of_its_own() {
        let url = RtmpUrl::parse("rtmps://a.rtmps.example/live2").expect("valid");
        assert_eq!((url.port(), url.is_tls()), (443, true));
        assert_eq!(url.tc_url(), "rtmps://a.rtmps.example/live2");
        let url = RtmpUrl::parse("rtmps://live.example:443/live/").expect("valid");
        assert_eq!(url.tc_url(), "rtmps://live.example/live");
        let url = RtmpUrl::parse("rtmps://live.example:1935/live").expect("valid");
        assert_eq!(url.tc_url(), "rtmps://live.example:1935/live");
        let url = RtmpUrl::parse("rtmp://live.example:443/live").expect("valid");
        assert_eq!(url.tc_url(), "rtmp://live.example:443/live");
    }

    #[test]
    fn only_user_info_is_percent_decoded() {
        let pair = |user: &str, password: &str| (user.to_owned(), password.to_owned());
        assert_eq!(user_and_password("rtmp://bob:pw@h/a"), pair("bob", "pw"));
        assert_eq!(user_and_password("rtmp://b%40b%3A:p%2Fw%25%c3%a4@h/a"), pair("b@b:", "p/w%ä"));
        assert_eq!(user_and_password("rtmp://bob@h/a"), pair("bob", ""));
        assert_eq!(user_and_password("rtmp://bob:p@w:x@h/a"), pair("bob", "p@w:x"), "as people write it");
        for bad in
            ["rtmp://b%4:x@h/a", "rtmp://b%zz@h/a", "rtmp://b:%ff@h/a", "rtmp://b:%0d@h/a", "rtmp://%@h/a"]
        {
            assert_eq!(RtmpUrl::parse(bad), Err(RtmpUrlError::UserInfo), "{bad}");
        }
        let url = RtmpUrl::parse("rtmp://h/li%20ve?a=%26&b").expect("valid");
        assert_eq!(url.app_with_query(), "li%20ve?a=%26&b");
    }

    #[test]
    fn an_ipv6_literal_keeps_its_brackets_in_tc_url() {
        let url = RtmpUrl::parse("rtmp://[::1]/live").expect("valid");
        assert_eq!((url.host(), url.port()), ("::1", 1935));
        assert_eq!(url.tc_url(), "rtmp://[::1]/live");
        let url = RtmpUrl::parse("rtmps://u:p@[2001:db8::1]:1443/live").expect("valid");
        assert_eq!((url.host(), url.port()), ("2001:db8::1", 1443));
        assert_eq!(url.tc_url(), "rtmps://[2001:db8::1]:1443/live");
    }

    #[test]
    fn each_wrong_part_has_its_own_error() {
        for (text, error) in [
            ("http://a/b", RtmpUrlError::Scheme),
            ("rtm", RtmpUrlError::Scheme),
            ("rtmpt://h/live", RtmpUrlError::OtherProtocol),
            ("RTMPE://h/live", RtmpUrlError::OtherProtocol),
            ("srt://h:9000/live", RtmpUrlError::OtherProtocol),
            ("rtmp:///live", RtmpUrlError::Host),
            ("rtmp://::1/live", RtmpUrlError::Host),
            ("rtmp://[::1/live", RtmpUrlError::Host),
            ("rtmp://[1.2.3.4]/live", RtmpUrlError::Host),
            ("rtmp://h?x/live", RtmpUrlError::Host),
            ("rtmp://h\\x/live", RtmpUrlError::Host),
            ("rtmp://[::1]1935/live", RtmpUrlError::Port),
            ("rtmp://h:0/live", RtmpUrlError::Port),
            ("rtmp://h:99999/live", RtmpUrlError::Port),
            ("rtmp://h", RtmpUrlError::App),
            ("rtmp://h/", RtmpUrlError::App),
            ("rtmp://h/?k=v", RtmpUrlError::App),
            ("rtmp://h/li ve", RtmpUrlError::Characters),
        ] {
            assert_eq!(RtmpUrl::parse(text), Err(error), "{text}");
        }
        let long = format!("rtmp://h/{}", "a".repeat(RtmpUrl::LEN_MAX));
        assert_eq!(RtmpUrl::parse(&long), Err(RtmpUrlError::Characters));
    }

    #[test]
    fn a_full_transponder_url_ends_in_the_stream_name() {
        for (text, tc_url, stream) in [
            ("rtmp://h/live/key?a=b/c", "rtmp://h/live", "key?a=b/c"),
            ("rtmps://h/live2/key?token=a&b=c", "rtmps://h/live2", "key?token=a&b=c"),
            ("rtmp://h/app/inst/key", "rtmp://h/app/inst", "key"),
            ("rtmp://h/app?auth=x&y=z/key", "rtmp://h/app?auth=x&y=z", "key"),
        ] {
            let (url, name) = RtmpUrl::parse_with_stream(text).expect("valid");
            assert_eq!((url.tc_url().as_str(), name.reveal().as_str()), (tc_url, stream), "{text}");
        }
        for text in ["rtmp://h/live", "rtmp://h/live/", "rtmp://h", "rtmp://h/live?a=b", "rtmp://h/live/?k"] {
            assert!(RtmpUrl::parse_with_stream(text).is_err(), "{text}");
        }
    }
}
