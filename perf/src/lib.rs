//! test callee, RTMP sink and load harness
