//! Plain data that both planes know: commands, reports, negotiated media, targets, limits.
//! The control plane sends [`Command`]s to a shard over a bounded mailbox and reads its [`Report`]s;
//! nothing else is shared. No I/O and no decisions live here.
#![forbid(unsafe_code)]

pub mod command;
pub mod cores;
pub mod dtmf;
pub mod id;
pub mod latency;
pub mod limits;
pub mod mailbox;
pub mod media;
pub mod options;
pub mod picture;
pub mod report;
pub mod secret;
pub mod sound;
pub mod srtp;
pub mod statistics;
pub mod target;
pub mod target_rules;
pub mod time;

pub use command::Command;
pub use id::{BroadcastId, ShardId, TargetId};
pub use mailbox::{CommandSender, MailboxFull};
pub use media::{Direction, NegotiatedMedia};
pub use options::{MediaOptions, MediaWanted};
pub use report::{Report, TargetState};
pub use secret::Secret;
pub use srtp::{SrtpMaster, SrtpSession, SrtpSuite};
pub use target::{Credentials, RtmpParameters, RtmpTarget, RtmpUrl, TargetAudio, TlsTrust};
pub use target_rules::{PictureChange, TargetRules};
pub use time::Timestamp;
