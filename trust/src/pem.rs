//! PEM files (RFC 7468). Errors name the file and hold nothing of what is in it: a line could be one of a key.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file cannot be read, or is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl FileError {
    /// Of `path`.
    pub fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into() }
    }
}

/// The certificates of a file, at least one.
///
/// # Errors
/// [`FileError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(path, &error, "holds a certificate that is cut or not Base64"))?;
    if found.is_empty() {
        return Err(FileError::new(path, "holds no certificate: expected PEM blocks BEGIN CERTIFICATE"));
    }
    Ok(found)
}

/// The private key of a file.
///
/// # Errors
/// [`FileError`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| unreadable(path, &error, "holds no private key: expected PEM without a pass phrase"))
}

/// Adds the certificates of a file to roots.
///
/// # Errors
/// [`FileError`]; some may have been added.
pub fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), FileError> {
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| {
            FileError::new(path, format!("holds what is no certificate of an issuer: {error}"))
        })?;
    }
    Ok(())
}

/// Adds the operating system's roots, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Gives how many.
pub fn add_system_roots(roots: &mut RootCertStore) -> usize {
    let native = rustls_native_certs::load_native_certs();
    for error in native.errors {
        tracing::debug!(%error, "a root certificate of the system cannot be read");
    }
    roots.add_parsable_certificates(native.certs).0
}

fn unreadable(path: &Path, error: &Error, otherwise: &str) -> FileError {
    match error {
        Error::Io(error) => FileError::new(path, format!("cannot be read: {error}")),
        _ => FileError::new(path, otherwise),
    }
}
