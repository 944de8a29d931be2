//! What all faces share: who may ask and how often, how many are served at once, and what is counted of it.
//! Takes: headers and peer of a request. Gives: a place, or why there is none.
//! Leaves out: how a refusal looks (`rest`, `grpc`), connections (`http_server`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api_keys::{ApiKeys, KeyId};
use crate::rate::Rate;
use crate::webhooks::Webhook;

/// How much is served. A limit of 0 is none where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceLimits {
    /// Requests a second of one API key, or of one peer where no keys are set; 0: no limit.
    pub requests_per_s_max: u32,
    /// Orders of broadcasts a second, over all faces; 0: no limit.
    pub orders_per_s_max: u32,
    /// Requests that are handled at the same time.
    pub requests_max: usize,
    /// Subscribers of Server-Sent Events at the same time.
    pub event_streams_max: usize,
    /// Connections at the same time, HTTP and gRPC together.
    pub connections_max: usize,
    /// Connections of one peer at the same time.
    pub connections_per_peer_max: usize,
    /// Bytes of a request's head, or of its headers in HTTP/2.
    pub header_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// How long the head of a request may take, from the connection or the answer before on.
    pub header_wait_max: Duration,
}

impl Default for FaceLimits {
    fn default() -> Self {
        Self {
            requests_per_s_max: 1000,
            orders_per_s_max: 200,
            requests_max: 512,
            event_streams_max: 256,
            connections_max: 4096,
            connections_per_peer_max: 1024,
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            header_wait_max: Duration::from_secs(30),
        }
    }
}

/// The address that a request comes from; the server puts it into the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has no key, or an unknown one.
    Key,
    /// Too many of this key or peer; when to come again.
    Rate(Duration),
    /// Too many at once.
    Busy,
}

/// The reasons that refusals are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RefusalCause {
    /// No key, or an unknown one.
    Key,
    /// Requests of one key or peer.
    RequestRate,
    /// Requests at once.
    RequestsMax,
    /// Orders in all.
    OrderRate,
    /// Connections, in all or of one peer.
    Connections,
    /// A TLS handshake failed.
    TlsHandshake,
    /// Subscribers of events.
    EventStreams,
    /// A SIP destination that is not to be called.
    SipDestination,
    /// An RTMP target that is not to be published to.
    RtmpTarget,
    /// An app did not agree (`hooks`).
    Hook,
}

impl RefusalCause {
    pub(crate) const ALL: [Self; 10] = [
        Self::Key,
        Self::RequestRate,
        Self::RequestsMax,
        Self::OrderRate,
        Self::Connections,
        Self::TlsHandshake,
        Self::EventStreams,
        Self::SipDestination,
        Self::RtmpTarget,
        Self::Hook,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::RequestRate => "request_rate",
            Self::RequestsMax => "requests_max",
            Self::OrderRate => "order_rate",
            Self::Connections => "connections_max",
            Self::TlsHandshake => "tls_handshake",
            Self::EventStreams => "event_streams_max",
            Self::SipDestination => "sip_destination",
            Self::RtmpTarget => "rtmp_target",
            Self::Hook => "hook",
        }
    }
}

/// Whose rate is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Key(KeyId),
    Peer(IpAddr),
    Unknown,
}

/// Route (a template, never a path), method and status of answered requests.
pub(crate) type RequestCounts = BTreeMap<(String, &'static str, u16), u64>;

/// gRPC method (`/package.Service/Method`) and status code of answered calls.
pub(crate) type GrpcCounts = BTreeMap<(Arc<str>, i32), u64>;

/// One per process.
pub(crate) struct Faces {
    keys: ApiKeys,
    requests: Rate<Who>,
    orders: Rate<()>,
    places: Arc<Semaphore>,
    pub(crate) event_streams: Arc<Semaphore>,
    /// Streams of events end when the process does.
    pub(crate) ending: CancellationToken,
    refusals: [AtomicU64; RefusalCause::ALL.len()],
    answered: Mutex<RequestCounts>,
    grpc_answered: Mutex<GrpcCounts>,
    pub(crate) webhooks: Vec<Webhook>,
}

impl Faces {
    pub(crate) fn new(keys: ApiKeys, limits: &FaceLimits, webhooks: Vec<Webhook>) -> Self {
        Self {
            keys,
            requests: Rate::new(limits.requests_per_s_max),
            orders: Rate::new(limits.orders_per_s_max),
            places: Arc::new(Semaphore::new(limits.requests_max)),
            event_streams: Arc::new(Semaphore::new(limits.event_streams_max)),
            ending: CancellationToken::new(),
            refusals: Default::default(),
            answered: Mutex::default(),
            grpc_answered: Mutex::default(),
            webhooks,
        }
    }

    /// Whether clients need a key.
    pub(crate) fn have_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// A place for a request. `is_open`: it needs no key.
    ///
    /// # Errors
    /// [`Refused`], counted.
    pub(crate) fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        is_open: bool,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        let key = if self.have_keys() { self.keys.of(headers) } else { None };
        let who = match (key, peer) {
            (Some(key), _) => Who::Key(key),
            (None, Some(peer)) => Who::Peer(network(peer)),
            (None, None) => Who::Unknown,
        };
        // Before the key is judged, so that guessing is slowed, too.
        self.requests.take(who, Instant::now()).map_err(|wait| {
            self.count(RefusalCause::RequestRate);
            Refused::Rate(wait)
        })?;
        if self.have_keys() && key.is_none() && !is_open {
            self.count(RefusalCause::Key);
            return Err(Refused::Key);
        }
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            self.count(RefusalCause::RequestsMax);
            Refused::Busy
        })
    }

    /// Whether one more broadcast may be ordered now.
    ///
    /// # Errors
    /// When to come again; counted.
    pub(crate) fn admit_order(&self) -> Result<(), Duration> {
        self.orders.take((), Instant::now()).inspect_err(|_| self.count(RefusalCause::OrderRate))
    }

    pub(crate) fn count(&self, cause: RefusalCause) {
        self.refusals[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let count = |cause: RefusalCause| self.refusals[cause as usize].load(Ordering::Relaxed);
        RefusalCause::ALL.into_iter().map(move |cause| (cause.name(), count(cause)))
    }

    /// Counts an answer. `route`: a template of the router, so that there are few.
    pub(crate) fn count_answer(&self, route: &str, method: &'static str, status: u16) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = answered.get_mut(&(route.to_owned(), method, status)) {
            *count += 1;
        } else if answered.len() < ROUTES_COUNTED_MAX {
            answered.insert((route.to_owned(), method, status), 1);
        }
    }

    /// Counts an answer of gRPC. `method`: one that there is, so that there are few.
    pub(crate) fn count_grpc_answer(&self, method: &Arc<str>, code: i32) {
        let mut answered = self.grpc_answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered.entry((Arc::clone(method), code)).or_default() += 1;
    }

    pub(crate) fn grpc_answered(&self) -> GrpcCounts {
        self.grpc_answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn answered(&self) -> RequestCounts {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Who has an IPv6 address has at least 2^64 of them.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Combinations of route, method and status that are counted: all that there are, with room.
const ROUTES_COUNTED_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn faces(keys: &[&str], limits: FaceLimits) -> Faces {
        Faces::new(ApiKeys::new(keys).expect("keys"), &limits, Vec::new())
    }

    fn with_key(key: &str) -> HeaderMap {
        HeaderMap::from_iter([("x-api-key".parse().expect("a name"), key.parse().expect("a value"))])
    }

    const KEY: &str = "0123456789abcdef";

    #[test]
    fn a_key_is_needed_once_one_is_set() {
        let open = faces(&[], FaceLimits::default());
        assert!(open.admit(&HeaderMap::new(), None, false).is_ok());
        let shut = faces(&[KEY], FaceLimits::default());
        assert_eq!(shut.admit(&HeaderMap::new(), None, false).err(), Some(Refused::Key));
        assert_eq!(shut.admit(&with_key("wrong"), None, false).err(), Some(Refused::Key));
        assert!(shut.admit(&with_key(KEY), None, false).is_ok());
        assert!(shut.admit(&HeaderMap::new(), None, true).is_ok());
        assert_eq!(shut.refusals().next(), Some(("key", 2)));
    }

    #[test]
    fn rates_are_of_one_key_or_peer() {
        let limits = FaceLimits { requests_per_s_max: 1, ..FaceLimits::default() };
        let faces = faces(&[KEY], limits);
        let ask =
            |headers: &HeaderMap, peer: &str| faces.admit(headers, peer.parse().ok(), true).map(drop).is_ok();
        let none = HeaderMap::new();
        assert_eq!([1, 2, 3].map(|_| ask(&none, "192.0.2.1")), [true, true, false]);
        assert!(ask(&none, "192.0.2.2") && ask(&with_key(KEY), "192.0.2.1"));
        assert!(ask(&none, "2001:db8::1") && ask(&none, "2001:db8::2"));
        assert!(!ask(&none, "2001:db8::3"), "the same network");
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let faces = faces(&[], FaceLimits { requests_max: 1, ..FaceLimits::default() });
        let place = faces.admit(&HeaderMap::new(), None, false).expect("a place");
        assert_eq!(faces.admit(&HeaderMap::new(), None, false).err(), Some(Refused::Busy));
        drop(place);
        assert!(faces.admit(&HeaderMap::new(), None, false).is_ok());
    }
}
