//! An RTMP URL as an order wrote it: kept to recognise it, shown without what must not be shown.
//! Takes: the text. Gives: the text without user and password. Leaves out: what the URL means (`RtmpUrl`).

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
        let shown = without_credentials(&text);
        Self { text: Secret::new(text), shown }
    }

    /// As it was ordered, but for user and password.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether a search for `text` means this URL: as it was ordered, or as it is shown.
    pub(crate) fn is(&self, text: &str) -> bool {
        let text = text.trim();
        text == self.text.reveal() || text == self.shown
    }
}

fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return String::new() };
    let authority = rest.find('/').unwrap_or(rest.len());
    let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[host..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_not_shown() {
        for (text, shown) in [
            ("rtmp://bob:pw@cdn:1936/live?x=y", "rtmp://cdn:1936/live?x=y"),
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
