//! Orders that are taken once, however often they arrive (draft-ietf-httpapi-idempotency-key-header): a client that
//! did not get the answer sends the order again with the same key and gets the answer that was missed.
//! Takes: keys and fingerprints of orders. Gives: a place to fill in the answer, or the answer itself.
//! Leaves out: what an order does (`broadcast`). Only successes are kept: a refusal began nothing, and may be tried
//! again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::view::BroadcastView;

/// A key as the client made it up, within the face it came by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(String);

/// The key is no text of 1 to 255 visible ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyError;

impl Key {
    /// A key that came by `face`.
    pub(crate) fn new(face: &str, text: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError)?;
        let fits = (1..=KEY_LEN_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(format!("{face} {text}"))) } else { Err(KeyError) }
    }
}

/// Answers by key. Cheap to clone; every clone is the same store.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    entries: Arc<Mutex<Entries>>,
}

/// Invariant: `order` holds the keys of `by_key`, oldest first.
#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    order: VecDeque<Key>,
}

struct Entry {
    fingerprint: u64,
    at: Instant,
    /// `None`: the order is being handled.
    answer: Option<BroadcastView>,
}

/// What is known of a key.
pub(crate) enum Known {
    /// Nothing: handle the order, then fill the place in.
    New(Place),
    /// The same order had this answer.
    Answered(Box<BroadcastView>),
    /// The key was used for another order.
    Reused,
    /// An order with this key is being handled, or too many are.
    InUse,
}

/// A place for an answer. Dropped without one, the key is free again.
pub(crate) struct Place {
    answers: Answers,
    key: Key,
    filled: bool,
}

impl Answers {
    /// Looks `key` up and takes it.
    pub(crate) fn take(&self, key: Key, fingerprint: u64, now: Instant) -> Known {
        let mut entries = self.entries();
        entries.forget_old(now);
        match entries.by_key.get(&key) {
            Some(entry) if entry.fingerprint != fingerprint => return Known::Reused,
            Some(Entry { answer: Some(answer), .. }) => return Known::Answered(Box::new(answer.clone())),
            Some(_) => return Known::InUse,
            None => {}
        }
        if entries.by_key.len() >= KEYS_MAX && !entries.forget_oldest_answer() {
            return Known::InUse;
        }
        entries.by_key.insert(key.clone(), Entry { fingerprint, at: now, answer: None });
        entries.order.push_back(key.clone());
        Known::New(Place { answers: self.clone(), key, filled: false })
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Keeps the answer for those that ask again.
    pub(crate) fn fill(mut self, answer: BroadcastView) {
        if let Some(entry) = self.answers.entries().by_key.get_mut(&self.key) {
            entry.answer = Some(answer);
        }
        self.filled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.filled {
            let mut entries = self.answers.entries();
            entries.by_key.remove(&self.key);
            entries.order.retain(|key| *key != self.key);
        }
    }
}

impl Entries {
    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let is_old = |e: &Entry| e.answer.is_some() && now.saturating_duration_since(e.at) >= KEPT_FOR;
            if !self.by_key.get(oldest).is_none_or(is_old) {
                return;
            }
            self.by_key.remove(oldest);
            self.order.pop_front();
        }
    }

    /// Makes room; `false`: every order is being handled.
    fn forget_oldest_answer(&mut self) -> bool {
        let is_answered = |key: &Key| self.by_key.get(key).is_none_or(|entry| entry.answer.is_some());
        let Some(index) = self.order.iter().position(is_answered) else { return false };
        if let Some(key) = self.order.remove(index) {
            self.by_key.remove(&key);
        }
        true
    }
}

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// Answers that are kept; the oldest gives way.
const KEYS_MAX: usize = 4096;

/// Bytes of a key.
const KEY_LEN_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Broadcast, Signals};
    use tokio::sync::oneshot;

    fn view() -> BroadcastView {
        let (opened, _) = oneshot::channel();
        let (closed, _) = oneshot::channel();
        BroadcastView::of(&Broadcast::new("a".to_owned(), Arc::<Signals>::default(), opened, closed), 0)
    }

    fn key(text: &str) -> Key {
        Key::new("v1", text.as_bytes()).expect("visible")
    }

    fn place(answers: &Answers, name: &str, now: Instant) -> Place {
        match answers.take(key(name), 1, now) {
            Known::New(place) => place,
            _ => panic!("{name} is known"),
        }
    }

    #[test]
    fn an_answer_is_given_again_until_it_is_old() {
        let (answers, now) = (Answers::default(), Instant::now());
        let first = place(&answers, "k", now);
        assert!(matches!(answers.take(key("k"), 1, now), Known::InUse));
        first.fill(view());
        assert!(matches!(answers.take(key("k"), 1, now), Known::Answered(_)));
        assert!(matches!(answers.take(key("k"), 2, now), Known::Reused));
        let late = now + KEPT_FOR;
        assert!(matches!(answers.take(key("k"), 1, late - Duration::from_millis(1)), Known::Answered(_)));
        drop(place(&answers, "k", late));
        drop(place(&answers, "k", late));
    }

    #[test]
    fn the_oldest_answer_gives_way_and_what_is_being_handled_does_not() {
        let (answers, now) = (Answers::default(), Instant::now());
        let handled = place(&answers, "handled", now);
        for n in 0..KEYS_MAX {
            place(&answers, &n.to_string(), now).fill(view());
        }
        assert_eq!(answers.entries().by_key.len(), KEYS_MAX);
        assert!(matches!(answers.take(key("handled"), 1, now), Known::InUse));
        assert!(matches!(answers.take(key("1"), 1, now), Known::Answered(_)));
        drop(place(&answers, "0", now));
        drop(handled);
    }

    #[test]
    fn keys_are_short_visible_text() {
        assert!(
            Key::new("v1", &[b'x'; KEY_LEN_MAX]).is_ok() && Key::new("v1", &[b'x'; KEY_LEN_MAX + 1]).is_err()
        );
        assert!(
            Key::new("v1", b"").is_err()
                && Key::new("v1", b"a b").is_err()
                && Key::new("v1", b"\xff").is_err()
        );
    }
}
