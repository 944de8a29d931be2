//! Whose servers are trusted (RFC 5280, RFC 9525 by webpki).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use crate::Roots;

/// Checks servers' certificates, or takes any. That the server holds its certificate's key is checked in either case.
#[derive(Debug)]
pub struct ServerVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trust {
    /// By roots as they are at the moment of the handshake.
    Roots {
        roots: Roots,
        without: Error,
    },
    Anybody,
}

impl ServerVerifier {
    /// Trusts who has a certificate by `roots` for the name that is dialled. `without`: what is said when there are no
    /// roots at all.
    pub fn of_roots(roots: &Roots, without: Error) -> Arc<Self> {
        let provider = roots.provider.clone();
        Arc::new(Self { trust: Trust::Roots { roots: roots.clone(), without }, provider })
    }

    /// Takes whoever answers for the server: no protection against an attacker in between.
    pub fn anybody() -> Arc<Self> {
        Arc::new(Self { trust: Trust::Anybody, provider: Arc::new(aws_lc_rs::default_provider()) })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Roots { roots, without } = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let verifier = roots.current().ok_or_else(|| without.clone())?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
