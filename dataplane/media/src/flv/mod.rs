//! FLV (Adobe Flash Video File Format 10.1, Annex E): tag bodies, which RTMP messages carry, and tags for files
//! and HTTP-FLV.

pub mod audio;
pub mod metadata;
pub mod tag;
pub mod video;
