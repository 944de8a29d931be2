//! The course of one broadcast: open media on the shard, place the call, follow it, close everything, be shown for
//! the grace time. One task each.
//! Takes: a valid order, the shard's answers, the call's events. Gives: commands to the shard, orders to the call,
//! notes in the registry. Leaves out: REST (`rest`), what a call decides (`sipcast-sip`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sipcast_contract::{BroadcastId, Command, MediaOptions, MediaWanted, Secret};
use sipcast_sip::event::{CallEnd, CallEvent, CallStatus};
use sipcast_sip::order::{Account, CallOrder, LocalMedia, MediaSecurity};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::broadcast::{Broadcasts, OpenAnswer, Shared, StartOrder};
use crate::dialer::Dialed;
use crate::events::{EndTotals, EventKind, TargetStateName};
use crate::joining::Joining;
use crate::order::TargetOrder;
use crate::registry::{Broadcast, Signals, Target};

/// One broadcast from its order to its end.
pub(crate) struct Course {
    broadcasts: Broadcasts,
    id: BroadcastId,
    account: Account,
    callee: String,
    wanted: MediaWanted,
    security: MediaSecurity,
    joining: Joining,
    /// With sound that all its targets take.
    media: MediaOptions,
    /// By the name to publish.
    direct: Option<TargetOrder>,
    signals: Arc<Signals>,
    opened: oneshot::Receiver<OpenAnswer>,
    closed: oneshot::Receiver<()>,
    /// The shard may hold something of this broadcast.
    open_sent: bool,
}

impl Course {
    /// A course that has not begun.
    pub(crate) fn new(
        broadcasts: Broadcasts,
        id: BroadcastId,
        order: StartOrder,
        signals: Arc<Signals>,
        opened: oneshot::Receiver<OpenAnswer>,
        closed: oneshot::Receiver<()>,
    ) -> Self {
        let StartOrder { callee, account, wanted, security, joining, direct, sound, .. } = order;
        let mut media = broadcasts.shared.options.media.clone();
        media.aac = sound.unwrap_or(media.aac);
        media.video_bit_rate_wanted = order.video_bit_rate_wanted.or(media.video_bit_rate_wanted);
        let security = security.unwrap_or(broadcasts.shared.options.media_security);
        let prefix = &broadcasts.shared.options.stream_prefix;
        let direct = direct.map(|d| {
            let name = d.published_name(prefix);
            TargetOrder { stream: Secret::new(name), ..d }
        });
        Self {
            broadcasts,
            id,
            account,
            callee,
            wanted,
            security,
            joining,
            media,
            direct,
            signals,
            opened,
            closed,
            open_sent: false,
        }
    }

    /// Runs it as a task. Whatever happens, the broadcast ends with a final status and is forgotten after its
    /// grace time.
    pub(crate) fn spawn(self) {
        let (broadcasts, id) = (self.broadcasts.clone(), self.id);
        let course = tokio::spawn(self.run());
        tokio::spawn(async move {
            let shared = &broadcasts.shared;
            let end = match course.await {
                Ok(end) => end,
                Err(_) => {
                    // What the shard holds would be held for ever.
                    let shard = shared.registry().get_mut(id).map(|b| b.shard);
                    if let Some(shard) = shard {
                        shared
                            .send_patiently(&shared.shards[shard], || Command::Close { broadcast: id })
                            .await;
                    }
                    failed(0, "internal error in the course of the call")
                }
            };
            let counter = match end.status {
                CallStatus::Finish => &shared.counters.finished,
                CallStatus::Busy => &shared.counters.busy,
                _ => &shared.counters.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            tracing::info!(broadcast = %id, status = %end.status, sip_status = end.sip_status, reason = ?end.reason,
                "call ended");
            let reason = Some(end.reason).filter(|reason| !reason.is_empty());
            shared.finish(id, end.status, end.sip_status, reason);
            shared.ended.notify_waiters();
            sleep(shared.options.grace).await;
            shared.registry().forget(id);
        });
    }

    async fn run(mut self) -> CallEnd {
        let end = self.play().await;
        self.close().await;
        end
    }

    /// Everything up to the end of the call.
    async fn play(&mut self) -> CallEnd {
        let signals = Arc::clone(&self.signals);
        let address = tokio::select! {
            biased;
            () = signals.terminate.cancelled() => return by_order(0),
            prepared = self.prepare() => match prepared {
                Ok(address) => address,
                Err(end) => return end,
            },
        };
        let bind = self.broadcasts.shared.options.media_bind.unwrap_or(address);
        let (audio_port, video_port) = match self.open(bind).await {
            Ok(ports) => ports,
            Err(end) => return end,
        };
        if signals.terminate.is_cancelled() {
            return by_order(0);
        }
        let shared = Arc::clone(&self.broadcasts.shared);
        let dialled = self.joining.dialled.as_ref().map(|dialled| dialled.reveal());
        let dialed = shared.dialer.call(CallOrder {
            account: self.account.clone(),
            callee: dialled.unwrap_or(&self.callee).clone(),
            media: LocalMedia { address, audio_port, video_port },
            security: self.security,
            preferences: self.joining.preferences.clone(),
        });
        self.note(|b| {
            b.line = Some(Arc::clone(&dialed.line));
            if b.sees {
                dialed.line.set_sends_pictures(true);
            }
            b.ladder_of = Some(Arc::clone(&dialed.line));
        });
        self.follow(dialed).await
    }

    /// Looks up the direct target's host and our address towards the SIP server, at the same time.
    async fn prepare(&self) -> Result<std::net::IpAddr, CallEnd> {
        let shared = &self.broadcasts.shared;
        let look_up = async {
            match &self.direct {
                Some(direct) => shared.addresses_of(&direct.url).await.map(Some),
                None => Ok(None),
            }
        };
        let local = shared.dialer.local_address_towards(&self.account);
        let (addresses, local) = tokio::join!(look_up, timeout(LOCAL_ADDRESS_TIMEOUT, local));
        let addresses = addresses.map_err(|error| {
            self.note(|b| b.direct_state.failed = true);
            failed(0, format!("rtmpUrl: {error}"))
        })?;
        if let (Some(addresses), Some(direct)) = (addresses, self.direct.clone()) {
            let contract = direct.contract.clone();
            let spec = TargetOrder { addresses, ..direct }.into_spec(&shared.options);
            let target = Target { contract, ..Target::new(spec, None) };
            let mut registry = shared.registry();
            if let Some(target_id) = registry.add_target(self.id, target)
                && let Some(broadcast) = registry.get_mut(self.id)
                && let Some(target) = broadcast.targets.get(&target_id)
            {
                shared.tell(broadcast, target.event(target_id));
            }
        }
        match local {
            Ok(Ok(address)) => Ok(shared.options.media_offered.unwrap_or(address)),
            Ok(Err(reason)) => Err(failed(0, reason)),
            Err(_) => Err(failed(0, "the SIP server's address was not found in time")),
        }
    }

    /// Has the shard bind ports.
    async fn open(&mut self, bind: std::net::IpAddr) -> Result<(Option<u16>, Option<u16>), CallEnd> {
        let shared = Arc::clone(&self.broadcasts.shared);
        let (broadcast, wanted) = (self.id, self.wanted);
        let open = || {
            let options = Box::new(self.media.clone());
            Command::Open { broadcast, wanted, bind, options }
        };
        if !shared.send_patiently(&shared.shards[self.shard()], open).await {
            return Err(failed(0, "the shard is too busy to take the call"));
        }
        self.open_sent = true;
        match timeout(OPEN_TIMEOUT, &mut self.opened).await {
            Ok(Ok(Ok(ports))) => Ok(ports),
            Ok(Ok(Err(refusal))) => {
                // The shard holds nothing of a broadcast that it refused.
                self.open_sent = false;
                Err(failed(0, refusal.to_string()))
            }
            Ok(Err(_)) | Err(_) => {
                let shard = self.shard();
                tracing::error!(broadcast = %self.id, shard, "the shard does not answer");
                shared.registry().note_silent(shard, true);
                Err(failed(0, "the shard did not open the media ports in time"))
            }
        }
    }

    /// Follows the call from INVITE to its end.
    async fn follow(&self, dialed: Dialed) -> CallEnd {
        let Dialed { mut events, line } = dialed;
        let mut last_sip_status = 0;
        let mut hang_up_by: Option<Instant> = None;
        loop {
            // Without a deadline the branch is switched off; the instant is then of no meaning.
            let deadline = sleep_until(hang_up_by.unwrap_or_else(Instant::now));
            tokio::select! {
                event = events.recv() => match event {
                    Some(CallEvent::Ended(end)) => return end,
                    Some(event) => self.take(event, &mut last_sip_status).await,
                    None if hang_up_by.is_some() => return by_order(last_sip_status),
                    None => return failed(last_sip_status, "internal error on the SIP side"),
                },
                () = self.signals.keyframe.notified() => {
                    if !self.joining.no_keyframe_info {
                        line.request_keyframe();
                    }
                }
                () = self.signals.digits.notified() => self.send_waiting_digits().await,
                () = self.signals.terminate.cancelled(), if hang_up_by.is_none() => {
                    line.hang_up();
                    hang_up_by = Some(Instant::now() + HANG_UP_TIMEOUT);
                }
                () = deadline, if hang_up_by.is_some() => return by_order(last_sip_status),
            }
        }
    }

    /// Takes one event of a call that goes on.
    async fn take(&self, event: CallEvent, last_sip_status: &mut u16) {
        match event {
            CallEvent::Progress { status, sip_status } if !status.is_final() => {
                *last_sip_status = sip_status;
                self.note_status(status, sip_status);
            }
            CallEvent::Media { media, sdp } => {
                let shared = &self.broadcasts.shared;
                let broadcast = self.id;
                let set = || Command::SetMedia { broadcast, media: media.clone() };
                if !shared.send_patiently(&shared.shards[self.shard()], set).await {
                    tracing::warn!(broadcast = %self.id, "the shard is too busy to take the negotiated media");
                }
                self.note(|b| {
                    b.telephone_event = media.audio.as_ref().is_some_and(|a| a.telephone_event.is_some());
                    b.sdp = Some(without_keys(&sdp));
                    shared.tell(b, EventKind::media_agreed(&media));
                    // From here, not from the first ringing on: a publisher that sends nothing keeps the stream
                    // name occupied and is closed by many servers, and a declined call never goes on the air.
                    b.media_agreed = true;
                    b.digits.note_early_media();
                    if !b.telephone_event {
                        // What the shard still had is not sent any more (RFC 4733 §2.5.1: no format to send it in).
                        b.digits.note_shard_idle();
                    }
                });
                self.hand_over_targets().await;
                self.send_waiting_digits().await;
            }
            CallEvent::Established => {
                *last_sip_status = 200;
                self.note_status(CallStatus::Established, 200);
                let first = self.note(|b| {
                    b.digits.note_answered();
                    !std::mem::replace(&mut b.answered, true)
                });
                if first == Some(true) {
                    self.broadcasts.shared.counters.established.fetch_add(1, Ordering::Relaxed);
                }
                self.send_waiting_digits().await;
            }
            CallEvent::PictureWanted => {
                // Whoever is shown nothing wishes in vain, and costs the shard nothing.
                if self.note(|b| b.sees) == Some(true) {
                    // A full mailbox drops the wish: whoever still sees nothing repeats it.
                    let command = Command::RefreshPicture { broadcast: self.id };
                    let _ = self.broadcasts.shared.shards[self.shard()].send(command);
                }
            }
            CallEvent::DtmfSent(steps) => {
                self.note(|b| b.digits.note_info_sent(steps));
                self.send_waiting_digits().await;
            }
            CallEvent::Hold(on) => {
                self.note(|b| self.broadcasts.shared.tell(b, EventKind::Hold { held: on }));
                self.note_status(
                    if on { CallStatus::Hold } else { CallStatus::Established },
                    *last_sip_status,
                );
            }
            // A final status comes as `Ended`, which the caller takes.
            CallEvent::Progress { .. } | CallEvent::Ended(_) => {}
        }
    }

    /// Hands waiting targets to the shard, again and again while its mailbox is full.
    async fn hand_over_targets(&self) {
        let shared = &self.broadcasts.shared;
        for _ in 0..MAILBOX_TRIES {
            let handed_over = self.note(|b| b.hand_over_targets(&shared.shards[b.shard]).is_ok());
            if handed_over != Some(false) {
                return;
            }
            sleep(MAILBOX_RETRY).await;
        }
        tracing::warn!(broadcast = %self.id, "the shard is too busy to take the RTMP targets");
    }

    async fn send_waiting_digits(&self) {
        let shared = &self.broadcasts.shared;
        for _ in 0..MAILBOX_TRIES {
            let sent = self.note(|b| {
                if b.digits.lack_a_way(b.telephone_event) {
                    // A later answer may yet agree on events.
                    tracing::warn!(broadcast = %b.id, "digits wait: the peer takes no telephone-event, its service no INFO");
                }
                shared.send_digits(b).is_ok()
            });
            if sent != Some(false) {
                return;
            }
            sleep(MAILBOX_RETRY).await;
        }
        // Otherwise later digits would queue behind these for ever.
        self.note(|b| b.digits.clear());
        tracing::warn!(broadcast = %self.id, "digits are not sent: they are taken too slowly");
    }

    /// Has the shard unpublish and close what it holds.
    async fn close(&mut self) {
        self.note(|b| b.closing = true);
        if !self.open_sent {
            return;
        }
        let shared = Arc::clone(&self.broadcasts.shared);
        let broadcast = self.id;
        let sent = shared.send_patiently(&shared.shards[self.shard()], || Command::Close { broadcast }).await;
        if !sent || timeout(CLOSE_TIMEOUT, &mut self.closed).await.is_err() {
            tracing::warn!(broadcast = %self.id, "the shard did not close the broadcast in time");
        }
    }

    /// Notes where the call stands, and tells it if that is news.
    fn note_status(&self, status: CallStatus, sip_status: u16) {
        self.note(|b| {
            if (b.status, b.sip_status) != (status, sip_status) {
                (b.status, b.sip_status) = (status, sip_status);
                let told = EventKind::Status { status: status.as_str(), sip_status, reason: None };
                self.broadcasts.shared.tell(b, told);
            }
        });
    }

    fn shard(&self) -> usize {
        self.note(|b| b.shard).unwrap_or(0)
    }

    /// Changes the broadcast in the registry; `None` if it is gone.
    fn note<T>(&self, change: impl FnOnce(&mut Broadcast) -> T) -> Option<T> {
        let shared: &Shared = &self.broadcasts.shared;
        shared.registry().get_mut(self.id).map(change)
    }
}

impl Shared {
    /// Marks a broadcast as over and tells what it did.
    fn finish(&self, id: BroadcastId, status: CallStatus, sip_status: u16, reason: Option<String>) {
        let mut registry = self.registry();
        if let Some(broadcast) = registry.get_mut(id).filter(|b| b.is_live()) {
            for (&target, left) in &broadcast.targets {
                let url = left.spec.url.to_string();
                let state = TargetStateName::Ended;
                self.tell(broadcast, EventKind::Target { target: target.0, url, state, fault: None });
            }
            let word = status.as_str();
            self.tell(broadcast, EventKind::Status { status: word, sip_status, reason: reason.clone() });
            let totals = totals(broadcast);
            self.tell(
                broadcast,
                EventKind::Ended { status: word, sip_status, reason: reason.clone(), totals },
            );
        }
        registry.finish(id, status, sip_status, reason);
        self.choose_pictures(&mut registry);
    }
}

fn totals(broadcast: &Broadcast) -> EndTotals {
    let s = &broadcast.statistics;
    // A clock that was set back in mid-call makes no negative time.
    let duration = broadcast.ordered_at.elapsed().unwrap_or_default();
    EndTotals {
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        audio_packets: s.audio.packets,
        audio_lost: s.audio.lost,
        video_packets: s.video.packets,
        video_lost: s.video.lost,
        access_units: s.access_units,
        bytes_sent: s.targets.iter().map(|(_, target)| target.bytes_sent).sum(),
    }
}

fn failed(sip_status: u16, reason: impl Into<String>) -> CallEnd {
    CallEnd { status: CallStatus::Failed, sip_status, reason: reason.into() }
}

fn by_order(sip_status: u16) -> CallEnd {
    CallEnd { status: CallStatus::Finish, sip_status, reason: String::new() }
}

/// A session description without keys and passwords, at most [`SDP_SHOWN_MAX`] bytes.
fn without_keys(sdp: &str) -> String {
    let mut shown = String::with_capacity(sdp.len().min(SDP_SHOWN_MAX));
    let is_secret = |line: &str| {
        let line = line.trim_start().to_ascii_lowercase();
        SECRET_LINES.iter().any(|secret| line.starts_with(secret))
    };
    for line in sdp.lines().filter(|line| !is_secret(line)) {
        if shown.len() + line.len() + 2 > SDP_SHOWN_MAX {
            break;
        }
        shown.push_str(line);
        shown.push_str("\r\n");
    }
    shown
}

/// How long our address towards the SIP server may take to be found.
const LOCAL_ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a shard may take to bind ports; it does so within one turn.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a shard may take to unpublish and close; a dead RTMP server must not keep a call alive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long BYE or CANCEL may go unanswered before the call counts as ended all the same.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries to put a command into a full mailbox.
const MAILBOX_TRIES: usize = 200;

/// Pause between two tries.
const MAILBOX_RETRY: Duration = Duration::from_millis(5);

/// SRTP keys (RFC 4568 §4, RFC 4567 §3, RFC 4566 §5.12) and the password of ICE (RFC 8839 §5.4).
const SECRET_LINES: [&str; 4] = ["a=crypto:", "a=key-mgmt:", "k=", "a=ice-pwd:"];

/// Bytes of a session description that are kept to show.
const SDP_SHOWN_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_description_holds_no_keys_and_has_a_bound() {
        let sdp = "v=0\r\nk=clear:secret\r\na=ice-pwd:secret\r\nA=KEY-MGMT:mikey secret\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:secret\r\nm=audio 4000 RTP/SAVP 0\r\n";
        assert_eq!(without_keys(sdp), "v=0\r\nm=audio 4000 RTP/SAVP 0\r\n");
        assert!(without_keys(&"a=x\n".repeat(10_000)).len() <= SDP_SHOWN_MAX);
    }
}
