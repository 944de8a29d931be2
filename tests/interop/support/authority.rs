//! A private certification authority, its certificates as the files that programs want.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::process::directory;

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// A certificate and its key as PEM files; `both` holds one after the other.
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificate and key in one file.
    pub both: PathBuf,
}

impl Authority {
    /// A new one that nobody trusts yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("self-signed");
        let directory = directory("authority");
        std::fs::write(directory.join("ca.pem"), issuer.pem()).expect("a writable directory");
        Self { issuer, directory }
    }

    /// Its certificate, PEM.
    pub fn roots(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Issues a certificate for these names or addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        let key = key.serialize_pem();
        let directory = directory("identity");
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("a writable directory");
            path
        };
        Identity {
            both: write("both.pem", format!("{certificate}{key}")),
            certificate: write("certificate.pem", certificate),
            key: write("key.pem", key),
        }
    }
}

impl Identity {
    /// For a server of the tests' own.
    pub fn server(&self) -> Arc<ServerConfig> {
        let chain = vec![CertificateDer::from_pem_file(&self.certificate).expect("just written")];
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("just written");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of the provider")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        Arc::new(config.expect("a pair"))
    }
}
