//! Once a second: figures, receives that ended, goodbyes that take too long.

use std::time::Duration;

use sipcast_contract::Report;

use super::Shard;
use crate::ring::thread;

impl Shard {
    pub(super) fn keep_house(&mut self) {
        let now = self.clock.now();
        for slot in self.broadcasts.indices() {
            let Some(broadcast) = self.broadcasts.get_mut(slot) else { continue };
            broadcast.listen(&mut self.ring, slot);
            if broadcast.closing.is_some_and(|deadline| now >= deadline) {
                broadcast.stop_listening(&mut self.ring);
                self.cut(slot);
            }
        }
        self.report();
    }

    /// Closes the connections of a broadcast whose targets did not say goodbye in time.
    pub(super) fn cut(&mut self, slot: u32) {
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        for (_, connection_slot) in broadcast.connections.drain(..) {
            if let Some(connection) = self.connections.get_mut(connection_slot) {
                connection.close(&mut self.ring, connection_slot);
            }
        }
        self.touch(slot);
    }

    fn report(&mut self) {
        let now = self.clock.now();
        let elapsed = now - std::mem::replace(&mut self.reported, now);
        let cpu = thread::cpu_time();
        let active = self
            .broadcasts
            .iter_mut()
            .filter_map(|(_, broadcast)| std::mem::take(&mut broadcast.had_media).then_some(()));
        self.admission.measure(cpu.saturating_sub(self.statistics.cpu), elapsed, active.count());
        let statistics = &mut self.statistics;
        statistics.no_buffers = self.ring.no_buffers();
        statistics.slots = self.pool.slots();
        statistics.slots_held = self.pool.held();
        statistics.payload_bytes_copied = self.pool.bytes_copied();
        statistics.cpu = cpu;
        statistics.broadcasts_max = u32::try_from(self.admission.limit()).unwrap_or(u32::MAX);
        statistics.broadcast_cpu = Duration::from_secs_f64(self.admission.cost());
        let mut report = statistics.clone();
        report.broadcasts = self
            .broadcasts
            .iter_mut()
            .map(|(_, broadcast)| (broadcast.id, broadcast.pipeline.statistics()))
            .collect();
        self.outbox.send(Report::Statistics(Box::new(report)));
    }
}
