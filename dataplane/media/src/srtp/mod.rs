//! SRTP and SRTCP (RFC 3711; AES-GCM: RFC 7714) with the keys of SDES (RFC 4568), in the slot a packet came in.
//! Takes: master keys, datagrams, time. Gives: plain RTP and RTCP in the same bytes, and the reverse for what we
//! send. Leaves out: who agreed on the keys (control plane), what a failed packet means (`pipeline`).
//!
//! ```text
//! RTP:   | header, CSRCs, extension | payload, encrypted | tag |
//! RTCP:  | first 8 bytes | rest, encrypted | E, index | tag |        (AES-GCM: tag, then E and index)
//! ```
//! One master key a direction: no MKI, no key derivation rate, no `UNENCRYPTED_SRTCP` is ever offered.

mod cipher;
mod key_derivation;
mod receive;
mod replay_window;
mod send;

pub use receive::SrtpReceiver;
pub use send::SrtpSender;

/// What protection adds to a packet at most: the tag of AES-GCM and, for RTCP, E bit and index.
pub const TRAILER_LEN_MAX: usize = cipher::GCM_TAG_LEN + SRTCP_INDEX_LEN;

/// Why a packet was not taken, or not protected. Nothing of the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// The tag is wrong: forged, damaged, of other keys, or not protected at all.
    #[error("SRTP authentication failed")]
    AuthenticationFailed,
    /// It came before, or is older than the replay window reaches.
    #[error("SRTP packet replayed")]
    Replayed,
    /// Too short for header and tag, or an SRTCP packet that says it is not encrypted.
    #[error("malformed SRTP packet")]
    Malformed,
    /// All indices of our master key are used up (RFC 3711 §9.2): only new keys help.
    #[error("SRTP master key is used up")]
    KeyUsedUp,
    /// No room behind the packet for the trailer: our bug.
    #[error("no room for the SRTP trailer")]
    NoRoom,
}

/// RFC 3711 §3.4: E bit and SRTCP index.
const SRTCP_INDEX_LEN: usize = 4;
/// RFC 3550 §6.4: what of an RTCP packet stays plain, up to the sender's SSRC.
const RTCP_HEADER_LEN: usize = 8;
/// RFC 3711 §3.4: the E bit of the word that carries the index.
const E_BIT: u32 = 1 << 31;

/// Bytes of the RTP header with contributing sources and extension, which stay plain (RFC 3711 §3.1), and the SSRC.
fn rtp_header(packet: &[u8]) -> Result<(usize, u32, u16), SrtpError> {
    let (fixed, _) = packet.split_first_chunk::<12>().ok_or(SrtpError::Malformed)?;
    let mut len = fixed.len() + 4 * usize::from(fixed[0] & 0x0f);
    if fixed[0] & 0x10 != 0 {
        let head = packet.get(len..len + 4).ok_or(SrtpError::Malformed)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
    }
    if len > packet.len() {
        return Err(SrtpError::Malformed);
    }
    let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    Ok((len, ssrc, u16::from_be_bytes([fixed[2], fixed[3]])))
}

/// The SSRC of who sends an RTCP packet.
fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    let (header, _) = packet.split_first_chunk::<RTCP_HEADER_LEN>().ok_or(SrtpError::Malformed)?;
    Ok(u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
}

#[cfg(test)]
mod tests;
