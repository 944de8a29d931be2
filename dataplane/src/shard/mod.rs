//! One shard: a thread, a ring, its broadcasts. Submit, wait, reap, hand in, carry out.
//! Takes: commands, completions, time. Gives: reports, operations. Leaves out: every protocol (`sipcast-media`).

mod commands;
mod house;
mod media;
mod targets;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use crossbeam::channel::Sender;
use sipcast_contract::latency::LatencyHistogram;
use sipcast_contract::limits::SLOT_LEN;
use sipcast_contract::options::ShardOptions;
use sipcast_contract::statistics::ShardStatistics;
use sipcast_contract::{BroadcastId, Report, ShardId, Timestamp};
use sipcast_media::pipeline::{Port, Workspace};
use sipcast_media::rtmp::target::ChunkList;
use sipcast_pool::Pool;

use crate::StartError;
use crate::admission::Admission;
use crate::broadcast::{Broadcast, HOT_LEN};
use crate::clock::Clock;
use crate::connection::{Connection, SealedBuffers};
use crate::deadlines::Deadlines;
use crate::load::Load;
use crate::mailbox::Mailbox;
use crate::outbox::Outbox;
use crate::ring::{Completion, OperationId, Ring};
use crate::rtp_ports::RtpPorts;
use crate::table::Table;
use crate::tls::{TlsClient, TlsRoots};

/// How often figures are reported and ended receives are begun again.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long targets may take to say goodbye when their broadcast is closed.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// How soon reports that found the channel full are tried again.
const OUTBOX_RETRY: Duration = Duration::from_millis(10);

/// How often a turn sends what the kernel took a send before it for; then others have their turn.
const DEPARTURES_MAX: usize = 4;

/// What an operation in the ring is for. Slots are those of the tables.
#[derive(Clone, Copy, Debug)]
pub enum Tag {
    /// A wake-up by the control plane.
    Mailbox,
    /// Datagrams on a port.
    Datagram { broadcast: u32, port: Port },
    /// A datagram out.
    Transmitted { broadcast: u32 },
    /// A connection's connect.
    Connected(u32),
    /// A connection's read.
    Received(u32),
    /// A connection's send.
    Sent(u32),
}

impl Tag {
    /// The broadcast that a datagram is for.
    const fn broadcast(self) -> Option<u32> {
        match self {
            Self::Datagram { broadcast, .. } => Some(broadcast),
            Self::Mailbox
            | Self::Transmitted { .. }
            | Self::Connected(_)
            | Self::Received(_)
            | Self::Sent(_) => None,
        }
    }
}

/// A shard. Lives in its own thread.
pub struct Shard {
    id: ShardId,
    // Packet memory goes in this order: who holds segments first, the ring before the pool.
    broadcasts: Table<Broadcast>,
    connections: Table<Connection>,
    workspace: Workspace,
    ring: Ring<Tag>,
    pool: Pool,
    by_id: HashMap<BroadcastId, u32>,
    touched: Vec<u32>,
    /// Broadcasts with a receive that ended for want of slots.
    dry: Vec<u32>,
    /// The send being put together.
    chunks: ChunkList,
    /// What TLS made of what came.
    plain: Vec<u8>,
    sealed: SealedBuffers,
    tls: TlsClient,
    /// Arrivals of the pictures whose sends are submitted with this turn.
    departing: Vec<Timestamp>,
    ports: RtpPorts,
    admission: Admission,
    deadlines: Deadlines,
    load: Load,
    clock: Clock,
    mailbox: Mailbox,
    wake: Rc<OwnedFd>,
    wake_read: OperationId,
    outbox: Outbox,
    statistics: ShardStatistics,
    housekeeping: Timestamp,
    /// When figures were last reported.
    reported: Timestamp,
    stopping: bool,
}

impl Shard {
    /// Sets up shard `id` of `shards` in the calling thread.
    ///
    /// # Errors
    /// [`StartError`] names the feature or limit that is in the way.
    pub fn new(
        id: ShardId,
        shards: u16,
        options: &ShardOptions,
        roots: &TlsRoots,
        mailbox: Mailbox,
        reports: Sender<Report>,
    ) -> Result<Self, StartError> {
        let slots = u16::try_from(options.pool_slots).unwrap_or(u16::MAX);
        let pool = Pool::new(slots, SLOT_LEN);
        let mut ring = Ring::new(pool.clone())?;
        let wake = mailbox.wake()?;
        let wake_read = ring.receive(&wake, Box::new([0; 8]), Tag::Mailbox);
        let clock = Clock::new();
        let now = clock.now();
        Ok(Self {
            id,
            broadcasts: Table::default(),
            connections: Table::default(),
            workspace: Workspace::new(pool.clone()),
            ring,
            pool,
            by_id: HashMap::new(),
            touched: Vec::new(),
            dry: Vec::new(),
            chunks: ChunkList::default(),
            plain: Vec::new(),
            sealed: SealedBuffers::default(),
            tls: TlsClient::new(roots),
            departing: Vec::new(),
            ports: RtpPorts::new(options.rtp_port_min, options.rtp_port_max, id.0, shards),
            admission: Admission::new(options.broadcasts_max),
            deadlines: Deadlines::default(),
            load: Load::new(options.gather, now),
            clock,
            mailbox,
            wake,
            wake_read,
            outbox: Outbox::new(reports),
            statistics: empty_statistics(id),
            housekeeping: now + HOUSEKEEPING,
            reported: now,
            stopping: false,
        })
    }

    /// Serves until `Command::Stop`, then reports whether everything is home.
    pub fn run(mut self) {
        while !(self.stopping && self.broadcasts.len() == 0) {
            if let Err(error) = self.turn() {
                tracing::error!(shard = %self.id, %error, "the shard's ring failed");
                break;
            }
        }
        self.end();
    }

    /// One turn: everything that came since the last one is served, then the shard waits.
    fn turn(&mut self) -> std::io::Result<()> {
        self.wait()?;
        self.clock.read();
        self.reap();
        self.expire();
        self.relieve();
        for _ in 0..DEPARTURES_MAX {
            self.serve();
            self.quench();
            self.depart()?;
            if self.touched.is_empty() {
                break;
            }
        }
        self.statistics.turns += 1;
        Ok(())
    }

    fn wait(&mut self) -> std::io::Result<()> {
        if !self.touched.is_empty() {
            // Left over by a turn that sent as often as it may.
            return self.ring.wait(1, Duration::ZERO, Some(Duration::ZERO));
        }
        let mut until = self.housekeeping;
        if let Some(deadline) = self.next_deadline() {
            until = until.min(deadline);
        }
        if self.outbox.is_waiting() {
            until = until.min(self.clock.now() + OUTBOX_RETRY);
        }
        let wait = self.load.wait();
        let now = self.clock.precise();
        // What came while the last turn was served has waited for so long already.
        let gather = wait.gather.saturating_sub(now - self.clock.now());
        // Deadlines ride with the batch: none is worth a wake of its own before it.
        self.ring.wait(wait.want, gather, Some((until - now).max(gather)))
    }

    /// The first deadline that is still wanted.
    fn next_deadline(&mut self) -> Option<Timestamp> {
        let now = self.clock.now();
        loop {
            let (at, slot) = self.deadlines.first()?;
            let broadcast = self.broadcasts.get_mut(slot);
            let (wanted, scheduled) =
                broadcast.map(|broadcast| (broadcast.next_timeout(now), &mut broadcast.scheduled)).unzip();
            if !self.deadlines.put_off(wanted.flatten(), scheduled) {
                return Some(at);
            }
        }
    }

    fn reap(&mut self) {
        self.take_completions(true);
        self.load.count(self.statistics.datagrams, self.clock.now());
        self.ring.lend(self.load.slots());
    }

    /// Takes what is there. `serves`: carries out at once what a broadcast decided, while its memory is warm.
    fn take_completions(&mut self, serves: bool) {
        // Those that come meanwhile wait, so that a peer which is quick to answer cannot hold the turn up.
        for _ in 0..self.ring.completions() {
            let Some(completion) = self.ring.reap() else { continue };
            if let Some(Tag::Datagram { broadcast, .. }) = self.ring.tag_ahead(1) {
                self.broadcasts.prefetch(broadcast, HOT_LEN);
            }
            let of = completion.tag.broadcast();
            self.complete(completion);
            if serves && self.ring.tag_ahead(0).and_then(Tag::broadcast) != of {
                self.serve();
            }
        }
    }

    fn complete(&mut self, completion: Completion<Tag>) {
        match completion.tag {
            Tag::Mailbox => self.take_commands(completion.outcome),
            Tag::Datagram { broadcast, port } => self.take_datagram(broadcast, port, completion),
            Tag::Transmitted { broadcast } => self.transmitted(broadcast),
            Tag::Connected(slot) => self.connected(slot, &completion.outcome),
            Tag::Received(slot) => self.received(slot, completion.outcome),
            Tag::Sent(slot) => self.sent(slot, completion.outcome),
        }
    }

    /// Serves the broadcasts whose deadline is over, and the shard itself once a second.
    fn expire(&mut self) {
        let now = self.clock.now();
        while let Some((at, slot)) = self.deadlines.pop(now) {
            let Some(broadcast) = self.broadcasts.get_mut(slot) else { continue };
            if broadcast.scheduled != Some(at) {
                continue; // An earlier wish has been served since.
            }
            broadcast.scheduled = None;
            broadcast.pipeline.handle_timeout(now, &mut self.workspace);
            self.touch(slot);
        }
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            self.keep_house();
        }
        self.outbox.retry();
    }

    /// Carries out what the touched broadcasts decided.
    fn serve(&mut self) {
        while let Some(slot) = self.touched.pop() {
            self.serve_broadcast(slot);
        }
    }

    /// Hands the sends of this turn to the kernel, then counts how long their pictures took. Sends complete while they
    /// are submitted, so that their memory comes back while it is warm.
    fn depart(&mut self) -> std::io::Result<()> {
        self.ring.submit()?;
        if !self.departing.is_empty() {
            let now = self.clock.precise();
            for arrival in self.departing.drain(..) {
                self.statistics.added_latency.record(now - arrival);
            }
        }
        self.take_completions(false);
        Ok(())
    }

    /// Puts a broadcast on the list of those to be served this turn.
    fn touch(&mut self, slot: u32) {
        if let Some(broadcast) = self.broadcasts.get_mut(slot)
            && !std::mem::replace(&mut broadcast.touched, true)
        {
            self.touched.push(slot);
        }
    }

    /// Lets everything go and reports what did not come home.
    fn end(mut self) {
        self.drain();
        let Self { id, broadcasts, connections, workspace, chunks, ring, pool, outbox, .. } = self;
        drop((broadcasts, connections, workspace, chunks));
        drop(ring);
        outbox.finish(Report::Stopped { shard: id, slots_missing: pool.held() });
    }

    /// Ends every operation that is left, so that the kernel holds no memory of ours.
    fn drain(&mut self) {
        let until = self.clock.read() + GOODBYE_MAX;
        self.ring.cancel(self.wake_read);
        for (slot, connection) in self.connections.iter_mut() {
            connection.close(&mut self.ring, slot);
        }
        while self.ring.operations() > 0 && self.clock.read() < until {
            if self.ring.wait(1, Duration::ZERO, Some(OUTBOX_RETRY)).is_err() {
                return; // The ring is broken: dropping it leaks what the kernel may hold.
            }
            for _ in 0..self.ring.completions() {
                self.ring.reap();
            }
        }
    }
}

fn empty_statistics(shard: ShardId) -> ShardStatistics {
    ShardStatistics {
        shard,
        turns: 0,
        datagrams: 0,
        truncated: 0,
        no_buffers: 0,
        kernel_drops: 0,
        slots_held: 0,
        slots: 0,
        payload_bytes_copied: 0,
        sealed_bytes: 0,
        cpu: Duration::ZERO,
        broadcasts_max: 0,
        broadcast_cpu: Duration::ZERO,
        added_latency: LatencyHistogram::default(),
        broadcasts: Vec::new(),
    }
}
