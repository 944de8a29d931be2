//! Redirection by 3xx (RFC 3261 §8.1.3.4, §21.3): which target is tried next.
//! Takes: Contact values. Gives: targets, best first, each once, a bounded number of them.
//! Leaves out: the INVITE (`call`).

use crate::contact;
use crate::uri::SipUri;

/// Targets tried after the first; then the redirection fails.
pub const REDIRECTS_MAX: usize = 5;

/// The target set of one call.
#[derive(Clone, Debug)]
pub struct Redirection {
    /// Never tried again: a loop ends here.
    tried: Vec<SipUri>,
    /// To be tried, the next one last.
    waiting: Vec<(u16, SipUri)>,
    /// The callee was a `sips:` URI: nobody asked for less (RFC 3261 §8.1.3.4).
    secure: bool,
}

impl Redirection {
    /// `first` is the Request-URI of the first INVITE.
    pub fn new(first: SipUri) -> Self {
        Self { secure: first.secure, tried: vec![first], waiting: Vec::new() }
    }

    /// Takes the Contact values of a 3xx. By `q`, then in the order in which they came (RFC 3261 §8.1.3.4).
    pub fn handle_contacts<'a>(&mut self, values: impl IntoIterator<Item = &'a str>) {
        for contact in contact::parse(values) {
            let known = self.tried.iter().chain(self.waiting.iter().map(|(_, uri)| uri));
            let less_secure = self.secure && !contact.uri.secure;
            if less_secure || known.into_iter().any(|uri| uri.is_equivalent(&contact.uri)) {
                continue;
            }
            // The next is taken from the end: ascending q, first-named among equals last.
            let at = self.waiting.partition_point(|(q, _)| *q < contact.q_permille);
            self.waiting.insert(at, (contact.q_permille, contact.uri));
        }
        let surplus = self.waiting.len().saturating_sub(REDIRECTS_MAX);
        self.waiting.drain(..surplus);
    }

    /// The next target; `None`: all are tried, or [`REDIRECTS_MAX`] is reached.
    pub fn next_target(&mut self) -> Option<SipUri> {
        if self.tried.len() > REDIRECTS_MAX {
            return None;
        }
        let (_, uri) = self.waiting.pop()?;
        self.tried.push(uri.clone());
        Some(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirection() -> Redirection {
        Redirection::new("sip:a@one".parse().unwrap())
    }

    #[test]
    fn best_first_each_once() {
        let mut targets = redirection();
        targets.handle_contacts([
            "<sip:low@x>;q=0.1, <sip:first@x>, <sip:second@x>;q=1.0",
            "<sips:safe@x>;q=0.05, <sip:a@one>",
        ]);
        let order: Vec<_> = std::iter::from_fn(|| targets.next_target()).map(|uri| uri.to_string()).collect();
        assert_eq!(order, ["sip:first@x", "sip:second@x", "sip:low@x", "sips:safe@x"].map(str::to_owned));
        // A loop back gives nothing.
        targets.handle_contacts(["<sip:low@x>, <sip:a@ONE>"]);
        assert_eq!(targets.next_target(), None);
    }

    #[test]
    fn a_secure_callee_is_not_left_for_an_insecure_target() {
        let mut targets = Redirection::new("sips:a@one".parse().unwrap());
        targets.handle_contacts(["<sip:b@two>, <sips:c@three>"]);
        assert_eq!(targets.next_target().map(|uri| uri.to_string()), Some("sips:c@three".to_owned()));
        assert_eq!(targets.next_target(), None);
    }

    #[test]
    fn recursion_is_bounded() {
        let mut targets = redirection();
        let mut count = 0;
        for number in 0..100 {
            targets.handle_contacts([format!("<sip:{number}@x>").as_str()]);
            count += usize::from(targets.next_target().is_some());
        }
        assert_eq!(count, REDIRECTS_MAX);
    }
}
