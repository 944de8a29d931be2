//! Whether one RTP stream is protected, and with what: the keys of both directions as offer and answer agreed on them.
//! Takes: the agreed keys, datagrams, time. Gives: plain datagrams in the same slots; protected ones to send.

use sipcast_contract::{SrtpSession, Timestamp};
use sipcast_pool::Segment;

use crate::srtp::{SrtpError, SrtpReceiver, SrtpSender, TRAILER_LEN_MAX};

/// SRTP of one stream, or none.
#[derive(Debug, Default)]
pub(super) struct Protection {
    is_on: bool,
    /// Kept while it is off: if the same keys come back after a hold, no index may be used twice.
    contexts: Option<Box<Contexts>>,
}

#[derive(Debug)]
struct Contexts {
    receiver: SrtpReceiver,
    sender: SrtpSender,
}

impl Protection {
    /// Room to leave behind a packet that is protected.
    pub(super) const TRAILER_LEN_MAX: usize = TRAILER_LEN_MAX;

    /// Takes what a new offer and answer agreed on. All memory is allocated here.
    pub(super) fn set_session(&mut self, session: Option<&SrtpSession>, now: Timestamp) {
        self.is_on = session.is_some();
        let Some(session) = session else { return };
        match &mut self.contexts {
            Some(contexts) => {
                contexts.receiver.set_keys(session.suite, &session.receive, now);
                contexts.sender.set_keys(session.suite, &session.send);
            }
            None => {
                let receiver = SrtpReceiver::new(session.suite, &session.receive);
                let sender = SrtpSender::new(session.suite, &session.send);
                self.contexts = Some(Box::new(Contexts { receiver, sender }));
            }
        }
    }

    pub(super) fn unprotect_rtp(&mut self, datagram: Segment, now: Timestamp) -> Result<Segment, SrtpError> {
        match self.contexts() {
            Some(contexts) => in_place(datagram, |bytes| contexts.receiver.unprotect_rtp(bytes, now)),
            None => Ok(datagram),
        }
    }

    pub(super) fn unprotect_rtcp(&mut self, datagram: Segment, now: Timestamp) -> Result<Segment, SrtpError> {
        match self.contexts() {
            Some(contexts) => in_place(datagram, |bytes| contexts.receiver.unprotect_rtcp(bytes, now)),
            None => Ok(datagram),
        }
    }

    /// Protects the packet of `len` bytes in front of `out`; gives its length, 0 when it must not be sent.
    pub(super) fn protect_rtp(&mut self, out: &mut [u8], len: usize) -> usize {
        match self.contexts() {
            Some(contexts) => contexts.sender.protect_rtp(out, len).unwrap_or(0),
            None => len,
        }
    }

    /// As [`Protection::protect_rtp`].
    pub(super) fn protect_rtcp(&mut self, out: &mut [u8], len: usize) -> usize {
        match self.contexts() {
            Some(contexts) => contexts.sender.protect_rtcp(out, len).unwrap_or(0),
            None => len,
        }
    }

    fn contexts(&mut self) -> Option<&mut Contexts> {
        self.contexts.as_deref_mut().filter(|_| self.is_on)
    }
}

/// Nothing but the packet itself has a claim on its slot, or it cannot be written.
fn in_place(
    mut datagram: Segment,
    unprotect: impl FnOnce(&mut [u8]) -> Result<usize, SrtpError>,
) -> Result<Segment, SrtpError> {
    let bytes = datagram.get_mut().ok_or(SrtpError::Malformed)?;
    let len = unprotect(bytes)?;
    Ok(datagram.narrow(0..len))
}
