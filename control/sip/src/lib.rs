//! sans-IO SIP decisions: what a call decides, without sockets, clocks or a runtime.
//! Transports, transactions and dialogs are the SIP stack's (`sipcast-control::sip_endpoint`).
#![forbid(unsafe_code)]

pub mod digest;
pub mod event;
pub mod order;
pub mod sdp;
pub mod uri;

#[cfg(test)]
mod mutation;

pub use event::{CallEnd, CallEvent, CallStatus};
pub use order::{Account, CallOrder, LocalMedia, Transport};
