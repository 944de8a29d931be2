//! RTMP server session: one client that publishes or plays one stream (Adobe RTMP 1.0 §7.2).
//! Takes: bytes of the client, answers to its requests, media to play. Gives: events, bytes to send.
//! Leaves out: sockets, who may publish, how publishers and players are joined (the origin).
//!
//! `connect` and `createStream` are answered at once; `publish` and `play` wait for [`ServerSession::accept`] or
//! [`ServerSession::reject`]. Rule of use: after each `handle_input`, poll events until `None`, then take the
//! output.

use std::collections::VecDeque;

use bytes::Bytes;
use sipcast_contract::Secret;

use super::amf0::{Amf0Error, Reader, Value};
use super::chunker::{Chunker, MessageHeader};
use super::command::{self, Command};
use super::control::{AcknowledgementWindow, Control, LIMIT_DYNAMIC};
use super::dechunker::{Dechunker, ReceivedMessage};
use super::handshake::ServerHandshake;
use super::{Fault, message_type};

/// What media a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// An FLV audio tag body.
    Audio,
    /// An FLV video tag body.
    Video,
    /// AMF data beginning with the name `onMetaData`: an FLV script tag body. Only sent, never in
    /// [`ServerEvent::Media`].
    Metadata,
}

/// What a client did. `Debug` shows the kind only: names and URLs hold keys.
#[derive(Clone, PartialEq, Eq)]
pub enum ServerEvent {
    /// `connect` came and was answered.
    Connected {
        /// Application name as the client gave it, with query if it had one.
        app: String,
        /// `tcUrl`; empty when the client gave none.
        tc_url: String,
    },
    /// `publish` came: accept or reject.
    PublishRequested {
        /// Stream name as the client gave it, with query if it had one.
        stream: Secret<String>,
    },
    /// `play` came: accept or reject.
    PlayRequested {
        /// Stream name as the client gave it, with query if it had one.
        stream: Secret<String>,
    },
    /// The publisher's metadata: AMF data from the name `onMetaData` on (without `@setDataFrame`).
    Metadata(Bytes),
    /// One message of the accepted publisher.
    Media {
        /// Audio or video.
        kind: MediaKind,
        /// Timestamp in ms; wraps at 2^32.
        timestamp_ms: u32,
        /// FLV tag body, not empty.
        body: Bytes,
    },
    /// The publisher or player ended its stream, or withdrew its request.
    Unpublished,
    /// Send the output, then close the connection.
    Closed,
}

impl std::fmt::Debug for ServerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connected { .. } => "Connected",
            Self::PublishRequested { .. } => "PublishRequested",
            Self::PlayRequested { .. } => "PlayRequested",
            Self::Metadata(_) => "Metadata",
            Self::Media { .. } => "Media",
            Self::Unpublished => "Unpublished",
            Self::Closed => "Closed",
        })
    }
}

/// One client's session.
pub struct ServerSession {
    /// `None` once it is complete.
    handshake: Option<ServerHandshake>,
    dechunker: Dechunker,
    chunker: Chunker,
    window: AcknowledgementWindow,
    connected: bool,
    role: Role,
    streams_created: u32,
    events: VecDeque<ServerEvent>,
    output: Vec<u8>,
}

/// What the client does, and on which message stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    None,
    PublishRequested(u32),
    PlayRequested(u32),
    Publishing(u32),
    Playing(u32),
}

impl ServerSession {
    /// Longest message taken, in bytes: an IDR picture of a very high bit rate. A longer one is a fault.
    pub const MESSAGE_LEN_MAX: usize = 4 << 20;

    /// Waits for a client's handshake; `seed` makes the filler of ours.
    pub fn new(seed: u64) -> Self {
        Self {
            handshake: Some(ServerHandshake::new(seed)),
            dechunker: Dechunker::new(Self::MESSAGE_LEN_MAX),
            chunker: Chunker::new(),
            window: AcknowledgementWindow::new(),
            connected: false,
            role: Role::None,
            streams_created: 0,
            events: VecDeque::new(),
            output: Vec::new(),
        }
    }

    /// Takes bytes of the client.
    ///
    /// # Errors
    /// A [`Fault`]: close the connection. Events that came before it are still to be polled.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut input = bytes;
        if let Some(handshake) = &mut self.handshake {
            if !handshake.handle_input(&mut input, &mut self.output)? {
                return Ok(());
            }
            self.handshake = None;
        }
        if let Some(acknowledgement) = self.window.received(bytes.len()) {
            self.send_control(acknowledgement);
        }
        while let Some(message) = self.dechunker.next_message(&mut input)? {
            self.handle_message(message)?;
        }
        Ok(())
    }

    /// Accepts the `publish` or `play` that waits; without one, does nothing.
    pub fn accept(&mut self) {
        match self.role {
            Role::PublishRequested(stream) => {
                self.role = Role::Publishing(stream);
                self.send_control(Control::StreamBegin(stream));
                self.send_status(stream, "status", "NetStream.Publish.Start", "Publishing.");
            }
            Role::PlayRequested(stream) => {
                self.role = Role::Playing(stream);
                self.send_control(Control::StreamBegin(stream));
                self.send_status(stream, "status", "NetStream.Play.Reset", "Playing and resetting.");
                self.send_status(stream, "status", "NetStream.Play.Start", "Started playing.");
            }
            _ => {}
        }
    }

    /// Refuses the `publish` or `play` that waits with an `onStatus` of level error, for example
    /// `NetStream.Publish.BadName`; [`ServerEvent::Closed`] follows. Without a request, does nothing.
    pub fn reject(&mut self, code: &str, description: &str) {
        if let Role::PublishRequested(stream) | Role::PlayRequested(stream) = self.role {
            self.role = Role::None;
            self.send_status(stream, "error", code, description);
            self.events.push_back(ServerEvent::Closed);
        }
    }

    /// Sends one message to an accepted player; does nothing for others. The body is copied to the output once.
    /// Bound the output by [`ServerSession::output_len`] before.
    pub fn send_media(&mut self, kind: MediaKind, timestamp_ms: u32, body: &Bytes) {
        let Role::Playing(message_stream) = self.role else { return };
        let (chunk_stream, type_id) = match kind {
            MediaKind::Audio => (AUDIO_CHUNK_STREAM, message_type::AUDIO),
            MediaKind::Video => (VIDEO_CHUNK_STREAM, message_type::VIDEO),
            MediaKind::Metadata => (DATA_CHUNK_STREAM, message_type::DATA_AMF0),
        };
        let header = MessageHeader { chunk_stream, timestamp_ms, type_id, message_stream };
        self.chunker.write(&header, body, &mut self.output);
    }

    /// Tells an accepted player that its stream has ended.
    pub fn send_end(&mut self) {
        if let Role::Playing(stream) = self.role {
            self.send_control(Control::StreamEof(stream));
            self.send_status(stream, "status", "NetStream.Play.UnpublishNotify", "The stream has ended.");
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// Bytes waiting in the output.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Moves the output behind what `out` holds.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            // The two vectors trade places, so that neither grows anew.
            std::mem::swap(out, &mut self.output);
        } else {
            out.append(&mut self.output);
        }
    }

    fn handle_message(&mut self, message: ReceivedMessage) -> Result<(), Fault> {
        match message.type_id {
            message_type::AUDIO => self.handle_media(MediaKind::Audio, message),
            message_type::VIDEO => self.handle_media(MediaKind::Video, message),
            message_type::DATA_AMF0 | message_type::DATA_AMF3 => self.handle_data(&message),
            message_type::COMMAND_AMF0 | message_type::COMMAND_AMF3 => {
                let command = Command::decode(message.type_id, &message.payload)?;
                self.handle_command(&command, message.message_stream)?;
            }
            type_id => match Control::decode(type_id, &message.payload)? {
                Some(Control::WindowAcknowledgementSize(window)) => self.window.set_window(window),
                Some(Control::PingRequest(time)) => self.send_control(Control::PingResponse(time)),
                // Shared objects, aggregates and the rest of control concern nothing we do.
                _ => {}
            },
        }
        Ok(())
    }

    fn handle_media(&mut self, kind: MediaKind, message: ReceivedMessage) {
        // An empty audio or video message is an encoder's way to say nothing.
        if self.role == Role::Publishing(message.message_stream) && !message.payload.is_empty() {
            let body = message.payload;
            self.events.push_back(ServerEvent::Media { kind, timestamp_ms: message.timestamp_ms, body });
        }
    }

    /// Takes `onMetaData`; other data, and metadata that is no AMF0 or beyond its limits, is passed over: a stream
    /// does not need it.
    fn handle_data(&mut self, message: &ReceivedMessage) {
        let data = command::without_format_byte(message.type_id, &message.payload);
        if self.role == Role::Publishing(message.message_stream)
            && let Ok(Some(metadata)) = find_metadata(data)
        {
            self.events.push_back(ServerEvent::Metadata(message.payload.slice_ref(metadata)));
        }
    }

    fn handle_command(&mut self, command: &Command, message_stream: u32) -> Result<(), Fault> {
        let transaction_id = command.transaction_id;
        if !self.connected && command.name != "connect" {
            return Err(Fault::Command);
        }
        match command.name.as_str() {
            "connect" => self.handle_connect(command)?,
            "createStream" => {
                self.streams_created = (self.streams_created + 1).min(STREAMS_MAX);
                let stream = f64::from(self.streams_created);
                self.send_command(0, &command::call_with_number("_result", transaction_id, stream));
            }
            "publish" => {
                let stream = self.begin_request(command, message_stream)?;
                self.role = Role::PublishRequested(message_stream);
                self.events.push_back(ServerEvent::PublishRequested { stream });
            }
            "play" => {
                let stream = self.begin_request(command, message_stream)?;
                self.role = Role::PlayRequested(message_stream);
                self.events.push_back(ServerEvent::PlayRequested { stream });
            }
            "releaseStream" => self.send_command(0, &command::call("_result", transaction_id, &[])),
            "FCPublish" => {
                self.send_command(0, &command::call("_result", transaction_id, &[]));
                self.send_notice("onFCPublish", "NetStream.Publish.Start", "Started publishing.");
            }
            "FCUnpublish" => {
                self.end_role();
                self.send_command(0, &command::call("_result", transaction_id, &[]));
                self.send_notice("onFCUnpublish", "NetStream.Unpublish.Success", "Stopped publishing.");
            }
            "deleteStream" | "closeStream" => self.end_role(),
            "close" => {
                self.end_role();
                self.events.push_back(ServerEvent::Closed);
            }
            "_checkbw" => self.send_command(0, &command::call("_result", transaction_id, &[])),
            "getStreamLength" => {
                self.send_command(0, &command::call_with_number("_result", transaction_id, 0.0));
            }
            // §7.2.1.2: a call that nobody knows; answers and notices of the client fall here too.
            _ => {}
        }
        Ok(())
    }

    fn handle_connect(&mut self, command: &Command) -> Result<(), Fault> {
        let text = |name| command.object.get(name).and_then(Value::as_str);
        let app = text("app").ok_or(Fault::Command)?.trim_matches('/').to_owned();
        if self.connected {
            return Err(Fault::Command);
        }
        let tc_url = text("tcUrl").unwrap_or_default().to_owned();
        self.connected = true;
        self.send_control(Control::WindowAcknowledgementSize(AcknowledgementWindow::DEFAULT));
        self.send_control(Control::SetPeerBandwidth(AcknowledgementWindow::DEFAULT, LIMIT_DYNAMIC));
        self.chunker.announce(&mut self.output);
        self.send_command(0, &command::connect_result(command.transaction_id));
        self.send_command(0, &command::call("onBWDone", 0.0, &[]));
        self.events.push_back(ServerEvent::Connected { app, tc_url });
        Ok(())
    }

    /// Stream name of a `publish` or `play`, which comes on a created message stream, one at a time.
    fn begin_request(&self, command: &Command, message_stream: u32) -> Result<Secret<String>, Fault> {
        let name = command.text_argument().filter(|name| !name.is_empty()).ok_or(Fault::Command)?;
        let created = (1..=self.streams_created).contains(&message_stream);
        if self.role != Role::None || !created {
            return Err(Fault::Command);
        }
        Ok(Secret::new(name.to_owned()))
    }

    fn end_role(&mut self) {
        if std::mem::replace(&mut self.role, Role::None) != Role::None {
            self.events.push_back(ServerEvent::Unpublished);
        }
    }

    fn send_control(&mut self, control: Control) {
        control.write(&mut self.chunker, &mut self.output);
    }

    fn send_status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        self.send_command(stream, &command::on_status(level, code, description));
    }

    fn send_notice(&mut self, name: &str, code: &str, description: &str) {
        self.send_command(0, &command::notice(name, "status", code, description));
    }

    fn send_command(&mut self, message_stream: u32, payload: &[u8]) {
        let type_id = message_type::COMMAND_AMF0;
        let header =
            MessageHeader { chunk_stream: COMMAND_CHUNK_STREAM, timestamp_ms: 0, type_id, message_stream };
        self.chunker.write(&header, payload, &mut self.output);
    }
}

/// The AMF data from the name `onMetaData` on. Players get it as it is: it must be AMF0 to the end.
fn find_metadata(data: &[u8]) -> Result<Option<&[u8]>, Amf0Error> {
    let mut reader = Reader::new(data);
    let mut metadata = data;
    let mut name = reader.value()?;
    if name.as_str() == Some("@setDataFrame") {
        metadata = reader.rest();
        name = reader.value()?;
    }
    while !reader.is_empty() {
        reader.value()?;
    }
    Ok((name.as_str() == Some("onMetaData")).then_some(metadata))
}

/// Shows the role only: input and output hold names and keys.
impl std::fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSession")
            .field("connected", &self.connected)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Message streams a client may create; only one is used.
const STREAMS_MAX: u32 = 16;
const COMMAND_CHUNK_STREAM: u8 = 3;
const AUDIO_CHUNK_STREAM: u8 = 4;
const DATA_CHUNK_STREAM: u8 = 5;
const VIDEO_CHUNK_STREAM: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::command::Connect;
    use crate::rtmp::handshake::{ClientHandshake, Mode};
    use crate::rtmp::random::SplitMix64;

    /// A client made of the wire parts.
    struct Client {
        session: ServerSession,
        chunker: Chunker,
        dechunker: Dechunker,
    }

    impl Client {
        fn new() -> Self {
            let mut session = ServerSession::new(1);
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            let mut handshake = ClientHandshake::new(Mode::Digest, 2, &mut to_server);
            session.handle_input(&to_server).expect("valid");
            session.take_output(&mut to_client);
            to_server.clear();
            let mut input = &to_client[..];
            assert_eq!(handshake.handle_input(&mut input, &mut to_server), Ok(true));
            session.handle_input(&to_server).expect("valid");
            Self { session, chunker: Chunker::new(), dechunker: Dechunker::new(100_000) }
        }

        fn connected() -> Self {
            let mut client = Self::new();
            let connect = Connect {
                app: "live",
                tc_url: "rtmp://h/live",
                flash_version: "x",
                swf_url: "",
                page_url: None,
            };
            client.send(0, message_type::COMMAND_AMF0, &command::connect(1.0, &connect)).expect("valid");
            client
                .send(0, message_type::COMMAND_AMF0, &command::call("createStream", 2.0, &[]))
                .expect("valid");
            let (app, tc_url) = ("live".to_owned(), "rtmp://h/live".to_owned());
            assert_eq!(client.events(), [ServerEvent::Connected { app, tc_url }]);
            let names: Vec<_> = client.commands().into_iter().map(|command| command.name).collect();
            assert_eq!(names, ["_result", "onBWDone", "_result"]);
            client
        }

        fn publishing() -> Self {
            let mut client = Self::connected();
            client.call(1, &command::call("publish", 3.0, &["key", "live"]));
            let stream = Secret::new("key".to_owned());
            assert_eq!(client.events(), [ServerEvent::PublishRequested { stream }]);
            client.session.accept();
            assert_eq!(client.commands()[0].status().expect("has one").code, "NetStream.Publish.Start");
            client
        }

        fn send(&mut self, stream: u32, type_id: u8, payload: &[u8]) -> Result<(), Fault> {
            let header = MessageHeader { chunk_stream: 3, timestamp_ms: 5, type_id, message_stream: stream };
            let mut bytes = Vec::new();
            self.chunker.write(&header, payload, &mut bytes);
            self.session.handle_input(&bytes)
        }

        fn call(&mut self, stream: u32, payload: &[u8]) {
            self.send(stream, message_type::COMMAND_AMF0, payload).expect("valid");
        }

        fn events(&mut self) -> Vec<ServerEvent> {
            std::iter::from_fn(|| self.session.poll_event()).collect()
        }

        fn messages(&mut self) -> Vec<ReceivedMessage> {
            let mut out = Vec::new();
            self.session.take_output(&mut out);
            let mut input = &out[..];
            std::iter::from_fn(|| self.dechunker.next_message(&mut input).expect("valid")).collect()
        }

        fn commands(&mut self) -> Vec<Command> {
            let commands = self.messages().into_iter().filter(|m| m.type_id == message_type::COMMAND_AMF0);
            commands.map(|m| Command::decode(m.type_id, &m.payload).expect("valid")).collect()
        }
    }

    #[test]
    fn a_publisher_is_accepted_and_its_media_comes_out() {
        let mut client = Client::publishing();
        let mut data = Vec::new();
        crate::rtmp::amf0::write_string(&mut data, "@setDataFrame");
        let at = data.len();
        crate::rtmp::amf0::write_string(&mut data, "onMetaData");
        crate::rtmp::amf0::begin_ecma_array(&mut data, 0);
        crate::rtmp::amf0::end_object(&mut data);
        client.send(1, message_type::DATA_AMF0, &data).expect("valid");
        client.send(1, message_type::AUDIO, b"audio").expect("valid");
        client.send(1, message_type::VIDEO, b"video").expect("valid");
        client.send(1, message_type::VIDEO, b"").expect("valid");
        client.send(2, message_type::VIDEO, b"elsewhere").expect("valid");
        let media = |kind, body| ServerEvent::Media { kind, timestamp_ms: 5, body: Bytes::from_static(body) };
        let expected = [
            ServerEvent::Metadata(Bytes::copy_from_slice(&data[at..])),
            media(MediaKind::Audio, b"audio"),
            media(MediaKind::Video, b"video"),
        ];
        assert!(client.events() == expected);
        client.call(0, &command::call("FCUnpublish", 6.0, &["key"]));
        client.call(0, &command::call_with_number("deleteStream", 7.0, 1.0));
        assert_eq!(client.events(), [ServerEvent::Unpublished]);
    }

    #[test]
    fn a_rejected_publisher_hears_why() {
        let mut client = Client::connected();
        client.call(1, &command::call("publish", 3.0, &["key", "live"]));
        client.events();
        client.session.reject("NetStream.Publish.BadName", "taken");
        let commands = client.commands();
        let status = commands[0].status().expect("has one");
        assert_eq!((status.level, status.code), ("error", "NetStream.Publish.BadName"));
        assert_eq!(client.events(), [ServerEvent::Closed]);
    }

    #[test]
    fn a_player_gets_what_is_sent() {
        let mut client = Client::connected();
        client.call(1, &command::call("play", 3.0, &["key"]));
        let stream = Secret::new("key".to_owned());
        assert_eq!(client.events(), [ServerEvent::PlayRequested { stream }]);
        client.session.send_media(MediaKind::Video, 1, &Bytes::from_static(b"too early"));
        client.session.accept();
        let body = Bytes::from(vec![9; 70_000]);
        client.session.send_media(MediaKind::Metadata, 0, &Bytes::from_static(b"m"));
        client.session.send_media(MediaKind::Video, 0x100_0000, &body);
        client.session.send_end();
        let messages = client.messages();
        let video = messages.iter().find(|m| m.type_id == message_type::VIDEO).expect("sent");
        assert_eq!((video.timestamp_ms, video.message_stream, &video.payload), (0x100_0000, 1, &body));
        assert_eq!(messages.iter().filter(|m| m.type_id == message_type::VIDEO).count(), 1);
        assert_eq!(client.session.output_len(), 0);
    }

    #[test]
    fn pings_and_windows_are_answered() {
        let mut client = Client::connected();
        let mut bytes = Vec::new();
        Control::PingRequest(42).write(&mut client.chunker, &mut bytes);
        Control::WindowAcknowledgementSize(8000).write(&mut client.chunker, &mut bytes);
        client.session.handle_input(&bytes).expect("valid");
        let messages = client.messages();
        let answer = Control::decode(messages[0].type_id, &messages[0].payload);
        assert_eq!(answer, Ok(Some(Control::PingResponse(42))));
        client.send(0, message_type::AUDIO, &[0; 4000]).expect("valid");
        let types: Vec<_> = client.messages().iter().map(|m| m.type_id).collect();
        assert_eq!(types, [message_type::ACKNOWLEDGEMENT]);
    }

    #[test]
    fn commands_out_of_order_are_faults() {
        for call in ["createStream", "publish", "play"] {
            let mut client = Client::new();
            let payload = command::call(call, 1.0, &["x"]);
            assert_eq!(client.send(1, message_type::COMMAND_AMF0, &payload), Err(Fault::Command), "{call}");
        }
        let mut client = Client::publishing();
        let again = command::call("publish", 4.0, &["other", "live"]);
        assert_eq!(client.send(1, message_type::COMMAND_AMF0, &again), Err(Fault::Command));
        let mut client = Client::connected();
        let elsewhere = command::call("publish", 4.0, &["key", "live"]);
        assert_eq!(client.send(2, message_type::COMMAND_AMF0, &elsewhere), Err(Fault::Command));
        let mut client = Client::connected();
        let nameless = command::call("play", 4.0, &[]);
        assert_eq!(client.send(1, message_type::COMMAND_AMF0, &nameless), Err(Fault::Command));
    }

    #[test]
    fn nested_amf_is_a_fault_and_no_crash() {
        let mut client = Client::connected();
        let bomb = [3u8, 0, 1, b'x'].repeat(50_000);
        let fault = client.send(0, message_type::COMMAND_AMF0, &[&[2, 0, 1, b'c'][..], &bomb].concat());
        assert_eq!(fault, Err(Fault::Amf0(crate::rtmp::amf0::Amf0Error::TooDeep)));
    }

    #[test]
    fn broken_metadata_is_passed_over() {
        let mut client = Client::publishing();
        for data in [&b""[..], &[2, 0, 9], &[2, 0, 1, b'x'], &[5; 2000], &[3, 0, 1, b'x'].repeat(1000)] {
            client.send(1, message_type::DATA_AMF0, data).expect("valid");
            client.send(1, message_type::DATA_AMF3, data).expect("valid");
        }
        assert_eq!(client.events(), []);
    }

    #[test]
    fn a_mutated_session_ends_in_a_fault_or_goes_on() {
        let mut valid = Vec::new();
        let mut chunker = Chunker::new();
        chunker.announce(&mut valid);
        let connect =
            Connect { app: "live", tc_url: "rtmp://h/live", flash_version: "x", swf_url: "", page_url: None };
        let messages = [
            (0, message_type::COMMAND_AMF0, command::connect(1.0, &connect)),
            (0, message_type::COMMAND_AMF0, command::call("createStream", 2.0, &[])),
            (1, message_type::COMMAND_AMF0, command::call("publish", 3.0, &["key", "live"])),
            (1, message_type::DATA_AMF0, command::call("onMetaData", 0.0, &["x"])),
            (1, message_type::VIDEO, vec![7; 500]),
            (0, message_type::COMMAND_AMF0, command::call("FCUnpublish", 6.0, &["key"])),
        ];
        for (message_stream, type_id, payload) in messages {
            let header = MessageHeader { chunk_stream: 3, timestamp_ms: 0xff_fffe, type_id, message_stream };
            chunker.write(&header, &payload, &mut valid);
        }
        let mut faults = 0;
        for seed in 0..2000 {
            let mut random = SplitMix64::new(seed);
            let mut bytes = valid.clone();
            for _ in 0..random.below(6) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            let mut client = Client::new();
            for piece in bytes.chunks(1 + random.below(200) as usize) {
                if client.session.handle_input(piece).is_err() {
                    faults += 1;
                    break;
                }
                client.session.accept();
            }
            assert!(client.session.output_len() < 10_000, "seed {seed}");
        }
        assert!(faults > 0 && faults < 2000);
    }

    #[test]
    fn events_show_no_names() {
        let event = ServerEvent::PublishRequested { stream: Secret::new("s3cret".to_owned()) };
        assert!(!format!("{event:?}").contains("s3cret"));
    }
}
