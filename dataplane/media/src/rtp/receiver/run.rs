//! One SSRC's run of sequence numbers and what is counted of it: jitter, losses, the report block (RFC 3550 §6.4.1,
//! A.3, A.8). Takes: its first packet, transit times, sender reports. Gives: figures for receiver reports.
//! Leaves out: which packets belong to it, and what ends it (`receiver`).

use std::time::Duration;

use sipcast_contract::Timestamp;

use super::super::RtpPacket;
use super::super::jitter_buffer::JitterBuffer;
use super::super::rtcp::{ReportBlock, SenderReport};
use super::super::sequence::{ExtendedSequence, UnwrappedTime};

/// One SSRC's run of sequence numbers.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ssrc: u32,
    pub(super) sequence: ExtendedSequence,
    pub(super) buffer: JitterBuffer,
    pub(super) time: UnwrappedTime,
    pub(super) last_arrival: Timestamp,
    /// Arrival minus RTP time of the last packet, in clock units, modulo 2^32; `None` after a change of the clock.
    pub(super) transit: Option<u32>,
    /// Interarrival jitter in 1/16 clock units (RFC 3550 A.8).
    pub(super) jitter_16: u64,
    /// Extended number of the first packet.
    pub(super) base: u64,
    /// Packets that came, late and double ones too, as RFC 3550 A.3 counts.
    pub(super) received: u64,
    pub(super) expected_prior: u64,
    pub(super) received_prior: u64,
}

impl Run {
    /// Begins with `first`, whose number is the highest of `sequence`; `buffer` is empty.
    pub(super) fn new(
        mut buffer: JitterBuffer,
        sequence: ExtendedSequence,
        time: UnwrappedTime,
        first: RtpPacket,
        clock_rate_hz: u32,
    ) -> Self {
        let base = sequence.highest();
        let (ssrc, last_arrival) = (first.ssrc, first.arrival);
        let transit = Some(transit(&first, clock_rate_hz));
        // An emptied buffer has room for the packet it begins with.
        let _ = buffer.insert(base, first);
        Self {
            ssrc,
            sequence,
            buffer,
            time,
            last_arrival,
            transit,
            jitter_16: 0,
            base,
            received: 1,
            expected_prior: 0,
            received_prior: 0,
        }
    }

    /// The payload clock is another one; jitter is carried over.
    pub(super) fn change_clock(&mut self, before_hz: u32, now_hz: u32) {
        let jitter_16 = u128::from(self.jitter_16) * u128::from(now_hz) / u128::from(before_hz);
        self.jitter_16 = u64::try_from(jitter_16).unwrap_or(u64::MAX);
        // RFC 7160 §4.2: transit times in two clocks are not comparable.
        self.transit = None;
    }

    /// The block for the next receiver report, by the latest sender report and its age; `None` when no packet came
    /// since the last one.
    pub(super) fn report_block(&mut self, report: Option<(&SenderReport, Duration)>) -> Option<ReportBlock> {
        if self.received == self.received_prior {
            return None;
        }
        let expected = self.sequence.highest() - self.base + 1;
        let cumulative_lost = (expected as i64 - self.received as i64).clamp(LOST_MIN, LOST_MAX);
        let (last_sender_report, delay) =
            report.map_or((0, 0), |(report, age)| (report.ntp.middle(), units_65536(age)));
        let fraction_lost = self.fraction_lost(expected);
        self.expected_prior = expected;
        self.received_prior = self.received;
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: cumulative_lost as i32,
            // The count of wraps begins at 0 on the wire and at 1 inside.
            highest_sequence: (self.sequence.highest() - (1 << 16)) as u32,
            jitter: u32::try_from(self.jitter_16 >> 4).unwrap_or(u32::MAX),
            last_sender_report,
            delay_since_last_sender_report: delay,
        })
    }

    /// RFC 3550 A.8.
    pub(super) fn update_jitter(&mut self, transit: u32) {
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
pub(super) fn transit(packet: &RtpPacket, clock_rate_hz: u32) -> u32 {
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
/// RFC 3550 §6.4.1: cumulative number of packets lost is a signed 24-bit number.
const LOST_MIN: i64 = -(1 << 23);
const LOST_MAX: i64 = (1 << 23) - 1;
