//! An RTMP URL as an order wrote it: kept to recognise it, shown without what must not be shown.
//! Takes: the text. Gives: the text without user, password and keys. Leaves out: what the URL means (`RtmpUrl`).

use sipcast_contract::Secret;

/// The text of an RTMP URL. Answers name it by [`OrderedUrl::shown`]; whoever may ask for a call need not know the
/// password that it publishes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderedUrl {
    text: Secret<String>,
    shown: String,
}

impl OrderedUrl {
    /// `text`, which is a valid RTMP URL.
    pub(crate) fn new(text: String) -> Self {
        let text = text.trim().to_owned();
        let shown = without_secrets(&text);
        Self { text: Secret::new(text), shown }
    }

    /// `text`, whose last path part is a stream name and so, often, a key.
    pub(crate) fn with_stream(text: String) -> Self {
        let mut url = Self::new(text);
        let path = url.shown.find('?').unwrap_or(url.shown.len());
        if let Some(slash) = url.shown[..path].rfind('/') {
            url.shown.truncate(slash + 1);
            url.shown.push_str(MASK);
        }
        url
    }

    /// As it was ordered, but for user, password and query.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether a search for `text` means this URL: as it was ordered, or as it is shown.
    pub(crate) fn is(&self, text: &str) -> bool {
        let text = text.trim();
        text == self.text.reveal() || text == self.shown
    }
}

fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return String::new() };
    let authority = rest.find('/').unwrap_or(rest.len());
    let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
    let (path, query) = rest[host..].split_once('?').map_or((&rest[host..], ""), |(path, _)| (path, "?"));
    format!("{scheme}://{path}{query}{}", if query.is_empty() { "" } else { MASK })
}

/// Stands for what is not shown.
const MASK: &str = "***";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_name_in_the_url_is_not_shown() {
        for text in ["rtmp://cdn/live/key", "rtmp://u:p@cdn/live/key?token=x/y"] {
            let url = OrderedUrl::with_stream(text.to_owned());
            assert_eq!(url.shown(), "rtmp://cdn/live/***");
            assert!(url.is(text));
        }
    }

    #[test]
    fn user_password_and_query_are_not_shown() {
        for (text, shown) in [
            ("rtmp://bob:pw@cdn:1936/live?key=y", "rtmp://cdn:1936/live?***"),
            ("RTMP://bob@cdn/live", "RTMP://cdn/live"),
            ("rtmp://bob:p@w@cdn/live", "rtmp://cdn/live"),
            ("rtmp://cdn/live/a@b", "rtmp://cdn/live/a@b"),
            (" rtmp://cdn/live ", "rtmp://cdn/live"),
        ] {
            let url = OrderedUrl::new(text.to_owned());
            assert_eq!(url.shown(), shown);
            assert!(url.is(text) && url.is(shown));
            assert!(!format!("{url:?}").contains("bob"), "{url:?}");
        }
        assert!(!OrderedUrl::new("rtmp://a:b@cdn/live".to_owned()).is("rtmp://a:c@cdn/live"));
    }
}
