//! One RTP stream in receive: its SSRC, order, figures (RFC 3550 A.1).
//! Takes: packets of agreed payload types from the latched source, sender reports, time.
//! Gives: packets in order with unwrapped RTP time, losses, restarts. Leaves out: what is counted of one run (`run`),
//! which source is heard (`latch`), RTCP bytes (`rtcp`), what a loss means (`h264`, `audio`).

mod run;

use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::statistics::StreamStatistics;

use super::RtpPacket;
use super::jitter_buffer::{JitterBuffer, Popped, Untimely};
use super::retransmission::{NackEntries, RetransmissionRequest};
use super::rtcp::{NtpTime, ReportBlock, SenderReport};
use super::sequence::{ExtendedSequence, Place, UnwrappedTime};
use run::{Run, transit};

/// Receives one RTP stream. Poll until `None` after each push and at each timeout.
///
/// | | of the current run | other SSRC, or a jump |
/// | --- | --- | --- |
/// | no packet yet | begins the run | |
/// | running | into the jitter buffer; clears the candidate | held as candidate |
/// | candidate held | same | next in sequence: old run flushed, `Restarted`, both delivered; else new candidate |
/// | silent > 500 ms | as running | other SSRC: taken at once; jump: as above |
/// | restarted < 1 s ago | as running | candidate only, unless the current run falls silent |
#[derive(Debug)]
pub struct Receiver {
    clock_rate_hz: u32,
    reorder_wait: Duration,
    run: Option<Run>,
    /// First packet of what may become the next run.
    candidate: Option<RtpPacket>,
    /// The next run's first packets, while the current one is flushed.
    successor: Option<(RtpPacket, Option<RtpPacket>)>,
    restarted_at: Option<Timestamp>,
    sender_report: Option<StoredReport>,
    retransmission: RetransmissionRequest,
    statistics: StreamStatistics,
}

/// What [`Receiver::poll`] gives.
#[derive(Debug)]
pub enum Received {
    /// The next packet in order.
    Packet {
        /// The packet.
        packet: RtpPacket,
        /// Its RTP time, which does not wrap; comparable until the next `Restarted`.
        timestamp: i64,
    },
    /// Packets were given up between the last packet and the next one.
    Lost {
        /// How many.
        packets: u32,
    },
    /// What follows has a new SSRC or a new run of sequence numbers: RTP times are not comparable.
    Restarted,
}

/// Why a packet was not taken. Counted inside; the caller need not act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It came twice.
    #[error("duplicate packet")]
    Duplicate,
    /// It came after its place was given up.
    #[error("late packet")]
    Late,
    /// A first packet of another SSRC or run: held until the next in sequence confirms it.
    #[error("unconfirmed SSRC or sequence jump")]
    Probation,
    /// The caller did not poll until `None`: our bug.
    #[error("receiver was not polled")]
    Undrained,
}

/// The sender's wall clock against its RTP clock (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClock {
    /// The sender's wall time ...
    pub ntp: NtpTime,
    /// ... at this unwrapped RTP time of its stream.
    pub timestamp: i64,
}

#[derive(Clone, Copy, Debug)]
struct StoredReport {
    report: SenderReport,
    /// Its RTP timestamp unwrapped; unknown while the stream has not begun.
    timestamp: Option<i64>,
    arrival: Timestamp,
}

impl Receiver {
    /// A receiver for a payload clock of `clock_rate_hz` (at least 1 is used) that holds a gap open for
    /// `reorder_wait`.
    pub fn new(clock_rate_hz: u32, reorder_wait: Duration) -> Self {
        Self {
            clock_rate_hz: clock_rate_hz.max(1),
            reorder_wait,
            run: None,
            candidate: None,
            successor: None,
            restarted_at: None,
            sender_report: None,
            retransmission: RetransmissionRequest::new(),
            statistics: StreamStatistics::default(),
        }
    }

    /// The payload clock of the packets that follow: codecs of one call may have different ones (RFC 7160). Jitter is
    /// carried over; the sender's clock is known again with its next report.
    pub fn set_clock_rate(&mut self, clock_rate_hz: u32) {
        let clock_rate_hz = clock_rate_hz.max(1);
        if clock_rate_hz == self.clock_rate_hz {
            return;
        }
        if let Some(run) = &mut self.run {
            run.change_clock(self.clock_rate_hz, clock_rate_hz);
            if let Some(stored) = &mut self.sender_report {
                stored.timestamp = None;
            }
        }
        self.clock_rate_hz = clock_rate_hz;
    }

    /// Takes one packet.
    ///
    /// # Errors
    /// [`Rejected`] when it is not taken, or not yet.
    pub fn push(&mut self, packet: RtpPacket, now: Timestamp) -> Result<(), Rejected> {
        if self.successor.is_some() {
            return Err(Rejected::Undrained);
        }
        let Some(run) = &self.run else {
            self.begin(packet);
            return Ok(());
        };
        let place = match packet.ssrc == run.ssrc {
            true => run.sequence.place(packet.sequence_number),
            false => Place::Jump,
        };
        match place {
            Place::Ahead(extended) => self.take(extended, packet, false),
            Place::Behind(extended) => self.take(extended, packet, true),
            Place::Jump => self.consider(packet, now),
        }
    }

    /// The next packet, loss or restart.
    pub fn poll(&mut self, now: Timestamp) -> Option<Received> {
        let flush = self.successor.is_some();
        let run = self.run.as_mut()?;
        match run.buffer.pop(now, flush) {
            Some(Popped::Packet(packet)) => {
                let timestamp = run.time.unwrap(packet.timestamp);
                Some(Received::Packet { packet, timestamp })
            }
            Some(Popped::Lost(packets)) => {
                self.statistics.lost += packets;
                self.retransmission.handle_given_up(run.buffer.next());
                run.buffer.set_reorder_wait(self.retransmission.wait(self.reorder_wait));
                Some(Received::Lost { packets: u32::try_from(packets).unwrap_or(u32::MAX) })
            }
            None => {
                let (first, second) = self.successor.take()?;
                self.restarted_at = Some(now);
                self.begin(first);
                if let Some(second) = second {
                    let extended = self.run.as_ref().map_or(0, |run| run.sequence.highest() + 1);
                    // Both packets were checked to be neighbours, and the new run holds only the first.
                    let _ = self.take(extended, second, false);
                }
                Some(Received::Restarted)
            }
        }
    }

    /// When a gap is given up; then poll again.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.run.as_ref()?.buffer.next_timeout()
    }

    /// Whether lost packets may be asked for again, by a new offer and answer.
    pub fn set_retransmission(&mut self, is_agreed: bool) {
        self.retransmission.set_agreed(is_agreed);
        if let Some(run) = &mut self.run {
            run.buffer.set_reorder_wait(self.retransmission.wait(self.reorder_wait));
        }
    }

    /// Packets to ask for again now (RFC 4585 §6.2.1); poll until there are none.
    pub fn poll_retransmission(&mut self, now: Timestamp) -> NackEntries {
        self.retransmission.poll(now)
    }

    /// When [`Receiver::poll_retransmission`] has something.
    pub fn next_retransmission(&self) -> Option<Timestamp> {
        self.retransmission.next_timeout()
    }

    /// Asks no more for what is missing: the peer stops sending.
    pub fn forget_missing(&mut self) {
        self.retransmission.restart();
    }

    /// Takes a sender report. One of an SSRC that is not heard is ignored, unless the stream has not begun.
    pub fn handle_sender_report(&mut self, report: &SenderReport, now: Timestamp) {
        let timestamp = match &self.run {
            Some(run) if run.ssrc != report.ssrc => return,
            Some(run) => Some(run.time.near(report.rtp_timestamp)),
            None => None,
        };
        self.statistics.sender_reports += 1;
        self.sender_report = Some(StoredReport { report: *report, timestamp, arrival: now });
    }

    /// The sender's clock from its latest report; `None` until one came for the stream as it runs, and for a
    /// sender that has no wall clock (RFC 3550 §6.4.1: NTP time 0).
    pub fn sender_clock(&self) -> Option<SenderClock> {
        let stored = self.sender_report.as_ref()?;
        let ntp = stored.report.ntp;
        (ntp != NtpTime::UNKNOWN).then_some(SenderClock { ntp, timestamp: stored.timestamp? })
    }

    /// The block for the next receiver report; `None` when no packet came since the last one.
    pub fn report_block(&mut self, now: Timestamp) -> Option<ReportBlock> {
        let report = self.sender_report.as_ref().map(|stored| (&stored.report, now - stored.arrival));
        self.run.as_mut()?.report_block(report)
    }

    /// The SSRC that is heard.
    pub fn ssrc(&self) -> Option<u32> {
        self.run.as_ref().map(|run| run.ssrc)
    }

    /// When the last packet of the run came.
    pub fn last_arrival(&self) -> Option<Timestamp> {
        self.run.as_ref().map(|run| run.last_arrival)
    }

    /// Figures since the start, over all restarts.
    pub fn statistics(&self) -> StreamStatistics {
        let jitter_16 = self.run.as_ref().map_or(0, |run| run.jitter_16);
        let jitter_ms = jitter_16.saturating_mul(1000) / (16 * u64::from(self.clock_rate_hz));
        StreamStatistics {
            jitter_ms: u32::try_from(jitter_ms).unwrap_or(u32::MAX),
            nacked: self.retransmission.nacked(),
            retransmitted: self.retransmission.retransmitted(),
            ..self.statistics
        }
    }

    /// Counts what the caller found to be no RTP, or a payload that breaks its format.
    pub fn count_malformed(&mut self) {
        self.statistics.malformed += 1;
    }

    /// Counts a packet of a payload type that was not agreed on.
    pub fn count_unknown_payload_type(&mut self) {
        self.statistics.unknown_payload_type += 1;
    }

    /// Counts a packet from a source that is not the latched one; packets of an SSRC or run that was not
    /// confirmed are counted with them.
    pub fn count_foreign_source(&mut self) {
        self.statistics.foreign_source += 1;
    }

    /// Counts SRTP or SRTCP whose tag is wrong.
    pub fn count_authentication_failed(&mut self) {
        self.statistics.authentication_failed += 1;
    }

    /// Counts SRTP or SRTCP that came before.
    pub fn count_replayed(&mut self) {
        self.statistics.replayed += 1;
    }

    fn take(&mut self, extended: u64, packet: RtpPacket, behind: bool) -> Result<(), Rejected> {
        self.drop_candidate();
        let run = self.run.as_mut().expect("a place was found in the current run");
        run.received += 1;
        run.last_arrival = run.last_arrival.max(packet.arrival);
        let bytes = packet.payload.len() as u64;
        let transit = transit(&packet, self.clock_rate_hz);
        let arrival = packet.arrival;
        match run.buffer.insert(extended, packet) {
            Ok(()) => {
                if behind {
                    self.retransmission.handle_packet(extended, arrival);
                } else {
                    self.retransmission.handle_gap(run.sequence.highest() + 1, extended, arrival);
                }
                run.sequence.record(extended);
                run.update_jitter(transit);
                self.statistics.packets += 1;
                self.statistics.bytes += bytes;
                self.statistics.reordered += u64::from(behind);
                Ok(())
            }
            Err(Untimely::Duplicate) => {
                self.statistics.duplicates += 1;
                Err(Rejected::Duplicate)
            }
            Err(Untimely::Late) => {
                self.statistics.late += 1;
                Err(Rejected::Late)
            }
            Err(Untimely::Undrained) => Err(Rejected::Undrained),
        }
    }

    /// RFC 3550 A.1: two packets in sequence make a new run; §8.2 lets a source change its SSRC at any time.
    fn consider(&mut self, packet: RtpPacket, now: Timestamp) -> Result<(), Rejected> {
        let run = self.run.as_ref().expect("only a running stream can be left");
        let silent = now - run.last_arrival > SILENCE;
        // Two sources that talk at once must not throw each other out several times a second.
        let settled = self.restarted_at.is_none_or(|at| now - at >= SWITCH_PAUSE);
        let confirmed = self.candidate.take_if(|candidate| {
            (settled || silent)
                && candidate.ssrc == packet.ssrc
                && candidate.sequence_number.wrapping_add(1) == packet.sequence_number
        });
        if let Some(first) = confirmed {
            self.successor = Some((first, Some(packet)));
        } else if silent && packet.ssrc != run.ssrc {
            self.drop_candidate();
            self.successor = Some((packet, None));
        } else {
            self.drop_candidate();
            self.candidate = Some(packet);
            return Err(Rejected::Probation);
        }
        Ok(())
    }

    /// What began and was not confirmed came from another source.
    fn drop_candidate(&mut self) {
        self.statistics.foreign_source += u64::from(self.candidate.take().is_some());
    }

    fn begin(&mut self, packet: RtpPacket) {
        let sequence = ExtendedSequence::new(packet.sequence_number);
        let time = UnwrappedTime::new(packet.timestamp);
        let first = sequence.highest();
        let mut buffer = match self.run.take() {
            Some(run) => run.buffer,
            None => JitterBuffer::new(first, self.reorder_wait),
        };
        buffer.restart(first);
        self.retransmission.restart();
        buffer.set_reorder_wait(self.retransmission.wait(self.reorder_wait));
        self.drop_candidate();
        self.sender_report = self.sender_report.take_if(|stored| stored.report.ssrc == packet.ssrc);
        if let Some(stored) = &mut self.sender_report {
            stored.timestamp = Some(time.near(stored.report.rtp_timestamp));
        }
        self.statistics.packets += 1;
        self.statistics.bytes += packet.payload.len() as u64;
        self.run = Some(Run::new(buffer, sequence, time, packet, self.clock_rate_hz));
    }
}

/// After so long without a packet a new SSRC need not be confirmed.
const SILENCE: Duration = Duration::from_millis(500);
/// Time between two restarts while the current run still sends.
const SWITCH_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
