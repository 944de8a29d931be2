//! The callee's digest challenge, MD5 with and without `qop=auth` (RFC 3261 §22, RFC 2617 §3).
//! Takes: the credentials to ask for, an Authorization value. Gives: a challenge; whether the response is right.
//! Leaves out: which requests are challenged (`user_agent`).

use std::collections::VecDeque;

use md5::{Digest, Md5};

use super::sender::random_u32;

/// Challenges that may still be answered; the oldest is forgotten first and its answer is challenged again.
const NONCES_MAX: usize = 4_096;
const REALM: &str = "sipcast-callee";

/// Asks for one user's password.
pub(super) struct Authenticator {
    user: String,
    password: String,
    nonces: VecDeque<String>,
}

impl Authenticator {
    pub fn new(user: String, password: String) -> Self {
        Self { user, password, nonces: VecDeque::new() }
    }

    /// A WWW-Authenticate value with a fresh nonce.
    pub fn challenge(&mut self) -> String {
        let nonce = format!("{:08x}{:08x}{:08x}", random_u32(), random_u32(), random_u32());
        if self.nonces.len() == NONCES_MAX {
            self.nonces.pop_front();
        }
        self.nonces.push_back(nonce.clone());
        format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"")
    }

    /// Whether `authorization` answers a challenge of ours with the right password.
    pub fn verify(&self, authorization: &str, method: &str) -> bool {
        self.expected(authorization, method)
            .is_some_and(|(expected, given)| expected.eq_ignore_ascii_case(&given))
    }

    fn expected(&self, authorization: &str, method: &str) -> Option<(String, String)> {
        let parameters = authorization.trim().strip_prefix("Digest ")?;
        let get = |name| parameter(parameters, name);
        let nonce = get("nonce")?;
        let known = self.nonces.contains(&nonce);
        if !known || get("username")? != self.user || get("realm")? != REALM {
            return None;
        }
        if get("algorithm").is_some_and(|algorithm| !algorithm.eq_ignore_ascii_case("MD5")) {
            return None;
        }
        let secret = hash(&[&self.user, REALM, &self.password]);
        let request = hash(&[method, &get("uri")?]);
        let expected = match get("qop") {
            Some(qop) if qop == "auth" => {
                hash(&[&secret, &nonce, &get("nc")?, &get("cnonce")?, &qop, &request])
            }
            Some(_) => return None,
            None => hash(&[&secret, &nonce, &request]),
        };
        Some((expected, get("response")?))
    }
}

fn hash(parts: &[&str]) -> String {
    Md5::digest(parts.join(":")).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A parameter of the list, its quotes taken off; commas inside quotes do not part.
fn parameter(list: &str, name: &str) -> Option<String> {
    let mut quoted = false;
    list.split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    })
    .filter_map(|part| part.split_once('='))
    .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
    .map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifies_the_example_of_rfc_2617() {
        let secret = hash(&["Mufasa", "testrealm@host.com", "Circle Of Life"]);
        let request = hash(&["GET", "/dir/index.html"]);
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let response = hash(&[&secret, nonce, "00000001", "0a4f113b", "auth", &request]);
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn takes_its_own_challenge_once_answered_and_nothing_else() {
        let mut authenticator = Authenticator::new("alice".into(), "secret".into());
        let challenge = authenticator.challenge();
        let nonce = parameter(&challenge["Digest ".len()..], "nonce").unwrap();
        let answer = |password: &str, nonce: &str| {
            let secret = hash(&["alice", REALM, password]);
            let request = hash(&["INVITE", "sip:b@c"]);
            let response = hash(&[&secret, nonce, "00000100", "c,d", "auth", &request]);
            format!(
                "Digest username=\"alice\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"sip:b@c\", \
                 response=\"{response}\", cnonce=\"c,d\", nc=00000100, qop=auth, algorithm=MD5"
            )
        };
        assert!(authenticator.verify(&answer("secret", &nonce), "INVITE"));
        assert!(!authenticator.verify(&answer("wrong", &nonce), "INVITE"));
        assert!(!authenticator.verify(&answer("secret", "other"), "INVITE"));
        assert!(!authenticator.verify(&answer("secret", &nonce), "BYE"));
        assert!(!authenticator.verify("Digest", "INVITE"));
        assert!(!authenticator.verify("Basic YTpi", "INVITE"));
    }
}
