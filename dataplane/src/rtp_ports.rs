//! RTP and RTCP port pairs of a shard: even port for RTP, the next for RTCP (RFC 3550 §11).

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use sipcast_contract::report::Refusal;

use crate::ring::socket_option;

/// The shard's share of the port range, walked round so that a port rests as long as possible after a call:
/// late packets of an ended call must not reach a new one.
pub struct RtpPorts {
    min: u16,
    pairs: u16,
    /// Distance between this shard's pairs, in pairs.
    stride: u16,
    next: u16,
}

/// A bound pair.
pub struct PortPair {
    /// RTP port; RTCP is the next.
    pub port: u16,
    /// RTP socket.
    pub rtp: Rc<OwnedFd>,
    /// RTCP socket.
    pub rtcp: Rc<OwnedFd>,
}

impl RtpPorts {
    /// Every `shards`-th pair of `min..=max`, beginning with pair `index`.
    pub fn new(min: u16, max: u16, index: u16, shards: u16) -> Self {
        // The last port is odd: a range that begins with it has no pair.
        let min = min.checked_next_multiple_of(2).unwrap_or(u16::MAX);
        let pairs = if max > min { (max - min).div_ceil(2) } else { 0 };
        Self { min, pairs, stride: shards, next: index }
    }

    /// Binds a free pair on `address`.
    ///
    /// # Errors
    /// [`Refusal`]: the address is not ours, or no pair is free.
    pub fn bind(&mut self, address: IpAddr) -> Result<PortPair, Refusal> {
        for _ in 0..self.pairs.div_ceil(self.stride) {
            let Some(pair) = self.step() else { break };
            let port = self.min + pair * 2;
            match bind_pair(address, port) {
                Ok(pair) => return Ok(pair),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    return Err(Refusal::BadAddress);
                }
                Err(error) => {
                    tracing::warn!(%error, port, "RTP port pair cannot be bound");
                    return Err(Refusal::NoPorts);
                }
            }
        }
        Err(Refusal::NoPorts)
    }

    /// The next pair; `None` when there are more shards than pairs and this one has none.
    fn step(&mut self) -> Option<u16> {
        if self.next >= self.pairs {
            self.next %= self.stride;
        }
        let pair = Some(self.next).filter(|pair| *pair < self.pairs)?;
        self.next = self.next.saturating_add(self.stride);
        Some(pair)
    }
}

fn bind_pair(address: IpAddr, port: u16) -> io::Result<PortPair> {
    let bind = |port, prepare: fn(&OwnedFd) -> io::Result<()>| -> io::Result<Rc<OwnedFd>> {
        let socket: OwnedFd = UdpSocket::bind((address, port))?.into();
        prepare(&socket)?;
        Ok(Rc::new(socket))
    };
    let rtp = bind(port, socket_option::prepare_rtp)?;
    Ok(PortPair { port, rtp, rtcp: bind(port + 1, socket_option::prepare_rtcp)? })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn shards_share_the_range_without_overlap_and_a_port_rests() {
        let mut first = RtpPorts::new(20_001, 20_011, 0, 2);
        let mut second = RtpPorts::new(20_001, 20_011, 1, 2);
        let port = |ports: &mut RtpPorts| ports.step().map(|pair| ports.min + pair * 2);
        let firsts: Vec<u16> = (0..4).filter_map(|_| port(&mut first)).collect();
        let seconds: Vec<u16> = (0..3).filter_map(|_| port(&mut second)).collect();
        assert_eq!(firsts, [20_002, 20_006, 20_010, 20_002]);
        assert_eq!(seconds, [20_004, 20_008, 20_004]);
    }

    #[test]
    fn a_shard_without_a_pair_stays_inside_the_range() {
        let mut ports = RtpPorts::new(65_534, 65_535, 1, 2);
        assert_eq!(ports.bind(LOCALHOST).err(), Some(Refusal::NoPorts));
        let mut none = RtpPorts::new(65_535, 65_535, 0, 1);
        assert_eq!(none.bind(LOCALHOST).err(), Some(Refusal::NoPorts));
    }

    #[test]
    fn a_taken_port_is_passed_over_and_an_empty_range_says_so() {
        let taken = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port() & !1;
        let mut ports = RtpPorts::new(port, port + 1, 0, 1);
        assert_eq!(ports.bind(LOCALHOST).err(), Some(Refusal::NoPorts));
        drop(taken);
        let foreign = "192.0.2.1".parse().expect("an address");
        assert_eq!(ports.bind(foreign).err(), Some(Refusal::BadAddress));
    }
}
