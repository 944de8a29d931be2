//! sans-IO media path: RTP in, RTMP chunks out; no socket, clock or runtime.
#![forbid(unsafe_code)]

pub mod audio;
pub mod flv;
pub mod h264;
pub mod message;
pub mod pipeline;
pub mod rtmp;
pub mod rtp;
pub mod srtp;
pub mod timeline;
