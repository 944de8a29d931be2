//! sipcast's control plane: REST, SIP and the use-cases between them.
//! Takes: HTTP requests, SIP events, reports of the shards. Gives: commands to the shards, SIP requests, JSON, the
//! page. Leaves out: media packets, which it never sees, and listening sockets for HTTP (the process).
#![forbid(unsafe_code)]

pub mod access;
pub mod api_keys;
mod broadcast;
pub mod conformity;
mod course;
pub mod delivery;
pub mod dialer;
mod digits;
pub mod events;
mod faces;
mod grpc;
pub mod hooks;
mod http_server;
mod idempotency;
mod joining;
mod local_streams;
mod metrics;
mod order;
mod ordered_url;
mod process_figures;
mod push;
mod rate;
mod registry;
mod reports;
pub mod resolve;
mod rest;
pub mod sip_endpoint;
pub mod sounds;
pub mod statistics;
pub mod stream_name;
pub mod target_contract;
mod targets;
mod view;
pub mod webhooks;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use crossbeam::channel::Receiver;
use sipcast_contract::{CommandSender, MediaOptions, Report, RtmpTarget, Secret, TlsTrust};
use sipcast_sip::MediaSecurity;
pub use sipcast_sip::profile::Profiles;

pub use access::AccessRules;
pub use api_keys::ApiKeys;
pub use broadcast::Drained;
pub use events::{Event, EventKind, Events};
pub use faces::FaceLimits;
pub use http_server::ServerTls;
pub use sip_endpoint::SipEndpoint;
pub use statistics::Statistics;
pub use stream_name::StreamPrefix;
pub use target_contract::TargetContracts;
pub use webhooks::WebhookOptions;

use broadcast::Broadcasts;
use conformity::ConformityReport;
use dialer::Dialer;
use faces::Faces;
use hooks::{Apps, HookOptions};
use http_server::Connections;
use sounds::Sounds;
use webhooks::Webhook;

/// Settings of the control plane.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Live broadcasts at most; a further order is refused with 503.
    pub broadcasts_max: usize,
    /// How long a call is shown with its final status before it is gone (404).
    pub grace: Duration,
    /// Prefix of published stream names.
    pub stream_prefix: StreamPrefix,
    /// How media is treated.
    pub media: MediaOptions,
    /// Protection of RTP where neither an order nor its service profile says.
    pub media_security: MediaSecurity,
    /// Address that RTP ports are bound at; `None`: the one that is offered. Behind a 1:1 NAT, where the offered
    /// address is none of this machine, an own address or the unspecified one.
    pub media_bind: Option<IpAddr>,
    /// Address that session descriptions offer RTP at; `None`: the one that the SIP side names.
    pub media_offered: Option<IpAddr>,
    /// `flashVer` for RTMP targets whose order names none.
    pub flash_version: String,
    /// Trust in certificates of `rtmps://` targets whose order says nothing of it.
    pub tls: TlsTrust,
    /// What RTMP services demand.
    pub contracts: TargetContracts,
    /// Access from pages of other origins.
    pub cors: CorsOptions,
    /// RTMP URL of the embedded origin, `rtmp://host[:port]/app`; the page's player plays what goes there.
    pub origin_rtmp_url: Option<String>,
    /// Where the control plane tells what happens. Clone it before, for others that tell or listen.
    pub events: Events,
    /// What conference services want otherwise than others.
    pub profiles: Profiles,
    /// Apps that are told what happens to their calls, and asked before orders.
    pub hooks: Vec<HookOptions>,
    /// Sound files that targets and callees may be given.
    pub sounds: Sounds,
    /// What the page's form holds at first. Everyone who may ask can read it.
    pub page: Option<PageDefaults>,
    /// Who may ask; none: everybody.
    pub api_keys: ApiKeys,
    /// How much is served.
    pub limits: FaceLimits,
    /// Which hosts may be called. The SIP side must have the same for the addresses of names.
    pub sip_access: AccessRules,
    /// Which hosts may be published to and pulled from.
    pub rtmp_access: AccessRules,
    /// Whom to tell of events.
    pub webhooks: Vec<WebhookOptions>,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self {
            broadcasts_max: 1000,
            grace: Duration::from_secs(10),
            stream_prefix: StreamPrefix::default(),
            media: MediaOptions::default(),
            media_security: MediaSecurity::default(),
            media_bind: None,
            media_offered: None,
            flash_version: RtmpTarget::FLASH_VERSION_DEFAULT.to_owned(),
            tls: TlsTrust::default(),
            contracts: TargetContracts::default(),
            cors: CorsOptions::default(),
            origin_rtmp_url: None,
            events: Events::default(),
            profiles: Profiles::default(),
            hooks: Vec::new(),
            sounds: Sounds::default(),
            page: None,
            api_keys: ApiKeys::default(),
            limits: FaceLimits::default(),
            sip_access: AccessRules::default(),
            rtmp_access: AccessRules::default(),
            webhooks: Vec::new(),
        }
    }
}

/// Headers of answers under `/rest-api` (the original's `rest_access_control_*` settings).
#[derive(Clone, Debug)]
pub struct CorsOptions {
    /// `Access-Control-Allow-Origin`.
    pub allow_origin: HeaderValue,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: HeaderValue,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: HeaderValue,
}

impl Default for CorsOptions {
    fn default() -> Self {
        Self {
            allow_origin: HeaderValue::from_static("*"),
            allow_headers: HeaderValue::from_static("content-type,x-requested-with,authorization,x-api-key"),
            allow_methods: HeaderValue::from_static("POST"),
        }
    }
}

/// What the page's form holds at first; fields by their names in the API.
#[derive(Clone, Debug, Default)]
pub struct PageDefaults {
    /// `sipLogin`.
    pub sip_login: String,
    /// `sipAuthenticationName`.
    pub sip_authentication_name: String,
    /// `sipPassword`.
    pub sip_password: Secret<String>,
    /// `sipDomain`.
    pub sip_domain: String,
    /// `sipPort`.
    pub sip_port: u16,
    /// `sipOutboundProxy`.
    pub sip_outbound_proxy: String,
    /// `sipRegisterRequired`.
    pub sip_register_required: bool,
    /// `hasAudio`.
    pub has_audio: bool,
    /// `hasVideo`.
    pub has_video: bool,
    /// `rtmpUrl`.
    pub rtmp_url: String,
    /// `rtmpStream`.
    pub rtmp_stream: String,
    /// `callee`.
    pub callee: String,
}

/// The control plane of one process. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct ControlPlane {
    broadcasts: Broadcasts,
    connections: Connections,
}

impl ControlPlane {
    /// Starts it: `sip` places the calls, `shards` carry the media, in order of their numbers, and tell of it over
    /// `reports`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The operating system refuses the thread that reads `reports`; a hook's URL is none; a webhook cannot be used as
    /// it is configured.
    pub fn start(
        mut options: ControlOptions,
        sip: impl Dialer,
        shards: Vec<CommandSender>,
        reports: Receiver<Report>,
    ) -> io::Result<Self> {
        let webhooks = std::mem::take(&mut options.webhooks).into_iter().map(|webhook| {
            let named = format!("webhook {}", webhook.name);
            Webhook::start(webhook, &options.events)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{named}: {error}")))
        });
        let webhooks = webhooks.collect::<Result<_, _>>()?;
        let connections = Connections::new(&options.limits);
        let faces = Faces::new(options.api_keys.clone(), &options.limits, webhooks);
        let apps = Apps::start(std::mem::take(&mut options.hooks)).map_err(|(app, error)| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("app {app:?}: {error}"))
        })?;
        let broadcasts = Broadcasts::new(options, Box::new(sip), shards, faces, apps);
        reports::spawn(broadcasts.clone(), reports, tokio::runtime::Handle::current())?;
        hooks::tell_of_events(broadcasts.clone());
        Ok(Self { broadcasts, connections })
    }

    /// The REST API, the page and the statistics. Its fallback answers unknown paths, so a router that is merged
    /// into it must have none.
    pub fn router(&self) -> axum::Router {
        rest::router(self.broadcasts.clone())
    }

    /// Serves `router` on `listener`, over TLS if `tls` is given, until `stopped` is ready.
    pub async fn serve_http(
        &self,
        listener: tokio::net::TcpListener,
        router: axum::Router,
        tls: Option<ServerTls>,
        stopped: impl Future<Output = ()>,
    ) {
        let shared = std::sync::Arc::clone(&self.broadcasts.shared);
        let limits = shared.options.limits.clone();
        let connections = self.connections.clone();
        http_server::serve(listener, router, tls, limits, connections, shared, stopped).await;
    }

    /// Serves gRPC on `listener`, over TLS if `tls` is given, until `stopped` is ready.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve_grpc(
        &self,
        listener: tokio::net::TcpListener,
        tls: Option<ServerTls>,
        stopped: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let shared = std::sync::Arc::clone(&self.broadcasts.shared);
        let incoming = http_server::grpc_connections(listener, tls, self.connections.clone(), shared);
        grpc::serve(self.broadcasts.clone(), incoming, stopped).await
    }

    /// What happens, for subscribers.
    pub fn events(&self) -> &Events {
        self.broadcasts.events()
    }

    /// How the targets of a broadcast keep to their services' contracts, by the number of each target; `None`: no
    /// broadcast has this name.
    pub fn conformity(&self, call_id: &str) -> Option<Vec<(u64, ConformityReport)>> {
        self.broadcasts.conformity(call_id)
    }

    /// Figures of this moment.
    pub fn statistics(&self) -> Statistics {
        self.broadcasts.statistics()
    }

    /// Refuses new orders, sends BYE to all, waits until every broadcast is closed or `deadline` has passed, and
    /// lets the SIP side un-register.
    pub async fn shutdown(&self, deadline: Duration) -> Drained {
        let until = tokio::time::Instant::now() + deadline + FAREWELL_MIN;
        let drained = self.broadcasts.drain(deadline).await;
        let faces = &self.broadcasts.shared.faces;
        // Webhooks hear of the ends; an endpoint that is away is not waited for any longer than calls are.
        for webhook in &faces.webhooks {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if !webhook.settled(left).await {
                tracing::warn!(webhook = webhook.name(), "events are left undelivered");
            }
        }
        faces.ending.cancel();
        drained
    }

    /// Waits until what apps were told of is delivered, for at most `deadline`. `false`: something is not.
    pub async fn hooks_settled(&self, deadline: Duration) -> bool {
        self.broadcasts.shared.apps.settled(deadline).await
    }

    /// Stops every shard, after [`ControlPlane::shutdown`]. Gives the number of pool slots that did not come home.
    ///
    /// # Errors
    /// How many shards did not stop within `deadline`.
    pub async fn stop_shards(&self, deadline: Duration) -> Result<u32, usize> {
        self.broadcasts.stop_shards(deadline).await
    }
}

/// What webhooks get beyond the deadline of a drain, so that late calls do not cost them their turn.
const FAREWELL_MIN: Duration = Duration::from_secs(1);
