//! What the callee counts, and the events it announces.
//! Takes: counts from the SIP task and the senders. Gives: a snapshot; a stream of events.
//! Leaves out: judging the figures (`load`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::broadcast;

use super::departures::Departures;

/// Events waiting for a slow listener; beyond it the listener is told how many it missed.
const EVENTS_MAX: usize = 4_096;
/// Longest lateness told apart, in microseconds.
const LATENESS_US_MAX: u64 = 60_000_000;

/// Counters since the start; gauges say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CalleeStatistics {
    /// Calls answered with 200 and acknowledged.
    pub calls_answered: u64,
    /// Gauge: dialogs that are not over.
    pub calls_active: u64,
    /// INVITEs refused with a final status of 400 or higher, the challenge for credentials apart.
    pub calls_refused: u64,
    /// INVITEs challenged for credentials.
    pub challenges: u64,
    /// BYEs received in a dialog.
    pub byes_received: u64,
    /// BYEs sent.
    pub byes_sent: u64,
    /// SIP messages that could not be read.
    pub sip_malformed: u64,
    /// RTP packets sent with video.
    pub video_packets: u64,
    /// RTP packets sent with audio.
    pub audio_packets: u64,
    /// RTP payload octets sent.
    pub octets: u64,
    /// Pictures sent.
    pub pictures: u64,
    /// IDR pictures among them.
    pub idr_pictures: u64,
    /// Pictures left out because the sender was late.
    pub pictures_skipped: u64,
    /// RTP packets that the network profile lost: they were never sent.
    pub packets_lost_on_purpose: u64,
    /// RTP packets the kernel did not take.
    pub send_failures: u64,
    /// Sender reports sent.
    pub sender_reports: u64,
    /// Picture Loss Indications received.
    pub plis: u64,
    /// Full Intra Requests received, repetitions apart.
    pub firs: u64,
    /// SIP INFO requests for a picture fast update.
    pub fast_updates: u64,
    /// RTP packets received.
    pub rtp_received: u64,
    /// RTCP compound packets received.
    pub rtcp_received: u64,
    /// Datagrams on the media ports that are neither, or come from nobody we talk to.
    pub datagrams_refused: u64,
    /// DTMF digits received, by RTP or INFO.
    pub digits: u64,
    /// Gauge: packets that receiver reports call lost, over the calls that are up.
    pub lost_reported: i64,
}

impl CalleeStatistics {
    /// Adds what a sender counted.
    pub(super) fn add(&mut self, counted: &Self) {
        self.video_packets += counted.video_packets;
        self.audio_packets += counted.audio_packets;
        self.octets += counted.octets;
        self.pictures += counted.pictures;
        self.idr_pictures += counted.idr_pictures;
        self.pictures_skipped += counted.pictures_skipped;
        self.packets_lost_on_purpose += counted.packets_lost_on_purpose;
        self.send_failures += counted.send_failures;
        self.sender_reports += counted.sender_reports;
        self.plis += counted.plis;
        self.firs += counted.firs;
        self.rtp_received += counted.rtp_received;
        self.rtcp_received += counted.rtcp_received;
        self.datagrams_refused += counted.datagrams_refused;
        self.digits += counted.digits;
        self.lost_reported += counted.lost_reported;
    }
}

/// Something that happened in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalleeEvent {
    /// The call was answered and acknowledged.
    Answered {
        /// SIP Call-ID.
        call_id: String,
    },
    /// The peer put the call on hold, or took it back.
    Hold {
        /// SIP Call-ID.
        call_id: String,
        /// Whether no stream is wanted now.
        held: bool,
    },
    /// A DTMF digit came.
    Digit {
        /// SIP Call-ID.
        call_id: String,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
    },
    /// A PLI or FIR came.
    KeyframeRequested {
        /// SIP Call-ID.
        call_id: String,
    },
    /// The call is over.
    Ended {
        /// SIP Call-ID.
        call_id: String,
        /// Whether the peer sent BYE or CANCEL.
        by_peer: bool,
    },
}

/// How late packets left, against the time they were due at.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Lateness {
    /// Median, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
    /// Highest, in microseconds.
    pub max_us: u64,
}

/// Shared by the SIP task, the senders, and whoever asks.
pub(super) struct Tally {
    counters: Mutex<CalleeStatistics>,
    lateness: Mutex<Histogram<u64>>,
    events: broadcast::Sender<CalleeEvent>,
    paused: AtomicBool,
    departures: Departures,
}

impl Tally {
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENESS_US_MAX, 2)
            .expect("constant bounds are valid for the histogram");
        Self {
            counters: Mutex::default(),
            lateness: Mutex::new(histogram),
            events: broadcast::Sender::new(EVENTS_MAX),
            paused: AtomicBool::new(false),
            departures: Departures::default(),
        }
    }

    /// Changes counters. The lock is held for a few additions, taken at most once a turn of a sender.
    pub fn count(&self, change: impl FnOnce(&mut CalleeStatistics)) {
        change(&mut locked(&self.counters));
    }

    pub fn record_lateness(&self, microseconds: impl Iterator<Item = u64>) {
        let mut lateness = locked(&self.lateness);
        microseconds.for_each(|value| lateness.saturating_record(value));
    }

    /// Whether all senders are told to keep still. Relaxed: nothing else is ordered by it.
    pub fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub const fn departures(&self) -> &Departures {
        &self.departures
    }

    pub fn announce(&self, event: CalleeEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    pub fn snapshot(&self) -> CalleeStatistics {
        *locked(&self.counters)
    }

    pub fn lateness(&self) -> Lateness {
        let lateness = locked(&self.lateness);
        Lateness {
            p50_us: lateness.value_at_quantile(0.5),
            p99_us: lateness.value_at_quantile(0.99),
            max_us: lateness.max(),
        }
    }

    pub fn reset_lateness(&self) {
        locked(&self.lateness).reset();
    }

    pub fn subscribe(&self) -> broadcast::Receiver<CalleeEvent> {
        self.events.subscribe()
    }
}

// A panic elsewhere leaves plain numbers behind, which stay usable.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
