//! Certificates as files, for whatever speaks TLS in either plane: SIP, RTMPS, HTTPS, webhooks.
//! Takes: PEM files, the system's roots. Gives: chains, keys and roots that can be read again while connections are made
//! with them, and a rustls verifier of servers.
//! Leaves out: connections and settings of TLS, which each user has its own of; when to read again (the process).
#![forbid(unsafe_code)]

mod identity;
pub mod pem;
mod roots;
mod verifier;

use std::path::Path;

pub use identity::Identity;
pub use pem::FileError;
pub use roots::Roots;
pub use verifier::ServerVerifier;

/// Something that was made of files and can be made anew of them.
pub trait FromFiles: Send + Sync {
    /// The files.
    fn files(&self) -> Vec<&Path>;

    /// Reads them again: connections that are made from now on get what is in them.
    ///
    /// # Errors
    /// [`FileError`]; then what was read before stays in force.
    fn reload(&self) -> Result<(), FileError>;
}
