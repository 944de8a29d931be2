//! Authentication of publishers in `connect`: `authmod=adobe` (Adobe Media Server's access manager, Wowza) and
//! `authmod=llnw` (Limelight). Neither has a specification; this is what their servers are known to say and want.
//! Takes: the text with which `connect` was refused. Gives: the query that the next `connect` carries.
//! Leaves out: connections (`target` opens a new one for each attempt), commands (`publisher`).
//!
//! | step     | `connect` carries                              | refused with                    | then     |
//! |----------|------------------------------------------------|---------------------------------|----------|
//! | Plain    | -                                              | `code=403 need auth; authmod=…` | Named    |
//! | Named    | `authmod`, `user`                              | `reason=needauth`, salt, nonce… | Answered |
//! | Answered | and the response                               | anything of the scheme          | final    |
//!
//! Adobe: base64(MD5(base64(MD5(user salt password)) opaque-or-challenge own-challenge)).
//! Limelight: the digest of RFC 2617 §3.2.2 with realm `live`, method `publish` and the application as URI.

use std::fmt::{self, Write};

use md5::{Digest, Md5};
use sipcast_contract::report::TargetFault;
use sipcast_contract::{Credentials, Secret};

/// Where the authentication of one target stands.
pub struct Authentication {
    credentials: Option<Secret<Credentials>>,
    /// Without query.
    app: String,
    step: Step,
    query: Secret<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Plain,
    Named,
    Answered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Adobe,
    Limelight,
}

/// What a refusal of `connect` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Connect anew, with the query as it is now.
    TryAgain,
    /// It was not for want of authentication.
    Unrelated,
    /// It will not be let in.
    Refused(TargetFault),
}

impl Authentication {
    /// Nothing asked for yet; `app` is the application without query.
    pub fn new(credentials: Option<Secret<Credentials>>, app: &str) -> Self {
        Self { credentials, app: app.to_owned(), step: Step::Plain, query: Secret::default() }
    }

    /// What the next `connect` adds to the query of `app` and `tcUrl`, without `?`; empty for nothing.
    pub fn query(&self) -> &str {
        self.query.reveal()
    }

    /// Takes the text of a refusal; `random` makes our challenge.
    pub fn handle_refusal(&mut self, description: &str, random: u64) -> Verdict {
        let Some(scheme) = Scheme::named_in(description) else { return Verdict::Unrelated };
        let Some(credentials) = &self.credentials else {
            return Verdict::Refused(TargetFault::CredentialsMissing);
        };
        let Credentials { user, password } = credentials.reveal();
        let asks = Asked::read(description);
        let name = scheme.name();
        // A user that has signs of a query in it must not end the value.
        let encoded_user = percent_encoded(user);
        let (step, query) = match (self.step, asks.reason) {
            (Step::Plain, None) if description.contains("need auth") => {
                (Step::Named, format!("authmod={name}&user={encoded_user}"))
            }
            (Step::Plain | Step::Named, Some("needauth")) => {
                let own = format!("{:08x}", random as u32);
                let response = match scheme {
                    Scheme::Adobe => adobe_response(user, password, &asks, &own),
                    Scheme::Limelight => limelight_response(user, password, &self.app, asks.nonce, &own),
                };
                let mut query = format!("authmod={name}&user={encoded_user}");
                let nonce = asks.nonce;
                let written = match scheme {
                    Scheme::Adobe if asks.opaque.is_empty() => {
                        write!(query, "&challenge={own}&response={response}")
                    }
                    Scheme::Adobe => {
                        write!(query, "&challenge={own}&response={response}&opaque={}", asks.opaque)
                    }
                    Scheme::Limelight => {
                        write!(query, "&nonce={nonce}&cnonce={own}&nc={NONCE_COUNT}&response={response}")
                    }
                };
                written.expect("a String takes everything");
                (Step::Answered, query)
            }
            // authfailed, nosuchuser; or a server that is not content and would ask for ever.
            _ => return Verdict::Refused(TargetFault::AuthenticationRefused),
        };
        self.step = step;
        self.query = Secret::new(query);
        Verdict::TryAgain
    }

    /// The connection ended otherwise: what it was told is of no use on the next one.
    pub fn restart(&mut self) {
        self.step = Step::Plain;
        self.query = Secret::default();
    }
}

/// Shows the step only.
impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "authentication {:?}", self.step)
    }
}

impl Scheme {
    fn named_in(description: &str) -> Option<Self> {
        let (_, behind) = description.split_once("authmod=")?;
        match behind.split(|c: char| !c.is_ascii_alphanumeric()).next() {
            Some("adobe") => Some(Self::Adobe),
            Some("llnw") => Some(Self::Limelight),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Adobe => "adobe",
            Self::Limelight => "llnw",
        }
    }
}

/// Parameters of a refusal: `[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=…&salt=…`.
#[derive(Debug, Default)]
struct Asked<'a> {
    reason: Option<&'a str>,
    salt: &'a str,
    challenge: &'a str,
    opaque: &'a str,
    nonce: &'a str,
}

impl<'a> Asked<'a> {
    fn read(description: &'a str) -> Self {
        let mut asked = Self::default();
        let Some((_, query)) = description.split_once('?') else { return asked };
        let query = query.split(|c: char| c.is_whitespace() || c == ']').next().unwrap_or_default();
        // Values are base64 and may hold `=`.
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "reason" => asked.reason = Some(value),
                "salt" => asked.salt = value,
                "challenge" => asked.challenge = value,
                "opaque" => asked.opaque = value,
                "nonce" => asked.nonce = value,
                _ => {}
            }
        }
        asked
    }
}

fn adobe_response(user: &str, password: &str, asked: &Asked<'_>, own: &str) -> String {
    let salted = base64(&md5(&[user, asked.salt, password]));
    let theirs = if asked.opaque.is_empty() { asked.challenge } else { asked.opaque };
    base64(&md5(&[&salted, theirs, own]))
}

fn limelight_response(user: &str, password: &str, app: &str, nonce: &str, own: &str) -> String {
    let instance = if app.contains('/') { "" } else { "/_definst_" };
    let who = hex(&md5(&[user, ":", REALM, ":", password]));
    let what = hex(&md5(&["publish:/", app, instance]));
    hex(&md5(&[&who, ":", nonce, ":", NONCE_COUNT, ":", own, ":auth:", &what]))
}

fn md5(parts: &[&str]) -> [u8; 16] {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for position in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * position)) as usize & 63];
            text.push(if position > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// RFC 3986 §2.3: everything but unreserved characters, and those that users have in their names.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~@!$*,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
        out
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Limelight's only realm.
const REALM: &str = "live";
/// Each connection is answered once.
const NONCE_COUNT: &str = "00000001";

#[cfg(test)]
mod tests {
    use super::*;

    fn authentication(user: &str) -> Authentication {
        let credentials = Credentials { user: user.to_owned(), password: "hunter2".to_owned() };
        Authentication::new(Some(Secret::new(credentials)), "live")
    }

    const NEED: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
    const ASK: &str = "[ AccessManager.Reject ] : [ authmod=adobe ] : \
        ?reason=needauth&user=bob&salt=1hQ6Ag==&challenge=DhABAA==&opaque=DhABAA==";
    const FAILED: &str = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed&opaque=x";

    #[test]
    fn base64_of_rfc_4648_section_10() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn adobe_goes_from_plain_to_named_to_answered() {
        let mut authentication = authentication("bob");
        assert_eq!(authentication.query(), "");
        assert_eq!(authentication.handle_refusal(NEED, 0), Verdict::TryAgain);
        assert_eq!(authentication.query(), "authmod=adobe&user=bob");
        assert_eq!(authentication.handle_refusal(ASK, 0xdead_beef), Verdict::TryAgain);
        let salted = base64(&md5(&["bob1hQ6Ag==hunter2"]));
        let response = base64(&md5(&[&salted, "DhABAA==deadbeef"]));
        let expected =
            format!("authmod=adobe&user=bob&challenge=deadbeef&response={response}&opaque=DhABAA==");
        assert_eq!(authentication.query(), expected);
        for refusal in [FAILED, ASK, NEED] {
            let refused = Verdict::Refused(TargetFault::AuthenticationRefused);
            assert_eq!(authentication.handle_refusal(refusal, 1), refused, "{refusal}");
        }
    }

    #[test]
    fn limelight_is_the_digest_of_rfc_2617() {
        let mut authentication = authentication("bob");
        let need = "[ code=403 need auth; authmod=llnw ]";
        assert_eq!(authentication.handle_refusal(need, 0), Verdict::TryAgain);
        assert_eq!(authentication.query(), "authmod=llnw&user=bob");
        let ask = "[ authmod=llnw ] : ?reason=needauth&user=bob&nonce=abc123";
        assert_eq!(authentication.handle_refusal(ask, 1), Verdict::TryAgain);
        let who = hex(&md5(&["bob:live:hunter2"]));
        let what = hex(&md5(&["publish:/live/_definst_"]));
        let response = hex(&md5(&[&format!("{who}:abc123:00000001:00000001:auth:{what}")]));
        let expected =
            format!("authmod=llnw&user=bob&nonce=abc123&cnonce=00000001&nc=00000001&response={response}");
        assert_eq!(authentication.query(), expected);
    }

    #[test]
    fn what_is_no_question_is_told_apart() {
        let mut with = authentication("bob");
        assert_eq!(with.handle_refusal("[ Server.Reject ] : no such application", 0), Verdict::Unrelated);
        assert_eq!(with.handle_refusal("authmod=kerberos", 0), Verdict::Unrelated);
        let mut without = Authentication::new(None, "live");
        let missing = Verdict::Refused(TargetFault::CredentialsMissing);
        assert_eq!(without.handle_refusal(NEED, 0), missing);
        assert_eq!(with.handle_refusal(FAILED, 0), Verdict::Refused(TargetFault::AuthenticationRefused));
    }

    #[test]
    fn a_new_connection_after_another_end_begins_anew() {
        let mut authentication = authentication("b&b=?");
        authentication.handle_refusal(NEED, 0);
        assert_eq!(authentication.query(), "authmod=adobe&user=b%26b%3D%3F");
        authentication.restart();
        assert_eq!(authentication.query(), "");
        assert_eq!(authentication.handle_refusal(ASK, 0), Verdict::TryAgain, "a server may skip a round");
        assert!(!format!("{authentication:?}").contains("user"));
    }

    #[test]
    fn garbage_is_survived() {
        for text in [
            "authmod=adobe?",
            "?authmod=adobe&reason",
            "authmod=adobe ?reason=needauth",
            "?\u{e4}=authmod=llnw",
        ] {
            authentication("\u{e4}").handle_refusal(text, u64::MAX);
        }
    }
}
