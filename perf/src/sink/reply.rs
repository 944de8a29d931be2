//! What the sink answers: the results and status a publisher waits for (Adobe RTMP 1.0 §5.4, §7.2).
//! Takes: command bodies. Gives: whole messages in chunks.
//! Leaves out: every command that publishing does not need.

/// Message type IDs.
const ACKNOWLEDGEMENT: u8 = 3;
const USER_CONTROL: u8 = 4;
const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
const SET_PEER_BANDWIDTH: u8 = 6;
const COMMAND_AMF0: u8 = 20;
/// Chunk payload before anybody sets another size.
const CHUNK_SIZE: usize = 128;
const WINDOW: u32 = 2_500_000;

/// Name, transaction and first string argument of a command.
#[derive(Debug, PartialEq)]
pub(super) struct Command<'a> {
    pub name: &'a str,
    pub transaction_id: f64,
    /// The first string behind the command object; empty when there is none.
    pub argument: &'a str,
}

impl<'a> Command<'a> {
    /// Reads the front of a command body; `None` when it is none.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        let name = take_string(&mut rest)?;
        let (0, number) = (*rest.first()?, rest.get(1..9)?) else { return None };
        let transaction_id = f64::from_be_bytes(*number.first_chunk()?);
        rest = &rest[9..];
        // The command object of all but connect is null; connect's arguments do not matter here.
        let argument = match rest.split_first() {
            Some((5, arguments)) => {
                rest = arguments;
                take_string(&mut rest).unwrap_or_default()
            }
            _ => "",
        };
        Some(Self { name, transaction_id, argument })
    }
}

// AMF 0 §2.4.
fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [2, high, low, ..] = **rest else { return None };
    let end = 3 + usize::from(u16::from_be_bytes([high, low]));
    let text = std::str::from_utf8(rest.get(3..end)?).ok()?;
    *rest = &rest[end..];
    Some(text)
}

/// Window, bandwidth, and the result of connect (§7.2.1.1).
pub(super) fn connected(transaction_id: f64, out: &mut Vec<u8>) {
    message(2, WINDOW_ACKNOWLEDGEMENT_SIZE, 0, &WINDOW.to_be_bytes(), out);
    let mut bandwidth = WINDOW.to_be_bytes().to_vec();
    bandwidth.push(2);
    message(2, SET_PEER_BANDWIDTH, 0, &bandwidth, out);
    let mut body = Vec::new();
    string("_result", &mut body);
    number(transaction_id, &mut body);
    object(&[("fmsVer", "FMS/3,0,1,123")], &mut body);
    object(
        &[
            ("level", "status"),
            ("code", "NetConnection.Connect.Success"),
            ("description", "Connection succeeded."),
        ],
        &mut body,
    );
    message(3, COMMAND_AMF0, 0, &body, out);
}

/// The result of createStream: message stream 1.
pub(super) fn stream_created(transaction_id: f64, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    string("_result", &mut body);
    number(transaction_id, &mut body);
    body.push(5);
    number(1.0, &mut body);
    message(3, COMMAND_AMF0, 0, &body, out);
}

/// A result without content.
pub(super) fn empty_result(transaction_id: f64, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    string("_result", &mut body);
    number(transaction_id, &mut body);
    body.extend_from_slice(&[5, 6]);
    message(3, COMMAND_AMF0, 0, &body, out);
}

/// onStatus for publish (§7.2.2.6).
pub(super) fn publish_started(stream_id: u32, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    string("onStatus", &mut body);
    number(0.0, &mut body);
    body.push(5);
    object(
        &[("level", "status"), ("code", "NetStream.Publish.Start"), ("description", "Publishing.")],
        &mut body,
    );
    message(5, COMMAND_AMF0, stream_id, &body, out);
}

/// How much was received (§5.4.3).
pub(super) fn acknowledgement(received: u32, out: &mut Vec<u8>) {
    message(2, ACKNOWLEDGEMENT, 0, &received.to_be_bytes(), out);
}

/// A ping request gets its response (§7.1.7).
pub(super) fn answer_user_control(body: &[u8], out: &mut Vec<u8>) {
    if let Some([0, 6, time @ ..]) = body.first_chunk::<6>() {
        let mut response = vec![0, 7];
        response.extend_from_slice(time);
        message(2, USER_CONTROL, 0, &response, out);
    }
}

fn message(chunk_stream: u8, kind: u8, stream_id: u32, body: &[u8], out: &mut Vec<u8>) {
    out.push(chunk_stream);
    out.extend_from_slice(&[0, 0, 0]);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.extend_from_slice(&stream_id.to_le_bytes());
    for (place, chunk) in body.chunks(CHUNK_SIZE).enumerate() {
        if place > 0 {
            out.push(0xc0 | chunk_stream);
        }
        out.extend_from_slice(chunk);
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(2);
    key(text, out);
}

fn key(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn number(value: f64, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&value.to_be_bytes());
}

fn object(properties: &[(&str, &str)], out: &mut Vec<u8>) {
    out.push(3);
    for (name, value) in properties {
        key(name, out);
        string(value, out);
    }
    out.extend_from_slice(&[0, 0, 9]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_name_to_publish_and_no_cut_of_it_panics() {
        let mut body = Vec::new();
        string("publish", &mut body);
        number(5.0, &mut body);
        body.push(5);
        string("rtmp_town", &mut body);
        let command = Command::parse(&body).unwrap();
        assert_eq!(command, Command { name: "publish", transaction_id: 5.0, argument: "rtmp_town" });
        for len in 0..body.len() {
            let _ = Command::parse(&body[..len]);
        }
    }
}
