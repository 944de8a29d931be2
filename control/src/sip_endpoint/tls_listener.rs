//! The end of TLS that peers connect to: our certificate, and whom we ask for one.
//! Takes: files. Gives: handshakes by what the files held when they were last read. Leaves out: settings and their errors
//! (`tls`), ports (`listener`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::WebPkiClientVerifier;
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use sipcast_trust::{FileError, FromFiles, Identity, pem};
use tokio_rustls::TlsAcceptor;

/// What a handshake of ours is made of.
pub(super) struct TlsListener {
    /// With the versions of the settings.
    pub(super) builder: ConfigBuilder<ServerConfig, WantsVerifier>,
    pub(super) alpn: Vec<Vec<u8>>,
    /// Read again on its own.
    pub(super) identity: Arc<Identity>,
    /// Issuers of peers' certificates, PEM; `None`: peers are asked for none.
    pub(super) client_roots: Option<PathBuf>,
}

impl TlsListener {
    /// Reads the roots.
    ///
    /// # Errors
    /// What is wrong with their file.
    pub(super) fn load(self) -> Result<Arc<Loaded>, FileError> {
        let acceptor = Mutex::new(self.acceptor()?);
        Ok(Arc::new(Loaded { listener: self, acceptor }))
    }

    fn acceptor(&self) -> Result<TlsAcceptor, FileError> {
        let builder = self.builder.clone();
        let builder = match &self.client_roots {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                pem::add_roots(&mut roots, path)?;
                let provider = builder.crypto_provider().clone();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier.build().map_err(|error| FileError::new(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(self.identity.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// A listener whose files are read.
pub(super) struct Loaded {
    listener: TlsListener,
    acceptor: Mutex<TlsAcceptor>,
}

impl Loaded {
    /// By the roots of this moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FromFiles for Loaded {
    fn files(&self) -> Vec<&Path> {
        self.listener.client_roots.iter().map(PathBuf::as_path).collect()
    }

    /// Sessions of before cannot be resumed: who is no longer trusted must show its certificate again.
    fn reload(&self) -> Result<(), FileError> {
        let acceptor = self.listener.acceptor()?;
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }
}
