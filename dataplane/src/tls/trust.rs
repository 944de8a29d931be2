//! Whose certificates are taken, and the settings that a shard's handshakes share.
//! Takes: the system's roots, a PEM file. Gives: rustls settings. Leaves out: connections (`session`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sipcast_contract::TlsTrust;

/// The roots that server certificates are checked against. Clones share them, so that [`TlsRoots::reload`] reaches
/// every shard.
#[derive(Clone, Debug)]
pub struct TlsRoots {
    file: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    /// Locked for a moment per full handshake, never for a packet. `None`: no roots at all.
    verifier: Arc<Mutex<Option<Arc<WebPkiServerVerifier>>>>,
}

/// Why roots cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsRootsError {
    /// The PEM file cannot be read.
    #[error("the certificates in {0} cannot be read: {1}")]
    File(PathBuf, rustls::pki_types::pem::Error),
    /// The PEM file holds no certificate.
    #[error("{0} holds no certificate: expected PEM blocks BEGIN CERTIFICATE")]
    Empty(PathBuf),
    /// A certificate in the PEM file cannot be a root.
    #[error("{0} holds a certificate that cannot be a root: {1}")]
    Unusable(PathBuf, Error),
}

impl TlsRoots {
    /// Loads the system's roots (or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name), and those of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the file. A system without roots is warned about: then only those of the file count.
    pub fn load(file: Option<&Path>) -> Result<Self, TlsRootsError> {
        let roots = Self::none();
        let roots = Self { file: file.map(Path::to_owned), ..roots };
        roots.reload()?;
        Ok(roots)
    }

    /// No roots: every certificate is refused, but for targets that accept any.
    pub fn none() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Self { file: None, provider, verifier: Arc::default() }
    }

    /// Loads again what [`TlsRoots::load`] loaded; connections made from now on are checked against it.
    ///
    /// # Errors
    /// As [`TlsRoots::load`]; then the old ones stay.
    pub fn reload(&self) -> Result<(), TlsRootsError> {
        let mut store = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in native.errors {
            tracing::debug!(%error, "a root certificate of the system cannot be read");
        }
        let (taken, ignored) = store.add_parsable_certificates(native.certs);
        if taken == 0 {
            tracing::warn!(
                ignored,
                "the system has no root certificates: rtmps:// works only with rtmp.tls_roots"
            );
        }
        if let Some(file) = &self.file {
            add_file(&mut store, file)?;
        }
        let count = store.len();
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone());
        // Fails for an empty store only.
        let verifier = builder.build().ok();
        *self.verifier.lock().unwrap_or_else(PoisonError::into_inner) = verifier;
        tracing::debug!(count, "root certificates for rtmps:// are loaded");
        Ok(())
    }

    fn verifier(&self) -> Option<Arc<WebPkiServerVerifier>> {
        self.verifier.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn add_file(store: &mut RootCertStore, file: &Path) -> Result<(), TlsRootsError> {
    let unreadable = |error| TlsRootsError::File(file.to_owned(), error);
    let mut is_empty = true;
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        store.add(certificate).map_err(|error| TlsRootsError::Unusable(file.to_owned(), error))?;
        is_empty = false;
    }
    if is_empty { Err(TlsRootsError::Empty(file.to_owned())) } else { Ok(()) }
}

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
        let provider = &roots.provider;
        Self {
            verifying: Arc::new(settings(provider, Arc::new(Verifying(roots.clone())))),
            accepting: Arc::new(settings(provider, Arc::new(Accepting(provider.clone())))),
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

fn settings(provider: &Arc<CryptoProvider>, verifier: Arc<dyn ServerCertVerifier>) -> ClientConfig {
    let mut settings = ClientConfig::builder_with_provider(provider.clone())
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

/// Checks against the roots as they are at that moment.
#[derive(Debug)]
struct Verifying(TlsRoots);

impl ServerCertVerifier for Verifying {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.0.verifier().ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes any certificate. The handshake's signature is still checked: the server must have the certificate's key.
#[derive(Debug)]
struct Accepting(Arc<CryptoProvider>);

impl ServerCertVerifier for Accepting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Servers whose tickets a shard remembers for each kind of trust; the oldest goes first.
const SESSIONS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let path = std::env::temp_dir().join(format!("sipcast-roots-{}.pem", std::process::id()));
        std::fs::write(&path, "no certificate").expect("a writable temporary directory");
        let error = TlsRoots::load(Some(&path)).expect_err("empty").to_string();
        assert!(error.contains("sipcast-roots") && error.contains("BEGIN CERTIFICATE"), "{error}");
        std::fs::remove_file(&path).expect("just written");
        let error = TlsRoots::load(Some(&path)).expect_err("missing").to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }
}
