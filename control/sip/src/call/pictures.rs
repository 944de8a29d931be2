//! Pictures for the peer: a new direction of the video by re-INVITE (RFC 3264 §8.4), when there are some and when there
//! are none any more. Takes: whether there are. Gives: the re-INVITE, once nothing else of ours or the peer's is open.
//! Leaves out: the pictures (dataplane), repetition and glare (`refresh`).

use sipcast_contract::Direction;

use super::refresh::Refresh;
use super::{Call, RefreshMethod};

impl Call {
    /// There are pictures to send to the peer, or none any more. Calls whose offers name `sendrecv` anyway need no
    /// re-INVITE; a peer without video, or one that takes no pictures, stays as it is.
    pub fn set_sends_pictures(&mut self, sends: bool) {
        let direction = if sends { Direction::SendRecv } else { self.options.offer.video_direction };
        let all = [&mut self.negotiation, &mut self.offered];
        for negotiation in all.into_iter().chain(self.forks.iter_mut().map(|fork| &mut fork.negotiation)) {
            negotiation.options.video_direction = direction;
        }
        self.is_offer_due = true;
    }

    /// Offers anew if that is due and nothing else is open.
    pub(super) fn offer_anew(&mut self) {
        if !self.is_offer_due
            || !self.is_established()
            || self.refresh.is_some()
            || self.awaits_ack
            || self.negotiation.offer_pending()
        {
            return;
        }
        self.is_offer_due = false;
        let video = self.media.as_ref().and_then(|media| media.video.as_ref());
        let wanted = self.negotiation.options.video_direction.sends();
        if video.is_some_and(|video| video.transport.direction.sends() != wanted) {
            let method = RefreshMethod::Invite;
            self.send_refresh(Refresh { method, attempts: 0, retry_at: None, is_new_offer: true });
        }
    }
}
