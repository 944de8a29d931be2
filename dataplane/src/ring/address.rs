//! Socket addresses as the kernel writes them: family in host order, the rest in network order (ip(7), ipv6(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of the longest address, `struct sockaddr_in6`.
pub const LEN_MAX: usize = 28;

/// Reads an address; IPv4 mapped into IPv6 becomes IPv4 again. `None` for any other family.
pub fn read(name: &[u8]) -> Option<SocketAddr> {
    let family = libc::c_int::from(u16::from_ne_bytes(name.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    let address: IpAddr = match family {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(name.get(4..8)?).ok()?).into(),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(name.get(8..24)?).ok()?);
            match ip.to_ipv4_mapped() {
                Some(mapped) => mapped.into(),
                None => {
                    let flow = u32::from_be_bytes(name.get(4..8)?.try_into().ok()?);
                    let scope = u32::from_ne_bytes(name.get(24..28)?.try_into().ok()?);
                    return Some(SocketAddrV6::new(ip, port, flow, scope).into());
                }
            }
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Writes an address; gives how many bytes of it count.
pub fn write(address: SocketAddr, out: &mut [u8; LEN_MAX]) -> usize {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    out[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            out[4..8].copy_from_slice(&v4.ip().octets());
            out[8..16].fill(0);
            16
        }
        SocketAddr::V6(v6) => {
            out[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            out[8..24].copy_from_slice(&v6.ip().octets());
            out[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            LEN_MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:5004", "[2001:db8::1]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            let mut bytes = [0xaa; LEN_MAX];
            let len = write(address, &mut bytes);
            assert_eq!(read(&bytes[..len]), Some(address));
            assert_eq!(read(&bytes[..len / 4]), None);
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_self_and_other_families_are_none() {
        let mut bytes = [0; LEN_MAX];
        write("[::ffff:10.0.0.1]:9".parse().expect("an address"), &mut bytes);
        assert_eq!(read(&bytes), Some("10.0.0.1:9".parse().expect("an address")));
        assert_eq!(read(&[0; LEN_MAX]), None);
    }
}
