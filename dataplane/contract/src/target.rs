//! An RTMP target: where one copy of a broadcast is published (Adobe RTMP 1.0 §7.2).

use std::fmt;
use std::net::SocketAddr;

use crate::Secret;

/// What the publisher needs to reach and name a target. The stream name is often a key: it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtmpTarget {
    /// Parsed URL.
    pub url: RtmpUrl,
    /// Stream name given to `publish`, secret because CDNs use it as the key.
    pub stream_name: Secret<String>,
    /// Resolved addresses, tried in turn; never empty.
    pub addresses: Vec<SocketAddr>,
    /// Start with audio replaced by silence.
    pub muted: bool,
    /// `flashVer` for `connect`.
    pub flash_version: String,
}

impl RtmpTarget {
    /// What FMLE names itself: the encoder that RTMP servers and CDNs know; some refuse others.
    pub const FLASH_VERSION_DEFAULT: &'static str = "FMLE/3.0 (compatible; FMSc/1.0)";

    /// A target with everything else at its default.
    pub fn new(url: RtmpUrl, stream_name: Secret<String>, addresses: Vec<SocketAddr>) -> Self {
        let flash_version = Self::FLASH_VERSION_DEFAULT.to_owned();
        Self { url, stream_name, addresses, muted: false, flash_version }
    }
}

/// An `rtmp://` URL taken apart. Its `Display` and `Debug` leave out user, password and query.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RtmpUrl {
    host: String,
    port: u16,
    app: String,
    query: Secret<String>,
    credentials: Option<Secret<(String, String)>>,
}

/// Why a text is no RTMP URL; says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtmpUrlError {
    /// The scheme is not `rtmp://`.
    Scheme,
    /// There is no host.
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
            Self::Scheme => "must begin with rtmp://",
            Self::Host => "names no host: expected rtmp://host[:port]/app",
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

    /// Parses `rtmp://[user:password@]host[:port]/app[/instance][?query]`.
    ///
    /// # Errors
    /// One variant per part that is wrong.
    pub fn parse(text: &str) -> Result<Self, RtmpUrlError> {
        let text = text.trim();
        if text.len() > Self::LEN_MAX || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(RtmpUrlError::Characters);
        }
        let rest = match text.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("rtmp://") => &text[7..],
            _ => return Err(RtmpUrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host_port) = match authority.rsplit_once('@') {
            Some((user_info, host_port)) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                (Some(Secret::new((user.to_owned(), password.to_owned()))), host_port)
            }
            None => (None, authority),
        };
        let (host, port) = split_host_port(host_port)?;
        let (app, query) = path.split_once('?').unwrap_or((path, ""));
        let app = app.trim_matches('/');
        if app.is_empty() {
            return Err(RtmpUrlError::App);
        }
        Ok(Self { host, port, app: app.to_owned(), query: Secret::new(query.to_owned()), credentials })
    }

    /// Takes a URL whose last path part is the stream name (`rtmpTransponderFullUrl`) apart.
    ///
    /// # Errors
    /// As [`RtmpUrl::parse`]; `App` also when there is only one path part.
    pub fn parse_with_stream(text: &str) -> Result<(Self, Secret<String>), RtmpUrlError> {
        let text = text.trim();
        let path_end = text.find('?').unwrap_or(text.len());
        let slash = text[..path_end].rfind('/').ok_or(RtmpUrlError::App)?;
        let (base, name) = (&text[..slash], &text[slash + 1..]);
        if name.is_empty() {
            return Err(RtmpUrlError::App);
        }
        Ok((Self::parse(base)?, Secret::new(name.to_owned())))
    }

    /// Host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `app` of the connect command, with its query where there is one.
    pub fn app_with_query(&self) -> String {
        match self.query.reveal().as_str() {
            "" => self.app.clone(),
            query => format!("{}?{query}", self.app),
        }
    }

    /// User and password from the URL.
    pub fn credentials(&self) -> Option<&(String, String)> {
        self.credentials.as_ref().map(Secret::reveal)
    }

    /// `tcUrl` of the connect command (§7.2.1.1): no credentials.
    pub fn tc_url(&self) -> String {
        format!("rtmp://{}/{}", self.authority(), self.app_with_query())
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == Self::PORT_DEFAULT { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rtmp://{}/{}", self.authority(), self.app)
    }
}

impl fmt::Debug for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn split_host_port(text: &str) -> Result<(String, u16), RtmpUrlError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(RtmpUrlError::Host)?;
        (host, after.strip_prefix(':'))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err(RtmpUrlError::Host);
    }
    let port = match port {
        None | Some("") => RtmpUrl::PORT_DEFAULT,
        Some(port) => port.parse().ok().filter(|&p| p != 0).ok_or(RtmpUrlError::Port)?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_url_is_taken_apart_and_printed_without_its_secrets() {
        let url = RtmpUrl::parse("RTMP://bob:pw@cdn.example:1936/live/inst?key=s3cret").expect("valid");
        assert_eq!((url.host(), url.port()), ("cdn.example", 1936));
        assert_eq!(url.app_with_query(), "live/inst?key=s3cret");
        assert_eq!(url.tc_url(), "rtmp://cdn.example:1936/live/inst?key=s3cret");
        assert_eq!(url.credentials(), Some(&("bob".to_owned(), "pw".to_owned())));
        assert_eq!(format!("{url} {url:?}"), ["rtmp://cdn.example:1936/live/inst"; 2].join(" "));
    }

    #[test]
    fn an_ipv6_literal_keeps_its_brackets_in_tc_url() {
        let url = RtmpUrl::parse("rtmp://[::1]/live").expect("valid");
        assert_eq!((url.host(), url.port()), ("::1", 1935));
        assert_eq!(url.tc_url(), "rtmp://[::1]/live");
    }

    #[test]
    fn each_wrong_part_has_its_own_error() {
        for (text, error) in [
            ("http://a/b", RtmpUrlError::Scheme),
            ("rtm", RtmpUrlError::Scheme),
            ("rtmp:///live", RtmpUrlError::Host),
            ("rtmp://h:0/live", RtmpUrlError::Port),
            ("rtmp://h:99999/live", RtmpUrlError::Port),
            ("rtmp://h", RtmpUrlError::App),
            ("rtmp://h/", RtmpUrlError::App),
            ("rtmp://h/li ve", RtmpUrlError::Characters),
        ] {
            assert_eq!(RtmpUrl::parse(text), Err(error), "{text}");
        }
        let long = format!("rtmp://h/{}", "a".repeat(RtmpUrl::LEN_MAX));
        assert_eq!(RtmpUrl::parse(&long), Err(RtmpUrlError::Characters));
    }

    #[test]
    fn a_full_transponder_url_ends_in_the_stream_name() {
        let (url, name) = RtmpUrl::parse_with_stream("rtmp://h/live/key?a=b/c").expect("valid");
        assert_eq!(url.tc_url(), "rtmp://h/live");
        assert_eq!(name.reveal(), "key?a=b/c");
    }
}
