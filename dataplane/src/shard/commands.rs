//! What the control plane orders.

use std::net::IpAddr;

use sipcast_contract::report::Refusal;
use sipcast_contract::{BroadcastId, Command, MediaOptions, MediaWanted, Report, TargetState};

use super::{GOODBYE_MAX, Shard, Tag};
use crate::broadcast::Broadcast;
use crate::ring::Outcome;

impl Shard {
    /// The mailbox was rung: takes every command that waits.
    pub(super) fn take_commands(&mut self, outcome: Outcome) {
        while let Some(command) = self.mailbox.pop() {
            self.take_command(command);
        }
        let buffer = match outcome {
            Outcome::Received(buffer, _) => buffer,
            _ => Box::new([0; 8]),
        };
        self.wake_read = self.ring.receive(&self.wake, buffer, Tag::Mailbox);
    }

    fn take_command(&mut self, command: Command) {
        let now = self.clock.now();
        let broadcast = match command {
            Command::Open { broadcast, wanted, bind, options } => {
                return self.open(broadcast, wanted, bind, &options);
            }
            Command::Stop => return self.stop(),
            Command::SetMedia { broadcast, media } => {
                if let Some(&slot) = self.by_id.get(&broadcast)
                    && let Some(entry) = self.broadcasts.get_mut(slot)
                {
                    entry.pipeline.set_media(&media, now, &mut self.workspace);
                    entry.set_media(&media, &mut self.ring, slot);
                }
                broadcast
            }
            Command::AddTarget { broadcast, target, spec } => {
                let refused = self
                    .with(broadcast, |entry| entry.pipeline.add_target(target, *spec, now))
                    .is_some_and(|r| r.is_err());
                if refused {
                    // The control plane keeps to the limit itself; should it not, it is told that nothing runs.
                    self.outbox.send(Report::Target { broadcast, target, state: TargetState::Ended(None) });
                }
                broadcast
            }
            Command::SetAddresses { broadcast, target, addresses } => {
                self.with(broadcast, |entry| entry.pipeline.set_addresses(target, addresses, now));
                broadcast
            }
            Command::RemoveTarget { broadcast, target } => {
                self.with(broadcast, |entry| entry.pipeline.remove_target(target, now));
                broadcast
            }
            Command::SetMuted { broadcast, target, muted } => {
                self.with(broadcast, |entry| entry.pipeline.set_muted(target, muted));
                broadcast
            }
            Command::SetSound { broadcast, target, clip, looped } => {
                let is_begun = clip.is_some();
                let is_set = self.with(broadcast, |entry| entry.pipeline.set_sound(target, clip, looped));
                if is_begun && is_set == Some(false) {
                    self.outbox.send(Report::SoundEnded { broadcast, target });
                }
                broadcast
            }
            Command::PlaySound { broadcast, clip } => {
                self.with(broadcast, |entry| entry.pipeline.play_clip(clip, now));
                broadcast
            }
            Command::PlayLine { broadcast, line } => {
                self.with(broadcast, |entry| entry.pipeline.play_line(line, now));
                broadcast
            }
            Command::PlayPictures { broadcast, pictures } => {
                self.with(broadcast, |entry| entry.pipeline.play_pictures(pictures, now));
                broadcast
            }
            Command::RefreshPicture { broadcast } => {
                self.with(broadcast, |entry| entry.pipeline.refresh_picture(now));
                broadcast
            }
            Command::AddLine { broadcast, line, sender, without } => {
                if self.with(broadcast, |entry| entry.pipeline.add_line(line, sender, without)) == Some(false)
                {
                    tracing::warn!(%broadcast, "no further line: too many hear this broadcast");
                }
                broadcast
            }
            Command::RemoveLine { broadcast, line } => {
                self.with(broadcast, |entry| entry.pipeline.remove_line(line));
                broadcast
            }
            Command::Mix { broadcast } => {
                self.with(broadcast, |entry| entry.pipeline.mix(now));
                broadcast
            }
            Command::AddInput { broadcast, line, receiver } => {
                if self.with(broadcast, |entry| entry.pipeline.add_input(line, receiver)) == Some(false) {
                    tracing::warn!(%broadcast, "no further input: the mixer has as many as it may");
                }
                broadcast
            }
            Command::RemoveInput { broadcast, line } => {
                self.with(broadcast, |entry| entry.pipeline.remove_input(line));
                broadcast
            }
            Command::AddPictures { broadcast, line, sender } => {
                self.with(broadcast, |entry| entry.pipeline.add_pictures(line, sender, now));
                broadcast
            }
            Command::ShowPictures { broadcast, receiver } => {
                self.with(broadcast, |entry| entry.pipeline.show_pictures(receiver, now));
                broadcast
            }
            Command::Pull { broadcast, target, spec } => {
                self.with(broadcast, |entry| entry.pipeline.pull(target, *spec, now));
                broadcast
            }
            Command::SendDtmf { broadcast, steps } => {
                if let Some(Err(refused)) =
                    self.with(broadcast, |entry| entry.pipeline.send_dtmf(&steps, now))
                {
                    tracing::warn!(%broadcast, %refused, "digits are not sent");
                }
                broadcast
            }
            Command::Close { broadcast } => {
                self.close(broadcast);
                broadcast
            }
        };
        if let Some(&slot) = self.by_id.get(&broadcast) {
            self.touch(slot);
        }
    }

    /// Applies `change`. A command that crossed the end of its broadcast is late, not wrong.
    fn with<R>(&mut self, broadcast: BroadcastId, change: impl FnOnce(&mut Broadcast) -> R) -> Option<R> {
        let slot = *self.by_id.get(&broadcast)?;
        self.broadcasts.get_mut(slot).map(change)
    }

    fn open(&mut self, id: BroadcastId, wanted: MediaWanted, bind: IpAddr, options: &MediaOptions) {
        if self.by_id.contains_key(&id) {
            // Its first order was answered; a second one under the same name could never be closed.
            tracing::error!(broadcast = %id, "ordered twice");
            return;
        }
        let opened = if self.stopping {
            Err(Refusal::Stopping)
        } else if self.broadcasts.len() >= self.admission.limit() {
            // The control plane keeps to it with the order; this is for orders that crossed a report.
            Err(Refusal::Full)
        } else {
            Broadcast::open(id, wanted, bind, options, &mut self.ports, self.clock.now())
        };
        let report = match opened {
            Ok((mut broadcast, bound)) => {
                let slot = self.broadcasts.next_slot();
                broadcast.listen(&mut self.ring, slot);
                let slot = self.broadcasts.insert(broadcast);
                self.by_id.insert(id, slot);
                self.touch(slot);
                Report::Opened { broadcast: id, audio_port: bound.audio, video_port: bound.video }
            }
            Err(reason) => Report::Refused { broadcast: id, reason },
        };
        self.outbox.send(report);
    }

    pub(super) fn close(&mut self, broadcast: BroadcastId) {
        let now = self.clock.now();
        if let Some(&slot) = self.by_id.get(&broadcast)
            && let Some(entry) = self.broadcasts.get_mut(slot)
        {
            let deadline = now + GOODBYE_MAX;
            entry.close(&mut self.ring, now, deadline, &mut self.workspace);
            self.deadlines.want(deadline, slot, &mut entry.scheduled);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let ids: Vec<BroadcastId> = self.by_id.keys().copied().collect();
        for id in ids {
            self.close(id);
            self.touch(self.by_id[&id]);
        }
    }
}
