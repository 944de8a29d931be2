//! Datagrams of sound that wait, as they came, for the picture that their sound goes with: handled together with it they
//! find the broadcast's memory warm, which with many calls costs more than the instructions do.
//! Takes: datagrams of the audio ports. Gives: them back in their order. Leaves out: for how long they wait (`departure`).

use sipcast_contract::Timestamp;
use sipcast_pool::prefetch;
use smallvec::SmallVec;

use super::early::Incoming;

/// The datagrams of one broadcast that wait.
#[derive(Debug, Default)]
pub(super) struct SoundLot {
    waiting: SmallVec<[Incoming; DATAGRAMS_MAX]>,
    /// Until when the first of them may wait; means nothing while none waits.
    until: Option<Timestamp>,
}

impl SoundLot {
    /// Whether a datagram that comes at `arrival` may wait as well: there is room, and the first one may go on waiting.
    pub(super) fn has_room(&self, arrival: Timestamp) -> bool {
        self.waiting.len() < DATAGRAMS_MAX && self.until().is_none_or(|until| arrival < until)
    }

    /// Keeps a datagram that may wait until `until`. Gives until when the lot may wait.
    pub(super) fn push(&mut self, incoming: Incoming, until: Timestamp) -> Timestamp {
        let until = self.until().unwrap_or(until);
        self.until = Some(until);
        self.waiting.push(incoming);
        until
    }

    /// Until when the lot may wait; `None`: it is empty.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until.filter(|_| !self.waiting.is_empty())
    }

    /// Has them fetched into the core's cache.
    pub(super) fn prefetch(&self) {
        for incoming in &self.waiting {
            prefetch(incoming.datagram.as_ptr(), incoming.datagram.len());
        }
    }

    /// All of them.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Incoming> + use<> {
        std::mem::take(&mut self.waiting).into_iter()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Datagrams that wait at most: 40 ms of the shortest packets that telephones send, 10 ms.
const DATAGRAMS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use sipcast_pool::Pool;

    use super::*;
    use crate::pipeline::Port;

    #[test]
    fn few_wait_and_none_longer_than_the_first_may() {
        let pool = Pool::new(8, 64);
        let at = Timestamp::from_millis;
        let incoming = |ms| Incoming {
            port: Port::AudioRtp,
            from: "127.0.0.1:4000".parse().expect("an address"),
            datagram: pool.claim().expect("free").freeze(0..12),
            arrival: at(ms),
        };
        let mut lot = SoundLot::default();
        assert!(lot.has_room(at(1_000)) && lot.is_empty() && lot.until().is_none());
        assert_eq!(lot.push(incoming(100), at(140)), at(140));
        assert_eq!(lot.push(incoming(120), at(160)), at(140), "the first one counts");
        assert!(lot.has_room(at(139)) && !lot.has_room(at(140)));
        lot.push(incoming(121), at(161));
        lot.push(incoming(122), at(162));
        assert!(!lot.has_room(at(123)), "four are all");
        let arrivals: Vec<_> = lot.take().map(|incoming| incoming.arrival).collect();
        assert_eq!(arrivals, [at(100), at(120), at(121), at(122)]);
        assert!(lot.is_empty() && lot.until().is_none() && lot.has_room(at(500)));
        assert_eq!(pool.held(), 0);
    }
}
