//! When which picture left: for comparing with when it arrived behind a gateway.
//! Takes: notes of the senders, while they are asked for. Gives: the notes.
//! Leaves out: arrivals, and joining the two (`compare`).

use std::sync::Mutex;
use std::time::Instant;

use super::encoder::{Recording, VideoOptions};
use super::packetizer::Payloads;
use super::statistics::locked;

/// Octets at the end of a picture that tell it from the others of its recording.
pub const PICTURE_TAIL_LEN: usize = 24;

/// The last octets of a picture's last NAL unit. A gateway may change what lies in front of them, and lengths.
pub type PictureTail = [u8; PICTURE_TAIL_LEN];

/// One picture on its way to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its call: the first that began is 0.
    pub call: u32,
    /// Its place in the recording.
    pub picture: u32,
    /// When the sender began to hand its packets to the kernel: on loopback they are at the gateway's socket within
    /// the same call.
    pub at: Instant,
}

/// Collects departures while asked to.
#[derive(Default)]
pub(super) struct Departures {
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    taken: Vec<Departure>,
    /// Beyond it nothing is noted; 0 while nobody asks.
    max: usize,
}

impl Departures {
    /// Notes up to `max` pictures from now on.
    pub fn begin(&self, max: usize) {
        *locked(&self.notes) = Notes { taken: Vec::with_capacity(max), max };
    }

    /// Ends it and gives what was noted.
    pub fn take(&self) -> Vec<Departure> {
        std::mem::take(&mut *locked(&self.notes)).taken
    }

    /// Notes what left in one turn of a sender.
    pub fn note(&self, departures: &mut Vec<Departure>) {
        let mut notes = locked(&self.notes);
        let room = notes.max - notes.taken.len();
        notes.taken.extend(departures.drain(..).take(room));
    }
}

/// The tails of all pictures that a callee with [`PictureSource::Recorded`](super::PictureSource::Recorded) sends with
/// `video`, in the order of the recording. Encodes it, which takes a second or two.
///
/// # Errors
/// When an option is out of range, the codec fails, or two pictures have the same tail.
pub fn picture_tails(video: VideoOptions) -> anyhow::Result<Vec<PictureTail>> {
    video.check()?;
    let recording = Recording::new(video, video.packetization_mode)?;
    let tails: Vec<PictureTail> = recording.access_units.iter().map(tail).collect::<anyhow::Result<_>>()?;
    let distinct: std::collections::HashSet<&PictureTail> = tails.iter().collect();
    anyhow::ensure!(distinct.len() == tails.len(), "two pictures of the recording end alike");
    Ok(tails)
}

/// The tail of one picture.
///
/// # Errors
/// When it is too short to have one.
pub(super) fn tail(picture: &Payloads) -> anyhow::Result<PictureTail> {
    let mut tail = [0; PICTURE_TAIL_LEN];
    let mut missing = PICTURE_TAIL_LEN;
    for payload in picture.nal_unit_parts().rev() {
        let taken = payload.len().min(missing);
        tail[missing - taken..missing].copy_from_slice(&payload[payload.len() - taken..]);
        missing -= taken;
        if missing == 0 {
            return Ok(tail);
        }
    }
    anyhow::bail!("a picture of less than {PICTURE_TAIL_LEN} octets: raise the bit rate")
}

#[cfg(test)]
mod tests {
    use super::super::packetizer::PacketizationMode;
    use super::*;

    #[test]
    fn the_tail_is_that_of_the_nal_unit_whatever_the_packets() {
        let nal_unit: Vec<u8> = std::iter::once(0x41).chain(0..=254).collect();
        for (mode, len_max) in [
            (PacketizationMode::NonInterleaved, 64),
            (PacketizationMode::NonInterleaved, 83),
            (PacketizationMode::SingleNalUnit, 64),
        ] {
            let mut payloads = Payloads::default();
            payloads.packetize([&[0x67, 1, 2][..], &[0x68, 3], &nal_unit].into_iter(), mode, len_max);
            assert_eq!(tail(&payloads).unwrap()[..], nal_unit[nal_unit.len() - PICTURE_TAIL_LEN..]);
        }
        let mut short = Payloads::default();
        short.packetize([&[0x41, 1][..]].into_iter(), PacketizationMode::NonInterleaved, 64);
        assert!(tail(&short).is_err());
    }

    #[test]
    fn nothing_is_noted_unless_asked_for_and_never_more_than_asked_for() {
        let departures = Departures::default();
        let note = |call| Departure { call, picture: 0, at: Instant::now() };
        departures.note(&mut vec![note(0)]);
        departures.begin(2);
        departures.note(&mut vec![note(1), note(2), note(3)]);
        let calls: Vec<u32> = departures.take().iter().map(|departure| departure.call).collect();
        assert_eq!(calls, [1, 2]);
        assert!(departures.take().is_empty());
    }

    #[test]
    fn the_default_recording_can_be_told_apart() {
        assert_eq!(picture_tails(VideoOptions::default()).unwrap().len(), 300);
    }
}
