//! audio codecs behind a safe face: G.711, resampling, AAC-LC
