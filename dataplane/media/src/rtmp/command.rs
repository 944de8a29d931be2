//! Command messages (Adobe RTMP 1.0 §7.2): name, transaction ID, command object, arguments.
//! Takes: payload of a command message. Gives: the command; bytes of the commands that sessions send.

use super::Fault;
use super::amf0::{self, Reader, Value};
use super::message_type;

/// A command that came. `Debug` shows its name only: arguments hold stream names and tokens.
#[derive(Clone, PartialEq)]
pub struct Command {
    /// Name of the procedure, or `_result`, `_error`, `onStatus`.
    pub name: String,
    /// 0: no answer is wanted.
    pub transaction_id: f64,
    /// Command object; null when there is none.
    pub object: Value,
    /// What follows.
    pub arguments: Vec<Value>,
}

/// The information object of `onStatus`, `_result` and `_error` (§7.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// `status`, `warning` or `error`; empty when missing.
    pub level: &'a str,
    /// For example `NetStream.Publish.Start`.
    pub code: &'a str,
    /// For people, and for authentication; empty when missing.
    pub description: &'a str,
}

impl Command {
    /// Decodes the payload of a message of type [`message_type::COMMAND_AMF0`] or
    /// [`message_type::COMMAND_AMF3`].
    ///
    /// # Errors
    /// [`Fault::Amf0`], or [`Fault::Command`] when it does not begin with a name.
    pub fn decode(type_id: u8, payload: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(without_format_byte(type_id, payload));
        if reader.is_empty() {
            return Err(Fault::Command);
        }
        let Value::String(name) = reader.value()? else { return Err(Fault::Command) };
        let mut next = || if reader.is_empty() { Ok(None) } else { reader.value().map(Some) };
        // Servers leave out what they think is of no use; null and 0 mean the same.
        let transaction_id = next()?.and_then(|value| value.as_number()).unwrap_or(0.0);
        let object = next()?.unwrap_or(Value::Null);
        let mut arguments = Vec::new();
        while let Some(value) = next()? {
            arguments.push(value);
        }
        Ok(Self { name, transaction_id, object, arguments })
    }

    /// The information object, if there is one.
    pub fn status(&self) -> Option<Status<'_>> {
        let information = self.arguments.iter().find(|value| value.get("code").is_some())?;
        let text = |name| information.get(name).and_then(Value::as_str).unwrap_or_default();
        Some(Status { level: text("level"), code: text("code"), description: text("description") })
    }

    /// The first argument as text: the stream name of most commands.
    pub fn text_argument(&self) -> Option<&str> {
        self.arguments.first().and_then(Value::as_str)
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "command {:?} #{}", self.name, self.transaction_id)
    }
}

/// The AMF0 part of a command or data message: their AMF3 kinds begin with a format byte, and hold AMF0 behind it
/// for all peers that exist.
pub fn without_format_byte(type_id: u8, payload: &[u8]) -> &[u8] {
    match (type_id, payload) {
        (message_type::COMMAND_AMF3 | message_type::DATA_AMF3, [0, rest @ ..]) => rest,
        _ => payload,
    }
}

/// What `connect` says of us (§7.2.1.1).
#[derive(Clone, Copy)]
pub struct Connect<'a> {
    /// Application name, with query where there is one.
    pub app: &'a str,
    /// URL of the server, without stream name.
    pub tc_url: &'a str,
    /// `flashVer`.
    pub flash_version: &'a str,
    /// `swfUrl`.
    pub swf_url: &'a str,
    /// `pageUrl`, where there is one.
    pub page_url: Option<&'a str>,
}

/// `connect` as a widely accepted publisher sends it.
pub fn connect(transaction_id: f64, connect: &Connect<'_>) -> Vec<u8> {
    let mut out = begin("connect", transaction_id);
    amf0::begin_object(&mut out);
    amf0::write_string_member(&mut out, "app", connect.app);
    amf0::write_string_member(&mut out, "type", "nonprivate");
    amf0::write_string_member(&mut out, "flashVer", connect.flash_version);
    amf0::write_string_member(&mut out, "swfUrl", connect.swf_url);
    amf0::write_string_member(&mut out, "tcUrl", connect.tc_url);
    if let Some(page_url) = connect.page_url {
        amf0::write_string_member(&mut out, "pageUrl", page_url);
    }
    amf0::end_object(&mut out);
    out
}

/// A command with a null command object and text arguments: `releaseStream`, `FCPublish`, `createStream`,
/// `publish`, `FCUnpublish`, `_checkbw`, `onBWDone`.
pub fn call(name: &str, transaction_id: f64, arguments: &[&str]) -> Vec<u8> {
    let mut out = begin(name, transaction_id);
    amf0::write_null(&mut out);
    for argument in arguments {
        amf0::write_string(&mut out, argument);
    }
    out
}

/// A command with a null command object and one number: `deleteStream`, `_result` of `createStream`.
pub fn call_with_number(name: &str, transaction_id: f64, number: f64) -> Vec<u8> {
    let mut out = begin(name, transaction_id);
    amf0::write_null(&mut out);
    amf0::write_number(&mut out, number);
    out
}

/// `_result` of `connect` (§7.2.1.1).
pub fn connect_result(transaction_id: f64) -> Vec<u8> {
    let mut out = begin("_result", transaction_id);
    amf0::begin_object(&mut out);
    amf0::write_string_member(&mut out, "fmsVer", "FMS/3,5,7,7009");
    amf0::write_number_member(&mut out, "capabilities", 31.0);
    amf0::end_object(&mut out);
    write_status(&mut out, "status", "NetConnection.Connect.Success", "Connection succeeded.", true);
    out
}

/// `_error` with an information object.
pub fn error(transaction_id: f64, code: &str, description: &str) -> Vec<u8> {
    let mut out = begin("_error", transaction_id);
    amf0::write_null(&mut out);
    write_status(&mut out, "error", code, description, false);
    out
}

/// `onStatus` with an information object (§7.2.2).
pub fn on_status(level: &str, code: &str, description: &str) -> Vec<u8> {
    notice("onStatus", level, code, description)
}

/// A notice with an information object: `onStatus`, `onFCPublish`, `onFCUnpublish`.
pub fn notice(name: &str, level: &str, code: &str, description: &str) -> Vec<u8> {
    let mut out = begin(name, 0.0);
    amf0::write_null(&mut out);
    write_status(&mut out, level, code, description, false);
    out
}

fn begin(name: &str, transaction_id: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    amf0::write_string(&mut out, name);
    amf0::write_number(&mut out, transaction_id);
    out
}

fn write_status(out: &mut Vec<u8>, level: &str, code: &str, description: &str, encoding: bool) {
    amf0::begin_object(out);
    amf0::write_string_member(out, "level", level);
    amf0::write_string_member(out, "code", code);
    amf0::write_string_member(out, "description", description);
    if encoding {
        amf0::write_number_member(out, "objectEncoding", 0.0);
    }
    amf0::end_object(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(payload: &[u8]) -> Command {
        Command::decode(message_type::COMMAND_AMF0, payload).expect("valid")
    }

    #[test]
    fn commands_survive_a_round_trip() {
        let connect = Connect {
            app: "live?k=v",
            tc_url: "rtmp://h/live?k=v",
            flash_version: "FMLE/3.0",
            swf_url: "rtmp://h/live",
            page_url: Some("https://h/"),
        };
        let command = decoded(&super::connect(1.0, &connect));
        assert_eq!((command.name.as_str(), command.transaction_id), ("connect", 1.0));
        assert_eq!(command.object.get("app").and_then(Value::as_str), Some("live?k=v"));
        assert_eq!(command.object.get("tcUrl").and_then(Value::as_str), Some("rtmp://h/live?k=v"));
        assert_eq!(command.object.get("swfUrl").and_then(Value::as_str), Some("rtmp://h/live"));
        assert_eq!(command.object.get("pageUrl").and_then(Value::as_str), Some("https://h/"));
        let command = decoded(&call("publish", 5.0, &["key", "live"]));
        assert_eq!(command.text_argument(), Some("key"));
        assert_eq!(command.arguments.len(), 2);
        let command = decoded(&connect_result(1.0));
        let status = command.status().expect("has one");
        assert_eq!((status.level, status.code), ("status", "NetConnection.Connect.Success"));
        assert_eq!(decoded(&call_with_number("_result", 4.0, 1.0)).arguments, [Value::Number(1.0)]);
    }

    #[test]
    fn golden_release_stream() {
        let mut expected = vec![2, 0, 13];
        expected.extend(b"releaseStream");
        expected.extend([0, 0x40, 0, 0, 0, 0, 0, 0, 0, 5, 2, 0, 1, b'k']);
        assert_eq!(call("releaseStream", 2.0, &["k"]), expected);
    }

    #[test]
    fn amf3_commands_and_sparse_ones_are_taken() {
        let mut payload = vec![0];
        payload.extend(call("createStream", 4.0, &[]));
        assert_eq!(
            Command::decode(message_type::COMMAND_AMF3, &payload).expect("valid").name,
            "createStream"
        );
        let command = decoded(&[2, 0, 1, b'x']);
        assert_eq!((command.transaction_id, command.object), (0.0, Value::Null));
    }

    #[test]
    fn what_is_no_command_is_a_fault() {
        for payload in [&[][..], &[5], &[0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Command::decode(message_type::COMMAND_AMF0, payload), Err(Fault::Command));
        }
        let cut = Command::decode(message_type::COMMAND_AMF0, &[2, 0, 5, b'x']);
        assert_eq!(cut, Err(Fault::Amf0(amf0::Amf0Error::Truncated)));
    }

    #[test]
    fn debug_shows_no_argument() {
        assert!(!format!("{:?}", decoded(&call("publish", 5.0, &["s3cret", "live"]))).contains("s3cret"));
    }
}
