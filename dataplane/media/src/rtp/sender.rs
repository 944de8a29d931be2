//! The RTP stream that we send beside the one we receive: DTMF and what keeps the way open (RFC 3550 §5.1), and what a
//! sender report says of it (§6.4.1). Takes: time, the payload clock. Gives: headers, reports. Leaves out: payloads.

use std::time::Duration;

use sipcast_contract::Timestamp;

use super::random::SplitMix64;
use super::rtcp::{NtpTime, SenderReport};

/// One SSRC with its sequence numbers and RTP time; its reports bear the same SSRC.
#[derive(Clone, Debug)]
pub struct RtpSender {
    ssrc: u32,
    sequence_number: u16,
    clock_rate_hz: u32,
    /// RTP time at `epoch`.
    timestamp_base: u32,
    epoch: Timestamp,
    packets: u32,
    octets: u32,
    latest: Option<Timestamp>,
}

impl RtpSender {
    /// Bytes of the headers it writes.
    pub const HEADER_LEN: usize = 12;

    /// SSRC, first sequence number and RTP time come from `seed`; the payload clock runs at `clock_rate_hz`.
    pub fn new(clock_rate_hz: u32, seed: u64, now: Timestamp) -> Self {
        let mut random = SplitMix64::new(seed);
        Self {
            // Truncation is wanted: an SSRC is any 32 bits (RFC 3550 §8.1).
            ssrc: random.next_u64() as u32,
            // RFC 3711 §3.3.1: away from the wrap, so that no loss makes the rollover counter ambiguous.
            sequence_number: (random.next_u64() as u16) >> 1,
            timestamp_base: random.next_u64() as u32,
            clock_rate_hz,
            epoch: now,
            packets: 0,
            octets: 0,
            latest: None,
        }
    }

    /// Its SSRC.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Changes the payload clock; RTP time goes on from where it is.
    pub fn set_clock_rate(&mut self, clock_rate_hz: u32, now: Timestamp) {
        if clock_rate_hz != self.clock_rate_hz {
            (self.timestamp_base, self.epoch) = (self.timestamp(now), now);
            self.clock_rate_hz = clock_rate_hz;
        }
    }

    /// RTP time at `at`: it runs on by the clock, sent or not.
    pub fn timestamp(&self, at: Timestamp) -> u32 {
        let nanos = (at - self.epoch).as_nanos();
        // Truncation is wanted: RTP time wraps.
        self.timestamp_base.wrapping_add((nanos * u128::from(self.clock_rate_hz) / 1_000_000_000) as u32)
    }

    /// The header of the next packet.
    pub fn header(&mut self, payload_type: u8, marker: bool, timestamp: u32) -> [u8; Self::HEADER_LEN] {
        let mut header = [0; Self::HEADER_LEN];
        header[0] = 0x80;
        header[1] = u8::from(marker) << 7 | payload_type & 0x7f;
        header[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        header[4..8].copy_from_slice(&timestamp.to_be_bytes());
        header[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence_number = self.sequence_number.wrapping_add(1);
        header
    }

    /// Counts a packet with `octets` of payload that goes out.
    pub fn record(&mut self, octets: usize, now: Timestamp) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
        self.latest = Some(now);
    }

    /// Whether packets go out one after another, so that none is needed to keep the way open.
    pub fn is_flowing(&self, now: Timestamp) -> bool {
        self.latest.is_some_and(|latest| now - latest < FLOWING)
    }

    /// What a sender report says now; `None` while nothing was sent lately (RFC 3550 §6.4): then a receiver report
    /// is due.
    pub fn report(&self, now: Timestamp) -> Option<SenderReport> {
        self.latest.filter(|latest| now - *latest <= ACTIVE)?;
        Some(SenderReport {
            ssrc: self.ssrc,
            // RFC 3550 §6.4.1: without wall clock, time since some start, the same for all our streams.
            ntp: NtpTime::from_elapsed(now - Timestamp::ZERO),
            rtp_timestamp: self.timestamp(now),
            packets: self.packets,
            octets: self.octets,
        })
    }
}

/// RFC 3550 §6.4: who sent since the report before the last; two of the shortest intervals.
const ACTIVE: Duration = Duration::from_secs(10);
/// Between two packets of sound or picture; shorter than between those that keep the way open.
const FLOWING: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_up_and_time_goes_on_across_a_change_of_clock() {
        let mut sender = RtpSender::new(8000, 1, Timestamp::ZERO);
        (sender.sequence_number, sender.timestamp_base, sender.ssrc) = (65_535, u32::MAX - 799, 0x0102_0304);
        let at = Timestamp::from_millis(100);
        let timestamp = sender.timestamp(at);
        assert_eq!(sender.header(101, true, timestamp), [0x80, 0xe5, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(sender.header(0, false, timestamp)[1..4], [0, 0, 0]);
        sender.set_clock_rate(48_000, at);
        assert_eq!(sender.timestamp(at), 0);
        assert_eq!(sender.timestamp(Timestamp::from_millis(101)), 48);
    }

    #[test]
    fn it_reports_as_sender_for_ten_seconds_after_the_last_packet() {
        let mut sender = RtpSender::new(8000, 1, Timestamp::ZERO);
        assert_eq!(sender.report(Timestamp::ZERO), None);
        sender.record(160, Timestamp::from_millis(1500));
        let report = sender.report(Timestamp::from_millis(1500)).expect("sent just now");
        assert_eq!((report.packets, report.octets, report.ssrc), (1, 160, sender.ssrc()));
        assert!(sender.is_flowing(Timestamp::from_millis(1749)));
        assert!(!sender.is_flowing(Timestamp::from_millis(1750)));
        assert_eq!(report.ntp, NtpTime(0x0000_0001_8000_0000));
        assert_eq!(report.rtp_timestamp, sender.timestamp_base.wrapping_add(12_000));
        assert!(sender.report(Timestamp::from_millis(11_500)).is_some());
        assert_eq!(sender.report(Timestamp::from_millis(11_501)), None);
    }
}
