//! Datagrams in and out, and what the pipelines decide about them.

use sipcast_contract::Report;
use sipcast_media::pipeline::{Event, Port};

use super::{Shard, Tag};
use crate::ring::{Completion, Datagram, Outcome};

/// Segments from which on a queue is worth dropping when the pool is short: a picture or two wait even for a
/// server that keeps up.
const SHED_MIN: usize = 64;

impl Shard {
    pub(super) fn take_datagram(&mut self, slot: u32, port: Port, completion: Completion<Tag>) {
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        if let Some(dropped) = completion.dropped_by_kernel {
            self.statistics.kernel_drops += u64::from(broadcast.count_dropped(port, dropped));
        }
        let (mut again, mut is_dry) = (true, false);
        let mut waits_until = None;
        match completion.outcome {
            Outcome::Datagram(Datagram { from, payload, kernel_time }) => {
                self.statistics.datagrams += 1;
                broadcast.had_media = true;
                let arrival = self.clock.arrival(kernel_time);
                waits_until =
                    broadcast.pipeline.handle_datagram(port, from, payload, arrival, &mut self.workspace);
            }
            Outcome::Truncated => self.statistics.truncated += 1,
            // Other errors are tried again by the housekeeping, so that a broken socket cannot spin the shard.
            // Without a slot the datagrams wait in the socket.
            Outcome::Failed(libc::ENOBUFS) => is_dry = true,
            Outcome::Failed(_) => again = false,
            Outcome::Done(_) | Outcome::Received(..) | Outcome::SentBytes(..) => {}
        }
        if completion.ended {
            broadcast.listen_ended(port);
            if is_dry && !std::mem::replace(&mut broadcast.is_dry, true) {
                self.dry.push(slot);
            }
            broadcast.wants_listening |= again && !is_dry;
        }
        match waits_until.filter(|_| !completion.ended) {
            Some(until) => self.deadlines.want(until, slot, &mut broadcast.scheduled),
            None => self.touch(slot),
        }
    }

    pub(super) fn transmitted(&mut self, slot: u32) {
        // A datagram that could not be sent is like one lost on the way: RTCP and DTMF repeat themselves.
        if let Some(broadcast) = self.broadcasts.get_mut(slot) {
            broadcast.transmitted();
            self.touch(slot);
        }
    }

    /// Carries out what one broadcast decided, and lets it go when it is over.
    pub(super) fn serve_broadcast(&mut self, slot: u32) {
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        broadcast.touched = false;
        if std::mem::take(&mut broadcast.wants_listening) {
            broadcast.listen(&mut self.ring, slot);
        }
        broadcast.pipeline.serve_studio(self.clock.now(), &mut self.workspace);
        while let Some(transmit) = broadcast.pipeline.poll_transmit(&mut self.workspace) {
            if let Some(socket) = broadcast.transmit_on(transmit.port) {
                let tag = Tag::Transmitted { broadcast: slot };
                self.ring.send_datagram(socket, transmit.to, transmit.payload, tag);
            }
        }
        self.carry_out_events(slot);
        if self.broadcasts.get_mut(slot).is_some_and(|broadcast| broadcast.pipeline.take_send_due()) {
            self.flush(slot);
            // A goodbye that found nothing to wait for is decided while flushing.
            self.carry_out_events(slot);
        }
        self.settle(slot);
    }

    fn carry_out_events(&mut self, slot: u32) {
        while let Some(broadcast) = self.broadcasts.get_mut(slot)
            && let Some(event) = broadcast.pipeline.poll_event()
        {
            let id = broadcast.id;
            let report = match event {
                Event::MediaStarted => Report::MediaStarted { broadcast: id },
                Event::PictureSize { width, height } => Report::PictureSize { broadcast: id, width, height },
                Event::KeyframeOverdue => Report::KeyframeOverdue { broadcast: id },
                Event::SoundEnded(target) => Report::SoundEnded { broadcast: id, target },
                Event::PlayEnded => Report::PlayEnded { broadcast: id },
                Event::DtmfSent => Report::DtmfSent { broadcast: id },
                Event::Target(target, action) => {
                    self.carry_out(slot, target, action);
                    continue;
                }
            };
            self.outbox.send(report);
        }
    }

    /// Listens again where slots were missing, once the kernel has some. Slots come home during turns only, so
    /// this need not be asked in between.
    pub(super) fn quench(&mut self) {
        if self.dry.is_empty() || !self.ring.may_receive() {
            return;
        }
        while let Some(slot) = self.dry.pop() {
            // Should the slot hold another broadcast by now, that one listens already.
            if let Some(broadcast) = self.broadcasts.get_mut(slot) {
                broadcast.is_dry = false;
                broadcast.listen(&mut self.ring, slot);
            }
        }
    }

    /// Drops the longest queues to the next IDR picture while more than three quarters of what the kernel leaves
    /// of the pool are held: one slow server must not take the slots that the other broadcasts need.
    pub(super) fn relieve(&mut self) {
        let held_max = (self.pool.slots() - self.ring.slots_for_kernel()) / 4 * 3;
        while self.pool.held() > held_max {
            let queues = self.broadcasts.iter_mut().filter_map(|(slot, broadcast)| {
                let (target, segments) = broadcast.pipeline.longest_queue()?;
                Some((segments, slot, target))
            });
            let longest = queues.max_by_key(|(segments, ..)| *segments);
            let Some((_, slot, target)) = longest.filter(|(segments, ..)| *segments >= SHED_MIN) else {
                return;
            };
            if let Some(target) =
                self.broadcasts.get_mut(slot).and_then(|broadcast| broadcast.pipeline.target_mut(target))
            {
                target.shed();
            }
            self.touch(slot);
        }
    }

    /// Arranges the next deadline of a broadcast, or lets it go when it is over.
    fn settle(&mut self, slot: u32) {
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        if broadcast.is_over() {
            let id = broadcast.id;
            let statistics = Box::new(broadcast.pipeline.statistics());
            self.broadcasts.remove(slot);
            self.by_id.remove(&id);
            self.outbox.send(Report::Closed { broadcast: id, statistics });
            return;
        }
        // Past the end of its time the housekeeping cuts what is left.
        if let Some(at) = broadcast.next_timeout(self.clock.now()) {
            self.deadlines.want(at, slot, &mut broadcast.scheduled);
        }
    }
}
