//! sans-IO SIP decisions: what a call decides, without sockets, clocks or a runtime.
//! Transports, transactions and dialogs are the SIP stack's (`sipcast-control::sip_endpoint`).
#![forbid(unsafe_code)]

pub mod addresses;
pub mod call;
pub mod contact;
pub mod dial_script;
pub mod digest;
pub mod dtmf_info;
pub mod event;
pub mod locate;
pub mod multipart;
pub mod offer_ladder;
pub mod order;
pub mod profile;
pub mod redaction;
pub mod redirect;
pub mod registration;
pub mod sdp;
pub mod session_timer;
pub mod status;
pub mod uri;

#[cfg(test)]
mod mutation;

pub use event::{CallEnd, CallEvent, CallStatus};
pub use order::{Account, CallOrder, KeyframeFeedback, LocalMedia, MediaSecurity, Preferences, Transport};
