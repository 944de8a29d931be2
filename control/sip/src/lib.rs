//! sans-IO SIP decisions: what a call decides, without sockets, clocks or a runtime.
//! Transports, transactions and dialogs are the SIP stack's (`sipcast-control::sip_endpoint`).
#![forbid(unsafe_code)]

pub mod event;
pub mod order;

pub use event::{CallEnd, CallEvent, CallStatus};
pub use order::{Account, CallOrder, LocalMedia, Transport};
