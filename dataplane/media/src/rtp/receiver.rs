//! One RTP stream in receive: its SSRC, order, figures, and the report block that answers for it (RFC 3550 §6.4,
//! A.1, A.3, A.8). Takes: packets of agreed payload types from the latched source, sender reports, time.
//! Gives: packets in order with unwrapped RTP time, losses, restarts. Leaves out: which source is heard
//! (`latch`), RTCP bytes (`rtcp`), what a loss means (`h264`, `audio`).

use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::statistics::StreamStatistics;

use super::RtpPacket;
use super::jitter_buffer::{JitterBuffer, Popped, Untimely};
use super::retransmission::{NackEntries, RetransmissionRequest};
use super::rtcp::{NtpTime, ReportBlock, SenderReport};
use super::sequence::{ExtendedSequence, Place, UnwrappedTime};

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

/// One SSRC's run of sequence numbers.
#[derive(Debug)]
struct Run {
    ssrc: u32,
    sequence: ExtendedSequence,
    buffer: JitterBuffer,
    time: UnwrappedTime,
    last_arrival: Timestamp,
    /// Arrival minus RTP time of the last packet, in clock units, modulo 2^32; `None` after a change of the clock.
    transit: Option<u32>,
    /// Interarrival jitter in 1/16 clock units (RFC 3550 A.8).
    jitter_16: u64,
    /// Extended number of the first packet.
    base: u64,
    /// Packets that came, late and double ones too, as RFC 3550 A.3 counts.
    received: u64,
    expected_prior: u64,
    received_prior: u64,
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
            let jitter_16 =
                u128::from(run.jitter_16) * u128::from(clock_rate_hz) / u128::from(self.clock_rate_hz);
            run.jitter_16 = u64::try_from(jitter_16).unwrap_or(u64::MAX);
            // RFC 7160 §4.2: transit times in two clocks are not comparable.
            run.transit = None;
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
        let run = self.run.as_mut()?;
        if run.received == run.received_prior {
            return None;
        }
        let expected = run.sequence.highest() - run.base + 1;
        let cumulative_lost = (expected as i64 - run.received as i64).clamp(LOST_MIN, LOST_MAX);
        let (last_sender_report, delay) = match &self.sender_report {
            Some(stored) => (stored.report.ntp.middle(), units_65536(now - stored.arrival)),
            None => (0, 0),
        };
        let fraction_lost = run.fraction_lost(expected);
        run.expected_prior = expected;
        run.received_prior = run.received;
        Some(ReportBlock {
            ssrc: run.ssrc,
            fraction_lost,
            cumulative_lost: cumulative_lost as i32,
            // The count of wraps begins at 0 on the wire and at 1 inside.
            highest_sequence: (run.sequence.highest() - (1 << 16)) as u32,
            jitter: u32::try_from(run.jitter_16 >> 4).unwrap_or(u32::MAX),
            last_sender_report,
            delay_since_last_sender_report: delay,
        })
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
        self.run = Some(Run {
            ssrc: packet.ssrc,
            sequence,
            time,
            last_arrival: packet.arrival,
            transit: Some(transit(&packet, self.clock_rate_hz)),
            jitter_16: 0,
            base: first,
            received: 1,
            expected_prior: 0,
            received_prior: 0,
            buffer: {
                // An emptied buffer has room for the packet it begins with.
                let _ = buffer.insert(first, packet);
                buffer
            },
        });
    }
}

impl Run {
    /// RFC 3550 A.8.
    fn update_jitter(&mut self, transit: u32) {
        let Some(before) = self.transit.replace(transit) else { return };
        let difference = u64::from((transit.wrapping_sub(before) as i32).unsigned_abs());
        self.jitter_16 = (self.jitter_16 + difference).saturating_sub((self.jitter_16 + 8) >> 4);
    }

    /// RFC 3550 A.3: lost of those expected since the last report, in 1/256.
    fn fraction_lost(&self, expected: u64) -> u8 {
        let expected = expected - self.expected_prior;
        let lost = expected.saturating_sub(self.received - self.received_prior);
        // All of them lost is 256/256, which 8 bits cannot hold.
        (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8
    }
}

/// Arrival in clock units minus RTP time; only differences of it mean anything.
fn transit(packet: &RtpPacket, clock_rate_hz: u32) -> u32 {
    let nanos = packet.arrival.as_nanos();
    let rate = u64::from(clock_rate_hz);
    let units = (nanos / NANOS) * rate + (nanos % NANOS) * rate / NANOS;
    (units as u32).wrapping_sub(packet.timestamp)
}

/// RFC 3550 §6.4.1: delay since last SR, in 1/65536 s.
fn units_65536(delay: Duration) -> u32 {
    u32::try_from((delay.as_nanos() << 16) / u128::from(NANOS)).unwrap_or(u32::MAX)
}

const NANOS: u64 = 1_000_000_000;
/// After so long without a packet a new SSRC need not be confirmed.
const SILENCE: Duration = Duration::from_millis(500);
/// Time between two restarts while the current run still sends.
const SWITCH_PAUSE: Duration = Duration::from_secs(1);
/// RFC 3550 §6.4.1: cumulative number of packets lost is a signed 24-bit number.
const LOST_MIN: i64 = -(1 << 23);
const LOST_MAX: i64 = (1 << 23) - 1;

#[cfg(test)]
mod tests {
    use sipcast_pool::Pool;

    use super::super::fixture::{self, SSRC};
    use super::super::random::SplitMix64;
    use super::*;

    const WAIT: Duration = Duration::from_millis(60);
    const OTHER: u32 = 0x5566_7788;

    struct Bench {
        pool: Pool,
        receiver: Receiver,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Packet(u16, i64),
        Lost(u32),
        Restarted,
    }

    fn ms(at: u64) -> Timestamp {
        Timestamp::from_millis(at)
    }

    impl Bench {
        fn new() -> Self {
            Self { pool: Pool::new(2048, 16), receiver: Receiver::new(8000, WAIT) }
        }

        fn push(&mut self, ssrc: u32, sequence: u16, timestamp: u32, at: u64) -> Result<(), Rejected> {
            let packet = fixture::packet(&self.pool, ssrc, sequence, timestamp, ms(at));
            self.receiver.push(packet, ms(at))
        }

        fn drain(&mut self, at: u64) -> Vec<Seen> {
            let mut seen = Vec::new();
            while let Some(received) = self.receiver.poll(ms(at)) {
                seen.push(match received {
                    Received::Packet { packet, timestamp } => Seen::Packet(packet.sequence_number, timestamp),
                    Received::Lost { packets } => Seen::Lost(packets),
                    Received::Restarted => Seen::Restarted,
                });
            }
            seen
        }
    }

    #[test]
    fn sequence_and_time_wrap_unnoticed() {
        let mut bench = Bench::new();
        let mut timestamp = u32::MAX - 200;
        for index in 0..6u16 {
            bench
                .push(SSRC, 65_533u16.wrapping_add(index), timestamp, u64::from(index) * 20)
                .expect("in order");
            let expected = i64::from(u32::MAX - 200) + 160 * i64::from(index);
            assert_eq!(bench.drain(0), [Seen::Packet(65_533u16.wrapping_add(index), expected)]);
            timestamp = timestamp.wrapping_add(160);
        }
        let block = bench.receiver.report_block(ms(100)).expect("packets came");
        assert_eq!(block.highest_sequence, 0x0001_0002);
        assert_eq!((block.fraction_lost, block.cumulative_lost, block.jitter), (0, 0, 0));
        assert_eq!(bench.receiver.report_block(ms(200)), None, "nothing came since");
    }

    #[test]
    fn a_loss_is_reported_when_its_wait_is_over() {
        let mut bench = Bench::new();
        bench.push(SSRC, 10, 0, 0).expect("first");
        bench.drain(0);
        bench.push(SSRC, 13, 480, 60).expect("ahead");
        assert_eq!((bench.drain(60), bench.receiver.next_timeout()), (vec![], Some(ms(120))));
        bench.push(SSRC, 12, 320, 61).expect("in time");
        assert_eq!(bench.drain(120), [Seen::Lost(1), Seen::Packet(12, 320), Seen::Packet(13, 480)]);
        assert_eq!(bench.push(SSRC, 11, 160, 121), Err(Rejected::Late));
        assert_eq!(bench.push(SSRC, 12, 320, 121), Err(Rejected::Duplicate));
        let s = bench.receiver.statistics();
        assert_eq!((s.packets, s.lost, s.reordered, s.late, s.duplicates), (3, 1, 1, 1, 1));
        assert_eq!(s.bytes, 6);
    }

    #[test]
    fn report_block_counts_as_rfc_3550_a_3() {
        let mut bench = Bench::new();
        for sequence in [0, 1, 2, 4, 5, 7] {
            bench.push(SSRC, sequence, u32::from(sequence) * 160, u64::from(sequence) * 20).expect("new");
            bench.drain(1000);
        }
        let report = SenderReport {
            ssrc: SSRC,
            ntp: NtpTime(0x0123_4567_89ab_cdef),
            rtp_timestamp: 0,
            packets: 0,
            octets: 0,
        };
        bench.receiver.handle_sender_report(&report, ms(1000));
        let block = bench.receiver.report_block(ms(1500)).expect("packets came");
        assert_eq!((block.fraction_lost, block.cumulative_lost), (64, 2));
        assert_eq!((block.last_sender_report, block.delay_since_last_sender_report), (0x4567_89ab, 32_768));
        // Nothing lost since; the total stays.
        bench.push(SSRC, 8, 1280, 160).expect("new");
        let block = bench.receiver.report_block(ms(2000)).expect("packets came");
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 2));
    }

    #[test]
    fn another_payload_clock_is_no_jitter() {
        let mut bench = Bench::new();
        let (mut sequence, mut timestamp, mut at) = (0u16, 0u32, 0);
        for (rate_hz, packets) in [(8000u32, 100), (48_000, 200), (16_000, 200)] {
            bench.receiver.set_clock_rate(rate_hz);
            let before = bench.receiver.statistics().jitter_ms;
            for _ in 0..packets {
                let uneven = u64::from(sequence % 2) * 8;
                bench.push(SSRC, sequence, timestamp, at + uneven).expect("new");
                bench.drain(at);
                sequence += 1;
                timestamp = timestamp.wrapping_add(rate_hz / 50);
                at += 20;
                let jitter_ms = bench.receiver.statistics().jitter_ms;
                assert!(
                    before == 0 || jitter_ms.abs_diff(before) <= 1,
                    "{rate_hz} Hz: {before}, {jitter_ms} ms"
                );
            }
            let jitter_ms = bench.receiver.statistics().jitter_ms;
            assert!((7..=8).contains(&jitter_ms), "{rate_hz} Hz: {jitter_ms} ms");
        }
        let block = bench.receiver.report_block(ms(at)).expect("packets came");
        assert!((110..=128).contains(&block.jitter), "in units of 16 kHz: {}", block.jitter);
    }

    #[test]
    fn the_senders_clock_is_unknown_between_a_change_of_clock_and_the_next_report() {
        let mut bench = Bench::new();
        let report = |rtp_timestamp| SenderReport {
            ssrc: SSRC,
            ntp: NtpTime(0x0123_4567_89ab_cdef),
            rtp_timestamp,
            packets: 0,
            octets: 0,
        };
        bench.push(SSRC, 1, 160, 0).expect("first");
        bench.receiver.handle_sender_report(&report(160), ms(1));
        assert!(bench.receiver.sender_clock().is_some());
        bench.receiver.set_clock_rate(8000);
        assert!(bench.receiver.sender_clock().is_some(), "the same one");
        bench.receiver.set_clock_rate(48_000);
        assert_eq!(bench.receiver.sender_clock(), None);
        bench.receiver.handle_sender_report(&report(1120), ms(30));
        assert_eq!(bench.receiver.sender_clock().map(|clock| clock.timestamp), Some(1120));
    }

    #[test]
    fn jitter_grows_with_uneven_arrival() {
        let mut bench = Bench::new();
        for index in 0..200u16 {
            let uneven = u64::from(index % 2) * 10;
            bench.push(SSRC, index, u32::from(index) * 160, u64::from(index) * 20 + uneven).expect("new");
            bench.drain(0);
        }
        // Every difference is 10 ms, so the mean is.
        assert!((9..=10).contains(&bench.receiver.statistics().jitter_ms));
    }

    #[test]
    fn a_new_ssrc_needs_two_packets_in_sequence() {
        let mut bench = Bench::new();
        bench.push(SSRC, 1, 0, 0).expect("first");
        bench.push(SSRC, 3, 320, 10).expect("ahead");
        assert_eq!(bench.push(OTHER, 65_535, 9_000, 20), Err(Rejected::Probation));
        assert_eq!(bench.drain(20), [Seen::Packet(1, 0)]);
        bench.push(OTHER, 0, 9_160, 40).expect("confirmed");
        assert_eq!(
            bench.drain(40),
            [
                Seen::Lost(1),
                Seen::Packet(3, 320),
                Seen::Restarted,
                Seen::Packet(65_535, 9_000),
                Seen::Packet(0, 9_160)
            ]
        );
        assert_eq!(bench.receiver.ssrc(), Some(OTHER));
        // The old source alternates: it neither comes back at once nor disturbs.
        for index in 0..4 {
            assert_eq!(bench.push(SSRC, 10 + index, 0, 50), Err(Rejected::Probation));
        }
        assert_eq!(bench.pool.held(), 1);
        bench.push(OTHER, 1, 9_320, 60).expect("current");
        assert_eq!(bench.drain(60), [Seen::Packet(1, 9_320)]);
        assert_eq!(bench.pool.held(), 0, "the candidate is dropped");
        assert_eq!(bench.receiver.statistics().foreign_source, 4);
    }

    #[test]
    fn after_silence_a_new_ssrc_is_taken_at_once() {
        for (pause, taken) in [(500, false), (501, true)] {
            let mut bench = Bench::new();
            bench.push(SSRC, 1, 0, 0).expect("first");
            bench.drain(0);
            assert_eq!(bench.push(OTHER, 7, 5, pause).is_ok(), taken, "{pause}");
            let expected = if taken { vec![Seen::Restarted, Seen::Packet(7, 5)] } else { vec![] };
            assert_eq!(bench.drain(pause), expected);
        }
    }

    #[test]
    fn a_jump_restarts_after_two_packets_and_a_stray_one_does_not() {
        let mut bench = Bench::new();
        bench.push(SSRC, 65_533, 0, 0).expect("first");
        assert_eq!(bench.push(SSRC, 20_000, 7, 0), Err(Rejected::Probation));
        bench.push(SSRC, 65_534, 160, 20).expect("current");
        assert_eq!(bench.push(SSRC, 20_001, 7, 30), Err(Rejected::Probation), "not consecutive");
        bench.push(SSRC, 20_002, 167, 50).expect("confirmed");
        assert_eq!(
            bench.drain(50),
            [
                Seen::Packet(65_533, 0),
                Seen::Packet(65_534, 160),
                Seen::Restarted,
                Seen::Packet(20_001, 7),
                Seen::Packet(20_002, 167)
            ]
        );
    }

    #[test]
    fn a_packet_as_far_back_as_the_jitter_buffer_reaches_is_no_jump() {
        let mut bench = Bench::new();
        for sequence in (0..=255).filter(|sequence| *sequence != 1) {
            bench.push(SSRC, sequence, 0, 0).expect("room");
            bench.drain(0);
        }
        bench.push(SSRC, 1, 0, 50).expect("in time");
        assert_eq!(bench.drain(50).len(), 255);
        assert_eq!(bench.receiver.statistics().reordered, 1);
    }

    #[test]
    fn sender_clock_follows_the_ssrc_that_is_heard() {
        let mut bench = Bench::new();
        let report = |ssrc, ntp, rtp_timestamp| SenderReport {
            ssrc,
            ntp: NtpTime(ntp),
            rtp_timestamp,
            packets: 0,
            octets: 0,
        };
        bench.receiver.handle_sender_report(&report(SSRC, 5 << 32, 10), ms(0));
        assert_eq!(bench.receiver.sender_clock(), None, "RTP time cannot be unwrapped yet");
        bench.push(SSRC, 1, u32::MAX - 9, 0).expect("first");
        let clock = bench.receiver.sender_clock().expect("both known");
        assert_eq!((clock.ntp, clock.timestamp), (NtpTime(5 << 32), i64::from(u32::MAX) + 11));
        bench.receiver.handle_sender_report(&report(OTHER, 9 << 32, 10), ms(0));
        assert_eq!(bench.receiver.sender_clock(), Some(clock));
        bench.receiver.handle_sender_report(&report(SSRC, 0, 10), ms(0));
        assert_eq!(bench.receiver.sender_clock(), None, "no wall clock");
        assert_eq!(bench.receiver.statistics().sender_reports, 2);
        bench.push(OTHER, 1, 0, 600).expect("after silence");
        bench.drain(600);
        assert!(bench.receiver.sender_report.is_none());
    }

    /// Loss, duplication and reordering by a seed: order holds, every packet is either delivered once or counted
    /// lost, and every lease comes home.
    #[test]
    fn seeded_network_delivers_in_order_and_accounts_for_every_packet() {
        for seed in 0..50u64 {
            let mut random = SplitMix64::new(seed);
            let mut bench = Bench::new();
            let sent = 3000u64;
            let mut arrivals = vec![(0, 0)];
            for index in 1..sent {
                if random.below(100) < 5 {
                    continue;
                }
                for _ in 0..=u64::from(random.below(100) < 3) {
                    let delay = if random.below(10) == 0 { random.below(90) } else { 0 };
                    arrivals.push((index * 5 + delay, index));
                }
            }
            arrivals.sort_unstable();
            let (mut due, mut delivered, mut lost) = (0u64, 0u64, 0u64);
            let mut check = |bench: &mut Bench, at: u64| {
                for seen in bench.drain(at) {
                    match seen {
                        Seen::Packet(sequence, timestamp) => {
                            assert_eq!(sequence, (65_533 + due) as u16, "seed {seed}");
                            assert_eq!(
                                timestamp,
                                i64::from(u32::MAX - 1000) + due as i64 * 40,
                                "seed {seed}"
                            );
                            (due, delivered) = (due + 1, delivered + 1);
                        }
                        Seen::Lost(n) => (due, lost) = (due + u64::from(n), lost + u64::from(n)),
                        Seen::Restarted => panic!("seed {seed}"),
                    }
                }
            };
            for (at, index) in arrivals {
                while let Some(timeout) = bench.receiver.next_timeout().filter(|t| *t <= ms(at)) {
                    check(&mut bench, timeout.as_millis());
                }
                let timestamp = (u32::MAX - 1000).wrapping_add(index as u32 * 40);
                let _ = bench.push(SSRC, (65_533 + index) as u16, timestamp, at);
                check(&mut bench, at);
            }
            check(&mut bench, sent * 5 + 1000);
            let statistics = bench.receiver.statistics();
            assert_eq!((delivered, lost), (statistics.packets, statistics.lost), "seed {seed}");
            assert_eq!(delivered + lost, due, "seed {seed}");
            assert!(
                statistics.reordered > 0 && statistics.duplicates > 0 && statistics.late > 0,
                "seed {seed}"
            );
            assert_eq!(bench.pool.held(), 0, "seed {seed}");
        }
    }

    #[test]
    fn any_sequence_of_packets_is_survived() {
        for seed in 0..200u64 {
            let mut random = SplitMix64::new(seed);
            let mut bench = Bench::new();
            let mut at = 0;
            for _ in 0..2000 {
                at += random.below(40);
                let sequence = (random.next_u64() >> random.below(16)) as u16;
                let ssrc = random.below(2) as u32;
                let _ = bench.push(ssrc, sequence, random.next_u64() as u32, at);
                if random.below(8) != 0 {
                    bench.drain(at);
                }
                if random.below(50) == 0 {
                    bench.receiver.report_block(ms(at));
                }
            }
            assert!(bench.pool.held() <= 259, "seed {seed}");
            drop(bench.receiver);
            assert_eq!(bench.pool.held(), 0, "seed {seed}");
        }
    }
}
