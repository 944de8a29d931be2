//! The control of a call and its other end inside the call's task.
//! Takes: orders from any thread. Gives: them to the task, bounded. Leaves out: carrying them out (`call`).

use std::sync::Arc;

use sipcast_contract::dtmf::DtmfStep;
use sipcast_contract::limits::DTMF_QUEUE_MAX;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::ladder::{Ladder, LadderView};

/// Acts on one call. Cheap to clone; does nothing once the call is over.
#[derive(Clone, Debug)]
pub struct CallControl {
    hang_up: CancellationToken,
    dtmf: mpsc::Sender<DtmfStep>,
    keyframe: Arc<Notify>,
    pictures: Arc<watch::Sender<bool>>,
    ladder: Arc<Ladder>,
}

impl CallControl {
    /// Ends the call: BYE, or CANCEL before the answer. `Ended` follows.
    pub fn hang_up(&self) {
        self.hang_up.cancel();
    }

    /// Sends digits by INFO one after another, after those that wait. `false`: the call is over, or they do not fit
    /// the queue of [`DTMF_QUEUE_MAX`] steps; then none is sent.
    pub fn send_dtmf_info(&self, steps: Vec<DtmfStep>) -> bool {
        let Ok(permits) = self.dtmf.try_reserve_many(steps.len()) else { return false };
        permits.zip(steps).for_each(|(permit, step)| permit.send(step));
        true
    }

    /// Asks the peer for an IDR picture by INFO `picture_fast_update` (RFC 5168). Requests that come while one is on
    /// its way count as one.
    pub fn request_keyframe(&self) {
        self.keyframe.notify_one();
    }

    /// There are pictures to send to the peer, or none any more: where video was agreed on, a re-INVITE says so.
    pub fn set_sends_pictures(&self, sends: bool) {
        self.pictures.send_replace(sends);
    }

    /// Every SIP message of the call so far, without secrets; also after its end.
    pub fn ladder(&self) -> LadderView {
        self.ladder.view()
    }
}

/// The task's end of a [`CallControl`].
pub(super) struct Steering {
    pub hang_up: CancellationToken,
    pub dtmf: mpsc::Receiver<DtmfStep>,
    pub keyframe: Arc<Notify>,
    pub pictures: watch::Receiver<bool>,
    // Keeps the queue open when every control is dropped, so that the task need not look at its end.
    _dtmf: mpsc::Sender<DtmfStep>,
}

impl Steering {
    pub fn new(hang_up: CancellationToken, ladder: Arc<Ladder>) -> (Self, CallControl) {
        let (sender, dtmf) = mpsc::channel(DTMF_QUEUE_MAX);
        let keyframe = Arc::new(Notify::new());
        let (pictures_sender, pictures) = watch::channel(false);
        let control = CallControl {
            hang_up: hang_up.clone(),
            dtmf: sender.clone(),
            keyframe: keyframe.clone(),
            pictures: Arc::new(pictures_sender),
            ladder,
        };
        (Self { hang_up, dtmf, keyframe, pictures, _dtmf: sender }, control)
    }
}
