//! A raw caller for the callee's tests: SIP by string, RTP by hand, no code shared with what is tested.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// No answer within this is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

pub enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

pub struct Caller {
    pub wire: Wire,
    pub target: SocketAddr,
    pub local: SocketAddr,
    pub call_id: String,
    pub remote_tag: String,
    pub cseq: u32,
    pub branch: u32,
    pub audio: UdpSocket,
    pub video: UdpSocket,
    pub audio_rtcp: UdpSocket,
    pub video_rtcp: UdpSocket,
}

pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.trim())
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The port of the `m=` line of `kind`.
    pub fn port(&self, kind: &str) -> u16 {
        let prefix = format!("m={kind} ");
        let line =
            self.body().lines().find_map(|line| line.strip_prefix(prefix.as_str())).expect("a media line");
        line.split(' ').next().unwrap().parse().unwrap()
    }
}

async fn any_port() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

impl Caller {
    pub async fn udp(target: SocketAddr) -> Self {
        let socket = any_port().await;
        let local = socket.local_addr().unwrap();
        Self::new(Wire::Udp(socket), local, target).await
    }

    pub async fn tcp(target: SocketAddr) -> Self {
        let stream = TcpStream::connect(target).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let local = stream.local_addr().unwrap();
        Self::new(Wire::Tcp(stream, Vec::new()), local, target).await
    }

    async fn new(wire: Wire, local: SocketAddr, target: SocketAddr) -> Self {
        Self {
            wire,
            target,
            local,
            call_id: format!("call-{}", local.port()),
            remote_tag: String::new(),
            cseq: 0,
            branch: 0,
            audio: any_port().await,
            video: any_port().await,
            audio_rtcp: any_port().await,
            video_rtcp: any_port().await,
        }
    }

    pub fn offer(&self, attributes: &str, modes: &str) -> String {
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let video = match modes {
            "0" => {
                "m=video {v} RTP/AVPF 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=42e01f\r\n"
            }
            _ => {
                "m=video {v} RTP/AVPF 97\r\na=rtpmap:97 H264/90000\r\n\
                 a=fmtp:97 profile-level-id=42e01f;packetization-mode=1\r\n"
            }
        };
        let video = video.replace("{v}", &port(&self.video).to_string());
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=rtcp:{}\r\n{attributes}\
             {video}a=rtcp-fb:* nack pli\r\na=rtcp-fb:* ccm fir\r\na=rtcp:{}\r\n{attributes}",
            port(&self.audio),
            port(&self.audio_rtcp),
            port(&self.video_rtcp),
        )
    }

    /// The text of a request; a new branch and CSeq unless it is ACK or CANCEL.
    pub fn request(&mut self, method: &str, headers: &str, body: &str) -> String {
        if method != "ACK" && method != "CANCEL" {
            self.cseq += 1;
            self.branch += 1;
        }
        let transport = match self.wire {
            Wire::Udp(_) => "UDP",
            Wire::Tcp(..) => "TCP",
        };
        let to_tag =
            if self.remote_tag.is_empty() { String::new() } else { format!(";tag={}", self.remote_tag) };
        format!(
            "{method} sip:callee@{} SIP/2.0\r\nVia: SIP/2.0/{transport} {};branch=z9hG4bK{}-{};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller@127.0.0.1>;tag=caller\r\nTo: <sip:callee@127.0.0.1>{to_tag}\r\n\
             Call-ID: {}\r\nCSeq: {} {method}\r\nContact: <sip:caller@{}>\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.target,
            self.local,
            self.local.port(),
            self.branch,
            self.call_id,
            self.cseq,
            self.local,
            body.len()
        )
    }

    pub async fn send(&mut self, text: &str) {
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.send_to(text.as_bytes(), self.target).await.unwrap();
            }
            Wire::Tcp(stream, _) => stream.write_all(text.as_bytes()).await.unwrap(),
        }
    }

    /// The next message of the callee.
    pub async fn receive(&mut self) -> Answer {
        let text = timeout(PATIENCE, async {
            match &mut self.wire {
                Wire::Udp(socket) => {
                    let mut datagram = vec![0; 65_536];
                    let len = socket.recv(&mut datagram).await.unwrap();
                    String::from_utf8(datagram[..len].to_vec()).unwrap()
                }
                Wire::Tcp(stream, buffer) => loop {
                    let text = String::from_utf8(buffer.clone()).unwrap();
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let len: usize = head
                            .lines()
                            .find_map(|line| line.strip_prefix("Content-Length: "))
                            .map_or(0, |len| len.trim().parse().unwrap());
                        if body.len() >= len {
                            return String::from_utf8(buffer.drain(..head.len() + 4 + len).collect())
                                .unwrap();
                        }
                    }
                    assert_ne!(stream.read_buf(buffer).await.unwrap(), 0, "the callee closed");
                },
            }
        })
        .await
        .expect("an answer in time");
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, text }
    }

    pub async fn final_answer(&mut self) -> Answer {
        loop {
            let answer = self.receive().await;
            if answer.status >= 200 {
                return answer;
            }
        }
    }

    pub async fn exchange(&mut self, method: &str, headers: &str, body: &str) -> Answer {
        let text = self.request(method, headers, body);
        self.send(&text).await;
        self.final_answer().await
    }

    /// INVITE, 200, ACK.
    pub async fn call(&mut self, attributes: &str, modes: &str) -> Answer {
        let offer = self.offer(attributes, modes);
        let answer = self.exchange("INVITE", "Content-Type: application/sdp\r\n", &offer).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.remote_tag = answer.header("To").split("tag=").nth(1).unwrap().to_owned();
        self.acknowledge().await;
        answer
    }

    pub async fn acknowledge(&mut self) {
        self.branch += 1;
        let ack = self.request("ACK", "", "");
        self.send(&ack).await;
    }
}

/// One RTP packet.
#[derive(Clone, Debug)]
pub struct Rtp {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
    pub arrival: Instant,
}

pub async fn receive_rtp(socket: &UdpSocket) -> Rtp {
    let mut datagram = [0; 2_048];
    let len = timeout(PATIENCE, socket.recv(&mut datagram)).await.expect("RTP in time").unwrap();
    assert!(len > 12 && datagram[0] == 0x80, "a plain RTP header");
    let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().unwrap());
    Rtp {
        marker: datagram[1] & 0x80 != 0,
        payload_type: datagram[1] & 0x7f,
        sequence_number: u16::from_be_bytes([datagram[2], datagram[3]]),
        timestamp: word(4),
        ssrc: word(8),
        payload: datagram[12..len].to_vec(),
        arrival: Instant::now(),
    }
}

/// The NTP and RTP time of the first sender report.
pub async fn receive_report(socket: &UdpSocket) -> (f64, u32) {
    let mut datagram = [0; 2_048];
    loop {
        let len = timeout(PATIENCE, socket.recv(&mut datagram)).await.expect("RTCP in time").unwrap();
        if datagram[1] != 200 {
            continue;
        }
        assert!(datagram[..len].windows(2).any(|pair| pair == [0x81, 202]), "SDES follows");
        let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().unwrap());
        return (f64::from(word(8)) + f64::from(word(12)) / 4_294_967_296.0, word(16));
    }
}

/// Access units in Annex B from RTP; checks the sequence numbers.
#[derive(Default)]
pub struct Depacketizer {
    expected: Option<u16>,
    annex_b: Vec<u8>,
    pub nal_types: Vec<u8>,
    pub kinds: HashMap<u8, usize>,
}

impl Depacketizer {
    /// The access unit that `packet` ends: its octets and whether it is an IDR picture.
    pub fn push(&mut self, packet: &Rtp) -> Option<(Vec<u8>, bool)> {
        let expected = self.expected.unwrap_or(packet.sequence_number);
        assert_eq!(packet.sequence_number, expected, "no gap");
        self.expected = Some(expected.wrapping_add(1));
        assert!(packet.payload.len() + 12 <= 1_200, "MTU");
        let kind = packet.payload[0] & 0x1f;
        *self.kinds.entry(kind).or_default() += 1;
        match kind {
            24 => {
                let mut rest = &packet.payload[1..];
                while !rest.is_empty() {
                    let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    self.append(&rest[2..2 + len]);
                    rest = &rest[2 + len..];
                }
            }
            28 => {
                if packet.payload[1] & 0x80 != 0 {
                    self.append(&[(packet.payload[0] & 0xe0) | (packet.payload[1] & 0x1f)]);
                }
                self.annex_b.extend_from_slice(&packet.payload[2..]);
            }
            1..=23 => self.append(&packet.payload),
            _ => panic!("NAL unit type {kind}"),
        }
        packet.marker.then(|| {
            let idr = self.nal_types.contains(&5);
            self.nal_types.clear();
            (std::mem::take(&mut self.annex_b), idr)
        })
    }

    fn append(&mut self, nal_unit: &[u8]) {
        self.nal_types.push(nal_unit[0] & 0x1f);
        self.annex_b.extend_from_slice(&[0, 0, 0, 1]);
        self.annex_b.extend_from_slice(nal_unit);
    }
}

/// Receives video until an IDR picture ends; returns how many access units came with it.
pub async fn next_idr(socket: &UdpSocket, depacketizer: &mut Depacketizer) -> usize {
    for units in 1..1_000 {
        loop {
            if let Some((_, idr)) = depacketizer.push(&receive_rtp(socket).await) {
                if idr {
                    return units;
                }
                break;
            }
        }
    }
    panic!("no IDR picture");
}
