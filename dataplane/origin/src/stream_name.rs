//! Name of a stream: application and stream key, as RTMP clients and URLs give them.
//! Takes: text from the network. Gives: names within bounds. Leaves out: who may use them.

/// Longest application or stream key in bytes.
const LEN_MAX: usize = 256;

/// Application and stream key. `Debug` hides the key: who knows it may publish.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamName {
    app: String,
    stream: String,
}

/// Empty, too long, or with characters that fit no path segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream name is 1 to 256 bytes without slash, question mark, number sign or control characters")]
pub struct BadStreamName;

impl StreamName {
    /// From application and stream key; a query (`?token=...`) on either is cut off.
    ///
    /// # Errors
    /// [`BadStreamName`].
    pub fn new(app: &str, stream: &str) -> Result<Self, BadStreamName> {
        Ok(Self { app: segment(app)?, stream: segment(stream)? })
    }

    /// Application.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Stream key.
    pub fn stream(&self) -> &str {
        &self.stream
    }
}

impl std::fmt::Debug for StreamName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}/***", self.app)
    }
}

fn segment(text: &str) -> Result<String, BadStreamName> {
    let name = text.split('?').next().unwrap_or_default();
    let fits = (1..=LEN_MAX).contains(&name.len())
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '#'));
    if fits { Ok(name.to_owned()) } else { Err(BadStreamName) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_cut_and_odd_names_refused() {
        let name = StreamName::new("live?a=b", "key?token=1").expect("valid");
        assert_eq!((name.app(), name.stream()), ("live", "key"));
        assert!(StreamName::new("live", &"k".repeat(256)).is_ok());
        for stream in ["", "?x", "a/b", "a\0", "a\nb", "..\\x", "a#b", &"k".repeat(257)] {
            assert_eq!(StreamName::new("live", stream).err(), Some(BadStreamName), "{stream:?}");
        }
        assert!(!format!("{name:?}").contains("key"));
    }
}
