//! Reads captured RTP and RTCP (RFC 3550), independently of the product's own code.

use super::pcap::Datagram;

/// One RTP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Sequence number.
    pub sequence_number: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What a sender report says of its clock.
#[derive(Clone, Copy, Debug)]
pub struct SenderReport {
    /// Wall clock in seconds.
    pub seconds: f64,
    /// The same moment in RTP time.
    pub timestamp: u32,
}

/// RTP packets to `port`, in order of arrival.
pub fn packets(datagrams: &[Datagram], port: u16) -> Vec<Packet> {
    datagrams
        .iter()
        .filter(|d| d.to == port && d.payload.len() > 12 && d.payload[0] >> 6 == 2)
        .filter(|d| !(64..96).contains(&(d.payload[1] & 0x7f)))
        .map(|d| {
            let bytes = &d.payload;
            assert_eq!(bytes[0] & 0x3f, 0, "padding, extension and CSRC are not what these peers send");
            Packet {
                sequence_number: u16::from_be_bytes([bytes[2], bytes[3]]),
                timestamp: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
                payload: bytes[12..].to_vec(),
            }
        })
        .collect()
}

/// Sender reports to `port`.
pub fn sender_reports(datagrams: &[Datagram], port: u16) -> Vec<SenderReport> {
    datagrams
        .iter()
        .filter(|d| d.to == port && d.payload.len() >= 28 && d.payload[1] == 200)
        .map(|d| {
            let word = |at: usize| u32::from_be_bytes(d.payload[at..at + 4].try_into().expect("four bytes"));
            SenderReport {
                seconds: f64::from(word(8)) + f64::from(word(12)) / 4_294_967_296.0,
                timestamp: word(16),
            }
        })
        .collect()
}

impl SenderReport {
    /// Wall clock of RTP time `timestamp`, in seconds.
    pub fn seconds_of(&self, timestamp: u32, clock_rate_hz: f64) -> f64 {
        self.seconds + f64::from(timestamp.wrapping_sub(self.timestamp) as i32) / clock_rate_hz
    }
}
