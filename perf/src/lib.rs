//! Test callee, RTMP sink and load harness.
//!
//! [`callee`] is the SIP user agent that the demo and the tests call, [`sink`] an RTMP server that counts,
//! [`call_clock`] times what lies between them, [`load`] puts both around a running sipcast and measures it, [`floor`]
//! is the least that its work can cost, [`compare`] sets it beside the floor and beside other programs.

#![deny(unsafe_code)]

pub mod call_clock;
pub mod callee;
pub mod compare;
pub mod floor;
pub mod load;
pub mod ports;
pub mod sink;
