//! RTMP connections: what their targets decide, and what comes of it.

use std::net::SocketAddr;

use sipcast_contract::{Report, TargetId};
use sipcast_media::rtmp::target::TargetAction;

use super::Shard;
use crate::connection::{Connection, Phase};
use crate::ring::Outcome;

impl Shard {
    pub(super) fn carry_out(&mut self, slot: u32, target: TargetId, action: TargetAction) {
        match action {
            TargetAction::Connect(to) => self.connect(slot, target, to),
            TargetAction::Disconnect => self.disconnect(slot, target),
            TargetAction::StateChanged(state) => {
                if let Some(broadcast) = self.broadcasts.get_mut(slot) {
                    let broadcast = broadcast.id;
                    self.outbox.send(Report::Target { broadcast, target, state });
                }
            }
            // The pipeline has taken its part of it already.
            TargetAction::RequestKeyframe => {}
        }
    }

    fn connect(&mut self, slot: u32, target: TargetId, to: SocketAddr) {
        self.disconnect(slot, target);
        let next = self.connections.next_slot();
        match Connection::connect(&mut self.ring, next, slot, target, to) {
            Ok(connection) => {
                let next = self.connections.insert(connection);
                if let Some(broadcast) = self.broadcasts.get_mut(slot) {
                    broadcast.connections.push((target, next));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no socket for an RTMP connection");
                self.tell(slot, target, |target, now| target.handle_connect_failed(now));
            }
        }
    }

    /// Parts a target from its connection, which closes on its own.
    fn disconnect(&mut self, slot: u32, target: TargetId) {
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        let Some(at) = broadcast.connections.iter().position(|(id, _)| *id == target) else { return };
        let (_, connection_slot) = broadcast.connections.swap_remove(at);
        if let Some(connection) = self.connections.get_mut(connection_slot) {
            connection.close(&mut self.ring);
        }
        self.forget_if_over(connection_slot);
    }

    pub(super) fn connected(&mut self, slot: u32, outcome: &Outcome) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let wanted = connection.phase == Phase::Connecting;
        let (broadcast, target) = (connection.broadcast, connection.target);
        match outcome {
            Outcome::Done(_) => {
                connection.connected(&mut self.ring, slot);
                if wanted {
                    self.tell(broadcast, target, |target, now| target.handle_connected(now));
                }
            }
            _ => {
                connection.connect_failed();
                if wanted {
                    self.disconnect(broadcast, target);
                    self.tell(broadcast, target, |target, now| target.handle_connect_failed(now));
                }
            }
        }
        self.forget_if_over(slot);
    }

    pub(super) fn received(&mut self, slot: u32, outcome: Outcome) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let wanted = connection.phase == Phase::Open;
        let (broadcast, target) = (connection.broadcast, connection.target);
        match outcome {
            Outcome::Received(buffer, len) if len > 0 => {
                if wanted {
                    self.tell(broadcast, target, |target, now| target.handle_input(&buffer[..len], now));
                }
                if let Some(connection) = self.connections.get_mut(slot) {
                    connection.received(Some(buffer));
                    connection.read(&mut self.ring, slot);
                }
            }
            _ => {
                connection.received(None);
                if wanted {
                    self.lost(broadcast, target);
                }
            }
        }
        self.forget_if_over(slot);
    }

    pub(super) fn sent(&mut self, slot: u32, outcome: &Outcome) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let wanted = connection.phase == Phase::Open;
        let (broadcast, target) = (connection.broadcast, connection.target);
        let taken = if let Outcome::Done(taken) = outcome { *taken } else { 0 };
        match connection.sent(taken) {
            Some(bytes) if wanted => {
                self.tell(broadcast, target, |target, now| target.handle_sent(bytes, now));
            }
            // MSG_WAITALL comes back short only when the connection broke in between.
            None if wanted => self.lost(broadcast, target),
            _ => {}
        }
        self.forget_if_over(slot);
    }

    /// Gives every target of a broadcast that may send its next vectored send.
    pub(super) fn flush(&mut self, slot: u32) {
        let now = self.clock.now();
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        for &(id, connection_slot) in &broadcast.connections {
            let Some(connection) = self.connections.get_mut(connection_slot) else { continue };
            let Some(target) = broadcast.pipeline.target_mut(id) else { continue };
            if !connection.may_send() {
                continue;
            }
            target.fill_send(&mut self.workspace.arena, &mut self.chunks, now);
            if self.chunks.bytes > 0 {
                self.departing.append(&mut self.chunks.arrivals);
                connection.send(&mut self.ring, connection_slot, &mut self.chunks);
            }
            self.chunks.clear();
        }
    }

    /// The connection broke under its target.
    fn lost(&mut self, broadcast: u32, target: TargetId) {
        self.disconnect(broadcast, target);
        self.tell(broadcast, target, |target, now| target.handle_disconnected(now));
    }

    fn tell(
        &mut self,
        slot: u32,
        target: TargetId,
        input: impl FnOnce(&mut sipcast_media::rtmp::target::Target, sipcast_contract::Timestamp),
    ) {
        let now = self.clock.now();
        if let Some(broadcast) = self.broadcasts.get_mut(slot) {
            if let Some(target) = broadcast.pipeline.target_mut(target) {
                input(target, now);
            }
            self.touch(slot);
        }
    }

    fn forget_if_over(&mut self, slot: u32) {
        if self.connections.get_mut(slot).is_some_and(|connection| connection.is_over()) {
            self.connections.remove(slot);
        }
    }
}
