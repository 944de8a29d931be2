//! The origin: listens for RTMP, starts a task for each connection, stops them all.
//! Takes: options. Gives: a router for HTTP playback, statistics. Leaves out: everything about streams.
//!
//! RTMP lives on a thread of its own: sessions are built for shards and stay on one thread, and a busy control
//! plane does not delay publishers. HTTP players run wherever the router is mounted.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio_util::task::TaskTracker;

use crate::options::OriginOptions;
use crate::registry::Registry;
use crate::statistics::{OriginStatistics, StreamStatistics};
use crate::stream_name::StreamName;
use crate::{connection, http};

/// How long to wait when the system has no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running origin. Dropping it stops it without waiting; [`Origin::shut_down`] waits.
#[derive(Debug)]
pub struct Origin {
    registry: Arc<Registry>,
    tasks: TaskTracker,
    rtmp_address: SocketAddr,
}

/// The origin cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken or not ours.
    #[error("cannot listen for RTMP on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gives no thread or no event queue.
    #[error("cannot start the thread of the RTMP origin: {0}")]
    Thread(#[source] std::io::Error),
}

impl Origin {
    /// Listens and begins to serve. Needs no runtime; does not block.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(options: OriginOptions) -> Result<Self, BindError> {
        let address = options.rtmp_bind;
        let listen_error = |source| BindError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let rtmp_address = listener.local_addr().map_err(listen_error)?;
        let registry = Arc::new(Registry::new(options));
        let tasks = TaskTracker::new();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BindError::Thread)?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener).map_err(BindError::Thread)?
        };
        let accept = tasks.track_future(accept(listener, registry.clone(), tasks.clone()));
        let all_closed = tasks.clone();
        let serve = move || {
            LocalSet::new().block_on(&runtime, async move {
                accept.await;
                all_closed.close();
                all_closed.wait().await;
            });
        };
        std::thread::Builder::new().name("rtmp-origin".to_owned()).spawn(serve).map_err(BindError::Thread)?;
        Ok(Self { registry, tasks, rtmp_address })
    }

    /// Where it listens for RTMP, with the port that it got.
    pub const fn rtmp_address(&self) -> SocketAddr {
        self.rtmp_address
    }

    /// Routes for HTTP-FLV and WebSocket-FLV players: `/{app}/{stream}.flv`. It takes every path of two segments
    /// that no other route of the same router names.
    pub fn router(&self) -> Router {
        http::router(self.registry.clone())
    }

    /// Counters and gauges of this moment.
    pub fn statistics(&self) -> OriginStatistics {
        self.registry.statistics()
    }

    /// Counters of one stream; `None` when it is not known (any more).
    pub fn stream_statistics(&self, name: &StreamName) -> Option<StreamStatistics> {
        Some(self.registry.stream(name)?.statistics())
    }

    /// Stops listening, ends players and publishers, and waits until all connections are closed or `within` has
    /// passed; says whether all were closed.
    pub async fn shut_down(&self, within: Duration) -> bool {
        self.stop();
        self.tasks.close();
        tokio::time::timeout(within, self.tasks.wait()).await.is_ok()
    }

    fn stop(&self) {
        self.registry.stop.cancel();
        self.registry.end_all();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: TcpListener, registry: Arc<Registry>, tasks: TaskTracker) {
    let seeds = RandomState::new();
    let mut count = 0_u64;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = registry.stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                // Beyond the limit the socket is closed by being dropped.
                let Some(place) = registry.connect() else { continue };
                count += 1;
                let (registry, seed) = (registry.clone(), seeds.hash_one(count));
                tasks.spawn_local(async move {
                    connection::serve(socket, peer, registry, seed).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an RTMP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
