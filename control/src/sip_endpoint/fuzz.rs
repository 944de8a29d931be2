//! The way of a stream's bytes up to the stack's parser, for fuzz targets (feature `fuzz`).

use std::net::SocketAddr;

use rsipstack::sip::SipMessage;

use super::admission::{Screening, refusal, screen};
use super::framing::{Frame, Framer, Unframable};

/// What became of each message, and what was answered without the stack.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Parsed; written again it has this many bytes.
    Parsed(usize),
    /// Answered without state.
    Answered(Vec<u8>),
    /// A keep-alive.
    Ping,
    /// Passed over, or the end of the connection.
    Dropped,
}

/// Frames, screens and parses `bytes`, which arrive `step` at a time.
pub fn stream(bytes: &[u8], step: usize) -> Vec<Outcome> {
    let from = SocketAddr::from(([192, 0, 2, 1], 5060));
    let (mut framer, mut outcomes) = (Framer::default(), Vec::new());
    for chunk in bytes.chunks(step) {
        framer.push(chunk);
        loop {
            match framer.poll() {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => outcomes.push(Outcome::Ping),
                Ok(Some(Frame::Message(message))) => outcomes.push(take(&message, from)),
                Err(Unframable::EndlessHead) => {
                    outcomes.push(Outcome::Dropped);
                    return outcomes;
                }
                Err(Unframable::BadLength(head) | Unframable::LongBody(head)) => {
                    let answer = refusal(&head, from, "400 Bad Request", "fuzz");
                    outcomes.push(answer.map_or(Outcome::Dropped, Outcome::Answered));
                    return outcomes;
                }
            }
        }
    }
    outcomes
}

fn take(message: &[u8], from: SocketAddr) -> Outcome {
    match screen(message, from, "fuzz") {
        Screening::Answer(answer) => return Outcome::Answered(answer),
        Screening::Drop => return Outcome::Dropped,
        Screening::Pass => {}
    }
    match SipMessage::try_from(message) {
        Ok(parsed) => Outcome::Parsed(parsed.to_string().len()),
        Err(_) => {
            refusal(message, from, "400 Bad Request", "fuzz").map_or(Outcome::Dropped, Outcome::Answered)
        }
    }
}
