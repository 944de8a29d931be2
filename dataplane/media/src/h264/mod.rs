//! H.264 over RTP (RFC 6184): from RTP payloads to whole access units and back, and the parameter sets they need.
//! Takes: RTP packets in sequence order, parameter sets of the session description. Gives: access units as
//! lists of pool segments, pictures' format, payloads. Leaves out: decoding; nothing below the slice header is read.

pub mod access_unit;
pub mod depacketizer;
pub mod nal_unit;
pub mod packetizer;
pub mod parameter_set;

pub use access_unit::{AccessUnit, AccessUnits, NalUnit, Verdict};
pub use depacketizer::{Depacketizer, PayloadError};
pub use nal_unit::{NalUnitHeader, NalUnitType};
pub use packetizer::Packetizer;
pub use parameter_set::{ParameterSetError, ParameterSets, PictureFormat};
