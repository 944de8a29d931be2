//! The settings that a shard's handshakes share.
//! Takes: roots. Gives: rustls settings. Leaves out: whose certificates are taken (`sipcast-trust`), connections
//! (`session`).

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{CertificateError, ClientConfig, Error};
use sipcast_contract::TlsTrust;
pub use sipcast_trust::Roots as TlsRoots;
use sipcast_trust::ServerVerifier;

/// Handshake settings of one shard, with its own store of session tickets per kind of trust: a ticket that was given
/// without a check must not spare one (RFC 8446 §4.6.1).
#[derive(Debug)]
pub struct TlsClient {
    verifying: Arc<ClientConfig>,
    accepting: Arc<ClientConfig>,
}

impl TlsClient {
    /// Settings with these roots.
    pub fn new(roots: &TlsRoots) -> Self {
        // Without any root nobody's issuer is known.
        let nobody = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        Self {
            verifying: Arc::new(settings(ServerVerifier::of_roots(roots, nobody))),
            accepting: Arc::new(settings(ServerVerifier::anybody())),
        }
    }

    /// The settings for targets of this trust.
    pub const fn settings(&self, trust: TlsTrust) -> &Arc<ClientConfig> {
        match trust {
            TlsTrust::Verify => &self.verifying,
            TlsTrust::AcceptAny => &self.accepting,
        }
    }
}

fn settings(verifier: Arc<ServerVerifier>) -> ClientConfig {
    let mut settings = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    settings.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    // For the record layer here, which takes the keys over.
    settings.enable_secret_extraction = true;
    settings
}

/// Servers whose tickets a shard remembers for each kind of trust; the oldest goes first.
const SESSIONS_MAX: usize = 256;
