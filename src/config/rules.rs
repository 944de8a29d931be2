//! What values must hold beyond their types: ranges, and keys that belong together.

use sipcast_contract::cores::ShardCores;
use sipcast_control::sip_endpoint::{AudioCodecs, SrtpSuites};

use super::{App, Audio, Config, ConfigError, Grpc, Media, Rest, Sip, Webhook};

/// Whether it holds, the key that is wrong if not, what is expected there.
type Rule = (bool, &'static str, &'static str);

/// Threads of the dataplane.
const SHARDS_MAX: usize = 256;

/// # Errors
/// The first rule that does not hold.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let rules = apps(&config.apps)
        .into_iter()
        .chain(media(&config.media))
        .chain(audio(&config.audio))
        .chain(rest(&config.rest, &config.grpc))
        .chain(webhooks(&config.webhooks))
        .chain(sip(&config.sip));
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, key, expected)) => Err(ConfigError::Range(key, expected)),
        None => Ok(()),
    }
}

fn apps(apps: &[App]) -> impl IntoIterator<Item = Rule> {
    [
        (apps.iter().all(|app| !app.key.is_empty()), "apps.key", "the appKey of its calls"),
        (
            (1..apps.len()).all(|n| apps[..n].iter().all(|app| app.key != apps[n].key)),
            "apps.key",
            "a key that no other app has",
        ),
        (apps.iter().all(|app| (1..=60).contains(&app.answer_s)), "apps.answer_s", "from 1 to 60"),
    ]
}

fn media(media: &Media) -> impl IntoIterator<Item = Rule> {
    [
        (media.port_min >= 1024, "media.port_min", "at least 1024"),
        (media.port_max > media.port_min, "media.port_max", "above media.port_min"),
        (usize::from(media.shards) <= SHARDS_MAX, "media.shards", "at most 256"),
        (
            media.cores.parse::<ShardCores>().is_ok(),
            "media.cores",
            "auto, any, or numbers of cores, each once, such as 0,2-5",
        ),
        (
            !matches!(media.cores.parse(), Ok(ShardCores::These(cores))
                if !(media.shards.into()..=SHARDS_MAX).contains(&cores.len())),
            "media.cores",
            "a core for each of media.shards, and at most 256",
        ),
        (media.gather_ms <= 20, "media.gather_ms", "from 0 to 20"),
        (media.sound_wait_ms <= 200, "media.sound_wait_ms", "from 0 to 200"),
        (media.pool_mib == 0 || (4..=127).contains(&media.pool_mib), "media.pool_mib", "0, or from 4 to 127"),
        (media.broadcasts_per_shard_max >= 1, "media.broadcasts_per_shard_max", "at least 1"),
        (media.reorder_wait_ms <= 1000, "media.reorder_wait_ms", "from 0 to 1000"),
        (
            media.audio_codecs.parse::<AudioCodecs>().is_ok(),
            "media.audio_codecs",
            "a list at commas of opus, g722, speex/16000, speex/32000, pcmu, pcma, speex/8000",
        ),
        (
            media.srtp_suites.parse::<SrtpSuites>().is_ok(),
            "media.srtp_suites",
            "a list at commas of AES_CM_128_HMAC_SHA1_80, AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_32",
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
    ]
}

fn audio(audio: &Audio) -> impl IntoIterator<Item = Rule> {
    [
        (
            sipcast_contract::options::AacOptions::SAMPLE_RATES_HZ.contains(&audio.sample_rate_hz),
            "audio.sample_rate_hz",
            "48000, 44100, 32000, 24000, 16000 or 8000",
        ),
        ((1..=2).contains(&audio.channels), "audio.channels", "1 or 2"),
        ((8_000..=320_000).contains(&audio.bit_rate_bps), "audio.bit_rate_bps", "from 8000 to 320000"),
    ]
}

fn rest(rest: &Rest, grpc: &Grpc) -> impl IntoIterator<Item = Rule> {
    [
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
        (!grpc.tls || rest.tls_certificate.is_some(), "rest.tls_certificate", "set where grpc.tls is true"),
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
    ]
}

fn webhooks(webhooks: &[Webhook]) -> impl IntoIterator<Item = Rule> {
    [
        (
            webhooks.iter().all(|w| (1..=100_000).contains(&w.queue_max)),
            "webhooks.queue_max",
            "from 1 to 100000",
        ),
        (webhooks.iter().all(|w| (1..=120).contains(&w.attempt_s)), "webhooks.attempt_s", "from 1 to 120"),
        (
            webhooks.iter().all(|w| w.secret.is_none() || w.secret_file.is_none()),
            "webhooks.secret_file",
            "unset where webhooks.secret is set",
        ),
    ]
}

fn sip(sip: &Sip) -> impl IntoIterator<Item = Rule> {
    [
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
        (matches!(sip.keep_alive_stream_s, 0 | 15..=3600), "sip.keep_alive_stream_s", "0 or from 15 to 3600"),
        (!sip.tls_roots.is_empty(), "sip.tls_roots", "\"system\", \"unverified\" or a PEM file"),
        (sip.tls_version_min <= sip.tls_version_max, "sip.tls_version_min", "not above sip.tls_version_max"),
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
    ]
}
