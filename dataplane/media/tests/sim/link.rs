//! The network between callee and sipcast: delay, jitter, loss, duplication, reordering, all from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_media::pipeline::Port;

use super::Random;

pub struct Link {
    random: Random,
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// Packets that take up to `detour_ms` longer.
    pub detour_percent: u64,
    pub detour_ms: u64,
    /// Packets of video RTP to lose from now on.
    pub lose_next_video: u32,
    pub lost: u64,
    under_way: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    datagrams: Vec<Option<(Port, SocketAddr, Vec<u8>)>>,
    count: u64,
}

impl Link {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random(seed ^ 0x4c49_4e4b),
            loss_percent: 0,
            duplicate_percent: 0,
            detour_percent: 0,
            detour_ms: 30,
            lose_next_video: 0,
            lost: 0,
            under_way: BinaryHeap::new(),
            datagrams: Vec::new(),
            count: 0,
        }
    }

    pub fn send(&mut self, now: Timestamp, port: Port, from: SocketAddr, bytes: Vec<u8>) {
        if port == Port::VideoRtp && self.lose_next_video > 0 {
            self.lose_next_video -= 1;
            self.lost += 1;
            return;
        }
        if self.random.below(100) < self.loss_percent {
            self.lost += 1;
            return;
        }
        let copies = if self.random.below(100) < self.duplicate_percent { 2 } else { 1 };
        for _ in 0..copies {
            let detour = if self.random.below(100) < self.detour_percent {
                self.random.below(self.detour_ms + 1)
            } else {
                0
            };
            self.count += 1;
            self.datagrams.push(Some((port, from, bytes.clone())));
            let at = now + Duration::from_millis(DELAY_MS + detour);
            self.under_way.push(Reverse((at, self.count, self.datagrams.len() - 1)));
        }
    }

    pub fn poll(&mut self, now: Timestamp) -> Option<(Port, SocketAddr, Vec<u8>)> {
        let Reverse((at, ..)) = self.under_way.peek()?;
        if *at > now {
            return None;
        }
        let Reverse((_, _, index)) = self.under_way.pop()?;
        self.datagrams[index].take()
    }

    pub fn clear(&mut self) {
        self.under_way.clear();
    }
}

const DELAY_MS: u64 = 10;
