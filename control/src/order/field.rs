//! Fields of orders: what each may hold, and what is said when it does not.

use std::borrow::Cow;

use sipcast_contract::RtmpUrl;

/// What is wrong with an order: no value is repeated, it may be a password or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldFault {
    /// Path of the field in camelCase, such as `sipPort` or `targets[1].rtmpUrl`.
    pub(crate) field: Cow<'static, str>,
    /// For people: what is wrong with it.
    pub(crate) problem: Cow<'static, str>,
    /// For people: what would be right.
    pub(crate) expected: Cow<'static, str>,
    /// It could be done, yet must not (`access`).
    pub(crate) forbidden: bool,
}

impl FieldFault {
    /// A fault of `field`.
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        problem: impl Into<Cow<'static, str>>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), problem: problem.into(), expected: expected.into(), forbidden: false }
    }

    /// `field` names a host that the operator does not want reached.
    pub(crate) fn forbidden(field: impl Into<Cow<'static, str>>) -> Self {
        Self { forbidden: true, ..Self::new(field, DENIED, DENIED_EXPECTED) }
    }

    pub(crate) fn within(self, at: &str) -> Self {
        if at.is_empty() { self } else { Self { field: format!("{at}{}", self.field).into(), ..self } }
    }
}

/// Words of a host that must not be reached.
pub(crate) const DENIED: &str = "names a host that this server may not reach";
pub(crate) const DENIED_EXPECTED: &str = "a host that [access] of the configuration admits";

/// What a text field may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    /// Bytes at most.
    pub(crate) len_max: usize,
    /// Spaces, quotes and angle brackets are taken. Control characters never are: they would split header lines.
    pub(crate) free: bool,
    /// For people.
    pub(crate) expected: &'static str,
}

impl Text {
    /// A word: no spaces, quotes or angle brackets.
    pub(crate) const fn word(len_max: usize, expected: &'static str) -> Self {
        Self { len_max, free: false, expected }
    }

    /// Any printable text.
    pub(crate) const fn free(len_max: usize, expected: &'static str) -> Self {
        Self { len_max, free: true, expected }
    }

    /// A text that may be absent; an empty one is.
    pub(crate) fn optional(
        self,
        field: &'static str,
        text: Option<String>,
    ) -> Result<Option<String>, FieldFault> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
        let fault = |problem: Cow<'static, str>| Err(FieldFault::new(field, problem, self.expected));
        if text.len() > self.len_max {
            return fault(format!("is longer than {} bytes", self.len_max).into());
        }
        if text.chars().any(char::is_control) {
            return fault("holds a control character".into());
        }
        let splits_a_word = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\\');
        if !self.free && text.chars().any(splits_a_word) {
            return fault("holds a space, quote, backslash or angle bracket".into());
        }
        Ok(Some(text))
    }

    /// A text that must be there.
    pub(crate) fn required(self, field: &'static str, text: Option<String>) -> Result<String, FieldFault> {
        self.optional(field, text)?.ok_or_else(|| FieldFault::new(field, "is missing", self.expected))
    }
}

/// For people.
pub(crate) const PORT_EXPECTED: &str = "a number from 1 to 65535";

pub(crate) const CALL_ID: Text = Text::free(128, "1 to 128 characters, unique among live calls");
pub(crate) const CALLEE: Text =
    Text::word(256, "a user part, user@host or sip: URI of 1 to 256 characters without spaces");
pub(crate) const STATUS: Text = Text::word(
    32,
    "NEW, PENDING, TRYING, RING, RING_MEDIA, SESSION_PROGRESS, ESTABLISHED, HOLD, FINISH, BUSY or FAILED",
);
pub(crate) const DTMF: Text =
    Text::free(256, "digits 0-9 * # A-D; a comma pauses one second; at most 64 of them");
pub(crate) const DTMF_TYPE: Text = Text::word(16, "RFC2833, INFO or INFO_RELAY");
pub(crate) const APP_KEY: Text = Text::free(128, "up to 128 characters");
pub(crate) const SIP_LOGIN: Text = Text::word(128, "a user part of 1 to 128 characters without spaces");
pub(crate) const SIP_NAME: Text = Text::free(128, "up to 128 printable characters");
pub(crate) const SIP_PASSWORD: Text = Text::free(256, "up to 256 printable characters");
pub(crate) const SIP_DOMAIN: Text =
    Text::word(253, "a host name, an IPv4 address or an IPv6 address in brackets");
pub(crate) const SIP_PROXY: Text = Text::word(300, "host[:port], optionally with ;transport=udp, tcp or tls");
pub(crate) const SIP_TRANSPORT: Text = Text::word(8, "udp, tcp or tls");
pub(crate) const VISIBLE_NAME: Text = Text::free(128, "up to 128 printable characters");
pub(crate) const MEDIA_SECURITY: Text = Text::word(16, "off, opportunistic or mandatory");
pub(crate) const RTMP_URL: Text = Text::free(RtmpUrl::LEN_MAX, "rtmp[s]://[user:password@]host[:port]/app");
pub(crate) const STREAM_NAME: Text = Text::word(512, "a stream name of 1 to 512 characters without spaces");
/// Longer than [`STREAM_NAME`]: a prefix may have been put before it, and keys are long.
pub(crate) const PUBLISHED_NAME: Text =
    Text::word(1024, "a stream name of 1 to 1024 characters without spaces");
pub(crate) const RTMP_SERVICE: Text = Text::free(64, "a service that contracts name, or none");
pub(crate) const RTMP_AUDIO: Text = Text::word(8, "aac or source");
pub(crate) const RTMP_USER: Text = Text::free(128, "up to 128 printable characters, with rtmpPassword");
pub(crate) const RTMP_PASSWORD: Text = Text::free(256, "up to 256 printable characters");
/// `tcUrl`, `pageUrl`, `swfUrl`: whatever the server wants to read there.
pub(crate) const CONNECT_URL: Text =
    Text::word(RtmpUrl::LEN_MAX, "a URL of up to 1024 characters without spaces");
pub(crate) const FLASH_VERSION: Text = Text::free(128, "up to 128 printable characters");
