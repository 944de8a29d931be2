//! What the use-cases need of the SIP side: place a call, hear how it goes, steer it.
//! [`crate::sip_endpoint::SipEndpoint`] is the one in the product; tests put a scripted one in its place.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use sipcast_contract::dtmf::DtmfStep;
use sipcast_sip::event::CallEvent;
use sipcast_sip::order::{Account, CallOrder};
use tokio::sync::mpsc;

use crate::sip_endpoint::{CallControl, CallHandle, LadderView, RegistrationView, SipEndpoint};

/// A future as trait objects give it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Places calls.
pub trait Dialer: Send + Sync + 'static {
    /// The local address that packets to the account's SIP server leave from; `Err` says why there is none.
    fn local_address_towards<'a>(&'a self, account: &'a Account) -> BoxFuture<'a, Result<IpAddr, String>>;

    /// Places a call. Its events end with `Ended`.
    fn call(&self, order: CallOrder) -> Dialed;

    /// The registrations that calls use, and those that failed lately; none where there is nothing to register with.
    fn registrations(&self) -> Vec<RegistrationView> {
        Vec::new()
    }

    /// Un-registers what is registered and closes the transports.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// Steers one call. No method waits.
pub trait CallLine: Send + Sync {
    /// BYE, or CANCEL before the answer; `Ended` follows.
    fn hang_up(&self);

    /// Sends digits by SIP INFO, after those already waiting. `false`: they do not fit the queue, none is sent.
    fn send_dtmf_info(&self, steps: Vec<DtmfStep>) -> bool;

    /// Asks for an IDR picture by SIP INFO (RFC 5168).
    fn request_keyframe(&self);

    /// There are pictures to send to the callee, or none any more: where video was agreed on, a re-INVITE says so.
    fn set_sends_pictures(&self, sends: bool);

    /// Every SIP message of the call so far, without secrets; empty where none are recorded.
    fn ladder(&self) -> LadderView {
        LadderView::default()
    }
}

/// A call that was placed.
pub struct Dialed {
    /// How it goes.
    pub events: mpsc::Receiver<CallEvent>,
    /// How to steer it.
    pub line: Arc<dyn CallLine>,
}

impl Dialer for SipEndpoint {
    fn local_address_towards<'a>(&'a self, account: &'a Account) -> BoxFuture<'a, Result<IpAddr, String>> {
        Box::pin(self.resolve_local_address_towards(account))
    }

    fn call(&self, order: CallOrder) -> Dialed {
        let CallHandle { events, control } = SipEndpoint::call(self, order);
        Dialed { events, line: Arc::new(control) }
    }

    fn registrations(&self) -> Vec<RegistrationView> {
        SipEndpoint::registrations(self)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(SipEndpoint::shutdown(self))
    }
}

impl CallLine for CallControl {
    fn hang_up(&self) {
        CallControl::hang_up(self);
    }

    fn send_dtmf_info(&self, steps: Vec<DtmfStep>) -> bool {
        CallControl::send_dtmf_info(self, steps)
    }

    fn request_keyframe(&self) {
        CallControl::request_keyframe(self);
    }

    fn set_sends_pictures(&self, sends: bool) {
        CallControl::set_sends_pictures(self, sends);
    }

    fn ladder(&self) -> LadderView {
        CallControl::ladder(self)
    }
}
