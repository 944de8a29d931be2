//! Asks the name service where requests go (RFC 3263): NAPTR, SRV, A and AAAA by hickory-resolver.
//! Takes: targets. Gives: candidates in order. Leaves out: the order itself (`sipcast_sip::locate`), connecting
//! (`transport`).
//!
//! Answers are kept as long as their TTL says, at most [`TTL_MAX`] and [`NAMES_KEPT_MAX`] of them. Names that DNS does not
//! have are asked of the system too, which also knows those of `nsswitch.conf`, unless name servers are configured.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use sipcast_sip::locate::{Candidate, Location, Naptr, Question, Srv, Target};
use sipcast_sip::uri::Host;
use tokio::time::{Instant, timeout, timeout_at};

/// Looks names up.
pub(super) struct NameService {
    /// `None`: the system names no usable name server.
    resolver: Option<TokioResolver>,
    /// Also ask the system's own look-up.
    asks_system: bool,
}

/// Why a target has no candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    #[error("the name has no address, and no SRV record that leads to one")]
    NotFound,
    #[error("the name service did not answer in time")]
    Silent,
}

/// The name service did not answer one question.
struct Silence;

impl NameService {
    /// With these name servers, or those that the system names.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(|server| name_server(*server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = ATTEMPT_MAX;
            options.attempts = 2;
            options.cache_size = NAMES_KEPT_MAX;
            options.positive_max_ttl = Some(TTL_MAX);
            options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
            builder.build()
        });
        if let Err(error) = &resolver {
            tracing::debug!(%error, "no DNS server is known: SIP targets are looked up by the system alone");
        }
        Self { resolver: resolver.ok(), asks_system: servers.is_empty() }
    }

    /// The ways to `target`, best first, never none. `random` spreads load among SRV records.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn locate(&self, target: Target, random: u64) -> Result<Vec<Candidate>, LookupError> {
        let until = Instant::now() + LOOKUP_MAX;
        let mut location = Location::new(target, random);
        let mut is_silent = false;
        while let Some(question) = location.poll_question() {
            let answered = match question {
                Question::Naptr(name) => self.naptr(&name, until).await.map(|r| location.handle_naptr(r)),
                Question::Srv(name) => self.srv(&name, until).await.map(|r| location.handle_srv(r)),
                Question::Addresses(name) => {
                    self.addresses(&name, until).await.map(|r| location.handle_addresses(r))
                }
            };
            if answered.is_err() {
                is_silent = true;
                location.handle_silence();
            }
        }
        let candidates = location.candidates();
        match candidates.is_empty() {
            false => Ok(candidates),
            true if is_silent => Err(LookupError::Silent),
            true => Err(LookupError::NotFound),
        }
    }

    async fn naptr(&self, name: &str, until: Instant) -> Result<Vec<Naptr>, Silence> {
        let Some(resolver) = &self.resolver else { return Err(Silence) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        records(resolver.lookup(absolute(name), RecordType::NAPTR), until, |data| match data {
            RData::NAPTR(naptr) => Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                service: text(&naptr.services),
                replacement: naptr.replacement.to_ascii(),
            }),
            _ => None,
        })
        .await
    }

    async fn srv(&self, name: &str, until: Instant) -> Result<Vec<Srv>, Silence> {
        let Some(resolver) = &self.resolver else { return Err(Silence) };
        records(resolver.lookup(absolute(name), RecordType::SRV), until, |data| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii(),
            }),
            _ => None,
        })
        .await
    }

    async fn addresses(&self, name: &str, until: Instant) -> Result<Vec<IpAddr>, Silence> {
        let mut found = Err(Silence);
        if let Some(resolver) = &self.resolver {
            // Relative: the system's search list counts, as it does for every other program.
            let v4 = records(resolver.lookup(name, RecordType::A), until, address);
            let v6 = records(resolver.lookup(name, RecordType::AAAA), until, address);
            found = match tokio::join!(v4, v6) {
                (Ok(mut v4), Ok(v6)) => {
                    v4.extend(v6);
                    Ok(v4)
                }
                (Ok(one), Err(Silence)) | (Err(Silence), Ok(one)) => Ok(one),
                (Err(Silence), Err(Silence)) => Err(Silence),
            };
        }
        let is_known = found.as_ref().is_ok_and(|found| !found.is_empty());
        if is_known || !self.asks_system {
            return found;
        }
        match timeout(SYSTEM_MAX, tokio::net::lookup_host((name.trim_end_matches('.'), 0))).await {
            Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
            Ok(Err(_)) => Ok(found.unwrap_or_default()),
            Err(_) => found,
        }
    }
}

/// The records of one answer that are of use. That there are none, or that the server does not want to say, is an answer
/// too: RFC 3263 then goes on without.
async fn records<T>(
    asked: impl Future<Output = Result<hickory_resolver::lookup::Lookup, NetError>>,
    until: Instant,
    read: impl Fn(&RData) -> Option<T>,
) -> Result<Vec<T>, Silence> {
    match timeout_at(until, asked).await {
        Ok(Ok(found)) => {
            Ok(found.answers().iter().filter_map(|record| read(&record.data)).take(RECORDS_MAX).collect())
        }
        Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_) | DnsError::ResponseCode(_)))) => Ok(Vec::new()),
        // Not a name that DNS can carry.
        Ok(Err(NetError::Proto(_))) => Ok(Vec::new()),
        Ok(Err(_)) | Err(_) => Err(Silence),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// Service records belong to whole names; a search list must not lead to another domain's.
fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    NameServerConfig::new(server.ip(), true, vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())])
}

/// The target of a host as texts hold it.
pub(super) fn host(text: &str) -> Host {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::Name(bare.trim_end_matches('.').to_ascii_lowercase()),
    }
}

/// All questions about one target together; after it only what is known counts.
const LOOKUP_MAX: Duration = Duration::from_secs(6);
/// One question to one server, asked twice.
const ATTEMPT_MAX: Duration = Duration::from_millis(1500);
/// The system's own look-up, which may ask several servers in turn.
const SYSTEM_MAX: Duration = Duration::from_secs(5);
/// Answers that are kept.
const NAMES_KEPT_MAX: u64 = 1024;
/// No answer is kept longer, whatever its TTL: a moved server is found again without a restart.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// The same for names that do not exist.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);
/// Records of one answer that are looked at.
const RECORDS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_sip::Transport;

    fn target(name: &str) -> Target {
        Target { host: host(name), port: Some(5070), transport: None, secure: false }
    }

    #[tokio::test]
    async fn this_machine_is_known_and_nonsense_is_not() {
        let service = NameService::new(&[]);
        let found = service.locate(target("LOCALHOST"), 0).await.expect("every machine has it");
        assert!(found.iter().all(|c| c.address.ip().is_loopback() && c.transport == Transport::Udp));
        assert!(service.locate(target("-none-.invalid"), 0).await.is_err());
        let literal = service.locate(target("[::1]"), 0).await.expect("needs no look-up");
        assert_eq!(literal[0].address, "[::1]:5070".parse().expect("valid"));
    }

    #[tokio::test]
    async fn a_silent_name_server_is_told_from_an_unknown_name() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let service = NameService::new(&[silent.local_addr().expect("bound")]);
        let begun = Instant::now();
        let found = service.locate(Target { port: None, ..target("pbx.example") }, 0).await;
        assert_eq!(found, Err(LookupError::Silent));
        assert!(begun.elapsed() < LOOKUP_MAX * 2, "{:?}", begun.elapsed());
    }
}
