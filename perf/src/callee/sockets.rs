//! The four UDP sockets of one media endpoint: RTP on an even port, RTCP on the next, for audio and for video.
//! Takes: the address to bind. Gives: sockets that do not block, and their ports.
//! Leaves out: who sends what (`sender`).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::sdp::LocalPorts;

/// Attempts to find two free neighbouring ports.
const ATTEMPTS: usize = 128;
/// Octets asked for in each direction, so that a burst for many calls fits.
const SOCKET_BUFFER_LEN: usize = 4 * 1024 * 1024;

/// RTP and RTCP for audio and video.
pub(super) struct Sockets {
    pub audio: UdpSocket,
    pub audio_rtcp: UdpSocket,
    pub video: UdpSocket,
    pub video_rtcp: UdpSocket,
    pub ports: LocalPorts,
}

impl Sockets {
    /// Binds four free ports of `address`.
    ///
    /// # Errors
    /// When the address is not ours or no pair of ports is free.
    pub fn bind(address: IpAddr) -> io::Result<Self> {
        let (audio, audio_rtcp) = pair(address)?;
        let (video, video_rtcp) = pair(address)?;
        let ports = LocalPorts {
            address,
            audio: audio.local_addr()?.port(),
            audio_rtcp: audio_rtcp.local_addr()?.port(),
            video: video.local_addr()?.port(),
            video_rtcp: video_rtcp.local_addr()?.port(),
        };
        Ok(Self { audio, audio_rtcp, video, video_rtcp, ports })
    }
}

// RFC 3550 §11: RTP on an even port, RTCP on the next higher one.
fn pair(address: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let rtp = open(SocketAddr::new(address, 0))?;
        let port = rtp.local_addr()?.port();
        if !port.is_multiple_of(2) {
            continue;
        }
        match open(SocketAddr::new(address, port + 1)) {
            Ok(rtcp) => return Ok((rtp, rtcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from(socket);
    // The system's limits may grant less; that is no error.
    let options = SockRef::from(&socket);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER_LEN);
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER_LEN);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_in_even_and_odd_pairs() {
        let sockets = Sockets::bind(IpAddr::from([127, 0, 0, 1])).unwrap();
        let ports = sockets.ports;
        assert!(ports.audio.is_multiple_of(2) && ports.video.is_multiple_of(2));
        assert_eq!((ports.audio + 1, ports.video + 1), (ports.audio_rtcp, ports.video_rtcp));
    }
}
