//! HTTP digest as SIP uses it (RFC 7616, RFC 8760; RFC 2617 and RFC 2069 for older peers).
//! Takes: challenge header values as text, account name and password. Gives: credential header values;
//! for servers, the check of one. Leaves out: sending, and which request is repeated (`call`, `registration`).

use std::fmt::Write as _;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};
use sipcast_contract::Secret;
use thiserror::Error;

/// Bytes of one header value that are read; a longer one is refused as a whole.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Challenges read from one response; further ones are ignored.
pub const CHALLENGES_MAX: usize = 16;
/// Protection spaces remembered by one [`Authenticator`]; the oldest is forgotten.
pub const REALMS_MAX: usize = 4;
/// Credentials sent for one request and realm before a further challenge counts as a refusal.
pub const ATTEMPTS_MAX: u8 = 2;
/// The same when the server says `stale=true`, that is: the password was right.
pub const STALE_ATTEMPTS_MAX: u8 = 3;

/// Parameters read from one challenge; further ones are ignored.
const PARAMETERS_MAX: usize = 32;

/// Digest algorithms (RFC 8760 §2.1), weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `MD5`, also when no algorithm is named.
    Md5,
    /// `MD5-sess`.
    Md5Sess,
    /// `SHA-256`.
    Sha256,
    /// `SHA-256-sess`.
    Sha256Sess,
    /// `SHA-512-256`.
    Sha512T256,
    /// `SHA-512-256-sess`.
    Sha512T256Sess,
}

impl Algorithm {
    /// The name in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
            Self::Sha512T256 => "SHA-512-256",
            Self::Sha512T256Sess => "SHA-512-256-sess",
        }
    }

    /// Reads a name without regard to case; `None` for algorithms that are not known.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Algorithm; 6] = [
            Algorithm::Md5,
            Algorithm::Md5Sess,
            Algorithm::Sha256,
            Algorithm::Sha256Sess,
            Algorithm::Sha512T256,
            Algorithm::Sha512T256Sess,
        ];
        ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
    }

    const fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess | Self::Sha512T256Sess)
    }

    /// Strength of the hash alone: with or without `-sess` is no difference in strength.
    const fn strength(self) -> u8 {
        match self {
            Self::Md5 | Self::Md5Sess => 0,
            Self::Sha256 | Self::Sha256Sess => 1,
            Self::Sha512T256 | Self::Sha512T256Sess => 2,
        }
    }

    fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 | Self::Md5Sess => hash_with::<Md5>(parts),
            Self::Sha256 | Self::Sha256Sess => hash_with::<Sha256>(parts),
            Self::Sha512T256 | Self::Sha512T256Sess => hash_with::<Sha512_256>(parts),
        }
    }
}

/// Lower-case hexadecimal of the hash over `parts` joined by colons.
fn hash_with<D: Digest>(parts: &[&[u8]]) -> String {
    let mut digest = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    hexadecimal(&digest.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
    }
    text
}

/// Quality of protection (RFC 7616 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qop {
    /// Covers method and URI.
    Auth,
    /// Covers the body too.
    AuthInt,
}

impl Qop {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

/// One digest challenge that this module can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Protection space, unescaped.
    pub realm: String,
    /// The server's nonce, unescaped.
    pub nonce: String,
    /// To be returned as it is.
    pub opaque: Option<String>,
    /// The nonce was too old, the password right.
    pub stale: bool,
    /// Which hash.
    pub algorithm: Algorithm,
    /// Whether the challenge named the algorithm; servers before RFC 2617 do not expect it back.
    pub algorithm_named: bool,
    /// The protection to use; `None`: RFC 2069, without nonce count.
    pub qop: Option<Qop>,
}

/// Who asks for credentials: it decides the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Challenger {
    /// 401, `WWW-Authenticate`, answered by `Authorization`.
    Server,
    /// 407, `Proxy-Authenticate`, answered by `Proxy-Authorization`.
    Proxy,
}

impl Challenger {
    /// Which status asks for which credentials; `None` for any other status.
    pub const fn from_status(status: u16) -> Option<Self> {
        match status {
            401 => Some(Self::Server),
            407 => Some(Self::Proxy),
            _ => None,
        }
    }

    /// Name of the header with the challenge.
    pub const fn challenge_header(self) -> &'static str {
        match self {
            Self::Server => "WWW-Authenticate",
            Self::Proxy => "Proxy-Authenticate",
        }
    }

    /// Name of the header with the credentials.
    pub const fn credentials_header(self) -> &'static str {
        match self {
            Self::Server => "Authorization",
            Self::Proxy => "Proxy-Authorization",
        }
    }
}

/// A credentials header ready to be put in a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `Authorization` or `Proxy-Authorization`.
    pub name: &'static str,
    /// The header's value, one line.
    pub value: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The value allows guessing the password off line: it stays out of logs.
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads every digest challenge of one header value that can be answered. Other schemes, unknown algorithms and
/// incomplete challenges are skipped (RFC 7616 §3.7, RFC 8760 §2.4).
pub fn parse_challenges(value: &str) -> Vec<Challenge> {
    schemes(value).into_iter().take(CHALLENGES_MAX).filter_map(|scheme| scheme.into_challenge()).collect()
}

/// The client's side: remembers nonces and their counts for one account.
///
/// Per request: send with [`Authenticator::authorize`] (no header before the first challenge), on 401 or 407 call
/// [`Authenticator::handle_challenge`] and, if that is `Ok`, send again; on any other final response call
/// [`Authenticator::handle_accepted`].
#[derive(Clone, Debug)]
pub struct Authenticator {
    username: String,
    password: Secret<String>,
    spaces: Vec<ProtectionSpace>,
}

#[derive(Clone, Debug)]
struct ProtectionSpace {
    challenger: Challenger,
    challenge: Challenge,
    cnonce: String,
    /// Times this nonce was used.
    nonce_count: u32,
    /// Challenges answered since the last accepted request.
    attempts: u8,
}

impl Authenticator {
    /// For the account's authentication name and password.
    ///
    /// # Errors
    /// [`DigestError::Username`] if the name holds control characters, which would break the header.
    pub fn new(username: &str, password: Secret<String>) -> Result<Self, DigestError> {
        if username.chars().any(char::is_control) {
            return Err(DigestError::Username);
        }
        Ok(Self { username: username.to_owned(), password, spaces: Vec::new() })
    }

    /// Takes the challenge header values of a 401 or 407 response to a request of ours.
    /// `Ok`: send the request again with [`Self::authorize`].
    ///
    /// # Errors
    /// The response is then a plain refusal: no challenge, none we can answer, or our credentials were refused.
    pub fn handle_challenge<'a>(
        &mut self,
        status: u16,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), DigestError> {
        let challenger = Challenger::from_status(status).ok_or(DigestError::NoChallenge)?;
        let mut seen = false;
        let mut challenges: Vec<Challenge> = Vec::new();
        for value in values.into_iter().take(CHALLENGES_MAX) {
            seen = true;
            for challenge in parse_challenges(value) {
                match challenges.iter_mut().find(|known| known.realm == challenge.realm) {
                    // Strongest first; among equals the server's order (RFC 8760 §2.4).
                    Some(known) if challenge.algorithm.strength() > known.algorithm.strength() => {
                        *known = challenge;
                    }
                    Some(_) => {}
                    None => challenges.push(challenge),
                }
            }
        }
        if challenges.is_empty() {
            return Err(if seen { DigestError::Unsupported } else { DigestError::NoChallenge });
        }
        challenges.truncate(REALMS_MAX);
        for challenge in challenges {
            self.accept(challenger, challenge)?;
        }
        Ok(())
    }

    fn accept(&mut self, challenger: Challenger, challenge: Challenge) -> Result<(), DigestError> {
        let known = self
            .spaces
            .iter()
            .position(|space| space.challenger == challenger && space.challenge.realm == challenge.realm);
        let mut attempts = 0;
        if let Some(index) = known {
            let space = &self.spaces[index];
            attempts = space.attempts;
            // Servers that omit stale=true hand out a new nonce all the same, so a new nonce is worth another
            // try; the cap ends it when the password is wrong.
            let same_nonce = space.challenge.nonce == challenge.nonce && space.nonce_count > 0;
            let cap = if challenge.stale { STALE_ATTEMPTS_MAX } else { ATTEMPTS_MAX };
            if (same_nonce && !challenge.stale && attempts > 0) || attempts >= cap {
                return Err(DigestError::Refused);
            }
            self.spaces.remove(index);
        }
        if self.spaces.len() >= REALMS_MAX {
            self.spaces.remove(0);
        }
        let cnonce = fresh_nonce()?;
        self.spaces.push(ProtectionSpace {
            challenger,
            challenge,
            cnonce,
            nonce_count: 0,
            attempts: attempts + 1,
        });
        Ok(())
    }

    /// The request was accepted: later challenges start counting anew.
    pub fn handle_accepted(&mut self) {
        for space in &mut self.spaces {
            space.attempts = 0;
        }
    }

    /// Credentials for the next request, one per known protection space; each counts its nonce up.
    /// `uri` is the Request-URI exactly as it is sent, `body` what is sent with it.
    pub fn authorize(&mut self, method: &str, uri: &str, body: &[u8]) -> Vec<Credentials> {
        let Self { username, password, spaces } = self;
        spaces
            .iter_mut()
            .map(|space| {
                space.nonce_count = space.nonce_count.saturating_add(1);
                Credentials {
                    name: space.challenger.credentials_header(),
                    value: credentials(
                        &space.challenge,
                        &Request { username, password: password.reveal(), method, uri, body },
                        &space.cnonce,
                        space.nonce_count,
                    ),
                }
            })
            .collect()
    }

    /// Forgets all nonces.
    pub fn reset(&mut self) {
        self.spaces.clear();
    }
}

/// A fresh unpredictable nonce of 32 hexadecimal digits, for clients (`cnonce`) and servers (`nonce`).
///
/// # Errors
/// [`DigestError::Random`] if the system gives no random numbers.
pub fn fresh_nonce() -> Result<String, DigestError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| DigestError::Random)?;
    Ok(hexadecimal(&bytes))
}

struct Request<'a> {
    username: &'a str,
    password: &'a str,
    method: &'a str,
    uri: &'a str,
    body: &'a [u8],
}

/// RFC 7616 §3.4.1: the `response` value.
fn response(challenge: &Challenge, request: &Request<'_>, cnonce: &str, nonce_count: &str) -> String {
    let algorithm = challenge.algorithm;
    let mut a1 = algorithm.hash(&[
        request.username.as_bytes(),
        challenge.realm.as_bytes(),
        request.password.as_bytes(),
    ]);
    if algorithm.is_session() {
        a1 = algorithm.hash(&[a1.as_bytes(), challenge.nonce.as_bytes(), cnonce.as_bytes()]);
    }
    let method = request.method.as_bytes();
    let uri = request.uri.as_bytes();
    let a2 = match challenge.qop {
        Some(Qop::AuthInt) => {
            let body = algorithm.hash(&[request.body]);
            algorithm.hash(&[method, uri, body.as_bytes()])
        }
        Some(Qop::Auth) | None => algorithm.hash(&[method, uri]),
    };
    match challenge.qop {
        Some(qop) => algorithm.hash(&[
            a1.as_bytes(),
            challenge.nonce.as_bytes(),
            nonce_count.as_bytes(),
            cnonce.as_bytes(),
            qop.as_str().as_bytes(),
            a2.as_bytes(),
        ]),
        None => algorithm.hash(&[a1.as_bytes(), challenge.nonce.as_bytes(), a2.as_bytes()]),
    }
}

fn credentials(challenge: &Challenge, request: &Request<'_>, cnonce: &str, nonce_count: u32) -> String {
    // RFC 7616 §3.4: eight hexadecimal digits.
    let nonce_count = format!("{nonce_count:08x}");
    let response = response(challenge, request, cnonce, &nonce_count);
    let mut value = format!(
        "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
        quoted(request.username),
        quoted(&challenge.realm),
        quoted(&challenge.nonce),
        quoted(request.uri),
    );
    // RFC 7616 §3.4: algorithm, qop and nc are not quoted.
    if challenge.algorithm_named {
        value.push_str(", algorithm=");
        value.push_str(challenge.algorithm.as_str());
    }
    if let Some(qop) = challenge.qop {
        write!(value, ", cnonce=\"{cnonce}\", qop={}, nc={nonce_count}", qop.as_str())
            .expect("writing to a String does not fail");
    } else if challenge.algorithm.is_session() {
        write!(value, ", cnonce=\"{cnonce}\"").expect("writing to a String does not fail");
    }
    if let Some(opaque) = &challenge.opaque {
        value.push_str(", opaque=");
        value.push_str(&quoted(opaque));
    }
    value
}

/// A quoted-string (RFC 3261 §25.1). The texts come from parsed headers or checked accounts; control characters,
/// which no quoting makes safe, are left out all the same.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

/// What a server expects of credentials it verifies.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The request's body, for `auth-int`.
    pub body: &'a [u8],
    /// The user.
    pub username: &'a str,
    /// The realm that was in the challenge.
    pub realm: &'a str,
    /// The nonce that was in the challenge.
    pub nonce: &'a str,
    /// The user's password.
    pub password: &'a Secret<String>,
}

/// Credentials that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The algorithm that the client chose: the caller checks that it was offered.
    pub algorithm: Algorithm,
    /// Nonce count, 0 without qop; the caller refuses one that does not rise.
    pub nonce_count: u32,
    /// The `uri` parameter; the caller compares it with the Request-URI.
    pub uri: String,
}

/// Verifies the value of an `Authorization` or `Proxy-Authorization` header.
///
/// # Errors
/// [`DigestError::Malformed`] if it cannot be read, [`DigestError::Stale`] if only the nonce differs,
/// [`DigestError::Refused`] if user, realm or response are wrong.
pub fn verify(credentials: &str, expected: &Expected<'_>) -> Result<Verified, DigestError> {
    let scheme = schemes(credentials)
        .into_iter()
        .find(|scheme| scheme.name.eq_ignore_ascii_case("Digest"))
        .ok_or(DigestError::Malformed)?;
    let get = |name: &str| scheme.get(name).ok_or(DigestError::Malformed);
    let algorithm = scheme.get("algorithm").unwrap_or("MD5");
    let algorithm = Algorithm::from_name(algorithm).ok_or(DigestError::Unsupported)?;
    let qop = match scheme.get("qop") {
        None => None,
        Some(name) if name.eq_ignore_ascii_case("auth") => Some(Qop::Auth),
        Some(name) if name.eq_ignore_ascii_case("auth-int") => Some(Qop::AuthInt),
        Some(_) => return Err(DigestError::Unsupported),
    };
    if get("username")? != expected.username || get("realm")? != expected.realm {
        return Err(DigestError::Refused);
    }
    let (nonce_text, cnonce) = match qop {
        Some(_) => (get("nc")?, get("cnonce")?),
        None => ("", scheme.get("cnonce").unwrap_or("")),
    };
    let nonce_count = match qop {
        Some(_) => u32::from_str_radix(nonce_text, 16).map_err(|_| DigestError::Malformed)?,
        None => 0,
    };
    let uri = get("uri")?;
    let challenge = Challenge {
        realm: expected.realm.to_owned(),
        nonce: get("nonce")?.to_owned(),
        opaque: None,
        stale: false,
        algorithm,
        algorithm_named: true,
        qop,
    };
    let request = Request {
        username: expected.username,
        password: expected.password.reveal(),
        method: expected.method,
        uri,
        body: expected.body,
    };
    let wanted = response(&challenge, &request, cnonce, nonce_text);
    if !equal_in_constant_time(wanted.as_bytes(), get("response")?.to_ascii_lowercase().as_bytes()) {
        return Err(DigestError::Refused);
    }
    if challenge.nonce != expected.nonce {
        return Err(DigestError::Stale);
    }
    Ok(Verified { algorithm, nonce_count, uri: uri.to_owned() })
}

fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// One authentication scheme of a header value with its parameters.
struct Scheme {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn into_challenge(self) -> Option<Challenge> {
        if !self.name.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let algorithm = match self.get("algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::from_name(name.trim())?,
        };
        let options = self.get("qop").unwrap_or("");
        let mut options = options.split(',').map(str::trim).filter(|option| !option.is_empty()).peekable();
        let qop = if options.peek().is_none() {
            None
        } else {
            let mut chosen = None;
            for option in options {
                // auth where offered: proxies may change bodies, which auth-int would not survive.
                if option.eq_ignore_ascii_case("auth") {
                    chosen = Some(Qop::Auth);
                } else if option.eq_ignore_ascii_case("auth-int") && chosen.is_none() {
                    chosen = Some(Qop::AuthInt);
                }
            }
            Some(chosen?)
        };
        Some(Challenge {
            realm: self.get("realm")?.to_owned(),
            nonce: self.get("nonce")?.to_owned(),
            opaque: self.get("opaque").map(str::to_owned),
            stale: self.get("stale").is_some_and(|stale| stale.trim().eq_ignore_ascii_case("true")),
            algorithm,
            algorithm_named: self.get("algorithm").is_some(),
            qop,
        })
    }
}

/// Splits a header value into schemes (RFC 9110 §11.2 as RFC 3261 §25.1 narrows it): a token that no `=` follows
/// opens a scheme, everything else is a parameter of the one before. Reading stops at an unterminated string.
fn schemes(value: &str) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    if value.len() > HEADER_BYTES_MAX {
        return schemes;
    }
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let token_len =
            rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '"')).unwrap_or(rest.len());
        let (token, after) = rest.split_at(token_len);
        let after = after.trim_start();
        if token.is_empty() {
            match after.chars().next() {
                // A stray quote or equals sign: skip it, the next comma sets things right.
                Some(stray) => rest = &after[stray.len_utf8()..],
                None => return schemes,
            }
            continue;
        }
        let Some(value) = after.strip_prefix('=') else {
            if schemes.len() >= CHALLENGES_MAX {
                return schemes;
            }
            schemes.push(Scheme { name: token.to_owned(), parameters: Vec::new() });
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let (text, after) = if let Some(string) = value.strip_prefix('"') {
            let Some((text, after)) = unquote(string) else {
                // The cut challenge would be answered wrongly; drop it.
                schemes.pop();
                return schemes;
            };
            (text, after)
        } else {
            let len = value.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(value.len());
            (value[..len].to_owned(), &value[len..])
        };
        rest = after;
        // No legal value holds control characters; an echo of one would be an injected header.
        if text.chars().any(char::is_control) {
            continue;
        }
        if let Some(scheme) = schemes.last_mut()
            && scheme.parameters.len() < PARAMETERS_MAX
        {
            scheme.parameters.push((token.to_owned(), text));
        }
    }
}

/// Reads a quoted-string whose opening quote is gone; gives its text and what follows the closing quote.
fn unquote(string: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = string.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((text, &string[index + 1..])),
            '\\' => text.push(characters.next()?.1),
            other => text.push(other),
        }
    }
    None
}

/// Why credentials cannot be given or were not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DigestError {
    /// The response holds no challenge: a plain refusal.
    #[error("the server refused without asking for credentials")]
    NoChallenge,
    /// No challenge uses a scheme, algorithm and qop that we have.
    #[error(
        "the server asks for an authentication we do not have (have: Digest with MD5, SHA-256, SHA-512-256)"
    )]
    Unsupported,
    /// The credentials were refused.
    #[error("credentials refused: check authentication name and password")]
    Refused,
    /// Server side: the response is right for another nonce.
    #[error("nonce is not the current one")]
    Stale,
    /// Server side: the header cannot be read.
    #[error("malformed credentials")]
    Malformed,
    /// The authentication name cannot be written in a header.
    #[error("authentication name holds control characters: remove them")]
    Username,
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system")]
    Random,
}

#[cfg(test)]
mod tests;
