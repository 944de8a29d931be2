//! What a call tells the control plane on its way from INVITE to BYE.

use std::fmt;

use sipcast_contract::NegotiatedMedia;

/// One step of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEvent {
    /// A provisional answer, or progress of our own.
    Progress {
        /// Status to show.
        status: CallStatus,
        /// Last SIP status code, 0 before the first.
        sip_status: u16,
    },
    /// Offer and answer agreed on media: early, on answer, or by re-INVITE/UPDATE.
    Media {
        /// What was agreed.
        media: Box<NegotiatedMedia>,
        /// The peer's session description, for inspection.
        sdp: String,
    },
    /// The call is answered and acknowledged.
    Established,
    /// The peer put us on hold (`true`) or took us back (`false`).
    Hold(bool),
    /// The peer wants an IDR picture of what we show it (RFC 5168).
    PictureWanted,
    /// So many steps ordered by `send_dtmf_info` are sent since this was last told, and none waits.
    DtmfSent(usize),
    /// The call is over; nothing follows.
    Ended(CallEnd),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEnd {
    /// `Finish`, `Busy` or `Failed`.
    pub status: CallStatus,
    /// Last SIP status code, 0 when none came.
    pub sip_status: u16,
    /// For people; holds no secret.
    pub reason: String,
}

/// Call statuses by the names of the original's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallStatus {
    /// Ordered, nothing sent.
    New,
    /// Registering or waiting to dial.
    Pending,
    /// 100 came, or the INVITE is out.
    Trying,
    /// 180.
    Ring,
    /// 180 or 183 with early media.
    RingMedia,
    /// 183 without a session description, or another 1xx.
    SessionProgress,
    /// Answered.
    Established,
    /// Answered, the peer holds.
    Hold,
    /// Ended by BYE or by order.
    Finish,
    /// 486 or 600.
    Busy,
    /// Any other final failure.
    Failed,
}

impl CallStatus {
    /// The word the API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Pending => "PENDING",
            Self::Trying => "TRYING",
            Self::Ring => "RING",
            Self::RingMedia => "RING_MEDIA",
            Self::SessionProgress => "SESSION_PROGRESS",
            Self::Established => "ESTABLISHED",
            Self::Hold => "HOLD",
            Self::Finish => "FINISH",
            Self::Busy => "BUSY",
            Self::Failed => "FAILED",
        }
    }

    /// Whether the call is over.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Finish | Self::Busy | Self::Failed)
    }
}

impl fmt::Display for CallStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
