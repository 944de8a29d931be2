//! SRTP keys of one media description, as offer and answer exchanged them (RFC 3711, RFC 4568, RFC 7714).

use crate::Secret;

/// What protects RTP and RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpSuite {
    /// RFC 7714 §14.
    AeadAes128Gcm,
    /// RFC 4568 §6.2.1.
    AesCm128HmacSha1_80,
    /// RFC 4568 §6.2.2: a tag of 32 bits on RTP, of 80 bits on RTCP.
    AesCm128HmacSha1_32,
}

impl SrtpSuite {
    /// Bytes of every suite's master key.
    pub const KEY_LEN: usize = 16;

    /// Bytes of the longest master salt.
    pub const SALT_LEN_MAX: usize = 14;

    /// Bytes of this suite's master salt (RFC 4568 §6.2, RFC 7714 §12).
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 12,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => Self::SALT_LEN_MAX,
        }
    }

    /// Its name in `a=crypto` (IANA registry of SRTP crypto suites).
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }
}

/// Master key and master salt of one direction (RFC 3711 §3.2.1).
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpMaster {
    /// The key.
    pub key: [u8; SrtpSuite::KEY_LEN],
    /// The salt; only the first [`SrtpSuite::salt_len`] bytes count.
    pub salt: [u8; SrtpSuite::SALT_LEN_MAX],
}

/// What both directions of one media description are protected with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpSession {
    /// The agreed suite.
    pub suite: SrtpSuite,
    /// What the peer protects with.
    pub receive: Secret<SrtpMaster>,
    /// What we protect with.
    pub send: Secret<SrtpMaster>,
}
