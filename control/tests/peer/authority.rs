//! A private certification authority and the files that settings name.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use sipcast_control::sip_endpoint::{TlsIdentity, TlsRoots};

/// An authority that issues what a test needs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// A certificate and its key, both PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
    directory: PathBuf,
}

/// What a TLS peer asks of those who connect to it.
#[derive(Clone, Copy, Default)]
pub struct Demands {
    pub client_certificate: bool,
    pub only_tls_1_2: bool,
}

impl Authority {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("sipcast-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a writable temporary directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Two authorities of one name would be taken for each other.
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("self-signed");
        Self { issuer, directory }
    }

    /// For these names or addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// The same, expired long ago.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Issued { certificate: certificate.pem(), key: key.serialize_pem(), directory: self.directory.clone() }
    }

    fn file(&self) -> PathBuf {
        let path = self.directory.join("ca.pem");
        std::fs::write(&path, self.issuer.pem()).expect("writable");
        path
    }

    /// As a setting: trusts this authority alone.
    pub fn roots(&self) -> TlsRoots {
        TlsRoots::File(self.file())
    }

    /// As a setting for clients that connect to us.
    pub fn client_roots(&self) -> PathBuf {
        self.file()
    }

    fn store(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        Arc::new(roots)
    }

    /// The peer's end: presents `issued`.
    pub fn acceptor(&self, issued: &Issued, demands: Demands) -> tokio_rustls::TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions: &[_] = match demands.only_tls_1_2 {
            true => &[&rustls::version::TLS12],
            false => rustls::ALL_VERSIONS,
        };
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(versions).expect("versions");
        let builder = match demands.client_certificate {
            false => builder.with_no_client_auth(),
            true => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(self.store(), provider).build().expect("roots"),
            ),
        };
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
        Arc::new(builder.with_single_cert(chain, key).expect("a pair")).into()
    }

    /// The peer's end as one who connects to us.
    pub fn connector(&self, issued: Option<&Issued>) -> tokio_rustls::TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_root_certificates(self.store());
        let config = match issued {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        Arc::new(config).into()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Issued {
    /// As a setting.
    pub fn identity(&self) -> TlsIdentity {
        let certificate = self.directory.join("certificate.pem");
        let key = self.directory.join("key.pem");
        std::fs::write(&certificate, &self.certificate).expect("writable");
        std::fs::write(&key, &self.key).expect("writable");
        TlsIdentity { certificate, key }
    }
}
