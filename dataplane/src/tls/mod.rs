//! TLS 1.2 and 1.3 for RTMPS, in the shard's own loop (RFC 5246, RFC 8446).
//!
//! ```text
//! Target -> ChunkList -> Session::seal -> records -> send        (one copy: into the record, encrypted in place)
//! Target <- plain text <- Session::handle_input <- receive
//! ```
//! The handshake is rustls's. Its record layer allocates for every record, so that once the handshake is done its keys
//! are taken over by the one here (`records`), which gathers a vectored send straight into records.

mod records;
mod session;
mod trust;

pub use session::{Heard, Session};
pub use trust::{TlsClient, TlsRoots};

/// Bytes that [`Session::seal`] appends at most for one vectored send, with what the session itself has to say.
pub const SEALED_LEN_MAX: usize = {
    use sipcast_contract::limits::{IOVECS_MAX, SLOT_LEN};
    let plain = IOVECS_MAX * SLOT_LEN;
    plain + (plain / records::PLAIN_LEN_MAX + 1) * records::OVERHEAD_LEN_MAX + session::OUTGOING_LEN_MAX
};
