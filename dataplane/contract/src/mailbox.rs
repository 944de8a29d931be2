//! The way from the control plane to one shard: a bounded queue and an eventfd that wakes the shard.
//! The other way is a bounded channel of reports, read by a thread of the control plane.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::Command;

/// Sends commands to one shard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CommandSender {
    queue: Arc<ArrayQueue<Command>>,
    wake: Arc<File>,
}

/// The shard has [`crate::limits::MAILBOX_COMMANDS_MAX`] commands waiting, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxFull;

impl std::fmt::Display for MailboxFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the shard's mailbox is full")
    }
}

impl std::error::Error for MailboxFull {}

impl CommandSender {
    /// Joins the shard's queue and its eventfd.
    pub fn new(queue: Arc<ArrayQueue<Command>>, wake: Arc<File>) -> Self {
        Self { queue, wake }
    }

    /// Queues `command` and wakes the shard.
    ///
    /// # Errors
    /// [`MailboxFull`]: nothing was queued.
    pub fn send(&self, command: Command) -> Result<(), MailboxFull> {
        self.queue.push(command).map_err(|_| MailboxFull)?;
        // An eventfd write fails only when its counter is full: then a wake-up is pending anyway.
        let _ = (&*self.wake).write(&1u64.to_ne_bytes());
        Ok(())
    }
}
