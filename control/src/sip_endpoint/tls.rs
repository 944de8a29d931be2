//! TLS below SIP (RFC 3261 §26.2, RFC 5246, RFC 8446), by rustls.
//! Takes: settings, connected sockets, the name that was dialled. Gives: protected streams, or an error that says what to
//! change. Leaves out: messages (`stream`), dialling and listening (`transport`).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig, SupportedProtocolVersion};
use sipcast_trust::{FileError, FromFiles, Identity, Roots, ServerVerifier};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client, server};

use super::tls_listener::{Loaded, TlsListener};

/// Settings of TLS.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Whose servers are trusted.
    pub roots: TlsRoots,
    /// Our certificate chain and its key, PEM, for servers that ask for one.
    pub client_identity: Option<TlsIdentity>,
    /// Name to ask for (SNI) and to verify instead of the dialled one.
    pub server_name: Option<String>,
    /// Offer the application protocol `sip` (ALPN). Some services refuse it, none is known to need it.
    pub alpn: bool,
    /// Lowest version.
    pub version_min: TlsVersion,
    /// Highest version.
    pub version_max: TlsVersion,
    /// Listen for TLS with this certificate chain and key, PEM.
    pub server_identity: Option<TlsIdentity>,
    /// Port to listen at; 0: any free one. Nothing without [`Self::server_identity`].
    pub port: u16,
    /// Whom to ask for a certificate when they connect to us: PEM file of roots; `None`: nobody.
    pub client_roots: Option<PathBuf>,
    /// How long a handshake may take.
    pub handshake_max: Duration,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            roots: TlsRoots::System,
            client_identity: None,
            server_name: None,
            alpn: false,
            version_min: TlsVersion::V1_2,
            version_max: TlsVersion::V1_3,
            server_identity: None,
            port: 5061,
            client_roots: None,
            handshake_max: Duration::from_secs(5),
        }
    }
}

/// Which issuers are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsRoots {
    /// Those of the operating system.
    System,
    /// Those of a PEM file, and no others.
    File(PathBuf),
    /// Whoever answers is taken for the server: no protection against an attacker in between.
    Unverified,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// PEM file, the own certificate first.
    pub certificate: PathBuf,
    /// PEM file, without pass phrase.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// TLS cannot be set up as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// A file cannot be read, or is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The settings contradict each other, or the system has no roots.
    #[error("{0}")]
    Settings(String),
}

/// A handshake that failed. Holds no secret.
#[derive(Debug)]
pub(super) enum TlsTrouble {
    /// The server's certificate is not to be trusted: no weaker transport is to be tried in its place.
    Certificate(String),
    /// Anything else.
    Handshake(String),
}

impl fmt::Display for TlsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(text) | Self::Handshake(text) => f.write_str(text),
        }
    }
}

/// Both ends of TLS, ready to use.
pub(super) struct Tls {
    connector: TlsConnector,
    server_name: Option<String>,
    listener: Option<Arc<Loaded>>,
    handshake_max: Duration,
    files: Vec<Arc<dyn FromFiles>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsSetupError`] naming file or setting.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = versions(options)?;
        if let Some(name) = &options.server_name {
            ServerName::try_from(name.clone()).map_err(|_| {
                TlsSetupError::Settings(format!(
                    "the server name {name:?} is no host name: expected host.example"
                ))
            })?;
        }
        let mut files: Vec<Arc<dyn FromFiles>> = Vec::new();
        let listener = match &options.server_identity {
            Some(identity) => {
                let identity = identity.load()?;
                let client_roots = options.client_roots.clone();
                let alpn = alpn(options);
                files.push(identity.clone());
                let builder = ServerConfig::builder_with_provider(provider.clone())
                    .with_protocol_versions(&versions)
                    .map_err(|error| TlsSetupError::Settings(error.to_string()))?;
                let listener = TlsListener { builder, alpn, identity, client_roots }.load()?;
                files.push(listener.clone());
                Some(listener)
            }
            None => None,
        };
        Ok(Self {
            connector: connector(&provider, &versions, options, &mut files)?,
            server_name: options.server_name.clone(),
            listener,
            handshake_max: options.handshake_max,
            files,
        })
    }

    /// What can be read again while calls are placed.
    pub fn files(&self) -> &[Arc<dyn FromFiles>] {
        &self.files
    }

    /// The name that a server dialled as `host` has to prove.
    pub fn name_of(&self, host: &str) -> String {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.server_name.clone().unwrap_or_else(|| host.to_owned())
    }

    /// Protects a connection to the server `name`, as [`Self::name_of`] gave it. Addresses are verified, too, but not
    /// sent as SNI (RFC 6066 §3).
    ///
    /// # Errors
    /// [`TlsTrouble`] with what to change.
    pub async fn connect(
        &self,
        stream: TcpStream,
        name: &str,
        address: SocketAddr,
    ) -> Result<client::TlsStream<TcpStream>, TlsTrouble> {
        let expected = match name.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(name.to_owned()).map_err(|_| {
                TlsTrouble::Certificate(format!("{name} is no name that a certificate can prove"))
            })?,
        };
        match timeout(self.handshake_max, self.connector.connect(expected, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(trouble(&error, name)),
            Err(_) => Err(TlsTrouble::Handshake(format!(
                "{address} did not finish the TLS handshake within {} s: is this its TLS port?",
                self.handshake_max.as_secs_f32()
            ))),
        }
    }

    /// Protects a connection that a peer opened. `None`: we do not listen for TLS.
    pub async fn accept(&self, stream: TcpStream) -> Option<io::Result<server::TlsStream<TcpStream>>> {
        let acceptor = self.listener.as_ref()?.acceptor();
        let accepted = timeout(self.handshake_max, acceptor.accept(stream)).await;
        Some(accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }
}

fn versions(options: &TlsOptions) -> Result<Vec<&'static SupportedProtocolVersion>, TlsSetupError> {
    let all = [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    let range = options.version_min..=options.version_max;
    let versions: Vec<_> = all.into_iter().filter(|(v, _)| range.contains(v)).map(|(_, v)| v).collect();
    if versions.is_empty() {
        let text = "the lowest TLS version is above the highest: no version is left";
        return Err(TlsSetupError::Settings(text.to_owned()));
    }
    Ok(versions)
}

/// What is offered by ALPN.
fn alpn(options: &TlsOptions) -> Vec<Vec<u8>> {
    if options.alpn { ALPN_SIP.map(<[u8]>::to_vec).to_vec() } else { Vec::new() }
}

fn connector(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    options: &TlsOptions,
    files: &mut Vec<Arc<dyn FromFiles>>,
) -> Result<TlsConnector, TlsSetupError> {
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| TlsSetupError::Settings(error.to_string()))?;
    let roots = match &options.roots {
        TlsRoots::System => Some(Roots::of_system()),
        TlsRoots::File(path) => Some(Roots::of_file(path)?),
        TlsRoots::Unverified => None,
    };
    let verifier = match roots {
        Some(roots) => {
            let verifier = ServerVerifier::of_roots(&roots, no_roots());
            files.push(Arc::new(roots));
            verifier
        }
        None => ServerVerifier::anybody(),
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &options.client_identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let identity = identity.load()?;
            files.push(identity.clone());
            builder.with_client_cert_resolver(identity)
        }
    };
    config.alpn_protocols = alpn(options);
    Ok(TlsConnector::from(Arc::new(config)))
}

impl TlsIdentity {
    fn load(&self) -> Result<Arc<Identity>, FileError> {
        Identity::load(self.certificate.clone(), self.key.clone()).map(Arc::new)
    }
}

/// Said to who dials TLS on a system without roots.
fn no_roots() -> rustls::Error {
    rustls::Error::General(
        "this system has no trusted roots: install ca-certificates, or name a file in sip.tls_roots"
            .to_owned(),
    )
}

/// What failed, and which setting changes it.
fn trouble(error: &io::Error, name: &str) -> TlsTrouble {
    use rustls::Error;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(problem)) => {
            TlsTrouble::Certificate(certificate_trouble(problem, name))
        }
        Some(Error::General(text)) => TlsTrouble::Certificate(text.clone()),
        Some(Error::AlertReceived(alert)) => TlsTrouble::Handshake(match alert {
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate => format!(
                "{name} wants a certificate of ours that it trusts ({alert:?}): set sip.tls_client_certificate and \
                 sip.tls_client_key"
            ),
            AlertDescription::UnknownCA | AlertDescription::CertificateUnknown => {
                format!(
                    "{name} does not trust our certificate ({alert:?}): have it issued by an authority it knows"
                )
            }
            AlertDescription::ProtocolVersion => {
                format!(
                    "{name} has no TLS version that we may use: change sip.tls_version_min or sip.tls_version_max"
                )
            }
            AlertDescription::UnrecognisedName => {
                format!("{name} does not know this name: set sip.tls_server_name to the one it has")
            }
            AlertDescription::NoApplicationProtocol => {
                format!("{name} refuses the application protocol: set sip.tls_alpn = false")
            }
            alert => format!("{name} refused the TLS handshake: {alert:?}"),
        }),
        Some(Error::PeerIncompatible(problem)) => TlsTrouble::Handshake(format!(
            "{name} and we have no TLS version or cipher in common ({problem:?}): see sip.tls_version_min and \
             sip.tls_version_max"
        )),
        Some(Error::InvalidMessage(_)) => TlsTrouble::Handshake(format!(
            "{name} does not speak TLS at this port: is it the port of TLS (5061)?"
        )),
        _ => TlsTrouble::Handshake(format!("{name} broke the TLS handshake off: {error}")),
    }
}

fn certificate_trouble(problem: &CertificateError, name: &str) -> String {
    use CertificateError as Problem;
    match problem {
        Problem::Expired | Problem::ExpiredContext { .. } => {
            format!(
                "the certificate of {name} has expired: its operator must renew it (is this machine's clock right?)"
            )
        }
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => {
            format!("the certificate of {name} is not valid yet: is this machine's clock right?")
        }
        Problem::UnknownIssuer => format!(
            "the certificate of {name} is from an unknown issuer: name the issuer's PEM file in sip.tls_roots"
        ),
        Problem::NotValidForName | Problem::NotValidForNameContext { .. } => format!(
            "the certificate is not for {name}: dial the server by a name in its certificate, or set sip.tls_server_name"
        ),
        Problem::Revoked => format!("the certificate of {name} was revoked: its operator must replace it"),
        Problem::Other(_) => format!(
            "the certificate of {name} is not to be trusted: an issuer's certificate may serve as the server's own; \
             sip.tls_roots must name its issuer"
        ),
        problem => format!("the certificate of {name} is not valid: {problem}"),
    }
}

/// SIP as application protocol: IANA's name, and the one that peers use.
const ALPN_SIP: [&[u8]; 2] = [b"sip/2", b"sip"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_are_named() {
        let problem =
            |options: TlsOptions| Tls::new(&options).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(problem(TlsOptions::default()), "");
        let swapped = TlsOptions {
            version_min: TlsVersion::V1_3,
            version_max: TlsVersion::V1_2,
            ..TlsOptions::default()
        };
        assert!(problem(swapped).contains("no version is left"));
        let missing =
            TlsOptions { roots: TlsRoots::File("/nonexistent/ca.pem".into()), ..TlsOptions::default() };
        assert!(problem(missing).contains("/nonexistent/ca.pem: cannot be read"));
        let name = TlsOptions { server_name: Some("a b".into()), ..TlsOptions::default() };
        assert!(problem(name).contains("\"a b\" is no host name"));
    }

    #[test]
    fn the_name_to_prove_is_the_dialled_one_unless_set() {
        let tls = Tls::new(&TlsOptions::default()).expect("sound");
        assert_eq!([tls.name_of("pbx.example"), tls.name_of("[::1]")], ["pbx.example", "::1"]);
        let options = TlsOptions { server_name: Some("edge.example".into()), ..TlsOptions::default() };
        assert_eq!(Tls::new(&options).expect("sound").name_of("pbx.example"), "edge.example");
    }
}
