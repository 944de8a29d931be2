//! Test callee, RTMP sink and load harness.
//!
//! [`callee`] is the SIP user agent that the demo and the tests call, [`sink`] an RTMP server that counts,
//! [`load`] puts both around a running sipcast and measures it, [`floor`] is the least that its work can cost.

#![deny(unsafe_code)]

pub mod callee;
pub mod floor;
pub mod load;
pub mod ports;
pub mod sink;
