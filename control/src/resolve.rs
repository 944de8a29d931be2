//! Looks up the hosts of RTMP targets: before a target is handed to a shard, and again each time it reconnects,
//! because services move their ingest addresses.
//! Takes: an RTMP URL. Gives: addresses to try in turn. Leaves out: connecting (dataplane).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sipcast_contract::RtmpUrl;

use crate::access::AccessRules;

/// Why a host has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist or has no address.
    #[error("the host name cannot be resolved")]
    NotFound,
    /// The name service did not answer within [`LOOKUP_TIMEOUT`].
    #[error("the name service did not answer in time")]
    TimedOut,
    /// The host, or all of its addresses, must not be reached.
    #[error("names a host that this server may not reach")]
    Denied,
}

/// The addresses of `url`'s host that `rules` admit, at most [`ADDRESSES_MAX`], never empty.
///
/// # Errors
/// [`LookupError`].
pub async fn addresses(url: &RtmpUrl, rules: &AccessRules) -> Result<Vec<SocketAddr>, LookupError> {
    if !rules.admit_host(url.host()) {
        return Err(LookupError::Denied);
    }
    if let Some(address) = literal(url) {
        return Ok(vec![address]);
    }
    let look_up = tokio::net::lookup_host((url.host(), url.port()));
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, look_up)
        .await
        .map_err(|_| LookupError::TimedOut)?
        .map_err(|_| LookupError::NotFound)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut denied = false;
    for address in found {
        // Asked again by address: a name means what its owner wants it to.
        if !rules.admit(url.host(), address.ip()) {
            denied = true;
        } else if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // Few networks that lack IPv6 say so quickly; RTMP services have IPv4 throughout.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    match addresses.is_empty() {
        false => Ok(addresses),
        true if denied => Err(LookupError::Denied),
        true => Err(LookupError::NotFound),
    }
}

/// The address itself when the host is one: then no look-up can change it.
pub fn literal(url: &RtmpUrl) -> Option<SocketAddr> {
    url.host().parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, url.port()))
}

/// How long a look-up may take.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one host that are kept; the rest is ignored.
pub const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RtmpUrl {
        RtmpUrl::parse(text).expect("valid")
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let found =
            addresses(&url("rtmp://[::1]:1936/live"), &AccessRules::default()).await.expect("literal");
        assert_eq!(found, ["[::1]:1936".parse().expect("valid")]);
    }

    #[tokio::test]
    async fn localhost_is_found_and_nonsense_is_not() {
        let found = addresses(&url("rtmp://localhost/live"), &AccessRules::default())
            .await
            .expect("every machine has it");
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 1935), "{found:?}");
        let nowhere = url("rtmp://-no-such-host-.invalid/live");
        assert_eq!(addresses(&nowhere, &AccessRules::default()).await, Err(LookupError::NotFound));
    }

    #[tokio::test]
    async fn a_name_of_a_denied_address_is_denied() {
        let rules = AccessRules::new(&[], &["127.0.0.0/8", "::1"]).expect("rules");
        for text in ["rtmp://localhost/live", "rtmp://127.0.0.1/live", "rtmp://[::ffff:127.0.0.1]/live"] {
            assert_eq!(addresses(&url(text), &rules).await, Err(LookupError::Denied), "{text}");
        }
    }
}
