//! A conference service's double: one call over UDP, TCP or TLS, with the demands of the service it stands for. It
//! reads SIP as text and sends media by FFmpeg, so that nothing of the product checks itself.
//!
//! A room that has a passcode sends media only after it was keyed in, by RFC 4733 events or by INFO.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::libsrtp::{Libsrtp, base64, from_base64};
use super::ports;
use super::process::{Process, directory, run};

/// How calls come in.
#[derive(Clone)]
pub enum Way {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls(Arc<ServerConfig>),
}

/// What a room says to SRTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Srtp {
    /// 488 to RTP/SAVP and no answer to a=crypto.
    Refused,
    /// Protects when it is offered.
    Taken,
    /// 488 to an offer without keys.
    Demanded,
}

/// What a room is like.
#[derive(Clone)]
pub struct Demands {
    /// How calls come in.
    pub way: Way,
    /// Its address.
    pub address: IpAddr,
    /// SRTP.
    pub srtp: Srtp,
    /// What must be keyed in, with its `#`; empty: media comes at once.
    pub passcode: &'static str,
    /// It answers 405 to INFO, and counts no digit that came so.
    pub no_info: bool,
    /// `telephone-event` is in its answer.
    pub events: bool,
    /// 488 to RTP/AVPF and RTP/SAVPF.
    pub no_avpf: bool,
    /// The sound it sends.
    pub sound: Sound,
}

impl Demands {
    /// None: UDP on 127.0.0.1, no SRTP, media at once.
    pub fn none() -> Self {
        Self {
            way: Way::Udp,
            address: Ipv4Addr::LOCALHOST.into(),
            srtp: Srtp::Refused,
            passcode: "",
            no_info: false,
            events: true,
            no_avpf: false,
            sound: Sound::default(),
        }
    }
}

/// The sound of a room.
#[derive(Clone)]
pub struct Sound {
    /// Encoding name and clock rate, as in `a=rtpmap`, without channels.
    pub rtpmap: &'static str,
    /// FFmpeg's encoder and its options.
    pub encoder: &'static [&'static str],
    /// What is encoded.
    pub file: PathBuf,
}

impl Default for Sound {
    /// A tone in PCMU.
    fn default() -> Self {
        static TONE: OnceLock<PathBuf> = OnceLock::new();
        let file = TONE.get_or_init(|| {
            let file = directory("tone").join("tone.wav");
            run(Command::new("ffmpeg")
                .args([
                    "-v",
                    "error",
                    "-y",
                    "-f",
                    "lavfi",
                    "-i",
                    "sine=frequency=440:sample_rate=8000",
                    "-t",
                    "60",
                ])
                .arg(&file));
            file
        });
        Self { rtpmap: "PCMU/8000", encoder: &["-c:a", "pcm_mulaw", "-ar", "8000"], file: file.clone() }
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// INVITEs with their bodies, each once.
    pub invites: Vec<String>,
    /// Methods of all other requests.
    pub methods: Vec<String>,
    /// What was keyed in by RFC 4733.
    pub events: String,
    /// What was keyed in by INFO.
    pub infos: String,
    /// Whether media was protected.
    pub protected: bool,
    /// Whether media is sent.
    pub sending: bool,
}

/// A running room.
pub struct Room {
    /// Where calls come in.
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The room's own master key and salt.
const KEY: [u8; 30] = *b"0123456789abcdefghijklmnopqrst";

/// How long the room's sockets are waited for in a turn.
const TURN: Duration = Duration::from_millis(5);

impl Room {
    /// Opens it.
    pub fn open(demands: Demands) -> Self {
        let port = ports::free(1);
        let mut link = Link::bind(&demands, port);
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut call = Call::new(demands, port, seen);
                while !stop.load(Ordering::Relaxed) {
                    if let Some(message) = link.receive() {
                        call.handle(&message, &mut link);
                    }
                    call.listen();
                }
            })
        };
        Self { port, seen, stop, thread: Some(thread) }
    }

    /// What happened so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("the room's thread did not panic").clone()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the room's thread panicked");
    }
}

/// Where messages come from and go to.
enum Link {
    Udp {
        socket: UdpSocket,
        peer: Option<SocketAddr>,
    },
    Stream {
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        stream: Option<Box<dyn Stream>>,
        buffer: Vec<u8>,
    },
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Link {
    fn bind(demands: &Demands, port: u16) -> Self {
        let address = (demands.address, port);
        let tls = match &demands.way {
            Way::Udp => {
                let socket = UdpSocket::bind(address).expect("a free port");
                socket.set_read_timeout(Some(TURN)).expect("a socket");
                return Self::Udp { socket, peer: None };
            }
            Way::Tcp => None,
            Way::Tls(config) => Some(Arc::clone(config)),
        };
        let listener = TcpListener::bind(address).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        Self::Stream { listener, tls, stream: None, buffer: Vec::new() }
    }

    fn receive(&mut self) -> Option<String> {
        match self {
            Self::Udp { socket, peer } => {
                let mut datagram = [0; 65_536];
                let (len, from) = socket.recv_from(&mut datagram).ok()?;
                *peer = Some(from);
                Some(String::from_utf8(datagram[..len].to_vec()).expect("text"))
            }
            Self::Stream { listener, tls, stream, buffer } => {
                if stream.is_none() {
                    let Ok((socket, _)) = listener.accept() else {
                        std::thread::sleep(TURN);
                        return None;
                    };
                    *stream = Some(accepted(socket, tls.as_ref()));
                }
                let mut chunk = [0; 4096];
                match stream.as_mut().expect("just set").read(&mut chunk) {
                    Ok(len) if len > 0 => buffer.extend(&chunk[..len]),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    // It closed, or was none of ours: the next one may come.
                    Ok(_) | Err(_) => *stream = None,
                }
                framed(buffer)
            }
        }
    }

    fn send(&mut self, text: &str) {
        match self {
            Self::Udp { socket, peer } => {
                socket.send_to(text.as_bytes(), peer.expect("who spoke")).expect("sends");
            }
            Self::Stream { stream, .. } => {
                let stream = stream.as_mut().expect("connected");
                stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).expect("writes");
            }
        }
    }
}

fn accepted(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Box<dyn Stream> {
    socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(TURN))).expect("a socket");
    match tls {
        None => Box::new(socket),
        Some(config) => {
            let connection = ServerConnection::new(Arc::clone(config)).expect("a configuration");
            Box::new(StreamOwned::new(connection, socket))
        }
    }
}

/// Takes the first whole message off `buffer` (RFC 3261 §18.3).
fn framed(buffer: &mut Vec<u8>) -> Option<String> {
    while buffer.starts_with(b"\r\n") {
        buffer.drain(..2);
    }
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8(buffer[..head].to_vec()).expect("text");
    let body: usize = header(&text, "Content-Length").expect("Content-Length").parse().expect("a number");
    if buffer.len() < head + body {
        return None;
    }
    Some(String::from_utf8(buffer.drain(..head + body).collect()).expect("text"))
}

/// First value of a header.
pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    headers(message, name).next()
}

fn headers<'a>(message: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let head = message.split("\r\n\r\n").next().expect("a head");
    head.lines()
        .skip(1)
        .filter_map(move |line| line.split_once(':').filter(|(known, _)| known.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value.trim())
}

fn method(message: &str) -> &str {
    message.split(' ').next().expect("a word")
}

struct Call {
    demands: Demands,
    port: u16,
    seen: Arc<Mutex<Seen>>,
    /// The answer to each request by branch and method, for repetitions.
    answers: Vec<(String, String)>,
    /// Sound and picture; gone while FFmpeg has their ports.
    sockets: Option<(UdpSocket, UdpSocket)>,
    agreed: Option<Agreed>,
    confirmed: bool,
    latest_event: Option<u32>,
    sender: Option<Process>,
}

/// What offer and answer came to.
struct Agreed {
    audio: (SocketAddr, u8),
    video: Option<(SocketAddr, u8)>,
    events: Option<u8>,
    srtp: Option<Libsrtp>,
}

impl Call {
    fn new(demands: Demands, port: u16, seen: Arc<Mutex<Seen>>) -> Self {
        Self {
            demands,
            port,
            seen,
            answers: Vec::new(),
            sockets: None,
            agreed: None,
            confirmed: false,
            latest_event: None,
            sender: None,
        }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().expect("the test did not panic with it"));
    }

    fn handle(&mut self, message: &str, link: &mut Link) {
        if message.trim().is_empty() || message.starts_with("SIP/2.0") {
            return;
        }
        let branch = header(message, "Via").and_then(|via| via.split("branch=").nth(1)).expect("a branch");
        let key = format!("{} {}", branch.split(';').next().expect("a branch"), method(message));
        if let Some((_, answer)) = self.answers.iter().find(|(known, _)| *known == key) {
            link.send(&answer.clone());
            return;
        }
        let answer = match method(message) {
            "INVITE" => {
                self.note(|seen| seen.invites.push(message.to_owned()));
                self.answer(message)
            }
            other => {
                self.note(|seen| seen.methods.push(other.to_owned()));
                match other {
                    "ACK" => {
                        self.confirmed = self.agreed.is_some();
                        return;
                    }
                    "BYE" | "CANCEL" => {
                        self.sender = None;
                        self.note(|seen| seen.sending = false);
                        self.response(message, "200 OK", "")
                    }
                    "INFO" if self.demands.no_info => self.response(message, "405 Method Not Allowed", ""),
                    "INFO" => {
                        let body = message.split("\r\n\r\n").nth(1).unwrap_or_default();
                        let digit = body.lines().find_map(|line| line.strip_prefix("Signal="));
                        if let Some(digit) = digit {
                            self.note(|seen| seen.infos.push_str(digit.trim()));
                        }
                        self.response(message, "200 OK", "")
                    }
                    _ => self.response(message, "200 OK", ""),
                }
            }
        };
        self.answers.push((key, answer.clone()));
        link.send(&answer);
    }

    fn response(&self, request: &str, status: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route"] {
            headers(request, name).for_each(|value| text += &format!("{name}: {value}\r\n"));
        }
        let to = header(request, "To").expect("To");
        let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag=room") };
        text += &format!("From: {}\r\nTo: {to}\r\n", header(request, "From").expect("From"));
        for name in ["Call-ID", "CSeq"] {
            text += &format!("{name}: {}\r\n", header(request, name).expect("a header"));
        }
        let parameters = match self.demands.way {
            Way::Udp => "",
            Way::Tcp => ";transport=tcp",
            Way::Tls(_) => ";transport=tls",
        };
        text += &format!(
            "Contact: <sip:room@{}{parameters}>\r\n",
            SocketAddr::new(self.demands.address, self.port)
        );
        if !body.is_empty() {
            text += "Content-Type: application/sdp\r\n";
        }
        text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
    }

    /// Answers the offer by the demands.
    fn answer(&mut self, invite: &str) -> String {
        let offer = invite.split_once("\r\n\r\n").expect("a body").1;
        let media: Vec<&str> = offer.split("\r\nm=").skip(1).collect();
        let mut lines = String::new();
        let (mut audio, mut video, mut events, mut srtp) = (None, None, None, None);
        let refused = |problem: &str| self.response(invite, &format!("488 {problem}"), "");
        let sockets =
            (0..2).map(|_| UdpSocket::bind((self.demands.address, ports::free(2))).expect("a free port"));
        let sockets: Vec<UdpSocket> = sockets.collect();
        for description in media {
            let words: Vec<&str> = description.lines().next().expect("a line").split(' ').collect();
            let (kind, protocol) = (words[0], words[2]);
            let crypto = crypto(description);
            let secure = protocol.starts_with("RTP/SAVP");
            match self.demands.srtp {
                Srtp::Refused if secure => return refused("No SRTP Here"),
                Srtp::Demanded if crypto.is_none() => return refused("SRTP Only"),
                _ if secure && crypto.is_none() => return refused("No Key"),
                _ => {}
            }
            if self.demands.no_avpf && protocol.ends_with('F') {
                return refused("No AVPF Here");
            }
            let wanted = if kind == "audio" { self.demands.sound.rtpmap } else { "H264/90000" };
            let socket = &sockets[usize::from(kind == "video")];
            let taken = if kind == "video" { &mut video } else { &mut audio };
            let format = format_of(description, wanted);
            let (Some(format), "audio" | "video", None) = (format, kind, &taken) else {
                lines += &format!("m={kind} 0 {protocol} {}\r\n", words[3]);
                continue;
            };
            let connection = connection(description).or_else(|| connection(offer)).expect("c=");
            let port: u16 = words[1].parse().expect("a port");
            *taken = Some((SocketAddr::new(connection, port), format));
            let own = socket.local_addr().expect("bound").port();
            let event = (kind == "audio" && self.demands.events)
                .then(|| format_of(description, &format!("telephone-event/{}", clock_rate(wanted))))
                .flatten();
            events = events.or(event);
            let channels = if wanted.starts_with("opus") { "/2" } else { "" };
            let mut formats = format!("{format}");
            let mut maps = format!("a=rtpmap:{format} {wanted}{channels}\r\n");
            if let Some(event) = event {
                formats += &format!(" {event}");
                maps += &format!("a=rtpmap:{event} telephone-event/{}\r\n", clock_rate(wanted));
            }
            lines += &format!("m={kind} {own} {protocol} {formats}\r\n{maps}");
            if kind == "video" {
                lines += &format!(
                    "a=fmtp:{format} profile-level-id=42e01f;packetization-mode=1\r\na=sendonly\r\n"
                );
            }
            if let Some((tag, key)) = crypto.filter(|_| self.demands.srtp != Srtp::Refused) {
                lines += &format!("a=crypto:{tag} {SUITE} inline:{}\r\n", base64(&KEY));
                if kind == "audio" {
                    srtp = Some(Libsrtp::start(SUITE, &key));
                }
            }
        }
        let Some(audio) = audio else { return refused("No Sound In Common") };
        let family = if self.demands.address.is_ipv4() { 4 } else { 6 };
        let address = self.demands.address;
        let body = format!(
            "v=0\r\no=room 1 1 IN IP{family} {address}\r\ns=-\r\nc=IN IP{family} {address}\r\nt=0 0\r\n{lines}"
        );
        self.note(|seen| seen.protected = srtp.is_some());
        self.agreed = Some(Agreed { audio, video, events, srtp });
        for socket in &sockets {
            socket.set_nonblocking(true).expect("a socket");
        }
        let mut sockets = sockets.into_iter();
        self.sockets = sockets.next().zip(sockets.next());
        self.response(invite, "200 OK", &body)
    }

    /// Reads digits; begins to send when all that is asked for was keyed in.
    fn listen(&mut self) {
        let Some(agreed) = &mut self.agreed else { return };
        if let Some((audio, _)) = &self.sockets {
            let mut datagram = [0; 2048];
            while let Ok(len) = audio.recv(&mut datagram) {
                let packet = match &mut agreed.srtp {
                    None => Some(datagram[..len].to_vec()),
                    Some(srtp) => srtp.ask("unprotect", "rtp", &datagram[..len]),
                };
                let packet = packet.expect("authentic");
                let is_event = agreed.events.is_some_and(|format| packet[1] & 0x7f == format);
                let timestamp = u32::from_be_bytes(packet[4..8].try_into().expect("four bytes"));
                // The end of an event comes three times (RFC 4733 §2.5.1.4).
                if is_event && packet[13] & 0x80 != 0 && self.latest_event != Some(timestamp) {
                    self.latest_event = Some(timestamp);
                    let digit = b"0123456789*#ABCD"[usize::from(packet[12])];
                    self.seen.lock().expect("the test holds it briefly").events.push(char::from(digit));
                }
            }
        }
        let seen = self.seen.lock().expect("the test holds it briefly").clone();
        let keyed =
            seen.events.ends_with(self.demands.passcode) || seen.infos.ends_with(self.demands.passcode);
        if self.confirmed
            && self.sender.is_none()
            && keyed
            && !seen.methods.iter().any(|method| method == "BYE")
        {
            self.send_media();
        }
    }

    fn send_media(&mut self) {
        let agreed = self.agreed.as_ref().expect("agreed");
        let (audio, video) = self.sockets.take().expect("not sending");
        let ports = [audio, video].map(|socket| socket.local_addr().expect("bound").port());
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=30"]);
        command.args(["-re", "-i"]).arg(&self.demands.sound.file);
        let mut output = |options: &[&str], (to, format): (SocketAddr, u8), own: u16| {
            command.args(options).args(["-payload_type", &format.to_string(), "-f", "rtp"]);
            let scheme = if agreed.srtp.is_some() {
                command.args(["-srtp_out_suite", SUITE, "-srtp_out_params", &base64(&KEY)]);
                "srtp"
            } else {
                "rtp"
            };
            let local = format!("localrtpport={own}&localrtcpport={}", own + 1);
            command.arg(format!("{scheme}://{to}?rtcpport={}&{local}&pkt_size=1200", to.port() + 1));
        };
        if let Some(video) = agreed.video {
            let encoder = "-map 0:v -c:v libx264 -profile:v baseline -preset ultrafast -tune zerolatency -g 30 \
                           -pix_fmt yuv420p -b:v 800k";
            output(&encoder.split_whitespace().collect::<Vec<_>>(), video, ports[1]);
        }
        output(&[&["-map", "1:a"], self.demands.sound.encoder].concat(), agreed.audio, ports[0]);
        self.sender = Some(Process::start("ffmpeg", &directory("room"), &mut command));
        self.note(|seen| seen.sending = true);
    }
}

/// The one suite of the room.
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// Tag and key of the room's suite in a media description.
fn crypto(description: &str) -> Option<(&str, Vec<u8>)> {
    description.lines().filter_map(|line| line.strip_prefix("a=crypto:")).find_map(|line| {
        let mut words = line.split(' ');
        let (tag, suite, inline) = (words.next()?, words.next()?, words.next()?);
        let key = inline.strip_prefix("inline:")?.split('|').next()?;
        (suite == SUITE).then(|| (tag, from_base64(key)))
    })
}

/// The first payload type that is mapped to `wanted`; those of RFC 3551 need no mapping.
fn format_of(description: &str, wanted: &str) -> Option<u8> {
    let mapped = description.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")).find_map(|line| {
        let (format, name) = line.split_once(' ')?;
        let name = name.trim();
        let same = name.len() >= wanted.len() && name[..wanted.len()].eq_ignore_ascii_case(wanted);
        (same && matches!(&name[wanted.len()..], "" | "/1" | "/2")).then(|| format.parse().ok()).flatten()
    });
    let known = [("PCMU/8000", 0), ("PCMA/8000", 8), ("G722/8000", 9)];
    let known = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, format)| *format);
    let first = description.lines().next().expect("a line");
    mapped.or_else(|| known.filter(|known| first.split(' ').skip(3).any(|word| word == known.to_string())))
}

fn connection(text: &str) -> Option<IpAddr> {
    let line = text.lines().find_map(|line| line.strip_prefix("c=IN IP"))?;
    line[2..].trim().parse().ok()
}

fn clock_rate(rtpmap: &str) -> &str {
    rtpmap.split('/').nth(1).expect("a clock rate")
}
