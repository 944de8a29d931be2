//! How published stream names follow from ordered ones: the API this one is compatible with puts a prefix,
//! `rtmp_` by default, before the source's name (wcs-api 1.3).
//! Takes: names as ordered. Gives: names as published, and whether two names mean the same stream.

/// The prefix of published stream names; may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPrefix(String);

/// The prefix is longer than [`StreamPrefix::LEN_MAX`] bytes or holds a character that a stream name cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream prefix must be at most 32 characters of A-Z, a-z, 0-9, '_', '-' and '.'")]
pub struct BadPrefix;

impl Default for StreamPrefix {
    fn default() -> Self {
        Self("rtmp_".to_owned())
    }
}

impl StreamPrefix {
    /// Longest prefix, in bytes.
    pub const LEN_MAX: usize = 32;

    /// Takes `text` as prefix; empty switches prefixing off.
    ///
    /// # Errors
    /// [`BadPrefix`].
    pub fn new(text: &str) -> Result<Self, BadPrefix> {
        let fits = text.len() <= Self::LEN_MAX
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadPrefix) }
    }

    /// The prefix itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that `name` is published as; a name that has the prefix already keeps it once.
    pub fn published(&self, name: &str) -> String {
        format!("{}{}", self.0, self.bare(name))
    }

    /// `name` without the prefix. A name that is nothing but the prefix is a name.
    pub fn bare<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.0.as_str()).filter(|rest| !rest.is_empty()).unwrap_or(name)
    }

    /// Whether two names, each with or without the prefix, mean one stream.
    pub fn same(&self, a: &str, b: &str) -> bool {
        self.bare(a) == self.bare(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_put_once() {
        let prefix = StreamPrefix::default();
        assert_eq!(prefix.published("hall"), "rtmp_hall");
        assert_eq!(prefix.published("rtmp_hall"), "rtmp_hall");
        assert_eq!(prefix.published("rtmp_"), "rtmp_rtmp_");
    }

    #[test]
    fn names_match_with_and_without_prefix() {
        let prefix = StreamPrefix::default();
        assert!(prefix.same("hall", "rtmp_hall"));
        assert!(prefix.same("rtmp_hall", "rtmp_hall"));
        assert!(!prefix.same("hall", "hall2"));
    }

    #[test]
    fn an_empty_prefix_leaves_names_alone() {
        let prefix = StreamPrefix::new("").expect("valid");
        assert_eq!(prefix.published("key"), "key");
        assert!(!prefix.same("key", "rtmp_key"));
    }

    #[test]
    fn a_prefix_that_no_name_can_have_is_refused() {
        assert_eq!(StreamPrefix::new("a b"), Err(BadPrefix));
        assert_eq!(StreamPrefix::new(&"x".repeat(33)), Err(BadPrefix));
    }
}
