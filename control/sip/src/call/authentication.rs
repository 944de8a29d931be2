//! Credentials of one call's requests (RFC 3261 §22).
//! Takes: challenges in responses. Gives: headers for the next request. Leaves out: digest itself (`digest`), which
//! request is repeated (`call`, and the driver for BYE, INFO and PRACK).

use super::Response;
use super::header::all;
use crate::digest::{Authenticator, Challenger, DigestError};
use crate::order::Account;
use crate::session_timer::Header;

/// What the challenges of a call asked for so far. Each use counts a nonce up, so of two copies only one is to go on.
#[derive(Clone, Debug)]
pub struct Authentication {
    authenticator: Authenticator,
}

impl Authentication {
    pub(super) fn new(account: &Account) -> Result<Self, DigestError> {
        let authenticator = Authenticator::new(&account.authentication_name, account.password.clone())?;
        Ok(Self { authenticator })
    }

    /// Takes the challenge of a 401 or 407.
    ///
    /// # Errors
    /// [`DigestError`]: do not repeat the request.
    pub fn take_challenge(&mut self, response: &Response<'_>) -> Result<(), DigestError> {
        let name =
            Challenger::from_status(response.status).ok_or(DigestError::NoChallenge)?.challenge_header();
        let values: Vec<&str> = all(response.headers, name).collect();
        self.authenticator.handle_challenge(response.status, values)
    }

    /// Credentials for a request, empty before the first challenge.
    pub fn credentials(&mut self, method: &str, uri: &str, body: &[u8]) -> Vec<Header> {
        let credentials = self.authenticator.authorize(method, uri, body);
        credentials.into_iter().map(|credentials| (credentials.name, credentials.value)).collect()
    }

    pub(super) fn handle_accepted(&mut self) {
        self.authenticator.handle_accepted();
    }
}
