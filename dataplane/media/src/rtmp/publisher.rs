//! RTMP publisher, and player: handshake, connect, createStream, publish, keep alive (Adobe RTMP 1.0 §7.2).
//! Takes: bytes of the server, time. Gives: bytes to send, and whether publishing has begun.
//! Leaves out: sockets, media messages and their queue (`target`), reconnecting (`target`, `back_off`).
//!
//! | phase        | awaits                        | then sends                                            |
//! |--------------|-------------------------------|-------------------------------------------------------|
//! | Handshake    | S0, S1, S2                    | Set Chunk Size, connect                               |
//! | Connect      | `_result` of connect          | releaseStream, FCPublish, createStream at once        |
//! | CreateStream | `_result` of createStream     | publish                                               |
//! | Publish      | `NetStream.Publish.Start`     | (media)                                               |
//!
//! A player sends createStream and Set Buffer Length, play and awaits `NetStream.Play.Start` instead (§7.2.2.1).
//!
//! Nobody waits for the answers to releaseStream and FCPublish: nginx-rtmp gives none. Each phase has
//! [`PHASE_TIMEOUT`]. One publisher serves one connection.

use std::fmt;
use std::time::Duration;

use sipcast_contract::report::TargetFault;
use sipcast_contract::{RtmpTarget, Secret, Timestamp};

use super::amf0::Value;
use super::chunker::{Chunker, MessageHeader};
use super::command::{self, Command, Connect};
use super::control::{AcknowledgementWindow, Control};
use super::dechunker::{Dechunker, ReceivedMessage};
use super::handshake::{ClientHandshake, Mode};
use super::player::{Played, PlayedMessage};
use super::{Fault, message_type};

/// How long the server may take for each phase.
pub const PHASE_TIMEOUT: Duration = Duration::from_secs(10);

/// The client's side of one connection. Its chunk streams are 2 and 3; media must use others.
pub struct Publisher {
    phase: Phase,
    deadline: Timestamp,
    app: Secret<String>,
    tc_url: Secret<String>,
    swf_url: Secret<String>,
    page_url: Option<Secret<String>>,
    flash_version: String,
    stream_name: Secret<String>,
    dechunker: Dechunker,
    chunker: Chunker,
    window: AcknowledgementWindow,
    /// Window that Set Peer Bandwidth was last answered with (§5.4.5).
    announced_window: Option<u32>,
    /// The server has said something.
    has_heard: bool,
    /// With what words `connect` was refused.
    refusal: Option<Secret<String>>,
    has_checked_bandwidth: bool,
    bandwidth_checks: u32,
    output: Vec<u8>,
    /// What the server plays; `None` for a publisher.
    played: Option<Played>,
}

enum Phase {
    Handshake(ClientHandshake),
    Connect,
    CreateStream,
    Publish { message_stream: u32 },
    Publishing { message_stream: u32 },
}

impl Publisher {
    /// Begins on a connection that just stands; `authentication` goes into the query of `app` and `tcUrl`, `seed` makes
    /// the handshake's filler.
    pub fn new(target: &RtmpTarget, authentication: &str, seed: u64, now: Timestamp) -> Self {
        let tc_url = target.tc_url.as_ref().map_or_else(|| target.url.tc_url(), |url| url.reveal().clone());
        // Encoders name no player; the response to a challenge has no business there.
        let swf_url = target.swf_url.clone().unwrap_or_else(|| Secret::new(tc_url.clone()));
        let mut output = Vec::with_capacity(4096);
        let handshake = ClientHandshake::new(Mode::Digest, seed, &mut output);
        Self {
            phase: Phase::Handshake(handshake),
            deadline: now + PHASE_TIMEOUT,
            app: Secret::new(with_query(target.url.app_with_query(), authentication)),
            tc_url: Secret::new(with_query(tc_url, authentication)),
            swf_url,
            page_url: target.page_url.clone(),
            flash_version: target.flash_version.clone(),
            stream_name: target.stream_name.clone(),
            dechunker: Dechunker::new(if target.plays { PLAYED_LEN_MAX } else { MESSAGE_LEN_MAX }),
            played: target.plays.then(Played::default),
            chunker: Chunker::new(),
            window: AcknowledgementWindow::new(),
            announced_window: None,
            has_heard: false,
            refusal: None,
            has_checked_bandwidth: false,
            bandwidth_checks: 0,
            output,
        }
    }

    /// Takes bytes of the server.
    ///
    /// # Errors
    /// What ended the connection; close it.
    pub fn handle_input(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), TargetFault> {
        // A TLS server sends an alert (RFC 8446 §6) in place of S0.
        if !std::mem::replace(&mut self.has_heard, true) && bytes.first() == Some(&TLS_ALERT) {
            return Err(TargetFault::NeedsTls);
        }
        let mut input = bytes;
        if let Phase::Handshake(handshake) = &mut self.phase {
            let done = handshake.handle_input(&mut input, &mut self.output);
            if !done.map_err(|_| TargetFault::Protocol)? {
                return Ok(());
            }
            self.send_connect(now);
        }
        if let Some(acknowledgement) = self.window.received(bytes.len()) {
            self.send_control(acknowledgement);
        }
        while let Some(message) =
            self.dechunker.next_message(&mut input).map_err(|_| TargetFault::Protocol)?
        {
            self.handle_message(&message, now)?;
            // A server that asks faster than it reads the answers.
            if self.output.len() > OUTPUT_LEN_MAX {
                return Err(TargetFault::Protocol);
            }
        }
        Ok(())
    }

    /// Call when [`Publisher::next_timeout`] is reached.
    ///
    /// # Errors
    /// [`TargetFault::TimedOut`] when the phase took too long.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Result<(), TargetFault> {
        match self.next_timeout() {
            Some(deadline) if deadline <= now => Err(TargetFault::TimedOut),
            _ => Ok(()),
        }
    }

    /// End of the phase; `None` once publishing: then the server need not say anything.
    pub const fn next_timeout(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Publishing { .. } => None,
            _ => Some(self.deadline),
        }
    }

    /// The message stream to publish on, once the server has agreed.
    pub const fn publishing(&self) -> Option<u32> {
        match self.phase {
            Phase::Publishing { message_stream } => Some(message_stream),
            _ => None,
        }
    }

    /// Whether the server has said anything yet.
    pub const fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// The words with which `connect` was refused, once; they may hold a challenge.
    pub fn take_refusal(&mut self) -> Option<Secret<String>> {
        self.refusal.take()
    }

    /// Ends publishing: FCUnpublish, deleteStream. Does nothing before it has begun.
    pub fn unpublish(&mut self) {
        if let Phase::Publishing { message_stream } = self.phase {
            if self.played.is_none() {
                let name = self.stream_name.clone();
                self.send_command(0, &command::call("FCUnpublish", UNPUBLISH, &[name.reveal()]));
            }
            let stream = f64::from(message_stream);
            self.send_command(0, &command::call_with_number("deleteStream", DELETE_STREAM, stream));
        }
    }

    /// The next message that the server plays.
    pub fn take_played(&mut self) -> Option<PlayedMessage> {
        self.played.as_mut()?.next()
    }

    /// Whether there is output.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Moves the output behind what `out` holds.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.output);
    }

    fn handle_message(&mut self, message: &ReceivedMessage, now: Timestamp) -> Result<(), TargetFault> {
        if matches!(message.type_id, message_type::COMMAND_AMF0 | message_type::COMMAND_AMF3) {
            let command =
                Command::decode(message.type_id, &message.payload).map_err(|_| TargetFault::Protocol)?;
            return self.handle_command(&command, now);
        }
        if let Some(played) = &mut self.played
            && matches!(self.phase, Phase::Publishing { .. })
            && !played.take(message)
        {
            return Err(TargetFault::Protocol);
        }
        let control = Control::decode(message.type_id, &message.payload).map_err(Fault::from);
        match control.map_err(|_| TargetFault::Protocol)? {
            Some(Control::WindowAcknowledgementSize(window)) => self.window.set_window(window),
            Some(Control::SetPeerBandwidth(window, _)) if self.announced_window != Some(window) => {
                self.announced_window = Some(window);
                self.send_control(Control::WindowAcknowledgementSize(window));
            }
            Some(Control::PingRequest(time)) => self.send_control(Control::PingResponse(time)),
            // Acknowledgements of ours, Stream Begin, data of the server: nothing follows from them.
            _ => {}
        }
        Ok(())
    }

    fn handle_command(&mut self, command: &Command, now: Timestamp) -> Result<(), TargetFault> {
        match command.name.as_str() {
            "_result" => self.handle_result(command, now),
            "_error" => self.handle_error(command),
            "onStatus" => self.handle_status(command),
            "onBWDone" => {
                if !std::mem::replace(&mut self.has_checked_bandwidth, true) {
                    self.send_command(0, &command::call("_checkbw", CHECK_BANDWIDTH, &[]));
                }
                Ok(())
            }
            "_onbwcheck" => {
                self.bandwidth_checks = self.bandwidth_checks.wrapping_add(1);
                let count = f64::from(self.bandwidth_checks);
                self.send_command(0, &command::call_with_number("_result", command.transaction_id, count));
                Ok(())
            }
            "ping" => {
                self.send_command(0, &command::call("pong", command.transaction_id, &[]));
                Ok(())
            }
            "close" => Err(TargetFault::ClosedByServer),
            // onFCPublish, _onbwdone and other notices.
            _ => Ok(()),
        }
    }

    fn handle_result(&mut self, command: &Command, now: Timestamp) -> Result<(), TargetFault> {
        match self.phase {
            Phase::Connect if command.transaction_id == CONNECT => {
                if self.played.is_none() {
                    let name = self.stream_name.clone();
                    self.send_command(0, &command::call("releaseStream", RELEASE_STREAM, &[name.reveal()]));
                    self.send_command(0, &command::call("FCPublish", FC_PUBLISH, &[name.reveal()]));
                }
                self.send_command(0, &command::call("createStream", CREATE_STREAM, &[]));
                self.enter(Phase::CreateStream, now);
            }
            Phase::CreateStream if command.transaction_id == CREATE_STREAM => {
                let number = command.arguments.first().and_then(Value::as_number);
                let number = number.filter(|n| (1.0..=f64::from(u32::MAX)).contains(n));
                // Within range by the line above; a fraction is dropped.
                let message_stream = number.ok_or(TargetFault::Protocol)? as u32;
                let name = self.stream_name.clone();
                let order = match self.played {
                    None => command::call("publish", PUBLISH, &[name.reveal(), "live"]),
                    Some(_) => {
                        self.send_control(Control::SetBufferLength(message_stream, BUFFER_MS));
                        command::call("play", PUBLISH, &[name.reveal()])
                    }
                };
                self.send_command(message_stream, &order);
                self.enter(Phase::Publish { message_stream }, now);
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_error(&mut self, command: &Command) -> Result<(), TargetFault> {
        match self.phase {
            Phase::Connect if command.transaction_id == CONNECT => {
                Err(self.connect_refused(command.status().map_or("", |status| status.description)))
            }
            Phase::CreateStream if command.transaction_id == CREATE_STREAM => {
                Err(TargetFault::PublishRefused)
            }
            Phase::Publish { .. } if command.transaction_id == PUBLISH => Err(TargetFault::PublishRefused),
            // releaseStream, FCPublish and _checkbw may fail: many servers do not know them.
            _ => Ok(()),
        }
    }

    fn handle_status(&mut self, command: &Command) -> Result<(), TargetFault> {
        let Some(status) = command.status() else { return Ok(()) };
        // Enhanced RTMP v2: for clients that said in connect that they can move; the others are closed when it is time.
        if status.code == "NetConnection.Connect.ReconnectRequest" {
            return Ok(());
        }
        if status.code.starts_with("NetConnection.Connect.") && status.code != "NetConnection.Connect.Success"
        {
            return Err(match self.phase {
                Phase::Handshake(_) | Phase::Connect => self.connect_refused(status.description),
                _ => TargetFault::ClosedByServer,
            });
        }
        if status.level == "error" {
            return Err(match self.phase {
                Phase::Handshake(_) | Phase::Connect => self.connect_refused(status.description),
                _ if status.code == "NetStream.Publish.BadName" => TargetFault::NameTaken,
                _ => TargetFault::PublishRefused,
            });
        }
        match (&self.phase, status.code) {
            (&Phase::Publish { message_stream }, "NetStream.Publish.Start") => {
                self.phase = Phase::Publishing { message_stream };
                Ok(())
            }
            (&Phase::Publish { message_stream }, "NetStream.Play.Start") if self.played.is_some() => {
                self.phase = Phase::Publishing { message_stream };
                Ok(())
            }
            // The stream's publisher left, or the server ends it: connected to anew, as a later one may come.
            (
                Phase::Publishing { .. },
                "NetStream.Play.Stop" | "NetStream.Play.UnpublishNotify" | "NetStream.Play.Complete",
            ) if self.played.is_some() => Err(TargetFault::ClosedByServer),
            (Phase::Publishing { .. }, "NetStream.Unpublish.Success") => Err(TargetFault::ClosedByServer),
            _ => Ok(()),
        }
    }

    fn connect_refused(&mut self, description: &str) -> TargetFault {
        self.refusal = Some(Secret::new(description.to_owned()));
        TargetFault::ConnectRefused
    }

    fn send_connect(&mut self, now: Timestamp) {
        self.chunker.announce(&mut self.output);
        let connect = Connect {
            app: self.app.reveal(),
            tc_url: self.tc_url.reveal(),
            flash_version: &self.flash_version,
            swf_url: self.swf_url.reveal(),
            page_url: self.page_url.as_ref().map(|url| url.reveal().as_str()),
        };
        let payload = command::connect(CONNECT, &connect);
        self.send_command(0, &payload);
        self.enter(Phase::Connect, now);
    }

    fn enter(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.deadline = now + PHASE_TIMEOUT;
    }

    fn send_control(&mut self, control: Control) {
        control.write(&mut self.chunker, &mut self.output);
    }

    fn send_command(&mut self, message_stream: u32, payload: &[u8]) {
        let type_id = message_type::COMMAND_AMF0;
        let header =
            MessageHeader { chunk_stream: COMMAND_CHUNK_STREAM, timestamp_ms: 0, type_id, message_stream };
        self.chunker.write(&header, payload, &mut self.output);
    }
}

/// Shows the phase only: names, URLs and output hold keys.
impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.phase {
            Phase::Handshake(_) => "publisher in handshake",
            Phase::Connect => "publisher in connect",
            Phase::CreateStream => "publisher in createStream",
            Phase::Publish { .. } => "publisher in publish",
            Phase::Publishing { .. } => "publisher publishing",
        })
    }
}

fn with_query(url: String, query: &str) -> String {
    match query {
        "" => url,
        _ if url.contains('?') => format!("{url}&{query}"),
        _ => format!("{url}?{query}"),
    }
}

/// Content type of a TLS alert; S0 is 3.
const TLS_ALERT: u8 = 21;
/// Longest message of a server, in bytes: commands only.
const MESSAGE_LEN_MAX: usize = 256 << 10;
/// Answers waiting to be sent, in bytes; more is a fault of the server.
const OUTPUT_LEN_MAX: usize = 64 << 10;
/// Longest message of a server that plays, in bytes: one picture.
const PLAYED_LEN_MAX: usize = 2 << 20;
/// What a player says it buffers, in ms (§7.1.7): little, so that the server sends what is live.
const BUFFER_MS: u32 = 300;
const COMMAND_CHUNK_STREAM: u8 = 3;

// Transaction IDs.
const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const PUBLISH: f64 = 5.0;
const CHECK_BANDWIDTH: f64 = 6.0;
const UNPUBLISH: f64 = 7.0;
const DELETE_STREAM: f64 = 8.0;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rtmp::handshake::ServerHandshake;
    use sipcast_contract::RtmpUrl;

    pub(in crate::rtmp) fn spec() -> RtmpTarget {
        let url = RtmpUrl::parse("rtmp://bob:hunter2@127.0.0.1/live?token=t0ken").expect("valid");
        let addresses = ["127.0.0.1:1935", "127.0.0.2:1935"].map(|address| address.parse().expect("valid"));
        RtmpTarget::new(url, Secret::new("s3cret".to_owned()), addresses.to_vec())
    }

    /// A server made of the wire parts, which answers only what a test tells it to.
    struct Server {
        chunker: Chunker,
        dechunker: Dechunker,
    }

    const NOW: Timestamp = Timestamp::from_millis(5000);

    impl Server {
        /// A publisher that has sent `connect`.
        fn with_publisher() -> (Self, Publisher) {
            let mut publisher = Publisher::new(&spec(), "", 1, NOW);
            let mut handshake = ServerHandshake::new(2);
            let mut reply = Vec::new();
            for _ in 0..2 {
                let mut bytes = Vec::new();
                publisher.take_output(&mut bytes);
                let mut input = &bytes[..];
                if handshake.handle_input(&mut input, &mut reply).expect("valid") {
                    let mut server = Self { chunker: Chunker::new(), dechunker: Dechunker::new(10_000) };
                    let commands = server.commands_in(input);
                    assert_eq!(commands[0].name, "connect");
                    assert_eq!(
                        commands[0].object.get("app").and_then(Value::as_str),
                        Some("live?token=t0ken")
                    );
                    let tc_url = commands[0].object.get("tcUrl").and_then(Value::as_str);
                    assert_eq!(tc_url, Some("rtmp://127.0.0.1/live?token=t0ken"));
                    return (server, publisher);
                }
                publisher.handle_input(&std::mem::take(&mut reply), NOW).expect("valid");
            }
            panic!("the handshake takes two rounds");
        }

        fn messages_in(&mut self, mut input: &[u8]) -> Vec<ReceivedMessage> {
            std::iter::from_fn(|| self.dechunker.next_message(&mut input).expect("valid")).collect()
        }

        fn commands_in(&mut self, input: &[u8]) -> Vec<Command> {
            let messages = self.messages_in(input).into_iter();
            let commands = messages.filter(|m| m.type_id == message_type::COMMAND_AMF0);
            commands.map(|m| Command::decode(m.type_id, &m.payload).expect("valid")).collect()
        }

        fn send(&mut self, publisher: &mut Publisher, payload: &[u8]) -> Result<Vec<String>, TargetFault> {
            let header = MessageHeader {
                chunk_stream: 3,
                timestamp_ms: 0,
                type_id: message_type::COMMAND_AMF0,
                message_stream: 0,
            };
            let mut bytes = Vec::new();
            self.chunker.write(&header, payload, &mut bytes);
            publisher.handle_input(&bytes, NOW)?;
            bytes.clear();
            publisher.take_output(&mut bytes);
            Ok(self.commands_in(&bytes).into_iter().map(|command| command.name).collect())
        }

        fn publishing() -> (Self, Publisher) {
            let (mut server, mut publisher) = Self::with_publisher();
            let sent = server.send(&mut publisher, &command::connect_result(1.0));
            assert_eq!(sent, Ok(["releaseStream", "FCPublish", "createStream"].map(String::from).to_vec()));
            let sent = server.send(&mut publisher, &command::call_with_number("_result", 4.0, 7.0));
            assert_eq!(sent, Ok(vec!["publish".to_owned()]));
            assert_eq!(publisher.publishing(), None);
            let start = command::on_status("status", "NetStream.Publish.Start", "");
            assert_eq!(server.send(&mut publisher, &start), Ok(vec![]));
            assert_eq!(publisher.publishing(), Some(7));
            (server, publisher)
        }
    }

    #[test]
    fn publishes_and_says_goodbye() {
        let (mut server, mut publisher) = Server::publishing();
        assert_eq!(publisher.next_timeout(), None);
        publisher.unpublish();
        let mut bytes = Vec::new();
        publisher.take_output(&mut bytes);
        let commands = server.commands_in(&bytes);
        assert_eq!((commands[0].name.as_str(), commands[0].text_argument()), ("FCUnpublish", Some("s3cret")));
        assert_eq!(
            (commands[1].name.as_str(), &commands[1].arguments[..]),
            ("deleteStream", &[Value::Number(7.0)][..])
        );
    }

    #[test]
    fn calls_of_the_server_are_answered() {
        let (mut server, mut publisher) = Server::publishing();
        let mut answers = |name| server.send(&mut publisher, &command::call(name, 9.0, &[])).expect("valid");
        assert_eq!(answers("onBWDone"), ["_checkbw"]);
        assert_eq!(answers("onBWDone"), [""; 0]);
        assert_eq!(answers("_onbwcheck"), ["_result"]);
        assert_eq!(answers("ping"), ["pong"]);
        assert_eq!(answers("onFCPublish"), [""; 0]);
        let mut bytes = Vec::new();
        Control::PingRequest(3).write(&mut server.chunker, &mut bytes);
        Control::SetPeerBandwidth(5000, 2).write(&mut server.chunker, &mut bytes);
        publisher.handle_input(&bytes, NOW).expect("valid");
        bytes.clear();
        publisher.take_output(&mut bytes);
        let controls: Vec<_> =
            server.messages_in(&bytes).iter().map(|m| Control::decode(m.type_id, &m.payload)).collect();
        let expected = [Control::PingResponse(3), Control::WindowAcknowledgementSize(5000)];
        assert_eq!(controls, expected.map(|control| Ok(Some(control))));
    }

    #[test]
    fn refusals_name_their_fault() {
        let bad_name = command::on_status("error", "NetStream.Publish.BadName", "");
        let (mut server, mut publisher) = Server::with_publisher();
        let refused = command::error(1.0, "NetConnection.Connect.Rejected", "");
        assert_eq!(server.send(&mut publisher, &refused), Err(TargetFault::ConnectRefused));
        let (mut server, mut publisher) = Server::with_publisher();
        server.send(&mut publisher, &command::connect_result(1.0)).expect("valid");
        assert!(server.send(&mut publisher, &command::error(2.0, "x", "")).is_ok(), "releaseStream may fail");
        assert_eq!(server.send(&mut publisher, &bad_name), Err(TargetFault::NameTaken));
        let (mut server, mut publisher) = Server::publishing();
        assert_eq!(server.send(&mut publisher, &bad_name), Err(TargetFault::NameTaken));
        let (mut server, mut publisher) = Server::publishing();
        let closed = command::on_status("status", "NetConnection.Connect.Closed", "");
        assert_eq!(server.send(&mut publisher, &closed), Err(TargetFault::ClosedByServer));
        let (mut server, mut publisher) = Server::with_publisher();
        server.send(&mut publisher, &command::connect_result(1.0)).expect("valid");
        let no_number = command::call("_result", 4.0, &["x"]);
        assert_eq!(server.send(&mut publisher, &no_number), Err(TargetFault::Protocol));
    }

    #[test]
    fn a_refusal_keeps_its_words_for_authentication() {
        let (mut server, mut publisher) = Server::with_publisher();
        assert!(publisher.has_heard() && publisher.take_refusal().is_none());
        let refused = command::error(1.0, "NetConnection.Connect.Rejected", "code=403 need auth");
        assert_eq!(server.send(&mut publisher, &refused), Err(TargetFault::ConnectRefused));
        let refusal = publisher.take_refusal().expect("refused");
        assert_eq!(refusal.reveal(), "code=403 need auth");
    }

    #[test]
    fn a_request_to_reconnect_and_aggregates_are_passed_over() {
        let (mut server, mut publisher) = Server::publishing();
        let request = command::on_status("status", "NetConnection.Connect.ReconnectRequest", "");
        assert_eq!(server.send(&mut publisher, &request), Ok(vec![]));
        let header =
            MessageHeader { chunk_stream: 6, timestamp_ms: 0, type_id: AGGREGATE, message_stream: 7 };
        let mut bytes = Vec::new();
        server.chunker.write(&header, &[9; 100], &mut bytes);
        assert_eq!(publisher.handle_input(&bytes, NOW), Ok(()));
        assert!(publisher.publishing().is_some());
    }

    /// Aggregate message (§7.1.6): a server has no reason to send one to a publisher.
    const AGGREGATE: u8 = 22;

    #[test]
    fn a_tls_alert_in_place_of_s0_is_known() {
        let mut publisher = Publisher::new(&spec(), "", 1, NOW);
        assert!(!publisher.has_heard());
        assert_eq!(publisher.handle_input(&[21, 3, 1, 0, 2, 2, 70], NOW), Err(TargetFault::NeedsTls));
    }

    #[test]
    fn authentication_goes_behind_the_query_that_is_there() {
        assert_eq!(with_query("live".to_owned(), ""), "live");
        assert_eq!(with_query("live".to_owned(), "a=b"), "live?a=b");
        assert_eq!(with_query("live?k=v".to_owned(), "a=b"), "live?k=v&a=b");
    }

    #[test]
    fn each_phase_ends_just_after_its_time() {
        let (_, mut publisher) = Server::with_publisher();
        let just_inside = Timestamp::from_nanos((NOW + PHASE_TIMEOUT).as_nanos() - 1);
        assert_eq!(publisher.handle_timeout(just_inside), Ok(()));
        assert_eq!(publisher.handle_timeout(NOW + PHASE_TIMEOUT), Err(TargetFault::TimedOut));
    }

    #[test]
    fn a_server_that_asks_without_end_is_cut_off() {
        let (mut server, mut publisher) = Server::publishing();
        let mut bytes = Vec::new();
        for _ in 0..10_000 {
            Control::PingRequest(3).write(&mut server.chunker, &mut bytes);
        }
        assert_eq!(publisher.handle_input(&bytes, NOW), Err(TargetFault::Protocol));
    }

    #[test]
    fn no_secret_is_shown() {
        let (_, publisher) = Server::publishing();
        let shown = format!("{publisher:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"));
    }
}
