//! Which SRTP suites a call may use, and which it asks for first (RFC 4568 §6.2, RFC 7714 §14).
//! Takes: names in the order of preference. Gives: a list of at most one of each. Leaves out: keys (`crypto`).

use std::fmt;
use std::str::FromStr;

use sipcast_contract::SrtpSuite;

/// SRTP suites in order of preference, each once, at least one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SrtpSuites {
    listed: [SrtpSuite; Self::ALL.len()],
    /// 1..=`ALL.len()`; what lies behind it in `listed` does not count.
    len: usize,
}

impl SrtpSuites {
    /// All that sipcast has, in the order that offers have unless told otherwise. AES_CM_128_HMAC_SHA1_80 stands first:
    /// every device has it, some read one line only, and some give up on the whole description at a name they do not
    /// know (docs/operations.md, *Protected calls*). AES-GCM is five times cheaper to decrypt, which is about three
    /// hundredths of what a call costs: for who knows its peers. The short authentication tag protects least.
    pub const ALL: [SrtpSuite; 3] =
        [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_32];

    /// The suites of `wanted`, further mentions of one left out; `None` if there is none.
    pub fn new(wanted: &[SrtpSuite]) -> Option<Self> {
        let mut suites = Self { listed: Self::ALL, len: 0 };
        for suite in wanted {
            if !suites.contains(*suite) {
                suites.listed[suites.len] = *suite;
                suites.len += 1;
            }
        }
        (suites.len > 0).then_some(suites)
    }

    /// In order of preference.
    pub fn as_slice(&self) -> &[SrtpSuite] {
        &self.listed[..self.len]
    }

    /// Whether `suite` is one of them.
    pub fn contains(&self, suite: SrtpSuite) -> bool {
        self.as_slice().contains(&suite)
    }

    /// The one for peers that read a single line: what everybody has, else the first.
    pub fn commonest(&self) -> &[SrtpSuite] {
        let common = self.as_slice().iter().position(|suite| *suite == SrtpSuite::AesCm128HmacSha1_80);
        let at = common.unwrap_or(0);
        &self.listed[at..=at]
    }
}

impl Default for SrtpSuites {
    fn default() -> Self {
        Self { listed: Self::ALL, len: Self::ALL.len() }
    }
}

impl fmt::Debug for SrtpSuites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// As [`SrtpSuites::from_str`] reads it.
impl fmt::Display for SrtpSuites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, suite) in self.as_slice().iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(suite.name())?;
        }
        Ok(())
    }
}

/// A list of suites that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "suites must be a list of AES_CM_128_HMAC_SHA1_80, AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_32; found {0:?}"
)]
pub struct UnknownSuite(pub String);

impl FromStr for SrtpSuites {
    type Err = UnknownSuite;

    /// Names at commas, the preferred one first.
    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        let named = |word: &str| {
            let word = word.trim();
            Self::ALL
                .into_iter()
                .find(|suite| suite.name().eq_ignore_ascii_case(word))
                .ok_or_else(|| UnknownSuite(word.to_owned()))
        };
        let suites: Vec<SrtpSuite> = text.split(',').map(named).collect::<Result<_, _>>()?;
        Self::new(&suites).ok_or_else(|| UnknownSuite(String::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suite_lists_are_read_and_written() {
        let all = SrtpSuites::default();
        assert_eq!(all.to_string().parse(), Ok(all));
        let few: SrtpSuites = "aead_aes_128_gcm , AES_CM_128_HMAC_SHA1_80,AEAD_AES_128_GCM".parse().unwrap();
        assert_eq!(few.as_slice(), [SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80]);
        assert_eq!(few.commonest(), [SrtpSuite::AesCm128HmacSha1_80]);
        let gcm: SrtpSuites = "AEAD_AES_128_GCM".parse().unwrap();
        assert_eq!(gcm.commonest(), [SrtpSuite::AeadAes128Gcm]);
        for (wrong, found) in
            [("", ""), ("AEAD_AES_128_GCM,", ""), ("F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_80")]
        {
            assert_eq!(wrong.parse::<SrtpSuites>(), Err(UnknownSuite(found.to_owned())));
        }
        assert_eq!(SrtpSuites::new(&[]), None);
    }
}
