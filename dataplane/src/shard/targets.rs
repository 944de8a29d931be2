//! RTMP connections: what their targets decide, and what comes of it.

use std::net::SocketAddr;

use sipcast_contract::report::TargetFault;
use sipcast_contract::{Report, TargetId, TlsTrust};
use sipcast_media::rtmp::target::TargetAction;

use super::Shard;
use crate::connection::{Connection, Phase, Sent};
use crate::ring::Outcome;
use crate::tls::Session;

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
        let tls = match self.begin_tls(slot, target) {
            Ok(tls) => tls,
            Err(fault) => return self.tell(slot, target, |target, now| target.handle_refused(fault, now)),
        };
        let next = self.connections.next_slot();
        match Connection::connect(&mut self.ring, next, slot, target, to, tls) {
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

    /// The TLS session for a target whose URL wants one.
    fn begin_tls(&mut self, slot: u32, target: TargetId) -> Result<Option<Session>, TargetFault> {
        let broadcast = self.broadcasts.get_mut(slot);
        match broadcast.and_then(|broadcast| broadcast.pipeline.target_mut(target)?.tls()) {
            Some((host, trust)) => {
                if trust == TlsTrust::AcceptAny {
                    tracing::warn!(host, %target, "this RTMP server's certificate is not checked");
                }
                Session::new(self.tls.settings(trust), host).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Parts a target from its connection, which closes on its own.
    fn disconnect(&mut self, slot: u32, target: TargetId) {
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        let Some(at) = broadcast.connections.iter().position(|(id, _)| *id == target) else { return };
        let (_, connection_slot) = broadcast.connections.swap_remove(at);
        if let Some(connection) = self.connections.get_mut(connection_slot) {
            connection.close(&mut self.ring, connection_slot);
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
                let is_open = connection.phase == Phase::Open;
                if wanted {
                    self.tell(broadcast, target, |target, now| match is_open {
                        true => target.handle_connected(now),
                        false => target.handle_securing(now),
                    });
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
        let wanted = matches!(connection.phase, Phase::Securing | Phase::Open);
        let is_tls = connection.is_tls();
        let (broadcast, target) = (connection.broadcast, connection.target);
        match outcome {
            Outcome::Received(buffer, len) if len > 0 => {
                if wanted && is_tls {
                    self.received_sealed(slot, &buffer[..len]);
                } else if wanted {
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
                    self.lost(slot);
                }
            }
        }
        self.forget_if_over(slot);
    }

    /// Hands on what TLS makes of bytes that came.
    fn received_sealed(&mut self, slot: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let (broadcast, target) = (connection.broadcast, connection.target);
        let mut plain = std::mem::take(&mut self.plain);
        match connection.decrypt(bytes, &mut plain) {
            Ok(heard) => {
                connection.speak(&mut self.ring, slot);
                self.tell(broadcast, target, |target, now| {
                    target.handle_tls_answer();
                    if heard.opened {
                        target.handle_connected(now);
                    }
                    if !plain.is_empty() {
                        target.handle_input(&plain, now);
                    }
                });
                if heard.closed {
                    self.lost(slot);
                }
            }
            Err(fault) => self.broken(slot, fault),
        }
        plain.clear();
        self.plain = plain;
    }

    pub(super) fn sent(&mut self, slot: u32, outcome: Outcome) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let wanted = matches!(connection.phase, Phase::Securing | Phase::Open);
        let (broadcast, target) = (connection.broadcast, connection.target);
        let taken = match outcome {
            Outcome::Done(taken) => taken,
            Outcome::SentBytes(bytes, taken) => {
                self.sealed.put(bytes);
                taken
            }
            _ => 0,
        };
        match connection.sent(taken) {
            Sent::Whole(bytes) if wanted => {
                connection.speak(&mut self.ring, slot);
                if let Some(bytes) = bytes {
                    self.tell_sent(broadcast, target, bytes);
                } else {
                    // The target waited for TLS to have spoken.
                    self.tell(broadcast, target, |_, _| {});
                }
            }
            // MSG_WAITALL comes back short only when the connection broke in between.
            Sent::Cut if wanted => self.lost(slot),
            _ => {}
        }
        self.forget_if_over(slot);
    }

    /// Gives every target of a broadcast that may send its next vectored send.
    pub(super) fn flush(&mut self, slot: u32) {
        let now = self.clock.now();
        let mut broken = None;
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        for &(id, connection_slot) in &broadcast.connections {
            let Some(connection) = self.connections.get_mut(connection_slot) else { continue };
            if !connection.may_send() {
                continue;
            }
            let Some(target) = broadcast.pipeline.sending_target_mut(id) else { continue };
            target.fill_send(&mut self.workspace.arena, &mut self.chunks, now);
            if self.chunks.bytes > 0 {
                self.departing.append(&mut self.chunks.arrivals);
                if connection.is_tls() {
                    self.statistics.sealed_bytes += self.chunks.bytes as u64;
                }
                let (ring, sealed) = (&mut self.ring, &mut self.sealed);
                if let Err(fault) = connection.send(ring, connection_slot, &mut self.chunks, sealed) {
                    broken = Some((connection_slot, fault));
                }
            }
            self.chunks.clear();
        }
        // Keys that are used up, after days: one a turn is enough.
        if let Some((connection_slot, fault)) = broken {
            self.broken(connection_slot, fault);
        }
    }

    /// The connection broke under its target.
    fn lost(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let (broadcast, target) = (connection.broadcast, connection.target);
        match connection.fault_when_lost() {
            Some(fault) => self.broken(slot, fault),
            None => {
                self.disconnect(broadcast, target);
                self.tell(broadcast, target, |target, now| target.handle_disconnected(now));
            }
        }
    }

    /// TLS failed under its target.
    fn broken(&mut self, slot: u32, fault: TargetFault) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let (broadcast, target) = (connection.broadcast, connection.target);
        self.disconnect(broadcast, target);
        self.tell(broadcast, target, |target, now| target.handle_refused(fault, now));
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

    /// A send of `target` is whole.
    fn tell_sent(&mut self, slot: u32, target: TargetId, bytes: usize) {
        let now = self.clock.now();
        let Some(broadcast) = self.broadcasts.get_mut(slot) else { return };
        if broadcast.pipeline.handle_sent(target, bytes, now) {
            self.touch(slot);
        }
    }

    fn forget_if_over(&mut self, slot: u32) {
        if self.connections.get_mut(slot).is_some_and(|connection| connection.is_over()) {
            self.connections.remove(slot);
        }
    }
}
