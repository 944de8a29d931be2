//! What a shard tells the control plane.

use crate::statistics::{BroadcastStatistics, ShardStatistics};
use crate::{BroadcastId, ShardId, TargetId};

/// One event of a shard.
#[derive(Clone, Debug)]
pub enum Report {
    /// Ports are bound and listened on.
    Opened {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// RTP port of the audio description; RTCP is the next one.
        audio_port: Option<u16>,
        /// RTP port of the video description; RTCP is the next one.
        video_port: Option<u16>,
    },
    /// The broadcast could not be opened; the shard holds nothing of it.
    Refused {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Why.
        reason: Refusal,
    },
    /// The first whole picture or the first audio frame was published to some target.
    MediaStarted {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// The picture's size became known or changed.
    PictureSize {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
    /// The peer does not honour PLI and FIR: ask by SIP INFO (RFC 5168).
    KeyframeOverdue {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// A target changed its state.
    Target {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Which target.
        target: TargetId,
        /// The state it has now.
        state: TargetState,
    },
    /// The file that a target had instead of the call's sound is over.
    SoundEnded {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Which target.
        target: TargetId,
    },
    /// What is played to the callee is over.
    PlayEnded {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// All digits that were waiting are sent.
    DtmfSent {
        /// Which broadcast.
        broadcast: BroadcastId,
    },
    /// Everything of the broadcast is closed and home.
    Closed {
        /// Which broadcast.
        broadcast: BroadcastId,
        /// Its last figures.
        statistics: Box<BroadcastStatistics>,
    },
    /// Figures of the shard and its broadcasts, about once a second.
    Statistics(Box<ShardStatistics>),
    /// The shard has ended.
    Stopped {
        /// Which shard.
        shard: ShardId,
        /// Pool slots that did not come home: zero, else a bug.
        slots_missing: u32,
    },
}

/// Why a broadcast could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No free even port pair in the RTP range.
    NoPorts,
    /// The address cannot be bound.
    BadAddress,
    /// The shard holds as many broadcasts as it may.
    Full,
    /// The shard is stopping.
    Stopping,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoPorts => "no free port pair in the RTP port range",
            Self::BadAddress => "the media address cannot be bound on this machine",
            Self::Full => "the shard holds as many broadcasts as it may",
            Self::Stopping => "sipcast is stopping",
        })
    }
}

/// State of an RTMP target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetState {
    /// Connecting, shaking hands, or waiting for `NetStream.Publish.Start`.
    #[default]
    Connecting,
    /// `publish` is accepted.
    Publishing,
    /// The connection was lost or refused; tried again after a pause.
    Reconnecting(TargetFault),
    /// Ended by order, or for good.
    Ended(Option<TargetFault>),
}

/// Why a target's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetFault {
    /// TCP could not connect.
    Unreachable,
    /// The server closed the connection.
    ClosedByServer,
    /// The server broke the RTMP protocol.
    Protocol,
    /// `connect` was refused.
    ConnectRefused,
    /// `publish` was refused.
    PublishRefused,
    /// The stream name is published already (`NetStream.Publish.BadName`): often by our own connection, which the
    /// server has not given up yet.
    NameTaken,
    /// What waits for the server stays older than it may be: it takes less than the call sends.
    TooSlow,
    /// The picture changed, and the service does not take that in mid-publication.
    PictureChanged,
    /// The server did not answer, or took no data, for too long.
    TimedOut,
    /// The server closed the connection before it answered the RTMP handshake.
    ClosedInHandshake,
    /// The server answered RTMP in TLS: the port is one of `rtmps://`.
    NeedsTls,
    /// The server did not answer in TLS: the port is one of `rtmp://`.
    NoTls,
    /// The TLS handshake failed, or a TLS record was broken.
    Tls,
    /// The server's certificate is not trusted: unknown issuer, self-signed, revoked or of no use here.
    CertificateRefused,
    /// The server's certificate is for another host.
    CertificateForAnotherHost,
    /// The server's certificate is no longer, or not yet, valid.
    CertificateExpired,
    /// The server wants user and password, and the order has none.
    CredentialsMissing,
    /// The server refused user or password. Not tried again: servers lock accounts out.
    AuthenticationRefused,
}

impl TargetFault {
    /// Whether the next attempt would end the same way until the order is changed: then there is none.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::CredentialsMissing | Self::AuthenticationRefused)
    }
}

impl std::fmt::Display for TargetFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the RTMP server cannot be reached",
            Self::ClosedByServer => "the RTMP server closed the connection",
            Self::Protocol => "the RTMP server broke the protocol",
            Self::ConnectRefused => "the RTMP server refused connect",
            Self::PublishRefused => "the RTMP server refused publish",
            Self::NameTaken => "the stream name is being published already",
            Self::TooSlow => "the RTMP server takes less than the call sends",
            Self::PictureChanged => "the picture changed, which this service takes only in a new publication",
            Self::TimedOut => "the RTMP server did not answer in time",
            Self::ClosedInHandshake => {
                "the RTMP server closed the connection before the handshake: if its port speaks TLS, use rtmps://"
            }
            Self::NeedsTls => "the server's port speaks TLS: use rtmps://",
            Self::NoTls => "the server did not answer in TLS: if its port speaks plain RTMP, use rtmp://",
            Self::Tls => "TLS with the RTMP server failed",
            Self::CertificateRefused => {
                "the RTMP server's certificate is not trusted: add its issuer to rtmp.tls_roots, or accept any by rtmpTlsVerify=false"
            }
            Self::CertificateForAnotherHost => {
                "the RTMP server's certificate is for another host: use the name that it names, or accept any by rtmpTlsVerify=false"
            }
            Self::CertificateExpired => {
                "the RTMP server's certificate is expired or not yet valid: renew it, or set this machine's clock"
            }
            Self::CredentialsMissing => {
                "the RTMP server wants a user and password: give rtmpUser and rtmpPassword, or write them into the URL"
            }
            Self::AuthenticationRefused => "the RTMP server refused user or password",
        })
    }
}
