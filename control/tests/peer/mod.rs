//! A callee of its own for the tests: plain sockets, text, and rsip to read what we send, so that nothing of the SIP
//! stack under test checks itself.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod authority;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sipcast_contract::Secret;
use sipcast_control::sip_endpoint::{CallHandle, SipEndpoint, SipOptions};
use sipcast_sip::{
    Account, CallEnd, CallEvent, CallOrder, CallStatus, LocalMedia, MediaSecurity, Preferences, Transport,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(8);
pub const TAG: &str = "callee1";

/// An endpoint on a free port, with a short T1.
pub async fn endpoint() -> SipEndpoint {
    SipEndpoint::bind(options()).await.expect("a free port")
}

pub fn options() -> SipOptions {
    SipOptions { bind: LOCALHOST, port: 0, t1: Duration::from_millis(100), ..SipOptions::default() }
}

/// One SIP message as it was on the wire.
#[derive(Clone, Debug)]
pub struct Message {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub from: Option<SocketAddr>,
}

impl Message {
    fn parse(bytes: &[u8], from: Option<SocketAddr>) -> Self {
        let text = std::str::from_utf8(bytes).expect("text");
        // An independent parser accepts all that we send; rsip 0.4 reads no port after an IPv6 address.
        if !text.contains("[::1]:") {
            rsip::SipMessage::try_from(bytes.to_vec()).expect("rsip reads our message");
        }
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        let start = lines.next().expect("a start line").to_owned();
        let headers = lines
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { start, headers, body: body.to_owned(), from }
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().expect("a word")
    }

    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).expect("a URI")
    }

    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub fn header(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("{name} in {self:?}"))
    }

    pub fn sequence(&self) -> u32 {
        self.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("CSeq")
    }

    pub fn branch(&self) -> String {
        let via = self.header("Via");
        via.split("branch=").nth(1).and_then(|rest| rest.split(';').next()).expect("branch").to_owned()
    }

    pub fn contact(&self) -> String {
        self.header("Contact").trim_start_matches('<').split('>').next().expect("a URI").to_owned()
    }

    /// A parameter of a digest header.
    pub fn digest(&self, header: &str, name: &str) -> String {
        let value = self.header(header);
        let at = value.find(&format!("{name}=")).unwrap_or_else(|| panic!("{name} in {value}"));
        let rest = &value[at + name.len() + 1..];
        match rest.strip_prefix('"') {
            Some(rest) => rest.split('"').next().expect("a quote").to_owned(),
            None => rest.split(',').next().expect("a value").trim().to_owned(),
        }
    }
}

enum Socket {
    Udp(UdpSocket),
    Tcp { listener: TcpListener, tls: Option<TlsAcceptor>, stream: Option<Box<dyn Stream>>, buffer: Vec<u8> },
}

/// TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// The callee's or server's end.
pub struct Peer {
    socket: Socket,
    remote: Option<SocketAddr>,
    seen: Vec<(String, String)>,
    held_back: VecDeque<Message>,
    invite: Option<Message>,
    sequence: u32,
}

impl Peer {
    pub async fn udp() -> Self {
        Self::over(Socket::Udp(UdpSocket::bind((LOCALHOST, 0)).await.expect("a free port")))
    }

    pub async fn tcp() -> Self {
        Self::listening((LOCALHOST, 0).into(), None).await
    }

    /// One that speaks TLS only.
    pub async fn tls(acceptor: TlsAcceptor) -> Self {
        Self::listening((LOCALHOST, 0).into(), Some(acceptor)).await
    }

    /// Over TCP, or TLS, at an address.
    pub async fn listening(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        Self::over(Socket::Tcp { listener, tls, stream: None, buffer: Vec::new() })
    }

    /// Over UDP at an address.
    pub async fn udp_at(address: SocketAddr) -> Self {
        Self::over(Socket::Udp(UdpSocket::bind(address).await.expect("a free port")))
    }

    fn transport(&self) -> Transport {
        match self.socket {
            Socket::Udp(_) => Transport::Udp,
            Socket::Tcp { tls: None, .. } => Transport::Tcp,
            Socket::Tcp { .. } => Transport::Tls,
        }
    }

    fn over(socket: Socket) -> Self {
        Self {
            socket,
            remote: None,
            seen: Vec::new(),
            held_back: VecDeque::new(),
            invite: None,
            sequence: 100,
        }
    }

    pub fn address(&self) -> SocketAddr {
        match &self.socket {
            Socket::Udp(socket) => socket.local_addr().expect("bound"),
            Socket::Tcp { listener, .. } => listener.local_addr().expect("bound"),
        }
    }

    pub fn account(&self) -> Account {
        Account {
            login: "caster".into(),
            authentication_name: "caster-auth".into(),
            password: Secret::new("s3cret".into()),
            domain: self.address().ip().to_string(),
            port: self.address().port(),
            outbound_proxy: None,
            transport: Some(self.transport()),
            register: false,
            visible_name: Some("Town Hall".into()),
        }
    }

    pub fn order(&self) -> CallOrder {
        CallOrder {
            account: self.account(),
            callee: "8801".into(),
            media: LocalMedia { address: LOCALHOST, audio_port: Some(40_000), video_port: Some(40_002) },
            security: MediaSecurity::Off,
            preferences: Preferences::default(),
        }
    }

    /// The next message, retransmissions too.
    pub async fn receive(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.receive_any()).await.expect("a message in time")
    }

    async fn receive_any(&mut self) -> Message {
        match &mut self.socket {
            Socket::Udp(socket) => {
                let mut buffer = [0; 65_536];
                let (length, from) = socket.recv_from(&mut buffer).await.expect("receives");
                self.remote = Some(from);
                Message::parse(&buffer[..length], Some(from))
            }
            Socket::Tcp { listener, tls, stream, buffer } => loop {
                if let Some(message) = framed(buffer) {
                    return message;
                }
                let stream = match stream {
                    Some(stream) => stream,
                    None => stream.insert(accepted(listener, tls.as_ref()).await),
                };
                let mut chunk = [0; 4096];
                let length = stream.read(&mut chunk).await.expect("reads");
                assert!(length > 0, "the connection stays open");
                buffer.extend_from_slice(&chunk[..length]);
            },
        }
    }

    /// The next new request of this method; other new requests wait, retransmissions are passed over.
    pub async fn expect(&mut self, method: &str) -> Message {
        if let Some(at) = self.held_back.iter().position(|message| message.method() == method) {
            return self.held_back.remove(at).expect("present");
        }
        loop {
            let message = self.receive().await;
            let key = (message.branch(), message.start.clone());
            if message.method() != "ACK" && self.seen.contains(&key) {
                continue;
            }
            self.seen.push(key);
            if message.method() != method {
                self.held_back.push_back(message);
                continue;
            }
            if method == "INVITE" {
                self.invite = Some(message.clone());
            }
            return message;
        }
    }

    /// The final response to a request of ours with this CSeq method.
    pub async fn expect_response(&mut self, method: &str) -> Message {
        let wanted = format!("{} {method}", self.sequence);
        let of = |m: &Message| m.status() >= 200 && m.get("CSeq") == Some(wanted.as_str());
        if let Some(at) = self.held_back.iter().position(of) {
            return self.held_back.remove(at).expect("present");
        }
        loop {
            let message = self.receive().await;
            if of(&message) {
                return message;
            }
            if message.status() == 0 {
                self.held_back.push_back(message);
            }
        }
    }

    pub async fn send(&mut self, text: String) {
        match &mut self.socket {
            Socket::Udp(socket) => {
                let remote = self.remote.expect("somebody spoke");
                socket.send_to(text.as_bytes(), remote).await.expect("sends");
            }
            Socket::Tcp { stream, .. } => {
                let stream = stream.as_mut().expect("connected");
                stream.write_all(text.as_bytes()).await.expect("writes");
                stream.flush().await.expect("flushes");
            }
        }
    }

    /// Sends out-of-the-blue text to an endpoint.
    pub async fn send_to(&mut self, remote: SocketAddr, text: String) {
        self.remote = Some(remote);
        self.send(text).await;
    }

    /// Answers a request; `extra` are header lines.
    pub async fn reply(&mut self, request: &Message, status: &str, extra: &[&str], body: &str) {
        self.reply_as(request, TAG, status, extra, body).await;
    }

    /// Closes the connection.
    pub fn hang_up(&mut self) {
        if let Socket::Tcp { stream, .. } = &mut self.socket {
            *stream = None;
        }
    }

    pub async fn reply_as(&mut self, request: &Message, tag: &str, status: &str, extra: &[&str], body: &str) {
        let text = self.response(request, tag, status, extra, body);
        self.send(text).await;
    }

    pub fn response(&self, request: &Message, tag: &str, status: &str, extra: &[&str], body: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for via in request.all("Via") {
            text += &format!("Via: {via}\r\n");
        }
        let to = request.header("To");
        let to = if to.contains(";tag=") || status.starts_with("100") {
            to.to_owned()
        } else {
            format!("{to};tag={tag}")
        };
        text += &format!("From: {}\r\nTo: {to}\r\n", request.header("From"));
        text += &format!("Call-ID: {}\r\nCSeq: {}\r\n", request.header("Call-ID"), request.header("CSeq"));
        if !extra.iter().any(|line| line.starts_with("Contact:")) {
            text += &format!("Contact: <{}>\r\n", self.contact());
        }
        for line in extra {
            text += &format!("{line}\r\n");
        }
        if !body.is_empty() {
            text += "Content-Type: application/sdp\r\n";
        }
        text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }

    fn contact(&self) -> String {
        match self.transport() {
            Transport::Udp => format!("sip:callee@{}", self.address()),
            transport => format!("sip:callee@{};transport={}", self.address(), transport.name()),
        }
    }

    /// Sends a request inside the dialog of the last INVITE.
    pub async fn request(&mut self, method: &str, extra: &[&str], body: &str) -> String {
        self.sequence += 1;
        let branch = format!("z9hG4bKpeer{}", self.sequence);
        self.request_as(method, self.sequence, &branch, extra, body).await;
        branch
    }

    /// The same with its own CSeq and branch: ACK, retransmissions.
    pub async fn request_as(
        &mut self,
        method: &str,
        sequence: u32,
        branch: &str,
        extra: &[&str],
        body: &str,
    ) {
        let invite = self.invite.clone().expect("an INVITE");
        let transport = self.transport().name().to_ascii_uppercase();
        let to = invite.header("To");
        let mut text = format!("{method} {} SIP/2.0\r\n", invite.contact());
        text +=
            &format!("Via: SIP/2.0/{transport} {};branch={branch}\r\nMax-Forwards: 70\r\n", self.address());
        text += &format!("From: {to};tag={TAG}\r\nTo: {}\r\n", invite.header("From"));
        text += &format!("Call-ID: {}\r\nCSeq: {sequence} {method}\r\n", invite.header("Call-ID"));
        text += &format!("Contact: <{}>\r\n", self.contact());
        for line in extra {
            text += &format!("{line}\r\n");
        }
        if !body.is_empty() {
            text += "Content-Type: application/sdp\r\n";
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.send(text).await;
    }

    /// Acknowledges a 2xx to our INVITE.
    pub async fn acknowledge(&mut self, body: &str) {
        let branch = format!("z9hG4bKack{}", self.sequence);
        self.request_as("ACK", self.sequence, &branch, &[], body).await;
    }

    /// Answers the first INVITE and takes the ACK.
    pub async fn establish(&mut self, call: &mut Caller, extra: &[&str]) -> Message {
        let invite = self.expect("INVITE").await;
        self.reply(&invite, "200 OK", extra, &answer(&invite.body, "sendrecv")).await;
        self.expect("ACK").await;
        call.until_established().await;
        invite
    }

    /// Nothing arrives for a while.
    pub async fn expect_silence(&mut self, length: Duration) {
        if let Ok(message) = tokio::time::timeout(length, self.receive_any()).await {
            panic!("unexpected {message:?}");
        }
    }
}

async fn accepted(listener: &TcpListener, tls: Option<&TlsAcceptor>) -> Box<dyn Stream> {
    let stream = listener.accept().await.expect("accepts").0;
    match tls {
        None => Box::new(stream),
        Some(tls) => Box::new(tls.accept(stream).await.expect("a handshake")),
    }
}

fn framed(buffer: &mut Vec<u8>) -> Option<Message> {
    let text = String::from_utf8_lossy(buffer).into_owned();
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length: usize = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|length| length.parse().ok())
        .expect("Content-Length over TCP");
    let total = head.len() + 4 + length;
    if buffer.len() < total {
        return None;
    }
    let bytes: Vec<u8> = buffer.drain(..total).collect();
    Some(Message::parse(&bytes, None))
}

/// An answer that takes PCMU and H.264 of an offer.
pub fn answer(offer: &str, direction: &str) -> String {
    answer_at(offer, direction, "127.0.0.1", 1)
}

pub fn answer_at(offer: &str, direction: &str, address: &str, version: u32) -> String {
    let h264 = offer
        .lines()
        .find_map(|line| {
            line.strip_prefix("a=rtpmap:")?.split_once(' ').filter(|(_, codec)| codec.starts_with("H264"))
        })
        .map(|(payload_type, _)| payload_type.to_owned())
        .expect("H264 offered");
    let mut text =
        format!("v=0\r\no=callee 7 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n");
    for line in offer.lines().filter(|line| line.starts_with("m=")) {
        let proto = line.split(' ').nth(2).expect("protocol");
        if line.starts_with("m=audio") {
            text += &format!("m=audio 50000 {proto} 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n");
        } else {
            let video = if direction == "sendrecv" { "sendonly" } else { direction };
            text += &format!("m=video 50002 {proto} {h264}\r\na=rtpmap:{h264} H264/90000\r\n");
            text += &format!("a=fmtp:{h264} profile-level-id=42e01f;packetization-mode=1\r\na={video}\r\n");
        }
    }
    text
}

/// Our side of a call in a test.
pub struct Caller {
    pub handle: CallHandle,
    pub past: Vec<CallEvent>,
}

impl Caller {
    pub fn new(handle: CallHandle) -> Self {
        Self { handle, past: Vec::new() }
    }

    pub async fn event(&mut self) -> CallEvent {
        let event = tokio::time::timeout(PATIENCE, self.handle.events.recv()).await;
        let event = event.expect("an event in time").expect("an event before the end");
        self.past.push(event.clone());
        event
    }

    pub async fn until(&mut self, wanted: impl Fn(&CallEvent) -> bool) -> CallEvent {
        loop {
            let event = self.event().await;
            if wanted(&event) {
                return event;
            }
            assert!(!matches!(event, CallEvent::Ended(_)), "ended early: {:?}", self.past);
        }
    }

    pub async fn until_established(&mut self) {
        self.until(|event| matches!(event, CallEvent::Established)).await;
    }

    pub async fn until_progress(&mut self, status: CallStatus) {
        self.until(|event| matches!(event, CallEvent::Progress { status: s, .. } if *s == status)).await;
    }

    /// The end, which is the last event.
    pub async fn end(&mut self) -> CallEnd {
        let event = loop {
            let event = self.event().await;
            if matches!(event, CallEvent::Ended(_)) {
                break event;
            }
        };
        let nothing = tokio::time::timeout(PATIENCE, self.handle.events.recv()).await.expect("closes");
        assert_eq!(nothing, None, "nothing follows the end");
        match event {
            CallEvent::Ended(end) => end,
            other => unreachable!("{other:?}"),
        }
    }
}
