//! What the scenarios share: an RTMP client on the wire parts of `sipcast_media`, HTTP by hand, an FLV reader.
#![allow(dead_code, reason = "each scenario uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sipcast_media::rtmp::command::{self, Command, Connect};
use sipcast_media::rtmp::handshake::{ClientHandshake, Mode};
use sipcast_media::rtmp::{Chunker, Dechunker, MessageHeader, ReceivedMessage, amf0, message_type};
use sipcast_origin::{Origin, OriginOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 0x42];
pub const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x11, 0x88];

pub fn options() -> OriginOptions {
    OriginOptions { rtmp_bind: SocketAddr::from(([127, 0, 0, 1], 0)), ..OriginOptions::default() }
}

pub fn origin(options: OriginOptions) -> Origin {
    Origin::bind(options).expect("a free port")
}

/// A picture of `len` bytes.
pub fn picture(idr: bool, len: usize) -> Vec<u8> {
    let mut body = vec![0x5a; len.max(5)];
    body[..5].copy_from_slice(&[if idr { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
    body
}

pub fn audio() -> Vec<u8> {
    vec![0xaf, 1, 0x21, 0x10, 0x04]
}

/// Waits for a change that nobody announces.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// An RTMP client.
pub struct Client {
    pub socket: TcpStream,
    chunker: Chunker,
    dechunker: Dechunker,
    received: Vec<u8>,
}

impl Client {
    /// Connected to `app`, with message stream 1 created.
    pub async fn connect(address: SocketAddr, app: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("listening");
        socket.set_nodelay(true).expect("connected");
        let mut out = Vec::new();
        let mut handshake = ClientHandshake::new(Mode::Digest, 7, &mut out);
        socket.write_all(&out).await.expect("connected");
        out.clear();
        let mut received = Vec::new();
        loop {
            assert!(socket.read_buf(&mut received).await.expect("connected") > 0);
            let mut input = &received[..];
            let done = handshake.handle_input(&mut input, &mut out).expect("valid");
            let left = input.len();
            received.drain(..received.len() - left);
            if done {
                break;
            }
        }
        socket.write_all(&out).await.expect("connected");
        let mut client =
            Self { socket, chunker: Chunker::new(), dechunker: Dechunker::new(8 << 20), received };
        let tc_url = format!("rtmp://{address}/{app}");
        let connect =
            Connect { app, tc_url: &tc_url, flash_version: "test", swf_url: &tc_url, page_url: None };
        client.command(0, &command::connect(1.0, &connect)).await;
        client.command(0, &command::call("createStream", 2.0, &[])).await;
        client
    }

    /// Asks to publish; the status code of the answer.
    pub async fn publish(&mut self, stream: &str) -> String {
        self.command(1, &command::call("publish", 3.0, &[stream, "live"])).await;
        self.status().await
    }

    /// A publisher of `live/stream` that was accepted and has sent its headers.
    pub async fn publisher(address: SocketAddr, stream: &str) -> Self {
        let mut client = Self::connect(address, "live").await;
        assert_eq!(client.publish(stream).await, "NetStream.Publish.Start");
        let mut metadata = Vec::new();
        amf0::write_string(&mut metadata, "@setDataFrame");
        amf0::write_string(&mut metadata, "onMetaData");
        amf0::begin_ecma_array(&mut metadata, 2);
        amf0::write_number_member(&mut metadata, "videocodecid", 7.0);
        amf0::write_number_member(&mut metadata, "audiocodecid", 10.0);
        amf0::end_object(&mut metadata);
        client.send(message_type::DATA_AMF0, 0, &metadata).await;
        client.send(message_type::VIDEO, 0, VIDEO_HEADER).await;
        client.send(message_type::AUDIO, 0, AUDIO_HEADER).await;
        client
    }

    /// Asks to play; the status code of the answer.
    pub async fn play(&mut self, stream: &str) -> String {
        self.command(1, &command::call("play", 3.0, &[stream])).await;
        let status = self.status().await;
        if status == "NetStream.Play.Reset" { self.status().await } else { status }
    }

    pub async fn unpublish(&mut self) {
        self.command(0, &command::call_with_number("deleteStream", 9.0, 1.0)).await;
    }

    pub async fn send(&mut self, type_id: u8, timestamp_ms: u32, body: &[u8]) {
        self.write(1, type_id, timestamp_ms, body).await;
    }

    /// The next message; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<ReceivedMessage> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let mut input = &self.received[..];
                let message = self.dechunker.next_message(&mut input).expect("valid");
                let left = input.len();
                self.received.drain(..self.received.len() - left);
                if message.is_some() {
                    return message;
                }
                if !matches!(self.socket.read_buf(&mut self.received).await, Ok(1..)) {
                    return None;
                }
            }
        })
        .await
        .expect("a message or the end")
    }

    /// The next message with media or metadata: type, timestamp, body.
    pub async fn next_media(&mut self) -> Option<(u8, u32, Bytes)> {
        loop {
            let message = self.next().await?;
            if matches!(message.type_id, message_type::AUDIO | message_type::VIDEO | message_type::DATA_AMF0)
            {
                return Some((message.type_id, message.timestamp_ms, message.payload));
            }
        }
    }

    /// The next status code.
    pub async fn status(&mut self) -> String {
        loop {
            let Some(message) = self.next().await else { return "closed".to_owned() };
            if message.type_id == message_type::COMMAND_AMF0 {
                let command = Command::decode(message.type_id, &message.payload).expect("valid");
                if command.name == "onStatus" {
                    return command.status().expect("has one").code.to_owned();
                }
            }
        }
    }

    async fn command(&mut self, message_stream: u32, payload: &[u8]) {
        self.write(message_stream, message_type::COMMAND_AMF0, 0, payload).await;
    }

    async fn write(&mut self, message_stream: u32, type_id: u8, timestamp_ms: u32, payload: &[u8]) {
        let chunk_stream = match type_id {
            message_type::AUDIO => 4,
            message_type::VIDEO => 6,
            _ => 3,
        };
        let header = MessageHeader { chunk_stream, timestamp_ms, type_id, message_stream };
        let mut out = Vec::new();
        self.chunker.write(&header, payload, &mut out);
        self.socket.write_all(&out).await.expect("the server reads");
    }
}

/// Mounts the router of `origin` on a port of its own.
pub async fn http(origin: &Origin) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let router = origin.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// An HTTP response whose body is read as it comes.
pub struct HttpResponse {
    pub socket: TcpStream,
    /// Status line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Sends a request; HTTP/1.0, so that the body comes as it is.
    pub async fn of(address: SocketAddr, method: &str, path: &str) -> Self {
        Self::of_request(address, &format!("{method} {path} HTTP/1.0\r\n\r\n")).await
    }

    pub async fn of_request(address: SocketAddr, request: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("listening");
        socket.write_all(request.as_bytes()).await.expect("connected");
        let mut response = Self { socket, head: String::new(), body: Vec::new() };
        let end = loop {
            assert!(response.read().await, "closed before the headers");
            if let Some(end) = response.body.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head: Vec<u8> = response.body.drain(..end).collect();
        response.head = String::from_utf8(head).expect("text").to_lowercase();
        response
    }

    pub async fn bytes(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.body.len() < len {
            if !self.read().await {
                return None;
            }
        }
        Some(self.body.drain(..len).collect())
    }

    pub async fn rest(mut self) -> Vec<u8> {
        while self.read().await {}
        self.body
    }

    /// The next FLV tag: type, timestamp, body.
    pub async fn tag(&mut self) -> Option<(u8, u32, Bytes)> {
        let head = self.bytes(11).await?;
        let len = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let timestamp_ms = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        let mut body = self.bytes(len + 4).await?;
        let size = body.split_off(len);
        assert_eq!(size, (len as u32 + 11).to_be_bytes());
        Some((head[0], timestamp_ms, body.into()))
    }

    async fn read(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.socket.read_buf(&mut self.body)).await;
        matches!(read.expect("bytes or the end"), Ok(1..))
    }
}
