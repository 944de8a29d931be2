//! Session descriptions (RFC 8866) and the offer/answer model (RFC 3264) for one call.
//! Takes: our ports, the peer's descriptions as bytes, random bytes for keys. Gives: our descriptions,
//! [`NegotiatedMedia`].
//! Leaves out: when to send which (`call`), the media itself.

pub mod answer;
mod audio_format;
pub mod crypto;
pub mod feedback;
pub mod fmtp;
pub mod media;
pub mod offer;
pub mod options;
mod rtp_profile;
pub mod suites;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use sdp_types::{Origin, Session};
use sipcast_contract::{NegotiatedMedia, Secret};
use thiserror::Error;

use crate::offer_ladder::{OfferLadder, OfferShape};
use crate::order::{LocalMedia, MediaSecurity};
use crypto::{CryptoFault, Random};
use media::{Kind, RemoteDescription, RemoteMedia};
pub use options::{AudioCodecs, OfferOptions};
pub use suites::SrtpSuites;

/// Bytes of a description that are read; a longer one is refused.
pub const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;
/// Lines of a description that are read; one with more is refused.
pub const DESCRIPTION_LINES_MAX: usize = 1_024;
/// Media descriptions (`m=`) of one description; one with more is refused.
pub const MEDIA_DESCRIPTIONS_MAX: usize = 16;

/// What one offer and its answer agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// For the dataplane.
    pub media: NegotiatedMedia,
    /// The peer has put us on hold: it takes no media, by direction or by `c=0.0.0.0`.
    pub held: bool,
    /// The peer's description, repaired where it was not UTF-8 and without its keys, for inspection.
    pub description: String,
}

/// The offer/answer state of one dialog (RFC 3264): what we said last, at which version, and which media
/// description stands at which place. After an error the state is what it was before, as RFC 3264 §4 asks.
#[derive(Clone, Debug)]
pub struct Negotiation {
    pub(crate) local: LocalMedia,
    pub(crate) options: OfferOptions,
    pub(crate) security: MediaSecurity,
    pub(crate) random: Random,
    ladder: OfferLadder,
    session_id: u64,
    version: u64,
    /// What we sent last, with its version. It may hold keys.
    sent: Option<Secret<Session>>,
    /// One per media description, in the order of the first offer (RFC 3264 §8).
    pub(crate) slots: Vec<Slot>,
    /// An offer of ours waits for its answer.
    offer_pending: bool,
    /// The peer's very first description already sent only, so that later is no hold.
    pub(crate) peer_never_listened: Option<bool>,
}

/// What stands at one place of the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// What we do with it.
    pub(crate) kind: Kind,
    /// `m=` line's media, protocol and formats, to be mirrored with port 0 when we have no use for it.
    pub(crate) name: String,
    pub(crate) proto: String,
    pub(crate) refused_formats: String,
    /// Payload types agreed on, which later offers of ours keep (RFC 3264 §8.3.2).
    pub(crate) agreed: media::AgreedFormats,
    /// SRTP keys, ours and the peer's.
    pub(crate) keys: crypto::Keys,
}

impl Negotiation {
    /// For one call over plain RTP. `local` are our ports, `options` what our offers ask for.
    pub fn new(local: LocalMedia, options: OfferOptions) -> Self {
        // RFC 8866 §5.2: sess-id need only be unlikely to repeat. The standard library's keys are random.
        let random = RandomState::new().hash_one(0_u8);
        // 62 bits: some readers take it as a signed number.
        let session_id = (random >> 2) | 1;
        Self {
            local,
            options,
            security: MediaSecurity::Off,
            random: |_| false,
            ladder: OfferLadder::new(MediaSecurity::Off, options.feedback_profile),
            session_id,
            version: session_id,
            sent: None,
            slots: Vec::new(),
            offer_pending: false,
            peer_never_listened: None,
        }
    }

    /// The same with media protected as ordered; `random` is the source of keys.
    #[must_use]
    pub fn protected(self, security: MediaSecurity, random: Random) -> Self {
        let ladder = OfferLadder::new(security, self.options.feedback_profile);
        Self { security, random, ladder, ..self }
    }

    /// Our offer: first in the INVITE, later in the 200 to a re-INVITE without one. It offers all we have at the
    /// places agreed before, and our own directions, so that it also ends a hold (RFC 6337 §5.2.5).
    ///
    /// # Errors
    /// [`SdpError::NothingOffered`] if neither audio nor video has a port, [`SdpError::NoRandomness`].
    pub fn offer(&mut self) -> Result<String, SdpError> {
        let session = offer::build(self)?;
        self.offer_pending = true;
        self.send(session)
    }

    /// The first offer was refused with `status`: whether another form of it is to be tried, see `offer_ladder`.
    /// If so, the next [`Self::offer`] has it.
    pub fn try_another_offer(&mut self, status: u16) -> bool {
        let has_another = self.ladder.descend(status);
        if has_another {
            self.forget_offer();
        }
        has_another
    }

    /// The next offer goes to another target, as if none had been refused.
    pub fn offer_afresh(&mut self) {
        self.ladder.restart();
        self.forget_offer();
    }

    fn forget_offer(&mut self) {
        self.slots.clear();
        self.offer_pending = false;
    }

    /// The form of our offers.
    pub(crate) const fn shape(&self) -> OfferShape {
        self.ladder.shape()
    }

    /// What we said last, byte for byte, for a session refresh (RFC 4028 §7.4); `None` before the first offer
    /// or answer. The peer answers it: pass that to [`Self::handle_answer`].
    pub fn refresh(&mut self) -> Option<String> {
        let sent = self.sent.as_ref()?;
        self.offer_pending = true;
        text_of(sent.reveal()).ok()
    }

    /// Whether an offer of ours waits for its answer.
    pub fn offer_pending(&self) -> bool {
        self.offer_pending
    }

    /// The offer was refused (a failure response): the earlier agreement stays.
    pub fn handle_offer_refused(&mut self) {
        self.offer_pending = false;
    }

    /// Takes up the last offer again for a further answer: the responses to one INVITE may each bring one, early and
    /// final, from one fork or from several.
    pub fn reopen_offer(&mut self) {
        for slot in &mut self.slots {
            slot.agreed = media::AgreedFormats::default();
            slot.keys.theirs = None;
        }
        self.offer_pending = true;
    }

    /// Reads the peer's answer to our offer.
    ///
    /// # Errors
    /// [`SdpError`]; the offer then still waits, and the caller ends the call or the transaction.
    pub fn handle_answer(&mut self, body: &[u8]) -> Result<Agreement, SdpError> {
        let remote = RemoteDescription::parse(body)?;
        let agreement = answer::read(self, &remote)?;
        self.offer_pending = false;
        Ok(agreement)
    }

    /// Answers the peer's offer.
    ///
    /// # Errors
    /// [`SdpError`]: answer 488 (400 for one that is not a description), the earlier agreement stays.
    pub fn answer(&mut self, body: &[u8]) -> Result<(String, Agreement), SdpError> {
        let remote = RemoteDescription::parse(body)?;
        let (session, slots, agreement) = answer::build(self, &remote)?;
        let text = self.send(session)?;
        self.slots = slots;
        Ok((text, agreement))
    }

    /// An empty description of ours at the current version.
    pub(crate) fn blank(&self) -> Session {
        let mut origin = Origin::with_ip_addr(self.session_id, self.version, self.local.address);
        origin.set_username("-");
        let mut session = Session::new(origin, "-");
        session.connection = Some(sdp_types::Connection::from_ip_addr(self.local.address));
        session
    }

    /// RFC 3264 §8: the version rises by one if, and only if, the description changed.
    fn send(&mut self, mut session: Session) -> Result<String, SdpError> {
        session.origin.sess_version = self.version;
        if let Some(sent) = &self.sent
            && *sent.reveal() != session
        {
            self.version += 1;
            session.origin.sess_version = self.version;
        }
        let text = text_of(&session)?;
        self.sent = Some(Secret::new(session));
        Ok(text)
    }
}

fn text_of(session: &Session) -> Result<String, SdpError> {
    let mut bytes = Vec::with_capacity(1024);
    session.write(&mut bytes).map_err(|_| SdpError::Unwritable)?;
    String::from_utf8(bytes).map_err(|_| SdpError::Unwritable)
}

/// Why a description cannot be used; the text says what to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    /// Over one of the limits of this module.
    #[error("session description is over the limit of {limit} {unit}")]
    TooLong {
        /// The limit.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// Not a session description.
    #[error("session description cannot be read: {0}")]
    Malformed(String),
    /// No media description that we can take part in.
    #[error(
        "no media in common: peer has {peer}; we take audio ({codecs}) and video (H264) over RTP/AVP(F), and over \
         RTP/SAVP(F) with keys by SDES: enable one of these on the peer"
    )]
    NothingInCommon {
        /// The peer's media descriptions in short.
        peer: String,
        /// What we take.
        codecs: AudioCodecs,
    },
    /// The peer takes nothing of what we offered: its answer has port 0 in every media description (RFC 3264 §6).
    #[error(
        "the peer refused all media (port 0): it has {peer}; we offered audio ({codecs}) and video (H264): enable one \
         of these on the peer, or another mediaSecurity in the order"
    )]
    AllRefused {
        /// The peer's media descriptions in short.
        peer: String,
        /// What we take.
        codecs: AudioCodecs,
    },
    /// Media that has to be protected and cannot be.
    #[error("{media} ({peer}) cannot be protected: {fault}")]
    Unprotected {
        /// `audio` or `video`.
        media: &'static str,
        /// The protocol of the peer's media description.
        peer: String,
        /// Why not.
        fault: CryptoFault,
    },
    /// No random bytes for keys.
    #[error("no random numbers for SRTP keys: the system gives none")]
    NoRandomness,
    /// The order has neither audio nor video.
    #[error("nothing to offer: enable audio or video in the order")]
    NothingOffered,
    /// An answer came and we had not offered.
    #[error("answer without an offer")]
    UnexpectedAnswer,
    /// Our own description could not be written.
    #[error("our session description cannot be written")]
    Unwritable,
}

impl SdpError {
    /// The status to refuse an offer with (RFC 3261 §13.3.1.3, §21.4.1).
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLong { .. } => 413,
            Self::Malformed(_) => 400,
            Self::NothingInCommon { .. }
            | Self::AllRefused { .. }
            | Self::Unprotected { .. }
            | Self::NothingOffered
            | Self::UnexpectedAnswer => 488,
            Self::Unwritable | Self::NoRandomness => 500,
        }
    }

    fn unprotected(kind: Kind, theirs: &RemoteMedia, fault: CryptoFault) -> Self {
        let peer = theirs.proto.chars().filter(|c| !c.is_control()).take(40).collect();
        Self::Unprotected { media: kind.name(), peer, fault }
    }
}

#[cfg(test)]
mod tests;
