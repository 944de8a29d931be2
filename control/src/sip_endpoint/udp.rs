//! The UDP sockets below the SIP stack: one for each address family, one face (RFC 3261 §18).
//! Takes: bound sockets. Gives: datagrams that may pass, to the stack; its own, to the peer's family.
//! Leaves out: which datagrams may pass (`admission`), when pings are due (`transport`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rsipstack::platform::net::UdpSocket as StackUdpSocket;
use tokio::net::UdpSocket;

use super::admission::{Screening, TokenBucket, screen};

/// The sockets, with a gate in front of the stack's parser.
pub(super) struct ScreenedSockets {
    first: UdpSocket,
    /// Of the other address family.
    second: Option<UdpSocket>,
    user_agent: String,
    /// Stateless answers cost nothing, yet must not make us a reflector for forged source addresses.
    answers: Mutex<TokenBucket>,
}

impl ScreenedSockets {
    pub fn new(first: UdpSocket, second: Option<UdpSocket>, user_agent: String) -> Self {
        let answers = Mutex::new(TokenBucket::new(STATELESS_ANSWERS_PER_S, STATELESS_ANSWERS_PER_S));
        Self { first, second, user_agent, answers }
    }

    /// Sends past the stack.
    pub async fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.towards(to.ip())?.send_to(datagram, to).await
    }

    fn towards(&self, remote: IpAddr) -> io::Result<&UdpSocket> {
        let is_of_family =
            |socket: &&UdpSocket| socket.local_addr().is_ok_and(|ours| ours.is_ipv4() == remote.is_ipv4());
        [Some(&self.first), self.second.as_ref()]
            .into_iter()
            .flatten()
            .find(is_of_family)
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Waits for a datagram of either family.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Some(second) = &self.second else { return self.first.recv_from(buffer).await };
        loop {
            let ready = tokio::select! {
                ready = self.first.readable() => ready.map(|()| &self.first),
                ready = second.readable() => ready.map(|()| second),
            }?;
            match ready.try_recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }
}

#[async_trait::async_trait]
impl StackUdpSocket for ScreenedSockets {
    async fn recv_from(&self, buffer: &mut [u8]) -> rsipstack::Result<(usize, SocketAddr)> {
        loop {
            let (length, from) = match self.receive(buffer).await {
                Ok(received) => received,
                Err(_) => {
                    // The stack would ask again at once and spin.
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                }
            };
            if length == buffer.len() {
                continue; // Cut off by the kernel: not a whole message.
            }
            match screen(&buffer[..length], from, &self.user_agent) {
                Screening::Pass => return Ok((length, from)),
                Screening::Drop => {}
                Screening::Answer(answer) => {
                    let within_rate = self.answers.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if within_rate {
                        let _ = self.send(&answer, from).await;
                    }
                }
            }
        }
    }

    async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> rsipstack::Result<usize> {
        Ok(self.send(datagram, to).await?)
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.first.local_addr()?)
    }
}

const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// Stateless 501 and 505 answers; beyond it such datagrams are dropped.
const STATELESS_ANSWERS_PER_S: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_families_arrive_and_leave_by_their_own_socket() {
        let bind = |address: &'static str| UdpSocket::bind(address);
        let (Ok(v4), Ok(v6)) = (bind("127.0.0.1:0").await, bind("[::1]:0").await) else { return };
        let (to_v4, to_v6) = (v4.local_addr().expect("bound"), v6.local_addr().expect("bound"));
        let sockets = ScreenedSockets::new(v4, Some(v6), String::new());
        for (address, ours) in [("127.0.0.1:0", to_v4), ("[::1]:0", to_v6)] {
            let peer = bind(address).await.expect("a free port");
            peer.send_to(b"SIP/2.0 200 OK\r\n", ours).await.expect("sends");
            let mut buffer = [0; 100];
            let (length, from) = sockets.recv_from(&mut buffer).await.expect("receives");
            assert_eq!((length, from), (16, peer.local_addr().expect("bound")));
            sockets.send(b"x", from).await.expect("sends");
            assert_eq!(peer.recv_from(&mut buffer).await.expect("receives"), (1, ours));
        }
    }
}
