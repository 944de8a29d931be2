//! The next hop of a request, by name (RFC 3261 §8.1.2).
//! Takes: the addresses of a call, or a Route or remote target. Gives: what is to be located (RFC 3263).
//! Leaves out: locating (`name_service`), reaching it (`transport`).

use std::fmt;
use std::net::IpAddr;

use rsipstack::sip::{Scheme, Transport as StackTransport, Uri};
use sipcast_sip::Transport;
use sipcast_sip::addresses::Addresses;
use sipcast_sip::locate::Target;
use sipcast_sip::uri::Host;

use super::name_service;

/// Where a request goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NextHop {
    pub host: String,
    /// `None`: by SRV records, or the transport's own.
    pub port: Option<u16>,
    /// `None`: by NAPTR and SRV records, UDP without, TCP for what is too large for it.
    pub transport: Option<Transport>,
    /// TLS or nothing.
    pub secure: bool,
    /// A proxy or registrar, towards which NATs are to be kept open.
    pub keep_alive: bool,
    /// Somebody ordered it, rather than a peer naming it in a call: then it must be an allowed one.
    pub ordered: bool,
}

impl NextHop {
    /// Where an account's first request goes.
    pub fn first(addresses: &Addresses) -> Self {
        Self {
            host: addresses.next_hop.host.to_string(),
            port: addresses.next_hop.port,
            transport: addresses.transport,
            secure: addresses.secure,
            keep_alive: !addresses.routes.is_empty(),
            ordered: true,
        }
    }

    /// The same for a registrar, which reaches us through what REGISTER opened.
    pub fn kept_alive(mut self) -> Self {
        self.keep_alive = true;
        self
    }

    /// From the topmost Route or the Request-URI (RFC 3261 §8.1.2).
    pub fn from_uri(uri: &Uri) -> Self {
        let secure = uri.scheme == Some(Scheme::Sips);
        let transport = match rsipstack::sip::uri::ParamsExt::transport(uri) {
            _ if secure => Some(Transport::Tls),
            Some(StackTransport::Udp) => Some(Transport::Udp),
            Some(StackTransport::Tcp) => Some(Transport::Tcp),
            Some(StackTransport::Tls) => Some(Transport::Tls),
            _ => None,
        };
        Self {
            host: uri.host_with_port.host.to_string(),
            port: uri.host_with_port.port.map(|port| port.0),
            transport,
            secure,
            keep_alive: false,
            ordered: false,
        }
    }

    /// The address, if the host is one.
    pub fn literal(&self) -> Option<IpAddr> {
        match name_service::host(&self.host) {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }

    /// As RFC 3263 starts from it.
    pub fn target(&self) -> Target {
        Target {
            host: name_service::host(&self.host),
            port: self.port,
            transport: self.transport,
            secure: self.secure,
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.transport {
            Some(transport) => write!(f, ";transport={}", transport.name()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(uri: &str) -> NextHop {
        NextHop::from_uri(&Uri::try_from(uri).expect("a URI"))
    }

    #[test]
    fn a_next_hop_is_read_from_a_uri() {
        let tcp = hop("sip:a@[::1]:5070;transport=TCP;lr");
        assert_eq!(
            (tcp.literal(), tcp.port, tcp.transport),
            ("::1".parse().ok(), Some(5070), Some(Transport::Tcp))
        );
        assert_eq!(tcp.to_string(), "[::1]:5070;transport=tcp");
        let plain = hop("sip:pbx.example");
        assert_eq!((plain.literal(), plain.port, plain.transport, plain.secure), (None, None, None, false));
        assert_eq!(hop("sip:pbx.example;transport=tls").transport, Some(Transport::Tls));
        let secure = hop("sips:pbx.example;transport=tcp");
        assert_eq!((secure.transport, secure.secure), (Some(Transport::Tls), true));
    }
}
