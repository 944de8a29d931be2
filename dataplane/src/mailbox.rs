//! A shard's end of its mailbox: the queue of commands and the eventfd that wakes the ring.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use sipcast_contract::limits::MAILBOX_COMMANDS_MAX;
use sipcast_contract::{Command, CommandSender};

use crate::ring::wake;

/// Commands waiting for one shard.
pub struct Mailbox {
    queue: Arc<ArrayQueue<Command>>,
    wake: OwnedFd,
}

/// A mailbox and the sender that fills it.
///
/// # Errors
/// When the process has no descriptor left.
pub fn mailbox() -> io::Result<(CommandSender, Mailbox)> {
    let queue = Arc::new(ArrayQueue::new(MAILBOX_COMMANDS_MAX));
    let wake = wake::eventfd()?;
    let ours = wake.try_clone()?.into();
    let sender = CommandSender::new(queue.clone(), Arc::new(wake));
    Ok((sender, Mailbox { queue, wake: ours }))
}

impl Mailbox {
    /// The eventfd for the ring to read.
    pub fn wake(&self) -> io::Result<Rc<OwnedFd>> {
        self.wake.try_clone().map(Rc::new)
    }

    /// The next command.
    pub fn pop(&self) -> Option<Command> {
        self.queue.pop()
    }
}

#[cfg(test)]
mod tests {
    use sipcast_contract::{BroadcastId, MailboxFull};

    use super::*;

    #[test]
    fn a_full_mailbox_refuses_and_keeps_order() {
        let (sender, mailbox) = mailbox().expect("descriptors");
        for id in 0..MAILBOX_COMMANDS_MAX as u64 {
            sender.send(Command::Close { broadcast: BroadcastId(id) }).expect("room");
        }
        assert_eq!(sender.send(Command::Stop), Err(MailboxFull));
        for id in 0..MAILBOX_COMMANDS_MAX as u64 {
            assert!(matches!(mailbox.pop(), Some(Command::Close { broadcast: BroadcastId(b) }) if b == id));
        }
        assert!(mailbox.pop().is_none());
    }
}
