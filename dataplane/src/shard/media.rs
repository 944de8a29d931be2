//! Datagrams in and out, and what the pipelines decide about them.

use sipcast_contract::Report;
use sipcast_media::pipeline::{Event, Port};

use super::{Shard, Tag};
use crate::ring::{Completion, Datagram, Outcome};

impl Shard {
    pub(super) fn take_datagram(&mut self, slot: u32, port: Port, completion: Completion<Tag>) {
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        if let Some(dropped) = completion.dropped_by_kernel {
            self.statistics.kernel_drops += u64::from(broadcast.count_dropped(port, dropped));
        }
        let mut again = true;
        match completion.outcome {
            Outcome::Datagram(Datagram { from, payload, kernel_time }) => {
                self.statistics.datagrams += 1;
                let arrival = self.clock.arrival(kernel_time);
                broadcast.pipeline.handle_datagram(port, from, payload, arrival, &mut self.workspace);
            }
            Outcome::Truncated => self.statistics.truncated += 1,
            // Other errors are tried again by the housekeeping, so that a broken socket cannot spin the shard.
            Outcome::Failed(errno) if errno != libc::ENOBUFS => again = false,
            // Without a slot (ENOBUFS) the datagrams wait in the socket.
            Outcome::Failed(_) | Outcome::Done(_) | Outcome::Received(..) => {}
        }
        if completion.ended {
            broadcast.listen_ended(port);
            broadcast.wants_listening |= again;
        }
        self.touch(slot);
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
        while let Some(transmit) = broadcast.pipeline.poll_transmit(&mut self.workspace) {
            if let Some(socket) = broadcast.transmit_on(transmit.port) {
                let tag = Tag::Transmitted { broadcast: slot };
                self.ring.send_datagram(socket, transmit.to, transmit.payload, tag);
            }
        }
        self.carry_out_events(slot);
        self.flush(slot);
        // A goodbye that found nothing to wait for is decided while flushing.
        self.carry_out_events(slot);
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
                Event::DtmfSent => Report::DtmfSent { broadcast: id },
                Event::Target(target, action) => {
                    self.carry_out(slot, target, action);
                    continue;
                }
            };
            self.outbox.send(report);
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
        // Past the deadline the housekeeping cuts what is left.
        let closing = broadcast.closing.filter(|deadline| *deadline > self.clock.now());
        if let Some(at) = [broadcast.pipeline.next_timeout(), closing].into_iter().flatten().min() {
            self.deadlines.want(at, slot, &mut broadcast.scheduled);
        }
    }
}
