//! Early dialogs of one INVITE (RFC 3261 §12.1, §13.2.2.4): each fork answers the offer for itself.

use super::Call;
use crate::sdp::{Agreement, Negotiation};

/// Early dialogs of one INVITE that are told apart; what further forks describe is passed over.
pub const FORKS_MAX: usize = 8;

/// An early dialog that media does not follow at the moment.
#[derive(Debug)]
pub(super) struct Fork {
    tag: Option<String>,
    pub(super) negotiation: Negotiation,
    answer_body: Vec<u8>,
    agreement: Option<Agreement>,
}

impl Call {
    /// Media follows the fork with this To tag from here (RFC 3261 §13.2.2.4, RFC 3264 §4: each has an answer of its
    /// own). A response without tag is of the fork we are at. `false`: one fork too many.
    pub(super) fn turn_to(&mut self, tag: Option<String>) -> bool {
        if tag.is_none() || self.fork_tag == tag {
            return true;
        }
        if self.fork_tag.is_none() && self.agreement.is_none() {
            self.fork_tag = tag;
            return true;
        }
        let known = self.forks.iter().position(|fork| fork.tag == tag);
        if known.is_none() && self.forks.len() + 1 >= FORKS_MAX {
            return false;
        }
        let next = match known {
            Some(at) => self.forks.swap_remove(at),
            None => Fork { tag, negotiation: self.offered.clone(), answer_body: Vec::new(), agreement: None },
        };
        self.forks.push(Fork {
            tag: std::mem::replace(&mut self.fork_tag, next.tag),
            negotiation: std::mem::replace(&mut self.negotiation, next.negotiation),
            answer_body: std::mem::replace(&mut self.answer_body, next.answer_body),
            agreement: std::mem::replace(&mut self.agreement, next.agreement),
        });
        true
    }

    /// Whether an early dialog with this tag has described its media.
    pub(super) fn knows_fork(&self, tag: Option<&String>) -> bool {
        self.fork_tag.as_ref() == tag || self.forks.iter().any(|fork| fork.tag.as_ref() == tag)
    }
}
