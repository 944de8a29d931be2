//! Unprotecting what the peer sends (RFC 3711 §3.3), in place.
//! Takes: the peer's master keys, SRTP and SRTCP datagrams, time. Gives: plain packets in the same bytes. Nothing of
//! the state changes before a packet's tag was found right.

use std::time::Duration;

use sipcast_contract::limits::SLOT_LEN;
use sipcast_contract::{Secret, SrtpMaster, SrtpSuite, Timestamp};

use super::cipher::{Cipher, SessionKeys};
use super::replay_window::ReplayWindow;
use super::{SrtpError, rtcp_ssrc, rtp_header};

/// Unprotects one peer's RTP and RTCP.
///
/// | keys | a packet |
/// | --- | --- |
/// | as agreed | under them, else not at all |
/// | changed less than 5 s ago | under the new ones, else under those of before: it was under way |
pub struct SrtpReceiver {
    suite: SrtpSuite,
    master: Secret<SrtpMaster>,
    current: Context,
    /// What was agreed before, and until when it holds.
    previous: Option<(Context, Timestamp)>,
}

/// Session keys and what was seen under them (RFC 3711 §3.2.3).
struct Context {
    keys: SessionKeys,
    rtp: Sources,
    rtcp: Sources,
}

/// The sources heard under one set of keys. RFC 3711 §3.2.3 has a context each; they share keys, as SDES gives
/// none to a single SSRC.
#[derive(Default)]
struct Sources {
    sources: [Option<Source>; SOURCES_MAX],
    /// Packets taken, to tell which source was silent longest.
    taken: u64,
}

struct Source {
    ssrc: u32,
    window: ReplayWindow,
    /// `Sources::taken` at its latest packet.
    latest: u64,
}

impl SrtpReceiver {
    /// Begins with the keys that the peer protects with.
    pub fn new(suite: SrtpSuite, master: &Secret<SrtpMaster>) -> Self {
        let current = Context::new(suite, master.reveal());
        Self { suite, master: master.clone(), current, previous: None }
    }

    /// Takes the keys of a new offer and answer. The same keys change nothing: rollover counters and replay windows
    /// go on. Those of before hold for 5 s more.
    pub fn set_keys(&mut self, suite: SrtpSuite, master: &Secret<SrtpMaster>, now: Timestamp) {
        if self.suite == suite && self.master == *master {
            return;
        }
        let next = Context::new(suite, master.reveal());
        let before = std::mem::replace(&mut self.current, next);
        self.previous = Some((before, now + GRACE));
        (self.suite, self.master) = (suite, master.clone());
    }

    /// Decrypts an RTP packet in place; gives its length without tag.
    ///
    /// # Errors
    /// [`SrtpError`]: drop the packet, its bytes are spoiled.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8], now: Timestamp) -> Result<usize, SrtpError> {
        let (header_len, ssrc, sequence_number) = rtp_header(packet)?;
        self.end_grace(now);
        let has_previous = self.previous.is_some();
        // RFC 3711 §3.3.1: new keys do not set the rollover counter back; some senders do so all the same.
        let carried = self.previous.as_ref().and_then(|(previous, _)| previous.rtp.highest(ssrc));
        let mut failure = SrtpError::AuthenticationFailed;
        for (is_current, context) in self.contexts() {
            let carried = carried.filter(|_| is_current);
            let is_last = !(is_current && has_previous);
            match context.unprotect_rtp(packet, header_len, ssrc, sequence_number, carried, is_last) {
                Ok(len) => return Ok(len),
                Err(error) if is_current => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    /// Decrypts an RTCP packet in place; gives its length without trailer.
    ///
    /// # Errors
    /// As [`SrtpReceiver::unprotect_rtp`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8], now: Timestamp) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        self.end_grace(now);
        let has_previous = self.previous.is_some();
        let mut failure = SrtpError::AuthenticationFailed;
        for (is_current, context) in self.contexts() {
            match context.unprotect_rtcp(packet, ssrc, !(is_current && has_previous)) {
                Ok(len) => return Ok(len),
                Err(error) if is_current => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    fn end_grace(&mut self, now: Timestamp) {
        self.previous.take_if(|(_, until)| now >= *until);
    }

    /// The contexts to try, each with whether it is that of the keys agreed on.
    fn contexts(&mut self) -> impl Iterator<Item = (bool, &mut Context)> {
        let previous = self.previous.as_mut().map(|(previous, _)| (false, previous));
        std::iter::once((true, &mut self.current)).chain(previous)
    }
}

impl std::fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_rekeyed = self.previous.is_some();
        f.debug_struct("SrtpReceiver").field("suite", &self.suite).field("is_rekeyed", &is_rekeyed).finish()
    }
}

impl Context {
    fn new(suite: SrtpSuite, master: &SrtpMaster) -> Self {
        Self { keys: SessionKeys::new(suite, master), rtp: Sources::default(), rtcp: Sources::default() }
    }

    /// `carried`: the highest index of this source under the keys of before. `is_last`: the packet may be spoiled.
    fn unprotect_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        sequence_number: u16,
        carried: Option<u64>,
        is_last: bool,
    ) -> Result<usize, SrtpError> {
        let cipher = &self.keys.rtp;
        if let Some(source) = self.rtp.find(ssrc) {
            let index = source.window.estimate(sequence_number).filter(|index| *index <= INDEX_MAX);
            let index =
                index.filter(|index| !source.window.is_replayed(*index)).ok_or(SrtpError::Replayed)?;
            let len =
                open(cipher, packet, is_last, |packet| cipher.open_rtp(packet, header_len, ssrc, index))?;
            self.rtp.record(ssrc, index);
            return Ok(len);
        }
        let carried = carried.and_then(|highest| ReplayWindow::new(highest).estimate(sequence_number));
        // A sender may begin close to the wrap (RFC 3711 §3.3.1 only advises against it), and what came before the
        // first packet that gets here may be lost.
        let wrapped = Some(u64::from(sequence_number) | 1 << 16).filter(|_| sequence_number < 1 << 15);
        let indices = [Some(u64::from(sequence_number)), carried.filter(|index| *index >> 16 > 0), wrapped];
        let mut indices = indices.into_iter().flatten().peekable();
        let mut result = Err(SrtpError::AuthenticationFailed);
        while let Some(index) = indices.next() {
            let is_last = is_last && indices.peek().is_none();
            result = open(cipher, packet, is_last, |packet| cipher.open_rtp(packet, header_len, ssrc, index));
            if result.is_ok() {
                self.rtp.record(ssrc, index);
                break;
            }
        }
        result
    }

    fn unprotect_rtcp(&mut self, packet: &mut [u8], ssrc: u32, is_last: bool) -> Result<usize, SrtpError> {
        let cipher = &self.keys.rtcp;
        let index = cipher.srtcp_index(packet)?;
        if self.rtcp.find(ssrc).is_some_and(|source| source.window.is_replayed(index.into())) {
            return Err(SrtpError::Replayed);
        }
        let len = open(cipher, packet, is_last, |packet| cipher.open_rtcp(packet, ssrc, index))?;
        self.rtcp.record(ssrc, index.into());
        Ok(len)
    }
}

impl Sources {
    fn find(&self, ssrc: u32) -> Option<&Source> {
        self.sources.iter().flatten().find(|source| source.ssrc == ssrc)
    }

    fn highest(&self, ssrc: u32) -> Option<u64> {
        self.find(ssrc).map(|source| source.window.highest())
    }

    /// Takes an index that was authenticated. A new source takes a free place, else that of the one which was silent
    /// longest: only who holds the keys can bring one in.
    fn record(&mut self, ssrc: u32, index: u64) {
        self.taken += 1;
        let latest = self.taken;
        if let Some(source) = self.sources.iter_mut().flatten().find(|source| source.ssrc == ssrc) {
            source.window.record(index);
            source.latest = latest;
            return;
        }
        let place = self.sources.iter_mut().min_by_key(|place| place.as_ref().map(|source| source.latest));
        if let Some(place) = place {
            *place = Some(Source { ssrc, window: ReplayWindow::new(index), latest });
        }
    }
}

/// Opens with `attempt`. A packet that may be tried again is put back as it was if the cipher spoils it.
fn open(
    cipher: &Cipher,
    packet: &mut [u8],
    is_last: bool,
    attempt: impl FnOnce(&mut [u8]) -> Result<usize, SrtpError>,
) -> Result<usize, SrtpError> {
    if is_last || !cipher.spoils_what_fails() { attempt(packet) } else { open_kept(packet, attempt) }
}

/// The first packets of a source, and those in the seconds after new keys.
#[cold]
fn open_kept(
    packet: &mut [u8],
    attempt: impl FnOnce(&mut [u8]) -> Result<usize, SrtpError>,
) -> Result<usize, SrtpError> {
    let mut kept = [0; SLOT_LEN];
    // A datagram comes in a slot.
    let kept = kept.get_mut(..packet.len()).ok_or(SrtpError::Malformed)?;
    kept.copy_from_slice(packet);
    let result = attempt(packet);
    if result.is_err() {
        packet.copy_from_slice(kept);
    }
    result
}

/// Sources remembered side by side: a peer that changes its SSRC begins anew with each.
const SOURCES_MAX: usize = 8;
/// How long keys of before are accepted: packets under way, and a peer that changes keys after its answer.
const GRACE: Duration = Duration::from_secs(5);
/// RFC 3711 §3.3.1: 48 bits.
const INDEX_MAX: u64 = (1 << 48) - 1;
