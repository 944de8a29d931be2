//! One running sipcast: everything bound and started in order, drained and stopped in the reverse one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sipcast_contract::cores::ShardCores;
use sipcast_contract::limits::{SLOT_LEN, pool_slots};
use sipcast_contract::options::{AacOptions, ShardOptions};
use sipcast_contract::{MediaOptions, Secret, TlsTrust};
use sipcast_control::delivery::DeliveryOptions;
use sipcast_control::hooks::{HookOptions, HookPolicies};
use sipcast_control::sip_endpoint::{self, SipOptions, TlsIdentity, TlsOptions};
use sipcast_control::sip_endpoint::{MediaSecurity, OfferOptions};
use sipcast_control::sounds::Sounds;
use sipcast_control::{
    AccessRules, ApiKeys, ControlOptions, ControlPlane, CorsOptions, Events, FaceLimits, PageDefaults,
    Profiles, ServerTls, SipEndpoint, StreamPrefix, TargetContracts, WebhookOptions,
};
use sipcast_dataplane::{Dataplane, TlsRoots};
use sipcast_origin::{Origin, OriginOptions};
use sipcast_trust::Roots;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{self, Config};
use crate::reload::{self, Watched};
use crate::sounds::SoundDirectory;
use crate::telemetry;

fn hook(app: &config::App) -> anyhow::Result<HookOptions> {
    let delivery = DeliveryOptions {
        authorization: app.authorization.clone().map(Secret::new),
        // The original's apps answer within seconds or not at all.
        keep_for: HOOK_KEEP_FOR,
        ..DeliveryOptions::new(app.url.clone())
    };
    let policies =
        HookPolicies::new(&app.rest_client_config).with_context(|| format!("apps {:?}", app.key))?;
    let answer_max = Duration::from_secs(app.answer_s.into());
    Ok(HookOptions { app_key: app.key.clone(), delivery, answer_max, policies })
}

/// What RTMP services demand: the built-in contracts, with the operator's before them.
fn contracts(config: &Config) -> anyhow::Result<TargetContracts> {
    let Some(path) = &config.rtmp.contracts_file else { return Ok(TargetContracts::default()) };
    let at = || format!("rtmp.contracts_file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(at)?;
    TargetContracts::with_own(&text).with_context(at)
}

/// What conference services want: the built-in profiles, with the operator's before them.
fn profiles(config: &Config) -> anyhow::Result<Profiles> {
    let Some(path) = &config.sip.profiles_file else { return Ok(Profiles::default()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("sip.profiles_file {}", path.display()))?;
    Profiles::default().with(&path.display().to_string(), &text).context("sip.profiles_file")
}

/// How long a REST hook is tried.
const HOOK_KEEP_FOR: Duration = Duration::from_secs(300);

/// How long the last hooks may take.
const HOOKS_MAX: Duration = Duration::from_secs(2);

/// How long calls may take to say BYE and targets to unpublish.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// RTMP application of the embedded server that the page proposes.
const ORIGIN_APP: &str = "live";

/// A running sipcast.
pub struct Node {
    /// Its control plane.
    pub control: ControlPlane,
    /// Where REST API and page listen.
    pub rest_address: SocketAddr,
    /// Where HTTPS listens.
    pub https_address: Option<SocketAddr>,
    /// Where gRPC listens.
    pub grpc_address: Option<SocketAddr>,
    /// RTMP URL of the embedded server.
    pub origin_url: Option<String>,
    origin: Option<Origin>,
    dataplane: Dataplane,
    http: [Option<JoinHandle<()>>; 2],
    http_stop: watch::Sender<()>,
    grpc: Option<(JoinHandle<()>, oneshot::Sender<()>)>,
}

/// Runs until a signal ends it.
///
/// # Errors
/// What could not be started, and which setting or flag changes it.
pub fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::start(&config.log)?;
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let node = Node::start(&config, None).await?;
        if let Some(grpc) = node.grpc_address {
            tracing::info!(%grpc, "gRPC listens");
        }
        if let Some(https) = node.https_address {
            tracing::info!(%https, "HTTPS listens");
        }
        tracing::info!(rest = %node.rest_address, sip = %config.sip.listen, "sipcast is running");
        signals.first().await;
        signals.exit_on_the_next();
        node.stop().await
    })
}

/// The control plane's runtime.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .context("the control plane's threads cannot be started")
}

impl Node {
    /// Binds every port first, so that a taken one is told before anything runs.
    ///
    /// # Errors
    /// As [`serve`].
    pub async fn start(config: &Config, page: Option<PageDefaults>) -> anyhow::Result<Self> {
        raise_descriptor_limit(config);
        let api_keys = api_keys(&config.rest)?;
        refuse_strangers(config, &api_keys)?;
        let tls = server_tls(&config.rest)?;
        let rest = TcpListener::bind(config.rest.listen).await.with_context(|| {
            format!(
                "{}: choose another with --rest-listen ADDRESS:PORT: the REST API cannot listen there",
                config.rest.listen
            )
        })?;
        let rest_address = rest.local_addr().context("the REST listener has no address")?;
        let https = match config.rest.https_listen {
            Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
                format!("{address}: choose another with --set rest.https_listen=ADDRESS:PORT")
            })?),
            None => None,
        };
        let https_address =
            https.as_ref().map(TcpListener::local_addr).transpose().context("the HTTPS listener")?;
        let grpc = match config.grpc.enabled {
            true => Some(TcpListener::bind(config.grpc.listen).await.with_context(|| {
                format!("{}: choose another with --set grpc.listen=ADDRESS:PORT", config.grpc.listen)
            })?),
            false => None,
        };
        let grpc_address =
            grpc.as_ref().map(TcpListener::local_addr).transpose().context("the gRPC listener")?;
        let origin = match config.origin.enabled {
            true => Some(start_origin(config)?),
            false => None,
        };
        let events = Events::default();
        let sip_options = SipOptions { events: events.clone(), ..sip_options(config)? };
        let sip = SipEndpoint::bind(sip_options).await.with_context(|| {
            format!("{}: see --sip-listen ADDRESS:PORT and [sip] of the configuration", config.sip.listen)
        })?;
        let shards = match (config.media.shards, &config.media.cores.parse()) {
            (0, Ok(ShardCores::These(cores))) => cores.len() as u16,
            (0, _) => std::thread::available_parallelism().map_or(1, |n| n.get() as u16),
            (n, _) => n,
        };
        // Reads a directory full of files: off the runtime's threads.
        let file = config.rtmp.tls_roots.clone();
        let roots = tokio::task::spawn_blocking(move || TlsRoots::load(file.as_deref()))
            .await
            .context("the thread that loads root certificates")?
            .context("rtmp.tls_roots")?;
        if roots.is_empty() {
            tracing::warn!("the system has no root certificates: rtmps:// works only with rtmp.tls_roots");
        }
        let sip_files = sip.tls_files().into_iter().map(|files| Watched::new("certificates of SIP", files));
        let mut watched: Vec<Watched> = sip_files.collect();
        watched.push(Watched::new("root certificates for rtmps://", Arc::new(roots.clone())));
        let dataplane = Dataplane::start(shards, &shard_options(config), &roots)?;
        let origin_url =
            origin.as_ref().map(|origin| format!("rtmp://{}/{ORIGIN_APP}", origin.rtmp_address()));
        let options =
            ControlOptions { api_keys, events, ..control_options(config, origin_url.clone(), page)? };
        let deliveries = options.webhooks.iter().map(|webhook| &webhook.delivery);
        let deliveries = deliveries.chain(options.hooks.iter().map(|hook| &hook.delivery));
        watched.extend(deliveries.map(|delivery| {
            Watched::new("root certificates of webhooks and apps", Arc::new(delivery.roots.clone()))
        }));
        let control = ControlPlane::start(options, sip, dataplane.senders(), dataplane.reports())
            .context("the control plane cannot be started")?;
        let mut router = control.router();
        if let Some(origin) = &origin {
            router = router.merge(origin.router());
        }
        let (http_stop, stopped) = watch::channel(());
        let serve = |listener, tls| {
            let (control, router, mut stopped) = (control.clone(), router.clone(), stopped.clone());
            tokio::spawn(async move {
                // A dropped sender means the same as a message: stop.
                let stopped = async move { drop(stopped.changed().await) };
                control.serve_http(listener, router, tls, stopped).await;
            })
        };
        let http = [Some(serve(rest, None)), https.map(|https| serve(https, tls.clone()))];
        watched.extend(tls.as_ref().map(|tls| Watched::new("the HTTPS certificate", tls.files())));
        tokio::spawn(reload::watch(watched, signal(SignalKind::hangup()).context("SIGHUP")?));
        let grpc_tls = tls.filter(|_| config.grpc.tls);
        let grpc = grpc.map(|listener| serve_grpc(control.clone(), listener, grpc_tls));
        Ok(Self {
            control,
            rest_address,
            https_address,
            grpc_address,
            origin_url,
            origin,
            dataplane,
            http,
            http_stop,
            grpc,
        })
    }

    /// Ends every call with BYE and every publication with its goodbye, then stops all parts.
    ///
    /// # Errors
    /// What did not end in time, or did not come home.
    pub async fn stop(self) -> anyhow::Result<()> {
        let drained = self.control.shutdown(DRAIN_MAX).await;
        if !self.control.hooks_settled(HOOKS_MAX).await {
            tracing::warn!("the last REST hooks were not delivered");
        }
        let missing = self.control.stop_shards(DRAIN_MAX).await;
        drop(self.http_stop);
        if let Some((mut serving, stop)) = self.grpc {
            let _ = stop.send(());
            // Watchers are told to go and others have their answer; a client that reads nothing is not waited for.
            if tokio::time::timeout(GRPC_FAREWELL_MAX, &mut serving).await.is_err() {
                serving.abort();
            }
        }
        if let Some(origin) = self.origin {
            origin.shut_down(DRAIN_MAX).await;
        }
        // Players and pollers keep connections open; they need no farewell.
        self.http.iter().flatten().for_each(JoinHandle::abort);
        match missing {
            Err(shards) => anyhow::bail!("{shards} shards did not stop in time"),
            Ok(0) => {}
            Ok(slots) => anyhow::bail!("{slots} packet buffers did not come home"),
        }
        tokio::task::spawn_blocking(|| self.dataplane.stop()).await.context("the shards' threads")?;
        tracing::info!(?drained, "sipcast has ended");
        Ok(())
    }
}

/// SIGINT and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the two signals over.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    /// Waits for the first one.
    pub async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// From now on a further one ends the process at once, with the exit code of an interrupted one.
    pub fn exit_on_the_next(mut self) {
        tokio::spawn(async move {
            self.first().await;
            std::process::exit(130);
        });
    }
}

/// The API keys of the configuration and of its file.
fn api_keys(rest: &config::Rest) -> anyhow::Result<ApiKeys> {
    let own = ApiKeys::new(rest.api_keys.iter().map(|key| &key.0)).context("rest.api_keys")?;
    let Some(path) = &rest.api_keys_file else { return Ok(own) };
    let at = || format!("rest.api_keys_file {}", path.display());
    let more = ApiKeys::of_lines(&std::fs::read_to_string(path).with_context(at)?).with_context(at)?;
    anyhow::ensure!(!more.is_empty(), "{} holds no key", at());
    Ok(own.and(&more))
}

/// Without a key nobody but this machine may ask, unless the operator says that somebody else sees to that.
fn refuse_strangers(config: &Config, keys: &ApiKeys) -> anyhow::Result<()> {
    let faces = [
        ("rest.listen", Some(config.rest.listen)),
        ("rest.https_listen", config.rest.https_listen),
        ("grpc.listen", config.grpc.enabled.then_some(config.grpc.listen)),
    ];
    let beyond = faces
        .into_iter()
        .find_map(|(key, at)| Some((key, at.filter(|at| !at.ip().to_canonical().is_loopback())?)));
    let Some((key, at)) = beyond.filter(|_| keys.is_empty()) else { return Ok(()) };
    if config.rest.allow_unauthenticated {
        tracing::warn!(%at, "{key} is open to everybody who can reach it: nobody needs an API key");
        return Ok(());
    }
    anyhow::bail!(
        "{key} = {at} is beyond this machine, and no API key is set: whoever reaches it could place calls. Set \
         rest.api_keys or rest.api_keys_file, or listen on 127.0.0.1, or set rest.allow_unauthenticated=true where \
         something in front of sipcast asks for credentials"
    )
}

fn server_tls(rest: &config::Rest) -> anyhow::Result<Option<ServerTls>> {
    let (Some(certificate), Some(key)) = (rest.tls_certificate.clone(), rest.tls_key.clone()) else {
        return Ok(None);
    };
    Ok(Some(ServerTls::load(certificate, key).context("rest.tls_certificate and rest.tls_key")?))
}

fn access(allow: &[String], deny: &[String], of: &str) -> anyhow::Result<AccessRules> {
    AccessRules::new(allow, deny).with_context(|| format!("access.{of}_allow or access.{of}_deny"))
}

fn webhook((n, webhook): (usize, &config::Webhook)) -> anyhow::Result<WebhookOptions> {
    let name = webhook.name.clone().unwrap_or_else(|| (n + 1).to_string());
    let secret = match (&webhook.secret, &webhook.secret_file) {
        (Some(secret), _) => Some(Secret::new(secret.0.clone())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("webhooks.secret_file {}", path.display()))?;
            Some(Secret::new(text.trim().to_owned()))
        }
        (None, None) => None,
    };
    let delivery = DeliveryOptions {
        signing_secret: secret,
        roots: match &webhook.tls_roots {
            Some(path) => Roots::of_file(path).context("webhooks.tls_roots")?,
            None => Roots::of_system(),
        },
        queue_max: webhook.queue_max,
        attempt_max: Duration::from_secs(webhook.attempt_s.into()),
        keep_for: Duration::from_secs(webhook.keep_s.into()),
        ..DeliveryOptions::new(webhook.url.0.clone())
    };
    Ok(WebhookOptions { name, delivery, events: webhook.events.clone(), app_key: webhook.app_key.clone() })
}

/// Serves gRPC until the sender is used or dropped.
fn serve_grpc(
    control: ControlPlane,
    listener: TcpListener,
    tls: Option<ServerTls>,
) -> (JoinHandle<()>, oneshot::Sender<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let stopped = async {
            // A dropped sender means the same as a message: stop.
            let _ = stopped.await;
        };
        if let Err(error) = control.serve_grpc(listener, tls, stopped).await {
            tracing::error!(%error, "gRPC is no longer served");
        }
    });
    (serving, stop)
}

/// How long gRPC clients may take to read their last message.
const GRPC_FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Descriptors of one call: RTP and RTCP of audio and video, and one RTMP connection.
const DESCRIPTORS_PER_CALL: u64 = 5;

/// Descriptors of everything else: rings, listeners, REST clients, players.
const DESCRIPTORS_BESIDES: u64 = 512;

/// Raises the soft limit of open files to the hard one: the usual soft limit, 1024, carries some 100 calls.
fn raise_descriptor_limit(config: &Config) {
    let wanted = config.rest.broadcasts_max as u64 * DESCRIPTORS_PER_CALL + DESCRIPTORS_BESIDES;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < wanted => tracing::warn!(
            limit,
            wanted,
            "the limit of open files is below what rest.broadcasts_max needs: raise it (ulimit -Hn, LimitNOFILE=)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

fn start_origin(config: &Config) -> anyhow::Result<Origin> {
    let options = OriginOptions { rtmp_bind: config.origin.listen, ..OriginOptions::default() };
    Origin::bind(options).context(
        "choose another address or port with --origin-listen ADDRESS:PORT, or set origin.enabled=false",
    )
}

fn sip_options(config: &Config) -> anyhow::Result<SipOptions> {
    let sip = &config.sip;
    Ok(SipOptions {
        bind: sip.listen.ip(),
        bind_also: sip.listen_also.or((sip.ipv6 && sip.listen.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            .then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))),
        port: sip.listen.port(),
        tcp: sip.tcp,
        tls: tls_options(sip),
        name_servers: sip.name_servers.clone(),
        large_requests_over_tcp: sip.large_requests_over_tcp,
        keep_alive_udp: interval(sip.keep_alive_udp_s),
        keep_alive_stream: interval(sip.keep_alive_stream_s),
        advertised_address: sip.advertised_address,
        user_agent: sip.user_agent.clone(),
        register_expires_s: sip.register_expires_s,
        session_expires_s: sip.session_expires_s,
        ring_timeout: Duration::from_secs(sip.ring_timeout_s.into()),
        offer: offer_options(&config.media),
        access: access(&config.access.sip_allow, &config.access.sip_deny, "sip")?,
        ..SipOptions::default()
    })
}

fn offer_options(media: &crate::config::Media) -> OfferOptions {
    OfferOptions {
        // The configuration was checked when it was read.
        audio_codecs: media.audio_codecs.parse().unwrap_or_default(),
        comfort_noise: media.comfort_noise,
        packet_time_ms: media.packet_time_ms,
        opus_stereo: media.opus_stereo,
        feedback_profile: media.avpf,
        h264_main: media.h264_main,
        h264_high: media.h264_high,
        video_macroblocks_max: media.video_macroblocks_max,
        video_macroblocks_per_s_max: media.video_macroblocks_per_s_max,
        video_bit_rate_bps_max: media.video_bit_rate_bps_max,
        srtp_suites: media.srtp_suites.parse().unwrap_or_default(),
        ..OfferOptions::default()
    }
}

const fn media_security(security: crate::config::MediaSecurity) -> MediaSecurity {
    match security {
        crate::config::MediaSecurity::Off => MediaSecurity::Off,
        crate::config::MediaSecurity::Opportunistic => MediaSecurity::Opportunistic,
        crate::config::MediaSecurity::Mandatory => MediaSecurity::Mandatory,
    }
}

fn tls_options(sip: &config::Sip) -> TlsOptions {
    let identity = |certificate: &Option<PathBuf>, key: &Option<PathBuf>| {
        let (certificate, key) = (certificate.clone()?, key.clone()?);
        Some(TlsIdentity { certificate, key })
    };
    TlsOptions {
        roots: match sip.tls_roots.as_str() {
            "system" => sip_endpoint::TlsRoots::System,
            "unverified" => {
                tracing::warn!(
                    "sip.tls_roots = \"unverified\": TLS of SIP does not protect against an attacker in between"
                );
                sip_endpoint::TlsRoots::Unverified
            }
            path => sip_endpoint::TlsRoots::File(path.into()),
        },
        client_identity: identity(&sip.tls_client_certificate, &sip.tls_client_key),
        server_name: sip.tls_server_name.clone(),
        alpn: sip.tls_alpn,
        version_min: tls_version(sip.tls_version_min),
        version_max: tls_version(sip.tls_version_max),
        server_identity: identity(&sip.tls_certificate, &sip.tls_key),
        port: sip.tls_port,
        client_roots: sip.tls_client_roots.clone(),
        handshake_max: Duration::from_secs(sip.tls_handshake_s.into()),
    }
}

fn tls_version(version: config::TlsVersion) -> sip_endpoint::TlsVersion {
    match version {
        config::TlsVersion::V1_2 => sip_endpoint::TlsVersion::V1_2,
        config::TlsVersion::V1_3 => sip_endpoint::TlsVersion::V1_3,
    }
}

/// Seconds, 0 for never.
fn interval(seconds: u16) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

fn shard_options(config: &Config) -> ShardOptions {
    let media = &config.media;
    ShardOptions {
        rtp_port_min: media.port_min,
        rtp_port_max: media.port_max,
        gather: Duration::from_millis(media.gather_ms.into()),
        broadcasts_max: media.broadcasts_per_shard_max,
        pool_slots: match media.pool_mib {
            0 => pool_slots(media.broadcasts_per_shard_max),
            mib => (mib << 20) / SLOT_LEN as u32,
        },
        // The configuration was checked.
        cores: media.cores.parse().unwrap_or_default(),
    }
}

fn control_options(
    config: &Config,
    origin_rtmp_url: Option<String>,
    page: Option<PageDefaults>,
) -> anyhow::Result<ControlOptions> {
    let stream_prefix =
        StreamPrefix::new(&config.rtmp.stream_name_prefix).context("rtmp.stream_name_prefix")?;
    let allow_origin = config
        .rest
        .allow_origin
        .parse()
        .context("rest.allow_origin is no header value: expected * or scheme://host[:port]")?;
    let (media, advertised) = (config.media.address, config.sip.advertised_address);
    if let Some(directory) = &config.rest.sounds_dir {
        anyhow::ensure!(directory.is_dir(), "rest.sounds_dir {}: is no directory", directory.display());
    }
    Ok(ControlOptions {
        broadcasts_max: config.rest.broadcasts_max,
        grace: Duration::from_secs(config.rest.finished_call_grace_s.into()),
        stream_prefix,
        media_security: media_security(config.sip.media_security),
        media: MediaOptions {
            aac: AacOptions {
                sample_rate_hz: config.audio.sample_rate_hz,
                channels: config.audio.channels,
                bit_rate_bps: config.audio.bit_rate_bps,
            },
            reorder_wait: Duration::from_millis(config.media.reorder_wait_ms.into()),
            keyframe_interval_max: Duration::from_millis(config.media.keyframe_interval_ms.into()),
            silent_audio: config.audio.silent_when_absent,
            // A gather deadline of zero asks for the least latency.
            sound_wait: match config.media.gather_ms {
                0 => Duration::ZERO,
                _ => Duration::from_millis(config.media.sound_wait_ms.into()),
            },
            video_bit_rate_wanted: match config.media.video_bit_rate_wanted_bps {
                0 => None,
                bit_rate_bps => Some(bit_rate_bps),
            },
        },
        // Behind a 1:1 NAT the advertised address is none of this machine.
        media_bind: media.or(advertised.map(|_| Ipv4Addr::UNSPECIFIED.into())),
        media_offered: advertised.or(media),
        flash_version: config.rtmp.flash_version.clone(),
        tls: if config.rtmp.tls_verify { TlsTrust::Verify } else { TlsTrust::AcceptAny },
        contracts: contracts(config)?,
        profiles: profiles(config)?,
        origin_rtmp_url,
        page,
        limits: FaceLimits {
            requests_per_s_max: config.rest.requests_per_s_max,
            orders_per_s_max: config.rest.orders_per_s_max,
            requests_max: config.rest.requests_max,
            event_streams_max: config.rest.event_streams_max,
            connections_max: config.rest.connections_max,
            connections_per_peer_max: config.rest.connections_per_peer_max,
            header_bytes_max: config.rest.header_bytes_max,
            headers_max: config.rest.headers_max,
            header_wait_max: Duration::from_secs(config.rest.header_wait_s.into()),
        },
        sip_access: access(&config.access.sip_allow, &config.access.sip_deny, "sip")?,
        rtmp_access: access(&config.access.rtmp_allow, &config.access.rtmp_deny, "rtmp")?,
        webhooks: config.webhooks.iter().enumerate().map(webhook).collect::<Result<_, _>>()?,
        cors: CorsOptions { allow_origin, ..CorsOptions::default() },
        hooks: config.apps.iter().map(hook).collect::<Result<_, _>>()?,
        sounds: Sounds::new(SoundDirectory::new(config.rest.sounds_dir.clone())),
        ..ControlOptions::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> Config {
        let settings: Vec<_> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load(&[], None, [], &settings).expect("valid")
    }

    fn refused(settings: &[(&str, &str)]) -> Option<String> {
        let config = config(settings);
        let keys = api_keys(&config.rest).expect("keys");
        refuse_strangers(&config, &keys).err().map(|error| error.to_string())
    }

    #[test]
    fn nobody_listens_beyond_this_machine_without_a_key() {
        let open = ("rest.listen", "0.0.0.0:8081");
        assert_eq!(refused(&[]), None);
        let error = refused(&[open]).expect("open to all");
        assert!(error.contains("rest.listen") && error.contains("rest.api_keys"), "{error}");
        assert_eq!(refused(&[open, ("rest.api_keys", "[\"0123456789abcdef\"]")]), None);
        assert_eq!(refused(&[open, ("rest.allow_unauthenticated", "true")]), None);
        assert_eq!(refused(&[("grpc.listen", "[::]:9090")]), None, "gRPC is off");
        let error = refused(&[("grpc.enabled", "true"), ("grpc.listen", "[::]:9090")]).expect("open to all");
        assert!(error.contains("grpc.listen"), "{error}");
        assert_eq!(refused(&[("rest.listen", "[::1]:8081")]), None);
    }

    #[test]
    fn keys_and_rules_that_are_none_are_named_and_keys_not_repeated() {
        let error = api_keys(&config(&[("rest.api_keys", "[\"short-one\"]")]).rest).expect_err("no key");
        let text = format!("{error:#}");
        assert!(text.contains("rest.api_keys") && !text.contains("short-one"), "{text}");
        let error = access(&["10.0.0.0/99".to_owned()], &[], "sip").expect_err("no rule");
        assert!(format!("{error:#}").contains("access.sip_allow"));
    }
}
