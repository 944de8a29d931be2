//! Protecting what we send (RFC 3711 §3.3): reports, DTMF, keep-alives. One SSRC, indices that only rise.

use sipcast_contract::{Secret, SrtpMaster, SrtpSuite};

use super::cipher::SessionKeys;
use super::replay_window::ReplayWindow;
use super::{E_BIT, RTCP_HEADER_LEN, SrtpError, rtcp_ssrc, rtp_header};

/// Protects our RTP and RTCP. The packet stands at the front of a space with room for [`super::TRAILER_LEN_MAX`].
pub struct SrtpSender {
    suite: SrtpSuite,
    master: Secret<SrtpMaster>,
    keys: SessionKeys,
    /// Index of the latest packet. New keys do not set it back (RFC 3711 §3.3.1).
    latest: Option<u64>,
    next_rtcp_index: u32,
}

impl SrtpSender {
    /// Begins with our keys; both indices begin at 0.
    pub fn new(suite: SrtpSuite, master: &Secret<SrtpMaster>) -> Self {
        let keys = SessionKeys::new(suite, master.reveal());
        Self { suite, master: master.clone(), keys, latest: None, next_rtcp_index: 0 }
    }

    /// Takes our keys of a new offer and answer, at once. Indices go on, so that no key meets an index twice even if
    /// earlier keys come back.
    pub fn set_keys(&mut self, suite: SrtpSuite, master: &Secret<SrtpMaster>) {
        if self.suite != suite || self.master != *master {
            self.keys = SessionKeys::new(suite, master.reveal());
            (self.suite, self.master) = (suite, master.clone());
        }
    }

    /// Protects the RTP packet of `len` bytes in front of `out`; gives its length with tag.
    ///
    /// # Errors
    /// [`SrtpError::KeyUsedUp`], [`SrtpError::NoRoom`], [`SrtpError::Malformed`] when it is no RTP, and
    /// [`SrtpError::Replayed`] when its sequence number does not rise: it must not be sent.
    pub fn protect_rtp(&mut self, out: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = out.get(..len).ok_or(SrtpError::NoRoom)?;
        let (header_len, ssrc, sequence_number) = rtp_header(packet)?;
        let index = match self.latest {
            None => u64::from(sequence_number),
            Some(latest) => {
                let index = ReplayWindow::new(latest).estimate(sequence_number);
                index.filter(|index| *index > latest).ok_or(SrtpError::Replayed)?
            }
        };
        if index > INDEX_MAX {
            return Err(SrtpError::KeyUsedUp);
        }
        let end = self.keys.rtp.seal_rtp(out, len, header_len, ssrc, index)?;
        self.latest = Some(index);
        Ok(end)
    }

    /// Protects the RTCP packet of `len` bytes in front of `out`; gives its length with trailer.
    ///
    /// # Errors
    /// As [`SrtpSender::protect_rtp`].
    pub fn protect_rtcp(&mut self, out: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = out.get(..len).ok_or(SrtpError::NoRoom)?;
        if len < RTCP_HEADER_LEN {
            return Err(SrtpError::Malformed);
        }
        let (ssrc, index) = (rtcp_ssrc(packet)?, self.next_rtcp_index);
        // RFC 3711 §9.2: 2^31 packets under one key.
        if index & E_BIT != 0 {
            return Err(SrtpError::KeyUsedUp);
        }
        let end = self.keys.rtcp.seal_rtcp(out, len, ssrc, index)?;
        self.next_rtcp_index += 1;
        Ok(end)
    }
}

impl std::fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpSender").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// RFC 3711 §3.3.1: 48 bits.
const INDEX_MAX: u64 = (1 << 48) - 1;
