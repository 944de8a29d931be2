//! Message type IDs (Adobe RTMP 1.0 §5.4, §7.1).

/// Set Chunk Size (§5.4.1).
pub const SET_CHUNK_SIZE: u8 = 1;
/// Abort Message (§5.4.2).
pub const ABORT: u8 = 2;
/// Acknowledgement (§5.4.3).
pub const ACKNOWLEDGEMENT: u8 = 3;
/// User Control Message (§6.2).
pub const USER_CONTROL: u8 = 4;
/// Window Acknowledgement Size (§5.4.4).
pub const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
/// Set Peer Bandwidth (§5.4.5).
pub const SET_PEER_BANDWIDTH: u8 = 6;
/// Audio message (§7.1.4): an FLV audio tag body.
pub const AUDIO: u8 = 8;
/// Video message (§7.1.5): an FLV video tag body.
pub const VIDEO: u8 = 9;
/// Data message in AMF3 (§7.1.2): a format byte of 0, then AMF0 in practice.
pub const DATA_AMF3: u8 = 15;
/// Command message in AMF3 (§7.1.1): a format byte of 0, then AMF0 in practice.
pub const COMMAND_AMF3: u8 = 17;
/// Data message in AMF0 (§7.1.2).
pub const DATA_AMF0: u8 = 18;
/// Aggregate message (§7.1.6).
pub const AGGREGATE: u8 = 22;
/// Command message in AMF0 (§7.1.1).
pub const COMMAND_AMF0: u8 = 20;
