//! RTP and RTCP in receive: headers, reordering, statistics, reports, requests to the sender, symmetric RTP, DTMF out.
//! Takes datagrams of one socket and time. Gives packets in order, RTCP to send, and figures.
//! Leaves out: what the payload means (`h264`, `audio`), sockets (driver), the joining of stages (`pipeline`).

pub mod bit_rate_request;
pub mod header;
pub mod jitter_buffer;
pub mod keyframe_request;
pub mod latch;
mod random;
pub mod receiver;
pub mod retransmission;
pub mod rtcp;
pub mod sender;
pub mod sequence;
pub mod telephone_event;

pub use bit_rate_request::BitRateRequest;
pub use header::{Demultiplexed, RtpError, RtpPacket, demultiplex};
pub use keyframe_request::{KeyframeAction, KeyframeRequest};
pub use latch::{Admission, Latch};
pub use receiver::{Received, Receiver, Rejected, SenderClock};
pub use retransmission::{NackEntries, NackEntry, RetransmissionRequest};
pub use sender::RtpSender;
pub use telephone_event::{QueueFull, TelephoneEventSender};

#[cfg(test)]
pub(crate) mod fixture;
