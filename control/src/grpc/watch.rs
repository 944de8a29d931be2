//! `Watch`: a snapshot, then events as they happen, from any event on that is still kept.
//! Takes: what to watch. Gives: the stream. A client that reads slowly slows only its own stream; when it is later
//! than events are kept, it gets a new snapshot instead of what it missed.

use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{proto, status};
use crate::broadcast::Broadcasts;
use crate::events::{Event, EventKind, Missed, Subscription};
use crate::targets::BroadcastFilter;
use proto::watch_response::Kind;

/// Clients that watch.
#[derive(Clone)]
pub(super) struct Watchers {
    places: Arc<Semaphore>,
    ending: CancellationToken,
}

/// One stream.
struct Watcher {
    broadcasts: Broadcasts,
    call_id: Option<String>,
    app_key: Option<String>,
    out: mpsc::Sender<Result<proto::WatchResponse, Status>>,
    _place: OwnedSemaphorePermit,
}

/// The client is gone.
struct Gone;

impl Default for Watchers {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(WATCHERS_MAX)), ending: CancellationToken::new() }
    }
}

impl Watchers {
    /// Begins a stream.
    pub(super) fn watch(
        &self,
        broadcasts: Broadcasts,
        request: proto::WatchRequest,
    ) -> Result<impl Stream<Item = Result<proto::WatchResponse, Status>> + use<>, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| status::too_many_watchers())?;
        let proto::WatchRequest { call_id, app_key, after_event_id } = request;
        if after_event_id.is_none()
            && let Some(call_id) = &call_id
            && broadcasts.broadcast(call_id).is_none()
        {
            return Err(status::no_such_broadcast());
        }
        let (out, stream) = mpsc::channel(AHEAD_MAX);
        let watcher = Watcher { broadcasts, call_id, app_key, out, _place: place };
        let ending = self.ending.clone();
        tokio::spawn(async move {
            let out = watcher.out.clone();
            tokio::select! {
                () = ending.cancelled() => {
                    // Nobody there to hear it is as good.
                    let _ = out.try_send(Err(status::stopping()));
                }
                () = out.closed() => {}
                _ = watcher.run(after_event_id) => {}
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    /// Ends all streams.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }
}

impl Watcher {
    async fn run(self, after: Option<u64>) -> Result<(), Gone> {
        let mut subscription = match after {
            Some(after) => self.broadcasts.events().subscribe_after(after),
            None => match self.snapshot().await? {
                Some(subscription) => subscription,
                None => return Ok(()),
            },
        };
        loop {
            match subscription.next().await {
                Ok(event) if self.concerns(&event) => {
                    self.send(Kind::Event((&*event).into())).await?;
                    if self.call_id.is_some() && matches!(event.kind, EventKind::Ended { .. }) {
                        return Ok(());
                    }
                }
                Ok(_) => {}
                Err(Missed { .. }) => match self.snapshot().await? {
                    Some(anew) => subscription = anew,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Sends what there is and gives the events that follow; `None`: nothing follows.
    async fn snapshot(&self) -> Result<Option<Subscription>, Gone> {
        let Some(call_id) = &self.call_id else { return self.snapshot_of_all().await.map(Some) };
        let Some(view) = self.broadcasts.broadcast(call_id) else { return Ok(None) };
        let last_event_id = view.last_event_id;
        let events = self.broadcasts.events().subscribe_after(last_event_id);
        let is_over = view.is_over;
        let broadcasts = vec![view.into()];
        self.send(Kind::Snapshot(proto::Snapshot { broadcasts, last_event_id, complete: true })).await?;
        Ok(Some(events).filter(|_| !is_over))
    }

    /// The same page by page. Events may tell again what later pages show already.
    async fn snapshot_of_all(&self) -> Result<Subscription, Gone> {
        let mut filter =
            BroadcastFilter { app_key: self.app_key.clone(), limit: PAGE, ..BroadcastFilter::default() };
        let mut page = self.broadcasts.list(&filter);
        let last_event_id = page.last_event_id;
        let events = self.broadcasts.events().subscribe_after(last_event_id);
        loop {
            let next = page.next;
            let broadcasts = page.broadcasts.into_iter().map(Into::into).collect();
            let complete = next.is_none();
            self.send(Kind::Snapshot(proto::Snapshot { broadcasts, last_event_id, complete })).await?;
            let Some(next) = next else { return Ok(events) };
            filter.after = next;
            page = self.broadcasts.list(&filter);
        }
    }

    fn concerns(&self, event: &Event) -> bool {
        self.call_id.as_ref().is_none_or(|id| event.call_id.as_ref() == Some(id))
            && self.app_key.as_ref().is_none_or(|key| event.app_key.as_ref() == Some(key))
    }

    async fn send(&self, kind: Kind) -> Result<(), Gone> {
        self.out.send(Ok(proto::WatchResponse { kind: Some(kind) })).await.map_err(|_| Gone)
    }
}

/// Clients that may watch at the same time.
const WATCHERS_MAX: usize = 256;

/// Messages that wait for a client to read.
const AHEAD_MAX: usize = 16;

/// Broadcasts in one message of a snapshot.
const PAGE: usize = 100;
