//! An RTMP target: where one copy of a broadcast is published (Adobe RTMP 1.0 §7.2).

use std::net::SocketAddr;

use crate::{Secret, TargetRules};

mod url;

pub use url::{RtmpUrl, RtmpUrlError};

/// What the publisher needs to reach and name a target. The stream name is often a key: it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtmpTarget {
    /// Parsed URL.
    pub url: RtmpUrl,
    /// Stream name given to `publish`, secret because CDNs use it as the key. Taken as it is: a query (`key?a=b&c=d`)
    /// belongs to it.
    pub stream_name: Secret<String>,
    /// Resolved addresses, tried in turn; never empty.
    pub addresses: Vec<SocketAddr>,
    /// Start with audio replaced by silence.
    pub muted: bool,
    /// How the sound is coded for it.
    pub audio: TargetAudio,
    /// `flashVer` for `connect`.
    pub flash_version: String,
    /// How far the server's certificate is trusted; of no consequence for `rtmp://`.
    pub tls: TlsTrust,
    /// User and password for servers that ask for them in `connect` (`authmod=adobe`, `authmod=llnw`).
    pub credentials: Option<Secret<Credentials>>,
    /// `tcUrl` for `connect`; `None`: the URL itself. Secret, as its query may be.
    pub tc_url: Option<Secret<String>>,
    /// `pageUrl` for `connect`; `None`: not sent.
    pub page_url: Option<Secret<String>>,
    /// `swfUrl` for `connect`; `None`: same as `tcUrl`, as encoders do.
    pub swf_url: Option<Secret<String>>,
    /// What its service demands while live.
    pub rules: TargetRules,
    /// Take the stream from the server instead of giving it one.
    pub plays: bool,
}

/// How sound is coded for a target (Adobe FLV 10.1, E.4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetAudio {
    /// Always AAC-LC, transcoded.
    #[default]
    Aac,
    /// As the call sends it where FLV has a sound format for that: G.711 and Speex wideband. Else AAC-LC.
    Source,
}

/// Which server certificates are taken (RFC 8446 §4.4.2.4, RFC 9525).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsTrust {
    /// Only one that a known root has signed for the URL's host.
    #[default]
    Verify,
    /// Any, self-signed ones too. The link is encrypted, yet whoever stands in between can read it.
    AcceptAny,
}

/// User and password of a target.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
}

/// What an order may say of a target besides its URL; `None`: the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RtmpParameters {
    /// `flashVer`.
    pub flash_version: Option<String>,
    /// Trust in the server's certificate.
    pub tls: Option<TlsTrust>,
    /// User and password; they go before those in the URL.
    pub credentials: Option<Secret<Credentials>>,
    /// `tcUrl`.
    pub tc_url: Option<Secret<String>>,
    /// `pageUrl`.
    pub page_url: Option<Secret<String>>,
    /// `swfUrl`.
    pub swf_url: Option<Secret<String>>,
}

impl RtmpTarget {
    /// What FMLE names itself: the encoder that RTMP servers and CDNs know; some refuse others.
    pub const FLASH_VERSION_DEFAULT: &'static str = "FMLE/3.0 (compatible; FMSc/1.0)";

    /// A target with everything else at its default; user and password are those of the URL.
    pub fn new(url: RtmpUrl, stream_name: Secret<String>, addresses: Vec<SocketAddr>) -> Self {
        Self {
            credentials: url.credentials().cloned(),
            url,
            stream_name,
            addresses,
            muted: false,
            audio: TargetAudio::default(),
            flash_version: Self::FLASH_VERSION_DEFAULT.to_owned(),
            tls: TlsTrust::default(),
            tc_url: None,
            page_url: None,
            swf_url: None,
            rules: TargetRules::default(),
            plays: false,
        }
    }

    /// The same with what an order says of it.
    #[must_use]
    pub fn with_parameters(mut self, parameters: RtmpParameters) -> Self {
        let RtmpParameters { flash_version, tls, credentials, tc_url, page_url, swf_url } = parameters;
        self.flash_version = flash_version.unwrap_or(self.flash_version);
        self.tls = tls.unwrap_or(self.tls);
        self.credentials = credentials.or(self.credentials);
        self.tc_url = tc_url.or(self.tc_url);
        self.page_url = page_url.or(self.page_url);
        self.swf_url = swf_url.or(self.swf_url);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_before_the_url_and_the_defaults() {
        let url = RtmpUrl::parse("rtmp://bob:pw@h/live").expect("valid");
        let target = RtmpTarget::new(url, Secret::new("key".to_owned()), Vec::new());
        assert_eq!(target.credentials.as_ref().map(|c| c.reveal().user.as_str()), Some("bob"));
        assert_eq!(target.clone().with_parameters(RtmpParameters::default()), target);
        let credentials = Credentials { user: "eve".to_owned(), password: "x".to_owned() };
        let parameters = RtmpParameters {
            flash_version: Some("FMLE/3.2".to_owned()),
            tls: Some(TlsTrust::AcceptAny),
            credentials: Some(Secret::new(credentials)),
            ..RtmpParameters::default()
        };
        let target = target.with_parameters(parameters);
        assert_eq!(target.credentials.as_ref().map(|c| c.reveal().user.as_str()), Some("eve"));
        assert_eq!((target.flash_version.as_str(), target.tls), ("FMLE/3.2", TlsTrust::AcceptAny));
        assert!(!format!("{target:?}").contains("eve"));
    }
}
