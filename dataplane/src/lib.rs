//! The dataplane's driver: shards, each one thread with one io_uring, which carry out what the sans-IO media path
//! decides. It owns every system call of the packet path and decides nothing about protocols.

#![deny(unsafe_op_in_unsafe_fn)]

mod admission;
mod broadcast;
mod clock;
mod connection;
mod deadlines;
mod load;
mod mailbox;
mod outbox;
pub mod ring;
mod rtp_ports;
mod shard;
mod table;
pub mod tls;

use std::io;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender};
use sipcast_contract::cores::ShardCores;
use sipcast_contract::limits::MAILBOX_REPORTS_MAX;
use sipcast_contract::options::ShardOptions;
use sipcast_contract::{Command, CommandSender, Report, ShardId};

pub use ring::SetupError;
use ring::thread::{allowed_cores, run_on};
use shard::Shard;
pub use sipcast_media::audio::encode_clip;
pub use tls::TlsRoots;

/// The running shards.
#[derive(Debug)]
pub struct Dataplane {
    senders: Vec<CommandSender>,
    reports: Receiver<Report>,
    threads: Vec<JoinHandle<()>>,
}

/// Why the dataplane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel refused a ring.
    #[error(transparent)]
    Ring(#[from] SetupError),
    /// No thread or descriptor.
    #[error("a shard cannot be started: {0}")]
    Resources(#[from] io::Error),
    /// The shard has no right to its core, or there is no such core.
    #[error("media.cores: shard {shard} cannot run on core {core}: {source}; this process may use {allowed}")]
    Core {
        /// The shard.
        shard: ShardId,
        /// What it was given.
        core: u16,
        /// What the kernel said.
        source: io::Error,
        /// Cores that can be given.
        allowed: ShardCores,
    },
    /// The shard's thread ended before it was ready.
    #[error("a shard ended while it started")]
    Lost,
}

impl Dataplane {
    /// Starts `shards` shards, each with its share of the RTP port range, and waits until all are ready. Servers of
    /// `rtmps://` targets are checked against `roots`.
    ///
    /// # Errors
    /// [`StartError`] names the kernel feature, limit or setting that is in the way.
    pub fn start(shards: u16, options: &ShardOptions, roots: &TlsRoots) -> Result<Self, StartError> {
        let (report_sender, reports) = crossbeam::channel::bounded(MAILBOX_REPORTS_MAX);
        let mut dataplane = Self { senders: Vec::new(), reports, threads: Vec::new() };
        let cores = options.cores.assign(shards.max(1), &allowed_cores());
        for (index, core) in (0..shards.max(1)).zip(cores) {
            let (options, roots) = (options.clone(), roots.clone());
            match start_shard(ShardId(index), shards.max(1), core, options, roots, report_sender.clone()) {
                Ok((sender, thread)) => {
                    dataplane.senders.push(sender);
                    dataplane.threads.push(thread);
                }
                Err(error) => {
                    dataplane.stop();
                    return Err(error);
                }
            }
        }
        Ok(dataplane)
    }

    /// The way to each shard.
    pub fn senders(&self) -> Vec<CommandSender> {
        self.senders.clone()
    }

    /// Reports of all shards.
    pub fn reports(&self) -> Receiver<Report> {
        self.reports.clone()
    }

    /// Ends all shards and waits for their threads: broadcasts are closed, every slot is home.
    pub fn stop(self) {
        for (sender, thread) in self.senders.iter().zip(&self.threads) {
            // A full mailbox means that the shard is behind: it empties it each turn, unless it is gone.
            while sender.send(Command::Stop).is_err() && !thread.is_finished() {
                std::thread::yield_now();
            }
        }
        for thread in self.threads {
            // A shard that panicked has said so on stderr; the others still end in order.
            let _ = thread.join();
        }
    }
}

fn start_shard(
    id: ShardId,
    shards: u16,
    core: Option<u16>,
    options: ShardOptions,
    roots: TlsRoots,
    reports: Sender<Report>,
) -> Result<(CommandSender, JoinHandle<()>), StartError> {
    let (sender, mailbox) = mailbox::mailbox()?;
    let (ready_sender, ready) = crossbeam::channel::bounded(1);
    let thread = std::thread::Builder::new().name(format!("shard-{id}")).spawn(move || {
        let refused = core.and_then(|core| Some((core, run_on(core).err()?)));
        // A core that nobody asked for is done without: sandboxes forbid the choice.
        if let Some((core, source)) = refused.filter(|_| options.cores != ShardCores::Auto) {
            let allowed = ShardCores::These(allowed_cores());
            let _ = ready_sender.send(Err(StartError::Core { shard: id, core, source, allowed }));
            return;
        }
        // The ring belongs to the thread that makes it (IORING_SETUP_SINGLE_ISSUER).
        match Shard::new(id, shards, &options, &roots, mailbox, reports) {
            Ok(shard) => {
                let _ = ready_sender.send(Ok(()));
                shard.run();
            }
            Err(error) => {
                let _ = ready_sender.send(Err(error));
            }
        }
    })?;
    ready.recv().map_err(|_| StartError::Lost)??;
    Ok((sender, thread))
}
