//! Puts captured RTP back into NAL units (RFC 6184), independently of the product's own code.

use super::rtp::Packet;

/// One NAL unit as it left the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NalUnit {
    /// RTP timestamp of its access unit.
    pub timestamp: u32,
    /// The whole NAL unit.
    pub bytes: Vec<u8>,
}

/// NAL units of a stream without loss, in order of their sequence numbers.
pub fn nal_units(packets: &[Packet]) -> Vec<NalUnit> {
    for pair in packets.windows(2) {
        assert_eq!(
            pair[0].sequence_number.wrapping_add(1),
            pair[1].sequence_number,
            "loopback loses nothing"
        );
    }
    let mut units = Vec::new();
    let mut open: Option<NalUnit> = None;
    for Packet { timestamp, payload, .. } in packets {
        let timestamp = *timestamp;
        match payload[0] & 0x1f {
            1..=23 => units.push(NalUnit { timestamp, bytes: payload.clone() }),
            24 => {
                let mut rest = &payload[1..];
                while rest.len() > 2 {
                    let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    units.push(NalUnit { timestamp, bytes: rest[2..2 + len].to_vec() });
                    rest = &rest[2 + len..];
                }
            }
            28 => {
                let (start, end) = (payload[1] & 0x80 != 0, payload[1] & 0x40 != 0);
                if start {
                    open = Some(NalUnit { timestamp, bytes: vec![payload[0] & 0xe0 | payload[1] & 0x1f] });
                }
                open.as_mut().expect("a fragment follows its start").bytes.extend(&payload[2..]);
                if end {
                    units.extend(open.take());
                }
            }
            other => panic!("NAL unit type {other} is not what these peers send"),
        }
    }
    units
}
