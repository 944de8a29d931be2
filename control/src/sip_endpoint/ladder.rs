//! The SIP ladder of a call: every message in and out with its time, retransmissions and the REGISTERs it waits on
//! included, masked before it is kept.
//! Takes: messages as the stack sends and receives them. Gives: [`LadderView`]s.
//! Leaves out: what is masked (`sipcast_sip::redaction`), showing it (`rest`, the page).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rsipstack::sip::{HeadersExt, SipMessage};
use rsipstack::transaction::endpoint::MessageInspector;
use rsipstack::transport::SipAddr;
use sipcast_contract::Secret;
use sipcast_sip::redaction;

/// The messages of one call so far.
#[derive(Clone, Debug, Default)]
pub struct LadderView {
    /// When the call was ordered, in ms since 1970; what entries count from.
    pub began_unix_ms: u64,
    /// Oldest first.
    pub entries: Vec<LadderEntry>,
    /// Messages that were not kept: they would stand between the first `HEAD_MAX` and the latest ones.
    pub left_out: u64,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderEntry {
    /// ms since the call was ordered.
    pub at_ms: u64,
    /// Which way it went.
    pub direction: LadderDirection,
    /// `UDP`, `TCP`, `TLS`; empty when not known.
    pub transport: String,
    /// The other end, `host:port`; empty when not known.
    pub peer: String,
    /// Request line or status line, masked.
    pub start_line: String,
    /// Headers, an empty line and the body, masked; at most `MESSAGE_BYTES_MAX` bytes. Empty for a repetition.
    pub text: String,
    /// The same message as an earlier one went the same way: a retransmission.
    pub is_repetition: bool,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LadderDirection {
    /// From us.
    Out,
    /// To us.
    In,
}

impl LadderDirection {
    /// The word the API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// The ladder of one call. Its first messages and its latest are kept, see [`HEAD_MAX`] and [`TAIL_MAX`].
#[derive(Debug)]
pub(super) struct Ladder {
    began: Instant,
    began_unix_ms: u64,
    secrets: Vec<Secret<String>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<LadderEntry>,
    tail: VecDeque<LadderEntry>,
    head_bytes: usize,
    tail_bytes: usize,
    left_out: u64,
}

impl Ladder {
    /// An empty one; `secrets` are masked wherever they stand.
    pub fn new(secrets: Vec<Secret<String>>) -> Arc<Self> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Arc::new(Self {
            began: Instant::now(),
            began_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(0),
            secrets,
            kept: Mutex::default(),
        })
    }

    /// What is kept.
    pub fn view(&self) -> LadderView {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        LadderView {
            began_unix_ms: self.began_unix_ms,
            entries: kept.head.iter().chain(&kept.tail).cloned().collect(),
            left_out: kept.left_out,
        }
    }

    /// `text` without what this call keeps secret.
    pub fn masked(&self, text: &str) -> String {
        redaction::without(text, &self.secrets)
    }

    fn record(&self, direction: LadderDirection, message: &str, peer: Option<&SipAddr>) {
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let masked = redaction::masked(message, &self.secrets);
        let (start_line, text) = masked.split_once("\r\n").unwrap_or((&masked, ""));
        let mut entry = LadderEntry {
            at_ms,
            direction,
            transport: peer
                .and_then(|peer| peer.r#type)
                .map_or_else(String::new, |t| t.to_string().to_uppercase()),
            peer: peer.map_or_else(String::new, |peer| peer.addr.to_string()),
            start_line: cut(start_line, START_LINE_BYTES_MAX).to_owned(),
            text: cut(text, MESSAGE_BYTES_MAX).to_owned(),
            is_repetition: false,
        };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(&mut entry);
    }
}

impl Kept {
    fn push(&mut self, entry: &mut LadderEntry) {
        let same = |known: &&LadderEntry| {
            known.direction == entry.direction
                && known.start_line == entry.start_line
                && known.text == entry.text
                && !known.is_repetition
        };
        let earlier = self.tail.iter().rev().chain(self.head.iter().rev()).find(same);
        if let Some(earlier) = earlier {
            entry.is_repetition = true;
            entry.text = String::new();
            if entry.peer.is_empty() {
                (entry.peer, entry.transport) = (earlier.peer.clone(), earlier.transport.clone());
            }
        } else if entry.peer.is_empty()
            && let Some(last) = self.tail.back().or(self.head.last())
        {
            // The stack sends replies where the request came from and does not say where that is.
            (entry.peer, entry.transport) = (last.peer.clone(), last.transport.clone());
        }
        let bytes = entry.bytes();
        if self.tail.is_empty() && self.head.len() < HEAD_MAX && self.head_bytes + bytes <= HEAD_BYTES_MAX {
            self.head_bytes += bytes;
            self.head.push(entry.clone());
            return;
        }
        self.tail_bytes += bytes;
        self.tail.push_back(entry.clone());
        while self.tail.len() > TAIL_MAX || self.tail_bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.bytes();
            self.left_out += 1;
        }
    }
}

impl LadderEntry {
    fn bytes(&self) -> usize {
        self.start_line.len() + self.text.len() + self.peer.len() + ENTRY_BYTES
    }
}

/// The longest start of `text` of at most `length` bytes that ends with a character.
fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// Which ladders listen to which Call-ID.
#[derive(Debug, Default)]
pub(super) struct Ladders {
    listening: Mutex<HashMap<String, Vec<Weak<Ladder>>>>,
}

impl Ladders {
    /// Messages with `call_id` go to `ladder` until the result is dropped.
    pub fn listen(self: &Arc<Self>, call_id: &str, ladder: &Arc<Ladder>) -> Listening {
        self.lock().entry(call_id.to_owned()).or_default().push(Arc::downgrade(ladder));
        Listening { ladders: self.clone(), call_id: call_id.to_owned(), ladder: ladder.clone() }
    }

    fn record(&self, direction: LadderDirection, message: &SipMessage, peer: Option<&SipAddr>) {
        let call_id = match message {
            SipMessage::Request(request) => request.call_id_header(),
            SipMessage::Response(response) => response.call_id_header(),
        };
        let Ok(call_id) = call_id else { return };
        let ladders: Vec<_> = match self.lock().get(call_id.value()) {
            Some(ladders) => ladders.iter().filter_map(Weak::upgrade).collect(),
            None => return,
        };
        if ladders.is_empty() {
            return;
        }
        let mut text = message.to_string();
        if let SipMessage::Response(response) = message
            && let Some(phrase) = &response.wire_reason
            && let Some((_, rest)) = text.split_once("\r\n")
        {
            // The stack writes the phrase of the RFC; what the peer said says more.
            text = format!("SIP/2.0 {} {phrase}\r\n{rest}", response.status_code.code());
        }
        ladders.iter().for_each(|ladder| ladder.record(direction, &text, peer));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Weak<Ladder>>>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a ladder listening.
#[derive(Debug)]
pub(super) struct Listening {
    ladders: Arc<Ladders>,
    call_id: String,
    ladder: Arc<Ladder>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listening = self.ladders.lock();
        if let Some(ladders) = listening.get_mut(&self.call_id) {
            // One of possibly several of the same ladder: a call may listen to one Call-ID twice in a row.
            let ours = ladders.iter().position(|known| known.as_ptr() == Arc::as_ptr(&self.ladder));
            ours.map(|at| ladders.swap_remove(at));
            if ladders.is_empty() {
                listening.remove(&self.call_id);
            }
        }
    }
}

/// Shows the stack's messages to the ladders and leaves them as they are.
pub(super) struct Recorder(pub Arc<Ladders>);

impl MessageInspector for Recorder {
    fn before_send(&self, message: SipMessage, destination: Option<&SipAddr>) -> SipMessage {
        self.0.record(LadderDirection::Out, &message, destination);
        message
    }

    fn after_received(&self, message: SipMessage, from: Option<&SipAddr>) -> SipMessage {
        // The stack asks twice for responses; where they come from is known the first time only.
        if from.is_some() {
            self.0.record(LadderDirection::In, &message, from);
        }
        message
    }
}

/// Messages from the beginning that are kept for good: registration, dialling, answer.
pub const HEAD_MAX: usize = 64;
/// Latest messages that are kept.
pub const TAIL_MAX: usize = 128;
/// Bytes of one message that are kept.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;
const HEAD_BYTES_MAX: usize = 96 * 1024;
const TAIL_BYTES_MAX: usize = 96 * 1024;
const START_LINE_BYTES_MAX: usize = 512;
/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> String {
        format!("OPTIONS sip:a@b SIP/2.0\r\nCSeq: {number} OPTIONS\r\n\r\n")
    }

    #[test]
    fn the_first_and_the_latest_messages_are_kept() {
        let ladder = Ladder::new(Vec::new());
        for number in 0..HEAD_MAX + TAIL_MAX + 5 {
            ladder.record(LadderDirection::Out, &message(number), None);
        }
        let view = ladder.view();
        assert_eq!((view.entries.len(), view.left_out), (HEAD_MAX + TAIL_MAX, 5));
        assert!(view.entries[HEAD_MAX].text.contains(&format!("CSeq: {} ", HEAD_MAX + 5)));
        // Bytes are bounded as well.
        let long = format!("INFO sip:a@b SIP/2.0\r\nX: {}\r\n\r\n", "x".repeat(100_000));
        for number in 0..100 {
            ladder.record(LadderDirection::In, &long.replace("X:", &format!("X{number}:")), None);
        }
        let bytes: usize = ladder.view().entries.iter().map(LadderEntry::bytes).sum();
        assert!(bytes <= HEAD_BYTES_MAX + TAIL_BYTES_MAX, "{bytes}");
    }

    #[test]
    fn a_repetition_is_told_and_costs_no_text() {
        let ladder = Ladder::new(vec![Secret::new("4567".to_owned())]);
        let invite = "INVITE sip:1.4567@b SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n";
        ladder.record(LadderDirection::Out, invite, None);
        ladder.record(LadderDirection::Out, invite, None);
        ladder.record(LadderDirection::In, invite, None);
        let entries = ladder.view().entries;
        assert_eq!(entries.iter().map(|e| e.is_repetition).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(entries[0].start_line, "INVITE sip:1.***@b SIP/2.0");
        assert!(entries[1].text.is_empty());
        assert_eq!(ladder.masked("404 no 4567"), "404 no ***");
    }

    #[test]
    fn listening_ends_with_its_guard() {
        let ladders = Arc::new(Ladders::default());
        let ladder = Ladder::new(Vec::new());
        let first = ladders.listen("a", &ladder);
        let second = ladders.listen("a", &ladder);
        drop(first);
        assert_eq!(ladders.lock()["a"].len(), 1);
        drop(second);
        assert!(ladders.lock().is_empty());
    }
}
