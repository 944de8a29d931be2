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
        bench.push(SSRC, 65_533u16.wrapping_add(index), timestamp, u64::from(index) * 20).expect("in order");
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
            assert!(before == 0 || jitter_ms.abs_diff(before) <= 1, "{rate_hz} Hz: {before}, {jitter_ms} ms");
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
                        assert_eq!(timestamp, i64::from(u32::MAX - 1000) + due as i64 * 40, "seed {seed}");
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
        assert!(statistics.reordered > 0 && statistics.duplicates > 0 && statistics.late > 0, "seed {seed}");
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
