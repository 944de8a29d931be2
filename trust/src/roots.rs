//! Roots that servers' certificates are checked against.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::{FileError, FromFiles, pem};

/// Roots. Clones share them, so that a reload reaches all.
#[derive(Clone, Debug)]
pub struct Roots {
    has_system: bool,
    file: Option<PathBuf>,
    pub(crate) provider: Arc<CryptoProvider>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    /// Not asked for yet.
    Unread,
    /// `None`: there are no roots at all.
    Read(Option<Arc<WebPkiServerVerifier>>),
}

impl Roots {
    /// The system's roots and those of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the file. A system without roots is none: see [`Self::is_empty`].
    pub fn load(file: Option<&Path>) -> Result<Self, FileError> {
        Self::read(true, file)
    }

    /// Those of a PEM file, and no others.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of_file(file: &Path) -> Result<Self, FileError> {
        Self::read(false, Some(file))
    }

    /// The system's, read when they are first needed: a system without roots concerns only who needs some.
    pub fn of_system() -> Self {
        Self { has_system: true, state: Arc::new(Mutex::new(State::Unread)), ..Self::none() }
    }

    /// None: every certificate is refused.
    pub fn none() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let state = Arc::new(Mutex::new(State::Read(None)));
        Self { has_system: false, file: None, provider, state }
    }

    fn read(has_system: bool, file: Option<&Path>) -> Result<Self, FileError> {
        let roots = Self { has_system, file: file.map(Path::to_owned), ..Self::none() };
        roots.reload()?;
        Ok(roots)
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.current().is_none()
    }

    /// The verifier with the roots of this moment. Locked for a moment per full handshake, never for a packet.
    pub(crate) fn current(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Unread) {
            // Only the system's are read late, and those cannot fail.
            *state = State::Read(self.verifier().unwrap_or_default());
        }
        match &*state {
            State::Read(verifier) => verifier.clone(),
            State::Unread => None,
        }
    }

    fn verifier(&self) -> Result<Option<Arc<WebPkiServerVerifier>>, FileError> {
        let mut store = RootCertStore::empty();
        if self.has_system {
            pem::add_system_roots(&mut store);
        }
        if let Some(file) = &self.file {
            pem::add_roots(&mut store, file)?;
        }
        tracing::debug!(count = store.len(), "root certificates are read");
        // Fails for an empty store only.
        Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone()).build().ok())
    }
}

impl FromFiles for Roots {
    /// The system's roots lie in places that differ; they are read again with the file, and at every reload.
    fn files(&self) -> Vec<&Path> {
        self.file.iter().map(PathBuf::as_path).collect()
    }

    fn reload(&self) -> Result<(), FileError> {
        if matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Unread) {
            return Ok(());
        }
        let verifier = self.verifier()?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Read(verifier);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("sipcast-{name}-{}.pem", std::process::id()))
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let path = scratch("roots");
        std::fs::write(&path, "no certificate").expect("a writable temporary directory");
        let error = Roots::load(Some(&path)).expect_err("empty").to_string();
        assert!(error.contains("sipcast-roots") && error.contains("BEGIN CERTIFICATE"), "{error}");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n!s3cret!\n-----END CERTIFICATE-----\n")
            .expect("writable");
        let error = Roots::of_file(&path).expect_err("no Base64").to_string();
        assert!(error.contains("not Base64") && !error.contains("s3cret"), "{error}");
        std::fs::remove_file(&path).expect("just written");
        let error = Roots::of_file(&path).expect_err("missing").to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_reload_reaches_clones_and_a_broken_file_leaves_what_was_read() {
        let issuer = |name: &str| {
            let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().expect("a key");
            parameters.self_signed(&key).expect("sound").pem()
        };
        let path = scratch("reload");
        std::fs::write(&path, issuer("one.example")).expect("a writable temporary directory");
        let roots = Roots::of_file(&path).expect("an issuer");
        let clone = roots.clone();
        let before = clone.current().expect("roots");
        std::fs::write(&path, issuer("two.example")).expect("writable");
        roots.reload().expect("sound");
        let after = clone.current().expect("roots");
        assert!(!Arc::ptr_eq(&before, &after));
        std::fs::write(&path, "nothing").expect("writable");
        assert!(roots.reload().is_err());
        assert!(Arc::ptr_eq(&after, &clone.current().expect("roots")));
        assert_eq!(roots.files(), [path.as_path()]);
        std::fs::remove_file(&path).expect("just written");
        assert!(Roots::none().is_empty());
    }
}
