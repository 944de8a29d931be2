//! API keys: who may ask at all.
//! Takes: keys as an operator writes them, headers as clients send them. Gives: which key a request has.
//! Leaves out: what needs one (`faces`). Only hashes are kept; they are compared in constant time, all of them, so that
//! the time taken tells neither a key nor its place.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The keys that are known; none: nobody needs one.
#[derive(Clone, Default)]
pub struct ApiKeys {
    digests: Arc<[[u8; 32]]>,
}

/// A key cannot be one. The key is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "key {0} (counted from 1) must be 16 to 256 visible ASCII characters without spaces, or sha256: and 64 hexadecimal digits"
)]
pub struct ApiKeyError(pub usize);

/// The place of a key among the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyId(u32);

impl ApiKeys {
    /// Reads keys: each the key itself or `sha256:` and its hash.
    ///
    /// # Errors
    /// [`ApiKeyError`] with the place of the first that is none.
    pub fn new<T: AsRef<str>>(keys: impl IntoIterator<Item = T>) -> Result<Self, ApiKeyError> {
        let read = |(n, key): (usize, T)| digest(key.as_ref()).ok_or(ApiKeyError(n + 1));
        Ok(Self { digests: keys.into_iter().enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// Reads a file of keys: one a line; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// As [`ApiKeys::new`].
    pub fn of_lines(text: &str) -> Result<Self, ApiKeyError> {
        Self::new(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')))
    }

    /// The keys of both.
    #[must_use]
    pub fn and(&self, more: &Self) -> Self {
        Self { digests: self.digests.iter().chain(more.digests.iter()).copied().collect() }
    }

    /// Nobody needs a key.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The key of a request with these headers: `Authorization: Bearer`, `X-API-Key`, or `Authorization: Basic` with
    /// the key as password and any user.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<KeyId> {
        let own_header = headers.get(X_API_KEY).and_then(|value| value.to_str().ok());
        if let Some(key) = own_header {
            return self.find(key.trim());
        }
        let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.find(rest);
        }
        if !scheme.eq_ignore_ascii_case("basic") || rest.len() > BASIC_LEN_MAX {
            return None;
        }
        // RFC 7617 §2: the user ends at the first colon.
        let credentials = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
        self.find(credentials.split_once(':')?.1)
    }

    fn find(&self, key: &str) -> Option<KeyId> {
        let presented: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let (mut found, mut place) = (Choice::from(0), 0_u32);
        for (n, known) in (0_u32..).zip(self.digests.iter()) {
            let same = known.ct_eq(&presented);
            place.conditional_assign(&n, same);
            found |= same;
        }
        bool::from(found).then_some(KeyId(place))
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.digests.len())
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let Some(hex) = text.strip_prefix("sha256:") else {
        let sound = (KEY_LEN_MIN..=KEY_LEN_MAX).contains(&text.len());
        return (sound && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Sha256::digest(text).into());
    };
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (n, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(digest)
}

const X_API_KEY: &str = "x-api-key";

/// Characters of a key.
const KEY_LEN_MIN: usize = 16;
const KEY_LEN_MAX: usize = 256;

/// Characters of Basic credentials.
const BASIC_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "correct-horse-battery";

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn a_key_is_found_however_it_is_sent() {
        let hash: String = Sha256::digest(KEY).iter().map(|byte| format!("{byte:02x}")).collect();
        for known in [KEY.to_owned(), format!("sha256:{hash}")] {
            let keys = ApiKeys::new(["another-key-0123456".to_owned(), known]).expect("keys");
            let basic = format!("Basic {}", BASE64.encode(format!("anyone:{KEY}")));
            for (name, value) in [
                ("authorization", format!("Bearer {KEY}")),
                ("authorization", format!("bearer  {KEY}")),
                ("authorization", basic),
                ("x-api-key", KEY.to_owned()),
            ] {
                assert_eq!(keys.of(&headers(name, &value)), Some(KeyId(1)), "{name}: {value}");
            }
            for (name, value) in [
                ("authorization", "Bearer".to_owned()),
                ("authorization", "Bearer wrong".to_owned()),
                ("authorization", format!("Digest {KEY}")),
                ("authorization", "Basic !".to_owned()),
                ("authorization", format!("Basic {}", BASE64.encode(KEY))),
                ("x-api-key", format!("sha256:{hash}")),
                ("cookie", KEY.to_owned()),
            ] {
                assert_eq!(keys.of(&headers(name, &value)), None, "{name}: {value}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for bad in ["short", "with a space in it all", "sha256:12", &format!("sha256:{}", "zz".repeat(32))] {
            let error = ApiKeys::new([KEY, bad]).expect_err("no key");
            assert_eq!(error, ApiKeyError(2));
            assert!(!error.to_string().contains(bad));
        }
        assert!(!format!("{:?}", ApiKeys::new([KEY]).expect("a key")).contains("horse"));
    }

    #[test]
    fn a_file_has_a_key_a_line() {
        let keys = ApiKeys::of_lines(&format!("# ours\n\n  {KEY}\n")).expect("keys");
        assert!(keys.find(KEY).is_some());
        assert!(ApiKeys::of_lines("# none\n").expect("none").is_empty());
    }
}
