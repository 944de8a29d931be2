//! The configuration's sections and keys, with their defaults. docs/sipcast.example.toml says what each means to operators.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use sipcast_control::hooks::HookPolicyText;

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
    /// Seconds that an order waits for its answer.
    #[serde(default = "app_answer_s")]
    pub answer_s: u16,
    /// Where it is asked, and what it may change, by the hook's name.
    #[serde(default)]
    pub rest_client_config: BTreeMap<String, HookPolicyText>,
}

const fn app_answer_s() -> u16 {
    5
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

impl Default for Grpc {
    fn default() -> Self {
        Self { enabled: false, listen: (Ipv4Addr::LOCALHOST, 9090).into(), tls: false }
    }
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
    /// Where shards run: `auto` (a core for each where there are as many shards as cores), `any`, or the core of each, such as
    /// `0,2-5`.
    pub cores: String,
    /// Broadcasts on one shard at most; a further one is refused, and earlier when the shard's core can bear no more.
    pub broadcasts_per_shard_max: usize,
    /// Milliseconds a loaded shard gathers datagrams before it serves them; 0: at once.
    pub gather_ms: u16,
    /// Milliseconds sound waits for the next picture, to be sent with it; 0, as with a `gather_ms` of 0: not at all.
    pub sound_wait_ms: u16,
    /// Packet memory of each shard, in MiB; 0: as much as `broadcasts_per_shard_max` broadcasts need.
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
    /// SRTP suites to offer and take, best first, at commas.
    pub srtp_suites: String,
    /// Bit rate that callees are asked to keep their video to, in bits per second; 0: not asked.
    pub video_bit_rate_wanted_bps: u32,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: None,
            port_min: 20_000,
            port_max: 39_999,
            shards: 0,
            cores: "auto".to_owned(),
            broadcasts_per_shard_max: 500,
            gather_ms: 5,
            sound_wait_ms: 40,
            pool_mib: 0,
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
            srtp_suites: "AES_CM_128_HMAC_SHA1_80, AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_32".to_owned(),
            video_bit_rate_wanted_bps: 0,
        }
    }
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

impl Default for Audio {
    fn default() -> Self {
        Self { sample_rate_hz: 48_000, channels: 1, bit_rate_bps: 64_000, silent_when_absent: true }
    }
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

/// `[origin]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Origin {
    /// Run the embedded RTMP server.
    pub enabled: bool,
    /// Its address and port.
    pub listen: SocketAddr,
}

impl Default for Origin {
    fn default() -> Self {
        Self { enabled: true, listen: (Ipv4Addr::LOCALHOST, 1935).into() }
    }
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

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
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
