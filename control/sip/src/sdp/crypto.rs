//! SRTP keys in session descriptions: `a=crypto` (RFC 4568; AEAD suites: RFC 7714 §14).
//! Takes: attribute values, random bytes. Gives: lines that can be used, the reason against those that cannot,
//! lines of ours, [`SrtpSession`]s.
//! Leaves out: when protection is wanted (`offer`, `answer`), the protection itself (dataplane).

use std::fmt;

use sipcast_contract::{Secret, SrtpMaster, SrtpSession, SrtpSuite};
use thiserror::Error;

use super::SrtpSuites;
use super::fmtp::decode_base64;

/// `a=crypto` lines of one media description that are read; further ones are ignored.
pub const CRYPTO_LINES_MAX: usize = 16;

/// Fills the slice with unpredictable bytes; `false` if there are none. Randomness is an argument, as time is.
pub type Random = fn(&mut [u8]) -> bool;

/// One usable `a=crypto` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CryptoLine {
    /// Number that offer and answer share (RFC 4568 §5.1.2).
    pub(crate) tag: u32,
    pub(crate) suite: SrtpSuite,
    /// Of the direction away from who wrote the line.
    pub(crate) master: Secret<SrtpMaster>,
}

/// Why an `a=crypto` line of the peer is of no use. Holds nothing of the line's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CryptoFault {
    /// No tag, suite or `inline:` where RFC 4568 §9.1 has it.
    #[error("a=crypto is malformed")]
    Malformed,
    /// A suite we do not have.
    #[error(
        "a=crypto names no suite of AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32 and AEAD_AES_128_GCM"
    )]
    UnknownSuite,
    /// Suites we have, yet none that this call may use.
    #[error("a=crypto names none of the suites that media.srtp_suites or the call's service profile allows")]
    NotAllowed,
    /// Key and salt are no base64 of the suite's length.
    #[error("key and salt of a=crypto do not have the length of their suite")]
    KeyLength,
    /// A master key identifier in every packet (RFC 4568 §6.1).
    #[error("a=crypto asks for a master key identifier (MKI): switch it off on the peer")]
    Mki,
    /// Several keys in one line, which only MKIs can tell apart.
    #[error("a=crypto holds several keys in one line: let the peer use one key per line")]
    SeveralKeys,
    /// `UNENCRYPTED_SRTP` and the like (RFC 4568 §6.3): protection that is none.
    #[error(
        "a=crypto has a session parameter that we do not take (UNENCRYPTED_*, UNAUTHENTICATED_*, KDR, FEC)"
    )]
    SessionParameter,
    /// The answer names a line that was not offered (RFC 4568 §5.1.3).
    #[error("a=crypto of the answer belongs to no line of our offer")]
    NotOffered,
    /// A protected profile, and no `a=crypto` at all.
    #[error("its media description has no a=crypto")]
    Missing,
    /// Keys by DTLS.
    #[error("it wants keys by DTLS (a=fingerprint): let the peer use SDES (a=crypto)")]
    Dtls,
    /// We do not protect by order, and the peer does not without.
    #[error("media security is off for this call: order it as \"opportunistic\" or \"mandatory\"")]
    Off,
}

impl CryptoLine {
    /// A line of ours with fresh keys; `None` without randomness.
    pub(crate) fn generate(tag: u32, suite: SrtpSuite, random: Random) -> Option<Self> {
        let mut master = SrtpMaster { key: [0; SrtpSuite::KEY_LEN], salt: [0; SrtpSuite::SALT_LEN_MAX] };
        let filled = random(&mut master.key) && random(&mut master.salt[..suite.salt_len()]);
        filled.then(|| Self { tag, suite, master: Secret::new(master) })
    }

    /// Reads an attribute value: `<tag> <suite> inline:<key||salt>[|lifetime][|MKI:length] [session parameters]`.
    pub(crate) fn parse(value: &str) -> Result<Self, CryptoFault> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().and_then(|tag| tag.parse().ok()).ok_or(CryptoFault::Malformed)?;
        let suite = words.next().ok_or(CryptoFault::Malformed)?;
        let key_parameters = words.next().ok_or(CryptoFault::Malformed)?;
        let suite = SrtpSuites::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(suite))
            .ok_or(CryptoFault::UnknownSuite)?;
        let master = master(suite, key_parameters)?;
        if !words.all(is_harmless) {
            return Err(CryptoFault::SessionParameter);
        }
        Ok(Self { tag, suite, master: Secret::new(master) })
    }

    /// The attribute's value: for the wire, never for people.
    pub(crate) fn value(&self) -> String {
        let master = self.master.reveal();
        let salt = &master.salt[..self.suite.salt_len()];
        let bytes: Vec<u8> = master.key.iter().chain(salt).copied().collect();
        format!("{} {} inline:{}", self.tag, self.suite.name(), base64(&bytes))
    }

    /// What both directions of a media description are protected with.
    pub(crate) fn session(ours: &Self, theirs: &Self) -> Box<SrtpSession> {
        let (receive, send) = (theirs.master.clone(), ours.master.clone());
        Box::new(SrtpSession { suite: theirs.suite, receive, send })
    }
}

/// The key parameters of a line. A lifetime is passed over: a peer that changes its key in time re-INVITEs, and
/// RFC 3711 §9.2 leaves 2^31 packets, more than any call has.
fn master(suite: SrtpSuite, parameters: &str) -> Result<SrtpMaster, CryptoFault> {
    let mut several = parameters.split(';').filter(|one| !one.is_empty());
    let one = several.next().ok_or(CryptoFault::Malformed)?;
    if several.next().is_some() {
        return Err(CryptoFault::SeveralKeys);
    }
    let (method, info) = one.split_once(':').ok_or(CryptoFault::Malformed)?;
    if !method.eq_ignore_ascii_case("inline") {
        return Err(CryptoFault::Malformed);
    }
    let mut fields = info.split('|');
    let bytes = decode_base64(fields.next().unwrap_or("")).ok_or(CryptoFault::KeyLength)?;
    // `MKI:length`; without a length, or with none of it, nothing of it is in the packets.
    let has_mki = |field: &str| field.split_once(':').is_some_and(|(_, len)| !matches!(len.trim(), "" | "0"));
    if fields.any(has_mki) {
        return Err(CryptoFault::Mki);
    }
    let (key, salt) = bytes.split_at_checked(SrtpSuite::KEY_LEN).ok_or(CryptoFault::KeyLength)?;
    if salt.len() != suite.salt_len() {
        return Err(CryptoFault::KeyLength);
    }
    let mut master = SrtpMaster { key: [0; SrtpSuite::KEY_LEN], salt: [0; SrtpSuite::SALT_LEN_MAX] };
    master.key.copy_from_slice(key);
    master.salt[..salt.len()].copy_from_slice(salt);
    Ok(master)
}

/// Session parameters that change nothing for us (RFC 4568 §6.3): a window size hint, the default key derivation
/// rate and FEC order, and whatever is marked as not necessary (`-`).
fn is_harmless(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    name.starts_with('-')
        || name.eq_ignore_ascii_case("WSH")
        || (name.eq_ignore_ascii_case("KDR") && value == "0")
        || (name.eq_ignore_ascii_case("FEC_ORDER") && value.eq_ignore_ascii_case("FEC_SRTP"))
}

/// The usable lines in the peer's order, which is its preference; else why the first is of no use.
pub(crate) fn usable<'a>(values: impl Iterator<Item = &'a str>) -> Result<Vec<CryptoLine>, CryptoFault> {
    let mut first_fault = None;
    let mut lines = Vec::new();
    for value in values.take(CRYPTO_LINES_MAX) {
        match CryptoLine::parse(value) {
            Ok(line) => lines.push(line),
            // An unknown suite beside others is usual, and says least about what is wrong.
            Err(CryptoFault::UnknownSuite) => {
                first_fault = first_fault.or(Some(CryptoFault::UnknownSuite));
            }
            Err(fault) if matches!(first_fault, None | Some(CryptoFault::UnknownSuite)) => {
                first_fault = Some(fault);
            }
            Err(_) => {}
        }
    }
    match first_fault {
        Some(fault) if lines.is_empty() => Err(fault),
        _ => Ok(lines),
    }
}

/// Keys of one media description over the life of a dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The lines of our last description, in its order.
    pub(crate) ours: Vec<CryptoLine>,
    /// The peer's line that was agreed on.
    pub(crate) theirs: Option<CryptoLine>,
}

impl Keys {
    /// Lines for an offer of ours with `suites`: the suite in use first, keys known before kept, since the peer
    /// goes on with them if nothing else changed (RFC 4568 §7.1.4). `None` without randomness.
    pub(crate) fn offer(&self, suites: &[SrtpSuite], random: Random) -> Option<Vec<CryptoLine>> {
        let in_use = self.theirs.as_ref().map(|line| line.suite);
        let others = suites.iter().copied().filter(|suite| Some(*suite) != in_use);
        (1..)
            .zip(in_use.into_iter().chain(others))
            .map(|(tag, suite)| match self.of(suite) {
                Some(line) => Some(CryptoLine { tag, ..line.clone() }),
                None => CryptoLine::generate(tag, suite, random),
            })
            .collect()
    }

    /// Our line that answers the peer's: the same tag and suite. The key is kept while the peer keeps its own, and
    /// fresh when the peer changes it, because then it may be another device that starts anew
    /// (RFC 4568 §6.1.1: no key for two streams). `None` without randomness.
    pub(crate) fn answer(&self, theirs: &CryptoLine, random: Random) -> Option<CryptoLine> {
        let is_kept = self
            .theirs
            .as_ref()
            .is_some_and(|before| before.suite == theirs.suite && before.master == theirs.master);
        match self.of(theirs.suite).filter(|_| is_kept) {
            Some(line) => Some(CryptoLine { tag: theirs.tag, ..line.clone() }),
            None => CryptoLine::generate(theirs.tag, theirs.suite, random),
        }
    }

    /// Our line and the peer's where `lines` answer what we offered. By the tag; peers that count for themselves
    /// are understood by the suite.
    pub(crate) fn matching<'a>(
        &self,
        lines: &'a [CryptoLine],
    ) -> Result<(&CryptoLine, &'a CryptoLine), CryptoFault> {
        let exact = lines.iter().find_map(|theirs| {
            let same = |ours: &&CryptoLine| ours.tag == theirs.tag && ours.suite == theirs.suite;
            self.ours.iter().find(same).map(|ours| (ours, theirs))
        });
        exact
            .or_else(|| lines.iter().find_map(|theirs| self.of(theirs.suite).map(|ours| (ours, theirs))))
            .ok_or(CryptoFault::NotOffered)
    }

    fn of(&self, suite: SrtpSuite) -> Option<&CryptoLine> {
        self.ours.iter().find(|line| line.suite == suite)
    }
}

/// Standard alphabet, padded (RFC 4568 §6.1).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = (bits >> (18 - 6 * index) & 0x3f) as usize;
            out.push(if index <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    out
}

/// A description for people: its keys replaced by `***`.
pub(crate) fn without_keys(text: &str) -> String {
    const METHOD: &str = "inline:";
    let mut out = String::with_capacity(text.len());
    let lower = text.to_ascii_lowercase();
    let mut shown = 0;
    while let Some(found) = lower[shown..].find(METHOD) {
        let key = shown + found + METHOD.len();
        let len = lower[key..].find([' ', '\t', '\r', '\n']).unwrap_or(lower.len() - key);
        out.push_str(&text[shown..key]);
        out.push_str("***");
        shown = key + len;
    }
    out.push_str(&text[shown..]);
    out
}

/// What peers and logs may see of a call's protection.
impl fmt::Display for CryptoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tag, self.suite.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [SrtpSuite; 3] = SrtpSuites::ALL;

    /// RFC 4568 §6.1's example key.
    const LINE: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn counting(bytes: &mut [u8]) -> bool {
        use std::sync::atomic::{AtomicU8, Ordering};
        static NEXT: AtomicU8 = AtomicU8::new(1);
        bytes.fill_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
        true
    }

    #[test]
    fn lines_are_read_as_devices_write_them() {
        let line = CryptoLine::parse(LINE).unwrap();
        assert_eq!((line.tag, line.suite), (1, SrtpSuite::AesCm128HmacSha1_80));
        assert_eq!(&line.master.reveal().key, b"wDfvg&T+)xG7@fb5");
        assert_eq!(&line.master.reveal().salt, b"jU,RaA}\\|p0%*#");
        for tail in
            ["|2^20", "|2^31|1:", "|1048576", "|1:0", ";", "|2^48 WSH=64", " KDR=0 -X=1 FEC_ORDER=FEC_SRTP"]
        {
            assert_eq!(CryptoLine::parse(&format!("{LINE}{tail}")).as_ref(), Ok(&line), "{tail}");
        }
        assert_eq!(
            CryptoLine::parse(&LINE.to_ascii_lowercase().replace("inline", "x")),
            Err(CryptoFault::Malformed)
        );
        let gcm =
            CryptoLine::parse("007 aead_aes_128_gcm INLINE:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        assert_eq!((gcm.tag, gcm.suite), (7, SrtpSuite::AeadAes128Gcm));
    }

    #[test]
    fn faults_are_told_apart_and_show_no_key() {
        for (value, fault) in [
            (format!("{LINE}|2^20|1:4"), CryptoFault::Mki),
            (format!("{LINE}|1:4;inline:AAAA|2:4"), CryptoFault::SeveralKeys),
            (format!("{LINE} UNENCRYPTED_SRTP"), CryptoFault::SessionParameter),
            (format!("{LINE} UNENCRYPTED_SRTCP"), CryptoFault::SessionParameter),
            (format!("{LINE} UNAUTHENTICATED_SRTP"), CryptoFault::SessionParameter),
            (format!("{LINE} KDR=1"), CryptoFault::SessionParameter),
            (format!("{LINE} FEC_KEY=inline:AAAA"), CryptoFault::SessionParameter),
            (LINE.replace("_80", "_64"), CryptoFault::UnknownSuite),
            (LINE.replace("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"), CryptoFault::KeyLength),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:".into(), CryptoFault::KeyLength),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:####".into(), CryptoFault::KeyLength),
            ("1 AES_CM_128_HMAC_SHA1_80".into(), CryptoFault::Malformed),
            ("x AES_CM_128_HMAC_SHA1_80 inline:AAAA".into(), CryptoFault::Malformed),
            (String::new(), CryptoFault::Malformed),
        ] {
            assert_eq!(CryptoLine::parse(&value), Err(fault), "{value}");
            assert!(!fault.to_string().contains("d0Rm"));
        }
        let line = CryptoLine::parse(LINE).unwrap();
        assert!(!format!("{line:?} {line}").contains("d0Rm"));
        let shown = without_keys(&format!("v=0\r\na=crypto:{LINE}|2^31 WSH=64\r\na=sendrecv\r\n"));
        assert_eq!(shown, "v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:*** WSH=64\r\na=sendrecv\r\n");
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        for suite in SUITES {
            let line = CryptoLine::generate(3, suite, counting).unwrap();
            assert_eq!(CryptoLine::parse(&line.value()), Ok(line));
        }
        assert_eq!(CryptoLine::parse(LINE).unwrap().value(), LINE);
        assert_eq!(CryptoLine::generate(1, SUITES[0], |_| false), None);
        assert_eq!([base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo")], ["", "Zg==", "Zm8=", "Zm9v"]);
    }

    #[test]
    fn unknown_lines_are_passed_over() {
        let lines = ["1 F8_128_HMAC_SHA1_80 inline:AAAA", "2 AES_CM_128_HMAC_SHA1_80 inline:A", LINE];
        assert_eq!(usable(lines.into_iter()).unwrap().len(), 1);
        assert_eq!(usable(lines[..2].iter().copied()), Err(CryptoFault::KeyLength));
        assert_eq!(usable(std::iter::empty()), Ok(Vec::new()));
        let many = std::iter::repeat_n(LINE, 1_000);
        assert_eq!(usable(many).unwrap().len(), CRYPTO_LINES_MAX);
    }

    #[test]
    fn keys_stay_until_the_peer_changes_its_own() {
        let mut keys = Keys::default();
        keys.ours = keys.offer(&SUITES, counting).unwrap();
        assert_eq!(keys.ours.iter().map(|line| line.tag).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(keys.offer(&SUITES, counting).unwrap(), keys.ours);
        let theirs = CryptoLine { tag: 2, ..CryptoLine::generate(1, SUITES[1], counting).unwrap() };
        let (ours, _) = keys.matching(std::slice::from_ref(&theirs)).unwrap();
        assert_eq!(ours, &keys.ours[1]);
        keys.theirs = Some(theirs.clone());
        let again = keys.offer(&SUITES, counting).unwrap();
        assert_eq!((again[0].tag, again[0].suite), (1, SUITES[1]));
        assert_eq!(again[0].master, keys.ours[1].master);
        let kept = keys.answer(&CryptoLine { tag: 9, ..theirs.clone() }, counting).unwrap();
        assert_eq!((kept.tag, &kept.master), (9, &keys.ours[1].master));
        let changed = CryptoLine::generate(1, SUITES[1], counting).unwrap();
        assert_ne!(keys.answer(&changed, counting).unwrap().master, keys.ours[1].master);
        // A tag of its own, then a suite that was not offered.
        let odd = CryptoLine { tag: 77, ..theirs };
        assert!(keys.matching(&[odd]).is_ok());
        keys.ours.truncate(1);
        assert_eq!(keys.matching(&[changed]).unwrap_err(), CryptoFault::NotOffered);
    }

    #[test]
    fn mutated_lines_never_panic() {
        let seed = format!("{LINE}|2^20|1:4 KDR=0 WSH=64");
        crate::mutation::for_each(seed.as_bytes(), 5_000, |bytes| {
            let value = String::from_utf8_lossy(bytes);
            if let Ok(line) = CryptoLine::parse(&value) {
                assert_eq!(CryptoLine::parse(&line.value()), Ok(line));
            }
            let _ = without_keys(&value);
        });
    }
}
