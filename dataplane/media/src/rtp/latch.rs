//! Symmetric RTP (RFC 4961): which source is heard, and where what we send goes.
//! Takes: the transport that offer and answer named, packets with their source, time. Gives: packets of the one
//! source that is heard, and the addresses to answer to. Leaves out: what packets mean (`receiver`), encryption.

use std::net::SocketAddr;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::media::MediaTransport;

use super::RtpPacket;

/// Decides per RTP stream which source is heard.
///
/// | from | no source yet, silent for 10 s, or 3 s after a changed address | else |
/// | --- | --- | --- |
/// | the latched source | accepted | accepted |
/// | the address in the SDP | accepted and latched | within 3 s of the first latch: accepted and latched; else foreign |
/// | any other | learning; two packets in sequence: both accepted, latched | foreign |
#[derive(Debug)]
pub struct Latch {
    transport: MediaTransport,
    source: Option<Source>,
    rtcp_source: Option<SocketAddr>,
    /// Until then any source may take over, since the peer's address changed.
    open_until: Timestamp,
    candidates: [Option<Candidate>; CANDIDATES_MAX],
}

#[derive(Clone, Copy, Debug)]
struct Source {
    address: SocketAddr,
    latched: Timestamp,
    last_packet: Timestamp,
}

#[derive(Debug)]
struct Candidate {
    address: SocketAddr,
    packet: RtpPacket,
    since: Timestamp,
}

/// What became of a packet.
#[derive(Debug)]
pub enum Admission {
    /// It is from the source that is heard.
    Accepted {
        /// The packet before it, which was held until this one confirmed its source. Comes first.
        earlier: Option<RtpPacket>,
        /// The packet.
        packet: RtpPacket,
    },
    /// Held: its source is not confirmed yet.
    Learning,
    /// From another source, and dropped: count it as `foreign_source`.
    Foreign,
    /// From the source that is heard or expected, but not of a payload type that was agreed on; dropped.
    UnknownPayloadType,
}

impl Latch {
    /// Begins to learn, with `transport` as agreed.
    pub fn new(transport: &MediaTransport) -> Self {
        Self {
            transport: transport.clone(),
            source: None,
            rtcp_source: None,
            open_until: Timestamp::ZERO,
            candidates: Default::default(),
        }
    }

    /// Takes the transport of a new offer and answer. A changed address lets any source take over for 3 s;
    /// until then the old one is still heard, for a peer behind a NAT may keep its real address.
    pub fn set_transport(&mut self, transport: &MediaTransport, now: Timestamp) {
        let before = std::mem::replace(&mut self.transport, transport.clone());
        if transport.remote_rtcp != before.remote_rtcp || transport.rtcp_mux != before.rtcp_mux {
            self.rtcp_source = None;
        }
        let real = self.source.map(|source| source.address);
        if transport.remote_rtp != before.remote_rtp && (transport.remote_rtp != real || real.is_none()) {
            self.reset(now);
        }
    }

    /// Lets any source take over for 3 s.
    pub fn reset(&mut self, now: Timestamp) {
        self.open_until = now + PREFERENCE;
        self.rtcp_source = None;
        self.candidates = Default::default();
    }

    /// Decides on one RTP packet; `agreed` says whether its payload type is.
    pub fn admit(&mut self, from: SocketAddr, packet: RtpPacket, agreed: bool, now: Timestamp) -> Admission {
        if let Some(source) = self.source.as_mut().filter(|source| source.address == from) {
            if !agreed {
                return Admission::UnknownPayloadType;
            }
            source.last_packet = now;
            return Admission::Accepted { earlier: None, packet };
        }
        if !agreed {
            // The peer's own address with a payload type that was not agreed on is its mistake, not an intruder.
            let expected = self.transport.remote_rtp == Some(from);
            return if expected { Admission::UnknownPayloadType } else { Admission::Foreign };
        }
        if self.transport.remote_rtp == Some(from) && self.is_open_to_expected(now) {
            self.latch(from, now);
            return Admission::Accepted { earlier: None, packet };
        }
        match self.is_open(now) {
            true => self.learn(from, packet, now),
            false => Admission::Foreign,
        }
    }

    /// Whether RTCP from `from` is heard: it must come from the host whose RTP is, or that the SDP names. What is
    /// heard is also where reports go.
    pub fn admit_rtcp(&mut self, from: SocketAddr) -> bool {
        let host = self.remote_rtp().map(|address| address.ip());
        let expected = self.source.is_none() && self.transport.remote_rtcp == Some(from);
        let accepted = host == Some(from.ip()) || expected;
        if accepted {
            self.rtcp_source = Some(from);
        }
        accepted
    }

    /// Where RTP goes: the source that is heard, else the address in the SDP; `None` while neither is known.
    pub fn remote_rtp(&self) -> Option<SocketAddr> {
        self.source.map(|source| source.address).or(self.transport.remote_rtp)
    }

    /// Where RTCP goes: its real source if known; the SDP's address if RTP comes from where the SDP says;
    /// otherwise the RTP source (with rtcp-mux) or the port above it (RFC 3550 §11).
    pub fn remote_rtcp(&self) -> Option<SocketAddr> {
        let Some(source) = self.source.map(|source| source.address) else {
            return self.transport.remote_rtcp;
        };
        if self.transport.rtcp_mux {
            return Some(source);
        }
        if self.rtcp_source.is_some() {
            return self.rtcp_source;
        }
        if self.transport.remote_rtp == Some(source) && self.transport.remote_rtcp.is_some() {
            return self.transport.remote_rtcp;
        }
        source.port().checked_add(1).map(|port| SocketAddr::new(source.ip(), port))
    }

    /// Whether a source is heard.
    pub const fn is_latched(&self) -> bool {
        self.source.is_some()
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.source.is_none_or(|source| now - source.last_packet > SILENCE) || now < self.open_until
    }

    fn is_open_to_expected(&self, now: Timestamp) -> bool {
        self.is_open(now) || self.source.is_some_and(|source| now - source.latched < PREFERENCE)
    }

    fn learn(&mut self, from: SocketAddr, packet: RtpPacket, now: Timestamp) -> Admission {
        let known = self.candidates.iter_mut().find(|c| c.as_ref().is_some_and(|c| c.address == from));
        if let Some(known) = known {
            let earlier = known.take_if(|c| c.precedes(&packet, now));
            if let Some(candidate) = earlier {
                self.latch(from, now);
                return Admission::Accepted { earlier: Some(candidate.packet), packet };
            }
            *known = Some(Candidate { address: from, packet, since: now });
            return Admission::Learning;
        }
        // A free place, else that of the candidate that waits longest.
        let place = self.candidates.iter_mut().min_by_key(|c| c.as_ref().map(|c| c.since));
        if let Some(place) = place {
            *place = Some(Candidate { address: from, packet, since: now });
        }
        Admission::Learning
    }

    fn latch(&mut self, address: SocketAddr, now: Timestamp) {
        self.source = Some(Source { address, latched: now, last_packet: now });
        self.open_until = Timestamp::ZERO;
        self.rtcp_source = self.rtcp_source.take_if(|rtcp| rtcp.ip() == address.ip());
        self.candidates = Default::default();
    }
}

impl Candidate {
    fn precedes(&self, packet: &RtpPacket, now: Timestamp) -> bool {
        now - self.since <= LEARNING_WINDOW
            && self.packet.ssrc == packet.ssrc
            && self.packet.sequence_number.wrapping_add(1) == packet.sequence_number
    }
}

/// The second packet of a new source must follow the first within this time.
const LEARNING_WINDOW: Duration = Duration::from_secs(1);
/// How long the address in the SDP may still take over from a source learnt first.
const PREFERENCE: Duration = Duration::from_secs(3);
/// After so long without a packet any source may take over.
const SILENCE: Duration = Duration::from_secs(10);
/// Sources looked at side by side; the one that waits longest gives way. Each holds one packet.
const CANDIDATES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use sipcast_contract::Direction;
    use sipcast_pool::Pool;

    use super::super::fixture;
    use super::*;

    const SDP: &str = "192.0.2.1:4000";
    const REAL: &str = "198.51.100.7:61234";
    const OTHER: &str = "203.0.113.9:7000";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn transport(rtp: Option<&str>, rtcp_mux: bool) -> MediaTransport {
        let remote_rtp = rtp.map(address);
        let remote_rtcp = remote_rtp.map(|a| SocketAddr::new(a.ip(), a.port() + u16::from(!rtcp_mux)));
        MediaTransport { remote_rtp, remote_rtcp, rtcp_mux, direction: Direction::RecvOnly, srtp: None }
    }

    struct Bench {
        pool: Pool,
        latch: Latch,
    }

    impl Bench {
        fn new(rtp: Option<&str>) -> Self {
            Self { pool: Pool::new(16, 16), latch: Latch::new(&transport(rtp, false)) }
        }

        /// `A1` accepted alone, `A2` with an earlier one, `L`, `F`, `U`.
        fn admit(&mut self, from: &str, sequence: u16, at_ms: u64, agreed: bool) -> &'static str {
            let now = Timestamp::from_millis(at_ms);
            let packet = fixture::packet(&self.pool, fixture::SSRC, sequence, 0, now);
            match self.latch.admit(address(from), packet, agreed, now) {
                Admission::Accepted { earlier: Some(earlier), packet } => {
                    assert_eq!(earlier.sequence_number.wrapping_add(1), packet.sequence_number);
                    "A2"
                }
                Admission::Accepted { earlier: None, .. } => "A1",
                Admission::Learning => "L",
                Admission::Foreign => "F",
                Admission::UnknownPayloadType => "U",
            }
        }
    }

    #[test]
    fn the_address_in_the_sdp_is_heard_at_once() {
        let mut bench = Bench::new(Some(SDP));
        assert_eq!(bench.admit(OTHER, 1, 0, false), "F");
        assert_eq!(bench.admit(SDP, 1, 0, false), "U");
        assert_eq!(bench.admit(SDP, 1, 0, true), "A1");
        assert_eq!(bench.admit(SDP, 9, 1, false), "U");
        assert_eq!(bench.admit(OTHER, 1, 2, true), "F");
        assert_eq!(bench.admit(OTHER, 2, 3, true), "F");
        assert_eq!(bench.latch.remote_rtcp(), Some(address("192.0.2.1:4001")));
        assert_eq!(bench.pool.held(), 0);
    }

    #[test]
    fn another_source_needs_two_packets_in_sequence_within_a_second() {
        for (second, at, expected) in
            [(0, 1000, "A2"), (0, 1001, "L"), (1, 20, "L"), (65_535, 20, "L"), (65_534, 20, "L")]
        {
            let mut bench = Bench::new(None);
            assert_eq!(bench.admit(REAL, 65_535, 0, true), "L");
            assert_eq!(bench.admit(REAL, second, at, true), expected, "{second} at {at}");
            assert_eq!(bench.latch.is_latched(), expected == "A2");
            assert_eq!(bench.pool.held() == 0, expected == "A2");
            drop(bench.latch);
            assert_eq!(bench.pool.held(), 0);
        }
    }

    #[test]
    fn the_sdp_address_wins_within_three_seconds_and_not_later() {
        for (at, expected) in [(3019, "A1"), (3020, "F")] {
            let mut bench = Bench::new(Some(SDP));
            bench.admit(OTHER, 1, 0, true);
            assert_eq!(bench.admit(OTHER, 2, 20, true), "A2");
            assert_eq!(bench.admit(SDP, 1, at, true), expected, "{at}");
            let other = if expected == "A1" { "F" } else { "A1" };
            assert_eq!(bench.admit(OTHER, 3, at, true), other);
        }
    }

    #[test]
    fn silence_of_ten_seconds_opens_again() {
        let mut bench = Bench::new(Some(SDP));
        bench.admit(SDP, 1, 0, true);
        assert_eq!(bench.admit(REAL, 1, 10_000, true), "F");
        assert_eq!(bench.admit(REAL, 2, 10_001, true), "L");
        assert_eq!(bench.admit(REAL, 3, 10_021, true), "A2");
        assert_eq!(bench.admit(SDP, 2, 20_000, true), "F");
        assert_eq!(bench.latch.remote_rtp(), Some(address(REAL)));
        assert_eq!(bench.latch.remote_rtcp(), Some(address("198.51.100.7:61235")));
    }

    #[test]
    fn a_changed_address_lets_a_new_source_take_over_while_the_old_is_still_heard() {
        let mut bench = Bench::new(Some(SDP));
        bench.admit(REAL, 1, 0, true);
        bench.admit(REAL, 2, 20, true);
        let now = Timestamp::from_millis(60_000);
        bench.admit(REAL, 3, 60_000, true);
        bench.latch.set_transport(&transport(Some(SDP), false), now);
        assert_eq!(bench.admit(OTHER, 1, 60_010, true), "F", "nothing changed");
        bench.latch.set_transport(&transport(Some("192.0.2.1:5000"), false), now);
        assert_eq!(bench.admit(REAL, 4, 60_020, true), "A1");
        assert_eq!(bench.admit(OTHER, 1, 60_030, true), "L");
        assert_eq!(bench.admit(OTHER, 2, 60_040, true), "A2");
        assert_eq!(bench.admit(REAL, 5, 60_050, true), "F");
        assert_eq!(bench.admit("192.0.2.1:5000", 7, 60_060, true), "A1");
        assert_eq!(bench.admit(OTHER, 3, 60_070, true), "F");
    }

    #[test]
    fn a_spray_of_sources_holds_few_packets() {
        let mut bench = Bench::new(None);
        for port in 1000..1100 {
            assert_eq!(bench.admit(&format!("203.0.113.9:{port}"), port, 0, true), "L");
            assert!(bench.pool.held() <= CANDIDATES_MAX as u32);
        }
        bench.admit(REAL, 1, 1, true);
        bench.admit("203.0.113.9:9", 1, 2, true);
        assert_eq!(bench.admit(REAL, 2, 3, true), "A2");
        assert_eq!(bench.pool.held(), 0);
    }

    #[test]
    fn rtcp_is_heard_from_the_media_host_and_answered_where_it_comes_from() {
        let mut bench = Bench::new(Some(SDP));
        assert!(bench.latch.admit_rtcp(address("192.0.2.1:4001")));
        assert!(!bench.latch.admit_rtcp(address(OTHER)));
        bench.admit(REAL, 1, 0, true);
        bench.admit(REAL, 2, 20, true);
        assert!(!bench.latch.admit_rtcp(address("192.0.2.1:4001")));
        assert!(bench.latch.admit_rtcp(address("198.51.100.7:50000")));
        assert_eq!(bench.latch.remote_rtcp(), Some(address("198.51.100.7:50000")));
        let mut mux = Latch::new(&transport(Some(SDP), true));
        assert_eq!(mux.remote_rtcp(), Some(address(SDP)));
        mux.latch(address(REAL), Timestamp::ZERO);
        assert_eq!(mux.remote_rtcp(), Some(address(REAL)));
        let mut last_port = Latch::new(&transport(None, false));
        last_port.latch(address("192.0.2.1:65535"), Timestamp::ZERO);
        assert_eq!(last_port.remote_rtcp(), None);
    }
}
