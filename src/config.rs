//! Configuration: a TOML file, then `SIPCAST_<SECTION>_<KEY>` variables, then flags; each overrides the one before.
//! Unknown keys and wrong values are refused with the place they stand at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sipcast_control::sip_endpoint::AudioCodecs;
use toml::{Table, Value};

/// The example file, which documents every key with its default.
pub const EXAMPLE: &str = include_str!("../docs/sipcast.example.toml");

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// REST API and page.
    pub rest: Rest,
    /// gRPC.
    pub grpc: Grpc,
    /// SIP user agent.
    pub sip: Sip,
    /// RTP and shards.
    pub media: Media,
    /// AAC output.
    pub audio: Audio,
    /// RTMP output.
    pub rtmp: Rtmp,
    /// Embedded RTMP server.
    pub origin: Origin,
    /// Log.
    pub log: Log,
    /// Apps that are told what happens to their calls (REST hooks).
    pub apps: Vec<App>,
    /// Which hosts may be reached.
    pub access: Access,
    /// Whom to tell of events.
    pub webhooks: Vec<Webhook>,
}

/// `[access]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// SIP hosts that may be called; empty: all.
    pub sip_allow: Vec<String>,
    /// SIP hosts that may not be called.
    pub sip_deny: Vec<String>,
    /// RTMP hosts that may be published to; empty: all.
    pub rtmp_allow: Vec<String>,
    /// RTMP hosts that may not be published to.
    pub rtmp_deny: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        // What clouds give their machines' credentials at, and what no router passes on.
        let rtmp_deny = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254"].map(str::to_owned).to_vec();
        Self { sip_allow: Vec::new(), sip_deny: Vec::new(), rtmp_allow: Vec::new(), rtmp_deny }
    }
}

/// A text that is never shown.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `[[webhooks]]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// In metrics and log; unset: its place in the list, from 1.
    pub name: Option<String>,
    /// Where to.
    pub url: Hidden,
    /// Key of the signature.
    pub secret: Option<Hidden>,
    /// File that holds it.
    pub secret_file: Option<PathBuf>,
    /// Types of events; empty: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Only events of broadcasts with this `appKey`.
    pub app_key: Option<String>,
    /// Issuers to trust, PEM; unset: the system's.
    pub tls_roots: Option<PathBuf>,
    /// Events that may wait.
    #[serde(default = "webhook_queue_max")]
    pub queue_max: usize,
    /// Seconds one attempt may take.
    #[serde(default = "webhook_attempt_s")]
    pub attempt_s: u16,
    /// Seconds after which an event that cannot be delivered is given up.
    #[serde(default = "webhook_keep_s")]
    pub keep_s: u32,
}

const fn webhook_queue_max() -> usize {
    1024
}

const fn webhook_attempt_s() -> u16 {
    10
}

const fn webhook_keep_s() -> u32 {
    3600
}

/// `[[apps]]`
#[derive(Clone, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// `appKey` of its calls.
    pub key: String,
    /// Where it is told; the hook's name is put behind the path.
    pub url: String,
    /// Sent as `Authorization`.
    pub authorization: Option<String>,
}

/// Shows the key only: the rest may hold secrets.
impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({:?})", self.key)
    }
}

/// `[rest]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Rest {
    /// Address and port of the REST API and the page.
    pub listen: SocketAddr,
    /// Seconds a finished call can still be found.
    pub finished_call_grace_s: u32,
    /// Broadcasts at the same time; a further order is refused.
    pub broadcasts_max: usize,
    /// Origin whose pages may order, `*` for all.
    pub allow_origin: String,
    /// API keys, or their hashes; REST, page data, metrics and gRPC want one of them.
    pub api_keys: Vec<Hidden>,
    /// File with more of them, one a line.
    pub api_keys_file: Option<PathBuf>,
    /// Listen beyond loopback although there is no key.
    pub allow_unauthenticated: bool,
    /// Address and port of HTTPS, the same API and page.
    pub https_listen: Option<SocketAddr>,
    /// Certificate chain of HTTPS, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Requests a second of one key, or of one peer; 0: no limit.
    pub requests_per_s_max: u32,
    /// Orders of broadcasts a second; 0: no limit.
    pub orders_per_s_max: u32,
    /// Requests that are handled at the same time.
    pub requests_max: usize,
    /// Subscribers of events at the same time.
    pub event_streams_max: usize,
    /// Connections at the same time, of HTTP and gRPC.
    pub connections_max: usize,
    /// The same of one peer.
    pub connections_per_peer_max: usize,
    /// Bytes of a request's head.
    pub header_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Seconds a request's head may take.
    pub header_wait_s: u16,
    /// Directory of the WAV files that `sound_on` and `inject_sound` name.
    pub sounds_dir: Option<PathBuf>,
}

/// `[grpc]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    /// Offer gRPC.
    pub enabled: bool,
    /// Its address and port.
    pub listen: SocketAddr,
    /// Over TLS, with the certificate of `[rest]`.
    pub tls: bool,
}

/// `[sip]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Address and port of the SIP user agent, UDP and TCP.
    pub listen: SocketAddr,
    /// Also listen on TCP.
    pub tcp: bool,
    /// With `listen` on all IPv4 addresses: also on all IPv6 ones, if this machine has any.
    pub ipv6: bool,
    /// One more address of this machine, of the other family, at the port of `listen`.
    pub listen_also: Option<IpAddr>,
    /// Name servers to ask; empty: the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Send requests of more than 1300 bytes over TCP when no transport was ordered.
    pub large_requests_over_tcp: bool,
    /// Seconds between pings to registrars and outbound proxies over UDP; 0: none.
    pub keep_alive_udp_s: u16,
    /// Seconds between pings over TCP and TLS; 0: none.
    pub keep_alive_stream_s: u16,
    /// Trusted issuers of servers' certificates: `system`, `unverified`, or a PEM file.
    pub tls_roots: String,
    /// Our certificate chain for servers that ask for one, PEM.
    pub tls_client_certificate: Option<PathBuf>,
    /// Its key.
    pub tls_client_key: Option<PathBuf>,
    /// Server name to ask for and verify instead of the dialled one.
    pub tls_server_name: Option<String>,
    /// Offer ALPN.
    pub tls_alpn: bool,
    /// Lowest version of TLS.
    pub tls_version_min: TlsVersion,
    /// Highest version of TLS.
    pub tls_version_max: TlsVersion,
    /// Certificate chain to listen for TLS with, PEM; unset: no listener.
    pub tls_certificate: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Issuers whose certificates are demanded of who connects over TLS, PEM.
    pub tls_client_roots: Option<PathBuf>,
    /// Port to listen for TLS at.
    pub tls_port: u16,
    /// Seconds a TLS handshake may take.
    pub tls_handshake_s: u16,
    /// Protection of RTP in calls whose order and service profile say nothing about it.
    pub media_security: MediaSecurity,
    /// Address written into Via, Contact and SDP when it differs from the local one (static NAT).
    pub advertised_address: Option<IpAddr>,
    /// User-Agent header.
    pub user_agent: String,
    /// Seconds a registration is asked for.
    pub register_expires_s: u32,
    /// Session-Expires asked for, in seconds (RFC 4028).
    pub session_expires_s: u32,
    /// Seconds to wait for an answer.
    pub ring_timeout_s: u32,
    /// File with service profiles, which go before the built-in ones.
    pub profiles_file: Option<PathBuf>,
}

/// `[media]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Address that RTP sockets are bound to; also written into SDP. Unset: the one facing each callee.
    pub address: Option<IpAddr>,
    /// First RTP port.
    pub port_min: u16,
    /// Last RTP port.
    pub port_max: u16,
    /// Shards; 0: one per core.
    pub shards: u16,
    /// Broadcasts on one shard; a further one is refused.
    pub broadcasts_per_shard_max: usize,
    /// Milliseconds a loaded shard gathers datagrams before it serves them; 0: at once.
    pub gather_ms: u16,
    /// Packet memory of each shard, in MiB.
    pub pool_mib: u32,
    /// Milliseconds a missing packet is waited for.
    pub reorder_wait_ms: u16,
    /// Audio codecs to offer and take, best first, at commas.
    pub audio_codecs: String,
    /// Offer comfort noise (RFC 3389).
    pub comfort_noise: bool,
    /// Milliseconds of sound in one packet to ask for.
    pub packet_time_ms: u16,
    /// Ask Opus senders for two channels.
    pub opus_stereo: bool,
    /// Offer RTP/AVPF and RTP/SAVPF (RFC 4585) at first.
    pub avpf: bool,
    /// Offer H.264 Main profile.
    pub h264_main: bool,
    /// Offer H.264 High profile.
    pub h264_high: bool,
    /// Largest picture, in macroblocks (`max-fs`).
    pub video_macroblocks_max: u32,
    /// Macroblocks in one second (`max-mbps`).
    pub video_macroblocks_per_s_max: u32,
    /// Bandwidth of video offered, in bits per second (`b=TIAS`).
    pub video_bit_rate_bps_max: u32,
    /// Ask for an IDR picture when none came for so many milliseconds; 0: never periodically.
    pub keyframe_interval_ms: u32,
    /// Bit rate that callees are asked to keep their video to, in bits per second; 0: not asked.
    pub video_bit_rate_wanted_bps: u32,
}

/// `[audio]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Audio {
    /// AAC sampling rate.
    pub sample_rate_hz: u32,
    /// AAC channels, 1 or 2.
    pub channels: u8,
    /// AAC bit rate.
    pub bit_rate_bps: u32,
    /// Publish silence for calls without audio.
    pub silent_when_absent: bool,
}

/// `[rtmp]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Rtmp {
    /// Put before every stream name that does not begin with it.
    pub stream_name_prefix: String,
    /// `flashVer` of the connect command.
    pub flash_version: String,
    /// Root certificates (PEM) for `rtmps://` besides the system's.
    pub tls_roots: Option<PathBuf>,
    /// Check certificates of `rtmps://` servers where an order does not say otherwise.
    pub tls_verify: bool,
    /// File with contracts of RTMP services, which go before the built-in ones.
    pub contracts_file: Option<PathBuf>,
}

/// `[origin]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Run the embedded RTMP server.
    pub enabled: bool,
    /// Its address and port.
    pub listen: SocketAddr,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, or a filter such as `info,sipcast_control=debug`.
    pub level: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Protection of RTP (SRTP with keys by RFC 4568).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MediaSecurity {
    /// Plain RTP.
    #[default]
    Off,
    /// SRTP where the callee takes it (RFC 8643).
    Opportunistic,
    /// SRTP or no call.
    Mandatory,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8081).into(),
            finished_call_grace_s: 10,
            broadcasts_max: 2000,
            allow_origin: "*".to_owned(),
            api_keys: Vec::new(),
            api_keys_file: None,
            allow_unauthenticated: false,
            https_listen: None,
            tls_certificate: None,
            tls_key: None,
            requests_per_s_max: 1000,
            orders_per_s_max: 200,
            requests_max: 512,
            event_streams_max: 256,
            connections_max: 4096,
            connections_per_peer_max: 1024,
            header_bytes_max: 16_384,
            headers_max: 64,
            header_wait_s: 30,
            sounds_dir: None,
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self { enabled: false, listen: (Ipv4Addr::LOCALHOST, 9090).into(), tls: false }
    }
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 5060).into(),
            tcp: true,
            ipv6: true,
            listen_also: None,
            name_servers: Vec::new(),
            large_requests_over_tcp: true,
            keep_alive_udp_s: 25,
            keep_alive_stream_s: 90,
            tls_roots: "system".to_owned(),
            tls_client_certificate: None,
            tls_client_key: None,
            tls_server_name: None,
            tls_alpn: false,
            tls_version_min: TlsVersion::V1_2,
            tls_version_max: TlsVersion::V1_3,
            tls_certificate: None,
            tls_key: None,
            tls_client_roots: None,
            tls_port: 5061,
            tls_handshake_s: 5,
            media_security: MediaSecurity::default(),
            advertised_address: None,
            user_agent: concat!("sipcast/", env!("CARGO_PKG_VERSION")).to_owned(),
            register_expires_s: 600,
            session_expires_s: 1800,
            ring_timeout_s: 120,
            profiles_file: None,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: None,
            port_min: 20_000,
            port_max: 39_999,
            shards: 0,
            broadcasts_per_shard_max: 500,
            gather_ms: 5,
            pool_mib: 64,
            reorder_wait_ms: 60,
            audio_codecs: "opus, g722, speex/16000, speex/32000, pcmu, pcma, speex/8000".to_owned(),
            comfort_noise: false,
            packet_time_ms: 20,
            opus_stereo: false,
            avpf: false,
            h264_main: false,
            h264_high: true,
            video_macroblocks_max: 8_192,
            video_macroblocks_per_s_max: 245_760,
            video_bit_rate_bps_max: 4_000_000,
            keyframe_interval_ms: 2_000,
            video_bit_rate_wanted_bps: 0,
        }
    }
}

impl Default for Audio {
    fn default() -> Self {
        Self { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 64_000, silent_when_absent: true }
    }
}

impl Default for Rtmp {
    fn default() -> Self {
        Self {
            stream_name_prefix: "rtmp_".to_owned(),
            flash_version: "FMLE/3.0 (compatible; sipcast)".to_owned(),
            tls_roots: None,
            tls_verify: true,
            contracts_file: None,
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { enabled: true, listen: (Ipv4Addr::LOCALHOST, 1935).into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// What is wrong with the configuration and where.
#[derive(Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, String),
    /// The file is no TOML, or has an unknown key or a wrong value; the text names line and column.
    File(PathBuf, String),
    /// A variable is unknown or has a wrong value.
    Variable(String, String),
    /// A `--set` is unknown or wrong.
    Flag(String, String),
    /// A value is outside its range: section and key, what is expected.
    Range(&'static str, &'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::File(path, why) => write!(f, "in {}: {why}", path.display()),
            Self::Variable(name, why) => write!(f, "environment variable {name}: {why}"),
            Self::Flag(flag, why) => write!(f, "flag {flag}: {why}"),
            Self::Range(key, expected) => write!(f, "{key} must be {expected}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads `defaults` (as `section.key`, value), file, variables and settings, in rising precedence.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(
        defaults: &[(&str, &str)],
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        settings: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut table = Table::new();
        for (key, value) in defaults {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            set(&mut table, section, name, value).map_err(|why| ConfigError::Flag((*key).to_owned(), why))?;
        }
        if let Some(path) = file {
            merge(&mut table, read_file(path)?);
        }
        for (name, value) in variables {
            let Some(key) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let (section, key) = key.split_once('_').unwrap_or((key, ""));
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            set(&mut table, &section, &key, &value).map_err(|why| ConfigError::Variable(name, why))?;
        }
        for (key, value) in settings {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            set(&mut table, section, name, value)
                .map_err(|why| ConfigError::Flag(format!("--set {key}"), why))?;
        }
        let config = Config::deserialize(Value::Table(table)).map_err(|error| {
            // Each part was checked as it came in; only their combination could still be wrong.
            ConfigError::Flag("--set".to_owned(), error.to_string())
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Self { media, audio, rest, sip, .. } = self;
        let rules = [
            (self.apps.iter().all(|app| !app.key.is_empty()), "apps.key", "the appKey of its calls"),
            (
                (1..self.apps.len()).all(|n| self.apps[..n].iter().all(|app| app.key != self.apps[n].key)),
                "apps.key",
                "a key that no other app has",
            ),
            (media.port_min >= 1024, "media.port_min", "at least 1024"),
            (media.port_max > media.port_min, "media.port_max", "above media.port_min"),
            (media.shards <= 256, "media.shards", "at most 256"),
            (media.gather_ms <= 20, "media.gather_ms", "from 0 to 20"),
            ((4..=127).contains(&media.pool_mib), "media.pool_mib", "from 4 to 127"),
            (media.broadcasts_per_shard_max >= 1, "media.broadcasts_per_shard_max", "at least 1"),
            (media.reorder_wait_ms <= 1000, "media.reorder_wait_ms", "from 0 to 1000"),
            (
                media.audio_codecs.parse::<AudioCodecs>().is_ok(),
                "media.audio_codecs",
                "a list at commas of opus, g722, speex/16000, speex/32000, pcmu, pcma, speex/8000",
            ),
            ((10..=60).contains(&media.packet_time_ms), "media.packet_time_ms", "from 10 to 60"),
            (
                (99..=36_864).contains(&media.video_macroblocks_max),
                "media.video_macroblocks_max",
                "from 99 (176x144) to 36864 (4096x2304)",
            ),
            (
                (1_485..=2_073_600).contains(&media.video_macroblocks_per_s_max),
                "media.video_macroblocks_per_s_max",
                "from 1485 to 2073600",
            ),
            (
                (64_000..=100_000_000).contains(&media.video_bit_rate_bps_max),
                "media.video_bit_rate_bps_max",
                "from 64000 to 100000000",
            ),
            (
                matches!(media.video_bit_rate_wanted_bps, 0 | 64_000..=100_000_000),
                "media.video_bit_rate_wanted_bps",
                "0 or from 64000 to 100000000",
            ),
            (
                sipcast_contract::options::AacOptions::SAMPLE_RATES_HZ.contains(&audio.sample_rate_hz),
                "audio.sample_rate_hz",
                "48000, 44100, 32000, 24000, 16000 or 8000",
            ),
            ((1..=2).contains(&audio.channels), "audio.channels", "1 or 2"),
            ((8_000..=320_000).contains(&audio.bit_rate_bps), "audio.bit_rate_bps", "from 8000 to 320000"),
            (rest.broadcasts_max >= 1, "rest.broadcasts_max", "at least 1"),
            (
                rest.tls_certificate.is_some() == rest.tls_key.is_some(),
                "rest.tls_key",
                "set together with rest.tls_certificate",
            ),
            (
                rest.https_listen.is_none() || rest.tls_certificate.is_some(),
                "rest.tls_certificate",
                "set where rest.https_listen is",
            ),
            (
                !self.grpc.tls || rest.tls_certificate.is_some(),
                "rest.tls_certificate",
                "set where grpc.tls is true",
            ),
            ((1..=65_536).contains(&rest.requests_max), "rest.requests_max", "from 1 to 65536"),
            ((1..=65_536).contains(&rest.event_streams_max), "rest.event_streams_max", "from 1 to 65536"),
            ((1..=1_000_000).contains(&rest.connections_max), "rest.connections_max", "from 1 to 1000000"),
            (rest.connections_per_peer_max >= 1, "rest.connections_per_peer_max", "at least 1"),
            (
                (8_192..=1_048_576).contains(&rest.header_bytes_max),
                "rest.header_bytes_max",
                "from 8192 to 1048576",
            ),
            ((8..=1024).contains(&rest.headers_max), "rest.headers_max", "from 8 to 1024"),
            ((1..=300).contains(&rest.header_wait_s), "rest.header_wait_s", "from 1 to 300"),
            (
                self.webhooks.iter().all(|w| (1..=100_000).contains(&w.queue_max)),
                "webhooks.queue_max",
                "from 1 to 100000",
            ),
            (
                self.webhooks.iter().all(|w| (1..=120).contains(&w.attempt_s)),
                "webhooks.attempt_s",
                "from 1 to 120",
            ),
            (
                self.webhooks.iter().all(|w| w.secret.is_none() || w.secret_file.is_none()),
                "webhooks.secret_file",
                "unset where webhooks.secret is set",
            ),
            (sip.session_expires_s >= 90, "sip.session_expires_s", "at least 90 (RFC 4028 §4)"),
            (sip.register_expires_s >= 30, "sip.register_expires_s", "at least 30"),
            (sip.ring_timeout_s >= 1, "sip.ring_timeout_s", "at least 1"),
            (sip.name_servers.len() <= 4, "sip.name_servers", "at most four of ADDRESS:PORT"),
            (
                sip.listen_also.is_none_or(|also| also.is_ipv4() != sip.listen.is_ipv4()),
                "sip.listen_also",
                "of the other address family than sip.listen",
            ),
            (matches!(sip.keep_alive_udp_s, 0 | 10..=3600), "sip.keep_alive_udp_s", "0 or from 10 to 3600"),
            (
                matches!(sip.keep_alive_stream_s, 0 | 15..=3600),
                "sip.keep_alive_stream_s",
                "0 or from 15 to 3600",
            ),
            (!sip.tls_roots.is_empty(), "sip.tls_roots", "\"system\", \"unverified\" or a PEM file"),
            (
                sip.tls_version_min <= sip.tls_version_max,
                "sip.tls_version_min",
                "not above sip.tls_version_max",
            ),
            (
                sip.tls_client_certificate.is_some() == sip.tls_client_key.is_some(),
                "sip.tls_client_key",
                "set together with sip.tls_client_certificate",
            ),
            (
                sip.tls_certificate.is_some() == sip.tls_key.is_some(),
                "sip.tls_key",
                "set together with sip.tls_certificate",
            ),
            (sip.tls_port >= 1, "sip.tls_port", "a port number"),
            ((1..=60).contains(&sip.tls_handshake_s), "sip.tls_handshake_s", "from 1 to 60"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, expected)) => Err(ConfigError::Range(key, expected)),
            None => Ok(()),
        }
    }
}

/// What every variable begins with.
const VARIABLE_PREFIX: &str = "SIPCAST_";

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable(path.to_owned(), error.to_string()))?;
    // Its own text would repeat the line, and that may hold a password or a key.
    let wrong = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let (line, column) =
            (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
        ConfigError::File(path.to_owned(), format!("line {line}, column {column}: {}", error.message()))
    };
    // Read twice: into its types for errors that name line and column, then as a table to be overlaid.
    toml::from_str::<Config>(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

fn merge(table: &mut Table, over: Table) {
    for (section, values) in over {
        match (table.get_mut(&section), values) {
            (Some(Value::Table(below)), Value::Table(values)) => below.extend(values),
            (_, values) => {
                table.insert(section, values);
            }
        }
    }
}

/// Puts one setting into `table` if the whole stays a valid configuration.
fn set(table: &mut Table, section: &str, key: &str, text: &str) -> Result<(), String> {
    let mut last = String::new();
    // A number or boolean where the key takes one, else the text itself.
    for value in [scalar(text), Some(Value::String(text.to_owned()))].into_iter().flatten() {
        let mut alone = Table::new();
        alone.insert(section.to_owned(), Value::Table(Table::from_iter([(key.to_owned(), value.clone())])));
        match Config::deserialize(Value::Table(alone)) {
            Ok(_) => {
                let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(entry) = entry {
                    entry.insert(key.to_owned(), value);
                }
                return Ok(());
            }
            Err(error) if last.is_empty() => last = error.to_string().trim().to_owned(),
            Err(_) => {}
        }
    }
    Err(last)
}

fn scalar(text: &str) -> Option<Value> {
    if text.starts_with('[') {
        return toml::from_str::<Table>(&format!("list = {text}")).ok()?.remove("list");
    }
    text.parse::<i64>().map(Value::Integer).or_else(|_| text.parse::<bool>().map(Value::Boolean)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        file: &str,
        variables: &[(&str, &str)],
        settings: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let path = std::env::temp_dir().join(format!(
            "sipcast-config-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, file).expect("a writable temporary directory");
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let config = Config::load(
            &[("media.shards", "9"), ("sip.listen", "127.0.0.1:5060")],
            Some(&path),
            owned(variables),
            &owned(settings),
        );
        std::fs::remove_file(&path).expect("just written");
        config
    }

    #[test]
    fn apps_are_a_list_in_the_file_and_show_no_secret() {
        let app = |key: &str| format!("[[apps]]\nkey = \"{key}\"\nurl = \"http://h/hook?t0ken\"\n");
        let config = load(&(app("a") + &app("b")), &[], &[]).expect("two apps");
        assert_eq!(config.apps.iter().map(|app| app.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(!format!("{config:?}").contains("t0ken"));
        assert!(load(&(app("a") + &app("a")), &[], &[]).is_err(), "one key, two URLs");
        assert!(load(&app(""), &[], &[]).is_err());
    }

    #[test]
    fn the_example_documents_exactly_the_defaults() {
        let example: Config = toml::from_str(EXAMPLE).expect("the example is valid");
        assert_eq!(example, Config::default());
    }

    #[test]
    fn flags_beat_variables_beat_the_file() {
        let file = "[media]\nport_min = 2000\nport_max = 3000\nshards = 1\n";
        let variables = [("SIPCAST_MEDIA_PORT_MAX", "4000"), ("SIPCAST_MEDIA_SHARDS", "2"), ("HOME", "/")];
        let config = load(file, &variables, &[("media.shards", "3")]).expect("valid");
        assert_eq!((config.media.port_min, config.media.port_max, config.media.shards), (2000, 4000, 3));
        assert_eq!(load(file, &[], &[]).expect("valid").media.shards, 1, "the file beats built-in defaults");
        assert_eq!(load("", &[], &[]).expect("valid").media.shards, 9);
        let config = load("", &[], &[("rtmp.stream_name_prefix", ""), ("sip.tcp", "false")]).expect("valid");
        assert_eq!((config.rtmp.stream_name_prefix.as_str(), config.sip.tcp), ("", false));
        let config = load("", &[], &[("rtmp.stream_name_prefix", "12")]).expect("valid");
        assert_eq!(config.rtmp.stream_name_prefix, "12");
    }

    #[test]
    fn offers_are_checked_and_the_defaults_are_those_of_the_sip_side() {
        for (key, wrong) in [
            ("media.audio_codecs", "opus, g729"),
            ("media.packet_time_ms", "5"),
            ("media.video_macroblocks_max", "1"),
            ("media.video_macroblocks_per_s_max", "1"),
            ("media.video_bit_rate_bps_max", "1000"),
        ] {
            let error = load("", &[], &[(key, wrong)]).expect_err(key).to_string();
            assert!(error.starts_with(key), "{error}");
        }
        let error = load("", &[], &[("sip.media_security", "maybe")]).expect_err("unknown").to_string();
        assert!(error.contains("opportunistic"), "{error}");
        let config = load("", &[("SIPCAST_SIP_MEDIA_SECURITY", "mandatory")], &[]).expect("valid");
        assert_eq!(config.sip.media_security, MediaSecurity::Mandatory);
        assert_eq!(Media::default().audio_codecs, AudioCodecs::default().to_string());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = load("[sip]\n\nlissten = \"1.2.3.4:5060\"\n", &[], &[]).expect_err("unknown").to_string();
        assert!(text.contains("line 3") && text.contains("lissten") && text.contains("listen"), "{text}");
    }

    #[test]
    fn each_source_names_itself_in_its_error() {
        let text = |variables: &[(&str, &str)], settings: &[(&str, &str)]| {
            load("", variables, settings).expect_err("wrong").to_string()
        };
        assert!(text(&[("SIPCAST_MEDIA_SHARDS", "many")], &[]).contains("SIPCAST_MEDIA_SHARDS"));
        assert!(text(&[("SIPCAST_NONSENSE", "1")], &[]).contains("nonsense"));
        assert!(text(&[], &[("rest.port", "1")]).contains("--set rest.port"));
        assert!(text(&[], &[("media.gather_ms", "21")]).contains("media.gather_ms must be from 0 to 20"));
        assert!(text(&[], &[("audio.sample_rate_hz", "11025")]).contains("44100"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = Path::new("/nonexistent/sipcast.toml");
        let error = Config::load(&[], Some(path), [], &[]).expect_err("missing").to_string();
        assert!(error.contains("/nonexistent/sipcast.toml"), "{error}");
    }
}
